"""Probability maps as files, and the masks that follow from them.

Knows:   which levels a format stores, and what probability a stored level represents.
Ignores: how a map was computed, and what its regions are.

A mask holds the pixels whose stored level is at or above `level(threshold)`: comparing the levels of the map
file gives the same mask, bit for bit. Equal maps give equal bytes.

Shape letters: H W photograph, r b rows and bytes of a row.
"""

import io
import struct
import zipfile
from typing import get_args

import cv2
import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from zlib_ng import zlib_ng

from foveate.choices import MapFormat, require_choice
from foveate.errors import OutputError, SettingError, is_out_of_memory
from foveate.geometry import stitching
from foveate.types import LevelMap, Probabilities, lowest_level

FORMATS: tuple[MapFormat, ...] = get_args(MapFormat)
"""File formats of maps: grey PNG of 8 or 16 bits, 16-bit TIFF (deflate), .npz (array 'probability')."""

SUFFIX: dict[MapFormat, str] = {"png": ".png", "png16": ".png", "tiff": ".tiff", "npz": ".npz"}
"""Format -> suffix of the file name."""

ROWS = 256
"""Number of rows of a PNG that are prepared at a time; it bounds the memory for them."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Date in every .npz file, the first that a zip file can state. With the true date, equal maps would give
different bytes."""


def max_level(format: MapFormat) -> int:
    """Return the level that represents probability 1.

    Raises:
        SettingError: there is no such format.
    """
    require_choice("format", format, FORMATS)
    return 255 if format == "png" else 65535


def native_levels(probabilities: Probabilities, lesion: str, format: MapFormat) -> LevelMap:
    """Return one lesion's map in the photograph's own pixels, in the levels of a format.

    It equals `quantise` of `stitching.native_map`, which is never held as a whole where nothing is resampled.

    Raises:
        LesionError: the lesion has no map.
    """
    stored = np.zeros(probabilities.shape, np.uint8 if format == "png" else np.uint16)
    for place, levels in stitching.native_bands(probabilities, lesion):
        stored[place] = quantise(levels, format)
    return stored


def quantise(native: UInt16[np.ndarray, "H W"], format: MapFormat) -> LevelMap:
    """Convert a map of levels 0 to 65535 to the levels of a format, rounded to the nearest.

    For 8 bits that is round(p * 255 / 65535) = round(p / 257). 257 is odd, so that no level lies within
    0.001 of halfway, and OpenCV's rounding in 32-bit floats is exact.
    """
    return native if format != "png" else cv2.convertScaleAbs(native, alpha=1 / 257)


