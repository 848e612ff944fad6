"""What a step learns from: canvases kept ready on disk, and windows and views drawn from them.

Knows:   cases, canvases, how windows and views are cut from them, and where lesions are.
Ignores: networks and losses.

Shape letters: h w canvas, K lesions, S window side, V view side, N samples.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from foveate import photographs
from foveate.datasets import Case, truth
from foveate.errors import SettingError, TrainingError
from foveate.geometry import canvas
from foveate.inference.pipeline import located
from foveate.training import augmentation
from foveate.training.augmentation import Warp
from foveate.types import Contract

KEPT_PLACES = 20_000
"""Lesion pixels remembered a case and lesion, to centre windows on; a random choice where there are more."""

ARRAYS = ("pixels", "bits", "fine_view", "fine_truth")
"""Files of a sheet that are mapped, one array each."""

DRAFT = ".draft-"
"""How the names of unfinished sheets' folders begin."""

SECONDS_OF_A_DRAFT = 3600
"""A sheet is made in seconds: a draft that nobody wrote into for an hour is a killed process's."""

FINE = 2
"""Ready-made views are this many times finer than GlobalNet's, so that turning and zooming blurs nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """One case at the model's scale, mapped from disk."""

    name: str
    """Of the case."""
    pixels: UInt8[np.ndarray, "h w 3"]
    """The canvas."""
    bits: UInt8[np.ndarray, "h w"]
    """Bit k is set where lesion k is drawn."""
    fine_view: UInt8[np.ndarray, "F F 3"]
    """The canvas squeezed to a square of FINE times GlobalNet's side."""
    fine_truth: UInt8[np.ndarray, "F F K"]
    """Share of lesion in each of its pixels, times 255."""
    places: Mapping[str, Int32[np.ndarray, "n 2"]]
    """Lesion -> (row, column) of some of its pixels; lesions that the case does not have are absent."""
    is_healthy: bool = False
    """Whether it is of those eyes that are known to have no lesion at all, and are there for nothing else."""


def lay_out(case: Case, contract: Contract, folder: Path) -> Sheet:
    """Return a case's sheet, made at the first call and kept under `folder` by the digest of its files.

    Of the contract only what a sheet shows counts: runs that differ in windows or normalisation share sheets.

    Processes that lay out the same case side by side do not disturb each other.

    Raises:
        PhotographError, FieldError, DatasetError: as reading, finding and masks do.
        SettingError: the contract has more lesions than a byte has bits.
        TrainingError: the sheet cannot be written; nothing of it is left behind.
    """
    if len(contract.lesions) > 8:
        raise SettingError(f"{len(contract.lesions)} lesions; a sheet keeps at most 8, one a bit")
    lesions = sorted(case.masks)
    files = [case.photograph, *(case.masks[lesion] for lesion in lesions)]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    shown = (
        contract.field,
        contract.part,
        contract.field_diameter,
        contract.scale_tolerance,
        contract.view_side,
    )
    key = hashlib.sha256(repr((contract.lesions, shown, case.lesion_from, lesions, digests)).encode())
    place = folder / f"{case.name}-{key.hexdigest()[:16]}"
    if not (place / "done").exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=DRAFT) as draft:
                sheet = Path(draft) / "sheet"
                sheet.mkdir()  # with everybody's usual rights, which a temporary folder does not have
                _make(case, contract, sheet)
                _settle(sheet, place)
        except OSError as error:
            raise TrainingError(
                f"{folder}: the sheet of {case.name} cannot be written ({error}); free some space (a large "
                "photograph takes 50 MB) and start again"
            ) from error
    return opened(place, case.name)


def sweep(folder: Path) -> None:
    """Remove drafts of processes that were killed; those of others that lay out now are younger.

    Raises:
        TrainingError: one cannot be removed.
    """
    for draft in folder.glob(f"{DRAFT}*"):
        try:
            touched = max(path.stat().st_mtime for path in (draft, *draft.rglob("*")))
            if time.time() - touched > SECONDS_OF_A_DRAFT:
                shutil.rmtree(draft)
        except FileNotFoundError:  # finished or swept by another process in between
            continue
        except OSError as error:
            raise TrainingError(f"{draft} cannot be removed ({error}); remove it and start again") from error


