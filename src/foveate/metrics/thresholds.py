"""One ruler for the probabilities of all kinds of maps: where each lies, and where thresholds fall.

Knows:   how maps of 8 bits, 16 bits and floats become places on one ruler, whole numbers without loss.
Ignores: what is counted at a place.

The ruler has STEPS steps from 0 to 1. Every multiple of 1 / STEPS has a place of its own (even numbers), all
that lies between two of them shares one (odd numbers): 0 and 1, every level of an 8- or 16-bit map, the 33
thresholds k / 32 and the 11 thresholds k / 10 have places of their own, so that both `p >= t` and `p > t`
are read off exactly. Floats that share an odd place count as tied; where many crowd in one, as below 4.8e-7
or above 1 - 4.8e-7, their order is lost (`curves.rounding` says what that can change).

Shape letters: H W photograph, N pixels, B bins.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8, UInt16

from foveate.errors import GeometryError, SettingError

STEPS = 32 * 65535
"""The smallest number from 2**20 on that 255, 65535, 32 and 10 divide."""

TOP = 2 * STEPS
"""Place of probability 1; place p stands for probability p / TOP (the middle of what it holds)."""

Map = (
    Bool[np.ndarray, "H W"] | UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"] | Float[np.ndarray, "H W"]
)
"""A map as it is stored: whole numbers, whose largest possible value is probability 1, or probabilities."""


def place(probability: float) -> int:
    """Return the lowest place that holds nothing below a probability: `p >= t` is `place of p >= place(t)`.

    A threshold between two multiples of 1 / STEPS shares its place with what lies between them; it is exact
    for whole-number maps all the same.

    Raises:
        SettingError: the probability is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise SettingError(f"probability {probability:g} lies on no ruler; give 0 to 1")
    steps = probability * STEPS
    return 2 * math.floor(steps) + (steps > math.floor(steps))


def probability(place: int) -> float:
    """Return the probability that a place stands for, 0 to 1."""
    return place / TOP


def places(levels: Float[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Return the place of each probability in [0, 1]; products are rounded as float64 is."""
    steps = levels.astype(np.float64) * STEPS
    whole = np.floor(steps)
    found: Int64[np.ndarray, " N"] = 2 * whole.astype(np.int64) + (steps > whole)
    return found


def floors(dtype: np.dtype) -> Int64[np.ndarray, " B"]:
    """Return the places that a map of a dtype can use, rising from 0 to TOP.

    Raises:
        GeometryError: maps have no such dtype.
    """
    if dtype.kind == "f":
        return np.arange(TOP + 1)
    levels = {np.dtype(bool): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(dtype)
    if levels is None:
        raise GeometryError(
            f"a map of {dtype}; give 8 or 16 bits without sign, or floating point from 0 to 1"
        )
    return np.arange(levels + 1) * (TOP // levels)


def marked(stored: Map, threshold: float) -> Bool[np.ndarray, "H W"]:
    """Return the pixels of a map whose probability is at least a threshold in [0, 1], exactly."""
    if stored.dtype.kind == "f":
        return np.asarray(stored >= threshold)
    if stored.dtype == np.bool_:
        return stored if threshold > 0 else np.ones_like(stored)
    return stored >= level(threshold, stored.dtype)


def level(threshold: float, dtype: np.dtype) -> int:
    """Return the smallest level of a whole-number map whose probability, level / largest, reaches it."""
    top = int(np.iinfo(dtype).max)
    near = max(0, math.floor(threshold * top) - 1)  # may be off by one in floating point: count up
    return next(stored for stored in range(near, top + 1) if stored / top >= threshold)
