"""The values that packages exchange: frozen dataclasses without behaviour beyond their own arithmetic.

Knows:   the parts and units of a photograph, a field, a frame, a map and a region; how a shape is scaled, and
         which levels of a map reach a threshold.
Ignores: how any of them is detected, computed or written.

Coordinates are (row, column), origin top left. A continuous coordinate counts from the outer edge of the
first pixel, so that the centre of pixel i is at i + 0.5 and scaling is a plain multiplication.

Shape letters: H W photograph, h w canvas, K lesions.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, SupportsInt

import numpy as np
from jaxtyping import UInt8, UInt16

from foveate.choices import Part
from foveate.packed_maps import PackedMaps

FieldRule = Literal["find", "whole"]
"""How the field of view is determined: detected as a lit disc, or taken as the whole photograph. The latter
is for photographs that are not from a fundus camera."""

TtaViews = Literal[1, 4, 8]
"""Number of views for test-time augmentation: the view itself, its 4 quarter turns, or all 8 symmetries."""

SMALLEST_PIXEL_MM = 1e-4
"""Smallest extent of a pixel on the retina, mm: less than a wavelength of light, which no camera resolves."""

LevelMap = UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]
"""A map as a file stores it, or some of its rows: levels from 0 to the highest of the file's format."""

Laterality = Literal["R", "L"]
"""Right or left eye."""

BlobPolarity = Literal["none", "dark", "bright"]
"""Which small blobs raise the score of a window: none, or those darker or brighter than their
surroundings."""


