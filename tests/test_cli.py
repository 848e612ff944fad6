"""The command line: exit codes, one line for an error, and JSON for programs."""

import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny_package
from PIL import Image

from foveate import cli, models
from foveate.cli import options, progress, signals
from foveate.inference.batch import Progress
from foveate.writers import SummaryRow


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("a.png", "clinic/b.png")):
        tiny_package.photograph(tmp_path / "photos" / name, seed=number)
    return tmp_path / "photos"


@pytest.fixture
def foveate(capsys):
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def files_of(out):
    """Return path -> content of every file but run.json, which holds times."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_predict_writes_everything_and_says_where_the_results_are(foveate, folder, model, tmp_path):
    (folder / "notes.txt").write_text("no photograph")

    code, out, err = foveate("predict", folder, "--out", tmp_path / "out", "--model", model, "--threads", 1)

    assert code == 0
    assert err == "[1/2] a: ok\n[2/2] clinic/b: ok\n"
    assert "2 photographs done, 1 other file skipped" in out
    assert re.search(
        r"photographs a minute.*: reading [\d.]+ s, inference [\d.]+ s, writing [\d.]+ s each", out
    )
    assert f"Look at {tmp_path / 'out' / 'index.html'}" in out
    assert "not a medical device" in out
    for folder_name in ("maps", "masks", "overlays", "regions"):
        assert (tmp_path / "out" / folder_name / "clinic").is_dir()
    assert {"summary.csv", "run.json", "index.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_failure_is_one_line_on_stderr_and_exit_code_1(foveate, folder, model, tmp_path):
    (folder / "a.png").write_bytes(b"")

    code, out, err = foveate("predict", folder, "--out", tmp_path / "out", "--model", model)

    assert code == 1
    first, second = err.splitlines()
    assert first.startswith(f"[1/2] failed: {folder / 'a.png'}: the file is empty; ")
    assert second == "[2/2] clinic/b: ok"
    assert "1 photograph done, 1 failed" in out


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        cv2.error("OpenCV(4.12.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
)
def test_memory_that_runs_out_is_one_line(foveate, monkeypatch, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "app", fail)

    assert foveate("models", "list")[::2] == (
        1,
        "foveate: not enough memory; free some, or use fewer workers or smaller photographs\n",
    )


def test_a_bug_is_raised_as_it_is(foveate, monkeypatch):
    def fail(arguments):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(cli, "app", fail)

    with pytest.raises(RuntimeError, match="shapes differ"):
        foveate("models", "list")


def test_json_is_one_object_on_stdout(foveate, folder, model, tmp_path):
    (folder / "bad.png").write_bytes(b"")

    code, out, err = foveate("predict", folder, "--out", tmp_path / "out", "--model", model, "--json")

    record = json.loads(out)
    assert code == 1
    assert (record["ok"], record["failed"], record["skipped"]) == (2, 1, 0)
    assert record["index"] == str(tmp_path / "out" / "index.html")
    good, bad, _ = record["photographs"]
    assert good["photograph"] == "a"
    assert good["error"] is None
    assert set(good["lesions"]) == {"EX", "MA"}
    assert set(good["lesions"]["EX"]) == {"count", "area_px", "area_fraction", "area_mm2"}
    assert set(record["seconds_of"]) == {"reading", "inference", "writing"}
    assert (bad["status"], bad["lesions"]) == ("failed", {})
    assert "the file is empty" in bad["error"]
    assert "failed" in err


def test_json_holds_the_error_if_nothing_could_be_done(foveate, folder, tmp_path):
    code, out, err = foveate("predict", folder, "--out", tmp_path / "out", "--model", "nothing", "--json")

    assert code == 1
    assert err == f"foveate: {json.loads(out)['error']}\n"


def test_options_reach_the_run(foveate, folder, model, tmp_path):
    out = tmp_path / "out"
    code, _, _ = foveate(
        *(
            "predict",
            folder / "a.png",
            "--out",
            out,
            "--model",
            model,
            "--lesions",
            "EX",
            "--threshold",
            "EX=0.25",
        ),
        *("--format", "npz", "--region", "whole", "--field", "150,150.5,110", "--engine", "onnx"),
    )

    assert code == 0
    assert json.loads((out / "run.json").read_text())["settings"] == {
        "region": "whole",
        "field": [150.0, 150.5, 110.0],
        "lesions": ["EX"],
        "thresholds": {"EX": 0.25},
        "effort": "full",
        "engine": "onnxruntime float32",
        "format": "npz",
    }
    assert [path.name for path in (out / "maps").iterdir()] == ["a_EX.npz"]


def test_best_effort_is_offered_for_a_model_of_small_windows_and_recorded(foveate, folder, model, tmp_path):
    line = ("predict", folder / "a.png", "--model", model, "--engine", "onnx")
    assert foveate(*line, "--out", tmp_path / "full")[0] == 0

    code, out, _ = foveate(*line, "--out", tmp_path / "best", "--effort", "best")

    assert code == 0
    assert "1 photograph done" in out
    record = json.loads((tmp_path / "best" / "run.json").read_text())
    assert record["settings"]["effort"] == "best"
    maps = [np.array(Image.open(tmp_path / name / "maps" / "a_EX.png"), int) for name in ("full", "best")]
    assert maps[0].any()
    assert np.abs(maps[0] - maps[1]).max() <= 1  # the tiny network is of 1x1 convolutions


def test_a_folder_with_results_needs_resume(foveate, folder, model, tmp_path):
    line = ("predict", folder, "--out", tmp_path / "out", "--model", model)
    assert foveate(*line)[0] == 0
    before = files_of(tmp_path / "out")

    code, out, err = foveate(*line)
    assert (code, out) == (1, "")
    assert "--resume" in err
    code, out, _ = foveate(*line, "--resume")

    assert code == 0
    assert "2 photographs done, 2 of them by an earlier run" in out
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--field 1,2",
        "--field 1,2,x",
        "--field 1,2,nan",
        "--field somewhere",
        "--lesions EX,,MA",
        "--lesions ,",
        "--threshold EX",
        "--threshold EX=",
        "--threshold =0.4",
        "--threshold EX=a",
        "--threshold EX=0.4,EX=0.5",
        "--format gif",
        "--region nowhere",
        "--threads many",
        "--engine abacus",
        "--precision float8",
        "--effort some",
        "--workers many",
        "--bogus",
        "--out twice",
    ],
)
def test_a_misspelt_option_is_exit_code_2_and_one_line(foveate, tmp_path, line):
    paths = [] if line == "" else ["photos"]

    code, out, err = foveate("predict", *paths, "--out", tmp_path / "out", *line.split())

    assert (code, out) == (2, "")
    assert re.fullmatch(r"foveate: .+ See foveate predict --help\.\n", err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "evaluate --data photos --out s3://bucket/x",
        "data check photos --out s3://bucket/x",
        "data split photos --out s3://bucket/x",
        "dicom pull http://host --study 1 --out s3://bucket/x",
        "dicom watch http://host --out s3://bucket/x",
        "dicom key s3://bucket/x",
        "train tiny-task --data photos --out s3://bucket/x",
        "release tiny-task --data photos --run run --to s3://bucket/x",
        "release tiny-task --data photos --run s3://bucket/x --to to",
        "programme tiny-task --data photos --fold 1 --out s3://bucket/x",
        "compare tiny-task --data photos --out s3://bucket/x",
        "compare tiny-task --data photos --out out --run s3://bucket/x",
        "serve --data s3://bucket/x",
    ],
)
def test_an_address_where_a_command_writes_to_this_machine_is_exit_code_2(
    foveate, tmp_path, monkeypatch, line
):
    monkeypatch.chdir(tmp_path)

    code, out, err = foveate(*line.split())

    assert (code, out) == (2, "")
    assert err == (
        "foveate: s3://bucket/x: is not on this machine; give a path. Only predict --on uses buckets. "
        f"See foveate {re.match(r'[a-z]+( check| split| pull| watch| key)?', line)[0]} --help.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("predict photos --out {}", "--out"),
        ("predict photos --on local --out {}", "--out"),
        ("predict photos {} --out out", "PATH"),
        ("evaluate --data photos --out {}", "--out"),
        ("data check photos --out {}", "--out"),
        ("data split photos --out {}", "--out"),
        ("dicom pull http://host --study 1 --out {}", "--out"),
        ("dicom key {}", "the path"),
        ("train tiny-task --data photos --out {}", "--out"),
        ("release tiny-task --data photos --run run --to {}", "--to"),
        ("serve --data {}", "--data"),
        ("serve --root photos --root {}", "--root"),
        ("serve --token-file {}", "--token-file"),
        ("data check {}", "the path"),
        ("data split {} --out folds.json", "the path"),
        ("dicom push {} http://host", "the path"),
        ("evaluate --data {} --out out", "--data"),
        ("evaluate --data photos --predictions {} --out out", "--predictions"),
        ("predict photos --out out --dicom seg --deidentify {}", "--deidentify"),
        ("train tiny-task --data photos --out out --split {}", "--split"),
        ("train tiny-task --data photos --out out --healthy {}", "--healthy"),
        ("release tiny-task --data photos --run run --to out --judged-by {}", "--judged-by"),
    ],
)
def test_an_empty_path_is_not_taken_for_the_current_folder(foveate, tmp_path, monkeypatch, line, name):
    monkeypatch.chdir(tmp_path)

    code, out, err = foveate(*(word.format("") for word in line.split()))

    assert (code, out) == (2, "")
    assert err == (
        f"foveate: {name} is empty, as from a variable that is not set; give a path. "
        f"See foveate {re.match(r'[a-z]+( check| split| pull| push| key)?', line)[0]} --help.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("predict photos", "predict: --out is missing."),
        ("dicom pull http://host --study 1", "dicom pull: --out is missing."),
        ("train", "train: RECIPE is missing."),
    ],
)
def test_what_is_missing_on_a_command_line_is_named(foveate, line, said):
    code, out, err = foveate(*line.split())

    assert (code, out) == (2, "")
    command = said.partition(":")[0]
    assert err == f"foveate: {said} See foveate {command} --help.\n"


@pytest.mark.parametrize("line", ["bogus", "predict photos", "models show", "models bogus", "--bogus"])
def test_an_unknown_or_incomplete_command_is_exit_code_2(foveate, line):
    code, out, err = foveate(*line.split())

    assert (code, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--lesions SE", "'SE' is unknown to this model; it knows EX, MA"),
        ("--threshold EX=1.5", "threshold EX=1.5; give a probability"),
        ("--threads 0", "threads is 0"),
        ("--effort fast", "cannot select windows for effort fast; choose --effort full"),
        ("--engine onnx --precision bf16", "engine onnx computes in float32 only"),
        ("--model nothing", "nothing: no such model package"),
    ],
)
def test_an_unsuitable_value_is_exit_code_1_and_one_line(foveate, model, tmp_path, line, message):
    model_option = () if "--model" in line else ("--model", model)

    code, out, err = foveate("predict", "photos", "--out", tmp_path / "out", *model_option, *line.split())

    assert (code, out) == (1, "")
    assert err.startswith("foveate: ")
    assert message in err
    assert err.count("\n") == 1


BARRED = """
import sys
from foveate import cli

