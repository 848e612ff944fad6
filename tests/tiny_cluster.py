"""Helpers of the cluster's tests: small folders of eyes, jobs, an executor that follows a script."""

import json
from collections import deque
from contextlib import contextmanager
from dataclasses import replace

import tiny_package

from foveate import models
from foveate.atomic_files import TEMPORARY
from foveate.cluster import Placement
from foveate.cluster.executors import WorkerLost
from foveate.cluster.inventory import WorkItem
from foveate.cluster.job import ClusterJob
from foveate.cluster.ledger import LedgerEntry
from foveate.cluster.worker import ShardResult, WorkerReady
from foveate.engines.choice import EngineChoice
from foveate.version import version
from foveate.writers import LesionLoad, SummaryRow

ONE_THREAD = EngineChoice(engine="onnx", threads=1)

one_worker = Placement(workers=1).start_executor
"""Starts one worker in this process."""


def write_eyes(folder, count=4):
    """Write some drawn eyes into two folders, and a file that is not a photograph; return the folder."""
    for number in range(count):
        tiny_package.photograph(folder / f"clinic{number % 2}" / f"eye{number:03}.png", seed=number)
    (folder / "notes.txt").write_text("no photograph")
    return folder


def cluster_job(source, target, model, **changes):
    return ClusterJob(
        **{
            "source": str(source),
            "target": str(target),
            "package": models.load(model),
            "choice": ONE_THREAD,
            **changes,
        }
    )


def results(out, *, was_killed=False):
    """Return every file of a run but those that only a run by workers has and those that hold times.

    was_killed: without the unfinished files of killed processes, which the next run after an hour removes.
    """
    excluded = ("manifest", "run.json", "summary.parquet")
    files = (path for path in out.rglob("*") if path.is_file())
    if was_killed:
        files = (path for path in files if not TEMPORARY.fullmatch(path.name))
    by_name = {path.relative_to(out).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in by_name.items() if name.split("/")[0] not in excluded}


def logged_events(log):
    """Return the events of a log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def row(name, **changes):
    """Return the row of a photograph without lesions."""
    loads = {
        code: LesionLoad(count=0, area_px=0, area_fraction=0.0, area_mm2=None)
        for code in tiny_package.CONTRACT.lesions
    }
    return SummaryRow(**{"name": name, "status": "ok", "digest": "d" * 64, "loads": loads, **changes})


def success(item: WorkItem, **changes) -> LedgerEntry:
    """Return the entry of a photograph that succeeded at this attempt."""
    return LedgerEntry(
        **{
            "row": row(item.name),
            "stamp": item.stamp,
            "worker": "w1",
            "seconds": {"inference": 1.0},
            "attempts": item.failed_attempts + 1,
            **changes,
        }
    )


class ScriptedExecutor:
    """An executor whose workers answer at once: what `answer` returns for a shard, or raises.

    If its only worker dies, it loses the shard that it has not begun as well, as an actor of Ray does.

    Args:
        answer: called with a shard; returns entries, or an event.
        workers: that become ready.
    """

    def __init__(self, answer, workers=1, **facts):
        self.submitted = []
        self.most_running = 0
        """Most shards that ran at the same time."""
        self._answer = answer
        self._workers = workers
        self._events = deque(ready_event(f"w{number + 1}", **facts) for number in range(workers))
        self._running = deque()

    @contextmanager
    def start(self, assignment, package):
        self.assignment = assignment
        yield self

    def capacity(self):
        return 2 * self._workers - len(self._running)

    def submit(self, shard):
        self.submitted.append(shard)
        self._running.append(shard)
        self.most_running = max(self.most_running, len(self._running))

    def next_event(self, timeout):
        if self._events:
            return self._events.popleft()
        shard = self._running.popleft()
        answer = self._answer(shard)
        if isinstance(answer, tuple):
            return ShardResult(worker="w1", shard=shard, entries=answer, peak_mb=100)
        if isinstance(answer, WorkerLost) and self._workers == 1:
            self._events.extend(replace(answer, shard=queued, first=False) for queued in self._running)
            self._running.clear()
        return answer

    def close(self):
        return []


def ready_event(name, **facts):
    """Return the event of a worker that is ready."""
    return WorkerReady(
        **{
            "worker": name,
            "host": "here",
            "process": 1,
            "foveate": version(),
            "label": "fake",
            "versions": {},
            **facts,
        }
    )
