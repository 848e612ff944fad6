"""The split of a run: which photographs it is trained on, and which are held back.

Knows:   where folds come from, which photographs may be trained on, and what a package at the start has seen.
Ignores: how photographs are assigned to folds, and how a network is trained.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from foveate.datasets import SET_ASIDE, Case, annotated, splits
from foveate.errors import DatasetError, TrainingError
from foveate.paths import display_path
from foveate.training import warm_start
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import Recipe
from foveate.training.run_record import RunSplit

EXAMPLE = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(sorted(SET_ASIDE))})(?![0-9])")
"""The name of an example photograph, also as part of a name: 'examples_IDRiD_226', 'IDRiD_376_small'."""

FOLDS = 5
"""Number of folds that a run assigns if no split is given: four fifths leave nearly all photographs to train
on, and one fifth still has every lesion."""


def require_annotated(recipe: Recipe, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases that were annotated for all lesions of a recipe; the truth of the others is unknown.

    Raises:
        TrainingError: there is no such case.
    """
    lesions = recipe.contract.lesions
    usable = annotated(cases, lesions)
    if not usable:
        raise TrainingError(
            f"no photograph is annotated for all of {', '.join(lesions)}; choose another recipe or another "
            "set"
        )
    return usable


def split_cases(recipe: Recipe, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back, by the recipe's split.

    Raises:
        DatasetError: a photograph is in no fold.
        TrainingError: a photograph of `examples/` is among the cases, or the recipe has no split.
    """
    if recipe.split is None:
        raise TrainingError(f"recipe {recipe.name} has no split; give one with --split")
    return _split_by_folds(recipe, cases, splits.read(recipe.split), recipe.split.name)


def require_folds(plans: Sequence[TrainingPlan]) -> list[TrainingPlan]:
    """Check the folds that the runs of one recipe and set will hold back, before any work.

    Which photographs a fold has is known if folds are given, or were assigned at the run's last start. If the
    runs start from a package, which may have been trained on some of them, folds are assigned for this check,
    once for all runs.

    Returns:
        The plans, with the folds that were assigned for this check.

    Raises:
        DatasetError: a fold does not exist, or a photograph is in no fold.
        TrainingError: no photograph can be used, one is of `examples/`, or the package at the start was
            trained on one of a fold.
    """
    checked: list[TrainingPlan] = []
    assigned = None
    for plan in plans:
        usable = replace(plan, cases=require_annotated(plan.recipe, plan.cases))
        refuse_examples(usable.cases)
        split, fold = _existing_split(usable), plan.recipe.held_back
        if split is None and fold is not None and plan.start is not None:
            split = assigned = assigned or choose_split(usable)
        if split is not None:
            divide(usable, split)
        elif fold is not None and fold not in range(FOLDS):
            raise DatasetError(
                f"fold {fold} does not exist; hold back one of the folds 0 to {FOLDS - 1} that a run "
                "assigns, or give other folds with --split"
            )
        checked.append(replace(plan, assigned=assigned or plan.assigned))
    return checked


def divide(plan: TrainingPlan, split: RunSplit) -> tuple[list[Case], list[Case]]:
    """Return the cases that a run is trained on and those that it holds back.

    Args:
        plan: the plan, with cases that were annotated for all lesions of the recipe.
        split: the folds.

    Raises:
        DatasetError: the fold does not exist, or a photograph is in no fold.
        TrainingError: the package at the start was trained on a photograph that is held back, or one is of
            `examples/`.
    """
    path = plan.recipe.split or plan.run.split
    training, held_back = _split_by_folds(plan.recipe, plan.cases, split.folds, path.name)
    if plan.start is not None:
        warm_start.require_unseen(plan.start, plan.recipe, held_back)
    return training, held_back


def _split_by_folds(
    recipe: Recipe, cases: Sequence[Case], folds: Mapping[str, int], split_name: str
) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back; the split's name is for messages."""
    refuse_examples(cases)
    if recipe.held_back is None:
        return list(cases), []
    try:
        training, held_back = splits.part([case.name for case in cases], folds, recipe.held_back)
    except DatasetError as error:
        raise DatasetError(
            f"{display_path(split_name)}: {error}; give a split of this set with --split ('foveate data "
            "split' makes one)"
        ) from error
    by_name = {case.name: case for case in cases}
    return [by_name[name] for name in training], [by_name[name] for name in held_back]


def refuse_examples(cases: Sequence[Case]) -> None:
    """Raise TrainingError where a photograph of `examples/` would be trained on."""
    for case in cases:
        if match := EXAMPLE.search(case.name):
            raise TrainingError(
                f"{match.group()} is an example photograph, which must not be used for training; remove it "
                "from the set"
            )


def choose_split(plan: TrainingPlan) -> RunSplit:
    """Return the recipe's folds, or those of the run, or new ones assigned with the recipe's seed.

    Raises:
        DatasetError: there are too few photographs, or too few eyes, to hold a fold back.
    """
    if (split := _existing_split(plan)) is not None:
        return split
    recipe = plan.recipe
    about = f"made by the run: {FOLDS} folds, stratified by lesions, seed {recipe.seed}"
    try:
        folds = splits.stratified(plan.cases, recipe.contract.lesions, FOLDS, recipe.seed)
    except DatasetError:  # a mask that cannot be used is reported when its case is cached
        if recipe.held_back is not None:
            raise
        about, folds = "no folds: all photographs are used for training", {}
    return RunSplit(about=about, folds=folds, held_back=recipe.held_back)


def _existing_split(plan: TrainingPlan) -> RunSplit | None:
    """Return the recipe's folds, those of the run, or those assigned for it; None if there are none yet."""
    recipe = plan.recipe
    if recipe.split is not None:
        about, folds = f"as in {recipe.split.name}", splits.read(recipe.split)
        return RunSplit(about=about, folds=folds, held_back=recipe.held_back)
    split = plan.run.read_split() if plan.run.has_run() else plan.assigned
    return split and replace(split, held_back=recipe.held_back)
