"""A file's bytes -> upright RGB levels.

Knows:   what Pillow and OpenCV make of a file, where they are lax, and EXIF orientation.
Ignores: paths, folders, and what the picture shows.

Pillow is the reader: it is strict about what is missing. Two things it lets pass are seen to here: a JPEG or
PNG without its end, and 16-bit RGB, which it cuts to 8 bits without a word; OpenCV brings the lower bits.

Shape letters: H W photograph as stored, h w upright, R rows of a strip.
"""

import math
import mmap
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL.Image import DecompressionBombError, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from foveate.errors import PhotographError
from foveate.photographs._files import Form

SMALLEST_SIDE = 256
"""Least rows and columns of a photograph, px: in a field of that size a microaneurysm is 1 px wide."""

_STRIP = 1 << 22
"""Pixels handled at a time where a whole copy would cost memory: 4 million, 16 MB."""

_OPENERS: dict[Form, type[ImageFile]] = {"JPEG": JpegImageFile, "PNG": PngImageFile, "TIFF": TiffImageFile}

_ENDS: dict[Form, bytes] = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""What closes the picture. Pillow also takes some files whose last bytes are missing or were never copied."""

_COLOURS = frozenset({"RGB", "RGBA", "RGBa", "P", "PA"})
"""Pillow's modes that are read."""

_GREY = (
    "a grey photograph, infrared or red-free; lesions are told apart by colour: give the colour photograph"
)

_PRINT = "prepared for print; export it again as 8-bit RGB"

_YCBCR = "stored as YCbCr, of one of several kinds; export it again as 8-bit RGB"

_REFUSED = {
    "1": f"black and white without grey, so {_GREY}",
    "CMYK": f"CMYK, {_PRINT}",
    "LAB": f"CIELAB, {_PRINT}",
    "YCbCr": _YCBCR,
}
"""Pillow's modes that are refused, and why; all others are grey."""

_ORIENTATION, _SHORT = 0x0112, 3
"""EXIF: a tag, and the type of its value."""

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES = 254, 258, 259, 262, 284
_TILE_WIDTH, _TILE_LENGTH, _DNG_VERSION = 322, 323, 50706
"""TIFF 6.0 and DNG 1.0: tags."""

_DAMAGED = (OSError, SyntaxError, ValueError, DecompressionBombError)
"""What Pillow raises on files that are not as their format has it: all that 40,000 damaged ones brought."""

_QUIET = threading.Lock()
"""Python's warning filters belong to the process: one thread at a time changes them."""


def decode(file: BufferedReader, form: Form, name: str, limit: int) -> UInt8[np.ndarray, "h w 3"]:
    """Decode one photograph, upright.

    Args:
        file: a regular file, open for reading.
        form: its format.
        name: of the file, for messages.
        limit: most pixels that are decoded.

    Returns:
        sRGB levels, contiguous, not to be written to.

    Raises:
        PhotographError: it is refused, or cannot be decoded.
    """
    with _damage_named(form, name):
        stored, orientation = _stored(file, form, name, limit)
    require_colours(stored, name)
    upright = np.ascontiguousarray(turned(stored, orientation))
    upright.flags.writeable = False
    return upright


def require_size(shape: tuple[int, int], name: str, limit: int | None = None) -> None:
    """Raise PhotographError unless (rows, columns) are those of a photograph, of at most `limit` pixels."""
    height, width = shape
    if min(height, width) < SMALLEST_SIDE:
        raise PhotographError(
            f"{name}: {width} x {height} px; a photograph has at least {SMALLEST_SIDE} px on each side: "
            "give the original, not a thumbnail"
        )
    if limit is not None and width * height > limit:
        raise PhotographError(
            f"{name}: {width} x {height} px are {width * height / 1e6:.1f} million, more than the "
            f"{limit / 1e6:g} million that are read; scale it down"
        )


