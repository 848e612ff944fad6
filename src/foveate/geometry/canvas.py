"""The canvas: the part of a photograph that is analysed, at the model's scale; and GlobalNet's view of it.

Knows:   boxes, scales, and how coordinates of the photograph and of the canvas correspond.
Ignores: files, networks, and what is in the picture.

photograph --frame--> canvas (model's scale) --global_view--> 640 x 640 for GlobalNet
                                             --tiling------> windows for LocalNet
Continuous coordinates count from the outer edge of the first pixel (centre of pixel i: i + 0.5).

Shape letters: H W photograph, h w canvas, V view side, P points.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float64, Num, UInt8

from foveate.choices import Part
from foveate.errors import GeometryError
from foveate.types import Box, Field, Frame, ModelContract, scaled_shape

PAPER_CROP = (2816, 3328)
"""(rows, columns) of the paper's centre crop of a 2848 x 4288 photograph (section 2.2)."""


def part_box(part: Part, shape: tuple[int, int], field: Field) -> Box:
    """Return the box of the photograph that is analysed.

    Args:
        part: 'field' for the field's box, 'paper' for the centre crop, 'whole' for everything.
        shape: (H, W) of the photograph.
        field: field of view of the photograph.

    Raises:
        GeometryError: the photograph is smaller than the paper's crop.

    Source: the crop is that of Yan et al. 2019, section 2.2; the field's box as default is our choice.
    """
    if part == "field":
        return field.box
    if part == "whole":
        return Box.whole(shape)
    height, width = PAPER_CROP
    if shape[0] < height or shape[1] < width:
        raise GeometryError(
            f"the paper's crop is {height} x {width} px, but the photograph is {shape[0]} x {shape[1]} px; "
            "use --region field"
        )
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return Box(top=top, left=left, bottom=top + height, right=left + width)


def fit_frame(box: Box, field: Field, contract: ModelContract) -> Frame:
    """Return the frame of a box, scaled so that the field has the diameter that the model was trained with.

    If the factor is within the contract's tolerance, nothing is resampled and the canvas has the box's shape.

    Source: our choice (docs/decisions/0003-scale-by-the-field.md).
    """
    ratio = contract.field_diameter / field.diameter
    if abs(math.log(ratio)) <= math.log1p(contract.scale_tolerance):
        return Frame(box=box, shape=box.shape)
    return Frame(box=box, shape=scaled_shape(box.shape, ratio))


def to_canvas(points: Float64[np.ndarray, "P 2"], frame: Frame) -> Float64[np.ndarray, "P 2"]:
    """Map continuous (row, column) coordinates of the photograph to the canvas."""
    return (points - (frame.box.top, frame.box.left)) * frame.scale


def resample(picture: Num[np.ndarray, "H W ..."], shape: tuple[int, int]) -> Num[np.ndarray, "h w ..."]:
    """Resample a picture to a shape: by area averaging if it shrinks, by bilinear interpolation if it grows.

    The outer edges of both pictures coincide, as in `Frame.scale`. A picture that already has the shape is
    returned without a copy. Objects keep their positions: to float precision if the picture grows, or if it
    shrinks by a whole factor; to an eighth of an input pixel if it shrinks by another factor, since averaging
    treats input pixels as flat. When a picture grows, its rim is repeated beyond the centres of the outermost
    input pixels.

    Args:
        picture: a picture with one to four channels, or without a channel axis.
        shape: (h, w) in pixels.

    Source: OpenCV's INTER_AREA and INTER_LINEAR, half-pixel centres.
    """
    if picture.shape[:2] == shape:
        return picture
    shrinks = shape[0] <= picture.shape[0] and shape[1] <= picture.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (shape[1], shape[0]), interpolation=interpolation)
    return resized.reshape(*shape, *picture.shape[2:])  # OpenCV drops an axis of one channel


def shrink(picture: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture whose longer side has at most `side` px; no copy of one that has no more."""
    height, width = picture.shape[:2]
    shrunk: UInt8[np.ndarray, "h w 3"] = resample(
        picture, scaled_shape((height, width), min(1.0, side / max(height, width)))
    )
    return shrunk


def extract_canvas(pixels: UInt8[np.ndarray, "H W 3"], frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    """Crop a photograph to the frame's box, and resample it to the model's scale."""
    return resample(pixels[frame.box.slices], frame.shape)


def global_view(picture: Num[np.ndarray, "h w ..."], side: int) -> Num[np.ndarray, "V V ..."]:
    """Return GlobalNet's view: the whole canvas, resampled to a square of `side` px.

    Each axis has its own scale factor.

    Source: Yan et al. 2019, section 2.2 (2816 x 3328 to 640 x 640, so anisotropic).
    """
    return resample(picture, (side, side))
