"""Segment many photographs, and write their results and a summary to a folder that a later run can resume.

Knows:   the steps of each photograph, and what a failure means for the others.
Ignores: how a photograph is segmented, what the files contain, and how progress is displayed.

`resume` finishes an interrupted run. The folder is then the same as after an uninterrupted run, except for
the times in run.json.
"""

import errno
import functools
import itertools
import math
import os
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from threading import Lock
from types import MappingProxyType
from typing import Literal, get_args

from foveate import atomic_files, photographs, writers
from foveate.concurrency import OrderedPool
from foveate.engines import Engine
from foveate.errors import FoveateError, OutputError, PhotographError, is_out_of_memory
from foveate.inference import targets
from foveate.inference.pipeline import Segmentation, segment
from foveate.inference.settings import DEFAULTS, Settings, check_settings, lesion_decisions
from foveate.models import Package
from foveate.paths import display_path, file_digest, is_file, real_path
from foveate.photographs import PhotographFile, PhotographFiles
from foveate.wording import quantity
from foveate.writers import (
    DicomRequest,
    EarlierResult,
    MapFormat,
    PhotographResult,
    PredictRequest,
    PredictRun,
    Provenance,
    SummaryRow,
    dicom_extra,
    existing_results,
    maps,
)

Phase = Literal["reading", "inference", "writing"]
"""The steps of a photograph, in this order."""

PHASES: tuple[Phase, ...] = get_args(Phase)

KEPT = "its earlier result is kept"
"""End of the error of a photograph that failed, if the folder still holds a result that may be right."""

RENAMED_CHECKED = 20
"""Number of results, and of photographs for each, that are compared to explain why a run does not match a
folder. Our choice."""

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Operating system errors that every later photograph would also cause: the run stops."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of one photograph."""

    row: SummaryRow
    is_reused: bool = False
    """Whether an earlier run had finished it."""
    stop: Exception | None = None
    """The error that prevents all other photographs from being processed; None if there is no such error."""
    error_type: str = ""
    """Name of the error's class, if it failed."""
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Phase -> seconds, for the phases that the photograph reached."""


def run(job: BatchJob, tell: Callable[[Progress], None] = lambda progress: None) -> Report:
    """Segment many photographs and write their results.

    A photograph that fails is listed with its error, and the run continues with the others. If the run ends
    early (a full disk, an interrupt), complete results are kept and listed in the summary, also those of an
    earlier run that this one has not reached.

    Args:
        job: the photographs, the model and the output folder.
        tell: called with the progress of the run, each time it advances.

    Raises:
        PhotographError: the paths name no photograph.
        LesionError, SettingError: the settings do not fit the model, or there is no such format; nothing has
            been computed.
        OutputError: the folder is not free or cannot be written, another run is writing to it, or the disk is
            full.
    """
    check_settings(job.package, job.settings)  # fail now rather than at the first photograph
    _request(job, "")
    if job.objects is not None:
        dicom_extra.load_writer()  # for the same reason
    files = _list_photographs(job)
    with atomic_files.reserve(job.out) as leftover_age:
        _require_free(job, files)
        writers.prepare(job.out, min_age=leftover_age)
        return _process_all(job, files, tell)


def _process_all(job: BatchJob, files: PhotographFiles, tell: Callable[[Progress], None]) -> Report:
    """Process the photographs of a run in a folder that is prepared and reserved for it."""
    started, clock = datetime.now(UTC), time.monotonic()
    outcomes: list[Outcome] = []

    def report() -> Report:
        return _report(job, outcomes, files, time.monotonic() - clock)

    _begin_folder(job, _run_record(job, report(), started))
    tracker = _ProgressTracker(tell=tell, total=len(files.photographs))
    replaced: dict[str, tuple[str, ...]] = {}
    pool: OrderedPool[PhotographFile, Engine, Outcome] = OrderedPool(
        lambda file, engine: process_photograph(job, engine, file, tracker.callback(file.name, pool.check)),
        [job.engine, *job.more_engines],
    )
    try:
        if job.resume and (notice := _repeat_notice(job, files, replaced)):
            tell(Progress(done=0, total=len(files.photographs), share=0.0, name="", notice=notice))
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


def process_photograph(
    job: BatchJob, engine: Engine, file: PhotographFile, progress: Callable[[float], None]
) -> Outcome:
    """Read and segment one photograph and write its results, unless an earlier run already did.

    A failure is returned as a row of the summary. No file of a failed photograph remains, except for an
    earlier result that may still be right: it is removed only when all new files are ready to replace it, or
    if the photograph fails and its content is no longer that of the result.

    Args:
        job: the model, the settings and the output folder; its paths are not used.
        engine: an engine of the job's package.
        file: the photograph.
        progress: called with the completed share, 0 to 1. An exception that it raises ends the photograph and
            reaches the caller.
    """
    clock = _PhaseClock()
    try:
        earlier = _earlier_result(job, file)
        reusable_row = earlier.reusable_row(_request(job, file.name), job.out)
    except Exception as error:  # such as JSON that may not be read: nothing is removed
        return _failure(file, error, clock)
    if reusable_row is not None:
        return Outcome(row=reusable_row, is_reused=True)
    try:
        with clock.phase("reading"):
            photograph = photographs.read(file.path, frame=file.frame)
            dicom_extra.require_source(photograph, _request(job, file.name))
        with clock.phase("inference"):
            segmentation = segment(
                photograph, job.package, engine, job.settings, progress=_propagating(progress)
            )
        with clock.phase("writing"):
            row = save(segmentation, job.out, name=file.name, format=job.format, objects=job.objects)
        return Outcome(row=row, seconds=clock.seconds)
    except _CallbackError as error:
        raise error.cause from None
    except Exception as error:  # a bug that one photograph triggers fails only that photograph
        is_kept = earlier.may_be_right and _has_result(job, file)
        if not is_kept:
            with suppress(OutputError):  # what cannot be removed may be why it failed: the others are done
                _clear(job, file)
        return _failure(file, error, clock, is_kept=is_kept)


class _CallbackError(BaseException):
    """An error of the caller's progress function, on its way back to the caller."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _propagating(progress: Callable[[float], None]) -> Callable[[float], None]:
    """Return a wrapper that distinguishes the function's errors from those of the photograph."""

    def call(share: float) -> None:
        try:
            progress(share)
        except Exception as error:
            raise _CallbackError(error) from error

    return call


