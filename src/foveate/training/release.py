"""A finished run -> a shipped model: validated, calibrated, thresholds chosen, exported, described.

Knows:   by which rules probabilities are put right and thresholds and smallest areas are chosen, and what a
         package's record says.
Ignores: how the network was trained.

A model is judged on photographs that it did not learn from: those that its own run held back, or, where it
learned from all, those that other runs of the recipe held back from networks like it (cross-validation).
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64

from foveate import evaluation, metrics, models, nets, photographs
from foveate.datasets import Case, truth
from foveate.datasets.layouts import Layout
from foveate.errors import DatasetError, TrainingError
from foveate.evaluation import CaseCounts, LesionScore, effort_cutoffs
from foveate.evaluation.networks import ROWS, Row
from foveate.metrics.calibration import Scaling
from foveate.models import Manifest, TrainingData
from foveate.nets import LocalGlobalUNet
from foveate.training import export, run_record, runner, trainer
from foveate.training.recipe import Recipe, StageName
from foveate.types import Decision, Effort, Gaze

SMALLEST_SHARE = 0.05
"""The smallest regions that are counted are as large as this share of the drawn lesions is at most."""

STARTS: Mapping[StageName, tuple[StageName, ...]] = {
    "fusion": ("global", "local", "fusion"),
    "joint": ("joint",),
}
"""Stages whose weights make up the network after a stage."""

NO_DEVICE = "Not a medical device: it must not be used to diagnose, to screen, or to decide on treatment."


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A recipe, the folder of its finished run, and the photographs of both sides of its split."""

    recipe: Recipe
    folder: Path
    """Of the run."""
    stage: StageName
    """The last one whose weights are used: 'fusion' or 'joint'."""
    learned: Sequence[Case]
    """Photographs that were trained on."""
    held_back: Sequence[Case]
    """Photographs that were not."""
    layout: Layout
    """Of the set: what its lesions are called, its licence and attribution."""
    healthy: Sequence[str] = ()
    """Names of the eyes without any lesion that were learned from beside them."""
    start: Mapping[str, Any] | None = None
    """The package that the run began with, as `training.starts` describes it."""

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of all photographs that the weights learned from, those of the package before included."""
        before = () if self.start is None else self.start["photographs"]
        return tuple(sorted({*before, *(case.name for case in self.learned)}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A run whose model is shipped, and the runs whose photographs held back say how good it is."""

    shipped: Trained
    by: Sequence[Trained]
    """The same run, or others of the recipe."""

    def __post_init__(self) -> None:
        """Raise TrainingError where nothing was held back, something twice, or the networks differ."""
        names = self.held_back
        if not names:
            raise TrainingError(
                f"{self.shipped.folder}: no photograph was held back to choose thresholds on; train with a "
                "--fold, or name runs that were with --judged-by"
            )
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise TrainingError(f"{twice[0]} was held back by two of the runs; name runs of different folds")
        for one in self.by:
            ours, theirs = self.shipped.recipe, one.recipe
            if (ours.network, ours.contract) != (theirs.network, theirs.contract):
                raise TrainingError(
                    f"{one.folder}: another network or contract than {self.shipped.folder}'s; name runs of "
                    "one recipe, with the same --set"
                )

    @property
    def held_back(self) -> tuple[str, ...]:
        """Names of all photographs that it is judged on."""
        return tuple(case.name for one in self.by for case in one.held_back)


Scalings = Mapping[str, Scaling]
"""Lesion -> how its probabilities are put right; a lesion that is not there stays as it is."""

CALIBRATED: tuple[Row, ...] = ("GlobalNet", "fused")
"""Maps that a package makes: where LocalNet does not look, GlobalNet's are shown."""


