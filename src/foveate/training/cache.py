"""Cases prepared for training: canvases kept on disk, and the views and windows cropped from them.

Knows:   cases, canvases, how windows and views are cropped from them, and where lesions are.
Ignores: networks and losses.

Shape letters: h w canvas, F side of the cached view, K lesions, S T window sides, V view side, n pixels.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from foveate import photographs
from foveate.datasets import Case, digest, truth
from foveate.errors import GeometryError, SettingError, TrainingError, is_out_of_memory
from foveate.geometry import canvas
from foveate.inference.prepared_canvas import prepare_canvas
from foveate.paths import display_path, exists
from foveate.training import augmentation
from foveate.training.augmentation import Warp
from foveate.training.damage import MAKE_AGAIN, damage_errors
from foveate.types import ModelContract

MAX_LESION_PIXELS = 20_000
"""Limit of the pixels kept for each case and lesion as window centres; a random choice if there are more."""

ARRAYS = ("pixels", "bits", "fine_view", "fine_truth")
"""Arrays of a cached case that are mapped from disk when they are used, each from a file of its own."""

LESION_PIXELS = "places.npz"
"""File of `CachedCase.lesion_pixels`."""

COMPLETE = "done"
"""File that is written when all others are complete."""

MAX_MAPPED = 128
"""Limit of the arrays that stay mapped in a process. Each keeps a file open, of which some systems allow 256;
sets have thousands of photographs."""

DRAFT_PREFIX = ".draft-"
"""Prefix of the names of folders with unfinished cases."""

DRAFT_EXPIRY_SECONDS = 3600
"""A case is cached in seconds: an older draft belongs to a process that was killed."""

VIEW_OVERSAMPLING = 2
"""Cached views are this many times finer than GlobalNet's, so that rotation and zoom do not blur them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedCase:
    """One case at the model's scale.

    Its arrays are mapped from disk when they are used. A mapping keeps its file open, so only those that were
    used last stay mapped (`MAX_MAPPED`).
    """

    name: str
    """Name of the case."""
    folder: Path
    """Folder of its files."""
    stamp: int
    """Time at which its files were completed, ns."""
    shape: tuple[int, int]
    """Height and width of the canvas, px."""
    lesion_pixels: Mapping[str, Int32[np.ndarray, "n 2"]]
    """Lesion -> (row, column) of some of its pixels; lesions that the case does not have are absent."""
    false_pixels: Mapping[str, Int32[np.ndarray, "n 2"]] = field(default_factory=dict)
    """Lesion -> (row, column) of some of the pixels that a network wrongly marked in a healthy eye
    (`hard_negatives`)."""
    is_healthy: bool = False
    """Whether this is a healthy eye beside the data set, known to have no lesion."""

    @property
    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return the canvas; the arrays raise TrainingError if their file is missing or damaged."""
        return _recent_array(self.folder, self.stamp, "pixels")

    @property
    def bits(self) -> UInt8[np.ndarray, "h w"]:
        """Return the masks: bit k is set where lesion k is marked."""
        return _recent_array(self.folder, self.stamp, "bits")

    @property
    def fine_view(self) -> UInt8[np.ndarray, "F F 3"]:
        """Return the canvas squeezed to a square of VIEW_OVERSAMPLING times GlobalNet's side."""
        return _recent_array(self.folder, self.stamp, "fine_view")

    @property
    def fine_truth(self) -> UInt8[np.ndarray, "F F K"]:
        """Return the share of lesion in each pixel of `fine_view`, times 255."""
        return _recent_array(self.folder, self.stamp, "fine_truth")

    @property
    def marked_pixels(self) -> Mapping[str, Int32[np.ndarray, "n 2"]]:
        """Return the pixels near which windows are centred: those of lesions, or wrongly marked ones."""
        return self.lesion_pixels or self.false_pixels


@lru_cache(maxsize=MAX_MAPPED)
def _recent_array(folder: Path, stamp: int, name: str) -> np.ndarray:
    """Return `_map_array`, mapped once for as long as it is among those used last.

    To map an array at each use would take a millisecond per window. A folder that was prepared again has
    another stamp.
    """
    return _map_array(folder, name)


