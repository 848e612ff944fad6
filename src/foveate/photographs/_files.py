"""Open a file and say what it holds.

Knows:   the first bytes of formats, read or not, and what a user can do about each.
Ignores: pixels.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Literal

from foveate.errors import PhotographError

Form = Literal["JPEG", "PNG", "TIFF", "DICOM"]
"""The formats that are read."""

_HEAD = 132
"""Bytes looked at: DICOM has its mark at 128 to 131."""

_READ: tuple[tuple[bytes, Form], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
)

_CONVERT = "convert it to JPEG, PNG or TIFF"

_REFUSED = (
    (b"GIF8", "a GIF", _CONVERT),
    (b"BM", "a BMP bitmap", _CONVERT),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _CONVERT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", _CONVERT),
    (b"\xff\x0a", "a JPEG XL picture", _CONVERT),
    (b"8BPS", "a Photoshop file", _CONVERT),
    (b"v/1\x01", "an OpenEXR picture", _CONVERT),
    (b"%PDF", "a PDF", "export its photographs as JPEG, PNG or TIFF"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
)
"""Beginnings of what people hand in by mistake, what it is, and what to do."""


def said(path: Path) -> str:
    """Return a path for a message of one line: line breaks and undecodable bytes are escaped."""
    name = str(path)
    return name if name.isprintable() else ascii(name)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, Form]]:
    """Open a file whose content is of a format that is read; yield it, at its beginning, and the format.

    Raises:
        PhotographError: it is missing, no regular file, not readable, empty, or holds something else.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # a pipe or a device may never end
            what = "is a folder" if stat.S_ISDIR(kind) else "is no regular file"
            raise PhotographError(f"{said(path)}: {what}; name a photograph's file")
        file = path.open("rb")
    except FileNotFoundError:
        raise PhotographError(f"{said(path)}: no such file; check the path") from None
    except PermissionError:
        raise PhotographError(f"{said(path)}: may not be read; ask for permission to read it") from None
    except OSError as error:
        raise PhotographError(f"{said(path)}: cannot be opened ({error.strerror}); check the path") from None
    with file:
        head = file.read(_HEAD)
        file.seek(0)
        yield file, _form(head, said(path))


def _form(head: bytes, name: str) -> Form:
    """Return the format that a file of this beginning has."""
    if not head:
        raise PhotographError(f"{name}: the file is empty; copy it again from its source")
    if head[128:] == b"DICM":  # before TIFF: a DICOM file may carry a TIFF's header as well
        return "DICOM"
    for beginning, form in _READ:
        if head.startswith(beginning) and head[8:10] != b"CR":  # Canon's raw files pass for TIFF
            return form
    what, mend = _named(head)
    raise PhotographError(f"{name}: is {what}, which is not read; {mend}")


def _named(head: bytes) -> tuple[str, str]:
    """Say what a file is that is not read, and what to do about it."""
    for beginning, what, mend in _REFUSED:
        if head.startswith(beginning):
            return what, mend
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP picture", _CONVERT
    if head[4:8] == b"ftyp":
        still = {b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"mif1": "a HEIF picture"}
        still |= {b"msf1": "a HEIF picture", b"avif": "an AVIF picture"}
        return still.get(head[8:12], "a film"), _CONVERT
    if head.startswith((b"II*\0", b"MM\0*")):
        return "a camera's raw file", _CONVERT
    if _is_text(head):
        return "text", "name a JPEG, PNG or TIFF photograph"
    return f"of an unknown kind (begins with {head[:4].hex(' ')})", "name a JPEG, PNG or TIFF photograph"


def _is_text(head: bytes) -> bool:
    """Whether a beginning reads as text: UTF-8 without control characters; the last character may be torn."""
    try:
        words = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        words = head[: error.start].decode("utf-8-sig")
    return bool(words) and all(letter.isprintable() or letter.isspace() for letter in words)
