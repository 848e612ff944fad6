"""Choose the windows in which LocalNet runs at less than full effort.

Knows:   the grid cells of a canvas, GlobalNet's probabilities in them, and small dark and bright blobs.
Ignores: networks, files, and how the windows are used.

GlobalNet sees the whole photograph at 640 px, where the smallest lesions are a pixel or two wide. The score
of a cell therefore combines GlobalNet's map with the response of a blob filter at native resolution.

Shape letters: h w canvas, a b the canvas halved, N cells, K maps, V V2 sides of a map of the canvas.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from foveate.errors import GeometryError
from foveate.types import BlobPolarity, LesionCriterion

SIGMA = 5.0
"""Width of a blob as the standard deviation of a Gaussian, canvas px; microaneurysms in IDRiD are 8 to 32 px
wide. Of 2, 3 and 5, it best predicts where GlobalNet misses a lesion (docs/decisions/0014-gaze.md)."""

SURROUND = 65
"""Side of the square around a blob, canvas px; the blob response is divided by the contrast within it."""

POWER = 2.0
"""Exponent of the blob response relative to GlobalNet's odds. Of the values from .25 to 4 that were tried,
this one needs few windows for 95 % of the cells with EX, and no more than necessary for MA (our choice; what
blobs save is in docs/decisions/0014-gaze.md)."""

MINIMUM_RESPONSE = 0.01
"""Weaker blob responses are raised to this value, so that their logarithm is bounded."""

PROBABILITY_MARGIN = 1e-6
"""Probabilities are kept this far from 0 and 1, so that their logit is bounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridCells:
    """The squares without overlap into which a canvas is divided, and the window around each."""

    first: Int64[np.ndarray, "N 2"]
    """(row, column) of each cell's first pixel, in reading order."""
    last: Int64[np.ndarray, "N 2"]
    """(row, column) just beyond each cell's last pixel."""
    corners: Int64[np.ndarray, "N 2"]
    """(row, column) of the first pixel of each cell's window."""
    window: tuple[int, int]
    """(rows, columns) of every window, canvas px."""


def grid_cells(inside: Bool[np.ndarray, "h w"], side: int, shared: int, step: int) -> GridCells:
    """Divide a canvas into cells, and leave out the cells that contain no pixel of the field.

    A window extends beyond its cell by half of the overlap. Where it would leave the canvas, it is shifted to
    end at the edge.

    Args:
        inside: the mask of the field; both sides are multiples of `step`.
        side: side of a window, a multiple of `step`, canvas px.
        shared: smallest overlap of neighbouring windows, canvas px.
        step: the corners of windows are multiples of this, canvas px.

    Raises:
        GeometryError: a window is larger than the canvas, or neighbouring windows would overlap completely.
    """
    shape = inside.shape
    margin = math.ceil(shared / 2 / step) * step
    if min(shape) < side or 2 * margin >= side:
        raise GeometryError(
            f"windows of {side} px that overlap by {2 * margin} px do not fit a canvas of {shape[0]} x "
            f"{shape[1]} px; choose smaller windows or a smaller overlap"
        )
    size = side - 2 * margin
    first = np.stack(np.meshgrid(*(np.arange(0, length, size) for length in shape), indexing="ij"), axis=-1)
    first = first.reshape(-1, 2)
    last = np.minimum(first + size, shape)
    in_field = [
        inside[top:bottom, left:right].any() for (top, left), (bottom, right) in zip(first, last, strict=True)
    ]
    first, last = first[in_field], last[in_field]
    corners = np.clip(first - margin, 0, np.array(shape) - side)
    return GridCells(first=first, last=last, corners=corners, window=(side, side))