def _map_array(folder: Path, name: str) -> np.ndarray:
    """Return one of `ARRAYS` of a cached case, mapped from disk; raise TrainingError if it is damaged."""
    with damage_errors(folder, MAKE_AGAIN):
        array: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r")
    return array


def cache_case(case: Case, contract: ModelContract, folder: Path) -> CachedCase:
    """Return a case from the cache, prepared at the first call.

    A cached case depends only on those numbers of the contract that change its canvas or view: runs that
    differ in windows or normalisation can share it. Several processes may cache the same case at once.

    Args:
        case: the case, with its photograph and masks.
        contract: contract of the model.
        folder: folder of the cache; the case is stored there under the digest of its files.

    Raises:
        PhotographError, FieldError, DatasetError: the photograph or a mask cannot be used.
        SettingError: the contract has more lesions than a byte has bits.
        GeometryError: at the model's scale, the photograph is smaller than a window.
        TrainingError: the cache cannot be written (nothing of the case is left behind), or is damaged.
    """
    if len(contract.lesions) > 8:
        raise SettingError(
            f"the recipe has {len(contract.lesions)} lesions; the cache of photographs holds at most 8"
        )
    path = folder / f"{case.name}-{_digest(case, contract)}"
    if not exists(path / COMPLETE):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=DRAFT_PREFIX) as temporary:
                draft = Path(temporary) / "sheet"
                draft.mkdir()  # with the usual permissions, which a temporary folder does not have
                _write_arrays(case, contract, draft)
                _publish(draft, path)
        except OSError as error:
            if is_out_of_memory(error):
                raise
            raise TrainingError(
                f"{display_path(folder)}: the cached copy of {case.name} cannot be written ({error}); free "
                "some space (about 50 MB per photograph) and start again"
            ) from error
    cached = open_case(path, case.name)
    height, width = cached.shape
    if min(height, width) < contract.window_side:
        raise GeometryError(
            f"{display_path(case.photograph)}: its canvas of {height} x {width} px is smaller than a window "
            f"of {contract.window_side} px; leave it out, or lower contract.window_side with --set"
        )
    return cached


def _digest(case: Case, contract: ModelContract) -> str:
    """Return 16 hex digits that differ between cases whose arrays differ; other masks do not matter."""
    lesions = sorted(lesion for lesion in contract.lesions if lesion in case.masks)
    digests = [digest(path) for path in (case.photograph, *(case.masks[lesion] for lesion in lesions))]
    canvas_numbers = (
        contract.field,
        contract.part,
        contract.field_diameter,
        contract.scale_tolerance,
        contract.view_side,
    )
    key = repr((contract.lesions, canvas_numbers, case.lesion_from, lesions, digests))
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def remove_drafts(folder: Path) -> None:
    """Remove the drafts of processes that were killed; the drafts of running processes are younger.

    Raises:
        TrainingError: a draft cannot be removed.
    """
    for draft in folder.glob(f"{DRAFT_PREFIX}*"):
        try:
            modified = max(path.stat().st_mtime for path in (draft, *draft.rglob("*")))
            if time.time() - modified > DRAFT_EXPIRY_SECONDS:
                shutil.rmtree(draft)
        except FileNotFoundError:  # finished or removed by another process meanwhile
            continue
        except OSError as error:
            raise TrainingError(
                f"{display_path(draft)}: cannot be removed ({error}); remove it and start again"
            ) from error


def open_case(path: Path, name: str) -> CachedCase:
    """Return a cached case; each of its arrays is mapped once, to find damage early.

    Args:
        path: folder of the case, complete.
        name: name of the case.

    Raises:
        TrainingError: a file is missing or damaged, as after a power cut.
    """
    with damage_errors(path, MAKE_AGAIN):
        lesion_pixels = read_pixels(path / LESION_PIXELS)
        stamp = (path / COMPLETE).stat().st_mtime_ns
    shapes = {array: _map_array(path, array).shape for array in ARRAYS}
    return CachedCase(
        name=name, folder=path.resolve(), stamp=stamp, shape=shapes["bits"], lesion_pixels=lesion_pixels
    )


