"""A fine grid of thresholds that all types of probability maps share.

Knows:   how levels of 8 and 16 bits and floats become indices on the grid, which are whole numbers.
Ignores: what is counted at an index.

The grid divides the interval from 0 to 1 into STEPS steps. Index 2 k stands for the probability k / STEPS
exactly; index 2 k + 1 stands for all probabilities strictly between k / STEPS and (k + 1) / STEPS. Levels of
8 and 16 bits, the 33 thresholds k / 32 and the 11 thresholds k / 10 are multiples of 1 / STEPS, so both
`p >= t` and `p > t` can be evaluated exactly for them. Floats that share an odd index count as tied.
Where many of them crowd at one index, as they do below 4.8e-7 or above 1 - 4.8e-7, their order is lost;
`precision_recall.quantisation_error` returns how much that can matter.

Shape letters: H W photograph, N pixels, B bins.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8, UInt16

from foveate.errors import GeometryError, SettingError
from foveate.types import lowest_level

STEPS = 32 * 65535
"""The smallest number above 2**20 that 255, 65535, 32 and 10 divide."""

MAX_INDEX = 2 * STEPS
"""Index of probability 1. Index i stands for probability i / MAX_INDEX, the middle of its range."""

StoredMap = (
    Bool[np.ndarray, "H W"] | UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"] | Float[np.ndarray, "H W"]
)
"""A probability map as it is stored: levels, where the dtype's largest is probability 1, or floats."""


def to_index(probability: float) -> int:
    """Return the lowest index that covers no probability below a threshold.

    Then `p >= t` is the same as `to_index(p) >= to_index(t)`. A threshold between two multiples of 1 / STEPS
    shares its index with its neighbours; for maps of integers the comparison is exact nevertheless.

    Raises:
        SettingError: the probability is not in [0, 1].
    """
    _require_probability(probability)
    steps = probability * STEPS
    return 2 * math.floor(steps) + (steps > math.floor(steps))


def to_probability(index: int) -> float:
    """Return the probability that an index stands for, 0 to 1."""
    return index / MAX_INDEX


def to_indices(probabilities: Float[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Return the index of each probability in [0, 1], computed in float64.

    Raises:
        GeometryError: a value is not in [0, 1].
    """
    require_map(probabilities)
    steps = probabilities.astype(np.float64) * STEPS
    whole = np.floor(steps)
    indices: Int64[np.ndarray, " N"] = 2 * whole.astype(np.int64) + (steps > whole)
    return indices


def bin_edges(dtype: np.dtype) -> Int64[np.ndarray, " B"]:
    """Return the indices that a map of a dtype can take, rising from 0 to MAX_INDEX.

    Raises:
        GeometryError: no map has this dtype.
    """
    levels = MAX_INDEX if dtype.kind == "f" else _highest_level(dtype)
    return np.arange(levels + 1) * (MAX_INDEX // levels)


def require_map(stored: np.ndarray) -> None:
    """Require an array to be a map: levels of a type that maps have, or floats in [0, 1].

    Raises:
        GeometryError: no map has this dtype, or a float is not in [0, 1].
    """
    if stored.dtype.kind != "f":
        _highest_level(stored.dtype)
    elif fault := range_fault(stored):
        raise GeometryError(f"the map has {fault}; give probabilities, clipped to 0 to 1")


def range_fault(values: Float[np.ndarray, "..."]) -> str:
    """Return the range of floats that are not all in [0, 1], as 'values from 0.5 to 1.2'; empty if they are.

    Both ends have all digits that tell them from 0 and 1.
    """
    if not values.size:
        return ""
    low, high = values.min(), values.max()
    return "" if low >= 0 and high <= 1 else f"values from {low!s} to {high!s}"  # NaN fails both


def binarise(stored: StoredMap, threshold: float) -> Bool[np.ndarray, "H W"]:
    """Return a mask of the pixels whose probability is at least a threshold in [0, 1], exactly.

    Raises:
        SettingError: the threshold is not in [0, 1].
        GeometryError: no map has this dtype.
    """
    lowest = lowest_stored(threshold, stored.dtype)
    if stored.dtype == np.bool_:
        return stored if lowest else np.ones_like(stored)
    return np.asarray(stored >= lowest)


def lowest_stored(threshold: float, dtype: np.dtype) -> int | float:
    """Return the lowest value of a map of a dtype whose probability reaches a threshold in [0, 1], exactly.

    Thresholds with the same one give the same mask.

    Raises:
        SettingError: the threshold is not in [0, 1].
        GeometryError: no map has this dtype.
    """
    _require_probability(threshold)
    return threshold if dtype.kind == "f" else lowest_level(threshold, _highest_level(dtype))


def _require_probability(value: float) -> None:
    if not 0 <= value <= 1:
        raise SettingError(f"{value:g} is not a probability; give a number from 0 to 1")


def _highest_level(dtype: np.dtype) -> int:
    """Return the level that is probability 1 in maps of a dtype that is not floating point."""
    highest = {np.dtype(bool): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(dtype)
    if highest is None:
        raise GeometryError(f"the map is {dtype}; give uint8 or uint16, or floating point from 0 to 1")
    return highest
