"""A run records how it came about; the records survive the way through JSON."""

import errno
import hashlib
import json

import pytest

pytest.importorskip("torch")

import tiny_set

from foveate.errors import DatasetError
from foveate.training import cache, run_record
from foveate.training.distributed import LOCAL
from foveate.training.run_record import RunSettings, RunSplit, StartPackage


def test_each_start_says_when_with_what_and_where():
    record = run_record.start_now(["foveate", "train"], LOCAL).to_json()

    assert record["command"] == ["foveate", "train"]
    assert {"time", "command", "foveate", "python", "system", "packages", "machine"} == record.keys()
    assert "torch" in record["packages"]
    assert {"device", "threads", "workers", "processes"} <= record["machine"].keys()
    assert json.loads(json.dumps(record)) == record


def test_every_photograph_and_mask_has_its_digest(tmp_path):
    cases = tiny_set.write(tmp_path)

    digests = run_record.file_digests(cases, tiny_set.CONTRACT.lesions)

    assert list(digests) == [case.name for case in cases]
    for case in cases:
        path = case.photograph
        assert digests[case.name]["photograph"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert digests[case.name]["masks"].keys() == case.masks.keys()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda digests: digests.pop("IDRiD_02"), "photograph IDRiD_02 is missing"),
        (lambda digests: digests.update(b=digests["IDRiD_01"]), "photograph b is new"),
        (lambda digests: digests["IDRiD_03"].update(photograph="0"), "photograph IDRiD_03 has changed"),
        (lambda digests: digests["IDRiD_01"]["masks"].pop("EX"), "the EX mask of IDRiD_01 is missing"),
        (lambda digests: digests["IDRiD_02"]["masks"].update(EX="0"), "the EX mask of IDRiD_02 has changed"),
        (lambda digests: digests["IDRiD_01"]["masks"].update(HE="0"), None),
        (lambda digests: digests["IDRiD_01"]["masks"].pop("SE"), None),
    ],
)
def test_the_first_file_in_which_two_records_differ_is_named_if_its_lesion_matters(
    tmp_path, change, expected
):
    cases = tiny_set.write(tmp_path)
    recorded, present = (run_record.file_digests(cases, tiny_set.CONTRACT.lesions) for _ in range(2))
    change(present)

    assert run_record.first_difference(recorded, present, ("EX", "MA")) == expected


def test_a_file_that_the_disk_cannot_read_is_named(tmp_path, monkeypatch):
    (case, *_) = tiny_set.write(tmp_path)

    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("foveate.datasets.file_digest", fail)

    for read in (
        lambda: run_record.file_digests([case], ("EX",)),
        lambda: cache.cache_case(case, tiny_set.CONTRACT, tmp_path / "cache"),
    ):
        with pytest.raises(DatasetError, match=r"cannot be read \(Input/output error\); check the disk"):
            read()


@pytest.mark.parametrize(
    "start", [None, StartPackage(name="tiny", version="1", digest="0" * 64, photographs=("IDRiD_01",))]
)
def test_settings_are_read_as_they_were_written(start):
    settings = RunSettings(
        recipe="tiny", overrides={"seed": "1"}, lesions=("EX", "MA"), field="find", start=start
    )

    content = json.loads(json.dumps(settings.to_json()))

    assert RunSettings.from_json(content) == settings
    assert ("start" in content) == (start is not None)


@pytest.mark.parametrize("held_back", [None, 1])
def test_a_split_is_read_as_it_was_written(held_back):
    split = RunSplit(about="as in folds.json", folds={"IDRiD_01": 0}, held_back=held_back)

    assert RunSplit.from_json(json.loads(json.dumps(split.to_json()))) == split