for line in sys.argv[1:]:
    print(line.split()[0], cli.run(line.split()), file=sys.stderr)
"""


@pytest.fixture
def barred(tmp_path):
    """Return a folder that may not be entered, and the command that runs Python without root's privileges."""
    setpriv = shutil.which("setpriv")
    if sys.platform != "linux" or (os.geteuid() == 0 and setpriv is None):
        pytest.skip("needs Linux, and as root also setpriv")
    python = [sys.executable]
    if os.geteuid() == 0:
        python = [setpriv, "--bounding-set=-dac_override,-dac_read_search", *python]
    tiny_package.photograph(tmp_path / "barred" / "a.png")
    (tmp_path / "barred").chmod(0)
    yield tmp_path / "barred", python
    (tmp_path / "barred").chmod(0o755)


@pytest.mark.parametrize(
    "line",
    [
        "predict {photos} --out {nul} --model {model}",
        "predict {nul}/*.png --out {out} --model {model}",
        "predict {photos} --out {nul} --model {model} --on local",
        "predict {photos} --out {out} --model {model} --on local --log {nul}",
        "predict {photos} --out {out} --model {model} --dicom seg --deidentify {nul}",
        "data check {nul}",
        "evaluate --data {nul} --out {out}",
        "train tiny-task --data {nul} --out {out}",
        "models show {nul}",
        "serve --data {nul} --model {model}",
        "serve --data {out} --token-file {nul}",
        "dicom key {nul}",
        "dicom watch http://127.0.0.1:9 --out {nul}",
    ],
)
def test_a_null_character_in_a_path_is_an_error_of_one_line(foveate, folder, model, tmp_path, line):
    places = {"photos": folder, "out": tmp_path / "out", "model": model, "nul": tmp_path / "a\0b"}

    code, _, err = foveate(*(word.format_map(places) for word in line.split()))

    assert code in {1, 2}
    assert re.fullmatch(r"foveate: .*a(\\x00|\x00)b.*[;:] .*\n", err)


