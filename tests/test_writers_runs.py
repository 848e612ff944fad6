"""run.json holds the times, and everything that is needed to repeat the run."""

import json
from datetime import datetime, timedelta, timezone

import tiny_result

from foveate.writers import runs
from foveate.writers.results import SummaryRow
from foveate.writers.runs import PredictRun

ROWS = (
    SummaryRow(name="a", status="ok", digest="11" * 32),
    SummaryRow(name="b", status="failed", error="b.jpg: cannot be read"),
    SummaryRow(name="c", status="ok", digest="22" * 32),
)


def content(**changes):
    run = PredictRun(
        started=datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))),
        seconds=61.23456,
        provenance=tiny_result.PROVENANCE,
        settings={"region": "field", "field": (1, 2, 3)},
        versions={"onnxruntime": "1.30"},
        rows=ROWS,
        seconds_each={"a": 1.23456, "b": 0.5},
        seconds_by_phase={"inference": 1.5},
        workers=2,
        skipped=4,
        **changes,
    )
    return json.loads(runs.to_json(run))


def test_times_are_in_utc():
    assert content()["times"] == {
        "started": "2026-02-28T23:30:00Z",
        "finished": "2026-02-28T23:31:01Z",
        "seconds": 61.235,
        "by_phase": {"inference": 1.5},
        "workers": 2,
    }


def test_photographs_are_counted_and_listed():
    photographs = content()["photographs"]

    assert {key: value for key, value in photographs.items() if key != "each"} == {
        "ok": 2,
        "failed": 1,
        "done_before": 1,
        "skipped_files": 4,
    }
    assert photographs["each"] == [
        {"name": "a", "status": "ok", "sha256": "11" * 32, "seconds": 1.235},
        {"name": "b", "status": "failed", "error": "b.jpg: cannot be read", "seconds": 0.5},
        {"name": "c", "status": "ok", "sha256": "22" * 32, "seconds": None},
    ]


def test_versions_model_and_settings_are_named():
    run_json = content()

    assert run_json["versions"].keys() >= {"python", "numpy", "opencv", "pillow", "onnxruntime"}
    assert run_json["model"] == {"name": "tiny", "version": "1.2", "sha256": "ab" * 32}
    assert run_json["settings"] == {"region": "field", "field": [1, 2, 3]}
    assert "not a medical device" in run_json["notice"]
