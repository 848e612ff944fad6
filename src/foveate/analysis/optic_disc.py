"""Find the optic disc: the bright round patch of the field from which the vessels spread.

Knows:   how wide a disc is relative to the field, and that vessels run towards it.
Ignores: networks; nothing here is learnt.

The candidates are the three places where a bright patch and the convergence of vessels coincide best. A
circle is fitted to the rim around each, and the place with the best product of both scores is taken. The
figures, and the photographs on which the settings were chosen, are in docs/results/landmarks.md.

Shape letters: h w small view, k side of a kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from foveate.analysis import retinal_view
from foveate.analysis.retinal_view import DIAMETER, RetinalView

USUAL = 0.145
"""Usual diameter of a disc, as a share of the field's: 1.8 mm in a field of 45 degrees (some 12.4 mm)."""

LIMITS = (0.10, 0.21)
"""Smallest and largest diameter tried, as shares of the field's, for fields of some 60 to 30 degrees."""

SPREAD = 0.5
"""Width of the preference for the usual diameter, in natural logarithms of the ratio: a rim at the limits
counts three quarters. A narrower preference made the large discs too small."""

VISIBLE = 0.7
"""Smallest share of a disc that must lie in the field."""

CANDIDATES = 3
"""Number of places at which a rim is fitted, since exudates or fibrosis may score highest (our choice)."""

REACH = 0.4
"""Largest distance between the bright place and the rim's centre, in usual diameters; a rim at
this distance counts half."""

RADIUS_STEP = 1.5
"""Step between the radii that are tried, px of the view: the assumed width of the rim."""

LEAST_CONFIDENCE = 0.5
"""Smallest confidence at which a place is taken for a disc."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpticDisc:
    """An optic disc that the program placed."""

    centre: tuple[float, float]
    """(row, column), px of the photograph."""
    diameter: float
    """Diameter of the circle that fits the rim best, px of the photograph."""
    confidence: float
    """How far the place stands out, `LEAST_CONFIDENCE` to 1: 1 minus the score of the next best place divided
    by its own score. It is not a probability."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _FittedCircle:
    """A circle fitted to a rim, in px of the view."""

    centre: tuple[float, float]
    diameter: float
    contrast: float
    """Mean slope across the rim, 0 to 1: 1 if it is everywhere as steep as the steepest 5 % nearby."""


def find(view: RetinalView) -> OpticDisc | None:
    """Find the optic disc, or return None where no place stands out.

    Source: vessels that converge, Hoover and Goldbaum 2003, doi:10.1109/TMI.2003.815900; a circle at the
    rim after vessels are closed, Aquino et al. 2010, doi:10.1109/TMI.2010.2053042. How they are combined is
    our choice.
    """
    circles = [(score, _fit_rim(view, place)) for score, place in _bright_places(_score_map(view))]
    ranked = sorted(
        ((score * circle.contrast, circle) for score, circle in circles), key=lambda pair: -pair[0]
    )
    if not ranked or ranked[0][0] <= 0:
        return None
    best, circle = ranked[0]
    confidence = 1 - (ranked[1][0] / best if len(ranked) > 1 else 0)
    if confidence < LEAST_CONFIDENCE:
        return None
    return OpticDisc(
        centre=view.to_photograph(circle.centre),
        diameter=circle.diameter / view.mean_scale,
        confidence=confidence,
    )


def _bright_places(score: Float32[np.ndarray, "h w"]) -> Iterator[tuple[float, tuple[int, int]]]:
    """Yield the highest scores and their pixels (row, column), more than a disc diameter apart."""
    rest = score.copy()
    rows, columns = np.indices(score.shape)
    for _ in range(CANDIDATES):
        row, column = (int(index) for index in np.unravel_index(rest.argmax(), rest.shape))
        if rest[row, column] <= 0:
            return
        yield float(rest[row, column]), (row, column)
        rest[np.hypot(rows - row, columns - column) <= USUAL * DIAMETER] = 0


def _score_map(view: RetinalView) -> Float32[np.ndarray, "h w"]:
    """Return brightness times convergence of vessels for a disc centred at each pixel.

    It is 0 where no disc fits into the field.
    """
    weight = view.inside.astype(np.float32)
    patch, ring = _patch_kernels()
    visible = retinal_view.correlate(weight, patch)
    contrast = _mean(view.brightness, weight, patch) - _mean(view.brightness, weight, ring)
    score = np.maximum(contrast, 0) * np.maximum(_convergence(view, weight), 0)
    return np.where(view.inside & (visible > VISIBLE), score, 0).astype(np.float32)


def _mean(
    values: Float32[np.ndarray, "h w"], weight: Float32[np.ndarray, "h w"], kernel: Float32[np.ndarray, "k k"]
) -> Float32[np.ndarray, "h w"]:
    """Return the mean over the part of a kernel that lies in the field; values outside must be 0."""
    total, mass = retinal_view.correlate(values, kernel), retinal_view.correlate(weight, kernel)
    return np.asarray(total / np.maximum(mass, 0.2), np.float32)


