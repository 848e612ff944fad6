"""Choose, on held-out photographs, the cut-offs that select LocalNet's windows at less than full effort.

Knows:   the rule by which cut-offs are chosen, and what the choice costs in average precision.
Ignores: how the interest of a window is computed, and how networks run.

The rule is our choice (docs/decisions/0014-gaze.md). The visited cells must contain a share of each lesion's
annotated area. The smallest of SHARES is chosen with which no lesion's average precision falls by more
than the limit of the effort. Maps are compared at 8 bits, as they are written by default.

Shape letters: H W photograph, h w canvas, N cells, L levels of a map.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from foveate import metrics, photographs
from foveate.analysis import window_selection
from foveate.choices import ReducedEffort
from foveate.datasets import Case, truth
from foveate.engines import Engine
from foveate.errors import DatasetError
from foveate.geometry import canvas
from foveate.inference.pipeline import Segmentation, coarse_maps, segment
from foveate.inference.settings import Settings
from foveate.models import Package
from foveate.types import BlobPolarity, LesionCriterion, LevelMap, SelectionRule, TtaViews
from foveate.writers.maps import quantise

LEVELS = 256
"""Number of levels of an 8-bit map."""

SHARES = (0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4)
"""Shares of a lesion's annotated area that are tried."""

REDUCED_TTA_VIEWS: TtaViews = 4
"""Test-time views of GlobalNet at less than full effort: as good as eight (decision 0014)."""

LEAST_SAVING = 0.9
"""Spots are used only if they reduce the cells to fewer than this share of those without: less is chance."""

LOWEST_CUTOFF = -1e9
"""A cut-off that every cell reaches; its negative is one that no cell reaches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """Largest allowed fall of a lesion's average precision."""

    default: float
    by_lesion: Mapping[str, float]
    """Lesion code -> its own limit."""

    def allows(self, losses: Mapping[str, float]) -> bool:
        """Return whether no lesion loses more than its limit."""
        return all(loss <= self.by_lesion.get(lesion, self.default) for lesion, loss in losses.items())


LIMITS: Mapping[ReducedEffort, Limit] = MappingProxyType(
    {
        # as large as the change between two photographs of the same eye may be
        "balanced": Limit(default=0.005, by_lesion={"MA": 0.01}),
        "fast": Limit(default=0.015, by_lesion={"MA": 0.03}),
    }
)
"""Effort -> its limit."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoarseResult:
    """GlobalNet's result in each cell of a held-out photograph, and pixel counts of both networks' maps."""

    name: str
    """Name of the case."""
    coarse: Mapping[str, Float32[np.ndarray, " N"]]
    """Lesion -> largest probability of GlobalNet in each cell."""
    blob_contrast: Float32[np.ndarray, "N 2"]
    """Response of the strongest dark spot and of the strongest bright spot in each cell."""
    area: Mapping[str, Int64[np.ndarray, " N"]]
    """Lesion -> annotated pixels in each cell."""
    local_counts: Mapping[str, Int64[np.ndarray, "N 2 L"]]
    """Lesion -> lesion and background pixels of each cell by level, in the map of a visited cell."""
    global_counts: Mapping[str, Int64[np.ndarray, "N 2 L"]]
    """The same in the map of GlobalNet."""
    full_counts: Mapping[str, Int64[np.ndarray, "2 L"]]
    """The same over all cells at full effort."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EffortOutcome:
    """The result of visiting some of the cells only, photographs pooled."""

    share: float
    """Share of the cells that are visited."""
    covered: Mapping[str, float]
    """Lesion -> share of its annotated area in the visited cells; lesions without any area are left out."""
    losses: Mapping[str, float]
    """Lesion -> loss of average precision against full effort."""


def coarse_results(
    package: Package,
    engine: Engine,
    cases: Sequence[Case],
    progress: Callable[[str], None] = lambda name: None,
) -> Iterator[CoarseResult]:
    """Segment each photograph twice, at full effort and with few test-time views; count pixels by cell.

    Args:
        package: the model; the rules in its manifest are ignored.
        engine: the engine that runs it.
        cases: photographs that it was not trained on, with their masks.
        progress: called with the name of each photograph that is done.

    Raises:
        FoveateError: a photograph or mask cannot be used.
    """
    for case in cases:
        yield _coarse_result(package, engine, case)
        progress(case.name)