def test_what_cannot_be_reached_is_named_in_one_line(folder, model, tmp_path, barred):
    closed, python = barred
    layout = tmp_path / "own.toml"
    layout.write_text(
        '[lesions]\nEX="x"\n[splits.train]\nphotographs="photos/**/*"\nmasks="masks/{name}"\n', "utf-8"
    )
    (tmp_path / "masks").mkdir()
    own = f"--layout {layout} --split train"
    lines = (
        (f"predict {closed}/a.png --out {tmp_path}/o --model {model}", f"{closed}/a.png"),
        (f"predict {closed} --out {tmp_path}/o --model {model}", f"{closed}: the folder cannot be listed"),
        (f"predict {closed}/in --out {tmp_path}/o --model {model}", f"{closed}/in"),
        (f"predict {folder} --out {closed}/o --model {model}", f"{closed}/o: cannot be written"),
        (f"predict {folder} --out {tmp_path}/o --model {closed}/m", f"{closed}/m"),
        (f"predict {'a' * 300} --out {tmp_path}/o --model {model}", "a" * 300),
        (f"models show {closed}/m", f"{closed}/m"),
        (f"data check {closed}/set", f"{closed}/set"),
        (f"data check {tmp_path} {own} --out {closed}/o", f"{closed}/o: cannot be written"),
        (f"data split {tmp_path} {own} --folds 2 --out {closed}/o.json", f"{closed}: cannot be written"),
        (f"evaluate --data {tmp_path} {own} --predictions {closed}/m --out {tmp_path}/e", f"{closed}/m"),
        (f"evaluate --data {tmp_path} {own} --predictions {closed} --out {tmp_path}/e", f"{closed}: the"),
        (f"evaluate --data {closed}/set --out {tmp_path}/e", f"{closed}/set"),
        (
            f"evaluate --data {tmp_path} --layout {layout} --split {closed}/f --out {tmp_path}/e",
            f"{closed}/f",
        ),
    )

    done = subprocess.run(
        [*python, "-c", BARRED, *(line for line, _ in lines)], capture_output=True, text=True, check=False
    )

    printed = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert printed[1::2] == [f"{line.split()[0]} 1" for line, _ in lines], done.stderr
    for message, (_, expected) in zip(printed[::2], lines, strict=True):
        assert message.startswith("foveate: ")
        assert expected in message


