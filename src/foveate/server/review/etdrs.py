"""The ETDRS grid: nine subfields around the fovea, and the lesions in each.

Knows:   circles of 1, 3 and 6 mm, divided by diagonals, and the scale in millimetres per pixel.
Ignores: how lesions are detected, and who placed the grid.

Source: Early Treatment Diabetic Retinopathy Study report 10, doi:10.1016/S0161-6420(13)38012-9 (subfields).
The distance from fovea to disc is a rule of thumb: 2.5 disc diameters of 1.8 mm (our choice).

Shape letters: H W photograph, P pixels, F subfields.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from foveate.analysis import landmarks
from foveate.geometry import field_of_view
from foveate.server import errors
from foveate.server.storage.facts import FieldFacts, GridFacts, PhotographFacts, PointFacts
from foveate.server.storage.names import Eye
from foveate.types import Box, Field, Photograph, Region

RADII_MM = (0.5, 1.5, 3.0)
"""Radii of the three circles, mm."""

FOVEA_TO_DISC_MM = 4.5
"""Distance from the fovea to the centre of the disc by the rule of thumb, mm."""

DISC_MM = 1.8
"""Diameter of the disc by the same rule, mm."""

PARTS = ("superior", "nasal", "inferior", "temporal")

FIELDS = ("centre", *(f"inner_{part}" for part in PARTS), *(f"outer_{part}" for part in PARTS), "outside")

MIDDLE_DISC = (0.48, -0.06)
"""Offset (x, y) of the disc where the page places a grid in the middle of a field, in radii of the field."""

SAME_PX = 0.1
"""The page rounds places to a tenth of a pixel: within it, a place has not been moved."""

ROWS = 256
"""Number of rows processed at a time, which limits the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A grid in a photograph; positions are (row, column) in px."""

    fovea: tuple[float, float]
    """(row, column)."""
    disc: tuple[float, float]
    """(row, column) of the disc's centre."""
    spacing: float | None
    """Millimetres per pixel; None if not known."""

    def __post_init__(self) -> None:
        if math.dist(self.fovea, self.disc) < 10:
            raise errors.invalid("fovea and disc are less than 10 px apart; place the grid again")

    @property
    def mm_per_px(self) -> float:
        """Millimetres per pixel: the stated spacing, otherwise by the rule of thumb."""
        return self.spacing or FOVEA_TO_DISC_MM / math.dist(self.fovea, self.disc)

    @property
    def is_right(self) -> bool:
        """Whether it is a right eye, in which the disc lies to the right of the fovea."""
        return self.disc[1] > self.fovea[1]

    def fields(
        self, rows: Float64[np.ndarray, " P"], columns: Float64[np.ndarray, " P"]
    ) -> Int64[np.ndarray, " P"]:
        """Return, for each position, the index in `FIELDS` of the subfield in which it lies.

        A position on a diagonal belongs to the subfield that begins there, in the order of `PARTS`.
        """
        up, right = self.fovea[0] - rows, columns - self.fovea[1]
        nasal = right if self.is_right else -right
        distance = np.hypot(up, nasal) * self.mm_per_px
        quarter = np.floor((np.degrees(np.arctan2(nasal, up)) + 45) / 90).astype(np.int64) % 4
        ring = np.searchsorted(RADII_MM, distance, side="left")
        return np.select(
            [ring == 0, ring == 1, ring == 2], [np.zeros_like(quarter), 1 + quarter, 5 + quarter], 9
        )


