"""Regions and lesion loads as JSON and CSV.

Knows:   columns, keys, units, and the format of numbers and names.
Ignores: how regions are segmented.

In the code, points are (row, column). Only here and in the page they become x (to the right) and y (down).

CSV: UTF-8, comma, RFC 4180 quoting, lines end with '\\n'. A text that a spreadsheet would run as a formula
(it begins with = + - @, tab or line break) gets an apostrophe in front, as spreadsheets themselves do; JSON
holds it unchanged. A file name that is not valid Unicode is written with escapes, as in '\\udce9.jpg'.
"""

import hmac
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from foveate import lesions
from foveate.geometry import field_of_view
from foveate.types import Box, Field, Photograph, Region
from foveate.version import version
from foveate.writers import maps, result_paths
from foveate.writers.dicom_extra import object_files
from foveate.writers.results import (
    NOTICE,
    LesionLoad,
    LesionSummary,
    PhotographResult,
    PredictRequest,
    Provenance,
    SummaryRow,
)

FRAME = "EXIF-oriented, origin top left, x to the right, y down, pixel centres at +0.5"
"""How coordinates in the JSON are defined."""

COLUMNS = (
    *("id", "lesion", "area_px", "area_mm2", "centroid_x", "centroid_y"),
    *("box_x", "box_y", "box_width", "box_height", "mean_probability", "max_probability"),
)
"""Columns of a photograph's regions; area_mm2 is empty if the spacing is unknown."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters with which a formula may begin in a spreadsheet (OWASP, 'CSV Injection')."""

Document = dict[str, Any]
"""A photograph's JSON: plain values only."""


def document(result: PhotographResult, summaries: Mapping[str, LesionSummary]) -> Document:
    """Return a photograph's JSON: its whole result as plain values.

    Args:
        result: the photograph's result.
        summaries: lesion code -> its regions.
    """
    photograph, request = result.photograph, result.request
    height, width = photograph.shape
    rows, columns = result.probabilities.frame.scale
    field_px = field_of_view.area(result.field)
    objects = dicom_entry(request)
    return {
        "foveate": version(),
        "notice": NOTICE,
        "photograph": {
            "name": request.name,
            "sha256": photograph.digest,
            "width": width,
            "height": height,
            "spacing_mm": photograph.spacing,
            **_acquisition(photograph),
        },
        "frame": FRAME,
        "field": _disc(result.field) | {"area_px": field_px},
        "looked_at": _rectangle(result.probabilities.frame.box)
        | {"model_px_per_px": {"x": round(columns, 6), "y": round(rows, 6)}},
        "quality": list(result.quality),
        "model": model_entry(request.provenance),
        "settings": json_values(request.settings),
        "format": request.format,
        **({} if objects is None else {"dicom": objects | {"files": [*object_files(request).values()]}}),
        "lesions": {
            code: _lesion_entry(result, code, summary, field_px) for code, summary in summaries.items()
        },
        "regions": [_region_entry(region) for summary in summaries.values() for region in summary.regions],
    }


def dicom_entry(request: PredictRequest) -> Document | None:
    """Return which DICOM objects are requested, and whether they name the patient; None if none are."""
    objects = request.objects
    if objects is None:
        return None
    secret = None if objects.secret is None else hmac.digest(objects.secret, b"foveate", "sha256").hex()[:16]
    return {"objects": list(objects.kinds), "deidentified_by": secret}


def _acquisition(photograph: Photograph) -> Document:
    """Return what a DICOM object states about the eye; an empty entry for other photographs."""
    origin = photograph.origin
    if origin is None:
        return {}
    return {
        "laterality": origin.laterality,
        "field_of_view_degrees": origin.field_degrees,
        "frame": origin.frame,
    }


def model_entry(provenance: Provenance) -> Document:
    """Return the entry of the model that made a result."""
    return {"name": provenance.name, "version": provenance.version, "sha256": provenance.digest}


def to_json(content: Document) -> bytes:
    """Encode a photograph's JSON: indented, each region on a line of its own."""
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
                "" if region["area_mm2"] is None else f"{region['area_mm2']:.9f}",
                f"{centroid['x']:.2f}",
                f"{centroid['y']:.2f}",
                *box.values(),
                f"{region['mean_probability']:.4f}",
                f"{region['max_probability']:.4f}",
            )
        )
    return csv_bytes(lines)


def row_of(content: Document) -> SummaryRow:
    """Return a photograph's row of the summary, from its JSON.

    Raises:
        KeyError, TypeError, AttributeError: the JSON has another structure.
    """
    return SummaryRow(
        name=content["photograph"]["name"],
        status="ok",
        quality=tuple(content["quality"]),
        digest=content["photograph"]["sha256"],
        loads={
            code: LesionLoad(
                count=entry["count"],
                area_px=entry["area_px"],
                area_fraction=entry["area_fraction"],
                area_mm2=entry["area_mm2"],
            )
            for code, entry in content["lesions"].items()
        },
    )


