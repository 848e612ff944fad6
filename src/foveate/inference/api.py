"""Foveate in three lines of Python: load a model, look at a photograph, save or use what was seen.

Knows:   which steps a caller wants together.
Ignores: how each is done.

    model = foveate.load()
    result = model.segment(foveate.read("eye.jpg"))
    result.save("out")

Shape letters: H W photograph.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float32

from foveate import models, photographs, writers
from foveate.analysis import regions
from foveate.engines import Device, Engine, Precision, processors
from foveate.engines import choice as choices
from foveate.engines.choice import Choice, EngineName
from foveate.errors import OutputError, SettingError
from foveate.geometry import stitching
from foveate.inference import batch
from foveate.inference.batch import Job, Progress, Report
from foveate.inference.pipeline import DEFAULTS, FieldChoice, Segmentation, Settings, segment
from foveate.models import Package
from foveate.types import Decision, Effort, Field, Part, Photograph, Region
from foveate.writers import Format, Objects, Row, extra, maps, results

NOTHING: Mapping[str, float] = MappingProxyType({})
"""No threshold chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model package, open and ready to look at photographs."""

    package: Package
    """What it was trained on, its thresholds, where it comes from."""
    engine: Engine
    """Runs its network."""
    versions: Mapping[str, str]
    """Of what computes, by name."""
    another: Callable[[int], Engine]
    """Number of threads -> an engine of the same package and label that may run beside this one."""
    threads: int | None = None
    """That were asked for when it was opened; None for all processors."""

    def segment(
        self,
        photograph: Photograph,
        *,
        part: Part | None = None,
        field: FieldChoice = "auto",
        lesions: Sequence[str] | None = None,
        thresholds: Mapping[str, float] = NOTHING,
        effort: Effort = "full",
    ) -> "Result":
        """Find the lesions of one photograph.

        Args:
            photograph: from `foveate.read` or `foveate.from_array`.
            part: which part is looked at: 'field' (the field's box), 'paper' (the paper's centre crop) or
                'whole'; None for the part that the model was trained on.
            field: where the field of view is: 'auto', 'full', or (row, column, radius) in px.
            lesions: codes to report; None for all that the model knows.
            thresholds: code -> probability in (0, 1], in place of the package's own.
            effort: 'full', or 'balanced' or 'fast' to look closely only where a glance calls for it.

        Raises:
            LesionError, SettingError: a choice does not fit the model.
            FieldError: no field of view is found, or the one given makes no sense.
            GeometryError: the photograph is too small or too large for the model's scale.
        """
        codes = None if lesions is None else tuple(lesions)
        chosen = Settings(part=part, field=field, lesions=codes, thresholds=thresholds, effort=effort)
        return Result(segmentation=segment(photograph, self.package, self.engine, chosen))

    def predict(
        self,
        paths: Sequence[str | Path],
        out: str | Path,
        *,
        settings: Settings = DEFAULTS,
        format: Format = "png",
        resume: bool = False,
        workers: int = 1,
        objects: Objects | None = None,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> Report:
        """Find the lesions of many photographs and write everything to a folder, as `foveate predict` does.

        Args:
            paths: files, folders and globs.
            out: folder of the results; must hold none, unless `resume`.
            settings: what a person chose.
            format: of the probability maps.
            resume: go on with the run that the folder holds.
            workers: photographs that are looked at side by side, where there are so many; they share the
                model's threads.
            objects: DICOM objects that are written as well, of photographs that are DICOM.
            tell: called as the run goes on.

        Raises:
            FoveateError: as `batch.run`; a photograph that fails raises nothing but is listed in the report.
            SettingError: workers is below 1.
        """
        batch.require(self.package, settings)
        named = [str(path) for path in paths]
        count = len(photographs.sources(named, without=Path(out)).photographs)
        first, *beside = self._engines(min(workers, count))
        return batch.run(
            Job(
                paths=named,
                out=Path(out),
                package=self.package,
                engine=first,
                beside=beside,
                versions=self.versions,
                settings=settings,
                format=format,
                resume=resume,
                objects=objects,
            ),
            tell,
        )

    def _engines(self, workers: int) -> list[Engine]:
        """Return an engine for each worker: the one that is open, or several with a share of its threads."""
        if workers < 1:
            raise SettingError(f"workers is {workers}; give 1 or more")
        if workers == 1:
            return [self.engine]
        threads = max(1, (self.threads or processors()) // workers)
        return [self.another(threads) for _ in range(workers)]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a model sees in one photograph; maps, masks and regions are worked out when they are asked for."""

    segmentation: Segmentation
    """The probabilities at the model's scale, and all that they came from."""

    @property
    def lesions(self) -> tuple[str, ...]:
        """Codes of the reported lesions, in the model's order."""
        return self.segmentation.probabilities.lesions

    @property
    def field(self) -> Field:
        """The field of view, px of the photograph."""
        return self.segmentation.field

    @property
    def quality(self) -> tuple[str, ...]:
        """Codes of what may make the result unreliable: 'blur', 'cut', 'exposure', 'small'. They warn."""
        return self.segmentation.quality

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """Threshold and minimum area of each lesion."""
        return self.segmentation.decisions

    def map(self, lesion: str, *, format: Format = "png") -> Float32[np.ndarray, "H W"]:
        """Return a lesion's probabilities, 0 to 1, in the photograph's own pixels, as a file would hold them.

        The mask is where they reach the threshold, exactly.

        Raises:
            LesionError: the lesion is not among the reported ones.
        """
        return self._stored(lesion, format) / np.float32(maps.maximum(format))

    def mask(self, lesion: str, *, format: Format = "png") -> Bool[np.ndarray, "H W"]:
        """Return the pixels of a lesion, those of regions below the minimum area included.

        Raises:
            LesionError: the lesion is not among the reported ones.
        """
        stored = self._stored(lesion, format)
        return stored >= maps.level(self.decisions[lesion].threshold, format)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """All regions, lesion by lesion, as the tables of the default format list them."""
        segmentation = self.segmentation
        found: list[Region] = []
        for lesion, decision in self.decisions.items():
            found += regions.find(
                self._stored(lesion, "png"),
                maps.level(decision.threshold, "png"),
                lesion,
                results.minimum_area(decision, segmentation.probabilities.frame),
                segmentation.photograph.spacing,
            )
        return tuple(found)

    def save(
        self,
        out: str | Path,
        *,
        name: str | None = None,
        format: Format = "png",
        objects: Objects | None = None,
    ) -> Row:
        """Write maps, masks, overlay and tables of this photograph, as `foveate predict` does.

        The folder may hold results of other photographs, if the same model made them with the same settings;
        the summary and the page then show all. Saving the same photograph again replaces it. There is no
        run.json, since there was no run.

        Args:
            out: folder of the results; made if need be.
            name: what the photograph is called there, a relative path with '/'; the name of its file without
                ending, if None.
            format: of the probability maps.
            objects: DICOM objects that are written as well, of a photograph that is DICOM.

        Raises:
            PhotographError: DICOM objects are asked for, and the photograph is none.
            OutputError: the folder cannot be written, holds another photograph of that name, or results of
                another model or other settings.
        """
        folder, called = Path(out), _called(self.segmentation.photograph, name)
        asked = batch.order(
            called,
            self.segmentation.package,
            self.segmentation.engine,
            self.segmentation.settings,
            format,
            objects=objects,
        )
        extra.require(self.segmentation.photograph, asked)
        writers.prepare(folder)
        others = writers.others(folder, asked, self.segmentation.photograph.digest)
        row = batch.save(self.segmentation, folder, name=called, format=format, objects=objects)
        rows = sorted((*others, row), key=lambda one: one.name)
        writers.finish(folder, rows, self.lesions, asked.maker)
        return row

    def _stored(self, lesion: str, format: Format) -> maps.Stored:
        """A lesion's map as a file of a format holds it."""
        return maps.quantise(stitching.native(self.segmentation.probabilities, lesion), format)


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
        where: name of a package that comes with Foveate, a package's folder, or a zip of one.
        engine: 'onnx', 'openvino' or 'torch'; chosen by the rule of `engines.choice.settled` if None.
        device: 'cpu' or 'cuda'; only PyTorch computes on CUDA.
        precision: 'float32', 'bf16' or, on CUDA, 'float16'; chosen by the same rule if None.
        threads: to compute with; all processors if None.

    Raises:
        PackageError: there is no such package, or a file of it is missing or altered.
        SettingError: the engine is not installed or does not compute in that precision, or threads is below
            1.
    """
    package = models.load(where)
    choice = Choice(engine=engine, precision=precision, device=device, threads=threads)
    opened = choices.open(package, choice)

    def another(count: int) -> Engine:
        if opened.is_shareable:
            return opened.engine
        return choices.open(package, replace(choice, threads=count)).engine

    return Model(
        package=package,
        engine=opened.engine,
        versions=opened.versions,
        another=another,
        threads=threads,
    )


def _called(photograph: Photograph, name: str | None) -> str:
    """Return what a photograph is called in a folder of results.

    Raises:
        OutputError: the name leads out of the folder, or there is none.
    """
    called = Path(photograph.source).stem if name is None else name
    path = PurePosixPath(called)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise OutputError(
            f"{called!r} is no name for results; give a relative path such as name='clinic/left'"
        )
    return str(path)
