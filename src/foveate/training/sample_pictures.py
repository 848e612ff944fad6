"""A sheet of what a stage learns from, for a person to look at: views and windows with their truth outlined.

Knows:   tiles, outlines, colours of lesions.
Ignores: how samples are drawn, and where the sheet is kept.

Shape letters: S side of a sample, K lesions, T side of a tile, h w of the sheet.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from foveate import lesions
from foveate.geometry import canvas
from foveate.training.cache import Sample
from foveate.training.sampler import Drawn

TILE = 384
"""Side of a tile, px: a window of 256 is enlarged to it, a view of 640 reduced."""

ACROSS = 6
"""Tiles in a row."""

GAP = 4
"""Grey between tiles, px."""

LARGEST = 36
"""Tiles on a sheet: more of them tell no more."""


def sheet(drawn: Sequence[Drawn], codes: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture of a step's samples: each view, then the windows in it, in reading order.

    Lesions are outlined in their colours where at least half of a pixel is lesion.
    """
    each = [sample for one in drawn for sample in ([one.view] if one.view else []) + list(one.windows)]
    tiles = [tile(sample, codes) for sample in each[:LARGEST]]
    across = min(ACROSS, len(tiles))
    pitch = TILE + GAP
    grid = np.full((math.ceil(len(tiles) / across) * pitch - GAP, across * pitch - GAP, 3), 128, np.uint8)
    for number, picture in enumerate(tiles):
        row, column = (pitch * n for n in divmod(number, across))
        grid[row : row + TILE, column : column + TILE] = picture
    return grid


def tile(sample: Sample, codes: Sequence[str]) -> UInt8[np.ndarray, "T T 3"]:
    """Return one sample at a tile's size, its truth outlined."""
    picture = np.ascontiguousarray(canvas.resample(sample.pixels, (TILE, TILE))).copy()
    for lesion, share in zip(lesions.of(codes), sample.truth, strict=True):
        mask = (canvas.resample(share, (TILE, TILE)) >= 0.5).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, lesion.colour, 1)
    return picture


def jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return a picture as a JPEG file; quality 90: nothing is measured on it."""
    done, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done  # nothing can fail in memory
    return encoded.tobytes()
