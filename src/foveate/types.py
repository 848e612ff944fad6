"""The values that travel between the rooms: frozen, plain, without behaviour beyond their own arithmetic.

Knows:   what a photograph, a field, a frame, a map and a region are made of, and their units.
Ignores: how any of them is found, computed or written.

Places are (row, column), origin top left. A continuous coordinate counts from the outer edge of the first
pixel, so that the centre of pixel i is at i + 0.5 and scaling is a plain multiplication.

Shape letters: H W photograph, h w canvas, K lesions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8, UInt16

Part = Literal["field", "paper", "whole"]
"""Which part of a photograph is looked at: the field's box, the paper's centre crop, or all of it."""

FieldRule = Literal["find", "whole"]
"""How a photograph's field of view is got: found as a lit disc, or taken as the whole photograph, where no
fundus camera took it."""


Glances = Literal[1, 4, 8]
"""One view as it is, its four turns by quarters, or each of the eight ways to turn and mirror it."""

Effort = Literal["full", "balanced", "fast"]
"""How much of a photograph is looked at closely: all of it, or what the glance calls for."""

Spots = Literal["none", "dark", "bright"]
"""Small spots in a window that speak for a lesion beside GlobalNet's map."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a DICOM object states beside its pixels: enough to refer to it; nothing of it is guessed."""

    uid: str
    """Its SOP Instance UID: no two objects in the world share one."""
    frame: int | None
    """Which of its frames the photograph is, from 1; None where it holds only one."""
    laterality: Literal["R", "L"] | None
    """Which eye, where that is stated."""
    field_degrees: float | None
    """Horizontal field of view, where that is stated."""
    header: bytes
    """The object without its pixels, as a DICOM file: patient, study, camera."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One colour photograph of an eye's fundus as its viewer sees it (EXIF orientation applied)."""

    pixels: UInt8[np.ndarray, "H W 3"]
    """sRGB, 0 to 255; nobody writes into it."""
    source: str
    """Where it came from, for messages and tables: a path, or a name given by the caller."""
    digest: str
    """SHA-256 of the file's bytes as 64 hex digits; of the pixels where there was no file."""
    spacing: float | None = None
    """Millimetres on the retina that one pixel spans, where the source states it; never guessed."""
    origin: Origin | None = None
    """Of a photograph that was read from DICOM."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        height, width, _ = self.pixels.shape
        return height, width


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle of whole pixels, half open: rows top <= r < bottom, columns left <= c < right."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) in pixels."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this box in an array whose first two axes are rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """The lit field of view: a disc, and the box within which the photograph shows it.

    A pixel belongs to the field when it lies in both. Cameras often cut the disc at top and bottom.
    """

    centre: tuple[float, float]
    """(row, column) of the disc's centre, px of the photograph; may lie anywhere."""
    radius: float
    """Of the disc, px of the photograph."""
    box: Box
    """Where the disc is lit, clipped to the photograph."""

    @property
    def diameter(self) -> float:
        """Of the disc, px of the photograph: the yardstick by which photographs of two cameras compare."""
        return 2 * self.radius


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """How a canvas, the part of the photograph at the model's scale, lies in the photograph."""

    box: Box
    """The part of the photograph that the canvas shows, px of the photograph."""
    shape: tuple[int, int]
    """(h, w) of the canvas, px. Equal to the box's shape where nothing was resampled."""

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels that one photograph pixel spans, along rows and along columns."""
        height, width = self.box.shape
        return self.shape[0] / height, self.shape[1] / width


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What a model was trained on and therefore must be fed: it travels inside the model package."""

    lesions: tuple[str, ...]
    """Codes of the K maps, in the order of the network's outputs."""
    mean: tuple[float, float, float]
    """Subtracted from the R, G, B levels (0 to 255)."""
    std: tuple[float, float, float]
    """What the difference is divided by."""
    view_side: int
    """Side of GlobalNet's square view of the whole canvas, px (the paper: 640)."""
    window_side: int
    """Side of LocalNet's square windows, canvas px (the paper: 256)."""
    overlap: int
    """Canvas px that neighbouring windows share (the paper: 0)."""
    field_diameter: float
    """Median diameter of the training photographs' fields, px."""
    scale_tolerance: float
    """Relative difference of field diameters up to which nothing is resampled."""
    field: FieldRule = "find"
    """How the field of view was got."""
    part: Part = "field"
    """Which part of the photographs was looked at."""
    step: int | None = None
    """Windows may have any sides that are multiples of this, canvas px; None: only `window_side`."""
    glances: Glances = 1
    """Of how many turned and mirrored views GlobalNet's answers are averaged: 1, 4 or all 8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interest:
    """What makes a window worth a close look for the sake of one lesion."""

    cutoff: float
    """`gaze.interest` from which it is."""
    spots: Spots = "none"
    """Which spots count beside GlobalNet's map."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaze:
    """Where LocalNet looks at less than full effort: it travels inside the model package."""

    glances: Glances
    """As in `Contract`; fewer take less time."""
    interests: Mapping[str, Interest]
    """Lesion code -> what makes a window worth a look; one lesion's call is enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How a probability map becomes regions; one a lesion, stated by the model package."""

    threshold: float
    """A pixel is lesion where its probability is at least this, in (0, 1]."""
    minimum_area: int
    """Regions smaller than this are not counted, canvas px (that is: px at the model's scale)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probabilities:
    """One photograph's maps at the model's scale; `stitch.native` brings one to the photograph's frame."""

    lesions: tuple[str, ...]
    """Codes of the K maps."""
    maps: UInt16[np.ndarray, "K h w"]
    """Probability times 65535; 0 outside the field."""
    frame: Frame
    """How the maps lie in the photograph."""
    shape: tuple[int, int]
    """(H, W) of the photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One connected group of lesion pixels (8-connected) in the photograph's own frame."""

    id: int
    """Counts from 1 within a photograph and a lesion, by first pixel in reading order."""
    lesion: str
    """Code."""
    area_px: int
    """Pixels of the photograph."""
    area_mm2: float | None
    """Only where the photograph states its spacing."""
    centroid: tuple[float, float]
    """(row, column), mean of its pixels' centres."""
    box: Box
    """Smallest box that holds it."""
    mean_probability: float
    """Over its pixels in the stored map, 0 to 1."""
    max_probability: float
    """The same."""
