"""Prepare the canvas of a photograph: the part to analyse, at the model's scale, and the field within it.

Knows:   the order of the steps: field of view, part, scale, padding.
Ignores: how each step is done, and what the canvas is for. Prediction and training use the same function.

Shape letters: H W photograph, h w canvas, h2 w2 the canvas padded to multiples of the step, N windows, S T
sides of a window.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8

from foveate.choices import Part
from foveate.errors import GeometryError
from foveate.geometry import canvas, field_of_view, tiling
from foveate.inference.settings import FieldChoice
from foveate.types import Box, Field, FieldRule, Frame, ModelContract, Photograph

LARGEST_CANVAS = 120_000_000
"""Largest canvas, in pixels: as many as the largest photograph that is read. Without this limit, a small
field in a large photograph would be enlarged to more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedCanvas:
    """The part of a photograph that is analysed, at the model's scale."""

    contract: ModelContract
    """The contract of the model that the canvas is made for."""
    field: Field
    """The field of view, photograph px."""
    frame: Frame
    """Position and scale of the canvas, without padding, in the photograph."""
    unpadded: UInt8[np.ndarray, "h w 3"]
    """The pixels; a view of the photograph's own, if nothing was resampled."""
    inside: Bool[np.ndarray, "h2 w2"]
    """The mask of the field, padded below and to the right so that both sides are multiples of the step."""

    def padded(self) -> UInt8[np.ndarray, "h2 w2 3"]:
        """Return the pixels, padded with black as the mask is."""
        return _pad(self.unpadded, self.contract.step)

    def windows(
        self, corners: Int64[np.ndarray, "N 2"], side: int | tuple[int, int]
    ) -> UInt8[np.ndarray, "N S T 3"]:
        """Copy windows out of the padded pixels, as `tiling.extract_windows` does.

        Raises:
            GeometryError: a window leaves the padded canvas.
        """
        height, width = self.inside.shape
        return tiling.extract_windows(self.unpadded, corners, side, (height, width))


def prepare_canvas(
    photograph: Photograph,
    contract: ModelContract,
    *,
    field_choice: FieldChoice = "auto",
    part: Part | None = None,
) -> PreparedCanvas:
    """Determine the field of view, and extract the canvas from a photograph.

    Args:
        photograph: the photograph.
        contract: states the scale and the step.
        field_choice: the user's choice of the field of view.
        part: which part is analysed; None for the part that the model was trained on.

    Raises:
        FieldError: no field of view is detected, or the given one is invalid.
        GeometryError: the photograph is smaller than the part, or the canvas would be too large.
    """
    field, frame = find_frame(photograph, contract, field_choice=field_choice, part=part)
    return PreparedCanvas(
        contract=contract,
        field=field,
        frame=frame,
        unpadded=canvas.extract_canvas(photograph.pixels, frame),
        inside=_pad(inside(field, frame), contract.step),
    )


def inside(field: Field, frame: Frame) -> Bool[np.ndarray, "h w"]:
    """Return which pixels of the canvas are in the field, without padding.

    Args:
        field: the field of view, photograph px.
        frame: position and scale of the canvas in the photograph.
    """
    return field_of_view.mask(_to_canvas(field, frame), Box.whole(frame.shape))


def find_frame(
    photograph: Photograph,
    contract: ModelContract,
    *,
    field_choice: FieldChoice = "auto",
    part: Part | None = None,
) -> tuple[Field, Frame]:
    """Return the field of view, and where the canvas will be; arguments and errors as `prepare_canvas`."""
    field = find_field(photograph, field_choice, contract.field)
    box = canvas.part_box(part or contract.part, photograph.shape, field)
    frame = canvas.fit_frame(box, field, contract)
    _require_bounded(frame, field, contract)
    return field, frame


def find_field(photograph: Photograph, choice: FieldChoice, rule: FieldRule) -> Field:
    """Return the field of view: detected, or as the user gave it.

    Args:
        photograph: the photograph.
        choice: the user's choice.
        rule: the meaning of 'auto' for the model: detect the field, or take the whole photograph.

    Raises:
        FieldError: no field of view is detected, or the given one is invalid.
    """
    if choice == "full" or (choice == "auto" and rule == "whole"):
        return field_of_view.full_frame(photograph.shape)
    if choice == "auto":
        return field_of_view.find(photograph.pixels)
    row, column, radius = choice
    return field_of_view.from_circle((row, column), radius, photograph.shape)


def _require_bounded(frame: Frame, field: Field, contract: ModelContract) -> None:
    """Raise GeometryError if the canvas would be larger than any photograph that is read."""
    if math.prod(frame.shape) > LARGEST_CANVAS:
        height, width = frame.shape
        raise GeometryError(
            f"scaling the field of {field.diameter:.0f} px to the model's {contract.field_diameter:.0f} px "
            f"gives a canvas of {height} x {width} px, more than {LARGEST_CANVAS:,} px in all; choose "
            "--region field, or a larger --field"
        )


def _to_canvas(field: Field, frame: Frame) -> Field:
    """Return a field in canvas coordinates, so that `field_of_view.mask` alone defines what is inside.

    Each side of a canvas is a whole number of pixels, so its two scales differ by up to half a pixel over its
    length. A disc scaled by their mean is off by at most half a canvas pixel at the rim. For comparison, a
    field is widened by 1 % of its radius.
    """
    rows, columns = frame.scale
    points = np.array(
        [field.centre, (field.box.top, field.box.left), (field.box.bottom, field.box.right)], np.float64
    )
    (row, column), first, last = canvas.to_canvas(points, frame)
    return Field(
        centre=(float(row), float(column)),
        radius=field.radius * math.sqrt(rows * columns),
        box=Box.from_corners(np.rint([*first, *last]).astype(int).tolist()),
    )


def _pad(array: Shaped[np.ndarray, "h w ..."], step: int | None) -> Shaped[np.ndarray, "h2 w2 ..."]:
    """Add zeros below and to the right until both sides are multiples of a step."""
    height, width = array.shape[:2]
    below, right = (0, 0) if step is None else (-height % step, -width % step)
    if not below and not right:
        return array
    return np.pad(array, [(0, below), (0, right), *[(0, 0)] * (array.ndim - 2)])
