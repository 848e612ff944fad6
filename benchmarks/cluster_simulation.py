"""How long runs of many workers take, by what was measured of few.

Run:     python benchmarks/cluster_simulation.py LOG.jsonl [--photographs 1000000]
Needs:   foveate[cluster,dev]; run it from the project's folder with tests/ on PYTHONPATH
Prints:  the table of docs/cluster.md

LOG is a log of `foveate predict --on ... --log`: each photograph's seconds are drawn from it, with a fixed
seed. The head of the run is simulated as it is: shards of `driver.size`, two ahead of each worker, one
message at a time. What the head needs for a photograph and for a message is measured here, the latter with
two Ray actors that do nothing. What is assumed stands below; nothing of it was measured on more machines
than one.
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

from foveate.cluster import driver, on_ray
from foveate.cluster.crews import AHEAD
from foveate.cluster.inventory import Item
from foveate.cluster.worker import Done, Shard

STARTING = 30.0
"""Seconds until workers are there, or one that died is back, on machines that run already. Assumed."""

WORKERS = (1, 10, 100, 1000)

NOTHING = 5000
"""Photographs and messages by which the head is measured."""


def costs(log):
    """Return the seconds of each photograph in a log that was looked at."""
    events = (json.loads(line) for line in Path(log).read_text().splitlines())
    return [
        sum(event["seconds"].values())
        for event in events
        if event["event"] == "photograph" and event["status"] == "ok" and not event["lay"]
    ]


def simulate(seconds, photographs, workers, head_needs, deaths_an_hour=0.0):
    """Return the seconds from the first worker to the last photograph.

    Args:
        seconds: to draw each photograph's cost from.
        photographs: of the run.
        workers: as many from the start to the end.
        head_needs: seconds of the head for each photograph and for each message, one after the other.
        deaths_an_hour: of each worker; what it had in hand is done again by others, one by one.
    """
    each, message = head_needs
    draw = random.Random(0)
    left, again = photographs, deque()
    ends, number = [], 0  # (when a worker is done, which, how many photographs, died)
    queued = [0] * workers
    busy_until = [0.0] * workers
    head = 0.0

    def hand_out(worker, now):
        nonlocal left, number
        if left:
            count = driver.size(left, workers)
            left -= count
        elif again:
            count = again.popleft()
        else:
            return
        took = sum(draw.choices(seconds, k=count))
        begun = max(now, busy_until[worker])
        dies = deaths_an_hour and draw.random() < took / 3600 * deaths_an_hour
        busy_until[worker] = begun + (took * draw.random() + STARTING if dies else took)
        queued[worker] += 1
        number += 1
        heapq.heappush(ends, (busy_until[worker], number, worker, count, dies))

    for _ in range(AHEAD):
        for worker in range(workers):
            hand_out(worker, 0.0)
    last = 0.0
    while ends:
        end, _, worker, count, dies = heapq.heappop(ends)
        head = max(head, end) + message + each * count
        queued[worker] -= 1
        if dies:
            again.extend([1] * count)
        last = max(last, head)
        while queued[worker] < AHEAD and (left or again):
            hand_out(worker, head)
    return last


def per_photograph():
    """Measure what the head needs for a photograph beside its message: listing it and writing it down."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "eyes").mkdir()
        for number in range(NOTHING):
            (here / "eyes" / f"{number}.png").touch()
        asked = tiny_cluster.programme(here / "eyes", here / "out", tiny_package.build(here / "tiny"))

        def answer(shard):
            return tuple(tiny_cluster.done(item) for item in shard.items)

        begun = time.process_time()
        driver.run(asked, tiny_cluster.Scripted(answer, workers=10), log=str(here / "log"))
        return (time.process_time() - begun) / NOTHING


class Idle:
    """An actor that does nothing."""

    def look(self, shard):
        entries = tuple(tiny_cluster.done(item) for item in shard.items)
        return Done(worker="w1", shard=shard, entries=entries, peak_mb=1)


def per_message():
    """Measure what the head needs to send a shard of one and to take what comes back, by Ray."""
    shard = Shard(number=1, items=(Item(path="clinic/eye.png", name="clinic/eye", stamp="s" * 30, size=1),))
    with on_ray.joined("ray://local", 2):
        actors = [ray.remote(Idle).remote() for _ in range(2)]
        waiting = [actor.look.remote(shard) for actor in actors for _ in range(AHEAD)]
        ray.get(waiting)
        begun = time.process_time()
        for number in range(NOTHING):
            (done,), waiting = ray.wait(waiting, num_returns=1)
            ray.get(done)
            waiting.append(actors[number % 2].look.remote(shard))
        return (time.process_time() - begun) / NOTHING


def told(seconds):
    return f"{seconds / 86400:.1f} days" if seconds > 4 * 86400 else f"{seconds / 3600:.1f} h"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--photographs", type=int, default=1_000_000)
    parser.add_argument("--deaths", type=float, default=0.1, help="of each worker, an hour")
    given = parser.parse_args()
    seconds, needs = costs(given.log), (per_photograph(), per_message())
    mean = sum(seconds) / len(seconds)
    print(f"{len(seconds)} photographs measured: {mean:.2f} s each, {min(seconds):.2f} to {max(seconds):.2f}")
    print(f"the head needs {needs[0] * 1000:.2f} ms a photograph and {needs[1] * 1000:.2f} ms a message")
    print(f"| workers | {given.photographs} photographs | of the ideal | {given.deaths} deaths an hour |")
    print("|---|---|---|---|")
    for workers in WORKERS:
        ideal = given.photographs * mean / workers
        plain = simulate(seconds, given.photographs, workers, needs) + STARTING
        dying = simulate(seconds, given.photographs, workers, needs, given.deaths) + STARTING
        print(f"| {workers} | {told(plain)} | {ideal / plain:.1%} | {told(dying)} |")


if __name__ == "__main__":
    main()
