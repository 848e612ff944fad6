"""One map -> its labelled regions: area, centre, box, probability.

Knows:   that lesion pixels which touch by a side or a corner are one region, and how to measure it.
Ignores: which threshold is right, and who reads the table.

Shape letters: H W photograph, R regions and the background before them, P lesion pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8, UInt16

from foveate.errors import SettingError
from foveate.types import Box, Region

ROWS = 512
"""Rows measured at a time: bounds what the lesion pixels' places take, 8 bytes each, to some 25 MB."""


def find(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"],
    level: int,
    lesion: str,
    minimum_area: int,
    spacing: float | None,
) -> tuple[Region, ...]:
    """Find the groups of pixels at or above a level that touch by a side or a corner (8-connected).

    Args:
        stored: the map as it is written; its dtype's largest value is probability 1.
        level: a pixel is lesion where stored >= level; 1 to the dtype's largest value.
        lesion: code that the regions carry.
        minimum_area: smaller regions are left out, px of the photograph.
        spacing: millimetres that one pixel spans, where the photograph states it.

    Returns:
        The regions, numbered from 1 by their first pixel in reading order.

    Raises:
        SettingError: a level that no map can hold, or 0, at which every pixel would be lesion.
    """
    highest = int(np.iinfo(stored.dtype).max)
    if not 1 <= level <= highest:
        raise SettingError(f"level {level} of a map of 0 to {highest}; choose 1 to {highest}")
    # OpenCV wants 8 bits; comparing gives one byte a pixel, so that viewing it so costs nothing.
    lit = (stored >= level).view(np.uint8)
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(lit, connectivity=8, ltype=cv2.CV_32S)
    measured = _measure(stored, labels, stats[:, cv2.CC_STAT_AREA].astype(np.int64))
    kept = 1 + np.flatnonzero(measured.areas[1:] >= minimum_area)
    ordered = kept[np.argsort(measured.first[kept])]
    return tuple(
        Region(
            id=number,
            lesion=lesion,
            area_px=int(measured.areas[label]),
            area_mm2=None if spacing is None else int(measured.areas[label]) * spacing**2,
            centroid=(float(centroids[label, 1]) + 0.5, float(centroids[label, 0]) + 0.5),
            box=_box(stats[label]),
            mean_probability=float(measured.sums[label] / measured.areas[label]) / highest,
            max_probability=int(measured.highest[label]) / highest,
        )
        for number, label in enumerate(ordered, start=1)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """What is counted over the pixels of each label; 0 is the background, whose figures mean nothing."""

    areas: Int64[np.ndarray, " R"]
    """Pixels."""
    first: Int64[np.ndarray, " R"]
    """Place of the first pixel in reading order: row * W + column."""
    sums: Float64[np.ndarray, " R"]
    """Of stored levels; whole numbers below 2**53, so exact."""
    highest: Int64[np.ndarray, " R"]
    """Stored level."""


def _measure(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"],
    labels: Int32[np.ndarray, "H W"],
    areas: Int64[np.ndarray, " R"],
) -> _Measured:
    """Visit the lesion pixels, some rows at a time; everything else is passed over."""
    height, width = stored.shape
    first = np.full(len(areas), stored.size, np.int64)
    sums = np.zeros(len(areas))
    highest = np.zeros(len(areas), np.int64)
    for top in range(0, height, ROWS):
        here = labels[top : top + ROWS].ravel()
        places = np.flatnonzero(here)
        label, value = here[places], stored[top : top + ROWS].ravel()[places].astype(np.int64)
        np.minimum.at(first, label, places + top * width)
        np.maximum.at(highest, label, value)
        sums += np.bincount(label, weights=value, minlength=len(areas))
    return _Measured(areas=areas, first=first, sums=sums, highest=highest)


def _box(stats: Int32[np.ndarray, " 5"]) -> Box:
    left, top, width, height, _ = (int(value) for value in stats)
    return Box(top=top, left=left, bottom=top + height, right=left + width)