def test_an_evaluation_leaves_no_photograph_out_because_its_folder_cannot_be_listed(
    folder, model, tmp_path, barred
):
    closed, python = barred
    closed.rename(folder / "closed")
    layout = tmp_path / "own.toml"
    layout.write_text(
        '[lesions]\nEX="x"\n[splits.train]\nphotographs="photos/**/*"\nmasks="masks/{name}"\n', "utf-8"
    )
    (tmp_path / "masks").mkdir()
    own = f"{tmp_path} --layout {layout} --split train"

    done = subprocess.run(
        [*python, "-c", BARRED, f"evaluate --data {own} --out {tmp_path}/out --model {model}"],
        capture_output=True,
        text=True,
        check=False,
    )

    (folder / "closed").rename(closed)
    assert f"foveate: {folder}/closed: the folder cannot be listed (Permission denied)" in done.stderr
    assert "evaluate 1" in done.stderr


def test_photographs_that_cannot_be_reached_fail_by_name_and_the_others_are_done(
    folder, model, tmp_path, barred
):
    closed, python = barred
    closed.rename(folder / "closed")
    (folder / "half").mkdir()
    tiny_package.photograph(folder / "half" / "c.png")
    (folder / "half").chmod(0o444)  # it may be listed, but its files may not be read

    done = subprocess.run(
        [*python, "-c", BARRED, f"predict {folder} --out {tmp_path}/out --model {model}"],
        capture_output=True,
        text=True,
        check=False,
    )

    (folder / "half").chmod(0o755)
    (folder / "closed").rename(closed)
    assert "predict 1" in done.stderr
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        status = {row["photograph"]: row["status"] for row in csv.DictReader(file)}
    assert status == {"a": "ok", "clinic/b": "ok", "closed": "failed", "half/c": "failed"}


