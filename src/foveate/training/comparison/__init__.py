"""The paper's Table 1 on one split: each stream alone, and both fused.

Knows:   what is compared with what, and that it must have seen as much.
Ignores: how a network is trained, how a figure is computed, and how the table is shown.

The fused network ends with stage 'joint'. To have taken as many steps on as many photographs and windows,
each stream goes on alone from its own pre-training with what the joint stage draws: stages 'global-alone'
and 'local-alone'. The weights that all three rows start from are the same.

Shape letters: P photographs, R draws, C columns, S side of a patch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt16
from PIL import Image

from foveate import metrics, models, nets
from foveate.datasets import DAMAGED, Case, truth
from foveate.errors import DatasetError, SettingError, TrainingError
from foveate.evaluation import LesionOutcome, maps_from_model
from foveate.evaluation.evaluate import EvaluationSpec, evaluate
from foveate.evaluation.measures import Measures
from foveate.evaluation.networks import ROWS, Row
from foveate.evaluation.sources import CaseMaps, MapSource
from foveate.geometry import canvas, tiling
from foveate.inference.settings import DEFAULTS
from foveate.metrics import PixelCounts, Estimate
from foveate.metrics.froc import DIAMETERS
from foveate.nets import LocalGlobalUNet
from foveate.training import trainer
from foveate.training.recipe import ALONE, STAGES, Recipe, StageName
from foveate.types import ModelContract

OTHERS: tuple[Row, ...] = ("GlobalNet", "LocalNet")
"""Rows that the fused network is compared with."""

ENDS: Mapping[Row, StageName] = MappingProxyType(
    {"GlobalNet": "global-alone", "LocalNet": "local-alone", "fused": "joint"}
)
"""The stage that a row's weights come from."""

NEEDED: tuple[StageName, ...] = (*STAGES, *ALONE)
"""All stages that a comparison needs, in an order in which they can be trained."""

RATE = 4.0
"""False regions a photograph at which lesions found are compared by diameter (our choice)."""

SIDE = 256
"""Of the patches in the figure, px of the photograph: the paper's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patch:
    """One example of the paper's Fig. 2."""

    photograph: str
    """Name of the case."""
    pixels: UInt8[np.ndarray, "S S 3"]
    truth: Bool[np.ndarray, "S S"]
    maps: Mapping[Row, UInt16[np.ndarray, "S S"]]
    """Probability times 65535."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionComparison:
    """One column of Table 1."""

    areas: Mapping[Row, Estimate]
    """Exact average precision, pixels of all photographs pooled."""
    deviations: Mapping[Row, float | None]
    """How far the pooled area in the bins that the intervals come from is from the exact one."""
    gains: Mapping[Row, Estimate]
    """How much higher the fused network scores than a row, on the same photographs in every draw."""
    found: Mapping[Row, tuple[Estimate, ...]]
    """Share of the lesions found at RATE false regions a photograph, by stratum of diameter."""
    found_gains: Mapping[Row, tuple[Estimate, ...]]
    """How much more of them the fused network finds."""
    lesions: tuple[int, ...]
    """Drawn, by stratum."""
    patch: Patch | None
    """None where no photograph has the lesion."""


def network(recipe: Recipe, folder: Path, row: Row) -> LocalGlobalUNet:
    """Build a row's network with the weights of its last stage.

    Raises:
        TrainingError: the stage is not finished.
    """
    built = nets.build(recipe.network, len(recipe.contract.lesions), read_weights=None)
    trainer.load(built, folder, ENDS[row])
    return built.eval()


def require_crop(cases: Sequence[Case]) -> None:
    """Make sure that every photograph holds the paper's crop, by its file's header.

    Raises:
        SettingError: one is smaller.
        DatasetError: one is no picture.
    """
    for case in cases:
        try:
            with Image.open(case.photograph) as picture:
                shape = (picture.height, picture.width)
        except DAMAGED as error:
            raise DatasetError(f"{case.photograph}: unreadable ({error}); restore the file") from error
        if shape[0] < canvas.PAPER_CROP[0] or shape[1] < canvas.PAPER_CROP[1]:
            raise SettingError(
                f"{case.name} has {shape[0]} x {shape[1]} px and does not hold the paper's crop of "
                f"{canvas.PAPER_CROP[0]} x {canvas.PAPER_CROP[1]}; choose --tiling model"
            )


def lacking(folder: Path) -> tuple[StageName, ...]:
    """Return the stages that a run must still go through to be compared.

    Once the joint stage is finished, those before it are of no more use: a run that began with a package may
    have left some out.
    """
    return ALONE if trainer.is_finished(folder, "joint") else NEEDED


def steps(folder: Path) -> dict[StageName, int]:
    """Return how many steps each stage of a run took; those that it left out are not among them."""
    return {
        stage: trainer.steps_taken(folder, stage) for stage in NEEDED if trainer.is_finished(folder, stage)
    }


def require_unseen(cases: Sequence[Case], learned: Sequence[Case]) -> None:
    """Make sure that no photograph to compare on is one to learn from.

    Raises:
        TrainingError: one is.
    """
    known = {case.photograph for case in learned}
    for case in cases:
        if case.photograph in known:
            raise TrainingError(f"{case.name} is trained on; compare on photographs that are not")


def tiled(contract: ModelContract, tiling: Literal["model", "paper"]) -> ModelContract:
    """Return how photographs are cut: as the model does, or in the paper's 143 patches side by side."""
    return contract if tiling == "model" else replace(contract, part="paper", overlap=0, step=None)


