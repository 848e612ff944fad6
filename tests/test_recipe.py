"""A recipe that could not be trained as it says is refused when it is written down."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import tiny_set

from foveate.errors import SettingError
from foveate.training.augment import Limits
from foveate.training.recipe import STAGES, Stage

WHOLE = {"steps": 1, "photographs": 1, "windows": 1, "rate": 1e-3}


def test_the_stages_are_the_papers_in_its_order():
    assert STAGES == ("global", "local", "fusion", "joint")


def test_the_smallest_stage_is_one_step_of_one_window_of_one_photograph():
    assert Stage(**WHOLE).limits == Limits()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"photographs": 0}, {"windows": 0}, {"rate": 0.0}, {"rate": -1e-3}], ids=str
)
def test_a_stage_that_learns_nothing_is_refused(wrong):
    with pytest.raises(SettingError, match="at least 1 and rate above 0"):
        Stage(**WHOLE | wrong)


@pytest.mark.parametrize("stage", STAGES)
def test_a_recipe_without_one_of_the_stages_is_refused_and_the_stage_named(stage):
    whole = tiny_set.recipe()

    with pytest.raises(SettingError, match=rf"recipe {whole.name}: no stage {stage}$"):
        replace(whole, stages={name: each for name, each in whole.stages.items() if name != stage})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("limits", [Limits(turn=1), Limits(zoom=0.1)], ids=["turn", "zoom"])
def test_only_stages_without_fusion_may_turn_freely_or_zoom(stage, limits):
    whole = tiny_set.recipe()
    stages = whole.stages | {stage: replace(whole.stages[stage], limits=limits)}

    if stage in ("global", "local"):
        assert replace(whole, stages=stages).stages[stage].limits == limits
    else:
        with pytest.raises(SettingError, match=rf"stage {stage} may turn by quarters only"):
            replace(whole, stages=stages)
