"""An inventory of all photographs of a run, in order, with their names and outcomes, on disk.

Knows:   which files of a store are photographs, their order, the names of their results, and which are done.
Ignores: how a photograph is processed, and by which worker.

The inventory is a scratch database of this machine that is deleted when the run ends; whatever must be
kept is in the `ledger`. Order and names are those of `photographs.list_files`, which holds everything in
memory and therefore cannot list a million files; a test checks that both agree.
"""

import itertools
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from foveate.cluster.scratch import ScratchFolder
from foveate.cluster.stores import StoredFile
from foveate.errors import OutputError
from foveate.paths import display_path, name_key
from foveate.photographs import SUFFIXES, shorten, without_suffix

TABLE = """
CREATE TABLE photographs (
    number INTEGER PRIMARY KEY,
    sort_key BLOB NOT NULL,
    path BLOB NOT NULL,
    size INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    name BLOB NOT NULL,
    name_key BLOB NOT NULL,
    in_share INTEGER NOT NULL,
    has_result INTEGER NOT NULL DEFAULT 0,
    line TEXT
)
"""
"""`name_key` is equal for names that some file systems treat as the same, `has_result` states whether a
result exists in the target, and `line` is the line of the ledger."""

CHUNK_ROWS = 1000
"""Number of rows that one statement reads. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One of several parts of the photographs, so that independent runs process all of them together."""

    index: int = 1
    """1 to `of`."""
    of: int = 1

    def contains(self, path: str) -> bool:
        """Return whether a photograph belongs to this part, which depends on its path only."""
        return zlib.crc32(_to_bytes(path)) % self.of == self.index - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One photograph to be processed."""

    path: str
    """Path in the source."""
    name: str
    """Name in tables, and of the result files."""
    stamp: str
    """Stamp of the source's file (`StoredFile.stamp`)."""
    size: int
    """Size in bytes."""
    failed_attempts: int = 0
    has_result: bool = False
    """Whether a result may exist in the target already, so that the worker checks it first."""


