"""Regions and burdens as JSON and CSV.

Knows:   columns, keys, units, and how numbers and names are spelt.
Ignores: how regions were found.

Inside, places are (row, column); here, and only here and in the page, they become x (to the right) and y
(down).

CSV: UTF-8, comma, RFC 4180 quoting, lines end with '\\n'. A text that a spreadsheet would run as a formula
(it begins with = + - @, tab or line break) gets an apostrophe in front, as spreadsheets themselves do; JSON
holds it unchanged. A file name that is no valid Unicode is written with escapes, as in '\\udce9.jpg'.
"""

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from foveate import lesions
from foveate.geometry.field_of_view import mask
from foveate.types import Box, Field, Photograph, Region
from foveate.version import version
from foveate.writers import maps, places
from foveate.writers.results import NOTICE, Burden, Finding, Maker, Order, Row, Tally

FRAME = "EXIF-oriented, origin top left, x to the right, y down, pixel centres at +0.5"
"""How places in the JSON are to be read."""

COLUMNS = (
    *("id", "lesion", "area_px", "area_mm2", "centroid_x", "centroid_y"),
    *("box_x", "box_y", "box_width", "box_height", "mean_probability", "max_probability"),
)
"""Of a photograph's regions; area_mm2 is empty where the spacing is unknown."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet may take for the beginning of a formula (OWASP, 'CSV Injection')."""

Document = dict[str, Any]
"""A photograph's JSON: plain values only."""


def document(finding: Finding, tallies: Mapping[str, Tally]) -> Document:
    """Return all that is known of one photograph's result, as plain values."""
    photograph, order = finding.photograph, finding.order
    height, width = photograph.shape
    rows, columns = finding.probabilities.frame.scale
    field_px = area(finding.field)
    made = objects(order)
    return {
        "foveate": version(),
        "notice": NOTICE,
        "photograph": {
            "name": order.name,
            "sha256": photograph.digest,
            "width": width,
            "height": height,
            "spacing_mm": photograph.spacing,
            **_stated(photograph),
        },
        "frame": FRAME,
        "field": _disc(finding.field) | {"area_px": field_px},
        "looked_at": _rectangle(finding.probabilities.frame.box)
        | {"model_px_per_px": {"x": round(columns, 6), "y": round(rows, 6)}},
        "quality": list(finding.quality),
        "model": model(order.maker),
        "settings": plain(order.settings),
        "format": order.format,
        **({} if made is None else {"dicom": made}),
        "lesions": {code: _lesion(finding, code, tally, field_px) for code, tally in tallies.items()},
        "regions": [_region(region) for tally in tallies.values() for region in tally.regions],
    }


def objects(order: Order) -> Document | None:
    """Return which DICOM objects were asked for, and whether they name the patient; None where none were."""
    asked = order.objects
    if asked is None:
        return None
    secret = None if asked.secret is None else hmac.digest(asked.secret, b"foveate", "sha256").hex()[:16]
    return {"objects": list(asked.kinds), "deidentified_by": secret}


def _stated(photograph: Photograph) -> Document:
    """Return what a DICOM object states of the eye; nothing for other photographs."""
    origin = photograph.origin
    if origin is None:
        return {}
    return {
        "laterality": origin.laterality,
        "field_of_view_degrees": origin.field_degrees,
        "frame": origin.frame,
    }


def model(maker: Maker) -> Document:
    """Return who made a result."""
    return {"name": maker.name, "version": maker.version, "sha256": maker.digest}


def to_json(content: Document) -> bytes:
    """Return a photograph's JSON as UTF-8: indented, each region on a line of its own."""
    head = {key: value for key, value in content.items() if key != "regions"}
    text = json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False)
    regions = ",\n    ".join(json.dumps(region, allow_nan=False) for region in content["regions"])
    inner = f"\n    {regions}\n  " if regions else ""
    return utf8(f'{text[:-2]},\n  "regions": [{inner}]\n}}\n')


def to_csv(content: Document) -> bytes:
    """Return a photograph's regions as CSV."""
    lines: list[Sequence[object]] = [COLUMNS]
    for region in content["regions"]:
        centroid, box = region["centroid"], region["box"]
        lines.append(
            (
                region["id"],
                region["lesion"],
                region["area_px"],
                "" if region["area_mm2"] is None else f"{region['area_mm2']:.6f}",
                f"{centroid['x']:.2f}",
                f"{centroid['y']:.2f}",
                *box.values(),
                f"{region['mean_probability']:.4f}",
                f"{region['max_probability']:.4f}",
            )
        )
    return _csv(lines)


def row_of(content: Document, key: str) -> Row:
    """Return what the summary says of a photograph, from its JSON.

    Raises:
        KeyError, TypeError, AttributeError: the JSON is of another kind.
    """
    return Row(
        name=content["photograph"]["name"],
        status="ok",
        quality=tuple(content["quality"]),
        key=key,
        digest=content["photograph"]["sha256"],
        burdens={
            code: Burden(
                count=one["count"],
                area_px=one["area_px"],
                area_fraction=one["area_fraction"],
                area_mm2=one["area_mm2"],
            )
            for code, one in content["lesions"].items()
        },
    )


