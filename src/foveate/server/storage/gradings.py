"""Gradings in the database: their graders, whether they are done, and their adjudications.

Knows:   that each grading is a copy of a photograph, with a journal, thresholds and counts of its own.
Ignores: who may see which grading, and how well graders agree.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from foveate.server.storage import counts
from foveate.server.storage.counts import CurrentCounts
from foveate.server.storage.database import UNREVIEWED, Database, Record, insert, put


@dataclass(frozen=True, kw_only=True, slots=True)
class Grading:
    """One person's grading of a photograph."""

    photograph: str
    """Identifier of the copy that the grader works on."""
    original: str
    """Identifier of the photograph."""
    grader: str
    begun: float
    """Seconds since 1970, like all times in this module."""
    done: float | None
    """When the grader marked it as done; None until then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjudication:
    """The adjudication of a photograph's gradings, which is made in the photograph's own journal."""

    photograph: str
    adjudicator: str
    source: str
    """The masks that it began with: 'agreed', 'either', 'model', or 'grader:NAME'."""
    begun: float


def gradings_of(database: Database, original: str) -> list[Grading]:
    """Return the gradings of a photograph, the earliest first."""
    rows = database.rows("SELECT * FROM gradings WHERE original = ? ORDER BY begun, grader", original)
    return [Grading(**dict(row)) for row in rows]


def grading_in(database: Database, photograph: str) -> Grading | None:
    """Return the grading of which a photograph is the copy, or None if it is not a copy."""
    rows = database.rows("SELECT * FROM gradings WHERE photograph = ?", photograph)
    return Grading(**dict(rows[0])) if rows else None


def graded(database: Database, batch: str | None) -> list[str]:
    """Return the identifiers of graded photographs, of a batch or of all, in the order of submission."""
    where, values = ("AND batch = ?", (batch,)) if batch else ("", ())
    rows = database.rows(
        f"SELECT id FROM photographs WHERE id IN (SELECT original FROM gradings) {where} ORDER BY number",
        *values,
    )
    return [row["id"] for row in rows]


def add_grading(
    database: Database, grading: Grading, current_counts: Mapping[str, CurrentCounts]
) -> Record | None:
    """Copy a photograph's record, without review mark, corrections, grid, thresholds and note.

    Args:
        database: the database; it is changed.
        grading: the grading that gets the copy.
        current_counts: lesion -> its counts at the model's threshold.

    Returns:
        The copy; None if the photograph no longer exists.
    """
    with database.change() as connection:
        row = connection.execute("SELECT * FROM photographs WHERE id = ?", (grading.original,)).fetchone()
        if row is None:
            return None
        (last,) = connection.execute("SELECT max(number) FROM photographs").fetchone()
        fresh = {"id": grading.photograph, "number": last + 1, "revision": 0, "grid": None}
        insert(
            connection, "photographs", {**dict(row), **fresh, **UNREVIEWED, "thresholds": "{}", "note": ""}
        )
        connection.execute(
            "INSERT INTO counts SELECT ?, lesion, counts FROM counts WHERE photograph = ?",
            (grading.photograph, grading.original),
        )
        insert(
            connection,
            "gradings",
            {
                "photograph": grading.photograph,
                "original": grading.original,
                "grader": grading.grader,
                "begun": grading.begun,
                "done": grading.done,
            },
        )
        counts.put_current_counts(connection, grading.photograph, current_counts)
        return put(connection, grading.photograph)


def set_done(database: Database, photograph: str, done: float | None) -> None:
    """Store when a grading was done; None: it is not done."""
    with database.change() as connection:
        connection.execute("UPDATE gradings SET done = ? WHERE photograph = ?", (done, photograph))


def adjudication_of(database: Database, photograph: str) -> Adjudication | None:
    """Return the adjudication of a photograph's gradings, or None if nobody has begun one."""
    rows = database.rows("SELECT * FROM adjudications WHERE photograph = ?", photograph)
    return Adjudication(**dict(rows[0])) if rows else None


def put_adjudication(connection: sqlite3.Connection, adjudication: Adjudication) -> None:
    """Within a change: store an adjudication in place of an earlier one, and withdraw the review."""
    put(connection, adjudication.photograph, **UNREVIEWED)
    connection.execute(
        "INSERT OR REPLACE INTO adjudications VALUES (?, ?, ?, ?)",
        (adjudication.photograph, adjudication.adjudicator, adjudication.source, adjudication.begun),
    )
