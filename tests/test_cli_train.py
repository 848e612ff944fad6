"""`foveate train`: what the options become, what is said while it runs, and what is refused in one line."""

import json

import pytest

pytest.importorskip("torch")

import numpy as np
import tiny_set
import torch
from PIL import Image

from foveate import cli
from foveate.cli import progress_steps
from foveate.cli import train as cli_train
from foveate.datasets import checks
from foveate.training import cross_validation, curves, recipes
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import RunSplit
from foveate.training.trainer import StageProgress

LAYOUT = """
name = "leaves"
[lesions]
RUST = "rust"
[splits.train]
photographs = "A. Segmentation/1. Original Images/a. Training Set/*"
masks = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/3. Hard Exudates/{name}_EX"
"""


@pytest.fixture
def data(tmp_path):
    tiny_set.write(tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Publish a tiny recipe without a split, that takes any lesions."""
    made = tiny_set.recipe(split=None, any_lesions=True)
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: made})
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}}))
    return split


def train(data, split, *more):
    return cli.run(
        ["train", "tiny", "--data", str(data), "--out", str(data / "run"), "--split", str(split), *more]
    )


def test_a_recipe_is_trained_through_its_stages_with_what_was_set(data, published, capsys):
    settings = [f"--set=stages.{stage}.steps=2" for stage in STAGES]

    assert train(data, published, *settings, "--fold", "1", "--threads", "1") == 0

    folder = data / "run"
    assert all(RunFolder(folder).is_finished(stage) for stage in STAGES)
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["stages"]["joint"]["steps"] == 2
    assert recipe["contract"]["lesions"] == ["EX", "MA", "HE", "SE"]
    assert json.loads((folder / "split.json").read_text())["held_back"] == 1
    assert json.loads((folder / "settings.json").read_text())["set"]["stages.joint.steps"] == "2"
    assert "joint 2/2 loss" in capsys.readouterr().err


def test_masks_to_look_at_are_named_in_a_warning(data, published, capsys):
    (mask,) = data.rglob("IDRiD_01_EX.tif")
    levels = np.asarray(Image.open(mask)) * 255
    row = int(np.flatnonzero(levels.any(axis=1))[0])
    levels[row] //= 2
    Image.fromarray(levels).save(mask)

    train(data, published, "--stage", "local", "--set=stages.local.steps=1")

    assert "IDRiD_01_EX.tif: 2 levels from 127 to 255 all count as this lesion" in capsys.readouterr().err


def test_masks_are_looked_at_once_and_after_all_that_may_refuse_a_training(
    data, published, capsys, monkeypatch
):
    looked = []
    monkeypatch.setattr(checks, "doubtful_masks", lambda cases, *_: looked.append(len(cases)) or "")
    steps = ("--stage", "local", "--set=stages.local.steps=1")

    for refused in (("--fold", "9"), ("--threads", "0"), ("--start", str(data / "none"))):
        assert train(data, published, *refused) == 1
    assert looked == []
    assert train(data, published, *steps) == 0
    assert looked == [3]
    assert train(data, published, *steps) == 1
    assert "already contains a run" in capsys.readouterr().err
    assert train(data, published, *steps, "--resume") == 0
    assert looked == [3]


def test_folds_that_are_assigned_for_a_check_are_passed_on_to_the_training(data, published, monkeypatch):
    assigned, trained = RunSplit(about="", folds={}, held_back=0), []
    monkeypatch.setattr(
        cli_train.run_split, "require_folds", lambda plans: [tiny_set.replace(plans[0], assigned=assigned)]
    )
    monkeypatch.setattr(cli_train.runner, "train", lambda plan: trained.append(plan.assigned) or iter(()))

    assert train(data, published) == 0

    assert trained == [assigned]


def test_another_layout_brings_its_lesions(data, published, tmp_path):
    layout = tmp_path / "leaves.toml"
    layout.write_text(LAYOUT)

    code = train(data, published, "--layout", str(layout), "--stage", "local", "--set=stages.local.steps=1")

    assert code == 0
    assert json.loads((data / "run/recipe.json").read_text())["contract"]["lesions"] == ["RUST"]


@pytest.fixture
def eyes(tmp_path):
    """A folder of two healthy eyes."""
    return tiny_set.write_healthy_eyes(tmp_path / "eyes")


def test_healthy_eyes_are_learned_from_where_a_folder_of_them_is_named(data, published, eyes, tmp_path):
    settings = [f"--set=stages.{stage}.steps=2" for stage in STAGES]
    more = ("--threads", "1", "--healthy", str(eyes), "--set", "healthy_share=0.5")

    assert train(data, published, *settings, *more) == 0

    data_json = json.loads((data / "run/data.json").read_text())
    assert {"healthy-eye-8", "healthy-eye-9"} < data_json.keys()
    assert json.loads((data / "run/recipe.json").read_text())["healthy_share"] == 0.5


def test_a_package_names_the_healthy_eyes_that_were_learned_from(data, published, eyes, tmp_path, capsys):
    """Of one lesion, which every photograph has: thresholds need it on both sides of the split."""
    settings = [f"--set=stages.{stage}.steps=2" for stage in STAGES]
    layout, package = tmp_path / "leaves.toml", tmp_path / "package"
    layout.write_text(LAYOUT)
    leaves = ("--layout", str(layout))
    assert train(data, published, *settings, *leaves, "--healthy", str(eyes), "--set=healthy_share=0.5") == 0

    (next(data.rglob("IDRiD_02_EX.tif")).parent / "IDRiD_77_EX.tif").write_bytes(b"a mask of no photograph")
    capsys.readouterr()
    line = ["release", "tiny", "--data", str(data), "--run", str(data / "run"), "--to", str(package), *leaves]
    assert cli.run(line) == 0

    assert "IDRiD_77_EX.tif: in a folder of masks, but its name is that of no" in capsys.readouterr().err
    told = json.loads((package / "manifest.json").read_text())["training"]
    assert told["healthy"] == ["eye-8", "eye-9"]
    assert told["photographs"] == ["IDRiD_02", "IDRiD_03"]


def test_a_folder_that_holds_something_else_is_refused_before_anything_is_validated(
    data, published, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cli_train, "load_run", lambda *_: pytest.fail("it was refused too late"))
    monkeypatch.setattr(cross_validation, "train", lambda *_: pytest.fail("it was refused too late"))
    (tmp_path / "work" / "package").mkdir(parents=True)
    (tmp_path / "work" / "package" / "thesis.tex").write_text("")

    for line in (
        ["release", "tiny", "--run", str(data / "run"), "--to", str(tmp_path / "work" / "package")],
        ["programme", "tiny", "--out", str(tmp_path / "work"), "--fold", "0"],
    ):
        assert cli.run([*line, "--data", str(data)]) == 1
        assert "already exists and is not a model package; choose another folder" in capsys.readouterr().err


def test_healthy_eyes_that_the_recipe_does_not_learn_from_are_refused(data, published, eyes, capsys):
    assert train(data, published, "--healthy", str(eyes)) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "healthy_share is 0, so" in line
    assert "leave out --healthy" in line
    assert not (data / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--healthy", "nowhere"), "nowhere: no such file or folder"),
        (("--set", "healthy_share=1.5"), "healthy_share is 1.5; give a share of at least 0 and below 1"),
        (("--set", "stages.joint.step=1"), "'step' is not a setting; choose one of"),
        (("--set", "seed"), "give KEY=VALUE, such as stages.joint.steps=100, and each key once"),
        (("--layout", "nowhere"), "layout 'nowhere' is unknown"),
        (("--device", "tpu"), "tpu"),
        (("--fold", "9"), "fold 9 has no photograph"),
        (("--threads", "0"), "threads is 0; give 1 or more"),
        (("--minutes", "nan"), "minutes is nan; give a number above 0"),
        (("--minutes", "0"), "minutes is 0.0; give a number above 0"),
        (("--minutes", "-1"), "minutes is -1.0; give a number above 0"),
        (("--set", "contract.view_side=30"), "contract.view_side is 30, but global_net halves it 2 times"),
        (("--set", "network.local_net.poolings=6"), "or lower network.local_net.poolings"),
        (("--set", "sampling=dealt"), "set lesion_share to 0"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_leaves_no_stage(data, published, capsys, more, said):
    assert train(data, published, *more) in (1, 2)

    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert not (data / "run").exists()


def test_a_file_in_the_way_of_the_run_is_one_line(data, published, capsys):
    (data / "run").write_text("notes")

    assert train(data, published) == 1

    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("tensorboard")]
    assert "a file is in the way of a folder" in line
    assert (data / "run").read_text() == "notes"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_several_processes_on_gpus_that_are_not_there_are_one_line(data, published, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert train(data, published, "--device", "cuda") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "PyTorch finds no GPU" in line


@pytest.mark.parametrize("command", ["programme", "compare"])
def test_commands_that_train_in_one_process_refuse_to_be_one_of_several(
    data, published, capsys, monkeypatch, command
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = [command, "tiny", "--data", str(data), "--out", str(data / "out"), "--split", str(published)]

    assert cli.run([*line, "--fold", "0"]) == 1

    (error,) = capsys.readouterr().err.splitlines()
    assert f"WORLD_SIZE is 2, but {command} trains in one process; train its runs with torchrun" in error
    assert not (data / "out").exists()


def test_a_log_says_how_long_it_will_take(capsys, monkeypatch):
    clock = iter(40.0 * n for n in range(100))
    monkeypatch.setattr(progress_steps, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    monkeypatch.setattr(curves, "has_tensorboard", lambda: False)

    progress_steps.show(("global", StageProgress(step=n, steps=4, loss=1.0)) for n in range(1, 5))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "tensorboard is not installed: curves are kept as CSV only"
    assert lines[1:] == [
        "global 1/4 loss 1.0000",
        "global 2/4 loss 1.0000, 1 min left",
        "global 3/4 loss 1.0000, less than a minute left",
        "global 4/4 loss 1.0000",
    ]


def test_of_several_processes_one_speaks(capsys):
    progress_steps.show([("global", StageProgress(step=1, steps=1, loss=1.0))], quiet=True)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["train", "programme", "compare", "release"])
def test_a_recipe_that_does_not_exist_is_refused_first_with_those_that_do(command, published, capsys):
    places = {"release": ["--run", "run", "--to", "to"], "programme": ["--out", "out", "--fold", "1"]}

    line = [command, "idrid-half", "--data", "nowhere", *places.get(command, ["--out", "out"])]
    assert cli.run(line) == 2

    (error,) = capsys.readouterr().err.splitlines()
    assert "recipe 'idrid-half' does not exist; choose one of tiny." in error


def test_thresholds_are_chosen_anew_or_kept_but_not_both(data, published, tmp_path, capsys):
    runs = ("--run", str(data / "run"), "--judged-by", str(data / "other"), "--thresholds-of", "idrid")

    assert cli.run(["release", "tiny", "--data", str(data), "--to", str(tmp_path / "to"), *runs]) == 2

    assert "leave out one" in capsys.readouterr().err


def test_a_run_on_all_photographs_keeps_the_thresholds_of_the_package_that_it_started_from(
    data, published, tmp_path, capsys
):
    """Of one lesion, which every photograph has: thresholds need it on both sides of the split."""
    layout = tmp_path / "leaves.toml"
    layout.write_text(LAYOUT)
    settings = [f"--set=stages.{stage}.steps=2" for stage in STAGES]
    common = ["--data", str(data), "--layout", str(layout)]
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(data, published, "--layout", str(layout), *settings) == 0
    assert cli.run(["release", "tiny", *common, "--run", str(data / "run"), "--to", str(first)]) == 0
    more = ["--start", str(first), "--fold", "none", "--stage", "joint", "--split", str(published), *settings]
    assert cli.run(["train", "tiny", *common, "--out", str(data / "more"), *more]) == 0
    capsys.readouterr()

    line = ["release", "tiny", *common, "--run", str(data / "more"), "--to", str(second)]
    assert cli.run([*line, "--thresholds-of", str(first), "--version", "2"]) == 0

    old, new = (json.loads((folder / "manifest.json").read_text()) for folder in (first, second))
    assert new["decisions"] == old["decisions"]
    assert (old["version"], new["version"]) == ("1", "2")
    assert new["training"]["photographs"] == ["IDRiD_01", "IDRiD_02", "IDRiD_03"]
    assert new["training"]["validation"]["learned_from_them"] == ["IDRiD_01"]
    assert (first / "weights.safetensors").read_bytes() != (second / "weights.safetensors").read_bytes()
    assert cli.run(line) == 1
    assert "no photograph was held back to choose thresholds on" in capsys.readouterr().err
