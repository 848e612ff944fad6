"""Train one stage of a run: the loop over its steps, its checkpoints, and how it resumes after a kill.

Knows:   when to save, what a checkpoint holds, and from which weights a stage starts.
Ignores: the names of files (`run_folder`), how samples are chosen, and how their loss is computed (`stages`).
"""

import copy
import ctypes
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from foveate import nets
from foveate.choices import LastStage
from foveate.datasets import Case
from foveate.errors import TrainingError
from foveate.models import Package
from foveate.nets import LocalGlobalUNet
from foveate.training import curves, sampler, stages, warm_start
from foveate.training import validation as validations
from foveate.training.cache import CachedCase
from foveate.training.curves import Scores, StepRecord, ValidationRecord
from foveate.training.distributed import CONTINUE, LOCAL, Machine, one_line_errors
from foveate.training.recipe import (
    ALONE_STAGES,
    Recipe,
    StageName,
    base_stage,
    snapshot_steps,
    stage_steps,
    steps_per_epoch,
)
from foveate.training.run_folder import RunFolder
from foveate.training.sampler import StepDataset, TrainingItem, split_evenly, without_healthy
from foveate.training.validation import Validation

WEIGHT_STAGES: Mapping[LastStage, tuple[StageName, ...]] = {
    "fusion": ("global", "local", "fusion"),
    "joint": ("joint",),
    "refine": ("refine",),
}
"""Last stage -> the stages whose weights make up the network after it."""

PREREQUISITES: dict[StageName, tuple[StageName, ...]] = {
    "global": (),
    "local": (),
    "fusion": ("global", "local"),
    "joint": ("global", "local", "fusion"),
    "refine": ("joint",),
    "global-alone": ("global",),
    "local-alone": ("local",),
}
"""Stages whose weights a stage starts from."""

OPTIMISERS = MappingProxyType({"adam": torch.optim.Adam, "adamw": torch.optim.AdamW})
"""Name in a recipe -> optimiser. Source: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019,
arXiv:1711.05101."""

SECONDS_BETWEEN_CHECKPOINTS = 120
"""A killed run loses at most two minutes; saving takes a tenth of a second."""

TIMED_STEPS = 8
"""Steps taken to convert `minutes` into a number of steps; the first half is warm-up and not timed."""