def scaled_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return the shape (rows, columns) of a scaled picture, rounded; each side has at least 1 px."""
    rows, columns = (max(1, round(length * factor)) for length in shape)
    return rows, columns


def lowest_level(threshold: float, highest: int) -> int:
    """Return the smallest level whose probability, level / highest, reaches a threshold in [0, 1], exactly.

    It is at least 1 for a threshold above 0.
    """
    start = max(0, math.floor(threshold * highest) - 1)  # floating point may be off by one: count up
    return next(level for level in range(start, highest + 1) if level / highest >= threshold)


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomOrigin:
    """What a DICOM object states beside its pixels, as far as results refer to it; nothing is guessed."""

    uid: str
    """SOP Instance UID, which identifies the object worldwide."""
    frame: int | None
    """Number of the photograph's frame, from 1; None where the object has only one frame."""
    laterality: Laterality | None
    """Right or left eye; None where it is not stated."""
    field_degrees: float | None
    """Horizontal field of view, degrees; None where it is not stated."""
    header: bytes
    """The object without its pixels, as the bytes of a DICOM file: patient, study, camera."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Photograph:
    """One colour photograph of the fundus of an eye, upright (EXIF orientation applied)."""

    pixels: UInt8[np.ndarray, "H W 3"]
    """sRGB, 0 to 255; read-only by convention."""
    source: str
    """Origin of the photograph, for messages and tables: a path, or a name given by the caller."""
    digest: str
    """SHA-256 of the file's bytes, or of the pixels where there is no file; 64 hex digits."""
    spacing: float | None = None
    """Millimetres on the retina for each pixel, where the source states it; never guessed."""
    origin: DicomOrigin | None = None
    """Only for a photograph that was read from DICOM."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        height, width, _ = self.pixels.shape
        return height, width


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A half-open rectangle of whole pixels: rows top <= r < bottom, columns left <= c < right."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "Box":
        """Return the box of a whole picture of (rows, columns)."""
        return cls(top=0, left=0, bottom=shape[0], right=shape[1])

    @classmethod
    def from_corners(cls, corners: Iterable[int]) -> "Box":
        """Return the box of `corners`."""
        top, left, bottom, right = corners
        return cls(top=top, left=left, bottom=bottom, right=right)

    @classmethod
    def from_rectangle(cls, rectangle: Iterable[SupportsInt]) -> "Box":
        """Return the box of (x, y, width, height), as OpenCV and JSON state it."""
        left, top, width, height = map(int, rectangle)
        return cls(top=top, left=left, bottom=top + height, right=left + width)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right)."""
        return self.top, self.left, self.bottom, self.right

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
    """The field of view: a disc, and the box within which the photograph shows it.

    A pixel belongs to the field when it lies in both. Many cameras cut the disc off at top and bottom.
    """

    centre: tuple[float, float]
    """(row, column) of the disc's centre, px of the photograph; it may lie outside the photograph."""
    radius: float
    """Radius of the disc, px of the photograph."""
    box: Box
    """Bounding box of the lit part of the disc, clipped to the photograph."""

    @property
    def diameter(self) -> float:
        """Diameter of the disc, px of the photograph: the measure of scale across cameras."""
        return 2 * self.radius


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The position of a canvas, which is a part of the photograph at the model's scale."""

    box: Box
    """The part of the photograph that the canvas shows, px of the photograph."""
    shape: tuple[int, int]
    """(h, w) of the canvas, px. Equal to the box's shape where nothing was resampled."""

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels for each photograph pixel, along rows and along columns."""
        height, width = self.box.shape
        return self.shape[0] / height, self.shape[1] / width


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelContract:
    """The input that a model was trained on and therefore needs; it is stored in the model package."""

    lesions: tuple[str, ...]
    """Codes of the K maps, in the order of the network's outputs."""
    mean: tuple[float, float, float]
    """Means of the R, G, B levels (0 to 255), which are subtracted."""
    std: tuple[float, float, float]
    """Standard deviations, by which the differences are divided."""
    view_side: int
    """Side of GlobalNet's square view of the whole canvas, px (the paper: 640)."""
    window_side: int
    """Side of LocalNet's square windows, canvas px (the paper: 256)."""
    overlap: int
    """Overlap of neighbouring windows, canvas px (the paper: 0)."""
    field_diameter: float
    """Median diameter of the training photographs' fields, px."""
    scale_tolerance: float
    """Relative difference of field diameters up to which nothing is resampled."""
    field: FieldRule = "find"
    """How the fields of view were determined."""
    part: Part = "field"
    """The part of the photographs that was used."""
    step: int | None = None
    """The sides of windows may be any multiples of this, canvas px; None allows only `window_side`."""
    tta_views: TtaViews = 1
    """Number of turned and mirrored views over which GlobalNet's outputs are averaged: 1, 4 or all 8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionCriterion:
    """The condition under which one lesion selects a window for LocalNet."""

    cutoff: float
    """Lowest `window_selection.selection_score` that selects a window."""
    blobs: BlobPolarity = "none"
    """Which blobs raise the score beside GlobalNet's map."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionRule:
    """The windows in which LocalNet runs at less than full effort; it is stored in the model package."""

    tta_views: TtaViews
    """As in `ModelContract`; fewer views take less time."""
    criteria: Mapping[str, LesionCriterion]
    """Lesion code -> criterion. A window is selected if it meets the criterion of at least one lesion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How the probability map of a lesion becomes regions; the model package has one for each lesion."""

    threshold: float
    """A pixel is lesion where its probability is at least this, in (0, 1]."""
    minimum_area: int
    """Regions smaller than this are left out, canvas px (that is: px at the model's scale)."""
    minimum_evidence: float = 0.0
    """Regions with less evidence are removed from the map (`analysis.region_evidence`), canvas px; 0 removes
    none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probabilities:
    """One photograph's maps at the model's scale; `stitching.native_map` resamples one to the photograph."""

    lesions: tuple[str, ...]
    """Codes of the K maps."""
    maps: PackedMaps
    """K maps of (h, w) px: probability times 65535; 0 outside the field."""
    frame: Frame
    """Position of the maps in the photograph."""
    shape: tuple[int, int]
    """(H, W) of the photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One connected group of lesion pixels (8-connected) in the photograph's pixels."""

    id: int
    """Number within a photograph and a lesion, from 1, ordered by first pixel in reading order."""
    lesion: str
    """Code of the lesion."""
    area_px: int
    """Area, pixels of the photograph."""
    area_mm2: float | None
    """Area, square millimetres; None where the photograph does not state its spacing."""
    centroid: tuple[float, float]
    """(row, column), mean of the centres of its pixels."""
    box: Box
    """Bounding box."""
    mean_probability: float
    """Mean over its pixels in the stored map, 0 to 1."""
    max_probability: float
    """Maximum over its pixels in the stored map, 0 to 1."""
