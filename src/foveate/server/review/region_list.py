"""The regions of a map, each with a pixel that identifies it.

Knows:   which pixel of a region comes first, and which region a pixel belongs to.
Ignores: how regions are found and measured; `regions.find` does that.

Shape letters: H W photograph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import cv2
import numpy as np
from jaxtyping import UInt8

from foveate.analysis import regions
from foveate.server.review.strokes import PixelMask
from foveate.types import Box, Region

SORTS = {
    "area": attrgetter("region.area_px"),
    "mean": attrgetter("region.mean_probability"),
    "max": attrgetter("region.max_probability"),
}
"""Sort key of a list -> the attribute to sort by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRegion:
    """A region and the pixel that identifies it."""

    region: Region
    inside: tuple[int, int]
    """(row, column) of its first pixel in reading order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionList:
    """All regions of a map at a level."""

    listed: tuple[ListedRegion, ...]

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return 600 * (1 + len(self.listed))


def list_regions(
    stored: UInt8[np.ndarray, "H W"],
    level: int,
    lesion: str,
    minimum_area: int,
    spacing: float | None,
    *,
    model: UInt8[np.ndarray, "H W"],
) -> RegionList:
    """Return the regions of a map at a level, as `regions.find` does, each with its first pixel.

    Probabilities are those of the model's map: a person's corrections have none.
    """
    regions_of_map = regions.find(stored, level, lesion, minimum_area, spacing, measured=model)
    firsts = _firsts((stored >= level).view(np.uint8), regions_of_map)
    return RegionList(
        listed=tuple(
            ListedRegion(region=region, inside=first)
            for region, first in zip(regions_of_map, firsts, strict=True)
        )
    )


def sort(listed: Sequence[ListedRegion], by: str, *, descending: bool) -> list[ListedRegion]:
    """Return the regions sorted; equal ones keep their order.

    Args:
        listed: the regions, lesion by lesion in the order of their numbers.
        by: a key of `SORTS`, or 'id': the order in which they are listed.
        descending: whether the largest comes first; by 'id', the last.
    """
    if by == "id":
        return list(reversed(listed)) if descending else list(listed)
    return sorted(listed, key=SORTS[by], reverse=descending)


def _firsts(lit: UInt8[np.ndarray, "H W"], regions_of_map: Sequence[Region]) -> Iterator[tuple[int, int]]:
    """Yield the first pixel of each region: the first in the top row of its box that belongs to the region.

    Each component is filled when it is reached, so that each pixel is visited once. Regions are numbered in
    the order of their first pixels, so that none is skipped.

    Raises:
        ValueError: the regions are not those of the map.
    """
    firsts: dict[tuple[object, int], tuple[int, int]] = {}
    for region in regions_of_map:
        box, row = region.box, region.box.top
        while (box, region.area_px) not in firsts:
            column = box.left + int(np.argmax(lit[row, box.left : box.right] == 1))
            if lit[row, column] != 1:
                raise ValueError("a region is not in the map")
            area, _, _, rectangle = cv2.floodFill(lit, None, (column, row), 2, flags=8)
            firsts[Box.from_rectangle(rectangle), area] = (row, column)
        yield firsts[box, region.area_px]


def region_at(stored: UInt8[np.ndarray, "H W"], level: int, row: int, column: int) -> PixelMask | None:
    """Return the region (8-connected) that holds a pixel at a level, or None if it is not lesion."""
    if stored[row, column] < level:
        return None
    lit = (stored >= level).view(np.uint8)
    _, filled, _, rectangle = cv2.floodFill(lit, None, (column, row), 2, flags=8)
    box = Box.from_rectangle(rectangle)
    return PixelMask(box=box, pixels=np.asarray(filled[box.slices] == 2))


def contains(covered: PixelMask, row: int, column: int) -> bool:
    """Return whether a mask covers a pixel."""
    box = covered.box
    if not (box.top <= row < box.bottom and box.left <= column < box.right):
        return False
    return bool(covered.pixels[row - box.top, column - box.left])
