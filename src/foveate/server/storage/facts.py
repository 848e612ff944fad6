"""The stored facts of a photograph that was analysed.

Knows:   the facts and the counts of a photograph, and their JSON form in the database.
Ignores: who made them.

Fields that are not named here are kept as they are: the facts are the regions' JSON of `foveate predict`, and
data folders of older versions hold what those versions wrote.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class StoredFacts(BaseModel):
    """A frozen value that is kept as JSON, unknown fields included."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ModelName(StoredFacts):
    """The model that made a result."""

    name: str
    version: str
    sha256: str
    """Digest of the package, 64 hex digits."""


class BoxFacts(StoredFacts):
    """A rectangle of whole pixels."""

    x: int
    y: int
    width: int
    height: int


class FieldFacts(StoredFacts):
    """The field of view, px of the photograph, rounded."""

    x: float
    y: float
    radius: float
    box: BoxFacts
    area_px: int


class LesionFacts(StoredFacts):
    """The facts of one lesion."""

    name: str
    threshold: float
    """The model's own, a probability."""
    minimum_area_px: int
    """Regions with fewer pixels of the photograph are not counted."""
    minimum_area_model_px: int
    """The same limit in pixels at the model's scale."""
    minimum_evidence_model_px: float = 0.0
    """Regions with less evidence, px at the model's scale, are lowered in the map (docs/decisions/0019)."""


class FileFacts(StoredFacts):
    """The facts that the file of a photograph states."""

    spacing_mm: float | None = None
    """Millimetres per pixel."""


class PointFacts(StoredFacts):
    """A point in a photograph, px."""

    x: float
    y: float


class GridFacts(StoredFacts):
    """The position of the ETDRS grid, placed by a person or by the program."""

    fovea: PointFacts
    disc: PointFacts


class PhotographFacts(StoredFacts):
    """The content of a photograph's regions JSON, without the regions, and the disc of the field of view."""

    model: ModelName
    settings: Mapping[str, Any]
    """As in the regions' JSON."""
    photograph: FileFacts = FileFacts()
    quality: tuple[str, ...]
    field: FieldFacts
    lesions: Mapping[str, LesionFacts]
    disc: tuple[float, float, float]
    """(row, column, radius) of the field, px of the photograph, unrounded."""
    suggested_grid: GridFacts | None = None
    """The ETDRS grid that the program suggests, for a person to check; None if it detected no disc or fovea,
    and in results of earlier versions."""


class LevelCounts(StoredFacts):
    """The counts with each stored level of a map, 0 to 255, as the threshold."""

    regions: list[int]
    """Number of regions of at least the minimum area."""
    area_px: list[int]
    """Number of pixels of these regions."""
    mask_px: list[int]
    """Number of pixels of the mask, smaller regions included."""


class StrokeDetails(StoredFacts):
    """A stroke, without its points."""

    tool: str
    diameter: float
    """Diameter of the tool, px of the photograph."""


class VerdictDetails(StoredFacts):
    """A verdict on one region."""

    level: int
    """Stored level, 1 to 255, from which a pixel was lesion."""
    x: int
    y: int
    """A pixel of the region."""
    verdict: str
    note: str
    replaces: tuple[int, ...]
    """Numbers of the earlier verdicts on the same region."""
    box: tuple[int, int, int, int]
    """(top, left, bottom, right) of the region."""
    pixels: str
    """The region's pixels in the box, as base64 of deflated bits."""


class MaskDetails(StoredFacts):
    """A whole mask."""


EditDetails = StrokeDetails | VerdictDetails | MaskDetails

DETAILS: Mapping[str, type[EditDetails]] = {
    "stroke": StrokeDetails,
    "verdict": VerdictDetails,
    "mask": MaskDetails,
}
"""Kind of an edit -> what is stored of it."""


class Failure(StoredFacts):
    """Why a photograph has no result."""

    code: str
    message: str
