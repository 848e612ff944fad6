"""The head of a run: photographs go out in shards, and something is done about whatever comes back.

Knows:   in which order a run goes; retries, what is set aside, when a run must end.
Ignores: where workers are, what stores are made of, and how a photograph is looked at.

Whatever stops a run at whatever moment, another with `resume` finishes it; no photograph is then written a
second time, and the tables are those of a run that nothing stopped.
"""

import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from foveate.cluster import job, journal, ledger, stores, summaries
from foveate.cluster.crews import Crew, Event, Lost
from foveate.cluster.inventory import Inventory, Item
from foveate.cluster.job import Programme, Report, Standing
from foveate.cluster.journal import Journal
from foveate.cluster.ledger import Entry, Ledger
from foveate.cluster.stores import Store
from foveate.cluster.worker import Assignment, Done, Joined, Shard, failed
from foveate.errors import ClusterError, OutputError
from foveate.inference import batch
from foveate.models import Package
from foveate.version import version
from foveate.writers import Order

SHARD = 16
"""Photographs that are handed out together at most: a shard takes a minute or so, its messages milliseconds.
Our choice."""

PARTS = 4
"""A shard is at most this part of what each worker still has before it: towards the end shards shrink to one
photograph, so that no worker is left alone with a large one. Source: guided self-scheduling,
Polychronopoulos and Kuck 1987, doi:10.1109/TC.1987.5009495; there it is 1."""

BEATEN = 10
"""So many photographs set aside in a row because the target refuses them end a run."""

WAKE_SECONDS = 1.0
"""After so long without an event, whoever watches is told all the same."""

START_SECONDS = 900
"""In which the first worker must join: a cluster that grows on demand takes minutes to add a machine."""

CrewOf = Callable[[Assignment, Package], AbstractContextManager[Crew]]
"""Gets workers together, and lets them go at the end."""

Tell = Callable[[Standing], None]
"""Told as a run goes on."""


def run(
    asked: Programme, crew_of: CrewOf, *, log: str | None = None, tell: Tell = lambda standing: None
) -> Report:
    """Look at all photographs of a source and write their results to a target.

    A photograph that fails is tried again, after all others; after its last try it is set aside with its
    error. Where a worker dies, the photographs that it had go to others, each by itself, so that one that
    kills workers is found out.

    Args:
        asked: what is to be done.
        crew_of: gets the workers.
        log: a file for JSON lines, 'stderr' for standard error, None for none.
        tell: called as the run goes on.

    Raises:
        PhotographError: the source holds no photograph.
        LesionError, SettingError: the settings do not fit the model; nothing was computed.
        OutputError: the target is not free, or refuses to be written.
        ClusterError: the cluster or a bucket cannot be reached, or workers do not fit.
    """
    batch.require(asked.package, asked.settings)  # refused now rather than at the first photograph
    target = stores.opened(asked.target)
    job.require_free(asked, target)
    started = datetime.now(UTC)
    name = ledger.run_name(started)
    with ExitStack() as stack:
        told = stack.enter_context(journal.opened(log, name))
        inventory = stack.enter_context(job.listed(asked))
        begun = time.monotonic()
        crew = stack.enter_context(crew_of(job.assigned(asked), asked.package))
        head = Head(
            Duty(asked=asked, inventory=inventory, target=target, crew=crew, told=told, tell=tell), name
        )
        try:
            head.start(begun)
            head.work()
        except BaseException as error:
            head.stopped(error)
            raise
        if asked.share.of == 1:
            job.tidy(target)
            summaries.write(inventory, target, head.order(), head.report(), started)
        head.ended()
        return head.report()


@dataclass(frozen=True, kw_only=True, slots=True)
class Duty:
    """What a head of a run is given."""

    asked: Programme
    inventory: Inventory
    target: Store
    crew: Crew
    told: Journal
    tell: Tell


