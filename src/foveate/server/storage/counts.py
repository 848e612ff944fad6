"""The counts of each lesion in the database: at all levels of the model's map, and at the current threshold.

Knows:   that a new result replaces the counts of the earlier one, and the sums that lists sort by.
Ignores: how regions are counted.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from foveate.server import errors
from foveate.server.storage.database import FIELD_PX, Database, Record, only, put
from foveate.server.storage.facts import LevelCounts, PhotographFacts
from foveate.server.storage.journal import drop_edits


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentCounts:
    """The regions of a lesion at its current threshold, with corrections."""

    level: int
    """Stored level, 1 to 255, of the threshold."""
    count: int
    """Number of regions of at least the minimum area."""
    area_px: int
    """Number of pixels of these regions."""
    mask_px: int
    """Number of pixels of the mask, smaller regions included."""


def level_counts_of(database: Database, photograph: str, lesion: str) -> LevelCounts:
    """Return the counts of all levels of the model's map of a photograph that is done.

    Raises:
        ServiceError: the photograph was deleted meanwhile.
    """
    rows = database.rows("SELECT counts FROM counts WHERE photograph = ? AND lesion = ?", photograph, lesion)
    return LevelCounts.model_validate_json(only(rows)["counts"])


def current_counts_of(database: Database, photograph: str) -> dict[str, CurrentCounts]:
    """Return the current counts of each lesion of a photograph that is done.

    Raises:
        ServiceError: the photograph was deleted meanwhile.
    """
    rows = database.rows(
        "SELECT lesion, level, count, area_px, mask_px FROM present WHERE photograph = ?", photograph
    )
    if not rows:
        raise errors.not_found("photograph")
    return {
        row["lesion"]: CurrentCounts(
            level=row["level"], count=row["count"], area_px=row["area_px"], mask_px=row["mask_px"]
        )
        for row in rows
    }


def finish(
    database: Database,
    photograph: str,
    facts: PhotographFacts,
    counts: Mapping[str, LevelCounts],
    present: Mapping[str, CurrentCounts],
    *,
    now: float,
) -> Record | None:
    """Store a prediction, mark its photograph as done and return it; None if it was deleted.

    Args:
        database: the database; it is changed.
        photograph: identifier of the photograph.
        facts: the result.
        counts: lesion -> its counts at all levels.
        present: lesion -> its counts at the current threshold.
        now: the time at which the prediction was finished, seconds since 1970.
    """
    with database.change() as connection:
        drop_edits(connection, photograph)
        _drop_counts(connection, photograph)  # another model may have made them, of other lesions
        done = put(connection, photograph, state="done", facts=facts, finished=now, revision=0, error=None)
        if done is None:
            return None
        connection.executemany(
            "INSERT OR REPLACE INTO counts VALUES (?, ?, ?)",
            [(photograph, lesion, levels.model_dump_json()) for lesion, levels in counts.items()],
        )
        put_current_counts(connection, photograph, present)
        return put(connection, photograph)


def put_current_counts(
    connection: sqlite3.Connection, photograph: str, present: Mapping[str, CurrentCounts]
) -> None:
    """Within a change: store the current counts of lesions, and the sums that lists sort by."""
    connection.executemany(
        "INSERT OR REPLACE INTO present VALUES (?, ?, ?, ?, ?, ?)",
        [
            (photograph, lesion, counts.level, counts.count, counts.area_px, counts.mask_px)
            for lesion, counts in present.items()
        ],
    )
    connection.execute(
        "UPDATE photographs SET (count, area_fraction) = ("
        f" SELECT sum(present.count), sum(present.area_px) * 1.0 / {FIELD_PX}"
        " FROM present WHERE photograph = photographs.id) WHERE id = ?",
        (photograph,),
    )


def _drop_counts(connection: sqlite3.Connection, photograph: str) -> None:
    """Within a change: delete the counts of a result."""
    for table in ("counts", "present"):
        connection.execute(f"DELETE FROM {table} WHERE photograph = ?", (photograph,))
