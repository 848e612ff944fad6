"""The schema of the database, as numbered steps from an empty file to the current version.

Knows:   each step, and that an older file is updated in one transaction, after a copy was made.
Ignores: what any table holds.

`PRAGMA user_version` holds the number of the last step that was applied. A step that was released is never
changed: a change of the schema is a new step at the end.
"""

import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from foveate.errors import OutputError

Migration = Callable[[sqlite3.Connection], None]


def _sql(script: str) -> Migration:
    """Return a step that executes SQL statements; none may hold a semicolon within a text."""

    def step(connection: sqlite3.Connection) -> None:
        for statement in filter(None, (part.strip() for part in script.split(";"))):
            connection.execute(statement)

    return step


GRADINGS = _sql("""
CREATE TABLE gradings (
    photograph TEXT PRIMARY KEY REFERENCES photographs(id) ON DELETE CASCADE,
    original TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE,
    grader TEXT NOT NULL,
    begun REAL NOT NULL,
    done REAL,
    UNIQUE (original, grader)
);
CREATE TABLE adjudications (
    photograph TEXT PRIMARY KEY REFERENCES photographs(id) ON DELETE CASCADE,
    adjudicator TEXT NOT NULL,
    source TEXT NOT NULL,
    begun REAL NOT NULL
);
""")
"""Gradings of several people, each a photograph of its own, and who adjudicated between them."""

COPIES_TO_THEIR_ORIGINALS = _sql("""
UPDATE photographs SET batch = (
    SELECT original.batch FROM gradings JOIN photographs AS original ON original.id = gradings.original
    WHERE gradings.photograph = photographs.id
) WHERE id IN (SELECT photograph FROM gradings);
""")
"""Copies that had stayed behind when their original was moved: they were deleted with the old batch."""

DELETED_AND_STALE = _sql("""
CREATE TABLE removed (id TEXT PRIMARY KEY);
DELETE FROM counts WHERE lesion NOT IN (
    SELECT lesions.key FROM photographs, json_each(photographs.facts, '$.lesions') AS lesions
    WHERE photographs.id = counts.photograph
);
DELETE FROM present WHERE lesion NOT IN (
    SELECT lesions.key FROM photographs, json_each(photographs.facts, '$.lesions') AS lesions
    WHERE photographs.id = present.photograph
);
UPDATE photographs SET spacing_mm = NULL WHERE spacing_mm < 1e-4;
UPDATE photographs SET (count, area_fraction) = (
    SELECT sum(present.count), sum(present.area_px) * 1.0 / json_extract(facts, '$.field.area_px')
    FROM present WHERE present.photograph = photographs.id
) WHERE state = 'done' AND id IN (SELECT photograph FROM present);
""")
"""A table of deleted photographs. Counts of lesions that a result no longer has, since another model has made
it, are deleted, and pixel spacings that no photograph has: reports could not be made with them."""

TIMES_OF_DELETION = _sql("ALTER TABLE removed ADD COLUMN deleted REAL NOT NULL DEFAULT 0")
"""When a photograph was deleted, seconds since 1970: its identifier is kept for some days."""

STATE_RUNNING = _sql("UPDATE photographs SET state = 'running' WHERE state = 'looking'")
"""The state of a photograph that is being analysed has another name."""

MIGRATIONS: tuple[Migration, ...] = (
    _sql("""
CREATE TABLE batches (id TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE photographs (
    id TEXT PRIMARY KEY,
    number INTEGER UNIQUE NOT NULL,
    batch TEXT REFERENCES batches(id),
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    field TEXT NOT NULL,
    region TEXT,
    sha256 TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    spacing_mm REAL,
    submitted REAL NOT NULL,
    started REAL,
    finished REAL,
    error TEXT,
    reviewed INTEGER NOT NULL DEFAULT 0,
    grid TEXT,
    thresholds TEXT NOT NULL DEFAULT '{}',
    facts TEXT,
    revision INTEGER NOT NULL DEFAULT 0,
    count INTEGER,
    area_fraction REAL
);
CREATE INDEX photographs_by_state ON photographs (state, number);
CREATE INDEX photographs_by_batch ON photographs (batch, number);
CREATE TABLE present (
    photograph TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE,
    lesion TEXT NOT NULL,
    level INTEGER NOT NULL,
    count INTEGER NOT NULL,
    area_px INTEGER NOT NULL,
    mask_px INTEGER NOT NULL,
    PRIMARY KEY (photograph, lesion)
);
CREATE TABLE counts (
    photograph TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE,
    lesion TEXT NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (photograph, lesion)
);
CREATE TABLE edits (
    photograph TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL,
    lesion TEXT NOT NULL,
    author TEXT NOT NULL,
    time REAL NOT NULL,
    told TEXT NOT NULL,
    box TEXT,
    before BLOB,
    after BLOB,
    PRIMARY KEY (photograph, number)
);
"""),
    _sql("""
ALTER TABLE photographs ADD COLUMN eye TEXT;
ALTER TABLE photographs ADD COLUMN note TEXT NOT NULL DEFAULT '';
"""),
    GRADINGS,
    _sql("""
ALTER TABLE photographs ADD COLUMN reviewer TEXT NOT NULL DEFAULT '';
ALTER TABLE photographs ADD COLUMN reviewed_at REAL;
"""),
    COPIES_TO_THEIR_ORIGINALS,
    DELETED_AND_STALE,
    TIMES_OF_DELETION,
    STATE_RUNNING,
)
"""All steps in their order; the first one creates the tables of version 1."""


def migrate(connection: sqlite3.Connection, path: Path, steps: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Update a database to the current version.

    An older file is copied to PATH.vN first; `delete_copies` deletes these copies. All steps are one
    transaction: a process that is killed at any moment leaves the file as it was.

    Args:
        connection: a connection in autocommit mode.
        path: path of the file, for the copy and for messages.
        steps: all steps.

    Raises:
        OutputError: the file was made by a newer Foveate.
        sqlite3.Error: the file cannot be read or written.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise OutputError(
            f"{path}: has version {version}, but this Foveate reads only up to {len(steps)}; install a newer "
            "Foveate, or choose another --data"
        )
    if version == len(steps):
        return
    if version:
        _copy(connection, path.with_name(f"{path.name}.v{version}"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version={len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def delete_copies(path: Path) -> None:
    """Delete the copies of a database's older versions: they hold what was deleted since.

    Raises:
        OSError: a copy cannot be deleted.
    """
    for copy in path.parent.iterdir():
        if re.fullmatch(rf"{re.escape(path.name)}\.v\d+", copy.name):  # others are somebody's backups
            copy.unlink(missing_ok=True)


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the database to another file, in place of an older copy."""
    path.unlink(missing_ok=True)
    copy = sqlite3.connect(path)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    path.chmod(0o600)