def choose(results: Sequence[CoarseResult], views: TtaViews) -> dict[ReducedEffort, SelectionRule]:
    """Choose which windows are visited at less than full effort.

    Args:
        results: the held-out photographs.
        views: number of test-time views of GlobalNet.

    Returns:
        Effort -> rule; an effort is missing where no share of SHARES stays within its limit.

    Raises:
        DatasetError: there is no photograph.
    """
    if not results:
        raise DatasetError(
            "no photograph is held back to choose the windows of lower efforts on; give a split that holds "
            "some back"
        )
    criteria_by_share = {share: cutoffs(results, share) for share in SHARES}
    losses = {share: outcome(results, criteria).losses for share, criteria in criteria_by_share.items()}
    rules: dict[ReducedEffort, SelectionRule] = {}
    for effort, limit in LIMITS.items():
        allowed = [share for share in SHARES if limit.allows(losses[share])]
        if allowed:
            rules[effort] = SelectionRule(
                tta_views=views, criteria=MappingProxyType(criteria_by_share[min(allowed)])
            )
    return rules


def cutoffs(results: Sequence[CoarseResult], share: float) -> dict[str, LesionCriterion]:
    """Return each lesion's spots and cut-off that cover a share of its area with the fewest cells.

    A lesion that no photograph shows selects no cell.
    """
    return {lesion: _cutoff(results, lesion, share) for lesion in results[0].coarse}


def outcome(results: Sequence[CoarseResult], criteria: Mapping[str, LesionCriterion]) -> EffortOutcome:
    """Return the result of visiting the cells that some criteria select."""
    return pool(
        results,
        [window_selection.select_cells(case.coarse, case.blob_contrast, criteria) for case in results],
    )


def pool(results: Sequence[CoarseResult], visits: Sequence[Bool[np.ndarray, " N"]]) -> EffortOutcome:
    """Return the result of visiting some cells.

    Args:
        results: the photographs.
        visits: which cells of each photograph are visited.
    """
    covered, losses = {}, {}
    for lesion in results[0].coarse:
        area = sum(int(case.area[lesion].sum()) for case in results)
        full = _average_precision(np.sum([case.full_counts[lesion] for case in results], axis=0))
        if area == 0 or full is None:
            continue
        mixed = [
            case.local_counts[lesion][visit].sum(axis=0) + case.global_counts[lesion][~visit].sum(axis=0)
            for case, visit in zip(results, visits, strict=True)
        ]
        inside = sum(int(case.area[lesion][visit].sum()) for case, visit in zip(results, visits, strict=True))
        covered[lesion] = inside / area
        losses[lesion] = full - (_average_precision(np.sum(mixed, axis=0)) or 0.0)
    cells = sum(len(visit) for visit in visits)
    return EffortOutcome(
        share=sum(int(visit.sum()) for visit in visits) / cells, covered=covered, losses=losses
    )


def _cutoff(results: Sequence[CoarseResult], lesion: str, share: float) -> LesionCriterion:
    """Return the spots and the cut-off of one lesion."""
    area = np.concatenate([case.area[lesion] for case in results])
    if not area.any():
        return LesionCriterion(cutoff=-LOWEST_CUTOFF)
    best: tuple[float, LesionCriterion] | None = None
    for blobs in get_args(BlobPolarity):  # 'none' comes first
        interest = np.concatenate([_interest(case, lesion, blobs) for case in results])
        order = np.argsort(-interest, kind="stable")
        enough = int(np.searchsorted(np.cumsum(area[order]), math.ceil(share * area.sum())))
        # Rounded down, so that it is short in the manifest.
        cutoff = math.floor(interest[order[enough]] * 1e4) / 1e4
        cells = int(np.count_nonzero(interest >= cutoff))
        if best is None or cells < best[0]:
            threshold = LEAST_SAVING * cells if blobs == "none" else cells
            best = threshold, LesionCriterion(cutoff=cutoff, blobs=blobs)
    assert best is not None
    return best[1]


