"""index.html: every photograph beside its result, for people without any program but a browser.

Knows:   how the page is laid out, and what it needs of each photograph.
Ignores: how lesions are found; what the browser does with it stands in assets/.

The page holds a line a photograph and no picture, so that a thousand of them open at once. What it shows of
one photograph lies beside it in page/: a display copy, a thumbnail, and a script that holds nothing but the
outlines and regions as numbers. (A browser that opens a page from a disk lets it load pictures and scripts,
but not JSON.) Nothing is asked of any network; the folder can be moved or sent as a whole.

Every text that comes from outside, such as a photograph's name, is escaped.

Shape letters: H W photograph, h w its display copy.
"""

import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import UInt8

from foveate import lesions
from foveate.geometry import canvas
from foveate.lesions import Lesion
from foveate.types import Region
from foveate.version import version
from foveate.writers import overlays, places, tables
from foveate.writers.contours import Outline, Points, Traced
from foveate.writers.results import NOTICE, Maker, Row

COPY_SIDE = 4320
"""Longest side of the display copy, px: 12 megapixels (4288 px wide) stay as they are, 100 megapixels are
reduced to what a browser decodes without trouble."""

COPY_QUALITY = 88
"""Of its JPEG: colours at full resolution matter more than the last level of grey."""

THUMBNAIL_SIDE = 160
"""Longest side of a thumbnail, px: twice what the table shows, for dense screens."""

DRAWN = 2000
"""How many regions of a lesion, the largest, the page draws and lists: no browser stutters at that."""

QUALITY = {
    "blur": "blurred",
    "exposure": "badly exposed",
    "cut": "field cut off",
    "small": "few pixels",
}
"""What the codes say, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """What the page draws of one lesion."""

    lesion: Lesion
    regions: tuple[list[object], ...]
    """The largest first: id, area, centroid x y, box x y width height, mean and max probability, outlines. An
    outline is a flat list x, y, dx, dy, dx, dy ..., px of the photograph."""


def sketch(traced: Traced, lesion: Lesion) -> Sketch:
    """Return one lesion's outlines, simplified to what a screen can show."""
    tolerance = max(0.5, max(traced.mask.shape) / 8000)  # px; half a px of the display copy
    largest = sorted(traced.outlines, key=lambda outline: (-outline.region.area_px, outline.region.id))[
        :DRAWN
    ]
    return Sketch(lesion=lesion, regions=tuple(_numbers(outline, tolerance) for outline in largest))


def script(content: tables.Document, sketches: Sequence[Sketch]) -> bytes:
    """Return the script that hands one photograph's numbers to the page.

    Args:
        content: the photograph's JSON.
        sketches: of its lesions.
    """
    photograph = content["photograph"]
    shown = {
        "name": _text(photograph["name"]),
        "width": photograph["width"],
        "height": photograph["height"],
        "spacing": photograph["spacing_mm"],
        "field": list(content["field"]["box"].values()),
        "quality": [QUALITY.get(code, code) for code in content["quality"]],
        "lesions": [_layer(content["lesions"][one.lesion.code], one) for one in sketches],
    }
    numbers = json.dumps(shown, separators=(",", ":"), allow_nan=False)
    return f"foveate(document.currentScript,{numbers})\n".encode("ascii")


