"""A run: its folder, its checkpoints, and the loop over steps.

Knows:   files of a run, when to save, how to go on after a kill.
Ignores: what a step draws and how its loss is made (`stages`).

A run's folder holds, for each stage: STAGE.csv (step, rate, loss), STAGE.checkpoint (everything to go on
from), STAGE.safetensors (the averaged weights at its end), and recipe.json for all.
"""

import copy
import ctypes
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from foveate.errors import TrainingError
from foveate.nets import LocalGlobalUNet
from foveate.training import stages
from foveate.training.recipe import Recipe, StageName
from foveate.training.samples import Sheet

NEEDS: dict[StageName, tuple[StageName, ...]] = {
    "global": (),
    "local": (),
    "fusion": ("global", "local"),
    "joint": ("global", "local", "fusion"),
}
"""Stages whose weights a stage starts from."""

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
    recipe: Recipe, sheets: Sequence[Sheet], folder: Path, stage: StageName, minutes: float | None = None
) -> Iterator[Progress]:
    """Train one stage, going on from its checkpoint where there is one, and yield after every step.

    Args:
        recipe: all the numbers.
        sheets: of the photographs to train on.
        folder: of the run; made if need be.
        stage: which one; those it starts from must be done.
        minutes: instead of the recipe's number of steps, as many as fit; fixed at the first start and saved.

    Raises:
        TrainingError: a stage that it needs is missing, the recipe is another than the folder's, the loss is
            no number (the last checkpoint is left as it was), or the disk is full.
    """
    keep_memory()
    _remember(recipe, folder)
    torch.manual_seed(recipe.seed)
    network: LocalGlobalUNet = recipe.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for needed in NEEDS[stage]:
        load(network, folder, needed)
    stages.set_modes(network, stage)
    learner = Learner(network, recipe, stage)
    checkpoint, log = folder / f"{stage}.checkpoint", folder / f"{stage}.csv"
    steps = learner.resume(checkpoint) if checkpoint.exists() else None
    if steps is None:
        steps = recipe.stages[stage].steps if minutes is None else _steps_in(minutes, learner, sheets)
    rows = _logged(log, learner.step)
    saved = time.monotonic()
    while learner.step < steps:
        speed = stages.rate(recipe, stage, learner.step, steps)
        loss = learner.learn(sheets, speed)
        rows.append(f"{learner.step},{speed:.6g},{loss:.6g}\n")
        if learner.step == steps or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _write(log, lambda path: path.write_text("".join(rows)))
            learner.save(checkpoint, steps)
            saved = time.monotonic()
        yield Progress(step=learner.step, steps=steps, loss=loss)
    _write(folder / f"{stage}.safetensors", lambda path: path.write_bytes(save(learner.averaged_state())))


class Learner:
    """A network, the part of it that learns, its optimiser and its running average."""

    def __init__(self, network: LocalGlobalUNet, recipe: Recipe, stage: StageName) -> None:
        learning = stages.trainable(network, stage)
        self.network = network
        self.learning = learning
        self.recipe = recipe
        self.stage = stage
        self.step = 0
        self.optimiser = torch.optim.AdamW(
            learning.parameters(),
            lr=recipe.stages[stage].rate,
            weight_decay=recipe.loss.lambda_weights,
            fused=True,
        )
        self.average = AveragedModel(
            learning,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )

    def learn(self, sheets: Sequence[Sheet], rate: float) -> float:
        """Take one step and return its loss.

        Raises:
            TrainingError: the loss is no number.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = stages.loss_of_step(self.network, sheets, self.recipe, self.stage, self.step)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"stage {self.stage}, step {self.step}: the loss is {loss.item()}; lower the stage's rate "
                "(the last checkpoint is intact)"
            )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.average.update_parameters(self.learning)
        self.step += 1
        return loss.item()

    def averaged_state(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights, under the names that the learning part has for them."""
        return {name: tensor.contiguous() for name, tensor in self.average.module.state_dict().items()}

    def save(self, path: Path, steps: int) -> None:
        """Write everything that `resume` needs, or nothing."""
        state = {
            "step": self.step,
            "steps": steps,
            "learning": self.learning.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        _write(path, lambda temporary: torch.save(state, temporary))

    def resume(self, path: Path) -> int:
        """Take up a checkpoint and return the number of steps that was fixed for the stage."""
        state = torch.load(path, weights_only=True)
        self.learning.load_state_dict(state["learning"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        return int(state["steps"])


def is_finished(folder: Path, stage: StageName) -> bool:
    """Say whether a stage's weights lie in a run's folder."""
    return (folder / f"{stage}.safetensors").exists()


def load(network: LocalGlobalUNet, folder: Path, stage: StageName) -> None:
    """Copy a finished stage's weights into a network.

    Raises:
        TrainingError: the stage is not finished.
    """
    path = folder / f"{stage}.safetensors"
    if not path.exists():
        raise TrainingError(f"{path} is missing: finish stage '{stage}' first")
    stages.trainable(network, stage).load_state_dict(load_file(path))


def _steps_in(minutes: float, learner: Learner, sheets: Sequence[Sheet]) -> int:
    """Time a few steps of a copy and say how many fit; the learner itself is left at its beginning."""
    spare = Learner(copy.deepcopy(learner.network), learner.recipe, learner.stage)
    for number in range(TIMED_STEPS):
        if number == TIMED_STEPS // 2:
            start = time.monotonic()
        spare.learn(sheets, 0.0)
    seconds = (time.monotonic() - start) / (TIMED_STEPS - TIMED_STEPS // 2)
    return max(1, round(minutes * 60 / seconds))


def _logged(path: Path, step: int) -> list[str]:
    """Return the log's lines up to a step; what a killed run logged after its checkpoint is taken again."""
    if not path.exists():
        return []
    rows = (line.split(",") for line in path.read_text().splitlines())
    return [f"{','.join(row)}\n" for row in rows if len(row) == 3 and int(row[0]) <= step]


def _remember(recipe: Recipe, folder: Path) -> None:
    """Write the recipe beside the run, or refuse a folder that was begun with another.

    Raises:
        TrainingError: the folder holds a run of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE
    text = json.dumps(describe(recipe), indent=1) + "\n"
    if not path.exists():
        _write(path, lambda temporary: temporary.write_text(text))
    elif path.read_text() != text:
        raise TrainingError(f"{path} was written by another recipe or version; choose another --out")


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values; the network by its function's name, the split by its file's."""
    plain = asdict(recipe)
    return plain | {"network": recipe.network.__qualname__, "split": recipe.split.name}


def _write(path: Path, how: Callable[[Path], object]) -> None:
    """Write a file beside its place, then move it there: it is whole or it is not there.

    Raises:
        TrainingError: no space or no permission.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        how(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"{path} cannot be written ({error}); free some space and start again") from error
