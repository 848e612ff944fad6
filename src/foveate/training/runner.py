"""Train all stages of a run, in order.

Knows:   which photographs are trained on, when a folder may be continued, and what is recorded first.
Ignores: what happens within a stage.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from foveate import atomic_files
from foveate.choices import Device
from foveate.datasets import SET_ASIDE, Case, annotated, checks, splits
from foveate.errors import DatasetError, SettingError, TrainingError
from foveate.inference.prepared_canvas import find_frame
from foveate.models import Package
from foveate.paths import display_path
from foveate.training import (
    cache,
    distributed,
    hard_negatives,
    overrides,
    run_record,
    sample_pictures,
    trainer,
    warm_start,
)
from foveate.training import recipe as recipes
from foveate.training.cache import CachedCase
from foveate.training.distributed import LOCAL, Machine
from foveate.training.recipe import ALONE_STAGES, REFINE, STAGES, Recipe, StageName
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import RunSettings, RunSplit
from foveate.training.sampler import StepDataset
from foveate.training.trainer import StageProgress
from foveate.training.validation import Validation, ValidationSchedule
from foveate.types import FieldRule

EXAMPLE = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(sorted(SET_ASIDE))})(?![0-9])")
"""The name of an example photograph, also as part of a name: 'examples_IDRiD_226', 'IDRiD_376_small'."""

RUN_KEYS = frozenset({"name", "split", "held_back"})
"""Keys of a recipe in JSON that belong to a run, and not to the way in which a network is trained."""

INPUT_KEYS = frozenset(
    f"contract.{key}"
    for key in (
        "lesions",
        "mean",
        "std",
        "view_side",
        "window_side",
        "field_diameter",
        "scale_tolerance",
        "field",
        "part",
    )
)
"""Dotted names of a recipe's numbers in JSON that say what a network is trained on. The contract's others can
be changed afterwards: they say how predictions lay out and average windows and views."""

FOLDS = 5
"""Number of folds that a run assigns if no split is given: four fifths leave nearly all photographs to train
on, and one fifth still has every lesion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """What is to be trained, and where."""

    recipe: Recipe
    """The recipe with all overrides applied; if its split is None, the run assigns folds."""
    cases: Sequence[Case]
    """All photographs of the data set; the recipe's split says which are trained on."""
    folder: Path
    """Folder of the run, created if necessary. All processes must be able to read it."""
    healthy: Sequence[Case] = ()
    """Healthy eyes to train on in addition (`Recipe.healthy_share`); none of them is ever held back."""
    stages: tuple[StageName, ...] = STAGES
    """Stages to train now, in any order: each is trained once, after those that it starts from. Finished ones
    are skipped."""
    start: Package | None = None
    """A model package whose weights the network starts from, instead of random and ImageNet weights."""
    validation: ValidationSchedule | None = None
    """How often the stages are validated on held-back photographs; None: not at all."""
    minutes: float | None = None
    """Time for each stage, instead of the recipe's number of steps."""
    device: Device = "cpu"
    """Where the network computes."""
    threads: int | None = None
    """Threads to compute with; None for torch's own choice."""
    workers: int = 0
    """Processes that prepare samples in advance."""
    channels_last: bool = True
    """Whether pictures have the memory format channels last."""
    resume: bool = False
    """Continue the run that the folder holds."""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The overrides of the published recipe, to be recorded."""
    command: Sequence[str] = ()
    """The command line, to be recorded."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            SettingError: threads are below 1, minutes are not a positive number, no photograph is held back
                to validate on, or healthy eyes are not used by the recipe or have a photograph's name.
        """
        if self.threads is not None and self.threads < 1:
            raise SettingError(f"threads is {self.threads}; give 1 or more, or leave out --threads")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise SettingError(f"minutes is {self.minutes}; give a number above 0, or leave out --minutes")
        if self.validation is not None and self.recipe.held_back is None:
            self.validation.choose([])  # raises
        if self.healthy and not self.recipe.healthy_share:
            raise SettingError(
                f"recipe {self.recipe.name}: healthy_share is {self.recipe.healthy_share:g}, so healthy eyes "
                "would not be used; give --set healthy_share=0.15, for example, or leave out --healthy"
            )
        if REFINE in self.stages:
            self._require_refinable()
        if duplicates := {case.name for case in self.cases} & {case.name for case in self.healthy}:
            raise SettingError(
                f"{min(duplicates)} is the name of both a photograph of the set and a healthy eye; rename "
                "one of them"
            )

    def _require_refinable(self) -> None:
        """Raise SettingError if the refine stage cannot be trained."""
        if REFINE not in self.recipe.stages:
            raise SettingError(
                f"recipe {self.recipe.name} has no stage '{REFINE}'; choose among {', '.join(STAGES)}"
            )
        if not self.healthy:
            raise SettingError(f"stage '{REFINE}' needs healthy eyes; give some with --healthy")

    @property
    def all_stages(self) -> tuple[StageName, ...]:
        """Return all stages that the recipe has for these photographs, in their order."""
        return self.recipe.all_stages(with_healthy=bool(self.healthy))

    @property
    def run(self) -> RunFolder:
        """Return the folder of the run with the names of its files."""
        return RunFolder(self.folder)


def adapt_to_layout(recipe: Recipe, lesions: tuple[str, ...], field: FieldRule) -> Recipe:
    """Return a recipe with a data set's lesions if it is for any lesions; return other recipes unchanged.

    Args:
        recipe: any recipe.
        lesions: codes of the lesions that the set's layout describes.
        field: whether its photographs have a round field of view.
    """
    if not recipe.any_lesions:
        return recipe
    return replace(recipe, contract=replace(recipe.contract, lesions=lesions, field=field))


def load_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe as it was trained in a run's folder: with the run's overrides, lesions and split.

    A run of this recipe is accepted if the network and what it is trained on have not changed since; the
    other numbers, such as `tta_views` and `global_shares`, are those of today. A run of a recipe with another
    name is accepted if all its numbers are equal to this recipe's: both train the same weights.

    Args:
        recipe: a published recipe: that of the run's name, or one with the same numbers.
        folder: folder of the run.

    Raises:
        TrainingError: the run has other numbers, or its records are damaged.
        SettingError: an override is no longer known.
    """
    run = RunFolder(folder)
    settings, split = run.read_settings(), run.read_split()
    if settings is not None:
        recipe = adapt_to_layout(recipe, settings.lesions, settings.field)
        if settings.recipe == recipe.name:
            recipe = overrides.override(recipe, settings.overrides)
        if settings.recipe != recipe.name or run.has_run():
            _require_same_numbers(recipe, run, settings.recipe)
    return recipe if split is None else replace(recipe, split=run.split, held_back=split.held_back)


