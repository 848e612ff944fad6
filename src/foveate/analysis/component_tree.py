"""Count the regions and their pixels at all 255 thresholds of an 8-bit map at once.

Knows:   that regions only grow and merge as the threshold falls, so that one pass from the highest level
         counts them all.
Ignores: which threshold is chosen, and the shape of a region.

The counts equal those of `regions.find` at every grey level. Runs of equal pixels join in falling order of
their grey level, and a union-find forest stores which region each run belongs to.

Shape letters: H W photograph, P nonzero pixels, N runs of equal pixels in a row, E pairs of touching runs,
R roots.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from foveate.errors import SettingError

LEVELS = 256
"""Grey levels of an 8-bit map. Level 0 is not a threshold, since every pixel would be lesion."""

Part = TypeVar("Part", bound=np.ndarray)
"""A part of an array, by its type."""

ROWS = 64
"""Rows that are processed at a time, to bound the memory for maps with many nonzero pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionCounts:
    """Counts of regions and pixels by threshold: entry n belongs to grey level n, and entry 0 is 0."""

    regions: Int64[np.ndarray, " 256"]
    """Regions of at least the minimum area."""
    area_px: Int64[np.ndarray, " 256"]
    """Pixels in these regions."""
    mask_px: Int64[np.ndarray, " 256"]
    """All pixels at or above the grey level."""


def count_regions(stored: UInt8[np.ndarray, "H W"], minimum_area: int) -> RegionCounts:
    """Count the regions at every grey level.

    Args:
        stored: the map as an 8-bit file stores it.
        minimum_area: smaller regions are left out, px of the photograph.

    Raises:
        SettingError: the minimum area is below 1.

    Source: the component tree of Najman and Couprie 2006, doi:10.1109/TIP.2006.877518, counted without
    building it. All pairs of a grey level are joined at once, as arrays (our choice: no loop over pixels).
    """
    if minimum_area < 1:
        raise SettingError(f"the minimum area is {minimum_area} px; give 1 or more")
    pixels = _pixels_by_level(stored)
    mask_px = np.cumsum(pixels[::-1])[::-1].copy()
    mask_px[0] = 0
    runs = _find_runs(stored)
    regions, area_px = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
    forest = _Forest(runs.areas, minimum_area)
    for grey_level in range(LEVELS - 1, 0, -1):
        if len(runs.by_level[grey_level]):  # without new runs no regions merge
            forest.add(runs.by_level[grey_level])
            forest.join(*runs.pairs[grey_level])
        regions[grey_level], area_px[grey_level] = forest.regions, forest.area_px
    return RegionCounts(regions=regions, area_px=area_px, mask_px=mask_px)


def _pixels_by_level(stored: UInt8[np.ndarray, "H W"]) -> Int64[np.ndarray, " 256"]:
    """Return the number of pixels of each grey level.

    Some rows at a time: `np.bincount` takes 8 bytes for each pixel that it is given.
    """
    blocks = (stored[top : top + ROWS] for top in range(0, len(stored), ROWS))
    return sum((np.bincount(block.ravel(), minlength=LEVELS) for block in blocks), np.zeros(LEVELS, np.int64))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Runs:
    """Runs of equal pixels above 0, numbered in reading order."""

    areas: Int32[np.ndarray, " N"]
    """Pixels of each run."""
    by_level: list[Int32[np.ndarray, " _"]]
    """For each grey level: the runs that have it."""
    pairs: list[Int32[np.ndarray, "2 _"]]
    """For each grey level: the pairs of touching runs whose lower level it is."""


def _find_runs(stored: UInt8[np.ndarray, "H W"]) -> _Runs:
    areas, levels, pairs, lower_levels = [], [], [], []
    first = 0
    for block in _row_blocks(stored):
        areas.append(block.areas.astype(np.int32))
        levels.append(block.levels)
        pairs.append((block.pairs + first).astype(np.int32))
        lower_levels.append(block.lower_levels)
        first += len(block.areas)
    return _Runs(
        areas=_joined(areas),
        by_level=_indices_by_level(_joined(levels)),
        pairs=_pairs_by_level(_joined(pairs), _joined(lower_levels)),
    )


def _joined(parts: list[Part]) -> Part:
    """Concatenate arrays along the last axis and empty their list, so that they are not held twice."""
    joined: Part = np.concatenate(parts, axis=-1)  # type: ignore[assignment]
    parts.clear()
    return joined


def _pairs_by_level(
    pairs: Int32[np.ndarray, "2 E"], lower_levels: UInt8[np.ndarray, " E"]
) -> list[Int32[np.ndarray, "2 _"]]:
    return [pairs[:, indices] for indices in _indices_by_level(lower_levels)]