def summary(rows: Iterable[Row], codes: Sequence[str]) -> bytes:
    """Return summary.csv: a row for each photograph, failures included.

    Args:
        rows: in the order wanted.
        codes: of the lesions that get columns.
    """
    return b"".join(summary_lines(rows, codes))


def summary_lines(rows: Iterable[Row], codes: Sequence[str]) -> Iterator[bytes]:
    """Yield summary.csv line by line, its head first: millions of rows need not be held at once.

    Args:
        rows: in the order wanted.
        codes: of the lesions that get columns.
    """
    counted = [f"{code}_{what}" for code in codes for what in ("count", "area_px", "area_fraction")]
    yield _csv([["photograph", "status", "error", "quality", *counted]])
    for row in rows:
        numbers: list[object] = []
        for code in codes:
            burden = row.burdens.get(code)
            numbers += ["", "", ""] if burden is None else _numbers(burden)
        yield _csv([[guarded(row.name), row.status, guarded(row.error), ";".join(row.quality), *numbers]])


def caption(lesion: Document) -> str:
    """Return one lesion's line of a legend, from its entry in the JSON: name, number, area."""
    if not lesion["count"]:
        return f"{lesion['name']}: none"
    absolute = "" if lesion["area_mm2"] is None else f"{lesion['area_mm2']:.2f} sq mm, "
    return f"{lesion['name']}: {lesion['count']} · {absolute}{share(lesion['area_fraction'])} of field"


def share(fraction: float) -> str:
    """Return a share of the field for readers: two decimals of a per cent, and never 0 for what is there."""
    return "<0.01 %" if 0 < fraction < 0.00005 else f"{fraction:.2%}".replace("%", " %")


def guarded(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def utf8(text: str) -> bytes:
    """Encode; what is no Unicode (undecodable bytes of a name) becomes an escape, in JSON a valid one."""
    return text.encode("utf-8", "backslashreplace")


def plain(settings: Mapping[str, object]) -> Document:
    """Return settings as JSON gives them back: lists for tuples, strings for keys.

    Raises:
        TypeError: a value that JSON does not know.
    """
    found: Document = json.loads(json.dumps(dict(settings), sort_keys=True))
    return found


def area(field: Field) -> int:
    """Count the field's pixels, some rows at a time; rows below its box hold none."""
    box = field.box
    return sum(
        int(mask(field, Box(top=top, left=box.left, bottom=top + 256, right=box.right)).sum())
        for top in range(box.top, box.bottom, 256)
    )


def _lesion(finding: Finding, code: str, tally: Tally, field_px: int) -> Document:
    """Return one lesion's entry. Fractions to 8 decimals: one pixel of 100 million still shows."""
    order, spacing = finding.order, finding.photograph.spacing
    total = sum(region.area_px for region in tally.regions)
    return {
        "name": lesions.of([code])[0].name,
        "threshold": tally.decision.threshold,
        "stored_level": tally.level,
        "stored_maximum": maps.maximum(order.format),
        "connectivity": 8,
        "minimum_area_model_px": tally.decision.minimum_area,
        "minimum_area_px": tally.minimum_area,
        "count": len(tally.regions),
        "area_px": total,
        "area_fraction": round(total / field_px, 8),
        "area_mm2": None if spacing is None else round(total * spacing**2, 6),
        "mask_px": tally.mask_px,
        "map": places.map_file(order.key, code, maps.SUFFIX[order.format]),
        "mask": places.mask_file(order.key, code),
    }


def _region(region: Region) -> Document:
    """Return a region's entry: (row, column) becomes (x, y)."""
    row, column = region.centroid
    return {
        "id": region.id,
        "lesion": region.lesion,
        "area_px": region.area_px,
        "area_mm2": None if region.area_mm2 is None else round(region.area_mm2, 6),
        "centroid": {"x": round(column, 2), "y": round(row, 2)},
        "box": _rectangle(region.box),
        "mean_probability": round(region.mean_probability, 4),
        "max_probability": round(region.max_probability, 4),
    }


def _disc(field: Field) -> Document:
    row, column = field.centre
    return {
        "x": round(column, 2),
        "y": round(row, 2),
        "radius": round(field.radius, 2),
        "box": _rectangle(field.box),
    }


def _rectangle(box: Box) -> Document:
    height, width = box.shape
    return {"x": box.left, "y": box.top, "width": width, "height": height}


def _numbers(burden: Burden) -> list[object]:
    return [burden.count, burden.area_px, f"{burden.area_fraction:.8f}"]


def _csv(lines: Iterable[Sequence[object]]) -> bytes:
    return utf8("".join(",".join(_quoted(str(cell)) for cell in line) + "\n" for line in lines))


def _quoted(cell: str) -> str:
    """Quote a cell where need be; Python's csv would leave a lone '\\r' bare, as our lines end with '\\n'."""
    if not any(mark in cell for mark in ',"\r\n'):
        return cell
    return '"' + cell.replace('"', '""') + '"'
