"""Fit a circle to the lit part of a field's rim, even if the rest of the field is dark.

Knows:   that brightness drops sharply at the rim of the disc, and that a dark field shows only arcs of it.
Ignores: what is in the field, and which fields are accepted.

The photograph is reduced and thresholded at several shares of its brightness. At each threshold, only those
outline points of the largest lit patch are kept that lie on its convex hull, since the edge of a dark part
lies within the hull of the disc. A circle is fitted to these points by RANSAC. The best circle has the
largest lit share of its rim and the largest drop of brightness there.

Shape letters: h w the reduced photograph, P points, T trials, B directions, N some of the directions.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from foveate.types import Box

SIDE = 1024
"""Approximate longer side of the reduced photograph, px."""

BLACK = 10.0
"""Highest level, 0 to 255, that the black surround is assumed to have."""

SHARES = (0.3, 0.2, 0.13, 0.08, 0.05, 0.03)
"""Thresholds as shares of the field's brightness. High thresholds are needed where glow surrounds a bright
disc, low ones where the rim itself is dark."""

LOWEST = 1.2
"""Lowest threshold, in levels above the surround."""

TOLERANCE = 0.005
"""Largest distance of a rim point from the circle, as a share of its radius; at least 1 px of the
reduced photograph."""

TRIALS = 200
"""Number of circles through three random points that RANSAC tries. If half of the points are on the rim, 50
are enough."""

POINTS = 200
"""Outline points that RANSAC uses: longer outlines are thinned to this number or up to twice as many."""

BINS = 180
"""Number of directions from the centre in which the rim is checked."""

ARC = 80.0
"""Smallest total arc of the rim that must be lit, degrees."""

RIM_SHARE = 0.4
"""Smallest share of the visible rim that must be lit: other shapes touch their best circle along a smaller
share."""

LIT_SHARE = 0.35
"""Smallest share of the disc, within the photograph, that must be lit."""

OUTSIDE = 0.02
"""Largest share of the lit patch that may lie outside the disc."""

DROP = 0.25
"""Smallest drop of brightness at the rim, as a share of that inside. Shadows and vignetting are softer."""

ENOUGH = 0.7
"""Score from which no lower threshold is tried. Bright photographs reach 0.8 at the first threshold."""

BETTER = 1.15
"""Factor by which the score of a lower threshold must be higher to win: glow beside a shadow raises the score
a little."""

DROP_WIDTH = 0.015
"""Distance from the rim, on either side, at which brightness is measured to compute the drop, as a share of
the radius."""

STRAIGHT = 0.4
"""Share of a chord that must be lit for a straight edge to be the camera's cut, and not a shadow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LitRim:
    """A circle that agrees with the lit part of the rim."""

    centre: tuple[float, float]
    """(row, column), px of the photograph."""
    radius: float
    """px of the photograph."""
    box: Box
    """Bounding box of the disc within the photograph, without the parts that the camera cuts off."""
    brightness: float
    """Approximate mean level of the field's brightest channel above the surround, 0 to 255."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _LitPatch:
    """The largest lit patch at one threshold, px of the reduced photograph."""

    mask: Bool[np.ndarray, "h w"]
    box: Box
    rim: Float64[np.ndarray, "P 2"]
    """Points of its outline that may lie on the rim, at pixel centres."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Circle:
    centre: Float64[np.ndarray, " 2"]
    radius: float
    on_rim: Bool[np.ndarray, " P"]
    """Which rim points agree with the circle."""


def fit(pixels: UInt8[np.ndarray, "H W 3"]) -> LitRim | None:
    """Return the circle that agrees best with the lit rim, or None if too little of a rim is lit.

    Source: RANSAC, Fischler and Bolles 1981, doi:10.1145/358669.358692; its use on hull points at several
    thresholds is our choice.
    """
    picture = _reduce(pixels)
    surround = min(float(np.percentile(picture, 2)), BLACK)
    middle = min(picture.mean(), picture.max())  # the mean of equal levels may be rounded above them
    brightness = float(picture[picture >= middle].mean()) - surround
    best: tuple[float, _LitPatch, _Circle] | None = None  # score, patch, circle
    for threshold in (share * brightness for share in SHARES if share * brightness >= LOWEST):
        patch = _largest_patch(picture > surround + threshold)
        circle = _ransac(patch.rim)
        if circle is None or not _is_plausible(patch, circle):
            continue
        score = _score(picture - surround, patch, circle)
        if score > 0 and (best is None or score > BETTER * best[0]):
            best = score, patch, circle
        if score >= ENOUGH:
            break
    if best is None:
        return None
    _, patch, circle = best
    scale = np.array(pixels.shape[:2]) / picture.shape
    row, column = (circle.centre * scale).tolist()
    return LitRim(
        centre=(row, column),
        radius=circle.radius * float(scale.mean()),
        box=_field_box(patch, circle, pixels.shape[:2]),
        brightness=brightness,
    )