def recalled(
    recipe: Recipe, folder: Path, cases: Sequence[Case], layout: Layout, stage: StageName = "joint"
) -> Trained:
    """Return a finished run as its folder tells of it.

    Args:
        recipe: of the run's name, as it is published.
        folder: of the run.
        cases: all of its data set.
        layout: of the set.
        stage: the last one whose weights are used.

    Raises:
        TrainingError, SettingError: as `runner.recalled`.
        DatasetError: as `runner.divided`.
    """
    numbers = runner.recalled(recipe, folder)
    learned, held_back = runner.divided(numbers, runner.looked_through(numbers, cases))
    kept = run_record.settings(folder)
    return Trained(
        recipe=numbers,
        folder=folder,
        stage=stage,
        learned=learned,
        held_back=held_back,
        layout=layout,
        healthy=run_record.healthy(folder, cases),
        start=None if kept is None else kept.get("start"),
    )


def network(trained: Trained) -> LocalGlobalUNet:
    """Build a run's network with the weights it ended with.

    Raises:
        TrainingError: a stage is not finished.
    """
    recipe = trained.recipe
    built = nets.build(recipe.network, len(recipe.contract.lesions), read=None)  # trained weights follow
    for stage in STARTS[trained.stage]:
        trainer.load(built, trained.folder, stage)
    return built


def validate(judged: Judged, row: Row = "fused") -> list[CaseCounts]:
    """Segment the photographs held back with one row of Table 1, weights as they ship, and count pixels."""
    found: list[CaseCounts] = []
    for trained in judged.by:
        engine = ROWS[row](network=export.halved(network(trained)))
        package = models.unwritten(trained.recipe.name, trained.recipe.contract)
        found += evaluation.count(trained.held_back, package, engine)
    return found


def calibrated(counted: Sequence[CaseCounts]) -> dict[str, Scaling]:
    """Return how probabilities are put right: as the photographs held back have it likeliest."""
    fitted = {
        lesion: metrics.calibration.fit(metrics.pool([case.counts[lesion] for case in counted]))
        for lesion in counted[0].counts
    }
    return {lesion: scaling for lesion, scaling in fitted.items() if scaling is not None}


def decide(trained: Trained, found: Mapping[str, LesionScore], scalings: Scalings) -> dict[str, Decision]:
    """Choose how maps become regions.

    Threshold: the one at which Dice, pooled over the photographs held back, is highest, as the calibrated
    maps have it. Smallest area: 5 % of the regions drawn in the photographs that were trained on are smaller.
    Both are our choice.

    Raises:
        DatasetError: a lesion occurs on neither side.
    """
    areas = _areas(trained)
    decisions = {}
    for lesion in trained.recipe.contract.lesions:
        threshold = found[lesion].threshold
        if threshold is None or not len(areas[lesion]):
            raise DatasetError(
                f"lesion {lesion} occurs in no photograph, so that no threshold can be chosen; name a set "
                "that has it, or a recipe without it"
            )
        if lesion in scalings:
            threshold = float(scalings[lesion](np.array([threshold]))[0])
        smallest = max(1, int(np.quantile(areas[lesion], SMALLEST_SHARE)))
        decisions[lesion] = Decision(threshold=round(threshold, 4), minimum_area=smallest)
    return decisions


def write(judged: Judged, counted: Mapping[Row, Sequence[CaseCounts]], version: str, folder: Path) -> None:
    """Write the model package of a run.

    Args:
        judged: the run, and those that judge it.
        counted: row of Table 1 -> what `validate` counted; 'fused' decides.
        version: of the weights.
        folder: of the package.

    Raises:
        ExportError: torch and ONNX Runtime disagree.
        DatasetError: as `decide`.
    """
    trained = judged.shipped
    recipe, layout = trained.recipe, trained.layout
    scalings = {row: calibrated(counted[row]) for row in CALIBRATED}
    rows = {row: evaluation.score(cases) for row, cases in counted.items()}
    manifest = Manifest(
        name=recipe.name,
        version=version,
        licence=layout.licence,
        intended_use=f"Research on {_named(trained)} in photographs like those it learned from. {NO_DEVICE}",
        contract=recipe.contract,
        decisions=decide(trained, rows["fused"], scalings["fused"]),
        gazes=gazes(judged, scalings),
        data=TrainingData(
            name=layout.title or layout.name, licence=layout.licence, attribution=layout.attribution
        ),
        training={
            "recipe": trainer.describe(recipe),
            "stage": trained.stage,
            "start": None if trained.start is None else dict(trained.start),
            "photographs": list(trained.seen),
            "healthy": list(trained.healthy),
            "validation": {
                "photographs": list(judged.held_back),
                "learned_from_them": sorted(set(judged.held_back) & set(trained.seen)),
                "pixels": "all of each photograph, native resolution, pooled",
                "rows": {
                    row: {code: dataclasses.asdict(one) for code, one in table.items()}
                    for row, table in rows.items()
                },
                "calibration": {row: calibration(counted[row], scalings[row]) for row in CALIBRATED},
            },
        },
    )
    export.export(_put_right(trained, scalings), manifest, folder)


