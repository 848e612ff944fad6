"""Photographs in, results out: who waits, who is looked at, and what becomes of those that fail.

Knows:   the queue, its bound, what a lost or slow worker means, when results expire.
Ignores: HTTP, and how a photograph is looked at.

Every photograph that is accepted ends as done, or as failed with a reason: the queue lies on the disk, what
was under way when the server ended is begun again, and one that ends a worker three times is given up.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveate.inference.pipeline import FieldChoice
from foveate.server.http import errors
from foveate.server.http.metrics import Metrics
from foveate.server.jobs import worker_pool
from foveate.server.jobs.events import News
from foveate.server.jobs.tasks import Facts, Refused
from foveate.server.jobs.worker_pool import Hand
from foveate.server.options import Limits
from foveate.server.review.corrections import present_of
from foveate.server.storage import names
from foveate.server.storage.data_dir import Place, Shelf
from foveate.server.storage.database import Record, Store

ATTEMPTS = 3
"""A photograph that took a worker, or the server, down so often is given up."""

SWEEP = 60.0
"""Seconds between two looks for what has expired."""

GUESS = 10.0
"""Seconds that a photograph is expected to take before one was looked at."""

LOG = logging.getLogger("foveate.server")

STATUS = {"too_many_pixels": 413, "unreadable": 422, "refused": 422, "no_field": 422, "no_space": 507}
"""Of what the desk refuses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What someone submits."""

    name: str
    """As people read it."""
    batch: str | None = None
    field: FieldChoice = "auto"
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Everyone who works for the server."""

    desk: Hand
    """Receives photographs and writes files."""
    lookers: Sequence[Hand]


@dataclass(eq=False, slots=True)
class _Under:
    """A photograph that is looked at."""

    hand: Hand
    progress: float = 0.0