def _interest(result: CoarseResult, lesion: str, blobs: BlobPolarity) -> Float64[np.ndarray, " N"]:
    return window_selection.selection_score(result.coarse[lesion], result.blob_contrast, blobs)


def reduced_tta_views(package: Package) -> TtaViews:
    """Return the number of test-time views of GlobalNet at less than full effort."""
    return REDUCED_TTA_VIEWS if package.contract.tta_views > REDUCED_TTA_VIEWS else package.contract.tta_views


def _coarse_result(package: Package, engine: Engine, case: Case) -> CoarseResult:
    """Segment one photograph twice and count its pixels by cell."""
    photograph = photographs.read(case.photograph)
    codes = package.contract.lesions
    all_windows = SelectionRule(
        tta_views=reduced_tta_views(package),
        criteria=dict.fromkeys(codes, LesionCriterion(cutoff=LOWEST_CUTOFF)),
    )
    full = segment(photograph, package, engine)
    close = segment(
        photograph,
        replace(package, selection_rules={"balanced": all_windows}),
        engine,
        Settings(effort="balanced"),
    )
    scores, global_maps = coarse_maps(photograph, package, engine, all_windows.tta_views)
    planes = truth_on_canvas(truth(case, codes, photograph.shape), full)
    cells = scores.cells
    index = _cell_indices(cells, full.probabilities.frame.shape)
    counts = {
        name: {
            lesion: _count_by_cell(quantise(maps[number], "png"), planes[number], index, len(cells.first))
            for number, lesion in enumerate(codes)
        }
        for name, maps in (
            ("local", close.probabilities.maps),
            ("global", global_maps),
            ("full", full.probabilities.maps),
        )
    }
    return CoarseResult(
        name=case.name,
        coarse=scores.coarse,
        blob_contrast=scores.blob_contrast,
        area={lesion: each[:, 0].sum(axis=1) for lesion, each in counts["local"].items()},
        local_counts=counts["local"],
        global_counts=counts["global"],
        full_counts={lesion: each.sum(axis=0) for lesion, each in counts["full"].items()},
    )


def truth_on_canvas(
    planes: Bool[np.ndarray, "K H W"], segmentation: Segmentation
) -> Bool[np.ndarray, "K h w"]:
    """Resample masks to the canvas: a pixel is lesion where at least half of it is."""
    frame = segmentation.probabilities.frame
    cut = planes[(slice(None), *frame.box.slices)].astype(np.uint8)
    return np.stack([canvas.resample(plane * np.uint8(255), frame.shape) > 127 for plane in cut])


def _cell_indices(cells: window_selection.GridCells, shape: tuple[int, int]) -> Int64[np.ndarray, "h w"]:
    """Return the index of the cell of each pixel; the number of cells where a pixel is in none."""
    index = np.full(shape, len(cells.first), np.int64)
    for number, ((top, left), (bottom, right)) in enumerate(zip(cells.first, cells.last, strict=True)):
        index[top:bottom, left:right] = number
    return index


def _count_by_cell(
    levels: LevelMap,
    plane: Bool[np.ndarray, "h w"],
    index: Int64[np.ndarray, "h w"],
    cells: int,
) -> Int64[np.ndarray, "N 2 L"]:
    """Count lesion and background pixels by cell and level."""
    places = index * LEVELS + levels
    size = (cells + 1) * LEVELS
    every = np.bincount(places.ravel(), minlength=size)
    lesion = np.bincount(places[plane], minlength=size)
    return np.stack([lesion, every - lesion]).reshape(2, cells + 1, LEVELS)[:, :cells].swapaxes(0, 1)


def _average_precision(counts: Int64[np.ndarray, "2 L"]) -> float | None:
    """Return the average precision of an 8-bit map from its counts."""
    bin_edges = metrics.thresholds.bin_edges(np.dtype(np.uint8))
    return metrics.average_precision(
        metrics.PixelCounts(positives=counts[0], negatives=counts[1], bin_edges=bin_edges)
    )
