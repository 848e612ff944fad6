"""Read masks: determine which pixels of a file are lesion, by the same rules for every type of file.

Knows:   levels, palettes, orientation and pages of mask files, and which masks are implausible.
Ignores: cases, and where masks are.

| in the file                          | result                                                           |
|--------------------------------------|------------------------------------------------------------------|
| grey or colour                       | lesion where any level is above 0, or reaches `lesion_from`      |
| transparency                         | ignored: alpha is 255 everywhere in one official IDRiD mask      |
| black, partly transparent            | refused: the lesion is in what is ignored                        |
| palette with a black entry           | lesion where the colour is not black, so that dark red counts    |
| palette without a black entry        | lesion where the index is not 0                                  |
| palette whose used entries are black | refused: no entry can be distinguished from the background       |
| EXIF orientation                     | applied, as for photographs                                      |
| several pages                        | refused                                                          |
| JPEG, also in TIFF, and WebP,        | refused: faint levels around a lesion are not lesion             |
| without `lesion_from`                |                                                                  |
| floats that are negative or NaN      | refused                                                          |
| `lesion_from`, levels up to 15       | refused: class indices, or 0 and 1; no pixel would be lesion     |

Shape letters: H W photograph.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from foveate.errors import DatasetError, is_out_of_memory, one_line
from foveate.paths import display_path
from foveate.photographs import BIG_ENDIAN_BIGTIFF, exif_orientation, turn_upright
from foveate.warning_filter import suppress_warnings

LARGEST_SHARE = 0.30
"""Largest share of its photograph that a mask may cover: above it, the file was misread or is not a lesion
mask. The largest mask of IDRiD covers 14.9 %."""

DAMAGED = (
    *(OSError, EOFError, SyntaxError, TypeError, ValueError, LookupError, OverflowError),
    *(struct.error, Image.DecompressionBombError),
)
"""Exceptions that Pillow raises on files that violate their format."""

LOSSY = {
    **{"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP", "AVIF": "AVIF", "JPEG2000": "JPEG 2000"},
    **{"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WebP"},
}
"""Formats, and compressions of TIFF, that blur the edges of a mask, as Pillow names them -> the usual name:
faint levels around a lesion are not lesion. Some can also keep all levels, but Pillow does not say so."""

WITH_ALPHA = frozenset({"RGBA", "LA", "PA"})
"""Modes of Pillow that have transparency beside their levels."""

FULL_LEVEL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The level of full certainty, by the type of a grey or coloured mask."""

