"""`foveate train` and `foveate release`: a recipe becomes a run, a run becomes a model package.

Knows:   their options, and which calls they become.
Ignores: how a network is trained or exported.
"""

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from foveate.cli.options import UsageError
from foveate.errors import SettingError

if TYPE_CHECKING:
    from foveate.training.program import Plan
    from foveate.training.recipe import Recipe


def train(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    data: Annotated[Path, Parameter(metavar="DIR")],
    out: Annotated[Path, Parameter(metavar="RUN")],
    layout: Annotated[str, Parameter(metavar="L")] = "idrid",
    split: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    fold: Annotated[int | Literal["none"] | None, Parameter(metavar="N|none")] = None,
    healthy: Annotated[Path | None, Parameter(metavar="DIR")] = None,
    start: Annotated[str | None, Parameter(metavar="MODEL")] = None,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE", negative="")] = (),
    stage: Annotated[tuple[Literal["global", "local", "fusion", "joint"], ...], Parameter(negative="")] = (),
    minutes: Annotated[float | None, Parameter(metavar="N")] = None,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
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
    data
        Folder that the data set was unpacked to.
    out
        Folder of the run.
    layout
        How the set lies in it: a name such as idrid, or a .toml file that describes it.
    split
        JSON file of folds, as 'foveate data split' writes it; the recipe's own, if not given. A recipe
        without one deals folds by its seed and saves them in the run.
    fold
        The fold that is held back from training, or 'none' to train on all photographs.
    healthy
        Folder of eyes without any lesion, for recipes that learn from some: photographs, or IDRiD's grading
        part with its labels.csv, of which those of grade 0 in the recipe's learning half are taken.
    start
        Model package to go on from, a shipped one's name or a folder: its weights, wherever the recipe's
        network has layers of the same name and shape. Stages that are left out keep them.
    settings
        Another value for one of the recipe's numbers, such as stages.joint.steps=100 (may be given more than
        once).
    stage
        Train this stage only (may be given more than once). 'global' and 'local' may run side by side.
    minutes
        Train each stage for about so long, in place of the recipe's number of steps.
    device
        What computes.
    threads
        To compute with; as many as there are processors, if not given.
    workers
        Processes that draw samples ahead of the steps; with 0 the steps wait for them.
    channels_last
        How pictures lie in memory: nearly always the faster way.
    resume
        Go on with the run in --out; all other options as they were.
    """
    require_torch()
    # What computes is imported here, so that --help need not wait for it.
    from foveate.cli import steps  # noqa: PLC0415
    from foveate.training import machine, program  # noqa: PLC0415
    from foveate.training.recipe import STAGES  # noqa: PLC0415

    plan = replace(
        planned(
            recipe,
            data,
            out,
            layout=layout,
            split=split,
            fold=fold,
            healthy=healthy,
            start=start,
            settings=settings,
        ),
        stages=stage or STAGES,
        minutes=minutes,
        device=device,
        threads=threads,
        workers=workers,
        channels_last=channels_last,
        resume=resume,
    )
    with machine.joined(os.environ, device):
        steps.show(program.train(plan), quiet=machine.found(device).rank > 0)


def planned(
    recipe: str,
    data: Path,
    folder: Path,
    *,
    layout: str,
    split: Path | None,
    fold: int | Literal["none"] | None,
    healthy: Path | None,
    start: str | None,
    settings: tuple[str, ...],
) -> "Plan":
    """Return what is to be trained, by a recipe's name and what the command line changes in it."""
    from foveate import models  # noqa: PLC0415
    from foveate.datasets import graded, layouts  # noqa: PLC0415
    from foveate.training import overrides, program  # noqa: PLC0415

    changed = overrides.pairs(settings)
    laid = layouts.named(layout)
    numbers = program.adapted(_recipe(recipe), laid.lesions, laid.field)
    numbers = overrides.override(numbers, changed)
    if split is not None:
        numbers = replace(numbers, split=split)
    if fold is not None:
        numbers = replace(numbers, held_back=None if fold == "none" else fold)
    cases = layouts.cases(data, laid, next(iter(laid.splits)))
    return program.Plan(
        recipe=numbers,
        cases=cases,
        folder=folder,
        healthy=graded.healthy(healthy, numbers.healthy_split) if healthy is not None else (),
        start=models.load(start) if start is not None else None,
        settings=changed,
        command=sys.argv,
    )


