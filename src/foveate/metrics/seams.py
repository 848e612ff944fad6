"""Visible seams: the mean jump of a map across the borders of windows, compared with the jump elsewhere.

Knows:   neighbouring pixels, and the rows and columns at which windows begin and end.
Ignores: networks, and how windows are stitched.

Shape letters: h w canvas, N windows, B borders, R rows: pools of photographs.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from foveate.errors import GeometryError
from foveate.metrics.arguments import require_booleans
from foveate.metrics.bootstrap import divide_or_nan
from foveate.metrics.thresholds import bin_edges

ROWS = 256
"""Rows that are compared at a time, to bound the memory for the wider integers."""


def table_row(
    levels: UInt16[np.ndarray, "h w"],
    inside: Bool[np.ndarray, "h w"],
    corners: Int64[np.ndarray, "N 2"],
    side: int | tuple[int, int],
) -> Float64[np.ndarray, " 4"]:
    """Return the numbers that are summed over photographs.

    Args:
        levels: the map of one lesion, on the canvas from which the windows are taken.
        inside: mask of the pixels that are compared; a pair counts where both neighbours are inside.
        corners: (row, column) of the windows' first pixels, which form a grid.
        side: side of the windows, px; (rows, columns) where they are not square.

    Returns:
        The sum of the jumps across borders and the number of pixel pairs there, then both for the rest of the
        map. Jumps are differences of probability.

    Raises:
        GeometryError: the map is no map of whole numbers, or `inside` is not Boolean or not of its shape.
    """
    if levels.dtype.kind == "f":
        raise GeometryError(f"the map is {levels.dtype}; give levels, as uint8 or uint16")
    require_booleans(inside, "inside", levels.shape)
    total = np.zeros(4)
    for axis, length in enumerate((side, side) if isinstance(side, int) else side):
        starts = np.unique(corners[:, axis])
        borders = np.union1d(starts, starts + length)
        total += _sum_jumps(np.moveaxis(levels, axis, 0), np.moveaxis(inside, axis, 0), borders)
    highest = len(bin_edges(levels.dtype)) - 1
    return total / [highest, 1, highest, 1]


def ratio(table: Float64[np.ndarray, "R 4"]) -> Float64[np.ndarray, " R"]:
    """Return the mean jump across borders divided by the mean jump elsewhere; 1 means that no seam shows.

    The result is NaN where there is no border inside, or where the maps are constant elsewhere.
    """
    jumps, pairs, inner_jumps, inner_pairs = table.T
    return divide_or_nan(jumps * inner_pairs, pairs * inner_jumps)


def _sum_jumps(
    levels: UInt16[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], borders: Int64[np.ndarray, " B"]
) -> Float64[np.ndarray, " 4"]:
    """Compare each row with the one before; at the rows in `borders` a window begins or has ended."""
    at_border = np.isin(np.arange(1, len(levels)), borders)
    jumps, pairs = np.zeros(len(at_border)), np.zeros(len(at_border))
    for top in range(0, len(at_border), ROWS):
        upper, lower = slice(top, top + ROWS), slice(top + 1, top + 1 + ROWS)
        is_compared = inside[upper][: len(levels[lower])] & inside[lower]
        change = np.abs(levels[lower].astype(np.int32) - levels[upper][: len(levels[lower])])
        jumps[top : top + ROWS] = np.where(is_compared, change, 0).sum(axis=1)
        pairs[top : top + ROWS] = is_compared.sum(axis=1)
    return np.array(
        [jumps[at_border].sum(), pairs[at_border].sum(), jumps[~at_border].sum(), pairs[~at_border].sum()]
    )
