"""Where the maps that are evaluated come from: a model that looks now, or files that any system wrote.

Knows:   how a model's maps reach the photograph's frame; how maps lie in a folder and what they may hold.
Ignores: masks, and what is worked out from the maps.

Shape letters: H W photograph.
"""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64

from foveate import metrics, photographs
from foveate.datasets import Case
from foveate.engines import Engine
from foveate.errors import DatasetError
from foveate.geometry import canvas, field_of_view, stitching
from foveate.inference.pipeline import FieldChoice, Segmentation, Settings, located, segment
from foveate.metrics.thresholds import Map
from foveate.models import Package
from foveate.types import Box, Field, FieldRule, Photograph

SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".npz")
"""How map files may end."""

DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, cv2.error)
"""What NumPy and OpenCV raise on files that are not as their format has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One photograph and its maps, each worked out or read when it is asked for."""

    photograph: Photograph
    field: Callable[[], Field]
    """Finds the field of view, px of the photograph."""
    stored: Callable[[str], Map]
    """Lesion -> its map in the photograph's frame."""
    seams: Callable[[str], Float64[np.ndarray, " 4"]] | None
    """Lesion -> jumps at borders of windows (`metrics.seams`); None where nobody knows the windows."""


Source = Callable[[Case], Shown]
"""What is evaluated."""


def of_model(package: Package, engine: Engine, settings: Settings) -> Source:
    """Return a source that segments each photograph, as `foveate predict` does."""

    def show(case: Case) -> Shown:
        photograph = photographs.read(case.photograph)
        seen = segment(photograph, package, engine, settings)
        return Shown(
            photograph=photograph,
            field=lambda: seen.field,
            stored=lambda lesion: stitching.native(seen.probabilities, lesion),
            seams=lambda lesion: _seams(seen, lesion),
        )

    return show


def of_folder(folder: Path, field: FieldChoice = "auto", rule: FieldRule = "find") -> Source:
    """Return a source that reads `<photograph>_<LESION>` with one of SUFFIXES from a folder.

    Args:
        folder: with the maps; those of `foveate predict` lie in its maps/, in the photographs' own folders
            where these lie deeper.
        field: where the field of view is, for those who ask.
        rule: what 'auto' means for these photographs.
    """

    def show(case: Case) -> Shown:
        photograph = photographs.read(case.photograph)
        return Shown(
            photograph=photograph,
            field=lambda: located(photograph, field, rule),
            stored=lambda lesion: read_map(_only(folder, _names(case, lesion)), photograph.shape),
            seams=None,
        )

    return show


def read_map(path: Path, shape: tuple[int, int]) -> Map:
    """Read a map: grey PNG or TIFF of 8 or 16 bits, TIFF of floats, NumPy array; levels or probabilities.

    Args:
        path: an .npz holds one array, or one that is called 'probability'.
        shape: (H, W) that the map must have, px.

    Returns:
        The map as stored: the largest level of 8 or 16 bits is probability 1, floats are probabilities.

    Raises:
        DatasetError: unreadable, of another size, not grey, of another type, or no probabilities.
    """
    try:
        stored = _content(path)
    except DAMAGED as error:
        raise DatasetError(f"{path}: unreadable map ({error}); write it anew") from error
    if stored.shape != shape:
        raise DatasetError(
            f"{path}: the map is {_by(stored.shape)}, its photograph {_by(shape)}; write one grey map of the "
            "photograph's full size"
        )
    if stored.dtype.kind != "f" and stored.dtype not in (np.bool_, np.uint8, np.uint16):
        raise DatasetError(f"{path}: a map of {stored.dtype}; write 8 or 16 bits without sign, or floats")
    if stored.dtype.kind == "f":
        low, high = float(stored.min()), float(stored.max())
        if not (low >= 0 and high <= 1):  # not a number fails both
            raise DatasetError(f"{path}: runs from {low:g} to {high:g}; probabilities lie in [0, 1]")
    return stored


def _content(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            name = "probability" if len(arrays.files) > 1 else arrays.files[0]
            return np.asarray(arrays[name])
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"no {path.suffix} picture")
    return np.asarray(pixels)


def _names(case: Case, lesion: str) -> tuple[str, ...]:
    """Return what a map may be called, without ending: as the case, and as `foveate predict` calls it.

    The latter are ends of the photograph's path, at least as deep as the case's name: where that is P1_p0,
    P1/p0 or images/P1/p0, by the folder that `predict` was given.
    """
    path = case.photograph.with_suffix("")
    parts = path.relative_to(path.anchor).parts
    ends = [parts[-depth:] for depth in range(1, len(parts) + 1)]
    own = [depth for depth, end in enumerate(ends) if "_".join(end) == case.name]
    names = ["/".join(end) for end in ends[own[0] :]] if own else []
    return tuple(f"{name}_{lesion}" for name in dict.fromkeys([case.name, *names]))


def _only(folder: Path, names: Sequence[str]) -> Path:
    """Return the one file of those names.

    Raises:
        DatasetError: there is none, or several.
    """
    found = [name + suffix for name in names for suffix in SUFFIXES if (folder / (name + suffix)).is_file()]
    if not found:
        same = [name for name in names if name.replace("/", "_") == names[0]]
        raise DatasetError(
            f"{folder}: no map {' or '.join(same)} ({', '.join(SUFFIXES)}); write one for every "
            "photograph and lesion, or choose lesions with --lesions"
        )
    if len(found) > 1:
        raise DatasetError(f"{folder}: {found[0]} beside {found[1]}; keep one map")
    return folder / found[0]


def _seams(seen: Segmentation, lesion: str) -> Float64[np.ndarray, " 4"]:
    """Measure jumps at the borders of a model's windows, on its canvas and in the field."""
    probabilities = seen.probabilities
    shape = probabilities.frame.shape
    levels = probabilities.maps[probabilities.lesions.index(lesion)]
    box = probabilities.frame.box
    inside = field_of_view.mask(seen.field, box)
    within = canvas.resample(inside.astype(np.uint8), shape) > 0
    return metrics.seams.row(levels, within, seen.tiling.corners, seen.tiling.window)


def everywhere(shape: tuple[int, int]) -> Box:
    """Return the box of a whole photograph."""
    return Box(top=0, left=0, bottom=shape[0], right=shape[1])


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
