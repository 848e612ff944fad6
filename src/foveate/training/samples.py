"""Views and windows cropped from a cached case, augmented alike.

Knows:   how a sample is cropped, warped and recoloured, and that a view and its windows stay in register.
Ignores: which cases, windows and warps are chosen, networks and losses.

Shape letters: h w canvas, K lesions, S T window sides, V view side.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from foveate.training import augmentation
from foveate.training.augmentation import Warp
from foveate.training.cache import VIEW_OVERSAMPLING, CachedCase
from foveate.types import ModelContract


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One view or window, as it is used in training."""

    pixels: UInt8[np.ndarray, "S S 3"]
    """sRGB levels."""
    truth: Float32[np.ndarray, "K S S"]
    """Share of lesion in each pixel, 0 to 1."""


def view_sample(case: CachedCase, contract: ModelContract, warp: Warp) -> Sample:
    """Return GlobalNet's view of a case, augmented by a warp."""
    side = contract.view_side
    height, width = case.shape
    extent = (width, height) if warp.quarters % 2 else (height, width)
    linear = augmentation.affine(warp, extent) * VIEW_OVERSAMPLING
    centre = (side - 1) / 2
    matrix = np.column_stack([linear, (VIEW_OVERSAMPLING * side - 1) / 2 - linear @ (centre, centre)])
    pixels, shares = (
        augmentation.resample_square(np.ascontiguousarray(augmentation.turn(picture, warp)), matrix, side)
        for picture in (case.fine_view, case.fine_truth)
    )
    return Sample(
        pixels=augmentation.recolour(pixels, warp), truth=np.moveaxis(shares, -1, 0).astype(np.float32) / 255
    )


def window_sample(case: CachedCase, centre: tuple[int, int], contract: ModelContract, warp: Warp) -> Sample:
    """Return the window around a point of the canvas, augmented by a warp; black beyond the canvas."""
    side = contract.window_side
    reach = side if not warp.is_exact else side // 2  # a rotated and reduced window shows pixels further away
    pixels, bits = (_crop_around(picture, centre, reach) for picture in (case.pixels, case.bits))
    pixels, bits = (np.ascontiguousarray(augmentation.turn(picture, warp)) for picture in (pixels, bits))
    if not warp.is_exact:
        middle = (2 * reach - 1) / 2
        pixels, bits = _warp_window(pixels, bits, (middle, middle), side, warp)
    return Sample(pixels=augmentation.recolour(pixels, warp), truth=unpack_bits(bits, len(contract.lesions)))


def _warp_window(
    pixels: UInt8[np.ndarray, "S T 3"],
    bits: UInt8[np.ndarray, "S T"],
    centre: tuple[float, float],
    side: int,
    warp: Warp,
) -> tuple[UInt8[np.ndarray, "V V 3"], UInt8[np.ndarray, "V V"]]:
    """Return the rotated and enlarged window of a crop; `centre` is the (x, y) in the crop that it shows in
    its middle."""
    linear = augmentation.affine(warp, (1, 1))
    middle = (side - 1) / 2
    matrix = np.column_stack([linear, np.array(centre) - linear @ (middle, middle)])
    return (
        augmentation.resample_square(pixels, matrix, side),
        augmentation.resample_square(bits, matrix, side, nearest=True),
    )


def window_corner(centre: tuple[int, int], side: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the corner of the window around a point, moved so that it lies within the canvas."""
    row, column = (
        min(max(0, position - side // 2), length - side)
        for position, length in zip(centre, shape, strict=True)
    )
    return row, column


def registered_window_sample(
    case: CachedCase, corner: tuple[int, int], contract: ModelContract, warp: Warp
) -> tuple[Sample, tuple[int, int]]:
    """Return a window in register with `view_sample` of the same warp, and its corner there.

    The warp applies to the whole canvas. The window is cropped from the result where the middle of the given
    window has moved to, or as near to it as the canvas's edges allow.

    Args:
        case: the case.
        corner: (row, column) of the window's first pixel on the canvas, before the warp.
        contract: contract of the model.
        warp: the augmentation.

    Returns:
        The window, and the (row, column) of its first pixel on the augmented canvas, whose shape is that of
        `augmentation.turn_shape`. Without free rotation and zoom, every pixel keeps its value but for the
        colours.
    """
    side, shape = contract.window_side, augmentation.turn_shape(case.shape, warp)
    turned = augmentation.turn_corner(corner, side, case.shape, warp)
    if warp.is_exact:
        row, column = corner
        window = np.s_[row : row + side, column : column + side]
        pixels, bits = (augmentation.turn(picture[window], warp) for picture in (case.pixels, case.bits))
    else:
        linear = augmentation.affine(warp, (1, 1))
        pivot = (np.array(shape[::-1]) - 1) / 2  # (x, y), as below
        offset = np.array(turned[::-1]) + (side - 1) / 2 - pivot
        new_centre = np.rint(pivot + np.linalg.solve(linear, offset)).astype(int)
        turned = window_corner((int(new_centre[1]), int(new_centre[0])), side, shape)
        content_centre = pivot + linear @ (np.array(turned[::-1]) + (side - 1) / 2 - pivot)
        nearest = np.rint(content_centre).astype(int)
        pixels, bits = (
            _crop_around(augmentation.turn(picture, warp), (int(nearest[1]), int(nearest[0])), side)
            for picture in (case.pixels, case.bits)
        )
        pixels, bits = _warp_window(pixels, bits, tuple(content_centre - nearest + side), side, warp)
    sample = Sample(
        pixels=augmentation.recolour(pixels, warp), truth=unpack_bits(bits, len(contract.lesions))
    )
    return sample, turned


def unpack_bits(bits: UInt8[np.ndarray, "S T"], lesions: int) -> Float32[np.ndarray, "K S T"]:
    """Return one map of 0 and 1 for each lesion."""
    return np.stack([bits >> k & 1 for k in range(lesions)]).astype(np.float32)


def _crop_around(
    picture: UInt8[np.ndarray, "h w ..."], centre: tuple[int, int], reach: int
) -> UInt8[np.ndarray, "S S ..."]:
    """Return the square from `reach` px before a point to `reach` px after it; zeros beyond the picture."""
    square = np.zeros((2 * reach, 2 * reach, *picture.shape[2:]), picture.dtype)
    target, source = [], []
    for position, length in zip(centre, picture.shape[:2], strict=True):
        start, stop = (min(max(0, edge), length) for edge in (position - reach, position + reach))
        source.append(slice(start, stop))
        target.append(slice(start - position + reach, stop - position + reach))
    square[tuple(target)] = picture[tuple(source)]
    return square
