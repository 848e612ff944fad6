"""Foveate in three lines of Python: load a model, segment a photograph, save or use the result.

Knows:   which steps belong to one call.
Ignores: how each step is done.

    model = foveate.load()
    result = model.segment(foveate.read("eye.jpg"))
    result.save("out")

Shape letters: H W photograph, h rows of a figure.
"""

import base64
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from foveate import atomic_files, models, photographs, templates, writers
from foveate.analysis import regions
from foveate.choices import Device, Effort, EngineName, Part, Precision
from foveate.engines import Engine
from foveate.engines.choice import EngineChoice, open_engine
from foveate.engines.threads import available_processors
from foveate.errors import OutputError, PhotographError, SettingError
from foveate.geometry import canvas
from foveate.inference import batch, photograph_job, targets
from foveate.inference.batch import BatchJob, Progress, Report
from foveate.inference.pipeline import Segmentation, segment
from foveate.inference.settings import DEFAULTS, FieldChoice, Settings, check_settings
from foveate.models import Package
from foveate.paths import display_path, valid_path
from foveate.types import Decision, Field, LevelMap, Photograph, Region
from foveate.writers import (
    DicomRequest,
    MapFormat,
    SummaryRow,
    dicom_extra,
    figures,
    maps,
    overlays,
    results,
    tables,
)

NOTEBOOK_SIDE = 960
"""Longest side of the picture that a notebook shows, px: a notebook's usual width."""

NOTEBOOK_QUALITY = 80
"""JPEG quality of that picture. It is stored in the notebook, and takes some 100 kB."""

