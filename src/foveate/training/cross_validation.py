"""Make a model from start to finish: train with each fold held back, train on all photographs, release.

Knows:   which runs there are, where they are stored, and that runs with a fold held back validate the model.
Ignores: how a run is trained, and how a package is made from it.

The folder holds fold-N, a run for each fold held back; all, the run whose weights are released; and package,
the model package.
Finished work is reused; an interruption repeats at most two minutes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.choices import LastStage
from foveate.datasets.layouts import Layout
from foveate.errors import SettingError
from foveate.evaluation.networks import ROW_ENGINES
from foveate.training import release, run_split, runner
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import REFINE, Recipe, StageName
from foveate.training.run_folder import RunFolder
from foveate.training.trainer import StageProgress
from foveate.training.validation import ValidationSchedule

ALL, PACKAGE = "all", "package"
"""Names of the folders of the run on all photographs and of the package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidation:
    """A model to be trained, with the runs that validate it."""

    recipe: Recipe
    """The recipe as published."""
    plan: TrainingPlan
    """Plan of the run on all photographs, with all overrides; its folder holds all runs."""
    schedule: ValidationSchedule | None = None
    """How often the stages of the runs that hold a fold back are validated on it; None: not at all."""
    folds: Sequence[int]
    """Folds to hold back, one after another."""
    layout: Layout
    """Layout of the data set."""
    version: str
    """Version of the package's weights."""
    int8: bool = False
    """Whether the package gets int8 networks as well."""

    def __post_init__(self) -> None:
        """Check all folds before the hours of work.

        Raises:
            SettingError: no fold is given, one is given twice, or as `TrainingPlan`.
            DatasetError, TrainingError: as `run_split.require_folds`.
        """
        if not self.folds:
            raise SettingError("no fold to hold back; name one or more with --fold")
        if duplicates := [fold for fold, times in Counter(self.folds).items() if times > 1]:
            raise SettingError(f"--fold {duplicates[0]} is given more than once; give each fold once")
        run_split.require_folds(run_plans(self))


def run_plans(validation: CrossValidation) -> list[TrainingPlan]:
    """Return the plans of all runs. Those that hold a fold back come first, so that problems show early."""
    folder, plan = validation.plan.folder, validation.plan
    fold_plans = [
        replace(
            plan,
            folder=folder / f"fold-{fold}",
            recipe=replace(plan.recipe, held_back=fold),
            validation=validation.schedule,
        )
        for fold in validation.folds
    ]
    return [*fold_plans, replace(plan, folder=folder / ALL, recipe=replace(plan.recipe, held_back=None))]


def train(plan: TrainingPlan) -> Iterator[tuple[StageName, StageProgress]]:
    """Train the stages that a run lacks; yield after every step. Raises as `runner.train`."""
    return runner.train(replace(plan, resume=True))


def runs_without(validation: CrossValidation, stage: StageName) -> list[str]:
    """Return the names of the runs that have not finished a stage."""
    plans = run_plans(validation)
    return [plan.folder.name for plan in plans if not RunFolder(plan.folder).is_finished(stage)]


def write_package(validation: CrossValidation) -> Path:
    """Write the package of the run on all photographs and return its folder.

    It has the weights of stage 'refine' if all runs have finished it, or else those of 'joint'.

    Raises:
        SettingError: as `release.add_int8`.
        TrainingError: a run is not finished, or does not belong to the others.
        ExportError, DatasetError: as `release.write_package` and `release.choose`.
    """
    plans = run_plans(validation)
    stage: LastStage = "joint" if runs_without(validation, REFINE) else REFINE
    *fold_runs, shipped = (
        release.load_run(
            validation.recipe,
            plan.folder,
            plan.cases,
            validation.layout,
            stage=stage,
        )
        for plan in plans
    )
    inputs = release.ReleaseInputs(shipped=shipped, validation_runs=fold_runs)
    inputs.check_files()  # before the hours of work
    folder = validation.plan.folder / PACKAGE
    histograms = {row: release.validate(inputs, row) for row in ROW_ENGINES}
    choices = release.choose(inputs, histograms)
    release.write_package(shipped, choices, validation.version, folder)
    if validation.int8:
        release.add_int8(shipped, folder)
    return folder
