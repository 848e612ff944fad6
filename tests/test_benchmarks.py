"""The programs in benchmarks/ that judge a model say in one line what they lack."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from test_evaluation_effort_cutoffs import synthetic_result

from foveate import metrics
from foveate.datasets.dr_grades import GradedPhotograph
from foveate.errors import TrainingError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
HEADER = "photograph,status,error,EX_count,EX_area_fraction"


def load(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def graded_eyes(monkeypatch):
    """The program, with three graded photographs in the test half."""
    program = load("graded_eyes")
    graded = [
        GradedPhotograph(name=name, photograph=Path(f"{name}.jpg"), grade=grade)
        for name, grade in (("one", 0), ("two", 2), ("three", 3))
    ]
    monkeypatch.setattr(program.dr_grades, "list_photographs", lambda folder: graded)
    monkeypatch.setattr(program.splits, "read", lambda path: {"one": 1, "two": 1, "three": 1})
    return program


def test_graded_eyes_without_results_are_left_out_and_if_none_has_any_it_is_said(graded_eyes, tmp_path):
    (tmp_path / "summary.csv").write_text(f"{HEADER}\none,ok,,2,0.1\ntwo,ok,,9,0.2\n")
    eyes = graded_eyes.read_eyes(tmp_path, tmp_path)
    assert [(eye.name, eye.grade, eye.regions) for eye in eyes] == [("one", 0, 2), ("two", 2, 9)]

    (tmp_path / "summary.csv").write_text(f"{HEADER}\nmine,ok,,2,0.1\n")
    with pytest.raises(SystemExit, match="has no results of a photograph in the test half of idrid-graded"):
        graded_eyes.read_eyes(tmp_path, tmp_path)


def test_an_area_that_depends_on_one_graded_eye_has_no_interval_and_that_of_one_group_no_value(graded_eyes):
    def eye(grade, burden):
        return graded_eyes.Eye(name="", grade=grade, counts={"EX": 1}, shares={"EX": burden})

    def auc(*eyes):
        return graded_eyes.auc(eyes, lambda eye: eye.burden)

    assert auc(eye(0, 0.1), eye(2, 0.2), eye(3, 0.3)) == "1.000"
    assert auc(eye(0, 0.1), eye(0, 0.1), eye(2, 0.2), eye(3, 0.3)) == "1.000 (1.000 to 1.000)"
    assert auc(eye(2, 0.2)) == auc(eye(1, 0.2)) == "-"


def test_average_precision_that_depends_on_one_photograph_has_no_interval():
    program = load("out_of_fold")
    levels = np.linspace(0, 1, 100).reshape(10, 10)
    sick = program.coarsen(metrics.histogram(levels, levels > 0.5))
    healthy = program.coarsen(metrics.histogram(levels / 2, np.zeros((10, 10), bool)))

    assert program.pooled_precision([sick, healthy]) == "1.0000"
    assert program.pooled_precision([sick, sick, healthy]) == "1.0000 (1.000 to 1.000)"


@pytest.mark.parametrize(
    ("name", "arguments", "runs"),
    [
        ("out_of_fold", ("tiny", "data", "fold-0", "fold-1"), ("fold-0", "fold-1")),
        ("reliability", ("tiny", "fold-0", "data", "out.svg"), ("fold-0",)),
    ],
)
def test_the_files_of_all_runs_are_read_before_the_hours_of_work(name, arguments, runs, monkeypatch):
    program, calls = load(name), []

    class Inputs:
        def __init__(self, shipped, validation_runs):
            self.shipped = shipped

        def check_files(self):
            calls.append(self.shipped)
            return ""

    def validate(inputs):
        raise TrainingError("the work begins")

    monkeypatch.setattr(program, "ReleaseInputs", Inputs)
    monkeypatch.setattr(program.release, "load_run", lambda recipe, run, *_: run.name)
    monkeypatch.setattr(program.release, "validate", validate)
    monkeypatch.setattr(program.recipes, "RECIPES", {"tiny": lambda: None})
    monkeypatch.setattr(program.layouts, "cases", lambda *_: ())
    monkeypatch.setattr(sys, "argv", [name, *arguments])

    with pytest.raises(TrainingError, match="the work begins"):
        program.main()

    assert calls == list(runs)


def test_crossed_figures_are_of_cutoffs_that_never_saw_their_photograph():
    program = load("gaze")
    results = [synthetic_result(seed, name=str(seed)) for seed in range(4)]

    outcome = program.cross_validate(results, "balanced")

    assert outcome is not None
    blind = replace(
        results[0], coarse={code: np.zeros_like(each) for code, each in results[0].coarse.items()}
    )
    shifted = program.cross_validate([blind, *results[1:]], "balanced")
    assert shifted is not None
    assert (
        shifted.covered["EX"] < outcome.covered["EX"]
    )  # no window of it is visited, though its own cut-offs would
