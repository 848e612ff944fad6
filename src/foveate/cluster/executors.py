"""Executors: they submit shards to workers, and return the events of the workers.

Knows:   the executor protocol, and an executor whose workers are threads of this process.
Ignores: which shards there are, and what an event means for the run.

The executor whose workers are processes on other machines is in `ray_executor`.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from foveate.cluster.worker import Shard, ShardResult, WorkerReady
from foveate.concurrency import WorkCancelled

SHARDS_PER_WORKER = 2
"""Maximum number of shards that a worker has: the one in progress, and the next, so that it never waits. More
would be lost if it died, and would wait for it while other workers are idle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLost:
    """A worker died."""

    worker: str
    shard: Shard | None
    """A shard that it had; None if it had none, or was not ready yet."""
    error_type: str
    """Name of the error's class."""
    first: bool = True
    """Whether this is the first event of this death, that of the shard in progress; a worker may have had
    another shard queued, which it had not begun."""


ExecutorEvent = WorkerReady | ShardResult | WorkerLost


@runtime_checkable
class Executor(Protocol):
    """Several workers that process shards."""

    def capacity(self) -> int:
        """Return the number of shards that may be submitted now."""
        ...

    def submit(self, shard: Shard) -> None:
        """Submit a shard to a worker; call it only if there is capacity."""
        ...

    def next_event(self, timeout: float) -> ExecutorEvent | None:
        """Wait for an event and return it; return None if there is none within `timeout` seconds.

        Raises:
            FoveateError: the workers cannot do their work.
            Exception: any other error in a worker.
        """
        ...

    def close(self) -> list[ShardResult]:
        """End all work; return the finished results that were not yet returned as events."""
        ...


@runtime_checkable
class InferenceWorker(Protocol):
    """An object that processes shards: `worker.ShardWorker`, or a stand-in in tests."""

    def ready_event(self) -> WorkerReady:
        """Return the event that identifies this worker as ready."""
        ...

    def process(self, shard: Shard, check: Callable[[], None]) -> ShardResult:
        """Process a shard; `check` raises WorkCancelled when the run ends."""
        ...

    def close(self) -> None:
        """Remove scratch files."""
        ...


class ThreadExecutor:
    """An executor in this process: each worker has a thread and an engine of its own.

    Args:
        workers: the workers, each with its model open.
    """

    def __init__(self, workers: Sequence[InferenceWorker]) -> None:
        self._workers = workers
        self._idle: queue.SimpleQueue[InferenceWorker] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[ExecutorEvent | BaseException] = queue.SimpleQueue()
        self._max_running = SHARDS_PER_WORKER * len(workers)
        self._running = 0
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(len(workers))
        for worker in workers:
            self._idle.put(worker)
            self._events.put(worker.ready_event())

    def capacity(self) -> int:
        return self._max_running - self._running

    def submit(self, shard: Shard) -> None:
        self._running += 1
        self._pool.submit(self._process, shard)

    def next_event(self, timeout: float) -> ExecutorEvent | None:
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        self._running -= isinstance(event, ShardResult)
        return event

    def close(self) -> list[ShardResult]:
        self._ending.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        results = []
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, ShardResult):
                results.append(event)
        return results

    def _process(self, shard: Shard) -> None:
        worker = self._idle.get()
        try:
            self._events.put(worker.process(shard, self._check))
        except BaseException as error:  # raised again by `next_event`, in the thread that calls it
            self._events.put(error)
        finally:
            self._idle.put(worker)

    def _check(self) -> None:
        if self._ending.is_set():
            raise WorkCancelled
