"""Those who work: shards go out, events come back.

Knows:   what a crew is, and a crew of threads in this process.
Ignores: which shards there are, and what an event means for the run.

A crew of another machine's processes is in `on_ray`.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from foveate.cluster.worker import Done, Joined, Shard
from foveate.concurrency import Ended

AHEAD = 2
"""Shards that a worker has at most: the one in hand, and one so that it never waits for the next. More would
be lost with it, and would wait with it while others are idle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A worker died."""

    worker: str
    shard: Shard | None
    """What it had in hand or before it; None where it had nothing, or was not ready yet."""
    why: str
    """Name of the error's class."""
    first: bool = True
    """Told of this death for the first time; a worker may have had several shards."""


Event = Joined | Done | Lost
"""What a crew tells."""


@runtime_checkable
class Crew(Protocol):
    """Several workers."""

    def room(self) -> int:
        """Return how many shards may be sent now."""
        ...

    def send(self, shard: Shard) -> None:
        """Hand out a shard; only where there is room."""
        ...

    def next(self, seconds: float) -> Event | None:
        """Wait for an event, None where none comes in time; whatever went wrong in a worker is raised.

        Raises:
            FoveateError: the workers cannot do what is asked for.
        """
        ...

    def close(self) -> list[Done]:
        """End all work; return what was finished all the same and not asked for."""
        ...


@runtime_checkable
class Looker(Protocol):
    """One that looks: `work.Worker`, or a test's."""

    def joined(self) -> Joined:
        """Say who is ready."""
        ...

    def look(self, shard: Shard, check: Callable[[], None]) -> Done:
        """Look at a shard; `check` raises Ended where the rest is not wanted."""
        ...

    def close(self) -> None:
        """Tidy up."""
        ...


class Threads:
    """A crew in this process: each worker has a thread and an engine of its own.

    Args:
        workers: opened.
    """

    def __init__(self, workers: Sequence[Looker]) -> None:
        self._workers = workers
        self._free: queue.SimpleQueue[Looker] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._most = AHEAD * len(workers)
        self._under_way = 0
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(len(workers))
        for worker in workers:
            self._free.put(worker)
            self._events.put(worker.joined())

    def room(self) -> int:
        return self._most - self._under_way

    def send(self, shard: Shard) -> None:
        self._under_way += 1
        self._pool.submit(self._do, shard)

    def next(self, seconds: float) -> Event | None:
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        self._under_way -= isinstance(event, Done)
        return event

    def close(self) -> list[Done]:
        self._ending.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        left = []
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, Done):
                left.append(event)
        return left

    def _do(self, shard: Shard) -> None:
        worker = self._free.get()
        try:
            self._events.put(worker.look(shard, self._check))
        except BaseException as error:  # a thread of its own: whoever waits for the event is to meet it
            self._events.put(error)
        finally:
            self._free.put(worker)

    def _check(self) -> None:
        if self._ending.is_set():
            raise Ended
