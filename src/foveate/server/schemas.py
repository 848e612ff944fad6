"""What goes in and comes out as JSON, by field, type and range.

Knows:   the API's bodies, as docs/http-api.md promises them.
Ignores: where the values come from.

(x, y) begins here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foveate.server.storage.names import LONGEST

Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Level = Annotated[int, Field(ge=1, le=255)]
Threshold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Lesion = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,16}$")]
Author = Annotated[str, Field(max_length=64)]
Revision = Annotated[int, Field(ge=0, le=2**53)]
FieldText = Annotated[
    str,
    Field(max_length=100, description="auto, full, or X,Y,RADIUS in pixels of the photograph"),
]
Region = Literal["field", "paper", "whole"]
Millimetres = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
"""That a pixel spans: at most 1, which would make the eye's back a picture of a few dozen pixels."""
Coordinate = Annotated[float, Field(ge=-100_000, le=100_000, allow_inf_nan=False)]


class Body(BaseModel):
    """One JSON object; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Body):
    """What went wrong."""

    status: int
    code: str
    message: str


class Error(Body):
    """The one body of all errors."""

    error: ErrorDetail


class Point(Body):
    """A place in the photograph, px."""

    x: Coordinate
    y: Coordinate


class Rectangle(Body):
    """Whole pixels."""

    x: int
    y: int
    width: int
    height: int


class GridBody(Body):
    """Where the ETDRS grid lies, placed by a person or suggested by the program."""

    fovea: Point
    disc: Point


# Requests


class FromPath(Body):
    """A photograph that lies on the server."""

    root: Annotated[str, Field(max_length=255)]
    path: Annotated[str, Field(max_length=4096)]
    batch: Identifier | None = None
    field: FieldText = "auto"
    region: Region | None = None


class Resubmission(Body):
    """Another look."""

    field: FieldText = "auto"
    region: Region | None = None


class Changes(Body):
    """What of a photograph is to be changed; what is left out stays."""

    thresholds: dict[Lesion, Threshold] | None = None
    levels: dict[Lesion, Level] | None = None
    reviewed: bool | None = None
    spacing_mm: Millimetres | None = None
    grid: GridBody | None = None


class NewBatch(Body):
    """A batch to be made."""

    name: Annotated[str, Field(max_length=LONGEST)] = ""


class NewSession(Body):
    """Whoever knows the token may come in."""

    token: Annotated[str, Field(max_length=1024)]


class NewStroke(Body):
    """A line drawn."""

    lesion: Lesion
    tool: Literal["brush", "eraser", "restore"]
    diameter: Annotated[float, Field(ge=1, le=512, allow_inf_nan=False)]
    points: Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1, max_length=10_000)]
    author: Author = ""
    revision: Revision | None = None


class NewVerdict(Body):
    """What a person says of a region."""

    lesion: Lesion
    level: Level
    x: Annotated[int, Field(ge=0, le=100_000)]
    y: Annotated[int, Field(ge=0, le=100_000)]
    verdict: Literal["accepted", "rejected", "questionable", "none"]
    note: Annotated[str, Field(max_length=500)] = ""
    author: Author = ""
    revision: Revision | None = None


class Step(Body):
    """Undo or redo."""

    revision: Revision | None = None


class Snapshot(Body):
    """Keep the corrected masks as they are now."""

    source: Annotated[Literal["corrections"], Field(alias="from")]


# Answers


class Maker(Body):
    """A model."""

    name: str
    version: str
    sha256: str


class LimitsBody(Body):
    """How much the server takes on."""

    bytes: int
    pixels: int
    queue: int
    seconds: float
    keep_days: float | None


class Queue(Body):
    """How many wait, and how many are looked at."""

    waiting: int
    under_way: int


class ModelLesion(Body):
    """A lesion that the model knows."""

    name: str
    colour: tuple[int, int, int]
    threshold: float
    level: int


class Server(Body):
    """What the server is."""

    version: str
    notice: str
    model: Maker
    lesions: dict[str, ModelLesion]
    limits: LimitsBody
    roots: list[str]
    queue: Queue


class Health(Body):
    """That it is up."""

    status: Literal["ok"]
    version: str


class Session(Body):
    """Who may come in."""

    token_required: bool
    signed_in: bool


class TileLevel(Body):
    """One zoom."""

    width: int
    height: int
    columns: int
    rows: int


class Tiles(Body):
    """The pyramid of tiles."""

    size: int
    levels: list[TileLevel]


class FieldOfView(Body):
    """The field of view."""

    x: float
    y: float
    radius: float
    box: Rectangle
    area_px: int


class LesionResult(Body):
    """What there is of a lesion at present."""

    name: str
    colour: tuple[int, int, int]
    threshold: float
    level: int
    model_threshold: float
    model_level: int
    minimum_area_px: int
    count: int
    area_px: int
    area_fraction: float
    area_mm2: float | None
    mask_px: int


class Burden(Body):
    """All lesions together."""

    count: int
    area_fraction: float


class ResultBody(Body):
    """What was found."""

    model: Maker
    field: FieldOfView
    suggested_grid: GridBody | None = None
    """ETDRS grid as the program places it, for a person to check."""
    quality: list[str]
    revision: int
    corrected: bool
    lesions: dict[str, LesionResult]
    burden: Burden


class FailureBody(Body):
    """Why there is no result."""

    code: str
    message: str


class PhotographBody(Body):
    """One photograph and what is known of it."""

    id: str
    name: str
    batch: str | None
    state: Literal["queued", "looking", "done", "failed"]
    position: int | None
    progress: float
    error: FailureBody | None
    submitted: str
    started: str | None
    finished: str | None
    expires: str | None
    sha256: str
    width: int
    height: int
    spacing_mm: float | None
    tiles: Tiles
    reviewed: bool
    grid: GridBody | None
    result: ResultBody | None


class Photographs(Body):
    """A list."""

    photographs: list[PhotographBody]
    total: int


class BatchBody(Body):
    """A batch."""

    id: str
    name: str
    created: str
    photographs: dict[str, int]


class Batches(Body):
    """All batches."""

    batches: list[BatchBody]


class LesionCounts(Body):
    """What each level of a map would give."""

    minimum_area_px: int
    regions: list[int]
    area_px: list[int]
    mask_px: list[int]


class Counts(Body):
    """What each level of each map would give."""

    revision: int
    field_px: int
    spacing_mm: float | None
    lesions: dict[str, LesionCounts]


class Pixel(Body):
    """One pixel."""

    x: int
    y: int


class RegionRow(Body):
    """One region."""

    id: int
    lesion: str
    level: int
    area_px: int
    area_mm2: float | None
    centroid: Point
    inside: Pixel
    box: Rectangle
    mean_probability: float
    max_probability: float
    verdict: str | None


class Regions(Body):
    """A list of regions."""

    total: int
    revision: int
    regions: list[RegionRow]


class RegionAtPixel(Body):
    """The region at a pixel."""

    lesion: str
    level: int
    area_px: int
    box: Rectangle
    inside: Pixel
    verdict: str | None


class ChangedBox(Rectangle):
    """What an edit changed."""

    lesion: str


class CorrectedLesion(Body):
    """A lesion after corrections."""

    added_px: int
    erased_px: int
    level: int
    count: int
    area_px: int
    mask_px: int


class GivenVerdict(Body):
    """A verdict that holds."""

    lesion: str
    level: int
    x: int
    y: int
    verdict: str
    note: str
    author: str
    time: str


class CorrectionState(Body):
    """The state of a photograph's corrections."""

    revision: int
    can_undo: bool
    can_redo: bool
    edits: int
    changed: ChangedBox | None
    lesions: dict[str, CorrectedLesion]
    verdicts: list[GivenVerdict]
    authors: list[str]
    last_edit: str | None


class ReferenceLesion(Body):
    """A mask to compare with."""

    mask_px: int
    regions: int


class Reference(Body):
    """Masks of one grader, or the truth."""

    name: str
    lesions: dict[str, ReferenceLesion]


class ReferencesBody(Body):
    """All of a photograph."""

    references: list[Reference]


class LesionAgreement(Body):
    """At each level: pixels in both, in the result alone, in the reference alone."""

    true_px: list[int]
    false_px: list[int]
    missed_px: list[int]


class Agreement(Body):
    """How far a result and masks agree."""

    revision: int
    lesions: dict[str, LesionAgreement]


class FieldBurden(Body):
    """What lies in one field of the grid."""

    pixels: int
    lesions: dict[str, dict[str, int]]


class GridBurden(Body):
    """What lies in the fields of the ETDRS grid."""

    fovea: Point
    disc: Point
    eye: Literal["right", "left"]
    mm_per_px: float
    scale_from: Literal["spacing", "fovea_to_disc"]
    radii_px: list[float]
    disc_diameter_px: float
    fields: dict[str, FieldBurden]


PlainText = dict[str, Any]
"""JSON without a promise."""
