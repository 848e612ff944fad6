"""Routes of findings: counts, regions, the ETDRS grid.

Knows:   which figures exist, and for which layer.
Ignores: how they are counted.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from foveate.server import errors, schemas
from foveate.server.http.routes import Id, Services, refusals
from foveate.server.presenters import findings as present
from foveate.server.review import region_list
from foveate.server.review.checks import require_lesion
from foveate.server.review.measures import LayerName
from foveate.writers import maps

router = APIRouter(prefix="/api/photographs/{id}", tags=["findings"], responses=refusals(404, 409))

LesionCode = Annotated[schemas.LesionCode, Query()]

LevelNumber = Annotated[schemas.Level, Query()]


@router.get("/counts")
def counts(services: Services, id: Id, layer: LayerName = "corrected") -> schemas.Counts:
    """Return the counts at every level of each map."""
    record = services.done(id)
    lesions = {lesion: services.measures.level_counts(record, lesion, layer) for lesion in record.lesions}
    return present.counts(record, lesions)


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
    entries = region_list.sort(entries, sort, descending=order == "desc")
    page = services.measures.judged(record, entries[offset : offset + limit], level, layer)
    return present.regions(record, page, total=len(entries))


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
    region = services.measures.region_at(services.done(id), lesion, level, y, x, layer=layer)
    return present.region_at(lesion, level, (y, x), region)


@router.get("/grid")
def etdrs_burden(*, services: Services, id: Id) -> schemas.GridBurden:
    """Return the lesions in the subfields of the ETDRS grid."""
    return present.grid_burden(services.measures.grid_burden(services.done(id)))
