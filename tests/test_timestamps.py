"""All timestamps have one form."""

from datetime import UTC, datetime, timedelta, timezone

from foveate.timestamps import utc_timestamp, utc_timestamp_of


def test_a_moment_of_another_zone_is_written_in_utc():
    moment = datetime(2026, 11, 28, 1, 30, 5, 999_999, timezone(timedelta(hours=2)))

    assert utc_timestamp(moment) == "2026-11-27T23:30:05Z"


def test_a_finer_precision_can_be_chosen():
    moment = datetime(2026, 11, 28, 9, 30, 5, 12_999, UTC)

    assert utc_timestamp(moment, "milliseconds") == "2026-11-28T09:30:05.012Z"


def test_seconds_since_1970_are_a_moment_in_utc():
    assert utc_timestamp_of(1_795_858_205.9) == "2026-11-28T09:30:05Z"
