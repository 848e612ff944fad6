"""Decode the bytes of a file to upright RGB levels.

Knows:   how Pillow and OpenCV decode, where they are lax, and EXIF orientation.
Ignores: paths, folders, and what the picture shows.

Pillow decodes, because it is strict about missing data. Two things that it accepts are checked here: a JPEG
or PNG without its end, and 16-bit RGB, which it silently cuts to 8 bits; OpenCV supplies the lower bits.

Shape letters: H W photograph as stored, h w upright, R rows of a strip.
"""

import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from jaxtyping import Shaped, UInt8, UInt16
from PIL.Image import DecompressionBombError, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from foveate.errors import PhotographError, is_out_of_memory, one_line
from foveate.photographs._files import FileFormat
from foveate.warning_filter import suppress_warnings

SMALLEST_SIDE = 256
"""Smallest side of a photograph, px: in a field of that size a microaneurysm is 1 px wide."""

LIT_LEVEL = 16
"""Level from which a pixel is lit, and its colour is known."""

GREY_NOISE = 3
"""Largest difference between the levels of a grey pixel: noise and JPEG cause 1 or 2."""

COLOURED_SHARE = 0.02
"""Share of the lit pixels that must have a colour: text and marks in a grey photograph cover less."""

EMPTY_CHANNEL = 0.1
"""Smallest mean level of the second brightest channel, as a share of that of the brightest, where pixels are
lit: where a photograph was saved in one channel, the others hold noise and traces of JPEG. The reddest of 223
photographs has .26."""

MISSING_BITS = 2
"""Number of highest bits that are 0 in all levels of a photograph that has fewer bits than its file states:
14 bits stored as 16, for example."""

_STRIP = 1 << 22
"""Number of pixels processed at a time, where a whole copy would take too much memory: 4 million, 16 MB."""

_JPEG_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression sequence")
"""Beginnings of libjpeg's warnings that mean wrong pixels. Pillow suppresses all warnings of libjpeg."""

_PNG_SIGNATURE_BYTES = 8

_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"tRNS"})
"""Chunks of a PNG that determine its pixels."""

_OPENERS: dict[FileFormat, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
}

_ENDS: dict[FileFormat, bytes] = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""Bytes that end a picture. Pillow also accepts some files whose last bytes are missing."""

_COLOURS = frozenset({"RGB", "RGBA", "RGBa", "P", "PA"})
"""Modes of Pillow that are read."""

_GREY = "a grey photograph, infrared or red-free; give the colour photograph, since lesions differ in colour"

_PRINT = "which is for printing; export it again as 8-bit RGB"

_YCBCR = "stored as YCbCr, which has several variants; export it again as 8-bit RGB"

_REFUSED = {
    "1": f"black and white without grey, so {_GREY}",
    "CMYK": f"CMYK, {_PRINT}",
    "LAB": f"CIELAB, {_PRINT}",
    "YCbCr": _YCBCR,
}
"""Modes of Pillow that are refused, and why; all others are grey."""

_ORIENTATION, _SHORT = 0x0112, 3
"""EXIF: a tag, and the type of its value."""

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES = 254, 258, 259, 262, 284
_TILE_WIDTH, _TILE_LENGTH, _DNG_VERSION = 322, 323, 50706
"""TIFF 6.0 and DNG 1.0: tags."""

_DAMAGED = (OSError, SyntaxError, ValueError, DecompressionBombError)
"""What Pillow raises on files that violate their format: every type seen on 40,000 damaged files."""


def decode(
    file: BufferedReader, format_name: FileFormat, name: str, limit: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode one photograph, upright.

    Args:
        file: a regular file, open for reading.
        format_name: its format.
        name: name of the file, for messages.
        limit: largest number of pixels that is decoded.

    Returns:
        sRGB levels, contiguous and read-only.

    Raises:
        PhotographError: it is refused, or cannot be decoded.
    """
    with _damage_as_photograph_error(format_name, name):
        stored, orientation = _decode_stored(file, format_name, name, limit)
    require_colours(stored, name)
    upright = np.ascontiguousarray(turn_upright(stored, orientation))
    upright.flags.writeable = False
    return upright


