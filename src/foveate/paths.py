"""Paths in messages, and checksums of files.

Knows:   how to print any path in one line, and how to hash a file without reading it into memory.
Ignores: what the files contain.
"""

import hashlib
from pathlib import Path


def display_path(path: Path | str) -> str:
    """Return a path for a message of one line: unchanged, or quoted if it has unprintable characters."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file: 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
