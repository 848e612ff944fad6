"""`foveate train`, `programme` and `release`: a recipe becomes a run, a run becomes a model package.

Knows:   which calls their options become.
Ignores: how a network is trained or exported.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from foveate import atomic_files, evaluation, models
from foveate.cli import progress, progress_steps
from foveate.cli.options import UsageError
from foveate.cli.options.training import (
    AverageOptions,
    CrossValidationOptions,
    ReleaseOptions,
    TrainingOptions,
    TrainOptions,
)
from foveate.datasets import Case, dr_grades, layouts
from foveate.datasets.layouts import Layout
from foveate.evaluation.networks import ROW_ENGINES
from foveate.training import (
    averaging,
    cross_validation,
    distributed,
    export,
    inherited_choices,
    overrides,
    quantisation,
    recipes,
    run_recipe,
    run_split,
    runner,
)
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import REFINE, Recipe
from foveate.training.release import (
    ReleaseChoices,
    ReleaseInputs,
    add_int8,
    choose,
    load_run,
    validate,
    write_package,
)
from foveate.training.validation import ValidationSchedule
from foveate.wording import quantity


def train(recipe: str, training: TrainingOptions, options: TrainOptions) -> None:
    """Train a network by a recipe, in this process or as one of several.

    Raises:
        UsageError: there is no such recipe.
        FoveateError: the training cannot be done.
    """
    plan = make_plan(recipe, training, options.out, options.fold)
    plan = replace(
        plan,
        stages=options.stage or plan.all_stages,
        workers=options.workers,
        channels_last=options.channels_last,
        resume=options.resume,
        validation=_schedule(options),
    )
    with distributed.process_group(os.environ, training.device):
        is_first = distributed.current_machine(training.device).rank == 0
        if is_first:
            (plan,) = run_split.require_folds([plan])
            print_doubtful_masks([plan])
        progress_steps.show(runner.train(plan), quiet=not is_first)


def cross_validate(recipe: str, training: TrainingOptions, options: CrossValidationOptions) -> None:
    """Train with each fold held back and on all photographs, write the package and print its folder.

    If only earlier stages than 'joint' are to be trained, there is no package yet.

    Raises:
        UsageError: there is no such recipe.
        FoveateError: a training cannot be done, or this is one of several processes.
    """
    distributed.require_single_process(os.environ, "programme")
    if options.int8:
        quantisation.require_installed()
    plan = make_plan(recipe, training, options.out, "none")
    plan = replace(
        plan,
        stages=options.stage or plan.all_stages,
        workers=options.workers,
        resume=True,
    )
    programme = cross_validation.CrossValidation(
        recipe=find_recipe(recipe),
        plan=plan,
        schedule=_schedule(options),
        folds=options.folds,
        continued_fold=options.all_from,
        layout=layouts.named(training.layout),
        version=options.version,
        int8=options.int8,
    )
    export.require_replaceable(options.out / cross_validation.PACKAGE)
    with atomic_files.reserve(options.out):
        _cross_validate(programme)


def _cross_validate(programme: cross_validation.CrossValidation) -> None:
    """Train and release, in a folder that is reserved."""
    runs = cross_validation.run_plans(programme)
    print_doubtful_masks(runs)
    for run in runs:
        print(run.folder.name, file=sys.stderr)
        progress_steps.show(cross_validation.train(run))
    stage = cross_validation.last_stage(programme)
    if stage is None:
        needed = "joint" if programme.continued_fold is None else REFINE
        line = (
            f"the package is written once stage '{needed}' is trained: run the same command without --stage"
        )
        print(f"foveate: {line}", file=sys.stderr)
        return
    unrefined = cross_validation.runs_without(programme, REFINE)
    if stage == "joint" and len(unrefined) < len(runs):
        line = f"the package is made of stage 'joint': {REFINE} is not finished in {', '.join(unrefined)}"
        print(f"foveate: {line}", file=sys.stderr)
    print(cross_validation.write_package(programme, stage))


def average(recipe: str, options: AverageOptions) -> None:
    """Average the weights of several runs, and print the folder of the new one.

    Raises:
        UsageError: there is no such recipe.
        FoveateError: the runs cannot be averaged.
    """
    averaging.average(find_recipe(recipe), options.runs, options.out, sys.argv)
    print(options.out)


def release(recipe: str, options: ReleaseOptions) -> None:
    """Validate a run, write its model package and print the package's folder.

    Raises:
        UsageError: there is no such recipe, or options contradict each other.
        FoveateError: the run cannot be released.
    """
    if options.judged_by and options.thresholds_of is not None:
        raise UsageError("--judged-by chooses thresholds, and --thresholds-of keeps them; leave out one.")
    recipe_of_run = find_recipe(recipe)
    if options.int8:
        quantisation.require_installed()
    export.require_replaceable(options.to)
    atomic_files.require_writable(options.to.parent)
    start = None if options.thresholds_of is None else models.load(options.thresholds_of)
    layout = layouts.named(options.layout)
    split = next(iter(layout.splits))
    cases = layouts.cases(options.data, layout, split)
    shipped, *validating = (
        load_run(recipe_of_run, folder, cases, layout, options.stage)
        for folder in (options.run, *options.judged_by)
    )
    print_warnings(options.data, layout, split, shipped.recipe)
    if start is None:
        choices = _validate(ReleaseInputs(shipped=shipped, validation_runs=validating or [shipped]))
    else:
        choices = inherited_choices.inherit(shipped, start)
    write_package(shipped, choices, options.version, options.to)
    if options.int8:
        add_int8(shipped, options.to, lambda line: print(line, file=sys.stderr))
    print(options.to)


def _validate(inputs: ReleaseInputs) -> ReleaseChoices:
    """Validate a run, print the scores, and return what is chosen by them."""
    with progress.reading_bar() as show_reading:
        doubt = inputs.check_files(show_reading)
    if doubt:
        print_once(doubt)
    histograms = {}
    for row in ROW_ENGINES:
        histograms[row] = validate(inputs, row)
        print(f"{row}\n{evaluation.tabulate(evaluation.score(histograms[row]))}", file=sys.stderr)
    return choose(inputs, histograms)


def _schedule(options: TrainOptions | CrossValidationOptions) -> ValidationSchedule | None:
    """Return how often the stages are validated; None for never."""
    if options.validate_every is None:
        return None
    return ValidationSchedule(every=options.validate_every, photographs=options.validate_photographs)


def make_plan(
    name: str, options: TrainingOptions, folder: Path, fold: int | Literal["none"] | None
) -> TrainingPlan:
    """Return what is to be trained.

    Args:
        name: name of a recipe.
        options: the options of every training.
        folder: folder of the run.
        fold: the fold to hold back; the recipe's own if None.

    Raises:
        UsageError: there is no such recipe.
        FoveateError: a file or a setting is refused.
    """
    settings = overrides.parse_pairs(options.settings)
    layout = layouts.named(options.layout)
    recipe = overrides.override(
        run_recipe.adapt_to_layout(find_recipe(name), layout.lesions, layout.field), settings
    )
    if options.split is not None:
        recipe = replace(recipe, split=options.split)
    if fold is not None:
        recipe = replace(recipe, held_back=None if fold == "none" else fold)
    split = next(iter(layout.splits))
    cases = layouts.cases(options.data, layout, split)
    print_warnings(options.data, layout, split, recipe)
    annotated_cases(recipe, cases, split)
    return TrainingPlan(
        recipe=recipe,
        cases=cases,
        folder=folder,
        healthy=_healthy_cases(options.healthy, recipe),
        start=None if options.start is None else models.load(options.start),
        minutes=options.minutes,
        device=options.device,
        threads=options.threads,
        settings=settings,
        command=sys.argv,
    )


def print_warnings(data: Path, layout: Layout, split: str, recipe: Recipe) -> None:
    """Print a line for each reason why masks of a split may wrongly count as absent; no mask is read.

    Args:
        data: the folder of the set.
        layout: its layout.
        split: a split of the layout.
        recipe: the recipe whose lesions are used.
    """
    for line in layouts.warnings(data, layout, split, recipe.contract.lesions):
        print_once(line)


def print_doubtful_masks(plans: Sequence[TrainingPlan]) -> None:
    """Print a line if masks may count as too large (`runner.doubtful_masks`)."""
    with progress.reading_bar() as show_reading:
        doubt = runner.doubtful_masks(plans, show_reading)
    if doubt:
        print_once(doubt)


def annotated_cases(recipe: Recipe, cases: Sequence[Case], split: str) -> tuple[Case, ...]:
    """Return the photographs of a split that were annotated for all lesions of a recipe.

    If there are others, their number is printed.

    Raises:
        TrainingError: there is no such photograph.
    """
    usable = run_split.require_annotated(recipe, cases)
    if left_out := len(cases) - len(usable):
        print_once(
            f"{quantity(left_out, 'photograph')} of split {split} left out: not annotated for all of "
            f"{', '.join(recipe.contract.lesions)}"
        )
    return usable


def print_once(line: str) -> None:
    """Print a line on standard error; where `torchrun` started several processes, only in the first."""
    if _is_first_process():
        print(f"foveate: {line}", file=sys.stderr)


def _is_first_process() -> bool:
    """Return whether this is the only process, or the first of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def _healthy_cases(folder: Path | None, recipe: Recipe) -> Sequence[Case]:
    """Return the healthy eyes to learn from; none if no folder is named."""
    return () if folder is None else dr_grades.healthy_cases(folder, recipe.healthy_split)


def find_recipe(name: str) -> Recipe:
    """Return the recipe with this name.

    Raises:
        UsageError: there is no such recipe.
    """
    if name not in recipes.RECIPES:
        raise UsageError(f"recipe {name!r} does not exist; choose one of {', '.join(recipes.RECIPES)}.")
    return recipes.RECIPES[name]()