def require_size(shape: tuple[int, int], name: str, limit: int | None = None) -> None:
    """Raise PhotographError unless (rows, columns) fit a photograph of at most `limit` pixels."""
    height, width = shape
    if min(height, width) < SMALLEST_SIDE:
        raise PhotographError(
            f"{name}: has {width} x {height} px, but a photograph needs at least {SMALLEST_SIDE} px on each "
            "side; give the original, not a thumbnail"
        )
    if limit is not None and width * height > limit:
        raise PhotographError(
            f"{name}: has {width} x {height} px, {width * height:,} in all and more than the limit of "
            f"{limit:,}; scale it down"
        )


def require_colours(pixels: UInt8[np.ndarray, "H W 3"], name: str) -> None:
    """Raise PhotographError for a grey photograph in three channels.

    In such a photograph, apart from noise, red, green and blue are equal nearly everywhere, or two of them
    are empty. A frame of one level is accepted: `field_of_view.find` reports that nothing is lit.
    """
    thin = pixels[::16, ::16]  # enough to prove the colour of nearly every photograph
    if (channel := _only_channel(thin)) is not None:
        raise PhotographError(f"{name}: only its {channel} channel holds a picture: {_GREY}")
    if _has_colours(thin) or _has_colours(pixels) or pixels.min() == pixels.max():
        return
    raise PhotographError(f"{name}: red, green and blue are equal nearly everywhere: {_GREY}")


def _only_channel(pixels: UInt8[np.ndarray, "H W 3"]) -> str | None:
    """Return the name of the only channel that is not empty; None where there are several, or none."""
    lit = pixels[pixels.max(axis=-1) >= LIT_LEVEL]
    if not len(lit):
        return None
    means = lit.mean(axis=0)
    is_alone = np.median(means) < EMPTY_CHANNEL * means.max()
    return ("red", "green", "blue")[int(means.argmax())] if is_alone else None


def _has_colours(pixels: UInt8[np.ndarray, "H W 3"]) -> bool:
    highest = pixels.max(axis=-1)
    differences = (highest - pixels.min(axis=-1))[highest >= LIT_LEVEL]
    if not len(differences):
        return not np.array_equal(pixels[..., 0], pixels[..., 1]) or not np.array_equal(
            pixels[..., 1], pixels[..., 2]
        )
    return bool(np.count_nonzero(differences > GREY_NOISE) > COLOURED_SHARE * len(differences))


def turn_upright(stored: Shaped[np.ndarray, "H W ..."], orientation: int) -> Shaped[np.ndarray, "h w ..."]:
    """Return a view of a picture, turned upright.

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
    """Return the orientation, 1 to 8, in an EXIF block; 1 (upright) where it has no valid one.

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
    except struct.error:  # the block is truncated
        return 1
    return 1


def _decode_stored(
    file: BufferedReader, format_name: FileFormat, name: str, limit: int
) -> tuple[UInt8[np.ndarray, "H W 3"], int]:
    """Return the levels as stored in the file, and their orientation."""
    levels, orientation, is_16_bit = _decode_levels(file, format_name, name, limit)
    return (_round_to_8_bits(file, levels, name) if is_16_bit else levels), orientation


def _decode_levels(
    file: BufferedReader, format_name: FileFormat, name: str, limit: int
) -> tuple[UInt8[np.ndarray, "H W 3"], int, bool]:
    """Return the decoded levels, the orientation, and whether the lower bits were cut.

    Pillow reads the header and decodes all but most JPEGs.
    """
    file.seek(0)
    with suppress_warnings():
        image = _OPENERS[format_name](file)
    _require_readable(image, name, limit)
    is_16_bit = _is_16_bit(image, file)
    if is_16_bit:
        _require_simple_16_bit(image, name)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        require_end(content, file.tell(), format_name, name)
        if format_name == "JPEG" and (levels := _decode_jpeg(content, image)) is not None:
            return levels, exif_orientation(image.info.get("exif", b"")), False
        require_undamaged(content, format_name, name)
    if isinstance(image, TiffImageFile):
        with suppress_warnings():
            image.load()
        return _levels(image), 1, is_16_bit  # Pillow turns a TIFF upright while loading it
    image.load()
    return _levels(image), exif_orientation(image.info.get("exif", b"")), is_16_bit


