"""Runs that lost work or ended in a traceback: each row is one report, and what is right.

A new report becomes a row: a name, and a command line or a function that makes its files.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

import tiny_layouts
import tiny_package

from foveate import cli


@pytest.fixture
def place(tmp_path, model, monkeypatch):
    """Make a folder of photographs, a model and a set, and work in the folder that holds them."""
    for number in range(3):
        tiny_package.photograph(tmp_path / "eyes" / f"{number}.png", seed=number)
    shutil.copytree(model, tmp_path / "tiny")
    tiny_layouts.leaves(tmp_path / "own")
    shutil.copytree(tmp_path / "own/masks", tmp_path / "own/maps")
    tiny_layouts.mask(tmp_path / "own/maps/leaf2_SPOT.png", ((150, 60),))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(out):
    """Return path -> content of every file of a run but run.json, which holds times."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


# ---- M: whoever reads the output goes away


COMMANDS = {
    "predict": ("predict eyes --out out --model tiny --threads 1", 0, "out/summary.csv"),
    "predict --json": ("predict eyes --out out --model tiny --threads 1 --json", 0, "out/index.html"),
    "predict with an error": ("predict eyes --out out --model none --json", 1, ""),
    "predict --on": (
        "predict eyes --out out --model tiny --on local --engine onnx",
        0,
        "out/summary.parquet",
    ),
    "predict --on --json": ("predict eyes --out out --model tiny --on local --json", 0, "out/run.json"),
    "predict --plan": ("predict eyes --out out --model tiny --plan", 0, ""),
    "evaluate": (
        "evaluate --data own --layout own/leaves.toml --split train --predictions own/maps --out out",
        0,
        "out/report.html",
    ),
    "data check": ("data check own --layout own/leaves.toml --out out", 0, "out/check.json"),
    "data split": ("data split own --layout own/leaves.toml --folds 2 --out out.json", 0, "out.json"),
    "models": ("models", 0, ""),
    "models show": ("models show tiny", 0, ""),
    "dicom key": ("dicom key out.key", 0, "out.key"),
    "a command that does not exist": ("nothing", 2, ""),
    "help": ("predict --help", 0, ""),
    "version": ("--version", 0, ""),
}


@pytest.fixture
def leave():
    """Return a function that puts streams without a reader in place of others, as `| head` does."""
    streams = []

    def put(monkeypatch, *names):
        for name in names:
            reader, writer = os.pipe()
            os.close(reader)
            streams.append(os.fdopen(writer, "w", encoding="utf-8"))
            monkeypatch.setattr(sys, name, streams[-1])

    yield put
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("streams", [("stdout",), ("stdout", "stderr")], ids=" and ".join)
@pytest.mark.parametrize("command", COMMANDS)
def test_m_a_reader_that_goes_away_stops_no_work(place, monkeypatch, leave, command, streams):
    line, code, file = COMMANDS[command]
    leave(monkeypatch, *streams)

    assert cli.run(line.split()) == code

    assert (place / file).exists()


def test_m_training_goes_on_as_well(tmp_path, monkeypatch, leave):
    pytest.importorskip("torch")
    import tiny_set

    from foveate.training import recipes
    from foveate.training.recipe import STAGES

    tiny_set.write(tmp_path / "set")
    recipe = tiny_set.recipe(split=None, any_lesions=True)
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: recipe})
    (tmp_path / "folds.json").write_text('{"folds": {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}}')
    leave(monkeypatch, "stderr")
    line = ["train", "tiny", "--data", tmp_path / "set", "--out", tmp_path / "run", "--fold", 1]
    line += ["--split", tmp_path / "folds.json", "--threads", 1]
    line += [f"--set=stages.{stage}.steps=2" for stage in STAGES]

    assert cli.run([str(argument) for argument in line]) == 0

    assert {path.name for path in tmp_path.glob("run/*.csv")} >= {f"{stage}.csv" for stage in STAGES}


def test_m_serving_goes_on_as_well(place, monkeypatch, leave):
    pytest.importorskip("fastapi")
    from foveate.server.http import serving

    addresses = []

    def serve(options, started):
        started("http://127.0.0.1:8000")
        addresses.append(options.port)

    monkeypatch.setattr(serving, "serve", serve)
    leave(monkeypatch, "stdout")

    assert cli.run(["serve", "--data", "data", "--model", "tiny"]) == 0
    assert addresses == [8000]


PIPELINES = {
    "2>&1 | head -1": 0,
    "--json | true": 0,
    "2>&-": 0,
    ">&- 2>&-": 0,
    "<&- >&- 2>&-": 0,
    "2>/dev/full": 0,
    "2>/dev/full >/dev/full": 1,
    "--json >/dev/full": 1,
}
"""What follows the command in the shell, and its exit code: 1 if the file it prints to is not whole."""


