"""What may make the answer on a photograph less sure: it warns and never blocks.

Knows:   how sharp and how well lit a field is, how much of its disc is seen, and its size.
Ignores: lesions, networks, and where the photograph came from.

Everything is measured inside the field and relative to its diameter: a photograph and a smaller copy of it
get the same codes, but for 'small'.

The limits are our choice, made on 223 photographs: 160 of IDRiD's grading part, 54 of its segmentation part,
9 of two other cameras. Of these 212 get no code, 10 'blur' (9 are faint, most of them by haze, 1 is soft), 2
'exposure' (the darkest; one is faint as well). Of 45 that were spoilt on purpose:

| spoilt by                                            | code     | given to    |
|------------------------------------------------------|----------|-------------|
| smoothing, sigma 6 px at a diameter of 3450          | blur     | 45          |
| the same, then JPEG of quality 50                    | blur     | 45          |
| the same, then noise of 4 levels                     | blur     | at least 41 |
| smoothing, sigma 4 px                                | blur     | at least 29 |
| levels times .3, .4, .5                              | exposure | 45, 39, 13  |
| levels times 1.5, 2, 2.5                             | exposure | 6, 31, 42   |
| cropping 8 % of the diameter at the left             | cut      | 45          |
| cropping 10 % of it at the top                       | cut      | 45          |

Shape letters: H W photograph, h w a picture of the field.
"""

import math
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from foveate.types import Field, Photograph

DIAMETER = 1000
"""Of the field, px: at this size sharpness is judged, and below it a photograph is 'small'. Of the 2412
microaneurysms marked in IDRiD's training photographs 6 % would be narrower than 3 px at 1000, 21 % at 800,
32 % at 700."""

SHARPNESS = 0.55
"""Below, 'blur': contrast of details 1 to 2 px wide, at `DIAMETER`, over that of details 2 to 4 px wide.
Finer ones would tell more of the noise than of the eye. As photographed .54 to 1.01; smoothed with sigma
6 px at a diameter of 3450, .41 to .52."""

FAINT = 0.7
"""Below, 'blur': contrast (standard deviation) of details 2 to 4 px wide, levels of green. Haze leaves so
little that noise outweighs it, and noise looks sharp; median 1.5."""

SOLE = 0.95
"""Share of the field's radius that is judged: the rim itself is an edge, and often unlike the rest."""

LUMA = (45, 155)
"""Outside, 'exposure': range of the field's median luma, 0 to 255."""

BLACK, WHITE = 25, 240
"""Luma beyond which nothing is told apart any more."""

LOST = 0.10
"""Above, 'exposure': share of the field that is beyond `BLACK` or `WHITE`."""

SEEN = 0.75
"""Below, 'cut': share of the disc that the photograph shows. IDRiD's camera shows 85 to 92 %, HRF's 82 %."""

LOPSIDED = 0.10
"""Above, 'cut': by how much two opposite sides of the disc reach differently far, as a share of its radius.
Cameras cut top and bottom alike, within .06."""


def assess(photograph: Photograph, field: Field) -> tuple[str, ...]:
    """Return the reasons to doubt a photograph, sorted; none is the rule.

    Args:
        photograph: as read.
        field: its field of view.

    Returns:
        Some of
        'blur': out of focus, hazy, or so faint that details drown in noise;
        'cut': more of the disc is missing than cameras leave out, or on one side only. Always there
        where the field was given as 'full': such a photograph shows no rim;
        'exposure': too dark, too light, or much of it lost in black or white;
        'small': microaneurysms can hardly be told from noise.

    Source: our choice.
    """
    checks = {
        "blur": _is_blurred(photograph.pixels, field),
        "cut": _is_cut(field),
        "exposure": _is_ill_exposed(photograph.pixels, field),
        "small": field.diameter < DIAMETER,
    }
    return tuple(sorted(code for code, so in checks.items() if so))


def _is_blurred(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> bool:
    """Whether details fade as they get finer; in green, where vessels and lesions show best."""
    ratio = DIAMETER / field.diameter
    height, width = (max(1, round(length * ratio)) for length in field.box.shape)
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    green = cv2.extractChannel(pixels[field.box.slices], 1)
    picture = cv2.resize(green, (width, height), interpolation=how).astype(np.float32)
    softer = [cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1, 2, 4)]
    inside = _inside(field, (height, width), SOLE).astype(np.uint8)
    fine, coarse = (cv2.meanStdDev(sharp - soft, mask=inside)[1].item() for sharp, soft in pairwise(softer))
    return bool(fine < SHARPNESS * coarse or coarse < FAINT)


def _is_ill_exposed(pixels: UInt8[np.ndarray, "H W 3"], field: Field) -> bool:
    """Whether the field is too dark or too light, as a whole or in a large part."""
    step = max(1, int(field.diameter / 256))  # some 50,000 places are enough for a median
    thinned = np.ascontiguousarray(pixels[field.box.slices][::step, ::step])
    luma = cv2.cvtColor(thinned, cv2.COLOR_RGB2GRAY)[_inside(field, thinned.shape[:2], SOLE)]
    lost = ((luma < BLACK) | (luma > WHITE)).mean()
    return not LUMA[0] <= np.median(luma) <= LUMA[1] or bool(lost > LOST)


def _inside(field: Field, shape: tuple[int, int], share: float) -> Bool[np.ndarray, "h w"]:
    """Say which pixels of a picture of the field's box, of any size, lie within a share of the radius."""
    box = field.box
    rows = box.top + (np.arange(shape[0]) + 0.5) * box.shape[0] / shape[0] - field.centre[0]
    columns = box.left + (np.arange(shape[1]) + 0.5) * box.shape[1] / shape[1] - field.centre[1]
    return np.add.outer(rows**2, columns**2) <= (share * field.radius) ** 2


def _is_cut(field: Field) -> bool:
    """Whether more of the disc is missing than cameras leave out."""
    box = field.box
    top, bottom = field.centre[0] - box.top, box.bottom - field.centre[0]
    left, right = field.centre[1] - box.left, box.right - field.centre[1]
    lopsided = max(abs(top - bottom), abs(left - right)) > LOPSIDED * field.radius
    share = _inside(field, (256, 256), 1.0).mean()  # of the box, on a grid fine enough for half a percent
    shown = share * math.prod(box.shape) / (math.pi * field.radius**2)
    return lopsided or bool(shown < SEEN)
