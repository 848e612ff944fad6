"""The burden by subfield of the ETDRS grid as CSV.

Knows:   the columns, which docs/http-api.md specifies.
Ignores: how lesions are counted; `review.measures` does that.
"""

from collections.abc import Iterable, Iterator

from foveate.server.review.etdrs import GridBurden, LesionBurden
from foveate.writers import tables

COLUMNS = (
    "photograph",
    "eye",
    "field",
    "field_px",
    "lesion",
    "regions",
    "area_px",
    "area_mm2",
    "mm_per_px",
    "scale_from",
    "placed_by_program",
)


def etdrs_csv(burdens: Iterable[tuple[str, GridBurden]]) -> bytes:
    """Return a row for each photograph, subfield and lesion.

    `mm_per_px` and `area_mm2` follow a rule of thumb where `scale_from` is fovea_to_disc.
    `placed_by_program` names what nobody has moved: fovea, disc, fovea;disc, or nothing.

    Args:
        burdens: pairs of a photograph's name in the table and the burden of its grid.
    """
    rows = (row for name, burden in burdens for row in _rows(name, burden))
    return tables.csv_bytes([COLUMNS, *rows])


def _rows(name: str, burden: GridBurden) -> Iterator[tuple[object, ...]]:
    photograph, scale = tables.without_formula(name), burden.mm_per_px
    placed = ";".join(burden.placed_by_program)
    for field, content in burden.fields.items():
        for lesion, in_field in content.lesions.items():
            yield (
                *(photograph, burden.eye, field, content.pixels, lesion),
                *_figures(in_field, scale),
                *(f"{scale:.6f}", burden.scale_from, placed),
            )


def _figures(burden: LesionBurden, scale: float) -> tuple[object, ...]:
    """Return the number of regions, the area in px and the area in square millimetres."""
    return burden.count, burden.area_px, f"{burden.area_px * scale**2:.9f}"
