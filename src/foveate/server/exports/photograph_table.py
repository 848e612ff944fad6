"""What people stated of photographs as CSV: which eye, a note, who reviewed the result and when.

Knows:   the columns, which docs/http-api.md promises.
Ignores: who stated it.
"""

from collections.abc import Iterable

from foveate.server.storage.database import Record
from foveate.timestamps import utc_timestamp_of
from foveate.writers import tables

COLUMNS = ("photograph", "sha256", "eye", "note", "reviewed", "reviewer", "reviewed_at")


def has_statements(record: Record) -> bool:
    """Return whether an eye, a note or a review is stated of a photograph."""
    return record.eye is not None or bool(record.note) or record.reviewed or record.reviewed_at is not None


def photographs_csv(records: Iterable[tuple[str, Record]]) -> bytes:
    """Return a row for each photograph; what is not stated is empty.

    Args:
        records: name of a photograph in the files beside the table, and its record.
    """
    rows = (
        (
            *(tables.without_formula(name), record.sha256, record.eye or ""),
            *(tables.without_formula(record.note), int(record.reviewed)),
            *(tables.without_formula(record.reviewer), _time(record.reviewed_at)),
        )
        for name, record in records
    )
    return tables.csv_bytes([COLUMNS, *rows])


def _time(seconds: float | None) -> str:
    return "" if seconds is None else utc_timestamp_of(seconds)
