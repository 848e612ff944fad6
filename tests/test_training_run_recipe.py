"""A run's recipe is the one that it was trained by, or it is refused."""

import json
from dataclasses import replace

import pytest
import tiny_set

from foveate.errors import TrainingError
from foveate.training import overrides, run_recipe, run_split, runner


@pytest.fixture
def plan(tmp_path):
    return tiny_set.plan(tmp_path)


def test_a_recipe_for_any_lesions_takes_those_of_the_layout_and_another_keeps_its_own():
    recipe = replace(tiny_set.recipe(), any_lesions=True)

    contract = run_recipe.adapt_to_layout(recipe, ("RUST",), "whole").contract

    assert (contract.lesions, contract.field) == (("RUST",), "whole")
    assert run_recipe.adapt_to_layout(tiny_set.recipe(), ("RUST",), "whole") == tiny_set.recipe()


def test_a_recipe_is_loaded_as_the_run_was_trained(plan):
    settings = {"loss.gamma": "0.5", "global_shares": "0,0.5"}
    adapted = run_recipe.adapt_to_layout(replace(plan.recipe, any_lesions=True), ("EX", "MA"), "find")
    trained = overrides.override(adapted, settings)
    next(runner.train(tiny_set.replace(plan, recipe=trained, settings=settings)))

    published = replace(tiny_set.recipe(), any_lesions=True)
    loaded = run_recipe.load_recipe(published, plan.folder)

    assert replace(loaded, split=trained.split) == trained
    assert run_split.split_cases(loaded, plan.cases) == run_split.split_cases(trained, plan.cases)
    with pytest.raises(TrainingError, match="a run of recipe tiny, not other"):
        run_recipe.load_recipe(replace(published, name="other"), plan.folder)


def test_a_run_of_another_name_is_loaded_where_its_numbers_are_the_recipe_s(plan):
    settings = {"loss.gamma": "0.5"}
    next(
        runner.train(
            tiny_set.replace(plan, recipe=overrides.override(plan.recipe, settings), settings=settings)
        )
    )
    renamed = replace(overrides.override(tiny_set.recipe(), settings), name="renamed")

    loaded = run_recipe.load_recipe(renamed, plan.folder)

    assert (loaded.name, loaded.loss.gamma) == ("renamed", 0.5)
    assert loaded.held_back == plan.recipe.held_back
    with pytest.raises(TrainingError, match=r"a run of recipe tiny, not renamed, .* in loss.gamma;"):
        run_recipe.load_recipe(replace(tiny_set.recipe(), name="renamed"), plan.folder)


def test_a_run_of_another_name_whose_numbers_are_not_recorded_is_refused(plan):
    next(runner.train(plan))
    (plan.folder / "recipe.json").unlink()

    with pytest.raises(TrainingError, match="a run of recipe tiny, not renamed"):
        run_recipe.load_recipe(replace(tiny_set.recipe(), name="renamed"), plan.folder)


def test_a_run_of_an_earlier_recipe_of_the_name_is_refused_where_its_weights_do_not_fit(plan):
    next(runner.train(plan))
    later = replace(
        tiny_set.recipe(),
        contract=replace(tiny_set.CONTRACT, std=(64.0, 64.0, 64.0)),
        network=replace(tiny_set.NETWORK, fusion_width=8),
    )

    with pytest.raises(TrainingError) as raised:
        run_recipe.load_recipe(later, plan.folder)

    assert str(raised.value).endswith(
        "run: a run of an earlier recipe tiny, from which it differs in contract.std, network.fusion_width; "
        "name a recipe of your own with the run's numbers, or another run"
    )


def test_other_numbers_of_a_run_of_the_recipe_are_those_of_today(plan):
    next(runner.train(plan))
    today = replace(
        tiny_set.recipe(),
        contract=replace(tiny_set.CONTRACT, tta_views=4, overlap=16, step=32),
        global_shares=(0.0, 0.0, 0.0, 0.5),
        power=0.8,
    )

    assert replace(run_recipe.load_recipe(today, plan.folder), split=today.split) == today


def test_a_run_that_has_not_begun_a_stage_has_no_numbers_to_differ(plan):
    plan.folder.mkdir()
    settings = {"recipe": "tiny", "set": {"seed": "3"}, "lesions": ["EX", "MA", "HE", "SE"], "field": "find"}
    (plan.folder / "settings.json").write_text(json.dumps(settings))

    assert run_recipe.load_recipe(tiny_set.recipe(), plan.folder).seed == 3


def test_a_run_without_records_has_the_published_recipe(tmp_path):
    assert run_recipe.load_recipe(tiny_set.recipe(), tmp_path) == tiny_set.recipe()