def _reduce(pixels: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "h w"]:
    """Return the brightest channel, reduced and smoothed."""
    factor = max(1, round(max(pixels.shape) / SIDE))
    height, width = (max(1, length // factor) for length in pixels.shape[:2])
    if factor >= 4:  # averaging every pixel would take most of the time of this module
        pixels = cv2.resize(pixels, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST_EXACT)
    reduced = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    red, green, blue = (reduced[:, :, channel] for channel in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)  # five times as fast as a maximum over the last axis
    return np.asarray(cv2.blur(brightest.astype(np.float32), (3, 3)))


def _largest_patch(lit: Bool[np.ndarray, "h w"]) -> _LitPatch:
    """Return the largest 4-connected patch, and the points of its outline that lie on its convex hull.

    Points along the patch's bounding box are left out, since the camera or the photograph may
    cut the disc there.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        lit.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    if len(stats) == 1:
        return _LitPatch(mask=lit, box=Box.whole((0, 0)), rim=np.zeros((0, 2)))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    box = Box.from_rectangle(stats[largest, :4])
    mask = labels == largest
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)[:, 0, ::-1]
    hull = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    cv2.drawContours(hull, [cv2.convexHull(outline[:, ::-1]) + 1], -1, 1, cv2.FILLED)
    depth = cv2.distanceTransform(hull, cv2.DIST_L2, cv2.DIST_MASK_3)[outline[:, 0] + 1, outline[:, 1] + 1]
    margin = _margin(*box.shape)
    first, last = (box.top + margin, box.left + margin), (box.bottom - margin, box.right - margin)
    is_rim = (depth <= 2) & ((outline >= first) & (outline < last)).all(axis=1)
    return _LitPatch(mask=mask, box=box, rim=outline[is_rim] + 0.5)


def _margin(height: int, width: int) -> int:
    """Return the distance from a patch's bounding box within which its outline may be a cut, px.

    Cuts are never exactly straight.
    """
    return 2 + round(0.004 * min(height, width))


def _ransac(points: Float64[np.ndarray, "P 2"]) -> _Circle | None:
    """Return the circle with the most points on it, fitted to those points; None if there is none."""
    if len(points) < 30:
        return None
    sample = points[:: max(1, len(points) // POINTS)]
    triples = sample[np.random.default_rng(0).integers(0, len(sample), (TRIALS, 3))]
    centres, radii = _circumcircles(triples)
    distances = np.hypot(*(sample[:, np.newaxis] - centres).transpose(2, 0, 1)) - radii
    votes = (np.abs(distances) <= _tolerance(radii)).sum(axis=0)
    best = int(votes.argmax())
    circle = _with_rim(points, centres[best], float(radii[best]))
    for _ in range(3):
        if circle.on_rim.sum() < 3:
            return None
        origin = points[circle.on_rim].mean(axis=0)
        offset, radius = solve_circle(points[circle.on_rim] - origin)
        circle = _with_rim(points, origin + offset, radius)
    return circle


def _circumcircles(
    triples: Float64[np.ndarray, "T 3 2"],
) -> tuple[Float64[np.ndarray, "T 2"], Float64[np.ndarray, " T"]]:
    """Return the centres and radii of circles through three points; the radius is 0 if they lie on a line."""
    first, second = triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0]
    cross = 2 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    squares = (first**2).sum(axis=1), (second**2).sum(axis=1)
    is_circle = cross != 0
    offset = np.zeros_like(first)
    for axis, sign in ((0, 1), (1, -1)):
        numerator = sign * (second[:, 1 - axis] * squares[0] - first[:, 1 - axis] * squares[1])
        np.divide(numerator, cross, out=offset[:, axis], where=is_circle)
    return triples[:, 0] + offset, np.hypot(*offset.T)


def solve_circle(points: Float64[np.ndarray, "P 2"]) -> tuple[Float64[np.ndarray, " 2"], float]:
    """Return the centre and radius of the circle of least algebraic distance to points around the origin.

    Source: Kasa 1976, doi:10.1109/TIM.1976.6312298.
    """
    system = np.column_stack([2 * points, np.ones(len(points))])
    (row, column, rest), *_ = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)
    return np.array([row, column]), math.sqrt(max(rest + row**2 + column**2, 0.0))


def _tolerance(radius: Float64[np.ndarray, "..."] | float) -> Float64[np.ndarray, "..."]:
    return np.asarray(np.maximum(1.0, TOLERANCE * np.asarray(radius)))


def _with_rim(
    points: Float64[np.ndarray, "P 2"], centre: Float64[np.ndarray, " 2"], radius: float
) -> _Circle:
    distance = np.abs(np.hypot(*(points - centre).T) - radius)
    return _Circle(centre=centre, radius=radius, on_rim=distance <= _tolerance(radius))


def _is_plausible(patch: _LitPatch, circle: _Circle) -> bool:
    """Return whether the lit patch lies in the disc and fills enough of it."""
    rows, columns = (
        np.arange(length) + 0.5 - c for length, c in zip(patch.mask.shape, circle.centre, strict=True)
    )
    squares = np.add.outer(rows**2, columns**2)
    area, disc = int(patch.mask.sum()), squares <= circle.radius**2
    outside = int((patch.mask & (squares > (1.015 * circle.radius) ** 2)).sum())
    return outside <= OUTSIDE * area and int((patch.mask & disc).sum()) >= LIT_SHARE * int(disc.sum())


def _score(picture: Float32[np.ndarray, "h w"], patch: _LitPatch, circle: _Circle) -> float:
    """Return the lit share of the visible rim times the drop of brightness there; 0 if either is too small.

    Args:
        picture: brightness above that of the surround.
        patch: the lit patch; its box bounds the visible rim.
        circle: a circle that agrees with the patch's rim.
    """
    offsets = patch.rim[circle.on_rim] - circle.centre
    angles = np.arctan2(offsets[:, 0], offsets[:, 1]) / (2 * np.pi) % 1
    is_lit = np.zeros(BINS, bool)
    is_lit[(angles * BINS).astype(int) % BINS] = True
    margin, box = _margin(*patch.box.shape), patch.box
    rim = _points_on(circle, circle.radius)
    is_visible = (
        (rim >= (box.top + margin, box.left + margin)) & (rim < (box.bottom - margin, box.right - margin))
    ).all(axis=1)
    arc, share = is_lit.mean() * 360, (is_lit & is_visible).sum() / max(1, is_visible.sum())
    if arc < ARC or share < RIM_SHARE:
        return 0.0
    width = max(3.0, DROP_WIDTH * circle.radius)
    inner, outer = (
        _levels_at(picture, _points_on(circle, circle.radius + sign * width)[is_lit]) for sign in (-1, 1)
    )
    drop = float(np.median(1 - (outer.clip(0) + 1) / (inner.clip(0) + 1)))
    return float(share) * drop if drop >= DROP else 0.0


def _points_on(circle: _Circle, radius: float) -> Float64[np.ndarray, "B 2"]:
    """Return the points at a distance from the centre, one in each direction."""
    directions = (np.arange(BINS) + 0.5) / BINS * 2 * np.pi
    return circle.centre + radius * np.column_stack([np.sin(directions), np.cos(directions)])


def _levels_at(
    picture: Float32[np.ndarray, "h w"], points: Float64[np.ndarray, "N 2"]
) -> Float32[np.ndarray, " N"]:
    """Return the levels of the pixels at some points, or of the nearest pixel for points outside."""
    rows, columns = np.clip(points.astype(int), 0, np.array(picture.shape) - 1).T
    levels: Float32[np.ndarray, " N"] = picture[rows, columns]
    return levels


def _field_box(patch: _LitPatch, circle: _Circle, shape: tuple[int, int]) -> Box:
    """Return the bounding box of the disc, photograph px, clipped to the photograph and the camera's cuts."""
    sides = []
    for axis in (0, 1):
        mask = patch.mask if axis == 0 else patch.mask.T
        centre, across = circle.centre[axis], shape[axis] / mask.shape[0]
        extent = (patch.box.top, patch.box.bottom) if axis == 0 else (patch.box.left, patch.box.right)
        for sign, edge in zip((-1, 1), extent, strict=True):
            rim = centre + sign * circle.radius
            is_short = sign * (rim - edge) > _margin(*patch.box.shape)
            is_cut = is_short and _is_straight(mask, edge, sign, abs(edge - centre), circle.radius)
            sides.append((edge if is_cut else rim) * across)
    (top, bottom, left, right), (height, width) = sides, shape
    return Box(
        top=max(0, math.floor(top)),
        left=max(0, math.floor(left)),
        bottom=min(height, math.ceil(bottom)),
        right=min(width, math.ceil(right)),
    )


def _is_straight(mask: Bool[np.ndarray, "h w"], edge: int, sign: int, distance: float, radius: float) -> bool:
    """Return whether a patch ends at a straight edge that spans much of the disc's chord there."""
    rows = mask[edge : edge + 3] if sign < 0 else mask[max(0, edge - 3) : edge]
    chord = 2 * math.sqrt(max(radius**2 - distance**2, 0.0))
    return bool(rows.any(axis=0).sum() >= STRAIGHT * chord)
