"""The paper's Table 1 on one split: each stream alone, and both fused.

Knows:   which networks are compared, and that all must have been trained equally long.
Ignores: how a network is trained, how a score is computed, and how the table is formatted.

The fused network's last stage is 'joint'. So that each stream takes as many steps on as many photographs and
windows, it continues alone from its own pre-training with the joint stage's samples; these are the stages
'global-alone' and 'local-alone'. All three rows start from the same weights.

Shape letters: P photographs, R bootstrap samples, C columns, H W photograph, S side of a patch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt16

from foveate import metrics, models, nets, photographs
from foveate.choices import ComparisonTiling
from foveate.datasets import Case, truth
from foveate.evaluation import LesionOutcome, maps_from_model
from foveate.evaluation.evaluate import EvaluationSpec, evaluate
from foveate.evaluation.measures import Measures
from foveate.evaluation.networks import ROW_ENGINES, Row
from foveate.evaluation.sources import CaseMaps, MapSource
from foveate.geometry import tiling
from foveate.inference.settings import DEFAULTS
from foveate.metrics import Estimate, PixelCounts, froc
from foveate.metrics.froc import DIAMETERS
from foveate.metrics.thresholds import StoredMap
from foveate.nets import LocalGlobalUNet
from foveate.training import trainer
from foveate.training.recipe import ALONE_STAGES, STAGES, Recipe, StageName
from foveate.training.run_folder import RunFolder
from foveate.types import ModelContract

STREAM_ROWS: tuple[Row, ...] = ("GlobalNet", "LocalNet")
"""Rows with which the fused network is compared."""

FINAL_STAGES: Mapping[Row, StageName] = MappingProxyType(
    {"GlobalNet": "global-alone", "LocalNet": "local-alone", "fused": "joint"}
)
"""Row -> the stage that its weights come from."""

COMPARISON_STAGES: tuple[StageName, ...] = (*STAGES, *ALONE_STAGES)
"""All stages that a comparison needs, in an order in which they can be trained."""

FALSE_REGIONS = 4.0
"""False regions per photograph at which detected lesions are compared by diameter (our choice)."""

PATCH_SIDE = 256
"""Side of the patches in the figure, px of the photograph, as in the paper."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExamplePatch:
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
    """Exact average precision, with the pixels of all photographs pooled."""
    deviations: Mapping[Row, float | None]
    """The pooled area computed in the intervals' bins, minus the exact one."""
    gains: Mapping[Row, Estimate]
    """How much higher the fused network scores than a row, on the same photographs in every bootstrap
    sample."""
    detected: Mapping[Row, tuple[Estimate, ...]]
    """Share of the lesions detected at FALSE_REGIONS false regions per photograph, by diameter stratum; no
    value where the row's maps are saturated (`froc.estimate_at`)."""
    detection_gains: Mapping[Row, tuple[Estimate, ...]]
    """How much larger that share is for the fused network than for a row."""
    lesion_counts: tuple[int, ...]
    """Number of annotated lesions, by stratum."""
    patch: ExamplePatch | None
    """None where no photograph has the lesion."""


def build_network(recipe: Recipe, folder: Path, row: Row) -> LocalGlobalUNet:
    """Return a row's network with the weights of its last stage.

    Raises:
        TrainingError: the stage is not finished.
    """
    network = nets.build(recipe.network, len(recipe.contract.lesions), read_weights=None)
    trainer.load_weights(network, RunFolder(folder), FINAL_STAGES[row])
    return network.eval()


def steps_by_stage(folder: Path) -> dict[StageName, int]:
    """Return how many steps each finished stage of a run took."""
    run = RunFolder(folder)
    return {stage: run.step_count(stage) for stage in COMPARISON_STAGES if run.is_finished(stage)}


def with_tiling(contract: ModelContract, tiling: ComparisonTiling) -> ModelContract:
    """Return the contract with the model's own windows, or with the paper's 143 patches side by side."""
    return contract if tiling == "model" else replace(contract, part="paper", overlap=0, step=None)


def compare(
    recipe: Recipe,
    folder: Path,
    cases: Sequence[Case],
    *,
    lesions: Sequence[str],
    tiling: ComparisonTiling = "model",
    progress: Callable[[Row, int, str], None] = lambda row, done, name: None,
) -> dict[str, LesionComparison]:
    """Score all rows on the same photographs.

    Args:
        recipe: recipe of the run.
        folder: folder of the run; all COMPARISON_STAGES are finished, except those that a package replaced.
        cases: photographs that were not trained on.
        lesions: lesions of the recipe to compare.
        tiling: how photographs are divided into windows.
        progress: called with the row, the number of photographs done and the name of the last one.

    Raises:
        TrainingError: a stage is not finished.
        FoveateError: a photograph or mask cannot be used; the message says which.
    """
    package = models.unsaved_package(recipe.name, with_tiling(recipe.contract, tiling))
    thresholds = dict.fromkeys(lesions, 0.5)
    recorder = _PatchRecorder()
    outcomes: dict[Row, dict[str, LesionOutcome]] = {}
    for row in ("fused", *STREAM_ROWS):  # the fused network's scores choose the patches
        engine = ROW_ENGINES[row](network=build_network(recipe, folder, row))
        source = recorder.record(row, maps_from_model(package, engine, DEFAULTS))
        spec = EvaluationSpec(source=source, cases=cases, thresholds=thresholds)
        outcomes[row] = evaluate(spec, lambda done, name, row=row: progress(row, done, name))  # type: ignore[misc]
        if row == "fused":
            recorder.choose(
                {lesion: _median_photograph(outcome) for lesion, outcome in outcomes[row].items()}
            )
    outcomes = {row: outcomes[row] for row in ROW_ENGINES}  # in the table's order
    return {
        lesion: _compare_lesion(lesion, outcomes, recorder.example(lesion, cases))
        for lesion in lesions
        if lesion in outcomes["fused"]
    }