def compare(
    recipe: Recipe,
    folder: Path,
    cases: Sequence[Case],
    *,
    lesions: Sequence[str],
    tiling: Literal["model", "paper"] = "model",
    tell: Callable[[Row, int, str], None] = lambda row, done, name: None,
) -> dict[str, LesionComparison]:
    """Score all rows on the same photographs.

    Args:
        recipe: of the run.
        folder: of the run, all stages of NEEDED finished but those that a package stood for.
        cases: photographs that were not trained on.
        lesions: to compare, of the recipe's.
        tiling: how photographs are cut into windows.
        tell: called with the row, the number of photographs done and the name of the last one.

    Raises:
        TrainingError: a stage is not finished.
        FoveateError: a photograph or mask cannot be used; the message says which.
    """
    package = models.unsaved_package(recipe.name, tiled(recipe.contract, tiling))
    outcomes: dict[Row, dict[str, LesionOutcome]] = {}
    clips: dict[Row, Clips] = {}
    for row, engine in ROWS.items():
        clips[row] = Clips(maps_from_model(package, engine(network=network(recipe, folder, row)), DEFAULTS))
        trial = EvaluationSpec(source=clips[row].show, cases=cases, thresholds=dict.fromkeys(lesions, 0.5))
        outcomes[row] = evaluate(trial, lambda done, name, row=row: tell(row, done, name))  # type: ignore[misc]
    return {lesion: _column(lesion, outcomes, clips) for lesion in lesions if lesion in outcomes["fused"]}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Clip:
    """One map where a photograph has most of a lesion."""

    pixels: UInt8[np.ndarray, "S S 3"]
    truth: Bool[np.ndarray, "S S"]
    stored: UInt16[np.ndarray, "S S"]


class Clips:
    """A source that keeps, of each photograph it shows, a patch with most of each lesion."""

    def __init__(self, source: MapSource) -> None:
        self.source = source
        self.kept: dict[tuple[str, str], _Clip] = {}

    def show(self, case: Case) -> CaseMaps:
        """Show a photograph, and keep a patch of each map that is asked for."""
        shown = self.source(case)

        def stored(lesion: str) -> UInt16[np.ndarray, "H W"]:
            found: UInt16[np.ndarray, "H W"] = shown.load_map(lesion)
            (plane,) = truth(case, (lesion,), shown.photograph.shape)
            if plane.any():
                here = busiest(plane)
                self.kept[lesion, case.name] = _Clip(
                    pixels=shown.photograph.pixels[here].copy(),
                    truth=plane[here].copy(),
                    stored=found[here].copy(),
                )
            return found

        return replace(shown, load_map=stored)


