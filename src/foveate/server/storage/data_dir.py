"""The data folder: where each file of a photograph is kept on the server's disk.

Knows:   the layout of the data folder, and that deletion leaves nothing behind.
Ignores: what the files hold.

DATA/foveate.sqlite3                     the queue, the results' figures, every correction
DATA/foveate.sqlite3.v<N>                a copy from before it was updated from version N; deleted with the
                                         first photograph that is deleted afterwards
DATA/lock                                held by the one server that uses the folder
DATA/incoming/                           uploads under way; empty when the server starts
              model/                     the files of a model that was given as a zip, while the server runs
DATA/photographs/<id>/upload             the file as it was sent
                     /unfinished         until the database lists the photograph
                     /photo.tiles        its tiles            /thumbnail.jpg
                     /results/           what `foveate predict` writes
                     /seen.npz           all that is needed to write the results again at other thresholds
                     /maps.tiles         tiles of the maps, all lesions of a tile in one picture
                     /references/<name>_<LESION>.png
                     /made/<settings>/   exports at other thresholds, or with corrections
DATA/unknown/<name>-<digits>             photographs that the database does not list, and what is not
                                         Foveate's; for a person to check
DATA/gone/                               files that are being deleted
          <id>/                          a photograph whose files were deleted before the database could be
                                         changed, on a full disk; empty
"""

import errno
import logging
import os
import re
import shutil
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from foveate import atomic_files
from foveate.errors import OutputError
from foveate.paths import is_folder

if sys.platform != "win32":
    import fcntl

LOG = logging.getLogger("foveate.server")

DATABASE = "foveate.sqlite3"
"""Name of the SQLite file."""

PARTS = frozenset({"photographs", "incoming", "gone", "unknown", "lock", DATABASE, f"{DATABASE}-journal"})
"""Names that a first start, killed at any moment, may leave in the data folder."""

OURS = re.compile(rf"[0-9a-f]{{32}}(\..*)?|{atomic_files.TEMPORARY.pattern}")
"""Names that the server itself gives to files and folders; other ones are somebody's."""

HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
"""Errors of a lock that another process holds; others mean that the disk has no locks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographDir:
    """The folder of one photograph."""

    folder: Path

    @property
    def upload(self) -> Path:
        """The file as it was sent."""
        return self.folder / "upload"

    @property
    def unfinished(self) -> Path:
        """An empty file that exists until the database lists the photograph."""
        return self.folder / "unfinished"

    @property
    def tiles(self) -> Path:
        """Tile pack of the photograph."""
        return self.folder / "photo.tiles"

    @property
    def thumbnail(self) -> Path:
        """JPEG, 256 px on its long side."""
        return self.folder / "thumbnail.jpg"

    @property
    def results(self) -> Path:
        """The files that `foveate predict` writes; the folder is complete, or does not exist."""
        return self.folder / "results"

    @property
    def segmentation_file(self) -> Path:
        """The probabilities at the model's scale, with their frame and the field of view."""
        return self.folder / "seen.npz"

    @property
    def references(self) -> Path:
        """Folder of the reference masks."""
        return self.folder / "references"

    @property
    def exports(self) -> Path:
        """Files that were written on request."""
        return self.folder / "made"

    @property
    def map_tiles(self) -> Path:
        """Tile pack of the maps, all lesions of a tile in one picture."""
        return self.folder / "maps.tiles"

    def map_file(self, key: str, lesion: str) -> Path:
        """Return the path of a lesion's map, as `foveate predict` writes it."""
        return self.results / "maps" / f"{key}_{lesion}.png"

    def reference(self, name: str, lesion: str) -> Path:
        """Return the path of a reference mask."""
        return self.references / f"{name}_{lesion}.png"


