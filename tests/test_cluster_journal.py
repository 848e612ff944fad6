"""The log: lines for machines, in which no photograph is named."""

import json

import pytest

from foveate.cluster import journal
from foveate.errors import OutputError


def test_each_event_is_a_line_with_its_time_and_run(tmp_path):
    for event in ("began", "ended"):
        with journal.opened(str(tmp_path / "logs" / "log.jsonl"), "run1") as told:
            told.say(event, photographs=3)

    first, second = (json.loads(line) for line in (tmp_path / "logs" / "log.jsonl").read_text().splitlines())
    assert (first["event"], second["event"]) == ("began", "ended")
    assert first["run"] == "run1"
    assert first["photographs"] == 3
    assert first["time"].endswith("Z")


def test_a_photograph_is_named_by_a_keyed_hash(tmp_path):
    with journal.opened(None, "run") as told:
        told.know("00" * 16)
        name = told.name("Smith_Jane_1950-01-01")
        assert name == told.name("Smith_Jane_1950-01-01") != told.name("Smith_Jane_1950-01-02")
        told.know("01" * 16)
        assert name != told.name("Smith_Jane_1950-01-01")

    assert len(name) == 16
    int(name, 16)


def test_nowhere_and_standard_error_are_places(capsys):
    with journal.opened(None, "run") as told:
        told.say("began")
    with journal.opened("stderr", "run") as told:
        told.say("ended")

    assert json.loads(capsys.readouterr().err)["event"] == "ended"


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(OutputError, match="a file is in the way"),
        journal.opened(str(tmp_path / "file/log"), "r"),
    ):
        pass


def test_memory_is_told_in_megabytes():
    assert 20 < journal.peak_mb() < 100_000
