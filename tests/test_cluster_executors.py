"""The executor of threads: shards go to workers, events come back, and closing ends all work."""

import threading

import pytest
import tiny_cluster

from foveate.cluster.executors import SHARDS_PER_WORKER, Executor, ThreadExecutor
from foveate.cluster.inventory import WorkItem
from foveate.cluster.worker import Shard, ShardResult, WorkerReady


def shard(number):
    return Shard(number=number, items=(WorkItem(path="a.png", name=f"{number}", stamp="s", size=1),))


class FakeWorker:
    """Computes nothing; waits for an event or raises an error where one is given."""

    def __init__(self, name="w1", wait=None, error=None):
        self.name, self.wait, self.error = name, wait, error
        self.closed = False

    def ready_event(self):
        return tiny_cluster.ready_event(self.name)

    def process(self, shard, check=lambda: None):
        if self.error is not None:
            raise self.error
        while self.wait is not None and not self.wait.wait(0.01):
            check()
        entries = tuple(tiny_cluster.success(item) for item in shard.items)
        return ShardResult(worker=self.name, shard=shard, entries=entries, peak_mb=1)

    def close(self):
        self.closed = True


@pytest.fixture
def start_executor():
    """Return a function that starts executors; they are closed after the test."""
    executors = []

    def start(*workers):
        executors.append(ThreadExecutor(workers))
        return executors[-1]

    yield start
    for executor in executors:
        executor.close()


def collect(executor, count):
    events = []
    while len(events) < count:
        event = executor.next_event(10.0)
        assert event is not None
        events.append(event)
    return events


def test_every_worker_becomes_ready_and_every_shard_comes_back(start_executor):
    executor = start_executor(FakeWorker("w1"), FakeWorker("w2"))
    assert isinstance(executor, Executor)
    assert executor.capacity() == 2 * SHARDS_PER_WORKER
    for number in range(4):
        executor.submit(shard(number))
    assert executor.capacity() == 0

    events = collect(executor, 6)

    assert {event.worker for event in events if isinstance(event, WorkerReady)} == {"w1", "w2"}
    assert sorted(event.shard.number for event in events if isinstance(event, ShardResult)) == [0, 1, 2, 3]
    assert executor.capacity() == 2 * SHARDS_PER_WORKER
    assert executor.next_event(0.01) is None


def test_workers_work_side_by_side(start_executor):
    barrier = threading.Barrier(2, timeout=10)

    class MeetingWorker(FakeWorker):
        def process(self, shard, check=lambda: None):
            barrier.wait()
            return super().process(shard, check)

    executor = start_executor(MeetingWorker("w1"), MeetingWorker("w2"))
    for number in range(2):
        executor.submit(shard(number))

    assert len([event for event in collect(executor, 4) if isinstance(event, ShardResult)]) == 2


def test_a_workers_error_is_raised_where_its_event_is_waited_for(start_executor):
    executor = start_executor(FakeWorker(error=ZeroDivisionError("no")))
    executor.submit(shard(1))
    assert isinstance(executor.next_event(10.0), WorkerReady)

    with pytest.raises(ZeroDivisionError):
        executor.next_event(10.0)


def test_closing_stops_running_shards_and_returns_finished_results(start_executor):
    release, stuck_worker = threading.Event(), FakeWorker(wait=threading.Event())
    executor = start_executor(FakeWorker("w1", wait=release), stuck_worker)
    executor.submit(shard(1))
    executor.submit(shard(2))
    release.set()
    events = collect(executor, 2)

    results = executor.close()

    assert all(isinstance(event, WorkerReady) for event in events)
    assert len(results) <= 2
    assert stuck_worker.closed
    assert executor.close() == []
