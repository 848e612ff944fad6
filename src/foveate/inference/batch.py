"""Many photographs -> their results and a summary, in a folder that can be gone on with.

Knows:   what happens to each photograph in turn, what a failure means for the others, when a folder is free.
Ignores: how a photograph is looked at, what is in the files, and who watches.

Whatever stops a run at whatever moment, `resume` finishes it, and the folder is then the same as if nothing
had happened, but for the times in run.json.
"""

import errno
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Literal, get_args

from foveate import photographs, writers
from foveate.concurrency import Abreast
from foveate.engines import Engine
from foveate.errors import FoveateError, OutputError, PhotographError
from foveate.inference.pipeline import DEFAULTS, Segmentation, Settings, chosen_gaze, decisions, segment
from foveate.models import Package
from foveate.photographs import Source, Sources
from foveate.writers import Finding, Format, Maker, Objects, Order, Row, Run, extra, files, places

RESULTS = (*places.FOLDERS, "summary.csv", "index.html", "run.json")
"""What a run leaves in its folder; a folder that holds none of it is free."""

Phase = Literal["reading", "looking", "writing"]
"""What is done with a photograph, in this order."""

PHASES: tuple[Phase, ...] = get_args(Phase)

DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Refusals of the operating system that will meet every later photograph as well: the run stops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be done: which photographs, by which model, to where."""

    paths: Sequence[str]
    """Files, folders and globs."""
    out: Path
    """Folder of the results; made if need be."""
    package: Package
    engine: Engine
    """Runs the package's network."""
    beside: Sequence[Engine] = ()
    """More engines of the same package and label: a photograph is looked at on each, all at a time."""
    versions: Mapping[str, str]
    """Of what computes, by name, for run.json."""
    settings: Settings = DEFAULTS
    format: Format = "png"
    """Of the probability maps."""
    resume: bool = False
    """Go on with the run that the folder holds: what would come out the same again is kept."""
    objects: Objects | None = None
    """DICOM objects that are written as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is."""

    done: int
    """Photographs finished, failures included."""
    total: int
    """Photographs of the run."""
    share: float
    """Of the photographs under way, added up: 0 to 1 for each."""
    name: str
    """Of a photograph under way, or of the one just finished."""
    row: Row | None = None
    """What came of the photograph just finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What came of a run."""

    rows: tuple[Row, ...]
    """One a photograph, failures included, in order."""
    skipped: int
    """Files in the folders that are no photographs."""
    seconds: float
    """From start to end."""
    seconds_each: Mapping[str, float]
    """Photograph's name -> seconds; none for those that an earlier run had done."""
    seconds_of: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """'reading', 'looking', 'writing' -> seconds, added up over all photographs, side by side or not."""
    workers: int = 1
    """Photographs that were looked at side by side."""

    @property
    def failures(self) -> tuple[Row, ...]:
        """Photographs that have no result."""
        return tuple(row for row in self.rows if row.status == "failed")


def run(job: Job, tell: Callable[[Progress], None] = lambda progress: None) -> Report:
    """Look at many photographs and write their results.

    A photograph that fails is listed with its error, and the others are done all the same. Where the run ends
    early (a full disk, an interrupt), what is complete is kept and stands in the summary.

    Args:
        job: what is to be done.
        tell: called as the run goes on.

    Raises:
        PhotographError: the paths name no photograph.
        LesionError, SettingError: the settings do not fit the model; nothing was computed.
        OutputError: the folder is not free or cannot be written, or the disk is full.
    """
    require(job.package, job.settings)  # refused now rather than at the first photograph
    if job.objects is not None:
        extra.dicom()  # the same
    found = _sources(job)
    _require_free(job, found)
    writers.prepare(job.out)
    started, clock = datetime.now(UTC), time.monotonic()
    outcomes: list[Outcome] = []

    def report() -> Report:
        computed = [one for one in outcomes if one.computed]
        return Report(
            rows=tuple(one.row for one in outcomes),
            skipped=found.skipped,
            seconds=time.monotonic() - clock,
            seconds_each={one.row.name: math.fsum(one.seconds.values()) for one in computed},
            seconds_of={
                phase: math.fsum(one.seconds.get(phase, 0.0) for one in computed) for phase in PHASES
            },
            workers=1 + len(job.beside),
        )

    _open(job, _run(job, report(), started))
    watched = _Watched(tell=tell, total=len(found.photographs))
    abreast: Abreast[Source, Engine, Outcome] = Abreast(
        lambda source, engine: one(job, engine, source, watched.of(source.name, abreast.check)),
        [job.engine, *job.beside],
    )
    try:
        for outcome in abreast.results(found.photographs):
            outcomes.append(outcome)
            if outcome.stop is not None:
                raise outcome.stop
            watched.finished(outcome.row)
    finally:
        outcomes += abreast.end()
        _close(job, _run(job, report(), started))
    return report()