def _convergence(view: RetinalView, weight: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return how strongly the vessels around each pixel point at it, plus how strongly they run vertically.

    Vessels leave the disc upwards and downwards, whichever way they turn later.
    """
    vessels = view.vessels
    near, cosine, sine = _spoke_kernels()
    across_cos, across_sin = vessels.strength * vessels.across_cos, vessels.strength * vessels.across_sin
    radial = retinal_view.correlate(across_cos, cosine) + retinal_view.correlate(across_sin, sine)
    vertical = retinal_view.correlate(np.maximum(across_cos, 0), near)
    mass = np.maximum(retinal_view.correlate(weight, near), 0.3)
    return np.asarray((vertical - radial) / mass, np.float32)


@lru_cache(maxsize=1)
def _patch_kernels() -> tuple[Float32[np.ndarray, "k k"], Float32[np.ndarray, "k k"]]:
    """Return the kernels that average over a disc and over a ring around it."""
    diameter = USUAL * DIAMETER
    _, _, distance = _offsets(round(0.9 * diameter))

    def disc(radius: float) -> Float32[np.ndarray, "k k"]:
        return np.clip(radius - distance + np.float32(0.5), 0, 1)

    patch, ring = disc(0.5 * diameter), disc(0.85 * diameter) - disc(0.55 * diameter)
    return patch / patch.sum(), ring / ring.sum()


@lru_cache(maxsize=1)
def _spoke_kernels() -> tuple[Float32[np.ndarray, "k k"], ...]:
    """Return weights around a disc's centre, and these times the cosine and the sine of twice the angle."""
    diameter = np.float32(USUAL * DIAMETER)
    rows, columns, distance = _offsets(round(1.6 * float(diameter)))
    near = np.exp(-(((distance - 0.6 * diameter) / (0.5 * diameter)) ** 2)) * (distance < 1.6 * diameter)
    near = (near / near.sum()).astype(np.float32)
    angle = 2 * np.arctan2(rows, columns)
    return near, near * np.cos(angle), near * np.sin(angle)


@lru_cache(maxsize=64)
def _rim_kernels(radius: float) -> tuple[Float32[np.ndarray, "k k"], ...]:
    """Return the weights of a circle's rim, and these times the outward direction along rows and columns."""
    rows, columns, distance = _offsets(int(radius) + 3)
    rim = np.exp(-0.5 * ((distance - np.float32(radius)) / np.float32(1.5)) ** 2)
    rim = rim / rim.sum()
    outward = np.maximum(distance, np.float32(1e-6))
    return rim, rim * rows / outward, rim * columns / outward


def _offsets(reach: int) -> tuple[Float32[np.ndarray, "k k"], ...]:
    """Return the row, column and distance of each pixel from the middle of a kernel, px."""
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    return rows, columns, np.hypot(rows, columns)


def _fit_rim(view: RetinalView, place: tuple[int, int]) -> _FittedCircle:
    """Fit the circle near a place along which brightness falls outwards most steeply.

    Source: Daugman 1993, doi:10.1109/34.244676 (mean slope along circles); slopes are limited to their
    highest 5 %, so that a stretch of vessel or exudate does not outweigh the rest (our choice).
    """
    usual = USUAL * DIAMETER
    reach = round(1.3 * usual)
    top, left = max(0, place[0] - reach), max(0, place[1] - reach)
    crop = np.s_[top : place[0] + reach + 1, left : place[1] + reach + 1]
    core, down, right = _slopes(view, crop)
    rows, columns = np.indices(core.shape)
    distance = np.hypot(rows + top - place[0], columns + left - place[1]) / usual
    near = np.where(distance <= REACH, np.exp(-0.5 * (distance / 0.35) ** 2), 0)
    best = _FittedCircle(centre=(place[0] + 0.5, place[1] + 0.5), diameter=usual, contrast=0.0)
    for radius in np.arange(LIMITS[0] * DIAMETER / 2, LIMITS[1] * DIAMETER / 2, RADIUS_STEP):
        rim, outward_rows, outward_columns = _rim_kernels(float(radius))
        fall = -retinal_view.correlate(down, outward_rows) - retinal_view.correlate(right, outward_columns)
        visible = retinal_view.correlate(core, rim)
        usualness = np.exp(-0.5 * (np.log(2 * radius / usual) / SPREAD) ** 2)
        score = np.where(visible > 0.4, fall / np.maximum(visible, 0.4), 0) * near * usualness
        row, column = (int(index) for index in np.unravel_index(score.argmax(), score.shape))
        if score[row, column] > best.contrast:
            best = _FittedCircle(
                centre=(row + top + 0.5, column + left + 0.5),
                diameter=2 * float(radius),
                contrast=float(score[row, column]),
            )
    return best


def _slopes(view: RetinalView, crop: tuple[slice, slice]) -> tuple[Float32[np.ndarray, "h w"], ...]:
    """Return where slopes are known (0 or 1), and the slopes of brightness down and right, up to 1."""
    levels = view.pixels[crop].astype(np.float32)
    width = int(0.05 * DIAMETER) | 1  # px; wider than vessels, which the closing removes
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    closed = cv2.morphologyEx(levels[..., 0] + levels[..., 1], cv2.MORPH_CLOSE, ellipse)
    smooth = cv2.GaussianBlur(closed, (0, 0), 1.5)
    core = cv2.erode(view.inside[crop].astype(np.float32), np.ones((7, 7), np.uint8))
    down, right = cv2.Sobel(smooth, cv2.CV_32F, 0, 1) * core, cv2.Sobel(smooth, cv2.CV_32F, 1, 0) * core
    steepness = np.hypot(down, right)
    limit = np.maximum(np.float32(np.quantile(steepness, 0.95)), np.float32(1e-3))
    divisor = np.maximum(steepness, limit)
    return core, down / divisor, right / divisor
