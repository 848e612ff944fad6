"""`foveate compare`: the paper's Table 1 on photographs that were held back.

Knows:   which calls its options become, and the names of its files.
Ignores: how rows are trained and scored.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foveate import atomic_files
from foveate.cli import progress, progress_steps
from foveate.cli.options import UsageError, parse_codes
from foveate.cli.options.evaluate import CompareOptions
from foveate.cli.options.training import TrainingOptions
from foveate.cli.train import (
    annotated_cases,
    make_plan,
    print_doubtful_masks,
    print_once,
    print_warnings,
)
from foveate.datasets import Case, checks, layouts
from foveate.inference.prepared_canvas import find_frame
from foveate.lesions import select as select_lesions
from foveate.paths import display_path
from foveate.training import comparison, distributed, run_recipe, run_split, runner
from foveate.training.comparison import LesionComparison, figure, tables
from foveate.writers.tables import utf8

FILES = ("comparison.md", "comparison.json", "figure-2-*.png")
"""Files that a comparison writes, as patterns."""


def compare(recipe: str, training: TrainingOptions, options: CompareOptions) -> None:
    """Train what is missing, compare the networks, print Table 1 and write the results.

    Raises:
        UsageError: an option is misspelt, or there are no photographs to compare on.
        FoveateError: the comparison cannot be done, or this is one of several processes.
    """
    distributed.require_single_process(os.environ, "compare")
    with atomic_files.reserve(options.out):
        atomic_files.require_free(options.out, FILES, results="comparison", replace=options.replace)
        _compare(recipe, training, options)


def _compare(recipe: str, training: TrainingOptions, options: CompareOptions) -> None:
    """Compare, in a folder that is free and reserved."""
    out = options.out
    plan = make_plan(recipe, training, options.run or out / "run", options.fold)
    trained_lesions = plan.recipe.contract.lesions
    lesions = select_lesions(parse_codes(options.lesions) or trained_lesions, trained_lesions)
    if options.on is None and plan.recipe.held_back is None:
        raise UsageError("compare: nothing is held back; name photographs to compare on with --on.")
    layout = layouts.named(training.layout)
    unseen: Sequence[Case] = ()
    if options.on is not None:
        listed = layouts.cases(training.data, layout, options.on)
        print_warnings(training.data, layout, options.on, plan.recipe)
        unseen = annotated_cases(plan.recipe, listed, options.on)
    training_cases = [*plan.cases, *plan.healthy]
    comparison.require_not_trained_on(unseen, training_cases, plan.start)  # before hours of training
    if options.tiling == "paper":
        comparison.require_crop(unseen or plan.cases)
    compared = unseen or run_split.require_annotated(plan.recipe, plan.cases)  # the fold may not be known yet
    run_split.require_folds([plan])
    if unseen:
        print_doubtful_masks([plan])
    contract = comparison.with_tiling(plan.recipe.contract, options.tiling)
    trains_on_them = not (unseen or plan.run.has_run())
    with progress.reading_bar() as show_reading:
        doubt = checks.check_files(
            compared,
            trained_lesions if trains_on_them else lesions,
            show_reading,
            lambda photograph: find_frame(photograph, contract),
        )
    if doubt:
        print_once(doubt)
    progress_steps.show(
        runner.train(replace(plan, stages=comparison.missing_stages(plan.folder), resume=True))
    )
    trained = run_recipe.load_recipe(plan.recipe, plan.folder)
    _, held_back = run_split.split_cases(trained, run_split.require_annotated(trained, plan.cases))
    cases = unseen or held_back
    comparisons = comparison.compare(
        trained,
        plan.folder,
        cases,
        lesions=lesions,
        tiling=options.tiling,
        progress=lambda row, done, name: print(
            f"{row} [{done}/{len(cases)}] {display_path(name)}", file=sys.stderr, flush=True
        ),
    )
    about = {
        "recipe": trained.name,
        "photographs compared on": len(cases),
        "split": "the fold held back" if options.on is None else options.on,
        "fold held back": trained.held_back,
        "tiling": options.tiling,
        "steps": comparison.steps_by_stage(plan.folder),
    }
    print(tables.table_1(comparisons))  # first: it is not lost if the disk is full
    _write(out, comparisons, about)
    print(f"Look at {out / 'comparison.md'}")


def _write(out: Path, comparisons: Mapping[str, LesionComparison], about: Mapping[str, object]) -> None:
    """Write the figures and tables, in place of earlier ones."""
    files = {
        f"figure-2-{lesion}.png": figure.png(lesion_comparison.patch)
        for lesion, lesion_comparison in comparisons.items()
        if lesion_comparison.patch
    }
    files["comparison.md"] = utf8(tables.page(comparisons, about))
    files["comparison.json"] = utf8(tables.record(comparisons, about))
    atomic_files.write_files(out, files)
    atomic_files.remove_others(out, FILES, files)