def opened(place: Path, name: str) -> Sheet:
    """Return a sheet that lies in a folder, mapped from disk.

    Args:
        place: the folder, finished.
        name: of the case.
    """
    with np.load(place / "places.npz") as stored:
        places = {lesion: stored[lesion] for lesion in stored.files}
    arrays = {each: np.load(place / f"{each}.npy", mmap_mode="r") for each in ARRAYS}
    return Sheet(name=name, places=places, **arrays)


def _make(case: Case, contract: Contract, place: Path) -> None:
    """Read, cut and squeeze one case, and save the arrays; 'done' is written last."""
    photograph = photographs.read(case.photograph)
    shape = photograph.shape
    found = located(photograph, "auto", contract.field)
    laid = canvas.fit_frame(canvas.part_box(contract.part, shape, found), found, contract)
    masks = truth(case, contract.lesions, shape)[:, *laid.box.slices]
    planes = [canvas.resample(plane.astype(np.uint8) * 255, laid.shape) for plane in masks]
    bits = sum((plane >= 128).astype(np.uint8) << k for k, plane in enumerate(planes))
    pixels = canvas.extract_canvas(photograph.pixels, laid)
    side = FINE * contract.view_side
    np.save(place / "pixels.npy", pixels)
    np.save(place / "bits.npy", bits)
    np.save(place / "fine_view.npy", canvas.global_view(pixels, side))
    np.save(
        place / "fine_truth.npy", np.stack([canvas.global_view(plane, side) for plane in planes], axis=-1)
    )
    generator = np.random.default_rng(0)
    places = {}
    for k, lesion in enumerate(contract.lesions):
        marked = np.argwhere(bits >> k & 1).astype(np.int32)
        if len(marked):
            places[lesion] = generator.permutation(marked)[:KEPT_PLACES]
    np.savez(place / "places.npz", **places)  # type: ignore[arg-type]  # its stub takes arrays for a switch
    (place / "done").touch()


def _settle(draft: Path, place: Path) -> None:
    """Give a finished draft its name, unless another process was faster."""
    try:
        draft.rename(place)
    except OSError:  # the place is taken: a folder cannot replace one that holds files
        if not (place / "done").exists():
            raise


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One view or window as a network learns from it."""

    pixels: UInt8[np.ndarray, "S S 3"]
    """sRGB levels."""
    truth: Float32[np.ndarray, "K S S"]
    """Share of lesion in each pixel, 0 to 1."""


def view(sheet: Sheet, contract: Contract, warp: Warp) -> Sample:
    """Return GlobalNet's view of a sheet, changed by a warp."""
    side = contract.view_side
    height, width = sheet.bits.shape
    spread = (width, height) if warp.quarters % 2 else (height, width)
    linear = augmentation.affine(warp, spread) * FINE
    centre = (side - 1) / 2
    matrix = np.column_stack([linear, (FINE * side - 1) / 2 - linear @ (centre, centre)])
    pixels, shares = (
        augmentation.resampled(np.ascontiguousarray(augmentation.turn(picture, warp)), matrix, side)
        for picture in (sheet.fine_view, sheet.fine_truth)
    )
    return Sample(
        pixels=augmentation.recolour(pixels, warp), truth=np.moveaxis(shares, -1, 0).astype(np.float32) / 255
    )


def window(sheet: Sheet, centre: tuple[int, int], contract: Contract, warp: Warp) -> Sample:
    """Return a window around a place of the canvas, changed by a warp; black where it leaves the canvas."""
    side = contract.window_side
    reach = side if not warp.is_exact else side // 2  # a turned and zoomed-out window sees further
    pixels, bits = (_around(picture, centre, reach) for picture in (sheet.pixels, sheet.bits))
    pixels, bits = (np.ascontiguousarray(augmentation.turn(picture, warp)) for picture in (pixels, bits))
    if not warp.is_exact:
        linear = augmentation.affine(warp, (1, 1))
        middle = (side - 1) / 2
        matrix = np.column_stack([linear, (2 * reach - 1) / 2 - linear @ (middle, middle)])
        pixels = augmentation.resampled(pixels, matrix, side)
        bits = augmentation.resampled(bits, matrix, side, nearest=True)
    return Sample(pixels=augmentation.recolour(pixels, warp), truth=unpack(bits, len(contract.lesions)))