LARGEST_CLASS = 15
"""Levels up to this are class indices, or 0 and 1, not shares of the full level."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskFile:
    """The content of a mask file."""

    path: Path
    levels: Shaped[np.ndarray, "H W ..."]
    """Levels of grey or of colours, upright, in native byte order; for a palette, whether the entry of each
    pixel is lesion."""
    colours: int
    """Number of different entries of a palette that are lesion; 0 where there is no palette."""
    lossy: str | None
    """Name of the compression that blurs edges; None if the levels are stored unchanged."""


def read_mask(path: Path, shape: tuple[int, int], lesion_from: float = 0.0) -> Bool[np.ndarray, "H W"]:
    """Read which pixels of a mask are lesion.

    Args:
        path: path of the mask.
        shape: (H, W) that the mask must have, px.
        lesion_from: share of the full level from which a pixel is lesion, 0 to 1; 0 means any level above 0.

    Raises:
        DatasetError: the mask is refused by the table above, is unreadable, differs in size from its
            photograph, or has a larger share of lesion than `LARGEST_SHARE`.
    """
    return fit(load(path), shape, lesion_from)


def lesion_pixels(path: Path, lesion_from: float = 0.0) -> Bool[np.ndarray, "H W"]:
    """Read which pixels of a mask are lesion, without checking the size of the mask and the share of lesion.

    Raises:
        DatasetError: the mask is refused by the table above, or is unreadable.
    """
    return lesion_of(load(path), lesion_from)


def fit(mask: MaskFile, shape: tuple[int, int], lesion_from: float) -> Bool[np.ndarray, "H W"]:
    """Return the lesion pixels of a mask that fits its photograph; see `read_mask`."""
    lesion = lesion_of(mask, lesion_from)
    name = display_path(mask.path)
    if lesion.shape != shape:
        raise DatasetError(
            f"{name}: the mask has {lesion.shape[0]} x {lesion.shape[1]} px, its photograph {shape[0]} x "
            f"{shape[1]} px; save it at the size of the photograph"
        )
    if lesion.mean() > LARGEST_SHARE:
        raise DatasetError(
            f"{name}: the mask covers {lesion.mean():.0%} of the photograph, more than the "
            f"{LARGEST_SHARE:.0%} that is plausible; if it is inverted, save it with lesions white on black"
        )
    return lesion


def load(path: Path) -> MaskFile:
    """Read the content of a mask file.

    Raises:
        DatasetError: the file is unreadable, has several pages, or uses several palette entries that are
            all black.
    """
    try:
        _require_supported(path)
        with suppress_warnings(), Image.open(path) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise DatasetError(
                    f"{display_path(path)}: holds {pages} pictures; save the mask as a file of its own"
                )
            image.load()
            return _content(path, image)
    except DAMAGED as error:
        if is_out_of_memory(error):
            raise
        raise DatasetError(
            f"{display_path(path)}: unreadable mask ({one_line(error)}); restore the file, or save it as PNG"
        ) from error


def _require_supported(path: Path) -> None:
    """Raise ValueError for a format that Pillow mistakes for another one."""
    with path.open("rb") as file:
        if file.read(len(BIG_ENDIAN_BIGTIFF)) == BIG_ENDIAN_BIGTIFF:
            raise ValueError("a big-endian BigTIFF, which is not supported")


def lesion_of(mask: MaskFile, lesion_from: float) -> Bool[np.ndarray, "H W"]:
    """Return which pixels of a mask are lesion.

    Raises:
        DatasetError: the mask is refused by the table above.
    """
    name, levels = display_path(mask.path), mask.levels
    if mask.lossy is not None and lesion_from == 0:
        raise DatasetError(
            f"{name}: {mask.lossy} blurs the edges of a mask; save it as PNG, or set lesion_from = 0.5 in "
            "the layout"
        )
    if levels.dtype == np.bool_ or lesion_from == 0:
        return _any_channel(levels > 0)
    if levels.dtype not in FULL_LEVEL:
        raise DatasetError(
            f"{name}: has {levels.dtype} levels, whose largest value is unknown; save it as 8-bit PNG"
        )
    full, highest = FULL_LEVEL[levels.dtype], int(levels.max())
    if 0 < highest <= LARGEST_CLASS and mask.lossy is None:
        raise DatasetError(
            f"{name}: its largest level is {highest} of {full}, below lesion_from = {lesion_from:g} of the "
            "full level; save a mask of 0 and 255 for each lesion, or remove lesion_from from the layout"
        )
    return _any_channel(levels >= lesion_from * full)


def ambiguity(mask: MaskFile, lesion_from: float) -> str | None:
    """Return why a person should look at the levels of a mask, or None if they are unambiguous.

    A mask without `lesion_from` should have one level, or one colour, above 0.
    """
    if mask.colours > 1:
        return f"{mask.colours} colours all count as this lesion; save a separate mask for each lesion"
    if lesion_from > 0 or mask.levels.dtype == np.bool_:
        return None
    grey = mask.levels if mask.levels.ndim == 2 else _grey(mask.levels)
    if grey is None:
        return "several colours all count as this lesion; save a separate mask for each lesion"
    levels = np.unique(grey[grey > 0])
    if len(levels) < 2:
        return None
    if levels[-1] <= LARGEST_CLASS:
        level_list = ", ".join(map(str, levels))
        return (
            f"levels {level_list} all count as this lesion; if they are classes, save a mask for each lesion"
        )
    return (
        f"{len(levels)} levels from {levels[0]} to {levels[-1]} all count as this lesion; if edges are "
        "soft, set lesion_from = 0.5 in the layout"
    )


def _content(path: Path, image: Image.Image) -> MaskFile:
    """Return the content of an opened picture."""
    lossy = LOSSY.get(image.info.get("compression", "")) or LOSSY.get(image.format or "")
    colours = 0
    if image.mode == "P":
        levels, colours = _palette_lesion(path, image)
    else:
        levels = np.asarray(image.convert("RGB") if image.mode in WITH_ALPHA else image)
        if levels.dtype == np.int32:  # Pillow reads unsigned numbers of 32 bits as signed ones
            levels = levels.view(np.uint32)
        _require_levels(path, levels)
        _require_colours(path, image, levels)
    if not isinstance(image, TiffImageFile):  # Pillow turns a TIFF upright while loading it
        levels = turn_upright(levels, exif_orientation(image.info.get("exif", b"")))
    native = levels.astype(levels.dtype.newbyteorder("="), copy=False)
    return MaskFile(path=path, levels=np.ascontiguousarray(native), colours=colours, lossy=lossy)


def _require_levels(path: Path, levels: Shaped[np.ndarray, "H W ..."]) -> None:
    """Raise DatasetError for floats that are no levels: they would silently count as no lesion."""
    if levels.dtype.kind == "f" and not (levels >= 0).all():  # NaN fails
        raise DatasetError(
            f"{display_path(path)}: has levels that are negative or no numbers; save it as 8-bit PNG"
        )


def _require_colours(path: Path, image: Image.Image, levels: Shaped[np.ndarray, "H W ..."]) -> None:
    """Raise DatasetError for a black picture whose lesion can only be in its transparency."""
    if image.mode not in WITH_ALPHA or levels.any():
        return
    lowest, highest = image.getchannel("A").getextrema()
    if lowest != highest:
        raise DatasetError(
            f"{display_path(path)}: is black and partly transparent, and transparency is ignored; save it as "
            "a grey PNG of 0 and 255"
        )


def _palette_lesion(path: Path, image: Image.Image) -> tuple[Bool[np.ndarray, "H W"], int]:
    """Return which pixels of a palette image are lesion, and how many palette entries they use."""
    indices = np.asarray(image)
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    palette = np.zeros((256, 3), np.uint8)
    entries = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette[: len(entries)] = entries
    is_lesion: Bool[np.ndarray, " 256"] = np.asarray(palette.any(axis=1))
    if len(used) > 1 and not is_lesion[used].any():
        raise DatasetError(
            f"{display_path(path)}: all entries of its palette that it uses ({', '.join(map(str, used))}) "
            "are black; save it as a grey PNG of 0 and 255"
        )
    if is_lesion[used].all():
        is_lesion = np.arange(256) > 0
    return is_lesion[indices], int(is_lesion[used].sum())


def _any_channel(lesion: Shaped[np.ndarray, "H W ..."]) -> Bool[np.ndarray, "H W"]:
    return np.asarray(lesion.any(axis=-1) if lesion.ndim == 3 else lesion)


def _grey(levels: Shaped[np.ndarray, "H W C"]) -> Shaped[np.ndarray, "H W"] | None:
    """Return the highest channel of a picture of one colour, or None if it has several colours."""
    highest = levels.max(axis=-1)
    lit = highest > 0
    channels = levels[lit] > 0
    return highest if len(np.unique(channels, axis=0)) < 2 else None
