"""Whether a probability means what it says: of the pixels at .7, are seven in ten lesion?

Knows:   reliability bins, the expected calibration error, and how probabilities are put right.
Ignores: maps, photographs.

Shape letters: G bins, R pools of photographs, P photographs, C = 3 G columns, N probabilities,
B bins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from foveate.errors import SettingError
from foveate.metrics.bootstrap import share
from foveate.metrics.counts import Counts, pool
from foveate.metrics.thresholds import TOP

EDGES: Int64[np.ndarray, " G"] = np.arange(10) * (TOP // 10)
"""Places where the ten bins of equal width begin; the last holds 1."""


def row(counts: Counts) -> Float64[np.ndarray, " C"]:
    """Return what is summed over photographs: pixels, sum of probabilities and lesion pixels of each bin."""
    positives, negatives = counts.binned(EDGES)
    pixels = counts.positives + counts.negatives
    mass = np.add.reduceat(pixels * (counts.floors / TOP), np.searchsorted(counts.floors, EDGES))
    mass[positives + negatives == 0] = 0  # an empty bin's sum is that of the next place
    return np.concatenate([positives + negatives, mass, positives]).astype(np.float64)


def errors(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return the expected calibration error: the mean over pixels of how far their bin is off.

    A bin is off by the difference between its mean probability and its share of lesion.

    Args:
        table: rows as `row` makes them.

    Returns:
        0 to 1; not a number without pixels.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 5.
    """
    pixels, mass, positives = np.split(table, 3, axis=1)
    total = pixels.sum(axis=1)
    gap = np.abs(mass - positives).sum(axis=1)
    return share(gap, total)


def errors_above_lowest(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
    """Return `errors` over the pixels of at least .1: the many that are surely none would hide all others."""
    kept = np.concatenate([part[:, 1:] for part in np.split(table, 3, axis=1)], axis=1)
    return errors(kept)


NEWTON_STEPS = 50
"""Far more than the handful that it takes to converge."""

CONVERGED = 1e-9
"""A step of the weights, which are of the size of 1, that changes nothing any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How one lesion's logits are put right: the new logit is `slope` times the old one plus `shift`.

    Source: Platt 1999, 'Probabilistic outputs for support vector machines'.
    """

    slope: float
    """Above 0, so that no two pixels change their order."""
    shift: float

    def __post_init__(self) -> None:
        """Raise SettingError where the order of pixels would change."""
        if not self.slope > 0:
            raise SettingError(f"a scaling's slope is {self.slope:g}; it is above 0")

    def of(self, counts: Counts) -> Counts:
        """Return what the counts of maps become, to the nearest place of the ruler."""
        floors = np.rint(self(counts.floors / TOP) * TOP).astype(np.int64)
        return Counts(positives=counts.positives, negatives=counts.negatives, floors=floors)

    def __call__(self, probabilities: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        """Return what probabilities in [0, 1] become; 0 and 1 stay what they are."""
        with np.errstate(divide="ignore"):  # the logits of 0 and 1 are infinite
            logits = np.log(probabilities) - np.log1p(-probabilities)
        return _chance(self.slope * logits + self.shift)


def fit(counts: Counts) -> Scaling | None:
    """Return the scaling under which what was seen is likeliest; None where there is nothing to learn.

    Pixels at exactly 0 or 1 are left out: no scaling moves them, and most of them lie outside the field.
    Where pixels of no lesion are sure of themselves and lesion pixels are not, the likeliest slope is not
    above 0, and there is nothing to learn either.

    Args:
        counts: of photographs that the network did not learn from.

    Source: logistic regression by Newton's method, as Platt 1999; without his prior counts, since pixels are
    many (our choice).
    """
    inner = slice(1, -1) if counts.floors[-1] == TOP else slice(1, None)
    hits, others = (each[inner].astype(np.float64) for each in (counts.positives, counts.negatives))
    if not hits.sum() or not others.sum():
        return None
    chances = counts.floors[inner] / TOP
    logits = np.log(chances) - np.log1p(-chances)
    pixels = hits + others
    middle = np.average(logits, weights=pixels)
    width = math.sqrt(np.average((logits - middle) ** 2, weights=pixels)) or 1.0
    design = np.stack(
        [(logits - middle) / width, np.ones_like(logits)]
    )  # so that both weights are of one size
    slope, level = _likeliest(design, hits, others).tolist()
    slope /= width
    return Scaling(slope=slope, shift=level - slope * middle) if slope > 0 else None


def _likeliest(
    design: Float64[np.ndarray, "2 B"], hits: Float64[np.ndarray, " B"], others: Float64[np.ndarray, " B"]
) -> Float64[np.ndarray, " 2"]:
    """Return the weights of a logistic regression: Newton's method, steps halved until they are no worse."""

    def unlikeliness(weights: Float64[np.ndarray, " 2"]) -> float:
        logits = weights @ design
        return float(hits @ np.logaddexp(0, -logits) + others @ np.logaddexp(0, logits))

    weights, pixels = np.zeros(2), hits + others
    for _ in range(NEWTON_STEPS):
        likely = _chance(weights @ design)
        gradient = design @ (hits - pixels * likely)
        curvature = (design * (pixels * likely * (1 - likely))) @ design.T
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        before = unlikeliness(weights)
        while unlikeliness(weights + step) > before and np.abs(step).max() > CONVERGED:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() <= CONVERGED:
            break
    return weights


def held_out(each: Sequence[Counts]) -> Float64[np.ndarray, "P C"]:
    """Return `row` of each photograph, scaled as `fit` says of all the others: what others may expect.

    Args:
        each: one a photograph; where nothing is learned from the others, it stays as it is.
    """
    total, rows = pool(each), []
    for own in each:
        rest = Counts(
            positives=total.positives - own.positives,
            negatives=total.negatives - own.negatives,
            floors=total.floors,
        )
        scaling = fit(rest)
        rows.append(row(own if scaling is None else scaling.of(own)))
    return np.array(rows)


def _chance(logits: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Return the probabilities of logits, without overflow."""
    found: Float64[np.ndarray, " N"] = np.exp(-np.logaddexp(0, -logits))
    return found
