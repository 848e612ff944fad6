"""A run: its folder, its checkpoints, and the loop over steps.

Knows:   files of a run, when to save, how to go on after a kill.
Ignores: what a step draws and how its loss is made (`stages`).

A run's folder holds, for each stage: STAGE.csv and STAGE-epochs.csv (rate and loss), STAGE.checkpoint
(everything to go on from), STAGE.safetensors (the averaged weights at its end); and recipe.json for all.
"""

import copy
import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from foveate import nets
from foveate.errors import TrainingError
from foveate.models import Package
from foveate.nets import LocalGlobalUNet
from foveate.training import curves, sampler, stages, warm_start
from foveate.training import recipe as recipes
from foveate.training.cache import Sheet
from foveate.training.distributed import HERE, Machine
from foveate.training.recipe import ALONE, Recipe, StageName, drawn_as, steps_of
from foveate.training.sampler import Drawn, divided

NEEDS: dict[StageName, tuple[StageName, ...]] = {
    "global": (),
    "local": (),
    "fusion": ("global", "local"),
    "joint": ("global", "local", "fusion"),
    "global-alone": ("global",),
    "local-alone": ("local",),
}
"""Stages whose weights a stage starts from."""

OPTIMISERS = MappingProxyType({"adam": torch.optim.Adam, "adamw": torch.optim.AdamW})
"""Name in a recipe -> optimiser. Source: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019,
arXiv:1711.05101."""

BOARD = "tensorboard"
"""Folder of a run for TensorBoard's event files."""

RECIPE = "recipe.json"
"""Written first; a folder that holds it is a run's."""

SECONDS_BETWEEN_CHECKPOINTS = 120
"""A kill loses at most two minutes; saving takes a tenth of a second."""

TIMED_STEPS = 8
"""Steps that `minutes` is turned into a number of steps by; the first half is warm-up and not timed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a stage stands, for whoever shows it."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    loss: float
    """Of the last step."""


def keep_memory() -> bool:
    """Let glibc keep freed memory instead of returning it after every step; say whether it would.

    Training is 1.5 times as fast with it on Linux. Elsewhere nothing happens.

    Source: mallopt(3): M_MMAP_THRESHOLD is -3, M_TRIM_THRESHOLD -1.
    """
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(-3, 2**30) and libc.mallopt(-1, 2**31 - 1))
    except (OSError, AttributeError):  # no glibc
        return False


def train_stage(
    recipe: Recipe,
    sheets: Sequence[Sheet],
    folder: Path,
    stage: StageName,
    *,
    start: Package | None = None,
    minutes: float | None = None,
    machine: Machine = HERE,
) -> Iterator[Progress]:
    """Train one stage, going on from its checkpoint where there is one, and yield after every step.

    Args:
        recipe: all the numbers.
        sheets: of the photographs to train on, and of healthy eyes beside them, which count for no epoch.
        folder: of the run; made if need be. Several processes must all see it.
        stage: which one; those it starts from must be done, or there is a package to start from.
        start: package whose weights the network begins with; a finished stage's take their place.
        minutes: instead of the recipe's number of steps, as many as fit; fixed at the first start and saved.
            A stream alone takes as many as the joint stage took.
        machine: where to compute.

    Raises:
        TrainingError: a stage that it needs is missing, the recipe is another than the folder's, the loss is
            no number (the last checkpoint is left as it was), or the disk or the GPU's memory is full.
    """
    keep_memory()
    if machine.rank == 0:
        _remember(recipe, folder)
        _sweep(folder, stage)
    with _enough_memory(recipe, stage):
        learner = _begin(recipe, folder, stage, start, machine)
        steps = _fixed_steps(learner, sheets, folder, minutes)
    log = curves.logged(folder / f"{stage}.csv", learner.step)
    epoch = recipes.epoch(recipe, stage, len(sampler.of_the_set(sheets)))
    board = curves.Board(folder / BOARD / stage, learner.step) if machine.rank == 0 else None
    saved = time.monotonic()
    try:
        for drawn in _ahead(learner, sheets, range(learner.step, steps)):
            speed = stages.rate(recipe, stage, learner.step, steps)
            with _enough_memory(recipe, stage):
                loss = learner.learn(drawn, speed)
            log.append(curves.Row(learner.step, speed, loss))
            if board is not None:
                board.tell(log[-1], curves.ended(log, epoch))
            due = learner.step == steps or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS
            if due and board is not None:
                _log(folder, stage, log, epoch)
                board.flush()
                learner.save(folder / f"{stage}.checkpoint", steps)
                saved = time.monotonic()
            yield Progress(step=learner.step, steps=steps, loss=loss)
    finally:
        if board is not None:
            board.close()
    if machine.rank == 0:
        write(folder / f"{stage}.safetensors", lambda path: path.write_bytes(save(learner.averaged_state())))
    machine.meet()


def _fixed_steps(learner: "Learner", sheets: Sequence[Sheet], folder: Path, minutes: float | None) -> int:
    """Take up the stage's checkpoint, or write the first one: either says how many steps there are in all."""
    recipe, stage, machine = learner.recipe, learner.stage, learner.machine
    checkpoint = folder / f"{stage}.checkpoint"
    if checkpoint.exists():
        return learner.resume(checkpoint)
    if stage in ALONE:
        steps = steps_taken(folder, "joint")
    elif minutes is None:
        steps = steps_of(recipe, stage, len(sampler.of_the_set(sheets)))
    else:
        steps = _steps_in(minutes, learner, sheets)
    steps = machine.agreed(steps)
    machine.meet()  # all have seen that there is no checkpoint
    if machine.rank == 0:
        learner.save(checkpoint, steps)
    return steps


