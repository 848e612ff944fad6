"""The database: one SQLite file, with photographs, their queue and their batches.

Knows:   these tables, and that a change is on the disk before a request is answered.
Ignores: pictures, and the tables of other modules: `counts`, `journal`, `gradings`.

Every change is one transaction: if the process is killed at any moment, all answered changes are there, and
no change is incomplete. Deleted data is overwritten in the file.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from foveate.choices import Part
from foveate.errors import OutputError
from foveate.inference.settings import FieldChoice
from foveate.paths import display_path
from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.storage import migrations
from foveate.server.storage.facts import (
    Failure,
    GridFacts,
    LesionFacts,
    PhotographFacts,
    StoredFacts,
)
from foveate.server.storage.names import Eye
from foveate.writers import maps

Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")

State = Literal["queued", "running", "done", "failed"]

UNREVIEWED: Mapping[str, Any] = {"reviewed": 0, "reviewer": "", "reviewed_at": None}
"""Columns of a photograph that nobody has marked as reviewed."""

IS_NO_COPY = "photographs.id NOT IN (SELECT photograph FROM gradings)"
"""SQL condition: a photograph is not a copy that a grader works on (see `storage.gradings`)."""

SEEN_BY_GRADER = (
    f"({IS_NO_COPY} AND photographs.id NOT IN (SELECT original FROM gradings WHERE grader = ?)"
    " OR photographs.id IN (SELECT photograph FROM gradings WHERE grader = ?))"
)
"""SQL condition for one grader, whose own copies replace their originals."""

NUMBER_OF_ORIGINAL = (
    "coalesce((SELECT original.number FROM gradings JOIN photographs AS original"
    " ON original.id = gradings.original WHERE gradings.photograph = photographs.id), photographs.number)"
)
"""SQL for a photograph's number in the order of submission; a copy has the number of its original."""

COPIES = "SELECT photograph FROM gradings WHERE original = ? ORDER BY begun, grader"
"""SQL for the copies of a photograph."""

FIELD_PX = "json_extract(facts, '$.field.area_px')"
"""SQL for the area of a photograph's field of view, px."""

SORTS = {
    "submitted": "number",
    "name": "name COLLATE NOCASE",
    "burden": "area_fraction",
    "count": "count",
}
"""Sort key of a list -> SQL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The stored data of one photograph."""

    id: str
    number: int
    """Number of the photograph in the order of submission."""
    batch: str | None
    name: str
    """The name that people read."""
    key: str
    """The name of its files."""
    state: State
    attempts: int
    """Number of times that its prediction was started."""
    field: FieldChoice
    """'auto', 'full', or (row, column, radius), px."""
    region: Part | None
    sha256: str
    width: int
    height: int
    spacing_mm: float | None
    submitted: float
    """Seconds since 1970, like all times in this module."""
    started: float | None
    finished: float | None
    error: Failure | None
    """Why there is no result, if it failed."""
    reviewed: bool
    grid: GridFacts | None
    """The ETDRS grid, if a person has placed it."""
    thresholds: Mapping[str, float]
    """Lesion -> threshold that a person chose in place of the model's."""
    facts: PhotographFacts | None
    """The result of the prediction; None until it is done."""
    revision: int
    """Revision of the corrections; 0: never corrected."""
    count: int | None
    """Current number of regions of all lesions."""
    area_fraction: float | None
    """Their share of the area of the field of view."""
    eye: Eye | None
    """The eye that the photograph shows; None if it is not stated."""
    note: str
    """Note of a person; empty if there is none."""
    reviewer: str
    """Who marked it as reviewed; empty if it is not reviewed, or no name was given."""
    reviewed_at: float | None
    """When it was marked as reviewed; None if it is not, or was before this was recorded."""

    @property
    def predicted(self) -> PhotographFacts:
        """The result of the prediction of a photograph that is done."""
        assert self.facts is not None, "asked of a photograph that is not done"
        return self.facts

    @property
    def lesions(self) -> Mapping[str, LesionFacts]:
        """Code -> facts of each lesion that the model of the photograph's result detects."""
        return self.predicted.lesions

    def threshold(self, lesion: str) -> float:
        """Return the probability from which a pixel is lesion: the chosen threshold, or the model's."""
        return self.thresholds.get(lesion, self.lesions[lesion].threshold)

    def level(self, lesion: str) -> int:
        """Return the stored level, 1 to 255, from which a pixel is lesion."""
        return maps.level(self.threshold(lesion), "png")

    def model_level(self, lesion: str) -> int:
        """Return the same level by the model's threshold."""
        return maps.level(self.lesions[lesion].threshold, "png")


JSON_COLUMNS = frozenset({"field", "error", "grid", "thresholds", "facts"})

