"""Values that describe a run over a source of any size: the job, its status and its report.

Knows:   the options of a run, which photographs it includes, and when a target is free.
Ignores: how the run proceeds (`driver`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from foveate import atomic_files, writers
from foveate.cluster.addresses import open_store
from foveate.cluster.inventory import Inventory, Share
from foveate.cluster.ledger import Ledger
from foveate.cluster.stores import FileStore
from foveate.cluster.worker import Assignment
from foveate.engines.choice import EngineChoice, resolve
from foveate.errors import OutputError, PhotographError, SettingError
from foveate.inference import targets
from foveate.inference.settings import DEFAULTS, Settings
from foveate.models import Package
from foveate.paths import display_path
from foveate.photographs import MANIFEST_FILE, RESULT_MARK_BYTES, SUFFIXES, is_result_mark
from foveate.wording import quantity
from foveate.writers import MapFormat, result_paths

MAX_ATTEMPTS = 3
"""Attempts at a photograph before it is recorded as failed. Our choice."""

WRITING_SECONDS = 300.0
"""Age from which an unfinished file belongs to a killed worker. Our choice: the files of a photograph are
written in seconds."""

ALL = Share()
"""All photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterJob:
    """The description of a run: its source, target, model and settings."""

    source: str
    """Address of a store with photographs: a folder, or 's3://bucket/prefix'."""
    target: str
    """Address of a store for the results."""
    package: Package
    choice: EngineChoice
    """Engine, precision and the threads of each worker."""
    settings: Settings = DEFAULTS
    format: MapFormat = "png"
    resume: bool = False
    """Whether to continue the run whose results the target holds."""
    share: Share = ALL
    """Which part of the photographs this run processes."""
    max_attempts: int = MAX_ATTEMPTS
    """Attempts at a photograph before it is recorded as failed."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise SettingError(f"--tries is {self.max_attempts}; give 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """The progress of a run, as numbers of photographs of its share."""

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
    """Number of deaths of workers."""
    workers: int
    """Number of workers that are ready."""
    seconds: float
    """Time since the first worker was ready."""

    @property
    def done(self) -> int:
        """Photographs that need no more work."""
        return self.done_before + self.ok + self.failed

    @property
    def rate(self) -> float:
        """Photographs per second; 0 before the first is done."""
        return (self.ok + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Remaining time at that rate; None if the rate is 0."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterReport:
    """The outcome of a run."""

    status: RunStatus
    """The status at the end of the run."""
    skipped: int
    """Files that are not photographs."""
    startup_seconds: float
    """Time until the first worker was ready."""
    has_tables: bool
    """Whether summary and run.json were written; a share writes neither, because it does not know
    the results of the others."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that compute, by name."""


def make_assignment(job: ClusterJob) -> Assignment:
    """Return the assignment of all workers. Engine and precision are resolved once, on this machine."""
    engine, precision = resolve(job.choice, job.package)
    settings = job.settings
    return Assignment(
        source=job.source,
        target=job.target,
        choice=EngineChoice(engine=engine, precision=precision, threads=job.choice.threads or 1),
        settings=replace(settings, thresholds=dict(settings.thresholds)),  # a read-only view cannot be sent
        format=job.format,
    )


def list_photographs(job: ClusterJob) -> Inventory:
    """Return the photographs of a source, named and in order; existing results are not considered.

    Raises:
        PhotographError: there is no photograph, or the source cannot be listed.
        ClusterError: the source cannot be reached.
    """
    source = open_store(job.source)
    inventory = Inventory(source.list_files(exclude=job.target, without_results=True), job.share)
    if inventory.is_empty():
        with inventory:
            raise PhotographError(
                f"{source.display_path()}: holds no photograph, "
                f"{quantity(inventory.skipped, 'other file')}; "
                f"photographs end in {', '.join(sorted(SUFFIXES))}"
            )
    return inventory


def require_free_target(job: ClusterJob, target: FileStore) -> None:
    """Check that a target can be written, and that results would not mix with those of another run.

    Raises:
        OutputError: it cannot be written; it holds results and the job does not resume them.
        ClusterError: it cannot be reached.
    """
    present = [name for name in (MANIFEST_FILE, *targets.RESULTS) if _contains(target, name)]
    records = {
        name: is_result_mark(name, (target.read(name) or b"")[:RESULT_MARK_BYTES])
        for name in (MANIFEST_FILE, targets.RUN_FILE)
        if name in present
    }
    targets.require_free(
        target.display_path(),
        present,
        records,
        resume=job.resume,
        no_record=f"neither {targets.RUN_FILE} nor {MANIFEST_FILE}",
    )
    if job.share.of == 1:
        remove_partial_files(target)
    elif target.folder is not None:
        atomic_files.require_writable(target.folder)  # another share may be writing at this moment


def remove_partial_files(target: FileStore) -> None:
    """Check that a folder can be written, and remove partial files that killed workers left.

    It is also called at the end of a run, because workers may outlive a killed driver by seconds. Younger
    files than `WRITING_SECONDS` stay, since another run may be writing them.

    Raises:
        OutputError: it cannot be written.
    """
    if target.folder is not None:
        writers.prepare(target.folder, min_age=WRITING_SECONDS)


def mark_finished(inventory: Inventory, ledger: Ledger, target: FileStore) -> int:
    """Mark the photographs that earlier runs have done in an inventory; return their number.

    A photograph is done if a line of the ledger says so, its file is unchanged, and its result exists. If a
    result exists without a line, the worker that receives the photograph checks the result first.

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
            f"{target.display_path()}: contains results of {quantity(unknown_count, 'photograph')} not in "
            f"the source, such as {display_path(unknown_name)}; add them to the source, or choose another "
            "--out"
        )
    before = inventory.remaining()[0]
    for name, stamp, line in ledger.successes():
        inventory.mark_done(name, stamp, line)
    return before - inventory.remaining()[0]


def _contains(target: FileStore, name: str) -> bool:
    """Return whether a target has a file, or a file in a folder of that name."""
    if name in result_paths.FOLDERS:
        return next(iter(target.list_files(name)), None) is not None
    return target.read(name) is not None
