"""Assess the quality of a photograph: the reasons why its results are less reliable.

These reasons are warnings; they never block anything.

Knows:   the sharpness and the exposure of a field, the visible share of its full disc, and its size.
Ignores: lesions, networks, and where the photograph comes from.

Everything is measured inside the field and relative to its diameter. A photograph and a smaller copy of it
therefore get the same codes, except for 'small'.

The limits are our choice, based on 223 photographs: 160 of IDRiD's grading part, 54 of its segmentation part,
and 9 of two other cameras. Of these, 212 get no code; 10 get 'blur' (9 are faint, most of them because of
haze, and 1 is soft); and 2 get 'exposure' (the darkest; one of them is also faint). The codes of 45
photographs that were degraded on purpose:

| degradation                                          | code     | given to    |
|------------------------------------------------------|----------|-------------|
| smoothing, sigma 6 px at a diameter of 3450          | blur     | 45          |
| the same, then JPEG of quality 50                    | blur     | 45          |
| the same, then noise of 4 levels                     | blur     | at least 41 |
| smoothing, sigma 4 px                                | blur     | at least 29 |
| levels times .3, .4, .5                              | exposure | 45, 39, 13  |
| levels times 1.5, 2, 2.5                             | exposure | 6, 31, 42   |
| cropping 8 % of the diameter at the left             | cut      | 45          |
| cropping 10 % of it at the top                       | cut      | 45          |

Shape letters: H W photograph, h w a picture of the field, N samples.
"""

import math
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from foveate.analysis.retinal_view import resize_field
from foveate.types import Field, Photograph

DIAMETER = 1000
"""Diameter of the field at which sharpness is measured, px; a photograph with a smaller field is 'small'. Of
the 2412 microaneurysms marked in IDRiD's training photographs 6 % would be narrower than 3 px at 1000, 21 %
at 800, 32 % at 700."""

SHARPNESS = 0.55
"""Lower limit, else 'blur': contrast of details 1 to 2 px wide, at `DIAMETER`, divided by that of details 2
to 4 px wide. Finer details would show the noise, not the eye. Originals have .54 to 1.01; smoothed with sigma
6 px at a diameter of 3450 they have .41 to .52."""

FAINT = 0.7
"""Lower limit, else 'blur': contrast (standard deviation) of details 2 to 4 px wide, levels of green; the
median is 1.5. Haze leaves so little contrast that noise exceeds it, and noise looks sharp."""

MEASURED_RADIUS = 0.95
"""Share of the field's radius that is measured: the rim itself is an edge, and is often unlike the rest of
the field."""

LUMA = (45, 155)
"""Limits of the field's median luma (0 to 255), else 'exposure'."""

BLACK, WHITE = 25, 240
"""Luma (0 to 255) below and above which details are lost."""

LOST = 0.10
"""Upper limit, else 'exposure': share of the field that is darker than `BLACK` or lighter than `WHITE`."""

VISIBLE = 0.75
"""Lower limit, else 'cut': share of the field's full disc that the photograph shows. IDRiD's camera
shows 85 to 92 %, HRF's 82 %."""

ASYMMETRY = 0.10
"""Upper limit, else 'cut': difference between the extents of the disc to two opposite sides, as a share of
its radius. Cameras cut top and bottom alike, within .06."""


BLUENESS = 1.0
"""Upper limit, else 'colour': mean level of blue in the field divided by that of red. The bluest of 223
photographs has .48; with red and blue swapped, the least blue one has 2.1."""

GREENNESS = 1.0
"""Upper limit, else 'colour': the same of green, which is brighter than red in autofluorescence or red-free
light that was saved in green. The greenest of 223 photographs has .63."""


