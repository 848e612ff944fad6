"""A lesion's map, what a person changed in it, and what comes of both.

Knows:   that a correction lies above the model's map and never in it, and how many maps fit into the memory.
Ignores: who corrects, and why.

A layer of edits holds NOTHING, ERASED or PAINTED; the corrected map is the model's, 0 where erased and 255
where painted, so that at any threshold its pixels are as the person said.

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
"""What a person said of a pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """Edits in a box."""

    box: Box
    pixels: UInt8[np.ndarray, "h w"]


class Layer:
    """One lesion of one photograph, corrected."""

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
        """What it takes beside the model's map."""
        return self.edits.nbytes + self.corrected.nbytes

    def apply(self, patch: Patch) -> None:
        """Put a patch on it."""
        before = self.edits.finest[patch.box.slices]
        self._painted += _more(patch.pixels, before, PAINTED)
        self._erased += _more(patch.pixels, before, ERASED)
        self.edits.replace(patch.box, patch.pixels)
        self.corrected.replace(patch.box, _corrected(self.model[patch.box.slices], patch.pixels))

    def patch_at(self, box: Box) -> Patch:
        """Return what lies in a box now."""
        return Patch(box=box, pixels=self.edits.finest[box.slices].copy())

    @property
    def painted_px(self) -> int:
        """Pixels that a person called lesion."""
        return self._painted

    @property
    def erased_px(self) -> int:
        """Pixels that a person called none."""
        return self._erased


def _more(now: UInt8[np.ndarray, "h w"], before: UInt8[np.ndarray, "h w"], attribution: np.uint8) -> int:
    return int(np.count_nonzero(now == attribution)) - int(np.count_nonzero(before == attribution))


def _corrected(model: UInt8[np.ndarray, "h w"], edits: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    corrected = model.copy()
    corrected[edits == ERASED] = 0
    corrected[edits == PAINTED] = 255
    return corrected


def pack(pixels: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return a patch's pixels as they are kept."""
    return zlib.compress(pixels.tobytes(), 1)


def unpack(content: bytes, box: Box) -> Patch:
    """Return the patch of what was kept."""
    pixels = np.frombuffer(zlib.decompress(content), np.uint8).reshape(box.shape)
    return Patch(box=box, pixels=pixels)
