"""One worker: a model, opened once, that looks at photographs of a source and writes to a target.

Knows:   that a photograph comes from a store and its results go to one; what a failure leaves behind.
Ignores: who hands out the photographs, and what becomes of those that fail.

A photograph is done by `batch.one`, as in a run on a single machine: the same files come out. Where the
target is a folder, they are written right there; for a bucket they are made in a scratch folder and put, the
regions' JSON, which vouches for the rest, last.
"""

import hashlib
import os
import platform
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from foveate import writers
from foveate.cluster import stores
from foveate.cluster.inventory import Item
from foveate.cluster.journal import peak_mb
from foveate.cluster.ledger import Entry
from foveate.concurrency import Ended
from foveate.engines import choice as choices
from foveate.engines.choice import Choice
from foveate.errors import ClusterError, FoveateError
from foveate.inference import batch
from foveate.inference.pipeline import Settings
from foveate.models import Package
from foveate.photographs import Source
from foveate.version import version
from foveate.writers import Format, Row, maps, places


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What all workers of a run do: plain values, so that it can be sent."""

    source: str
    """Address of a store."""
    target: str
    """The same."""
    choice: Choice
    """Engine and precision by name: a rule might choose otherwise on another machine."""
    settings: Settings
    format: Format


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Photographs that are handed out together."""

    number: int
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """A worker is ready."""

    worker: str
    host: str
    process: int
    foveate: str
    """Version that is installed there."""
    label: str
    """Of its engine."""
    versions: Mapping[str, str]
    """Of what computes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A worker has gone through a shard."""

    worker: str
    shard: Shard
    entries: tuple[Entry, ...]
    """One a photograph, failures included; fewer only where the run ends."""
    peak_mb: int
    """Most memory that the worker's process ever took."""


class Worker:
    """A model, open, between a source and a target.

    Args:
        name: for the manifest and the log.
        assignment: what to do.
        package: the model.

    Raises:
        ClusterError: a store cannot be opened.
        SettingError, PackageError: the engine is not there, or refuses the model.
    """

    def __init__(self, name: str, assignment: Assignment, package: Package) -> None:
        opened = choices.open(package, assignment.choice)
        self._name = name
        self._source = stores.opened(assignment.source)
        self._target = stores.opened(assignment.target)
        self._engine = opened.engine
        self._versions = opened.versions
        self._scratch = tempfile.TemporaryDirectory(prefix="foveate-")
        here = Path(self._scratch.name)
        self._job = batch.Job(
            paths=(),
            out=here / "results" if self._target.folder is None else self._target.folder,
            package=package,
            engine=self._engine,
            versions=opened.versions,
            settings=assignment.settings,
            format=assignment.format,
        )

    def close(self) -> None:
        """Remove what lies on this machine only for the work's sake."""
        self._scratch.cleanup()

    def joined(self) -> Joined:
        """Say who is ready."""
        return Joined(
            worker=self._name,
            host=platform.node(),
            process=os.getpid(),
            foveate=version(),
            label=self._engine.label,
            versions=dict(self._versions),
        )

    def look(self, shard: Shard, check: Callable[[], None] = lambda: None) -> Done:
        """Look at all photographs of a shard; one that fails costs the others nothing.

        Args:
            shard: what to look at.
            check: called every now and then; where it raises Ended, the rest is left.
        """
        entries: list[Entry] = []
        try:
            for item in shard.items:
                entries.append(self._entry(item, check))  # noqa: PERF401, those before an end are kept
        except Ended:
            pass
        return Done(worker=self._name, shard=shard, entries=tuple(entries), peak_mb=peak_mb())

    def _entry(self, item: Item, check: Callable[[], None]) -> Entry:
        """Do one photograph, whatever comes of it."""
        begun = time.monotonic()
        try:
            with self._source.fetched(item.path, Path(self._scratch.name)) as file:
                return self._looked(item, file, time.monotonic() - begun, check)
        except FoveateError as error:
            stop = str(error) if isinstance(error, ClusterError) else ""
            return self._failed(item, str(error), type(error).__name__, stop)
        except Exception as error:  # a bug that one photograph of a million brings out costs no other
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(str(error).split())
            what = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {said}"
            return self._failed(
                item, f"{self._source.shown(item.path)}: {what}; please report this", type(error).__name__, ""
            )

    def _looked(self, item: Item, file: Path, fetching: float, check: Callable[[], None]) -> Entry:
        """Look at a photograph that lies on this machine."""
        if self._target.folder is None and item.lies and (row := self._lying(item, file)) is not None:
            return self._made(item, row, {}, lay=True)
        source = Source(path=file, name=item.name)
        job = replace(self._job, resume=item.lies and self._target.folder is not None)
        outcome = batch.one(job, self._engine, source, lambda share: check())
        if outcome.row.status == "failed":
            error = outcome.row.error.replace(str(file), self._source.shown(item.path))
            stop = error if outcome.stop is not None else ""
            return self._failed(item, error, outcome.kind, stop)
        seconds = {"fetching": fetching, **outcome.seconds}
        if self._target.folder is None:
            with _timed(seconds, "storing"):
                self._store(outcome.row)
        return self._made(item, outcome.row, seconds, lay=not outcome.computed)

    def _lying(self, item: Item, file: Path) -> Row | None:
        """Return the row of a result that lies in the bucket and would come out the same again.

        One that would not is removed: what is written next may fail.
        """
        job = self._job
        order = batch.order(item.name, job.package, self._engine.label, job.settings, job.format)
        text = self._target.read(places.regions_file(item.name, ".json"))
        row = None if text is None else writers.vouched(text, order, _digest(file))
        if text is not None and row is None:
            self._target.remove(self._files(item.name, job.package.contract.lesions))
        return row

    def _store(self, row: Row) -> None:
        """Put a photograph's files into the bucket and remove them here."""
        made = self._job.out
        try:
            self._target.take(made, self._files(row.key, tuple(row.burdens)))
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _files(self, key: str, lesions: Sequence[str]) -> tuple[str, ...]:
        return places.of(key, lesions, maps.SUFFIX[self._job.format])

    def _made(self, item: Item, row: Row, seconds: Mapping[str, float], *, lay: bool) -> Entry:
        return Entry(
            row=row,
            stamp=item.stamp,
            worker=self._name,
            seconds=dict(seconds),
            tries=item.tries + 1,
            lay=lay,
        )

    def _failed(self, item: Item, error: str, kind: str, stop: str) -> Entry:
        return failed(item, error, kind=kind, worker=self._name, stop=stop)


def failed(item: Item, error: str, *, kind: str, worker: str, stop: str = "") -> Entry:
    """Return what came of a photograph that failed once more."""
    return Entry(
        row=Row(name=item.name, status="failed", error=error),
        stamp=item.stamp,
        worker=worker,
        seconds={},
        tries=item.tries + 1,
        stop=stop,
        kind=kind,
    )


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[what] = time.monotonic() - begun


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
