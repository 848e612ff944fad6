"""Bodies of requests and responses in JSON: fields, types and ranges.

Knows:   the API's bodies, as docs/http-api.md specifies them.
Ignores: where the values come from.

All coordinates are (x, y).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from foveate.choices import DrawingTool, Part, Verdict
from foveate.server.storage.database import State
from foveate.server.storage.names import LONGEST, Eye
from foveate.types import SMALLEST_PIXEL_MM

Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Level = Annotated[int, Field(ge=1, le=255)]
Threshold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
LesionCode = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,16}$")]
Author = Annotated[str, StringConstraints(strip_whitespace=True), Field(max_length=64)]
"""A person's name, or initials; spaces around it are dropped, since they make nobody another person."""
Note = Annotated[str, Field(max_length=2000)]
Revision = Annotated[int, Field(ge=0, le=2**53)]
FieldText = Annotated[
    str,
    Field(max_length=100, description="auto, full, or X,Y,RADIUS in pixels of the photograph"),
]
Millimetres = Annotated[float, Field(ge=SMALLEST_PIXEL_MM, le=1, allow_inf_nan=False)]
"""Millimetres per pixel: at most 1, at which a fundus photograph would be a few dozen pixels wide."""
Coordinate = Annotated[float, Field(ge=-100_000, le=100_000, allow_inf_nan=False)]


class Body(BaseModel):
    """A JSON object; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Body):
    """What went wrong."""

    status: int
    code: str
    message: str


class Error(Body):
    """The body of every error response."""

    error: ErrorDetail


class Point(Body):
    """A point in the photograph, px."""

    x: Coordinate
    y: Coordinate


class Rectangle(Body):
    """A rectangle of whole pixels."""

    x: int
    y: int
    width: int
    height: int


class GridBody(Body):
    """The position of the ETDRS grid, placed by a person or suggested by the program."""

    fovea: Point
    disc: Point


# Requests


class FromPath(Body):
    """A photograph to submit, by its path on the server."""

    root: Annotated[str, Field(max_length=255)]
    path: Annotated[str, Field(max_length=4096)]
    batch: Identifier | None = None
    field: FieldText = "auto"
    region: Part | None = None


class Resubmission(Body):
    """The settings with which a photograph is predicted again."""

    field: FieldText = "auto"
    region: Part | None = None


class Changes(Body):
    """Changes to a photograph; fields that are left out stay as they are."""

    thresholds: dict[LesionCode, Threshold] | None = None
    levels: dict[LesionCode, Level] | None = None
    reviewed: bool | None = None
    reviewer: Author | None = None
    spacing_mm: Millimetres | None = None
    grid: GridBody | None = None
    eye: Eye | None = None
    note: Note | None = None
    batch: Identifier | None = None


class DownloadSelection(Body):
    """The photographs to download."""

    photographs: Annotated[list[Identifier], Field(min_length=1, max_length=10_000)]


class NewBatch(Body):
    """A batch to create."""

    name: Annotated[str, Field(max_length=LONGEST)] = ""


class NewSession(Body):
    """The token that opens a session."""

    token: Annotated[str, Field(max_length=1024)]


class NewStroke(Body):
    """A stroke to draw."""

    lesion: LesionCode
    tool: DrawingTool
    diameter: Annotated[float, Field(ge=1, le=512, allow_inf_nan=False)]
    points: Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1, max_length=10_000)]
    author: Author = ""
    revision: Revision | None = None


class NewVerdict(Body):
    """A verdict on a region."""

    lesion: LesionCode
    level: Level
    x: Annotated[int, Field(ge=0, le=100_000)]
    y: Annotated[int, Field(ge=0, le=100_000)]
    verdict: Verdict
    note: Annotated[str, Field(max_length=500)] = ""
    author: Author = ""
    revision: Revision | None = None


GraderText = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]
"""A person's name: any text that does not begin or end with a space."""


class NewGrading(Body):
    """The person who begins to grade a photograph."""

    grader: GraderText


class GradingState(Body):
    """Whether a grading is done."""

    done: bool


class NewAdjudication(Body):
    """The person who adjudicates between gradings, and the masks to begin with."""

    adjudicator: GraderText
    source: Annotated[str, Field(alias="from", max_length=80)] = "agreed"


class Step(Body):
    """An undo or a redo."""

    revision: Revision | None = None


class Snapshot(Body):
    """A request to store the current corrected masks as reference masks."""

    source: Annotated[Literal["corrections"], Field(alias="from")]


# Responses


class Maker(Body):
    """The model that made a result."""

    name: str
    version: str
    sha256: str


class LimitsBody(Body):
    """The limits on what the server accepts."""

    bytes: int
    pixels: int
    queue: int
    seconds: float
    keep_days: float | None


class Queue(Body):
    """The numbers of photographs that wait and are being predicted, and the seconds until all are done."""

    waiting: int
    under_way: int
    seconds: int


class ModelLesion(Body):
    """A lesion that the model detects."""

    name: str
    colour: tuple[int, int, int]
    threshold: float
    level: int


class Server(Body):
    """The server: its version, model, limits and queue."""

    version: str
    notice: str
    model: Maker
    lesions: dict[str, ModelLesion]
    limits: LimitsBody
    roots: list[str]
    double_grading: bool
    queue: Queue