def _log(folder: Path, stage: StageName, rows: Sequence[curves.Row], epoch: float) -> None:
    """Write a stage's curves."""
    write(folder / f"{stage}.csv", lambda path: path.write_text(curves.by_step(rows)))
    write(folder / f"{stage}-epochs.csv", lambda path: path.write_text(curves.by_epoch(rows, epoch)))


@contextmanager
def _enough_memory(recipe: Recipe, stage: StageName) -> Iterator[None]:
    """Say what makes a step smaller, where the GPU's memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        name = drawn_as(stage)
        numbers = recipe.stages[name]
        raise TrainingError(
            f"stage {stage}: the GPU's memory is full; --set stages.{name}.accumulate "
            f"(now {numbers.accumulate}) higher, or stages.{name}.photographs "
            f"({numbers.photographs}) or stages.{name}.windows ({numbers.windows}) lower, with another --out"
        ) from error


def _begin(
    recipe: Recipe, folder: Path, stage: StageName, start: Package | None, machine: Machine
) -> "Learner":
    """Return a stage's learner at its first step, with the weights of the stages before it."""
    torch.manual_seed(recipe.seed)
    network = nets.build(recipe.network, len(recipe.contract.lesions))
    if start is not None:
        warm_start.take(network, start)
    for needed in NEEDS[stage]:
        if start is None or is_finished(folder, needed):
            load(network, folder, needed)
    stages.set_modes(network, stage, moving=start is None)
    placed = machine.placed(network)
    assert isinstance(placed, LocalGlobalUNet)
    return Learner(placed, recipe, stage, machine)