def test_an_altered_model_is_refused_by_name(foveate, folder, tmp_path):
    model = tiny_package.build(tmp_path / "tiny")
    (model / "local.onnx").write_bytes((model / "local.onnx").read_bytes() + b"\0")

    code, _, err = foveate("predict", folder, "--out", tmp_path / "out", "--model", model)

    assert code == 1
    assert f"{model / 'local.onnx'}: was altered" in err
    assert not (tmp_path / "out").exists()


def test_codes_thresholds_and_fields_are_parsed():
    assert options.parse_codes(None) is None
    assert options.parse_codes("EX, MA") == ("EX", "MA")
    assert options.parse_thresholds(None) == {}
    assert options.parse_thresholds("EX=0.4, MA=.3") == {"EX": 0.4, "MA": 0.3}
    assert options.parse_field("auto") == "auto"
    assert options.parse_field("full") == "full"
    assert options.parse_field("1424,2144.5,-3") == (1424.0, 2144.5, -3.0)


def test_models_lists_the_shipped_packages(foveate, model, monkeypatch):
    monkeypatch.setattr("foveate.models.package._shipped_folder", lambda: model.parent)

    code, out, _ = foveate("models")

    assert code == 0
    assert re.search(r"^tiny +1\.0 +\d+\.\d +EX not stated, MA not stated *$", out, re.MULTILINE)


def test_a_copy_without_models_says_so(foveate, tmp_path, monkeypatch):
    monkeypatch.setattr("foveate.models.package._shipped_folder", lambda: tmp_path)

    assert "no model package comes with this copy" in foveate("models")[1]


def test_models_show_prints_what_a_package_says_about_itself(foveate, model):
    code, out, _ = foveate("models", "show", model)

    assert code == 0
    for part in (
        "tiny 1.0 (Apache-2.0",
        "For tests; finds nothing in an eye.",
        "EX hard exudates   0.5 ",
        "The package states no scores.",
        "Trained on: photographs that it does not name\n",
        "Data: none, none, nobody\n",
        "Input: a global view of ",
        "Efforts: best, full",
    ):
        assert part in out


def test_models_show_prints_the_scores_that_a_package_states(foveate):
    code, out, _ = foveate("models", "show", "idrid")

    assert code == 0
    assert re.search(r"^EX hard exudates +0\.4062 +47 +12 +0\.833 \(0\.758 to 0\.863\)$", out, re.MULTILINE)
    assert "Scored on 11 photographs held back from training; 95 % intervals. The network was then" in out
    assert (
        "Trained on: 54 photographs and 40 healthy eyes, recipe idrid, starting from idrid 2-fold-1\n" in out
    )
    assert max(map(len, out.splitlines()[3:8])) <= 80


