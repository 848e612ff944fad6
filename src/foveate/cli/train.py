"""`foveate train` and `foveate release`: a recipe becomes a run, a run becomes a model package.

Knows:   their options, and which calls they become.
Ignores: how a network is trained or exported.
"""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from foveate.cli.options import UsageError
from foveate.errors import SettingError

if TYPE_CHECKING:
    from foveate.training.recipe import Recipe


def train(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    data: Annotated[Path, Parameter(metavar="DIR")],
    out: Annotated[Path, Parameter(metavar="RUN")],
    stage: Annotated[tuple[Literal["global", "local", "fusion", "joint"], ...], Parameter(negative="")] = (),
    minutes: Annotated[float | None, Parameter(metavar="N")] = None,
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a network by a recipe, in the paper's three stages; a killed run goes on where it was.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid-lite0.
    data
        Folder that IDRiD was unpacked to: it holds 'A. Segmentation'.
    out
        Folder of the run.
    stage
        Train this stage only (may be given more than once). 'global' and 'local' may run side by side.
    minutes
        Train each stage for about so long, in place of the recipe's number of steps.
    threads
        To compute with; as many as there are processors, if not given.
    resume
        Go on with the run in --out.
    """
    _require_torch()
    # What computes is imported here, so that --help need not wait for it.
    from foveate.cli import steps  # noqa: PLC0415
    from foveate.datasets import idrid  # noqa: PLC0415
    from foveate.training.program import Plan, train  # noqa: PLC0415
    from foveate.training.recipe import STAGES  # noqa: PLC0415

    plan = Plan(
        recipe=_recipe(recipe),
        cases=idrid.cases(data, "train"),
        folder=out,
        stages=stage or STAGES,
        minutes=minutes,
        threads=threads,
        resume=resume,
    )
    steps.show(train(plan))


def release(
    recipe: Annotated[str, Parameter(metavar="RECIPE")],
    /,
    *,
    data: Annotated[Path, Parameter(metavar="DIR")],
    run: Annotated[Path, Parameter(metavar="RUN")],
    to: Annotated[Path, Parameter(metavar="FOLDER")],
    version: Annotated[str, Parameter(metavar="V")] = "1",
    stage: Literal["fusion", "joint"] = "joint",
) -> None:
    """Validate a finished run on the photographs held back, choose thresholds, and write its model package.

    Parameters
    ----------
    recipe
        Name of the recipe that was trained.
    data
        Folder that IDRiD was unpacked to.
    run
        Folder of the run.
    to
        Folder of the package; replaced if there is one.
    version
        Of the weights.
    stage
        Last stage whose weights are used.
    """
    _require_torch()
    from foveate import evaluation  # noqa: PLC0415
    from foveate.datasets import idrid  # noqa: PLC0415
    from foveate.release import Trained, validate, write  # noqa: PLC0415
    from foveate.training.program import divided  # noqa: PLC0415

    numbers = _recipe(recipe)
    learned, held_back = divided(numbers, idrid.cases(data, "train"))
    trained = Trained(recipe=numbers, folder=run, stage=stage, learned=learned, held_back=held_back)
    tables = {}
    for row in ("GlobalNet", "LocalNet", "fused"):
        tables[row] = evaluation.score(validate(trained, row))
        print(f"{row}\n{evaluation.tabulate(tables[row])}", file=sys.stderr)
    write(trained, tables, version, to)
    print(to)


def _require_torch() -> None:
    """Raise SettingError where the extra that trains is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise SettingError("training needs torch, which is not installed; pip install 'foveate[train]'")


def _recipe(name: str) -> "Recipe":
    """Return a recipe by its name."""
    from foveate.recipes import RECIPES  # noqa: PLC0415

    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there is {', '.join(RECIPES)}.")
    return RECIPES[name]()
