"""The journal of corrections in the database: one row for each step.

Knows:   the columns of a step, and that steps that are undone are deleted when a new one is added.
Ignores: what a step changes in a map, and who may correct.
"""

import json
import sqlite3
from dataclasses import dataclass

from foveate.server.storage.database import Database, insert, only
from foveate.server.storage.facts import DETAILS, EditDetails, VerdictDetails

EDIT_COLUMNS = "number, undone, kind, lesion, author, time, told, box"
"""Columns of a step, except for its pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """One step of the journal."""

    number: int
    """Number of the step, from 1."""
    undone: bool
    kind: str
    """'stroke', 'verdict' or 'mask'."""
    lesion: str
    author: str
    time: float
    details: EditDetails
    """The edit itself; stored in the column `told`."""
    box: tuple[int, int, int, int] | None
    """(top, left, bottom, right) of the pixels that changed; None if no pixel did."""
    before: bytes | None
    """The layer's pixels in the box before the edit, packed."""
    after: bytes | None
    """The same after it."""

    @property
    def verdict(self) -> VerdictDetails:
        """The details of an edit that is a verdict."""
        assert isinstance(self.details, VerdictDetails), f"edit {self.number} is no verdict"
        return self.details


def edits_of(database: Database, photograph: str) -> list[Edit]:
    """Return a photograph's journal, without pixels."""
    rows = database.rows(
        f"SELECT {EDIT_COLUMNS}, NULL AS before, NULL AS after FROM edits "
        "WHERE photograph = ? ORDER BY number",
        photograph,
    )
    return [_edit(row) for row in rows]


def edits_with_pixels(database: Database, photograph: str, lesion: str) -> list[Edit]:
    """Return a lesion's steps that are not undone and change pixels, with these pixels."""
    rows = database.rows(
        "SELECT * FROM edits WHERE photograph = ? AND lesion = ? AND NOT undone AND box IS NOT NULL "
        "ORDER BY number",
        photograph,
        lesion,
    )
    return [_edit(row) for row in rows]


def edit_at(database: Database, photograph: str, number: int) -> Edit:
    """Return one step, with its pixels.

    Raises:
        ServiceError: the photograph was deleted meanwhile.
    """
    rows = database.rows("SELECT * FROM edits WHERE photograph = ? AND number = ?", photograph, number)
    return _edit(only(rows))


def corrected_lesions(database: Database, photograph: str) -> frozenset[str]:
    """Return the lesions with at least one corrected pixel."""
    rows = database.rows(
        "SELECT DISTINCT lesion FROM edits WHERE photograph = ? AND NOT undone AND box IS NOT NULL",
        photograph,
    )
    return frozenset(row[0] for row in rows)


def put_edit(connection: sqlite3.Connection, photograph: str, edit: Edit) -> None:
    """Within a change: add a step to the journal; steps that are undone are deleted."""
    connection.execute("DELETE FROM edits WHERE photograph = ? AND undone", (photograph,))
    insert(
        connection,
        "edits",
        {
            "photograph": photograph,
            "number": edit.number,
            "undone": edit.undone,
            "kind": edit.kind,
            "lesion": edit.lesion,
            "author": edit.author,
            "time": edit.time,
            "told": edit.details.model_dump_json(),
            "box": None if edit.box is None else json.dumps(edit.box),
            "before": edit.before,
            "after": edit.after,
        },
    )


def mark_undone(connection: sqlite3.Connection, photograph: str, number: int, *, undone: bool) -> None:
    """Within a change: undo or redo a step."""
    connection.execute(
        "UPDATE edits SET undone = ? WHERE photograph = ? AND number = ?", (undone, photograph, number)
    )


def drop_edits(connection: sqlite3.Connection, photograph: str) -> None:
    """Within a change: delete the journal."""
    connection.execute("DELETE FROM edits WHERE photograph = ?", (photograph,))


def _edit(row: sqlite3.Row) -> Edit:
    return Edit(
        number=row["number"],
        undone=bool(row["undone"]),
        kind=row["kind"],
        lesion=row["lesion"],
        author=row["author"],
        time=row["time"],
        details=DETAILS[row["kind"]].model_validate_json(row["told"]),
        box=None if row["box"] is None else tuple(json.loads(row["box"])),
        before=row["before"],
        after=row["after"],
    )
