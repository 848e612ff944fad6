"""Whether the borders of windows show: the mean jump of a map across them, beside that everywhere else.

Knows:   neighbouring pixels, and at which rows and columns windows begin and end.
Ignores: networks, and how windows are stitched.

Shape letters: h w canvas, N windows.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from foveate.metrics.bootstrap import share
from foveate.metrics.thresholds import floors

ROWS = 256
"""Rows compared at a time: bounds the memory for wider numbers."""


def row(
    levels: UInt16[np.ndarray, "h w"],
    inside: Bool[np.ndarray, "h w"],
    corners: Int64[np.ndarray, "N 2"],
    side: int | tuple[int, int],
) -> Float64[np.ndarray, " 4"]:
    """Return what is summed over photographs.

    Args:
        levels: one lesion's map, on the canvas that the windows lie on.
        inside: pixels that are compared, each with its neighbour if that is inside, too.
        corners: (row, column) of the windows' first pixels, a grid.
        side: of the windows, px; (rows, columns) where they are no squares.

    Returns:
        Sum of jumps across borders and number of pixel pairs there, then the same elsewhere; as probability.
    """
    found = np.zeros(4)
    for axis, length in enumerate((side, side) if isinstance(side, int) else side):
        starts = np.unique(corners[:, axis])
        borders = np.union1d(starts, starts + length)
        found += _across(np.moveaxis(levels, axis, 0), np.moveaxis(inside, axis, 0), borders)
    return found / [len(floors(levels.dtype)) - 1, 1, len(floors(levels.dtype)) - 1, 1]


def ratio(table: Float64[np.ndarray, "R 4"]) -> Float64[np.ndarray, " R"]:
    """Return the mean jump across borders over that elsewhere: 1 where no seam shows.

    Not a number where there is no border inside, or the maps do not change anywhere else.
    """
    jumps, pairs, others, other_pairs = table.T
    return share(jumps * other_pairs, pairs * others)


def _across(
    levels: UInt16[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], borders: Int64[np.ndarray, " B"]
) -> Float64[np.ndarray, " 4"]:
    """Compare each row with the one before it; `borders` are rows at which a window begins or has ended."""
    at_border = np.isin(np.arange(1, len(levels)), borders)
    jumps, pairs = np.zeros(len(at_border)), np.zeros(len(at_border))
    for top in range(0, len(at_border), ROWS):
        above, below = slice(top, top + ROWS), slice(top + 1, top + 1 + ROWS)
        both = inside[above][: len(levels[below])] & inside[below]
        change = np.abs(levels[below].astype(np.int32) - levels[above][: len(levels[below])])
        jumps[top : top + ROWS] = np.where(both, change, 0).sum(axis=1)
        pairs[top : top + ROWS] = both.sum(axis=1)
    return np.array(
        [jumps[at_border].sum(), pairs[at_border].sum(), jumps[~at_border].sum(), pairs[~at_border].sum()]
    )