@dataclass(eq=False)
class _Waiting:
    """Photographs that are being received: they have a place in the queue already."""

    receiving: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Jobs:
    """The queue and those who work on it."""

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        working: Crew,
        limits: Limits,
        *,
        news: News,
        metrics: Metrics,
        tell: Callable[[Record], None],
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._crew = working
        self._limits = limits
        self._news = news
        self._metrics = metrics
        self._tell = tell
        self._desk = threading.Lock()
        self._waiting = _Waiting()
        self._under: dict[str, _Under] = {}
        self._wake = threading.Condition()
        self._closing = threading.Event()
        self._seconds = GUESS
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin again what was under way, and look at whatever waits."""
        self._store.resume()
        self._shelf.keep_only(frozenset(self._store.identifiers()))
        for hand in self._crew.lookers:
            self._begin(self._work, hand)
        self._begin(self._sweep)

    def close(self) -> None:
        """Stop; what is under way is begun again when the server is."""
        self._closing.set()
        with self._wake:
            self._wake.notify_all()
        for hand in (*self._crew.lookers, self._crew.desk):
            hand.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def queue(self) -> dict[str, int]:
        """Return how many wait, and how many are looked at."""
        return {"waiting": self._store.states()["queued"], "under_way": len(self._under)}

    def progress(self, identifier: str) -> float:
        """Return the share of a photograph under way that is done."""
        under = self._under.get(identifier)
        return under.progress if under else 0.0

    # Submitting

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue while a photograph is received.

        Raises:
            Problem: the queue or the disk is full.
        """
        with self._waiting.lock:
            waiting = self._store.states()["queued"] + self._waiting.receiving
            if waiting >= self._limits.waiting:
                seconds = max(1, min(60, round(self._seconds / len(self._crew.lookers))))
                raise errors.full(waiting, seconds)
            if self._shelf.free() < self._limits.free:
                raise errors.no_space()
            self._waiting.receiving += 1
        try:
            yield
        finally:
            with self._waiting.lock:
                self._waiting.receiving -= 1

    def submit(self, upload: Path, wanted: Submission) -> Record:
        """Receive a photograph that lies on our disk, and put it into the queue.

        Args:
            upload: the file; it is moved.
            wanted: what is to become of it.

        Raises:
            Problem: it is no photograph that can be read, or there is no such batch.
        """
        identifier = uuid.uuid4().hex
        place = self._shelf.place(identifier)
        if wanted.batch is not None and self._store.batch(wanted.batch) is None:
            raise errors.not_found("batch")
        try:
            place.folder.mkdir()
            upload.rename(place.upload)
            told = self.at_desk(
                {"task": "receive", "folder": str(place.folder), "pixels": self._limits.pixels}
            )
            record = self._add(identifier, wanted, told)
        except BaseException:
            self._shelf.delete(place.folder)
            raise
        self._tell(record)
        self._stir()
        return record

    def _add(self, identifier: str, wanted: Submission, told: Facts) -> Record:
        with self._waiting.lock:  # so that two of a batch do not get one key
            key = names.key(wanted.name)
            if wanted.batch is not None:
                key = names.apart(key, self._store.keys(wanted.batch))
            return self._store.add(
                {
                    "id": identifier,
                    "batch": wanted.batch,
                    "name": wanted.name,
                    "key": key,
                    "field": wanted.field,
                    "region": wanted.region,
                    "submitted": time.time(),
                    **told,
                }
            )

    def again(self, record: Record, choice: FieldChoice, region: str | None) -> Record:
        """Put a photograph that is done or failed into the queue again.

        Raises:
            Problem: it waits or is looked at, the queue is full, or it is gone.
        """
        if record.state in {"queued", "looking"}:
            raise errors.not_ready("it is in the queue already; wait for it")
        with self.place():
            changed = self._store.update(
                record.id,
                state="queued",
                field=choice,
                region=region,
                attempts=0,
                started=None,
                finished=None,
                error=None,
                facts=None,
                revision=0,
                count=None,
                area_fraction=None,
            )
        if changed is None:
            raise errors.not_found("photograph")
        self._shelf.delete(self._shelf.place(record.id).made)  # of the earlier look
        self._tell(changed)
        self._stir()
        return changed

    def at_desk(self, task: Facts) -> Facts:
        """Let the desk do a task; one at a time.

        Raises:
            Problem: it is refused, or cannot be done.
        """
        with self._desk:
            if self._closing.is_set():
                raise errors.stopping()
            try:
                return self._crew.desk.do(task, lambda share: None, self._limits.seconds)
            except Refused as refused:
                raise errors.Problem(
                    STATUS.get(refused.code, 500), _public(refused.code), refused.message
                ) from refused
            except (worker_pool.LostError, worker_pool.TooSlowError, worker_pool.CancelledError) as error:
                if self._closing.is_set():
                    raise errors.stopping() from error
                LOG.warning("the desk was lost (%s) and is replaced", type(error).__name__)
                line = "it takes too much time or memory to read; export it again, or scale it down"
                raise errors.Problem(422, "unreadable", line) from error

    # Deleting

    def delete(self, identifier: str) -> bool:
        """Delete a photograph and all that was made of it; say whether it was there."""
        record = self._store.get(identifier)
        if record is None or not self._store.delete(identifier):
            return False
        under = self._under.get(identifier)
        if under is not None:
            under.hand.cancel()
        self._shelf.delete(self._shelf.place(identifier).folder)
        self._news.tell("deleted", {"id": identifier, "batch": record.batch})
        return True

    # Working

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stir(self) -> None:
        with self._wake:
            self._wake.notify_all()
        self._news.tell("queue", self.queue())

    def _work(self, hand: Hand) -> None:
        """Look at one photograph after another."""
        while not self._closing.is_set():
            record = self._store.take(time.time())
            if record is None:
                with self._wake:
                    if not self._closing.is_set():
                        self._wake.wait(timeout=1.0)
                continue
            try:
                self._look(hand, record)
            except Exception as error:  # whatever it was: the queue goes on
                LOG.error("%s while looking at a photograph", type(error).__name__)
                self._fail(record, "crashed", errors.CRASHED)
            finally:
                self._under.pop(record.id, None)
                if self._store.get(record.id) is None:  # deleted meanwhile: what was written since goes too
                    self._shelf.delete(self._shelf.place(record.id).folder)
            self._news.tell("queue", self.queue())

    def _look(self, hand: Hand, record: Record) -> None:
        place = self._shelf.place(record.id)
        under = self._under[record.id] = _Under(hand)
        self._tell(record)
        if record.attempts > ATTEMPTS:
            self._fail(
                record, "crashed", f"it ended a worker {ATTEMPTS} times; scale it down, or send it to us"
            )
            return

        def watch(share: float) -> None:
            under.progress = share
            told = {"id": record.id, "batch": record.batch, "progress": round(share, 3)}
            self._news.tell("progress", told)

        begun = time.monotonic()
        try:
            facts = hand.do(self._task(record, place), watch, self._limits.seconds)
        except Refused as refused:
            self._fail(record, refused.code, refused.message)
        except worker_pool.TooSlowError:
            line = f"it took longer than {self._limits.seconds:g} s; scale it down"
            self._fail(record, "too_slow", line)
        except (worker_pool.LostError, worker_pool.CancelledError):
            if not self._closing.is_set():
                LOG.warning("a worker ended in the middle of a photograph and is replaced")
            self._store.update(record.id, state="queued", started=None)
        else:
            seconds = time.monotonic() - begun
            self._seconds += (seconds - self._seconds) / 4
            self._done(record, facts, seconds)

    def _task(self, record: Record, place: Place) -> Facts:
        look = {
            "key": record.key,
            "field": record.field,
            "region": record.region,
            "pixels": self._limits.pixels,
        }
        return {"task": "look", "folder": str(place.folder), "look": look}

    def _done(self, record: Record, facts: Facts, seconds: float) -> None:
        counts = facts.pop("counts")
        latest = self._store.get(record.id)
        if latest is None:
            return
        present = present_of(facts, counts, latest.thresholds)
        finished = self._store.finish(record.id, facts, counts, present, time.time())
        self._metrics.looked(seconds, "done")
        if finished is not None:
            self._tell(finished)

    def _fail(self, record: Record, code: str, message: str) -> None:
        self._metrics.looked(0.0, "failed")
        error = {"code": code, "message": message}
        failed = self._store.update(record.id, state="failed", error=error, finished=time.time())
        if failed is not None:
            self._tell(failed)

    def _sweep(self) -> None:
        """Delete what has expired, every now and then."""
        while not self._closing.wait(SWEEP if self._limits.keep else None):
            self.expire(time.time())

    def expire(self, now: float) -> None:
        """Delete what has expired by a time."""
        if self._limits.keep is not None:
            for identifier in self._store.expired(now - self._limits.keep.total_seconds()):
                self.delete(identifier)


def _public(code: str) -> str:
    """Return the code as the API has it."""
    return "internal" if code == "crashed" else code
