"""Precision, recall and Dice at every threshold, and what they come to.

Knows:   counts of pixels by stored level.
Ignores: maps, photographs, and how sure the figures are.

A threshold marks the pixels whose stored level is at least as high.
Shape letters: T thresholds.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from foveate.scores.counts import Counts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """Precision and recall at every threshold that marks other pixels than the one before it."""

    levels: Int64[np.ndarray, " T"]
    """Stored levels, falling; the last marks every pixel."""
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
        0 to 1, exact where every level has a bin of its own, ties included; None without lesion pixels.

    Source: equals scikit-learn's average_precision_score; no trapezoid, which would reward gaps between
    thresholds (Davis and Goadrich 2006, doi:10.1145/1143844.1143874).
    """
    curve = precision_recall(counts)
    if curve is None:
        return None
    return float(np.sum(np.diff(curve.recall, prepend=0) * curve.precision))


def dice(counts: Counts, level: int) -> float | None:
    """Return Dice's coefficient of the pixels marked at a level; None where none is lesion and none marked.

    Args:
        counts: of pixels, pooled or of one photograph.
        level: pixels with stored >= level are marked; where bins hold several levels, from the next bin on.

    Source: Dice 1945, doi:10.2307/1932409: 2 TP / (2 TP + FP + FN).
    """
    first = int(np.searchsorted(counts.floors, level))
    hits, lesion = int(counts.positives[first:].sum()), int(counts.positives.sum())
    marked = hits + int(counts.negatives[first:].sum())
    return 2 * hits / (marked + lesion) if marked + lesion else None


def best_dice_level(counts: Counts) -> int | None:
    """Return the level, at least 1, at which Dice is highest; the highest of equals; None without lesion.

    Level 0 is left out: it marks every pixel, the black surround included.
    """
    if not counts.positives.any():
        return None
    hits = np.cumsum(counts.positives[::-1])[::-1]
    marked = hits + np.cumsum(counts.negatives[::-1])[::-1]
    scores = 2 * hits[1:] / (marked[1:] + hits[0])
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    return int(counts.floors[1:][best])