@pytest.mark.parametrize(("pipeline", "code"), PIPELINES.items())
def test_m_in_a_shell_everything_is_written_and_no_traceback_is_seen(place, pipeline, code):
    plain = "predict eyes --model tiny --threads 1 --out"
    assert cli.run([*plain.split(), "plain"]) == 0
    command = f"{shlex.quote(sys.executable)} -m foveate {plain} out"
    script = (
        f"({command} {pipeline.partition('|')[0]}; echo $? > code) {''.join(pipeline.partition('|')[1:])}"
    )

    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    assert contents(place / "out") == contents(place / "plain")
    assert (place / "code").read_text() == f"{code}\n"
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stdout + done.stderr


# ---- N: one bad file


def link_to_itself(folder):
    (folder / "bad.png").symlink_to(folder / "bad.png")


def link_to_nothing(folder):
    (folder / "bad.png").symlink_to(folder / "gone.png")


def empty_file(folder):
    (folder / "bad.png").touch()


def pipe(folder):
    os.mkfifo(folder / "bad.png")


BAD_FILES = [link_to_itself, link_to_nothing, empty_file, pipe]


def summary(out):
    lines = (out / "summary.csv").read_text().splitlines()[1:]
    return {line.split(",")[0][:3]: line.split(",")[1] for line in lines}


@pytest.mark.parametrize("paths", ["eyes", "eyes/*", "eyes --on local --tries 1"])
@pytest.mark.parametrize("write_bad_file", BAD_FILES)
def test_n_a_bad_file_fails_by_name_and_the_others_are_done(place, capsys, write_bad_file, paths):
    write_bad_file(place / "eyes")

    code = cli.run(["predict", *paths.split(), "--out", "out", "--model", "tiny", "--engine", "onnx"])

    assert code == 1
    assert summary(place / "out") == {"0": "ok", "1": "ok", "2": "ok", "bad": "failed"}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("letter", "on"), [("l", ""), ("é", "--on local"), ("眼", "")])
def test_n_photographs_with_names_of_250_bytes_are_predicted_under_shorter_ones(place, letter, on):
    width = len(letter.encode())
    names = [f"{letter * (248 // width - 1)}{end}.png" for end in "ab"]
    for number, name in enumerate(names):
        shutil.copy(place / "eyes" / f"{number}.png", place / "eyes" / name)
    line = f"predict eyes --out out --model tiny --engine onnx --format tiff {on}"

    assert cli.run(line.split()) == 0

    results = [path.name for path in place.glob("out/regions/*.json")]
    assert len(results) == 5
    shortened = [name for name in results if name.startswith(letter)]
    assert all(re.fullmatch(rf"{letter}+~[0-9a-f]{{8}}\.json", name) for name in shortened)
    assert len(shortened) == 2
    assert cli.run([*line.split(), "--resume"]) == 0


@pytest.mark.parametrize("on", [[], ["--on", "local", "--tries", "1"]], ids=["alone", "--on"])
def test_n_a_folder_that_may_not_be_listed_fails_by_name_and_the_others_are_done(place, monkeypatch, on):
    (place / "eyes" / "lost+found").mkdir()
    list_folder, scan_folder = Path.iterdir, os.scandir

    def refuse(folder):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", lambda folder: refuse(folder) or list_folder(folder))
    monkeypatch.setattr(os, "scandir", lambda folder=".": refuse(folder) or scan_folder(folder))

    code = cli.run(["predict", "eyes", "--out", "out", "--model", "tiny", "--engine", "onnx", *on])

    assert code == 1
    assert summary(place / "out") == {"0": "ok", "1": "ok", "2": "ok", "los": "failed"}


def test_n_a_bug_that_one_photograph_brings_out_fails_it_by_name(place, monkeypatch, capsys):
    from foveate.inference import photograph_job

    segment = photograph_job.segment
    calls = iter(range(9))

    def broken(*arguments, **options):
        if next(calls) == 1:
            raise ValueError("an impossible\nstudy date")
        return segment(*arguments, **options)

    monkeypatch.setattr(photograph_job, "segment", broken)
    line = "predict eyes --out out --model tiny --workers 1"

    assert cli.run(line.split()) == 1

    assert summary(place / "out") == {"0": "ok", "1": "failed", "2": "ok"}
    assert "ValueError in test_running.py" in capsys.readouterr().err


# ---- H: results of an earlier run in the folder of photographs, for workers


def test_h_workers_leave_out_the_results_of_an_earlier_run(place):
    line = "predict eyes --model tiny --on local --engine onnx --out"
    for out in ("eyes/r1", "eyes/r2"):
        assert cli.run([*line.split(), out]) == 0

    assert summary(place / "eyes/r2") == {"0": "ok", "1": "ok", "2": "ok"}