def assess(photograph: Photograph, field: Field) -> tuple[str, ...]:
    """Return the quality codes of a photograph, sorted; most photographs have none.

    Args:
        photograph: the photograph.
        field: its field of view.

    Returns:
        Some of
        'colour': blue is brighter than red, as happens when the two are swapped, or green is;
        'blur': out of focus, hazy, or so faint that noise hides the details;
        'cut': more of the field's disc is missing than cameras leave out, or it is missing on one side
        only. A photograph whose field was given as 'full' always has this code, since it shows no rim;
        'exposure': too dark, too light, or with much of the field lost in black or white;
        'small': so small that microaneurysms can hardly be distinguished from noise.

    Source: our choice.
    """
    checks = {
        "blur": _is_blurred(photograph.pixels, field),
        "colour": _is_oddly_coloured(photograph.pixels, field),
        "cut": _is_cut(field),
        "exposure": _is_ill_exposed(photograph.pixels, field),
        "small": field.diameter < DIAMETER,
    }
    return tuple(sorted(code for code, applies in checks.items() if applies))


def _is_blurred(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> bool:
    """Return whether fine details have too little contrast in green, where vessels and lesions show best."""
    green = cv2.extractChannel(pixels, 1)
    picture = resize_field(green, field, DIAMETER).astype(np.float32)
    blurred = [cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1, 2, 4)]
    inside = _inside(field, picture.shape, MEASURED_RADIUS).astype(np.uint8)
    fine, coarse = (cv2.meanStdDev(sharp - soft, mask=inside)[1].item() for sharp, soft in pairwise(blurred))
    return bool(fine < SHARPNESS * coarse or coarse < FAINT)


def _is_oddly_coloured(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> bool:
    """Return whether the field is brighter in blue or in green than in red, which no retina is."""
    red, green, blue = _samples(pixels, field).mean(axis=0)
    return bool(blue > BLUENESS * red or green > GREENNESS * red)


def _is_ill_exposed(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> bool:
    """Return whether the field is too dark or too light, as a whole or in a large part."""
    luma = cv2.cvtColor(_samples(pixels, field)[np.newaxis], cv2.COLOR_RGB2GRAY)
    clipped_share = ((luma < BLACK) | (luma > WHITE)).mean()
    return not LUMA[0] <= np.median(luma) <= LUMA[1] or bool(clipped_share > LOST)


def _samples(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> UInt8[np.ndarray, "N 3"]:
    """Return the levels of some 50,000 pixels of the field: enough for a median."""
    step = max(1, int(field.diameter / 256))
    samples = np.ascontiguousarray(pixels[field.box.slices][::step, ::step])
    inside = _inside(field, samples.shape[:2], MEASURED_RADIUS)
    if not inside.any():  # a field that the user gave may show its rim only
        inside[:] = True
    return np.asarray(samples[inside])


def _inside(field: Field, shape: tuple[int, int], share: float) -> Bool[np.ndarray, "h w"]:
    """Return the mask of a disc around the field's centre, in a picture of the field's box.

    Args:
        field: the field of view.
        shape: (h, w) of the picture, which may be resampled, px.
        share: radius of the disc, as a share of the field's.
    """
    box = field.box
    rows = box.top + (np.arange(shape[0]) + 0.5) * box.shape[0] / shape[0] - field.centre[0]
    columns = box.left + (np.arange(shape[1]) + 0.5) * box.shape[1] / shape[1] - field.centre[1]
    return np.add.outer(rows**2, columns**2) <= (share * field.radius) ** 2


def _is_cut(field: Field) -> bool:
    """Return whether more of the field's disc is missing than cameras leave out."""
    box = field.box
    top, bottom = field.centre[0] - box.top, box.bottom - field.centre[0]
    left, right = field.centre[1] - box.left, box.right - field.centre[1]
    is_asymmetric = max(abs(top - bottom), abs(left - right)) > ASYMMETRY * field.radius
    share = _inside(field, (256, 256), 1.0).mean()  # of the box, on a grid fine enough for half a percent
    visible = share * math.prod(box.shape) / (math.pi * field.radius**2)
    return is_asymmetric or bool(visible < VISIBLE)
