"""Where everything of a photograph lies on the server's disk.

Knows:   the layout of the data folder, and that deleting means that nothing is left of it.
Ignores: what the files hold.

DATA/foveate.sqlite3                     who waits, what was found, every correction
DATA/lock                                held by the one server that uses the folder
DATA/incoming/                           uploads under way; empty when the server starts
DATA/photographs/<id>/upload             the file as it was sent
                     /photo.tiles        its tiles            /thumbnail.jpg
                     /results/           what `foveate predict` writes
                     /seen.npz           what writing it again at other thresholds takes
                     /maps.tiles         tiles of the maps, all lesions of a tile in one picture
                     /references/<name>_<LESION>.png
                     /made/<settings>/   files at other thresholds, or with corrections
DATA/gone/                               what is being deleted
"""

import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from foveate.errors import OutputError
from foveate.writers import files

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One photograph's folder."""

    folder: Path

    @property
    def upload(self) -> Path:
        """The file as it was sent."""
        return self.folder / "upload"

    @property
    def tiles(self) -> Path:
        """Pack of the photograph."""
        return self.folder / "photo.tiles"

    @property
    def thumbnail(self) -> Path:
        """256 px on its long side."""
        return self.folder / "thumbnail.jpg"

    @property
    def results(self) -> Path:
        """What `foveate predict` writes; whole, or not there."""
        return self.folder / "results"

    @property
    def seen(self) -> Path:
        """The probabilities at the model's scale, and what belongs to them."""
        return self.folder / "seen.npz"

    @property
    def references(self) -> Path:
        """Masks to compare with."""
        return self.folder / "references"

    @property
    def made(self) -> Path:
        """Files that were made when asked for."""
        return self.folder / "made"

    @property
    def map_tiles(self) -> Path:
        """Pack of the maps, all lesions of a tile in one picture."""
        return self.folder / "maps.tiles"

    def map_file(self, key: str, lesion: str) -> Path:
        """A lesion's map, as `foveate predict` writes it."""
        return self.results / "maps" / f"{key}_{lesion}.png"

    def reference(self, name: str, lesion: str) -> Path:
        """One mask to compare with."""
        return self.references / f"{name}_{lesion}.png"


class Shelf:
    """The data folder, for one server at a time.

    Raises:
        OutputError: it cannot be written, or another server uses it.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.photographs = data / "photographs"
        self.incoming = data / "incoming"
        self._gone = data / "gone"
        for folder in (self.photographs, self.incoming, self._gone):
            files.prove(folder)
        self._lock = _locked(data)
        self.data.chmod(0o700)  # patients' photographs: for the one who runs the server only
        for leftover in (*self.incoming.iterdir(), *self._gone.iterdir()):
            _remove(leftover)

    def close(self) -> None:
        """Let another server use it."""
        self._lock.close()

    @property
    def database(self) -> Path:
        """The file of all that is no picture."""
        return self.data / "foveate.sqlite3"

    def place(self, identifier: str) -> Place:
        """Return a photograph's folder, whether it is there or not."""
        return Place(folder=self.photographs / identifier)

    def delete(self, path: Path) -> None:
        """Delete a file or folder: out of sight at once, off the disk before this returns."""
        aside = self._gone / uuid.uuid4().hex
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        _remove(aside)

    def keep_only(self, identifiers: frozenset[str]) -> None:
        """Delete the folders of photographs that nobody knows, as after a server that was killed."""
        for folder in self.photographs.iterdir():
            if folder.name not in identifiers:
                self.delete(folder)

    def free(self) -> int:
        """Return the bytes that the disk has left."""
        return shutil.disk_usage(self.data).free


def _locked(data: Path) -> IO[bytes]:
    """Return a file that nobody else holds; the system lets go of it when its process ends, however it does.

    Raises:
        OutputError: somebody else does.
    """
    file = (data / "lock").open("wb")
    if sys.platform != "win32":  # where files that are open cannot be replaced anyway
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise OutputError(f"{data}: another server uses it; choose another --data") from error
    return file


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
