"""Find the regions of a map, and measure their area, centroid, box and probability.

Knows:   that lesion pixels which touch by a side or a corner form one region, and how to measure it.
Ignores: which threshold is right, and where the regions are written.

Everything is computed from the runs of lesion pixels (`runs`), which are few.

Shape letters: H W photograph, R regions, N runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from foveate.analysis.runs import LesionRuns, find_runs, label_runs, total
from foveate.errors import SettingError
from foveate.types import Box, LevelMap, Region


def find(
    stored: LevelMap,
    level: int,
    lesion: str,
    minimum_area: int,
    spacing: float | None,
    *,
    measured: LevelMap | None = None,
) -> tuple[Region, ...]:
    """Return the 8-connected groups of pixels at or above a level.

    Args:
        stored: the map as it is written to a file; the largest value of its dtype is probability 1.
        level: a pixel is lesion where stored >= level; 1 to the dtype's largest value.
        lesion: code of the lesion, which is copied to each region.
        minimum_area: smaller regions are left out, px of the photograph.
        spacing: side of a pixel, mm; None if the photograph does not state it.
        measured: the map of which probabilities are stated, where a person has corrected `stored`.

    Returns:
        The regions, numbered from 1 by first pixel in reading order.

    Raises:
        SettingError: the level is below 1 (at 0 every pixel would be lesion), or above the dtype's largest
            value.
    """
    highest = int(np.iinfo(stored.dtype).max)
    if not 1 <= level <= highest:
        raise SettingError(f"level {level} is outside the map's range; choose 1 to {highest}")
    runs = find_runs(stored, level, measured)
    sums = _measure(runs, label_runs(runs, stored.shape[1]))
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


def _measure(runs: LesionRuns, labels: Int64[np.ndarray, " N"]) -> _RegionSums:
    """Add up the runs of each region; the sums are whole numbers below 2**53, so they are exact."""
    count = int(labels.max(initial=-1)) + 1
    lengths = runs.last - runs.first + 1
    areas = total(lengths, labels, count)
    rows = total(runs.rows * lengths, labels, count)
    columns = total((runs.first + runs.last) * lengths, labels, count) // 2
    return _RegionSums(
        areas=areas,
        centroids=np.column_stack([rows / areas, columns / areas]) + 0.5,
        sides={
            "top": _extreme(np.minimum, runs.rows, labels, count),
            "left": _extreme(np.minimum, runs.first, labels, count),
            "bottom": _extreme(np.maximum, runs.rows, labels, count) + 1,
            "right": _extreme(np.maximum, runs.last, labels, count) + 1,
        },
        levels=total(runs.levels, labels, count),
        highest=_extreme(np.maximum, runs.highest, labels, count),
    )


def _extreme(
    ufunc: np.ufunc, values: Int64[np.ndarray, " N"], labels: Int64[np.ndarray, " N"], count: int
) -> Int64[np.ndarray, " R"]:
    """Return the smallest or the largest value of each label."""
    result = np.empty(count, np.int64)
    result[labels] = values  # any value of each label, to begin with
    ufunc.at(result, labels, values)
    return result
