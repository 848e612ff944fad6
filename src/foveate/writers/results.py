"""What the writers are given, and what they hand back.

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

from foveate.errors import LesionError
from foveate.types import Decision, Field, Frame, Photograph, Probabilities, Region
from foveate.writers.maps import Format

NOTICE = (
    "Research software, not a medical device: not for diagnosis, treatment or any other clinical decision."
)
"""Stands in everything that a person reads."""

Status = Literal["ok", "failed"]

ObjectKind = Literal["seg", "sr", "prob"]
"""DICOM objects: a Segmentation of masks, a report that measures its segments, a Segmentation of maps."""

OBJECTS: tuple[ObjectKind, ...] = get_args(ObjectKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """The model package that made a result."""

    name: str
    version: str
    digest: str
    """SHA-256 of its manifest, which holds the digests of the rest: 64 hex digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objects:
    """Which DICOM objects are written of a photograph, and how."""

    kinds: tuple[ObjectKind, ...]
    """In the order of `OBJECTS`; a report is never without the Segmentation that it points into."""
    made: datetime
    """What they state as the time of their making, without zone, as DICOM has it."""
    secret: bytes | None = field(default=None, repr=False)
    """Where given, nothing that names the patient is written, and UIDs are replaced through it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What was asked for one photograph: the same order and the same photograph give the same bytes."""

    name: str
    """The photograph as tables show it: a relative path with '/', 'clinic/left'."""
    key: str
    """Where its results lie: a relative path with '/', 'clinic/left'; no two photographs share one."""
    maker: Maker
    settings: Mapping[str, object]
    """What else decides the result, as plain values that JSON can hold: no paths, no times."""
    format: Format = "png"
    """Of the probability maps."""
    objects: Objects | None = None
    """DICOM objects beside the other files; only of a photograph that was read from DICOM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One photograph, looked at."""

    order: Order
    photograph: Photograph
    field: Field
    probabilities: Probabilities
    decisions: Mapping[str, Decision]
    """Lesion code -> how its map becomes regions; only these lesions are written."""
    quality: tuple[str, ...] = ()
    """Codes of what may spoil the result; they warn."""

    def __post_init__(self) -> None:
        for code in self.decisions:
            if code not in self.probabilities.lesions:
                known = ", ".join(self.probabilities.lesions)
                raise LesionError(
                    f"there is a threshold for lesion {code!r} but no map; there are maps of {known}"
                )

    @property
    def lesions(self) -> tuple[str, ...]:
        """Codes of the lesions to write, in the model's order."""
        return tuple(code for code in self.probabilities.lesions if code in self.decisions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What one lesion's map came to."""

    decision: Decision
    level: int
    """Smallest stored level that counts as lesion."""
    minimum_area: int
    """Smallest region that counts, px of the photograph."""
    mask_px: int
    """Pixels of the mask: all at or above the level, specks below the minimum area included."""
    regions: tuple[Region, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What DICOM objects show of one lesion."""

    tally: Tally
    mask: Bool[np.ndarray, "H W"]
    """As the PNG has it, specks included."""
    levels: UInt8[np.ndarray, "H W"] | None
    """Its map in 8 bits, where that was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Burden:
    """How much of one lesion a photograph shows: its counted regions together."""

    count: int
    area_px: int
    """Pixels of the photograph."""
    area_fraction: float
    """Of the field's pixels, 0 to 1."""
    area_mm2: float | None = None
    """Only where the photograph states its spacing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What the summary says of one photograph."""

    name: str
    """As in `Order`."""
    status: Status
    error: str = ""
    """One line, where it failed."""
    quality: tuple[str, ...] = ()
    key: str = ""
    """As in `Order`; empty where it failed."""
    digest: str = ""
    """Of the photograph; empty where it failed."""
    burdens: Mapping[str, Burden] = field(default_factory=dict)
    """By lesion code; empty where it failed."""


def minimum_area(decision: Decision, frame: Frame) -> int:
    """Return the smallest region that counts, px of the photograph: at least 1."""
    rows, columns = frame.scale
    return max(1, round(decision.minimum_area / (rows * columns)))


def kinds_of(asked: Sequence[ObjectKind]) -> tuple[ObjectKind, ...]:
    """Return the objects that are written where some are asked for: a report brings its Segmentation."""
    wanted = {*asked, *(("seg",) if "sr" in asked else ())}
    return tuple(kind for kind in OBJECTS if kind in wanted)