def corner_around(place: tuple[int, int], side: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the corner of the window centred on a place, moved so that it lies within the canvas."""
    row, column = (
        min(max(0, centre - side // 2), length - side) for centre, length in zip(place, shape, strict=True)
    )
    return row, column


def turned_window(sheet: Sheet, corner: tuple[int, int], contract: Contract, warp: Warp) -> Sample:
    """Return the window at a corner of the unturned canvas, turned and recoloured, nothing interpolated."""
    here = np.s_[corner[0] : corner[0] + contract.window_side, corner[1] : corner[1] + contract.window_side]
    bits = augmentation.turn(sheet.bits[here], warp)
    return Sample(
        pixels=augmentation.recolour(augmentation.turn(sheet.pixels[here], warp), warp),
        truth=unpack(bits, len(contract.lesions)),
    )


def unpack(bits: UInt8[np.ndarray, "S T"], lesions: int) -> Float32[np.ndarray, "K S T"]:
    """Return one map of 0 and 1 a lesion."""
    return np.stack([bits >> k & 1 for k in range(lesions)]).astype(np.float32)


def _around(
    picture: UInt8[np.ndarray, "h w ..."], centre: tuple[int, int], reach: int
) -> UInt8[np.ndarray, "S S ..."]:
    """Cut the square from `reach` px before a place to `reach` px behind it; zeros beyond the rim."""
    piece = np.zeros((2 * reach, 2 * reach, *picture.shape[2:]), picture.dtype)
    inner, outer = [], []
    for place, length in zip(centre, picture.shape[:2], strict=True):
        start, stop = (min(max(0, edge), length) for edge in (place - reach, place + reach))
        outer.append(slice(start, stop))
        inner.append(slice(start - place + reach, stop - place + reach))
    piece[tuple(inner)] = picture[tuple(outer)]
    return piece


def places(
    sheets: Sequence[Sheet], lesion_share: float, reach: int, count: int, generator: np.random.Generator
) -> list[tuple[Sheet, tuple[int, int]]]:
    """Draw sheets and the centres of windows in them.

    A share of the windows is centred near a pixel of a drawn lesion: the lesion first, then a case that has
    it, then the pixel, so that rare lesions are seen as often as common ones. The others lie anywhere.

    Args:
        sheets: to draw from.
        lesion_share: of the windows that are centred near a lesion, 0 to 1.
        reach: how far from that pixel their centres may lie, along each axis, canvas px.
        count: of windows.
        generator: draws.

    Returns:
        Sheets, and places that may lie beyond a canvas by `reach`.

    Raises:
        SettingError: the share is outside 0 to 1.

    Source: our choice; the paper crops uniformly (lesion_share 0).
    """
    if not 0 <= lesion_share <= 1:
        raise SettingError(f"lesion_share is {lesion_share}; a share lies between 0 and 1")
    present = sorted({lesion for sheet in sheets for lesion in sheet.places})
    drawn = []
    for _ in range(count):
        if present and generator.random() < lesion_share:
            lesion = present[generator.integers(len(present))]
            having = [sheet for sheet in sheets if lesion in sheet.places]
            sheet = having[int(generator.integers(len(having)))]
            near = sheet.places[lesion][generator.integers(len(sheet.places[lesion]))]
            offset = generator.integers(-reach, reach + 1, 2)
            drawn.append((sheet, (int(near[0] + offset[0]), int(near[1] + offset[1]))))
        else:
            sheet = sheets[int(generator.integers(len(sheets)))]
            height, width = sheet.bits.shape
            drawn.append((sheet, (int(generator.integers(height)), int(generator.integers(width)))))
    return drawn