class Learner:
    """A network, the part of it that learns, its optimiser and its running average."""

    def __init__(
        self, network: LocalGlobalUNet, recipe: Recipe, stage: StageName, machine: Machine = HERE
    ) -> None:
        learning = stages.trainable(network, stage)
        self.network = network
        self.learning = learning
        self.recipe = recipe
        self.stage = stage
        self.machine = machine
        self.step = 0
        self.loss = stages.StepLoss(network, recipe, stage, machine)
        self.wrapped = machine.wrapped(self.loss)
        self.optimiser = OPTIMISERS[recipe.optimiser](
            learning.parameters(),
            lr=recipe.stages[drawn_as(stage)].rate,
            weight_decay=recipe.loss.lambda_weights,
            fused=True,
        )
        self.average = AveragedModel(
            learning,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )

    def learn(self, drawn: Sequence[Drawn], rate: float) -> float:
        """Take one step and return its loss.

        Args:
            drawn: this process's share of the step's samples.
            rate: learning rate.

        Raises:
            TrainingError: the loss is no number.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(_seed(self.recipe.seed, ord(self.stage[0]), self.step, self.machine.rank))
        self.optimiser.zero_grad()
        loss = self._backward(drawn)
        if not math.isfinite(loss):
            raise TrainingError(
                f"stage {self.stage}, step {self.step}: the loss is {loss}; lower the stage's rate "
                "(the last checkpoint is intact)"
            )
        self.optimiser.step()
        self.average.update_parameters(self.learning)
        self.step += 1
        return loss

    def _backward(self, drawn: Sequence[Drawn]) -> float:
        """Add up the gradients of the step's samples, in the stage's number of parts; return their loss."""
        parts = divided(drawn, self.recipe.stages[drawn_as(self.stage)].accumulate)
        whole = sampler.count(self.recipe, self.stage)
        sums = self._sums(parts) if len(parts) > 1 and self.recipe.loss.pools else None
        total = 0.0
        for number, part in enumerate(parts, start=1):
            with self._computing(), self._alone(alone=number < len(parts)):
                batch = stages.batch(part, self.recipe.contract, self.machine)
                loss = self.wrapped(batch, len(part) / whole, sums)
            # The processes' gradients are averaged, and shall be added.
            (loss * self.machine.ranks if self.machine.ranks > 1 else loss).backward()
            total += float(self.machine.added(loss.detach()))
        return total

    def _sums(self, parts: Sequence[Sequence[Drawn]]) -> torch.Tensor:
        """Return what Dice pools over all parts of all processes: one more pass forward."""
        with self._computing():
            each = [
                self.loss.overlaps(stages.batch(part, self.recipe.contract, self.machine)) for part in parts
            ]
        return self.machine.added(torch.stack(each).sum(dim=0))

    def _alone(self, *, alone: bool) -> AbstractContextManager[Any]:
        """Keep gradients within this process, as long as parts follow."""
        if alone and isinstance(self.wrapped, DistributedDataParallel):
            return self.wrapped.no_sync()
        return nullcontext()

    def _computing(self) -> torch.autocast:
        bf16 = self.recipe.precision == "bf16"
        return torch.autocast(self.machine.device, torch.bfloat16, enabled=bf16)

    def averaged_state(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights, under the names that the learning part has for them."""
        state = self.average.module.state_dict()
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    def save(self, path: Path, steps: int) -> None:
        """Write everything that `resume` needs, or nothing."""
        state = {
            "step": self.step,
            "steps": steps,
            "learning": self.learning.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write(path, lambda temporary: torch.save(state, temporary))

    def resume(self, path: Path) -> int:
        """Take up a checkpoint and return the number of steps that was fixed for the stage."""
        state = torch.load(path, map_location=self.machine.device, weights_only=True)
        self.learning.load_state_dict(state["learning"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        return int(state["steps"])


def is_finished(folder: Path, stage: StageName) -> bool:
    """Say whether a stage's weights lie in a run's folder."""
    return (folder / f"{stage}.safetensors").exists()


def steps_taken(folder: Path, stage: StageName) -> int:
    """Return how many steps a finished stage took.

    Raises:
        TrainingError: the stage is not finished, or its log is gone.
    """
    path = folder / f"{stage}.csv"
    rows = curves.logged(path, sys.maxsize) if is_finished(folder, stage) else []
    if not rows:
        raise TrainingError(f"{path}: no steps are logged; finish stage '{stage}' first")
    return rows[-1].step


def load(network: LocalGlobalUNet, folder: Path, stage: StageName) -> None:
    """Copy a finished stage's weights into a network.

    Raises:
        TrainingError: the stage is not finished.
    """
    path = folder / f"{stage}.safetensors"
    if not path.exists():
        raise TrainingError(f"{path} is missing: finish stage '{stage}' first")
    stages.trainable(network, stage).load_state_dict(load_file(path))


def _seed(*numbers: int) -> int:
    """Return a seed for networks that draw (dropout): as pure a function of the step as the samples are."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _ahead(learner: Learner, sheets: Sequence[Sheet], wanted: range) -> Iterator[tuple[Drawn, ...]]:
    """Return what the wanted steps learn from."""
    steps = sampler.Steps(sheets, learner.recipe, learner.stage, learner.machine)
    return sampler.ahead(steps, wanted, learner.machine.workers)


def _steps_in(minutes: float, learner: Learner, sheets: Sequence[Sheet]) -> int:
    """Time a few steps of a copy and say how many fit; the learner itself is left at its beginning."""
    spare = Learner(copy.deepcopy(learner.network), learner.recipe, learner.stage, learner.machine)
    for number, drawn in enumerate(_ahead(spare, sheets, range(TIMED_STEPS))):
        spare.learn(drawn, 0.0)
        if number == TIMED_STEPS // 2 - 1:
            start = time.monotonic()
    seconds = (time.monotonic() - start) / (TIMED_STEPS - TIMED_STEPS // 2)
    return max(1, round(minutes * 60 / seconds))


def _remember(recipe: Recipe, folder: Path) -> None:
    """Write the recipe beside the run, or refuse a folder that was begun with another.

    Raises:
        TrainingError: the folder holds a run of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE
    text = json.dumps(describe(recipe), indent=1) + "\n"
    if not path.exists():
        write(path, lambda temporary: temporary.write_text(text))
    elif path.read_text() != text:
        raise TrainingError(f"{path} was written by another recipe or version; choose another --out")


def _sweep(folder: Path, stage: StageName) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(f".{stage}*.part"):
        path.unlink(missing_ok=True)


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values, splits by their files' names."""
    named = {"split": recipe.split, "healthy_split": recipe.healthy_split}
    return asdict(recipe) | {key: path and path.name for key, path in named.items()}


def write(path: Path, how: Callable[[Path], object]) -> None:
    """Write a file beside its place, then move it there: it is whole or it is not there.

    Raises:
        TrainingError: no space or no permission.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # two stages may run side by side
    try:
        how(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"{path} cannot be written ({error}); free some space and start again") from error
