"""A crew of threads: shards go out, events come back, and an end is an end."""

import threading

import pytest
import tiny_cluster

from foveate.cluster.crews import AHEAD, Crew, Threads
from foveate.cluster.inventory import Item
from foveate.cluster.worker import Done, Joined, Shard


def shard(number):
    return Shard(number=number, items=(Item(path="a.png", name=f"{number}", stamp="s", size=1),))


class Worker:
    """Looks at nothing; waits where it is told to."""

    def __init__(self, name="w1", wait=None, error=None):
        self.name, self.wait, self.error = name, wait, error
        self.closed = False

    def joined(self):
        return tiny_cluster.Scripted._joined(self.name)

    def look(self, shard, check=lambda: None):
        if self.error is not None:
            raise self.error
        while self.wait is not None and not self.wait.wait(0.01):
            check()
        entries = tuple(tiny_cluster.done(item) for item in shard.items)
        return Done(worker=self.name, shard=shard, entries=entries, peak_mb=1)

    def close(self):
        self.closed = True


@pytest.fixture
def crew_of():
    """Make crews that are gone after the test."""
    made = []

    def make(*workers):
        made.append(Threads(workers))
        return made[-1]

    yield make
    for crew in made:
        crew.close()


def collect(crew, count):
    events = []
    while len(events) < count:
        event = crew.next(10.0)
        assert event is not None
        events.append(event)
    return events


def test_everybody_joins_and_every_shard_comes_back(crew_of):
    crew = crew_of(Worker("w1"), Worker("w2"))
    assert isinstance(crew, Crew)
    assert crew.room() == 2 * AHEAD
    for number in range(4):
        crew.send(shard(number))
    assert crew.room() == 0

    events = collect(crew, 6)

    assert {event.worker for event in events if isinstance(event, Joined)} == {"w1", "w2"}
    assert sorted(event.shard.number for event in events if isinstance(event, Done)) == [0, 1, 2, 3]
    assert crew.room() == 2 * AHEAD
    assert crew.next(0.01) is None


def test_workers_work_side_by_side(crew_of):
    both = threading.Barrier(2, timeout=10)

    class Meeting(Worker):
        def look(self, shard, check=lambda: None):
            both.wait()
            return super().look(shard, check)

    crew = crew_of(Meeting("w1"), Meeting("w2"))
    for number in range(2):
        crew.send(shard(number))

    assert len([event for event in collect(crew, 4) if isinstance(event, Done)]) == 2


def test_what_goes_wrong_in_a_worker_is_raised_where_its_event_is_waited_for(crew_of):
    crew = crew_of(Worker(error=ZeroDivisionError("no")))
    crew.send(shard(1))
    assert isinstance(crew.next(10.0), Joined)

    with pytest.raises(ZeroDivisionError):
        crew.next(10.0)


def test_an_end_stops_what_is_under_way_and_hands_over_what_was_done(crew_of):
    free, worker = threading.Event(), Worker(wait=threading.Event())
    crew = crew_of(Worker("w1", wait=free), worker)
    crew.send(shard(1))
    crew.send(shard(2))
    free.set()
    events = collect(crew, 2)

    left = crew.close()

    assert all(isinstance(event, Joined) for event in events)
    assert len(left) <= 2
    assert worker.closed
    assert crew.close() == []
