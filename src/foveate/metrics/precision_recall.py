"""Precision, recall and Dice at every threshold, and what they come to: three areas below one curve.

Knows:   counts of pixels by probability; how average precision and two coarser estimators are defined.
Ignores: maps, photographs, and how sure the figures are.

A threshold marks the pixels whose place on the ruler is at least as high.
Shape letters: T thresholds, R rows: pools of photographs, B bins, C = 2 B or 2 T + 1 columns.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from foveate.metrics.bootstrap import share
from foveate.metrics.counts import COARSE, OFFICIAL, Counts
from foveate.metrics.thresholds import TOP


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """Precision and recall at every threshold that marks other pixels than the one before it."""

    levels: Int64[np.ndarray, " T"]
    """Places on the ruler, falling; the last marks every pixel."""
    precision: Float64[np.ndarray, " T"]
    """Share of the marked pixels that are lesion, 0 to 1."""
    recall: Float64[np.ndarray, " T"]
    """Share of the lesion pixels that are marked, 0 to 1, never falling; 1 at the end."""


def precision_recall(counts: Counts) -> Curve | None:
    """Return the exact curve; None where there is no lesion pixel, as recall means nothing then."""
    if not counts.positives.any():
        return None
    used = np.flatnonzero(counts.positives + counts.negatives)[::-1]
    hits = np.cumsum(counts.positives[used])
    marked = hits + np.cumsum(counts.negatives[used])
    return Curve(levels=counts.floors[used], precision=hits / marked, recall=hits / hits[-1])


def average_precision(counts: Counts) -> float | None:
    """Return the area below the curve taken as steps: the sum of precision times the recall gained.

    Returns:
        0 to 1, exact where every level has a bin of its own, as in maps of 8 and 16 bits, ties included.
        Floats that share a place count as tied: `rounding` says how much that can matter. None without
        lesion pixels.

    Source: equals scikit-learn's average_precision_score; no trapezoid, which would reward gaps between
    thresholds (Davis and Goadrich 2006, doi:10.1145/1143844.1143874).
    """
    curve = precision_recall(counts)
    if curve is None:
        return None
    return float(np.sum(np.diff(curve.recall, prepend=0) * curve.precision))


def rounding(counts: Counts) -> float | None:
    """Return how far `average_precision` can be from that of the same floats, had each a place of its own.

    Returns:
        0 to 1; 0 for maps of 8 and 16 bits. Floats lie at most 4.8e-7 apart from those they share a place
        with: that matters only where many crowd, as next to 0 and 1. None without lesion pixels.

    Source: ours. Of the pixels of a shared place the average precision is highest if all that are lesion come
    first, lowest if they come last.
    """
    curve = precision_recall(counts)
    if curve is None:
        return None
    used = np.flatnonzero(counts.positives + counts.negatives)[::-1]
    lesion, other = counts.positives[used], counts.negatives[used]
    hits, marked = np.cumsum(lesion), np.cumsum(lesion + other)
    highest = hits / np.maximum(marked - other, 1)
    lowest = (hits - lesion + 1) / (marked - lesion + 1)
    off = np.maximum(highest - curve.precision, curve.precision - lowest)
    is_shared = (curve.levels % 2 == 1) & (lesion > 0)
    return float(np.sum(lesion * off, where=is_shared) / hits[-1])


def ends(counts: Counts) -> float | None:
    """Return the share of the lesion pixels next to 0 or 1, within 4.8e-7; None without lesion pixels."""
    lesion = int(counts.positives.sum())
    next_to = np.isin(counts.floors, [1, TOP - 1])
    return int(counts.positives[next_to].sum()) / lesion if lesion else None


def official_33(counts: Counts) -> float | None:
    """Return the area by the challenge's 33 equally spaced thresholds, p >= t; None without lesion pixels.

    Source: Porwal et al. 2020, doi:10.1016/j.media.2019.101561, section 6.
    """
    return _single(official_33_areas(at_thresholds(counts, OFFICIAL)[np.newaxis]))


def coarse_11(counts: Counts) -> float | None:
    """Return the area by 11 thresholds, p > t; None without lesion pixels. Only to compare with papers that
    report it: few thresholds inflate the area.

    Source: the evaluation code of M2MRF (Liu et al. 2023), taken over by later ones.
    """
    return _single(coarse_11_areas(at_thresholds(counts, COARSE)[np.newaxis]))


def at_thresholds(counts: Counts, places: Int64[np.ndarray, " T"]) -> Float64[np.ndarray, " C"]:
    """Return a row for the two functions below: T sums of lesion pixels, T of others, all lesion pixels."""
    hits, others = counts.reaching(places)
    return np.concatenate([hits, others, [counts.positives.sum()]]).astype(np.float64)


def average_precisions(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return average precision of several pools at once.

    Args:
        table: B columns of lesion pixels from low to high, then B of others.

    Returns:
        As `average_precision`; not a number without lesion pixels.
    """
    bins = table.shape[1] // 2
    hits = np.cumsum(table[:, bins - 1 :: -1], axis=1)
    marked = hits + np.cumsum(table[:, : bins - 1 : -1], axis=1)
    precision = np.divide(hits, marked, out=np.zeros_like(hits), where=marked > 0)
    gained = (table[:, bins - 1 :: -1] * precision).sum(axis=1)
    return share(gained, hits[:, -1])