def programme(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    data: Annotated[Path, Parameter(metavar="DIR")],
    out: Annotated[Path, Parameter(metavar="DIR")],
    folds: Annotated[tuple[int, ...], Parameter(name="--fold", metavar="N", negative="")],
    layout: Annotated[str, Parameter(metavar="L")] = "idrid",
    split: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    healthy: Annotated[Path | None, Parameter(metavar="DIR")] = None,
    start: Annotated[str | None, Parameter(metavar="MODEL")] = None,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE", negative="")] = (),
    stage: Annotated[tuple[Literal["global", "local", "fusion", "joint"], ...], Parameter(negative="")] = (),
    minutes: Annotated[float | None, Parameter(metavar="N")] = None,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
    workers: Annotated[int, Parameter(metavar="N")] = 0,
    version: Annotated[str, Parameter(metavar="V")] = "1",
) -> None:
    """Make a model: train with each fold held back, then on all photographs, and write its package.

    What lies in --out already is gone on with: the same command again after a kill loses two minutes.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid-half.
    data
        Folder that the data set was unpacked to.
    out
        Folder of the runs fold-N and all, and of the package.
    folds
        A fold to hold back from a training of its own (may be given more than once): what is held back
        calibrates the model, chooses its thresholds and says how good it is.
    layout
        How the set lies in its folder, as for training.
    split
        JSON file of folds, as for training.
    healthy
        Folder of eyes without any lesion, as for training.
    start
        Model package to go on from, as for training. It must have learned from none of the folds.
    settings
        Another value for one of the recipe's numbers, as for training.
    stage
        Train this stage only, as for training.
    minutes
        Train each stage of each run for about so long, in place of the recipe's number of steps.
    device
        What computes.
    threads
        To compute with; as many as there are processors, if not given.
    workers
        Processes that draw samples ahead of the steps.
    version
        Of the package's weights.
    """
    require_torch()
    from foveate import programme as programmes  # noqa: PLC0415
    from foveate.cli import steps  # noqa: PLC0415
    from foveate.datasets import layouts  # noqa: PLC0415
    from foveate.training.recipe import STAGES  # noqa: PLC0415

    plan = replace(
        planned(
            recipe,
            data,
            out,
            layout=layout,
            split=split,
            fold="none",
            healthy=healthy,
            start=start,
            settings=settings,
        ),
        stages=stage or STAGES,
        minutes=minutes,
        device=device,
        threads=threads,
        workers=workers,
        resume=True,
    )
    whole = programmes.Programme(
        recipe=_recipe(recipe), plan=plan, folds=folds, layout=layouts.named(layout), version=version
    )
    for one in programmes.runs(whole):
        print(one.folder.name, file=sys.stderr)
        steps.show(programmes.train(one))
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
    from foveate.release import Judged, recalled, validate, write  # noqa: PLC0415

    laid = layouts.named(layout)
    cases = layouts.cases(data, laid, next(iter(laid.splits)))
    shipped, *by = (recalled(_recipe(recipe), one, cases, laid, stage) for one in (run, *judged_by))
    judged = Judged(shipped=shipped, by=by or [shipped])
    counted = {}
    for row in ROWS:
        counted[row] = validate(judged, row)
        print(f"{row}\n{evaluation.tabulate(evaluation.score(counted[row]))}", file=sys.stderr)
    write(judged, counted, version, to)
    print(to)


def require_torch() -> None:
    """Raise SettingError where the extra that trains is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise SettingError("training needs torch, which is not installed; pip install 'foveate[train]'")


def _recipe(name: str) -> "Recipe":
    """Return a recipe by its name."""
    from foveate.recipes import RECIPES  # noqa: PLC0415

    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there is {', '.join(RECIPES)}.")
    return RECIPES[name]()
