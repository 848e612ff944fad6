"""Items worked on several at a time, each by a worker of its own, or one step ahead; results in their order.

Knows:   threads, and how work under way is ended.
Ignores: what the work is.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

AHEAD = 2
"""Items a worker that may be under way or finished and not asked for: while the oldest takes its time, the
others have something to do."""

Item = TypeVar("Item")
Worker = TypeVar("Worker")
Result = TypeVar("Result")


class Ended(BaseException):  # no error: nobody but `Abreast` catches it
    """Work is to end where it stands, since its results are no longer wanted."""


@contextmanager
def ahead(results: Iterable[Result]) -> Iterator[Iterator[Result]]:
    """Give what an iterator yields, made by a thread of its own one step ahead of whoever takes it.

    What the iterator raises is raised in its place. On leaving, the step under way is waited for, and the
    iterator is closed: no thread is left.
    """
    steps, nothing = iter(results), object()
    with _closed(steps), ThreadPoolExecutor(1, "foveate-ahead") as pool:

        def taken() -> Iterator[Result]:
            waiting = pool.submit(next, steps, nothing)
            while (found := waiting.result()) is not nothing:
                waiting = pool.submit(next, steps, nothing)
                yield found  # type: ignore[misc]  # what is not nothing is a result

        yield taken()


@contextmanager
def _closed(steps: Iterator[Result]) -> Iterator[None]:
    """Close an iterator on leaving, if it can be."""
    try:
        yield
    finally:
        if isinstance(steps, Generator):
            steps.close()


class Abreast(Generic[Item, Worker, Result]):
    """Work done by a fixed number of workers.

    One worker works in the caller's own thread, so that an interrupt stops it at once. Several have threads
    of their own: work that computes outside of Python's lock then uses as many processors. No more than AHEAD
    items a worker are under way or finished and not asked for: memory does not grow with the items.

    Args:
        work: called with an item and a worker; it calls `check` every now and then.
        workers: whatever the work needs that only one may use at a time.
    """

    def __init__(self, work: Callable[[Item, Worker], Result], workers: Sequence[Worker]) -> None:
        self._work = work
        self._workers = workers
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            self._free.put(worker)
        self._ending = threading.Event()
        self._under_way: deque[Future[Result]] = deque()
        self._pool = ThreadPoolExecutor(len(workers), "foveate-abreast") if len(workers) > 1 else None

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield what comes of each item, in their order; whatever the work raises is raised in its place."""
        if self._pool is None:
            for item in items:
                yield self._work(item, self._workers[0])
            return
        for item in items:
            self._under_way.append(self._pool.submit(self._do, item))
            if len(self._under_way) == AHEAD * len(self._workers):
                yield self._next()
        while self._under_way:
            yield self._next()

    def check(self) -> None:
        """Raise Ended where the work under way is no longer wanted."""
        if self._ending.is_set():
            raise Ended

    def end(self) -> list[Result]:
        """End what is under way and wait for it; return the results that were finished all the same."""
        self._ending.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        left = [one for one in self._under_way if not one.cancelled() and one.exception() is None]
        self._under_way.clear()
        return [one.result() for one in left]

    def _do(self, item: Item) -> Result:
        worker = self._free.get()
        try:
            self.check()
            return self._work(item, worker)
        finally:
            self._free.put(worker)

    def _next(self) -> Result:
        """Wait for the oldest item; it stays under way if the wait itself is interrupted."""
        result = self._under_way[0].result()
        self._under_way.popleft()
        return result
