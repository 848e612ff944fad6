"""Put bytes into a file whole or not at all.

Knows:   temporary names, renaming, and what the operating system's refusals mean to the one who reads them.
Ignores: what the bytes are.

A file appears under its own name only after all of it lies on the disk: a process that is killed at any
moment leaves at most temporary files, which `sweep` removes.
"""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foveate.errors import OutputError

TEMPORARY = re.compile(r"\.foveate-[0-9a-f]{16}\.part")
"""Names of files under way: not made from the final name, which may be as long as names can be already."""

MENDS = {
    errno.ENOSPC: "no space is left there; free some, or choose another folder with --out",
    errno.EDQUOT: "your quota there is used up; free some space, or choose another folder with --out",
    errno.EACCES: "you may not write there; choose another folder with --out, or ask for permission",
    errno.EPERM: "you may not write there; choose another folder with --out, or ask for permission",
    errno.EROFS: "the disk is read-only; choose another folder with --out",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten the photograph's name or its folder's",
    errno.EISDIR: "a folder of that name is in the way; move it, or choose another folder with --out",
    errno.ENOTDIR: "a file is in the way of a folder; move it, or choose another folder with --out",
    errno.EEXIST: "a file is in the way of a folder; move it, or choose another folder with --out",
}
"""What to do about a refusal, where we know."""


def write(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old one or the new one, never a part.

    Folders on the way are made. The temporary file lies in the same folder, so that renaming is one step of
    the file system; it is flushed to the disk first, so that a power cut leaves no empty file under the
    final name.

    Raises:
        OutputError: the operating system refuses; nothing of this attempt is left behind.
    """
    with replaced(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file; what is written there becomes the file, in one step as `write`.

    For what is too large to be held. Where the caller fails, the old file stays.

    Raises:
        OutputError: the operating system refuses; nothing of this attempt is left behind.
    """
    temporary = path.parent / f".foveate-{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.open("xb").close()
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(refusal(path, error)) from error


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        OutputError: the operating system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(refusal(path, error)) from error


def prove(folder: Path) -> None:
    """Make a folder if need be and prove that a file can be written into it, before time is spent on results.

    Raises:
        OutputError: it cannot.
    """
    probe = folder / f".foveate-{secrets.token_hex(8)}.part"
    write(probe, b"\n")
    remove(probe)


def sweep(folder: Path, *, deep: bool = True) -> int:
    """Remove the temporary files that a killed run left behind; no other run may be writing there now.

    Args:
        folder: where to look; it need not exist.
        deep: look into the folders below, too.

    Returns:
        How many were removed.

    Raises:
        OutputError: one cannot be removed.
    """
    found = folder.rglob(".foveate-*.part") if deep else folder.glob(".foveate-*.part")
    leftovers = [path for path in found if TEMPORARY.fullmatch(path.name)]
    for path in leftovers:
        remove(path)
    return len(leftovers)


def refusal(path: Path, error: OSError) -> str:
    """Say in one line which file cannot be written, why, and what to do."""
    what = error.strerror or type(error).__name__
    mend = MENDS.get(error.errno or 0, "check the disk, or choose another folder with --out")
    return f"{shown(path)}: cannot be written ({what}): {mend}"


def shown(path: Path | str) -> str:
    """Return a path for a message of one line: as it is, or quoted where it holds line breaks or the like."""
    text = str(path)
    return text if text.isprintable() else repr(text)
