"""Contact sheets: a thumbnail of every photograph of a set, with its name and the outlines of its lesions.

Knows:   how a photograph is reduced so that its smallest lesion remains visible.
Ignores: where photographs come from, and what is wrong with them.

Shape letters: H W photograph, h w thumbnail, P Q page.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from foveate.geometry import canvas
from foveate.lesions import Lesion
from foveate.types import scaled_shape

SIDE = 320
"""Longest side of a thumbnail, px: a sheet fits on a screen, and a haemorrhage is recognisable."""

COLUMNS, ROWS = 6, 10
"""Thumbnails on a sheet: the 54 photographs of IDRiD fit on one sheet, which takes less than 40 MB
of memory."""

TITLE = 22
"""Height of the line below a thumbnail, px."""

GAP = 4
"""Space between thumbnails, px."""

BACKGROUND, TEXT_COLOUR, WARNING_COLOUR = (17, 17, 17), (240, 240, 240), (255, 140, 120)
"""Colours of the sheet, of names, and of the names of photographs with a problem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """One photograph on a sheet."""

    name: str
    """Name of the case."""
    picture: UInt8[np.ndarray, "h w 3"]
    """Longest side `SIDE`."""
    is_wrong: bool = False
    """Whether the photograph has a problem, so that its name gets the warning colour."""


def thumbnail(
    pixels: UInt8[np.ndarray, "H W 3"], masks: Mapping[str, Bool[np.ndarray, "H W"]], kinds: Sequence[Lesion]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a reduced photograph with each lesion outlined in its colour; no lesion pixel is lost.

    Args:
        pixels: pixels of the photograph.
        masks: lesion -> its mask; lesions without a mask may be omitted.
        kinds: the lesions to outline, in drawing order: the last is on top.
    """
    height, width = pixels.shape[:2]
    picture = canvas.resample(pixels, scaled_shape((height, width), SIDE / max(height, width))).copy()
    for kind in kinds:
        if kind.code in masks:
            mask = _shrink_mask(masks[kind.code], picture.shape[:2])
            outline = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > mask
            picture[outline] = kind.colour
    return picture


def blank() -> UInt8[np.ndarray, "h w 3"]:
    """Return the thumbnail of a photograph that cannot be read."""
    return np.full((SIDE * 2 // 3, SIDE, 3), 60, np.uint8)


def contact_sheets(
    thumbnails: Iterable[Thumbnail], kinds: Sequence[Lesion]
) -> Iterator[UInt8[np.ndarray, "P Q 3"]]:
    """Yield sheets of up to `COLUMNS` x `ROWS` thumbnails with a legend; only one is in memory at a time."""
    remaining = iter(thumbnails)
    while page_thumbnails := list(islice(remaining, COLUMNS * ROWS)):
        yield _draw_sheet(page_thumbnails, kinds)


def _shrink_mask(mask: Bool[np.ndarray, "H W"], shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    """Return a reduced mask that is 1 wherever at least one lesion pixel of the full mask falls."""
    small = np.zeros(shape, np.uint8)
    rows, columns = np.nonzero(mask)
    small[rows * shape[0] // mask.shape[0], columns * shape[1] // mask.shape[1]] = 1
    return small


def _draw_sheet(page_thumbnails: Sequence[Thumbnail], kinds: Sequence[Lesion]) -> UInt8[np.ndarray, "P Q 3"]:
    height = max(len(thumbnail.picture) for thumbnail in page_thumbnails)
    step = (SIDE + GAP, height + TITLE + GAP)
    lines = -(-len(page_thumbnails) // COLUMNS)
    page = Image.new("RGB", (GAP + COLUMNS * step[0], 2 * TITLE + lines * step[1]), BACKGROUND)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    _draw_legend(pen, font, kinds)
    for number, thumbnail in enumerate(page_thumbnails):
        left = GAP + number % COLUMNS * step[0]
        top = 2 * TITLE + number // COLUMNS * step[1]
        page.paste(Image.fromarray(thumbnail.picture), (left, top))
        title = _fit_title(thumbnail.name, font)
        pen.text(
            (left, top + height + TITLE / 2),
            title,
            fill=WARNING_COLOUR if thumbnail.is_wrong else TEXT_COLOUR,
            font=font,
            anchor="lm",
        )
    return np.array(page)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _draw_legend(pen: ImageDraw.ImageDraw, font: Font, kinds: Sequence[Lesion]) -> None:
    left = GAP
    for kind in kinds:
        pen.rectangle((left, 14, left + 16, 30), outline=kind.colour, width=3)
        words = f"{kind.code}  {kind.name}"
        pen.text((left + 24, 22), words, fill=TEXT_COLOUR, font=font, anchor="lm")
        left += 24 + round(font.getlength(words)) + 24


def _fit_title(name: str, font: Font) -> str:
    """Return a name, shortened at its beginning to fit below a thumbnail: names differ at their ends."""
    title = name
    while font.getlength(title) > SIDE and len(title) > 2:
        title = "…" + title[2:]
    return title