MODELS: Mapping[str, type[StoredFacts]] = {"facts": PhotographFacts, "error": Failure, "grid": GridFacts}
"""Columns of JSON objects -> the class of their values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPhotograph:
    """A photograph that enters the queue; its fields are those of `Record`."""

    id: str
    batch: str | None
    name: str
    key: str
    field: FieldChoice
    region: Part | None
    sha256: str
    width: int
    height: int
    submitted: float
    spacing_mm: float | None = None
    eye: Eye | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRecord:
    """Photographs that belong together."""

    id: str
    name: str
    created: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which photographs a list shows, and in which order."""

    batch: str | None = None
    state: State | None = None
    sort: str = "submitted"
    lesion: str | None = None
    grader: str | None = None
    """If given, this person's copies replace the photographs that the person grades."""
    descending: bool = False
    limit: int = 200
    offset: int = 0


class Database:
    """The database. Any thread may call it; calls are executed one at a time.

    Raises:
        OutputError: the file cannot be opened, or was made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            migrations.migrate(self._connection, path)
        except sqlite3.Error as error:
            raise unusable(path, error) from error

    def close(self) -> None:
        """Close the file; no other method may be called afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Change several rows in one transaction: all changes are on the disk afterwards, or none."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let no other thread read or change anything, such as until a cache agrees with a change."""
        with self._lock:
            yield

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows that a statement selects, for the modules of storage."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    # Batches

    def add_batch(self, identifier: str, name: str, now: float) -> None:
        """Add a batch."""
        with self.change() as database:
            database.execute("INSERT INTO batches VALUES (?, ?, ?)", (identifier, name, now))

    def batches(self) -> list[BatchRecord]:
        """Return all batches, the latest first."""
        rows = self.rows("SELECT id, name, created FROM batches ORDER BY created DESC, id")
        return [BatchRecord(**dict(row)) for row in rows]

    def batch(self, identifier: str) -> BatchRecord | None:
        """Return a batch, or None if there is none."""
        rows = self.rows("SELECT id, name, created FROM batches WHERE id = ?", identifier)
        return BatchRecord(**dict(rows[0])) if rows else None

    def states(self, batch: str | None = None) -> dict[str, int]:
        """Count photographs by state: those of a batch, or all."""
        where, values = (
            (f"WHERE {IS_NO_COPY} AND batch = ?", (batch,)) if batch else (f"WHERE {IS_NO_COPY}", ())
        )
        numbers = dict.fromkeys(("queued", "running", "done", "failed"), 0)
        for row in self.rows(f"SELECT state, count(*) FROM photographs {where} GROUP BY state", *values):
            numbers[row[0]] = row[1]
        return numbers

    def delete_batch(self, identifier: str) -> bool:
        """Delete a batch; return False, and leave it, if it still holds a photograph."""
        try:
            with self.change() as database:
                database.execute("DELETE FROM batches WHERE id = ?", (identifier,))
        except sqlite3.IntegrityError:
            return False
        self._wipe()
        return True

    # Photographs

    def add(self, photograph: NewPhotograph) -> Record:
        """Put a photograph at the end of the queue."""
        with self.change() as database:
            (last,) = database.execute("SELECT coalesce(max(number), 0) FROM photographs").fetchone()
            row = _row({**asdict(photograph), "number": last + 1, "state": "queued"})
            insert(database, "photographs", row)
            added = put(database, photograph.id)
            assert added is not None
            return added

    def get(self, identifier: str) -> Record | None:
        """Return a photograph, or None if there is none."""
        rows = self.rows("SELECT * FROM photographs WHERE id = ?", identifier)
        return _record(rows[0]) if rows else None

    def unless_deleted(
        self,
        make: Callable[Concatenate[Record, Arguments], Made],
        record: Record,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Made | None:
        """Return what is made of a photograph; None if the photograph was deleted meanwhile.

        What is made of many photographs takes minutes; it does not fail because somebody deletes one. Nor
        does it hold half of one: a deletion removes all that belongs to a photograph in one change.

        Raises:
            ServiceError, FileNotFoundError: as `make` does, if the photograph still exists.
        """
        try:
            made = make(record, *arguments, **named)
        except (ServiceError, FileNotFoundError):
            if self.get(record.id) is not None:
                raise
            return None
        return None if self.get(record.id) is None else made

    def update(self, identifier: str, **values: Any) -> Record | None:  # noqa: ANN401
        """Change columns of a photograph, and return it; None if it does not exist.

        Its batch is changed for the photograph and all its copies, whichever of them is given.
        """
        with self.change() as database:
            if "batch" in values:
                _move(database, identifier, values["batch"])
            return put(database, identifier, **values)

    def select(self, query: Query) -> tuple[list[Record], int]:
        """Return the photographs that a query selects, and the total number without its limit and offset."""
        where, values = [IS_NO_COPY], []
        if query.grader is not None:
            where, values = [SEEN_BY_GRADER], [query.grader] * 2
        for column, value in (("batch", query.batch), ("state", query.state)):
            if value is not None:
                where.append(f"photographs.{column} = ?")
                values.append(value)
        by, direction = SORTS[query.sort], "DESC" if query.descending else "ASC"
        if query.grader is not None and query.sort == "submitted":
            by = NUMBER_OF_ORIGINAL
        join = ""
        if query.lesion is not None and query.sort in {"burden", "count"}:
            by = {"burden": f"present.area_px * 1.0 / {FIELD_PX}", "count": "present.count"}[query.sort]
            join = "LEFT JOIN present ON state = 'done' AND present.photograph = id AND present.lesion = ?"
            values.insert(0, query.lesion)
        base = f"FROM photographs {join} WHERE {' AND '.join(where)}"
        rows = self.rows(
            f"SELECT photographs.* {base} ORDER BY {by} IS NULL, {by} {direction}, number {direction} "
            "LIMIT ? OFFSET ?",
            *values,
            query.limit,
            query.offset,
        )
        ((total,),) = self.rows(f"SELECT count(*) {base}", *values)
        return [_record(row) for row in rows], total

    def keys(self, batch: str) -> frozenset[str]:
        """Return the names of the files of a batch's photographs, without suffixes."""
        return frozenset(row[0] for row in self.rows("SELECT key FROM photographs WHERE batch = ?", batch))

    def identifiers(self, batch: str | None = None) -> list[str]:
        """Return the identifiers of all photographs, or those of a batch, in the order of submission."""
        where, values = ("WHERE batch = ?", (batch,)) if batch else ("", ())
        return [row[0] for row in self.rows(f"SELECT id FROM photographs {where} ORDER BY number", *values)]

    def copies(self, identifier: str) -> list[str]:
        """Return the identifiers of a photograph's copies, which are deleted with it."""
        return [row[0] for row in self.rows(COPIES, identifier)]

    def delete(self, identifier: str, *, remembered: bool = True) -> tuple[str, ...]:
        """Delete a photograph with its copies and all that belongs to them.

        Args:
            identifier: the photograph.
            remembered: whether `removed` lists them, so that a start deletes their folders.

        Returns:
            The identifiers of the deleted copies, then that of the photograph; empty if it did not exist. The
            caller deletes their folders; `removed` lists them until `forget_removed`. Copies of older
            versions of the database are deleted, too: they hold what this call deletes.
        """
        with self.change() as database:
            copies = [row[0] for row in database.execute(COPIES, (identifier,))]
            rows = database.execute("SELECT id FROM photographs WHERE id = ?", (identifier,)).fetchall()
            deleted = (*copies, identifier) if rows else ()
            for each in deleted:
                if remembered:
                    database.execute("INSERT OR IGNORE INTO removed VALUES (?, ?)", (each, time.time()))
                database.execute("DELETE FROM photographs WHERE id = ?", (each,))
        self._wipe()
        if deleted:
            with suppress(OSError):
                migrations.delete_copies(self._path)
        return deleted

    def removed(self) -> frozenset[str]:
        """Return the identifiers of deleted photographs; a killed server may have left their folders."""
        return frozenset(row[0] for row in self.rows("SELECT id FROM removed"))

    def was_removed(self, identifier: str) -> bool:
        """Return whether a photograph is one of those that `removed` lists."""
        return bool(self.rows("SELECT 1 FROM removed WHERE id = ?", identifier))

    def forget_removed(self, before: float) -> None:
        """Forget the photographs that were deleted before a time, after all their folders were deleted."""
        with self.change() as database:
            database.execute("DELETE FROM removed WHERE deleted < ?", (before,))

    def expired(self, before: float) -> list[str]:
        """Return the photographs that were finished before a time."""
        rows = self.rows(
            "SELECT id FROM photographs WHERE state IN ('done', 'failed') AND finished < ?", before
        )
        return [row[0] for row in rows]

    def _wipe(self) -> None:
        """Remove deleted data from the write-ahead log, too.

        If that fails, as on a full disk, the next call does it.
        """
        with self._lock, suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # The queue

    def take(self, now: float) -> Record | None:
        """Return the first photograph of the queue, marked as being predicted; None if none waits."""
        with self.change() as database:
            row = database.execute(
                "SELECT id, attempts FROM photographs WHERE state = 'queued' ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            return put(database, row["id"], state="running", started=now, attempts=row["attempts"] + 1)

    def release(self) -> int:
        """Put photographs that are being predicted back into the queue at an orderly stop; return how many.

        The attempt does not count: the photograph did not cause its end.
        """
        with self.change() as database:
            return database.execute(
                "UPDATE photographs SET state = 'queued', started = NULL, attempts = attempts - 1 "
                "WHERE state = 'running'"
            ).rowcount

    def resume(self) -> int:
        """Put back into the queue what was being predicted when the server crashed; return how many.

        The attempt counts: the photograph may have caused the crash.
        """
        with self.change() as database:
            return database.execute(
                "UPDATE photographs SET state = 'queued', started = NULL WHERE state = 'running'"
            ).rowcount

    def requeue(self, identifier: str, field: FieldChoice, region: Part | None) -> Record | None:
        """Put a photograph that is done or failed back at its old place in the queue.

        Its review is withdrawn; its counts stay until `finish`, and no list shows them.

        Returns:
            The photograph; None if it does not exist, is queued or is being predicted.
        """
        values = {
            "state": "queued",
            "field": field,
            "region": region,
            "attempts": 0,
            "started": None,
            "finished": None,
            "error": None,
            "facts": None,
            "revision": 0,
            "count": None,
            "area_fraction": None,
            **UNREVIEWED,  # whoever made the review has not seen the new result
        }
        with self.change() as database:
            (ready,) = database.execute(
                "SELECT count(*) FROM photographs WHERE id = ? AND state IN ('done', 'failed')", (identifier,)
            ).fetchone()
            return put(database, identifier, **values) if ready else None

    def position(self, record: Record) -> int:
        """Return a queued photograph's place in the queue, from 1."""
        ((before,),) = self.rows(
            "SELECT count(*) FROM photographs WHERE state = 'queued' AND number < ?", record.number
        )
        return int(before) + 1

    def positions(self) -> dict[str, int]:
        """Return the places of all queued photographs."""
        rows = self.rows("SELECT id FROM photographs WHERE state = 'queued' ORDER BY number")
        return {row[0]: place for place, row in enumerate(rows, start=1)}


def unusable(path: Path, error: sqlite3.Error) -> OutputError:
    """Return the error that reports a file which cannot be used as a database."""
    return OutputError(
        f"{display_path(path)}: cannot be used as a database ({error}); restore a backup (docs/serve.md), or "
        "choose another --data"
    )


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object]) -> None:
    """Within a change: add a row, given as column -> value, to a table."""
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def put(connection: sqlite3.Connection, identifier: str, **values: Any) -> Record | None:  # noqa: ANN401
    """Within a change: change columns of a photograph, and return it; None if it does not exist."""
    row = _row(values)
    if row:
        sets = ", ".join(f"{column} = ?" for column in row)
        connection.execute(f"UPDATE photographs SET {sets} WHERE id = ?", (*row.values(), identifier))
    updated = connection.execute("SELECT * FROM photographs WHERE id = ?", (identifier,)).fetchone()
    return None if updated is None else _record(updated)


