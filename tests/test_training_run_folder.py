"""A run's folder is read as it was written, and folders of older versions are continued and released."""

import json
import os
import time
import unicodedata
from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_set
import torch
from safetensors.torch import load_file, save_file

from foveate import atomic_files
from foveate.datasets.layouts import LAYOUTS
from foveate.errors import OutputError, TrainingError
from foveate.training import comparison, release, run_recipe, run_record, runner, stages, trainer
from foveate.training.comparison import plan as comparison_plan
from foveate.training.plan import TrainingPlan
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import RunSettings, RunSplit, StartPackage

FOLDS = {"IDRiD_01": 1, "IDRiD_02": 2, "IDRiD_03": 0}

STREAM = {
    "backbone": "unet",
    "poolings": 2,
    "width": 4,
    "cap": 1024,
    "decoder": [],
    "ends": 1,
    "imagenet": False,
    "weights": None,
}


def stage_numbers(photographs, windows, turn=0.0, zoom=0.0, noise=0.0):
    limits = {"turn": turn, "zoom": zoom, "mirrors": True, "free_share": 0.5, "colour": 0.05, "noise": noise}
    return {
        "photographs": photographs,
        "windows": windows,
        "rate": 0.01,
        "steps": 6,
        "epochs": None,
        "limits": limits,
        "accumulate": 1,
    }


RECIPE = {
    "name": "tiny",
    "contract": {
        "lesions": ["EX", "MA", "HE", "SE"],
        "mean": [127.0, 127.0, 127.0],
        "std": [128.0, 128.0, 128.0],
        "view_side": 32,
        "window_side": 32,
        "overlap": 8,
        "field_diameter": 170.0,
        "scale_tolerance": 0.1,
        "field": "find",
        "part": "field",
        "step": None,
        "glances": 1,
    },
    "network": {"global_net": STREAM, "local_net": STREAM, "fusion_width": 6, "corrects": False},
    "stages": {
        "global": stage_numbers(2, 1, 45.0, 0.2, 3.0),
        "local": stage_numbers(3, 1, 45.0, 0.2, 3.0),
        "fusion": stage_numbers(2, 2),
        "joint": stage_numbers(2, 2),
    },
    "loss": {
        "gamma": 0.3333333333333333,
        "weighting": "equation",
        "dice": 1.0,
        "focal_tversky": 0.0,
        "cross_entropy": 4.0,
        "lambda_global": 0.5,
        "lambda_local": 1.0,
        "lambda_weights": 0.0001,
    },
    "lesion_share": 0.6,
    "healthy_share": 0.0,
    "power": 0.9,
    "averaging": 0.9,
    "split": "folds.json",
    "healthy_split": None,
    "held_back": 0,
    "any_lesions": False,
    "cases": "all",
    "sampling": "drawn",
    "patches": 143,
    "optimiser": "adamw",
    "warm_up": 0.02,
    "precision": "bf16",
    "seed": 0,
}
"""recipe.json as version 0.1.0 wrote it (commit c0e9624), before fields had their names of today."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder with the data set and its folds."""
    root = tmp_path_factory.mktemp("old")
    tiny_set.write(root / "set")
    (root / "folds.json").write_text(json.dumps({"folds": FOLDS}))
    return root


@pytest.fixture(scope="module")
def plan(root):
    cases = tiny_set.cases(root / "set")
    return TrainingPlan(recipe=tiny_set.recipe(split=root / "folds.json"), cases=cases, folder=root / "new")


@pytest.fixture(scope="module")
def new(plan):
    """Return the folder of a run that today's version trained without a break."""
    list(runner.train(plan))
    return plan.folder


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n")


@pytest.fixture
def old(tmp_path, plan, new):
    """Return a folder as version 0.1.0 left it when it was killed after four steps of the joint stage."""
    folder = tmp_path / "old"
    (folder / "starts").mkdir(parents=True)
    write_json(folder / "recipe.json", RECIPE)
    lesions = ["EX", "MA", "HE", "SE"]
    write_json(folder / "settings.json", {"recipe": "tiny", "set": {}, "lesions": lesions, "field": "find"})
    write_json(folder / "split.json", {"about": "as in folds.json", "folds": FOLDS, "held_back": 0})
    write_json(folder / "data.json", run_record.file_digests(plan.cases, tiny_set.CONTRACT.lesions))
    (folder / "starts" / "2026-11-28T08-24-06+00-00-23714.json").write_text("{}\n")
    (folder / ".joint.checkpoint.23714.part").write_bytes(b"half")
    for stage in ("global", "local", "fusion"):
        save_file(load_file(new / f"{stage}.safetensors"), folder / f"{stage}.safetensors")
        (folder / f"{stage}.csv").write_bytes((new / f"{stage}.csv").read_bytes())
    (folder / "joint.csv").write_bytes((new / "joint.csv").read_bytes())  # with two steps too many
    torch.save(joint_checkpoint(plan, folder), folder / "joint.checkpoint")
    return folder