def test_models_show_names_the_package_whose_scores_a_continued_training_keeps(foveate, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "continued")
    validation = {
        "photographs": ["a", "b"],
        "learned_from_them": ["a"],
        "network": {"name": "parent", "version": "2"},
        "rows": {"fused": {"EX": {"average_precision": 0.5, "interval": [0.4, 0.6]}}},
    }
    models.with_present_files(models.load(folder), {"validation": validation})

    _, out, _ = foveate("models", "show", folder)

    assert "\nThe scores are those that parent 2 states, on 2 photographs held back from training; " in out
    assert "95 % intervals. The network was then trained on 1 of them as well.\n" in out


def test_models_show_prints_the_whole_manifest_for_programs(foveate, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "later")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"of a later version": "Überblick"}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    code, out, _ = foveate("models", "show", folder, "--json")

    assert code == 0
    assert json.loads(out) == manifest
    assert '"of a later version": "Überblick"' in out


class Stream(io.StringIO):
    """A stream of a terminal or a file, which may be one that cannot be written."""

    def __init__(self, *, is_terminal, error_number=0):
        super().__init__()
        self._is_terminal, self._error_number = is_terminal, error_number

    def isatty(self):
        return self._is_terminal

    def write(self, text):
        if self._error_number:
            raise OSError(self._error_number, os.strerror(self._error_number))
        return super().write(text)


@pytest.mark.parametrize(
    ("stream", "is_lost"),
    [
        ((False, errno.ENOSPC), True),
        ((False, errno.EDQUOT), True),
        ((False, errno.EFBIG), True),
        ((False, errno.EIO), True),
        ((True, errno.EIO), False),  # a terminal that was closed
        ((False, errno.EPIPE), False),
    ],
)
def test_output_that_is_lost_is_exit_code_1_unless_its_reader_is_gone(
    model, monkeypatch, capsys, stream, is_lost
):
    is_terminal, number = stream
    for line, code in ((["models", "show", str(model), "--json"], 0), (["models", "bogus"], 2)):
        monkeypatch.setattr(sys, "stdout", Stream(is_terminal=is_terminal, error_number=number))
        assert cli.run(line) == (code or int(is_lost))

    first = capsys.readouterr().err.splitlines()[0]
    reason = f"standard output cannot be written ({os.strerror(number)})"
    assert (first == f"foveate: {reason}; free some space, or send it elsewhere") == is_lost


NAME = "[/]\x1b[31mleft\neye"
"""A name that a terminal and rich would obey."""


def show_all():
    with progress.progress_display() as show:
        show(Progress(done=1, total=2, share=0.0, name=NAME, row=SummaryRow(name=NAME, status="ok")))
    with progress.case_display(2) as show:
        show(1, NAME)


def test_a_name_is_one_line_of_the_progress_and_no_command_of_the_terminal(capsys):
    show_all()

    assert capsys.readouterr().err == f"[1/2] {NAME!r}: ok\n[1/2] {NAME!r}\n"


def test_a_name_is_shown_beside_a_bar_as_it_is_in_lines(monkeypatch):
    terminal = Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")

    show_all()

    assert terminal.getvalue().count(repr(NAME)) >= 2
    assert "\x1b[31mleft" not in terminal.getvalue()


def test_help_and_version_are_exit_code_0(foveate):
    for line in (["--help"], ["predict", "--help"], ["models", "--help"], ["--version"], []):
        code, out, err = foveate(*line)
        assert (code, err) == (0, "")
        assert "foveate" in out.lower()