class DataDir:
    """The data folder, for one server at a time.

    Raises:
        OutputError: the folder cannot be written, locked or closed to other users, is used by another server,
            holds photographs or foreign files without a database, or lies on several disks; nothing in it was
            changed, except that missing folders may have been created.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.photographs = data / "photographs"
        self.incoming = data / "incoming"
        self.model = self.incoming / "model"
        """Folder for the files of a model that is given as a zip; removed when a server starts or ends."""
        self._gone = data / "gone"
        self._unknown = data / "unknown"
        with atomic_files.errors_for(data):
            self._require_database()
        for folder in (self.photographs, self.incoming, self._gone):
            atomic_files.require_writable(folder)
            self._require_one_disk(folder)
        self._lock = _lock(data)
        try:
            _close_to_others(data)
            for leftover in (*self.incoming.iterdir(), *self._gone.iterdir()):
                with atomic_files.errors_for(leftover):
                    if self._is_begun_deletion(leftover):
                        _empty(leftover)
                    elif leftover == self.model or OURS.fullmatch(leftover.name):
                        _remove(leftover)
                    else:
                        self._set_aside(leftover)
        except BaseException:
            self._lock.close()
            raise

    def _require_one_disk(self, folder: Path) -> None:
        """Raise OutputError if a folder lies on another disk: files could not be moved in one step.

        Otherwise the system would report its own error at the first upload.
        """
        if folder.stat().st_dev != self.data.stat().st_dev:
            raise OutputError(
                f"{folder}: lies on another disk than {self.data}; put all of --data on one disk"
            )

    def _require_database(self) -> None:
        """Check that there is a database, or nothing in the folder that is missing its database or not ours.

        Without a database the folder is a new one: the server would list none of its photographs, and remove
        the uploads under way.

        Raises:
            OutputError: the database is missing or empty, and the folder is not.
        """
        if not is_folder(self.data) or (self.database.exists() and self.database.stat().st_size):
            return
        log = self.database.with_name(f"{DATABASE}-wal")
        if log.exists():
            raise OutputError(
                f"{self.database}: is missing or empty, but {log.name} lies beside it; put it back (if it is "
                f"a backup, first delete {log.name} and {DATABASE}-shm), or choose another --data"
            )
        if not _is_empty(self.photographs):
            raise OutputError(
                f"{self.data}: holds photographs, but {DATABASE} is missing or empty; put it back, or choose "
                "another --data"
            )
        if not _is_new(self.data):
            raise OutputError(
                f"{self.data}: holds files but no {DATABASE}; choose an empty folder, such as --data "
                f"{self.data / 'foveate'}"
            )

    def close(self) -> None:
        """Remove the files of the model, and release the folder, so that another server may use it."""
        shutil.rmtree(self.model, ignore_errors=True)
        self._lock.close()

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / DATABASE

    def photograph(self, identifier: str) -> PhotographDir:
        """Return the folder of a photograph, whether it exists or not."""
        return PhotographDir(folder=self.photographs / identifier)

    def has_upload(self, identifier: str) -> bool:
        """Return whether a photograph's file exists, as it does until the photograph is deleted.

        Raises:
            OSError: the operating system cannot tell.
        """
        try:
            self.photograph(identifier).upload.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def copy(self, source: PhotographDir, target: PhotographDir) -> None:
        """Copy a photograph with its result to another folder, without references and exports.

        Files are never changed in place, so that the copy takes no space if the disk supports hard links. The
        caller calls `mark_finished` when the database lists the copy.

        Raises:
            OSError: the copy cannot be written, or the photograph was deleted meanwhile.
        """
        work = self.incoming / uuid.uuid4().hex
        try:
            work.mkdir()
            copied = PhotographDir(folder=work)
            for name in ("upload", "tiles", "thumbnail", "segmentation_file", "map_tiles"):
                _link(getattr(source, name), getattr(copied, name))
            shutil.copytree(source.results, copied.results, copy_function=_link)
            copied.unfinished.touch()
            work.rename(target.folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def mark_finished(self, directory: PhotographDir) -> None:
        """Note in a photograph's folder that the database lists it; if that fails, the next start does it."""
        with suppress(OSError):
            directory.unfinished.unlink(missing_ok=True)

    def delete(self, path: Path) -> None:
        """Delete a file or folder: it is first moved away in one step, and then removed from the disk."""
        aside = self._gone / uuid.uuid4().hex
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        _remove(aside)

    def begin_deletion(self, identifier: str) -> None:
        """Delete the files of a photograph that the database still lists.

        An empty folder in DATA/gone records this until `end_deletion`, so that the next start completes the
        deletion if the server is killed.
        """
        aside = self._gone / identifier
        try:
            self.photograph(identifier).folder.rename(aside)
        except FileNotFoundError:
            return
        _empty(aside)

    def end_deletion(self, identifier: str) -> None:
        """Note that the database no longer lists a photograph; its folder was deleted before."""
        with suppress(FileNotFoundError):
            (self._gone / identifier).rmdir()

    def begun_deletions(self) -> frozenset[str]:
        """Return names in DATA/gone; those that the database lists are of photographs under deletion."""
        return frozenset(folder.name for folder in self._gone.iterdir() if self._is_begun_deletion(folder))

    def _is_begun_deletion(self, path: Path) -> bool:
        """Return whether a path may be what `begin_deletion` leaves."""
        is_ours = path.parent == self._gone and OURS.fullmatch(path.name) is not None
        return is_ours and path.is_dir() and not path.is_symlink()

    def keep_only(self, identifiers: frozenset[str], removed: frozenset[str]) -> None:
        """Remove the folders of photographs that the database does not list, and unfinished files in others.

        Photographs that were deleted, and those that were not yet accepted when the server was killed, are
        deleted. Others are moved to DATA/unknown, with their results: the database may be an older copy. So
        is whatever else somebody has put there.

        Args:
            identifiers: the photographs that the database lists.
            removed: photographs that were deleted from it.
        """
        for folder in self.photographs.iterdir():
            directory = PhotographDir(folder=folder)
            if folder.name in identifiers:
                atomic_files.remove_leftovers(folder, deep=False)
                self.mark_finished(directory)
                continue
            was_accepted = directory.thumbnail.exists() and not directory.unfinished.exists()
            if folder.name in removed or (OURS.fullmatch(folder.name) and not was_accepted):
                self.delete(folder)
            else:
                self._set_aside(folder)
        for leftover in self._gone.iterdir():
            _remove(leftover)

    def set_aside_photograph(self, identifier: str) -> None:
        """Move what is left of a photograph's folder to DATA/unknown, if there is anything."""
        folder = self.photograph(identifier).folder
        if os.path.lexists(folder):
            self._set_aside(folder)

    def _set_aside(self, path: Path) -> None:
        """Move a file or folder that the database does not list to DATA/unknown."""
        self._unknown.mkdir(exist_ok=True)
        path.rename(self._unknown / f"{path.name}-{uuid.uuid4().hex[:8]}")
        LOG.warning("a file or folder that the database does not list was moved to unknown/")

    def free(self) -> int:
        """Return the bytes that are free on the disk."""
        return shutil.disk_usage(self.data).free


