"""All stages of a run, in their order.

Knows:   which photographs are trained on, and when a folder may be gone on with.
Ignores: what a stage does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from foveate.datasets import SET_ASIDE, Case, splits
from foveate.errors import TrainingError
from foveate.training import run, samples
from foveate.training.recipe import STAGES, Recipe, StageName
from foveate.training.run import Progress

SHEETS = "sheets"
"""Folder of a run that keeps its photographs ready, 50 MB each. May be deleted when the run is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be trained, and where."""

    recipe: Recipe
    cases: Sequence[Case]
    """All of the data set; the recipe's split says which are trained on."""
    folder: Path
    """Of the run; made if need be."""
    stages: tuple[StageName, ...] = STAGES
    """Those to train now; finished ones are passed over."""
    minutes: float | None = None
    """For each stage, in place of the recipe's number of steps."""
    threads: int | None = None
    """To compute with; torch's own choice if None."""
    resume: bool = False
    """Go on with the run that the folder holds."""


def divided(recipe: Recipe, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back, by the recipe's split.

    Raises:
        DatasetError: a photograph is in no fold.
        TrainingError: a photograph of `examples/` is among the cases.
    """
    folds = splits.read(recipe.split)
    learned, held_back = splits.part([case.name for case in cases], folds, recipe.held_back)
    by_name = {case.name: case for case in cases}
    if spoilt := SET_ASIDE & by_name.keys():
        raise TrainingError(f"{sorted(spoilt)[0]} is an example photograph and set aside from all training")
    return [by_name[name] for name in learned], [by_name[name] for name in held_back]


def train(plan: Plan) -> Iterator[tuple[StageName, Progress]]:
    """Train the stages that are not finished and yield after every step.

    Raises:
        TrainingError: the folder holds a run and `resume` is not set, or a stage fails.
        DatasetError: the cases do not fit the split, or a mask cannot be used.
    """
    if (plan.folder / run.RECIPE).exists() and not plan.resume:
        raise TrainingError(f"{plan.folder} holds a run; go on with it by --resume, or choose another --out")
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    learned, _ = divided(plan.recipe, plan.cases)
    sheets = [samples.lay_out(case, plan.recipe.contract, plan.folder / SHEETS) for case in learned]
    for stage in plan.stages:
        if not run.is_finished(plan.folder, stage):
            for progress in run.train_stage(plan.recipe, sheets, plan.folder, stage, plan.minutes):
                yield stage, progress