def level(threshold: float, format: MapFormat) -> int:
    """Return the smallest stored level, at least 1, whose probability (level / maximum) reaches a threshold.

    Raises:
        SettingError: the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise SettingError(f"the threshold is {threshold:g}; give a number above 0 and at most 1")
    return lowest_level(threshold, max_level(format))


def encode(stored: LevelMap, format: MapFormat) -> bytes:
    """Return the content of a file that holds the map without loss.

    PNG: see `encode_png`. TIFF: horizontal prediction halves the size. npz: zlib level 1; a higher level
    takes twice the time and saves 1 %.
    """
    if format == "npz":
        return _npz(stored)
    if format == "tiff":
        # 8 is Adobe's deflate, which all readers know; 2 is horizontal prediction
        deflate = [cv2.IMWRITE_TIFF_COMPRESSION, 8, cv2.IMWRITE_TIFF_PREDICTOR, 2]
        return encode_picture(stored, ".tiff", deflate)
    return encode_png(stored)


def decode(content: bytes, format: MapFormat) -> LevelMap:
    """Return the map from a file's content.

    Raises:
        OutputError: the content is not a map of this format.
    """
    stored = _decode_npz(content) if format == "npz" else _decode_picture(content)
    dtype = np.uint8 if format == "png" else np.uint16
    if stored is None or stored.ndim != 2 or stored.dtype != dtype:
        raise OutputError(
            f"the file does not contain a {np.dtype(dtype).name} map in format {format}; write it again"
        )
    return stored


def encode_mask(mask: Bool[np.ndarray, "H W"]) -> bytes:
    """Return a mask as an 8-bit grey PNG, 0 and 255; 1 bit would save a third, but confuses some readers."""
    return encode_png(mask)


def encode_png(grey: LevelMap | Bool[np.ndarray, "H W"]) -> bytes:
    """Encode a grey picture, or a mask as 0 and 255, as PNG, some rows at a time.

    Each byte is stored as its difference from the byte above it (filter 'up'), packed by zlib-ng with
    run-length encoding. On the four maps of IDRiD_30 that takes a fifth of the time of OpenCV's encoder, and
    the files are as small: 506 kB instead of 511, masks 79 instead of 81, and in 16 bits 16.4 MB instead
    of 16.3. isal was 1.7 times as fast as zlib-ng, with maps 1.5 times and masks up to 4 times as large.

    Source: PNG, W3C recommendation, third edition, sections 5 and 9.
    """
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * grey.itemsize, 0, 0, 0, 0)
    packer = zlib_ng.compressobj(1, zlib_ng.DEFLATED, 15, 9, zlib_ng.Z_RLE)
    packed = [packer.compress(_filtered_rows(grey, top)) for top in range(0, height, ROWS)]
    packed.append(packer.flush())
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return b"".join([PNG_SIGNATURE, *(_png_chunk(kind, content) for kind, content in chunks)])


def _filtered_rows(grey: LevelMap | Bool[np.ndarray, "H W"], top: int) -> UInt8[np.ndarray, "r b"]:
    """Return some rows from `top` on as PNG stores them: the filter's number, then byte differences."""
    rows = grey[max(0, top - 1) : top + ROWS]
    is_mask = rows.dtype == bool
    dtype = np.dtype(np.uint8) if is_mask else rows.dtype.newbyteorder(">")
    levels = np.ascontiguousarray(rows.view(np.uint8) if is_mask else rows, dtype).view(np.uint8)
    if top == 0:  # PNG takes the row above the first as zeros
        levels = np.concatenate([np.zeros_like(levels[:1]), levels])
    filtered = np.empty((len(levels) - 1, levels.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # 'up'
    above, below = levels[:-1], levels[1:]
    if is_mask:  # 255 is -1 modulo 256: the differences of 0 and 255 are those of 0 and 1, negated
        above, below = below, above
    np.subtract(below, above, out=filtered[:, 1:])
    return filtered


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib_ng.crc32(content, zlib_ng.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def encode_picture(
    pixels: UInt8[np.ndarray, "H W ..."] | UInt16[np.ndarray, "H W"], suffix: str, options: list[int]
) -> bytes:
    """Encode a picture whose channels are blue, green, red, as OpenCV expects.

    Raises:
        OutputError: the format cannot hold it, such as a JPEG with a side of more than 65535 px.
        MemoryError: there is not enough memory.
    """
    try:
        encoded, content = cv2.imencode(suffix, pixels, options)
    except cv2.error as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        encoded = False
    if not encoded:
        raise OutputError(
            f"{pixels.shape[0]} x {pixels.shape[1]} px do not fit in a {suffix} file; crop the photograph"
        )
    return content.tobytes()


def _npz(stored: LevelMap) -> bytes:
    array = io.BytesIO()
    np.lib.format.write_array(array, stored, allow_pickle=False)
    entry = zipfile.ZipInfo("probability.npy", EARLIEST)
    entry.create_system = 3  # Unix on every machine, so that the bytes do not depend on it
    entry.external_attr = 0o644 << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(entry, array.getbuffer(), zipfile.ZIP_DEFLATED, 1)
    return file.getvalue()


def _decode_npz(content: bytes) -> np.ndarray | None:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return np.asarray(arrays["probability"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return None


def _decode_picture(content: bytes) -> np.ndarray | None:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    return None if picture is None else np.asarray(picture)