NO_THRESHOLDS: Mapping[str, float] = MappingProxyType({})
"""No thresholds of the user: the package's own apply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model package, open and ready to segment photographs. Several threads may use it."""

    package: Package
    """The model package: training data, thresholds and origin."""
    engine: Engine
    """Runs the package's network."""
    versions: Mapping[str, str]
    """Name -> version or setting of the engine, such as its number of threads."""
    open_worker_engine: Callable[[int], Engine]
    """Number of threads -> an engine of the same package and label that may run in parallel to this one."""
    threads: int | None = None
    """Number of threads that the caller of `load` chose; None for one thread per available CPU."""

    def segment(
        self,
        photograph: Photograph,
        *,
        part: Part | None = None,
        field: FieldChoice = "auto",
        lesions: str | Sequence[str] | None = None,
        thresholds: Mapping[str, float] = NO_THRESHOLDS,
        effort: Effort = "full",
    ) -> "Result":
        """Segment the lesions of one photograph.

        Args:
            photograph: from `foveate.read` or `foveate.from_array`.
            part: which part is analysed: 'field' (the field's box), 'paper' (the paper's centre crop) or
                'whole'; None for the part that the model was trained on.
            field: where the field of view is: 'auto', 'full', or (row, column, radius) in px.
            lesions: codes of the lesions to report, or a single one; None for all lesions of the model.
            thresholds: code -> probability in (0, 1] that replaces the package's own threshold.
            effort: 'full' runs LocalNet on the whole field; 'balanced' and 'fast' run it on selected windows
                only; 'best' runs it on each window in four rotations and averages the probabilities, which
                takes about three times as long as 'full'.

        Raises:
            PhotographError: the photograph is of another type, such as a path or an array.
            LesionError, SettingError: a setting is unknown, or does not fit the model.
            FieldError: no field of view is detected, or the given one is invalid.
            GeometryError: the photograph is too small or too large for the model's scale.
        """
        if not isinstance(photograph, Photograph):
            raise PhotographError(
                f"the photograph is of type {type(photograph).__name__}; give what foveate.read(path) or "
                "foveate.from_array(pixels) returns"
            )
        settings = Settings(part=part, field=field, lesions=lesions, thresholds=thresholds, effort=effort)
        return Result(segmentation=segment(photograph, self.package, self.engine, settings))

    def predict(
        self,
        paths: str | Path | Sequence[str | Path],
        out: str | Path,
        *,
        settings: Settings = DEFAULTS,
        format: MapFormat = "png",
        resume: bool = False,
        workers: int = 1,
        objects: DicomRequest | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Report:
        """Segment many photographs and write all results to a folder, as `foveate predict` does.

        Args:
            paths: a file, a folder or a glob, or several of them.
            out: folder of the results; it must not hold results yet, unless `resume` is true.
            settings: the user's settings.
            format: file format of the probability maps.
            resume: continue the run that the folder holds.
            workers: number of photographs to process at the same time; they share the model's threads.
            objects: DICOM objects to write as well, for DICOM photographs.
            progress: called with the progress of the run, each time it advances.

        Raises:
            FoveateError: as in `batch.run`. A photograph that fails raises no error; the report lists it.
            OutputError: out is no folder of this machine.
            SettingError: workers is below 1.
        """
        folder = _local_folder(out)
        check_settings(self.package, settings)
        texts = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        if workers > 1:  # an engine takes memory: no more of them than photographs
            workers = min(workers, len(photographs.list_files(texts, without=folder).photographs))
        engine, *more_engines = self._worker_engines(workers)
        return batch.run(
            BatchJob(
                paths=texts,
                out=folder,
                package=self.package,
                engine=engine,
                more_engines=more_engines,
                versions=self.versions,
                settings=settings,
                format=format,
                resume=resume,
                objects=objects,
            ),
            progress,
        )

    def _worker_engines(self, workers: int) -> list[Engine]:
        """Return one engine per worker: the open one, or several that divide its threads among them."""
        if workers < 1:
            raise SettingError(f"workers is {workers}; give 1 or more")
        if workers == 1:
            return [self.engine]
        threads = max(1, (self.threads or available_processors()) // workers)
        return [self.open_worker_engine(threads) for _ in range(workers)]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Result:
    """A model's result for one photograph; maps, masks and regions are computed when they are used."""

    segmentation: Segmentation
    """The probabilities at the model's scale, and everything that they depend on."""

    def __repr__(self) -> str:
        """Return one line that names the photograph and the reported lesions."""
        return f"<foveate.Result of {self.segmentation.photograph.source}: {', '.join(self.lesions)}>"

    @property
    def lesions(self) -> tuple[str, ...]:
        """Codes of the reported lesions, in the model's order."""
        return self.segmentation.probabilities.lesions

    @property
    def field(self) -> Field:
        """The field of view, photograph px."""
        return self.segmentation.field

    @property
    def quality(self) -> tuple[str, ...]:
        """Warnings about image quality: 'blur', 'colour', 'cut', 'exposure', 'small'."""
        return self.segmentation.quality

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """Threshold and minimum area of each lesion."""
        return self.segmentation.decisions

    def map(self, lesion: str, *, format: MapFormat = "png") -> Float32[np.ndarray, "H W"]:
        """Return a lesion's probabilities, 0 to 1, at the photograph's resolution, rounded as in a file.

        The mask is exactly the pixels whose probability reaches the threshold.

        Raises:
            LesionError: the lesion is not among the reported ones.
        """
        return self._level_map(lesion, format) / np.float32(maps.max_level(format))

    def mask(self, lesion: str, *, format: MapFormat = "png") -> Bool[np.ndarray, "H W"]:
        """Return the mask of a lesion, including regions below the minimum area.

        Raises:
            LesionError: the lesion is not among the reported ones.
        """
        levels = self._level_map(lesion, format)
        return levels >= maps.level(self.decisions[lesion].threshold, format)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """All regions, grouped by lesion, as in the tables that belong to the default format."""
        segmentation = self.segmentation
        return tuple(
            region
            for lesion, decision in self.decisions.items()
            for region in regions.find(
                self._level_map(lesion, "png"),
                maps.level(decision.threshold, "png"),
                lesion,
                results.minimum_area(decision, segmentation.probabilities.frame),
                segmentation.photograph.spacing,
            )
        )

    def overlay(self) -> UInt8[np.ndarray, "H W 3"]:
        """Return the photograph at its own resolution, as RGB, with the outlines that `save` draws."""
        return figures.overlay(self.segmentation.photograph.pixels, self._outlines)

    def figure(self, *, width: int = 1600) -> UInt8[np.ndarray, "h {width} 3"]:
        """Return an RGB figure: the photograph without and with outlines, side by side, above a legend.

        Args:
            width: width of the figure, px.

        Raises:
            SettingError: the width leaves no room for the legend.
        """
        provenance = self._as_written.request.provenance
        return figures.figure(self.segmentation.photograph.pixels, self._outlines, provenance, width)

    def _repr_html_(self) -> str:
        """Return the HTML for a notebook: the photograph with outlines, and a table of the lesions."""
        content, picture = self._outlines.content, self.overlay()
        jpeg = overlays.jpeg(canvas.shrink(picture, NOTEBOOK_SIDE), NOTEBOOK_QUALITY)
        return templates.render(
            "foveate.inference",
            "result.html",
            content=content,
            colours={area.lesion.code: area.lesion.colour for area in self._outlines.areas},
            load=tables.percentage,
            picture=base64.b64encode(jpeg).decode("ascii"),
            small_print=figures.small_print(self._as_written.request.provenance),
        )

    def save(
        self,
        out: str | Path,
        *,
        name: str | None = None,
        format: MapFormat = "png",
        objects: DicomRequest | None = None,
    ) -> SummaryRow:
        """Write maps, masks, overlay and tables of this photograph, as `foveate predict` does.

        The folder may hold results of other photographs, if the same model made them with the same settings;
        the summary and the page then show all of them. Saving a photograph again replaces its results.
        Several threads or processes may save different photographs at the same time. No run.json is written,
        because there was no run.

        Args:
            out: folder of the results; it is created if necessary.
            name: the photograph's name in the folder, a relative path with '/'; None for the name of its file
                without the suffix of a photograph, followed by '_frame-N' in a DICOM object with several
                frames.
            format: file format of the probability maps.
            objects: DICOM objects to write as well, for a DICOM photograph.

        Raises:
            PhotographError: DICOM objects are requested, but the photograph is not DICOM.
            OutputError: the folder or the name is invalid, the folder cannot be written, or it holds another
                photograph of that name, results of another model or with other settings, or a run of
                `predict`. An earlier result of the photograph stays until all new files are on the disk.
        """
        segmentation, folder = self.segmentation, _local_folder(out)
        targets.require_no_run(folder)
        result_name = _result_name(segmentation.photograph, name)
        request = photograph_job.predict_request(
            result_name,
            segmentation.package,
            segmentation.engine,
            segmentation.settings,
            format,
            objects=objects,
        )
        dicom_extra.require_source(segmentation.photograph, request)
        writers.prepare(folder, min_age=atomic_files.LEFTOVER_SECONDS)
        origin = segmentation.photograph.origin
        frame = None if origin is None else origin.frame

        def existing_rows() -> tuple[SummaryRow, ...]:
            return writers.existing_rows(folder, request, segmentation.photograph.digest, frame)

        existing_rows()  # refuses a folder before anything is written to it
        with ExitStack() as lock:

            def claim_name() -> None:  # others may have written there while the files were made
                targets.require_no_run(folder)  # a run is not waited for
                lock.enter_context(atomic_files.exclusive(folder))
                targets.require_no_run(folder)
                existing_rows()

            row = photograph_job.save(
                segmentation,
                folder,
                name=result_name,
                format=format,
                objects=objects,
                before_renaming=claim_name,
            )
            rows = sorted((*existing_rows(), row), key=lambda row: row.name)
            writers.write_summary(folder, rows, self.lesions, request.provenance)
        return row

    @cached_property
    def _as_written(self) -> writers.PhotographResult:
        """The result as files of the default format would hold it."""
        name = _own_name(self.segmentation.photograph) or "photograph"
        return photograph_job.photograph_result(self.segmentation, name=name)

    @cached_property
    def _outlines(self) -> figures.ResultOutlines:
        """The outlined areas of all lesions, as bits; the outlines are drawn anew for each picture."""
        return figures.outlines(self._as_written)

    def _level_map(self, lesion: str, format: MapFormat) -> LevelMap:
        """Return a lesion's map in the levels that a file of the format stores."""
        return maps.native_levels(self.segmentation.probabilities, lesion, format)


def load(
    where: str | Path = models.DEFAULT,
    *,
    engine: EngineName | None = None,
    device: Device = "cpu",
    precision: Precision | None = None,
    threads: int | None = None,
) -> Model:
    """Open a model.

    Args:
        where: name of a package that comes with Foveate, a package's folder, or a zip file of such a folder.
        engine: 'onnx', 'openvino' or 'torch'; if None, chosen by the rule of `engines.choice.resolve`.
        device: 'cpu' or 'cuda'; only PyTorch computes on CUDA.
        precision: 'float32', 'bf16', 'int8' (packages with quantised networks) or, on CUDA, 'float16'; if
            None, chosen by the same rule.
        threads: number of threads to compute with; None for one thread per available CPU.

    Raises:
        PackageError: there is no such package, or a file of it is missing or altered.
        SettingError: the engine is not installed or does not compute in that precision, or threads is below
            1.
    """
    package = models.load(where)
    choice = EngineChoice(engine=engine, precision=precision, device=device, threads=threads)
    opened = open_engine(package, choice)

    def open_worker_engine(count: int) -> Engine:
        if opened.is_concurrent:
            return opened.engine
        return open_engine(package, replace(choice, threads=count)).engine

    return Model(
        package=package,
        engine=opened.engine,
        versions=opened.versions,
        open_worker_engine=open_worker_engine,
        threads=threads,
    )


def _local_folder(out: str | Path) -> Path:
    """Return the path of a folder for results.

    Raises:
        OutputError: it is no path, or an address such as 's3://bucket/results', of which Path would make a
            local folder.
    """
    if not isinstance(out, str | os.PathLike) or not str(out):  # Path makes the current folder of ''
        raise OutputError(f"{out!r} is no folder for results; give a path, such as 'out'")
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(out), re.IGNORECASE):  # a Path has one slash of two
        raise OutputError(
            f"{display_path(out)}: is no folder of this machine; give a path, or use predict --on local"
        )
    return Path(out)


def _result_name(photograph: Photograph, name: str | None) -> str:
    """Return the photograph's name in a folder of results.

    Raises:
        OutputError: the name leads out of the folder, is empty or no text, or no file can have it.
    """
    text = _own_name(photograph) if name is None else name
    if not isinstance(text, str) or not _is_valid_name(text):
        raise OutputError(
            f"{text!r} is not a valid name for results; give a relative path such as name='clinic/left'"
        )
    return photographs.shorten(str(PurePosixPath(text)))


def _is_valid_name(name: str) -> bool:
    """Return whether a name is a path that a file within a folder can have."""
    path = PurePosixPath(name)
    with suppress(OSError):
        valid_path(Path(path))
        return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return False


def _own_name(photograph: Photograph) -> str:
    """Return the name of a photograph's file or array, as `photographs.list_files` names a single file."""
    frame = None if photograph.origin is None else photograph.origin.frame
    return photographs.frame_name(photographs.without_suffix(Path(photograph.source).name), frame)