def summary(rows: Iterable[SummaryRow], codes: Sequence[str]) -> bytes:
    """Return summary.csv: a row for each photograph, failures included.

    Args:
        rows: in the requested order.
        codes: codes of the lesions that get columns.
    """
    return b"".join(summary_lines(rows, codes))


def summary_lines(rows: Iterable[SummaryRow], codes: Sequence[str]) -> Iterator[bytes]:
    """Yield summary.csv line by line, its header first, so that millions of rows need little memory.

    Args:
        rows: in the requested order.
        codes: codes of the lesions that get columns.
    """
    quantities = ("count", "area_px", "area_fraction")
    columns = [f"{code}_{quantity}" for code in codes for quantity in quantities]
    yield csv_bytes([["photograph", "status", "error", "quality", *columns]])
    for row in rows:
        numbers: list[object] = []
        for code in codes:
            load = row.loads.get(code)
            numbers += ["", "", ""] if load is None else _load_values(load)
        name, error = without_formula(row.name), without_formula(row.error)
        yield csv_bytes([[name, row.status, error, ";".join(row.quality), *numbers]])


def caption(lesion: Document) -> str:
    """Return a lesion's text for a legend, from its entry in the JSON: name, number, area."""
    if not lesion["count"]:
        return f"{lesion['name']}: none"
    absolute = "" if lesion["area_mm2"] is None else f"{square_millimetres(lesion['area_mm2'], 2)} sq mm, "
    return f"{lesion['name']}: {lesion['count']} · {absolute}{percentage(lesion['area_fraction'])} of field"


def square_millimetres(area_mm2: float, decimals: int) -> str:
    """Return an area, mm², without its unit, with two digits that are not 0 where fewer decimals show none.

    Args:
        area_mm2: the area, 0 or more.
        decimals: smallest number of decimals.
    """
    if area_mm2 > 0:
        decimals = max(decimals, 1 - math.floor(math.log10(area_mm2)))
    return f"{area_mm2:.{decimals}f}"


def percentage(fraction: float) -> str:
    """Return a share of the field in per cent, with two decimals; only a share of exactly 0 is shown as 0."""
    return "<0.01 %" if 0 < fraction < 0.00005 else f"{fraction:.2%}".replace("%", " %")


def without_formula(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def utf8(text: str) -> bytes:
    """Encode a text; undecodable bytes of a file name become escapes, which are valid in JSON."""
    return text.encode("utf-8", "backslashreplace")


def json_values(settings: Mapping[str, object]) -> Document:
    """Return settings as they are after a round trip through JSON: lists for tuples, strings for keys.

    Raises:
        TypeError: JSON cannot hold a value.
    """
    values: Document = json.loads(json.dumps(dict(settings), sort_keys=True))
    return values


def _lesion_entry(result: PhotographResult, code: str, summary: LesionSummary, field_px: int) -> Document:
    """Return a lesion's entry.

    Fractions have 8 decimals, so that one pixel of 100 million is not 0. Areas in mm² have 9, so that one
    pixel of the smallest spacing (`SMALLEST_PIXEL_MM`) is not 0.
    """
    request, spacing = result.request, result.photograph.spacing
    area_px = sum(region.area_px for region in summary.regions)
    evidence = summary.decision.minimum_evidence
    return {
        "name": lesions.of([code])[0].name,
        "threshold": summary.decision.threshold,
        "stored_level": summary.level,
        "stored_maximum": maps.max_level(request.format),
        "connectivity": 8,
        "minimum_area_model_px": summary.decision.minimum_area,
        "minimum_area_px": summary.minimum_area,
        **({"minimum_evidence_model_px": evidence} if evidence else {}),
        "count": len(summary.regions),
        "area_px": area_px,
        "area_fraction": round(area_px / field_px, 8),
        "area_mm2": None if spacing is None else round(area_px * spacing**2, 9),
        "mask_px": summary.mask_px,
        "map": result_paths.map_file(request.name, code, maps.SUFFIX[request.format]),
        "mask": result_paths.mask_file(request.name, code),
    }


def _region_entry(region: Region) -> Document:
    """Return a region's entry, with (x, y) in place of (row, column)."""
    row, column = region.centroid
    return {
        "id": region.id,
        "lesion": region.lesion,
        "area_px": region.area_px,
        "area_mm2": None if region.area_mm2 is None else round(region.area_mm2, 9),
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


def _load_values(load: LesionLoad) -> list[object]:
    return [load.count, load.area_px, f"{load.area_fraction:.8f}"]


def csv_bytes(lines: Iterable[Sequence[object]]) -> bytes:
    """Return lines of cells as CSV; cells with text from users must go through `without_formula` first."""
    return utf8("".join(",".join(_quoted(str(cell)) for cell in line) + "\n" for line in lines))


def _quoted(cell: str) -> str:
    """Quote a cell if necessary; Python's csv would not quote a lone '\\r', as our lines end with '\\n'."""
    if not any(character in cell for character in ',"\r\n'):
        return cell
    return '"' + cell.replace('"', '""') + '"'