def read_pixels(path: Path) -> dict[str, Int32[np.ndarray, "n 2"]]:
    """Return the pixels of each lesion from an .npz file; read it within `damage_errors`."""
    with path.open("rb") as file, np.load(file) as stored:
        return {lesion: stored[lesion] for lesion in stored.files}


def _write_arrays(case: Case, contract: ModelContract, path: Path) -> None:
    """Prepare a case and save its arrays; the file COMPLETE is written last."""
    photograph = photographs.read(case.photograph)
    prepared = prepare_canvas(photograph, contract)
    frame, pixels = prepared.frame, prepared.unpadded
    masks = truth(case, contract.lesions, photograph.shape)[:, *frame.box.slices]
    planes = [canvas.resample(plane.astype(np.uint8) * 255, frame.shape) for plane in masks]
    bits = sum((plane >= 128).astype(np.uint8) << k for k, plane in enumerate(planes))
    side = VIEW_OVERSAMPLING * contract.view_side
    np.save(path / "pixels.npy", pixels)
    np.save(path / "bits.npy", bits)
    np.save(path / "fine_view.npy", canvas.global_view(pixels, side))
    np.save(path / "fine_truth.npy", np.stack([canvas.global_view(plane, side) for plane in planes], axis=-1))
    generator = np.random.default_rng(0)
    lesion_pixels = {}
    for k, lesion in enumerate(contract.lesions):
        pixels = np.argwhere(bits >> k & 1).astype(np.int32)
        if len(pixels):
            lesion_pixels[lesion] = generator.permutation(pixels)[:MAX_LESION_PIXELS]
    np.savez(path / LESION_PIXELS, **lesion_pixels)  # type: ignore[arg-type]  # its stub takes arrays for a flag
    (path / COMPLETE).touch()


def _publish(draft: Path, path: Path) -> None:
    """Rename a finished draft to its final name, unless another process was faster.

    A finished case is never replaced: other processes may have mapped its files.
    """
    try:
        draft.rename(path)
    except OSError:  # a folder cannot replace one that holds files
        if not exists(path / COMPLETE):
            raise


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


def sample_centres(
    cases: Sequence[CachedCase], lesion_share: float, reach: int, count: int, generator: np.random.Generator
) -> list[tuple[CachedCase, tuple[int, int]]]:
    """Sample cases and the centres of windows in them.

    A share of the windows is centred near a pixel of a random lesion: the lesion is chosen first, then a case
    that has it, then the pixel, so that rare lesions are seen as often as common ones. The other windows lie
    anywhere.

    Args:
        cases: the cases to choose from.
        lesion_share: share of the windows that are centred near a lesion, 0 to 1.
        reach: largest distance of their centres from that pixel along each axis, canvas px.
        count: number of windows.
        generator: the source of randomness.

    Returns:
        Cases and centres; a centre may lie up to `reach` px beyond the canvas.

    Raises:
        SettingError: the share is outside 0 to 1.

    Source: our choice; the paper crops uniformly (lesion_share 0).
    """
    if not 0 <= lesion_share <= 1:
        raise SettingError(f"lesion_share is {lesion_share:g}; give a share from 0 to 1")
    present = sorted({lesion for case in cases for lesion in case.marked_pixels})
    centres = []
    for _ in range(count):
        if present and generator.random() < lesion_share:
            lesion = present[generator.integers(len(present))]
            candidates = [case for case in cases if lesion in case.marked_pixels]
            case = candidates[int(generator.integers(len(candidates)))]
            pixels = case.marked_pixels[lesion]
            pixel = pixels[generator.integers(len(pixels))]
            offset = generator.integers(-reach, reach + 1, 2)
            centres.append((case, (int(pixel[0] + offset[0]), int(pixel[1] + offset[1]))))
        else:
            case = cases[int(generator.integers(len(cases)))]
            height, width = case.shape
            centres.append((case, (int(generator.integers(height)), int(generator.integers(width)))))
    return centres