def require_colours(pixels: UInt8[np.ndarray, "H W 3"], name: str) -> None:
    """Raise PhotographError where red, green and blue are equal everywhere.

    A frame of one level is let through: that nothing is lit is for `field.find` to say.
    """
    thin = pixels[::16, ::16]  # enough to acquit nearly every photograph
    if _has_colours(thin) or _has_colours(pixels) or pixels.min() == pixels.max():
        return
    raise PhotographError(f"{name}: red, green and blue are equal everywhere: {_GREY}")


def _has_colours(pixels: UInt8[np.ndarray, "H W 3"]) -> bool:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return not (np.array_equal(red, green) and np.array_equal(green, blue))


def turned(stored: UInt8[np.ndarray, "H W 3"], orientation: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a view of a picture turned upright.

    Args:
        stored: rows and columns as in the file.
        orientation: which side of the scene the first row and the first column show, 1 to 8.

    Source: Exif 2.32 (CIPA DC-008), tag 0x0112.
    """
    turning = stored.swapaxes(0, 1) if orientation >= 5 else stored
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return turning[rows, columns]


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, that an EXIF block states; 1, upright, where it states no valid one.

    Args:
        exif: a TIFF header and its first directory, with or without 'Exif' before it.
    """
    body = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(body[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", body, entry)
            if tag == _ORIENTATION and kind == _SHORT:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # it ends too soon
        return 1
    return 1


def _stored(
    file: BufferedReader, form: Form, name: str, limit: int
) -> tuple[UInt8[np.ndarray, "H W 3"], int]:
    """Return the levels as they lie in the file, and the orientation in which they do."""
    levels, orientation, deep = _pillows(file, form, name, limit)  # whose own store is free from here on
    return (_rounded(file, levels, name) if deep else levels), orientation


def _pillows(
    file: BufferedReader, form: Form, name: str, limit: int
) -> tuple[UInt8[np.ndarray, "H W 3"], int, bool]:
    """Return what Pillow reads: levels, orientation, and whether it has cut their lower bits."""
    file.seek(0)
    with quiet():
        image = _OPENERS[form](file)
    _require_readable(image, name, limit)
    deep = _is_deep(image, file)
    if deep:
        _require_plain_depth(image, name)
    _require_end(file, form, name)
    if isinstance(image, TiffImageFile):
        with quiet():
            image.load()
        return _levels(image), 1, deep  # Pillow turns TIFF upright while it loads
    image.load()
    return _levels(image), exif_orientation(image.info.get("exif", b"")), deep


def _require_readable(image: ImageFile, name: str, limit: int) -> None:
    """Raise PhotographError unless the header is that of a photograph within the limits."""
    width, height = image.size
    require_size((height, width), name, limit)
    if isinstance(image, TiffImageFile):
        _require_plain_tiff(image, name, limit)
    if getattr(image, "is_animated", False):
        raise PhotographError(
            f"{name}: holds several pictures; save the one that is the photograph by itself"
        )
    if image.mode not in _COLOURS:
        what = _REFUSED.get(image.mode, _GREY)
        raise PhotographError(f"{name}: is {what}")


def _require_plain_tiff(image: TiffImageFile, name: str, limit: int) -> None:
    """Raise PhotographError for what passes for a TIFF photograph and is none."""
    if _tag(image, _SUBFILE, 0) & 1 or _DNG_VERSION in image.tag_v2:
        raise PhotographError(
            f"{name}: its first picture is a reduced copy, as in a camera's raw file; "
            "export the photograph itself"
        )
    if _tag(image, _PHOTOMETRIC, 2) == 6 and _tag(image, _COMPRESSION, 1) not in (6, 7):
        raise PhotographError(f"{name}: is {_YCBCR}")  # JPEG (6, 7) has one kind; Pillow 11 misreads others
    if _tag(image, _TILE_WIDTH, 1) * _tag(image, _TILE_LENGTH, 1) > limit:
        raise PhotographError(f"{name}: its tiles are larger than any photograph; export it again")
    pieces = [piece[1] or (0, 0, 0, 0) for piece in image.tile]
    held = sum((right - left) * (bottom - top) for left, top, right, bottom in pieces)
    if held < math.prod(image.size):
        raise PhotographError(f"{name}: rows of its picture are missing; copy it again from its source")


def _tag(image: TiffImageFile, tag: int, default: int) -> int:
    """Return a number that a TIFF's header states, or the default where it states none."""
    value = image.tag_v2.get(tag, default)
    if not isinstance(value, int):
        raise ValueError(f"tag {tag} is {value!r}")
    return value


def _is_deep(image: ImageFile, file: BufferedReader) -> bool:
    """Whether a level takes more than 8 bits."""
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(_BITS, (1,))) > 8)
    if isinstance(image, PngImageFile):
        here = file.tell()
        file.seek(24)  # bit depth, in the header that every PNG begins with
        depth = file.read(1)
        file.seek(here)
        return depth == b"\x10"
    return False


def _require_plain_depth(image: ImageFile, name: str) -> None:
    """Raise PhotographError for deep pictures that are more than rows of R, G, B."""
    planes = isinstance(image, TiffImageFile) and _tag(image, _PLANES, 1) != 1
    if planes or image.mode != "RGB" or "transparency" in image.info:
        how = "in planes" if planes else "with transparency"
        raise PhotographError(f"{name}: 16-bit colours {how} are not read; export it as 8-bit RGB")


def _require_end(file: BufferedReader, form: Form, name: str) -> None:
    """Raise PhotographError where a JPEG or PNG is not closed after the place reached in the file."""
    if form not in _ENDS:
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as everything:
        closed = everything.rfind(_ENDS[form], file.tell()) >= 0
    if not closed:
        raise PhotographError(f"{name}: the end of the {form} is missing; copy it again from its source")


def _levels(image: ImageFile) -> UInt8[np.ndarray, "H W 3"]:
    """Copy the levels out of Pillow, a strip at a time: asked for all at once it holds two copies."""
    width, height = image.size
    levels = np.empty((height, width, 3), np.uint8)
    for rows in _strips(height, width):
        levels[rows] = _on_black(image.crop((0, rows.start, width, rows.stop)))
    return levels


def _strips(height: int, width: int) -> Iterator[slice]:
    """Yield rows of about `_STRIP` pixels."""
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _on_black(strip: Image) -> UInt8[np.ndarray, "R W 3"]:
    """Return a strip's levels, what is transparent laid on black."""
    opaque = strip.mode in ("RGB", "P") and "transparency" not in strip.info
    if opaque:
        return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    levels = np.asarray(strip.convert("RGBA")).astype(np.uint16)
    return ((levels[..., :3] * levels[..., 3:] + 127) // 255).astype(np.uint8)


def _rounded(file: BufferedReader, cut: UInt8[np.ndarray, "H W 3"], name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return 16-bit levels rounded to 8 bits, where Pillow has only cut them.

    Two decoders must agree on the upper bits: neither is known to be right about all 16-bit pictures.

    Args:
        file: the photograph.
        cut: its levels, the lower 8 bits cut off.
        name: for messages.
    """
    doubt = PhotographError(f"{name}: two decoders read its 16 bits differently; export it as 8-bit RGB")
    deep = cv2.imdecode(np.memmap(file, np.uint8, "r"), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16 or deep.shape != cut.shape:
        raise doubt
    rounded = np.empty_like(cut)
    for rows in _strips(*cut.shape[:2]):
        levels: UInt16[np.ndarray, "R W 3"] = deep[rows, :, ::-1]
        if not np.array_equal(levels >> 8, cut[rows]):
            raise doubt
        rounded[rows] = (levels.astype(np.uint32) + 128) // 257  # 65535 / 255 = 257
    return rounded


@contextmanager
def _damage_named(form: Form, name: str) -> Iterator[None]:
    """Turn what a decoder raises on a bad file into a PhotographError of one line."""
    try:
        yield
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotographError(
            f"{name}: cannot be decoded as {form} ({reason}); it is damaged, incomplete or of a rare kind: "
            "copy it again, or export it as 8-bit RGB"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep readers' warnings from the user: what matters of them is raised as an error anyway."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
