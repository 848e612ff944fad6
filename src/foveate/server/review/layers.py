"""The layer of corrections above a lesion's map, and the corrected map.

Knows:   what a pixel of a layer means, and that the model's map is never changed.
Ignores: who corrects, and why.

Each pixel of a layer is NOTHING, ERASED or PAINTED. The corrected map is the model's map with 0 where pixels
were erased and 255 where they were painted, so that a correction holds at every threshold.

Shape letters: H W photograph, h w box.
"""

import copy
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from foveate.analysis import component_tree
from foveate.server.storage.tiles import Pyramid
from foveate.types import Box

NOTHING, ERASED, PAINTED = np.uint8(0), np.uint8(128), np.uint8(255)
"""Values of a layer's pixels: not corrected, no lesion, lesion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """The layer's pixels in a box."""

    box: Box
    pixels: UInt8[np.ndarray, "h w"]


class Layer:
    """The corrections of one lesion of one photograph."""

    def __init__(self, model: UInt8[np.ndarray, "H W"], patches: Iterable[Patch]) -> None:
        self.model = model
        edits = np.zeros(model.shape, np.uint8)
        for patch in patches:
            edits[patch.box.slices] = patch.pixels
        self._painted = _levels_under(model, edits, PAINTED)
        self._erased = _levels_under(model, edits, ERASED)
        self.edits = Pyramid(edits)
        self.corrected = Pyramid(_corrected(model, edits))

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without the model's map."""
        return self.edits.nbytes + self.corrected.nbytes

    def copy(self) -> "Layer":
        """Return the same corrections, to which a patch can be applied while others read these."""
        same = copy.copy(self)
        same._painted, same._erased = self._painted.copy(), self._erased.copy()
        same.edits, same.corrected = self.edits.copy(), self.corrected.copy()
        return same

    def apply(self, patch: Patch) -> None:
        """Replace the layer's pixels in the patch's box."""
        before, model = self.edits.finest[patch.box.slices], self.model[patch.box.slices]
        self._painted += _levels_under(model, patch.pixels, PAINTED) - _levels_under(model, before, PAINTED)
        self._erased += _levels_under(model, patch.pixels, ERASED) - _levels_under(model, before, ERASED)
        self.edits.replace(patch.box, patch.pixels)
        self.corrected.replace(patch.box, _corrected(model, patch.pixels))

    def patch_at(self, box: Box) -> Patch:
        """Return the layer's current pixels in a box."""
        return Patch(box=box, pixels=self.edits.finest[box.slices].copy())

    def added_px(self, level: int) -> int:
        """Return the number of pixels that only the corrected mask has, at a level, 1 to 255."""
        return int(self._painted[:level].sum())

    def removed_px(self, level: int) -> int:
        """Return the number of pixels that only the model's mask has, at a level, 1 to 255."""
        return int(self._erased[level:].sum())


def changed_px(
    model: UInt8[np.ndarray, "h w"],
    before: UInt8[np.ndarray, "h w"],
    after: UInt8[np.ndarray, "h w"],
    level: int,
) -> tuple[int, int]:
    """Return how many pixels a change of a layer adds to the corrected mask, and how many it removes.

    Args:
        model: the model's map, levels 0 to 255.
        before: the layer's pixels before the change.
        after: the layer's pixels after it.
        level: stored level, 1 to 255, from which a pixel is lesion.
    """
    earlier, later = _corrected(model, before) >= level, _corrected(model, after) >= level
    return int(np.count_nonzero(later & ~earlier)), int(np.count_nonzero(earlier & ~later))


def _levels_under(
    model: UInt8[np.ndarray, "h w"], edits: UInt8[np.ndarray, "h w"], label: np.uint8
) -> Int64[np.ndarray, "256"]:
    """Count, for each level of the model's map, the pixels that have a label in the layer."""
    return np.bincount(model[edits == label], minlength=component_tree.LEVELS)


def _corrected(model: UInt8[np.ndarray, "h w"], edits: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    corrected = model.copy()
    corrected[edits == ERASED] = 0
    corrected[edits == PAINTED] = 255
    return corrected


def pack(pixels: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return a patch's pixels, compressed for the journal."""
    return zlib.compress(pixels.tobytes(), 1)


def unpack(content: bytes, box: Box) -> Patch:
    """Return the patch of compressed pixels and their box."""
    pixels = np.frombuffer(zlib.decompress(content), np.uint8).reshape(box.shape)
    return Patch(box=box, pixels=pixels)