def busiest(plane: Bool[np.ndarray, "H W"]) -> tuple[slice, slice]:
    """Return the patch of the paper's grid that holds most of a mask; smaller in a smaller photograph."""
    height, width = plane.shape
    side = min(SIDE, height, width)
    corners = tiling.regular_grid((height, width), side, 0)
    held = [int(plane[row : row + side, column : column + side].sum()) for row, column in corners]
    row, column = corners[int(np.argmax(held))].tolist()
    return slice(row, row + side), slice(column, column + side)


def _column(
    lesion: str, outcomes: Mapping[Row, Mapping[str, LesionOutcome]], clips: Mapping[Row, Clips]
) -> LesionComparison:
    each = {row: found[lesion].each for row, found in outcomes.items()}
    sketches = _sketches(each)
    drawn = metrics.resample_photographs(len(each["fused"]))
    scored = {row: _area(sketches[row], outcomes[row][lesion].pooled, drawn) for row in outcomes}
    areas = {row: area for row, (area, _) in scored.items()}
    strata = range(len(DIAMETERS) + 1)
    rows = {
        row: [np.stack([one.detection["one_pixel"].table_row(stratum) for one in seen]) for stratum in strata]
        for row, seen in each.items()
    }
    statistic = metrics.froc.sensitivity_at(RATE)
    return LesionComparison(
        areas=areas,
        deviations={row: deviation for row, (_, deviation) in scored.items()},
        gains={
            row: replace(
                metrics.paired_interval(sketches["fused"], sketches[row], metrics.average_precisions),
                value=_minus(areas["fused"].value, areas[row].value),
            )
            for row in OTHERS
        },
        found={
            row: tuple(metrics.estimate(table, statistic, drawn, "none is drawn") for table in tables)
            for row, tables in rows.items()
        },
        found_gains={
            row: tuple(
                metrics.paired_interval(rows["fused"][stratum], rows[row][stratum], statistic)
                for stratum in strata
            )
            for row in OTHERS
        },
        lesions=tuple(int(table[:, -2].sum()) for table in rows["fused"]),
        patch=_patch(lesion, outcomes["fused"][lesion], clips),
    )


def _sketches(each: Mapping[Row, Sequence[Measures]]) -> dict[Row, Float64[np.ndarray, "P C"]]:
    """Return the rows' sketches over the same bins, so that they can be compared."""
    together = metrics.interval_table([one.interval_bins for seen in each.values() for one in seen])
    return dict(zip(each, np.split(together, len(each)), strict=True))


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _area(
    table: Float64[np.ndarray, "P C"], pooled: PixelCounts, drawn: Int64[np.ndarray, "R P"]
) -> tuple[Estimate, float | None]:
    """Return exact average precision, its interval from sketches, and how far off their own value is."""
    sketched = metrics.estimate(table, metrics.average_precisions, drawn, "no photograph has this lesion")
    exact = metrics.average_precision(pooled)
    return replace(sketched, value=exact), _minus(sketched.value, exact)


def _patch(lesion: str, outcome: LesionOutcome, clips: Mapping[Row, Clips]) -> Patch | None:
    """Return the patch of the photograph on which the fused network is neither good nor bad: the median."""
    scored = sorted(
        (area, one.photograph) for one in outcome.each if (area := one.areas["exact"]) is not None
    )
    if not scored:
        return None
    _, name = scored[len(scored) // 2]
    kept = {row: clips[row].kept[lesion, name] for row in ROWS}
    return Patch(
        photograph=name,
        pixels=kept["fused"].pixels,
        truth=kept["fused"].truth,
        maps={row: clip.stored for row, clip in kept.items()},
    )
