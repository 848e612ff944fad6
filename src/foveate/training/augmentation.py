"""Augmentation: parameters are sampled first, then applied to picture and masks alike.

Knows:   rotations, zooms, flips, colours, noise.
Ignores: which sample is augmented and where it is stored.

Shape letters: S T sides, h w canvas, K lesions.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Num, UInt8

from foveate.errors import SettingError

LARGEST_ZOOM = 0.34
"""Largest logarithm of a zoom, ln(2) / 2 rounded down: a window that shrinks and turns by 45 degrees then
shows pixels at most one side from its centre, which is as far as `cache` crops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationLimits:
    """Limits of augmentation; the default allows the eight combinations of quarter turn and mirror only."""

    turn: float | int = 0.0
    """Largest free rotation in addition to the quarter turn, degrees in either direction; with 45 every
    angle occurs."""
    zoom: float = 0.0
    """Natural logarithm of the largest enlargement, up to LARGEST_ZOOM; the largest reduction is its
    reciprocal."""
    mirrors: bool = True
    """Whether half of the samples are mirrored; the paper mirrors none for the fused net (section 2.2)."""
    free_share: float = 0.5
    """Share of samples with free rotation and zoom. The others keep every pixel, as inference does."""
    colour: float = 0.0
    """Standard deviation of each channel's gain and of gamma's logarithm; the gain shared by the channels has
    twice this."""
    noise: float | int = 0.0
    """Largest standard deviation of Gaussian noise, levels of 255."""

    def __post_init__(self) -> None:
        """Raise SettingError where a value is outside its range."""
        for name, value, highest in (
            ("turn", self.turn, 180),
            ("zoom", self.zoom, LARGEST_ZOOM),
            ("free_share", self.free_share, 1),
        ):
            if not 0 <= value <= highest:
                raise SettingError(f"limits.{name} is {value:g}; give a number from 0 to {highest:g}")
        for name, value in (("colour", self.colour), ("noise", self.noise)):
            if not (math.isfinite(value) and value >= 0):
                raise SettingError(f"limits.{name} is {value:g}; give a standard deviation of 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Warp:
    """The parameters of one augmentation, applied to a picture and to its masks."""

    quarters: int
    """Quarter turns anticlockwise, 0 to 3, before the mirror."""
    mirror: bool
    """Whether left and right are swapped."""
    angle: float
    """Further rotation anticlockwise, radians."""
    zoom: float
    """Enlargement; 1 changes nothing."""
    levels: UInt8[np.ndarray, "256 3"]
    """New level of each level of R, G and B."""
    noise: float
    """Standard deviation of Gaussian noise, levels."""
    noise_seed: int
    """Seed of the noise."""

    @property
    def is_exact(self) -> bool:
        """Whether pixels only move, without interpolation."""
        return self.angle == 0 and self.zoom == 1


def sample_warp(generator: np.random.Generator, limits: AugmentationLimits) -> Warp:
    """Sample a warp within the limits.

    Source: Yan et al. 2019, section 2.2 (rotation, zoom, flips, noise; quarter turns only for the fused net).
    Colour changes are our choice, since cameras differ more than the data set shows.
    """
    free = generator.random() < limits.free_share
    angle, zoom = generator.uniform(-1, 1, 2) * (math.radians(limits.turn), limits.zoom) * free
    gain = 1 + generator.normal(0, limits.colour, 3) + generator.normal(0, 2 * limits.colour)
    gamma = math.exp(generator.normal(0, limits.colour))
    ramp = (np.arange(256) / 255) ** gamma
    return Warp(
        quarters=int(generator.integers(4)),
        mirror=bool(generator.integers(2)) and limits.mirrors,
        angle=float(angle),
        zoom=math.exp(zoom),
        levels=np.rint(np.clip(np.outer(ramp, gain), 0, 1) * 255).astype(np.uint8),
        noise=float(generator.uniform(0, limits.noise)),
        noise_seed=int(generator.integers(2**32)),
    )


def turn(picture: Num[np.ndarray, "S T ..."], warp: Warp) -> Num[np.ndarray, "S2 T2 ..."]:
    """Apply the quarter turns and the mirror; the result shares the picture's memory."""
    rotated = np.rot90(picture, warp.quarters)
    result: Num[np.ndarray, "S2 T2 ..."] = rotated[:, ::-1] if warp.mirror else rotated
    return result


def turn_shape(shape: tuple[int, int], warp: Warp) -> tuple[int, int]:
    """Return the (rows, columns) of a picture after `turn`."""
    return (shape[1], shape[0]) if warp.quarters % 2 else shape


def turn_corner(corner: tuple[int, int], side: int, shape: tuple[int, int], warp: Warp) -> tuple[int, int]:
    """Return the corner that a square window has after `turn`, in a picture whose shape was `shape`."""
    row, column = corner
    height, width = shape
    for _ in range(warp.quarters):
        row, column = width - column - side, row
        height, width = width, height
    return row, width - column - side if warp.mirror else column


def recolour(pixels: UInt8[np.ndarray, "S T 3"], warp: Warp) -> UInt8[np.ndarray, "S T 3"]:
    """Change the colours and add the noise; black stays black, since a photograph's surround always is."""
    recoloured = cv2.LUT(np.ascontiguousarray(pixels), warp.levels[None])
    if warp.noise == 0:
        return recoloured
    noise = np.random.default_rng(warp.noise_seed).standard_normal(pixels.shape, np.float32) * warp.noise
    noise[pixels.max(axis=-1) == 0] = 0
    noisy: UInt8[np.ndarray, "S T 3"] = np.rint(np.clip(recoloured + noise, 0, 255)).astype(np.uint8)
    return noisy


def affine(warp: Warp, extent: tuple[int, int]) -> Float64[np.ndarray, "2 2"]:
    """Return the matrix that maps an (x, y) offset in the new picture to the offset in the old one.

    Args:
        extent: (height, width) of the scene that the picture shows, in any common unit. A picture squeezed to
            a square is then rotated as the unsqueezed scene would be.
    """
    cosine, sine = math.cos(warp.angle) / warp.zoom, math.sin(warp.angle) / warp.zoom
    aspect = extent[0] / extent[1]
    return np.array([[cosine, -sine * aspect], [sine / aspect, cosine]])


def resample_square(
    picture: Num[np.ndarray, "S T ..."],
    matrix: Float64[np.ndarray, "2 3"],
    side: int,
    *,
    nearest: bool = False,
) -> Num[np.ndarray, "V V ..."]:
    """Return a square picture, resampled from an old one; black beyond the old one's edge.

    The new pixel (x, y) shows the point `matrix @ (x, y, 1)` of the old picture.

    Args:
        picture: the old picture.
        matrix: maps pixel indices (centre of the first pixel: 0), as in OpenCV.
        side: of the new picture, px.
        nearest: whether to take the nearest pixel, as for masks, whose values must not be mixed.
    """
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    warped = cv2.warpAffine(picture, matrix, (side, side), flags=interpolation | cv2.WARP_INVERSE_MAP)
    square: Num[np.ndarray, "V V ..."] = warped.reshape(side, side, *picture.shape[2:])
    return square  # OpenCV drops a last axis of one channel
