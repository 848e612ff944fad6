"""A run's stages in their order, on photographs that may be trained on."""

import json

import pytest
import tiny_set

from foveate.datasets import SET_ASIDE
from foveate.errors import DatasetError, TrainingError
from foveate.training import program, run
from foveate.training.program import Plan
from foveate.training.recipe import STAGES


@pytest.fixture
def plan(tmp_path):
    cases = tiny_set.write(tmp_path / "set")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_02": 2, "IDRiD_03": 0}}))
    return Plan(recipe=tiny_set.recipe(split=split), cases=cases, folder=tmp_path / "run", minutes=None)


def test_the_split_says_what_is_learned_from_and_what_is_held_back(plan):
    learned, held_back = program.divided(plan.recipe, plan.cases)

    assert [case.name for case in learned] == ["IDRiD_01", "IDRiD_02"]
    assert [case.name for case in held_back] == ["IDRiD_03"]


def test_a_photograph_that_is_in_no_fold_is_refused_by_name(plan):
    plan.recipe.split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_03": 0}}))

    with pytest.raises(DatasetError, match="IDRiD_02 is in no fold"):
        program.divided(plan.recipe, plan.cases)


def test_an_example_photograph_is_never_trained_on(plan):
    name = sorted(SET_ASIDE)[0]
    cases = [case if n else tiny_set.replace(case, name=name) for n, case in enumerate(plan.cases)]
    plan.recipe.split.write_text(json.dumps({"folds": {case.name: n % 2 for n, case in enumerate(cases)}}))

    with pytest.raises(TrainingError, match=f"{name} is an example photograph"):
        program.divided(plan.recipe, cases)


def test_all_photographs_of_the_examples_are_set_aside():
    from pathlib import Path

    examples = (Path(__file__).parents[1] / "examples").glob("*.jpg")

    assert {path.stem.removesuffix("_small") for path in examples} == SET_ASIDE


def test_stages_run_in_the_papers_order_and_a_finished_run_has_nothing_left_to_do(plan):
    seen = [stage for stage, _ in program.train(plan)]

    assert list(dict.fromkeys(seen)) == list(STAGES)
    assert all(run.is_finished(plan.folder, stage) for stage in STAGES)
    assert list(program.train(tiny_set.replace(plan, resume=True))) == []


def test_a_folder_that_holds_a_run_is_not_gone_on_with_unasked(plan):
    next(program.train(plan))

    with pytest.raises(TrainingError, match="--resume"):
        next(program.train(plan))


def test_held_back_photographs_are_never_laid_out(plan):
    next(program.train(plan))

    laid_out = {path.name.rsplit("-", 1)[0] for path in (plan.folder / program.SHEETS).iterdir()}

    assert laid_out == {"IDRiD_01", "IDRiD_02"}