def _require_same_numbers(recipe: Recipe, run: RunFolder, run_recipe: str) -> None:
    """Raise TrainingError unless a run has the same numbers as this recipe.

    The name and the choice of photographs (split and fold) may differ; they belong to the run. If the name is
    the same, only those numbers are compared without which the run's weights are of no use.
    """
    recorded = _numbers(run.read_recipe() or {})
    numbers = _numbers(json.loads(json.dumps(recipes.describe(recipe))))
    differing = [key for key in {**numbers, **recorded} if numbers.get(key) != recorded.get(key)]
    kind, remedy = f"recipe {run_recipe}, not {recipe.name}", "name that recipe"
    if run_recipe == recipe.name:
        differing = [key for key in differing if key in INPUT_KEYS or key.startswith("network.")]
        kind, remedy = f"an earlier recipe {run_recipe}", "name a recipe of your own with the run's numbers"
    if differing:
        raise TrainingError(
            f"{display_path(run.path)}: a run of {kind}, from which it differs in {', '.join(differing)}; "
            f"{remedy}, or another run"
        )


def _numbers(content: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401  JSON
    """Return the numbers of a recipe in JSON by dotted names, without its name, split and fold."""
    if not isinstance(content, dict):
        return {prefix: content}
    pairs = {key: value for key, value in content.items() if prefix or key not in RUN_KEYS}
    return {
        name: number
        for key, value in pairs.items()
        for name, number in _numbers(value, f"{prefix}.{key}" if prefix else key).items()
    }


def require_annotated(recipe: Recipe, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases that were annotated for all lesions of a recipe; the truth of the others is unknown.

    Raises:
        TrainingError: there is no such case.
    """
    lesions = recipe.contract.lesions
    usable = annotated(cases, lesions)
    if not usable:
        raise TrainingError(
            f"no photograph is annotated for all of {', '.join(lesions)}; choose another recipe or another "
            "set"
        )
    return usable


def split_cases(recipe: Recipe, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back, by the recipe's split.

    Raises:
        DatasetError: a photograph is in no fold.
        TrainingError: a photograph of `examples/` is among the cases, or the recipe has no split.
    """
    if recipe.split is None:
        raise TrainingError(f"recipe {recipe.name} has no split; give one with --split")
    return _split_by_folds(recipe, cases, splits.read(recipe.split), recipe.split.name)


def require_folds(plans: Sequence[TrainingPlan]) -> None:
    """Check the folds that the runs of one recipe and set will hold back, before any work.

    Which photographs a fold has is known if folds are given, or were assigned at the run's last start. If the
    runs start from a package, which may have been trained on some of them, folds are assigned for this check,
    once for all runs.

    Raises:
        DatasetError: a fold does not exist, or a photograph is in no fold.
        TrainingError: no photograph can be used, one is of `examples/`, or the package at the start was
            trained on one of a fold.
    """
    assigned = None
    for plan in plans:
        usable = replace(plan, cases=require_annotated(plan.recipe, plan.cases))
        _refuse_examples(usable.cases)
        split, fold = _existing_split(usable), plan.recipe.held_back
        if split is None and fold is not None and plan.start is not None:
            split = assigned = assigned or _choose_split(usable)
        if split is not None:
            _held_back(usable, split)
        elif fold is not None and fold not in range(FOLDS):
            raise DatasetError(
                f"fold {fold} does not exist; hold back one of the folds 0 to {FOLDS - 1} that a run "
                "assigns, or give other folds with --split"
            )


def _held_back(plan: TrainingPlan, split: RunSplit) -> list[Case]:
    """Return the cases that a run holds back, which the package at its start must not have been trained on.

    Args:
        plan: the plan, with cases that were annotated for all lesions of the recipe.
        split: the folds.

    Raises:
        DatasetError: the fold does not exist, or a photograph is in no fold.
        TrainingError: the package at the start was trained on one of the fold.
    """
    path = plan.recipe.split or plan.run.split
    _, held_back = _split_by_folds(plan.recipe, plan.cases, split.folds, path.name)
    if plan.start is not None:
        warm_start.require_unseen(plan.start, plan.recipe, held_back)
    return held_back


def _split_by_folds(
    recipe: Recipe, cases: Sequence[Case], folds: Mapping[str, int], split_name: str
) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those held back; the split's name is for messages."""
    _refuse_examples(cases)
    if recipe.held_back is None:
        return list(cases), []
    try:
        training, held_back = splits.part([case.name for case in cases], folds, recipe.held_back)
    except DatasetError as error:
        raise DatasetError(
            f"{display_path(split_name)}: {error}; give a split of this set with --split ('foveate data "
            "split' makes one)"
        ) from error
    by_name = {case.name: case for case in cases}
    return [by_name[name] for name in training], [by_name[name] for name in held_back]


def _refuse_examples(cases: Sequence[Case]) -> None:
    """Raise TrainingError where a photograph of `examples/` would be trained on."""
    for case in cases:
        if match := EXAMPLE.search(case.name):
            raise TrainingError(
                f"{match.group()} is an example photograph, which must not be used for training; remove it "
                "from the set"
            )


def train(plan: TrainingPlan) -> Iterator[tuple[StageName, StageProgress]]:
    """Train the stages that are not finished; yield after every step.

    Raises:
        TrainingError: the folder holds a run and `resume` is not set, the folder holds a run of other
            settings, split or data, or a stage fails.
        DatasetError: the cases do not fit the split, or a mask cannot be used.
        SettingError: the device does not exist, or a step has too few samples for the number of processes.
        OutputError: another run trains one of the stages, or the folder cannot be written.
    """
    if plan.run.has_run() and not plan.resume:
        raise TrainingError(
            f"{display_path(plan.folder)}: already contains a run; continue it with --resume, or choose "
            "another --out"
        )
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    machine = distributed.current_machine(plan.device, plan.workers, channels_last=plan.channels_last)
    machine.barrier()  # all processes have checked the folder before the first one writes
    plan = replace(plan, cases=require_annotated(plan.recipe, plan.cases))
    recipe = _begin_run(plan, machine)
    cases = cache_cases(plan, recipe, machine)
    validation = None
    if plan.validation is not None:
        validation = Validation(
            cases=validation_cases(replace(plan, recipe=recipe)), every=plan.validation.every
        )
        checks.check_files(  # before hours of training
            validation.cases,
            recipe.contract.lesions,
            require_usable=lambda photograph: find_frame(photograph, recipe.contract),
        )
    for stage in (*STAGES, REFINE, *ALONE_STAGES):
        if stage not in plan.stages or plan.run.is_finished(stage):
            continue
        with atomic_files.reserve(plan.run.reservation(stage)) if machine.is_first else nullcontext():
            stage_cases = _with_false_pixels(plan, recipe, cases, machine) if stage == REFINE else cases
            if machine.is_first:
                _write_samples(plan.run, recipe, stage_cases, stage)
            for progress in trainer.train_stage(
                recipe,
                stage_cases,
                plan.run,
                stage,
                start=plan.start,
                minutes=plan.minutes,
                validation=validation,
                machine=machine,
            ):
                yield stage, progress


def validation_cases(plan: TrainingPlan) -> tuple[Case, ...]:
    """Return the photographs on which a run's stages are validated; none without a schedule.

    Raises:
        SettingError: no photograph is held back.
        DatasetError, TrainingError: as `split_cases`.
    """
    if plan.validation is None:
        return ()
    _, held_back = split_cases(plan.recipe, require_annotated(plan.recipe, plan.cases))
    return plan.validation.choose(held_back)


def _begin_run(plan: TrainingPlan, machine: Machine) -> Recipe:
    """Return the recipe with a split, after the first process has recorded how the run begins."""
    run = plan.run
    recipe = replace(plan.recipe, split=plan.recipe.split or run.split)
    if machine.is_first:
        split = _choose_split(plan)
        held_back = _held_back(plan, split)
        atomic_files.require_writable(plan.folder)
        run.keep_split(split)
        run.keep_settings(
            RunSettings(
                recipe=recipe.name,
                overrides=plan.settings,
                lesions=recipe.contract.lesions,
                field=recipe.contract.field,
                start=None if plan.start is None else warm_start.describe(plan.start),
            )
        )
        lesions = recipe.contract.lesions
        run.keep_digests(run_record.file_digests([*plan.cases, *plan.healthy], lesions), lesions)
        if run.has_run():
            run.keep_recipe(recipe)  # even if no stage is left to train
        validated = () if plan.validation is None else plan.validation.choose(held_back)
        run.add_start(
            run_record.start_now(plan.command, machine, validation=[case.name for case in validated])
        )
    machine.barrier()
    return recipe


def _choose_split(plan: TrainingPlan) -> RunSplit:
    """Return the recipe's folds, or those of the run, or new ones assigned with the recipe's seed.

    Raises:
        DatasetError: there are too few photographs, or too few eyes, to hold a fold back.
    """
    if (split := _existing_split(plan)) is not None:
        return split
    recipe = plan.recipe
    about = f"made by the run: {FOLDS} folds, stratified by lesions, seed {recipe.seed}"
    try:
        folds = splits.stratified(plan.cases, recipe.contract.lesions, FOLDS, recipe.seed)
    except DatasetError:  # a mask that cannot be used is reported when its case is cached
        if recipe.held_back is not None:
            raise
        about, folds = "no folds: all photographs are used for training", {}
    return RunSplit(about=about, folds=folds, held_back=recipe.held_back)


def _existing_split(plan: TrainingPlan) -> RunSplit | None:
    """Return the recipe's folds, or those of the run; None if the run has yet to assign them."""
    recipe = plan.recipe
    if recipe.split is not None:
        about, folds = f"as in {recipe.split.name}", splits.read(recipe.split)
        return RunSplit(about=about, folds=folds, held_back=recipe.held_back)
    split = plan.run.read_split() if plan.run.has_run() else None
    return split and replace(split, held_back=recipe.held_back)


def cache_cases(plan: TrainingPlan, recipe: Recipe, machine: Machine) -> list[CachedCase]:
    """Return all photographs to train on from the cache; each process prepares a share of them.

    Raises:
        TrainingError: none of them has a lesion, and the recipe needs one; or a healthy eye is a photograph
            of `examples/`.
    """
    training, _ = split_cases(recipe, plan.cases)
    _refuse_examples(plan.healthy)
    folder = plan.run.cache
    if machine.is_first:
        cache.remove_drafts(folder)
    for case in [*training, *plan.healthy][machine.rank :: machine.world_size]:
        cache.cache_case(case, recipe.contract, folder)
    machine.barrier()
    cached = [cache.cache_case(case, recipe.contract, folder) for case in training]
    if recipe.cases == "with-lesion":
        cached = [case for case in cached if case.lesion_pixels]
    if not cached:
        raise TrainingError(
            f"no training photograph has any of {', '.join(recipe.contract.lesions)}; choose another "
            "recipe or another set"
        )
    healthy = [cache.cache_case(case, recipe.contract, folder) for case in plan.healthy]
    return [*cached, *(replace(case, is_healthy=True) for case in healthy)]


def _with_false_pixels(
    plan: TrainingPlan, recipe: Recipe, cases: Sequence[CachedCase], machine: Machine
) -> list[CachedCase]:
    """Return the cases of the refine stage: healthy eyes with the pixels that the network wrongly marks."""
    return hard_negatives.attach(
        cases,
        healthy=plan.healthy,
        recipe=recipe,
        run=plan.run,
        machine=machine,
        build_network=lambda: trainer.initial_network(recipe, plan.run, REFINE, plan.start),
    )


def _write_samples(run: RunFolder, recipe: Recipe, cases: Sequence[CachedCase], stage: StageName) -> None:
    """Write a picture of the samples of the stage's first step, for people to check."""
    items = StepDataset(cases, recipe, stage, LOCAL)[0]
    picture = sample_pictures.contact_sheet(items, recipe.contract.lesions)
    run.write_samples(stage, sample_pictures.jpeg(picture))
