"""A run over a source of any size, as values: what is asked for, its status, its report.

Knows:   what a person asks for, which photographs are meant, and when a target is free.
Ignores: how the run is done (`driver`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from foveate import atomic_files, writers
from foveate.cluster import ledger
from foveate.cluster.addresses import open_store
from foveate.cluster.inventory import Inventory, Share
from foveate.cluster.ledger import Ledger
from foveate.cluster.stores import FileStore
from foveate.cluster.worker import Assignment
from foveate.engines.choice import EngineChoice, resolve
from foveate.errors import OutputError, PhotographError, SettingError
from foveate.inference import batch
from foveate.inference.settings import DEFAULTS, Settings
from foveate.models import Package
from foveate.photographs import SUFFIXES
from foveate.writers import Format, result_paths

MAX_ATTEMPTS = 3
"""Attempts at a photograph before it is recorded as failed. Our choice."""

ALL = Share()
"""All photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterJob:
    """What is to be done."""

    source: str
    """Address of a store with photographs: a folder, or 's3://bucket/prefix'."""
    target: str
    """Address of a store for the results."""
    package: Package
    choice: EngineChoice
    """Engine, precision and the threads of each worker."""
    settings: Settings = DEFAULTS
    format: Format = "png"
    resume: bool = False
    """Continue the run that the target holds."""
    share: Share = ALL
    """Which part of the photographs this run processes."""
    max_attempts: int = MAX_ATTEMPTS
    """At a photograph, before it is recorded as failed."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise SettingError(f"tries is {self.max_attempts}; give 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """How far a run is, in photographs of its share."""

    total: int
    done_before: int
    """Done by earlier runs."""
    ok: int
    """Done by this run."""
    failed: int
    """Recorded as failed."""
    retries: int
    """Attempts that failed and were followed by another."""
    workers_lost: int
    """How often a worker died."""
    workers: int
    """Workers that are ready."""
    seconds: float
    """Since the first worker was ready."""

    @property
    def done(self) -> int:
        """Photographs that need nothing more."""
        return self.done_before + self.ok + self.failed

    @property
    def rate(self) -> float:
        """Photographs a second; 0 before the first."""
        return (self.ok + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At that rate; None where it is 0."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterReport:
    """The outcome of a run."""

    status: RunStatus
    """At its end."""
    skipped: int
    """Files that are not photographs."""
    startup_seconds: float
    """Until the first worker was ready."""
    has_tables: bool
    """Whether summary and run.json were written; a share writes none, as it knows nothing of the others."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that compute, by name."""


def make_assignment(job: ClusterJob) -> Assignment:
    """Return what all workers do. Engine and precision are resolved on this machine, once for all."""
    engine, precision = resolve(job.choice)
    settings = job.settings
    return Assignment(
        source=job.source,
        target=job.target,
        choice=EngineChoice(engine=engine, precision=precision, threads=job.choice.threads or 1),
        settings=replace(settings, thresholds=dict(settings.thresholds)),  # a read-only view cannot be sent
        format=job.format,
    )


def list_photographs(job: ClusterJob) -> Inventory:
    """Return the photographs of a source, named and in order; existing results are not looked for.

    Raises:
        PhotographError: there is none, or the source cannot be listed.
        ClusterError: it cannot be reached.
    """
    source = open_store(job.source)
    inventory = Inventory(source.list_files(exclude=job.target, without_results=True), job.share)
    if inventory.is_empty():
        with inventory:
            raise PhotographError(
                f"{source.display_path()}: holds no photograph, {inventory.skipped} other files; "
                f"photographs end in {', '.join(sorted(SUFFIXES))}"
            )
    return inventory


def require_free_target(job: ClusterJob, target: FileStore) -> None:
    """Check that a target can be written, and that results would not mix with those of another run.

    Raises:
        OutputError: it cannot be written; it holds results and the job does not resume them.
        ClusterError: it cannot be reached.
    """
    results = [name for name in (ledger.REQUEST_FILE, *batch.RESULTS) if _contains(target, name)]
    if results and not job.resume:
        raise OutputError(
            f"{target.display_path()}: already holds {results[0]}; go on with that run by --resume, or "
            "choose another --out"
        )
    if results and not {ledger.REQUEST_FILE, "run.json"} & set(results):
        raise OutputError(
            f"{target.display_path()}: holds {results[0]} but neither run.json nor a manifest, so no run to "
            "--resume; choose another --out"
        )
    if job.share.of == 1:
        remove_partial_files(target)
    elif target.folder is not None:
        atomic_files.require_writable(target.folder)  # another share may be writing at this moment


def remove_partial_files(target: FileStore) -> None:
    """Check that a folder can be written, and remove files that killed workers left half-written.

    It is called at the end of a run too: workers may outlive a killed driver by seconds.

    Raises:
        OutputError: it cannot be written.
    """
    if target.folder is not None:
        writers.prepare(target.folder)


def mark_finished(inventory: Inventory, manifest: Ledger, target: FileStore) -> int:
    """Note in an inventory what earlier runs have done; return how many photographs that is.

    A photograph is done where a line of the manifest says so, its file is the same, and its result exists.
    Where a result exists without a line, the worker that gets the photograph checks the result first.

    Raises:
        OutputError: the target holds results of photographs that are not in the source.
    """
    unknown_count, unknown_name = 0, ""
    for file in target.list_files("regions"):
        name = file.path.removeprefix("regions/").removesuffix(".json")
        if file.path.endswith(".json") and not inventory.mark_result(name):
            unknown_count, unknown_name = unknown_count + 1, name
    if unknown_count:
        raise OutputError(
            f"{target.display_path()}: holds results of {unknown_count} photographs that are not in the "
            f"source, such as {unknown_name}; give them as well, or choose another --out"
        )
    before = inventory.remaining()[0]
    for name, stamp, line in manifest.successes():
        inventory.mark_done(name, stamp, line)
    return before - inventory.remaining()[0]


def _contains(target: FileStore, name: str) -> bool:
    """Return whether a target has a file, or a file in a folder of results."""
    if name in result_paths.FOLDERS:
        return next(iter(target.list_files(name)), None) is not None
    return target.read(name) is not None