def predict_request(
    name: str,
    package: Package,
    engine: str,
    settings: Settings,
    format: MapFormat,
    *,
    objects: DicomRequest | None = None,
) -> PredictRequest:
    """Return the request for one photograph: everything that decides its files, and nothing else.

    Args:
        name: the photograph's name in tables and in file names: a relative path with '/'.
        package: the model.
        engine: `Engine.label`; the request states it because two engines round differently.
        settings: the user's settings.
        format: file format of the probability maps.
        objects: DICOM objects to write as well.

    Raises:
        LesionError, SettingError: the settings do not fit the model, or there is no such format.
    """
    maps.max_level(format)
    decisions = lesion_decisions(package, settings)
    return PredictRequest(
        name=name,
        provenance=Provenance(name=package.name, version=package.version, digest=package.digest),
        settings={
            "region": settings.part or package.contract.part,
            "field": settings.field if isinstance(settings.field, str) else list(settings.field),
            "lesions": list(decisions),
            "thresholds": {code: decision.threshold for code, decision in decisions.items()},
            "engine": engine,
            "effort": settings.effort,
        },
        format=format,
        objects=objects,
    )


def photograph_result(
    segmentation: Segmentation, *, name: str, format: MapFormat = "png", objects: DicomRequest | None = None
) -> PhotographResult:
    """Convert a segmentation to the value that the writers receive."""
    request = predict_request(
        name, segmentation.package, segmentation.engine, segmentation.settings, format, objects=objects
    )
    return PhotographResult(
        request=request,
        photograph=segmentation.photograph,
        field=segmentation.field,
        probabilities=segmentation.probabilities,
        decisions=segmentation.decisions,
        quality=segmentation.quality,
    )


