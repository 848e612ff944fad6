"""The current regions, counts and mask of each lesion, and the burden by ETDRS subfield.

Knows:   which map and level are current, and which lesions lie in each subfield of the grid.
Ignores: HTTP, and how corrections are made.

Shape letters: H W photograph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from foveate.analysis import component_tree
from foveate.server import errors
from foveate.server.review import etdrs, region_list
from foveate.server.review.checks import require_grid, require_lesion
from foveate.server.review.corrections import Corrections
from foveate.server.review.current_counts import level_counts
from foveate.server.review.etdrs import GridBurden, LesionBurden
from foveate.server.review.region_list import ListedRegion, region_at
from foveate.server.review.strokes import PixelMask
from foveate.server.review.verdicts import verdict_on, verdict_on_listed
from foveate.server.storage.cache import MapCache
from foveate.server.storage.database import Record
from foveate.server.storage.facts import GridFacts, LevelCounts
from foveate.types import Box, Field
from foveate.writers import contours
from foveate.writers.contours import TracedMask

LayerName = Literal["corrected", "model"]
"""A lesion's map with corrections, or as the model made it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionLevelCounts:
    """The counts of one lesion with each level of its map, 0 to 255, as the threshold."""

    minimum_area_px: int
    counts: LevelCounts
    added_px: list[int]
    """Number of pixels of the corrected mask that are not in the model's."""
    erased_px: list[int]
    """Number of pixels of the model's mask that are not in the corrected one."""

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return 30_000


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedRegion:
    """A listed region with the verdict on it."""

    listed: ListedRegion
    level: int
    """Stored level, 1 to 255, from which a pixel is lesion."""
    verdict: str | None
    """None if nobody has given one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionAtPixel:
    """The region that holds a pixel, and the verdict on it."""

    pixels: PixelMask
    verdict: str | None
    """None if nobody has given one."""


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

    def judged(
        self, record: Record, entries: Sequence[ListedRegion], level: int | None, layer: LayerName
    ) -> list[JudgedRegion]:
        """Return regions with the verdicts on them; arguments as those with which `regions` listed them."""
        verdicts = self._corrections.verdicts(record.id)
        maps = {
            code: (level or record.level(code), self.stored_map(record, code, layer))
            for code in {entry.region.lesion for entry in entries}
        }
        judged = []
        for entry in entries:
            at, stored = maps[entry.region.lesion]
            verdict = verdict_on_listed(verdicts, entry, stored, at)
            judged.append(JudgedRegion(listed=entry, level=at, verdict=verdict))
        return judged

    def region_at(
        self, record: Record, lesion: str, level: int, row: int, column: int, *, layer: LayerName
    ) -> RegionAtPixel:
        """Return the region of a lesion that holds a pixel at a level.

        Raises:
            ServiceError: 'invalid': the model does not detect the lesion, or the pixel lies outside the
                photograph; 'not_found': the pixel is not lesion.
        """
        require_lesion(record, lesion)
        if not (column < record.width and row < record.height):
            raise errors.invalid(f"pixel ({column}, {row}) lies outside the photograph")
        pixels = region_at(self.stored_map(record, lesion, layer), level, row, column)
        if pixels is None:
            raise errors.not_found("region at that pixel", errors.BELOW_THRESHOLD)
        verdicts = self._corrections.verdicts(record.id)
        return RegionAtPixel(pixels=pixels, verdict=verdict_on(verdicts, lesion, pixels))

    def level_counts(self, record: Record, lesion: str, layer: LayerName = "corrected") -> LesionLevelCounts:
        """Return the counts of a lesion at every level of its map."""
        smallest = record.lesions[lesion].minimum_area_px
        if layer == "model" or not self._corrections.is_corrected(record, lesion):
            unchanged = [0] * component_tree.LEVELS
            return LesionLevelCounts(
                minimum_area_px=smallest,
                counts=self._corrections.model_counts(record, lesion),
                added_px=unchanged,
                erased_px=unchanged,
            )

        def make() -> LesionLevelCounts:
            layer, thresholds = self._corrections.layer(record, lesion), range(1, component_tree.LEVELS)
            return LesionLevelCounts(
                minimum_area_px=smallest,
                counts=level_counts(component_tree.count_regions(layer.corrected.finest, smallest)),
                added_px=[0, *map(layer.added_px, thresholds)],
                erased_px=[0, *map(layer.removed_px, thresholds)],
            )

        return self._memory.get((record.id, "counts", lesion, record.revision), make)

    def traced(self, record: Record, lesion: str) -> TracedMask:
        """Return a lesion's current mask without regions that are too small, and the outlines of the rest."""
        regions = [entry.region for entry in self.regions(record, lesion)]
        return contours.trace(self._corrections.mask(record, lesion), regions)

    def grid_burden(self, record: Record) -> GridBurden:
        """Return the burden of each subfield of the ETDRS grid.

        Raises:
            ServiceError: 'not_ready': no grid was placed.
        """
        require_grid(record)
        assert record.grid is not None
        grid = placed_grid(record, record.grid)
        burdens = {lesion: self._in_fields(record, lesion, grid) for lesion in record.lesions}
        pixels = etdrs.visible_pixels(grid, field_of(record), record.predicted.field.area_px)
        return GridBurden(
            placed=record.grid,
            eye="right" if grid.is_right else "left",
            placed_by_program=etdrs.placed_by_program(record.grid, record.predicted),
            mm_per_px=grid.mm_per_px,
            scale_from="fovea_to_disc" if record.spacing_mm is None else "spacing",
            fields=etdrs.by_field(burdens, pixels),
        )

    def _in_fields(self, record: Record, lesion: str, grid: etdrs.Grid) -> list[LesionBurden]:
        """Return the burden of a lesion in each subfield."""
        counts = etdrs.region_counts(grid, [entry.region for entry in self.regions(record, lesion)])
        areas = etdrs.lesion_pixels(grid, self.traced(record, lesion).mask)
        return [LesionBurden(count=count, area_px=area) for count, area in zip(counts, areas, strict=True)]


def placed_grid(record: Record, place: GridFacts) -> etdrs.Grid:
    """Return the grid of a photograph with the given positions of fovea and disc.

    Raises:
        ServiceError: 'invalid': fovea and disc are too close.
    """
    return etdrs.Grid(
        fovea=(place.fovea.y, place.fovea.x),
        disc=(place.disc.y, place.disc.x),
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
