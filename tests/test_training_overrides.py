"""A recipe's numbers are overridden by name and parsed by type; errors list the names that exist."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_set

from foveate.errors import SettingError
from foveate.training import overrides
from foveate.training.recipes import idrid


def changed(**settings):
    return overrides.override(tiny_set.recipe(), {name.replace("__", "."): v for name, v in settings.items()})


def test_each_value_is_parsed_by_the_type_of_its_field():
    recipe = changed(
        stages__joint__steps="100",
        stages__local__limits__turn="180",
        network__local_net__width="16",
        loss__gamma="0.25",
        contract__lesions="EX,MA",
        contract__mean="1,2.5,3",
        optimiser="adam",
        any_lesions="true",
        split="folds/mine.json",
        seed="7",
    )

    assert recipe.stages["joint"].steps == 100
    assert recipe.stages["local"].limits.turn == 180
    assert recipe.network.local_net.width == 16
    assert recipe.network.global_net.width == 4
    assert recipe.loss.gamma == 0.25
    assert recipe.contract.lesions == ("EX", "MA")
    assert recipe.contract.mean == (1.0, 2.5, 3.0)
    assert (recipe.optimiser, recipe.any_lesions, recipe.seed) == ("adam", True, 7)
    assert recipe.split == Path("folds/mine.json")
    assert changed(split="none").split is None


def test_the_recipe_that_is_given_stays_as_it_was():
    recipe = tiny_set.recipe()

    overrides.override(recipe, {"stages.joint.rate": "0.5"})

    assert recipe == tiny_set.recipe()


def test_epochs_take_the_place_of_steps_and_steps_of_epochs():
    once = overrides.override(tiny_set.recipe(), {"stages.global.epochs": "1.5"})
    again = overrides.override(once, {"stages.global.steps": "9"})

    assert (once.stages["global"].steps, once.stages["global"].epochs) == (None, 1.5)
    assert (again.stages["global"].steps, again.stages["global"].epochs) == (9, None)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("stage.joint.steps", "1", "'stage' is not a setting; choose one of contract, network, stages"),
        ("name", "mine", "'name' is not a setting; choose one of contract, network"),
        ("stages.last.steps", "1", "'last' is not a setting; choose one of global, local, fusion, joint"),
        (
            "stages.joint.step",
            "1",
            "'step' is not a setting; choose one of photographs, windows, rate, steps",
        ),
        ("seed.more", "1", "'seed' is a single value; leave out '.more'"),
        ("stages.joint", "1", "is a group; set one of its values: photographs, windows"),
        ("stages.joint.steps", "1.5", "give a whole number"),
        ("stages.joint.rate", "fast", "give a number"),
        ("stages.joint.rate", "nan", "give a number"),
        ("loss.gamma", "inf", "give a number"),
        ("optimiser", "sgd", "choose one of adam, adamw"),
        ("any_lesions", "yes", "give true or false"),
        ("contract.mean", "1,2", "has 2 values; give 3, separated by commas"),
        ("contract.mean", "1,2,x", "give a number"),
    ],
)
def test_errors_name_the_setting(name, text, message):
    with pytest.raises(SettingError, match=message) as error:
        overrides.override(tiny_set.recipe(), {name: text})

    assert str(error.value).startswith(f"--set {name}")


def test_healthy_eyes_and_residual_fusion_can_be_set():
    named = changed(healthy_share="0.15", healthy_split="halves.json", network__corrects="true")

    assert named.healthy_share == 0.15
    assert named.healthy_split == Path("halves.json")
    assert named.network.residual_fusion
    without = overrides.override(named, {"healthy_split": "none", "network.corrects": "false"})
    assert without.healthy_split is None
    assert not without.network.residual_fusion
    with pytest.raises(SettingError, match=r"healthy_share is 1;"):
        changed(healthy_share="1")


def test_a_value_that_the_recipe_refuses_is_refused():
    with pytest.raises(SettingError, match=r"limits.turn is 200; give a number from 0 to 180"):
        changed(stages__joint__limits__turn="200")


TOGETHER = [
    {"network.global_net.backbone": "efficientnet-lite0", "network.global_net.decoder": "8,4"},
    {"sampling": "dealt", "lesion_share": "0"},
    {"stages.joint.photographs": "5", "stages.joint.accumulate": "5"},
    {"contract.view_side": "64", "network.global_net.poolings": "5"},  # 32 px halve four times at most
    {"stages.joint.steps": "none", "stages.joint.epochs": "2"},
]


@pytest.mark.parametrize("settings", TOGETHER, ids="+".join)
def test_overrides_that_belong_together_are_accepted_in_any_order(settings):
    recipe = overrides.override(tiny_set.recipe(), settings)

    assert overrides.override(tiny_set.recipe(), dict(reversed(settings.items()))) == recipe
    current = tiny_set.settings(recipe)
    for name, text in settings.items():
        assert current[name].strip("()").replace(" ", "") in (text, f"{text}.0", text.capitalize())


def test_a_published_recipe_takes_other_poolings_with_their_decoder():
    settings = {"network.global_net.poolings": "4", "network.global_net.decoder": "96,64,32,16"}

    changed = overrides.override(idrid(), settings).network.global_net

    assert (changed.poolings, changed.decoder) == (4, (96, 64, 32, 16))


def test_steps_and_epochs_together_are_refused():
    with pytest.raises(SettingError, match="either steps or epochs"):
        overrides.override(tiny_set.recipe(), {"stages.joint.steps": "2", "stages.joint.epochs": "2"})


def test_globalnets_shares_can_be_set_and_cleared():
    shared = overrides.override(tiny_set.recipe(), {"global_shares": "0,0,0,0.5"})

    assert shared.global_shares == (0.0, 0.0, 0.0, 0.5)
    assert overrides.override(shared, {"global_shares": ""}) == tiny_set.recipe()


def test_a_setting_and_one_below_it_are_refused():
    with pytest.raises(SettingError, match=r"--set stages\.joint is a group"):
        overrides.override(tiny_set.recipe(), {"stages.joint.steps": "2", "stages.joint": "1"})


def test_every_number_can_be_set_to_its_own_value():
    recipe = tiny_set.recipe()
    listed = tiny_set.settings(recipe)
    plain = {name: text for name, text in listed.items() if not text.startswith("(")}

    assert {"stages.joint.steps", "loss.gamma", "network.fusion_width"} <= plain.keys()
    assert overrides.override(recipe, {n: t for n, t in plain.items() if t != "None"}) == recipe


def test_key_and_value_are_separated_at_the_first_equals_sign():
    assert overrides.parse_pairs(["a.b=1", "c=d=e"]) == {"a.b": "1", "c": "d=e"}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a=1", "a=2"]])
def test_a_text_that_is_no_pair_or_is_given_twice_is_refused(texts):
    with pytest.raises(SettingError, match=r"give KEY=VALUE, such as .*, and each key once"):
        overrides.parse_pairs(texts)
