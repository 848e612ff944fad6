"""Threads for independent work: a pool whose results keep their order, and a prefetching iterator.

Knows:   threads, how work in progress is cancelled, and how many threads share an arena of memory.
Ignores: what the work is.
"""

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

ITEMS_PER_WORKER = 2
"""Most items for each worker that are in progress, or finished and not yet taken. With more than one, the
other workers stay busy while the oldest item takes long."""

ARENAS = 2
"""Arenas of memory in a process; our choice. With one for each thread, as glibc has it, what one thread has
freed is of no use to another: two photographs of 12 megapixels peak at 750 MB, with two arenas at 680."""

_M_ARENA_MAX = -8
"""Number of the setting in glibc's malloc.h."""

ItemT = TypeVar("ItemT")
WorkerT = TypeVar("WorkerT")
ResultT = TypeVar("ResultT")


class WorkCancelled(BaseException):  # no Exception, so that the work does not catch it by mistake
    """The work in progress must stop, since its results are no longer needed."""


def limit_arenas() -> None:
    """Make all threads of this process share few arenas of memory, where the C library is glibc.

    For processes of our own; a library does not change the allocator of the process that imports it.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if set_option is not None:
            set_option(_M_ARENA_MAX, ARENAS)


def trim_memory() -> None:
    """Return what freed arrays left in the arenas to the operating system, where the C library is glibc.

    Large arrays have memory of their own and cannot use it: after the windows of a photograph some 100 MB.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


@contextmanager
def prefetch(results: Iterable[ResultT]) -> Iterator[Iterator[ResultT]]:
    """Provide the results of an iterator, computed by a thread one step ahead of the caller.

    An exception of the iterator is raised in its place. On leaving, the context waits for the step in
    progress and closes the iterator, so that no thread is left.
    """
    steps, end = iter(results), object()
    with _closing(steps), ThreadPoolExecutor(1, "foveate-prefetch") as pool:

        def prefetched() -> Iterator[ResultT]:
            future = pool.submit(next, steps, end)
            while (result := future.result()) is not end:
                future = pool.submit(next, steps, end)
                yield result  # type: ignore[misc]  # it is a ResultT unless it is the end

        yield prefetched()


@contextmanager
def _closing(steps: Iterator[ResultT]) -> Iterator[None]:
    """Close an iterator on leaving, if it is a generator."""
    try:
        yield
    finally:
        if isinstance(steps, Generator):
            steps.close()


class OrderedPool(Generic[ItemT, WorkerT, ResultT]):
    """A fixed number of workers that process items and return the results in the items' order.

    A single worker runs in the caller's own thread, so that an interrupt stops it at once. Several workers
    run in threads of their own; work that releases Python's lock then uses as many processors. At most
    ITEMS_PER_WORKER items for each worker are in progress or finished and not yet taken, so that memory does
    not grow with the number of items.

    Args:
        work: function of an item and a worker; it should call `check` at short intervals.
        workers: resources that only one item may use at a time.
    """

    def __init__(self, work: Callable[[ItemT, WorkerT], ResultT], workers: Sequence[WorkerT]) -> None:
        self._work = work
        self._workers = workers
        self._free_workers: SimpleQueue[WorkerT] = SimpleQueue()
        for worker in workers:
            self._free_workers.put(worker)
        self._cancelled = threading.Event()
        self._futures: deque[Future[ResultT]] = deque()
        self._pool = ThreadPoolExecutor(len(workers), "foveate-pool") if len(workers) > 1 else None

    def results(self, items: Iterable[ItemT]) -> Iterator[ResultT]:
        """Yield the result of each item, in the items' order; what the work raises is raised in its place."""
        if self._pool is None:
            for item in items:
                yield self._work(item, self._workers[0])
            return
        for item in items:
            self._futures.append(self._pool.submit(self._run, item))
            if len(self._futures) == ITEMS_PER_WORKER * len(self._workers):
                yield self._oldest_result()
        while self._futures:
            yield self._oldest_result()

    def check(self) -> None:
        """Raise WorkCancelled if the work in progress is no longer needed."""
        if self._cancelled.is_set():
            raise WorkCancelled

    def end(self) -> list[ResultT]:
        """Cancel the work in progress and wait for it; return the results that were finished nevertheless."""
        self._cancelled.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finished = [
            future for future in self._futures if not future.cancelled() and future.exception() is None
        ]
        self._futures.clear()
        return [future.result() for future in finished]

    def _run(self, item: ItemT) -> ResultT:
        worker = self._free_workers.get()
        try:
            self.check()
            return self._work(item, worker)
        finally:
            self._free_workers.put(worker)

    def _oldest_result(self) -> ResultT:
        """Wait for the oldest item; it stays in the queue if the wait itself is interrupted."""
        result = self._futures[0].result()
        self._futures.popleft()
        return result