@dataclass(kw_only=True, slots=True)
class _PatchRecorder:
    """Cuts the patches of the paper's Fig. 2 from maps while they are scored: none is computed twice."""

    chosen: Mapping[str, str | None] | None = None
    """Lesion -> the photograph whose patches are kept; None keeps those of all photographs."""
    patches: dict[tuple[str, str], dict[Row, UInt16[np.ndarray, "S S"]]] = field(default_factory=dict)
    """(lesion, photograph) -> row -> its patch, 128 kB each."""

    def record(self, row: Row, source: MapSource) -> MapSource:
        """Return a source of the same maps that also keeps their patches."""

        def maps_of(case: Case) -> CaseMaps:
            maps = source(case)

            def load_map(lesion: str) -> StoredMap:
                stored = maps.load_map(lesion)
                if self.chosen is None or self.chosen.get(lesion) == case.name:
                    (plane,) = truth(case, (lesion,), stored.shape)
                    if plane.any():
                        rows = self.patches.setdefault((lesion, case.name), {})
                        rows[row] = stored[densest_patch(plane)].copy()
                return stored

            return replace(maps, load_map=load_map)

        return maps_of

    def choose(self, chosen: Mapping[str, str | None]) -> None:
        """Keep only the patches of one photograph for each lesion from now on."""
        self.chosen = chosen
        self.patches = {key: rows for key, rows in self.patches.items() if key in chosen.items()}

    def example(self, lesion: str, cases: Sequence[Case]) -> ExamplePatch | None:
        """Return the patches of a lesion's photograph, with its pixels; None if no photograph has it."""
        name = None if self.chosen is None else self.chosen[lesion]
        if name is None:
            return None
        case = next(case for case in cases if case.name == name)
        pixels = photographs.read(case.photograph).pixels
        (plane,) = truth(case, (lesion,), pixels.shape[:2])
        patch = densest_patch(plane)
        maps = self.patches[lesion, name]
        return ExamplePatch(
            photograph=name,
            pixels=pixels[patch].copy(),
            truth=plane[patch].copy(),
            maps={row: maps[row] for row in ROW_ENGINES},
        )


def _median_photograph(outcome: LesionOutcome) -> str | None:
    """Return the photograph with the median score; None where no photograph has the lesion."""
    scored = sorted(
        (area, case.photograph) for case in outcome.each if (area := case.areas["exact"]) is not None
    )
    return scored[len(scored) // 2][1] if scored else None


def densest_patch(plane: Bool[np.ndarray, "H W"]) -> tuple[slice, slice]:
    """Return the patch of the paper's grid that contains most of a mask; smaller in a smaller photograph."""
    height, width = plane.shape
    side = min(PATCH_SIDE, height, width)
    corners = tiling.regular_grid((height, width), side, 0)
    pixel_counts = [int(plane[row : row + side, column : column + side].sum()) for row, column in corners]
    row, column = corners[int(np.argmax(pixel_counts))].tolist()
    return slice(row, row + side), slice(column, column + side)


def _compare_lesion(
    lesion: str,
    outcomes: Mapping[Row, Mapping[str, LesionOutcome]],
    patch: ExamplePatch | None,
) -> LesionComparison:
    measures: Mapping[Row, Sequence[Measures]] = {
        row: by_lesion[lesion].each for row, by_lesion in outcomes.items()
    }
    bins = {
        row: metrics.interval_table([case.interval_bins for case in cases]) for row, cases in measures.items()
    }
    samples = metrics.resample_photographs(len(measures["fused"]))
    estimates = {row: _area(bins[row], outcomes[row][lesion].pooled, samples) for row in outcomes}
    areas = {row: area for row, (area, _) in estimates.items()}
    strata = range(len(DIAMETERS) + 1)
    detections = {
        row: [
            np.stack([case.detection["one_pixel"].table_row(stratum) for case in cases]) for stratum in strata
        ]
        for row, cases in measures.items()
    }
    return LesionComparison(
        areas=areas,
        deviations={row: deviation for row, (_, deviation) in estimates.items()},
        gains={
            row: replace(
                metrics.paired_interval(bins["fused"], bins[row], metrics.average_precisions),
                value=_subtract(areas["fused"].value, areas[row].value),
            )
            for row in STREAM_ROWS
        },
        detected={
            row: tuple(
                froc.estimate_at(FALSE_REGIONS, table, samples, "none is annotated") for table in tables
            )
            for row, tables in detections.items()
        },
        detection_gains={
            row: tuple(
                froc.gain_at(FALSE_REGIONS, detections["fused"][stratum], detections[row][stratum])
                for stratum in strata
            )
            for row in STREAM_ROWS
        },
        lesion_counts=tuple(int(table[:, -2].sum()) for table in detections["fused"]),
        patch=patch,
    )


def _subtract(minuend: float | None, subtrahend: float | None) -> float | None:
    return None if minuend is None or subtrahend is None else minuend - subtrahend


def _area(
    table: Float64[np.ndarray, "P C"], pooled: PixelCounts, samples: Int64[np.ndarray, "R P"]
) -> tuple[Estimate, float | None]:
    """Return the exact average precision with an interval from bins, and the binned value's deviation."""
    binned = metrics.estimate(table, metrics.average_precisions, samples, "no photograph has this lesion")
    exact = metrics.average_precision(pooled)
    return replace(binned, value=exact), _subtract(binned.value, exact)
