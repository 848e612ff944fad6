"""Which photographs show the same eye: near-duplicates, and shots of one eye from about the same direction.

Knows:   what stays the same between two shots: where the vessels run.
Ignores: files, and what follows from a likeness.

A hash of a coarse picture cannot tell eyes apart: among 143 photographs of different eyes, 64-bit difference
hashes came as close as 0 bits. Here the fine structure of the field's middle is compared, wherever it has
moved to. Measured on 223 photographs (214 of IDRiD, 8 of HRF, one other): the likest two eyes have 0.64,
the one pair of shots of the same eye among them 0.77; 0.76 and more remain after a shift by a tenth of the
radius, 0.72 after a turn by three degrees as well, 0.85 after JPEG of quality 20. Shots further apart
are not found, nor are the two eyes of one person.

Shape letters: H W photograph, S fingerprint, N photographs.
"""

from collections.abc import Hashable, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from foveate.errors import FieldError
from foveate.geometry import field_of_view

SIDE = 64
"""Of a fingerprint, px: vessels are one or two wide."""

REACH = 1.3
"""Side of the square that is compared, in radii of the field: it lies within the field even where that is cut
at top and bottom."""

GRAIN = 3.0
"""Standard deviation of the blur that is subtracted, fingerprint px: takes light away, leaves vessels."""

ALIKE = 0.7
"""Correlation from which two photographs are taken for the same eye; between 0.64 and 0.77, see above."""


def fingerprint(pixels: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "S S"]:
    """Return the fine structure of a photograph's middle: light, size and border taken away, of length 1.

    The middle is the field's where there is a round lit one, else the photograph's.
    """
    height, width = pixels.shape[:2]
    try:
        found = field_of_view.find(pixels)
        centre, side = found.centre, REACH * found.radius
    except FieldError:
        centre, side = (height / 2, width / 2), float(min(height, width))
    scale = SIDE / side
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels[..., 1], shape, interpolation=cv2.INTER_AREA)  # green: vessels stand out most
    middle = (centre[1] * scale - 0.5, centre[0] * scale - 0.5)
    square = cv2.getRectSubPix(small.astype(np.float32), (SIDE, SIDE), middle)
    detail = square - cv2.GaussianBlur(square, (0, 0), GRAIN)
    contrast = np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), 2 * GRAIN)) + 1  # one level: less is noise
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE)).astype(np.float32)
    even = detail / contrast
    even = (even - even.mean()) * window
    length = float(np.linalg.norm(even))
    return np.asarray(even / length if length > 0 else even)


def blank() -> Float32[np.ndarray, "S S"]:
    """Return the fingerprint of a photograph without any structure: its likeness to all others is 0."""
    return np.zeros((SIDE, SIDE), np.float32)


def likenesses(
    one: Float32[np.ndarray, "S S"], others: Float32[np.ndarray, "N S S"]
) -> Float32[np.ndarray, " N"]:
    """Return how like a fingerprint others are, -1 to 1: the correlation where they fit best when shifted."""
    spectra = np.fft.rfft2(others) * np.conj(np.fft.rfft2(one))
    shifted = np.fft.irfft2(spectra, s=one.shape)
    return np.asarray(shifted.max(axis=(1, 2)), np.float32)


def pairs(prints: Sequence[Float32[np.ndarray, "S S"]]) -> list[tuple[int, int, float]]:
    """Return which fingerprints are of the same eye, as (index, higher index, likeness)."""
    found = []
    stack = np.stack(prints) if prints else np.empty((0, SIDE, SIDE), np.float32)
    for index in range(len(stack) - 1):
        for other in range(index + 1, len(stack), 512):  # so many at a time: 16 MB
            like = likenesses(stack[index], stack[other : other + 512])
            found += [(index, other + int(n), float(like[n])) for n in np.flatnonzero(like >= ALIKE)]
    return found


def groups(count: int, tied: Sequence[tuple[int, int]], names: Sequence[Hashable | None]) -> list[list[int]]:
    """Put together what is tied, directly or through others, or has the same name.

    Args:
        count: of the things.
        tied: pairs of indices.
        names: of each thing; None is no name.

    Returns:
        Lists of indices, each in order, by their first.
    """
    first: dict[Hashable, int] = {}
    links = list(tied)
    for index, name in enumerate(names):
        if name is not None:
            links.append((first.setdefault(name, index), index))
    leader = list(range(count))
    for one, other in links:
        low, high = sorted((_leader(leader, one), _leader(leader, other)))
        leader[high] = low
    together: dict[int, list[int]] = {}
    for index in range(count):
        together.setdefault(_leader(leader, index), []).append(index)
    return list(together.values())


def _leader(leader: Sequence[int], index: int) -> int:
    while leader[index] != index:
        index = leader[index]
    return index