def _is_empty(folder: Path, *, except_for: str = "") -> bool:
    """Return whether a folder is missing, or holds nothing but unfinished files and what has one name."""
    return not is_folder(folder) or all(
        entry.name == except_for or atomic_files.TEMPORARY.fullmatch(entry.name) for entry in folder.iterdir()
    )


def _is_new(data: Path) -> bool:
    """Return whether a data folder without a database holds only what a killed first start may have left.

    Hidden entries do not count, nor does the folder that a new disk has.
    """
    lock = data / "lock"
    return (
        all(path.name in {*PARTS, "lost+found"} or path.name.startswith(".") for path in data.iterdir())
        and not (lock.exists() and lock.stat().st_size)
        and _is_empty(data / "incoming", except_for="model")
        and _is_empty(data / "gone")
    )


def _lock(data: Path) -> IO[bytes]:
    """Lock the data folder and return the locked file; the system unlocks it when the process ends.

    Raises:
        OutputError: another process holds the lock, or the file cannot be written or locked.
    """
    path = data / "lock"
    with atomic_files.errors_for(path):
        file = path.open("ab")  # nothing is written: a file of this name may be somebody's
    if sys.platform != "win32":  # Windows has no flock, and does not replace open files
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in HELD:
                raise OutputError(f"{data}: another server uses it; choose another --data") from error
            raise OutputError(
                f"{path}: cannot be locked ({error.strerror}); choose a --data on a disk of this machine"
            ) from error
    return file


def _close_to_others(data: Path) -> None:
    """Let only the user who runs the server enter the data folder: it holds patients' photographs.

    Raises:
        OutputError: others may enter it, and the system does not allow to change that.
    """
    if not data.stat().st_mode & 0o077:
        return
    try:
        data.chmod(0o700)
    except OSError as error:
        raise OutputError(
            f"{data}: cannot be closed to other users ({error.strerror}); choose a folder of your own, "
            f"such as --data {data / 'foveate'}"
        ) from error


def _link(source: str | Path, target: str | Path) -> None:
    """Create a hard link to a file; copy the file if the disk has no hard links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)
        atomic_files.flush(Path(target))


def _empty(folder: Path) -> None:
    """Remove all that is in a folder."""
    for path in folder.iterdir():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