def official_33_areas(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return `official_33` of several pools at once; rows as `at_thresholds` makes them.

    Thresholds at which nothing is marked are dropped; trapezoids between the others; from the highest
    threshold that is left, the curve is carried flat to recall 0.
    """
    hits, others, lesion = _parts(table)
    marked = hits + others
    precision = np.divide(hits, marked, out=np.zeros_like(hits), where=marked > 0)
    highest = np.maximum((marked > 0).sum(axis=1) - 1, 0)[:, np.newaxis]
    carried = np.take_along_axis(precision, highest, axis=1)
    precision = np.where(marked > 0, precision, carried)
    area = _trapezoids(np.hstack([precision, carried]), np.hstack([hits, np.zeros_like(carried)]))
    return share(area, lesion)


def coarse_11_areas(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return `coarse_11` of several pools at once; rows as `at_thresholds` makes them.

    Precision is 1 where nothing is marked; trapezoids; nothing is added beyond the recall of `p > 0`.
    """
    hits, others, lesion = _parts(table)
    marked = hits + others
    precision = np.divide(hits, marked, out=np.ones_like(hits), where=marked > 0)
    return share(_trapezoids(precision, hits), lesion)


ESTIMATORS = {"exact": average_precision, "official_33": official_33, "coarse_11": coarse_11}
"""The three areas, by the names that they go by everywhere."""


def dice(counts: Counts, place: int) -> float | None:
    """Return Dice's coefficient of the pixels marked at a place; None where none is lesion and none marked.

    Args:
        counts: of pixels, pooled or of one photograph.
        place: pixels at or above it are marked.

    Source: Dice 1945, doi:10.2307/1932409: 2 TP / (2 TP + FP + FN).
    """
    hits, others = (int(found[0]) for found in counts.reaching(np.array([place])))
    total = hits + others + int(counts.positives.sum())
    return 2 * hits / total if total else None


def best_dice_level(counts: Counts) -> int | None:
    """Return the place, above 0, at which Dice is highest; the highest of equals; None without lesion.

    Place 0 is left out: it marks every pixel, the black surround included.
    """
    if not counts.positives.any():
        return None
    hits = np.cumsum(counts.positives[::-1])[::-1]
    marked = hits + np.cumsum(counts.negatives[::-1])[::-1]
    scores = 2 * hits[1:] / (marked[1:] + hits[0])
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    return int(counts.floors[1:][best])


def dices(table: Float64[np.ndarray, "R 3"]) -> Float64[np.ndarray, " R"]:
    """Return Dice's coefficient of rows of true positives, false positives, false negatives."""
    hits, false, missed = table.T
    return share(2 * hits, 2 * hits + false + missed)


def ious(table: Float64[np.ndarray, "R 3"]) -> Float64[np.ndarray, " R"]:
    """Return intersection over union of rows of true positives, false positives, false negatives."""
    hits, false, missed = table.T
    return share(hits, hits + false + missed)


def ratios(table: Float64[np.ndarray, "R 2"]) -> Float64[np.ndarray, " R"]:
    """Return the first column's share in the second; not a number where that is 0."""
    return share(table[:, 0], table[:, 1])


def _parts(
    table: Float64[np.ndarray, "R C"],
) -> tuple[Float64[np.ndarray, "R T"], Float64[np.ndarray, "R T"], Float64[np.ndarray, " R"]]:
    half = table.shape[1] // 2
    return table[:, :half], table[:, half:-1], table[:, -1]


def _trapezoids(
    precision: Float64[np.ndarray, "R T"], hits: Float64[np.ndarray, "R T"]
) -> Float64[np.ndarray, " R"]:
    """Return the area below precision over hits, which fall from column to column."""
    area: Float64[np.ndarray, " R"] = np.zeros(len(hits))
    for low, high in pairwise(range(hits.shape[1])):
        area += (hits[:, low] - hits[:, high]) * (precision[:, low] + precision[:, high]) / 2
    return area


def _single(values: Float64[np.ndarray, " 1"]) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])
