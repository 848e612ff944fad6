"""Find the runs of lesion pixels in a map, and which of them form one region.

Knows:   that lesion pixels which touch by a side or a corner belong together.
Ignores: what is measured of a region.

The map is read once; everything else is computed from the runs, which are few.

Shape letters: H W photograph (or some of its rows), r rows, R regions, N runs, E pairs of runs that touch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8, UInt16

from foveate.types import LevelMap

ROWS = 128
"""Rows searched at a time, to bound the memory for masks and for the levels of lesion pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionRuns:
    """The runs of lesion pixels: pixels of one row that are next to each other, in reading order."""

    rows: Int64[np.ndarray, " N"]
    first: Int64[np.ndarray, " N"]
    """Column of the first pixel."""
    last: Int64[np.ndarray, " N"]
    """Column of the last pixel."""
    levels: Int64[np.ndarray, " N"]
    """Sum of the stored levels."""
    highest: Int64[np.ndarray, " N"]
    """Highest stored level."""


def find_runs(stored: LevelMap, level: int, measured: LevelMap | None = None) -> LesionRuns:
    """Return the runs of pixels at or above a level, searching some rows at a time.

    Args:
        stored: the map.
        level: a pixel is lesion where its level is at least this.
        measured: another map, of which `levels` and `highest` are taken.
    """
    source = stored if measured is None else measured
    # most rows have no lesion: their maxima are found faster than their runs
    bands = (
        top + np.flatnonzero(stored[top : top + ROWS].max(axis=1) >= level)
        for top in range(0, len(stored), ROWS)
    )
    return _joined((rows, _block_runs(stored[rows], level, source[rows])) for rows in bands)


def find_row_runs(
    bands: Iterable[tuple[Int64[np.ndarray, " r"], UInt8[np.ndarray, "r W"] | UInt16[np.ndarray, "r W"]]],
    level: int,
) -> LesionRuns:
    """Return the runs of pixels at or above a level in some rows of a map.

    Args:
        bands: numbers and levels of some rows each, from top to bottom; rows without a lesion may be left
            out.
        level: a pixel is lesion where its level is at least this.
    """
    return _joined((rows, _block_runs(levels, level, levels)) for rows, levels in bands)


def _joined(
    blocks: Iterable[tuple[Int64[np.ndarray, " r"], tuple[Int64[np.ndarray, " N"], ...]]],
) -> LesionRuns:
    """Return the runs of all blocks, each with the numbers of its rows."""
    columns = [(numbers[rows], *rest) for numbers, (rows, *rest) in blocks]
    none = (np.zeros(0, np.int64),) * 5
    rows, first, last, levels, highest = (
        np.concatenate(column) for column in zip(none, *columns, strict=True)
    )
    return LesionRuns(rows=rows, first=first, last=last, levels=levels, highest=highest)


def _block_runs(stored: LevelMap, level: int, measured: LevelMap) -> tuple[Int64[np.ndarray, " N"], ...]:
    """Return rows, first and last columns, sums and maxima of the runs in some rows.

    A pixel that is not lesion, before each row and after the last, separates the runs of two rows.
    """
    height, width = stored.shape
    flat = np.zeros(height * (width + 1) + 1, bool)
    lit = flat[:-1].reshape(height, width + 1)[:, 1:]
    np.greater_equal(stored, level, out=lit)
    edges = 1 + np.flatnonzero(flat[1:] != flat[:-1])
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return (starts,) * 5
    values, offsets = measured[lit], np.cumsum(lengths) - lengths
    rows, first = np.divmod(starts, width + 1)
    return (
        rows,
        first - 1,
        first - 2 + lengths,
        np.add.reduceat(values, offsets, dtype=np.int64),
        np.maximum.reduceat(values, offsets).astype(np.int64),
    )


def label_runs(runs: LesionRuns, width: int) -> Int64[np.ndarray, " N"]:
    """Return the number of each run's region; regions are counted from 0 in reading order.

    Every run begins with its own label. Touching runs take the lower of their labels until all of them agree.
    """
    upper, lower = _touching(runs, width)
    labels = np.arange(len(runs.rows))
    while len(upper):
        lowest = np.minimum(labels[upper], labels[lower])
        roots = np.concatenate([labels[upper], labels[lower]])
        np.minimum.at(labels, roots, np.concatenate([lowest, lowest]))
        while not np.array_equal(labels, labels[labels]):
            labels = labels[labels]
        apart = labels[upper] != labels[lower]
        upper, lower = upper[apart], lower[apart]
    is_first = labels == np.arange(len(labels))
    numbers: Int64[np.ndarray, " N"] = (np.cumsum(is_first) - 1)[labels]
    return numbers


def _touching(runs: LesionRuns, width: int) -> tuple[Int64[np.ndarray, " E"], Int64[np.ndarray, " E"]]:
    """Return all pairs of a run and one of the next row that touch by a side or a corner."""
    stride = width + 4  # leaves room for columns -1 to width, so that no two rows share a key
    keys, below = runs.rows * stride, (runs.rows + 1) * stride
    begin = np.searchsorted(keys + runs.last, below + runs.first - 1, "left")
    end = np.searchsorted(keys + runs.first, below + runs.last + 1, "right")
    counts = np.maximum(end - begin, 0)
    upper = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(begin, counts) + within


def total(
    values: Int64[np.ndarray, " N"], labels: Int64[np.ndarray, " N"], count: int
) -> Int64[np.ndarray, " R"]:
    """Return the sum of the values of each label."""
    totals: Int64[np.ndarray, " R"] = np.bincount(labels, values, count).astype(np.int64)
    return totals
