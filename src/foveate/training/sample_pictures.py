"""A contact sheet of a stage's samples, for people to check: views and windows with their truth outlined.

Knows:   tiles, outlines, colours of lesions.
Ignores: how samples are chosen, and where the picture is stored.

Shape letters: S side of a sample, K lesions, T side of a tile, h w of the contact sheet.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from foveate import lesions
from foveate.geometry import canvas
from foveate.training.sampler import TrainingItem
from foveate.training.samples import Sample

TILE = 384
"""Side of a tile, px: a window of 256 px is enlarged to it, a view of 640 px reduced."""

COLUMNS = 6
"""Tiles in a row."""

GAP = 4
"""Grey gap between tiles, px."""

MAX_TILES = 36
"""Largest number of tiles on a contact sheet: more would show nothing new."""


def contact_sheet(items: Sequence[TrainingItem], codes: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture of a step's samples: each view, then the windows in it, in reading order.

    Lesions are outlined in their colours where at least half of a pixel is lesion.
    """
    samples = [sample for item in items for sample in ([item.view] if item.view else []) + list(item.windows)]
    tiles = [tile(sample, codes) for sample in samples[:MAX_TILES]]
    columns = min(COLUMNS, len(tiles))
    pitch = TILE + GAP
    grid = np.full((math.ceil(len(tiles) / columns) * pitch - GAP, columns * pitch - GAP, 3), 128, np.uint8)
    for number, picture in enumerate(tiles):
        row, column = (pitch * n for n in divmod(number, columns))
        grid[row : row + TILE, column : column + TILE] = picture
    return grid


def tile(sample: Sample, codes: Sequence[str]) -> UInt8[np.ndarray, "T T 3"]:
    """Return a sample at the size of a tile, with its truth outlined."""
    picture = np.ascontiguousarray(canvas.resample(sample.pixels, (TILE, TILE))).copy()
    for lesion, share in zip(lesions.of(codes), sample.truth, strict=True):
        mask = (canvas.resample(share, (TILE, TILE)) >= 0.5).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, lesion.colour, 1)
    return picture


def jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return a picture as a JPEG file of quality 90, which is enough: nothing is measured on it."""
    success, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert success  # encoding in memory cannot fail
    return encoded.tobytes()
