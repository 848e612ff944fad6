"""Precision, recall and Dice at every threshold, and three estimates of the area under the curve.

Knows:   counts of pixels by probability; how average precision and two coarser estimators are defined.
Ignores: maps, photographs, and confidence intervals.

A threshold is an index on the grid of `thresholds`. A pixel is predicted if its index is at least as high.

Shape letters: T thresholds, R rows: pools of photographs, B bins, C = 2 B or 2 T + 1 columns.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from foveate.metrics.bootstrap import divide_or_nan
from foveate.metrics.counts import COARSE_THRESHOLDS, OFFICIAL_THRESHOLDS, PixelCounts
from foveate.metrics.thresholds import MAX_INDEX


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall at every threshold whose predicted pixels differ from those of the one before."""

    thresholds: Int64[np.ndarray, " T"]
    """Indices on the grid, falling; the last predicts every pixel."""
    precision: Float64[np.ndarray, " T"]
    """Share of the predicted pixels that are lesion, 0 to 1."""
    recall: Float64[np.ndarray, " T"]
    """Share of the lesion pixels that are predicted, 0 to 1, never falling; 1 at the end."""


def precision_recall(counts: PixelCounts) -> PrecisionRecallCurve | None:
    """Return the exact curve; None without lesion pixels, where recall is undefined."""
    if not counts.positives.any():
        return None
    used = np.flatnonzero(counts.positives + counts.negatives)[::-1]
    true_positives = np.cumsum(counts.positives[used])
    predicted = true_positives + np.cumsum(counts.negatives[used])
    return PrecisionRecallCurve(
        thresholds=counts.bin_edges[used],
        precision=true_positives / predicted,
        recall=true_positives / true_positives[-1],
    )


def average_precision(counts: PixelCounts) -> float | None:
    """Return the average precision: the sum over all thresholds of precision times the gain in recall.

    Returns:
        0 to 1; exact where every level has a bin of its own, as in maps of 8 and 16 bits, ties included.
        Floats that share an index count as tied: `quantisation_error` returns how much that can matter. None
        without lesion pixels.

    Source: equals scikit-learn's average_precision_score. It uses no trapezoids, which would reward gaps
    between thresholds (Davis and Goadrich 2006, doi:10.1145/1143844.1143874).
    """
    curve = precision_recall(counts)
    if curve is None:
        return None
    return float(np.sum(np.diff(curve.recall, prepend=0) * curve.precision))


def quantisation_error(counts: PixelCounts) -> float | None:
    """Return how far `average_precision` can be from its value for the same floats without quantisation.

    Returns:
        0 to 1; 0 for maps of 8 and 16 bits. Floats that share an index differ by at most 4.8e-7, which
        matters only where many of them crowd, as they do next to 0 and 1. None without lesion pixels.

    Source: ours. Among the pixels that share an index, the average precision is highest if all lesion pixels
    come first, and lowest if they come last.
    """
    curve = precision_recall(counts)
    if curve is None:
        return None
    used = np.flatnonzero(counts.positives + counts.negatives)[::-1]
    positives, negatives = counts.positives[used], counts.negatives[used]
    true_positives, predicted = np.cumsum(positives), np.cumsum(positives + negatives)
    highest = true_positives / np.maximum(predicted - negatives, 1)
    lowest = (true_positives - positives + 1) / (predicted - positives + 1)
    error = np.maximum(highest - curve.precision, curve.precision - lowest)
    is_shared = (curve.thresholds % 2 == 1) & (positives > 0)
    return float(np.sum(positives * error, where=is_shared) / true_positives[-1])


def saturated_share(counts: PixelCounts) -> float | None:
    """Return the share of the lesion pixels next to 0 or 1, within 4.8e-7; None without lesion pixels."""
    lesion = int(counts.positives.sum())
    is_saturated = np.isin(counts.bin_edges, [1, MAX_INDEX - 1])
    return int(counts.positives[is_saturated].sum()) / lesion if lesion else None


def official_33(counts: PixelCounts) -> float | None:
    """Return the area by the challenge's 33 equally spaced thresholds, p >= t; None without lesion pixels.

    Source: Porwal et al. 2020, doi:10.1016/j.media.2019.101561, section 6.
    """
    return _value_or_none(official_33_areas(threshold_sums(counts, OFFICIAL_THRESHOLDS)[np.newaxis]))


def coarse_11(counts: PixelCounts) -> float | None:
    """Return the area by 11 thresholds, p > t; None without lesion pixels.

    Use it only to compare with papers that report it: so few thresholds inflate the area.

    Source: the evaluation code of M2MRF (Liu et al. 2023), which later papers reuse.
    """
    return _value_or_none(coarse_11_areas(threshold_sums(counts, COARSE_THRESHOLDS)[np.newaxis]))


def threshold_sums(counts: PixelCounts, thresholds: Int64[np.ndarray, " T"]) -> Float64[np.ndarray, " C"]:
    """Return a row for a table of sums: T true positives, T false positives, and all lesion pixels."""
    true_positives, false_positives = counts.at_or_above(thresholds)
    return np.concatenate([true_positives, false_positives, [counts.positives.sum()]]).astype(np.float64)