def require(package: Package, settings: Settings) -> None:
    """Raise unless the settings fit the model.

    Raises:
        LesionError, SettingError: they do not.
    """
    decisions(package, settings)
    chosen_gaze(package, settings.effort)


def order(
    name: str,
    package: Package,
    engine: str,
    settings: Settings,
    format: Format,
    *,
    objects: Objects | None = None,
) -> Order:
    """Return what is asked for one photograph: all that decides its files, and nothing else.

    Args:
        name: of the photograph in tables and of its files: a relative path with '/', without ending.
        package: the model.
        engine: its `label`; two engines round differently.
        settings: what a person chose.
        format: of the probability maps.
        objects: DICOM objects that are written as well.

    Raises:
        LesionError, SettingError: the settings do not fit the model.
    """
    decided = decisions(package, settings)
    return Order(
        name=name,
        key=name,
        maker=Maker(name=package.name, version=package.version, digest=package.digest),
        settings={
            "region": settings.part or package.contract.part,
            "field": settings.field if isinstance(settings.field, str) else list(settings.field),
            "lesions": list(decided),
            "thresholds": {code: decision.threshold for code, decision in decided.items()},
            "engine": engine,
            "effort": settings.effort,
        },
        format=format,
        objects=objects,
    )


def save(
    segmentation: Segmentation,
    out: Path,
    *,
    name: str,
    format: Format = "png",
    objects: Objects | None = None,
) -> Row:
    """Write all files of one photograph; the summary and the page are left to whoever knows the others.

    Raises:
        OutputError: a file cannot be written.
    """
    finding = Finding(
        order=order(
            name, segmentation.package, segmentation.engine, segmentation.settings, format, objects=objects
        ),
        photograph=segmentation.photograph,
        field=segmentation.field,
        probabilities=segmentation.probabilities,
        decisions=segmentation.decisions,
        quality=segmentation.quality,
    )
    return writers.write(out, finding)


def _sources(job: Job) -> Sources:
    """Return the photographs that are meant; what lies in the output folder is never looked for.

    Raises:
        OutputError: a path leads into the output folder.
    """
    found = photographs.sources([os.fspath(path) for path in job.paths], without=job.out)
    closed = Path(os.path.realpath(job.out))
    for source in found.photographs:
        if Path(os.path.realpath(source.path)).is_relative_to(closed):
            raise OutputError(
                f"{source.path}: lies in the output folder {job.out}, where it could be overwritten; "
                "choose another --out"
            )
    return found


def _require_free(job: Job, found: Sources) -> None:
    """Raise OutputError where results would mix with those of another run, or with files that are not ours.

    An earlier run is gone on with only when that is asked for, and only if it holds no photograph that this
    one does not: its results would stay, made by who knows which settings, and stand in no table.
    """
    taken = [name for name in RESULTS if (job.out / name).exists()]
    if not taken:
        return
    if not job.resume:
        raise OutputError(
            f"{job.out}: already holds {taken[0]}; go on with that run by --resume, or choose another --out"
        )
    if "run.json" not in taken:  # it is the first thing that a run writes
        raise OutputError(
            f"{job.out}: holds {taken[0]} but no run.json, so no run to --resume; choose another --out"
        )
    others = sorted(_finished(job.out) - {source.name for source in found.photographs})
    if others:
        raise OutputError(
            f"{job.out}: holds results of {len(others)} photographs that are not among those given, such as "
            f"{others[0]}; give them as well, or choose another --out"
        )


def _finished(out: Path) -> set[str]:
    """Keys of the photographs whose results in a folder are complete."""
    folder = out / "regions"
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")}


