"""One step of a journal: what a person does, and which pixels it changes.

Knows:   strokes, verdicts and whole masks; how their pixels are stored and read again.
Ignores: the order of steps, undo, and what is counted.

Shape letters: H W photograph.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from foveate.choices import DrawingTool, Verdict
from foveate.server.review import layers
from foveate.server.review.layers import ERASED, NOTHING, PAINTED, Patch
from foveate.server.review.strokes import PixelMask
from foveate.server.storage.database import Record
from foveate.server.storage.facts import EditDetails, MaskDetails, StrokeDetails, VerdictDetails
from foveate.server.storage.journal import Edit
from foveate.types import Box

LABEL_OF: Mapping[str, np.uint8] = {
    "brush": PAINTED,
    "eraser": ERASED,
    "restore": NOTHING,
    "accepted": PAINTED,
    "rejected": ERASED,
    "none": NOTHING,
}
"""Tool or verdict -> the label that it gives its pixels; 'questionable' changes no pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """The author of an edit, and the revision of the corrections that the author saw."""

    author: str
    revision: int | None
    """None: any revision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stroke:
    """A line drawn with a tool."""

    lesion: str
    tool: DrawingTool
    diameter: float
    """Diameter of the tool, px of the photograph."""
    points: Sequence[tuple[float, float]]
    """(x, y), px from the outer edge of the photograph's first pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionVerdict:
    """A verdict on one region."""

    lesion: str
    level: int
    """Stored level, 1 to 255, from which a pixel is lesion."""
    x: int
    y: int
    """A pixel of the region: its column and row."""
    verdict: Verdict
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEdit:
    """An edit that has no number yet: its stored details, and the pixels that it changes."""

    kind: Literal["stroke", "verdict", "mask"]
    lesion: str
    details: EditDetails
    patch: Patch | None
    """None if no pixel changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EditResult:
    """A photograph after an edit."""

    record: Record
    lesion: str | None = None
    box: Box | None = None
    """Box of the pixels that changed; None if no pixel did."""


def new_stroke(stroke: Stroke, patch: Patch | None) -> NewEdit:
    """Return the edit for a stroke."""
    details = StrokeDetails(tool=stroke.tool, diameter=stroke.diameter)
    return NewEdit(kind="stroke", lesion=stroke.lesion, details=details, patch=patch)


def new_verdict(
    verdict: RegionVerdict, covered: PixelMask, replaces: Sequence[int], patch: Patch | None
) -> NewEdit:
    """Return the edit for a verdict.

    Args:
        verdict: the verdict.
        covered: the region's pixels.
        replaces: numbers of the earlier verdicts on the same region.
        patch: the pixels that it changes; None if there are none.
    """
    details = VerdictDetails(
        level=verdict.level,
        x=verdict.x,
        y=verdict.y,
        verdict=verdict.verdict,
        note=verdict.note,
        replaces=tuple(replaces),
        box=covered.box.corners,
        pixels=base64.b64encode(zlib.compress(np.packbits(covered.pixels).tobytes())).decode(),
    )
    return NewEdit(kind="verdict", lesion=verdict.lesion, details=details, patch=patch)


def new_mask(lesion: str, mask: Bool[np.ndarray, "H W"]) -> NewEdit:
    """Return the edit for a whole mask: its pixels are lesion, all others are not."""
    height, width = mask.shape
    patch = Patch(box=Box.whole((height, width)), pixels=np.where(mask, PAINTED, ERASED))
    return NewEdit(kind="mask", lesion=lesion, details=MaskDetails(), patch=patch)


def stored_edit(edit: NewEdit, number: int, author: str, time: float, before: Patch | None) -> Edit:
    """Return an edit as the journal stores it.

    Args:
        edit: the edit.
        number: number of the step, from 1.
        author: name of the author.
        time: seconds since 1970.
        before: the layer's pixels in the patch's box before the edit.
    """
    return Edit(
        number=number,
        undone=False,
        kind=edit.kind,
        lesion=edit.lesion,
        author=author,
        time=time,
        details=edit.details,
        box=None if edit.patch is None else edit.patch.box.corners,
        before=None if before is None else layers.pack(before.pixels),
        after=None if edit.patch is None else layers.pack(edit.patch.pixels),
    )


def patch_of(edit: Edit, content: bytes | None) -> Patch | None:
    """Return the patch that an edit stores, or None if it changes no pixel.

    Args:
        edit: a step of the journal.
        content: the packed pixels before or after the step.
    """
    if edit.box is None or content is None:
        return None
    return layers.unpack(content, Box.from_corners(edit.box))


def verdict_pixels(edit: Edit) -> PixelMask:
    """Return the pixels of the region that a verdict is about."""
    box = Box.from_corners(edit.verdict.box)
    bits = np.frombuffer(zlib.decompress(base64.b64decode(edit.verdict.pixels)), np.uint8)
    height, width = box.shape
    pixels = np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)
    return PixelMask(box=box, pixels=pixels)
