"""What is done with a photograph outside the server's own process: receive it, look at it, write its files.

Knows:   which calls of the house make which of a photograph's files.
Ignores: processes and queues: whoever calls it is told how far it is, and may raise.

These are the calls of the command line: results are the same bytes.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from foveate import lesions, photographs, writers
from foveate.analysis import component_tree, regions
from foveate.errors import FieldError, FoveateError, OutputError, PhotographError
from foveate.inference import batch
from foveate.inference.api import Model
from foveate.inference.pipeline import FieldChoice, Settings, segment
from foveate.lesions import Lesion
from foveate.server.storage import tiles
from foveate.server.storage.data_dir import Place
from foveate.server.storage.tiles import Pyramid
from foveate.types import Box, Decision, Field, Frame, Photograph, Probabilities
from foveate.version import version
from foveate.writers import Finding, Maker, Order, contours, files, maps, overlays, places, tables
from foveate.writers.overlays import Caption
from foveate.writers.results import NOTICE, Tally

Facts = dict[str, Any]
"""Plain values that JSON holds."""

THUMBNAIL = 256
"""Long side, px."""


class Refused(Exception):
    """A photograph that cannot be done: a code for programs and a line for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def receive(place: Place, pixels: int) -> Facts:
    """Read an upload whole, and make its tiles, so that it can be looked at from now on.

    Args:
        place: its folder.
        pixels: most that are decoded.

    Raises:
        Refused: 'too_many_pixels'; 'unreadable': it is no photograph that can be read; 'no_space'.
    """
    try:
        _require_size(place.upload, pixels)
        photograph = _read(place, pixels)
        tiles.pack_photograph(place.tiles, photograph.pixels)
        files.write(place.thumbnail, _thumbnail(photograph.pixels))
    except (FoveateError, MemoryError) as error:
        raise _refused(error, place) from error
    height, width = photograph.shape
    return {"sha256": photograph.digest, "width": width, "height": height}


def _require_size(path: Path, pixels: int) -> None:
    """Refuse a photograph that is too large by its header; what is wrong otherwise, reading it tells."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs: that is what we look for
            with Image.open(path, formats=("JPEG", "PNG", "TIFF")) as header:
                width, height = header.size
    except Image.DecompressionBombError:  # more than Pillow would ever decode
        width, height = pixels + 1, 1
    except (OSError, SyntaxError, ValueError):
        return
    if width * height > pixels:
        raise Refused(
            "too_many_pixels",
            f"it has more than the {pixels / 1e6:g} million pixels that are read; scale it down",
        )


def _thumbnail(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    scale = THUMBNAIL / max(picture.shape)
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return overlays.jpeg(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8))


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How one photograph is to be looked at."""

    key: str
    """What its files are called."""
    field: FieldChoice
    """'auto', 'full', or (row, column, radius), px of the photograph."""
    region: Any
    """Part of the photograph, as in `Settings.part`; None for the model's own."""
    pixels: int
    """Most that are decoded."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Look":
        """Read it from JSON, which knows no tuples."""
        where = told["field"]
        return cls(
            key=told["key"],
            field="full" if where == "full" else "auto" if where == "auto" else tuple(where),
            region=told["region"],
            pixels=told["pixels"],
        )


def look(place: Place, wanted: Look, model: Model, watch: Callable[[float], None]) -> Facts:
    """Find the lesions and write everything that `foveate predict` writes, the tiles and the counts.

    Args:
        place: the photograph's folder; its `results` appear as a whole.
        wanted: how.
        model: looks.
        watch: told the share that is done, up to 1; may raise to end it.

    Returns:
        The regions' JSON without the regions; 'disc', the field's (row, column, radius) unrounded; and
        'counts' of all levels by lesion.

    Raises:
        Refused: 'no_field', 'no_space', or 'refused'.
    """
    work = _emptied(place.folder / "work")
    try:
        photograph = _read(place, wanted.pixels)
        chosen = Settings(part=wanted.region, field=wanted.field)
        seen = segment(
            photograph, model.package, model.engine, chosen, watch=lambda share: watch(0.9 * share)
        )
        row = batch.save(seen, work, name=wanted.key)
        maker = batch.order(wanted.key, model.package, seen.engine, chosen, "png").maker
        writers.finish(work, [row], seen.probabilities.lesions, maker)
        facts: Facts = json.loads((work / places.regions_file(wanted.key, ".json")).read_bytes())
        stored = {
            code: maps.decode((work / told["map"]).read_bytes(), "png")
            for code, told in facts["lesions"].items()
        }
        tiles.pack_stack(place.map_tiles, [Pyramid(one) for one in stored.values()])
        facts["counts"] = {
            code: as_facts(component_tree.count(one, facts["lesions"][code]["minimum_area_px"]))
            for code, one in stored.items()
        }
        facts["disc"] = [*seen.field.centre, seen.field.radius]
        _keep(place, seen.probabilities, seen.field)
        _move(work, place.results)
    except (FoveateError, MemoryError) as error:
        raise _refused(error, place) from error
    del facts["regions"]
    return facts


def as_facts(counts: component_tree.Counts) -> Facts:
    """Return the counts of all levels as lists."""
    return {name: getattr(counts, name).tolist() for name in ("regions", "area_px", "mask_px")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """What files are to be made anew of a photograph that was looked at."""

    key: str
    facts: Facts
    """What `look` returned."""
    thresholds: Mapping[str, float]
    spacing: float | None
    """Millimetres that a pixel spans."""
    edits: Facts
    """Who corrected it and when; empty: nobody did."""
    corrected: Mapping[str, str]
    """Lesion -> its corrected map, a PNG's path; those that nobody corrected are not among them."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Writing":
        """Read it from JSON."""
        return cls(**told)

    @property
    def decisions(self) -> dict[str, Decision]:
        """Threshold and minimum area of each lesion."""
        return {
            code: Decision(threshold=self.thresholds[code], minimum_area=told["minimum_area_model_px"])
            for code, told in self.facts["lesions"].items()
        }


