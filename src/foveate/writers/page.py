"""Write index.html, which shows every photograph beside its result in a browser, without any other program.

Knows:   what the page needs of each photograph.
Ignores: how lesions are segmented; the markup is in templates/, the page's script and style are in assets/.

The page holds one table row for each photograph and no picture, so that a page of a thousand photographs
opens immediately. The page loads the data of one photograph from page/: a display copy, a thumbnail, and a
script that holds only the outlines and regions as numbers. (A browser lets a page that it opens from disk
load pictures and scripts, but not JSON.) The page makes no network requests, and the folder can be moved or
sent as a whole.

Every external text, such as a photograph's name, is escaped.

Shape letters: H W photograph, h w display copy.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from foveate import lesions, templates
from foveate.geometry import canvas
from foveate.lesions import Lesion
from foveate.types import Region
from foveate.version import version
from foveate.wording import quantity
from foveate.writers import overlays, result_paths, tables
from foveate.writers.contours import Outline, Points, TracedMask
from foveate.writers.results import NOTICE, LesionLoad, Provenance, SummaryRow

DISPLAY_SIDE = 4320
"""Longest side of the display copy, px. Photographs of 12 megapixels (4288 px wide) keep their size; those of
100 megapixels are reduced to a size that a browser decodes easily."""

DISPLAY_QUALITY = 88
"""JPEG quality of the display copy: full colour resolution matters more than the finest grey levels."""

THUMBNAIL_SIDE = 160
"""Longest side of a thumbnail, px: twice the size in the table, for high-resolution screens."""

MAX_REGIONS = 2000
"""Number of regions per lesion that the page draws without stutter; the largest regions are drawn."""

QUALITY_TEXT = {
    "blur": "blurred",
    "colour": "odd colours",
    "exposure": "badly exposed",
    "cut": "field cut off",
    "small": "few pixels",
}
"""Quality code -> text on the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageLayer:
    """The regions of one lesion, as the page draws them."""

    lesion: Lesion
    regions: tuple[list[object], ...]
    """One list per region, the largest region first: id, area, centroid x y, box x y width height, mean and
    max probability, outlines. An outline is a flat list x, y, dx, dy, dx, dy ..., px of the photograph."""


def page_layer(traced: TracedMask, lesion: Lesion) -> PageLayer:
    """Return one lesion's regions with outlines simplified to the resolution of a screen."""
    tolerance = max(0.5, max(traced.mask.shape) / 8000)  # px; half a px of the display copy
    by_area = sorted(traced.outlines, key=lambda outline: (-outline.region.area_px, outline.region.id))
    regions = tuple(_region_values(outline, tolerance) for outline in by_area[:MAX_REGIONS])
    return PageLayer(lesion=lesion, regions=regions)


def photograph_script(content: tables.Document, layers: Sequence[PageLayer]) -> bytes:
    """Return the script that passes one photograph's data to the page.

    Args:
        content: the photograph's JSON.
        layers: one for each lesion.
    """
    photograph = content["photograph"]
    values = {
        "name": _readable(photograph["name"]),
        "width": photograph["width"],
        "height": photograph["height"],
        "spacing": photograph["spacing_mm"],
        "field": list(content["field"]["box"].values()),
        "quality": [QUALITY_TEXT.get(code, code) for code in content["quality"]],
        "lesions": [_layer_values(content["lesions"][layer.lesion.code], layer) for layer in layers],
    }
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return f"foveate(document.currentScript,{text})\n".encode("ascii")


