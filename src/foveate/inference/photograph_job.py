"""Process one photograph of a run: read and segment it, write its results, and report a failure as one line.

Knows:   the steps of a photograph, when its earlier result is reused or kept, and what a failure means.
Ignores: which photographs a run has, and where they are listed.
"""

import errno
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from foveate import photographs, writers
from foveate.engines import Engine
from foveate.errors import FoveateError, OutputError, PhotographError, is_out_of_memory
from foveate.inference.pipeline import Segmentation, segment
from foveate.inference.settings import DEFAULTS, Settings, lesion_decisions
from foveate.models import Package
from foveate.paths import display_path, file_digest, is_file
from foveate.photographs import PhotographFile
from foveate.writers import (
    DicomRequest,
    EarlierResult,
    MapFormat,
    PhotographResult,
    PredictRequest,
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

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Operating system errors that every later photograph would also cause: the run stops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographJob:
    """How the photographs of a run are processed, and where their results are written."""

    out: Path
    """Folder of the results."""
    package: Package
    settings: Settings = DEFAULTS
    format: MapFormat = "png"
    """Format of the probability maps."""
    resume: bool = False
    """Whether an earlier result is kept that a new run would only reproduce."""
    objects: DicomRequest | None = None
    """DICOM objects to write as well."""

    def request(self, name: str, engine: str) -> PredictRequest:
        """Return the request for the photograph of a name; arguments and errors as `predict_request`."""
        return predict_request(name, self.package, engine, self.settings, self.format, objects=self.objects)


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


def process_photograph(
    job: PhotographJob, engine: Engine, file: PhotographFile, progress: Callable[[float], None]
) -> Outcome:
    """Read and segment one photograph and write its results, unless an earlier run already did.

    A failure is returned as a row of the summary. No file of a failed photograph remains, except for an
    earlier result that may still be right: it is removed only when all new files are ready to replace it, or
    if the photograph fails and its content is no longer that of the result.

    Args:
        job: the model, the settings and the output folder.
        engine: an engine of the job's package.
        file: the photograph.
        progress: called with the completed share, 0 to 1. An exception that it raises ends the photograph and
            reaches the caller.
    """
    clock = _PhaseClock()
    try:
        request = job.request(file.name, engine.label)
        earlier = _earlier_result(job, file)
        reusable_row = earlier.reusable_row(request, job.out)
    except Exception as error:  # such as JSON that may not be read: nothing is removed
        return _failure(file, error, clock)
    if reusable_row is not None:
        return Outcome(row=reusable_row, is_reused=True)
    try:
        with clock.phase("reading"):
            photograph = photographs.read(file.path, frame=file.frame)
            dicom_extra.require_source(photograph, request)
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


def _earlier_result(job: PhotographJob, file: PhotographFile) -> EarlierResult:
    """Return what an earlier run has left of a photograph; nothing unless the run continues another."""
    stored = existing_results.load(job.out, file.name) if job.resume else None
    return EarlierResult(stored=stored, digest=None if stored is None else photograph_digest(file.path))


def _has_result(job: PhotographJob, file: PhotographFile) -> bool:
    """Return whether the folder holds a complete result of a photograph."""
    with suppress(OutputError):  # JSON that may not be read
        return existing_results.load(job.out, file.name) is not None
    return False


def _clear(job: PhotographJob, file: PhotographFile) -> None:
    """Remove all existing results of a photograph, including those of lesions that are not reported now."""
    writers.clear(job.out, file.name, job.package.contract.lesions)


def photograph_digest(photograph: Path) -> str | None:
    """Return the SHA-256 of a photograph; None if it cannot be read, which reading it reports."""
    try:
        return file_digest(photograph) if is_file(photograph) else None
    except OSError:
        return None


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
