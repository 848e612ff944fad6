"""`foveate train` and `foveate release`: a recipe becomes a run, a run becomes a model package.

Knows:   their options, and which calls they become.
Ignores: how a network is trained or exported.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.cli.training_options import Course, Fold, Stages, published, require_torch


def train(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    course: Course,
    out: Annotated[Path, Parameter(metavar="RUN")],
    fold: Fold = None,
    stage: Stages = (),
    workers: Annotated[int, Parameter(metavar="N")] = 0,
    channels_last: bool = True,
    resume: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a network by a recipe, in the paper's three stages; a killed run goes on where it was.

    Under torchrun the same command computes in several processes, on several GPUs or machines.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid-lite0.
    out
        Folder of the run.
    fold
        The fold that is held back from training, or 'none' to train on all photographs.
    stage
        Train this stage only (may be given more than once). 'global' and 'local' may run side by side.
    workers
        Processes that draw samples ahead of the steps; with 0 the steps wait for them.
    channels_last
        How pictures lie in memory: nearly always the faster way.
    resume
        Go on with the run in --out; all other options as they were.
    """
    require_torch()
    # What computes is imported here, so that --help need not wait for it.
    from foveate.cli import progress_steps  # noqa: PLC0415
    from foveate.training import distributed, runner  # noqa: PLC0415
    from foveate.training.recipe import STAGES  # noqa: PLC0415

    plan = replace(
        course.plan(recipe, out, fold),
        stages=stage or STAGES,
        workers=workers,
        channels_last=channels_last,
        resume=resume,
    )
    with distributed.joined(os.environ, course.device):
        progress_steps.show(runner.train(plan), quiet=distributed.found(course.device).rank > 0)


def programme(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    course: Course,
    out: Annotated[Path, Parameter(metavar="DIR")],
    folds: Annotated[tuple[int, ...], Parameter(name="--fold", metavar="N", negative="")],
    stage: Stages = (),
    workers: Annotated[int, Parameter(metavar="N")] = 0,
    version: Annotated[str, Parameter(metavar="V")] = "1",
) -> None:
    """Make a model: train with each fold held back, then on all photographs, and write its package.

    What lies in --out already is gone on with: the same command again after a kill loses two minutes.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid-half.
    out
        Folder of the runs fold-N and all, and of the package.
    folds
        A fold to hold back from a training of its own (may be given more than once): what is held back
        calibrates the model, chooses its thresholds and says how good it is.
    stage
        Train this stage only, as for training.
    workers
        Processes that draw samples ahead of the steps.
    version
        Of the package's weights.
    """
    require_torch()
    from foveate.cli import progress_steps  # noqa: PLC0415
    from foveate.datasets import layouts  # noqa: PLC0415
    from foveate.training import cross_validation as programmes  # noqa: PLC0415
    from foveate.training.recipe import STAGES  # noqa: PLC0415

    plan = replace(course.plan(recipe, out, "none"), stages=stage or STAGES, workers=workers, resume=True)
    whole = programmes.Programme(
        recipe=published(recipe),
        plan=plan,
        folds=folds,
        layout=layouts.named(course.layout),
        version=version,
    )
    for one in programmes.runs(whole):
        print(one.folder.name, file=sys.stderr)
        progress_steps.show(programmes.train(one))
    print(programmes.finish(whole))


def release(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    data: Annotated[Path, Parameter(metavar="DIR")],
    run: Annotated[Path, Parameter(metavar="RUN")],
    to: Annotated[Path, Parameter(metavar="FOLDER")],
    layout: Annotated[str, Parameter(metavar="L")] = "idrid",
    judged_by: Annotated[tuple[Path, ...], Parameter(metavar="RUN", negative="")] = (),
    version: Annotated[str, Parameter(metavar="V")] = "1",
    stage: Literal["fusion", "joint"] = "joint",
) -> None:
    """Validate a finished run on the photographs held back, calibrate it, and write its model package.

    Parameters
    ----------
    recipe
        Name of the recipe that was trained.
    data
        Folder that the data set was unpacked to.
    run
        Folder of the run.
    to
        Folder of the package; replaced if there is one.
    layout
        How the set lies in its folder, as for training.
    judged_by
        Folder of a finished run of the recipe that held photographs back, in place of the run itself (may be
        given more than once): by them a model that learned from all is calibrated and its thresholds chosen.
    version
        Of the weights.
    stage
        Last stage whose weights are used.
    """
    require_torch()
    from foveate import evaluation  # noqa: PLC0415
    from foveate.datasets import layouts  # noqa: PLC0415
    from foveate.evaluation.networks import ROWS  # noqa: PLC0415
    from foveate.training.release import Judged, recalled, validate, write  # noqa: PLC0415

    laid = layouts.named(layout)
    cases = layouts.cases(data, laid, next(iter(laid.splits)))
    shipped, *by = (recalled(published(recipe), one, cases, laid, stage) for one in (run, *judged_by))
    judged = Judged(shipped=shipped, by=by or [shipped])
    counted = {}
    for row in ROWS:
        counted[row] = validate(judged, row)
        print(f"{row}\n{evaluation.tabulate(evaluation.score(counted[row]))}", file=sys.stderr)
    write(judged, counted, version, to)
    print(to)
