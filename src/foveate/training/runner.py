"""All stages of a run, in their order.

Knows:   which photographs are trained on, when a folder may be gone on with, what is written down first.
Ignores: what a stage does.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import torch

from foveate.datasets import SET_ASIDE, Case, annotated, splits
from foveate.errors import DatasetError, SettingError, TrainingError
from foveate.models import Package
from foveate.training import (
    cache,
    distributed,
    overrides,
    run_record,
    sample_pictures,
    sampler,
    trainer,
    warm_start,
)
from foveate.training.cache import Sheet
from foveate.training.distributed import HERE, Device, Machine
from foveate.training.recipe import STAGES, Recipe, StageName
from foveate.training.trainer import Progress
from foveate.types import FieldRule
from foveate.writers import files

SHEETS = "sheets"
"""Folder of a run that keeps its photographs ready, 50 MB each. May be deleted when the run is done."""

EXAMPLE = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(sorted(SET_ASIDE))})(?![0-9])")
"""An example photograph's name, also as a part of one: 'examples_IDRiD_226', 'IDRiD_376_small'."""

FOLDS = 5
"""That a run deals itself: four fifths to learn from are nearly all, one fifth still holds every lesion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be trained, and where."""

    recipe: Recipe
    """With all that was changed in it; where its split is None, the run deals one."""
    cases: Sequence[Case]
    """All of the data set; the recipe's split says which are trained on."""
    folder: Path
    """Of the run; made if need be. Several processes must all see it."""
    healthy: Sequence[Case] = ()
    """Eyes without any lesion, to learn from beside them (`Recipe.healthy_share`); none is ever held back."""
    stages: tuple[StageName, ...] = STAGES
    """Those to train now; finished ones are passed over."""
    start: Package | None = None
    """A model package whose weights the network begins with, in place of random and ImageNet ones."""
    minutes: float | None = None
    """For each stage, in place of the recipe's number of steps."""
    device: Device = "cpu"
    """What computes."""
    threads: int | None = None
    """To compute with; torch's own choice if None."""
    workers: int = 0
    """Processes that draw samples ahead."""
    channels_last: bool = True
    """How pictures lie in memory."""
    resume: bool = False
    """Go on with the run that the folder holds."""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What was changed in the recipe of its name, to be written down."""
    command: Sequence[str] = ()
    """The command line, to be written down."""

    def __post_init__(self) -> None:
        """Raise SettingError for no thread, minutes that are no time, or healthy eyes of no use."""
        if self.threads is not None and self.threads < 1:
            raise SettingError(f"threads are {self.threads}; at least 1, or leave --threads out")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise SettingError(f"minutes are {self.minutes}; a number above 0, or leave --minutes out")
        if self.healthy and not self.recipe.healthy_share:
            raise SettingError(
                f"recipe {self.recipe.name}: healthy_share is {self.recipe.healthy_share}, so healthy eyes "
                "would not be learned from; --set healthy_share=0.15, say, or leave --healthy out"
            )
        if twice := {case.name for case in self.cases} & {case.name for case in self.healthy}:
            raise SettingError(
                f"{min(twice)} is a photograph of the set and a healthy eye beside it; rename one of them"
            )


def adapted(recipe: Recipe, lesions: tuple[str, ...], field: FieldRule) -> Recipe:
    """Return a recipe for any lesions with those of a data set in its contract; another one as it is.

    Args:
        recipe: any.
        lesions: codes that the set's layout knows.
        field: whether its photographs have a round field to be found.
    """
    if not recipe.any_lesions:
        return recipe
    return replace(recipe, contract=replace(recipe.contract, lesions=lesions, field=field))


def recalled(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe as a run's folder was trained by it: with its settings, lesions and split.

    Args:
        recipe: of the run's name, as it is published.
        folder: of the run.

    Raises:
        TrainingError: the run is another recipe's.
        SettingError: a setting is no longer known.
    """
    kept = run_record.settings(folder)
    if kept is not None:
        if kept["recipe"] != recipe.name:
            raise TrainingError(
                f"{folder} holds a run of recipe {kept['recipe']}, not {recipe.name}; name that recipe, or "
                "another run"
            )
        recipe = adapted(overrides.override(recipe, kept["set"]), tuple(kept["lesions"]), kept["field"])
    split = run_record.split(folder)
    return recipe if split is None else replace(recipe, split=split[0], held_back=split[1])


