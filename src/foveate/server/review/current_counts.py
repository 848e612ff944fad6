"""The counts of a lesion at its current threshold, with corrections.

Knows:   thresholds and levels, and how a patch changes the counts of the regions that it touches.
Ignores: who corrects, and how corrections are stored.

Shape letters: H W photograph.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import UInt8

from foveate.analysis import component_tree
from foveate.analysis.component_tree import RegionCounts
from foveate.server.review.layers import Layer, Patch
from foveate.server.storage.counts import CurrentCounts
from foveate.server.storage.database import Record
from foveate.server.storage.facts import LevelCounts
from foveate.types import Box

SMALL = 200_000
"""Maximum number of pixels of a patch for which only the regions that it touches are counted again: strokes
and verdicts."""


def level_counts(counts: RegionCounts) -> LevelCounts:
    """Return the counts of all levels in the form in which they are stored."""
    return LevelCounts(
        regions=counts.regions.tolist(), area_px=counts.area_px.tolist(), mask_px=counts.mask_px.tolist()
    )


def uncorrected_counts(record: Record, counts: Mapping[str, LevelCounts]) -> dict[str, CurrentCounts]:
    """Return the counts of each lesion of a result that nobody has corrected, at its current threshold.

    Args:
        record: the photograph, with its result.
        counts: lesion -> its counts at all levels.
    """
    return {lesion: counts_at(counts[lesion], record.level(lesion)) for lesion in record.lesions}


def counts_at(counts: LevelCounts, level: int) -> CurrentCounts:
    """Return the counts of a lesion at one stored level."""
    return CurrentCounts(
        level=level,
        count=counts.regions[level],
        area_px=counts.area_px[level],
        mask_px=counts.mask_px[level],
    )


def count_corrected(record: Record, lesion: str, stored: UInt8[np.ndarray, "H W"]) -> CurrentCounts:
    """Count the regions of a corrected map at the lesion's current level."""
    level = record.level(lesion)
    lit = (stored >= level).view(np.uint8)
    counts = component_tree.count_regions(lit, record.lesions[lesion].minimum_area_px)
    return CurrentCounts(
        level=level,
        count=int(counts.regions[1]),
        area_px=int(counts.area_px[1]),
        mask_px=int(counts.mask_px[1]),
    )


def apply_and_count(
    record: Record, lesion: str, layer: Layer, patch: Patch, earlier: CurrentCounts
) -> CurrentCounts:
    """Apply a patch to a layer and return the counts after it.

    If the patch is small, only the regions that it touches are counted again. No other region changes:
    regions merge and split only in the patch or next to it.

    Args:
        record: the photograph.
        lesion: the lesion of the layer.
        layer: the layer; it is changed.
        patch: the patch to apply.
        earlier: the counts before the patch.
    """
    box = patch.box
    if patch.pixels.size > SMALL:
        layer.apply(patch)
        return count_corrected(record, lesion, layer.corrected.finest)
    smallest = record.lesions[lesion].minimum_area_px
    before = _count_near(layer.corrected.finest, earlier.level, box, smallest)
    layer.apply(patch)
    after = _count_near(layer.corrected.finest, earlier.level, box, smallest)
    return CurrentCounts(
        level=earlier.level,
        count=earlier.count + after.count - before.count,
        area_px=earlier.area_px + after.area_px - before.area_px,
        mask_px=earlier.mask_px + after.mask_px - before.mask_px,
    )


def _count_near(stored: UInt8[np.ndarray, "H W"], level: int, box: Box, smallest: int) -> CurrentCounts:
    """Count the regions that overlap or touch a box, and the lesion pixels in it."""
    lit = (stored >= level).view(np.uint8)
    inside = int(np.count_nonzero(lit[box.slices]))
    top, left = max(0, box.top - 1), max(0, box.left - 1)
    near = lit[top : box.bottom + 1, left : box.right + 1]
    count = area_px = 0
    for row, column in np.argwhere(near).tolist():
        if near[row, column] == 1:  # not part of a region that was filled before
            area, _, _, _ = cv2.floodFill(lit, None, (left + column, top + row), 2, flags=8)
            if area >= smallest:
                count, area_px = count + 1, area_px + int(area)
    return CurrentCounts(level=level, count=count, area_px=area_px, mask_px=inside)
