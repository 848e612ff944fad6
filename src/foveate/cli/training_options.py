"""What `foveate train`, `programme` and `compare` have in common: a training, by its options.

Knows:   these options, and which `Plan` they become.
Ignores: what each command does with it.
"""

import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from foveate.cli.options import UsageError
from foveate.errors import SettingError

if TYPE_CHECKING:
    from foveate.training.recipe import Recipe
    from foveate.training.runner import Plan

Fold = Annotated[int | Literal["none"] | None, Parameter(metavar="N|none")]

Stages = Annotated[tuple[Literal["global", "local", "fusion", "joint"], ...], Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """Options of every training; what stands below them is their help."""

    data: Annotated[Path, Parameter(metavar="DIR")]
    """Folder that the data set was unpacked to."""
    layout: Annotated[str, Parameter(metavar="L")] = "idrid"
    """How the set lies in it: a name such as idrid, or a .toml file that describes it."""
    split: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """JSON file of folds, as 'foveate data split' writes it; the recipe's own, if not given. A recipe without
    one deals folds by its seed and saves them in the run."""
    healthy: Annotated[Path | None, Parameter(metavar="DIR")] = None
    """Folder of eyes without any lesion, for recipes that learn from some: photographs, or IDRiD's grading
    part with its labels.csv, of which those of grade 0 in the recipe's learning half are taken."""
    start: Annotated[str | None, Parameter(metavar="MODEL")] = None
    """Model package to go on from, a shipped one's name or a folder: its weights, wherever the recipe's
    network has layers of the same name and shape. Stages that are left out keep them. It must have learned
    from none of the photographs that are held back."""
    settings: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE", negative="")] = ()
    """Another value for one of the recipe's numbers, such as stages.joint.steps=100 (may be given more than
    once)."""
    minutes: Annotated[float | None, Parameter(metavar="N")] = None
    """Train each stage for about so long, in place of the recipe's number of steps."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What computes."""
    threads: Annotated[int | None, Parameter(metavar="N")] = None
    """To compute with; as many as there are processors, if not given."""

    def plan(self, name: str, folder: Path, fold: int | Literal["none"] | None) -> "Plan":
        """Return what is to be trained.

        Args:
            name: of a recipe.
            folder: of the run.
            fold: to hold back; the recipe's own if None.

        Raises:
            UsageError: there is no such recipe.
            FoveateError: a file or a setting is refused.
        """
        from foveate import models  # noqa: PLC0415
        from foveate.datasets import graded, layouts  # noqa: PLC0415
        from foveate.training import overrides, runner  # noqa: PLC0415

        changed = overrides.pairs(self.settings)
        laid = layouts.named(self.layout)
        numbers = runner.adapted(published(name), laid.lesions, laid.field)
        numbers = overrides.override(numbers, changed)
        if self.split is not None:
            numbers = replace(numbers, split=self.split)
        if fold is not None:
            numbers = replace(numbers, held_back=None if fold == "none" else fold)
        return runner.Plan(
            recipe=numbers,
            cases=layouts.cases(self.data, laid, next(iter(laid.splits))),
            folder=folder,
            healthy=() if self.healthy is None else graded.healthy(self.healthy, numbers.healthy_split),
            start=None if self.start is None else models.load(self.start),
            minutes=self.minutes,
            device=self.device,
            threads=self.threads,
            settings=changed,
            command=sys.argv,
        )


def published(name: str) -> "Recipe":
    """Return a recipe by its name.

    Raises:
        UsageError: there is none of that name.
    """
    from foveate.training.recipes import RECIPES  # noqa: PLC0415

    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there is {', '.join(RECIPES)}.")
    return RECIPES[name]()


def require_torch() -> None:
    """Raise SettingError where the extra that trains is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise SettingError("training needs torch, which is not installed; pip install 'foveate[train]'")
