"""Cases prepared for training and kept on disk: canvas, masks, a fine view, and where lesions are.

Knows:   how a case is prepared, under which name it is kept, and how its files are written and opened.
Ignores: which samples are cropped from it, and how.

Shape letters: h w canvas, F side of the cached view, K lesions, n pixels.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from foveate import photographs
from foveate.datasets import Case, digest, truth
from foveate.errors import GeometryError, SettingError, TrainingError, raise_if_out_of_memory
from foveate.geometry import canvas
from foveate.inference.prepared_canvas import prepare_canvas
from foveate.paths import display_path, exists
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
            raise_if_out_of_memory(error)
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
