"""The values that the writers receive and return.

Knows:   the values of one photograph's result.
Ignores: how any of them becomes a file.

Shape letters: H W photograph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, UInt8

from foveate.choices import MapFormat, ObjectKind, require_choice
from foveate.errors import LesionError, SettingError
from foveate.types import Decision, Field, Frame, Photograph, Probabilities, Region

NOTICE = (
    "Research software, not a medical device: not for diagnosis, treatment or any other clinical decision."
)
"""Notice in every output that a person reads."""

Status = Literal["ok", "failed"]

OBJECT_KINDS: tuple[ObjectKind, ...] = get_args(ObjectKind)
"""DICOM objects: a Segmentation of masks, a report that measures its segments, a Segmentation of maps."""

MIN_SECRET_BYTES = 16
"""A shorter secret of `DicomRequest` could be guessed by trying."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The model package that made a result."""

    name: str
    version: str
    digest: str
    """SHA-256 of its manifest, which holds the digests of its other files: 64 hex digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomRequest:
    """Which DICOM objects are written for a photograph, and how.

    Raises:
        SettingError: a kind is unknown, or there is none; or the secret is no bytes, or too short.
    """

    kinds: Sequence[ObjectKind]
    """Put in the order of `OBJECT_KINDS`, with the Segmentation that a report refers to."""
    created: datetime
    """Creation time that the objects state; without a time zone, as in DICOM."""
    secret: bytes | None = field(default=None, repr=False)
    """If given, at least `MIN_SECRET_BYTES`: nothing that names the patient is written, and UIDs are replaced
    by keyed hashes."""

    def __post_init__(self) -> None:
        kinds = {self.kinds} if isinstance(self.kinds, str) else {*self.kinds}
        if not kinds:
            raise SettingError(f"no DICOM object is named; choose from {', '.join(OBJECT_KINDS)}")
        for kind in kinds:
            require_choice("DICOM object", kind, OBJECT_KINDS)
        if "sr" in kinds:
            kinds.add("seg")
        object.__setattr__(self, "kinds", tuple(kind for kind in OBJECT_KINDS if kind in kinds))
        if self.secret is not None and not (
            isinstance(self.secret, bytes) and len(self.secret) >= MIN_SECRET_BYTES
        ):
            raise SettingError(
                f"the secret must be bytes, at least {MIN_SECRET_BYTES}; make one with foveate dicom key FILE"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRequest:
    """The request for one photograph: an equal request and an equal photograph give the same bytes."""

    name: str
    """The photograph's name in tables, and the stem of its result files: a relative path with '/', such as
    'clinic/left'; unique in a folder."""
    provenance: Provenance
    settings: Mapping[str, object]
    """Everything else that decides the result, as plain values that JSON can hold: no paths, no times."""
    format: MapFormat = "png"
    """Format of the probability maps."""
    objects: DicomRequest | None = None
    """DICOM objects in addition to the other files; only for a photograph that was read from DICOM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographResult:
    """One photograph with its probability maps, before they become files."""

    request: PredictRequest
    photograph: Photograph
    field: Field
    probabilities: Probabilities
    decisions: Mapping[str, Decision]
    """Lesion code -> how its map becomes regions; only these lesions are written."""
    quality: tuple[str, ...] = ()
    """Codes of image quality problems; they are warnings."""

    def __post_init__(self) -> None:
        for code in self.decisions:
            if code not in self.probabilities.lesions:
                available = ", ".join(self.probabilities.lesions)
                raise LesionError(f"lesion {code!r} has a threshold but no map; maps exist for {available}")

    @property
    def lesions(self) -> tuple[str, ...]:
        """Codes of the lesions to write, in the model's order."""
        return tuple(code for code in self.probabilities.lesions if code in self.decisions)


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionSummary:
    """The mask and the regions that follow from one lesion's map."""

    decision: Decision
    level: int
    """Smallest stored level that counts as lesion."""
    minimum_area: int
    """Area of the smallest region that counts, px of the photograph."""
    mask_px: int
    """Number of pixels in the mask: all at or above the level, including specks below the minimum area."""
    regions: tuple[Region, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomLesion:
    """The data of one lesion that DICOM objects hold."""

    summary: LesionSummary
    mask: Bool[np.ndarray, "H W"]
    """The mask of the PNG file, specks included."""
    levels: UInt8[np.ndarray, "H W"] | None
    """The map in 8 bits, if it was requested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionLoad:
    """The number and area of one lesion's regions in a photograph: all counted regions together."""

    count: int
    area_px: int
    """Pixels of the photograph."""
    area_fraction: float
    """Share of the field's pixels, 0 to 1."""
    area_mm2: float | None = None
    """None unless the photograph states its spacing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SummaryRow:
    """A photograph's row of the summary."""

    name: str
    """The photograph's name in tables, and the stem of its result files, as in `PredictRequest`."""
    status: Status
    error: str = ""
    """One line, if it failed."""
    quality: tuple[str, ...] = ()
    digest: str = ""
    """SHA-256 of the photograph; empty if it failed."""
    loads: Mapping[str, LesionLoad] = field(default_factory=dict)
    """By lesion code; empty if it failed."""


def minimum_area(decision: Decision, frame: Frame) -> int:
    """Return the area of the smallest region that counts, px of the photograph: at least 1."""
    rows, columns = frame.scale
    return max(1, round(decision.minimum_area / (rows * columns)))
