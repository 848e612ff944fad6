"""A run's folder: gone on with bit for bit, never half-written, never mixed with another run."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import smoke
import tiny_set
import torch
from safetensors.torch import load_file

from foveate.errors import TrainingError
from foveate.training import stages, trainer
from foveate.training.recipe import STAGES

FULL = OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def cached_cases(tmp_path_factory):
    return tiny_set.cached_cases(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, cached_cases):
    """Return the folder of a whole run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    for stage in STAGES:
        list(trainer.train_stage(tiny_set.recipe(), cached_cases, folder, stage))
    return folder


@pytest.fixture
def always_saving(monkeypatch):
    """Let a checkpoint follow every step."""
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0)


def started_from(straight, folder, stage):
    """Return a folder that holds the stages which a stage starts from."""
    folder.mkdir(exist_ok=True)
    for needed in trainer.PREREQUISITES[stage]:
        shutil.copy(straight / f"{needed}.safetensors", folder)
    return folder


def take(count, *args, **more):
    """Take some steps of a stage and abandon it, as a kill does."""
    stage = trainer.train_stage(*args, **more)
    taken = [next(stage) for _ in range(count)]
    stage.close()
    return taken


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def with_steps(recipe, stage, steps):
    return replace(recipe, stages=recipe.stages | {stage: replace(recipe.stages[stage], steps=steps)})


# going on


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("killed_after", [1, 4, 6])
@pytest.mark.usefixtures("always_saving")
def test_a_run_killed_and_gone_on_with_equals_one_that_was_not(
    tmp_path, cached_cases, straight, stage, killed_after
):
    folder = started_from(straight, tmp_path / "run", stage)
    take(killed_after, tiny_set.recipe(), cached_cases, folder, stage)
    assert not RunFolder(folder).is_finished(stage)

    rest = list(trainer.train_stage(tiny_set.recipe(), cached_cases, folder, stage))

    assert [progress.step for progress in rest] == list(range(killed_after + 1, 7))
    for name in (f"{stage}.safetensors", f"{stage}.csv", f"{stage}-epochs.csv"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes()


def test_steps_after_the_last_checkpoint_are_taken_again(tmp_path, cached_cases, straight, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    stage = trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "global")
    next(stage), next(stage)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 1e9)
    next(stage), next(stage)
    stage.close()
    with (tmp_path / "global.csv").open("a") as log:
        log.write("3,0.5,99\n")  # killed between the log and the checkpoint

    rest = list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "global"))

    assert [progress.step for progress in rest] == [3, 4, 5, 6]
    for name in ("global.safetensors", "global.csv"):
        assert (tmp_path / name).read_bytes() == (straight / name).read_bytes()


LONG = 30
"""Steps of a stage that is killed on the way."""

TRAIN = f"""
import sys, time
from pathlib import Path
import tiny_set, torch, test_run
from foveate.training import run

torch.set_num_threads(int(sys.argv[2]))
trainer.SECONDS_BETWEEN_CHECKPOINTS = 0
cached_cases = tiny_set.cached_cases(Path(sys.argv[1]))
recipe = test_run.with_steps(tiny_set.recipe(), "global", {LONG})
for _ in trainer.train_stage(recipe, cached_cases, Path(sys.argv[1]) / "run", "global"):
    time.sleep(0.3)  # nine seconds in all: time enough to be killed
"""


