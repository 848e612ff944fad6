"""The event log: lines for machines that name no photograph."""

import json

import pytest

from foveate.cluster import event_log
from foveate.errors import OutputError


def test_each_event_is_a_line_with_its_time_and_run(tmp_path):
    for event in ("began", "ended"):
        with event_log.open_event_log(str(tmp_path / "logs" / "log.jsonl"), "run1") as log:
            log.write(event, photographs=3)

    first, second = (json.loads(line) for line in (tmp_path / "logs" / "log.jsonl").read_text().splitlines())
    assert (first["event"], second["event"]) == ("began", "ended")
    assert first["run"] == "run1"
    assert first["photographs"] == 3
    assert first["time"].endswith("Z")


def test_a_photograph_is_named_by_a_keyed_hash(tmp_path):
    with event_log.open_event_log(None, "run") as log:
        log.set_key("00" * 16)
        name = log.pseudonym("Smith_Jane_1950-01-01")
        assert name == log.pseudonym("Smith_Jane_1950-01-01") != log.pseudonym("Smith_Jane_1950-01-02")
        log.set_key("01" * 16)
        assert name != log.pseudonym("Smith_Jane_1950-01-01")

    assert len(name) == 16
    int(name, 16)


def test_a_log_may_go_nowhere_or_to_standard_error(capsys):
    with event_log.open_event_log(None, "run") as log:
        log.write("began")
    with event_log.open_event_log("stderr", "run") as log:
        log.write("ended")

    assert json.loads(capsys.readouterr().err)["event"] == "ended"


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(OutputError, match="a file is in the way"),
        event_log.open_event_log(str(tmp_path / "file/log"), "r"),
    ):
        pass


def test_on_a_full_disk_a_run_ends_with_an_error_that_names_the_log(tmp_path):
    with (
        pytest.raises(OutputError, match=r"/dev/full: cannot be written \(No space left"),
        event_log.open_event_log("/dev/full", "run") as log,
    ):
        log.write("began")


def test_peak_memory_is_in_megabytes():
    assert 20 < event_log.peak_memory_mb() < 100_000
