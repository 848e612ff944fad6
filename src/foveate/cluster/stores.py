"""Where photographs come from and results go: a folder or a bucket, behind one Protocol.

Knows:   folders; how files are listed without holding the list; that a file appears whole or not at all.
Ignores: what the files are, and what buckets are made of (`buckets`).

Paths are relative to the store, with '/'. What is listed comes in no order; `inventory` sorts it.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from foveate.errors import ClusterError, OutputError, PhotographError
from foveate.writers import files

BUCKET = "s3://"
"""How the address of a bucket begins; everything else is a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One file of a store."""

    path: str
    """Below the store, with '/'."""
    size: int
    """Bytes."""
    stamp: str
    """Another one means that the file may have changed."""
    real: str
    """Alike for two ways to one file: links are followed."""


@runtime_checkable
class Store(Protocol):
    """A place that holds files by relative paths."""

    @property
    def folder(self) -> Path | None:
        """The folder that it is, where files can be opened and written directly; None for a bucket."""
        ...

    def shown(self, path: str = "") -> str:
        """Return a file's address for messages; the store's own for ''."""
        ...

    def listing(self, below: str = "", without: str | None = None) -> Iterator[Found]:
        """Yield all files, or those below a path; nothing hidden, no folder twice.

        Args:
            below: a path with '/', '' for all.
            without: address of a store that may lie within and is not to be looked into.

        Raises:
            PhotographError: the store is not there or cannot be listed.
            ClusterError: it cannot be reached.
        """
        ...

    @contextmanager
    def fetched(self, path: str, scratch: Path) -> Iterator[Path]:
        """Yield a file of this machine with the content of one of the store.

        Raises:
            PhotographError: there is no such file, or it may not be read.
            ClusterError: the store cannot be reached.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """Return a small file's content, None where there is none.

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

    def take(self, made: Path, paths: Sequence[str]) -> None:
        """Copy files of a folder of this machine into the store, the last one after all others lie there.

        Raises: as `write`.
        """
        ...

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, those that are there, the last one first.

        Raises: as `write`.
        """
        ...


def opened(address: str) -> Store:
    """Return the store at an address: 's3://bucket/prefix', or a folder, which need not exist.

    Raises:
        ClusterError: the address is of a kind that is not known, or what it needs is not installed.
    """
    if address.startswith(BUCKET):
        try:
            from foveate.cluster.buckets import Bucket  # noqa: PLC0415, an optional extra
        except ImportError as error:
            raise ClusterError(
                f"{address}: buckets need {error.name}; pip install 'foveate[cluster]'"
            ) from None
        return Bucket(address)
    kind, colon, _ = address.partition("://")
    if colon:
        raise ClusterError(f"{address}: {kind}:// is not known; give a folder or s3://BUCKET/PREFIX")
    return Folder(Path(address))


class Folder:
    """A folder of this machine, or of a disk that all workers share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path | None:
        return self._folder

    def shown(self, path: str = "") -> str:
        return files.shown(self._folder / path)

    def listing(self, below: str = "", without: str | None = None) -> Iterator[Found]:
        closed = None if without is None or without.startswith(BUCKET) else os.path.realpath(without)
        if below and not (self._folder / below).is_dir():
            return
        yield from self._listed(below, closed, set())

    @contextmanager
    def fetched(self, path: str, scratch: Path) -> Iterator[Path]:
        yield self._folder / path

    def read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(
                f"{self.shown(path)}: cannot be read ({error.strerror}); ask for permission to read it"
            ) from error

    def write(self, path: str, content: bytes) -> None:
        files.write(self._folder / path, content)

    def take(self, made: Path, paths: Sequence[str]) -> None:
        for path in paths:
            with files.replaced(self._folder / path) as temporary:
                shutil.copyfile(made / path, temporary)

    def remove(self, paths: Sequence[str]) -> None:
        for path in reversed(paths):
            files.remove(self._folder / path)

    def _listed(self, below: str, closed: str | None, entered: set[str]) -> Iterator[Found]:
        """Yield the files below one folder; `entered` grows by each folder, so that loops of links end."""
        real = os.path.realpath(self._folder / below)
        if real in entered or (closed is not None and f"{real}/".startswith(f"{closed}/")):
            return
        entered.add(real)
        deeper: list[str] = []
        try:
            with os.scandir(self._folder / below) as inside:
                for entry in inside:
                    if entry.name.startswith("."):
                        continue
                    path = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir():
                        deeper.append(path)
                    else:
                        yield _found(entry, path, real)
        except OSError as error:
            raise PhotographError(
                f"{self.shown(below)}: the folder cannot be listed ({error.strerror}); "
                "ask for permission to read it, or check the path"
            ) from None
        for path in sorted(deeper):
            yield from self._listed(path, closed, entered)


def _found(entry: os.DirEntry[str], path: str, folder: str) -> Found:
    """Return a file of a folder whose real path is known; a link that leads nowhere has no size."""
    real = os.path.realpath(entry.path) if entry.is_symlink() else f"{folder}/{entry.name}"
    try:
        known = entry.stat()
    except OSError:  # whoever reads it will say in its own words what is wrong
        return Found(path=path, size=0, stamp="", real=real)
    return Found(path=path, size=known.st_size, stamp=f"{known.st_size}-{known.st_mtime_ns}", real=real)