def _decode_jpeg(content: mmap.mmap, image: ImageFile) -> UInt8[np.ndarray, "H W 3"] | None:
    """Return the levels of a JPEG; None where libjpeg warns of anything, or the colours are not simply RGB.

    simplejpeg and Pillow use the same library, libjpeg-turbo, and give the same levels. Pillow copies them
    three times on the way, which takes longer than to decode them.

    Args:
        content: the file.
        image: its header, as Pillow reads it.
    """
    if image.mode != "RGB":
        return None
    try:
        levels: UInt8[np.ndarray, "H W 3"] = simplejpeg.decode_jpeg(content, "RGB", strict=True)
    except (ValueError, RuntimeError):
        return None
    width, height = image.size
    return levels if levels.shape == (height, width, 3) else None


def _require_readable(image: ImageFile, name: str, limit: int) -> None:
    """Raise PhotographError unless the header describes a photograph within the limits."""
    width, height = image.size
    require_size((height, width), name, limit)
    if isinstance(image, TiffImageFile):
        _require_simple_tiff(image, name, limit)
    if getattr(image, "is_animated", False):
        raise PhotographError(f"{name}: holds several pictures; save the photograph as a file of its own")
    if image.mode not in _COLOURS:
        what = _REFUSED.get(image.mode, _GREY)
        raise PhotographError(f"{name}: is {what}")


def _require_simple_tiff(image: TiffImageFile, name: str, limit: int) -> None:
    """Raise PhotographError for a TIFF that looks like a photograph but is not one."""
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
    present = sum((right - left) * (bottom - top) for left, top, right, bottom in pieces)
    if present < math.prod(image.size):
        raise PhotographError(f"{name}: rows of its picture are missing; copy it again from its source")


def _tag(image: TiffImageFile, tag: int, default: int) -> int:
    """Return a number from the header of a TIFF, or the default where it is missing."""
    value = image.tag_v2.get(tag, default)
    if not isinstance(value, int):
        raise ValueError(f"tag {tag} is {value!r}")
    return value


def _is_16_bit(image: ImageFile, file: BufferedReader) -> bool:
    """Return whether a level takes more than 8 bits."""
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(_BITS, (1,))) > 8)
    if isinstance(image, PngImageFile):
        position = file.tell()
        file.seek(24)  # the bit depth in the header of a PNG
        depth = file.read(1)
        file.seek(position)
        return depth == b"\x10"
    return False


def _require_simple_16_bit(image: ImageFile, name: str) -> None:
    """Raise PhotographError for 16-bit pictures that are not simple rows of R, G, B."""
    planes = isinstance(image, TiffImageFile) and _tag(image, _PLANES, 1) != 1
    if planes or image.mode != "RGB" or "transparency" in image.info:
        how = "in planes" if planes else "with transparency"
        raise PhotographError(f"{name}: 16-bit colours {how} are not supported; export it as 8-bit RGB")


def require_undamaged(content: mmap.mmap | bytes, format_name: FileFormat, name: str) -> None:
    """Raise PhotographError where the content of a JPEG or PNG shows that its pixels would be wrong.

    In a JPEG only some damage shows: libjpeg warns where the codes do not fit. In a PNG a checksum covers all
    pixels, but Pillow does not verify it.
    """
    if format_name == "JPEG" and (reason := _jpeg_damage(content)) is not None:
        raise PhotographError(f"{name}: the JPEG is damaged ({reason}); copy it again from its source")
    if format_name == "PNG" and not _are_checksums_right(content):
        raise PhotographError(f"{name}: the PNG is damaged (wrong checksum); copy it again from its source")


def _jpeg_damage(content: mmap.mmap | bytes) -> str | None:
    """Return libjpeg's first warning of wrong pixels, None where there is none.

    Decoding to grey at an eighth of the size is fastest, and reads all codes.
    """
    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except (ValueError, RuntimeError) as error:
        reason = one_line(error)
        return reason if reason.startswith(_JPEG_DAMAGE) else None
    return None


def _are_checksums_right(content: mmap.mmap | bytes) -> bool:
    """Return whether the checksums match in all chunks that determine the pixels of a PNG."""
    start = _PNG_SIGNATURE_BYTES
    view = memoryview(content)
    try:
        while start + 12 <= len(view):
            (length,) = struct.unpack_from(">I", view, start)
            kind, end = bytes(view[start + 4 : start + 8]), start + 8 + length
            if end + 4 > len(view):
                return True  # the end mark is missing, which is reported elsewhere
            if (
                kind in _PNG_CHUNKS
                and zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", view, end)[0]
            ):
                return False
            if kind == b"IEND":
                return True
            start = end + 4
        return True
    finally:
        view.release()


