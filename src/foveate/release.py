"""A finished run -> a shipped model: validated, thresholds chosen, exported, described.

Knows:   by which rules thresholds and smallest areas are chosen, and what a package's record and card say.
Ignores: how the network was trained.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from foveate import evaluation, export, models, nets, photographs
from foveate.datasets import Case, truth
from foveate.datasets.layouts import Layout
from foveate.errors import DatasetError, TrainingError
from foveate.evaluation import CaseCounts, LesionScore
from foveate.evaluation.networks import ROWS, Row
from foveate.kinds import Decision
from foveate.models import Manifest, TrainingData
from foveate.nets import LocalGlobalUNet
from foveate.training import run
from foveate.training.recipe import Recipe, StageName

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

    def __post_init__(self) -> None:
        """Raise TrainingError where nothing was held back: thresholds would be chosen on what was learned."""
        if not self.held_back:
            raise TrainingError(
                f"{self.folder}: the run held no photograph back to choose thresholds on; train with a --fold"
            )


def network(trained: Trained) -> LocalGlobalUNet:
    """Build a run's network with the weights it ended with.

    Raises:
        TrainingError: a stage is not finished.
    """
    recipe = trained.recipe
    built = nets.build(recipe.network, len(recipe.contract.lesions), read=None)  # trained weights follow
    for stage in STARTS[trained.stage]:
        run.load(built, trained.folder, stage)
    return built


def validate(trained: Trained, row: Row = "fused") -> list[CaseCounts]:
    """Segment the photographs held back with one row of Table 1, weights as they ship, and count pixels."""
    engine = ROWS[row](network=export.halved(network(trained)))
    package = models.unwritten(trained.recipe.name, trained.recipe.contract)
    return list(evaluation.count(trained.held_back, package, engine))


def decide(trained: Trained, scores: Mapping[str, LesionScore]) -> dict[str, Decision]:
    """Choose how maps become regions.

    Threshold: the one at which Dice, pooled over the photographs held back, is highest. Smallest area: 5 %
    of the regions drawn in the photographs that were trained on are smaller. Both are our choice.

    Raises:
        DatasetError: a lesion occurs on neither side.
    """
    areas = _areas(trained)
    found = {}
    for lesion in trained.recipe.contract.lesions:
        threshold = scores[lesion].threshold
        if threshold is None or not len(areas[lesion]):
            raise DatasetError(f"lesion {lesion} occurs in no photograph; no threshold can be chosen")
        smallest = max(1, int(np.quantile(areas[lesion], SMALLEST_SHARE)))
        found[lesion] = Decision(threshold=round(threshold, 4), minimum_area=smallest)
    return found


def write(
    trained: Trained, scores: Mapping[Row, Mapping[str, LesionScore]], version: str, folder: Path
) -> None:
    """Write the model package of a run.

    Args:
        trained: the run.
        scores: row of Table 1 -> lesion -> score, on the photographs held back; 'fused' decides.
        version: of the weights.
        folder: of the package.

    Raises:
        ExportError: torch and ONNX Runtime disagree.
        DatasetError: as `decide`.
    """
    recipe, layout = trained.recipe, trained.layout
    manifest = Manifest(
        name=recipe.name,
        version=version,
        licence=layout.licence,
        intended_use=f"Research on {_named(trained)} in photographs like those it learned from. {NO_DEVICE}",
        contract=recipe.contract,
        decisions=decide(trained, scores["fused"]),
        data=TrainingData(
            name=layout.title or layout.name, licence=layout.licence, attribution=layout.attribution
        ),
        training={
            "recipe": run.describe(recipe),
            "stage": trained.stage,
            "photographs": [case.name for case in trained.learned],
            "healthy": list(trained.healthy),
            "validation": {
                "photographs": [case.name for case in trained.held_back],
                "pixels": "all of each photograph, native resolution, pooled",
                "rows": {
                    row: {code: dataclasses.asdict(one) for code, one in table.items()}
                    for row, table in scores.items()
                },
            },
        },
    )
    export.export(network(trained), manifest, folder)


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
