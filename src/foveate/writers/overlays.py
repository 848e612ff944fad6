"""Draw the lesions' outlines on a photograph, and a legend below it.

Knows:   how to draw so that colour-blind readers can distinguish the lesions and no line covers a lesion.
Ignores: how lesions are segmented, and what their number means for a diagnosis.

Each outline runs around a lesion, never over it. It consists of a thin dark seam, a line in the lesion's
colour and a dark halo, so that it is visible on bright and on dark ground. Lesions too small for an outline
get a ring a few pixels away. Apart from their colours, microaneurysms get rings unless they are large, and
soft exudates get a double line.

Shape letters: H W photograph, B packed columns (H rows of W bits), h w a part of it, P some of its pixels,
S rows of the legend.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from foveate.geometry import canvas
from foveate.lesions import Lesion
from foveate.writers import maps
from foveate.writers.contours import TracedMask

Style = Literal["line", "double", "rings"]

Band = tuple[float, float]
"""Where a band of colour around an area begins and ends: distances from the area, px."""

STYLES: dict[str, Style] = {"MA": "rings", "SE": "double"}
"""Lesions that are not drawn with a single line, so that colour is not the only difference."""

SIDE_PER_LINE = 1000
"""Photograph px (longer side) per px of line width: about 1 px if a screen shows the whole photograph."""

SMALL = 5
"""A region gets a ring if the longer side of its box is below this many line widths: an outline
would dwarf it."""

SMALL_RINGS = 12
"""The same for lesions drawn as rings: 48 px in a photograph of 4288 px, larger than any microaneurysm."""

HALO = 0.65
"""Darkness of the halo and the seam, 0 to 1: visible on the optic disc, but the photograph shows through."""

ROWS = 256
"""Number of rows drawn at a time; it bounds the memory for distance maps."""

QUALITY = 90
"""JPEG quality. In our overlays, no difference from 95 was visible, at three quarters of the file size."""

GROUND, INK, FAINT = (17, 17, 17), (240, 240, 240), (170, 170, 170)
"""Colours of the legend: background, text, small print."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutlinedArea:
    """The pixels that one lesion's outlines run around, as bits so that all lesions fit into memory."""

    lesion: Lesion
    bits: UInt8[np.ndarray, "H B"]
    """Rows of bits: the lesion's pixels, and discs in place of small regions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """One entry of the legend."""

    lesion: Lesion
    text: str
    """The lesion's name, number of regions and area."""


def line_width(shape: tuple[int, int]) -> int:
    """Return the width of an outline in px, from the photograph's (H, W)."""
    return max(1, round(max(shape) / SIDE_PER_LINE))


def outlined_area(
    traced: TracedMask, lesion: Lesion, width: int | None = None, *, overwrite: bool = False
) -> OutlinedArea:
    """Return the counted pixels, with discs in place of small regions, and small holes filled.

    Args:
        traced: the lesion's mask and outlines.
        lesion: the lesion, which decides the style.
        width: width of an outline, px; None for that of `line_width`.
        overwrite: whether the mask may be drawn on, which saves the memory of a copy.
    """
    area = traced.mask if overwrite else traced.mask.copy()
    width = width or line_width(area.shape)
    small = width * (SMALL_RINGS if STYLES.get(lesion.code) == "rings" else SMALL)
    for outline in traced.outlines:
        box = outline.region.box
        for hole in outline.holes:
            if max(cv2.boundingRect(hole)[2:]) < width * SMALL:
                cv2.drawContours(area, [hole], 0, 1, cv2.FILLED)
        if max(box.shape) < small:
            half = np.hypot(*box.shape) / 2
            centre = ((box.left + box.right - 1) * 8, (box.top + box.bottom - 1) * 8)  # in 16ths of a px
            cv2.circle(area, centre, round(16 * (half + 1.5 * width)), 1, cv2.FILLED, shift=4)
    return OutlinedArea(lesion=lesion, bits=np.packbits(area, axis=1))


