"""Temporary folders of this machine that are removed even if their process is killed.

Knows:   how a folder shows that its process is alive.
Ignores: what the folders hold.

They hold copies of photographs and names of patients. A killed process leaves its folder behind, and the next
process that makes one on the same machine removes it.
"""

import glob
import os
import platform
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

MIN_AGE_SECONDS = 60.0
"""Younger folders are left alone: their process may not have locked them yet. Our choice."""


class ScratchFolder:
    """A new temporary folder; a context manager that returns its path and removes it at the end.

    A lock on the folder lasts as long as its process. Windows has no such locks: there, folders of killed
    processes stay.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self) -> None:
        _remove_abandoned()
        self._folder = tempfile.TemporaryDirectory(prefix=_prefix())
        self._lock = _lock(self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.remove()

    @property
    def path(self) -> Path:
        """Return the path of the folder."""
        return Path(self._folder.name)

    def remove(self) -> None:
        """Remove the folder with all that it holds."""
        self._folder.cleanup()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _prefix() -> str:
    """Return the beginning of folder names; machines may share a disk without sharing its locks.

    It ends with a character that no name of a machine has: 'node-1' is not the beginning of 'node-1-2'.
    """
    return f"foveate-{platform.node()}_"


def _lock(folder: Path) -> int | None:
    """Lock a folder and return its open descriptor; None if a living process holds it, or it has no locks."""
    if sys.platform == "win32":
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{glob.escape(_prefix())}*"):
        with suppress(FileNotFoundError):  # removed meanwhile
            age = time.time() - folder.lstat().st_mtime
            descriptor = _lock(folder) if age >= MIN_AGE_SECONDS else None
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
