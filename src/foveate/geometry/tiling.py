"""Windows that cover a canvas, and how they are cut from it.

Knows:   where windows lie and which sizes they have.
Ignores: files, networks, and what is in the picture.

The paper calls the windows of its grid patches; here they may be larger than its 256 x 256 px.

Shape letters: h w canvas, S T sides of a window, N windows, r c the canvas in steps.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Num

from foveate.errors import GeometryError

WINDOW_OVERHEAD_PIXELS = 8192
"""What a window costs beside its pixels, in pixels: fewer larger windows are preferred to as many pixels in
more."""


def regular_grid(shape: tuple[int, int], side: int, overlap: int) -> Int64[np.ndarray, "N 2"]:
    """Return the top-left corners, in reading order, of windows that cover a canvas.

    Neighbours share at least `overlap` px; they are spread evenly, the outermost flush with the rim. With
    overlap 0 and a canvas of whole windows it is the paper's grid: 13 x 11 for its crop.

    Raises:
        GeometryError: a window is larger than the canvas, or the overlap leaves no step.
    """
    if not 0 <= overlap < side:
        raise GeometryError(f"windows of {side} px cannot overlap by {overlap} px; choose 0 to {side - 1}")
    if min(shape) < side:
        raise GeometryError(f"a window of {side} px does not fit a canvas of {shape[0]} x {shape[1]} px")
    rows, columns = (_starts(length, side, overlap) for length in shape)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _starts(length: int, side: int, overlap: int) -> Int64[np.ndarray, " n"]:
    """Where windows begin along one axis."""
    count = 1 + math.ceil((length - side) / (side - overlap))
    return np.round(np.linspace(0, length - side, count)).astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """Windows of one size that together show all of the field."""

    window: tuple[int, int]
    """(rows, columns) of each, canvas px."""
    corners: Int64[np.ndarray, "N 2"]
    """(row, column) of each one's first pixel, in reading order."""


def cover_field(inside: Bool[np.ndarray, "h w"], step: int, overlap: int, largest: int) -> Tiling:
    """Choose the windows that show all of the field with the fewest pixels.

    They lie in bands of rows, each band's from the first to the last column where the field is. Sizes and
    corners are multiples of `step`, so that a network that halves its picture sees the same grid in all.

    Args:
        inside: the field; both sides are multiples of `step`.
        step: canvas px.
        overlap: canvas px that neighbours share at least; a multiple of `step`.
        largest: pixels of a window at most, where one of two steps beyond the overlap fits.

    Returns:
        Of several equally good tilings the one with the fewest windows.

    Raises:
        GeometryError: nothing is inside.

    Source: our choice.
    """
    height, width = inside.shape
    blocks = inside.reshape(height // step, step, width // step, step)
    lit: Bool[np.ndarray, "r c"] = np.logical_or.reduce(blocks, axis=(1, 3))
    rows = np.flatnonzero(lit.any(axis=1))
    if not len(rows):
        raise GeometryError("no pixel of the canvas is inside the field; nothing is to be looked at")
    shared, most, extra = overlap // step, largest // step**2, WINDOW_OVERHEAD_PIXELS / step**2
    best: tuple[float, tuple[int, int], list[_Band]] | None = None
    for tall in range(min(len(lit), shared + 1), len(lit) + 1):
        bands = _bands(lit, _starts_of((int(rows[0]), int(rows[-1]) + 1), tall, shared, len(lit)), tall)
        reach = np.array([(band.left, band.right) for band in bands])
        smallest = min(lit.shape[1], shared + 1)
        wide = np.arange(smallest, lit.shape[1] + 1)
        wide = wide[(tall * wide <= most) | (wide == smallest)]
        counts = np.maximum(1, -(-((reach[:, 1] - reach[:, 0])[:, np.newaxis] - shared) // (wide - shared)))
        costs = counts.sum(axis=0) * (tall * wide + extra)
        if best is None or costs.min() < best[0]:
            best = float(costs.min()), (tall, int(wide[costs.argmin()])), bands
    assert best is not None
    _, (tall, across), bands = best
    corners = [
        (band.row, column)
        for band in bands
        for column in _starts_of((band.left, band.right), across, shared, lit.shape[1])
    ]
    return Tiling(window=(tall * step, across * step), corners=np.array(corners, np.int64) * step)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Band:
    """Rows of a canvas in which windows lie side by side, and where the field is in them; in steps."""

    row: int
    left: int
    right: int


def _bands(lit: Bool[np.ndarray, "r c"], starts: list[int], tall: int) -> list[_Band]:
    """Return the bands that show anything of the field."""
    found = []
    for row in starts:
        columns = np.flatnonzero(lit[row : row + tall].any(axis=0))
        if len(columns):
            found.append(_Band(row=row, left=int(columns[0]), right=int(columns[-1]) + 1))
    return found


def _starts_of(reach: tuple[int, int], size: int, shared: int, length: int) -> list[int]:
    """Return where windows begin that cover a range: as few as can be, evenly, none beyond the canvas."""
    start, stop = reach
    count = max(1, math.ceil((stop - start - shared) / (size - shared)))
    first = min(start, length - size)
    return [round(place) for place in np.linspace(first, max(first, stop - size), count).tolist()]


def extract_windows(
    picture: Num[np.ndarray, "h w ..."], corners: Int64[np.ndarray, "N 2"], side: int | tuple[int, int]
) -> Num[np.ndarray, "N S T ..."]:
    """Copy the windows with the given top-left corners out of a canvas.

    Args:
        picture: the canvas.
        corners: (row, column) of each window's first pixel.
        side: of the windows, px; (rows, columns) where they are no squares.

    Raises:
        GeometryError: a window leaves the canvas.
    """
    (height, width), (rows, columns) = picture.shape[:2], window_shape(side)
    if (corners < 0).any() or (corners + np.array([rows, columns]) > (height, width)).any():
        raise GeometryError(f"a window of {rows} x {columns} px leaves the canvas of {height} x {width} px")
    return np.stack([picture[row : row + rows, column : column + columns] for row, column in corners])


def window_shape(side: int | tuple[int, int]) -> tuple[int, int]:
    """Return (rows, columns) of a window of which only the side may be said, where it is a square."""
    return (side, side) if isinstance(side, int) else side