NO_VALIDATION = "leave out --validate-every"
"""What to do if there is no memory to validate with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageProgress:
    """The progress of a stage."""

    step: int
    """Steps done."""
    steps: int
    """Steps in total."""
    loss: float
    """Loss of the last step."""
    scores: Scores = field(default_factory=lambda: MappingProxyType({}))
    """Average precision by lesion, of the last validation; empty before the first."""


def keep_memory() -> bool:
    """Let glibc keep freed memory instead of returning it after every step.

    This makes training on Linux 1.5 times as fast. On other systems it does nothing.

    Returns:
        Whether glibc accepted the setting.

    Source: mallopt(3): M_MMAP_THRESHOLD is -3, M_TRIM_THRESHOLD -1.
    """
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(-3, 2**30) and libc.mallopt(-1, 2**31 - 1))
    except (OSError, AttributeError):  # not glibc
        return False


def train_stage(
    recipe: Recipe,
    cases: Sequence[CachedCase],
    run: RunFolder,
    stage: StageName,
    *,
    start: Package | None = None,
    minutes: float | None = None,
    validation: Validation | None = None,
    machine: Machine = LOCAL,
) -> Iterator[StageProgress]:
    """Train one stage from its checkpoint, or from its beginning where there is none; yield after every step.

    Args:
        recipe: all numbers of the training.
        cases: photographs to train on, and healthy eyes in addition, which do not count towards an epoch.
        run: folder of the run, created if necessary. All processes must be able to read it.
        stage: stage to train; the stages that it starts from must be finished, unless `start` is given.
        start: package whose weights the network starts from; weights of finished stages replace them.
        minutes: train about this long instead of the recipe's number of steps. The number of steps is fixed
            and saved at the first start. The stages of a stream alone ignore `minutes`: they take as many
            steps as the joint stage took.
        validation: photographs to validate on, and how often; it changes no weight.
        machine: where to compute.

    Raises:
        TrainingError: a stage that it starts from is missing, the folder holds a run of another recipe, the
            loss is not finite (the last checkpoint is intact), memory runs out, or a process that prepares
            samples was killed.
        OutputError: the folder cannot be written; the last checkpoint is intact.
    """
    keep_memory()
    if machine.is_first:
        run.keep_recipe(recipe)
        run.remove_leftovers()
    with one_line_errors(f"stage {stage}", _smaller_steps(recipe, stage)), ExitStack() as stack:
        trainer = create_trainer(recipe, run, stage, start, machine)
        steps = _resume_or_begin(trainer, cases, run, minutes)
        epoch = steps_per_epoch(recipe, stage, len(without_healthy(cases)))
        log = StageLog(run, trainer, epoch) if machine.is_first else None
        if log is not None:
            stack.callback(log.close)
        saved = time.monotonic()
        for items in _items(trainer, cases, range(trainer.step, steps)):
            rate = stages.learning_rate(recipe, stage, trainer.step, steps)
            loss = trainer.train_step(items, rate)
            trainer.keep_snapshot(steps)
            if log is not None:
                log.add(StepRecord(trainer.step, rate, loss))
                if validation is not None and validation.is_due(trainer.step, steps):
                    log.add_validation(ValidationRecord(trainer.step, trainer.score(validation.cases, steps)))
                if trainer.step == steps or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    log.save()
                    run.write_checkpoint(stage, trainer.state(steps))
                    saved = time.monotonic()
            scores = {} if log is None else log.scores
            yield StageProgress(step=trainer.step, steps=steps, loss=loss, scores=scores)
    if machine.is_first:
        run.write_weights(stage, trainer.final_weights(steps))
    machine.barrier()


class StageLog:
    """The curves of a stage, as CSV and for TensorBoard.

    Args:
        run: folder of the run.
        trainer: the stage's trainer, at the step from which the log continues.
        epoch: number of steps of an epoch.
    """

    def __init__(self, run: RunFolder, trainer: "StageTrainer", epoch: float) -> None:
        self.run, self.stage, self.epoch = run, trainer.stage, epoch
        self.records = run.read_steps(trainer.stage, trainer.step)
        self.validations = run.read_validations(trainer.stage, trainer.step)
        self.tensorboard = curves.TensorBoardLog(run.tensorboard(trainer.stage), trainer.step)

    def add(self, record: StepRecord) -> None:
        """Add a step."""
        self.records.append(record)
        self.tensorboard.add_step(record, curves.finished_epoch(self.records, self.epoch))

    def add_validation(self, record: ValidationRecord) -> None:
        """Add a validation and write all of them to the disk."""
        self.validations.append(record)
        self.run.write_validations(self.stage, self.validations)
        values = {
            f"validation/{lesion}": score for lesion, score in record.scores.items() if score is not None
        }
        self.tensorboard.add_values(values, record.step)

    @property
    def scores(self) -> Scores:
        """Return the scores of the last validation; empty before the first."""
        return self.validations[-1].scores if self.validations else {}

    def save(self) -> None:
        """Write everything added so far to the disk."""
        self.run.write_curves(self.stage, self.records, self.epoch)
        self.tensorboard.flush()

    def close(self) -> None:
        """Close TensorBoard's files; nothing can be added afterwards."""
        self.tensorboard.close()


def _resume_or_begin(
    trainer: "StageTrainer", cases: Sequence[CachedCase], run: RunFolder, minutes: float | None
) -> int:
    """Load the stage's checkpoint, or write its first one; return the number of steps stored in it."""
    recipe, stage, machine = trainer.recipe, trainer.stage, trainer.machine
    if run.has_checkpoint(stage):
        return trainer.load_state(run.read_checkpoint(stage, machine.device))
    if stage in ALONE_STAGES:
        steps = run.step_count("joint")
    elif minutes is None:
        steps = stage_steps(recipe, stage, len(without_healthy(cases)))
    else:
        steps = _steps_in(minutes, trainer, cases)
    steps = machine.broadcast(steps)
    machine.barrier()  # all processes have seen that there is no checkpoint
    if machine.is_first:
        run.write_checkpoint(stage, trainer.state(steps))
    return steps


def _smaller_steps(recipe: Recipe, stage: StageName) -> str:
    """Return which settings make a step smaller, for an error about full memory."""
    name = base_stage(stage)
    numbers = recipe.stages.get(name)
    if numbers is None:  # such a stage is refused before its first step
        return ""
    return (
        f"with --set, raise stages.{name}.accumulate (now {numbers.accumulate}), or lower "
        f"stages.{name}.photographs ({numbers.photographs}) or stages.{name}.windows ({numbers.windows}), "
        "and choose another --out"
    )


def initial_network(
    recipe: Recipe, run: RunFolder, stage: StageName, start: Package | None
) -> LocalGlobalUNet:
    """Return the network that a stage begins with: that of the stages before it.

    Raises:
        TrainingError: a stage that it starts from is not finished.
    """
    torch.manual_seed(recipe.seed)
    network = nets.build(recipe.network, len(recipe.contract.lesions))
    if start is not None:
        warm_start.load_matching(network, start)
    for prerequisite in PREREQUISITES[stage]:
        if start is None or run.is_finished(prerequisite):
            load_weights(network, run, prerequisite)
    if recipe.stages[base_stage(stage)].fold_batch_norm:
        nets.fold_in_place(network)
    return network


