"""What tests of the cluster share: small folders of eyes, programmes, a crew that does as a script says."""

import json
from collections import deque
from contextlib import contextmanager

import tiny_package

from foveate import models
from foveate.cluster.inventory import Item
from foveate.cluster.job import Programme
from foveate.cluster.ledger import Entry
from foveate.cluster.worker import Done, Joined
from foveate.engines.choice import Choice
from foveate.version import version
from foveate.writers import Burden, Row

ONE_THREAD = Choice(engine="onnx", threads=1)


def folder(place, count=4):
    """Write some drawn eyes into two folders, and a file that is no photograph."""
    for number in range(count):
        tiny_package.photograph(place / f"clinic{number % 2}" / f"eye{number:03}.png", seed=number)
    (place / "notes.txt").write_text("no photograph")
    return place


def programme(source, target, model, **changes):
    return Programme(
        **{
            "source": str(source),
            "target": str(target),
            "package": models.load(model),
            "choice": ONE_THREAD,
            **changes,
        }
    )


def results(out):
    """Everything that a run wrote, but for what only a run by workers has and what holds times."""
    own = ("manifest", "run.json", "summary.parquet")
    files = (path for path in out.rglob("*") if path.is_file())
    named = {path.relative_to(out).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if name.split("/")[0] not in own}


def said(log):
    """The events of a log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def row(name, **changes):
    """A row as a photograph without lesions has."""
    burdens = {
        code: Burden(count=0, area_px=0, area_fraction=0.0, area_mm2=None)
        for code in tiny_package.CONTRACT.lesions
    }
    return Row(
        **{"name": name, "status": "ok", "key": name, "digest": "d" * 64, "burdens": burdens, **changes}
    )


def done(item: Item, **changes) -> Entry:
    """An entry as of a photograph that went well at its first try."""
    return Entry(
        **{
            "row": row(item.name),
            "stamp": item.stamp,
            "worker": "w1",
            "seconds": {"looking": 1.0},
            "tries": item.tries + 1,
            **changes,
        }
    )


class Scripted:
    """A crew whose workers answer at once: what `answer` returns for a shard, or raises.

    Args:
        answer: called with a shard; returns entries, or an event.
        workers: that join.
    """

    def __init__(self, answer, workers=1, **facts):
        self.sent = []
        self.most = 0
        """Shards that were under way at the same time."""
        self._answer = answer
        self._workers = workers
        self._events = deque(self._joined(f"w{number + 1}", **facts) for number in range(workers))
        self._under_way = deque()

    @contextmanager
    def __call__(self, assignment, package):
        self.assignment = assignment
        yield self

    def room(self):
        return 2 * self._workers - len(self._under_way)

    def send(self, shard):
        self.sent.append(shard)
        self._under_way.append(shard)
        self.most = max(self.most, len(self._under_way))

    def next(self, seconds):
        if self._events:
            return self._events.popleft()
        shard = self._under_way.popleft()
        answer = self._answer(shard)
        if isinstance(answer, tuple):
            return Done(worker="w1", shard=shard, entries=answer, peak_mb=100)
        return answer

    def close(self):
        return []

    @staticmethod
    def _joined(name, **facts):
        return Joined(
            **{
                "worker": name,
                "host": "here",
                "process": 1,
                "foveate": version(),
                "label": "fake",
                "versions": {},
                **facts,
            }
        )
