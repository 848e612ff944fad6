"""All photographs of a run, in order, with their names and what came of them: on disk, not in memory.

Knows:   which files of a store are photographs, their order, what their results are called, what is done.
Ignores: how anything is done, and by whom.

A scratch database of this machine that goes with the run: what must outlive it is in the `ledger`. Order and
names are those of `photographs.sources`, which holds everything in memory and therefore cannot be asked
about a million files; a test holds that both say the same.
"""

import itertools
import sqlite3
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foveate.cluster.stores import Found
from foveate.photographs import SUFFIXES

TABLE = """
CREATE TABLE photographs (
    number INTEGER PRIMARY KEY,
    place BLOB NOT NULL,
    path BLOB NOT NULL,
    size INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    name BLOB NOT NULL,
    alike BLOB NOT NULL,
    mine INTEGER NOT NULL,
    lies INTEGER NOT NULL DEFAULT 0,
    line TEXT
)
"""
"""`place` sorts as wanted, `alike` is equal for names that some disk takes for one, `lies` says whether a
result lies in the target, `line` is the ledger's."""

TOGETHER = 1000
"""Rows read or written by one statement. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Which part of the photographs a run does, so that several runs without a common head do all."""

    index: int = 1
    """1 to `of`."""
    of: int = 1

    def holds(self, path: str) -> bool:
        """Whether a photograph is of this part: by its path alone, whatever else there is."""
        return zlib.crc32(_packed(path)) % self.of == self.index - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One photograph that is to be looked at."""

    path: str
    """In the source."""
    name: str
    """As tables show it and its files are called."""
    stamp: str
    """Of the source's file."""
    size: int
    """Bytes."""
    tries: int = 0
    """That failed."""
    lies: bool = False
    """A result may lie in the target already: to be looked for first."""


