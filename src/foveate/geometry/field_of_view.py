"""Detect the field of view of a photograph.

Knows:   that a fundus camera shows a lit disc on black, often cut off at top and bottom.
Ignores: what is in the field.

Shape letters: H W photograph, h w a box of it, P points, R rows.
"""

import itertools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8

from foveate.errors import FieldError
from foveate.geometry import lit_rim
from foveate.geometry.lit_rim import LitRim
from foveate.types import Box, Field

DARK = 10
"""Highest luma (0 to 255) of the camera's black surround. JPEG noise on black stays below it; Otsu's
threshold would cut the dark half off some photographs."""

SMALLEST = 128
"""Smallest diameter of a field, px; a smaller one cannot show a lesion."""

LARGEST = 100
"""Largest radius of a field that a user gives, as a multiple of the photograph's longer side: it is then seen
at a few pixels, and squares of much larger numbers would exceed what floats hold."""

MARGIN = 0.01
"""Share of the radius by which the fitted disc is widened. `benchmarks/field_coverage.py` counts the lesion
pixels that are lost."""

ROUNDNESS = 0.015
"""Largest median distance of the rim from the fitted circle, as a share of the radius."""

FILLING = 0.90
"""Smallest share of the disc, within its box, that must be lit, and of the lit pixels that must lie in the
disc."""

DISAGREEMENT = 0.01
"""Largest difference of centre and radius, as a share of the radius, between the disc of the lit patch and
the circle of the lit rim. A larger difference means that glow around the disc is brighter than `DARK`."""

EMPTY = 2**40
"""A column beyond any photograph: in a row without pixels of the disc, the chord ends before it begins."""

DIM = 60.0
"""Brightness of a field, 0 to 255, below which the threshold `DARK` cuts too much off the lit patch, and the
circle of the lit rim is preferred. The darkest of 223 photographs has 72, the median one 162."""


PARTS = (2, 3, 4)
"""Numbers of equal parts in which photographs that touch are looked for."""

OTHER_EYE = 0.4
"""Smallest area of a lit patch outside the field, as a share of the disc's, that may be a second eye: two
eyes in one picture have about equal areas."""

OVERVIEW = 512
"""Approximate longer side of the reduced photograph that is searched for a second eye, px."""


def find(pixels: UInt8[np.ndarray, "H W 3"]) -> Field:
    """Detect the only field of view, as `find_largest` does, and reject photographs with a second one.

    Raises:
        FieldError: as in `find_largest`, or there is a second disc: two eyes in one picture.
    """
    try:
        field = find_largest(pixels)
    except FieldError:
        _require_no_touching_eyes(pixels)
        raise
    _require_one_eye(pixels, field)
    return field


def find_largest(pixels: UInt8[np.ndarray, "H W 3"]) -> Field:
    """Detect the largest field of view: the disc of the largest lit patch, or the circle of its lit rim.

    The circle of the lit rim is used only if the patch is not a disc, as in photographs of dark eyes, if
    the field is dim, or if the patch clearly disagrees with the rim. Black borders around a photograph shift
    its field and change nothing else.

    Raises:
        FieldError: nothing is lit, everything is lit, or the lit part is not a disc and too little of a rim
            is lit. The whole photograph is never used instead.

    Source: our choice; the threshold on luma is fixed because Otsu's cuts IDRiD_04 and IDRiD_06 in half.
    """
    rim = lit_rim.fit(pixels)
    try:
        field = _disc_of_patch(pixels)
    except FieldError:
        if rim is None or 2 * rim.radius < SMALLEST:
            raise
        return _field_of_rim(rim)
    if rim is None or (rim.brightness >= DIM and _agree(field, rim)):
        return field
    return _field_of_rim(rim)


