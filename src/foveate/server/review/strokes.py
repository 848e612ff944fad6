"""A brush's stroke -> the pixels that it covers.

Knows:   that a pixel is covered where its centre is within half a diameter of the line, or it holds a point.
Ignores: what is done to the pixels.

(x, y) is what people draw in; (row, column) begins here. Shape letters: P points, h w box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from foveate.types import Box


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """Some pixels of a photograph."""

    box: Box
    pixels: Bool[np.ndarray, "h w"]
    """Which of the box."""


def covered(points: Sequence[tuple[float, float]], diameter: float, shape: tuple[int, int]) -> Covered | None:
    """Return the pixels that a stroke covers; None where all of it lies outside.

    Args:
        points: (x, y), px from the outer edge of the first pixel; one or more.
        diameter: of the brush, px.
        shape: (H, W) of the photograph.
    """
    line = np.array([(y, x) for x, y in points], np.float64)
    box = _box(line.min(axis=0) - diameter / 2, line.max(axis=0) + diameter / 2, shape)
    if box is None:
        return None
    pixels = np.zeros(box.shape, bool)
    for start, end in zip(line, [*line[1:], line[-1]], strict=True):
        _cover(pixels, box, (start, end), diameter / 2)
    for row, column in np.floor(line).astype(int):
        if box.top <= row < box.bottom and box.left <= column < box.right:
            pixels[row - box.top, column - box.left] = True
    return Covered(box=box, pixels=pixels) if pixels.any() else None


def _cover(
    pixels: Bool[np.ndarray, "h w"],
    box: Box,
    line: tuple[Float64[np.ndarray, " 2"], Float64[np.ndarray, " 2"]],
    radius: float,
) -> None:
    """Cover what lies within a radius of one straight line."""
    start, end = line
    near = _box(np.minimum(start, end) - radius, np.maximum(start, end) + radius, (box.bottom, box.right))
    if near is None:
        return
    near = Box(
        top=max(near.top, box.top), left=max(near.left, box.left), bottom=near.bottom, right=near.right
    )
    rows = np.arange(near.top, near.bottom)[:, None] + 0.5
    columns = np.arange(near.left, near.right)[None, :] + 0.5
    along = end - start
    length = float(along @ along)
    share = 0.0 if length == 0 else ((rows - start[0]) * along[0] + (columns - start[1]) * along[1]) / length
    share = np.clip(share, 0.0, 1.0)
    away = (rows - start[0] - share * along[0]) ** 2 + (columns - start[1] - share * along[1]) ** 2
    here = np.s_[near.top - box.top : near.bottom - box.top, near.left - box.left : near.right - box.left]
    pixels[here] |= away <= radius**2


def _box(
    first: Float64[np.ndarray, " 2"], last: Float64[np.ndarray, " 2"], shape: tuple[int, int]
) -> Box | None:
    """Return the pixels between two corners that lie in a photograph of a shape."""
    top, left = (max(0, int(edge)) for edge in np.floor(first))
    bottom, right = (min(side, int(edge) + 1) for edge, side in zip(np.floor(last), shape, strict=True))
    return Box(top=top, left=left, bottom=bottom, right=right) if top < bottom and left < right else None
