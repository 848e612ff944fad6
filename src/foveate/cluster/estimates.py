"""Estimate the cost of a run before it starts: photographs, bytes, hours.

Knows:   how the time and the size of a sample are measured, and extrapolated to all photographs.
Ignores: prices.

A sample, spread evenly over all photographs, is processed by one worker on this machine, and its time is
multiplied. An hour therefore means an hour of a machine like this one, whose workers do not slow each other
down. The time that a bucket takes to store results is not included.
"""

import statistics
from contextlib import closing
from dataclasses import dataclass, replace

from foveate.cluster.addresses import open_store
from foveate.cluster.job import ClusterJob, list_photographs, make_assignment, mark_finished
from foveate.cluster.ledger import Ledger
from foveate.cluster.scratch import ScratchFolder
from foveate.cluster.worker import Shard, ShardWorker
from foveate.inference.settings import check_settings

SAMPLE = 4
"""Number of photographs that are measured, after one for warming up. They take a quarter of a minute, and the
photographs of a screening programme are much alike. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEstimate:
    """The estimated cost of a run."""

    photographs: int
    """Number of photographs in the requested share."""
    size: int
    """Total size of these photographs, bytes."""
    remaining: int
    """Photographs that no earlier run has done."""
    skipped: int
    """Files that are not photographs."""
    seconds: tuple[float, ...]
    """Time for each measured photograph; empty if the whole sample failed."""
    failed: int
    """Photographs of the sample that failed."""
    result_bytes: float
    """Mean size of one photograph's results, over the sample."""
    engine: str
    """Label of the engine."""

    @property
    def seconds_per_photograph(self) -> float | None:
        """Mean time for each photograph; None if nothing was measured."""
        return statistics.fmean(self.seconds) if self.seconds else None

    def hours(self, workers: int) -> float | None:
        """Return the hours that this many workers take once started; None if nothing was measured.

        The last photographs of a run keep some workers waiting, at most for one photograph's time.
        """
        each = self.seconds_per_photograph
        if each is None:
            return None
        return (self.remaining * each / workers + each * (workers > 1)) / 3600


def estimate(job: ClusterJob) -> RunEstimate:
    """Return the estimated cost of a run; nothing is written to the target.

    Raises:
        PhotographError: the source holds no photograph.
        LesionError, SettingError: the settings do not fit the model.
        OutputError: the target holds results of other photographs.
        ClusterError: a bucket cannot be reached.
    """
    check_settings(job.package, job.settings)
    with list_photographs(job) as inventory, ScratchFolder() as scratch:
        target = open_store(job.target)
        if job.resume:
            mark_finished(inventory, Ledger(target, ""), target)
        (photographs, size), (remaining, _) = inventory.total(), inventory.remaining()
        items = inventory.sample(SAMPLE + 1)
        assignment = replace(make_assignment(job), target=str(scratch))
        with closing(ShardWorker("w1", assignment, job.package)) as worker:
            entries = [worker.process(Shard(number=1, items=(item,))).entries[0] for item in items]
            engine = worker.ready_event().label
        measured = [entry for entry in entries[1:] or entries if entry.row.status == "ok"]
        written = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        return RunEstimate(
            photographs=photographs,
            size=size,
            remaining=remaining,
            skipped=inventory.skipped,
            seconds=tuple(sum(entry.seconds.values()) for entry in measured),
            failed=sum(entry.row.status == "failed" for entry in entries),
            result_bytes=written / max(1, sum(entry.row.status == "ok" for entry in entries)),
            engine=engine,
        )
