"""Histograms of a map's pixels by probability, with lesion and background counted separately.

Knows:   how pixels are counted, how the counts of photographs are added, and how bins are merged.
Ignores: what is computed from the counts.

Shape letters: H W photograph, B bins from low to high, S wider bins, T thresholds, P photographs, C columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from foveate.errors import GeometryError, SettingError
from foveate.metrics import thresholds
from foveate.metrics.arguments import require_booleans
from foveate.metrics.thresholds import MAX_INDEX, STEPS, StoredMap

ROWS = 512
"""Rows of a map that are counted at a time, to bound the memory for the wider integers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PixelCounts:
    """Lesion and background pixels by probability: all that pooled scores need of a map."""

    positives: Int64[np.ndarray, " B"]
    """Lesion pixels in each bin."""
    negatives: Int64[np.ndarray, " B"]
    """Background pixels in each bin."""
    bin_edges: Int64[np.ndarray, " B"]
    """Lower edge of each bin, rising from 0, as an index on the threshold grid."""

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        """Pool the pixels of two maps; the bins of one must be among those of the other.

        The bins of 8-bit maps are among those of 16-bit maps, which are among those of float maps.

        Raises:
            GeometryError: each of the two has bins that the other lacks.
        """
        wide, narrow = (self, other) if len(self.bin_edges) >= len(other.bin_edges) else (other, self)
        where = np.searchsorted(wide.bin_edges, narrow.bin_edges)
        if where[-1] == len(wide.bin_edges) or not np.array_equal(wide.bin_edges[where], narrow.bin_edges):
            raise GeometryError(
                f"counts with {len(wide.bin_edges)} and {len(narrow.bin_edges)} bin edges cannot be added; "
                "count both maps with the bins of their formats"
            )
        positives, negatives = wide.positives.copy(), wide.negatives.copy()
        positives[where] += narrow.positives
        negatives[where] += narrow.negatives
        return PixelCounts(positives=positives, negatives=negatives, bin_edges=wide.bin_edges)

    def at_or_above(
        self, thresholds: Int64[np.ndarray, " T"]
    ) -> tuple[Int64[np.ndarray, " T"], Int64[np.ndarray, " T"]]:
        """Return the true and the false positives of each threshold, which is an index on the grid.

        At a threshold above `MAX_INDEX` there are none.

        Raises:
            SettingError: the thresholds are no whole numbers.
        """
        if thresholds.dtype.kind not in "iu":
            raise SettingError(
                f"the thresholds are {thresholds.dtype}; give indices on the grid, from "
                "metrics.thresholds.to_index"
            )
        first = np.searchsorted(self.bin_edges, thresholds)
        return _sums_from(self.positives, first), _sums_from(self.negatives, first)

    def rebin(
        self, bin_edges: Int64[np.ndarray, " S"]
    ) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " S"]]:
        """Return lesion and background pixels in wider bins, given by their lower edges, from 0."""
        positives, negatives = self.at_or_above(bin_edges)
        return -np.diff(positives, append=0), -np.diff(negatives, append=0)

    def interval_bins(self) -> Int64[np.ndarray, "2 S"]:
        """Return lesion and background pixels in the bins from which intervals are computed."""
        return np.stack(self.rebin(INTERVAL_BIN_EDGES))


def interval_table(each: Sequence[Int64[np.ndarray, "2 S"]]) -> Float64[np.ndarray, "P C"]:
    """Return a table for `average_precisions`: each row holds lesion pixels, then background pixels.

    Bins in which no photograph has a pixel are left out, since they change nothing.

    Args:
        each: `PixelCounts.interval_bins` of each photograph.
    """
    rows = np.array(each, np.float64)
    used = rows.any(axis=(0, 1))
    return np.ascontiguousarray(rows[:, :, used]).reshape(len(rows), -1)


def _sums_from(counts: Int64[np.ndarray, " B"], first: Int64[np.ndarray, " T"]) -> Int64[np.ndarray, " T"]:
    """Return the sums of a histogram from each of the given bins to its end."""
    below = np.concatenate([[0], np.cumsum(counts)])
    sums: Int64[np.ndarray, " T"] = below[-1] - below[first]
    return sums


def histogram(
    stored: StoredMap, truth: Bool[np.ndarray, "H W"], inside: Bool[np.ndarray, "H W"] | None = None
) -> PixelCounts:
    """Count the pixels of one map at each index that its dtype can take.

    Args:
        stored: the map as it is stored: levels, or probabilities in [0, 1].
        truth: mask of the lesion pixels.
        inside: mask of the pixels that are scored; None scores all of them.

    Raises:
        GeometryError: a mask is not Boolean or not of the map's shape, no map has this dtype, or a scored
            pixel of a float map is not in [0, 1].
    """
    require_booleans(truth, "truth", stored.shape)
    if inside is not None:
        require_booleans(inside, "inside", stored.shape)
    bin_edges = thresholds.bin_edges(stored.dtype)
    total, positives = np.zeros_like(bin_edges), np.zeros_like(bin_edges)
    for top in range(0, len(stored), ROWS):
        rows = slice(top, top + ROWS)
        levels, lesion = stored[rows].ravel(), truth[rows].ravel()
        if inside is not None:
            scored = inside[rows].ravel()
            levels, lesion = levels[scored], lesion[scored]
        index = thresholds.to_indices(levels) if levels.dtype.kind == "f" else levels.astype(np.int64)
        total += np.bincount(index, minlength=len(bin_edges))
        positives += np.bincount(index[lesion], minlength=len(bin_edges))
    return PixelCounts(positives=positives, negatives=total - positives, bin_edges=bin_edges)


def pool(counts: Sequence[PixelCounts]) -> PixelCounts:
    """Add up the counts of several photographs.

    Raises:
        GeometryError: there are no counts.
    """
    if not counts:
        raise GeometryError("there are no counts to pool; score at least one photograph")
    total = counts[0]
    for summand in counts[1:]:
        total = total + summand
    return total


OFFICIAL_THRESHOLDS = np.arange(33) * (MAX_INDEX // 32)
"""Indices of the challenge's thresholds 0, 1/32 ... 1, for p >= t."""

COARSE_THRESHOLDS = np.arange(11) * (MAX_INDEX // 10) + 1
"""Indices just above 0, .1 ... 1, for p > t; the last one lies beyond the grid."""


def _interval_bin_edges() -> Int64[np.ndarray, " S"]:
    """Return the lower edges of the bins from which intervals are computed."""
    even = np.rint(np.linspace(0, MAX_INDEX, 1025)).astype(np.int64)  # finer than the levels of 8 bits
    near = np.rint(np.geomspace(1, STEPS / 16, 1490)).astype(np.int64)  # up to where even bins are as dense
    thresholds = [OFFICIAL_THRESHOLDS, COARSE_THRESHOLDS[:-1]]
    edges: Int64[np.ndarray, " S"] = np.unique(
        np.concatenate([even, *thresholds, 2 * near, MAX_INDEX - 2 * near, [1, MAX_INDEX]])
    )
    return edges


INTERVAL_BIN_EDGES = _interval_bin_edges()
"""Lower edges of the bins, at most 4,096, from which intervals are computed. 0, 1 and every threshold of both
coarse estimators are edges, and every level of 8 bits has a bin of its own. The others are spread evenly, and
geometrically towards 0 and 1, where networks' probabilities crowd."""
