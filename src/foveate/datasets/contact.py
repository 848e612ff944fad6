"""Contact sheets: every photograph of a set, small, with its lesions outlined and its name.

Knows:   how a photograph is made small so that its smallest lesion still shows.
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

from foveate.lesions import Lesion
from foveate.writers import overlays

SIDE = 320
"""Longest side of a thumbnail, px: one sheet fits on a screen, and a haemorrhage is recognised."""

COLUMNS, ROWS = 6, 10
"""Thumbnails on a sheet: IDRiD's 54 fit on one, and a sheet stays below 40 MB while it is made."""

TITLE = 22
"""Height of the line below a thumbnail, px."""

GAP = 4
"""Between thumbnails, px."""

GROUND, INK, ALARM = (17, 17, 17), (240, 240, 240), (255, 140, 120)
"""Colours of the sheet, of names, and of the names of photographs with which something is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """One photograph on a sheet."""

    name: str
    picture: UInt8[np.ndarray, "h w 3"]
    """Longest side `SIDE`."""
    is_wrong: bool = False
    """Whether its name is shown in the colour of alarm."""


def thumbnail(
    pixels: UInt8[np.ndarray, "H W 3"], masks: Mapping[str, Bool[np.ndarray, "H W"]], kinds: Sequence[Lesion]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photograph made small, each lesion outlined in its colour; not a pixel of a lesion gets lost.

    Args:
        pixels: of the photograph.
        masks: lesion -> where it is drawn; lesions may be absent.
        kinds: what is outlined, the last on top.
    """
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    small = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for kind in kinds:
        if kind.code in masks:
            lesion = _shrunk(masks[kind.code], picture.shape[:2])
            ring = cv2.dilate(lesion, np.ones((3, 3), np.uint8)) > lesion
            picture[ring] = kind.colour
    return picture


def blank() -> UInt8[np.ndarray, "h w 3"]:
    """Return the thumbnail of a photograph that cannot be read."""
    return np.full((SIDE * 2 // 3, SIDE, 3), 60, np.uint8)


def sheets(thumbnails: Iterable[Thumbnail], kinds: Sequence[Lesion]) -> Iterator[UInt8[np.ndarray, "P Q 3"]]:
    """Yield sheets of up to `COLUMNS` x `ROWS` thumbnails, each with a legend; no more than one in memory."""
    rest = iter(thumbnails)
    while on_sheet := list(islice(rest, COLUMNS * ROWS)):
        yield _sheet(on_sheet, kinds)


def jpeg(sheet: UInt8[np.ndarray, "P Q 3"]) -> bytes:
    """Encode a sheet."""
    return overlays.jpeg(sheet)


def _shrunk(mask: Bool[np.ndarray, "H W"], shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    """Return 1 wherever any pixel of the mask falls."""
    small = np.zeros(shape, np.uint8)
    rows, columns = np.nonzero(mask)
    small[rows * shape[0] // mask.shape[0], columns * shape[1] // mask.shape[1]] = 1
    return small


def _sheet(on_sheet: Sequence[Thumbnail], kinds: Sequence[Lesion]) -> UInt8[np.ndarray, "P Q 3"]:
    tall = max(len(one.picture) for one in on_sheet)
    step = (SIDE + GAP, tall + TITLE + GAP)
    lines = -(-len(on_sheet) // COLUMNS)
    page = Image.new("RGB", (GAP + COLUMNS * step[0], 2 * TITLE + lines * step[1]), GROUND)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    _draw_legend(pen, font, kinds)
    for number, one in enumerate(on_sheet):
        left = GAP + number % COLUMNS * step[0]
        top = 2 * TITLE + number // COLUMNS * step[1]
        page.paste(Image.fromarray(one.picture), (left, top))
        title = _fitted(one.name, font)
        pen.text(
            (left, top + tall + TITLE / 2), title, fill=ALARM if one.is_wrong else INK, font=font, anchor="lm"
        )
    return np.array(page)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _draw_legend(pen: ImageDraw.ImageDraw, font: Font, kinds: Sequence[Lesion]) -> None:
    left = GAP
    for kind in kinds:
        pen.rectangle((left, 14, left + 16, 30), outline=kind.colour, width=3)
        words = f"{kind.code}  {kind.name}"
        pen.text((left + 24, 22), words, fill=INK, font=font, anchor="lm")
        left += 24 + round(font.getlength(words)) + 24


def _fitted(name: str, font: Font) -> str:
    """Cut a name at its beginning until it fits below a thumbnail: names differ at their ends."""
    title = name
    while font.getlength(title) > SIDE and len(title) > 2:
        title = "…" + title[2:]
    return title
