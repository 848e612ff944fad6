"""Find the regions of a map, and measure their area, centroid, box and probability.

Knows:   that lesion pixels which touch by a side or a corner form one region, and how to measure it.
Ignores: which threshold is right, and where the regions are written.

The map is read once, to collect its runs of lesion pixels. Everything else is computed from the runs, which
are few.

Shape letters: H W photograph (or some of its rows), R regions, N runs, E pairs of runs that touch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt16

from foveate.errors import SettingError
from foveate.types import Box, Region

ROWS = 512
"""Rows searched at a time, to bound the memory for masks and for the levels of lesion pixels."""


def find(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"],
    level: int,
    lesion: str,
    minimum_area: int,
    spacing: float | None,
) -> tuple[Region, ...]:
    """Return the 8-connected groups of pixels at or above a level.

    Args:
        stored: the map as it is written to a file; the largest value of its dtype is probability 1.
        level: a pixel is lesion where stored >= level; 1 to the dtype's largest value.
        lesion: code of the lesion, which is copied to each region.
        minimum_area: smaller regions are left out, px of the photograph.
        spacing: side of a pixel, mm; None if the photograph does not state it.

    Returns:
        The regions, numbered from 1 by first pixel in reading order.

    Raises:
        SettingError: the level is below 1 (at 0 every pixel would be lesion), or above the dtype's largest
            value.
    """
    highest = int(np.iinfo(stored.dtype).max)
    if not 1 <= level <= highest:
        raise SettingError(f"level {level} is outside the map's range; choose 1 to {highest}")
    runs = _lit_runs(stored, level)
    sums = _measure(runs, _label(runs, stored.shape[1]))
    return tuple(
        Region(
            id=number,
            lesion=lesion,
            area_px=int(sums.areas[label]),
            area_mm2=None if spacing is None else int(sums.areas[label]) * spacing**2,
            centroid=(float(sums.centroids[label, 0]), float(sums.centroids[label, 1])),
            box=Box(**{side: int(values[label]) for side, values in sums.sides.items()}),
            mean_probability=float(sums.levels[label] / sums.areas[label]) / highest,
            max_probability=int(sums.highest[label]) / highest,
        )
        for number, label in enumerate(np.flatnonzero(sums.areas >= minimum_area), start=1)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _LesionRuns:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _RegionSums:
    """Measures of each region, in reading order of the first pixels."""

    areas: Int64[np.ndarray, " R"]
    """Pixels."""
    centroids: Float64[np.ndarray, "R 2"]
    """Mean of the pixel centres, (row, column)."""
    sides: Mapping[str, Int64[np.ndarray, " R"]]
    """The sides of the boxes, by name."""
    levels: Int64[np.ndarray, " R"]
    """Sum of the stored levels."""
    highest: Int64[np.ndarray, " R"]
    """Highest stored level."""


def _lit_runs(stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"], level: int) -> _LesionRuns:
    """Return the runs of pixels at or above a level, searching some rows at a time."""
    blocks = [_block_runs(stored[top : top + ROWS], level, top) for top in range(0, len(stored), ROWS)]
    rows, first, last, levels, highest = (
        np.concatenate([np.zeros(0, np.int64), *columns]) for columns in zip(*blocks, strict=True)
    )
    return _LesionRuns(rows=rows, first=first, last=last, levels=levels, highest=highest)


def _block_runs(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"], level: int, top: int
) -> tuple[Int64[np.ndarray, " N"], ...]:
    """Return rows, first and last columns, sums and maxima of the runs in rows that begin at row `top`.

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
    values, offsets = stored[lit], np.cumsum(lengths) - lengths
    rows, first = np.divmod(starts, width + 1)
    return (
        rows + top,
        first - 1,
        first - 2 + lengths,
        np.add.reduceat(values, offsets, dtype=np.int64),
        np.maximum.reduceat(values, offsets).astype(np.int64),
    )


def _label(runs: _LesionRuns, width: int) -> Int64[np.ndarray, " N"]:
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


def _touching(runs: _LesionRuns, width: int) -> tuple[Int64[np.ndarray, " E"], Int64[np.ndarray, " E"]]:
    """Return all pairs of a run and one of the next row that touch by a side or a corner."""
    stride = width + 4  # leaves room for columns -1 to width, so that no two rows share a key
    keys, below = runs.rows * stride, (runs.rows + 1) * stride
    begin = np.searchsorted(keys + runs.last, below + runs.first - 1, "left")
    end = np.searchsorted(keys + runs.first, below + runs.last + 1, "right")
    counts = np.maximum(end - begin, 0)
    upper = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(begin, counts) + within


def _measure(runs: _LesionRuns, labels: Int64[np.ndarray, " N"]) -> _RegionSums:
    """Add up the runs of each region; the sums are whole numbers below 2**53, so they are exact."""
    count = int(labels.max(initial=-1)) + 1
    lengths = runs.last - runs.first + 1
    areas = _total(lengths, labels, count)
    rows = _total(runs.rows * lengths, labels, count)
    columns = _total((runs.first + runs.last) * lengths, labels, count) // 2
    return _RegionSums(
        areas=areas,
        centroids=np.column_stack([rows / areas, columns / areas]) + 0.5,
        sides={
            "top": _extreme(np.minimum, runs.rows, labels, count),
            "left": _extreme(np.minimum, runs.first, labels, count),
            "bottom": _extreme(np.maximum, runs.rows, labels, count) + 1,
            "right": _extreme(np.maximum, runs.last, labels, count) + 1,
        },
        levels=_total(runs.levels, labels, count),
        highest=_extreme(np.maximum, runs.highest, labels, count),
    )


def _total(
    values: Int64[np.ndarray, " N"], labels: Int64[np.ndarray, " N"], count: int
) -> Int64[np.ndarray, " R"]:
    """Return the sum of the values of each label."""
    totals: Int64[np.ndarray, " R"] = np.bincount(labels, values, count).astype(np.int64)
    return totals


def _extreme(
    ufunc: np.ufunc, values: Int64[np.ndarray, " N"], labels: Int64[np.ndarray, " N"], count: int
) -> Int64[np.ndarray, " R"]:
    """Return the smallest or the largest value of each label."""
    result = np.empty(count, np.int64)
    result[labels] = values  # any value of each label, to begin with
    ufunc.at(result, labels, values)
    return result
