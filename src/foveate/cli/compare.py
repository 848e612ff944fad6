"""`foveate compare`: the paper's Table 1 on photographs that were held back.

Knows:   which calls its options become, and what is shown meanwhile.
Ignores: what is checked first, and how rows are trained and scored.
"""

import os
import sys

from foveate import atomic_files
from foveate.cli import progress, progress_steps
from foveate.cli.options import UsageError, parse_codes
from foveate.cli.options.evaluate import CompareOptions
from foveate.cli.options.training import TrainingOptions
from foveate.cli.train import annotated_cases, make_plan, print_once, print_warnings
from foveate.datasets import layouts
from foveate.lesions import select as select_lesions
from foveate.paths import display_path
from foveate.training import distributed
from foveate.training.comparison import results, tables
from foveate.training.comparison.plan import Comparison, describe, prepare, score, train
from foveate.training.plan import TrainingPlan


def compare(recipe: str, training: TrainingOptions, options: CompareOptions) -> None:
    """Train what is missing, compare the networks, print Table 1 and write the results.

    Raises:
        UsageError: an option is misspelt, or there are no photographs to compare on.
        FoveateError: the comparison cannot be done, or this is one of several processes.
    """
    distributed.require_single_process(os.environ, "compare")
    with atomic_files.reserve(options.out):
        results.prepare(options.out, replace=options.replace)
        _compare(recipe, training, options)


def _compare(recipe: str, training: TrainingOptions, options: CompareOptions) -> None:
    """Compare, in a folder that is free and reserved."""
    plan = make_plan(recipe, training, options.run or options.out / "run", options.fold)
    comparison = _prepare(plan, training, options)
    with progress.reading_bar() as show_reading:
        doubts = comparison.check_files(show_reading)
    for doubt in doubts:
        print_once(doubt)
    progress_steps.show(train(comparison))
    columns = score(
        comparison,
        lambda row, done, name: print(
            f"{row} [{done}/{len(comparison.cases)}] {display_path(name)}", file=sys.stderr, flush=True
        ),
    )
    print(tables.table_1(columns))  # first: it is not lost if the disk is full
    results.write(options.out, columns, describe(comparison))
    print(f"Look at {options.out / 'comparison.md'}")


def _prepare(plan: TrainingPlan, training: TrainingOptions, options: CompareOptions) -> Comparison:
    """Return what is compared, after the quick checks."""
    trained_lesions = plan.recipe.contract.lesions
    lesions = select_lesions(parse_codes(options.lesions) or trained_lesions, trained_lesions)
    if options.on is None:
        if plan.recipe.held_back is None:
            raise UsageError("compare: nothing is held back; name photographs to compare on with --on.")
        return prepare(plan, lesions, tiling=options.tiling)
    layout = layouts.named(training.layout)
    listed = layouts.cases(training.data, layout, options.on)
    print_warnings(training.data, layout, options.on, plan.recipe)
    unseen = annotated_cases(plan.recipe, listed, options.on)
    return prepare(plan, lesions, tiling=options.tiling, unseen=unseen, split=options.on)
