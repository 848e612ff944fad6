"""Sources of the maps that are evaluated: a model that runs now, or files that any system wrote.

Knows:   how a model's maps are resampled to the photograph's frame, the names of map files, and what they may
         hold.
Ignores: masks, and which figures are computed from the maps.

Shape letters: H W photograph.
"""

import dataclasses
import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from foveate import metrics, photographs
from foveate.choices import Part
from foveate.datasets import Case, is_annotated
from foveate.engines import Engine
from foveate.errors import DatasetError, is_out_of_memory, one_line
from foveate.geometry import canvas, field_of_view, stitching
from foveate.inference import prepared_canvas
from foveate.inference.pipeline import Segmentation, segment
from foveate.inference.prepared_canvas import find_field, find_frame
from foveate.inference.settings import FieldChoice, Settings
from foveate.metrics.thresholds import StoredMap
from foveate.models import Package
from foveate.paths import display_path, is_file, is_folder, nfc, obstacle
from foveate.types import Field, FieldRule, ModelContract, Photograph
from foveate.warning_filter import suppress_warnings

SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".npz")
"""Suffixes of map files, in lower case."""

PHOTOMETRIC = 262
"""TIFF 6.0: tag that says what the levels mean; in 0, WhiteIsZero, the lowest level is white."""

EXIF_ORIENTATION = 0x0112
"""EXIF tag of a picture's orientation."""

