"""One photograph's result -> its files, one lesion at a time.

Knows:   which files belong to a photograph, in which order they are written, and when a result is complete.
Ignores: how each is encoded.

The regions' JSON is written last and removed first: where it lies, everything else of that photograph lies
too. Memory beside the photograph: two maps and their regions' labels, then one copy to draw on; masks wait as
bits.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveate import lesions
from foveate.analysis import regions
from foveate.errors import OutputError
from foveate.geometry import stitching
from foveate.lesions import Lesion
from foveate.version import version
from foveate.writers import contours, extra, files, maps, overlays, page, places, tables
from foveate.writers.overlays import Caption, Mark
from foveate.writers.page import Sketch
from foveate.writers.results import NOTICE, OBJECTS, Drawn, Finding, Order, Row, Tally, minimum_area

ABREAST = 2
"""Lesions that are encoded and measured side by side: most of it is done outside of Python's lock. More would
take more memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """What is kept of one lesion once its map and mask are on the disk."""

    tally: Tally
    mark: Mark
    sketch: Sketch
    drawn: Drawn | None
    """What DICOM objects show of it, where they are asked for."""


def prepare(out: Path) -> None:
    """Make the output folder, prove that it can be written, and remove what a killed run left half-done.

    Raises:
        OutputError: it cannot be written.
    """
    files.prove(out)
    files.sweep(out, deep=False)  # people give folders that hold other things, too: only our own are searched
    for folder in places.FOLDERS:
        files.sweep(out / folder)


def earlier(out: Path, order: Order, digest: str) -> Row | None:
    """Return the row of a result that lies there already and would come out the same again, or None.

    Same: the photograph's digest, the order in all its parts, and Foveate's version; and every file is there.

    Args:
        out: the output folder.
        order: what is asked for now.
        digest: SHA-256 of the photograph as it is now.
    """
    content = _read(out, order.key)
    row = None if content is None else _vouched(content, order, digest)
    if row is None:
        return None
    objects = () if order.objects is None else order.objects.kinds
    expected = places.of(order.key, tuple(row.burdens), maps.SUFFIX[order.format], objects)
    return row if all(places.within(out, path).is_file() for path in expected) else None


def vouched(text: bytes, order: Order, digest: str) -> Row | None:
    """Return the row of a result whose regions' JSON is given, if it would come out the same again, or None.

    For results that lie in no folder of this machine: the JSON, written last, vouches for the other files.

    Args:
        text: the regions' JSON.
        order: what is asked for now.
        digest: SHA-256 of the photograph as it is now.
    """
    content = _parsed(text, order.key)
    return None if content is None else _vouched(content, order, digest)


def others(out: Path, order: Order, digest: str) -> tuple[Row, ...]:
    """Return the rows of all other photographs whose results lie there, by key.

    Args:
        out: the output folder.
        order: what is asked for one photograph.
        digest: SHA-256 of that photograph.

    Raises:
        OutputError: results of another model, version or settings lie there, or of another photograph under
            the same key: they do not belong into one table.
    """
    folder, rows = out / "regions", []
    for path in sorted(folder.rglob("*.json")):
        key = path.relative_to(folder).with_suffix("").as_posix()
        content = _read(out, key)
        if content is None:
            continue
        if key == order.key and content["photograph"]["sha256"] != digest:
            raise OutputError(
                f"{files.shown(path)}: belongs to another photograph; choose another name or folder"
            )
        if key != order.key and not _as_ordered(content, order):
            raise OutputError(
                f"{files.shown(path)}: made by another model or with other settings; choose another folder"
            )
        if key != order.key:
            rows.append(tables.row_of(content, key))
    return tuple(rows)


def write(out: Path, finding: Finding) -> Row:
    """Write everything of one photograph and return its row of the summary.

    What an earlier run wrote under the same key goes first.

    Raises:
        OutputError: a file cannot be written; those written so far stay, the regions' JSON is not among them.
    """
    key, pixels = finding.order.key, finding.photograph.pixels
    clear(out, key, finding.lesions)
    wanted = [one for one in lesions.of(finding.probabilities.lesions) if one.code in finding.decisions]
    with ThreadPoolExecutor(ABREAST, "foveate-writing") as pool:
        made_of = pool.map(lambda one: _write_lesion(out, finding, one), wanted)
        written = {one.code: made for one, made in zip(wanted, made_of, strict=True)}
    content = tables.document(finding, {code: one.tally for code, one in written.items()})
    _write_overlay(out, finding, content, [one.mark for one in written.values()])
    outlines, photo, thumbnail = places.page_files(key)
    for path, picture in zip((photo, thumbnail), page.pictures(pixels), strict=True):
        _put(out, path, picture)
    _put(out, outlines, page.script(content, [one.sketch for one in written.values()]))
    kept = {code: one.drawn for code, one in written.items()}
    for kind, made in extra.encoded(finding, kept, content["field"]["area_px"]).items():
        _put(out, places.object_file(key, kind), made)
    _put(out, places.regions_file(key, ".csv"), tables.to_csv(content))
    _put(out, places.regions_file(key, ".json"), tables.to_json(content))
    return tables.row_of(content, key)