def write(place: Place, wanted: Writing, out: Path) -> None:
    """Write a photograph's files at other thresholds, and what a person made of them beside.

    Args:
        place: its folder.
        wanted: what.
        out: a folder that appears as a whole.

    Raises:
        Refused: 'no_space', or 'refused'.
    """
    work = _emptied(out.with_name(f"{out.name}.part"))
    try:
        finding = _finding(place, wanted)
        row = writers.write(work, finding)
        writers.finish(work, [row], finding.lesions, finding.order.maker)
        if wanted.edits:
            _write_corrected(work / "corrected", finding, wanted, place)
        _move(work, out)
    except (FoveateError, MemoryError) as error:
        raise _refused(error, place) from error


def _finding(place: Place, wanted: Writing) -> Finding:
    """Return what was seen, under other thresholds."""
    facts = wanted.facts
    probabilities, field = _kept(place)
    maker = Maker(
        name=facts["model"]["name"], version=facts["model"]["version"], digest=facts["model"]["sha256"]
    )
    settings = facts["settings"] | {"thresholds": dict(wanted.thresholds)}
    return Finding(
        order=Order(name=wanted.key, key=wanted.key, maker=maker, settings=settings),
        photograph=replace(_read(place, photographs.LIMIT_PIXELS), spacing=wanted.spacing),
        field=field,
        probabilities=probabilities,
        decisions=wanted.decisions,
        quality=tuple(facts["quality"]),
    )


def _write_corrected(out: Path, finding: Finding, wanted: Writing, place: Place) -> None:
    """Write masks, overlay and tables as a person left them."""
    pixels, tallies, marks, captions = finding.photograph.pixels, {}, [], []
    for lesion in lesions.of(finding.lesions):
        stored = corrected(place, wanted, lesion.code)
        mask, tally = _tally(stored, lesion, wanted, finding)
        tallies[lesion.code] = tally
        files.write(out / places.mask_file(wanted.key, lesion.code), maps.encode_mask(mask))
        marks.append(overlays.mark(contours.trace(mask, tally.regions), lesion))
    content = tables.document(finding, tallies)
    for one in marks:
        content["lesions"][one.lesion.code].pop("map")
        captions.append(Caption(lesion=one.lesion, text=tables.caption(content["lesions"][one.lesion.code])))
    maker = finding.order.maker
    notice = f"Foveate {version()}, model {maker.name} {maker.version}, corrected by hand. {NOTICE}"
    drawn = overlays.draw(pixels, marks, overlays.legend(pixels.shape[1], captions, notice))
    files.write(out / places.overlay_file(wanted.key), overlays.jpeg(drawn))
    files.write(out / places.regions_file(wanted.key, ".csv"), tables.to_csv(content))
    files.write(out / places.regions_file(wanted.key, ".json"), tables.to_json(content))
    told = json.dumps(wanted.edits, indent=2, ensure_ascii=False)
    files.write(out / "corrections" / f"{wanted.key}.json", tables.utf8(told))