def require_end(content: mmap.mmap | bytes, position: int, format_name: FileFormat, name: str) -> None:
    """Raise PhotographError where a JPEG or PNG has no end mark after its header; more may follow the mark.

    Args:
        content: the picture.
        position: end of its header, bytes; a preview in the header has an end mark of its own.
        format_name: its format.
        name: name of the file, for messages.
    """
    if format_name not in _ENDS:
        return
    has_end = content.rfind(_ENDS[format_name], position) >= 0
    if not has_end:
        raise PhotographError(
            f"{name}: the end of the {format_name} is missing; copy it again from its source"
        )


def _levels(image: ImageFile) -> UInt8[np.ndarray, "H W 3"]:
    """Copy the levels out of Pillow in strips: a single step would hold two copies in memory."""
    width, height = image.size
    levels = np.empty((height, width, 3), np.uint8)
    for rows in _strips(height, width):
        levels[rows] = _blend_on_black(image.crop((0, rows.start, width, rows.stop)))
    return levels


def _strips(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows with about `_STRIP` pixels each."""
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _blend_on_black(strip: Image) -> UInt8[np.ndarray, "R W 3"]:
    """Return the levels of a strip, transparent pixels blended on black."""
    opaque = strip.mode in ("RGB", "P") and "transparency" not in strip.info
    if opaque:
        return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    levels = np.asarray(strip.convert("RGBA")).astype(np.uint16)
    return ((levels[..., :3] * levels[..., 3:] + 127) // 255).astype(np.uint8)


def _round_to_8_bits(
    file: BufferedReader, cut: UInt8[np.ndarray, "H W 3"], name: str
) -> UInt8[np.ndarray, "H W 3"]:
    """Return 16-bit levels rounded to 8 bits; Pillow only cuts off their lower bits.

    Two decoders must agree on the upper bits: neither is known to be correct for every 16-bit picture.

    Args:
        file: the photograph.
        cut: its levels without the lower 8 bits.
        name: name of the file, for messages.
    """
    disagreement = PhotographError(
        f"{name}: two decoders read its 16 bits differently; export it as 8-bit RGB"
    )
    deep = cv2.imdecode(np.memmap(file, np.uint8, "r"), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16 or deep.shape != cut.shape:
        raise disagreement
    rounded = np.empty_like(cut)
    for rows in _strips(*cut.shape[:2]):
        levels: UInt16[np.ndarray, "R W 3"] = deep[rows, :, ::-1]
        if not np.array_equal(levels >> 8, cut[rows]):
            raise disagreement
        rounded[rows] = (levels.astype(np.uint32) + 128) // 257  # 65535 / 255 = 257
    require_full_range(int(deep.max()), 16, name)
    return rounded


def require_full_range(highest: int, bits: int, name: str) -> None:
    """Raise PhotographError where the levels of a photograph have fewer bits than its file states.

    By the stated bits it would be nearly black. In 223 photographs the highest level is at least 200 of 255.

    Args:
        highest: the highest level.
        bits: number of bits of the largest possible level.
        name: name of the file, for messages.
    """
    if highest < 1 << (bits - MISSING_BITS):
        raise PhotographError(
            f"{name}: its {bits}-bit levels reach only {highest}, as if they had "
            f"{bits - MISSING_BITS} bits or fewer; export it as 8-bit RGB"
        )


@contextmanager
def _damage_as_photograph_error(format_name: FileFormat, name: str) -> Iterator[None]:
    """Turn the exceptions of a decoder on a bad file into a PhotographError of one line.

    Errors that say that memory ran out are raised as they are.
    """
    try:
        yield
    except _DAMAGED as error:
        if is_out_of_memory(error):
            raise
        reason = one_line(error)
        raise PhotographError(
            f"{name}: cannot be decoded as {format_name} ({reason}), because it is damaged, incomplete or "
            "of a rare type; copy it again, or export it as 8-bit RGB"
        ) from None