class Inventory:
    """The photographs of a store; used as a context, at whose end it is gone.

    Args:
        found: all files, in any order.
        share: which of them are this run's.
    """

    def __init__(self, found: Iterable[Found], share: Share) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="foveate-")
        self._rows = sqlite3.connect(Path(self._folder.name) / "inventory.sqlite", isolation_level=None)
        for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", TABLE):
            self._rows.execute(line)
        self.skipped: int = 0
        """Files that are no photographs, by their ending."""
        self._share = share
        self._fill(found)
        self._name()

    def __enter__(self) -> "Inventory":
        return self

    def __exit__(self, *raised: object) -> None:
        self._rows.close()
        self._folder.cleanup()

    def is_empty(self) -> bool:
        """Whether there is no photograph, of whatever share."""
        return self._rows.execute("SELECT 1 FROM photographs LIMIT 1").fetchone() is None

    def total(self) -> tuple[int, int]:
        """Return the number of photographs of this share, and their bytes."""
        return self._numbers("SELECT count(*), total(size) FROM photographs WHERE mine")

    def left(self) -> tuple[int, int]:
        """Return the number and bytes of those of them that are not done."""
        return self._numbers("SELECT count(*), total(size) FROM photographs WHERE mine AND line IS NULL")

    def waiting(self) -> Iterator[Item]:
        """Yield the photographs of this share that are not done, in order; new lines may be put meanwhile."""
        number = 0
        while True:
            rows = self._rows.execute(
                "SELECT number, path, name, stamp, size, lies FROM photographs "
                "WHERE number > ? AND mine AND line IS NULL ORDER BY number LIMIT ?",
                (number, TOGETHER),
            ).fetchall()
            for number, path, name, stamp, size, lies in rows:  # noqa: B007, the last number is where to go on
                yield Item(
                    path=_unpacked(path), name=_unpacked(name), stamp=stamp, size=size, lies=bool(lies)
                )
            if len(rows) < TOGETHER:
                return

    def sample(self, count: int) -> list[Item]:
        """Return some photographs that are not done, spread evenly over the order."""
        total = self.left()[0]
        most = min(count, total)
        wanted = {int((at + 0.5) * total / most) for at in range(most)}
        return [item for at, item in enumerate(self.waiting()) if at in wanted]

    def lies(self, name: str) -> bool:
        """Note that a result lies in the target; return whether any photograph is called so."""
        changed = self._rows.execute("UPDATE photographs SET lies=1 WHERE name=?", (_packed(name),))
        return changed.rowcount > 0

    def kept(self, name: str, stamp: str, line: str) -> bool:
        """Note what an earlier run did, if the file is the same and the result lies there; say whether."""
        changed = self._rows.execute(
            "UPDATE photographs SET line=? WHERE name=? AND stamp=? AND lies AND stamp<>''",
            (line, _packed(name), stamp),
        )
        return changed.rowcount > 0

    def put(self, name: str, line: str) -> None:
        """Note what came of a photograph."""
        self._rows.execute("UPDATE photographs SET line=? WHERE name=?", (line, _packed(name)))

    def lines(self) -> Iterator[str]:
        """Yield what came of the photographs, of all shares, in their order."""
        number = 0
        while True:
            rows = self._rows.execute(
                "SELECT number, line FROM photographs WHERE number > ? AND line IS NOT NULL "
                "ORDER BY number LIMIT ?",
                (number, TOGETHER),
            ).fetchall()
            for number, line in rows:  # noqa: B007, the last number is where to go on
                yield line
            if len(rows) < TOGETHER:
                return

    def _numbers(self, query: str) -> tuple[int, int]:
        count, size = self._rows.execute(query).fetchone()
        return int(count), int(size)

    def _fill(self, found: Iterable[Found]) -> None:
        """Take the photographs in, sorted; of two ways to one file the first counts."""
        self._teach("named", _named)
        self._teach("alike_of", lambda name: unicodedata.normalize("NFC", name).casefold())
        self._teach("file_of", lambda path: path.rpartition("/")[2])
        self._rows.create_function("mine_of", 1, lambda path: self._share.holds(_unpacked(path)))
        self._rows.execute("BEGIN")
        self._rows.execute(
            "CREATE TEMP TABLE found (place BLOB, path BLOB, real BLOB, size INTEGER, stamp TEXT, wanted)"
        )
        self._rows.executemany("INSERT INTO found VALUES (?, ?, ?, ?, ?, ?)", map(_met, found))
        self._rows.execute(
            "CREATE TEMP TABLE files AS "
            "SELECT min(place) AS place, path, size, stamp, wanted FROM found GROUP BY real"
        )
        self._rows.execute(
            "INSERT INTO photographs (place, path, size, stamp, name, alike, mine) "
            "SELECT place, path, size, stamp, named(path), alike_of(named(path)), mine_of(path) "
            "FROM files WHERE wanted ORDER BY place"
        )
        (self.skipped,) = self._rows.execute("SELECT count(*) FROM files WHERE NOT wanted").fetchone()
        for table in ("found", "files"):
            self._rows.execute(f"DROP TABLE {table}")
        self._rows.execute("CREATE INDEX by_alike ON photographs (alike)")

    def _name(self) -> None:
        """Lengthen names that are alike, as `photographs` does: by their endings, and what is alike still by
        numbers."""
        lengthen = (
            "UPDATE photographs SET name=path, alike=alike_of(path) WHERE name<>path AND alike IN "
            f"(SELECT alike FROM photographs WHERE alike IN ({TWICE}) "
            "GROUP BY alike HAVING count(DISTINCT file_of(path)) > 1)"
        )
        while self._rows.execute(lengthen).rowcount > 0:
            pass
        self._number()
        self._rows.execute("CREATE INDEX by_name ON photographs (name)")
        self._rows.execute("COMMIT")

    def _number(self) -> None:
        """Append ~2, ~3, ... to a name that is alike to one before it."""
        alike = f"SELECT number, name, alike FROM photographs WHERE alike IN ({TWICE}) ORDER BY number"
        met: set[bytes] = set()
        taken: set[bytes] = set()
        for number, name, same in self._rows.execute(alike).fetchall():
            if same not in met:
                met.add(same)
                continue
            free = next(name_ for name_ in _numbered(_unpacked(name)) if not self._is_taken(name_, taken))
            taken.add(self._alike(free))
            self._rows.execute("UPDATE photographs SET name=? WHERE number=?", (_packed(free), number))

    def _is_taken(self, name: str, taken: set[bytes]) -> bool:
        same = self._alike(name)
        query = self._rows.execute("SELECT 1 FROM photographs WHERE alike=?", (same,))
        return same in taken or query.fetchone() is not None

    def _alike(self, name: str) -> bytes:
        (same,) = self._rows.execute("SELECT alike_of(?)", (_packed(name),)).fetchone()
        return bytes(same)

    def _teach(self, name: str, function: Callable[[str], str]) -> None:
        """Let the database call a function on texts."""
        self._rows.create_function(
            name, 1, lambda text: _packed(function(_unpacked(text))), deterministic=True
        )


TWICE = "SELECT alike FROM photographs GROUP BY alike HAVING count(*) > 1"
"""Names that some disk would take for one."""


def _met(one: Found) -> tuple[bytes, bytes, bytes, int, str, bool]:
    """Return a file as the database takes it."""
    wanted = PurePosixPath(one.path).suffix.lower() in SUFFIXES
    return _place(one.path), _packed(one.path), _packed(one.real), one.size, one.stamp, wanted


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}~{number}" for number in itertools.count(2))


def _named(path: str) -> str:
    """Return a path without ending; '...jpg', which would leave dots, keeps it."""
    folder, slash, file = path.rpartition("/")
    stem = PurePosixPath(file).stem
    return f"{folder}{slash}{stem if stem.strip('.') else file}"


def _place(path: str) -> bytes:
    """Return what sorts a folder's files by name before those of the folders in it."""
    *folders, file = path.split("/")
    return b"".join(b"\2" + _packed(part) + b"\0" for part in folders) + b"\1" + _packed(file)


def _packed(text: str) -> bytes:
    """Return a text as bytes that sort as it does; undecodable bytes of a name survive."""
    return text.encode("utf-8", "surrogatepass")


def _unpacked(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
