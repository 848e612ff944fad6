"""Tile a canvas with windows, and extract them.

Knows:   the positions and sizes of windows.
Ignores: files, networks, and what is in the picture.

The paper calls the windows of its grid patches. In this package they may be larger than its 256 x 256 px.

Shape letters: h w canvas, S T sides of a window, N windows, n windows along one axis, r c the canvas in
blocks, r2 one row of blocks more.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Num

from foveate.errors import GeometryError

WINDOW_OVERHEAD_PIXELS = 8192
"""Fixed cost of a window, in pixels: of two tilings with equally many pixels, the one with fewer and larger
windows is chosen."""


def regular_grid(shape: tuple[int, int], side: int, overlap: int) -> Int64[np.ndarray, "N 2"]:
    """Return the top-left corners, in reading order, of square windows that cover a canvas.

    Neighbours share at least `overlap` px. The windows are spread evenly, and the outermost ones are flush
    with the rim. With overlap 0 and a canvas whose sides are multiples of `side`, the result is the paper's
    grid: 13 x 11 for its crop.

    Raises:
        GeometryError: a window is larger than the canvas, or the overlap is not below the side.
    """
    if not 0 <= overlap < side:
        raise GeometryError(f"windows of {side} px cannot overlap by {overlap} px; choose 0 to {side - 1}")
    if min(shape) < side:
        raise GeometryError(f"a window of {side} px does not fit a canvas of {shape[0]} x {shape[1]} px")
    rows, columns = (_starts(length, side, overlap) for length in shape)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _starts(length: int, side: int, overlap: int) -> Int64[np.ndarray, " n"]:
    """Return the first pixels of windows that cover one axis."""
    count = 1 + math.ceil((length - side) / (side - overlap))
    return np.round(np.linspace(0, length - side, count)).astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tiling:
    """Windows of one size on a canvas: those that cover the field, or a selection of windows."""

    window: tuple[int, int]
    """(rows, columns) of each window, canvas px."""
    corners: Int64[np.ndarray, "N 2"]
    """(row, column) of each window's first pixel, in reading order."""


def cover_field(inside: Bool[np.ndarray, "h w"], step: int, overlap: int, largest: int) -> Tiling:
    """Return the tiling that covers the field at the lowest cost.

    The windows form rows. Each row spans the columns from the first to the last pixel of the field in it.
    Sizes and corners are multiples of `step`, so that a network with strides has the same grid in all
    windows.

    Args:
        inside: mask of the field; both sides are multiples of `step`.
        step: unit of the sizes and corners, canvas px.
        overlap: smallest overlap of neighbours, canvas px; a multiple of `step`.
        largest: largest number of pixels in a window. A width of one step more than the overlap is always
            allowed.

    Returns:
        The cheapest tiling. Its cost is the number of pixels in all windows, plus WINDOW_OVERHEAD_PIXELS for
        each window.

    Raises:
        GeometryError: the mask is empty.

    Source: our choice.
    """
    blocks = _blocks(inside, step)
    rows = np.flatnonzero(blocks.any(axis=1))
    if not len(rows):
        raise GeometryError(
            "no pixel of the canvas is inside the field, so there is nothing to cover; choose another region"
        )
    shared, most, overhead = overlap // step, largest // step**2, WINDOW_OVERHEAD_PIXELS / step**2
    first_row, last_row = int(rows[0]), int(rows[-1]) + 1
    spans = _row_spans(blocks)
    best: tuple[float, tuple[int, int], Int64[np.ndarray, "n 3"]] | None = None
    for height in range(min(len(blocks), shared + 1), len(blocks) + 1):
        starts = _spread((first_row, last_row), height, shared, len(blocks))
        window_rows = _window_rows(spans, starts, height)
        cost, width = _cheapest_width(window_rows, blocks.shape[1], height, (shared, most, overhead))
        if best is None or cost < best[0]:
            best = cost, (height, width), window_rows
    assert best is not None
    _, (height, width), window_rows = best
    corners = [
        (top, column)
        for top, left, right in window_rows.tolist()
        for column in _spread((left, right), width, shared, blocks.shape[1])
    ]
    return Tiling(window=(height * step, width * step), corners=np.array(corners, np.int64) * step)