def looked_through(recipe: Recipe, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases that were annotated for all lesions of a recipe; of the others the truth is not known.

    Raises:
        TrainingError: none was.
    """
    lesions = recipe.contract.lesions
    found = annotated(cases, lesions)
    if not found:
        raise TrainingError(
            f"no photograph was looked through for {', '.join(lesions)}; choose another recipe or set"
        )
    return found


def divided(recipe: Recipe, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back, by the recipe's split.

    Raises:
        DatasetError: a photograph is in no fold.
        TrainingError: a photograph of `examples/` is among the cases, or there is no split.
    """
    if recipe.split is None:
        raise TrainingError(f"recipe {recipe.name} has no split; name one with --split")
    return _parted(recipe, cases, splits.read(recipe.split), recipe.split.name)


def _parted(
    recipe: Recipe, cases: Sequence[Case], folds: Mapping[str, int], name: str
) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back; `name` is the split's, for messages."""
    _refuse_examples(cases)
    if recipe.held_back is None:
        return list(cases), []
    try:
        learned, held_back = splits.part([case.name for case in cases], folds, recipe.held_back)
    except DatasetError as error:
        raise DatasetError(
            f"{name}: {error}; name a split of this set with --split ('foveate data split' makes one)"
        ) from error
    by_name = {case.name: case for case in cases}
    return [by_name[name] for name in learned], [by_name[name] for name in held_back]


def _refuse_examples(cases: Sequence[Case]) -> None:
    """Raise TrainingError where a photograph of `examples/` is to be learned from."""
    for case in cases:
        if spoilt := EXAMPLE.search(case.name):
            raise TrainingError(
                f"{spoilt.group()} is an example photograph and set aside from all training; leave it out"
            )


def train(plan: Plan) -> Iterator[tuple[StageName, Progress]]:
    """Train the stages that are not finished and yield after every step.

    Raises:
        TrainingError: the folder holds a run and `resume` is not set, or one of other settings, split or
            data, or a stage fails.
        DatasetError: the cases do not fit the split, or a mask cannot be used.
        SettingError: the device is not there, or a step is too small for so many processes.
        OutputError: nothing can be written into the folder.
    """
    if _is_begun(plan.folder) and not plan.resume:
        raise TrainingError(f"{plan.folder} holds a run; go on with it by --resume, or choose another --out")
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    here = distributed.found(plan.device, plan.workers, channels_last=plan.channels_last)
    here.meet()  # all have looked into the folder before the first one writes
    plan = replace(plan, cases=looked_through(plan.recipe, plan.cases))
    recipe = _settled(plan, here)
    sheets = _laid_out(plan, recipe, here)
    for stage in plan.stages:
        if not trainer.is_finished(plan.folder, stage):
            if here.rank == 0:
                _picture(plan.folder, recipe, sheets, stage)
            for progress in trainer.train_stage(
                recipe, sheets, plan.folder, stage, start=plan.start, minutes=plan.minutes, machine=here
            ):
                yield stage, progress


def _settled(plan: Plan, here: Machine) -> Recipe:
    """Return the recipe with a split, once the first process has written down how the run begins."""
    recipe, folder = plan.recipe, plan.folder
    path = recipe.split or folder / run_record.SPLIT
    recipe = replace(recipe, split=path)
    if here.rank == 0:
        about, folds = _folds(plan)
        _, held_back = _parted(recipe, plan.cases, folds, path.name)
        if plan.start is not None:
            warm_start.require_unseen(plan.start, recipe, held_back)
        files.prove(folder)
        split = {"about": about, "folds": folds, "held_back": recipe.held_back}
        run_record.keep(folder, run_record.SPLIT, split, "another split")
        kept = {
            "recipe": recipe.name,
            "set": dict(plan.settings),
            "lesions": list(recipe.contract.lesions),
            "field": recipe.contract.field,
        } | ({} if plan.start is None else {"start": warm_start.described(plan.start)})
        run_record.keep(folder, run_record.SETTINGS, kept, "other settings")
        seen = run_record.digests([*plan.cases, *plan.healthy])
        run_record.keep(folder, run_record.DATA, seen, "other photographs or masks")
        run_record.add_start(folder, plan.command, here)
    here.meet()
    return recipe


def _is_begun(folder: Path) -> bool:
    """Say whether a folder holds a run; one that may not be looked into is told of when it is written to."""
    try:
        return (folder / trainer.RECIPE).exists()
    except OSError:
        return False


def _folds(plan: Plan) -> tuple[str, dict[str, int]]:
    """Return the recipe's folds, or some dealt by its seed, and which of the two they are."""
    recipe = plan.recipe
    if recipe.split is not None:
        return f"as in {recipe.split.name}", splits.read(recipe.split)
    about = f"dealt by the run: {FOLDS} folds, stratified by lesions, seed {recipe.seed}"
    if _is_begun(plan.folder):
        return about, splits.read(plan.folder / run_record.SPLIT)
    return about, splits.stratified(plan.cases, recipe.contract.lesions, FOLDS, recipe.seed)


def _laid_out(plan: Plan, recipe: Recipe, here: Machine) -> list[Sheet]:
    """Return the sheets of all photographs to learn from; processes lay out a share each.

    Raises:
        TrainingError: none of them has a lesion, and the recipe takes only those that have; or a healthy eye
            is a photograph of `examples/`.
    """
    learned, _ = divided(recipe, plan.cases)
    _refuse_examples(plan.healthy)
    folder = plan.folder / SHEETS
    if here.rank == 0:
        cache.sweep(folder)
    for case in [*learned, *plan.healthy][here.rank :: here.ranks]:
        cache.lay_out(case, recipe.contract, folder)
    here.meet()
    sheets = [cache.lay_out(case, recipe.contract, folder) for case in learned]
    if recipe.cases == "with-lesion":
        sheets = [sheet for sheet in sheets if sheet.places]
    if not sheets:
        raise TrainingError(
            f"no photograph to learn from has any of {', '.join(recipe.contract.lesions)}; choose another "
            "recipe or set"
        )
    healthy = [cache.lay_out(case, recipe.contract, folder) for case in plan.healthy]
    return [*sheets, *(replace(sheet, is_healthy=True) for sheet in healthy)]


def _picture(folder: Path, recipe: Recipe, sheets: Sequence[Sheet], stage: StageName) -> None:
    """Write what the stage's first step learns from, for a person to look at."""
    first = sampler.Steps(sheets, recipe, stage, HERE)[0]
    picture = sample_pictures.jpeg(sample_pictures.sheet(first, recipe.contract.lesions))
    trainer.write(folder / f"{stage}-samples.jpg", lambda path: path.write_bytes(picture))