def only(rows: list[sqlite3.Row]) -> sqlite3.Row:
    """Return the first of some rows that belong to a photograph.

    Raises:
        ServiceError: there is none, since the photograph was deleted meanwhile.
    """
    if not rows:
        raise errors.not_found("photograph")
    return rows[0]


def _move(database: sqlite3.Connection, identifier: str, batch: str | None) -> None:
    """Move a photograph with all its copies to a batch, or out of any; the identifier may be a copy's."""
    ((original,),) = database.execute(
        "SELECT coalesce((SELECT original FROM gradings WHERE photograph = ?), ?)", (identifier, identifier)
    )
    database.execute(
        "UPDATE photographs SET batch = ? "
        "WHERE id = ? OR id IN (SELECT photograph FROM gradings WHERE original = ?)",
        (batch, original, original),
    )


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as the columns store them."""
    return {
        column: _json(value) if column in JSON_COLUMNS and value is not None else value
        for column, value in values.items()
    }


def _json(value: object) -> str:
    """Return a value as a JSON column stores it."""
    return value.model_dump_json() if isinstance(value, StoredFacts) else json.dumps(value)


def _record(row: sqlite3.Row) -> Record:
    values = {
        column: json.loads(row[column]) if column in JSON_COLUMNS and row[column] is not None else row[column]
        for column in row.keys()  # noqa: SIM118 iterating a row yields its values
    }
    for column, model in MODELS.items():
        values[column] = None if values[column] is None else model.model_validate(values[column])
    if isinstance(values["field"], list):
        values["field"] = tuple(values["field"])
    return Record(**{**values, "reviewed": bool(values["reviewed"])})
