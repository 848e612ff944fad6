"""Moments as text.

Knows:   the form that files, logs and the HTTP API share: ISO 8601 in UTC, ending with 'Z'.
Ignores: what happened at the moment.
"""

from datetime import UTC, datetime
from typing import Literal


def utc_timestamp(moment: datetime, precision: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """Return a moment such as '2026-11-28T09:30:00Z'.

    Args:
        moment: with a time zone, or in local time.
        precision: the smallest unit; smaller units are cut off.
    """
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def utc_timestamp_of(seconds: float) -> str:
    """Return the same text for a moment in seconds since 1970."""
    return utc_timestamp(datetime.fromtimestamp(seconds, UTC))
