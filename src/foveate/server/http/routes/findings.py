"""Routes of findings: counts, regions, the ETDRS grid.

Knows:   which figures exist, and for which layer.
Ignores: how they are counted.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Query
from jaxtyping import UInt8

from foveate.analysis import component_tree
from foveate.server import errors, schemas
from foveate.server.http.routes import Id, Services, refusals
from foveate.server.review import region_list
from foveate.server.review.checks import require_lesion
from foveate.server.review.current_counts import level_counts
from foveate.server.review.measures import LayerName
from foveate.server.review.region_list import ListedRegion, contains, region_at
from foveate.server.service import Service
from foveate.server.storage.counts import level_counts_of
from foveate.server.storage.database import Record
from foveate.server.storage.journal import Edit
from foveate.types import Box
from foveate.writers import maps

router = APIRouter(prefix="/api/photographs/{id}", tags=["findings"], responses=refusals(404, 409))

LesionCode = Annotated[schemas.LesionCode, Query()]

LevelNumber = Annotated[schemas.Level, Query()]


@router.get("/counts")
def counts(services: Services, id: Id, layer: LayerName = "corrected") -> schemas.Counts:
    """Return the counts at every level of each map."""
    record = services.done(id)
    return schemas.Counts(
        revision=record.revision,
        field_px=record.predicted.field.area_px,
        spacing_mm=record.spacing_mm,
        lesions={lesion: _counts(services, record, lesion, layer) for lesion in record.lesions},
    )


class CachedCounts:
    """Counts that are cached in memory."""

    nbytes = 30_000

    def __init__(self, counts: schemas.LesionCounts) -> None:
        self.counts = counts


def _counts(services: Service, record: Record, lesion: str, layer: LayerName) -> schemas.LesionCounts:
    smallest = record.lesions[lesion].minimum_area_px
    if layer == "model" or not services.corrections.is_corrected(record, lesion):
        stored_counts = level_counts_of(services.database, record.id, lesion)
        unchanged = [0] * component_tree.LEVELS
        return schemas.LesionCounts(
            minimum_area_px=smallest,
            **stored_counts.model_dump(),
            added_px=unchanged,
            erased_px=unchanged,
        )

    def make() -> CachedCounts:
        layer, thresholds = services.corrections.layer(record, lesion), range(1, component_tree.LEVELS)
        counts = component_tree.count_regions(layer.corrected.finest, smallest)
        return CachedCounts(
            schemas.LesionCounts(
                minimum_area_px=smallest,
                **level_counts(counts).model_dump(),
                added_px=[0, *map(layer.added_px, thresholds)],
                erased_px=[0, *map(layer.removed_px, thresholds)],
            )
        )

    return services.memory.get((record.id, "counts", lesion, record.revision), make).counts


@router.get("/regions")
def regions(
    *,
    services: Services,
    id: Id,
    lesion: LesionCode | None = None,
    level: LevelNumber | None = None,
    threshold: Annotated[schemas.Threshold | None, Query()] = None,
    sort: Literal["id", "area", "mean", "max"] = "id",
    order: Literal["asc", "desc"] = "asc",
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    layer: LayerName = "corrected",
) -> schemas.Regions:
    """List the regions of one lesion or of all lesions."""
    record = services.done(id)
    if (level is not None or threshold is not None) and lesion is None:
        raise errors.invalid("a level or threshold is of one lesion; give lesion, too")
    if level is not None and threshold is not None:
        raise errors.invalid("give a level or a threshold, not both")
    if lesion is not None:
        require_lesion(record, lesion)
    if threshold is not None:
        level = maps.level(threshold, "png")
    codes = [lesion] if lesion is not None else list(record.lesions)
    entries = [entry for code in codes for entry in services.measures.regions(record, code, level, layer)]
    if sort != "id":
        entries = region_list.sort(entries, sort, descending=order == "desc")
    elif order == "desc":
        entries.reverse()
    verdicts = services.corrections.verdicts(id)
    maps_of = {
        code: _Map(
            level=level or record.level(code),
            stored=services.measures.stored_map(record, code, layer),
        )
        for code in codes
    }
    page = entries[offset : offset + limit]
    return schemas.Regions(
        total=len(entries),
        revision=record.revision,
        regions=[_region(entry, maps_of[entry.region.lesion], verdicts) for entry in page],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Map:
    """A lesion's map, and the level from which a pixel is lesion."""

    level: int
    stored: UInt8[np.ndarray, "H W"]


def _region(entry: ListedRegion, stored: _Map, verdicts: list[Edit]) -> schemas.RegionRow:
    region, (row, column) = entry.region, entry.inside
    near = [edit for edit in verdicts if edit.lesion == region.lesion and _in_box(edit, region.box)]
    verdict = None
    if near:
        pixels = region_at(stored.stored, stored.level, row, column)
        within = [edit for edit in near if pixels and contains(pixels, edit.verdict.y, edit.verdict.x)]
        verdict = within[-1].verdict.verdict if within else None
    y, x = region.centroid
    return schemas.RegionRow(
        id=region.id,
        lesion=region.lesion,
        level=stored.level,
        area_px=region.area_px,
        area_mm2=None if region.area_mm2 is None else round(region.area_mm2, 9),
        centroid=schemas.Point(x=round(x, 2), y=round(y, 2)),
        inside=schemas.Pixel(x=column, y=row),
        box=rectangle(region.box),
        mean_probability=round(region.mean_probability, 4),
        max_probability=round(region.max_probability, 4),
        verdict=verdict,
    )


def _in_box(edit: Edit, box: Box) -> bool:
    return bool(box.top <= edit.verdict.y < box.bottom and box.left <= edit.verdict.x < box.right)


@router.get("/region")
def region(
    *,
    services: Services,
    id: Id,
    lesion: LesionCode,
    level: LevelNumber,
    x: Annotated[int, Query(ge=0, le=100_000)],
    y: Annotated[int, Query(ge=0, le=100_000)],
    layer: LayerName = "corrected",
) -> schemas.RegionAtPixel:
    """Return the region at a pixel."""
    record = services.done(id)
    require_lesion(record, lesion)
    if not (x < record.width and y < record.height):
        raise errors.invalid(f"pixel ({x}, {y}) lies outside the photograph")
    pixels = region_at(services.measures.stored_map(record, lesion, layer), level, y, x)
    if pixels is None:
        raise errors.not_found("region at that pixel", errors.BELOW_THRESHOLD)
    within = [
        edit
        for edit in services.corrections.verdicts(id)
        if edit.lesion == lesion and contains(pixels, edit.verdict.y, edit.verdict.x)
    ]
    return schemas.RegionAtPixel(
        lesion=lesion,
        level=level,
        area_px=int(pixels.pixels.sum()),
        box=rectangle(pixels.box),
        inside=schemas.Pixel(x=x, y=y),
        verdict=within[-1].verdict.verdict if within else None,
    )


@router.get("/grid")
def etdrs_burden(*, services: Services, id: Id) -> schemas.GridBurden:
    """Return the lesions in the fields of the ETDRS grid."""
    return services.measures.grid_burden(services.done(id))


def rectangle(box: Box) -> schemas.Rectangle:
    """Return a box in the form that the API uses."""
    height, width = box.shape
    return schemas.Rectangle(x=box.left, y=box.top, width=width, height=height)