def _require_one_eye(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> None:
    """Raise FieldError if another field of view lies beside the detected one."""
    if not _may_show_another(pixels, field):
        return
    rest = pixels.copy()
    rest[field.box.slices][mask(field, field.box)] = 0
    try:
        other = find_largest(rest)
    except FieldError:  # the rest is glow, a frame or a label
        return
    raise FieldError(_two_discs(field.centre, other.centre))


def _two_discs(first: tuple[float, float], second: tuple[float, float]) -> str:
    """Return the error message for a picture of two eyes, from their centres (row, column), px."""
    return (
        f"two fields of view: discs around (row {first[0]:.0f}, column {first[1]:.0f}) and "
        f"({second[0]:.0f}, {second[1]:.0f}); save each eye as a photograph of its "
        "own, or choose one with --field ROW,COL,RADIUS"
    )


def _require_no_touching_eyes(pixels: UInt8[np.ndarray, "H W 3"]) -> None:
    """Raise FieldError if equal parts of a photograph, in a row or a column, each have a field of their own.

    Where the camera cuts fields off at top and bottom, those of stacked photographs touch in one lit patch.
    """
    for axis, count in itertools.product((0, 1), PARTS):
        centres = _centres_of_parts(pixels, axis, count)
        if centres:
            raise FieldError(_two_discs(*centres[:2]))


def _centres_of_parts(pixels: UInt8[np.ndarray, "H W 3"], axis: int, count: int) -> list[tuple[float, float]]:
    """Return the centres of the fields of equal parts along an axis; empty unless each has one of its own."""
    if pixels.shape[axis] < count * SMALLEST:
        return []
    centres: list[tuple[float, float]] = []
    start = np.zeros(2)
    for part in np.array_split(pixels, count, axis):
        try:
            field = find_largest(np.ascontiguousarray(part))
        except FieldError:
            return []
        row, column = start + field.centre
        if centres and math.dist(centres[-1], (row, column)) < field.radius:  # two parts of one disc
            return []
        centres.append((float(row), float(column)))
        start[axis] += part.shape[axis]
    return centres


def _may_show_another(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> bool:
    """Return whether a lit patch outside the field is large enough to be another field."""
    step = max(1, max(pixels.shape) // OVERVIEW)
    luma = cv2.cvtColor(np.ascontiguousarray(pixels[::step, ::step]), cv2.COLOR_RGB2GRAY)
    rows, columns = (
        np.arange(length) * step + 0.5 - c for length, c in zip(luma.shape, field.centre, strict=True)
    )
    outside = np.add.outer(rows**2, columns**2) > field.radius**2
    lit = ((luma > DARK) & outside).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4, ltype=cv2.CV_32S)
    largest = int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))
    return bool(largest * step**2 > OTHER_EYE * math.pi * field.radius**2)


def _agree(field: Field, rim: LitRim) -> bool:
    """Return whether a field's disc and the circle of the lit rim are about the same."""
    apart = max(math.dist(field.centre, rim.centre), abs(field.radius / (1 + MARGIN) - rim.radius))
    return apart <= DISAGREEMENT * rim.radius


def _field_of_rim(rim: LitRim) -> Field:
    return Field(centre=rim.centre, radius=rim.radius * (1 + MARGIN), box=rim.box)


def _disc_of_patch(pixels: UInt8[np.ndarray, "H W 3"]) -> Field:
    """Return the disc of the largest lit patch.

    Raises:
        FieldError: there is no lit patch, or it is not a disc.
    """
    lit, box = _largest_lit_patch(pixels)
    points = _rim(lit)
    centre, radius = _fit_circle(points)
    height, width = lit.shape
    if not SMALLEST / 2 <= radius <= 2 * max(height, width):
        raise FieldError(_no_disc(f"its rim is not a circle (radius {radius:.0f} px)"))
    if (centre < 0).any() or (centre > (height, width)).any():  # a sky above a valley, for example
        raise FieldError(_no_disc("its centre would be outside the lit area"))
    distance = np.abs(np.hypot(*(points - centre).T) - radius)
    if np.median(distance) > ROUNDNESS * radius:
        share = np.median(distance) / radius
        raise FieldError(_no_disc(f"its rim deviates from a circle by {share:.1%} of the radius"))
    field = Field(
        centre=(float(centre[0] + box.top), float(centre[1] + box.left)),
        radius=radius * (1 + MARGIN),
        box=box,
    )
    _require_filled(field, lit)
    return field


def full_frame(shape: tuple[int, int]) -> Field:
    """Return the whole photograph as the field: the disc through its corners.

    Args:
        shape: (H, W) in pixels.

    Raises:
        FieldError: the photograph is smaller than any field.
    """
    height, width = shape
    if min(shape) < SMALLEST:
        raise FieldError(
            f"the photograph is {height} x {width} px, but a field of view needs at least {SMALLEST} px on "
            "each side; give the original"
        )
    return Field(centre=(height / 2, width / 2), radius=math.hypot(height, width) / 2, box=Box.whole(shape))


