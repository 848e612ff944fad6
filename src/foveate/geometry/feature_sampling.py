"""Sample the global features f_g at the pixels of a window.

Knows:   which part of the global view shows a window, and the weights of bilinear interpolation.
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
    """The piece of the global view that shows a window, and the weights that resample it to the window.

    `rows @ piece @ columns.T` samples the piece at every pixel centre of the window, bilinearly.
    """

    corner: tuple[int, int]
    """(row, column) of the piece's first pixel in the view."""
    rows: Float32[np.ndarray, "S G"]
    """Weight of each row of the piece in each row of the window; each row sums to 1."""
    columns: Float32[np.ndarray, "T G2"]
    """The same for columns."""


def window_sampling(
    corner: tuple[int, int], side: int | tuple[int, int], shape: tuple[int, int], view_side: int
) -> FeatureSampling:
    """Return the crop and the weights that sample GlobalNet's features for one window of a canvas.

    The feature map is sampled at the window's pixel centres. In the paper's crop, 256 canvas px are
    58.18 x 49.23 px of the view. Cropping whole pixels first and resizing them afterwards would therefore
    shift and stretch the features. Beyond the centres of the outermost pixels, the rim is repeated.

    Args:
        corner: (row, column) of the window's first pixel, canvas px.
        side: side of the window, canvas px; (rows, columns) if it is not square. The window may extend
            beyond the canvas.
        shape: (h, w) of the canvas.
        view_side: side of the view, px.

    Source: Yan et al. 2019, section 2.1: 'rescaling and cropping are conducted on f_g'; bilinear is our
    choice.
    """
    (top, rows), (left, columns) = (
        _interpolation(start, size, length, view_side)
        for start, size, length in zip(corner, window_shape(side), shape, strict=True)
    )
    return FeatureSampling(corner=(top, left), rows=rows, columns=columns)


def _interpolation(
    start: int, side: int, length: int, view_side: int
) -> tuple[int, Float32[np.ndarray, "S G"]]:
    """Return the first view pixel that a window needs along one axis, and the weights from that pixel on."""
    ratio = view_side / length
    # View px, counted from the first pixel's centre.
    positions = (start + np.arange(side) + 0.5) * ratio - 0.5
    positions = positions.clip(0, view_side - 1)
    # Equal for all windows of a canvas, so that they can form a batch.
    count = min(view_side, math.ceil(side * ratio) + 2)
    first = min(int(positions[0]), view_side - count)
    lower = np.minimum(positions.astype(np.int64), view_side - 2) - first
    fraction = (positions - first - lower).astype(np.float32)
    weights = np.zeros((side, count), np.float32)
    weights[np.arange(side), lower] = 1 - fraction
    weights[np.arange(side), lower + 1] = fraction
    return first, weights