class Health(Body):
    """The response of a running server."""

    status: Literal["ok"]
    version: str


class Session(Body):
    """Whether a token is required, and whether the client is signed in."""

    token_required: bool
    signed_in: bool


class TileLevel(Body):
    """One level of the tile pyramid: its size in px, and its numbers of tiles."""

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
    """The result for one lesion at its current threshold, corrections included."""

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
    """The sums over all lesions."""

    count: int
    area_fraction: float


class ResultBody(Body):
    """The result of a photograph that is done."""

    model: Maker
    field: FieldOfView
    suggested_grid: GridBody | None = None
    """The ETDRS grid that the program suggests, for a person to check."""
    quality: list[str]
    revision: int
    corrected: bool
    lesions: dict[str, LesionResult]
    burden: Burden


class FailureBody(Body):
    """Why a photograph has failed."""

    code: str
    message: str


class OwnGrading(Body):
    """The grading to which a copy of a photograph belongs."""

    original: str
    grader: str
    done: bool


class PhotographBody(Body):
    """One photograph with its state and its result."""

    id: str
    etag: str
    """Entity tag of the fields that `PATCH` may change; for If-Match."""
    name: str
    batch: str | None
    state: State
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
    reviewer: str
    """Who marked it as reviewed; empty if no name was given."""
    reviewed_at: str | None
    reviewed_before_grading: bool
    """Whether somebody had reviewed it before it had to wait for graders; `reviewed` is false then."""
    grid: GridBody | None
    eye: Eye | None
    note: str
    grading: OwnGrading | None
    result: ResultBody | None


class Outdated(Error):
    """The error of a change that was based on an older state, with the current state."""

    photograph: PhotographBody


class NewReport(Body):
    """A report of a batch to make in the background."""

    paper: Literal["a4", "letter"] = "a4"


class ReportJobBody(Body):
    """How far a report is that is made in the background."""

    id: str
    batch: str
    paper: Literal["a4", "letter"]
    state: Literal["waiting", "working", "done", "failed"]
    done: int
    """Photographs of which the page is made; at the end, fewer than all if some are being analysed again."""
    total: int
    without_result: int
    """Photographs of the batch that had no result when the report was begun; they are not in `total`."""
    error: str | None
    """One line, where it failed."""


class Photographs(Body):
    """A list of photographs."""

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
    """The counts of one lesion at every level of its map."""

    minimum_area_px: int
    regions: list[int]
    area_px: list[int]
    mask_px: list[int]
    added_px: list[int]
    """Pixels of the corrected mask that are not in the model's."""
    erased_px: list[int]
    """Pixels of the model's mask that are not in the corrected one."""


class Counts(Body):
    """The counts of all lesions at every level of their maps."""

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
    """The box of pixels that an edit has changed."""

    lesion: str


class CorrectedLesion(Body):
    """The counts of a lesion after corrections."""

    added_px: int
    """Pixels of the corrected mask that are not in the model's, at the current threshold."""
    erased_px: int
    """Pixels of the model's mask that are not in the corrected one, at the current threshold."""
    level: int
    count: int
    area_px: int
    mask_px: int


class GivenVerdict(Body):
    """A verdict that is neither undone nor replaced."""

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
    """The reference mask of one lesion."""

    mask_px: int
    regions: int


class Reference(Body):
    """The reference masks of one grader, or the ground truth."""

    name: str
    lesions: dict[str, ReferenceLesion]


class ReferencesBody(Body):
    """All reference masks of one photograph."""

    references: list[Reference]


class LesionAgreement(Body):
    """The numbers of pixels in both masks, in the result only and in the reference only, at each level."""

    true_px: list[int]
    false_px: list[int]
    missed_px: list[int]


class Agreement(Body):
    """The agreement of a result with a grader's masks."""

    revision: int
    lesions: dict[str, LesionAgreement]


class GradingBody(Body):
    """One person's grading."""

    grader: str
    begun: str
    done: str | None
    photograph: str | None


class AdjudicationBody(Body):
    """The adjudication of a photograph's gradings."""

    adjudicator: str
    source: str
    begun: str


class GradingsBody(Body):
    """All gradings of a photograph."""

    photograph: str
    open: bool
    gradings: list[GradingBody]
    adjudication: AdjudicationBody | None


class Presence(Body):
    """The numbers of photographs in which both, one or neither of two graders marked a lesion."""

    both: int
    first: int
    second: int
    neither: int


class PairAgreement(Body):
    """The agreement of two graders on a lesion."""

    graders: tuple[str, str]
    lesion: str
    photographs: int
    present: Presence
    kappa: float | None
    dice: float | None
    mean_dice: float | None


class GradersAgreement(Body):
    """The agreement of each pair of graders."""

    pairs: list[PairAgreement]


class FieldBurden(Body):
    """The lesions in one field of the grid."""

    pixels: int
    lesions: dict[str, dict[str, int]]


class GridBurden(Body):
    """The lesions in the subfields of the ETDRS grid."""

    fovea: Point
    disc: Point
    eye: Eye
    placed_by_program: list[Literal["fovea", "disc"]]
    """Which of the two nobody has moved from where the program placed it."""
    mm_per_px: float
    scale_from: Literal["spacing", "fovea_to_disc"]
    radii_px: list[float]
    disc_diameter_px: float
    fields: dict[str, FieldBurden]