def _blocks(inside: Bool[np.ndarray, "h w"], step: int) -> Bool[np.ndarray, "r c"]:
    """Return which blocks of step x step pixels contain any part of the field."""
    height, width = inside.shape
    rows = inside.reshape(height // step, step, width).any(axis=1)
    return np.asarray(rows.reshape(height // step, width // step, step).any(axis=2))


def _row_spans(blocks: Bool[np.ndarray, "r c"]) -> Int64[np.ndarray, "2 r2"]:
    """Return the first column of the field in each row of blocks, and the end of the last.

    One more row follows, without any field, because `_window_rows` reads up to the end of a range.
    """
    count, columns = blocks.shape
    spans = np.repeat([[columns], [0]], count + 1, axis=1)  # empty: no minimum or maximum changes
    rows = np.flatnonzero(blocks.any(axis=1))
    spans[0, rows] = blocks[rows].argmax(axis=1)
    spans[1, rows] = columns - blocks[rows, ::-1].argmax(axis=1)
    return spans


def _window_rows(
    spans: Int64[np.ndarray, "2 r2"], starts: list[int], height: int
) -> Int64[np.ndarray, "n 3"]:
    """Return the rows of windows that contain any part of the field: top, left and right.

    Args:
        spans: from `_row_spans`.
        starts: the tops of the rows of windows.
        height: height of the windows.
    """
    tops = np.array(starts)
    bounds = np.stack([tops, tops + height], axis=1).ravel()  # every other range is a row of windows
    left = np.minimum.reduceat(spans[0], bounds)[::2]
    right = np.maximum.reduceat(spans[1], bounds)[::2]
    return np.stack([tops, left, right], axis=1)[right > 0]


def _cheapest_width(
    window_rows: Int64[np.ndarray, "n 3"], columns: int, height: int, limits: tuple[int, int, float]
) -> tuple[float, int]:
    """Return the cost of the cheapest windows of a given height, and their width; all values are in blocks.

    Args:
        window_rows: from `_window_rows`.
        columns: width of the canvas.
        height: height of the windows.
        limits: smallest overlap, largest number of blocks in a window, and fixed cost of a window.
    """
    shared, most, overhead = limits
    smallest = min(columns, shared + 1)
    widths = np.arange(smallest, columns + 1)
    widths = widths[(height * widths <= most) | (widths == smallest)]
    spans = (window_rows[:, 2] - window_rows[:, 1])[:, np.newaxis]
    counts = np.maximum(1, -(-(spans - shared) // np.maximum(1, widths - shared)))
    costs = counts.sum(axis=0) * (height * widths + overhead)
    return float(costs.min()), int(widths[costs.argmin()])


def _spread(span: tuple[int, int], size: int, shared: int, length: int) -> list[int]:
    """Return the starts of the fewest windows that cover a span, spread evenly within the canvas."""
    start, stop = span
    stride = max(1, size - shared)  # a canvas narrower than the overlap is a single window
    count = max(1, math.ceil((stop - start - shared) / stride))
    first = min(start, length - size)
    return [round(start) for start in np.linspace(first, max(first, stop - size), count).tolist()]


def extract_windows(
    picture: Num[np.ndarray, "h w ..."],
    corners: Int64[np.ndarray, "N 2"],
    side: int | tuple[int, int],
    padded: tuple[int, int] | None = None,
) -> Num[np.ndarray, "N S T ..."]:
    """Copy the windows with the given top-left corners out of a canvas.

    Args:
        picture: the canvas.
        corners: (row, column) of each window's first pixel.
        side: side of the windows, px; (rows, columns) if they are not square.
        padded: (h, w) to which zeros below and to the right extend the canvas; None for its own size.

    Raises:
        GeometryError: a window leaves the canvas.
    """
    (height, width), (rows, columns) = padded or picture.shape[:2], window_shape(side)
    if (corners < 0).any() or (corners + np.array([rows, columns]) > (height, width)).any():
        raise GeometryError(f"a window of {rows} x {columns} px leaves the canvas of {height} x {width} px")
    windows = np.zeros((len(corners), rows, columns, *picture.shape[2:]), picture.dtype)
    for window, (row, column) in zip(windows, corners, strict=True):
        pixels = picture[row : row + rows, column : column + columns]
        window[: pixels.shape[0], : pixels.shape[1]] = pixels
    return windows


def window_shape(side: int | tuple[int, int]) -> tuple[int, int]:
    """Return (rows, columns) of a window; an int means a square window."""
    return (side, side) if isinstance(side, int) else side
