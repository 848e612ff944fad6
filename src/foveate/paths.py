"""Paths in messages, what is at a path, names that count as equal, and checksums of files.

Knows:   how to print any path in one line, that some paths cannot be reached, that disks spell one name in
         several ways, and how to hash a file without reading it into memory.
Ignores: what the files contain.
"""

# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH116
# pathlib raises PermissionError where a folder on the way may not be entered

import errno
import hashlib
import os
import unicodedata
from pathlib import Path


def display_path(path: Path | str) -> str:
    """Return a path for a message of one line: unchanged, or quoted if it has unprintable characters."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def nfc(name: str) -> str:
    """Return a name in the Unicode form NFC: disks and archives spell one accented letter in several ways."""
    return unicodedata.normalize("NFC", name)


def name_key(name: str) -> str:
    """Return a key that is equal for names that some file systems treat as equal: any spelling and case."""
    return nfc(nfc(name).casefold())


def valid_path(path: Path) -> Path:
    """Return a path that the operating system can look up, before it is opened.

    Raises:
        OSError: it holds a null character or half a character (a lone surrogate), for which Python's own
            functions raise ValueError, unlike for any other path that cannot exist.
    """
    text = str(path)
    if "\0" in text:
        raise OSError(errno.EINVAL, "it holds a null character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise OSError(errno.EINVAL, "it holds half a character") from None
    return path


def real_path(path: Path | str) -> str:
    """Return an absolute path without links; where nothing can be at the path, the absolute path as it is."""
    try:
        return os.path.realpath(valid_path(Path(path)))
    except OSError:
        return os.path.abspath(path)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file: 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    with valid_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_folder(path: Path) -> bool:
    """Return whether there is a folder, or a link to one; False also where that cannot be found out."""
    return os.path.isdir(path)


def is_file(path: Path) -> bool:
    """Return whether there is a regular file, or a link to one; False also where that cannot be found out."""
    return os.path.isfile(path)


def exists(path: Path) -> bool:
    """Return whether there is anything; False also where that cannot be found out."""
    return os.path.exists(path)


def obstacle(path: Path) -> str | None:
    """Return why a path cannot be reached and what to do, for a message; None where nothing is in the way."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return None
    except OSError as error:
        return f"cannot be reached ({error.strerror}); check the path, and who may read its folders"
    return None


def missing(path: Path, what: str) -> str:
    """Return, for a message, why there is nothing at a path, and what to do.

    Args:
        path: the path.
        what: what was expected there, such as 'file or folder'.
    """
    return obstacle(path) or f"no such {what}; check the path"
