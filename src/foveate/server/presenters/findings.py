"""Counts, regions and burdens -> bodies of the API.

Knows:   how many decimals a figure has.
Ignores: how anything is counted.
"""

from collections.abc import Mapping, Sequence

from foveate.server import schemas
from foveate.server.review import etdrs
from foveate.server.review.etdrs import FieldBurden, GridBurden
from foveate.server.review.measures import JudgedRegion, LesionLevelCounts, RegionAtPixel
from foveate.server.storage.database import Record
from foveate.types import Box


def counts(record: Record, lesions: Mapping[str, LesionLevelCounts]) -> schemas.Counts:
    """Return the counts of all lesions of a photograph at every level of their maps."""
    return schemas.Counts(
        revision=record.revision,
        field_px=record.predicted.field.area_px,
        spacing_mm=record.spacing_mm,
        lesions={lesion: _counts(levels) for lesion, levels in lesions.items()},
    )


def _counts(levels: LesionLevelCounts) -> schemas.LesionCounts:
    return schemas.LesionCounts(
        minimum_area_px=levels.minimum_area_px,
        **levels.counts.model_dump(),
        added_px=levels.added_px,
        erased_px=levels.erased_px,
    )


def regions(record: Record, page: Sequence[JudgedRegion], total: int) -> schemas.Regions:
    """Return a page of a list of `total` regions."""
    return schemas.Regions(
        total=total, revision=record.revision, regions=[_region(judged) for judged in page]
    )


def _region(judged: JudgedRegion) -> schemas.RegionRow:
    region, (row, column) = judged.listed.region, judged.listed.inside
    y, x = region.centroid
    return schemas.RegionRow(
        id=region.id,
        lesion=region.lesion,
        level=judged.level,
        area_px=region.area_px,
        area_mm2=None if region.area_mm2 is None else round(region.area_mm2, 9),
        centroid=schemas.Point(x=round(x, 2), y=round(y, 2)),
        inside=schemas.Pixel(x=column, y=row),
        box=rectangle(region.box),
        mean_probability=round(region.mean_probability, 4),
        max_probability=round(region.max_probability, 4),
        verdict=judged.verdict,
    )


def region_at(
    lesion: str, level: int, pixel: tuple[int, int], region: RegionAtPixel
) -> schemas.RegionAtPixel:
    """Return the region of a lesion at a level that holds a pixel, given as (row, column)."""
    row, column = pixel
    return schemas.RegionAtPixel(
        lesion=lesion,
        level=level,
        area_px=int(region.pixels.pixels.sum()),
        box=rectangle(region.pixels.box),
        inside=schemas.Pixel(x=column, y=row),
        verdict=region.verdict,
    )


def grid_burden(burden: GridBurden) -> schemas.GridBurden:
    """Return the lesions in the subfields of the ETDRS grid."""
    placed = schemas.GridBody.model_validate(burden.placed.model_dump())
    return schemas.GridBurden(
        fovea=placed.fovea,
        disc=placed.disc,
        eye=burden.eye,
        placed_by_program=burden.placed_by_program,
        mm_per_px=burden.mm_per_px,
        scale_from=burden.scale_from,
        radii_px=[round(radius / burden.mm_per_px, 1) for radius in etdrs.RADII_MM],
        disc_diameter_px=round(etdrs.DISC_MM / burden.mm_per_px, 1),
        fields={name: _field(field) for name, field in burden.fields.items()},
    )


def _field(field: FieldBurden) -> schemas.FieldBurden:
    return schemas.FieldBurden(
        pixels=field.pixels,
        lesions={
            lesion: {"count": burden.count, "area_px": burden.area_px}
            for lesion, burden in field.lesions.items()
        },
    )


def rectangle(box: Box) -> schemas.Rectangle:
    """Return a box in the form that the API uses."""
    height, width = box.shape
    return schemas.Rectangle(x=box.left, y=box.top, width=width, height=height)
