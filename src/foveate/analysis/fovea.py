"""Find the fovea: a dark spot some two and a half disc diameters from the optic disc, slightly below it.

Knows:   where the fovea lies relative to the disc, and that it is darker than what surrounds it.
Ignores: networks; nothing here is learnt.

Shape letters: h w small view, k side of a kernel.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from foveate.analysis import retinal_view
from foveate.analysis.optic_disc import OpticDisc
from foveate.analysis.retinal_view import DIAMETER, RetinalView
from foveate.types import Laterality

TEMPORAL, BELOW = 2.5, 0.3
"""Usual place of the fovea relative to the disc's centre, disc diameters. In 3468 people the distance was
2.65 (SD .30) diameters and the angle below the horizontal 7.8 degrees (SD 3.6): Jonas et al. 2015,
doi:10.1371/journal.pone.0138701 and doi:10.1371/journal.pone.0141771."""

SPREAD = 0.45
"""Standard deviation of the preference for the usual place, disc diameters. It covers the spread of the
distance and the angle above, and the error of the disc's diameter."""

REACH = 1.2
"""Largest distance from the usual place, disc diameters."""

CENTRED = 0.45
"""Standard deviation of the preference for the side on which the usual place lies near the field's centre, as
a share of the field's radius. Most photographs are centred between disc and fovea, or on the fovea."""

SETTLING = 0.35
"""Radius around the best place, disc diameters, within which the darkest pixel is then taken without any
preference: the preference alone left some foveas a third of a diameter short."""

FAINTEST = 0.1
"""Smallest difference from the ring that counts as dark, in local standard deviations; foveas that can be
seen have .3 to 2."""

BRIGHTEST = 0.5
"""Brightness is clipped to this value, local standard deviations, so that exudates do not count for more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fovea:
    """A fovea that the program placed."""

    centre: tuple[float, float]
    """(row, column), px of the photograph."""
    laterality: Laterality
    """The eye that its side of the disc implies, in a photograph that is not mirrored."""
    is_dark: bool
    """Whether a dark spot was detected. If not, the centre is the usual place relative to the disc."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spot:
    """A place in px of the view, and how well it fits."""

    centre: tuple[float, float]
    laterality: Laterality
    score: float


def find(view: RetinalView, disc: OpticDisc, laterality: Laterality | None = None) -> Fovea | None:
    """Find the fovea beside an optic disc, or return None where its usual place lies outside the field.

    Args:
        view: the view of the photograph.
        disc: the optic disc of the photograph.
        laterality: the eye, if it is known; None tries both sides and takes the one that fits better.

    Source: the darkest place at 2.5 disc diameters, Sinthanayothin et al. 1999, doi:10.1136/bjo.83.8.902; the
    weights are our choice.
    """
    diameter = disc.diameter * view.mean_scale
    darkness = _darkness(view, diameter)
    sides: tuple[Laterality, ...] = ("R", "L") if laterality is None else (laterality,)
    spots = [_darkest(view, disc, side, darkness) for side in sides]
    visible = [spot for spot in spots if spot is not None]
    if not visible:
        return None
    best = max(visible, key=lambda spot: spot.score)
    return Fovea(centre=view.to_photograph(best.centre), laterality=best.laterality, is_dark=best.score > 0)


def _darkest(
    view: RetinalView, disc: OpticDisc, laterality: Laterality, darkness: Float32[np.ndarray, "h w"]
) -> _Spot | None:
    """Return the darkest place on one side of the disc, weighted by its distance from the usual place.

    Return None where the usual place lies outside the field.
    """
    diameter = disc.diameter * view.mean_scale
    row, column = view.from_photograph(disc.centre)
    temporal = -1 if laterality == "R" else 1
    usual = (row + BELOW * diameter, column + temporal * TEMPORAL * diameter)
    if not _is_inside(view, usual):
        return None
    distance = _distances(darkness, usual) / diameter
    weight = np.where(distance <= REACH, np.exp(-0.5 * (distance / SPREAD) ** 2), 0)
    offset = math.dist(usual, view.from_photograph(view.field.centre)) / (CENTRED * DIAMETER / 2)
    score = darkness * weight * math.exp(-0.5 * offset**2)
    if not score.any():
        return _Spot(centre=usual, laterality=laterality, score=0.0)
    nearby = np.where(_distances(darkness, _peak(score)) <= SETTLING * diameter, darkness, 0)
    return _Spot(centre=_peak(nearby), laterality=laterality, score=float(score.max()))


def _peak(values: Float32[np.ndarray, "h w"] | Float64[np.ndarray, "h w"]) -> tuple[float, float]:
    """Return the centre (row, column) of the pixel with the largest value."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    return float(row) + 0.5, float(column) + 0.5


def _distances(like: Float32[np.ndarray, "h w"], place: tuple[float, float]) -> Float64[np.ndarray, "h w"]:
    """Return the distance of each pixel's centre from a place (row, column) of the view, px."""
    rows, columns = np.indices(like.shape) + 0.5
    return np.asarray(np.hypot(rows - place[0], columns - place[1]))


def _is_inside(view: RetinalView, place: tuple[float, float]) -> bool:
    """Return whether a place (row, column) of the view lies in the field."""
    row, column = math.floor(place[0]), math.floor(place[1])
    height, width = view.inside.shape
    return 0 <= row < height and 0 <= column < width and bool(view.inside[row, column])


def _darkness(view: RetinalView, diameter: float) -> Float32[np.ndarray, "h w"]:
    """Return how much darker in green each pixel is than a ring around it, in local standard deviations.

    It is 0 near the rim, and where the difference is less than `FAINTEST`.

    Args:
        view: the view of the photograph.
        diameter: diameter of the disc, px of the view.
    """
    green = retinal_view.even_out(view.pixels[..., 1].astype(np.float32), view.inside)
    green = green.clip(-retinal_view.CLIP, BRIGHTEST)
    weight = view.inside.astype(np.float32)
    inner = cv2.GaussianBlur(green, (0, 0), 0.22 * diameter, borderType=cv2.BORDER_CONSTANT)
    visible = cv2.GaussianBlur(weight, (0, 0), 0.22 * diameter, borderType=cv2.BORDER_CONSTANT)
    ring = _ring(diameter)
    around = retinal_view.correlate(green, ring) / np.maximum(retinal_view.correlate(weight, ring), 0.3)
    darkness = np.maximum(around - inner / np.maximum(visible, 0.3), 0)
    return np.where((visible > 0.6) & (darkness >= FAINTEST), darkness, 0).astype(np.float32)


def _ring(diameter: float) -> Float32[np.ndarray, "k k"]:
    """Return the kernel that averages over a ring at a distance of three quarters of a disc's diameter."""
    reach = round(1.1 * diameter)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    ring = np.exp(-0.5 * ((np.hypot(rows, columns) / diameter - 0.75) / 0.15) ** 2)
    return np.asarray(ring / ring.sum(), np.float32)
