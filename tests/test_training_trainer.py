"""A run continues bit for bit after a kill, is never half-written and never mixed with another run."""

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

from foveate import atomic_files, nets
from foveate.errors import OutputError, TrainingError
from foveate.training import stages, trainer
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder
from foveate.training.validation import Validation

DISK_FULL = OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def cached_cases(tmp_path_factory):
    return tiny_set.cached_cases(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, cached_cases):
    """Return the folder of a complete run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    for stage in STAGES:
        train(tiny_set.recipe(), cached_cases, folder, stage)
    return folder


@pytest.fixture
def always_saving(monkeypatch):
    """Write a checkpoint after every step."""
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0)


def with_prerequisites(straight, folder, stage):
    """Return a folder that holds the stages from which a stage starts."""
    folder.mkdir(exist_ok=True)
    for prerequisite in trainer.PREREQUISITES[stage]:
        shutil.copy(straight / f"{prerequisite}.safetensors", folder)
    return folder


def train(recipe, cached_cases, folder, stage, **options):
    """Train a stage to its end and return its progress."""
    return list(trainer.train_stage(recipe, cached_cases, RunFolder(folder), stage, **options))


def abandon_after(count, recipe, cached_cases, folder, stage, **options):
    """Take some steps of a stage and abandon it, as a kill does; return their progress."""
    steps = trainer.train_stage(recipe, cached_cases, RunFolder(folder), stage, **options)
    progress = [next(steps) for _ in range(count)]
    steps.close()
    return progress


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def with_steps(recipe, stage, steps):
    return replace(recipe, stages=recipe.stages | {stage: replace(recipe.stages[stage], steps=steps)})


# continuing


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("killed_after", [1, 4, 6])
@pytest.mark.usefixtures("always_saving")
def test_a_run_killed_and_continued_equals_one_that_was_not(
    tmp_path, cached_cases, straight, stage, killed_after
):
    folder = with_prerequisites(straight, tmp_path / "run", stage)
    abandon_after(killed_after, tiny_set.recipe(), cached_cases, folder, stage)
    assert not RunFolder(folder).is_finished(stage)

    rest = train(tiny_set.recipe(), cached_cases, folder, stage)

    assert [progress.step for progress in rest] == list(range(killed_after + 1, 7))
    for name in (f"{stage}.safetensors", f"{stage}.csv", f"{stage}-epochs.csv"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes()


def with_snapshots(recipe, stage, snapshots):
    stages = recipe.stages | {stage: replace(recipe.stages[stage], snapshots=snapshots)}
    return replace(recipe, stages=stages)


@pytest.mark.parametrize("killed_after", [2, 3, 5])
@pytest.mark.usefixtures("always_saving")
def test_a_stage_results_in_the_mean_of_its_snapshots(tmp_path, cached_cases, straight, killed_after):
    recipe = with_snapshots(tiny_set.recipe(), "joint", 2)
    folder = with_prerequisites(straight, tmp_path / "run", "joint")
    abandon_after(killed_after, recipe, cached_cases, folder, "joint")
    train(recipe, cached_cases, folder, "joint")

    shorter = with_prerequisites(straight, tmp_path / "shorter", "joint")
    abandon_after(3, tiny_set.recipe(), cached_cases, shorter, "joint")
    average = torch.load(shorter / "joint.checkpoint", weights_only=True)["average"]
    middle = {name.removeprefix("module."): tensor for name, tensor in average.items()}
    end = load_file(straight / "joint.safetensors")
    result = load_file(folder / "joint.safetensors")
    assert result.keys() == end.keys()
    assert any(not torch.equal(result[name], end[name]) for name in end)
    for name, tensor in result.items():
        mean = ((middle[name].double() + end[name].double()) / 2).to(tensor.dtype)
        torch.testing.assert_close(tensor, mean, rtol=0, atol=0)


def test_a_stage_can_begin_with_folded_normalisations(tmp_path, straight):
    run = RunFolder(with_prerequisites(straight, tmp_path / "run", "joint"))
    recipe = tiny_set.recipe()
    joint = replace(recipe.stages["joint"], fold_batch_norm=True)
    folding = replace(recipe, stages=recipe.stages | {"joint": joint})

    network = trainer.initial_network(folding, run, "joint", None)

    unfolded = trainer.initial_network(recipe, run, "joint", None)
    folded = nets.fold_batch_norm(unfolded).state_dict()
    weights = {name: weight for name, weight in network.named_parameters() if weight.ndim == 4}
    assert all(torch.equal(weight, folded[name]) for name, weight in weights.items())
    trained = dict(unfolded.named_parameters())
    assert any(not torch.equal(weight, trained[name]) for name, weight in weights.items())


@pytest.mark.parametrize(("steps", "snapshots"), [(1, 2), (2, 5)])
def test_a_stage_shorter_than_its_snapshots_ends_as_well(tmp_path, cached_cases, straight, steps, snapshots):
    recipe = with_snapshots(with_steps(tiny_set.recipe(), "joint", steps), "joint", snapshots)
    folder = with_prerequisites(straight, tmp_path / "run", "joint")

    assert len(train(recipe, cached_cases, folder, "joint")) == steps
    assert RunFolder(folder).is_finished("joint")


@pytest.mark.usefixtures("always_saving")
def test_a_checkpoint_from_before_the_snapshots_is_refused_at_the_end(tmp_path, cached_cases, straight):
    recipe = with_snapshots(tiny_set.recipe(), "joint", 2)
    folder = with_prerequisites(straight, tmp_path / "run", "joint")
    abandon_after(4, recipe, cached_cases, folder, "joint")
    checkpoint = torch.load(folder / "joint.checkpoint", weights_only=True)
    del checkpoint["snapshots"]
    torch.save(checkpoint, folder / "joint.checkpoint")

    with pytest.raises(TrainingError, match="no snapshot of step 3; train the stage again"):
        train(recipe, cached_cases, folder, "joint")
    assert not RunFolder(folder).is_finished("joint")


def test_snapshots_of_a_checkpoint_are_on_the_cpu_wherever_it_was_loaded():
    """A checkpoint is loaded to the device of training; there is none but the CPU here."""

    class ElsewhereTensor(torch.Tensor):
        def cpu(self):
            return torch.full((1,), 7.0)

    stage_trainer = trainer.StageTrainer(tiny_set.seeded(), tiny_set.recipe(), "joint")
    state = stage_trainer.state(6)
    state["snapshots"] = {3: {"weight": torch.zeros(1).as_subclass(ElsewhereTensor)}}

    stage_trainer.load_state(state)

    assert stage_trainer.snapshots == {3: {"weight": torch.full((1,), 7.0)}}


def test_steps_after_the_last_checkpoint_are_taken_again(tmp_path, cached_cases, straight, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    stage = trainer.train_stage(tiny_set.recipe(), cached_cases, RunFolder(tmp_path), "global")
    next(stage), next(stage)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 1e9)
    next(stage), next(stage)
    stage.close()
    with (tmp_path / "global.csv").open("a") as log:
        log.write("3,0.5,99\n")  # killed between the log and the checkpoint

    rest = train(tiny_set.recipe(), cached_cases, tmp_path, "global")

    assert [progress.step for progress in rest] == [3, 4, 5, 6]
    for name in ("global.safetensors", "global.csv"):
        assert (tmp_path / name).read_bytes() == (straight / name).read_bytes()


LONG = 30
"""Steps of a stage that is killed before its end."""

TRAIN = f"""
import sys, time
from pathlib import Path
import tiny_set, torch, test_training_trainer
from foveate.training import trainer
from foveate.training.run_folder import RunFolder

