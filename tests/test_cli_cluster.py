"""`foveate predict --on`: what the options mean together, and what is printed at the end."""

import json
import re
import sys

import pytest
import tiny_cluster
from test_cluster_job import status

from foveate import cli
from foveate.cli import cluster, quantities


@pytest.fixture
def eyes(tmp_path):
    source = tiny_cluster.write_eyes(tmp_path / "eyes", count=2)
    (source / "bad.png").write_bytes(b"")
    return source


@pytest.fixture
def foveate(capsys, model, tmp_path):
    """Run predict in this process: exit code, stdout, stderr."""

    def run(*arguments, out=tmp_path / "out"):
        capsys.readouterr()
        line = ["predict", *arguments, "--out", out, "--model", model, "--engine", "onnx"]
        code = cli.run([str(argument) for argument in line])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_run_by_workers_prints_its_outcome_and_where_the_results_are(foveate, eyes, tmp_path):
    code, out, err = foveate(eyes, "--on", "local", "--workers", 1, "--log", tmp_path / "log")

    assert code == 1
    assert re.match(r"2 photographs done, 1 failed, 1 other file skipped; \d", out)
    assert f"Look at {tmp_path / 'out'}/summary.csv and {tmp_path / 'out'}/summary.parquet" in out
    assert "not a medical device" in out
    assert re.search(r"^3/3 photographs, 1 failed, 2 tried again, 1 worker, \d+\.\d a minute$", err, re.M)
    assert tiny_cluster.logged_events(tmp_path / "log")[-1]["event"] == "ended"


def test_json_is_one_object_that_counts_what_was_done_before(foveate, eyes):
    (eyes / "bad.png").unlink()
    foveate(eyes, "--on", "local")

    code, out, _ = foveate(eyes, "--on", "local", "--resume", "--json")

    record = json.loads(out)
    assert code == 0
    assert (record["ok"], record["done_before"], record["failed"], record["skipped"]) == (2, 2, 0, 1)
    assert foveate(eyes, "--on", "local", "--json")[0] == 1
    assert "already contains" in json.loads(foveate(eyes, "--on", "local", "--json")[1])["error"]


def test_a_shard_writes_no_tables_and_says_how_to_get_them(foveate, eyes, tmp_path):
    code, out, _ = foveate(eyes, "--on", "local", "--resume", "--shard", "1/2", "--tries", 1)

    assert code in (0, 1)
    assert "run the same command without --shard to write the tables" in out
    assert not (tmp_path / "out" / "summary.csv").exists()


def test_a_plan_prints_the_cost_of_a_run_and_writes_nothing(foveate, eyes, tmp_path):
    code, out, _ = foveate(eyes, "--plan", "--workers", 7)

    assert code == 0
    assert out.startswith("3 photographs, ")
    assert re.search(r"^\d+\.\d\d s a photograph \(\d.* s, 2 photographs measured on this machine", out, re.M)
    for executor in ("1 worker", "7 workers", "10 workers", "1,000 workers"):
        assert re.search(rf"^ *{executor}: \d+ s$", out, re.M)
    assert not (tmp_path / "out").exists()
    record = json.loads(foveate(eyes, "--plan", "--json")[1])
    assert (record["photographs"], record["left"]) == (3, 3)
    assert set(record["hours"]) == {"1", "10", "100", "1000"}


def test_a_plan_of_a_finished_run_says_that_nothing_is_left(foveate, eyes):
    (eyes / "bad.png").unlink()
    foveate(eyes, "--on", "local")

    code, out, _ = foveate(eyes, "--plan", "--resume")

    assert code == 0
    assert re.fullmatch(r"2 photographs, 2 of them done already, .*\nnothing is left to do\n", out)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b --on local", "2 paths; give one folder"),
        ("nowhere --on local", "nowhere is no folder"),
        ("eyes --log x", "--log is for a run by workers"),
        ("eyes --tries 2", "--tries is for a run by workers"),
        ("eyes --shard 1/2", "--shard is for a run by workers"),
        ("eyes --on local --shard 1/2", "--shard needs --resume"),
        ("s3://bucket/eyes", "s3://bucket/eyes: buckets need workers; give --on local"),
        ("gs://bucket/eyes", "gs://bucket/eyes: is not on this machine"),
        ("eyes --on local --dicom seg", "--dicom: workers write no DICOM objects"),
        *[
            (f"eyes --on local --resume --shard {text}", "give I/N")
            for text in ("0/2", "3/2", "2", "a/b", "1/0")
        ],
    ],
)
def test_contradictory_options_are_exit_code_2(foveate, eyes, monkeypatch, line, message):
    monkeypatch.chdir(eyes.parent)

    code, out, err = foveate(*line.split())

    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (
            "s3://bucket/out",
            "--out s3://bucket/out: buckets need workers; give --on local or --on ray://HOST",
        ),
        ("gs://bucket/out", "--out gs://bucket/out: is not on this machine; give a path"),
    ],
)
def test_a_bucket_for_results_without_workers_is_refused_and_no_folder_is_made(
    foveate, eyes, monkeypatch, out, message
):
    monkeypatch.chdir(eyes.parent)

    code, printed, err = foveate("eyes", out=out)

    assert (code, printed) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in eyes.parent.iterdir()] == ["eyes"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--on slurm", "on is slurm; give local"),
        ("--on local --workers 0", "workers is 0; give 1 or more"),
        ("--on local --tries 0", "tries is 0; give 1 or more"),
    ],
)
def test_an_invalid_value_is_exit_code_1_and_one_line(foveate, eyes, line, message):
    code, out, err = foveate(eyes, *line.split())

    assert (code, out) == (1, "")
    assert message in err


def test_an_unknown_kind_of_address_is_refused(foveate, eyes, tmp_path):
    code, _, err = foveate("gs://bucket", "--on", "local")
    assert (code, err) == (
        1,
        "foveate: gs://bucket: gs:// is not supported; give a folder or s3://BUCKET/PREFIX\n",
    )


def test_without_the_extra_it_says_what_to_install(foveate, eyes, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("foveate.cluster.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    code, _, err = foveate(eyes, "--on", "local")

    assert (code, err) == (
        1,
        "foveate: --on needs pyarrow, which is not installed; pip install 'foveate[cluster]'\n",
    )


def test_a_status_is_one_line():
    early = status(total=60_000, done_before=20_000, ok=10_000, workers=12, seconds=36_000.0)
    assert cluster.format_status(early) == (
        "30,000/60,000 photographs, 20,000 of them by earlier runs, 12 workers, 16.7 a minute, "
        "30 h 00 min left"
    )
    late = status(total=9, ok=8, failed=1, retries=2, workers_lost=1, workers=2, seconds=9.0)
    assert cluster.format_status(late) == (
        "9/9 photographs, 1 failed, 2 tried again, 1 worker lost, 2 workers, 60.0 a minute"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (5930, "99 min"), (11_100, "3 h 05 min")],
)
def test_durations_have_few_words(seconds, text):
    assert quantities.format_duration(float(seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3e12, "3.0 TB")]
)
def test_sizes_have_few_words(count, text):
    assert quantities.format_size(float(count)) == text
