"""One worker: a model, opened once, that predicts photographs of a source and writes results to a target.

Knows:   how a photograph is read from a store, its results are written, and a failure is recorded.
Ignores: how photographs are distributed, and how failures are retried.

A photograph is processed by `photograph_job.process_photograph`, as in a run on a single machine, so that the
files are the same. If the target is a folder, they are written there directly. For a bucket they are made
in a scratch folder and uploaded; the regions' JSON is uploaded last, so that it proves that the other files
exist.
"""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.cluster.addresses import open_store
from foveate.cluster.event_log import peak_memory_mb
from foveate.cluster.inventory import WorkItem
from foveate.cluster.ledger import LedgerEntry
from foveate.cluster.scratch import ScratchFolder
from foveate.concurrency import WorkCancelled
from foveate.engines.choice import EngineChoice, open_engine
from foveate.errors import ClusterError, FoveateError
from foveate.inference import photograph_job
from foveate.inference.photograph_job import PhotographJob
from foveate.inference.settings import Settings
from foveate.models import Package
from foveate.photographs import PhotographFile
from foveate.version import version
from foveate.writers import (
    EarlierResult,
    MapFormat,
    SummaryRow,
    existing_results,
    maps,
    result_paths,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """The work of all workers of a run, as plain values that can be sent to other machines."""

    source: str
    """Address of the store with the photographs."""
    target: str
    """Address of the store for the results."""
    choice: EngineChoice
    """Engine and precision by name, because the rule might choose others on another machine."""
    settings: Settings
    format: MapFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Photographs that are submitted to a worker together."""

    number: int
    items: tuple[WorkItem, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReady:
    """A worker is ready."""

    worker: str
    host: str
    process: int
    foveate: str
    """Version of Foveate that is installed there."""
    label: str
    """Label of its engine."""
    versions: Mapping[str, str]
    """Versions of the libraries that compute, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """A worker has processed a shard."""

    worker: str
    shard: Shard
    entries: tuple[LedgerEntry, ...]
    """One for each photograph, failures included; fewer only if the run ends."""
    peak_mb: int
    """Peak memory of the worker's process so far, MB."""


class ShardWorker:
    """An opened model between a source and a target.

    Args:
        name: for the ledger and the log.
        assignment: what all workers do.
        package: the model.

    Raises:
        ClusterError: a store cannot be opened.
        SettingError, PackageError: the engine is missing, or does not accept the model.
    """

    def __init__(self, name: str, assignment: Assignment, package: Package) -> None:
        opened = open_engine(package, assignment.choice)
        self._name = name
        self._source = open_store(assignment.source)
        self._target = open_store(assignment.target)
        self._engine = opened.engine
        self._versions = opened.versions
        self._scratch = ScratchFolder()
        self._job = PhotographJob(
            out=self._scratch.path / "results" if self._target.folder is None else self._target.folder,
            package=package,
            settings=assignment.settings,
            format=assignment.format,
        )

    def close(self) -> None:
        """Remove scratch files from this machine."""
        self._scratch.remove()

    def ready_event(self) -> WorkerReady:
        """Return the event that identifies this worker as ready."""
        return WorkerReady(
            worker=self._name,
            host=platform.node(),
            process=os.getpid(),
            foveate=version(),
            label=self._engine.label,
            versions=dict(self._versions),
        )

    def process(self, shard: Shard, check: Callable[[], None] = lambda: None) -> ShardResult:
        """Process all photographs of a shard; a failure does not affect the other photographs.

        Args:
            shard: the photographs.
            check: called at short intervals; when it raises WorkCancelled, the remaining photographs
                are left out.
        """
        entries: list[LedgerEntry] = []
        try:
            for item in shard.items:
                entries.append(self._process_item(item, check))  # noqa: PERF401, an end keeps those before it
        except WorkCancelled:
            pass
        return ShardResult(worker=self._name, shard=shard, entries=tuple(entries), peak_mb=peak_memory_mb())

    def _process_item(self, item: WorkItem, check: Callable[[], None]) -> LedgerEntry:
        """Process one photograph and return its entry; errors are recorded there, not raised."""
        start = time.monotonic()
        try:
            with self._source.local_copy(item.path, self._scratch.path) as file:
                return self._predict(item, file, time.monotonic() - start, check)
        except FoveateError as error:
            fatal_error = str(error) if isinstance(error, ClusterError) else ""
            return self._failure(item, str(error), type(error).__name__, fatal_error)
        except Exception as error:  # a bug in one photograph must not end the run
            text = f"{self._source.display_path(item.path)}: {photograph_job.describe_unexpected(error)}"
            return self._failure(item, text, type(error).__name__, "")

    def _predict(
        self, item: WorkItem, file: Path, fetch_seconds: float, check: Callable[[], None]
    ) -> LedgerEntry:
        """Predict a photograph that is a file of this machine, and write its results to the target."""
        is_bucket = self._target.folder is None
        earlier = self._earlier_result(item, file) if is_bucket and item.has_result else None
        request = self._job.request(item.name, self._engine.label)
        if earlier is not None and (row := earlier.reusable_row(request, None)) is not None:
            return self._success(item, row, {}, reused=True)
        source = PhotographFile(path=file, name=item.name)
        job = replace(self._job, resume=item.has_result and not is_bucket)
        outcome = photograph_job.process_photograph(job, self._engine, source, lambda share: check())
        if outcome.row.status == "failed":
            error = outcome.row.error.replace(str(file), self._source.display_path(item.path))
            if earlier is not None and earlier.may_be_right:
                error = f"{error}; {photograph_job.KEPT}"
            elif earlier is not None:
                self._remove(item)
            return self._failure(item, error, outcome.error_type, "" if outcome.stop is None else error)
        seconds = {"fetching": fetch_seconds, **outcome.seconds}
        if is_bucket:
            with _timed(seconds, "storing"):
                if earlier is not None:
                    self._remove(item)
                self._upload(outcome.row)
        return self._success(item, outcome.row, seconds, reused=outcome.is_reused)

    def _earlier_result(self, item: WorkItem, file: Path) -> EarlierResult | None:
        """Return what the bucket holds of a photograph; None if it holds no JSON of its regions."""
        text = self._target.read(result_paths.regions_file(item.name, ".json"))
        if text is None:
            return None
        digest = photograph_job.photograph_digest(file)
        return EarlierResult(stored=existing_results.parse(text), digest=digest)

    def _remove(self, item: WorkItem) -> None:
        """Remove a photograph's files from the bucket."""
        self._target.remove(self._files(item.name, self._job.package.contract.lesions))

    def _upload(self, row: SummaryRow) -> None:
        """Put a photograph's files into the bucket and remove them from this machine."""
        folder = self._job.out
        try:
            self._target.upload(folder, self._files(row.name, tuple(row.loads)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _files(self, name: str, lesions: Sequence[str]) -> tuple[str, ...]:
        return result_paths.photograph_files(name, lesions, maps.SUFFIX[self._job.format])

    def _success(
        self, item: WorkItem, row: SummaryRow, seconds: Mapping[str, float], *, reused: bool
    ) -> LedgerEntry:
        return LedgerEntry(
            row=row,
            stamp=item.stamp,
            worker=self._name,
            seconds=dict(seconds),
            attempts=item.failed_attempts + 1,
            reused=reused,
        )

    def _failure(self, item: WorkItem, error: str, error_type: str, fatal_error: str) -> LedgerEntry:
        return failure_entry(item, error, error_type=error_type, worker=self._name, fatal_error=fatal_error)


def failure_entry(
    item: WorkItem, error: str, *, error_type: str, worker: str, fatal_error: str = ""
) -> LedgerEntry:
    """Return the entry of a photograph that failed once more."""
    return LedgerEntry(
        row=SummaryRow(name=item.name, status="failed", error=error),
        stamp=item.stamp,
        worker=worker,
        seconds={},
        attempts=item.failed_attempts + 1,
        fatal_error=fatal_error,
        error_type=error_type,
    )


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Record how long the block takes, in seconds."""
    start = time.monotonic()
    yield
    seconds[phase] = time.monotonic() - start
