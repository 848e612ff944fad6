"""Messages between the server and its worker processes.

Knows:   every task and every reply, and their one JSON form.
Ignores: how a message travels, and how a task is done.

A message is one line of JSON. `TASKS` and `REPLIES` are the only (de)serialisers.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from foveate.choices import EngineName, Part, Precision
from foveate.inference.settings import FieldChoice
from foveate.server.storage.facts import LevelCounts, ModelName, PhotographFacts, StoredFacts
from foveate.server.storage.names import Eye
from foveate.types import FieldRule


class Message(BaseModel):
    """A frozen value that is sent as JSON; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerConfig(Message):
    """The settings with which a worker process is started."""

    model: str | None
    """Name or folder of the model that it opens; None for a worker that only reads and writes files."""
    engine: EngineName | None = None
    precision: Precision | None = None
    threads: int | None = None


class ModelInfo(Message):
    """The model that a worker has opened."""

    name: str
    version: str
    sha256: str
    """Digest of the package, 64 hex digits."""
    field: FieldRule
    """Whether the field of view is detected in the model's photographs, or is the whole photograph."""
    thresholds: dict[str, float]
    """Lesion -> the model's own threshold, a probability."""


# Tasks


class ReceiveTask(Message):
    """Read an upload and make its tiles."""

    task: Literal["receive"] = "receive"
    folder: Path
    """Folder of the photograph."""
    pixels: int
    """Maximum number of pixels that are decoded."""


class ReadMaskTask(Message):
    """Read an uploaded mask and write it as PNG."""

    task: Literal["read-mask"] = "read-mask"
    mask: Path
    """The uploaded file."""
    out: Path
    """The PNG to write: 255 on lesion pixels, 0 elsewhere."""
    height: int
    width: int
    """Size of the photograph, px; the mask must have the same size."""


class PredictTask(Message):
    """Detect the lesions of a photograph and write its files."""

    task: Literal["predict"] = "predict"
    folder: Path
    key: str
    """Name of the result files, without suffixes."""
    field: FieldChoice
    """'auto', 'full', or (row, column, radius), px of the photograph."""
    region: Part | None
    """Part of the photograph that is analysed; None for the part that the model specifies."""
    pixels: int
    """Maximum number of pixels that are decoded."""


class JournalPhotograph(Message):
    """The photograph that was corrected."""

    name: str
    sha256: str


class JournalEdit(StoredFacts):
    """One correction; further fields depend on its kind."""

    kind: str
    lesion: str
    author: str
    time: str
    """Time in UTC, written as in all JSON."""


class Journal(Message):
    """The journal of corrections: who corrected what and when, as written to corrections/<key>.json."""

    foveate: str
    """Version of Foveate."""
    notice: str
    photograph: JournalPhotograph
    model: ModelName
    thresholds: dict[str, float]
    reviewed: bool
    reviewer: str
    """Who marked it as reviewed; empty if nobody did, or without a name."""
    reviewed_at: str | None
    revision: int
    edits: tuple[JournalEdit, ...]


class ExportTask(Message):
    """Write a photograph's files at other thresholds, and with corrections."""

    task: Literal["export"] = "export"
    folder: Path
    out: Path
    """Folder to write; it appears only when it is complete."""
    key: str
    facts: PhotographFacts
    thresholds: dict[str, float]
    """Lesion -> probability from which a pixel is lesion."""
    spacing: float | None
    """Millimetres per pixel; None if not known."""
    journal: Journal | None
    """None if nobody has corrected anything."""
    corrected: dict[str, Path]
    """Lesion -> PNG of its corrected map; lesions without corrections are left out."""
    pixels: int
    """Number of pixels of the photograph; more are not decoded."""


class ExportPhotographTask(Message):
    """Write a photograph as PNG without metadata."""

    task: Literal["export-photograph"] = "export-photograph"
    folder: Path
    out: Path
    pixels: int
    """Number of pixels of the photograph; more are not decoded."""


Task = ReceiveTask | ReadMaskTask | PredictTask | ExportTask | ExportPhotographTask


class Cancel(Message):
    """Stop the task under way."""

    task: Literal["cancel"] = "cancel"


# Results of tasks


class ReceivedFacts(Message):
    """The facts of an upload that was read."""

    sha256: str
    width: int
    height: int
    spacing: float | None = None
    """Millimetres per pixel; None if the file does not state it."""
    eye: Eye | None
    """The eye that the DICOM header states; None if it states none."""


class Prediction(Message):
    """The result of a prediction."""

    facts: PhotographFacts
    counts: dict[str, LevelCounts]
    """Lesion -> its counts at all levels."""


# Replies


class Ready(Message):
    """The worker has started."""

    reply: Literal["ready"] = "ready"
    model: ModelInfo | None
    """None for a worker without a model."""


class TaskProgress(Message):
    """The share of the task that is done."""

    reply: Literal["progress"] = "progress"
    share: float
    """0 to 1."""


class Done(Message):
    """The task is done."""

    reply: Literal["done"] = "done"
    result: ReceivedFacts | Prediction | None = None


class Refused(Message):
    """The task cannot be done."""

    reply: Literal["refused"] = "refused"
    code: str
    """Code of a `ServiceError`."""
    message: str


class Cancelled(Message):
    """The task was stopped."""

    reply: Literal["cancelled"] = "cancelled"


TASKS: TypeAdapter[Task | Cancel] = TypeAdapter(Annotated[Task | Cancel, Field(discriminator="task")])

REPLIES: TypeAdapter[Ready | TaskProgress | Done | Refused | Cancelled] = TypeAdapter(
    Annotated[Ready | TaskProgress | Done | Refused | Cancelled, Field(discriminator="reply")]
)