def from_circle(centre: tuple[float, float], radius: float, shape: tuple[int, int]) -> Field:
    """Return the field for a disc that the user gives.

    Args:
        centre: (row, column), px of the photograph.
        radius: px.
        shape: (H, W) of the photograph.

    Raises:
        FieldError: the disc is too small or too large, or lies outside the photograph.
    """
    height, width = shape
    largest = LARGEST * max(shape)
    if not (all(map(math.isfinite, centre)) and radius <= largest):  # NaN fails both
        raise FieldError(
            f"the field {centre[0]:g},{centre[1]:g},{radius:g} is no disc in a {height} x {width} px "
            f"photograph; give ROW,COL,RADIUS in its pixels, with a radius of at most {largest}"
        )
    box = Box(
        top=max(0, math.floor(centre[0] - radius)),
        left=max(0, math.floor(centre[1] - radius)),
        bottom=min(height, math.ceil(centre[0] + radius)),
        right=min(width, math.ceil(centre[1] + radius)),
    )
    nearest = (min(max(centre[0], 0), height), min(max(centre[1], 0), width))
    reach = radius - math.dist(centre, nearest)  # px of the disc's radius within the photograph
    if 2 * radius < SMALLEST or min(*box.shape, reach) < SMALLEST / 2:
        raise FieldError(
            f"the field {centre[0]:g},{centre[1]:g},{radius:g} covers too little of the {height} x {width} "
            f"px photograph; give ROW,COL,RADIUS in its pixels, with a radius of at least {SMALLEST // 2}"
        )
    return Field(centre=centre, radius=radius, box=box)


def mask(field: Field, box: Box) -> Bool[np.ndarray, "h w"]:
    """Return a mask of the pixels of a box whose centres lie in the field's disc and in its box."""
    inside = np.zeros(box.shape, bool)
    for row, start, end in zip(*_spans(field, box), strict=True):
        inside[row, start:end] = True
    return inside


def area(field: Field) -> int:
    """Return the number of pixels whose centres lie in the field's disc and in its box."""
    _, starts, ends = _spans(field, field.box)
    return int(np.maximum(ends - starts, 0).sum())


def _spans(field: Field, box: Box) -> tuple[Int64[np.ndarray, " R"], ...]:
    """Return the rows of the field within a box, and the columns where it begins and ends in each.

    Rows and columns count from the box's corner. A row without pixels of the field does not end after its
    beginning.
    """
    rows = np.arange(max(box.top, field.box.top), min(box.bottom, field.box.bottom))
    left, right = max(box.left, field.box.left), min(box.right, field.box.right)
    first, last = _chords(field, rows)
    starts, ends = (np.clip(columns, left, right) - box.left for columns in (first, last + 1))
    return rows - box.top, starts, ends


