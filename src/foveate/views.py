"""Where the network looks: the canvas, the view of all of it, the windows in it, and how they correspond.

Knows:   boxes, scales, and which pixel of one picture shows the same place as which of another.
Ignores: files, networks, and what is in the picture.

photograph --frame--> canvas (model's scale) --view--> 640 x 640 for GlobalNet
                                             --plan, cut--> 256 x 256 windows for LocalNet
Continuous coordinates count from the outer edge of the first pixel (centre of pixel i: i + 0.5).

Shape letters: H W photograph, h w canvas, V view side, S T sides of a window, N windows, P points,
G side of the piece of the global features that a window needs.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Num, UInt8

from foveate.errors import GeometryError
from foveate.kinds import Box, Contract, Field, Frame, Part

PIXELS_A_WINDOW = 8192
"""What a window costs beside its pixels, in pixels: fewer larger windows are preferred to as many pixels in
more."""

PAPER_CROP = (2816, 3328)
"""(rows, columns) of the paper's centre crop of a 2848 x 4288 photograph (section 2.2)."""


def part_box(part: Part, shape: tuple[int, int], field: Field) -> Box:
    """Return the box of the photograph that is looked at.

    Args:
        part: 'field' for the field's box, 'paper' for the centre crop, 'whole' for everything.
        shape: (H, W) of the photograph.
        field: its field of view.

    Raises:
        GeometryError: the photograph is smaller than the paper's crop.

    Source: the crop is Yan et al. 2019, section 2.2; the field's box as default is our choice.
    """
    if part == "field":
        return field.box
    if part == "whole":
        return Box(top=0, left=0, bottom=shape[0], right=shape[1])
    height, width = PAPER_CROP
    if shape[0] < height or shape[1] < width:
        raise GeometryError(
            f"the paper's crop is {height} x {width} px, the photograph {shape[0]} x {shape[1]}; "
            "use --region field"
        )
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return Box(top=top, left=left, bottom=top + height, right=left + width)


def frame(box: Box, field: Field, contract: Contract) -> Frame:
    """Lay a canvas over a box so that the field has the diameter that the model was trained at.

    Within the contract's tolerance nothing is resampled: the canvas is the box.

    Source: our choice (docs/decisions/0003-scale-by-the-field.md).
    """
    ratio = contract.field_diameter / field.diameter
    if abs(math.log(ratio)) <= math.log1p(contract.scale_tolerance):
        return Frame(box=box, shape=box.shape)
    height, width = box.shape
    return Frame(box=box, shape=(max(1, round(height * ratio)), max(1, round(width * ratio))))


def to_canvas(points: Float64[np.ndarray, "P 2"], frame: Frame) -> Float64[np.ndarray, "P 2"]:
    """Map continuous (row, column) places of the photograph to the canvas."""
    return (points - (frame.box.top, frame.box.left)) * frame.scale


def to_photograph(points: Float64[np.ndarray, "P 2"], frame: Frame) -> Float64[np.ndarray, "P 2"]:
    """Map continuous (row, column) places of the canvas to the photograph: the inverse of `to_canvas`."""
    return points / frame.scale + (frame.box.top, frame.box.left)


def resample(picture: Num[np.ndarray, "H W ..."], shape: tuple[int, int]) -> Num[np.ndarray, "h w ..."]:
    """Stretch a picture to a shape: the mean over each new pixel where it shrinks, bilinear where it grows.

    The outer edges of both pictures coincide, as `Frame.scale` has it. Nothing is copied where the shape is
    the same already. What lies at a place stays there: to float precision where the picture grows or shrinks
    by a whole number; to an eighth of an old pixel where it shrinks by another, since the mean takes old
    pixels for flat. Growing repeats the rim beyond the centres of the outermost old pixels.

    Args:
        picture: of one to four channels, or without an axis for them.
        shape: (h, w) in pixels.

    Source: OpenCV's INTER_AREA and INTER_LINEAR, half-pixel centres.
    """
    if picture.shape[:2] == shape:
        return picture
    shrinks = shape[0] <= picture.shape[0] and shape[1] <= picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (shape[1], shape[0]), interpolation=how)
    return resized.reshape(*shape, *picture.shape[2:])  # OpenCV drops an axis of one channel


def canvas(pixels: UInt8[np.ndarray, "H W 3"], frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    """Cut the frame's box from a photograph and bring it to the model's scale."""
    return resample(pixels[frame.box.slices], frame.shape)


def view(picture: Num[np.ndarray, "h w ..."], side: int) -> Num[np.ndarray, "V V ..."]:
    """Return GlobalNet's view: all of the canvas in a square of `side` px, each axis by its own factor.

    Source: Yan et al. 2019, section 2.2 (2816 x 3328 to 640 x 640, so anisotropic).
    """
    return resample(picture, (side, side))


def plan(shape: tuple[int, int], side: int, overlap: int) -> Int64[np.ndarray, "N 2"]:
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


def tile(inside: Bool[np.ndarray, "h w"], step: int, overlap: int, largest: int) -> Tiling:
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
    shared, most, extra = overlap // step, largest // step**2, PIXELS_A_WINDOW / step**2
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


def cut(
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
    (height, width), (rows, columns) = picture.shape[:2], both(side)
    if (corners < 0).any() or (corners + np.array([rows, columns]) > (height, width)).any():
        raise GeometryError(f"a window of {rows} x {columns} px leaves the canvas of {height} x {width} px")
    return np.stack([picture[row : row + rows, column : column + columns] for row, column in corners])


def both(side: int | tuple[int, int]) -> tuple[int, int]:
    """Return (rows, columns) of a window of which only the side may be said, where it is a square."""
    return (side, side) if isinstance(side, int) else side


Way = tuple[int, bool]
"""Quarter turns against the clock, 0 to 3, and whether left and right are then swapped."""

WAYS: tuple[Way, ...] = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
"""All eight ways to lay a square down; the first leaves it as it is."""


def put(picture: Num[np.ndarray, "... V V"], way: Way) -> Num[np.ndarray, "... V V"]:
    """Turn and mirror a square picture, rows and columns on its last axes."""
    quarters, mirrored = way
    turned: Num[np.ndarray, "... V V"] = np.rot90(picture, quarters, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if mirrored else turned)


def put_back(picture: Num[np.ndarray, "... V V"], way: Way) -> Num[np.ndarray, "... V V"]:
    """Undo `put`."""
    quarters, mirrored = way
    back: Num[np.ndarray, "... V V"] = np.rot90(
        picture[..., ::-1] if mirrored else picture, -quarters, (-2, -1)
    )
    return np.ascontiguousarray(back)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """Which piece of the global view shows a window's place, and how to read it at the window's pixels.

    `rows @ piece @ columns.T` is the bilinear sample of the piece at every pixel centre of the window.
    """

    corner: tuple[int, int]
    """(row, column) of the piece's first pixel in the view."""
    rows: Float32[np.ndarray, "S G"]
    """Share of each of the piece's rows in each of the window's; each row sums to 1."""
    columns: Float32[np.ndarray, "T G2"]
    """The same for columns."""


def sight(
    corner: tuple[int, int], side: int | tuple[int, int], shape: tuple[int, int], view_side: int
) -> Sight:
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
        for start, reach, length in zip(corner, both(side), shape, strict=True)
    )
    return Sight(corner=(top, left), rows=rows, columns=columns)


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
