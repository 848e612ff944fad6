"""A run's folder says how it came about, and is not mixed with another."""

import hashlib
import json

import pytest

pytest.importorskip("torch")

import tiny_set

from foveate.errors import TrainingError
from foveate.training import run_record, trainer
from foveate.training.distributed import LOCAL


def test_what_is_kept_is_written_once_and_compared_ever_after(tmp_path):
    run_record.keep(tmp_path / "run", "split.json", {"a": 0}, "another split")
    run_record.keep(
        tmp_path / "run", "split.json", {"a": 1}, "another split"
    )  # nothing was trained by the first
    (tmp_path / "run" / trainer.RECIPE).touch()
    run_record.keep(tmp_path / "run", "split.json", {"a": 1}, "another split")

    with pytest.raises(TrainingError, match="the run was begun with another split"):
        run_record.keep(tmp_path / "run", "split.json", {"a": 2}, "another split")

    assert json.loads((tmp_path / "run/split.json").read_text()) == {"a": 1}


def test_each_start_says_when_with_what_and_where(tmp_path):
    run_record.add_start(tmp_path, ["foveate", "train"], LOCAL)

    (path,) = (tmp_path / run_record.STARTS).iterdir()
    found = json.loads(path.read_text())
    assert found["command"] == ["foveate", "train"]
    assert {"time", "foveate", "python", "system", "packages", "machine"} <= found.keys()
    assert "torch" in found["packages"]
    assert {"device", "threads", "workers", "processes"} <= found["machine"].keys()


def test_every_photograph_and_mask_has_its_digest(tmp_path):
    cases = tiny_set.write(tmp_path)

    found = run_record.digests(cases)

    assert list(found) == [case.name for case in cases]
    for case in cases:
        path = case.photograph
        assert found[case.name]["photograph"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found[case.name]["masks"].keys() == case.masks.keys()


def test_a_folder_without_records_has_none(tmp_path):
    assert run_record.split(tmp_path) is None
    assert run_record.settings(tmp_path) is None