torch.set_num_threads(int(sys.argv[2]))
trainer.SECONDS_BETWEEN_CHECKPOINTS = 0
cached_cases = tiny_set.cached_cases(Path(sys.argv[1]))
recipe = test_training_trainer.with_steps(tiny_set.recipe(), "global", {LONG})
for _ in trainer.train_stage(recipe, cached_cases, RunFolder(Path(sys.argv[1]) / "run"), "global"):
    time.sleep(0.3)  # nine seconds in all: time enough to be killed
"""


def steps_begun(log):
    """Return of how many steps a log has a row; the checkpoint of each but the last one is complete."""
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


def test_a_process_killed_at_any_moment_leaves_a_run_that_can_be_continued(tmp_path):
    paths = os.pathsep.join([str(Path(tiny_set.__file__).parent), str(Path(trainer.__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(tmp_path), str(torch.get_num_threads())],
        env=os.environ | {"PYTHONPATH": paths},
    )
    killed, straight = tmp_path / "run", tmp_path / "straight"
    while process.poll() is None and steps_begun(killed / "global.csv") < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = torch.load(killed / "global.checkpoint", weights_only=True)["step"]

    cases = tiny_set.cases(tmp_path / "set")
    cached_cases = [tiny_set.cache.cache_case(case, tiny_set.CONTRACT, tmp_path / "sheets") for case in cases]
    recipe = with_steps(tiny_set.recipe(), "global", LONG)
    rest = train(recipe, cached_cases, killed, "global")
    train(recipe, cached_cases, straight, "global")

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
    abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "global")
    before = contents(tmp_path)

    with pytest.raises(TrainingError, match="another recipe"):
        abandon_after(1, tiny_set.recipe(seed=1), cached_cases, tmp_path, "global")

    assert contents(tmp_path) == before


# stages that build on others


@pytest.mark.parametrize(
    ("stage", "missing"),
    [(stage, prerequisite) for stage, needs in trainer.PREREQUISITES.items() for prerequisite in needs],
)
def test_a_stage_without_one_that_it_needs_is_refused_by_name(
    tmp_path, cached_cases, straight, stage, missing
):
    folder = with_prerequisites(straight, tmp_path, stage)
    (folder / f"{missing}.safetensors").unlink()

    with pytest.raises(TrainingError, match=f"finish stage '{missing}' first"):
        abandon_after(1, tiny_set.recipe(), cached_cases, folder, stage)


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_a_stage_starts_from_the_weights_of_those_before_it(
    tmp_path, cached_cases, straight, monkeypatch, stage
):
    networks = []
    real = stages.StepLoss.forward
    monkeypatch.setattr(
        stages.StepLoss, "forward", lambda step, *rest: networks.append(step.network) or real(step, *rest)
    )
    real_rate = stages.learning_rate
    monkeypatch.setattr(stages, "learning_rate", lambda *args: 0 * real_rate(*args))

    abandon_after(1, tiny_set.recipe(), cached_cases, with_prerequisites(straight, tmp_path, stage), stage)

    for prerequisite in trainer.PREREQUISITES[stage]:
        state = stages.trained_part(networks[0], prerequisite).state_dict()
        for name, tensor in load_file(straight / f"{prerequisite}.safetensors").items():
            assert torch.equal(state[name], tensor), (prerequisite, name)


@pytest.mark.usefixtures("always_saving")
def test_a_stage_is_finished_once_its_weights_lie_in_the_folder(tmp_path, cached_cases):
    assert not RunFolder(tmp_path).is_finished("local")
    abandon_after(3, tiny_set.recipe(), cached_cases, tmp_path, "local")
    assert (tmp_path / "local.checkpoint").exists()
    assert not RunFolder(tmp_path).is_finished("local")

    train(tiny_set.recipe(), cached_cases, tmp_path, "local")

    assert RunFolder(tmp_path).is_finished("local")
    assert not RunFolder(tmp_path).is_finished("global")


# errors


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.usefixtures("always_saving")
def test_a_loss_that_is_no_number_ends_the_stage_and_leaves_the_checkpoint(
    tmp_path, cached_cases, straight, monkeypatch, bad
):
    real = stages.StepLoss.forward

    def spoilt(*args):
        return real(*args) * bad

    training = trainer.train_stage(tiny_set.recipe(), cached_cases, RunFolder(tmp_path), "global")
    for _ in range(3):
        next(training)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stages.StepLoss, "forward", spoilt)
        with pytest.raises(TrainingError, match=f"stage global, step 3: the loss is {bad}"):
            next(training)

    assert contents(tmp_path) == before
    train(tiny_set.recipe(), cached_cases, tmp_path, "global")
    assert (tmp_path / "global.safetensors").read_bytes() == (straight / "global.safetensors").read_bytes()


def refuse(*_):
    raise DISK_FULL


def half_save(_, path):
    path.write_bytes(b"half")
    raise RuntimeError("unexpected pos 64 vs 0")  # what torch says on a full disk


@pytest.mark.parametrize("failure", [(Path, "replace", refuse), (torch, "save", half_save)])
@pytest.mark.usefixtures("always_saving")
def test_a_full_disk_is_an_error_that_leaves_the_last_checkpoint_and_nothing_half_written(
    tmp_path, cached_cases, straight, monkeypatch, failure
):
    training = trainer.train_stage(tiny_set.recipe(), cached_cases, RunFolder(tmp_path), "global")
    next(training), next(training)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*failure)
        with pytest.raises(OutputError, match=r"cannot be written .* free some"):
            next(training)

    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert after["global.checkpoint"] == before["global.checkpoint"]
    train(tiny_set.recipe(), cached_cases, tmp_path, "global")
    for file in ("global.safetensors", "global.csv"):
        assert (tmp_path / file).read_bytes() == (straight / file).read_bytes()


def test_a_disk_that_refuses_from_the_start_is_left_empty(tmp_path, cached_cases, monkeypatch):
    monkeypatch.setattr(Path, "replace", refuse)

    with pytest.raises(OutputError, match=r"recipe\.json: cannot be written"):
        abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "global")

    assert contents(tmp_path) == {}


def test_the_error_about_full_gpu_memory_says_which_settings_need_less(tmp_path, cached_cases, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(stages.StepLoss, "forward", full)

    expected = (
        r"raise .*local\.accumulate \(now 1\), or lower .*local\.photographs \(3\) or .*local\.windows \(1\)"
    )
    with pytest.raises(TrainingError, match=expected) as caught:
        abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "local")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "machine"),
        (MemoryError("Unable to allocate 9 GiB"), "machine"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), "GPU"),
    ],
)
def test_memory_of_the_machine_that_runs_out_in_a_step_is_an_error_of_one_line(
    tmp_path, cached_cases, monkeypatch, error, what
):
    def full(*_):
        raise error

    monkeypatch.setattr(stages.StepLoss, "forward", full)

    expected = rf"^stage local: the {what} is out of memory; .*raise stages\.local\.accumulate[^\n]*$"
    with pytest.raises(TrainingError, match=expected):
        abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "local")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB"),
            "the GPU is out of memory; leave out --validate-every, and run the command again",
        ),
        (
            MemoryError(),
            "the machine is out of memory; free some, and run the command again .*; otherwise leave out",
        ),
    ],
)
def test_memory_that_is_too_small_to_validate_with_says_to_leave_validation_out(
    tmp_path, cached_cases, monkeypatch, error, expected
):
    def full(*_):
        raise error

    monkeypatch.setattr(trainer.validations, "averaged_network", full)
    validation = Validation(cases=(), every=1)

    with pytest.raises(TrainingError, match=f"^stage local, validation: {expected}") as caught:
        train(tiny_set.recipe(), cached_cases, tmp_path, "local", validation=validation)
    assert str(caught.value).count("'foveate train' with --resume") == 1


@pytest.mark.parametrize(
    "error",
    [
        "DataLoader worker (pid 7) is killed by signal: Killed. ",
        "DataLoader worker (pid(s) 7, 8) exited unexpectedly",
    ],
)
def test_a_process_that_prepares_samples_and_is_killed_is_an_error_of_one_line(
    tmp_path, cached_cases, monkeypatch, error
):
    def lose(dataset, steps, workers):
        yield dataset[0]
        raise RuntimeError(error)

    monkeypatch.setattr(trainer.sampler, "load_steps", lose)

    expected = (
        r"^stage local: a process that prepares samples ended \(DataLoader worker .*\); lower --w.* again"
    )
    with pytest.raises(TrainingError, match=expected):
        train(tiny_set.recipe(), cached_cases, tmp_path, "local")


def test_any_other_error_of_torch_is_raised_as_it_is(tmp_path, cached_cases, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(stages.StepLoss, "forward", fail)

    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        train(tiny_set.recipe(), cached_cases, tmp_path, "local")


# TensorBoard


class Writer:
    """A stand-in for TensorBoard's writer: values are lost unless it is flushed or closed."""

    def __init__(self, _, purge_step):
        self.purge_step, self.pending, self.stored, self.closed = purge_step, [], [], False
        writers.append(self)

    def add_scalar(self, name, value, step):
        self.pending.append((name, value, step))

    def flush(self):
        self.stored += self.pending
        self.pending = []

    def close(self):
        self.flush()
        self.closed = True


