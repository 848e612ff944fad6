"""The pictures of a report: the field of view, plain and with outlines.

Knows:   how large a printed picture is, and how lines are drawn so that they can be read on paper.
Ignores: what else a report contains.

The photograph is assembled from its tiles, so that no upload is decoded again. Masks are reduced to the
picture's size before they are drawn: a pixel of the picture is lesion if any pixel of the photograph below it
is, so that nothing small disappears. Lines have the same width on paper for all cameras.

Shape letters: H W photograph, h w picture.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from foveate import lesions
from foveate.analysis import regions
from foveate.geometry import canvas
from foveate.server.review.etdrs import RADII_MM, Grid
from foveate.server.storage import tiles
from foveate.server.storage.tiles import Packs
from foveate.types import Box, scaled_shape
from foveate.writers import contours, overlays

SIDE = 1100
"""Long side of a picture, px: 310 px per inch at its width of 90 mm on paper."""

LINE = 2
"""Width of an outline, px of the picture: 0.16 mm on paper."""

MARGIN = 0.01
"""Margin around the field of view that is shown, as a share of its diameter."""

GREY = (235, 235, 235)
"""Colour of the grid's lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """The part of a photograph that a picture shows, and the picture's size."""

    photograph: tuple[int, int]
    """(H, W) of the photograph, px."""
    box: Box
    """The part that is shown, px of the photograph."""

    @property
    def scale(self) -> float:
        """Pixels of the picture for each pixel of the photograph, at most 1."""
        return min(1.0, SIDE / max(self.box.shape))

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the picture."""
        return scaled_shape(self.box.shape, self.scale)


def crop_field(photograph: tuple[int, int], field: Box) -> Crop:
    """Return the crop that shows a field of view with a small margin, as far as the photograph reaches."""
    margin = round(MARGIN * max(field.shape))
    box = Box(
        top=max(0, field.top - margin),
        left=max(0, field.left - margin),
        bottom=min(photograph[0], field.bottom + margin),
        right=min(photograph[1], field.right + margin),
    )
    return Crop(photograph=photograph, box=box)


def photograph(packs: Packs, pack: Path, crop: Crop) -> UInt8[np.ndarray, "h w 3"]:
    """Return the cropped photograph from the smallest level of its tiles that is large enough.

    Raises:
        FileNotFoundError: there is no such pack: the photograph was deleted.
    """
    sizes = tiles.levels(crop.photograph)
    enough = [number for number, size in enumerate(sizes) if size.width >= crop.photograph[1] * crop.scale]
    number = enough[0] if enough else len(sizes) - 1
    shrink = sizes[number].width / crop.photograph[1]
    top, left, bottom, right = (round(edge * shrink) for edge in crop.box.corners)
    part = Box(top=top, left=left, bottom=max(bottom, top + 1), right=max(right, left + 1))
    return canvas.resample(_read(packs, pack, number, sizes[number], part), crop.shape)


def _read(
    packs: Packs, pack: Path, number: int, size: tiles.ZoomLevel, part: Box
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return a part of one level, assembled from its tiles."""
    picture = np.zeros((*part.shape, 3), np.uint8)
    for row in range(part.top // tiles.SIZE, -(-part.bottom // tiles.SIZE)):
        for column in range(part.left // tiles.SIZE, -(-part.right // tiles.SIZE)):
            content = packs.tile(pack, number, row, column)
            if content:
                _paste(picture, part, size.box(row, column), _decode(content))
    return picture


def _paste(
    picture: UInt8[np.ndarray, "h w 3"], part: Box, box: Box, tile: UInt8[np.ndarray, "_ _ 3"]
) -> None:
    """Copy the pixels of a tile that lie in a part of its level."""
    top, left = max(part.top, box.top), max(part.left, box.left)
    bottom, right = min(part.bottom, box.bottom), min(part.right, box.right)
    inside = tile[top - box.top : bottom - box.top, left - box.left : right - box.left]
    picture[top - part.top : bottom - part.top, left - part.left : right - part.left] = inside


def _decode(content: bytes) -> UInt8[np.ndarray, "_ _ 3"]:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, "the server's own tile"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8)


def reduce_mask(mask: UInt8[np.ndarray, "H W"], crop: Crop) -> UInt8[np.ndarray, "h w"]:
    """Return a mask at the picture's size: 1 wherever any pixel of the photograph below it is lesion."""
    part = mask[crop.box.slices] * np.uint8(255)  # one pixel of 256 still gives 1 on average
    return (canvas.resample(part, crop.shape) > 0).astype(np.uint8)


def outline(
    pixels: UInt8[np.ndarray, "h w 3"], masks: dict[str, UInt8[np.ndarray, "h w"]]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture with the outlines of all lesions.

    Args:
        pixels: the plain picture.
        masks: lesion -> mask of the picture's size, 1 on lesion pixels.
    """
    areas = []
    for lesion in lesions.of(list(masks)):
        mask = masks[lesion.code]
        lesion_regions = regions.find(mask * np.uint8(255), 1, lesion.code, 0, None)
        areas.append(overlays.outlined_area(contours.trace(mask > 0, lesion_regions), lesion, LINE))
    nothing = np.zeros((0, pixels.shape[1], 3), np.uint8)
    return overlays.draw(pixels, areas, nothing, width=LINE)


def draw_grid(pixels: UInt8[np.ndarray, "h w 3"], grid: Grid, crop: Crop) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture with the circles and diagonals of the ETDRS grid."""
    picture = pixels.copy()
    for colour, width in (((0, 0, 0), 3), (GREY, 1)):  # a dark edge, to show the line on a bright ground
        for start, end in _diagonals(grid):
            cv2.line(picture, _at(start, crop), _at(end, crop), colour, width, cv2.LINE_AA, 4)
        for radius in RADII_MM:
            reach = round(16 * radius / grid.mm_per_px * crop.scale)
            cv2.circle(picture, _at(grid.fovea, crop), reach, colour, width, cv2.LINE_AA, 4)
    return picture


def _diagonals(grid: Grid) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the ends (row, column), px, of the four lines between the smallest and the largest circle."""
    (row, column), half = grid.fovea, np.sqrt(0.5) / grid.mm_per_px
    near, far = RADII_MM[0] * half, RADII_MM[-1] * half
    return [
        ((row + down * near, column + right * near), (row + down * far, column + right * far))
        for down in (-1, 1)
        for right in (-1, 1)
    ]


def _at(place: tuple[float, float], crop: Crop) -> tuple[int, int]:
    """Return the point of a picture at (row, column) of the photograph: (x, y) in 16ths of a px."""
    row, column = place
    x, y = (column - crop.box.left) * crop.scale - 0.5, (row - crop.box.top) * crop.scale - 0.5
    return round(16 * x), round(16 * y)