def display_pictures(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[bytes, bytes]:
    """Return the display copy and the thumbnail as JPEG."""
    display = canvas.shrink(pixels, DISPLAY_SIDE)
    thumbnail = canvas.shrink(display, THUMBNAIL_SIDE)
    return overlays.jpeg(display, DISPLAY_QUALITY), overlays.jpeg(thumbnail, DISPLAY_QUALITY)


def index(rows: Sequence[SummaryRow], codes: Sequence[str], provenance: Provenance) -> bytes:
    """Return index.html.

    Args:
        rows: all photographs in the requested order, failures included.
        codes: codes of the lesions that get columns.
        provenance: the model.
    """
    max_fractions = _max_fractions(rows, codes)
    text = templates.render(
        "foveate.writers",
        "index.html",
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        notice=NOTICE,
        version=version(),
        provenance=provenance,
        photograph_count=quantity(len(rows), "photograph"),
        with_lesions=sum(any(load.count for load in row.loads.values()) for row in rows),
        doubtful=sum(bool(row.quality) for row in rows),
        failed=sum(row.status == "failed" for row in rows),
        columns=[_column(lesion) for lesion in lesions.of(codes)],
        rows=[_table_row(row, codes, max_fractions) for row in rows],
    )
    return tables.utf8(text)


def _region_values(outline: Outline, tolerance: float) -> list[object]:
    """Return one region in the form of `PageLayer.regions`."""
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
    """Return a simplified outline: its first point, then the step to each next point."""
    simple = cv2.approxPolyDP(points, tolerance, True).reshape(-1, 2)
    steps: list[int] = np.diff(simple, axis=0, prepend=np.zeros((1, 2), simple.dtype)).ravel().tolist()
    return steps


def _layer_values(entry: tables.Document, layer: PageLayer) -> tables.Document:
    """Return one lesion's layer with values from its entry in the photograph's JSON."""
    return _column(layer.lesion) | {
        "threshold": entry["threshold"],
        "count": entry["count"],
        "area": tables.percentage(entry["area_fraction"]),
        "regions": layer.regions,
    }


def _column(lesion: Lesion) -> tables.Document:
    """Return the values that identify a lesion on the page: code, name, colour, style."""
    return {
        "code": lesion.code,
        "name": lesion.name,
        "colour": "#{:02x}{:02x}{:02x}".format(*lesion.colour),
        "style": overlays.STYLES.get(lesion.code, "line"),
    }


def _max_fractions(rows: Sequence[SummaryRow], codes: Sequence[str]) -> dict[str, float]:
    """Return the largest share of the field that each lesion takes; it scales the bars."""
    return {
        code: max((row.loads[code].area_fraction for row in rows if code in row.loads), default=0.0)
        for code in codes
    }


def _table_row(row: SummaryRow, codes: Sequence[str], max_fractions: dict[str, float]) -> tables.Document:
    """Return what the template inserts for a photograph; the folder in its name is in small print."""
    folder, slash, file = row.name.rpartition("/")
    name = {"folder": folder + slash, "file": file}
    if row.status == "failed":
        return name | {"error": row.error}
    fractions = [f"{row.loads[code].area_fraction:g}" if code in row.loads else "-1" for code in codes]
    return name | {
        "error": None,
        "overlay": _link(result_paths.overlay_file(row.name)),
        "page_files": [_link(path) for path in result_paths.page_files(row.name)],
        "sort_values": " ".join(fractions),
        "warnings": [QUALITY_TEXT.get(code, code) for code in row.quality],
        "cells": [_cell(row.loads.get(code), max_fractions[code]) for code in codes],
    }


def _cell(load: LesionLoad | None, max_fraction: float) -> tables.Document | None:
    """Return a lesion's count, area and bar length; None for an empty cell."""
    if load is None:
        return None
    share = 100 * load.area_fraction / max_fraction if max_fraction else 0
    return {"count": load.count, "area": tables.percentage(load.area_fraction), "bar_percent": f"{share:.0f}"}


def _link(path: str) -> str:
    """Return a relative path as a URL that needs no escaping in HTML; undecodable bytes are preserved."""
    return quote(os.fsencode(path), safe="/~")


def _readable(text: str) -> str:
    """Return a text with undecodable bytes as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _asset(name: str) -> str:
    return resources.files("foveate.writers").joinpath("assets", name).read_text("utf-8")