def joint_checkpoint(plan, folder):
    """Return the joint stage's checkpoint after four steps, under the keys of version 0.1.0."""
    recipe = plan.recipe
    cases = [tiny_set.cache.cache_case(case, recipe.contract, folder / "sheets") for case in plan.cases[:2]]
    joint = trainer.create_trainer(recipe, RunFolder(folder), "joint", None, runner.LOCAL)
    dataset = runner.StepDataset(cases, recipe, "joint", runner.LOCAL)
    for step in range(4):
        joint.train_step(dataset[step], stages.learning_rate(recipe, "joint", step, 6))
    return {
        "step": 4,
        "steps": 6,
        "learning": joint.part.state_dict(),
        "average": joint.average.state_dict(),
        "optimiser": joint.optimiser.state_dict(),
    }


# folders that version 0.1.0 wrote


def test_an_old_run_is_continued_to_the_weights_of_an_uninterrupted_one(old, plan, new):
    progress = list(runner.train(tiny_set.replace(plan, folder=old, resume=True)))

    assert [(stage, item.step) for stage, item in progress] == [("joint", 5), ("joint", 6)]
    for name in ("joint.safetensors", "joint.csv", "joint-epochs.csv", "recipe.json", "split.json"):
        assert (old / name).read_bytes() == (new / name).read_bytes(), name
    assert len(list((old / "starts").iterdir())) == 2
    folders = {path.name for path in old.iterdir() if path.is_dir()}
    assert folders <= {"sheets", "starts", "tensorboard", "running"}


def test_an_old_run_is_released_as_it_was_trained(old, plan, new):
    (old / "joint.safetensors").write_bytes((new / "joint.safetensors").read_bytes())

    run = release.load_run(tiny_set.recipe(), old, plan.cases, LAYOUTS["idrid"])

    assert run.recipe == tiny_set.replace(plan.recipe, split=old / "split.json")
    assert run.trained_photographs == ("IDRiD_01", "IDRiD_02")
    assert [case.name for case in run.held_back] == ["IDRiD_03"]
    weights = load_file(new / "joint.safetensors")
    for name, tensor in release.build_network(run).state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_an_old_run_lacks_only_the_stages_of_a_comparison_that_it_did_not_train(old, new):
    assert comparison_plan.missing_stages(old) == comparison.COMPARISON_STAGES
    (old / "joint.safetensors").write_bytes((new / "joint.safetensors").read_bytes())

    assert comparison_plan.missing_stages(old) == ("global-alone", "local-alone")
    assert comparison.steps_by_stage(old) == dict.fromkeys(("global", "local", "fusion", "joint"), 6)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"recipe": "tiny", "set": {"seed": "1"}}, "started with other settings"),
        ({"recipe": "tiny", "set": {"contract.glances": "8"}}, "started with other settings"),
    ],
)
def test_an_old_run_of_other_settings_is_not_continued(old, plan, content, said):
    settings = {**json.loads((old / "settings.json").read_text()), **content}
    write_json(old / "settings.json", settings)

    with pytest.raises(TrainingError, match=said):
        next(runner.train(tiny_set.replace(plan, folder=old, resume=True)))


def test_overrides_of_an_old_run_are_read_under_their_old_names(old):
    settings = json.loads((old / "settings.json").read_text())
    overrides = {"contract.glances": "8", "network.corrects": "true"}
    write_json(old / "settings.json", settings | {"set": overrides})
    write_json(old / "recipe.json", RECIPE | {"network": RECIPE["network"] | {"corrects": True}})

    recipe = run_recipe.load_recipe(tiny_set.recipe(), old)

    assert recipe.contract.tta_views == 8
    assert recipe.network.residual_fusion


# the folder itself


def test_a_record_is_written_once_and_compared_after_a_stage_has_begun(tmp_path):
    run = RunFolder(tmp_path / "run")
    splits = [RunSplit(about="by hand", folds={"a": n}, held_back=0) for n in range(3)]
    run.keep_split(splits[0])
    run.keep_split(splits[1])  # nothing was trained with the first one
    run.keep_recipe(tiny_set.recipe())
    run.keep_split(splits[1])

    with pytest.raises(TrainingError, match="the run was started with another split"):
        run.keep_split(splits[2])

    assert run.read_split() == splits[1]


def test_settings_may_be_given_again_in_another_order(tmp_path):
    run, overrides = RunFolder(tmp_path), {"seed": "1", "power": "0.5"}
    settings = RunSettings(recipe="tiny", overrides=overrides, lesions=("EX",), field="whole")
    run.keep_settings(settings)
    run.keep_recipe(tiny_set.recipe())

    run.keep_settings(tiny_set.replace(settings, overrides=dict(reversed(overrides.items()))))

    with pytest.raises(TrainingError, match="the run was started with other settings"):
        run.keep_settings(tiny_set.replace(settings, overrides=overrides | {"power": "0.6"}))


