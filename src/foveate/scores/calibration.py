"""Whether a probability means what it says: of the pixels at .7, are seven in ten lesion?

Knows:   reliability bins and the expected calibration error.
Ignores: maps, photographs.

Shape letters: G bins, R pools of photographs, C = 3 G columns.
"""

import numpy as np
from jaxtyping import Float64, Int64

from foveate.scores.counts import Counts
from foveate.scores.resampling import share
from foveate.scores.ruler import TOP

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
