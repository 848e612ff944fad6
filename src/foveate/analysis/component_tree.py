"""A map -> how many regions, and how many pixels, each of its 255 levels would give.

Knows:   that regions only grow and merge as the level falls, so that one pass from the top counts them all.
Ignores: which level is chosen, and what a region looks like.

The counts are exactly those of `regions.find` at every level, in one pass: runs of equal pixels join in
falling order of their level, and a forest (union-find) remembers which region each belongs to.

Shape letters: H W photograph, P lit pixels, N runs of equal pixels in a row, E pairs of them that touch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from foveate.errors import SettingError

LEVELS = 256
"""Of an 8-bit map; 0 is none that a pixel could be lesion from."""

ROWS = 256
"""Rows searched for neighbours at a time: bounds the memory where much is lit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What each level would give; index n is level n, and 0 stays 0."""

    regions: Int64[np.ndarray, " 256"]
    """Regions of at least the minimum area."""
    area_px: Int64[np.ndarray, " 256"]
    """Their pixels together."""
    mask_px: Int64[np.ndarray, " 256"]
    """All pixels at or above the level."""


def count(stored: UInt8[np.ndarray, "H W"], minimum_area: int) -> Counts:
    """Count the regions of every level.

    Args:
        stored: the map as an 8-bit file holds it.
        minimum_area: smaller regions are left out, px of the photograph.

    Raises:
        SettingError: the minimum area is below 1.

    Source: Najman and Couprie 2006, doi:10.1109/TIP.2006.877518, whose component tree this counts without
    building it; all pairs of one level are joined at a time, as arrays (our choice: no loop over pixels).
    """
    if minimum_area < 1:
        raise SettingError(f"the minimum area is {minimum_area} px; give 1 or more")
    pixels = np.bincount(stored.ravel(), minlength=LEVELS)
    mask_px = np.cumsum(pixels[::-1])[::-1].copy()
    mask_px[0] = 0
    lit = _lit(stored)
    regions, area_px = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
    forest = _Forest(lit.areas, minimum_area)
    for level in range(LEVELS - 1, 0, -1):
        if len(lit.runs[level]):  # without new pixels nothing comes to touch
            forest.add(lit.runs[level])
            forest.join(*lit.pairs[level])
        regions[level], area_px[level] = forest.regions, forest.area_px
    return Counts(regions=regions, area_px=area_px, mask_px=mask_px)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lit:
    """Runs of equal pixels above 0, numbered in reading order."""

    areas: Int64[np.ndarray, " N"]
    """Pixels of each."""
    runs: list[Int64[np.ndarray, " _"]]
    """By level: the runs that have it."""
    pairs: list[Int32[np.ndarray, "2 _"]]
    """By level: runs that come to touch there, the lower of both levels."""


def _lit(stored: UInt8[np.ndarray, "H W"]) -> _Lit:
    areas, levels, pairs, lower = [], [], [], []
    first = 0
    for piece in _pieces(stored):
        areas.append(piece.areas)
        levels.append(piece.levels)
        pairs.append(piece.pairs + first)
        lower.append(piece.lower)
        first += len(piece.areas)
    by_level = _sorted(np.concatenate(levels))
    by_lower = _sorted(np.concatenate(lower))
    every = np.concatenate(pairs, axis=1).astype(np.int32)
    return _Lit(areas=np.concatenate(areas), runs=by_level, pairs=[every[:, here] for here in by_lower])


def _sorted(levels: UInt8[np.ndarray, " N"]) -> list[Int64[np.ndarray, " _"]]:
    """Return, for each level, the places that hold it."""
    order = np.argsort(levels, kind="stable")  # a radix sort: levels are bytes
    return np.split(order, np.cumsum(np.bincount(levels, minlength=LEVELS))[:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """The runs of some rows, numbered from 0, and how they touch each other and those of the row below."""

    areas: Int64[np.ndarray, " N"]
    levels: UInt8[np.ndarray, " N"]
    pairs: Int64[np.ndarray, "2 E"]
    lower: UInt8[np.ndarray, " E"]
    """The lower level of each pair."""


def _pieces(stored: UInt8[np.ndarray, "H W"]) -> Iterator[_Piece]:
    """Yield some rows at a time; the row below is looked at too, and its runs get the numbers that follow."""
    width = stored.shape[1]
    for top in range(0, len(stored), ROWS):
        flat = stored[top : top + ROWS + 1].ravel()
        places = np.flatnonzero(flat)
        levels = flat[places]
        begins = np.ones(len(places), bool)
        begins[1:] = (np.diff(places) > 1) | (levels[1:] != levels[:-1]) | (places[1:] % width == 0)
        numbers = np.cumsum(begins) - 1
        own = int(np.searchsorted(places, ROWS * width))  # pixels above the row below
        touching = [
            _neighbours(places, own, width, down, right) for down, right in ((0, 1), (1, -1), (1, 0), (1, 1))
        ]
        pairs = np.concatenate([_once(numbers[pair]) for pair in touching], axis=1)
        of_run = levels[begins]
        yield _Piece(
            areas=np.bincount(numbers[:own]),
            levels=of_run[: numbers[own - 1] + 1 if own else 0],
            pairs=pairs,
            lower=of_run[pairs].min(axis=0),
        )


def _neighbours(
    places: Int64[np.ndarray, " P"], own: int, width: int, down: int, right: int
) -> Int64[np.ndarray, "2 E"]:
    """Return which of the first `own` lit pixels have a lit one so far below and beside, and those."""
    columns = places[:own] % width
    inside = np.flatnonzero((columns + right >= 0) & (columns + right < width))
    wanted = places[inside] + (down * width + right)
    found = np.searchsorted(places, wanted)
    found[found == len(places)] = 0  # which is never the one wanted: that lies behind
    met = places[found] == wanted
    return np.stack([inside[met], found[met]])


def _once(pairs: Int64[np.ndarray, "2 E"]) -> Int64[np.ndarray, "2 E2"]:
    """Drop pairs of a run with itself, and most of those that come again: two long runs touch many times."""
    kept = pairs[0] != pairs[1]
    kept[1:] &= (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return pairs[:, kept]


class _Forest:
    """Which region each run belongs to, as trees of runs: a root stands for its region."""

    def __init__(self, areas: Int64[np.ndarray, " N"], minimum_area: int) -> None:
        self.regions = 0
        """Of at least the minimum area."""
        self.area_px = 0
        """Their pixels."""
        self._minimum = minimum_area
        self._parent = np.arange(len(areas), dtype=np.int32)
        self._area = areas.copy()

    def add(self, runs: Int64[np.ndarray, " N"]) -> None:
        """Let runs join, each a region of its own so far."""
        self._account(runs, 1)

    def join(self, ones: Int32[np.ndarray, " E"], others: Int32[np.ndarray, " E"]) -> None:
        """Make one region of those that pairs of runs belong to."""
        ones, others = self._roots(ones), self._roots(others)
        touched = np.unique(np.concatenate([ones, others]))
        self._account(touched, -1)
        while len(ones):
            apart = ones != others
            ones, others = ones[apart], others[apart]
            # The lower root takes the higher one in; where several want it, one of them succeeds.
            self._parent[np.maximum(ones, others)] = np.minimum(ones, others)
            ones, others = self._roots(ones), self._roots(others)
        roots = self._roots(touched)
        moved = touched != roots
        np.add.at(self._area, roots[moved], self._area[touched[moved]])
        self._account(touched[~moved], 1)

    def _account(self, roots: Int32[np.ndarray, " R"] | Int64[np.ndarray, " R"], sign: int) -> None:
        areas = self._area[roots]
        large = areas >= self._minimum
        self.regions += sign * int(np.count_nonzero(large))
        self.area_px += sign * int(areas[large].sum())

    def _roots(self, runs: Int32[np.ndarray, " E"]) -> Int32[np.ndarray, " E"]:
        """Return the roots of runs, and let the runs point there from now on."""
        parent = self._parent
        roots: Int32[np.ndarray, " E"] = parent[runs]
        while True:
            above = parent[roots]
            if np.array_equal(above, roots):
                break
            roots = parent[above]
        parent[runs] = roots
        return roots