def create_trainer(
    recipe: Recipe, run: RunFolder, stage: StageName, start: Package | None, machine: Machine
) -> "StageTrainer":
    """Return a stage's trainer at its first step, with the weights of the stages before it."""
    network = initial_network(recipe, run, stage, start)
    stages.set_modes(network, stage, update_statistics=start is None)
    placed = machine.place(network)
    assert isinstance(placed, LocalGlobalUNet)
    return StageTrainer(placed, recipe, stage, machine)


class StageTrainer:
    """A network, the part of it that is trained, the optimiser and the running average of the weights."""

    def __init__(
        self, network: LocalGlobalUNet, recipe: Recipe, stage: StageName, machine: Machine = LOCAL
    ) -> None:
        self.network = network
        self.part = stages.trained_part(network, stage)
        self.recipe = recipe
        self.stage = stage
        self.machine = machine
        self.step = 0
        self.loss = stages.StepLoss(network, recipe, stage, machine)
        self.wrapped_loss = machine.wrap(self.loss)
        self.optimiser = OPTIMISERS[recipe.optimiser](
            self.part.parameters(),
            lr=recipe.stages[base_stage(stage)].rate,
            weight_decay=recipe.loss.lambda_weights,
            fused=True,
        )
        self.average = AveragedModel(
            self.part,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self.snapshots: dict[int, dict[str, torch.Tensor]] = {}
        """Step -> the averaged weights there (`Stage.snapshots`)."""

    def train_step(self, items: Sequence[TrainingItem], rate: float) -> float:
        """Take one step and return its loss.

        Args:
            items: this process's share of the step's samples.
            rate: learning rate.

        Raises:
            TrainingError: the loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(_seed(self.recipe.seed, ord(self.stage[0]), self.step, self.machine.rank))
        self.optimiser.zero_grad()
        loss = self.backward(items)
        if not math.isfinite(loss):
            raise TrainingError(
                f"stage {self.stage}, step {self.step}: the loss is {loss}; lower the stage's rate (the last "
                "checkpoint is intact), and choose another --out"
            )
        self.optimiser.step()
        self.average.update_parameters(self.part)
        self.step += 1
        return loss

    def backward(self, items: Sequence[TrainingItem]) -> float:
        """Accumulate the gradients of the step's samples, part by part; return the loss of all samples."""
        parts = split_evenly(items, self.recipe.stages[base_stage(self.stage)].accumulate)
        count = sampler.items_per_step(self.recipe, self.stage)
        totals = self._totals(parts) if len(parts) > 1 and self.recipe.loss.needs_totals else None
        total_loss = 0.0
        for number, part in enumerate(parts, start=1):
            with self._autocast(), self._without_sync(more_parts=number < len(parts)):
                batch = stages.make_batch(part, self.recipe.contract, self.machine)
                loss = self.wrapped_loss(batch, len(part) / count, totals)
            # DistributedDataParallel averages the gradients of the processes; their sum is needed.
            (loss * self.machine.world_size if self.machine.world_size > 1 else loss).backward()
            total_loss += float(self.machine.all_reduce_sum(loss.detach()))
        return total_loss

    def _totals(self, parts: Sequence[Sequence[TrainingItem]]) -> torch.Tensor:
        """Return the overlap sums over all parts of all processes, by an additional forward pass."""
        with self._autocast():
            overlaps = [
                self.loss.overlaps(stages.make_batch(part, self.recipe.contract, self.machine))
                for part in parts
            ]
        return self.machine.all_reduce_sum(torch.stack(overlaps).sum(dim=0))

    def _without_sync(self, *, more_parts: bool) -> AbstractContextManager[Any]:
        """Return a context that keeps gradients within this process as long as more parts follow."""
        if more_parts and isinstance(self.wrapped_loss, DistributedDataParallel):
            return self.wrapped_loss.no_sync()
        return nullcontext()

    def _autocast(self) -> torch.autocast:
        bf16 = self.recipe.precision == "bf16"
        return torch.autocast(self.machine.device, torch.bfloat16, enabled=bf16)

    def score(self, cases: Sequence[Case], steps: int) -> Scores:
        """Return each lesion's average precision with the averaged weights, at the end with the final ones.

        Args:
            cases: photographs held back.
            steps: number of steps of the stage.

        Raises:
            TrainingError: memory runs out: it must hold a copy of the network, and whole photographs.
        """
        task, gpu_remedy = f"stage {self.stage}, validation", f"{NO_VALIDATION}, and {CONTINUE}"
        with one_line_errors(task, NO_VALIDATION, gpu_remedy=gpu_remedy):
            weights = self.final_weights(steps) if self.step == steps else self.average.module.state_dict()
            network = validations.averaged_network(self.network, self.stage, weights)
            return validations.score(network, self.recipe, self.stage, cases, self.machine.device)

    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights of the trained part, under the names that they have in it."""
        state = self.average.module.state_dict()
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    def keep_snapshot(self, steps: int) -> None:
        """Keep the averaged weights of a step that the recipe names.

        Args:
            steps: number of steps of the stage.
        """
        if self.step in self._snapshot_steps(steps):
            self.snapshots[self.step] = copy.deepcopy(self.averaged_weights())

    def _snapshot_steps(self, steps: int) -> tuple[int, ...]:
        return snapshot_steps(self.recipe.stages[base_stage(self.stage)].snapshots, steps)

    def final_weights(self, steps: int) -> dict[str, torch.Tensor]:
        """Return the stage's result: the mean of the averaged weights at the snapshots and at the end.

        Args:
            steps: number of steps of the stage.

        Raises:
            TrainingError: a snapshot is missing: the checkpoint was written without any.
        """
        if missing := set(self._snapshot_steps(steps)) - set(self.snapshots):
            raise TrainingError(
                f"stage {self.stage}: the checkpoint has no snapshot of step {min(missing)}; train the stage "
                "again with another --out"
            )
        snapshots = [self.snapshots[step] for step in self._snapshot_steps(steps)]
        return mean_weights([*snapshots, self.averaged_weights()])

    def state(self, steps: int) -> dict[str, Any]:
        """Return the content of a checkpoint: everything that `load_state` needs.

        Args:
            steps: number of steps of the stage.
        """
        return {
            "step": self.step,
            "steps": steps,
            "learning": self.part.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "snapshots": self.snapshots,
        }

    def load_state(self, state: dict[str, Any]) -> int:
        """Continue from a checkpoint; return the number of steps of the stage."""
        self.part.load_state_dict(state["learning"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.snapshots = {  # none in checkpoints from before there were any
            step: {
                name: tensor.cpu() for name, tensor in weights.items()
            }  # as `averaged_weights` returns them
            for step, weights in state.get("snapshots", {}).items()
        }
        self.step = state["step"]
        return int(state["steps"])


def finished_network(recipe: Recipe, run: RunFolder, stage: LastStage) -> LocalGlobalUNet:
    """Return the network of a run after its last stage.

    Raises:
        TrainingError: a stage is not finished.
    """
    network = nets.build(recipe.network, len(recipe.contract.lesions), read_weights=None)
    for part in WEIGHT_STAGES[stage]:
        load_weights(network, run, part)
    return network


def load_weights(network: LocalGlobalUNet, run: RunFolder, stage: StageName) -> None:
    """Copy a finished stage's weights into a network.

    Raises:
        TrainingError: the stage is not finished.
    """
    stages.trained_part(network, stage).load_state_dict(run.read_weights(stage))


def mean_weights(weights: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of several sets of weights; counts in buffers are rounded down."""
    return {
        name: torch.stack([own[name].double() for own in weights]).mean(dim=0).to(tensor.dtype)
        for name, tensor in weights[0].items()
    }


def _seed(*numbers: int) -> int:
    """Return a seed for random layers (dropout); like the samples, it is a pure function of the step."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _items(
    trainer: StageTrainer, cases: Sequence[CachedCase], steps: range
) -> Iterator[tuple[TrainingItem, ...]]:
    """Return the samples of some steps."""
    dataset = StepDataset(cases, trainer.recipe, trainer.stage, trainer.machine)
    return sampler.load_steps(dataset, steps, trainer.machine.workers)


def _steps_in(minutes: float, trainer: StageTrainer, cases: Sequence[CachedCase]) -> int:
    """Return how many steps fit into some minutes, by timing a copy; the trainer itself is not changed."""
    spare = StageTrainer(copy.deepcopy(trainer.network), trainer.recipe, trainer.stage, trainer.machine)
    for number, items in enumerate(_items(spare, cases, range(TIMED_STEPS))):
        spare.train_step(items, 0.0)
        if number == TIMED_STEPS // 2 - 1:
            start = time.monotonic()
    seconds = (time.monotonic() - start) / (TIMED_STEPS - TIMED_STEPS // 2)
    return max(1, round(minutes * 60 / seconds))
