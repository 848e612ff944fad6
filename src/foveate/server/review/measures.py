"""The current regions and mask of each lesion, and the burden by ETDRS field.

Knows:   which map and level are current, and which lesions lie in each field of the grid.
Ignores: HTTP, and how corrections are made.

Shape letters: H W photograph.
"""

from typing import Literal

import numpy as np
from jaxtyping import UInt8

from foveate.server import schemas
from foveate.server.review import etdrs, region_list
from foveate.server.review.checks import require_grid
from foveate.server.review.corrections import Corrections
from foveate.server.review.region_list import ListedRegion
from foveate.server.storage.cache import MapCache
from foveate.server.storage.database import Record
from foveate.types import Box, Field
from foveate.writers import contours
from foveate.writers.contours import TracedMask

LayerName = Literal["corrected", "model"]
"""A lesion's map with corrections, or as the model made it."""


class PhotographMeasures:
    """Regions and burdens of all photographs."""

    def __init__(self, corrections: Corrections, memory: MapCache) -> None:
        self._corrections = corrections
        self._memory = memory

    def stored_map(
        self, record: Record, lesion: str, layer: LayerName = "corrected"
    ) -> UInt8[np.ndarray, "H W"]:
        """Return a lesion's map, levels 0 to 255."""
        read = self._corrections.corrected if layer == "corrected" else self._corrections.model
        return read(record, lesion)

    def regions(
        self, record: Record, lesion: str, level: int | None = None, layer: LayerName = "corrected"
    ) -> tuple[ListedRegion, ...]:
        """Return a lesion's regions at a level, 1 to 255; None: at its current level."""
        threshold_level = level or record.level(lesion)
        smallest = record.lesions[lesion].minimum_area_px
        corrected = layer == "corrected" and self._corrections.is_corrected(record, lesion)
        revision = record.revision if corrected else -1
        return self._memory.get(
            (record.id, "regions", lesion, threshold_level, revision, record.spacing_mm),
            lambda: region_list.list_regions(
                *(self.stored_map(record, lesion, layer), threshold_level, lesion, smallest),
                record.spacing_mm,
                model=self._corrections.model(record, lesion),
            ),
        ).listed

    def traced(self, record: Record, lesion: str) -> TracedMask:
        """Return a lesion's current mask without regions that are too small, and the outlines of the rest."""
        regions = [entry.region for entry in self.regions(record, lesion)]
        return contours.trace(self._corrections.mask(record, lesion), regions)

    def grid_burden(self, record: Record) -> schemas.GridBurden:
        """Return the burden of each field of the ETDRS grid.

        Raises:
            ServiceError: 'not_ready': no grid was placed.
        """
        require_grid(record)
        assert record.grid is not None
        body = schemas.GridBody.model_validate(record.grid.model_dump())
        grid = placed_grid(record, body)
        numbers = {lesion: self._in_fields(record, lesion, grid) for lesion in record.lesions}
        pixels = etdrs.visible_pixels(grid, field_of(record), record.predicted.field.area_px)
        return schemas.GridBurden(
            fovea=body.fovea,
            disc=body.disc,
            eye="right" if grid.is_right else "left",
            placed_by_program=etdrs.placed_by_program(record.grid, record.predicted),
            mm_per_px=grid.mm_per_px,
            scale_from="fovea_to_disc" if record.spacing_mm is None else "spacing",
            radii_px=[round(radius / grid.mm_per_px, 1) for radius in etdrs.RADII_MM],
            disc_diameter_px=round(etdrs.DISC_MM / grid.mm_per_px, 1),
            fields={
                name: schemas.FieldBurden.model_validate(entry)
                for name, entry in etdrs.by_field(numbers, pixels).items()
            },
        )

    def _in_fields(self, record: Record, lesion: str, grid: etdrs.Grid) -> dict[str, list[int]]:
        regions = [entry.region for entry in self.regions(record, lesion)]
        return {
            "count": etdrs.region_counts(grid, regions),
            "area_px": etdrs.lesion_pixels(grid, self.traced(record, lesion).mask),
        }


def placed_grid(record: Record, body: schemas.GridBody) -> etdrs.Grid:
    """Return the grid of a photograph with the given positions of fovea and disc.

    Raises:
        ServiceError: 'invalid': fovea and disc are too close.
    """
    return etdrs.Grid(
        fovea=(body.fovea.y, body.fovea.x),
        disc=(body.disc.y, body.disc.x),
        spacing=record.spacing_mm,
    )


def field_of(record: Record) -> Field:
    """Return the field of view of a predicted photograph."""
    box, (row, column, radius) = record.predicted.field.box, record.predicted.disc
    return Field(
        centre=(row, column),
        radius=radius,
        box=Box.from_rectangle((box.x, box.y, box.width, box.height)),
    )
