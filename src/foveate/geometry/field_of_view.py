"""Where the lit field of view lies in a photograph.

Knows:   that a fundus camera lights a disc on black, often cut off at top and bottom.
Ignores: what is seen in the field.

Shape letters: H W photograph, h w a box of it, P points.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from foveate.errors import FieldError
from foveate.types import Box, Field

DARK = 10
"""Luma (0 to 255) up to which a pixel counts as the camera's black surround. JPEG noise on black stays below;
Otsu's threshold would cut the dark half off some photographs."""

SMALLEST = 128
"""Smallest diameter of a field, px: less cannot show a lesion."""

MARGIN = 0.01
"""How far the fitted disc is widened, as a share of its radius: `benchmarks/field_coverage.py` counts what is
lost."""

ROUNDNESS = 0.015
"""Largest median distance of the rim from the fitted circle, as a share of the radius."""

FILLING = 0.90
"""Smallest share of the disc, within its box, that must be lit, and of the lit pixels that must lie in the
disc."""


def find(pixels: UInt8[np.ndarray, "H W 3"]) -> Field:
    """Find the field of view: the largest lit patch, if it is a disc.

    The answer moves with the photograph: black borders added around it change nothing but the offset.

    Raises:
        FieldError: nothing is lit, everything is, or what is lit is no disc. There is no full-frame guess.

    Source: our choice; the threshold on luma because Otsu's halves IDRiD_04 and IDRiD_06.
    """
    lit, top, left = _largest_lit_patch(pixels)
    points = _rim(lit)
    centre, radius = _fit_circle(points)
    height, width = lit.shape
    if not SMALLEST / 2 <= radius <= 2 * max(height, width):
        raise FieldError(_no_disc(f"its rim is no circle (radius {radius:.0f} px)"))
    if (centre < 0).any() or (centre > (height, width)).any():  # a sky above a valley, say
        raise FieldError(_no_disc("its centre would lie outside of what is lit"))
    distance = np.abs(np.hypot(*(points - centre).T) - radius)
    if np.median(distance) > ROUNDNESS * radius:
        share = np.median(distance) / radius
        raise FieldError(_no_disc(f"its rim leaves a circle by {share:.1%} of the radius"))
    box = Box(top=top, left=left, bottom=top + height, right=left + width)
    field = Field(
        centre=(float(centre[0] + top), float(centre[1] + left)), radius=radius * (1 + MARGIN), box=box
    )
    _require_filled(field, lit)
    return field


def full_frame(shape: tuple[int, int]) -> Field:
    """Take the whole photograph for the field: the disc through its corners.

    Args:
        shape: (H, W) in pixels.

    Raises:
        FieldError: the photograph is smaller than any field.
    """
    height, width = shape
    if min(shape) < SMALLEST:
        raise FieldError(f"the photograph is {height} x {width} px; a field has at least {SMALLEST} px")
    box = Box(top=0, left=0, bottom=height, right=width)
    return Field(centre=(height / 2, width / 2), radius=math.hypot(height, width) / 2, box=box)


def from_circle(centre: tuple[float, float], radius: float, shape: tuple[int, int]) -> Field:
    """Take a disc that a person named.

    Args:
        centre: (row, column), px of the photograph.
        radius: px.
        shape: (H, W) of the photograph.

    Raises:
        FieldError: the disc is too small or lies outside the photograph.
    """
    height, width = shape
    box = Box(
        top=max(0, math.floor(centre[0] - radius)),
        left=max(0, math.floor(centre[1] - radius)),
        bottom=min(height, math.ceil(centre[0] + radius)),
        right=min(width, math.ceil(centre[1] + radius)),
    )
    if 2 * radius < SMALLEST or min(box.shape) < SMALLEST / 2:
        raise FieldError(
            f"the field {centre[0]:g},{centre[1]:g},{radius:g} leaves too little of the {height} x {width} "
            f"px photograph; give ROW,COL,RADIUS in its pixels, the radius at least {SMALLEST // 2}"
        )
    return Field(centre=centre, radius=radius, box=box)