def test_records_are_equal_whatever_the_unicode_form_of_their_names(tmp_path):
    run, recipe = RunFolder(tmp_path), tiny_set.recipe(split=Path("é.json"))
    split = RunSplit(about="as in é.json", folds={"é": 0, "ü": 1}, held_back=0)
    start = StartPackage(name="tiny", version="1", digest="0" * 64, photographs=("ä",))
    settings = RunSettings(recipe="tiny", overrides={}, lesions=("EX",), field="find", start=start)
    digests = {"é": {"photograph": "0" * 64, "masks": {}}}

    def keep():
        run.keep_split(split)
        run.keep_settings(settings)
        run.keep_digests(digests, ("EX",))
        run.keep_recipe(recipe)

    keep()
    for path in tmp_path.glob("*.json"):
        text = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
        path.write_text(unicodedata.normalize("NFD", text))
        assert path.read_text() != text
    keep()

    assert (run.read_split(), run.read_settings(), run.read_digests()) == (split, settings, digests)


def test_settings_are_read_as_they_were_written(tmp_path):
    settings = RunSettings(recipe="tiny", overrides={"seed": "1"}, lesions=("EX",), field="whole")

    RunFolder(tmp_path).keep_settings(settings)

    assert RunFolder(tmp_path).read_settings() == settings


def test_each_start_has_a_file_of_its_own(tmp_path):
    RunFolder(tmp_path).add_start(run_record.start_now(["foveate", "train"], runner.LOCAL))

    (path,) = (tmp_path / "starts").iterdir()
    assert json.loads(path.read_text())["command"] == ["foveate", "train"]
    assert ":" not in path.name  # which some file systems refuse


def test_a_folder_without_records_has_none(tmp_path):
    run = RunFolder(tmp_path / "run")

    assert (run.has_run(), run.read_split(), run.read_settings()) == (False, None, None)
    run = RunFolder(tmp_path / ("a" * 300))  # a name that no folder can have
    assert (run.has_run(), run.read_split(), run.read_settings()) == (False, None, None)
    assert (run.read_digests(), run.read_steps("global")) == ({}, [])
    with pytest.raises(TrainingError, match="finish stage 'global' first"):
        run.read_weights("global")
    with pytest.raises(TrainingError, match="no steps are logged"):
        run.step_count("global")


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.write_checkpoint("global", {"step": 1})

    def refuse(content, path):
        path.write_bytes(b"half")
        raise RuntimeError("unexpected pos 64\nvs 0")  # torch on a full disk

    monkeypatch.setattr(torch, "save", refuse)
    with pytest.raises(OutputError, match=r"global\.checkpoint: .*pos 64 vs"):
        run.write_checkpoint("global", {"step": 2})

    assert run.read_checkpoint("global", "cpu") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["global.checkpoint"]


def test_memory_that_runs_out_is_neither_a_full_disk_nor_a_damaged_file(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.write_checkpoint("global", {"step": 1})

    def run_out(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(torch, "save", run_out)
    monkeypatch.setattr(torch, "load", run_out)

    with pytest.raises(MemoryError, match="can't allocate memory"):
        run.write_checkpoint("global", {"step": 2})
    with pytest.raises(MemoryError, match="can't allocate memory"):
        run.read_checkpoint("global", "cpu")
    monkeypatch.undo()
    assert run.read_checkpoint("global", "cpu") == {"step": 1}


def test_damaged_files_are_errors_of_one_line(tmp_path):
    run = RunFolder(tmp_path)
    run.write_weights("joint", {"weight": torch.ones(100)})
    run.write_checkpoint("joint", {"step": 1, "weight": torch.ones(1000)})
    run.keep_split(RunSplit(about="", folds={"a": 0, "b": 1}, held_back=0))
    reads = {
        "joint.safetensors": lambda: run.read_weights("joint"),
        "joint.checkpoint": lambda: run.read_checkpoint("joint", "cpu"),
        "split.json": run.read_split,
    }

    for name, read in reads.items():
        read()
        content = (tmp_path / name).read_bytes()
        for length in (
            0,
            10,
            len(content) // 2,
            len(content) - 2,
        ):  # as a transfer that ended early leaves it
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(
                TrainingError, match=rf"{name}: cannot be read \(.*\); copy the run"
            ) as raised:
                read()
            assert "\n" not in str(raised.value)


def test_only_unfinished_files_of_killed_processes_are_removed(tmp_path):
    release = tmp_path / ".foveate-0000000000000000.part"  # of a package within the run's folder
    (release / "new").mkdir(parents=True)
    for name in (".foveate-0123456789abcdef.part", "global.csv"):
        (tmp_path / name).write_bytes(b"")
    for name in (release.name, ".foveate-0123456789abcdef.part", "global.csv"):
        os.utime(tmp_path / name, (time.time() - atomic_files.LEFTOVER_SECONDS - 60,) * 2)
    (tmp_path / ".foveate-fedcba9876543210.part").write_bytes(b"")

    RunFolder(tmp_path).remove_leftovers()

    assert {path.name for path in tmp_path.iterdir()} == {"global.csv", ".foveate-fedcba9876543210.part"}
