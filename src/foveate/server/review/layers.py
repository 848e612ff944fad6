"""A lesion's map, what a person changed in it, and what comes of both.

Knows:   that a correction lies above the model's map and never in it, and how many maps fit into the memory.
Ignores: who corrects, and why.

A layer of edits holds NOTHING, ERASED or PAINTED; the corrected map is the model's, 0 where erased and 255
where painted, so that at any threshold its pixels are as the person said.

Shape letters: H W photograph, h w box.
"""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

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

    def lifted(self, box: Box) -> Patch:
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


def packed(pixels: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return a patch's pixels as they are kept."""
    return zlib.compress(pixels.tobytes(), 1)


def unpacked(content: bytes, box: Box) -> Patch:
    """Return the patch of what was kept."""
    pixels = np.frombuffer(zlib.decompress(content), np.uint8).reshape(box.shape)
    return Patch(box=box, pixels=pixels)


@runtime_checkable
class Sized(Protocol):
    """Takes memory."""

    @property
    def nbytes(self) -> int:
        """How much."""
        ...


Cached = TypeVar("Cached", bound=Sized)


class Memory:
    """Keeps what was decoded lately, up to so many bytes; the latest one always."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Hashable, Sized] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Cached]) -> Cached:
        """Return what is kept under a key, or make and keep it; several who ask at once wait for one."""
        with self._lock:
            if key in self._entries:
                return self._touched(key)
            mine = self._making.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                if key in self._entries:
                    return self._touched(key)
            try:
                made = make()
                with self._lock:
                    self._entries[key] = made
                    while len(self._entries) > 1 and self._nbytes() > self._limit:
                        self._entries.popitem(last=False)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return made

    def _touched(self, key: Hashable) -> Cached:  # type: ignore[type-var]  # each key holds one kind
        self._entries.move_to_end(key)
        return self._entries[key]  # type: ignore[return-value]

    def _nbytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())

    def forget(self, *first: Hashable) -> None:
        """Drop all keys, tuples, that begin so."""
        with self._lock:
            for key in [
                key for key in self._entries if isinstance(key, tuple) and key[: len(first)] == first
            ]:
                del self._entries[key]