def mask(field: Field, box: Box) -> Bool[np.ndarray, "h w"]:
    """Say which pixels of a box of the photograph belong to the field: centre in the disc and in its box."""
    rows = np.arange(box.top, box.bottom)
    columns = np.arange(box.left, box.right)
    inside: Bool[np.ndarray, "h w"] = (
        np.add.outer((rows + 0.5 - field.centre[0]) ** 2, (columns + 0.5 - field.centre[1]) ** 2)
        <= field.radius**2
    )
    inside[(rows < field.box.top) | (rows >= field.box.bottom)] = False
    inside[:, (columns < field.box.left) | (columns >= field.box.right)] = False
    return inside


def _no_disc(why: str) -> str:
    return (
        f"no round field of view: {why}; if it is a fundus photograph, "
        "name the field with --field ROW,COL,RADIUS or --field full"
    )


def _largest_lit_patch(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[Bool[np.ndarray, "h w"], int, int]:
    """Return the largest 4-connected lit patch in its bounding box, holes filled, and that box's corner."""
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    _, lit = cv2.threshold(luma, DARK, 1, cv2.THRESH_BINARY)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4, ltype=cv2.CV_32S)
    if count < 2:
        raise FieldError(_no_disc("the photograph is black"))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height, _ = (int(value) for value in stats[largest])
    if min(width, height) < SMALLEST / 2:
        raise FieldError(_no_disc(f"the largest lit patch is {height} x {width} px"))
    patch = (labels[top : top + height, left : left + width] == largest).astype(np.uint8)
    contours, _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(patch), contours, -1, 1, cv2.FILLED)
    return filled.astype(bool), top, left


def _rim(lit: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "P 2"]:
    """Return the outline of a patch as (row, column), without the straight cuts along its bounding box.

    Raises:
        FieldError: hardly any outline is left: the patch is a rectangle.
    """
    contours, _ = cv2.findContours(lit.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len).reshape(-1, 2)[:, ::-1]
    height, width = lit.shape
    near = 2 + round(0.004 * min(height, width))  # a cut is never quite straight after JPEG
    away = ((outline >= near) & (outline < (height - near, width - near))).all(axis=1)
    if away.sum() < 0.2 * len(outline):
        raise FieldError(_no_disc("what is lit fills a rectangle"))
    points: Float64[np.ndarray, "P 2"] = outline[away] + 0.5
    return points


def _fit_circle(points: Float64[np.ndarray, "P 2"]) -> tuple[Float64[np.ndarray, " 2"], float]:
    """Fit a circle by least squares, five times over, each time without the points that lie furthest off.

    Source: algebraic fit, Kasa 1976, doi:10.1109/TIM.1976.6312298; the trimming is our choice.
    """
    origin = points.mean(axis=0)
    kept = points - origin
    everything = kept
    for _ in range(5):
        system = np.column_stack([2 * kept, np.ones(len(kept))])
        (row, column, rest), *_ = np.linalg.lstsq(system, (kept**2).sum(axis=1), rcond=None)
        radius = math.sqrt(max(rest + row**2 + column**2, 0.0))
        distance = np.abs(np.hypot(everything[:, 0] - row, everything[:, 1] - column) - radius)
        kept = everything[distance <= max(np.quantile(distance, 0.8), 1.0)]
    return origin + np.array([row, column]), radius


def _require_filled(field: Field, lit: Bool[np.ndarray, "h w"]) -> None:
    """Raise FieldError unless the disc and the lit patch are about the same."""
    disc = mask(field, field.box)
    common = int((disc & lit).sum())
    if common < FILLING * disc.sum() or common < FILLING * lit.sum():
        raise FieldError(_no_disc("what is lit is no filled disc"))