def cell_maxima(
    maps: Float32[np.ndarray, "K V V2"], cells: GridCells, shape: tuple[int, int]
) -> Float32[np.ndarray, "N K"]:
    """Return the largest value of each map in each cell.

    A pixel that a cell covers only in part belongs to that cell too.

    Args:
        maps: maps of the whole canvas, of any size.
        cells: the grid cells.
        shape: (h, w) of the canvas that the maps show.
    """
    scale = np.array(maps.shape[1:]) / shape
    first = np.floor(cells.first * scale).astype(int)
    last = np.ceil(cells.last * scale).astype(int)
    return np.array(
        [
            maps[:, top:bottom, left:right].max(axis=(1, 2))
            for (top, left), (bottom, right) in zip(first, last, strict=True)
        ],
        np.float32,
    ).reshape(len(first), len(maps))


def blob_response(
    picture: UInt8[np.ndarray, "h w 3"], inside: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "2 a b"]:
    """Return the contrast of small dark blobs and of small bright ones, at half the canvas's resolution.

    It is the smaller of the two principal curvatures of the smoothed green channel, divided by the contrast
    of the surroundings. A vessel is curved along one axis only, so its response is low; a blob is curved
    along both.

    Args:
        picture: the canvas.
        inside: the mask of the field; the response is 0 near its rim.

    Source: blobs by the Hessian's eigenvalues, Lindeberg 1998, doi:10.1023/A:1008045108935; the rest is our
    choice.
    """
    size = (picture.shape[1] // 2, picture.shape[0] // 2)
    green = cv2.resize(cv2.extractChannel(picture, 1), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    surround = (SURROUND // 2 | 1,) * 2
    mean = cv2.blur(green, surround)
    contrast = np.sqrt(np.maximum(cv2.sqrBoxFilter(green, cv2.CV_32F, surround) - mean * mean, 1))
    smooth = cv2.GaussianBlur(green, (0, 0), SIGMA / 2)
    rows, columns, mixed = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((0, 2), (2, 0), (1, 1)))
    middle, half_range = (rows + columns) / 2, np.hypot((rows - columns) / 2, mixed)
    response = np.stack([middle - half_range, -middle - half_range])
    response = response * np.float32((SIGMA / 2) ** 2) / contrast
    small = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    core = cv2.erode(small, np.ones((int(4 * SIGMA) | 1,) * 2, np.uint8), borderValue=0)
    response[:, core == 0] = 0
    return response.astype(np.float32)


def selection_score(
    coarse: Float32[np.ndarray, " N"], blob_contrast: Float32[np.ndarray, "N 2"], polarity: BlobPolarity
) -> Float64[np.ndarray, " N"]:
    """Return the score of each cell for one lesion; LocalNet should run first where it is highest.

    The score is the logarithm of GlobalNet's odds, plus `POWER` times the logarithm of the blob response.

    Args:
        coarse: GlobalNet's largest probability in each cell.
        blob_contrast: the largest response to a dark and to a bright blob in each cell.
        polarity: which blobs count.
    """
    probability = coarse.astype(np.float64).clip(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    score: Float64[np.ndarray, " N"] = np.log(probability / (1 - probability))
    if polarity == "none":
        return score
    response = blob_contrast[:, 0 if polarity == "dark" else 1].astype(np.float64)
    score += POWER * np.log(np.maximum(response, MINIMUM_RESPONSE))
    return score


def select_cells(
    coarse: Mapping[str, Float32[np.ndarray, " N"]],
    blob_contrast: Float32[np.ndarray, "N 2"],
    criteria: Mapping[str, LesionCriterion],
) -> Bool[np.ndarray, " N"]:
    """Return a mask of the cells in which LocalNet runs: the score reaches the cut-off of a lesion or more.

    Args:
        coarse: lesion -> GlobalNet's largest probability in each cell.
        blob_contrast: the largest response to a dark and to a bright blob in each cell.
        criteria: lesion -> the cut-off, and which blobs count.
    """
    reached = [
        selection_score(coarse[code], blob_contrast, criterion.blobs) >= criterion.cutoff
        for code, criterion in criteria.items()
    ]
    selected: Bool[np.ndarray, " N"] = np.any(reached, axis=0)
    return selected