def pictures(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[bytes, bytes]:
    """Return the display copy and the thumbnail as JPEG."""
    copy = _reduced(pixels, COPY_SIDE)
    return overlays.jpeg(copy, COPY_QUALITY), overlays.jpeg(_reduced(copy, THUMBNAIL_SIDE), COPY_QUALITY)


def index(rows: Sequence[Row], codes: Sequence[str], maker: Maker) -> bytes:
    """Return index.html.

    Args:
        rows: all photographs in the order wanted, failures included.
        codes: of the lesions that get columns.
        maker: the model.
    """
    known = lesions.of(codes)
    head = "".join(_heading(lesion) for lesion in known)
    largest = _largest(rows, codes)
    body = "\n".join(_line(row, codes, largest) for row in rows)
    filled = {
        "TITLE": f"Foveate: {_photographs(len(rows))}",
        "STYLE": _asset("page.css"),
        "NOTICE": html.escape(NOTICE),
        "MODEL": html.escape(f"model {_text(maker.name)} {_text(maker.version)}"),
        "DIGEST": html.escape(_text(maker.digest)),
        "VERSION": html.escape(version()),
        "COUNTS": _counts(rows),
        "HEADINGS": head,
        "ROWS": body,
        "SCRIPT": _asset("page.js"),
    }
    parts = _asset("page.html").split("@@")  # text, NAME, text, NAME, ..., text
    parts[1::2] = [filled[name] for name in parts[1::2]]
    return tables.utf8("".join(parts))


def _numbers(outline: Outline, tolerance: float) -> list[object]:
    """Return one region as the page wants it."""
    region: Region = outline.region
    (row, column), box = region.centroid, region.box
    rings = [_ring(points, tolerance) for points in (outline.outer, *outline.holes)]
    return [
        region.id,
        region.area_px,
        round(column, 1),
        round(row, 1),
        box.left,
        box.top,
        *reversed(box.shape),
        round(region.mean_probability, 3),
        round(region.max_probability, 3),
        rings,
    ]


def _ring(points: Points, tolerance: float) -> list[int]:
    """Return a simplified outline: its first point, then the step to each next one."""
    simple = cv2.approxPolyDP(points, tolerance, True).reshape(-1, 2)
    steps: list[int] = np.diff(simple, axis=0, prepend=np.zeros((1, 2), simple.dtype)).ravel().tolist()
    return steps


def _layer(entry: tables.Document, one: Sketch) -> tables.Document:
    """Return one lesion's layer, from its entry in the photograph's JSON."""
    return {
        "code": one.lesion.code,
        "name": one.lesion.name,
        "colour": _colour(one.lesion),
        "style": overlays.STYLES.get(one.lesion.code, "line"),
        "threshold": entry["threshold"],
        "count": entry["count"],
        "area": tables.share(entry["area_fraction"]),
        "regions": one.regions,
    }


def _reduced(pixels: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "h w 3"]:
    height, width = pixels.shape[:2]
    factor = min(1.0, side / max(height, width))
    reduced: UInt8[np.ndarray, "h w 3"] = canvas.resample(
        pixels, (max(1, round(height * factor)), max(1, round(width * factor)))
    )
    return reduced


def _heading(lesion: Lesion) -> str:
    style = overlays.STYLES.get(lesion.code, "line")
    return (
        f'<th scope="col" aria-sort="none" class="number"><button type="button">'
        f'<i class="swatch {style}" style="--colour:{_colour(lesion)}"></i>{html.escape(lesion.name)}'
        "</button></th>"
    )


def _largest(rows: Sequence[Row], codes: Sequence[str]) -> dict[str, float]:
    """Return the largest share of the field that each lesion takes, for the bars."""
    return {
        code: max((row.burdens[code].area_fraction for row in rows if code in row.burdens), default=0.0)
        for code in codes
    }


def _line(row: Row, codes: Sequence[str], largest: dict[str, float]) -> str:
    """Return a photograph's line: a link to its overlay, which the script makes open the viewer."""
    name = _name(row.name)
    if row.status == "failed":
        return (
            f'<tr class="failed"><th scope="row">{name}</th>'
            f'<td colspan="{1 + len(codes)}"><b>failed</b> {html.escape(_text(row.error))}</td></tr>'
        )
    outlines, _, thumbnail = (_link(path) for path in places.page_files(row.key))
    values = " ".join(
        f"{row.burdens[code].area_fraction:g}" if code in row.burdens else "-1" for code in codes
    )
    warnings = "".join(
        f'<span class="warning">{html.escape(QUALITY.get(code, code))}</span>' for code in row.quality
    )
    cells = "".join(_cell(row, code, largest[code]) for code in codes)
    return (
        f'<tr data-values="{values}" data-quality="{len(row.quality)}"><th scope="row">'
        f'<a href="{_link(places.overlay_file(row.key))}" data-show="{outlines}">'
        f'<img src="{thumbnail}" alt="" loading="lazy" decoding="async">{name}</a></th>'
        f"<td>{warnings}</td>{cells}</tr>"
    )


def _name(name: str) -> str:
    """Return a photograph's name, its folder in small letters."""
    folder, slash, file = _text(name).rpartition("/")
    small = f"<small>{html.escape(folder + slash)}</small>" if slash else ""
    return f'<span class="name">{small}{html.escape(file)}</span>'


def _cell(row: Row, code: str, largest: float) -> str:
    burden = row.burdens.get(code)
    if burden is None:
        return "<td></td>"
    if not burden.count:
        return '<td class="number none">none</td>'
    bar = 100 * burden.area_fraction / largest if largest else 0
    return (
        f'<td class="number"><b>{html.escape(tables.share(burden.area_fraction))}</b> '
        f'<small>{burden.count}</small><i style="--bar:{bar:.0f}%"></i></td>'
    )


def _counts(rows: Sequence[Row]) -> str:
    """Return how many photographs there are, and what is the matter with some."""
    failed = sum(row.status == "failed" for row in rows)
    warned = sum(bool(row.quality) for row in rows)
    found = sum(any(burden.count for burden in row.burdens.values()) for row in rows)
    parts = [_photographs(len(rows)), f"{found} with lesions"]
    parts += [f"{warned} of doubtful quality"] * bool(warned)
    parts += [f'<strong class="bad">{failed} failed</strong>'] * bool(failed)
    return ", ".join(parts)


def _photographs(count: int) -> str:
    return "1 photograph" if count == 1 else f"{count} photographs"


def _colour(lesion: Lesion) -> str:
    return "#{:02x}{:02x}{:02x}".format(*lesion.colour)


def _link(path: str) -> str:
    """Return a relative path as a URL that needs no escaping in HTML; undecodable bytes survive."""
    return quote(os.fsencode(path), safe="/~")


def _text(text: str) -> str:
    """Return a text in which undecodable bytes are escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _asset(name: str) -> str:
    return resources.files("foveate.writers").joinpath("assets", name).read_text("utf-8")
