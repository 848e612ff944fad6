"""Routes of what was found: counts, regions, the ETDRS grid.

Knows:   which figures there are, of which layer.
Ignores: how they are counted.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Query
from jaxtyping import UInt8

from foveate.analysis import component_tree
from foveate.server.http import errors, listing, schemas
from foveate.server.http.listing import Listed
from foveate.server.http.routes import Here, Id, refusals
from foveate.server.http.routes.photographs import placed
from foveate.server.jobs.tasks import as_facts
from foveate.server.review import etdrs
from foveate.server.review.corrections import holds, level_of, region_at, require_lesion
from foveate.server.service import Service
from foveate.server.storage.database import Edit, Record
from foveate.types import Box, Field
from foveate.writers import contours, maps

router = APIRouter(prefix="/api/photographs/{id}", tags=["findings"], responses=refusals(404, 409))

LayerName = Literal["corrected", "model"]

OneLesion = Annotated[str, Query(pattern=r"^[A-Z0-9]{1,16}$")]

LevelNumber = Annotated[int, Query(ge=1, le=255)]


@router.get("/counts")
def counts(here: Here, id: Id, layer: LayerName = "corrected") -> schemas.Counts:
    """Return what each level of each map would give."""
    record = here.done(id)
    return schemas.Counts(
        revision=record.revision,
        field_px=record.facts["field"]["area_px"],
        spacing_mm=record.spacing_mm,
        lesions={lesion: _counts(here, record, lesion, layer) for lesion in record.facts["lesions"]},
    )


class _Held:
    """Counts that are kept in memory."""

    nbytes = 20_000

    def __init__(self, counts: schemas.LesionCounts) -> None:
        self.counts = counts


def _counts(here: Service, record: Record, lesion: str, layer: LayerName) -> schemas.LesionCounts:
    smallest = record.facts["lesions"][lesion]["minimum_area_px"]
    if layer == "model" or not here.corrections.is_corrected(record, lesion):
        told = here.store.counts(record.id, lesion)
        return schemas.LesionCounts.model_validate({"minimum_area_px": smallest} | told)

    def make() -> _Held:
        counted = component_tree.count(here.corrections.corrected(record, lesion), smallest)
        return _Held(schemas.LesionCounts(minimum_area_px=smallest, **as_facts(counted)))

    return here.memory.get((record.id, "counts", lesion, record.revision), make).counts


@router.get("/regions")
def regions(
    *,
    here: Here,
    id: Id,
    lesion: OneLesion | None = None,
    level: LevelNumber | None = None,
    threshold: Annotated[float | None, Query(gt=0, le=1, allow_inf_nan=False)] = None,
    sort: Literal["id", "area", "mean", "max"] = "id",
    order: Literal["asc", "desc"] = "asc",
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    layer: LayerName = "corrected",
) -> schemas.Regions:
    """List regions, of one lesion or of all."""
    record = here.done(id)
    if (level is not None or threshold is not None) and lesion is None:
        raise errors.invalid("say of which lesion the level is")
    if level is not None and threshold is not None:
        raise errors.invalid("give a level or a threshold, not both")
    if lesion is not None:
        require_lesion(record, lesion)
    if threshold is not None:
        level = maps.level(threshold, "png")
    codes = [lesion] if lesion is not None else list(record.facts["lesions"])
    found = [one for code in codes for one in listed(here, record, code, level, layer)]
    if sort != "id":
        found = listing.ordered(found, sort, descending=order == "desc")
    elif order == "desc":
        found.reverse()
    verdicts = here.corrections.verdicts(id)
    maps_of = {
        code: _Map(
            level=level or level_of(record.facts, record.thresholds, code),
            stored=stored_map(here, record, code, layer),
        )
        for code in codes
    }
    some = found[offset : offset + limit]
    return schemas.Regions(
        total=len(found),
        revision=record.revision,
        regions=[_region(record, one, maps_of[one.region.lesion], verdicts) for one in some],
    )


def listed(
    here: Service, record: Record, lesion: str, level: int | None = None, layer: LayerName = "corrected"
) -> tuple[Listed, ...]:
    """Return a lesion's regions; at the present level if none is given."""
    chosen = level or level_of(record.facts, record.thresholds, lesion)
    stored = stored_map(here, record, lesion, layer)
    smallest = record.facts["lesions"][lesion]["minimum_area_px"]
    corrected = layer == "corrected" and here.corrections.is_corrected(record, lesion)
    revision = record.revision if corrected else -1
    return here.memory.get(
        (record.id, "regions", lesion, chosen, revision, record.spacing_mm),
        lambda: listing.of(stored, chosen, lesion, smallest, record.spacing_mm),
    ).listed


def stored_map(here: Service, record: Record, lesion: str, layer: LayerName) -> UInt8[np.ndarray, "H W"]:
    """Return a lesion's map, levels 0 to 255: with what a person corrected in it, or the model's own."""
    return (here.corrections.corrected if layer == "corrected" else here.corrections.model)(record, lesion)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Map:
    """A lesion's map, and the level from which a pixel is lesion."""

    level: int
    stored: UInt8[np.ndarray, "H W"]


