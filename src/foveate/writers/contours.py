"""Outlines of regions, traced once for the overlay and the pages.

Knows:   which outline in a mask belongs to which region.
Ignores: how outlines are drawn.

Shape letters: H W photograph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Int32, UInt8

from foveate.types import Box, Region

Points = Int32[np.ndarray, "_ 1 2"]
"""(x, y) of boundary pixels, as OpenCV returns them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """One region's border."""

    region: Region
    outer: Points
    """The region's outermost pixels, in order along the border."""
    holes: tuple[Points, ...]
    """For each hole, the region's pixels around it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TracedMask:
    """A mask without the specks that are too small to count, and the outlines of its regions."""

    mask: UInt8[np.ndarray, "H W"]
    """1 on every pixel of a counted region, 0 elsewhere."""
    outlines: tuple[Outline, ...]
    """In the order of the regions' ids."""


def trace(mask: Bool[np.ndarray, "H W"], regions: Sequence[Region], *, overwrite: bool = False) -> TracedMask:
    """Return the outlines of a lesion's regions, and the mask without its specks.

    The mask also holds specks below the minimum area, which are not regions. A component is a region if a
    region has its box. No two components share a box: one that reaches from its left to its right side keeps
    every other one from reaching from the top to the bottom, as pixels that touch at a corner are connected.

    Args:
        mask: the pixels at or above the threshold.
        regions: the lesion's regions.
        overwrite: whether the mask's own memory may hold the result, which saves that of a copy.
    """
    levels = mask.view(np.uint8) if overwrite else mask.astype(np.uint8)
    contours, hierarchy = cv2.findContours(levels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    by_box = {region.box: region for region in regions}
    owners: dict[int, Region] = {}
    holes: dict[int, list[Points]] = {}
    for index, contour in enumerate(contours):
        parent = int(hierarchy[0, index, 3])
        if parent >= 0:
            holes.setdefault(parent, []).append(np.asarray(contour))
        elif (region := by_box.get(Box.from_rectangle(cv2.boundingRect(contour)))) is not None:
            owners[index] = region
        else:
            cv2.drawContours(levels, contours, index, 0, cv2.FILLED, hierarchy=hierarchy, maxLevel=1)
    outlines = [
        Outline(region=region, outer=np.asarray(contours[index]), holes=tuple(holes.get(index, ())))
        for index, region in owners.items()
    ]
    return TracedMask(mask=levels, outlines=tuple(sorted(outlines, key=lambda outline: outline.region.id)))
