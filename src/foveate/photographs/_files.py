"""Open a file and recognise its format.

Knows:   the first bytes of file formats, supported or not, and what a user can do about each.
Ignores: pixels.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Literal

from foveate.errors import PhotographError, is_out_of_memory
from foveate.paths import display_path, valid_path

FileFormat = Literal["JPEG", "PNG", "TIFF", "DICOM"]
"""The formats that are read."""

_HEAD_BYTES = 132
"""Number of bytes that are examined: the mark of DICOM is at 128 to 131."""

_SIGNATURES: tuple[tuple[bytes, FileFormat], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF; Pillow takes the big-endian one for a TIFF and fails
)

BIG_ENDIAN_BIGTIFF = b"MM\0+"
"""Beginning of files that neither Pillow nor OpenCV reads."""

_CONVERT = "convert it to JPEG, PNG or TIFF"

_FIRST_ELEMENTS = (
    *(b"\x02\0\0\0", b"\x02\0\x01\0", b"\x02\0\x02\0", b"\x02\0\x10\0"),
    *(b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0"),
)
"""Tags with which DICOM begins where the 128 bytes before its mark, and the mark, are missing."""

_REFUSED_SIGNATURES = (
    (b"GIF8", "a GIF", _CONVERT),
    (b"BM", "a BMP bitmap", _CONVERT),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _CONVERT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", _CONVERT),
    (b"\xff\x0a", "a JPEG XL picture", _CONVERT),
    (BIG_ENDIAN_BIGTIFF, "a big-endian BigTIFF", _CONVERT),
    (b"8BPS", "a Photoshop file", _CONVERT),
    (b"v/1\x01", "an OpenEXR picture", _CONVERT),
    (b"%PDF", "a PDF", "export its photographs as JPEG, PNG or TIFF"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    *(
        (tag, "DICOM without its preamble", "request it again from the archive, as a DICOM file")
        for tag in _FIRST_ELEMENTS
    ),
)
"""First bytes of files that people pass by mistake, what the file is, and what to do."""


@contextmanager
def open_photograph(path: Path) -> Iterator[tuple[BufferedReader, FileFormat]]:
    """Open a file of a supported format, and yield it, positioned at its start, with its format.

    Raises:
        PhotographError: the file is missing, no regular file, not readable, empty, or of another format.
    """
    try:
        mode = valid_path(path).stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe or a device may have no end
            raise PhotographError(f"{display_path(path)}: {_describe_irregular(path, mode)}")
        file = path.open("rb")
    except FileNotFoundError:
        raise PhotographError(f"{display_path(path)}: no such file; check the path") from None
    except PermissionError:
        raise PhotographError(
            f"{display_path(path)}: cannot be read; ask for permission to read it"
        ) from None
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise PhotographError(
            f"{display_path(path)}: cannot be opened ({error.strerror}); check the path"
        ) from None
    with file:
        with reading_errors(path):
            head = file.read(_HEAD_BYTES)
            file.seek(0)
        yield file, _file_format(head, display_path(path))


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while a file is read into a PhotographError that names the file.

    Errors that say that memory ran out are raised as they are.

    Raises:
        PhotographError: an OSError was raised, as at a bad sector, or where a network drive went away.
    """
    try:
        yield
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise PhotographError(
            f"{display_path(path)}: cannot be read ({error.strerror or error}); check the disk, or copy the "
            "file again from its source"
        ) from None


def _describe_irregular(path: Path, mode: int) -> str:
    """Return what is wrong with a path that is no regular file, and what to do about it."""
    if not stat.S_ISDIR(mode):
        return "is not a regular file; give the file of a photograph"
    if not os.access(path, os.R_OK | os.X_OK):
        return "the folder cannot be listed; ask for permission to read it, or leave it out"
    return "is a folder; give the file of a photograph"


def _file_format(head: bytes, name: str) -> FileFormat:
    """Return the format of a file that begins with these bytes."""
    if not head:
        raise PhotographError(f"{name}: the file is empty; copy it again from its source")
    if head[128:] == b"DICM":  # before TIFF: a DICOM file may also hold a TIFF header
        return "DICOM"
    for beginning, format_name in _SIGNATURES:
        if head.startswith(beginning) and head[8:10] != b"CR":  # Canon's raw files look like TIFF
            return format_name
    what, mend = _describe(head)
    raise PhotographError(f"{name}: is {what}, which is not supported; {mend}")


def _describe(head: bytes) -> tuple[str, str]:
    """Return what an unsupported file is, and what to do about it."""
    for beginning, what, mend in _REFUSED_SIGNATURES:
        if head.startswith(beginning):
            return what, mend
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP picture", _CONVERT
    if head[4:8] == b"ftyp":
        still = {b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"mif1": "a HEIF picture"}
        still |= {b"msf1": "a HEIF picture", b"avif": "an AVIF picture"}
        return still.get(head[8:12], "a video"), _CONVERT
    if head.startswith((b"II*\0", b"MM\0*")):
        return "a camera's raw file", _CONVERT
    if _is_text(head):
        return "text", "give a JPEG, PNG or TIFF photograph"
    return f"of an unknown type (begins with {head[:4].hex(' ')})", "give a JPEG, PNG or TIFF photograph"


def _is_text(head: bytes) -> bool:
    """Return whether bytes are text: UTF-8 without control characters; the last character may be cut."""
    try:
        words = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        words = head[: error.start].decode("utf-8-sig")
    return bool(words) and all(letter.isprintable() or letter.isspace() for letter in words)