def average_precisions(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return the average precision of each row of a table.

    Args:
        table: B columns of lesion pixels from low to high, then B of background pixels.

    Returns:
        The same as `average_precision`; NaN without lesion pixels.
    """
    bins = table.shape[1] // 2
    true_positives = np.cumsum(table[:, bins - 1 :: -1], axis=1)
    predicted = true_positives + np.cumsum(table[:, : bins - 1 : -1], axis=1)
    precision = np.divide(true_positives, predicted, out=np.zeros_like(true_positives), where=predicted > 0)
    area = (table[:, bins - 1 :: -1] * precision).sum(axis=1)
    return divide_or_nan(area, true_positives[:, -1])


def official_33_areas(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return `official_33` for each row of a table; rows are as `threshold_sums` returns them.

    Thresholds at which nothing is predicted are dropped, and the others are joined by trapezoids. From the
    highest remaining threshold, the curve continues at the same precision to recall 0.
    """
    true_positives, false_positives, lesion = _split_sums(table)
    predicted = true_positives + false_positives
    precision = np.divide(true_positives, predicted, out=np.zeros_like(true_positives), where=predicted > 0)
    highest = np.maximum((predicted > 0).sum(axis=1) - 1, 0)[:, np.newaxis]
    last_precision = np.take_along_axis(precision, highest, axis=1)
    precision = np.where(predicted > 0, precision, last_precision)
    area = _trapezoids(
        np.hstack([precision, last_precision]), np.hstack([true_positives, np.zeros_like(last_precision)])
    )
    return divide_or_nan(area, lesion)


def coarse_11_areas(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return `coarse_11` for each row of a table; rows are as `threshold_sums` returns them.

    Precision is 1 where nothing is predicted. Trapezoids join the thresholds. Nothing is added beyond the
    recall at `p > 0`.
    """
    true_positives, false_positives, lesion = _split_sums(table)
    predicted = true_positives + false_positives
    precision = np.divide(true_positives, predicted, out=np.ones_like(true_positives), where=predicted > 0)
    return divide_or_nan(_trapezoids(precision, true_positives), lesion)


ESTIMATORS = {"exact": average_precision, "official_33": official_33, "coarse_11": coarse_11}
"""The three estimators of the area, by the names that files and reports use."""


def dice(counts: PixelCounts, threshold: int) -> float | None:
    """Return Dice's coefficient at a threshold; None where no pixel is lesion and none is predicted.

    Args:
        counts: counts of one photograph, or pooled counts of several.
        threshold: index on the grid; pixels at or above it are predicted.

    Source: Dice 1945, doi:10.2307/1932409: 2 TP / (2 TP + FP + FN).
    """
    true_positives, false_positives = (int(sums[0]) for sums in counts.at_or_above(np.array([threshold])))
    total = true_positives + false_positives + int(counts.positives.sum())
    return 2 * true_positives / total if total else None


def best_dice_threshold(counts: PixelCounts) -> int | None:
    """Return the index above 0 at which Dice is highest; None without lesion pixels.

    Of several such indices, the highest is returned. Index 0 is left out, since it predicts every pixel,
    including the black surround.
    """
    if not counts.positives.any():
        return None
    true_positives = np.cumsum(counts.positives[::-1])[::-1]
    predicted = true_positives + np.cumsum(counts.negatives[::-1])[::-1]
    scores = 2 * true_positives[1:] / (predicted[1:] + true_positives[0])
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    return int(counts.bin_edges[1:][best])


def dice_scores(table: Float64[np.ndarray, "R 3"]) -> Float64[np.ndarray, " R"]:
    """Return Dice's coefficient for rows of true positives, false positives and false negatives."""
    true_positives, false_positives, false_negatives = table.T
    return divide_or_nan(2 * true_positives, 2 * true_positives + false_positives + false_negatives)


def iou_scores(table: Float64[np.ndarray, "R 3"]) -> Float64[np.ndarray, " R"]:
    """Return intersection over union for rows of true positives, false positives and false negatives."""
    true_positives, false_positives, false_negatives = table.T
    return divide_or_nan(true_positives, true_positives + false_positives + false_negatives)


def ratios(table: Float64[np.ndarray, "R 2"]) -> Float64[np.ndarray, " R"]:
    """Return the first column divided by the second; NaN where the second is 0."""
    return divide_or_nan(table[:, 0], table[:, 1])


def _split_sums(
    table: Float64[np.ndarray, "R C"],
) -> tuple[Float64[np.ndarray, "R T"], Float64[np.ndarray, "R T"], Float64[np.ndarray, " R"]]:
    """Return the true positives, the false positives and the lesion pixels of rows of `threshold_sums`."""
    half = table.shape[1] // 2
    return table[:, :half], table[:, half:-1], table[:, -1]


def _trapezoids(
    precision: Float64[np.ndarray, "R T"], true_positives: Float64[np.ndarray, "R T"]
) -> Float64[np.ndarray, " R"]:
    """Return the area below precision over true positives, which fall from column to column."""
    area: Float64[np.ndarray, " R"] = np.zeros(len(true_positives))
    for low, high in pairwise(range(true_positives.shape[1])):
        width = true_positives[:, low] - true_positives[:, high]
        area += width * (precision[:, low] + precision[:, high]) / 2
    return area


def _value_or_none(values: Float64[np.ndarray, " 1"]) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])
