"""Find the regions of a map, and measure their area, centroid, box and probability.

Knows:   that lesion pixels which touch by a side or a corner form one region, and how to measure it.
Ignores: which threshold is right, and where the regions are written.

Shape letters: H W photograph, R regions and the background before them, P lesion pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8, UInt16

from foveate.errors import SettingError
from foveate.types import Box, Region

ROWS = 512
"""Rows measured at a time, so that the indices of lesion pixels, 8 bytes each, take at most some 25 MB."""


def find(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"],
    level: int,
    lesion: str,
    minimum_area: int,
    spacing: float | None,
) -> tuple[Region, ...]:
    """Return the 8-connected groups of pixels at or above a level.

    Args:
        stored: the map as it is written; the largest value of its dtype is probability 1.
        level: a pixel is lesion where stored >= level; 1 to the dtype's largest value.
        lesion: code of the lesion, which the regions repeat.
        minimum_area: smaller regions are left out, px of the photograph.
        spacing: millimetres for each pixel, where the photograph states it.

    Returns:
        The regions, numbered from 1 by first pixel in reading order.

    Raises:
        SettingError: the level is 0, at which every pixel would be lesion, or no map of this dtype holds it.
    """
    highest = int(np.iinfo(stored.dtype).max)
    if not 1 <= level <= highest:
        raise SettingError(f"level {level} of a map of 0 to {highest}; choose 1 to {highest}")
    # OpenCV needs 8 bits; booleans have one byte, so that the view needs no copy.
    lesion_pixels = (stored >= level).view(np.uint8)
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(
        lesion_pixels, connectivity=8, ltype=cv2.CV_32S
    )
    sums = _measure(stored, labels, stats[:, cv2.CC_STAT_AREA].astype(np.int64))
    large = 1 + np.flatnonzero(sums.areas[1:] >= minimum_area)
    ordered = large[np.argsort(sums.first[large])]
    return tuple(
        Region(
            id=number,
            lesion=lesion,
            area_px=int(sums.areas[label]),
            area_mm2=None if spacing is None else int(sums.areas[label]) * spacing**2,
            centroid=(float(centroids[label, 1]) + 0.5, float(centroids[label, 0]) + 0.5),
            box=_box(stats[label]),
            mean_probability=float(sums.levels[label] / sums.areas[label]) / highest,
            max_probability=int(sums.highest[label]) / highest,
        )
        for number, label in enumerate(ordered, start=1)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _LabelSums:
    """Sums over the pixels of each label; those of label 0, the background, are meaningless."""

    areas: Int64[np.ndarray, " R"]
    """Pixels."""
    first: Int64[np.ndarray, " R"]
    """Flat index of the first pixel in reading order: row * W + column."""
    levels: Float64[np.ndarray, " R"]
    """Sum of the stored levels; a whole number below 2**53, so it is exact."""
    highest: Int64[np.ndarray, " R"]
    """Highest stored level."""


def _measure(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"],
    labels: Int32[np.ndarray, "H W"],
    areas: Int64[np.ndarray, " R"],
) -> _LabelSums:
    """Sum over the lesion pixels, some rows at a time."""
    height, width = stored.shape
    first = np.full(len(areas), stored.size, np.int64)
    level_sums = np.zeros(len(areas))
    highest = np.zeros(len(areas), np.int64)
    for top in range(0, height, ROWS):
        flat = labels[top : top + ROWS].ravel()
        positions = np.flatnonzero(flat)
        label, level = flat[positions], stored[top : top + ROWS].ravel()[positions].astype(np.int64)
        np.minimum.at(first, label, positions + top * width)
        np.maximum.at(highest, label, level)
        level_sums += np.bincount(label, weights=level, minlength=len(areas))
    return _LabelSums(areas=areas, first=first, levels=level_sums, highest=highest)


def _box(stats: Int32[np.ndarray, " 5"]) -> Box:
    left, top, width, height, _ = (int(value) for value in stats)
    return Box(top=top, left=left, bottom=top + height, right=left + width)