def _region(record: Record, one: Listed, seen: _Map, verdicts: list[Edit]) -> schemas.FoundRegion:
    region, (row, column) = one.region, one.inside
    near = [edit for edit in verdicts if edit.lesion == region.lesion and _in_box(edit, region.box)]
    verdict = None
    if near:
        pixels = region_at(seen.stored, seen.level, row, column)
        within = [edit for edit in near if pixels and holds(pixels, edit.told["y"], edit.told["x"])]
        verdict = within[-1].told["verdict"] if within else None
    y, x = region.centroid
    return schemas.FoundRegion(
        id=region.id,
        lesion=region.lesion,
        level=seen.level,
        area_px=region.area_px,
        area_mm2=None if region.area_mm2 is None else round(region.area_mm2, 6),
        centroid=schemas.Point(x=round(x, 2), y=round(y, 2)),
        inside=schemas.Pixel(x=column, y=row),
        box=rectangle(region.box),
        mean_probability=round(region.mean_probability, 4),
        max_probability=round(region.max_probability, 4),
        verdict=verdict,
    )


def _in_box(edit: Edit, box: Box) -> bool:
    return bool(box.top <= edit.told["y"] < box.bottom and box.left <= edit.told["x"] < box.right)


@router.get("/region")
def region(
    *,
    here: Here,
    id: Id,
    lesion: OneLesion,
    level: LevelNumber,
    x: Annotated[int, Query(ge=0, le=100_000)],
    y: Annotated[int, Query(ge=0, le=100_000)],
    layer: LayerName = "corrected",
) -> schemas.OneRegion:
    """Return the region at a pixel."""
    record = here.done(id)
    require_lesion(record, lesion)
    if not (x < record.width and y < record.height):
        raise errors.invalid(f"pixel ({x}, {y}) lies outside the photograph")
    found = region_at(stored_map(here, record, lesion, layer), level, y, x)
    if found is None:
        raise errors.not_found("region at that pixel")
    within = [
        edit
        for edit in here.corrections.verdicts(id)
        if edit.lesion == lesion and holds(found, edit.told["y"], edit.told["x"])
    ]
    return schemas.OneRegion(
        lesion=lesion,
        level=level,
        area_px=int(found.pixels.sum()),
        box=rectangle(found.box),
        inside=schemas.Pixel(x=x, y=y),
        verdict=within[-1].told["verdict"] if within else None,
    )


@router.get("/grid")
def etdrs_burden(*, here: Here, id: Id) -> schemas.GridBurden:
    """Return what lies in the fields of the ETDRS grid."""
    return grid_of(here, here.done(id))


def grid_of(here: Service, record: Record) -> schemas.GridBurden:
    """Return the burden of each field.

    Raises:
        Problem: no grid was placed.
    """
    if record.grid is None:
        raise errors.not_ready("no grid was placed; send {'grid': {'fovea': ..., 'disc': ...}} with PATCH")
    told = schemas.Grid(**record.grid)
    laid = placed(record, told)
    numbers = {lesion: _in_fields(here, record, lesion, laid) for lesion in record.facts["lesions"]}
    fields = etdrs.named(numbers, etdrs.visible(laid, _field(record), record.facts["field"]["area_px"]))
    return schemas.GridBurden(
        fovea=told.fovea,
        disc=told.disc,
        eye="right" if laid.is_right else "left",
        mm_per_px=round(laid.mm_per_px, 6),
        scale_from="fovea_to_disc" if record.spacing_mm is None else "spacing",
        radii_px=[round(radius / laid.mm_per_px, 1) for radius in etdrs.RADII_MM],
        disc_diameter_px=round(etdrs.DISC_MM / laid.mm_per_px, 1),
        fields={name: schemas.FieldBurden.model_validate(one) for name, one in fields.items()},
    )


def _in_fields(here: Service, record: Record, lesion: str, laid: etdrs.Grid) -> dict[str, list[int]]:
    found = [one.region for one in listed(here, record, lesion)]
    stored = here.corrections.corrected(record, lesion)
    level = level_of(record.facts, record.thresholds, lesion)
    counted = contours.trace(stored >= level, found).mask
    return {"count": etdrs.region_counts(laid, found), "area_px": etdrs.lesion_pixels(laid, counted)}


def _field(record: Record) -> Field:
    box, (row, column, radius) = record.facts["field"]["box"], record.facts["disc"]
    return Field(
        centre=(row, column),
        radius=radius,
        box=Box(top=box["y"], left=box["x"], bottom=box["y"] + box["height"], right=box["x"] + box["width"]),
    )


def rectangle(box: Box) -> schemas.Rectangle:
    """Return a box as the API has it."""
    height, width = box.shape
    return schemas.Rectangle(x=box.left, y=box.top, width=width, height=height)
