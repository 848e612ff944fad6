"""Make a model from start to finish: train with each fold held back, train on all photographs, release.

Knows:   which runs there are, where they are stored, which one continues another, and that runs with a fold
         held back validate the model.
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
from foveate.errors import SettingError, TrainingError
from foveate.evaluation.networks import ROW_ENGINES
from foveate.paths import display_path
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
    continued_fold: int | None = None
    """The fold whose run's joint stage the run on all photographs continues, by stage 'refine' alone; None:
    that run is trained from the beginning."""
    layout: Layout
    """Layout of the data set."""
    version: str
    """Version of the package's weights."""
    int8: bool = False
    """Whether the package gets int8 networks as well."""

    def __post_init__(self) -> None:
        """Check all folds before the hours of work.

        Raises:
            SettingError: no fold is given, one is given twice, the fold to continue is not among them or
                there is no stage 'refine' to continue it by, or as `TrainingPlan`.
            DatasetError, TrainingError: as `run_split.require_folds`.
        """
        if not self.folds:
            raise SettingError("no fold to hold back; name one or more with --fold")
        if duplicates := [fold for fold, times in Counter(self.folds).items() if times > 1]:
            raise SettingError(f"--fold {duplicates[0]} is given more than once; give each fold once")
        self._check_continued_fold()
        run_split.require_folds(run_plans(self))

    def _check_continued_fold(self) -> None:
        """Raise SettingError if there is no such run to continue, or no stage to continue it by."""
        if self.continued_fold is None:
            return
        if self.continued_fold not in self.folds:
            raise SettingError(
                f"fold {self.continued_fold} cannot be continued, because it is not held back; give --fold "
                f"{self.continued_fold} as well, or another --all-from"
            )
        if REFINE not in self.plan.all_stages:
            without = " without healthy eyes (--healthy)" if REFINE in self.plan.recipe.stages else ""
            raise SettingError(
                f"a run is continued by stage '{REFINE}', which recipe {self.recipe.name} does not have"
                f"{without}; leave out --all-from"
            )
        continued = run_plans(self)[-1].continued
        skips_joint = REFINE in self.plan.stages and "joint" not in self.plan.stages
        if skips_joint and continued is not None and not continued.is_finished("joint"):
            raise SettingError(
                f"fold {self.continued_fold} has no joint stage to continue; give --stage joint as well, or "
                "leave out --all-from"
            )


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
    whole = replace(plan, folder=folder / ALL, recipe=replace(plan.recipe, held_back=None))
    if validation.continued_fold is not None:
        stages = tuple(stage for stage in plan.stages if stage == REFINE)
        continued = fold_plans[validation.folds.index(validation.continued_fold)].run
        whole = replace(whole, continued=continued, stages=stages)
    return [*fold_plans, whole]


def train(plan: TrainingPlan) -> Iterator[tuple[StageName, StageProgress]]:
    """Train the stages that a run lacks; yield after every step. Raises as `runner.train`.

    A run that continues another one waits until that has finished its joint stage.
    """
    if plan.continued is not None and not (plan.stages and plan.continued.is_finished("joint")):
        return iter(())
    return runner.train(replace(plan, resume=True))


def last_stage(validation: CrossValidation) -> LastStage | None:
    """Return the stage that the package can be made of now; None if some run lacks it.

    It is 'refine' if all runs have finished it, or else 'joint', unless the run on all photographs has no
    joint stage of its own.
    """
    if not runs_without(validation, REFINE):
        return REFINE
    if validation.continued_fold is not None or runs_without(validation, "joint"):
        return None
    return "joint"


def runs_without(validation: CrossValidation, stage: StageName) -> list[str]:
    """Return the names of the runs that have not finished a stage."""
    plans = run_plans(validation)
    return [plan.folder.name for plan in plans if not RunFolder(plan.folder).is_finished(stage)]


def write_package(validation: CrossValidation, stage: LastStage) -> Path:
    """Write the package of the run on all photographs and return its folder.

    Args:
        validation: the model, trained.
        stage: the stage that it is made of, from `last_stage`.

    Raises:
        SettingError: as `release.add_int8`.
        TrainingError: a run is not finished or does not belong to the others, or the run on all photographs
            does not continue the one that it should.
        ExportError, DatasetError: as `release.write_package` and `release.choose`.
    """
    plans = run_plans(validation)
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
    continued = None if shipped.continued is None else shipped.continued.name
    if continued != (plans[-1].continued and plans[-1].continued.path.name):
        raise TrainingError(
            f"{display_path(shipped.folder)}: continues {continued or 'no other run'}; give the --all-from "
            "that it was trained with, or delete the folder"
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
