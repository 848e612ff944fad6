"""What is done to a sample before it is learned from: drawn first, then applied to picture and masks alike.

Knows:   rotations, zooms, flips, colours, noise.
Ignores: which sample is wanted and where it lies on disk.

Shape letters: S T sides, h w canvas, K lesions.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Num, UInt8

from foveate.errors import SettingError

LARGEST_ZOOM = 0.34
"""Largest logarithm of a zoom, ln(2) / 2 rounded down: a window that is made smaller and turned by 45 degrees
then sees no further than one side from its centre, as far as `samples.window` cuts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far augmentation may go; `Limits()` draws the eight quarter turns and mirrors and nothing else."""

    turn: float | int = 0.0
    """Free rotation beside the quarter turn, at most this many degrees either way; 45 makes any likely."""
    zoom: float = 0.0
    """Natural logarithm of the largest enlargement, up to LARGEST_ZOOM; the smallest is its reciprocal."""
    mirrors: bool = True
    """Whether half of the samples are mirrored; the paper's fused net is not (section 2.2)."""
    free_share: float = 0.5
    """Share of samples that get free rotation and zoom. The others keep every pixel, as inference does."""
    colour: float = 0.0
    """Standard deviation of each channel's gain and of gamma's logarithm; half of the common gain's."""
    noise: float | int = 0.0
    """Largest standard deviation of Gaussian noise, levels of 255."""

    def __post_init__(self) -> None:
        """Raise SettingError for a value outside its range."""
        if not (0 <= self.turn <= 180 and 0 <= self.zoom <= LARGEST_ZOOM and 0 <= self.free_share <= 1):
            raise SettingError(f"turn 0 to 180, zoom 0 to {LARGEST_ZOOM}, free_share 0 to 1, not {self}")
        if min(self.colour, self.noise) < 0:
            raise SettingError(f"colour and noise are spreads, not below 0: {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Warp:
    """One drawn change, to be applied to a picture and to its masks."""

    quarters: int
    """Quarter turns against the clock, 0 to 3, before the mirror."""
    mirror: bool
    """Whether left and right are swapped."""
    angle: float
    """Further turn against the clock, radians."""
    zoom: float
    """How much larger things become; 1 leaves them."""
    levels: UInt8[np.ndarray, "256 3"]
    """What each level of R, G, B becomes."""
    noise: float
    """Standard deviation of Gaussian noise, levels."""
    noise_seed: int
    """Fixes the noise."""

    @property
    def is_exact(self) -> bool:
        """Whether pixels only change places, without interpolation."""
        return self.angle == 0 and self.zoom == 1


def draw(generator: np.random.Generator, limits: Limits) -> Warp:
    """Draw a change within the limits.

    Source: Yan et al. 2019, section 2.2 (rotation, zoom, flips, noise; quarter turns only for the fused net);
    colours are our choice, since cameras differ more than the data set shows.
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
    """Apply the quarter turns and the mirror: a view of the same pixels in another order."""
    turned = np.rot90(picture, warp.quarters)
    placed: Num[np.ndarray, "S2 T2 ..."] = turned[:, ::-1] if warp.mirror else turned
    return placed


def turn_shape(shape: tuple[int, int], warp: Warp) -> tuple[int, int]:
    """Return the (rows, columns) of a picture after `turn`."""
    return (shape[1], shape[0]) if warp.quarters % 2 else shape


def turn_corner(corner: tuple[int, int], side: int, shape: tuple[int, int], warp: Warp) -> tuple[int, int]:
    """Return where the first pixel of a square window lies once the picture of the given shape is turned."""
    row, column = corner
    height, width = shape
    for _ in range(warp.quarters):
        row, column = width - column - side, row
        height, width = width, height
    return row, width - column - side if warp.mirror else column


def recolour(pixels: UInt8[np.ndarray, "S T 3"], warp: Warp) -> UInt8[np.ndarray, "S T 3"]:
    """Change the colours and add the noise; black stays black, since the camera's surround always is."""
    changed = cv2.LUT(np.ascontiguousarray(pixels), warp.levels[None])
    if warp.noise == 0:
        return changed
    noise = np.random.default_rng(warp.noise_seed).standard_normal(pixels.shape, np.float32) * warp.noise
    noise[pixels.max(axis=-1) == 0] = 0
    noisy: UInt8[np.ndarray, "S T 3"] = np.rint(np.clip(changed + noise, 0, 255)).astype(np.uint8)
    return noisy


def affine(warp: Warp, spread: tuple[int, int]) -> Float64[np.ndarray, "2 2"]:
    """Return the matrix that takes an (x, y) offset in the new picture to one in the old.

    Args:
        spread: (height, width) of what the picture shows, in any one unit. A picture squeezed to a square
            turns as what it shows would.
    """
    cosine, sine = math.cos(warp.angle) / warp.zoom, math.sin(warp.angle) / warp.zoom
    aspect = spread[0] / spread[1]
    return np.array([[cosine, -sine * aspect], [sine / aspect, cosine]])


def resampled(
    picture: Num[np.ndarray, "S T ..."],
    matrix: Float64[np.ndarray, "2 3"],
    side: int,
    *,
    nearest: bool = False,
) -> Num[np.ndarray, "V V ..."]:
    """Return a square picture that shows at (x, y) the old one's `matrix @ (x, y, 1)`; black beyond its rim.

    Args:
        matrix: between pixel indices (centre of the first pixel: 0), as OpenCV has it.
        side: of the new picture, px.
        nearest: for masks, whose values must not be mixed.
    """
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    changed = cv2.warpAffine(picture, matrix, (side, side), flags=how | cv2.WARP_INVERSE_MAP)
    square: Num[np.ndarray, "V V ..."] = changed.reshape(side, side, *picture.shape[2:])
    return square  # with its last axis, which OpenCV drops where it has one channel