writers = []


@pytest.fixture
def tensorboard(monkeypatch):
    """Put a fake TensorBoard in place and return the writers that were made."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(trainer.curves, "has_tensorboard", lambda: True)
    writers.clear()
    return writers


def test_tensorboard_keeps_each_step_and_each_epoch_of_a_stage(tmp_path, cached_cases, tensorboard):
    train(tiny_set.recipe(patches=2), cached_cases, tmp_path, "local")  # an epoch is two steps

    (writer,) = tensorboard
    assert writer.closed
    assert [step for name, _, step in writer.stored if name == "loss"] == [1, 2, 3, 4, 5, 6]
    epochs = [(step, value) for name, value, step in writer.stored if name == "epoch/loss"]
    lines = (tmp_path / "local-epochs.csv").read_text().splitlines()[1:]
    assert [step for step, _ in epochs] == [2, 4, 6]
    assert [value for _, value in epochs] == pytest.approx(
        [float(line.split(",")[3]) for line in lines], 1e-5
    )


@pytest.mark.usefixtures("always_saving")
def test_tensorboard_has_on_disk_what_a_checkpoint_has(tmp_path, cached_cases, tensorboard):
    training = trainer.train_stage(tiny_set.recipe(), cached_cases, RunFolder(tmp_path), "local")
    next(training), next(training)

    assert [step for name, _, step in tensorboard[0].stored if name == "loss"] == [1, 2]
    training.close()
    assert tensorboard[0].closed


def test_tensorboard_is_closed_where_a_stage_fails(tmp_path, cached_cases, tensorboard, monkeypatch):
    training = trainer.train_stage(tiny_set.recipe(), cached_cases, RunFolder(tmp_path), "local")
    next(training)
    monkeypatch.setattr(stages.StepLoss, "forward", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrainingError, match="the loss is nan"):
        next(training)

    assert tensorboard[0].closed
    assert ("loss", 1) in [(name, step) for name, _, step in tensorboard[0].stored]


# whole stages


def test_the_losses_of_six_steps_of_each_stage_are_the_golden_ones(tmp_path):
    """They are equal on other processors. Where they are meant to change: tests/smoke.py."""
    golden = json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())

    losses = smoke.losses(tmp_path)

    assert losses.keys() == golden.keys()
    for stage, expected in golden.items():
        assert losses[stage] == pytest.approx(expected, rel=1e-4), stage


def test_an_epoch_has_a_row_as_a_step_has(straight):
    lines = (straight / "local-epochs.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in (straight / "local.csv").read_text().splitlines()[1:]]

    assert lines[0] == "epoch,steps,rate,loss"
    assert lines[1].startswith("1,6,")  # 3 photographs of 143 patches are 143 steps: one epoch is not over
    assert float(lines[1].split(",")[3]) == pytest.approx(sum(losses) / 6, rel=1e-5)


def test_unfinished_files_of_killed_processes_are_removed_and_younger_ones_are_not(tmp_path, cached_cases):
    old = tmp_path / ".foveate-0123456789abcdef.part"
    old.write_bytes(b"half")
    os.utime(old, (time.time() - atomic_files.LEFTOVER_SECONDS - 60,) * 2)
    young = tmp_path / ".foveate-fedcba9876543210.part"
    young.write_bytes(b"of a stage that another process trains")

    abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "global")

    assert not old.exists()
    assert young.exists()


# minutes


@pytest.fixture
def a_second_a_step(monkeypatch):
    """Let the clock advance so that timed steps take one second each."""
    timed = trainer.TIMED_STEPS - trainer.TIMED_STEPS // 2
    ticks = itertools.count(0, timed)
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.parametrize("stage", ["global", "joint"])
@pytest.mark.usefixtures("a_second_a_step")
def test_minutes_leave_the_trainer_at_its_beginning(tmp_path, cached_cases, straight, stage):
    timed, counted = (with_prerequisites(straight, tmp_path / name, stage) for name in ("timed", "counted"))

    train(tiny_set.recipe(), cached_cases, timed, stage, minutes=3 / 60)
    train(with_steps(tiny_set.recipe(), stage, 3), cached_cases, counted, stage)

    for name in (f"{stage}.safetensors", f"{stage}.csv"):
        assert (timed / name).read_bytes() == (counted / name).read_bytes()


@pytest.mark.usefixtures("always_saving", "a_second_a_step")
def test_minutes_fix_the_number_of_steps_at_the_first_start(tmp_path, cached_cases):
    first = abandon_after(2, tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=4 / 60)
    rest = train(tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=60.0)

    assert {progress.steps for progress in first + rest} == {4}
    assert rest[-1].step == 4


@pytest.mark.usefixtures("a_second_a_step")
def test_the_number_of_steps_lies_on_the_disk_before_the_first_one_is_taken(
    tmp_path, cached_cases, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "learning_rate", killed)  # asked for just before a step is taken
        with pytest.raises(KeyboardInterrupt):
            abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=4 / 60)

    (progress,) = abandon_after(1, tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=60.0)
    assert (progress.step, progress.steps) == (1, 4)


def test_a_stage_killed_before_its_first_checkpoint_was_due_equals_one_that_was_not(
    tmp_path, cached_cases, straight
):
    abandon_after(3, tiny_set.recipe(), cached_cases, tmp_path, "local")

    rest = train(tiny_set.recipe(), cached_cases, tmp_path, "local")

    assert len(rest) == 6
    assert (tmp_path / "local.safetensors").read_bytes() == (straight / "local.safetensors").read_bytes()


@pytest.mark.usefixtures("a_second_a_step")
def test_minutes_too_few_for_a_step_are_one_step(tmp_path, cached_cases):
    assert len(train(tiny_set.recipe(), cached_cases, tmp_path, "local", minutes=1e-9)) == 1