def clear(out: Path, key: str, codes: Sequence[str] = ()) -> None:
    """Remove what an earlier run wrote for a photograph: the JSON, which vouches for the rest, first.

    Args:
        out: the output folder.
        key: the photograph's.
        codes: lesions whose files go even where no JSON names them, as after a run that was killed.

    Raises:
        OutputError: a file cannot be removed.
    """
    content = _read(out, key) or {}
    files.remove(places.within(out, places.regions_file(key, ".json")))
    named = content.get("lesions", {})
    every = {
        *codes,
        *(code for code in named if code.isalnum()),
    }  # whatever the JSON says, we stay in our folders
    for suffix in sorted(set(maps.SUFFIX.values())):
        for path in places.of(key, sorted(every), suffix, OBJECTS):
            files.remove(places.within(out, path))


def _write_lesion(out: Path, finding: Finding, lesion: Lesion) -> _Written:
    """Write one lesion's map and mask; find its regions and their outlines."""
    order, decision = finding.order, finding.decisions[lesion.code]
    stored = maps.quantise(stitching.native(finding.probabilities, lesion.code), order.format)
    _put(
        out,
        places.map_file(order.key, lesion.code, maps.SUFFIX[order.format]),
        maps.encode(stored, order.format),
    )
    level = maps.level(decision.threshold, order.format)
    smallest = minimum_area(decision, finding.probabilities.frame)
    found = regions.find(stored, level, lesion.code, smallest, finding.photograph.spacing)
    mask = stored >= level
    levels = extra.levels(stored, order)
    del stored
    _put(out, places.mask_file(order.key, lesion.code), maps.encode_mask(mask))
    tally = Tally(
        decision=decision,
        level=level,
        minimum_area=smallest,
        mask_px=int(np.count_nonzero(mask)),
        regions=found,
    )
    traced = contours.trace(mask, found)
    return _Written(
        tally=tally,
        mark=overlays.mark(traced, lesion),
        sketch=page.sketch(traced, lesion),
        drawn=extra.drawn(tally, mask, levels, order),
    )


def _write_overlay(out: Path, finding: Finding, content: tables.Document, marks: Sequence[Mark]) -> None:
    maker, pixels = finding.order.maker, finding.photograph.pixels
    captions = [
        Caption(lesion=one.lesion, text=tables.caption(content["lesions"][one.lesion.code])) for one in marks
    ]
    notice = f"Foveate {version()}, model {maker.name} {maker.version}. {NOTICE}"
    drawn = overlays.draw(pixels, marks, overlays.legend(pixels.shape[1], captions, notice))
    _put(out, places.overlay_file(finding.order.key), overlays.jpeg(drawn))


def _put(out: Path, relative: str, content: bytes) -> None:
    files.write(places.within(out, relative), content)


def _as_ordered(content: tables.Document, order: Order) -> bool:
    """Say whether a result was made by the model, settings, format and version that an order asks for."""
    wanted = {
        "foveate": version(),
        "settings": tables.plain(order.settings),
        "format": order.format,
        "model": tables.model(order.maker),
    }
    return wanted.items() <= content.items() and content.get("dicom") == tables.objects(order)


def _vouched(content: tables.Document, order: Order, digest: str) -> Row | None:
    row = tables.row_of(content, order.key) if _as_ordered(content, order) else None
    return row if row is not None and (row.name, row.digest) == (order.name, digest) else None


def _read(out: Path, key: str) -> tables.Document | None:
    """Return a photograph's JSON, or None where none lies or it is none of ours."""
    path = places.within(out, places.regions_file(key, ".json"))
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutputError(files.refusal(path, error)) from error
    return _parsed(text, key)


def _parsed(text: bytes, key: str) -> tables.Document | None:
    """Return a photograph's JSON, or None where it is none of ours."""
    try:
        content: tables.Document = json.loads(text)
        tables.row_of(content, key)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return content
