"""The verdict that holds for a region.

Knows:   which verdicts lie in a region, and that the last of them holds.
Ignores: which verdicts are undone or replaced (`corrections`), and how regions are listed.

Shape letters: H W photograph.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from foveate.server.review.region_list import ListedRegion, contains, region_at
from foveate.server.review.strokes import PixelMask
from foveate.server.storage.journal import Edit
from foveate.types import Box


def in_region(verdicts: Sequence[Edit], lesion: str, pixels: PixelMask) -> list[Edit]:
    """Return those of some verdicts that were given on a pixel of a lesion's region."""
    return [
        edit
        for edit in verdicts
        if edit.lesion == lesion and contains(pixels, edit.verdict.y, edit.verdict.x)
    ]


def verdict_on(verdicts: Sequence[Edit], lesion: str, pixels: PixelMask) -> str | None:
    """Return the verdict that holds for a lesion's region; None if nobody has given one.

    Args:
        verdicts: the photograph's verdicts, the earliest first.
        lesion: the region's lesion.
        pixels: the region's pixels.
    """
    within = in_region(verdicts, lesion, pixels)
    return within[-1].verdict.verdict if within else None


def verdict_on_listed(
    verdicts: Sequence[Edit], listed: ListedRegion, stored: UInt8[np.ndarray, "H W"], level: int
) -> str | None:
    """Return the verdict that holds for a listed region; its pixels are found only if a verdict may be on it.

    Args:
        verdicts: the photograph's verdicts, the earliest first.
        listed: the region.
        stored: the map in which it was found.
        level: the level, 1 to 255, from which a pixel is lesion.
    """
    region, (row, column) = listed.region, listed.inside
    near = [edit for edit in verdicts if edit.lesion == region.lesion and _in_box(edit, region.box)]
    pixels = region_at(stored, level, row, column) if near else None
    return None if pixels is None else verdict_on(near, region.lesion, pixels)


def _in_box(edit: Edit, box: Box) -> bool:
    return bool(box.top <= edit.verdict.y < box.bottom and box.left <= edit.verdict.x < box.right)
