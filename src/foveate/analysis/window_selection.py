"""Which windows deserve a close look.

Knows:   cells of a canvas, how surely GlobalNet sees a lesion in one, and small dark and bright spots.
Ignores: networks, files, and who looks.

GlobalNet sees the whole photograph at 640 px, where the smallest lesions are a pixel or two: beside its map
counts how much a small spot at native resolution stands out of its surroundings.

Shape letters: h w canvas, a b the canvas halved, N cells, K maps, V V2 sides of a map of the canvas.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from foveate.errors import GeometryError
from foveate.types import Interest, Spots

SIGMA = 5.0
"""Canvas px: how wide the spots are that count, as a Gaussian; microaneurysms in IDRiD are 8 to 32 px wide.
Of 2, 3 and 5 it is best at telling where GlobalNet misses a lesion (docs/decisions/0014-gaze.md)."""

SURROUND = 65
"""Canvas px: side of the square whose contrast a spot is measured by."""

POWER = 2.0
"""How much a spot counts beside GlobalNet's odds. Of .25 to 4 it needs few windows for 95 % of those with EX,
and none more than it must for MA (docs/decisions/0014-gaze.md)."""

FAINTEST = 0.01
"""Spots that stand out less count as much as this."""

SURE = 1e-6
"""Probabilities nearer to 0 or 1 count as this near."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """A canvas in squares without overlap, and the window around each."""

    first: Int64[np.ndarray, "N 2"]
    """(row, column) of each one's first pixel, in reading order."""
    last: Int64[np.ndarray, "N 2"]
    """(row, column) just beyond each one's last pixel."""
    corners: Int64[np.ndarray, "N 2"]
    """(row, column) of the window's first pixel."""
    window: tuple[int, int]
    """(rows, columns) of every window, canvas px."""


def cells(inside: Bool[np.ndarray, "h w"], side: int, shared: int, step: int) -> Cells:
    """Divide a canvas into cells; those that show nothing of the field are left out.

    A window reaches beyond its cell by half of what neighbours share; at the rim of the canvas it lies flush.

    Args:
        inside: the field; both sides are multiples of `step`.
        side: of a window, a multiple of `step`.
        shared: canvas px that neighbouring windows share at least.
        step: of which corners are multiples.

    Raises:
        GeometryError: a window is larger than the canvas, or neighbours would share all of it.
    """
    shape = inside.shape
    margin = math.ceil(shared / 2 / step) * step
    if min(shape) < side or 2 * margin >= side:
        raise GeometryError(
            f"windows of {side} px that share {2 * margin} px do not fit a canvas of {shape[0]} x {shape[1]}"
        )
    size = side - 2 * margin
    first = np.stack(np.meshgrid(*(np.arange(0, length, size) for length in shape), indexing="ij"), axis=-1)
    first = first.reshape(-1, 2)
    last = np.minimum(first + size, shape)
    lit = [
        inside[top:bottom, left:right].any() for (top, left), (bottom, right) in zip(first, last, strict=True)
    ]
    first, last = first[lit], last[lit]
    corners = np.clip(first - margin, 0, np.array(shape) - side)
    return Cells(first=first, last=last, corners=corners, window=(side, side))


def strongest(
    maps: Float32[np.ndarray, "K V V2"], divided: Cells, shape: tuple[int, int]
) -> Float32[np.ndarray, "N K"]:
    """Return the largest value of each map in each cell; a pixel that a cell only touches counts as in it.

    Args:
        maps: of all of the canvas, of any size.
        divided: the cells.
        shape: (h, w) of the canvas that the maps show.
    """
    scale = np.array(maps.shape[1:]) / shape
    first = np.floor(divided.first * scale).astype(int)
    last = np.ceil(divided.last * scale).astype(int)
    return np.array(
        [
            maps[:, top:bottom, left:right].max(axis=(1, 2))
            for (top, left), (bottom, right) in zip(first, last, strict=True)
        ],
        np.float32,
    ).reshape(len(first), len(maps))


def spots(
    picture: UInt8[np.ndarray, "h w 3"], inside: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "2 a b"]:
    """Return how much small spots stand out, dark ones and bright ones, at half the canvas's resolution.

    The smaller of the two principal curvatures of the smoothed green channel, over the contrast around it: a
    vessel bends one way only and counts little, a spot bends both ways.

    Args:
        picture: the canvas.
        inside: the field; beside its rim nothing counts.

    Source: blobs by the Hessian's eigenvalues, Lindeberg 1998, doi:10.1023/A:1008045108935; the rest is our
    choice.
    """
    size = (picture.shape[1] // 2, picture.shape[0] // 2)
    green = cv2.resize(cv2.extractChannel(picture, 1), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    around = (SURROUND // 2 | 1,) * 2
    mean = cv2.blur(green, around)
    contrast = np.sqrt(np.maximum(cv2.sqrBoxFilter(green, cv2.CV_32F, around) - mean * mean, 1))
    smooth = cv2.GaussianBlur(green, (0, 0), SIGMA / 2)
    down, across, both = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((0, 2), (2, 0), (1, 1)))
    middle, apart = (down + across) / 2, np.hypot((down - across) / 2, both)
    found = np.stack([middle - apart, -middle - apart]) * np.float32((SIGMA / 2) ** 2) / contrast
    small = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    core = cv2.erode(small, np.ones((int(4 * SIGMA) | 1,) * 2, np.uint8), borderValue=0)
    found[:, core == 0] = 0
    return found.astype(np.float32)


def interest(
    coarse: Float32[np.ndarray, " N"], standing_out: Float32[np.ndarray, "N 2"], kind: Spots
) -> Float64[np.ndarray, " N"]:
    """Return how much one lesion calls for a close look at each cell: higher is more.

    Logarithm of GlobalNet's odds, and POWER times that of how much a spot stands out.

    Args:
        coarse: GlobalNet's largest probability in each cell.
        standing_out: of the dark and the bright spot that stand out most in each cell.
        kind: which spots count.
    """
    sure = coarse.astype(np.float64).clip(SURE, 1 - SURE)
    called: Float64[np.ndarray, " N"] = np.log(sure / (1 - sure))
    if kind == "none":
        return called
    spot = standing_out[:, 0 if kind == "dark" else 1].astype(np.float64)
    called += POWER * np.log(np.maximum(spot, FAINTEST))
    return called


def worth(
    coarse: Mapping[str, Float32[np.ndarray, " N"]],
    standing_out: Float32[np.ndarray, "N 2"],
    interests: Mapping[str, Interest],
) -> Bool[np.ndarray, " N"]:
    """Say which cells deserve a close look: those that one lesion at least calls for.

    Args:
        coarse: lesion -> GlobalNet's largest probability in each cell.
        standing_out: of the dark and the bright spot that stand out most in each cell.
        interests: lesion -> from when on it calls.
    """
    called = [
        interest(coarse[code], standing_out, one.spots) >= one.cutoff for code, one in interests.items()
    ]
    found: Bool[np.ndarray, " N"] = np.any(called, axis=0)
    return found
