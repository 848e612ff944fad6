"""Train all stages of a run, in order.

Knows:   when a folder may be continued, what is recorded first, and which stages follow each other.
Ignores: what happens within a stage, and how a split is chosen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from foveate import atomic_files
from foveate.datasets import Case, checks, digest
from foveate.errors import TrainingError
from foveate.inference.prepared_canvas import find_frame
from foveate.paths import display_path
from foveate.training import (
    cache,
    distributed,
    hard_negatives,
    run_record,
    run_split,
    sample_pictures,
    trainer,
    warm_start,
)
from foveate.training.cache import CachedCase
from foveate.training.distributed import LOCAL, Machine
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import ALONE_STAGES, REFINE, STAGES, Recipe, StageName
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import ContinuedRun, RunSettings, RunSplit
from foveate.training.sampler import StepDataset
from foveate.training.trainer import StageProgress
from foveate.training.validation import Validation


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
    plan = replace(plan, cases=run_split.require_annotated(plan.recipe, plan.cases))
    recipe, keep_records = _begin_run(plan, machine)
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
            if machine.is_first:
                keep_records()  # another process may have begun here meanwhile, with other ones
                plan.run.keep_recipe(recipe)  # now false pixels belong to these records
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


def doubtful_masks(
    plans: Sequence[TrainingPlan], progress: checks.CheckProgress = lambda done, total, name: None
) -> str:
    """Return a line on masks that may count as too large, before one or more runs on the same photographs.

    All masks are read, so the checks that are quicker go first. Nothing is read if one of the runs has begun:
    its records prove that the masks are still the same.

    Args:
        plans: the plans of the runs.
        progress: called after each photograph.

    Returns:
        As `checks.doubtful_masks`.
    """
    if any(plan.run.has_run() for plan in plans):
        return ""
    return checks.doubtful_masks(plans[0].cases, plans[0].recipe.contract.lesions, progress)


def validation_cases(plan: TrainingPlan) -> tuple[Case, ...]:
    """Return the photographs on which a run's stages are validated; none without a schedule.

    Raises:
        SettingError: no photograph is held back.
        DatasetError, TrainingError: as `run_split.split_cases`.
    """
    if plan.validation is None:
        return ()
    _, held_back = run_split.split_cases(plan.recipe, run_split.require_annotated(plan.recipe, plan.cases))
    return plan.validation.choose(held_back)


def _begin_run(plan: TrainingPlan, machine: Machine) -> tuple[Recipe, Callable[[], None]]:
    """Record how the run begins, in the first process.

    Returns:
        The recipe with a split, and what writes the records once more, or checks them if the run has begun.

    Raises: as `train`.
    """
    run = plan.run
    continued = None if plan.continued is None else _describe_continued(plan.continued)
    _require_same_origin(run, continued)
    recipe = replace(plan.recipe, split=plan.recipe.split or run.split)
    keep_records: Callable[[], None] = _keep_nothing
    if machine.is_first:
        split = run_split.choose_split(plan)
        _, held_back = run_split.divide(plan, split)
        atomic_files.require_writable(plan.folder)
        digests = run_record.file_digests([*plan.cases, *plan.healthy], recipe.contract.lesions)
        keep_records = partial(_keep_records, plan, split, digests, continued)
        keep_records()
        if run.has_run() or continued is not None:
            run.keep_recipe(recipe)  # even if no stage is left to train
        if plan.continued is not None:
            _copy_joint_weights(plan.continued, run)
        validated = () if plan.validation is None else plan.validation.choose(held_back)
        run.add_start(
            run_record.start_now(plan.command, machine, validation=[case.name for case in validated])
        )
    machine.barrier()
    return recipe, keep_records


def _copy_joint_weights(source: RunFolder, run: RunFolder) -> None:
    """Copy the weights of another run's joint stage, unless the run has them."""
    if not run.is_finished("joint") or digest(run.weights("joint")) != digest(source.weights("joint")):
        run.write_weights("joint", source.read_weights("joint"))


def _require_same_origin(run: RunFolder, continued: ContinuedRun | None) -> None:
    """Refuse to train a mean of runs, or a run that was begun from another joint stage.

    Raises:
        TrainingError: the folder holds such a run.
    """
    settings = run.read_settings()
    if settings is None:
        return
    where = display_path(run.path)
    if settings.averaged:
        raise TrainingError(
            f"{where}: is the mean of other runs, which cannot be trained or compared; release it, and name "
            "its package with --start"
        )
    if not run.has_run() or settings.continued == continued:
        return
    if settings.continued is None:
        raise TrainingError(f"{where}: has a joint stage of its own; leave out --all-from")
    if continued is None:
        raise TrainingError(
            f"{where}: continues the joint stage of {display_path(settings.continued.name)}; repeat 'foveate "
            "programme' with the same --all-from, or choose another folder"
        )
    raise TrainingError(
        f"{where}: continues a joint stage of {display_path(settings.continued.name)}, which is not that of "
        f"{display_path(continued.name)} now; delete this folder to begin it again"
    )


def _keep_nothing() -> None:
    """Leave the records to the first process."""


def _keep_records(
    plan: TrainingPlan, split: RunSplit, digests: Mapping[str, Any], continued: ContinuedRun | None
) -> None:
    """Record with what the run is begun, or check it once a stage has begun; raises as `RunFolder.keep_*`."""
    contract = plan.recipe.contract
    plan.run.keep_split(split)
    plan.run.keep_settings(
        RunSettings(
            recipe=plan.recipe.name,
            overrides=plan.settings,
            lesions=contract.lesions,
            field=contract.field,
            start=None if plan.start is None else warm_start.describe(plan.start),
            continued=continued,
        )
    )
    plan.run.keep_digests(digests, contract.lesions)


def _describe_continued(run: RunFolder) -> ContinuedRun:
    """Return what a run records about the one that it continues.

    Raises:
        TrainingError: that run has not finished its joint stage.
    """
    run.require_finished("joint")
    return ContinuedRun(name=run.path.name, weights=digest(run.weights("joint")))


def cache_cases(plan: TrainingPlan, recipe: Recipe, machine: Machine) -> list[CachedCase]:
    """Return all photographs to train on from the cache; each process prepares a share of them.

    Raises:
        TrainingError: none of them has a lesion, and the recipe needs one; or a healthy eye is a photograph
            of `examples/`.
    """
    training, _ = run_split.split_cases(recipe, plan.cases)
    run_split.refuse_examples(plan.healthy)
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