def save(
    segmentation: Segmentation,
    out: Path,
    *,
    name: str,
    format: MapFormat = "png",
    objects: DicomRequest | None = None,
    before_renaming: Callable[[], None] = lambda: None,
) -> SummaryRow:
    """Write all files of one photograph, but not the summary and the page of the whole folder.

    An earlier result of the same name stays until all new files are on the disk. `before_renaming` is called
    then, as in `writers.write`.

    Raises:
        OutputError: a file cannot be written.
        PhotographError: a DICOM object cannot be made.
    """
    result = photograph_result(segmentation, name=name, format=format, objects=objects)
    lesions = segmentation.package.contract.lesions
    return writers.write(out, result, lesions, before_renaming=before_renaming)


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
    request = _request(job, "")
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

    def __init__(self, tell: Callable[[Progress], None], total: int) -> None:
        self._tell = tell
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
        self._tell(Progress(done=self._done, total=self._total, share=share, name=name, row=row))


class _PhaseClock:
    """Measures how long each phase of one photograph takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Measure the time of the block."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = time.monotonic() - start


def is_disk_error(error: Exception) -> bool:
    """Return whether the operating system reported an error that every later photograph would also cause."""
    return isinstance(error, OutputError) and error.errno in DISK_ERRORS


def _earlier_result(job: BatchJob, file: PhotographFile) -> EarlierResult:
    """Return what an earlier run has left of a photograph; nothing unless the run continues another."""
    stored = existing_results.load(job.out, file.name) if job.resume else None
    return EarlierResult(stored=stored, digest=None if stored is None else photograph_digest(file.path))


def _has_result(job: BatchJob, file: PhotographFile) -> bool:
    """Return whether the folder holds a complete result of a photograph."""
    with suppress(OutputError):  # JSON that may not be read
        return existing_results.load(job.out, file.name) is not None
    return False


def photograph_digest(photograph: Path) -> str | None:
    """Return the SHA-256 of a photograph; None if it cannot be read, which reading it reports."""
    try:
        return file_digest(photograph) if is_file(photograph) else None
    except OSError:
        return None


def _request(job: BatchJob, name: str) -> PredictRequest:
    """Return the request for one photograph of a run."""
    return predict_request(name, job.package, job.engine.label, job.settings, job.format, objects=job.objects)


def _clear(job: BatchJob, file: PhotographFile) -> None:
    """Remove all existing results of a photograph, including those of lesions that are not reported now."""
    writers.clear(job.out, file.name, job.package.contract.lesions)


def _failure(file: PhotographFile, error: Exception, clock: _PhaseClock, *, is_kept: bool = False) -> Outcome:
    """Return the outcome of a photograph that failed.

    Args:
        file: the photograph.
        error: why it failed.
        clock: of the phases that it reached.
        is_kept: whether its earlier result is still in the folder.
    """
    line = _error_line(file, error)
    row = SummaryRow(name=file.name, status="failed", error=f"{line}; {KEPT}" if is_kept else line)
    return Outcome(
        row=row,
        stop=error if is_disk_error(error) else None,
        error_type=type(error).__name__,
        seconds=clock.seconds,
    )


def _error_line(file: PhotographFile, error: Exception) -> str:
    """Return one line that says which photograph failed, why, and what to do."""
    if isinstance(error, PhotographError):  # its message already names the file
        return str(error)
    line = str(error) if isinstance(error, FoveateError) else describe_unexpected(error)
    return f"{display_path(file.path)}: {line}"


def describe_unexpected(error: Exception) -> str:
    """Return one line about an error that is not a FoveateError: memory ran out, or there is a bug.

    The line about a bug names the class, the place in the code and the message.
    """
    if is_out_of_memory(error):
        return "not enough memory to process it; free some memory, or scale the photograph down"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__} in {place}: {message}; please report this"


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
    request, present = _request(job, ""), {row.name: row for row in rows}
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
    request = _request(job, "")
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
