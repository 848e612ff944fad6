"""Calibration: whether seven in ten pixels with a probability of .7 are lesion.

Knows:   reliability bins, the expected calibration error, and Platt scaling.
Ignores: maps and photographs.

Shape letters: G reliability bins, R pools of photographs, P photographs, C = 3 G columns, N probabilities,
B bins of a histogram.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from foveate.errors import SettingError
from foveate.metrics.bootstrap import divide_or_nan
from foveate.metrics.counts import PixelCounts, pool
from foveate.metrics.thresholds import MAX_INDEX, require_map

EDGES: Int64[np.ndarray, " G"] = np.arange(10) * (MAX_INDEX // 10)
"""Lower edges of the ten reliability bins, which are of equal width; the last bin includes 1."""


def table_row(counts: PixelCounts) -> Float64[np.ndarray, " C"]:
    """Return the numbers that are summed over photographs.

    Returns:
        For the G bins: pixels, then sums of probabilities, then lesion pixels.
    """
    positives, negatives = counts.rebin(EDGES)
    pixels = counts.positives + counts.negatives
    sums = np.add.reduceat(pixels * (counts.bin_edges / MAX_INDEX), np.searchsorted(counts.bin_edges, EDGES))
    sums[positives + negatives == 0] = 0  # reduceat gives an empty bin the value of the next element
    return np.concatenate([positives + negatives, sums, positives]).astype(np.float64)


def expected_errors(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return the expected calibration error: the mean over pixels of the error of their bin.

    The error of a bin is the difference between its mean probability and its share of lesion pixels.

    Args:
        table: rows as `table_row` returns them.

    Returns:
        0 to 1; NaN without pixels.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 5.
    """
    pixels, sums, positives = np.split(table, 3, axis=1)
    total = pixels.sum(axis=1)
    error = np.abs(sums - positives).sum(axis=1)
    return divide_or_nan(error, total)


def expected_errors_above_lowest(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return `expected_errors` of the pixels with a probability of at least .1.

    Without this restriction, the many background pixels would hide their error.
    """
    rest = np.concatenate([part[:, 1:] for part in np.split(table, 3, axis=1)], axis=1)
    return expected_errors(rest)


NEWTON_STEPS = 50
"""Largest number of Newton steps; a handful is enough to converge."""

TOLERANCE = 1e-9
"""Newton's method has converged when no weight changes by more than this; weights are of the order of 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlattScaling:
    """A correction of one lesion's logits: the new logit is `slope` times the old one plus `shift`.

    Source: Platt 1999, 'Probabilistic outputs for support vector machines'.
    """

    slope: float
    """Above 0, so that the order of pixels does not change."""
    shift: float

    def __post_init__(self) -> None:
        """Raise SettingError if the order of pixels would change."""
        if not self.slope > 0:
            raise SettingError(f"the slope of a calibration is {self.slope:g}; give a number above 0")

    def of_counts(self, counts: PixelCounts) -> PixelCounts:
        """Return the counts of the scaled maps, with edges rounded to the nearest index of the grid."""
        edges = np.rint(self(counts.bin_edges / MAX_INDEX) * MAX_INDEX).astype(np.int64)
        return PixelCounts(positives=counts.positives, negatives=counts.negatives, bin_edges=edges)

    def __call__(self, probabilities: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        """Scale probabilities in [0, 1]; 0 and 1 stay the same.

        Raises:
            GeometryError: a value is not in [0, 1].
        """
        require_map(probabilities)
        with np.errstate(divide="ignore"):  # the logits of 0 and 1 are infinite
            logits = np.log(probabilities) - np.log1p(-probabilities)
        return _sigmoid(self.slope * logits + self.shift)


def fit(counts: PixelCounts) -> PlattScaling | None:
    """Return the maximum-likelihood scaling; None if it cannot be determined.

    Pixels at exactly 0 or 1 are left out: no scaling changes them, and most of them lie outside the field.
    The scaling cannot be determined without lesion pixels, without background pixels, or if the likeliest
    slope is not above 0, which means that background pixels score higher than lesion pixels.

    Args:
        counts: counts of photographs that the network was not trained on.

    Source: logistic regression by Newton's method, as in Platt 1999, but without the prior counts, since
    there are many pixels (our choice).
    """
    inner = slice(1, -1) if counts.bin_edges[-1] == MAX_INDEX else slice(1, None)
    positives, negatives = (
        histogram[inner].astype(np.float64) for histogram in (counts.positives, counts.negatives)
    )
    if not positives.sum() or not negatives.sum():
        return None
    probabilities = counts.bin_edges[inner] / MAX_INDEX
    logits = np.log(probabilities) - np.log1p(-probabilities)
    pixels = positives + negatives
    mean = np.average(logits, weights=pixels)
    spread = math.sqrt(np.average((logits - mean) ** 2, weights=pixels)) or 1.0
    design = np.stack([(logits - mean) / spread, np.ones_like(logits)])  # both weights are of the order of 1
    slope, intercept = _logistic_regression(design, positives, negatives).tolist()
    slope /= spread
    return PlattScaling(slope=slope, shift=intercept - slope * mean) if slope > 0 else None


def _logistic_regression(
    design: Float64[np.ndarray, "2 B"],
    positives: Float64[np.ndarray, " B"],
    negatives: Float64[np.ndarray, " B"],
) -> Float64[np.ndarray, " 2"]:
    """Return the maximum-likelihood weights, by Newton's method with step halving."""

    def negative_log_likelihood(weights: Float64[np.ndarray, " 2"]) -> float:
        logits = weights @ design
        return float(positives @ np.logaddexp(0, -logits) + negatives @ np.logaddexp(0, logits))

    weights, pixels = np.zeros(2), positives + negatives
    for _ in range(NEWTON_STEPS):
        predicted = _sigmoid(weights @ design)
        gradient = design @ (positives - pixels * predicted)
        hessian = (design * (pixels * predicted * (1 - predicted))) @ design.T
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        loss = negative_log_likelihood(weights)
        while negative_log_likelihood(weights + step) > loss and np.abs(step).max() > TOLERANCE:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() <= TOLERANCE:
            break
    return weights


def leave_one_out(each: Sequence[PixelCounts]) -> Float64[np.ndarray, "P C"]:
    """Return the `table_row` of each photograph after the scaling that is fitted to all other photographs.

    Args:
        each: counts of each photograph. Where no scaling can be fitted, its counts are used unchanged.
    """
    total, rows = pool(each), []
    for counts in each:
        rest = PixelCounts(
            positives=total.positives - counts.positives,
            negatives=total.negatives - counts.negatives,
            bin_edges=total.bin_edges,
        )
        scaling = fit(rest)
        rows.append(table_row(counts if scaling is None else scaling.of_counts(counts)))
    return np.array(rows)


def _sigmoid(logits: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Return the probabilities of logits, without overflow."""
    probabilities: Float64[np.ndarray, " N"] = np.exp(-np.logaddexp(0, -logits))
    return probabilities