DAMAGED = (
    *(SyntaxError, OSError, ValueError, EOFError, LookupError, OverflowError, RuntimeError, MemoryError),
    *(Image.DecompressionBombError, cv2.error, struct.error),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""Exceptions that NumPy, OpenCV and Pillow raise on files that violate their format: every type seen on
20,000 damaged files, and those of an encrypted or an empty .npz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseMaps:
    """One photograph and the functions that compute or read its maps."""

    photograph: Photograph
    find_field: Callable[[], Field]
    """Return the field of view, px of the photograph."""
    load_map: Callable[[str], StoredMap]
    """Return the map of a lesion in the photograph's frame."""
    measure_seams: Callable[[str], Float64[np.ndarray, " 4"]] | None
    """Return the jumps of a lesion's map at the borders of windows (`metrics.seams`); None where the
    windows are unknown."""


MapSource = Callable[[Case], CaseMaps]
"""A system that is evaluated."""


def maps_from_model(package: Package, engine: Engine, settings: Settings) -> MapSource:
    """Return a source that segments each photograph, as `foveate predict` does."""

    def maps_of(case: Case) -> CaseMaps:
        photograph = photographs.read(case.photograph)
        segmentation = segment(photograph, package, engine, settings)
        return CaseMaps(
            photograph=photograph,
            find_field=lambda: segmentation.field,
            load_map=lambda lesion: stitching.native_map(segmentation.probabilities, lesion),
            measure_seams=lambda lesion: _seams(segmentation, lesion),
        )

    return maps_of


def require_usable(
    photograph: Photograph, contract: ModelContract | None, region: Part, field: FieldChoice, rule: FieldRule
) -> None:
    """Require that a photograph can be scored; neither a model nor a map is needed.

    Args:
        photograph: the photograph.
        contract: of the model that will segment it; None where maps are read.
        region: which part is scored.
        field: the user's choice of the field of view.
        rule: what 'auto' means where maps are read.

    Raises:
        FieldError: no field of view is detected where one is needed, or the given one is invalid.
        GeometryError: the photograph is smaller than the part, or the model's canvas would be too large.
    """
    if contract is not None:
        found, _ = find_frame(photograph, contract, field_choice=field)
    elif region == "field":
        found = find_field(photograph, field, rule)
    else:
        found = field_of_view.full_frame(photograph.shape)
    canvas.part_box(region, photograph.shape, found)


def require_maps(folder: Path, cases: Iterable[Case], lesions: Sequence[str]) -> None:
    """Require one map for each photograph and each lesion that it was annotated for; no map is read.

    Args:
        folder: as in `maps_from_folder`.
        cases: photographs that are to be scored.
        lesions: codes of the lesions that are to be scored.

    Raises:
        DatasetError: there is no such map, or several.
    """
    maps = _MapFolder(path=folder)
    for case in cases:
        for lesion in lesions:
            if is_annotated(case, lesion):
                maps.find(case, lesion)


def maps_from_folder(folder: Path, field: FieldChoice = "auto", rule: FieldRule = "find") -> MapSource:
    """Return a source that reads `<photograph>_<LESION>` with one of SUFFIXES from a folder.

    Args:
        folder: the folder of the maps. `foveate predict` writes them to maps/ in its output folder, below the
            photographs' own subfolders where there are any.
        field: the field of view, for scoring inside it.
        rule: what 'auto' means for these photographs.
    """

    maps = _MapFolder(path=folder)

    def maps_of(case: Case) -> CaseMaps:
        photograph = photographs.read(case.photograph)
        return CaseMaps(
            photograph=photograph,
            find_field=lambda: find_field(photograph, field, rule),
            load_map=lambda lesion: read_map(maps.find(case, lesion), photograph.shape),
            measure_seams=None,
        )

    return maps_of


def read_map(path: Path, shape: tuple[int, int]) -> StoredMap:
    """Read a map: grey PNG or TIFF of 8 or 16 bits, TIFF of floats, or a NumPy array.

    Args:
        path: path of the file; an .npz holds one array, or one named 'probability'.
        shape: (H, W) that the map must have, px.

    Returns:
        The map as stored: the largest level of 8 or 16 bits is probability 1, floats are probabilities.

    Raises:
        DatasetError: the map is unreadable, of another size or type, not grey, or holds no probabilities; or
            there is not enough memory to read it.
    """
    try:
        content = _content(path)
    except DAMAGED as error:
        reason = one_line(error)
        remedy = "write it again"
        if is_out_of_memory(error):  # also if a damaged file states a huge size
            remedy = "free some memory, or write it again if it is damaged"
        raise DatasetError(f"{display_path(path)}: unreadable map ({reason}); {remedy}") from error
    stored = content.astype(content.dtype.newbyteorder("="), copy=False)
    if stored.shape != shape:
        raise DatasetError(
            f"{display_path(path)}: the map has {_by(stored.shape)} px, its photograph {_by(shape)} px; "
            "write one grey map of the photograph's full size"
        )
    if stored.dtype.kind != "f" and stored.dtype not in (np.bool_, np.uint8, np.uint16):
        raise DatasetError(
            f"{display_path(path)}: the map is {stored.dtype}; write uint8 or uint16, or floating point"
        )
    if stored.dtype.kind == "f" and (fault := metrics.thresholds.range_fault(stored)):
        raise DatasetError(
            f"{display_path(path)}: the map has {fault}; write probabilities, clipped to 0 to 1"
        )
    return stored


def _content(path: Path) -> np.ndarray:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            name = "probability" if len(arrays.files) > 1 else arrays.files[0]
            return np.asarray(arrays[name])
    return _decode_picture(path)


def _decode_picture(path: Path) -> np.ndarray:
    """Return the levels of a picture, upright.

    Raises:
        ValueError: the file is empty, is no picture, or holds several.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError("the file is empty")
    is_read, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if not is_read:
        raise ValueError(f"not a {path.suffix} picture")
    if len(pages) > 1:
        raise ValueError(f"it holds {len(pages)} pictures")
    if content[:2] in (b"II", b"MM"):  # OpenCV turns a TIFF upright, but not a PNG
        page = np.asarray(pages[0])
        return 65535 - page if page.dtype == np.uint16 and _is_white_zero(content) else page
    with suppress_warnings(), PngImageFile(io.BytesIO(content)) as image:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    return np.asarray(photographs.turn_upright(pages[0], orientation))


def _is_white_zero(content: bytes) -> bool:
    """Return whether 0 is white in a TIFF; OpenCV inverts such levels only if they have 8 bits."""
    if content.startswith(photographs.BIG_ENDIAN_BIGTIFF):  # Pillow takes it for a TIFF and fails
        return _big_tiff_photometric(content) == 0
    with suppress_warnings(), TiffImageFile(io.BytesIO(content)) as image:
        return image.tag_v2.get(PHOTOMETRIC) == 0


def _big_tiff_photometric(content: bytes) -> int | None:
    """Return the photometric interpretation of the first picture of a big-endian BigTIFF; None if absent.

    Source: the BigTIFF design (AWare Systems): 8 bytes for the number of entries, 20 bytes for each.
    """
    (start,) = struct.unpack_from(">Q", content, 8)
    (count,) = struct.unpack_from(">Q", content, start)
    entries = (struct.unpack_from(">HHQH", content, start + 8 + 20 * index) for index in range(count))
    return next((value for tag, _, _, value in entries if tag == PHOTOMETRIC), None)


def _names(case: Case, lesion: str) -> tuple[str, ...]:
    """Return the possible names of a map, without suffix: by the case, and as `foveate predict` names it.

    `foveate predict` uses the end of the photograph's path. For the case P1_p0 that is P1/p0 or images/P1/p0,
    depending on the folder that it was given.
    """
    path = case.photograph.with_suffix("")
    parts = path.relative_to(path.anchor).parts
    tails = [parts[-depth:] for depth in range(1, len(parts) + 1)]
    matches = [index for index, tail in enumerate(tails) if nfc("_".join(tail)) == nfc(case.name)]
    names = ["/".join(tail) for tail in tails[matches[0] :]] if matches else []
    return tuple(f"{name}_{lesion}" for name in dict.fromkeys([case.name, *names]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _MapFolder:
    """A folder of maps; each folder in it is listed once."""

    path: Path
    listings: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)
    """Folder relative to `path`, with '/' -> name without suffix, in NFC -> the maps of this name, relative
    to `path`."""

    def find(self, case: Case, lesion: str) -> Path:
        """Return the path of the only map of a photograph and a lesion.

        Raises:
            DatasetError: there is none, or several.
        """
        if reason := obstacle(self.path):
            raise DatasetError(f"{display_path(self.path)}: {reason}")
        names = _names(case, lesion)
        files = list(dict.fromkeys(file for name in names for file in self._files_named(name)))
        if not files:
            possible = [name for name in names if name.replace("/", "_") == names[0]]
            raise DatasetError(
                f"{display_path(self.path)}: there is no map {' or '.join(possible)} "
                f"({', '.join(SUFFIXES)}); write one for every photograph and lesion, or choose lesions with "
                "--lesions"
            )
        if len(files) > 1:
            raise DatasetError(
                f"{display_path(self.path)}: {files[0]} and {files[1]} are maps of the same photograph and "
                "lesion; keep one"
            )
        return self.path / files[0]

    def _files_named(self, name: str) -> list[str]:
        """Return the paths of a name's maps; the Unicode form may differ."""
        parent, _, stem = name.rpartition("/")
        if parent not in self.listings:
            self.listings[parent] = self._list(self.path / parent)
        return self.listings[parent].get(nfc(stem), [])

    def _list(self, folder: Path) -> dict[str, list[str]]:
        if not is_folder(folder):
            return {}
        try:
            paths = list(folder.iterdir())
        except OSError as error:
            raise DatasetError(
                f"{display_path(folder)}: the folder cannot be listed ({error.strerror}); ask for permission "
                "to read it"
            ) from error
        files = [path for path in paths if path.suffix.lower() in SUFFIXES and is_file(path)]
        by_name: dict[str, list[str]] = {}
        for path in sorted(files, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path)):
            by_name.setdefault(nfc(path.stem), []).append(path.relative_to(self.path).as_posix())
        return by_name


def _seams(segmentation: Segmentation, lesion: str) -> Float64[np.ndarray, " 4"]:
    """Measure the jumps of a map at the borders of windows, on the canvas and inside the field."""
    probabilities, tiling = segmentation.probabilities, segmentation.tiling
    levels = probabilities.maps[probabilities.lesions.index(lesion)]
    inside = prepared_canvas.inside(segmentation.field, probabilities.frame)
    return metrics.seams.table_row(levels, inside, tiling.corners, tiling.window)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape) or "1"  # NumPy's single numbers have no shape