def test_a_process_killed_at_any_moment_leaves_a_run_that_can_be_gone_on_with(tmp_path):
    paths = os.pathsep.join([str(Path(tiny_set.__file__).parent), str(Path(trainer.__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(tmp_path), str(torch.get_num_threads())],
        env=os.environ | {"PYTHONPATH": paths},
    )
    killed, straight = tmp_path / "run", tmp_path / "straight"
    while process.poll() is None and not (killed / "global.csv").exists():  # one step is done
        time.sleep(0.01)
    time.sleep(0.5)
    process.kill()
    process.wait()
    done = torch.load(killed / "global.checkpoint", weights_only=True)["step"]

    cases = tiny_set.idrid.cases(tmp_path / "set", "train")
    cached_cases = [tiny_set.cache.cache_case(case, tiny_set.CONTRACT, tmp_path / "sheets") for case in cases]
    recipe = with_steps(tiny_set.recipe(), "global", LONG)
    rest = list(trainer.train_stage(recipe, cached_cases, killed, "global"))
    list(trainer.train_stage(recipe, cached_cases, straight, "global"))

    assert 0 < done < LONG
    assert [progress.step for progress in rest] == list(range(done + 1, LONG + 1))
    for name in ("global.safetensors", "global.csv"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes()


def test_the_log_has_a_row_a_step_with_its_rate(straight):
    header, *lines = (straight / "local.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]

    assert header == "step,rate,loss"
    assert [int(step) for step, _, _ in rows] == [1, 2, 3, 4, 5, 6]
    rates = [stages.learning_rate(tiny_set.recipe(), "local", step, 6) for step in range(6)]
    assert [float(rate) for _, rate, _ in rows] == pytest.approx(rates, rel=1e-5)


def test_another_recipe_is_refused_in_the_folder_of_a_run(tmp_path, cached_cases):
    take(1, tiny_set.recipe(), cached_cases, tmp_path, "global")
    before = contents(tmp_path)

    with pytest.raises(TrainingError, match="another recipe"):
        take(1, tiny_set.recipe(seed=1), cached_cases, tmp_path, "global")

    assert contents(tmp_path) == before


# stages that build on others


@pytest.mark.parametrize(
    ("stage", "missing"),
    [(stage, needed) for stage, needs in trainer.PREREQUISITES.items() for needed in needs],
)
def test_a_stage_without_one_that_it_needs_is_refused_by_name(tmp_path, cached_cases, straight, stage, missing):
    folder = started_from(straight, tmp_path, stage)
    (folder / f"{missing}.safetensors").unlink()

    with pytest.raises(TrainingError, match=f"finish stage '{missing}' first"):
        take(1, tiny_set.recipe(), cached_cases, folder, stage)


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_a_stage_starts_from_the_weights_of_those_before_it(tmp_path, cached_cases, straight, monkeypatch, stage):
    seen = []
    real = stages.StepLoss.forward
    monkeypatch.setattr(
        stages.StepLoss, "forward", lambda step, *rest: seen.append(step.network) or real(step, *rest)
    )
    resting = stages.learning_rate
    monkeypatch.setattr(stages, "learning_rate", lambda *args: 0 * resting(*args))

    take(1, tiny_set.recipe(), cached_cases, started_from(straight, tmp_path, stage), stage)

    for needed in trainer.PREREQUISITES[stage]:
        held = stages.trained_part(seen[0], needed).state_dict()
        for name, tensor in load_file(straight / f"{needed}.safetensors").items():
            assert torch.equal(held[name], tensor), (needed, name)


@pytest.mark.usefixtures("always_saving")
def test_a_stage_is_finished_once_its_weights_lie_in_the_folder(tmp_path, cached_cases):
    assert not RunFolder(tmp_path).is_finished("local")
    take(3, tiny_set.recipe(), cached_cases, tmp_path, "local")
    assert (tmp_path / "local.checkpoint").exists()
    assert not RunFolder(tmp_path).is_finished("local")

    list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "local"))

    assert RunFolder(tmp_path).is_finished("local")
    assert not RunFolder(tmp_path).is_finished("global")


# what goes wrong


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.usefixtures("always_saving")
def test_a_loss_that_is_no_number_ends_the_stage_and_leaves_the_checkpoint(
    tmp_path, cached_cases, straight, monkeypatch, bad
):
    real = stages.StepLoss.forward

    def spoilt(*args):
        return real(*args) * bad

    training = trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "global")
    for _ in range(3):
        next(training)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stages.StepLoss, "forward", spoilt)
        with pytest.raises(TrainingError, match=f"stage global, step 3: the loss is {bad}"):
            next(training)

    assert contents(tmp_path) == before
    list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "global"))
    assert (tmp_path / "global.safetensors").read_bytes() == (straight / "global.safetensors").read_bytes()


