"""Segment many photographs, and write their results and a summary to a folder that a later run can resume.

Knows:   which photographs a run has, which earlier run it continues, and how far it is.
Ignores: how a photograph is processed (`photograph_job`), and how progress is displayed.

`resume` finishes an interrupted run. The folder is then the same as after an uninterrupted run, except for
the times in run.json.
"""

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from threading import Lock
from types import MappingProxyType

from foveate import atomic_files, photographs, writers
from foveate.concurrency import OrderedPool
from foveate.engines import Engine
from foveate.errors import OutputError
from foveate.inference import targets
from foveate.inference.photograph_job import (
    PHASES,
    Outcome,
    PhotographJob,
    photograph_digest,
    process_photograph,
)
from foveate.inference.settings import DEFAULTS, Settings, check_settings, lesion_decisions
from foveate.models import Package
from foveate.paths import display_path, real_path
from foveate.photographs import PhotographFile, PhotographFiles
from foveate.wording import quantity
from foveate.writers import (
    DicomRequest,
    MapFormat,
    PredictRequest,
    PredictRun,
    SummaryRow,
    dicom_extra,
    existing_results,
)

RENAMED_CHECKED = 20
"""Number of results, and of photographs for each, that are compared to explain why a run does not match a
folder. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchJob:
    """Which photographs to process, with which model, and where to write the results."""

    paths: Sequence[str]
    """Files, folders and globs."""
    out: Path
    """Folder of the results; it is created if necessary."""
    package: Package
    engine: Engine
    """Runs the package's network."""
    more_engines: Sequence[Engine] = ()
    """Further engines of the same package and label; all engines process photographs in parallel."""
    versions: Mapping[str, str]
    """Name -> version or setting of the engine, for run.json."""
    settings: Settings = DEFAULTS
    format: MapFormat = "png"
    """Format of the probability maps."""
    resume: bool = False
    """Continue the run that the folder holds: results that a new run would reproduce are kept."""
    objects: DicomRequest | None = None
    """DICOM objects to write as well."""

    @property
    def photograph_job(self) -> PhotographJob:
        """How each photograph is processed."""
        return PhotographJob(
            out=self.out,
            package=self.package,
            settings=self.settings,
            format=self.format,
            resume=self.resume,
            objects=self.objects,
        )

    def request(self, name: str) -> PredictRequest:
        """Return the request for the photograph of a name."""
        return self.photograph_job.request(name, self.engine.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a run."""

    done: int
    """Photographs finished, failures included."""
    total: int
    """Photographs of the run."""
    share: float
    """Sum of the completed shares of the photographs in progress, 0 to 1 for each."""
    name: str
    """Name of a photograph in progress, or of the one just finished."""
    row: SummaryRow | None = None
    """The result of the photograph just finished."""
    notice: str = ""
    """A line for people, once before the first photograph: why results of an earlier run are made again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The outcome of a run."""

    rows: tuple[SummaryRow, ...]
    """One row for each photograph, failures included, in order."""
    skipped: int
    """Files in the folders that are not photographs."""
    result_folders: int = 0
    """Folders that were left out because they hold results of Foveate."""
    seconds: float
    """Duration of the run."""
    seconds_each: Mapping[str, float]
    """Photograph's name -> seconds; photographs that an earlier run finished are absent."""
    seconds_by_phase: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Phase -> seconds, summed over all photographs, including those processed at the same time."""
    workers: int = 1
    """Number of photographs processed at the same time."""

    @property
    def failures(self) -> tuple[SummaryRow, ...]:
        """Photographs without a result."""
        return tuple(row for row in self.rows if row.status == "failed")


def run(job: BatchJob, progress: Callable[[Progress], None] = lambda progress: None) -> Report:
    """Segment many photographs and write their results.

    A photograph that fails is listed with its error, and the run continues with the others. If the run ends
    early (a full disk, an interrupt), complete results are kept and listed in the summary, also those of an
    earlier run that this one has not reached.

    Args:
        job: the photographs, the model and the output folder.
        progress: called with the progress of the run, each time it advances.

    Raises:
        PhotographError: the paths name no photograph.
        LesionError, SettingError: the settings do not fit the model, or there is no such format; nothing has
            been computed.
        OutputError: the folder is not free or cannot be written, another run is writing to it, or the disk is
            full.
    """
    check_settings(job.package, job.settings)  # fail now rather than at the first photograph
    job.request("")
    if job.objects is not None:
        dicom_extra.load_writer()  # for the same reason
    files = _list_photographs(job)
    with atomic_files.reserve(job.out) as leftover_age:
        _require_free(job, files)
        writers.prepare(job.out, min_age=leftover_age)
        return _process_all(job, files, progress)


def _process_all(job: BatchJob, files: PhotographFiles, progress: Callable[[Progress], None]) -> Report:
    """Process the photographs of a run in a folder that is prepared and reserved for it."""
    started, clock = datetime.now(UTC), time.monotonic()
    outcomes: list[Outcome] = []

    def report() -> Report:
        return _report(job, outcomes, files, time.monotonic() - clock)

    _begin_folder(job, _run_record(job, report(), started))
    tracker = _ProgressTracker(progress, total=len(files.photographs))
    replaced: dict[str, tuple[str, ...]] = {}
    photograph_job = job.photograph_job
    pool: OrderedPool[PhotographFile, Engine, Outcome] = OrderedPool(
        lambda file, engine: process_photograph(
            photograph_job, engine, file, tracker.callback(file.name, pool.check)
        ),
        [job.engine, *job.more_engines],
    )
    try:
        if job.resume and (notice := _repeat_notice(job, files, replaced)):
            progress(Progress(done=0, total=len(files.photographs), share=0.0, name="", notice=notice))
        for outcome in pool.results(files.photographs):
            outcomes.append(outcome)
            if outcome.stop is not None:
                raise outcome.stop
            tracker.finish(outcome.row)
    finally:
        outcomes += pool.end()
        record = _run_record(job, report(), started)
        _finish_folder(job, replace(record, rows=_all_rows(job, files, record.rows, replaced)))
    return report()


def _list_photographs(job: BatchJob) -> PhotographFiles:
    """Return the photographs that the paths name; the output folder is never searched.

    Raises:
        OutputError: a path leads into the output folder.
    """
    files = photographs.list_files([os.fspath(path) for path in job.paths], without=job.out)
    out = Path(real_path(job.out))
    for file in files.photographs:
        if Path(real_path(file.path)).is_relative_to(out):
            raise OutputError(
                f"{display_path(file.path)}: is in the output folder {display_path(job.out)}, where it "
                "could be overwritten; choose another --out"
            )
    return files


def _require_free(job: BatchJob, files: PhotographFiles) -> None:
    """Raise OutputError if results would mix with those of another run, or with the user's own files.

    An earlier run is continued only on request, and only if this run has all of its photographs. The results
    of any other photograph would remain, made with unknown settings and listed in no table.
    """
    targets.require_free_folder(job.out, resume=job.resume)
    foreign = sorted(_finished_names(job.out) - {file.name for file in files.photographs})
    renamed = _renamed_photograph(job, files, foreign)
    if renamed is not None:
        name, file = renamed
        raise OutputError(
            f"{display_path(job.out)}: the results of {display_path(file.path)} are named "
            f"{display_path(name)} there, and this run would name them {display_path(file.name)}: names "
            "depend on the given paths, and on photographs of the same name; give the paths of the earlier "
            "run, or choose another --out"
        )
    if foreign:
        raise OutputError(
            f"{display_path(job.out)}: contains results of {quantity(len(foreign), 'photograph')} not in "
            f"this run, such as {display_path(foreign[0])}; add them to the run, or choose another --out"
        )


def _renamed_photograph(
    job: BatchJob, files: PhotographFiles, names: Sequence[str]
) -> tuple[str, PhotographFile] | None:
    """Return a result of an earlier run and the photograph that it shows, which has another name in this run.

    Args:
        job: the run.
        files: its photographs.
        names: names of results that no photograph of this run has; the first few are looked at.

    Returns:
        None if no photograph is found.
    """
    for name in names[:RENAMED_CHECKED]:
        last = PurePosixPath(name).name
        candidates = [
            file
            for file in files.photographs
            if last in {photographs.without_suffix(file.path.name), file.path.stem, file.path.name}
        ]
        stored = existing_results.load(job.out, name) if candidates else None
        for file in candidates[:RENAMED_CHECKED]:
            if stored is not None and photograph_digest(file.path) == stored.row.digest:
                return name, file
    return None


def _repeat_notice(job: BatchJob, files: PhotographFiles, replaced: dict[str, tuple[str, ...]]) -> str:
    """Return how many results of an earlier run this one will replace, and what differs; empty if none.

    Args:
        job: the run.
        files: its photographs.
        replaced: gains the names of the photographs whose results will be replaced, each with the reasons.
    """
    request = job.request("")
    digest_of = functools.cache(photograph_digest)  # frames of one DICOM object share their file
    for file in files.photographs:
        digest = functools.partial(digest_of, file.path)
        reasons = _repeat_reasons(job.out, replace(request, name=file.name), digest)
        if reasons:
            replaced[file.name] = reasons
    if not replaced:
        return ""
    words = ", ".join(dict.fromkeys(itertools.chain.from_iterable(replaced.values())))
    return f"{quantity(len(replaced), 'photograph')} of the earlier run computed again, because of {words}"


def _repeat_reasons(
    out: Path, request: PredictRequest, photograph_digest: Callable[[], str | None]
) -> tuple[str, ...]:
    """Return why an earlier result of a photograph will be replaced; nothing if there is none, or it is kept.

    Args:
        out: the output folder.
        request: the current request.
        photograph_digest: returns the current SHA-256 of the photograph, or None if it cannot be read; only
            called where the request does not differ.
    """
    stored = existing_results.load(out, request.name)
    if stored is None:
        return ()
    if reasons := stored.differences(request):
        return reasons
    if photograph_digest() not in (None, stored.row.digest):
        return ("changed content of the photograph",)
    return () if stored.is_complete(out, request) else ("missing result files",)


def _finished_names(out: Path) -> set[str]:
    """Return the names of the photographs whose results in a folder are complete."""
    folder = out / "regions"
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")}


class _ProgressTracker:
    """Adds up the progress of photographs that are processed at the same time."""

    def __init__(self, progress: Callable[[Progress], None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._shares: dict[str, float] = {}
        self._lock = Lock()

    def callback(self, name: str, check: Callable[[], None]) -> Callable[[float], None]:
        """Return the progress callback of one photograph.

        Args:
            name: of the photograph.
            check: called at each update; it raises an exception if the run ends.
        """

        def update(share: float) -> None:
            check()
            with self._lock:
                self._shares[name] = share
                self._publish(name)

        return update

    def finish(self, row: SummaryRow) -> None:
        """Count a photograph as finished."""
        with self._lock:
            self._done += 1
            self._shares.pop(row.name, None)
            self._publish(row.name, row)

    def _publish(self, name: str, row: SummaryRow | None = None) -> None:
        share = math.fsum(self._shares.values())
        self._progress(Progress(done=self._done, total=self._total, share=share, name=name, row=row))


def _begin_folder(job: BatchJob, run: PredictRun) -> None:
    """Claim the folder with run.json, and remove an earlier run's summary, which would soon be outdated."""
    writers.write_run(job.out, run)
    for name in ("summary.csv", "index.html"):
        atomic_files.remove(job.out / name)


def _finish_folder(job: BatchJob, run: PredictRun) -> None:
    """Write the files that cover all photographs: the summary, index.html and run.json."""
    lesions = tuple(lesion_decisions(job.package, job.settings))
    writers.write_summary(job.out, run.rows, lesions, run.provenance)
    writers.write_run(job.out, run)


def _report(job: BatchJob, outcomes: Sequence[Outcome], files: PhotographFiles, seconds: float) -> Report:
    """Return the outcome of a run so far."""
    computed = [outcome for outcome in outcomes if not outcome.is_reused]
    return Report(
        rows=tuple(outcome.row for outcome in outcomes),
        skipped=files.skipped,
        result_folders=files.result_folders,
        seconds=seconds,
        seconds_each={outcome.row.name: math.fsum(outcome.seconds.values()) for outcome in computed},
        seconds_by_phase={
            phase: math.fsum(outcome.seconds.get(phase, 0.0) for outcome in computed) for phase in PHASES
        },
        workers=1 + len(job.more_engines),
    )


def _all_rows(
    job: BatchJob, files: PhotographFiles, rows: Sequence[SummaryRow], replaced: Collection[str]
) -> tuple[SummaryRow, ...]:
    """Return the rows of a run, and those of an earlier one for the photographs that this one did not reach.

    These are checked by their request and their files alone: a run that ends early hashes no photograph.

    Args:
        job: the run.
        files: its photographs, in the order of the rows.
        rows: of the photographs that the run reached.
        replaced: names of the photographs whose earlier results are known to differ.
    """
    request, present = job.request(""), {row.name: row for row in rows}
    for file in files.photographs if job.resume else ():
        if file.name not in present and file.name not in replaced:
            with suppress(OutputError):  # JSON that may not be read must not hide why the run ends
                row = _stored_row(job.out, replace(request, name=file.name))
                if row is not None:
                    present[file.name] = row
    return tuple(present[file.name] for file in files.photographs if file.name in present)


def _stored_row(out: Path, request: PredictRequest) -> SummaryRow | None:
    """Return the row of an earlier result of the same request, all of whose files exist, or None."""
    stored = existing_results.load(out, request.name)
    if stored is None or not stored.matches(request, stored.row.digest):
        return None
    return stored.row if stored.is_complete(out, request) else None


def _run_record(job: BatchJob, report: Report, started: datetime) -> PredictRun:
    """Return the content of run.json."""
    request = job.request("")
    return PredictRun(
        started=started,
        seconds=report.seconds,
        provenance=request.provenance,
        settings={**request.settings, "format": job.format},
        versions=job.versions,
        rows=report.rows,
        seconds_each=report.seconds_each,
        seconds_by_phase=report.seconds_by_phase,
        workers=report.workers,
        skipped=report.skipped,
    )
