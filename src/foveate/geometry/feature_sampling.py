"""How a window reads the global features f_g at its own pixels.

Knows:   which piece of the global view shows a window's place, and the weights of bilinear interpolation.
Ignores: networks, and what the features mean.

Shape letters: S T sides of a window, G G2 rows and columns of the piece that the window needs.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from foveate.geometry.tiling import window_shape


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSampling:
    """Which piece of the global view shows a window's place, and how to read it at the window's pixels.

    `rows @ piece @ columns.T` is the bilinear sample of the piece at every pixel centre of the window.
    """

    corner: tuple[int, int]
    """(row, column) of the piece's first pixel in the view."""
    rows: Float32[np.ndarray, "S G"]
    """Share of each of the piece's rows in each of the window's; each row sums to 1."""
    columns: Float32[np.ndarray, "T G2"]
    """The same for columns."""


def sample_at(
    corner: tuple[int, int], side: int | tuple[int, int], shape: tuple[int, int], view_side: int
) -> FeatureSampling:
    """Say how one window of a canvas sees GlobalNet's features.

    The whole feature map is sampled at the window's pixel centres: 256 canvas px are 58.18 x 49.23 px of the
    view for the paper's crop, so that cropping first and resizing then would shift and stretch. Beyond the
    centres of the outermost pixels the rim is repeated.

    Args:
        corner: (row, column) of the window's first pixel, canvas px.
        side: of the window, canvas px; (rows, columns) where it is no square. It may leave the canvas.
        shape: (h, w) of the canvas.
        view_side: side of the view, px.

    Source: Yan et al. 2019, section 2.1: 'rescaling and cropping are conducted on f_g'; bilinear is our
    choice.
    """
    (top, rows), (left, columns) = (
        _interpolation(start, reach, length, view_side)
        for start, reach, length in zip(corner, window_shape(side), shape, strict=True)
    )
    return FeatureSampling(corner=(top, left), rows=rows, columns=columns)


def _interpolation(
    start: int, side: int, length: int, view_side: int
) -> tuple[int, Float32[np.ndarray, "S G"]]:
    """Return the first view pixel a window needs along one axis, and the weights from there on."""
    ratio = view_side / length
    places = (start + np.arange(side) + 0.5) * ratio - 0.5  # in view px, counted between pixel centres
    places = places.clip(0, view_side - 1)
    count = min(view_side, math.ceil(side * ratio) + 2)  # the same for all windows of a canvas: they batch
    first = min(int(places[0]), view_side - count)
    below = np.minimum(places.astype(np.int64), view_side - 2) - first
    share = (places - first - below).astype(np.float32)
    weights = np.zeros((side, count), np.float32)
    weights[np.arange(side), below] = 1 - share
    weights[np.arange(side), below + 1] = share
    return first, weights