class _ScratchDatabase(sqlite3.Connection):
    """A database whose errors, such as that of a full disk, are OutputErrors."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401  as SQLite takes them
        with _scratch_errors():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401  as SQLite takes them
        with _scratch_errors():
            return super().executemany(*arguments)


@contextmanager
def _scratch_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"{display_path(tempfile.gettempdir())}: the list of photographs cannot be kept there ({error}); "
            "free some space, or name another folder in TMPDIR"
        ) from error


class Inventory:
    """The photographs of a store; a context manager that removes its database at the end.

    Args:
        files: all files, in any order.
        share: which of them belong to this run.

    Raises:
        OutputError: raised by the constructor and by the methods if the scratch disk is full.
    """

    def __init__(self, files: Iterable[StoredFile], share: Share) -> None:
        self._folder = ScratchFolder()
        path = self._folder.path / "inventory.sqlite"
        self._database = sqlite3.connect(path, isolation_level=None, factory=_ScratchDatabase)
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", TABLE):
            self._database.execute(statement)
        self.skipped: int = 0
        """Files that are not photographs, judged by their suffix."""
        self._share = share
        try:
            self._fill(files)
            self._make_names_unique()
        except BaseException:  # the listing failed, so that no context will close the database
            self.__exit__()
            raise

    def __enter__(self) -> "Inventory":
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()
        self._folder.remove()

    def is_empty(self) -> bool:
        """Return whether there is no photograph in any share."""
        return self._database.execute("SELECT 1 FROM photographs LIMIT 1").fetchone() is None

    def total(self) -> tuple[int, int]:
        """Return the number of photographs in this share, and their total size in bytes."""
        return self._count_and_size("SELECT count(*), total(size) FROM photographs WHERE in_share")

    def remaining(self) -> tuple[int, int]:
        """Return the number and total size in bytes of the photographs in this share that are not done."""
        return self._count_and_size(
            "SELECT count(*), total(size) FROM photographs WHERE in_share AND line IS NULL"
        )

    def pending(self) -> Iterator[WorkItem]:
        """Yield the photographs of this share that are not done, in order; lines may be set meanwhile."""
        number = 0
        while True:
            rows = self._database.execute(
                "SELECT number, path, name, stamp, size, has_result FROM photographs "
                "WHERE number > ? AND in_share AND line IS NULL ORDER BY number LIMIT ?",
                (number, CHUNK_ROWS),
            ).fetchall()
            for number, path, name, stamp, size, has_result in rows:  # noqa: B007, the next chunk starts there
                yield WorkItem(
                    path=_to_text(path),
                    name=_to_text(name),
                    stamp=stamp,
                    size=size,
                    has_result=bool(has_result),
                )
            if len(rows) < CHUNK_ROWS:
                return

    def sample(self, count: int) -> list[WorkItem]:
        """Return up to `count` photographs that are not done, spread evenly over the order."""
        total = self.remaining()[0]
        size = min(count, total)
        positions = {int((index + 0.5) * total / size) for index in range(size)}
        return [item for position, item in enumerate(self.pending()) if position in positions]

    def mark_result(self, name: str) -> bool:
        """Record that a result exists in the target; return whether any photograph has this name."""
        update = self._database.execute(
            "UPDATE photographs SET has_result=1 WHERE name=?", (_to_bytes(name),)
        )
        return update.rowcount > 0

    def mark_done(self, name: str, stamp: str, line: str) -> bool:
        """Record an earlier outcome if the file is unchanged and its result exists; return whether it was."""
        update = self._database.execute(
            "UPDATE photographs SET line=? WHERE name=? AND stamp=? AND has_result AND stamp<>''",
            (line, _to_bytes(name), stamp),
        )
        return update.rowcount > 0

    def set_line(self, name: str, line: str) -> None:
        """Record the outcome of a photograph."""
        self._database.execute("UPDATE photographs SET line=? WHERE name=?", (line, _to_bytes(name)))

    def lines(self) -> Iterator[str]:
        """Yield the outcomes of the photographs of all shares, in their order."""
        number = 0
        while True:
            rows = self._database.execute(
                "SELECT number, line FROM photographs WHERE number > ? AND line IS NOT NULL "
                "ORDER BY number LIMIT ?",
                (number, CHUNK_ROWS),
            ).fetchall()
            for number, line in rows:  # noqa: B007, the next chunk starts there
                yield line
            if len(rows) < CHUNK_ROWS:
                return

    def _count_and_size(self, query: str) -> tuple[int, int]:
        count, size = self._database.execute(query).fetchone()
        return int(count), int(size)

    def _fill(self, files: Iterable[StoredFile]) -> None:
        """Insert the photographs, sorted."""
        self._add_function("name_of", lambda path: shorten(without_suffix(path)))
        self._add_function("long_name_of", shorten)
        self._add_function("name_key_of", name_key)
        self._add_function("file_of", lambda path: path.rpartition("/")[2])
        self._database.create_function("in_share_of", 1, lambda path: self._share.contains(_to_text(path)))
        self._database.execute("BEGIN")
        self._database.execute(
            "CREATE TEMP TABLE listed (sort_key BLOB, path BLOB, size INTEGER, stamp TEXT, is_photograph)"
        )
        self._database.executemany("INSERT INTO listed VALUES (?, ?, ?, ?, ?)", map(_listed_row, files))
        self._database.execute(
            "INSERT INTO photographs (sort_key, path, size, stamp, name, name_key, in_share) "
            "SELECT sort_key, path, size, stamp, name_of(path), name_key_of(name_of(path)), "
            "in_share_of(path) FROM listed WHERE is_photograph ORDER BY sort_key"
        )
        (self.skipped,) = self._database.execute(
            "SELECT count(*) FROM listed WHERE NOT is_photograph"
        ).fetchone()
        self._database.execute("DROP TABLE listed")
        self._database.execute("CREATE INDEX by_name_key ON photographs (name_key)")

    def _make_names_unique(self) -> None:
        """Make equal names unique as `photographs` does: by their suffixes, then by numbers."""
        lengthen = (
            "UPDATE photographs SET name=long_name_of(path), name_key=name_key_of(long_name_of(path)) "
            "WHERE name<>long_name_of(path) AND name_key IN "
            f"(SELECT name_key FROM photographs WHERE name_key IN ({REPEATED_NAMES}) "
            "GROUP BY name_key HAVING count(DISTINCT file_of(path)) > 1)"
        )
        while self._database.execute(lengthen).rowcount > 0:
            pass
        self._number_repeated_names()
        self._database.execute("CREATE INDEX by_name ON photographs (name)")
        self._database.execute("COMMIT")

    def _number_repeated_names(self) -> None:
        """Append ~2, ~3, ... to a name that equals an earlier one."""
        repeated = (
            "SELECT number, name, name_key FROM photographs "
            f"WHERE name_key IN ({REPEATED_NAMES}) ORDER BY number"
        )
        suffixes: dict[bytes, Iterator[int]] = {}  # of each name, so that no suffix is tried again
        new_keys: set[bytes] = set()
        for number, name, key in self._database.execute(repeated).fetchall():
            if key not in suffixes:
                suffixes[key] = itertools.count(2)
                continue
            candidates = (f"{_to_text(name)}~{suffix}" for suffix in suffixes[key])
            unused = next(candidate for candidate in candidates if not self._is_used(candidate, new_keys))
            new_keys.add(self._name_key(unused))
            self._database.execute(
                "UPDATE photographs SET name=? WHERE number=?", (_to_bytes(unused), number)
            )

    def _is_used(self, name: str, new_keys: set[bytes]) -> bool:
        key = self._name_key(name)
        query = self._database.execute("SELECT 1 FROM photographs WHERE name_key=?", (key,))
        return key in new_keys or query.fetchone() is not None

    def _name_key(self, name: str) -> bytes:
        (key,) = self._database.execute("SELECT name_key_of(?)", (_to_bytes(name),)).fetchone()
        return bytes(key)

    def _add_function(self, name: str, function: Callable[[str], str]) -> None:
        """Make a function of text callable from SQL statements."""
        self._database.create_function(
            name, 1, lambda text: _to_bytes(function(_to_text(text))), deterministic=True
        )


REPEATED_NAMES = "SELECT name_key FROM photographs GROUP BY name_key HAVING count(*) > 1"
"""Query for the names that some file systems would treat as the same."""


def _listed_row(file: StoredFile) -> tuple[bytes, bytes, int, str, bool]:
    """Return a file as a row of the table `listed`."""
    is_photograph = file.is_unlisted_folder or PurePosixPath(file.path).suffix.lower() in SUFFIXES
    return (
        _sort_key(file.path),
        _to_bytes(file.path),
        file.size,
        file.stamp,
        is_photograph,
    )


def _sort_key(path: str) -> bytes:
    """Return a key that sorts a folder's files by name, before the files of its subfolders."""
    *folders, file = path.split("/")
    return b"".join(b"\2" + _to_bytes(part) + b"\0" for part in folders) + b"\1" + _to_bytes(file)


def _to_bytes(text: str) -> bytes:
    """Return a text as bytes in the same sort order; undecodable bytes of a file's name are preserved."""
    return text.encode("utf-8", "surrogatepass")


def _to_text(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
