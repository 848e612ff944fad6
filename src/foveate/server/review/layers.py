"""The layer of corrections above a lesion's map, and the corrected map.

Knows:   what a pixel of a layer means, and that the model's map is never changed.
Ignores: who corrects, and why.

Each pixel of a layer is NOTHING, ERASED or PAINTED. The corrected map is the model's map with 0 where pixels
were erased and 255 where they were painted, so that a correction holds at every threshold.

Shape letters: H W photograph, h w box.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

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
        self._painted = int(np.count_nonzero(edits == PAINTED))
        self._erased = int(np.count_nonzero(edits == ERASED))
        self.edits = Pyramid(edits)
        self.corrected = Pyramid(_corrected(model, edits))

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without the model's map."""
        return self.edits.nbytes + self.corrected.nbytes

    def apply(self, patch: Patch) -> None:
        """Replace the layer's pixels in the patch's box."""
        before = self.edits.finest[patch.box.slices]
        self._painted += _difference(patch.pixels, before, PAINTED)
        self._erased += _difference(patch.pixels, before, ERASED)
        self.edits.replace(patch.box, patch.pixels)
        self.corrected.replace(patch.box, _corrected(self.model[patch.box.slices], patch.pixels))

    def patch_at(self, box: Box) -> Patch:
        """Return the layer's current pixels in a box."""
        return Patch(box=box, pixels=self.edits.finest[box.slices].copy())

    @property
    def painted_px(self) -> int:
        """Number of pixels that a person marked as lesion."""
        return self._painted

    @property
    def erased_px(self) -> int:
        """Number of pixels that a person marked as not lesion."""
        return self._erased


def _difference(now: UInt8[np.ndarray, "h w"], before: UInt8[np.ndarray, "h w"], label: np.uint8) -> int:
    """Return how many more pixels have a label than before."""
    return int(np.count_nonzero(now == label)) - int(np.count_nonzero(before == label))


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