def _indices_by_level(levels: UInt8[np.ndarray, " N"]) -> list[Int32[np.ndarray, " _"]]:
    """Return, for each grey level, the indices of the elements that have it."""
    order = np.argsort(levels, kind="stable").astype(np.int32)  # numpy sorts bytes by radix
    return np.split(order, np.cumsum(np.bincount(levels, minlength=LEVELS))[:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class _RowBlock:
    """The runs of some rows, numbered from 0, and all touching pairs, including those with the row below."""

    areas: Int64[np.ndarray, " N"]
    levels: UInt8[np.ndarray, " N"]
    pairs: Int64[np.ndarray, "2 E"]
    lower_levels: UInt8[np.ndarray, " E"]
    """The lower grey level of each pair."""


def _row_blocks(stored: UInt8[np.ndarray, "H W"]) -> Iterator[_RowBlock]:
    """Yield the runs of some rows at a time; those of the row below are numbered after the block's own."""
    width = stored.shape[1]
    for top in range(0, len(stored), ROWS):
        flat = stored[top : top + ROWS + 1].ravel()
        positions = np.flatnonzero(flat)
        levels = flat[positions]
        is_start = np.ones(len(positions), bool)
        is_start[1:] = (np.diff(positions) > 1) | (levels[1:] != levels[:-1]) | (positions[1:] % width == 0)
        run_of_pixel = np.cumsum(is_start) - 1
        own = int(np.searchsorted(positions, ROWS * width))  # pixels of the block, without the row below
        touching = [
            _neighbours(positions, own, width, down, right)
            for down, right in ((0, 1), (1, -1), (1, 0), (1, 1))
        ]
        pairs = np.concatenate([_distinct_pairs(run_of_pixel[pair]) for pair in touching], axis=1)
        run_levels = levels[is_start]
        yield _RowBlock(
            areas=np.bincount(run_of_pixel[:own]),
            levels=run_levels[: run_of_pixel[own - 1] + 1 if own else 0],
            pairs=pairs,
            lower_levels=run_levels[pairs].min(axis=0),
        )


def _neighbours(
    positions: Int64[np.ndarray, " P"], own: int, width: int, down: int, right: int
) -> Int64[np.ndarray, "2 E"]:
    """Return the pairs of nonzero pixels at an offset, as indices into `positions`.

    Args:
        positions: flat indices of nonzero pixels, ascending.
        own: number of pixels, counted from the first one, whose neighbours are searched.
        width: width of a row.
        down: offset of the neighbour, rows.
        right: offset of the neighbour, columns.
    """
    columns = positions[:own] % width
    inside = np.flatnonzero((columns + right >= 0) & (columns + right < width))
    targets = positions[inside] + (down * width + right)
    candidates = np.searchsorted(positions, targets)
    candidates[candidates == len(positions)] = 0  # never a match, since every target comes after pixel 0
    is_match = positions[candidates] == targets
    return np.stack([inside[is_match], candidates[is_match]])


def _distinct_pairs(pairs: Int64[np.ndarray, "2 E"]) -> Int64[np.ndarray, "2 E2"]:
    """Drop the pairs of a run with itself, and most of the repeated pairs that long touching runs produce."""
    distinct = pairs[0] != pairs[1]
    distinct[1:] &= (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return pairs[:, distinct]


class _Forest:
    """Union-find forest of runs: the root of a tree stands for a region."""

    def __init__(self, areas: Int32[np.ndarray, " N"], minimum_area: int) -> None:
        self.regions = 0
        """Regions of at least the minimum area."""
        self.area_px = 0
        """Pixels in these regions."""
        self._minimum_area = minimum_area
        self._parent = np.arange(len(areas), dtype=np.int32)
        self._area = areas.copy()

    def add(self, runs: Int32[np.ndarray, " N"]) -> None:
        """Add runs, each as a region of its own."""
        self._account(runs, 1)

    def join(self, first: Int32[np.ndarray, " E"], second: Int32[np.ndarray, " E"]) -> None:
        """Merge the regions of each pair of runs."""
        first, second = self._roots(first), self._roots(second)
        changed = np.unique(np.concatenate([first, second]))
        self._account(changed, -1)
        while len(first):
            is_separate = first != second
            first, second = first[is_separate], second[is_separate]
            # The lower root becomes the parent of the higher one; if several compete for one root, one wins.
            self._parent[np.maximum(first, second)] = np.minimum(first, second)
            first, second = self._roots(first), self._roots(second)
        roots = self._roots(changed)
        is_merged = changed != roots
        np.add.at(self._area, roots[is_merged], self._area[changed[is_merged]])
        self._account(changed[~is_merged], 1)

    def _account(self, roots: Int32[np.ndarray, " R"], sign: int) -> None:
        """Add regions to the counts (sign 1), or subtract them (sign -1)."""
        areas = self._area[roots]
        is_large = areas >= self._minimum_area
        self.regions += sign * int(np.count_nonzero(is_large))
        self.area_px += sign * int(areas[is_large].sum())

    def _roots(self, runs: Int32[np.ndarray, " E"]) -> Int32[np.ndarray, " E"]:
        """Return the roots of runs, and shorten the paths to them."""
        parent = self._parent
        roots: Int32[np.ndarray, " E"] = parent[runs]
        while True:
            grandparents = parent[roots]
            if np.array_equal(grandparents, roots):
                break
            roots = parent[grandparents]
        parent[runs] = roots
        return roots