def refuse(*_):
    raise FULL


def half_save(_, path):
    path.write_bytes(b"half")
    raise RuntimeError("unexpected pos 64 vs 0")  # what torch says on a full disk


@pytest.mark.parametrize("failure", [(Path, "replace", refuse), (torch, "save", half_save)])
@pytest.mark.usefixtures("always_saving")
def test_a_full_disk_is_said_and_leaves_the_last_checkpoint_and_nothing_half_written(
    tmp_path, cached_cases, straight, monkeypatch, failure
):
    training = trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "global")
    next(training), next(training)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*failure)
        with pytest.raises(TrainingError, match=r"cannot be written .* free some space"):
            next(training)

    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert after["global.checkpoint"] == before["global.checkpoint"]
    list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "global"))
    for file in ("global.safetensors", "global.csv"):
        assert (tmp_path / file).read_bytes() == (straight / file).read_bytes()


def test_a_disk_that_refuses_from_the_start_is_left_empty(tmp_path, cached_cases, monkeypatch):
    monkeypatch.setattr(Path, "replace", refuse)

    with pytest.raises(TrainingError, match=r"recipe\.json cannot be written"):
        take(1, tiny_set.recipe(), cached_cases, tmp_path, "global")

    assert contents(tmp_path) == {}


def test_a_gpu_whose_memory_is_full_is_said_with_what_needs_less(tmp_path, cached_cases, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(stages.StepLoss, "forward", full)

    said = r"accumulate \(now 1\) higher, or stages\.local\.photographs \(3\) or stages\.local\.windows \(1\)"
    with pytest.raises(TrainingError, match=said) as caught:
        take(1, tiny_set.recipe(), cached_cases, tmp_path, "local")
    assert "\n" not in str(caught.value)


# TensorBoard


class Board:
    """What stands in for TensorBoard's writer: what it was told is lost unless it is flushed or closed."""

    def __init__(self, _, purge_step):
        self.begun, self.pending, self.kept, self.closed = purge_step, [], [], False
        written.append(self)

    def add_scalar(self, name, value, step):
        self.pending.append((name, value, step))

    def flush(self):
        self.kept += self.pending
        self.pending = []

    def close(self):
        self.flush()
        self.closed = True


written = []


@pytest.fixture
def board(monkeypatch):
    """Put a fake TensorBoard in place and return the writers that were made."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(trainer.curves, "has_tensorboard", lambda: True)
    written.clear()
    return written


def test_tensorboard_keeps_each_step_and_each_epoch_of_a_stage(tmp_path, cached_cases, board):
    list(trainer.train_stage(tiny_set.recipe(patches=2), cached_cases, tmp_path, "local"))  # an epoch is two steps

    (one,) = board
    assert one.closed
    assert [step for name, _, step in one.kept if name == "loss"] == [1, 2, 3, 4, 5, 6]
    epochs = [(step, value) for name, value, step in one.kept if name == "epoch/loss"]
    lines = (tmp_path / "local-epochs.csv").read_text().splitlines()[1:]
    assert [step for step, _ in epochs] == [2, 4, 6]
    assert [value for _, value in epochs] == pytest.approx(
        [float(line.split(",")[3]) for line in lines], 1e-5
    )


@pytest.mark.usefixtures("always_saving")
def test_tensorboard_has_on_disk_what_a_checkpoint_has(tmp_path, cached_cases, board):
    training = trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "local")
    next(training), next(training)

    assert [step for name, _, step in board[0].kept if name == "loss"] == [1, 2]
    training.close()
    assert board[0].closed


def test_tensorboard_is_closed_where_a_stage_fails(tmp_path, cached_cases, board, monkeypatch):
    training = trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "local")
    next(training)
    monkeypatch.setattr(stages.StepLoss, "forward", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrainingError, match="the loss is nan"):
        next(training)

    assert board[0].closed
    assert ("loss", 1) in [(name, step) for name, _, step in board[0].kept]


# all of it


def test_six_steps_of_each_stage_lose_what_they_always_did(tmp_path):
    """Of another processor too. Where the losses are meant to change: tests/smoke.py."""
    golden = json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())

    found = smoke.losses(tmp_path)

    assert found.keys() == golden.keys()
    for stage, losses in golden.items():
        assert found[stage] == pytest.approx(losses, rel=1e-4), stage


def test_an_epoch_has_a_row_as_a_step_has(straight):
    lines = (straight / "local-epochs.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in (straight / "local.csv").read_text().splitlines()[1:]]

    assert lines[0] == "epoch,steps,rate,loss"
    assert lines[1].startswith("1,6,")  # 3 photographs of 143 patches are 143 steps: one epoch is not over
    assert float(lines[1].split(",")[3]) == pytest.approx(sum(losses) / 6, rel=1e-5)


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path, cached_cases):
    leftover = tmp_path / ".global.checkpoint.123.part"
    leftover.write_bytes(b"half")
    other = tmp_path / ".local.checkpoint.123.part"
    other.write_bytes(b"of a stage that may be running")

    take(1, tiny_set.recipe(), cached_cases, tmp_path, "global")

    assert not leftover.exists()
    assert other.exists()


# minutes


@pytest.fixture
def a_second_a_step(monkeypatch):
    """Let the clock advance so that the timed steps take one second each."""
    timed = trainer.TIMED_STEPS - trainer.TIMED_STEPS // 2
    ticks = itertools.count(0, timed)
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.parametrize("stage", ["global", "joint"])
@pytest.mark.usefixtures("a_second_a_step")
def test_minutes_leave_the_learner_at_its_beginning(tmp_path, cached_cases, straight, stage):
    timed, counted = (started_from(straight, tmp_path / name, stage) for name in ("timed", "counted"))

    list(trainer.train_stage(tiny_set.recipe(), cached_cases, timed, stage, minutes=3 / 60))
    list(trainer.train_stage(with_steps(tiny_set.recipe(), stage, 3), cached_cases, counted, stage))

    for name in (f"{stage}.safetensors", f"{stage}.csv"):
        assert (timed / name).read_bytes() == (counted / name).read_bytes()


@pytest.mark.usefixtures("always_saving", "a_second_a_step")
def test_minutes_fix_the_number_of_steps_at_the_first_start(tmp_path, cached_cases):
    first = take(2, tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=4 / 60)
    rest = list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=60.0))

    assert {progress.steps for progress in first + rest} == {4}
    assert rest[-1].step == 4


@pytest.mark.usefixtures("a_second_a_step")
def test_the_number_of_steps_lies_on_the_disk_before_the_first_one_is_taken(tmp_path, cached_cases, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "learning_rate", killed)  # asked for just before a step is taken
        with pytest.raises(KeyboardInterrupt):
            take(1, tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=4 / 60)

    (again,) = take(1, tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=60.0)
    assert (again.step, again.steps) == (1, 4)


def test_a_stage_killed_before_its_first_checkpoint_was_due_equals_one_that_was_not(
    tmp_path, cached_cases, straight
):
    take(3, tiny_set.recipe(), cached_cases, tmp_path, "local")

    rest = list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "local"))

    assert len(rest) == 6
    assert (tmp_path / "local.safetensors").read_bytes() == (straight / "local.safetensors").read_bytes()


@pytest.mark.usefixtures("a_second_a_step")
def test_minutes_too_few_for_a_step_are_one_step(tmp_path, cached_cases):
    assert len(list(trainer.train_stage(tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=1e-9))) == 1
