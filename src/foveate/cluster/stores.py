"""Stores, which hold files by relative paths: the `FileStore` protocol, and folders of this machine.

Knows:   folders, how their files are listed one by one, and how a file is written atomically.
Ignores: what the files contain, and how buckets work (`buckets`).

Paths are relative to the store and use '/'. A listing has no order; `inventory` sorts it. `addresses` opens
the store at an address.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from foveate import atomic_files
from foveate.errors import OutputError, PhotographError
from foveate.paths import display_path, is_folder, real_path, valid_path
from foveate.photographs import holds_results

BUCKET_SCHEME = "s3://"
"""Beginning of the address of a bucket; every other address is a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """One file of a store."""

    path: str
    """Relative to the store, with '/'."""
    size: int
    """Bytes."""
    stamp: str
    """A text that changes when the file may have changed; '' if nothing is known."""
    is_unlisted_folder: bool = False
    """Whether this is a folder that cannot be listed, so that it is recorded as failed under its name."""


@runtime_checkable
class FileStore(Protocol):
    """A place that holds files by relative paths."""

    @property
    def folder(self) -> Path | None:
        """The folder where files can be opened and written directly; None for a bucket."""
        ...

    def display_path(self, path: str = "") -> str:
        """Return a file's address for messages; the store's own address for ''."""
        ...

    def list_files(
        self, below: str = "", exclude: str | None = None, *, without_results: bool = False
    ) -> Iterator[StoredFile]:
        """Yield all files, or those below a path, without hidden ones; no folder is listed twice.

        Two links to one file are two files, as two copies would be.

        Args:
            below: a path with '/', '' for all.
            exclude: address of a store that may lie within this one and is left out.
            without_results: leave out folders in which Foveate wrote results.

        Raises:
            PhotographError: the store does not exist or cannot be listed.
            ClusterError: it cannot be reached.
        """
        ...

    @contextmanager
    def local_copy(self, path: str, scratch: Path) -> Iterator[Path]:
        """Yield the path of a file on this machine with the content of a file of the store.

        Raises:
            PhotographError: there is no such file, or it may not be read.
            OutputError: it cannot be copied to this machine, as on a full disk.
            ClusterError: the store cannot be reached.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """Return a small file's content, None where there is no such file.

        Raises:
            OutputError: it may not be read.
            ClusterError: the store cannot be reached.
        """
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write a file in one step.

        Raises:
            OutputError: the store refuses.
            ClusterError: it cannot be reached.
        """
        ...

    def upload(self, folder: Path, paths: Sequence[str]) -> None:
        """Copy files of a folder of this machine into the store; the last path is copied after all others.

        Raises: as `write`.
        """
        ...

    def remove(self, paths: Sequence[str]) -> None:
        """Remove the files that exist, the last path first.

        Raises: as `write`.
        """
        ...


class FolderStore:
    """A folder of this machine, or of a disk that all workers share; it need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path | None:
        return self._folder

    def display_path(self, path: str = "") -> str:
        return display_path(self._folder / path)

    def list_files(
        self, below: str = "", exclude: str | None = None, *, without_results: bool = False
    ) -> Iterator[StoredFile]:
        excluded = None if exclude is None or exclude.startswith(BUCKET_SCHEME) else real_path(exclude)
        if below and not is_folder(self._folder / below):
            return

        def is_left_out(path: str, real: str) -> bool:
            return (excluded is not None and f"{real}/".startswith(f"{excluded}/")) or (
                without_results and holds_results(self._folder / path)
            )

        yield from self._walk(below, is_left_out, set())

    @contextmanager
    def local_copy(self, path: str, scratch: Path) -> Iterator[Path]:
        yield self._folder / path

    def read(self, path: str) -> bytes | None:
        try:
            return valid_path(self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(
                f"{self.display_path(path)}: cannot be read ({error.strerror}); ask for permission to read it"
            ) from error

    def write(self, path: str, content: bytes) -> None:
        atomic_files.write_file(self._folder / path, content)

    def upload(self, folder: Path, paths: Sequence[str]) -> None:
        for path in paths:
            with atomic_files.replace_file(self._folder / path) as temporary:
                shutil.copyfile(folder / path, temporary)

    def remove(self, paths: Sequence[str]) -> None:
        for path in reversed(paths):
            atomic_files.remove(self._folder / path)

    def _walk(
        self, below: str, is_left_out: Callable[[str, str], bool], entered: set[str]
    ) -> Iterator[StoredFile]:
        """Yield the files below one folder; `entered` gains each folder, so that loops of links end."""
        real = real_path(self._folder / below)
        if real in entered or is_left_out(below, real):
            return
        entered.add(real)
        subfolders: list[str] = []
        try:
            with os.scandir(valid_path(self._folder / below)) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path = f"{below}/{entry.name}" if below else entry.name
                    if _is_folder(entry):
                        subfolders.append(path)
                    else:
                        yield _stored_file(entry, path)
        except OSError as error:
            if len(entered) > 1:  # such as `lost+found`: the other folders are still processed
                yield StoredFile(path=below, size=0, stamp="", is_unlisted_folder=True)
                return
            raise PhotographError(
                f"{self.display_path(below)}: the folder cannot be listed ({error.strerror}); "
                "ask for permission to read it, or check the path"
            ) from None
        for path in sorted(subfolders):
            yield from self._walk(path, is_left_out, entered)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one; False for a loop of links."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stored_file(entry: os.DirEntry[str], path: str) -> StoredFile:
    """Return a file of a folder; a broken link has size 0."""
    try:
        status = entry.stat()
    except OSError:  # reading the file will raise an error that names the problem
        return StoredFile(path=path, size=0, stamp="")
    return StoredFile(path=path, size=status.st_size, stamp=f"{status.st_size}-{status.st_mtime_ns}")