class Head:
    """Hands out shards until every photograph is done or set aside.

    Args:
        duty: all it works with.
        name: of the run.
    """

    def __init__(self, duty: Duty, name: str) -> None:
        self._asked = duty.asked
        self._inventory = duty.inventory
        self._target = duty.target
        self._crew = duty.crew
        self._told = duty.told
        self._tell = duty.tell
        self._book = Ledger(duty.target, name)
        self._again: deque[Item] = deque()
        self._under_way: dict[int, Shard] = {}
        self._numbers = 0
        self._fresh = duty.inventory.waiting()
        self._left = 0
        self._ready: dict[str, Joined] = {}
        self._first: Joined | None = None
        self._counts: Counter[str] = Counter()
        self._total = duty.inventory.total()[0]
        self._beaten = 0
        self._since = time.monotonic()
        self._starting = 0.0

    def start(self, begun: float) -> None:
        """Wait for a worker, see that the target was begun with the same order, find out what is done.

        Args:
            begun: when the workers were called, by the monotonic clock.
        """
        while self._first is None:
            event = self._crew.next(WAKE_SECONDS)
            if event is not None:
                self._meet(event)
            elif time.monotonic() - begun > START_SECONDS:
                raise ClusterError(
                    f"no worker has joined in {START_SECONDS} s; see that the cluster has processors to spare"
                )
        self._since = time.monotonic()
        self._starting = self._since - begun
        self._told.know(self._book.agree(self.order()))
        if self._asked.resume:
            self._counts["kept"] = job.resumed(self._inventory, self._book, self._target)
        self._told.say("began", **self._facts())
        self._watched()

    def work(self) -> None:
        """Hand out all photographs, and see to what comes back."""
        self._left = self._inventory.left()[0]
        while self._left or self._again or self._under_way:
            while self._crew.room() > 0 and (self._left or self._again):
                self._send(self._next_items())
            event = self._crew.next(WAKE_SECONDS)
            if event is not None:
                self._meet(event)
            self._watched()
        self._book.put()

    def stopped(self, error: BaseException) -> None:
        """Keep what is complete, and send the workers home."""
        for done in self._crew.close():
            for entry in done.entries:
                if entry.row.status == "ok":
                    self._note(entry)
        with contextlib.suppress(OutputError, ClusterError):  # most likely why the run ends
            self._book.put()
        counts = self._counts
        self._told.say("stopped", why=type(error).__name__, ok=counts["ok"], failed=counts["failed"])

    def ended(self) -> None:
        """Say in the log that all is done."""
        standing = self._standing()
        self._told.say(
            "ended",
            ok=standing.ok,
            failed=standing.failed,
            kept=standing.kept,
            seconds=round(standing.seconds, 3),
            starting=round(self._starting, 3),
            driver_peak_mb=journal.peak_mb(),
        )

    def order(self) -> Order:
        """Return what is asked for each photograph."""
        asked = self._asked
        return batch.order("", asked.package, self._one().label, asked.settings, asked.format)

    def report(self) -> Report:
        """Return what came of the run so far."""
        return Report(
            standing=self._standing(),
            skipped=self._inventory.skipped,
            starting=self._starting,
            tables=self._asked.share.of == 1,
            versions=self._one().versions,
        )

    def _next_items(self) -> tuple[Item, ...]:
        """Return what goes out next: first whatever nobody has had, then what failed, one by one."""
        if not self._left:
            return (self._again.popleft(),)
        count = size(self._left, len(self._ready))
        items = tuple(itertools.islice(self._fresh, count))
        self._left -= len(items)
        return items

    def _send(self, items: tuple[Item, ...]) -> None:
        self._numbers += 1
        shard = Shard(number=self._numbers, items=items)
        self._under_way[shard.number] = shard
        self._crew.send(shard)

    def _meet(self, event: Event) -> None:
        """See to an event."""
        if isinstance(event, Joined):
            self._join(event)
        elif isinstance(event, Lost):
            self._lose(event)
        else:
            self._take(event)

    def _join(self, worker: Joined) -> None:
        """Count a worker in, unless it would not do what the others do."""
        first = worker if self._first is None else self._first
        if (worker.foveate, worker.label) != (version(), first.label):
            raise ClusterError(
                f"worker {worker.worker} on {worker.host} has Foveate {worker.foveate}, {worker.label}; "
                f"others have Foveate {version()}, {first.label}; install the same on all nodes"
            )
        self._first = first
        self._ready[worker.worker] = worker
        self._told.say("joined", worker=worker.worker, host=worker.host, process=worker.process)

    def _lose(self, lost: Lost) -> None:
        """Take back what a worker had that died: each photograph goes out again, by itself.

        Which of several killed it, if one did, cannot be known; of one alone the death counts as a failure.
        """
        self._ready.pop(lost.worker, None)
        items = () if lost.shard is None else lost.shard.items
        self._counts["lost"] += lost.first
        self._told.say("lost", worker=lost.worker, why=lost.why, photographs=len(items))
        if lost.shard is not None:
            del self._under_way[lost.shard.number]
        if len(items) > 1:
            self._again.extend(replace(item, lies=True) for item in items)
        for item in items if len(items) == 1 else ():
            where = stores.opened(self._asked.source).shown(item.path)
            told = f"{where}: the worker that looked at it died ({lost.why}); start fewer beside each other"
            self._settle(item, failed(item, told, kind=lost.why, worker=lost.worker))

    def _take(self, done: Done) -> None:
        """Take in what a worker has done."""
        del self._under_way[done.shard.number]
        for item, entry in zip(done.shard.items, done.entries, strict=True):
            self._settle(item, entry)
        self._told.say("shard", worker=done.worker, photographs=len(done.entries), peak_mb=done.peak_mb)

    def _settle(self, item: Item, entry: Entry) -> None:
        """Note what came of a photograph, or have it tried again.

        Raises:
            OutputError: no other photograph can be done, as on a full disk.
            ClusterError: the same, as where a bucket cannot be reached.
        """
        if entry.row.status == "failed" and entry.tries < self._asked.tries:
            self._counts["again"] += 1
            self._told.say("again", photograph=self._told.name(item.name), kind=entry.kind, tries=entry.tries)
            self._again.append(replace(item, tries=entry.tries, lies=True))
            return
        refused = entry.kind == OutputError.__name__
        self._beaten = self._beaten + 1 if refused else 0
        if entry.stop or self._beaten >= BEATEN:
            kind = OutputError if refused else ClusterError
            raise kind(entry.stop or entry.row.error)
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        """Write down what came of a photograph."""
        text = ledger.line(entry)
        self._inventory.put(entry.row.name, text)
        self._book.add(text)
        self._counts[entry.row.status] += 1
        self._told.say(
            "photograph",
            photograph=self._told.name(entry.row.name),
            status=entry.row.status,
            kind=entry.kind,
            tries=entry.tries,
            worker=entry.worker,
            seconds={what: round(seconds, 3) for what, seconds in entry.seconds.items()},
            lay=entry.lay,
        )

    def _facts(self) -> dict[str, object]:
        """What the log says of a run that begins."""
        total, size_bytes = self._inventory.total()
        share = self._asked.share
        return {
            "foveate": version(),
            "model": self._asked.package.digest,
            "engine": self._one().label,
            "photographs": total,
            "bytes": size_bytes,
            "left": self._inventory.left()[0],
            "share": f"{share.index}/{share.of}",
        }

    def _one(self) -> Joined:
        """The worker that joined first."""
        if self._first is None:
            raise ClusterError("no worker has joined yet")
        return self._first

    def _standing(self) -> Standing:
        counts = self._counts
        return Standing(
            total=self._total,
            kept=counts["kept"],
            ok=counts["ok"],
            failed=counts["failed"],
            again=counts["again"],
            lost=counts["lost"],
            workers=len(self._ready),
            seconds=time.monotonic() - self._since,
        )

    def _watched(self) -> None:
        self._tell(self._standing())


def size(left: int, workers: int) -> int:
    """Return how many photographs go out together.

    Args:
        left: photographs that nobody has had.
        workers: that are ready.
    """
    return max(1, min(SHARD, left // (PARTS * max(1, workers))))
