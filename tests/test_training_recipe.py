"""A recipe that could not be trained as it says is refused when it is written down."""

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import tiny_set
import torch

from foveate import nets
from foveate.errors import SettingError
from foveate.training.augmentation import AugmentationLimits
from foveate.training.recipe import STAGES, Stage, describe, snapshot_steps, stage_steps, steps_per_epoch

WHOLE = {"steps": 1, "photographs": 1, "windows": 1, "rate": 1e-3}


def test_the_stages_are_the_papers_in_its_order():
    assert STAGES == ("global", "local", "fusion", "joint")


def test_the_smallest_stage_is_one_step_of_one_window_of_one_photograph():
    assert Stage(**WHOLE).limits == AugmentationLimits()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"photographs": 0},
        {"windows": 0},
        {"rate": 0.0},
        {"rate": -1e-3},
        {"rate": float("nan")},
    ],
    ids=str,
)
def test_a_stage_that_learns_nothing_is_refused_with_the_number_that_is_wrong(wrong):
    ((name, number),) = wrong.items()
    with pytest.raises(SettingError, match=rf"^{name} is {number:g}; give (1 or more|a number above 0)$"):
        Stage(**WHOLE | wrong)


@pytest.mark.parametrize("stage", STAGES)
def test_a_recipe_without_one_of_the_stages_is_refused_and_the_stage_named(stage):
    whole = tiny_set.recipe()

    with pytest.raises(
        SettingError,
        match=rf"recipe {whole.name}: stage {stage} is missing; give all of global, local, fusion, joint$",
    ):
        replace(whole, stages={name: each for name, each in whole.stages.items() if name != stage})


@pytest.mark.parametrize("wrong", [{"steps": None}, {"epochs": 1.0}], ids=str)
def test_a_stage_says_steps_or_epochs_and_not_both(wrong):
    with pytest.raises(SettingError, match="give either steps or epochs"):
        Stage(**WHOLE | wrong)


@pytest.mark.parametrize("wrong", [{"accumulate": 0}, {"accumulate": 2}], ids=str)
def test_a_step_has_at_most_as_many_parts_as_photographs(wrong):
    with pytest.raises(SettingError, match="give 1 to 1, the number of photographs in a step"):
        Stage(**WHOLE | wrong)


def test_epochs_are_above_none():
    with pytest.raises(SettingError, match=r"^epochs is 0; give a number above 0$"):
        Stage(**WHOLE | {"steps": None, "epochs": 0.0})


@pytest.mark.parametrize(
    "wrong",
    [{"patches": 0}, {"warm_up": 1.0}, {"warm_up": -0.1}, {"averaging": 1.0}, {"seed": -1}, {"seed": 2**64}],
    ids=str,
)
def test_numbers_outside_their_range_are_refused_by_name(wrong):
    ((name, number),) = wrong.items()
    with pytest.raises(
        SettingError, match=rf"recipe tiny: {name} is {str(number).removesuffix('.0')}; give "
    ):
        tiny_set.recipe(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lesions": ()},
        {"overlap": -1},
        {"overlap": tiny_set.CONTRACT.window_side},
        {"step": 0},
        {"field_diameter": math.nan},
        {"field_diameter": 1.0},
        {"scale_tolerance": -1.0},
        {"mean": (0.0, math.inf, 0.0)},
        {"std": (1.0, 1.0, 0.0)},
        {"window_side": 0},
        {"view_side": 1},
    ],
    ids=str,
)
def test_contracts_that_a_package_would_refuse_are_refused_before_training(wrong):
    with pytest.raises(SettingError, match=rf"recipe tiny: contract.{min(wrong)} is .*; give "):
        tiny_set.recipe(contract=replace(tiny_set.CONTRACT, **wrong))


@pytest.mark.parametrize("lesions", [("EX", "EX"), ("ex",), ("",)], ids=str)
def test_lesions_that_a_package_would_refuse_are_refused_before_training(lesions):
    with pytest.raises(SettingError, match=r"recipe tiny: contract\.lesions: .*: use each code once"):
        tiny_set.recipe(contract=replace(tiny_set.CONTRACT, lesions=lesions))


@pytest.mark.parametrize(
    ("contract", "poolings", "message"),
    [
        (
            {"view_side": 30},
            2,
            r"contract\.view_side is 30, but global_net halves it 2 times; .*2\*\*2, or lower",
        ),
        ({"view_side": 0}, 2, "view_side is 0"),
        ({"view_side": -32}, 2, "view_side is -32"),
        ({"view_side": 4}, 2, "view_side is 4"),  # one pixel at the bottom: nothing to normalise by
        ({"window_side": 36}, 3, r"contract\.window_side is 36, .* or lower network\.local_net\.poolings"),
        ({"view_side": 512, "window_side": 32}, 5, "window_side is 32"),
        ({"view_side": 512}, 100_000, r"halves it 100,000 times"),
    ],
    ids=str,
)
def test_a_side_that_a_stream_cannot_halve_is_refused_with_what_to_do(contract, poolings, message):
    whole = tiny_set.recipe()
    stream = replace(tiny_set.STREAM, poolings=poolings)
    network = replace(whole.network, global_net=stream, local_net=stream)

    with pytest.raises(SettingError, match=message):
        replace(whole, contract=replace(tiny_set.CONTRACT, **contract), network=network)