def suggest(photograph: Photograph, field: Field) -> GridFacts | None:
    """Return the suggested position of the grid; None if no optic disc or no fovea is detected."""
    placed = landmarks.find(photograph, field)
    if placed.disc is None or placed.fovea is None:
        return None
    return GridFacts(fovea=_point(placed.fovea.centre), disc=_point(placed.disc.centre))


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionBurden:
    """One lesion in one subfield of the grid."""

    count: int
    """Number of regions whose centroid lies in the subfield."""
    area_px: int
    """Number of lesion pixels in the subfield."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldBurden:
    """The lesions in one subfield of the grid."""

    pixels: int
    """Number of pixels of the subfield that lie in the field of view."""
    lesions: Mapping[str, LesionBurden]


@dataclass(frozen=True, kw_only=True, slots=True)
class GridBurden:
    """The lesions in the subfields of a placed grid."""

    placed: GridFacts
    """Where fovea and disc lie."""
    eye: Eye
    """The eye, by the side on which the disc lies."""
    placed_by_program: list[Literal["fovea", "disc"]]
    """Which of the two nobody has moved from where the program placed it."""
    mm_per_px: float
    scale_from: Literal["spacing", "fovea_to_disc"]
    """Whether the scale is the stated pixel spacing, or the rule of thumb."""
    fields: Mapping[str, FieldBurden]


def placed_by_program(grid: GridFacts, facts: PhotographFacts) -> list[Literal["fovea", "disc"]]:
    """Return which of fovea and disc lie where the program placed them, so that nobody has moved them.

    The program places a grid where it finds fovea and disc, else in the middle of the field of view.

    Args:
        grid: as it lies.
        facts: what the program found in the photograph.
    """
    start = facts.suggested_grid or _in_the_middle(facts.field)
    parts: dict[Literal["fovea", "disc"], bool] = {
        "fovea": _is_same(grid.fovea, start.fovea),
        "disc": _is_same(grid.disc, start.disc),
    }
    return [part for part, unmoved in parts.items() if unmoved]


def _in_the_middle(field: FieldFacts) -> GridFacts:
    """Return the grid that the page places where the program finds no disc or no fovea."""
    right, down = MIDDLE_DISC
    disc = PointFacts(x=field.x + right * field.radius, y=field.y + down * field.radius)
    return GridFacts(fovea=PointFacts(x=field.x, y=field.y), disc=disc)


def _is_same(one: PointFacts, other: PointFacts) -> bool:
    return max(abs(one.x - other.x), abs(one.y - other.y)) <= SAME_PX


def _point(place: tuple[float, float]) -> PointFacts:
    """Return a position (row, column), px, as it is stored: x and y, rounded to a tenth of a pixel."""
    return PointFacts(x=round(place[1], 1), y=round(place[0], 1))


def visible_pixels(grid: Grid, visible: Field, area: int) -> list[int]:
    """Count the pixels of each subfield of the grid that lie in the field of view.

    Args:
        grid: the grid.
        visible: the field of view.
        area: number of pixels of the field of view; those in no subfield count as outside.
    """
    numbers = np.zeros(len(FIELDS), np.int64)
    for box in _strips(_met(grid, visible.box)):
        rows, columns = np.nonzero(field_of_view.mask(visible, box))
        numbers += _binned(grid, rows + box.top, columns + box.left)
    inside = [int(number) for number in numbers[:-1]]
    return [*inside, area - sum(inside)]


def _met(grid: Grid, box: Box) -> Box:
    """Return the part of a box that the largest circle can reach."""
    reach = RADII_MM[-1] / grid.mm_per_px + 1
    (row, column), height, width = grid.fovea, box.bottom, box.right
    return Box(
        top=min(max(box.top, math.floor(row - reach)), height),
        left=min(max(box.left, math.floor(column - reach)), width),
        bottom=max(min(height, math.ceil(row + reach)), box.top),
        right=max(min(width, math.ceil(column + reach)), box.left),
    )


def lesion_pixels(grid: Grid, mask: UInt8[np.ndarray, "H W"]) -> list[int]:
    """Count the lesion pixels in each subfield, in a mask of 0 and 1."""
    numbers = np.zeros(len(FIELDS), np.int64)
    height, width = mask.shape
    for box in _strips(Box.whole((height, width))):
        rows, columns = np.nonzero(mask[box.slices])
        numbers += _binned(grid, rows + box.top, columns)
    return [int(number) for number in numbers]


def region_counts(grid: Grid, regions: Sequence[Region]) -> list[int]:
    """Count the regions whose centroid lies in each subfield."""
    if not regions:
        return [0] * len(FIELDS)
    centres = np.array([region.centroid for region in regions], np.float64)
    counted = np.bincount(grid.fields(centres[:, 0], centres[:, 1]), minlength=len(FIELDS))
    return [int(number) for number in counted]


def by_field(burdens: Mapping[str, Sequence[LesionBurden]], pixels: Sequence[int]) -> dict[str, FieldBurden]:
    """Return the burden by subfield.

    Args:
        burdens: lesion -> its burden in each subfield.
        pixels: number of visible pixels of each subfield.
    """
    return {
        field: FieldBurden(
            pixels=pixels[place], lesions={lesion: in_fields[place] for lesion, in_fields in burdens.items()}
        )
        for place, field in enumerate(FIELDS)
    }


def _binned(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> Int64[np.ndarray, " F"]:
    """Count pixels by the subfield in which their centres lie."""
    return np.bincount(grid.fields(rows + 0.5, columns + 0.5), minlength=len(FIELDS))


def _strips(box: Box) -> Iterator[Box]:
    for top in range(box.top, box.bottom, ROWS):
        yield Box(top=top, left=box.left, bottom=min(top + ROWS, box.bottom), right=box.right)