def gazes(judged: Judged, scalings: Mapping[Row, Scalings]) -> Mapping[Effort, Gaze]:
    """Choose where to look at less than full effort, on the photographs held back (`evaluation.gaze`).

    Nowhere, where the network takes no windows of other sizes than in training.
    """
    recipe = judged.shipped.recipe
    if recipe.contract.step is None:
        return {}
    package = models.unwritten(recipe.name, recipe.contract)
    seen: list[effort_cutoffs.Glimpsed] = []
    for one in judged.by:
        engine = ROWS["fused"](network=export.halved(_put_right(one, scalings)))
        seen += effort_cutoffs.glimpses(package, engine, one.held_back)
    return effort_cutoffs.chosen(seen, effort_cutoffs.glances(package))


def _put_right(trained: Trained, scalings: Mapping[Row, Scalings]) -> LocalGlobalUNet:
    """Return a run's network with its maps calibrated."""
    lesions = trained.recipe.contract.lesions
    fused, coarse = (_lines(lesions, scalings[row]) for row in ("fused", "GlobalNet"))
    return nets.scaled(network(trained), fused=fused, coarse=coarse)


def calibration(counted: Sequence[CaseCounts], scalings: Scalings) -> dict[str, dict[str, float | None]]:
    """Return, for each lesion, its scaling and the calibration error before and after.

    'after' is of each photograph scaled as the others say. Both are of the pixels of at least .1.
    """
    found = {}
    for lesion in counted[0].counts:
        each = [case.counts[lesion] for case in counted]
        scaling = scalings.get(lesion)
        before = np.sum([metrics.calibration.row(one) for one in each], axis=0)
        after = metrics.calibration.held_out(each).sum(axis=0)
        found[lesion] = {
            "slope": None if scaling is None else scaling.slope,
            "shift": None if scaling is None else scaling.shift,
            "error_before": _error(before),
            "error_after": _error(after),
        }
    return found


def _error(row: Float64[np.ndarray, " C"]) -> float | None:
    error = float(metrics.calibration.errors_above_lowest(row[np.newaxis])[0])
    return error if math.isfinite(error) else None


def _lines(lesions: Sequence[str], scalings: Scalings) -> list[nets.Line]:
    """Return slope and shift of each lesion, in their order."""
    each = [scalings.get(lesion) for lesion in lesions]
    return [nets.SAME if one is None else (one.slope, one.shift) for one in each]


def _named(trained: Trained) -> str:
    """Return the recipe's lesions as the set calls them."""
    names = {kind.code: kind.name for kind in trained.layout.kinds}
    return ", ".join(names.get(code, code) for code in trained.recipe.contract.lesions)


def _areas(trained: Trained) -> dict[str, np.ndarray]:
    """Return the areas of all regions drawn in the photographs that were trained on, px."""
    lesions = trained.recipe.contract.lesions
    areas: dict[str, list[np.ndarray]] = {lesion: [] for lesion in lesions}
    for case in trained.learned:
        shape = photographs.read(case.photograph).shape
        for lesion, plane in zip(lesions, truth(case, lesions, shape), strict=True):
            _, _, stats, _ = cv2.connectedComponentsWithStats(plane.astype(np.uint8), connectivity=8)
            areas[lesion].append(stats[1:, cv2.CC_STAT_AREA])
    return {lesion: np.concatenate(each) for lesion, each in areas.items()}