@pytest.mark.parametrize("poolings", [1, 2, 3])
def test_the_smallest_sides_that_are_taken_can_be_trained_on(poolings):
    side, whole = 2 * 2**poolings, tiny_set.recipe()
    stream = replace(tiny_set.STREAM, poolings=poolings)
    recipe = replace(
        whole,
        contract=replace(tiny_set.CONTRACT, view_side=side, window_side=side, overlap=0),
        network=replace(whole.network, global_net=stream, local_net=stream),
    )

    features, _ = nets.build(recipe.network, 4).train().global_net(torch.zeros(1, 3, side, side))

    assert features.shape[-2:] == (side, side)


def test_dealt_windows_cannot_be_near_lesions():
    with pytest.raises(
        SettingError,
        match=r"lesion_share is 0\.6, but with sampling=dealt windows lie anywhere; set lesion_share",
    ):
        tiny_set.recipe(sampling="dealt")


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_healthy_eyes_leaves_room_for_others(share):
    with pytest.raises(
        SettingError, match=rf"healthy_share is {share:g}; give a share of at least 0 and below 1"
    ):
        tiny_set.recipe(healthy_share=share)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_windows_near_lesions_lies_between_0_and_1(share):
    with pytest.raises(SettingError, match=f"lesion_share is {share:g}; give a share from 0 to 1"):
        tiny_set.recipe(lesion_share=share)


@pytest.mark.parametrize("power", [-1.0, float("inf"), float("nan")])
def test_a_power_that_is_no_decay_is_refused(power):
    with pytest.raises(SettingError, match=f"power is {power:g}; give a number of 0 or more"):
        tiny_set.recipe(power=power)


def test_healthy_eyes_are_not_dealt():
    with pytest.raises(SettingError, match=r"healthy_share is 0\.2; .* 0 with sampling=dealt"):
        tiny_set.recipe(sampling="dealt", lesion_share=0.0, healthy_share=0.2)


def test_an_epoch_is_every_photograph_once_with_its_patches():
    """54 photographs of 143 patches, as in the paper."""
    stages = {
        "global": Stage(**WHOLE | {"photographs": 2}),
        "local": Stage(**WHOLE | {"photographs": 16}),
        "fusion": Stage(**WHOLE | {"photographs": 2, "windows": 11}),
        "joint": Stage(**WHOLE | {"photographs": 1, "windows": 10, "steps": None, "epochs": 2.0}),
    }
    recipe = tiny_set.recipe(stages=stages)

    assert steps_per_epoch(recipe, "global", 54) == 27
    assert steps_per_epoch(recipe, "local", 54) == 54 * 143 / 16
    assert steps_per_epoch(recipe, "fusion", 54) == 54 * 13 / 2
    assert (
        steps_per_epoch(recipe, "joint", 54) == 54 * 15
    )  # the last group of a photograph begins its windows again
    assert stage_steps(recipe, "joint", 54) == 2 * 54 * 15
    assert stage_steps(recipe, "fusion", 54) == 1


@pytest.mark.parametrize(
    ("snapshots", "steps", "expected"),
    [
        (1, 3000, ()),
        (2, 3000, (1500,)),
        (3, 3000, (1500, 2250)),
        (2, 7, (4,)),
        (2, 1, ()),
        (3, 2, (1,)),
        (9, 4, (2, 3)),
    ],
)
def test_snapshots_are_spread_from_the_middle_of_a_stage_to_its_end(snapshots, steps, expected):
    assert snapshot_steps(snapshots, steps) == expected


def test_a_stage_without_snapshots_is_recorded_as_before_there_were_any():
    stages = tiny_set.recipe().stages
    several = stages | {"joint": replace(stages["joint"], snapshots=2)}

    recorded = describe(tiny_set.recipe(stages=several))["stages"]

    assert recorded["joint"]["snapshots"] == 2
    assert "snapshots" not in recorded["local"]


def test_a_stage_that_folds_normalisations_is_recorded_and_others_are_as_before():
    stages = tiny_set.recipe().stages
    folding = stages | {"joint": replace(stages["joint"], fold_batch_norm=True)}

    recorded = describe(tiny_set.recipe(stages=folding))["stages"]

    assert recorded["joint"]["fold_batch_norm"] is True
    assert "fold_batch_norm" not in recorded["fusion"]


@pytest.mark.parametrize("stage", ["global", "local"])
def test_a_stage_that_updates_statistics_cannot_fold_them(stage):
    stages = tiny_set.recipe().stages
    with pytest.raises(SettingError, match=rf"stages\.{stage}\.fold_batch_norm is true, .*set it to false"):
        tiny_set.recipe(stages=stages | {stage: replace(stages[stage], fold_batch_norm=True)})


@pytest.mark.parametrize(
    "shares", [(0.0, 0.0, 0.0, 1.0), (-0.1, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, math.nan), (0.5,)]
)
def test_globalnets_shares_are_one_number_below_1_for_each_lesion(shares):
    with pytest.raises(
        SettingError,
        match=r"global_shares is .*; give a share of at least 0 and below 1 for each of EX, MA, HE, SE, or",
    ):
        tiny_set.recipe(global_shares=shares)


def test_globalnets_shares_are_described_only_where_there_are_some():
    assert "global_shares" not in describe(tiny_set.recipe())
    assert "global_shares" not in describe(tiny_set.recipe(global_shares=(0.0,) * 4))
    shares = (0.0, 0.0, 0.0, 0.5)
    assert describe(tiny_set.recipe(global_shares=shares))["global_shares"] == shares
