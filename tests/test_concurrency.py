"""Results keep their order, workers stay busy, memory is bounded, and no thread is left at the end."""

import subprocess
import sys
import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws

from foveate import concurrency
from foveate.concurrency import ITEMS_PER_WORKER, OrderedPool, WorkCancelled, prefetch

TIMEOUT = 20
"""Seconds after which a waiting test fails."""


@laws
@given(st.lists(st.integers(), max_size=20), st.integers(1, 4))
def test_results_have_the_order_of_the_items(items, workers):
    pool = OrderedPool(lambda item, worker: (item, worker in range(workers)), range(workers))

    assert list(pool.results(items)) == [(item, True) for item in items]
    assert pool.end() == []


def test_a_single_worker_runs_in_the_callers_thread_and_never_ahead():
    threads = []
    pool = OrderedPool(lambda item, worker: threads.append(threading.current_thread()), ["only"])

    for done, _ in enumerate(pool.results("abc"), start=1):
        assert len(threads) == done

    assert set(threads) == {threading.current_thread()}


def test_as_many_items_are_in_progress_as_there_are_workers_each_with_its_own_worker():
    barrier = threading.Barrier(3, timeout=TIMEOUT)  # breaks unless three workers wait at the same time
    busy, was_busy = set(), []

    def work(item, worker):
        was_busy.append(worker in busy)
        busy.add(worker)
        barrier.wait()
        busy.discard(worker)
        return item

    assert list(OrderedPool(work, "xyz").results(range(9))) == list(range(9))
    assert not any(was_busy)


def test_a_slow_first_item_does_not_stop_the_other_worker():
    third = threading.Event()

    def work(item, worker):
        if item == 0:
            assert third.wait(TIMEOUT)  # ends only after the other worker has finished its item
        if item == 2:
            third.set()
        return item

    assert list(OrderedPool(work, "xy").results(range(4))) == [0, 1, 2, 3]


def test_no_more_items_are_taken_than_may_be_in_progress():
    items = count()
    pool = OrderedPool(lambda item, worker: item, "xy")

    first = next(pool.results(iter(lambda: next(items), None)))

    assert first == 0
    assert next(items) == 2 * ITEMS_PER_WORKER
    pool.end()


def test_an_exception_of_the_work_is_raised_in_its_place():
    def work(item, worker):
        if item == 1:
            raise ValueError("the second")
        return item

    for workers in ("x", "xy"):
        pool = OrderedPool(work, workers)
        results = pool.results(range(4))
        assert next(results) == 0
        with pytest.raises(ValueError, match="the second"):
            next(results)
        pool.end()


def test_the_end_cancels_work_that_checks_and_returns_finished_results():
    started, finished = threading.Event(), threading.Event()

    def work(item, worker):
        if item == 1:
            finished.set()
            return item
        if item == 2:
            started.set()
            for _ in range(TIMEOUT * 100):
                threading.Event().wait(0.01)
                pool.check()
            raise AssertionError("the work was not cancelled")
        return item

    pool = OrderedPool(work, "xy")
    results = pool.results(range(99))
    assert next(results) == 0
    assert started.wait(TIMEOUT)
    assert finished.wait(TIMEOUT)

    assert pool.end()[0] == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foveate")]
    with pytest.raises(WorkCancelled):
        pool.check()


def test_a_cancellation_is_no_exception_that_the_work_catches():
    assert not issubclass(WorkCancelled, Exception)


def pool_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("foveate")]


@laws
@given(st.lists(st.integers(), max_size=20))
def test_prefetching_changes_neither_the_results_nor_their_order(items):
    with prefetch(items) as results:
        assert list(results) == items

    assert not pool_threads()


def test_the_next_step_starts_before_it_is_requested():
    started = threading.Event()

    def steps():
        yield "first"
        started.set()
        yield "second"

    with prefetch(steps()) as results:
        assert next(results) == "first"
        assert started.wait(TIMEOUT)  # although the second was not requested yet
        assert list(results) == ["second"]


def test_an_exception_of_a_step_is_raised_in_its_place_and_no_thread_is_left():
    def steps():
        yield 1
        raise ValueError("the second")

    with prefetch(steps()) as results:
        assert next(results) == 1
        with pytest.raises(ValueError, match="the second"):
            next(results)

    assert not pool_threads()


def test_steps_that_are_left_early_are_closed():
    closed = []

    def steps():
        try:
            yield from range(99)
        finally:
            closed.append(True)

    with prefetch(steps()) as results:
        assert next(results) == 0

    assert closed == [True]
    assert not pool_threads()


COUNT_ARENAS = """
import ctypes, sys, threading
from foveate import concurrency
libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_info"):
    sys.exit("no glibc")
if sys.argv[1] == "few":
    concurrency.limit_arenas()
held, meet = [], threading.Barrier(8)
def hold():
    meet.wait()
    held.append(bytearray(100_000))  # large enough for malloc, small enough for an arena
    meet.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fopen.restype, libc.malloc_info.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
libc.fclose.argtypes = (ctypes.c_void_p,)
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="arenas of memory are glibc's")
def test_threads_share_few_arenas_of_memory(tmp_path):
    counts = {}
    for number in ("few", "all"):
        path = tmp_path / f"{number}.xml"
        ran = subprocess.run(
            [sys.executable, "-c", COUNT_ARENAS, number, path], capture_output=True, text=True, check=False
        )
        if "no glibc" in ran.stderr:
            pytest.skip("arenas of memory are glibc's")
        assert ran.returncode == 0, ran.stderr
        counts[number] = path.read_text().count("<heap nr=")

    assert counts["few"] == concurrency.ARENAS < counts["all"]
