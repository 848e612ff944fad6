"""How long runs of many workers take, by what was measured of few.

Run:     python benchmarks/cluster_simulation.py LOG.jsonl [--photographs 1000000]
Needs:   foveate[cluster,dev]; run it from the project's folder with tests/ on PYTHONPATH
Prints:  the table of docs/cluster.md

LOG is a log of `foveate predict --on ... --log`: each photograph's seconds are drawn from it, with a fixed
seed. The driver of the run is simulated as it is: shards of `driver.shard_size`, two for each worker, one
message at a time. What the driver needs for a photograph and for a message is measured here, the latter with
two Ray actors that do nothing. The assumptions are stated below; none of them was measured on more than one
machine.
"""

import argparse
import heapq
import json
import random
import tempfile
import time
from collections import deque
from pathlib import Path

import ray
import tiny_cluster
import tiny_package

from foveate.cluster import driver, ray_executor
from foveate.cluster.executors import SHARDS_PER_WORKER
from foveate.cluster.inventory import WorkItem
from foveate.cluster.worker import Shard, ShardResult

STARTING = 30.0
"""Seconds until workers are there, or one that died is back, on machines that run already. Assumed."""

WORKERS = (1, 10, 100, 1000)

MEASURED = 5000
"""Photographs and messages by which the driver is measured."""


def costs(log):
    """Return the seconds of each photograph that a log says was processed."""
    events = (json.loads(line) for line in Path(log).read_text().splitlines())
    return [
        sum(event["seconds"].values())
        for event in events
        if event["event"] == "photograph" and event["status"] == "ok" and not event["lay"]
    ]


def simulate(seconds, photographs, workers, driver_needs, deaths_an_hour=0.0):
    """Return the seconds from the first worker to the last photograph.

    Args:
        seconds: to draw each photograph's cost from.
        photographs: of the run.
        workers: as many from the start to the end.
        driver_needs: seconds of the driver for each photograph and for each message, one after the other.
        deaths_an_hour: of each worker; other workers repeat its photographs, one by one.
    """
    each, message = driver_needs
    draw = random.Random(0)
    pending, retries = photographs, deque()
    ends, number = [], 0  # (when a worker is done, which, how many photographs, died)
    queued = [0] * workers
    busy_until = [0.0] * workers
    driver_time = 0.0

    def submit(worker, now):
        nonlocal pending, number
        if pending:
            count = driver.shard_size(pending, workers)
            pending -= count
        elif retries:
            count = retries.popleft()
        else:
            return
        duration = sum(draw.choices(seconds, k=count))
        start = max(now, busy_until[worker])
        dies = deaths_an_hour and draw.random() < duration / 3600 * deaths_an_hour
        busy_until[worker] = start + (duration * draw.random() + STARTING if dies else duration)
        queued[worker] += 1
        number += 1
        heapq.heappush(ends, (busy_until[worker], number, worker, count, dies))

    for _ in range(SHARDS_PER_WORKER):
        for worker in range(workers):
            submit(worker, 0.0)
    last = 0.0
    while ends:
        end, _, worker, count, dies = heapq.heappop(ends)
        driver_time = max(driver_time, end) + message + each * count
        queued[worker] -= 1
        if dies:
            retries.extend([1] * count)
        last = max(last, driver_time)
        while queued[worker] < SHARDS_PER_WORKER and (pending or retries):
            submit(worker, driver_time)
    return last


def per_photograph():
    """Measure what the driver needs for a photograph beside its message: listing it and writing it down."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "eyes").mkdir()
        for number in range(MEASURED):
            (scratch / "eyes" / f"{number}.png").touch()
        job = tiny_cluster.cluster_job(
            scratch / "eyes", scratch / "out", tiny_package.build(scratch / "tiny")
        )

        def answer(shard):
            return tuple(tiny_cluster.success(item) for item in shard.items)

        start = time.process_time()
        driver.run(job, tiny_cluster.ScriptedExecutor(answer, workers=10).start, log=str(scratch / "log"))
        return (time.process_time() - start) / MEASURED


class Idle:
    """An actor that does nothing."""

    def process(self, shard):
        entries = tuple(tiny_cluster.success(item) for item in shard.items)
        return ShardResult(worker="w1", shard=shard, entries=entries, peak_mb=1)


def per_message():
    """Measure what the driver needs to send a shard of one and to take what comes back, by Ray."""
    shard = Shard(
        number=1, items=(WorkItem(path="clinic/eye.png", name="clinic/eye", stamp="s" * 30, size=1),)
    )
    with ray_executor.cluster_connection("ray://local", 2):
        actors = [ray.remote(Idle).remote() for _ in range(2)]
        pending_calls = [actor.process.remote(shard) for actor in actors for _ in range(SHARDS_PER_WORKER)]
        ray.get(pending_calls)
        start = time.process_time()
        for number in range(MEASURED):
            (finished,), pending_calls = ray.wait(pending_calls, num_returns=1)
            ray.get(finished)
            pending_calls.append(actors[number % 2].process.remote(shard))
        return (time.process_time() - start) / MEASURED


def format_duration(seconds):
    return f"{seconds / 86400:.1f} days" if seconds > 4 * 86400 else f"{seconds / 3600:.1f} h"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--photographs", type=int, default=1_000_000)
    parser.add_argument("--deaths", type=float, default=0.1, help="of each worker, an hour")
    options = parser.parse_args()
    seconds, needs = costs(options.log), (per_photograph(), per_message())
    mean = sum(seconds) / len(seconds)
    print(f"{len(seconds)} photographs measured: {mean:.2f} s each, {min(seconds):.2f} to {max(seconds):.2f}")
    print(f"the driver needs {needs[0] * 1000:.2f} ms a photograph and {needs[1] * 1000:.2f} ms a message")
    print(f"| workers | {options.photographs} photographs | of the ideal | {options.deaths} deaths an hour |")
    print("|---|---|---|---|")
    for workers in WORKERS:
        ideal = options.photographs * mean / workers
        undisturbed = simulate(seconds, options.photographs, workers, needs) + STARTING
        dying = simulate(seconds, options.photographs, workers, needs, options.deaths) + STARTING
        print(
            f"| {workers} | {format_duration(undisturbed)} | {ideal / undisturbed:.1%} "
            f"| {format_duration(dying)} |"
        )


if __name__ == "__main__":
    main()
