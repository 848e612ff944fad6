"""What a run will cost, before it runs: photographs, bytes, hours.

Knows:   how a cost is measured, and what follows from it.
Ignores: who pays.

Some photographs, spread over all, are looked at by one worker here, and what that took is multiplied. So an
hour stands for an hour of a machine like this one, whose workers do not hinder each other; the time that a
bucket takes to store results is not in it.
"""

import statistics
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.cluster import job, stores
from foveate.cluster.job import Programme
from foveate.cluster.ledger import Ledger
from foveate.cluster.worker import Shard, Worker
from foveate.inference import batch

SAMPLE = 4
"""Photographs that are measured, after one to warm up: a quarter of a minute, and photographs of one
programme are much alike. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will cost."""

    photographs: int
    """Of the share that was asked for."""
    size: int
    """Their bytes."""
    left: int
    """Those not done by an earlier run."""
    skipped: int
    """Files that are no photographs."""
    seconds: tuple[float, ...]
    """That each measured photograph took; none where all that were tried failed."""
    failed: int
    """Photographs of the sample that failed."""
    results: float
    """Bytes of a photograph's results, the mean of those measured."""
    label: str
    """What computed."""

    @property
    def each(self) -> float | None:
        """Seconds a photograph, the mean; None where nothing was measured."""
        return statistics.fmean(self.seconds) if self.seconds else None

    def hours(self, workers: int) -> float | None:
        """Return how long so many workers take, starting apart; None where nothing was measured.

        The last photographs of a run keep some workers waiting: at most one photograph's time.
        """
        if self.each is None:
            return None
        return (self.left * self.each / workers + self.each * (workers > 1)) / 3600


def estimate(asked: Programme) -> Plan:
    """Return what a run would cost; writes nothing to the target.

    Raises:
        PhotographError: the source holds no photograph.
        LesionError, SettingError: the settings do not fit the model.
        OutputError: the target holds results of other photographs.
        ClusterError: a bucket cannot be reached.
    """
    batch.require(asked.package, asked.settings)
    with job.listed(asked) as inventory, tempfile.TemporaryDirectory(prefix="foveate-") as scratch:
        target = stores.opened(asked.target)
        if asked.resume:
            job.resumed(inventory, Ledger(target, ""), target)
        (photographs, size), (left, _) = inventory.total(), inventory.left()
        items = inventory.sample(SAMPLE + 1)
        with closing(Worker("w1", replace(job.assigned(asked), target=scratch), asked.package)) as worker:
            entries = [worker.look(Shard(number=1, items=(item,))).entries[0] for item in items]
            label = worker.joined().label
        measured = [entry for entry in entries[1:] or entries if entry.row.status == "ok"]
        written = sum(path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file())
        return Plan(
            photographs=photographs,
            size=size,
            left=left,
            skipped=inventory.skipped,
            seconds=tuple(sum(entry.seconds.values()) for entry in measured),
            failed=sum(entry.row.status == "failed" for entry in entries),
            results=written / max(1, sum(entry.row.status == "ok" for entry in entries)),
            label=label,
        )
