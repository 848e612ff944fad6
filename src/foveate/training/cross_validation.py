"""A model from beginning to end: trained with each fold held back, then on all photographs, then released.

Knows:   which runs there are, where they lie, and that the model is judged by those that held a fold back.
Ignores: how a run is trained, and how a package is made of it.

The folder holds fold-N, a run for each fold held back; all, the run whose weights are shipped; and package.
Everything is gone on with where it lies already, so that the same call after a kill loses two minutes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.datasets.layouts import Layout
from foveate.errors import SettingError
from foveate.evaluation.networks import ROWS
from foveate.training import release, runner
from foveate.training.recipe import Recipe, StageName
from foveate.training.runner import Plan
from foveate.training.trainer import Progress

ALL, PACKAGE = "all", "package"
"""Folders of the programme beside those of the folds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Programme:
    """What is to be made."""

    recipe: Recipe
    """As it is published."""
    plan: Plan
    """Of the run on all photographs, with all that was changed; its folder is the programme's."""
    folds: Sequence[int]
    """To hold back, one after another."""
    layout: Layout
    """Of the set."""
    version: str
    """Of the package's weights."""

    def __post_init__(self) -> None:
        """Raise SettingError where no fold is named, or one twice."""
        if not self.folds or len(set(self.folds)) < len(self.folds):
            raise SettingError(f"folds are {list(self.folds)}; name one or more, each once")


def runs(whole: Programme) -> list[Plan]:
    """Return the runs in their order: what is held back is known before hours go into all photographs."""
    folder, plan = whole.plan.folder, whole.plan
    by_fold = [
        replace(plan, folder=folder / f"fold-{n}", recipe=replace(plan.recipe, held_back=n))
        for n in whole.folds
    ]
    return [*by_fold, replace(plan, folder=folder / ALL, recipe=replace(plan.recipe, held_back=None))]


def train(plan: Plan) -> Iterator[tuple[StageName, Progress]]:
    """Train what a run lacks and yield after every step; raises as `runner.train`."""
    return runner.train(replace(plan, resume=True))


def finish(whole: Programme) -> Path:
    """Write the package of the run on all photographs and return its folder.

    Raises:
        TrainingError: a run is not finished, or does not belong to the others.
        ExportError, DatasetError: as `release.write`.
    """
    *folds, everything = (
        release.recalled(whole.recipe, one.folder, one.cases, whole.layout) for one in runs(whole)
    )
    judged = release.Judged(shipped=everything, by=folds)
    folder = whole.plan.folder / PACKAGE
    release.write(judged, {row: release.validate(judged, row) for row in ROWS}, whole.version, folder)
    return folder
