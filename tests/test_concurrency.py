"""Items side by side: results in order, nobody idle, nothing piled up; an end leaves nothing running."""

import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws

from foveate.concurrency import AHEAD, Abreast, Ended, ahead

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


@laws
@given(st.lists(st.integers(), max_size=20), st.integers(1, 4))
def test_what_comes_of_items_comes_in_their_order_whoever_did_them(items, workers):
    abreast = Abreast(lambda item, worker: (item, worker in range(workers)), range(workers))

    assert list(abreast.results(items)) == [(item, True) for item in items]
    assert abreast.end() == []


def test_one_worker_works_in_the_callers_own_thread_and_never_ahead():
    seen = []
    abreast = Abreast(lambda item, worker: seen.append(threading.current_thread()), ["only"])

    for done, _ in enumerate(abreast.results("abc"), start=1):
        assert len(seen) == done

    assert set(seen) == {threading.current_thread()}


def test_as_many_items_are_under_way_at_a_time_as_there_are_workers_each_with_a_worker_of_its_own():
    meeting = threading.Barrier(3, timeout=PATIENCE)  # breaks unless three are there together
    at_work, crowded = set(), []

    def work(item, worker):
        crowded.append(worker in at_work)
        at_work.add(worker)
        meeting.wait()
        at_work.discard(worker)
        return item

    assert list(Abreast(work, "xyz").results(range(9))) == list(range(9))
    assert not any(crowded)


def test_while_the_first_takes_its_time_the_other_worker_goes_on():
    third = threading.Event()

    def work(item, worker):
        if item == 0:
            assert third.wait(PATIENCE)  # ends only once the other worker is past its own item
        if item == 2:
            third.set()
        return item

    assert list(Abreast(work, "xy").results(range(4))) == [0, 1, 2, 3]


def test_no_more_items_are_taken_than_may_be_under_way():
    taken = count()
    abreast = Abreast(lambda item, worker: item, "xy")

    first = next(abreast.results(iter(lambda: next(taken), None)))

    assert first == 0
    assert next(taken) == 2 * AHEAD
    abreast.end()


def test_what_the_work_raises_is_raised_in_its_place():
    def work(item, worker):
        if item == 1:
            raise ValueError("the second")
        return item

    for workers in ("x", "xy"):
        abreast = Abreast(work, workers)
        results = abreast.results(range(4))
        assert next(results) == 0
        with pytest.raises(ValueError, match="the second"):
            next(results)
        abreast.end()


def test_an_end_stops_what_asks_and_hands_back_what_was_finished():
    begun, finished = threading.Event(), threading.Event()

    def work(item, worker):
        if item == 1:
            finished.set()
            return item
        if item == 2:
            begun.set()
            for _ in range(PATIENCE * 100):
                threading.Event().wait(0.01)
                abreast.check()
            raise AssertionError("nobody said that it is to end")
        return item

    abreast = Abreast(work, "xy")
    results = abreast.results(range(99))
    assert next(results) == 0
    assert begun.wait(PATIENCE)
    assert finished.wait(PATIENCE)

    assert abreast.end()[0] == 1
    assert not [one for one in threading.enumerate() if one.name.startswith("foveate")]
    with pytest.raises(Ended):
        abreast.check()


def test_nobody_takes_an_end_for_an_error():
    assert not issubclass(Ended, Exception)


def running():
    return [one for one in threading.enumerate() if one.name.startswith("foveate")]


@laws
@given(st.lists(st.integers(), max_size=20))
def test_one_step_ahead_changes_neither_what_comes_nor_its_order(items):
    with ahead(items) as results:
        assert list(results) == items

    assert not running()


def test_the_next_step_is_under_way_while_the_last_is_looked_at():
    begun = threading.Event()

    def steps():
        yield "first"
        begun.set()
        yield "second"

    with ahead(steps()) as results:
        assert next(results) == "first"
        assert begun.wait(PATIENCE)  # though nobody has asked for the second
        assert list(results) == ["second"]


def test_what_a_step_raises_is_raised_in_its_place_and_nothing_is_left():
    def steps():
        yield 1
        raise ValueError("the second")

    with ahead(steps()) as results:
        assert next(results) == 1
        with pytest.raises(ValueError, match="the second"):
            next(results)

    assert not running()


def test_steps_that_are_left_early_are_closed():
    closed = []

    def steps():
        try:
            yield from range(99)
        finally:
            closed.append(True)

    with ahead(steps()) as results:
        assert next(results) == 0

    assert closed == [True]
    assert not running()