def _chords(field: Field, rows: Int64[np.ndarray, " R"]) -> tuple[Int64[np.ndarray, " R"], ...]:
    """Return the first and the last column of the disc in each row.

    If a row has no pixel of the disc, its last column is before its first. A square root gives the columns to
    within one; the disc's inequality decides between them and their neighbours, so that rounding of the root
    does not matter.
    """
    heights = (rows + 0.5 - field.centre[0]) ** 2
    half = np.sqrt(np.maximum(field.radius**2 - heights, 0))
    chords = []
    for sign in (-1, 1):
        outermost = np.rint(field.centre[1] + sign * half - 0.5).astype(np.int64) + sign
        nearby = outermost[:, np.newaxis] - sign * np.arange(3)  # from the outside in
        is_inside = heights[:, np.newaxis] + (nearby + 0.5 - field.centre[1]) ** 2 <= field.radius**2
        column = np.take_along_axis(nearby, is_inside.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
        chords.append(np.where(is_inside.any(axis=1), column, -sign * EMPTY))
    return tuple(chords)


def _no_disc(reason: str) -> str:
    """Return the error message for a photograph without a round field of view."""
    return (
        f"no round field of view: {reason}; if this is a fundus photograph, give the field with "
        "--field ROW,COL,RADIUS or --field full"
    )


def _largest_lit_patch(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[Bool[np.ndarray, "h w"], Box]:
    """Return the largest 4-connected lit patch, cut to its bounding box with holes filled, and the box."""
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    _, lit = cv2.threshold(luma, DARK, 1, cv2.THRESH_BINARY)
    patch, box = _patch_of_most(lit) or _patch_by_labels(lit)
    contours, _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(patch), contours, -1, 1, cv2.FILLED)
    return filled.view(bool), box


def _patch_of_most(lit: UInt8[np.ndarray, "H W"]) -> tuple[UInt8[np.ndarray, "h w"], Box] | None:
    """Return the lit patch in the middle of the photograph if it has most of the lit pixels, else None.

    In that case no other patch can be larger. A flood fill takes a fifth of the time of labelling all
    patches. The fill marks the patch in `lit`; the mark is removed if another patch may be the largest.
    """
    row = len(lit) // 2
    columns = np.flatnonzero(lit[row])
    if not len(columns):
        return None
    seed = int(columns[len(columns) // 2]), row
    total = cv2.countNonZero(lit)
    area, _, _, rectangle = cv2.floodFill(lit, None, seed, 2, flags=4)
    if 2 * area <= total:
        cv2.floodFill(lit, None, seed, 1, flags=4)
        return None
    box = _patch_box(rectangle)
    return (lit[box.slices] == 2).view(np.uint8), box


def _patch_by_labels(lit: UInt8[np.ndarray, "H W"]) -> tuple[UInt8[np.ndarray, "h w"], Box]:
    """Return the largest of all lit patches.

    Raises:
        FieldError: there is none, or it is too small.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4, ltype=cv2.CV_32S)
    if count < 2:
        raise FieldError(_no_disc("the photograph is black"))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    box = _patch_box(stats[largest, :4])
    return (labels[box.slices] == largest).view(np.uint8), box


def _patch_box(rectangle: Sequence[int] | Int32[np.ndarray, " 4"]) -> Box:
    """Return the bounding box of a patch from OpenCV's (x, y, width, height).

    Raises:
        FieldError: the patch is too small.
    """
    box = Box.from_rectangle(rectangle)
    height, width = box.shape
    if min(width, height) < SMALLEST / 2:
        raise FieldError(_no_disc(f"the largest lit patch is {height} x {width} px"))
    return box


def _rim(lit: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "P 2"]:
    """Return the outline of a patch as (row, column), without the parts along its bounding box.

    Those parts may be cuts by the camera.

    Raises:
        FieldError: too little of the outline is left, so the patch is a rectangle.
    """
    contours, _ = cv2.findContours(lit.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len).reshape(-1, 2)[:, ::-1]
    height, width = lit.shape
    margin = 2 + round(0.004 * min(height, width))  # a cut is never quite straight after JPEG
    is_rim = ((outline >= margin) & (outline < (height - margin, width - margin))).all(axis=1)
    if is_rim.sum() < 0.2 * len(outline):
        raise FieldError(_no_disc("the lit area is a rectangle"))
    points: Float64[np.ndarray, "P 2"] = outline[is_rim] + 0.5
    return points


def _fit_circle(points: Float64[np.ndarray, "P 2"]) -> tuple[Float64[np.ndarray, " 2"], float]:
    """Fit a circle by least squares five times, each time without the points furthest from the last circle.

    Source: the trimming is our choice.
    """
    origin = points.mean(axis=0)
    centred = points - origin
    selected = centred
    for _ in range(5):
        centre, radius = lit_rim.solve_circle(selected)
        distance = np.abs(np.hypot(*(centred - centre).T) - radius)
        selected = centred[distance <= max(np.quantile(distance, 0.8), 1.0)]
    return origin + centre, radius


def _require_filled(field: Field, lit: Bool[np.ndarray, "h w"]) -> None:
    """Raise FieldError unless the disc and the lit patch cover about the same pixels."""
    disc = mask(field, field.box)
    common, larger = np.count_nonzero(disc & lit), max(np.count_nonzero(disc), np.count_nonzero(lit))
    if common < FILLING * larger:
        raise FieldError(_no_disc("the lit area is not a filled disc"))