def draw(
    pixels: UInt8[np.ndarray, "H W 3"],
    areas: Sequence[OutlinedArea],
    strip: UInt8[np.ndarray, "S W 3"],
    *,
    width: int | None = None,
    bgr: bool = False,
    pool: Executor | None = None,
) -> UInt8[np.ndarray, "H+S W 3"]:
    """Return the photograph with all outlines, and the legend `strip` below it.

    No pixel of a lesion is painted by its own outline.

    Args:
        pixels: the photograph.
        areas: one for each lesion.
        strip: the legend, as `legend` returns it; it may have no rows.
        width: width of an outline, px; None for that of `line_width`.
        bgr: whether the result has its channels in the order blue, green, red, as `jpeg` can take them.
        pool: threads that each draw some rows; None to draw in the caller's own thread.
    """
    height = len(pixels)
    picture = np.empty((height + len(strip), *pixels.shape[1:]), np.uint8)
    canvas = picture[..., ::-1] if bgr else picture  # red, green, blue
    canvas[height:] = strip
    line = width or line_width(pixels.shape[:2])

    def draw_band(top: int) -> None:
        rows = slice(top, min(height, top + ROWS))
        if bgr:
            cv2.cvtColor(pixels[rows], cv2.COLOR_RGB2BGR, picture[rows])
        else:
            picture[rows] = pixels[rows]
        _draw_rows(canvas[:height], areas, top, line)

    for _ in (map if pool is None else pool.map)(draw_band, range(0, height, ROWS)):
        pass
    return picture


