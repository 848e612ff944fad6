"""The mean of the weights of several runs, as a run of its own.

Knows:   which runs may be averaged, and that normalisations are folded into the convolutions first.
Ignores: how the runs were trained, and how a package is made from their mean.

Networks whose trainings began with the same weights can be averaged (Wortsman et al. 2022, arXiv:2203.05482,
'model soups'); those of independent trainings cannot, because their channels have no common order.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foveate import atomic_files, nets
from foveate.choices import LastStage
from foveate.datasets import digest
from foveate.errors import SettingError, TrainingError
from foveate.nets import LocalGlobalUNet
from foveate.paths import display_path
from foveate.training import run_recipe, run_record, trainer
from foveate.training.distributed import LOCAL
from foveate.training.recipe import REFINE, Recipe
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import AveragedRun, RunSettings


def average(recipe: Recipe, folders: Sequence[Path], out: Path, command: Sequence[str] = ()) -> LastStage:
    """Write a run whose last stage has the mean of the weights of several finished runs.

    Args:
        recipe: the published recipe of the runs' name.
        folders: folders of two or more finished runs with the same network, split and photographs.
        out: folder of the new run; it must not hold one.
        command: the command line, to be recorded.

    Returns:
        The stage whose weights are averaged: 'refine' if the first run has finished it, or else 'joint'.

    Raises:
        SettingError: fewer than two runs are given, or one is given twice.
        TrainingError: a run is not finished, they do not belong together, or `out` already contains a run.
        OutputError: another run is writing to `out`, or it cannot be written.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise SettingError(f"{len(folders)} runs to average; name two or more different ones with --run")
    runs = [RunFolder(folder) for folder in folders]
    if (new := RunFolder(out)).has_run():
        raise TrainingError(f"{display_path(out)}: already contains a run; choose another --out")
    loaded = [run_recipe.load_recipe(recipe, folder) for folder in folders]
    stage: LastStage = REFINE if runs[0].is_finished(REFINE) else "joint"
    for run, own in zip(runs[1:], loaded[1:], strict=True):
        _require_alike(runs[0], loaded[0], run, own)
    if stage != REFINE and (continued := _settings(runs[0]).continued) is not None:
        raise TrainingError(
            f"{display_path(runs[0].path)}: its stage 'joint' is that of {display_path(continued.name)}; "
            f"finish stage '{REFINE}' of every run first"
        )
    networks = [trainer.finished_network(own, run, stage) for own, run in zip(loaded, runs, strict=True)]
    averaged = mean_network(loaded[0], networks)
    with atomic_files.reserve(out):
        new.write_weights(stage, averaged.state_dict())
        new.add_start(run_record.start_now(command, LOCAL))
        new.begin_as(  # last: from then on, the folder holds a run
            runs[0],
            replace(
                _settings(runs[0]),
                averaged=tuple(
                    AveragedRun(overrides=_settings(run).overrides, weights=digest(run.weights(stage)))
                    for run in runs
                ),
            ),
        )
    return stage


def mean_network(recipe: Recipe, networks: Sequence[LocalGlobalUNet]) -> LocalGlobalUNet:
    """Return the network with the mean of the weights of several networks of one plan.

    The mean is taken of folded networks: a run that started from a package has other statistics in its
    normalisations than one that did not, although both may compute the same.
    """
    mean = trainer.mean_weights([nets.fold_batch_norm(network).state_dict() for network in networks])
    network = nets.build(recipe.network, len(recipe.contract.lesions), read_weights=None)
    unmatched = nets.load_folded(mean, network)
    assert not unmatched, "the networks have one plan"
    return network


def _require_alike(first: RunFolder, recipe: Recipe, other: RunFolder, other_recipe: Recipe) -> None:
    """Raise TrainingError unless two runs have the same network, folds, photographs and start."""
    numbers, other_numbers = ((own.network, own.contract) for own in (recipe, other_recipe))
    folds, other_folds = (
        split and (split.folds, split.held_back) for split in (first.read_split(), other.read_split())
    )
    differing_file = run_record.first_difference(
        first.read_digests(), other.read_digests(), recipe.contract.lesions
    )
    differences = {
        "another network or contract": numbers != other_numbers,
        "other folds, or holds back another one": folds != other_folds,
        f"other photographs or masks ({differing_file})": differing_file is not None,
        "another package at its start": _settings(first).start != _settings(other).start,
        "a joint stage of another run": _settings(first).continued != _settings(other).continued,
    }
    for difference in [difference for difference, is_there in differences.items() if is_there]:
        raise TrainingError(
            f"{display_path(other.path)}: has {difference} than {display_path(first.path)}; average runs "
            "that differ in nothing but how they were trained"
        )
    if averaged := [run for run in (first, other) if _settings(run).averaged]:
        raise TrainingError(
            f"{display_path(averaged[0].path)}: is the mean of other runs; name these with --run instead"
        )


def _settings(run: RunFolder) -> RunSettings:
    """Return the settings of a run; raises TrainingError if it has none."""
    settings = run.read_settings()
    if settings is None:
        raise TrainingError(
            f"{display_path(run.path)}: has no settings.json; name a run that this version can load"
        )
    return settings