def export(place: Place, out: Path) -> None:
    """Write the photograph as PNG: the same pixels upright, and none of the file's metadata.

    Raises:
        Refused: 'no_space', or 'refused'.
    """
    try:
        pixels = _read(place, photographs.LIMIT_PIXELS).pixels
        files.write(out, maps.picture(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR).astype(np.uint8), ".png", []))
    except (FoveateError, MemoryError) as error:
        raise _refused(error, place) from error


def corrected(place: Place, wanted: Writing, lesion: str) -> UInt8[np.ndarray, "H W"]:
    """Return a lesion's map with corrections: the model's own where nobody corrected it."""
    path = Path(wanted.corrected.get(lesion) or place.map_file(wanted.key, lesion))
    return maps.decode(path.read_bytes(), "png")


def _tally(
    stored: UInt8[np.ndarray, "H W"], lesion: Lesion, wanted: Writing, finding: Finding
) -> tuple[np.ndarray, Tally]:
    told, decision = wanted.facts["lesions"][lesion.code], finding.decisions[lesion.code]
    level = maps.level(decision.threshold, "png")
    smallest = told["minimum_area_px"]
    mask = stored >= level
    return mask, Tally(
        decision=decision,
        level=level,
        minimum_area=smallest,
        mask_px=int(np.count_nonzero(mask)),
        regions=regions.find(stored, level, lesion.code, smallest, finding.photograph.spacing),
    )


def _read(place: Place, pixels: int) -> Photograph:
    return photographs.read(place.upload, limit=pixels)


def _keep(place: Place, probabilities: Probabilities, field: Field) -> None:
    """Keep what writing the files again takes; the maps are mostly 0 and pack well."""
    frame = probabilities.frame
    with files.replaced(place.seen) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            lesions=np.array(probabilities.lesions),
            maps=probabilities.maps,
            box=_corners(frame.box),
            canvas=np.array(frame.shape),
            shape=np.array(probabilities.shape),
            disc=np.array([*field.centre, field.radius]),
            lit=_corners(field.box),
        )


def _kept(place: Place) -> tuple[Probabilities, Field]:
    with np.load(place.seen, allow_pickle=False) as held:
        row, column, radius = held["disc"].tolist()
        height, width = held["canvas"].tolist()
        rows, columns = held["shape"].tolist()
        probabilities = Probabilities(
            lesions=tuple(held["lesions"].tolist()),
            maps=held["maps"],
            frame=Frame(box=_box(held["box"]), shape=(height, width)),
            shape=(rows, columns),
        )
        return probabilities, Field(centre=(row, column), radius=radius, box=_box(held["lit"]))


def _corners(box: Box) -> np.ndarray:
    return np.array([box.top, box.left, box.bottom, box.right])


def _box(corners: np.ndarray) -> Box:
    top, left, bottom, right = corners.tolist()
    return Box(top=top, left=left, bottom=bottom, right=right)


def _emptied(work: Path) -> Path:
    """Return a folder's path without what a killed process left there."""
    shutil.rmtree(work, ignore_errors=True)
    return work


def _move(work: Path, out: Path) -> None:
    """Let a folder appear under its name, in place of an older one."""
    try:
        if out.exists():
            aside = out.with_name(f"{out.name}.old")
            out.rename(aside)
            work.rename(out)
            shutil.rmtree(aside)
        else:
            work.rename(out)
    except OSError as error:
        raise OutputError(files.refusal(out, error)) from error


def _refused(error: FoveateError | MemoryError, place: Place) -> Refused:
    """Say why, without a word of where the server keeps things."""
    if isinstance(error, OutputError):
        return Refused("no_space", "the server's disk refuses to be written; see its log")
    if isinstance(error, MemoryError):
        return Refused("refused", "not enough memory to look at it; scale it down")
    code = "unreadable" if isinstance(error, PhotographError) else "refused"
    code = "no_field" if isinstance(error, FieldError) else code
    return Refused(code, str(error).removeprefix(f"{place.upload}: "))