def jpeg(picture: UInt8[np.ndarray, "H W 3"], quality: int = QUALITY, *, bgr: bool = False) -> bytes:
    """Encode a picture as JPEG at full colour resolution.

    Args:
        picture: the picture.
        quality: JPEG quality.
        bgr: whether the channels are blue, green, red, as the encoder takes them; else they are red, green,
            blue, and copied.

    Raises:
        OutputError: a side is longer than JPEG allows, 65535 px.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
    reordered = picture if bgr else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return maps.encode_picture(reordered, ".jpg", options)


def _draw_rows(
    canvas: UInt8[np.ndarray, "H W 3"], areas: Sequence[OutlinedArea], top: int, width: int
) -> None:
    """Draw on `ROWS` rows of the canvas: all halos first, so that no halo darkens another lesion's line."""
    height, columns = canvas.shape[:2]
    bottom = min(height, top + ROWS)
    reach = 4 * width + 4  # px; nothing is drawn farther from a lesion
    above = max(0, top - reach)
    lines = []
    for area in areas:
        bits = area.bits[above : min(height, bottom + reach)]
        bands, halo = _strokes(width, STYLES.get(area.lesion.code, "line"))
        for rows, strip in _parts(bits, reach):
            left, right = 8 * strip.start, min(8 * strip.stop, columns)
            pixels = np.unpackbits(bits[rows, strip], axis=1, count=right - left)
            distance = cv2.distanceTransform(1 - pixels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            first, last = max(top, above + rows.start), min(bottom, above + rows.stop)
            distance = distance[first - above - rows.start : last - above - rows.start]
            part = canvas[first:last, left:right]
            _paint(part, distance, [halo], HALO, (0, 0, 0))
            lines.append((part, distance, bands, area.lesion.colour))
    for part, distance, bands, colour in lines:
        _paint(part, distance, bands, 1.0, colour)


def _parts(bits: UInt8[np.ndarray, "h B"], reach: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and the bytes of rows of all parts where something is drawn; no two of them overlap.

    All pixels within `reach` px of a lesion are in the same part as the lesion, so that distances are
    computed for each part alone, and not for the empty ground between them.
    """
    margin = -(-reach // 8)
    filled = np.flatnonzero(np.bitwise_or.reduce(bits, axis=0))
    runs = np.split(filled, 1 + np.flatnonzero(np.diff(filled) > 2 * margin)) if len(filled) else []
    for run in runs:
        strip = slice(max(0, int(run[0]) - margin), min(bits.shape[1], int(run[-1]) + margin + 1))
        lit = np.flatnonzero(bits[:, strip].any(axis=1))
        yield slice(max(0, int(lit[0]) - reach), min(len(bits), int(lit[-1]) + reach + 1)), strip


def _strokes(width: int, style: Style) -> tuple[list[Band], Band]:
    """Return the bands of the line and of the halo around an area."""
    seam = float(max(1, width // 2))
    bands = [(seam, seam + width)]
    if style == "double":
        bands = [(seam, seam + 0.7 * width), (seam + 1.3 * width, seam + 2 * width)]
    return bands, (0.0, bands[-1][1] + seam)


def _cover(distance: Float32[np.ndarray, " P"], band: Band) -> Float32[np.ndarray, " P"]:
    """Return how much a band covers each pixel, 0 to 1, from its distance to the area, px.

    The nearest pixel outside the area has distance 1. So a band from a to b covers clip(d - a) at its inner
    edge and clip(b + 1 - d) at its outer edge.
    """
    inner, outer = band
    cover = np.clip(distance - np.float32(inner), 0, 1) * np.clip(np.float32(outer + 1) - distance, 0, 1)
    return cover.astype(np.float32)


def _paint(
    part: UInt8[np.ndarray, "h w 3"],
    distance: Float32[np.ndarray, "h w"],
    bands: Sequence[Band],
    opacity: float,
    colour: tuple[int, int, int],
) -> None:
    """Blend a colour into the pixels of a part of the canvas that bands around the area cover."""
    covered = np.nonzero((distance > bands[0][0]) & (distance < bands[-1][1] + 1))
    share = np.add.reduce([_cover(distance[covered], band) for band in bands]) * opacity
    blend = part[covered].T * (1 - share) + np.array(colour, np.float32)[:, np.newaxis] * share
    part[covered] = np.round(blend).astype(np.uint8).T


def legend(width: int, captions: Sequence[Caption], notice: str) -> UInt8[np.ndarray, "S {width} 3"]:
    """Return a strip as wide as the photograph: a swatch and a text for each lesion, and small print.

    Entries wrap into as many lines as they need.

    Args:
        width: width of the photograph, px.
        captions: one for each lesion drawn.
        notice: the small print; it is wrapped at spaces.
    """
    size = max(12, width // 90)  # px; smaller than 12 cannot be read at any zoom
    scale = 3 if size < 24 else 1  # small letters are clearer when drawn large and reduced
    large = _draw_legend(width * scale, size * scale, captions, notice)
    strip: UInt8[np.ndarray, "S W 3"] = canvas.resample(large, (len(large) // scale, width))
    return strip


def _draw_legend(
    width: int, size: int, captions: Sequence[Caption], notice: str
) -> UInt8[np.ndarray, "S {width} 3"]:
    """Draw the strip with letters of `size` px."""
    font, small = ImageFont.load_default(size), ImageFont.load_default(size * 5 // 6)
    margin, step = size, size * 7 // 4
    corners, row, column = [], margin // 2, margin
    for caption in captions:
        length = round(2.4 * size + font.getlength(caption.text))
        if column > margin and column + length > width - margin:
            row, column = row + step, margin
        corners.append((column, row))
        column += length + 2 * size
    row += step * bool(captions)
    small_print = _wrap(notice, small, width - 2 * margin)
    picture = Image.new("RGB", (width, row + len(small_print) * step + margin // 2), GROUND)
    pen = ImageDraw.Draw(picture)
    for caption, (left, top) in zip(captions, corners, strict=True):
        _swatch(pen, caption.lesion, (left, top), size)
        pen.text((left + 2.4 * size, top + step / 2), caption.text, fill=INK, font=font, anchor="lm")
    for number, text in enumerate(small_print):
        pen.text((margin, row + (number + 0.5) * step), text, fill=FAINT, font=small, anchor="lm")
    return np.array(picture)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _swatch(pen: ImageDraw.ImageDraw, lesion: Lesion, corner: tuple[int, int], size: int) -> None:
    """Draw a sample of a lesion's line: two small rings, a double ellipse or a single ellipse."""
    left, top = corner
    middle, line = top + size * 7 / 8, max(1, size // 7)
    style = STYLES.get(lesion.code, "line")
    if style == "rings":
        for centre in (left + 0.45 * size, left + 1.35 * size):
            box = (centre - 0.35 * size, middle - 0.35 * size, centre + 0.35 * size, middle + 0.35 * size)
            pen.ellipse(box, outline=lesion.colour, width=line)
        return
    pen.ellipse(
        (left, middle - 0.5 * size, left + 1.8 * size, middle + 0.5 * size), outline=lesion.colour, width=line
    )
    if style == "double":
        inset = 1.8 * line
        half = 0.5 * size - inset
        box = (left + inset, middle - half, left + 1.8 * size - inset, middle + half)
        pen.ellipse(box, outline=lesion.colour, width=line)
