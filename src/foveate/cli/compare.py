"""`foveate compare`: the paper's Table 1 on photographs that were held back.

Knows:   its options, which calls they become, and the names of its files.
Ignores: how rows are trained and scored.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.cli import options
from foveate.cli.training_options import Course, Fold, require_torch


def compare(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    course: Course,
    out: Annotated[Path, Parameter(metavar="DIR")],
    run: Annotated[Path | None, Parameter(metavar="RUN")] = None,
    fold: Fold = None,
    on: Annotated[str | None, Parameter(metavar="SPLIT")] = None,
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None,
    tiling: Literal["model", "paper"] = "model",
) -> None:
    """Train GlobalNet alone, LocalNet alone and both fused, at equal steps, and print the paper's Table 1.

    With --minutes, the streams alone take as many steps as the joint stage.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid-lite0.
    out
        Folder of the results: comparison.md, comparison.json, figure-2-<LESION>.png.
    run
        Folder of the run: what it lacks is trained, what is finished stays as it is. OUT/run, if not given.
    fold
        The fold that is held back from training, and compared on; 'none' to train on all photographs.
    on
        Another split of the layout to compare on, such as test, in place of the fold held back.
    lesions
        Lesions to compare; all of the recipe's, if not given.
    tiling
        How photographs are cut: as the model does, or in the paper's 143 patches without overlap.
    """
    require_torch()
    # What computes is imported here, so that --help need not wait for it.
    from foveate.cli import progress_steps  # noqa: PLC0415
    from foveate.datasets import layouts  # noqa: PLC0415
    from foveate.lesions import chosen  # noqa: PLC0415
    from foveate.training import comparison, runner  # noqa: PLC0415
    from foveate.training.comparison import figure, tables  # noqa: PLC0415
    from foveate.writers import files  # noqa: PLC0415

    files.prove(out)
    plan = course.plan(recipe, run or out / "run", fold)
    codes = chosen(options.codes(lesions) or plan.recipe.contract.lesions, plan.recipe.contract.lesions)
    if on is None and plan.recipe.held_back is None:
        raise options.UsageError("compare: nothing is held back; name photographs to compare on with --on.")
    others = layouts.cases(course.data, layouts.named(course.layout), on) if on is not None else ()
    comparison.require_unseen(others, [*plan.cases, *plan.healthy])  # these two before hours are spent
    if tiling == "paper":
        comparison.require_crop(others or plan.cases)
    progress_steps.show(runner.train(replace(plan, stages=comparison.lacking(plan.folder), resume=True)))
    trained = runner.recalled(plan.recipe, plan.folder)
    _, held_back = runner.divided(trained, runner.looked_through(trained, plan.cases))
    cases = runner.looked_through(trained, others) if others else held_back
    found = comparison.compare(
        trained,
        plan.folder,
        cases,
        lesions=codes,
        tiling=tiling,
        tell=lambda row, done, name: print(
            f"{row} [{done}/{len(cases)}] {name}", file=sys.stderr, flush=True
        ),
    )
    about = {
        "recipe": trained.name,
        "photographs compared on": len(cases),
        "split": "the fold held back" if on is None else on,
        "fold held back": trained.held_back,
        "tiling": tiling,
        "steps": comparison.steps(plan.folder),
    }
    for lesion, one in found.items():
        if one.patch:
            files.write(out / f"figure-2-{lesion}.png", figure.png(one.patch))
    files.write(out / "comparison.md", tables.page(found, about).encode())
    files.write(out / "comparison.json", tables.record(found, about).encode())
    print(tables.table_1(found))
    print(f"Look at {out / 'comparison.md'}")