class _Watched:
    """How far a run is, put together from photographs that are looked at side by side."""

    def __init__(self, tell: Callable[[Progress], None], total: int) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self._shares: dict[str, float] = {}
        self._lock = Lock()

    def of(self, name: str, check: Callable[[], None]) -> Callable[[float], None]:
        """Return what one photograph is to tell its share to.

        Args:
            name: of the photograph.
            check: called each time; raises where the run ends.
        """

        def watch(share: float) -> None:
            check()
            with self._lock:
                self._shares[name] = share
                self._say(name)

        return watch

    def finished(self, row: Row) -> None:
        """Tell what came of a photograph."""
        with self._lock:
            self._done += 1
            self._shares.pop(row.name, None)
            self._say(row.name, row)

    def _say(self, name: str, row: Row | None = None) -> None:
        share = math.fsum(self._shares.values())
        self._tell(Progress(done=self._done, total=self._total, share=share, name=name, row=row))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one photograph."""

    row: Row
    computed: bool = True
    """Now; not kept from an earlier run."""
    stop: Exception | None = None
    """Why no other photograph can be done."""
    kind: str = ""
    """Name of the error's class, where it failed."""
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Phase -> seconds, as far as it came."""


def one(job: Job, engine: Engine, source: Source, watch: Callable[[float], None]) -> Outcome:
    """Do one photograph, unless that was done before; a failure becomes a row, and leaves no file behind.

    Args:
        job: what is asked for; its paths do not matter here.
        engine: of the job's package; nobody else uses it meanwhile.
        source: the photograph.
        watch: called with the share that is done; whatever it raises ends the photograph.
    """
    clock = _Clock()
    try:
        kept = _kept(job, source)
        if kept is not None:
            return Outcome(row=kept, computed=False)
        with clock.of("reading"):
            photograph = photographs.read(source.path, frame=source.frame)
            extra.require(photograph, _order(job, source.name))
        with clock.of("looking"):
            segmentation = segment(photograph, job.package, engine, job.settings, watch=watch)
        with clock.of("writing"):
            _clear(job, source)
            row = save(segmentation, job.out, name=source.name, format=job.format, objects=job.objects)
        return Outcome(row=row, seconds=clock.seconds)
    except (FoveateError, MemoryError) as error:
        _clear(job, source)
        row = Row(name=source.name, status="failed", error=_told(source, error))
        stop = error if _is_of_the_disk(error) else None
        return Outcome(row=row, stop=stop, kind=type(error).__name__, seconds=clock.seconds)
    except BaseException:  # an interrupt or a bug, which is for others to tell; what is half-done goes
        _clear(job, source)
        raise


class _Clock:
    """Times the phases of one photograph."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, phase: Phase) -> Iterator[None]:
        """Time what is done within."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = time.monotonic() - begun


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the operating system refused what it will refuse every later photograph as well."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK


def _kept(job: Job, source: Source) -> Row | None:
    """Return the row of a result that lies there already and would come out the same again."""
    if not (job.resume and source.path.is_file()):
        return None
    try:
        with source.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # reading the photograph, which comes next, says in its own words what is wrong
        return None
    return writers.earlier(job.out, _order(job, source.name), digest)


def _order(job: Job, name: str) -> Order:
    """Return what is asked for one photograph of a run."""
    return order(name, job.package, job.engine.label, job.settings, job.format, objects=job.objects)


def _clear(job: Job, source: Source) -> None:
    """Remove what lies there of a photograph, of lesions as well that are not asked for now."""
    writers.clear(job.out, source.name, job.package.contract.lesions)


def _told(source: Source, error: FoveateError | MemoryError) -> str:
    """Say in one line which photograph failed, why, and what to do."""
    if isinstance(error, PhotographError):  # names the file itself
        return str(error)
    if isinstance(error, MemoryError):
        return f"{files.shown(source.path)}: not enough memory to look at it; free some, or scale it down"
    return f"{files.shown(source.path)}: {error}"


def _open(job: Job, run: Run) -> None:
    """Mark the folder as ours; take away what speaks of an earlier run and would soon be wrong."""
    writers.record(job.out, run)
    for name in ("summary.csv", "index.html"):
        files.remove(job.out / name)


def _close(job: Job, run: Run) -> None:
    """Write what speaks of all photographs."""
    writers.finish(job.out, run.rows, tuple(decisions(job.package, job.settings)), run.maker)
    writers.record(job.out, run)


def _run(job: Job, report: Report, started: datetime) -> Run:
    """Return what run.json says."""
    asked = _order(job, "")
    return Run(
        started=started,
        seconds=report.seconds,
        maker=asked.maker,
        settings={**asked.settings, "format": job.format},
        versions=job.versions,
        rows=report.rows,
        seconds_each=report.seconds_each,
        seconds_of=report.seconds_of,
        workers=report.workers,
        skipped=report.skipped,
    )
