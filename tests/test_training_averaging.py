"""The mean of two runs is a run: it computes what the mean of their networks does, and can be released."""

import json
import shutil
from dataclasses import replace

import pytest
import tiny_set
import torch

from foveate import cli, nets
from foveate.datasets import digest
from foveate.datasets.layouts import LAYOUTS
from foveate.errors import OutputError, SettingError, TrainingError
from foveate.training import averaging, recipes, release, run_recipe, runner, trainer
from foveate.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the plan of a run that has been trained."""
    plan = tiny_set.plan(tmp_path_factory.mktemp("averaging"))
    list(runner.train(plan))
    return plan


@pytest.fixture
def runs(made, tmp_path):
    """Return the folders of that run, and of two whose weights differ from it by as much either way."""
    weights = RunFolder(made.folder).read_weights("joint")
    generator = torch.Generator().manual_seed(1)
    change = {
        name: 0.01 * torch.randn(tensor.shape, generator=generator) * (tensor.ndim == 4)  # convolutions only
        for name, tensor in weights.items()
    }
    folders = [tmp_path / name for name in ("made", "more", "less")]
    for folder, sign in zip(folders, (0, 1, -1), strict=True):
        shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns("sheets"))
        changed = {name: (tensor + sign * change[name]).to(tensor.dtype) for name, tensor in weights.items()}
        RunFolder(folder).write_weights("joint", changed)
    return folders


def logits(recipe, folder):
    """Return the logits of a run's GlobalNet for a drawn view and of its LocalNet for a window."""
    loaded = run_recipe.load_recipe(recipe, folder)
    network = trainer.finished_network(loaded, RunFolder(folder), "joint").eval()
    generator = torch.Generator().manual_seed(0)
    pictures = (torch.randn(1, 3, 32, 32, generator=generator) for _ in range(2))
    streams = (network.global_net, network.local_net)
    with torch.no_grad():
        return [stream(picture)[1] for stream, picture in zip(streams, pictures, strict=True)]


def differ(recipe, folder, other):
    """Return the largest difference of two runs' logits."""
    pairs = zip(logits(recipe, folder), logits(recipe, other), strict=True)
    return max(float((own - others).abs().max()) for own, others in pairs)


def test_the_mean_of_two_runs_lies_in_their_middle(made, runs, tmp_path):
    run, more, less = runs

    assert averaging.average(made.recipe, [more, less], tmp_path / "mean") == "joint"

    assert differ(made.recipe, tmp_path / "mean", run) < 1e-4
    assert differ(made.recipe, more, run) > 1e-2


def test_a_run_whose_normalisations_are_folded_is_averaged_with_one_whose_are_not(made, runs, tmp_path):
    run, folded, _ = runs
    network = trainer.finished_network(made.recipe, RunFolder(run), "joint")
    refolded = nets.build(made.recipe.network, 4)
    nets.load_folded(nets.fold_batch_norm(network).state_dict(), refolded)
    RunFolder(folded).write_weights("joint", refolded.state_dict())

    averaging.average(made.recipe, [run, folded], tmp_path / "mean")

    assert differ(made.recipe, tmp_path / "mean", run) < 1e-4


def rewrite(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"split.json": {"held_back": 1}}, "other folds, or holds back another one"),
        (
            {"data.json": {"IDRiD_01": {"photograph": "0", "masks": {}}}},
            r"other photographs or masks \(photograph IDRiD_01 has changed\)",
        ),
        (
            {"settings.json": {"start": {"name": "idrid", "version": "1", "digest": "0", "photographs": []}}},
            "another package at its start",
        ),
        (
            {"settings.json": {"continued": {"name": "fold-1", "weights": "0"}}},
            "a joint stage of another run",
        ),
    ],
)
def test_runs_that_differ_in_more_than_their_training_are_refused(made, runs, tmp_path, record, what):
    for name, changes in record.items():
        rewrite(runs[1], name, **changes)

    with pytest.raises(TrainingError, match=f"more: has {what} than .*made; average runs that"):
        averaging.average(made.recipe, runs[:2], tmp_path / "mean")

    assert not (tmp_path / "mean").exists()


def test_joint_stages_of_another_run_are_not_averaged(made, runs, tmp_path):
    for run in runs[:2]:
        rewrite(run, "settings.json", continued={"name": "fold-1", "weights": "0"})

    with pytest.raises(
        TrainingError, match="made: its stage 'joint' is that of fold-1; finish stage 'refine'"
    ):
        averaging.average(made.recipe, runs[:2], tmp_path / "mean")


def test_folds_are_the_same_wherever_they_come_from(made, runs, tmp_path):
    rewrite(runs[1], "split.json", about="as in split.json")

    assert averaging.average(made.recipe, runs[:2], tmp_path / "mean") == "joint"


def test_a_mean_is_neither_averaged_again_nor_trained_on(made, runs, tmp_path):
    averaging.average(made.recipe, runs[:2], tmp_path / "mean")

    with pytest.raises(TrainingError, match="mean: is the mean of other runs; name these with --run instead"):
        averaging.average(made.recipe, [runs[2], tmp_path / "mean"], tmp_path / "again")
    with pytest.raises(TrainingError, match="mean: is the mean of other runs, which cannot be"):
        next(runner.train(replace(made, folder=tmp_path / "mean", resume=True)))


def test_a_full_disk_leaves_nothing_that_prevents_another_try(made, runs, tmp_path, monkeypatch):
    def fail(*_):
        raise OutputError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_weights", fail)
        with pytest.raises(OutputError, match="no space left"):
            averaging.average(made.recipe, runs[:2], tmp_path / "mean")

    assert averaging.average(made.recipe, runs[:2], tmp_path / "mean") == "joint"


def test_what_cannot_be_averaged_is_one_line(made, runs, tmp_path):
    for folders in (runs[:1], [runs[0], runs[0] / "../made"]):
        with pytest.raises(SettingError, match="runs to average; name two or more different ones with --run"):
            averaging.average(made.recipe, folders, tmp_path / "mean")
    with pytest.raises(TrainingError, match="less: already contains a run; choose another --out"):
        averaging.average(made.recipe, runs[:2], runs[2])
    (runs[1] / "joint.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"more/joint\.safetensors: does not exist; finish stage 'joint'"):
        averaging.average(made.recipe, runs[:2], tmp_path / "mean")


def test_the_command_writes_a_run_that_names_the_runs(made, runs, tmp_path, monkeypatch, capsys):
    published = replace(made.recipe, split=None)
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: published})
    out = tmp_path / "mean"
    rewrite(runs[2], "settings.json", set={"stages.joint.rate": "0.01"})

    assert cli.run(["average", "tiny", "--run", str(runs[1]), "--run", str(runs[2]), "--out", str(out)]) == 0

    assert capsys.readouterr().out == f"{out}\n"
    loaded = release.load_run(published, out, made.cases, LAYOUTS["idrid"])
    assert [averaged.overrides for averaged in loaded.averaged] == [{}, {"stages.joint.rate": "0.01"}]
    assert [averaged.weights for averaged in loaded.averaged] == [
        digest(folder / "joint.safetensors") for folder in runs[1:]
    ]
    assert [case.name for case in loaded.held_back] == ["IDRiD_03"]
