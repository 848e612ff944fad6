"""A run is trained on photographs that may be trained on, and holds back those of its fold."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_set

from foveate.datasets import SET_ASIDE
from foveate.errors import DatasetError, TrainingError
from foveate.training import run_split, runner


@pytest.fixture
def plan(tmp_path):
    return tiny_set.plan(tmp_path)


def test_the_split_says_what_is_trained_on_and_what_is_held_back(plan):
    training, held_back = run_split.split_cases(plan.recipe, plan.cases)

    assert [case.name for case in training] == ["IDRiD_01", "IDRiD_02"]
    assert [case.name for case in held_back] == ["IDRiD_03"]


def test_a_photograph_that_is_in_no_fold_is_refused_by_name(plan):
    plan.recipe.split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_03": 0}}))

    with pytest.raises(DatasetError, match="IDRiD_02 is in no fold"):
        run_split.split_cases(plan.recipe, plan.cases)


def test_an_example_photograph_is_never_trained_on(plan):
    name = sorted(SET_ASIDE)[0]
    cases = [case if n else tiny_set.replace(case, name=name) for n, case in enumerate(plan.cases)]
    plan.recipe.split.write_text(json.dumps({"folds": {case.name: n % 2 for n, case in enumerate(cases)}}))

    with pytest.raises(TrainingError, match=f"{name} is an example photograph"):
        run_split.split_cases(plan.recipe, cases)


@pytest.mark.parametrize("name", ["IDRiD_376_small", "examples_IDRiD_226", "IDRiD_339"])
def test_an_example_photograph_is_recognised_by_a_part_of_its_name(plan, name):
    with pytest.raises(TrainingError, match="is an example photograph"):
        run_split.split_cases(plan.recipe, [tiny_set.replace(plan.cases[0], name=name)])


def test_with_no_fold_held_back_all_photographs_are_learned_from(plan):
    recipe = tiny_set.replace(plan.recipe, held_back=None)
    assert run_split.split_cases(recipe, plan.cases) == (list(plan.cases), [])


def test_all_photographs_of_the_examples_are_set_aside():
    examples = (Path(__file__).parents[1] / "examples").glob("*.jpg")

    assert {path.stem.removesuffix("_small") for path in examples} == SET_ASIDE


def test_a_set_that_the_split_does_not_cover_is_refused_with_what_to_do(plan):
    plan.recipe.split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_03": 0}}))

    with pytest.raises(DatasetError, match=r"folds\.json: .*IDRiD_02.* --split .*foveate data split"):
        next(runner.train(plan))


def test_a_run_of_a_recipe_without_a_split_assigns_one_by_the_seed_and_keeps_it(plan, monkeypatch):
    calls = []

    def stratified(cases, lesions, count, seed):
        calls.append((lesions, count, seed))
        return {case.name: n for n, case in enumerate(cases)}

    monkeypatch.setattr(run_split.splits, "stratified", stratified)
    bare = tiny_set.replace(plan, recipe=replace(plan.recipe, split=None, held_back=2, seed=5))
    next(runner.train(bare))

    assert calls == [(tiny_set.CONTRACT.lesions, run_split.FOLDS, 5)]
    split = json.loads((plan.folder / "split.json").read_text())
    assert split["folds"] == {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}
    cached = {path.name.rsplit("-", 1)[0] for path in (plan.run.cache).iterdir()}
    assert cached == {"IDRiD_01", "IDRiD_02"}
    next(runner.train(tiny_set.replace(bare, resume=True)))
    assert len(calls) == 1  # a continued run keeps its folds


def test_training_on_all_of_few_photographs_needs_no_folds(plan):
    few = tiny_set.replace(plan, recipe=replace(plan.recipe, split=None, held_back=None))

    next(runner.train(few))
    next(runner.train(tiny_set.replace(few, resume=True)))

    assert len(plan.cases) < run_split.FOLDS
    split = json.loads((plan.folder / "split.json").read_text())
    assert (split["folds"], split["held_back"]) == ({}, None)
    cached = {path.name.rsplit("-", 1)[0] for path in plan.run.cache.iterdir()}
    assert cached == {case.name for case in plan.cases}


def test_training_on_all_photographs_of_few_eyes_needs_no_folds(plan, monkeypatch):
    monkeypatch.setattr(run_split, "FOLDS", 2)
    one_eye = [replace(case, eye="left of a patient") for case in plan.cases]
    whole = tiny_set.replace(plan, cases=one_eye, recipe=replace(plan.recipe, split=None, held_back=None))

    next(runner.train(whole))

    assert json.loads((plan.folder / "split.json").read_text())["folds"] == {}
    held_back = tiny_set.replace(
        whole, folder=plan.folder.parent / "other", recipe=replace(whole.recipe, held_back=0)
    )
    with pytest.raises(DatasetError, match=r"1 photograph .* cannot be divided into 2 folds"):
        next(runner.train(held_back))


def test_a_fold_of_too_few_photographs_is_refused_with_what_to_do(plan):
    few = tiny_set.replace(plan, recipe=replace(plan.recipe, split=None))

    with pytest.raises(DatasetError, match=f"3 photographs .* {run_split.FOLDS} folds; .* --split"):
        next(runner.train(few))


def test_photographs_that_were_not_annotated_for_all_lesions_are_left_out(plan):
    cases = [replace(case, annotated=("EX",)) if n == 1 else case for n, case in enumerate(plan.cases)]

    usable = run_split.require_annotated(plan.recipe, cases)

    assert [case.name for case in usable] == ["IDRiD_01", "IDRiD_03"]
    with pytest.raises(TrainingError, match="no photograph is annotated for all of EX, MA, HE, SE"):
        run_split.require_annotated(plan.recipe, cases[1:2])