def test_help_imports_nothing_that_computes():
    code = (
        "import sys; from foveate.cli import run; run(['predict', '--help']); "
        "print([name for name in ('numpy', 'cv2', 'onnxruntime', 'PIL', 'torch') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


WAITING = """
import signal, sys, time
from foveate import cli
from foveate.inference import photograph_job

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def wait(*arguments, **callbacks):  # a photograph that never ends, with a report now and then
    sys.stdout.write("waiting\\n")  # in one piece, whoever else waits
    sys.stdout.flush()
    for _ in range(1200):
        time.sleep(0.05)
        for report_progress in callbacks.values():
            report_progress(0.0)

photograph_job.segment = wait
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    "signalled",
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "terminated")],
)
def test_an_interrupt_is_one_line_and_its_exit_code(folder, model, tmp_path, signalled, workers):
    number, word = signalled
    line = [sys.executable, "-c", WAITING, "predict", folder, "--out", tmp_path / "out", "--model", model]
    line += ["--workers", workers]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert out in ("", "waiting\n")  # the second worker's
    assert err == f"foveate: {word}; continue a run with --resume\n"
    assert (tmp_path / "out" / "summary.csv").read_text().startswith("photograph,status")


def test_a_terminated_command_leaves_nothing_of_a_zip(folder, model, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    zipped = shutil.make_archive(str(tmp_path / "tiny-zip"), "zip", model)
    line = [sys.executable, "-c", WAITING, "predict", folder, "--out", tmp_path / "out", "--model", zipped]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        assert list((tmp_path / "temporary").iterdir())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert not list((tmp_path / "temporary").iterdir())


def test_only_what_can_be_resumed_is_said_to_be(foveate, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("foveate.cli.models.print_model", interrupted)
    monkeypatch.setattr("foveate.cli.data.check_set", interrupted)
    for line in ("models show idrid", "data check set"):
        assert foveate(*line.split()) == (130, "", "foveate: interrupted\n")
    for command in cli.RESUMABLE:
        assert "--resume" in foveate(command, "--help")[1]
    assert "--resume" not in foveate("evaluate", "--help")[1]


ENDING = WAITING.replace(
    "photograph_job.segment = wait",
    """
from foveate import writers
from foveate.cli import signals

write_summary = writers.write_summary

def write_slowly(*arguments):
    print("ending", flush=True)
    time.sleep(1)
    write_summary(*arguments)

photograph_job.segment, writers.write_summary = wait, write_slowly
signals.GRACE_SECONDS = float(sys.argv.pop(1))
""",
)
"""A command that takes a second to end, and the time that it is given for that."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("grace", [600.0, 0.0])
def test_a_second_signal_ends_a_command_at_once_only_if_its_end_takes_long(
    folder, model, tmp_path, number, grace
):
    line = [sys.executable, "-c", ENDING, str(grace), "predict", folder, "--out", tmp_path / "out"]
    line += ["--model", model, "--workers", "2"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        while process.stdout.readline() != "ending\n":
            pass
        process.send_signal(number)
        _, err = process.communicate(timeout=60)

    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert process.returncode == 128 + number
    assert err == (f"foveate: {word}; continue a run with --resume\n" if grace else "")
    assert (tmp_path / "out" / "summary.csv").exists() == (grace > 0)


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.SignalHandler().installed():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_that_a_library_makes_another_error_of_is_an_interrupt(foveate, monkeypatch):
    def imported(arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr(cli, "app", imported)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert foveate("models") == (130, "", "foveate: interrupted\n")
    finally:
        signal.signal(signal.SIGINT, before)


IMPORTING = """
import runpy, sys

class Interrupted:
    def find_spec(self, name, *arguments):
        if name == "cyclopts":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
runpy.run_module("foveate", run_name="__main__")
"""


def test_an_interrupt_while_the_command_line_is_imported_is_one_line():
    done = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "foveate: interrupted\n")


def test_a_command_leaves_the_handling_of_signals_as_it_was(foveate):
    before = signal.getsignal(signal.SIGTERM)
    foveate("models")
    assert signal.getsignal(signal.SIGTERM) == before


def test_on_a_terminal_there_is_a_bar_and_failures_stand_above_it(folder, model, tmp_path):
    import pty

    (folder / "a.png").write_bytes(b"")
    reader, terminal = pty.openpty()
    line = [
        sys.executable,
        "-m",
        "foveate",
        "predict",
        str(folder),
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(model),
    ]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
        os.close(terminal)
        screen = b""
        while True:
            try:
                part = os.read(reader, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            screen += part
        process.communicate()
    os.close(reader)

    text = screen.decode(errors="replace")
    assert process.returncode == 1
    assert "failed: " in text
    assert "the file is empty" in re.sub(r"\s+", " ", text)
    assert "/2" in text
    assert "left" in text


RUNNER = """
import os, random, signal, sys
import foveate.cli, foveate.inference.api  # once, for all: what is killed below only computes and writes

photos, model, out, errors = sys.argv[1:]
random.seed(8)

def die_at(moment):
    moments = iter(range(10**9))
    def watch(event, arguments):  # each time a file is about to be opened, renamed or removed, a folder made
        if arguments and str(arguments[0]).startswith(out) and next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

killed = 0
for number in range(20):
    line = ["predict", photos, "--out", out, "--model", model, "--threads", "1", "--resume"]
    line += ["--lesions", "EX"] if number % 2 else []  # another setting: everything is to be done anew
    moment = random.randrange(400)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        die_at(moment)
        os._exit(foveate.cli.run(line))
    _, status = os.waitpid(child, 0)
    killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    print(number, flush=True)
    sys.stdin.readline()  # the test has checked the folder
print("killed:", killed)
"""
"""Kills a run by `kill -9` twenty times, each time between two other steps of its work on files."""


def references(photos, model, tmp_path):
    """Return the files of undisturbed runs with the two settings of RUNNER."""
    runs = []
    for number, lesions in enumerate(("EX,MA", "EX")):
        out = tmp_path / f"reference{number}"
        line = ["predict", photos, "--out", out, "--model", model, "--threads", 1, "--lesions", lesions]
        assert cli.run([str(argument) for argument in line]) == 0
        runs.append(files_of(out))
    return runs


def assert_nothing_is_half_done(out, runs):
    """Check that each file equals one of an undisturbed run and no finished photograph lacks a file."""
    current = {name: content for name, content in files_of(out).items() if not name.endswith(".part")}
    for name, content in current.items():
        if name not in ("summary.csv", "index.html"):
            assert content in [reference.get(name) for reference in runs], f"{name} is half-written"
    for name, content in current.items():
        if name.startswith("regions/") and name.endswith(".json"):
            key = name.removeprefix("regions/").removesuffix(".json")
            (reference,) = (reference for reference in runs if reference[name] == content)
            names = {path for path in reference if re.search(rf"/{key}[._]", path)}
            assert len(names) >= 8
            assert {path: current.get(path) for path in names} == {path: reference[path] for path in names}


def test_killed_at_any_moment_nothing_is_half_written_and_resume_finishes_the_rest(model, tmp_path, capsys):
    """`kill -9` twenty times; a setting changes from run to run, so that each has everything to do."""
    for number in range(4):
        tiny_package.photograph(tmp_path / "photos" / f"{number}.png", seed=number)
    photos, out = tmp_path / "photos", tmp_path / "out"
    runs = references(photos, model, tmp_path)
    line = [sys.executable, "-c", RUNNER, *(str(path) for path in (photos, model, out, tmp_path / "stderr"))]

    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runner:
        for number in range(20):
            assert runner.stdout.readline() == f"{number}\n"
            if out.exists():
                assert_nothing_is_half_done(out, runs)
            runner.stdin.write("\n")
            runner.stdin.flush()
        assert int(runner.stdout.readline().split(":")[1]) >= 15, "hardly any run was killed"
    assert "Traceback" not in (tmp_path / "stderr").read_text()

    resumed = ["predict", photos, "--out", out, "--model", model, "--threads", 1, "--resume"]
    assert cli.run([str(argument) for argument in resumed]) == 0
    assert files_of(out) == runs[0]
