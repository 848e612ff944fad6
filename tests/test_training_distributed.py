"""Several processes compute what a single one does: the same loss, the same gradient, the same weights."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_set
import torch
from safetensors.torch import load_file, save_file

from foveate.errors import SettingError
from foveate.training import distributed, sampler, stages, trainer
from foveate.training.distributed import LOCAL, Machine
from foveate.training.losses import Loss
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder

LOSS = Loss(focal_tversky=0.5)


def recipe(parts):
    """Return a recipe of five photographs a step, which no two processes share evenly, in float32."""
    whole = tiny_set.recipe()
    each = {name: replace(stage, photographs=5, accumulate=parts) for name, stage in whole.stages.items()}
    return replace(whole, stages=each, precision="float32", loss=LOSS)


def gradient(cached_cases, machine, stage, parts):
    """Return the loss and gradient of a stage's first step, statistics frozen."""
    network = tiny_set.seeded()
    stages.set_modes(network, stage)
    network.eval()
    stage_trainer = trainer.StageTrainer(network, recipe(parts), stage, machine)
    loss = stage_trainer.backward(sampler.StepDataset(cached_cases, recipe(parts), stage, machine)[0])
    grads = {name: w.grad for name, w in network.named_parameters() if w.grad is not None}
    return loss, grads


def compute(root):
    """Compute everything that is compared, in one of several processes or in the only one, and save it."""
    machine = distributed.current_machine("cpu")
    cases = tiny_set.cases(root / "set")
    cached_cases = [tiny_set.cache.cache_case(case, tiny_set.CONTRACT, root / "sheets") for case in cases]
    out = root / f"{machine.world_size}-{machine.rank}"
    out.mkdir()
    losses = {}
    for stage in STAGES:
        for parts in (1, 2):
            losses[f"{stage} {parts}"], grads = gradient(cached_cases, machine, stage, parts)
            save_file(grads, out / f"{stage}-{parts}.safetensors")
    (out / "losses.json").write_text(json.dumps(losses))
    list(
        trainer.train_stage(
            recipe(1), cached_cases, RunFolder(root / f"run-{machine.world_size}"), "global", machine=machine
        )
    )


def process(root, rank, ranks, port):
    """Start one of several processes, as torchrun does."""
    paths = [str(Path(tiny_set.__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = {
        "PYTHONPATH": os.pathsep.join(paths),
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    code = (
        "import os, sys, pathlib, torch, test_training_distributed; torch.set_num_threads(1)\n"
        "with test_training_distributed.distributed.process_group(os.environ, 'cpu'):\n"
        "    test_training_distributed.compute(pathlib.Path(sys.argv[1]))"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(root)],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Return the folder with the results of two processes and of a single one."""
    root = tmp_path_factory.mktemp("machine")
    tiny_set.cached_cases(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [process(root, rank, 2, port) for rank in range(2)]
    for started in [*processes, process(root, 0, 1, port)]:
        _, errors = started.communicate(timeout=120)
        assert started.returncode == 0, errors
    return root


def losses(root, name):
    return json.loads((root / name / "losses.json").read_text())


def test_two_processes_compute_the_loss_of_a_single_one(computed):
    single, first, second = (losses(computed, name) for name in ("1-0", "2-0", "2-1"))

    assert first == second
    assert first == pytest.approx(single, rel=1e-5)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_compute_the_gradient_of_a_single_one(computed, stage, parts):
    single, first, second = (
        load_file(computed / name / f"{stage}-{parts}.safetensors") for name in ("1-0", "2-0", "2-1")
    )

    assert single.keys() == first.keys() == second.keys()
    assert max(grad.abs().max() for grad in single.values()) > 0.01
    for name, grad in single.items():
        torch.testing.assert_close(first[name], grad, rtol=1e-4, atol=1e-5)
        assert torch.equal(first[name], second[name])


def test_two_processes_write_one_run(computed):
    single, double = ((computed / f"run-{ranks}") for ranks in (1, 2))

    assert {path.name for path in single.iterdir()} == {path.name for path in double.iterdir()}
    assert len((double / "global.csv").read_text().splitlines()) == 7
    assert (single / "recipe.json").read_text() == (double / "recipe.json").read_text()


def test_a_single_process_neither_waits_nor_adds():
    tensor = torch.ones(2)

    LOCAL.barrier()
    assert LOCAL.all_reduce_sum(tensor) is tensor
    assert LOCAL.broadcast(7) == 7
    assert LOCAL.wrap(module := torch.nn.Linear(1, 1)) is module
    with distributed.process_group({}, "cpu"):
        assert distributed.current_machine("cpu") == LOCAL
    assert distributed.describe(LOCAL)["processes"] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_does_not_exist_is_an_error():
    with pytest.raises(SettingError, match="PyTorch finds no GPU"):
        Machine(device="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_several_processes_without_a_gpu_are_refused_before_they_join():
    several = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}

    with (
        pytest.raises(SettingError, match="PyTorch finds no GPU"),
        distributed.process_group(several, "cuda"),
    ):
        pass


@pytest.mark.parametrize(("variables", "gpus"), [({"LOCAL_WORLD_SIZE": "4"}, 4), ({"LOCAL_RANK": "2"}, 3)])
def test_more_processes_than_gpus_are_refused_in_each_of_them(monkeypatch, variables, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    several = {"WORLD_SIZE": "4", "LOCAL_RANK": "0"} | variables

    errors = f"{gpus} processes on a machine with 2 GPUs, but .* --nproc-per-node 2"
    with pytest.raises(SettingError, match=errors), distributed.process_group(several, "cuda"):
        pass


def test_processes_without_a_meeting_address_are_refused(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    with (
        pytest.raises(SettingError, match=r"WORLD_SIZE is 2, .* torchrun"),
        distributed.process_group({"WORLD_SIZE": "2"}, "cpu"),
    ):
        pass


def test_workers_below_none_are_refused():
    with pytest.raises(SettingError, match="workers is -1"):
        Machine(workers=-1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_computes_the_loss_and_gradient_of_the_processor(tmp_path):
    cached_cases = tiny_set.cached_cases(tmp_path)
    for stage in STAGES:
        (loss, grads), (again, moved) = (
            gradient(cached_cases, Machine(device=device), stage, 1) for device in ("cpu", "cuda")
        )
        assert again == pytest.approx(loss, rel=1e-3)
        for name, grad in grads.items():
            torch.testing.assert_close(moved[name].cpu(), grad, rtol=1e-2, atol=1e-3)


def test_torchrun_passes_on_all_options_of_the_documented_commands():
    from torch.distributed.run import get_args_parser

    page = (Path(__file__).parents[1] / "docs/training-on-gpus.md").read_text()
    commands = re.findall(r"torchrun (.* train (?:.*\\\n)*.*)", page)

    assert len(commands) == 2
    for command in commands:
        words = [*command.replace("\\\n", " ").split(), "--start", "idrid"]
        arguments = get_args_parser().parse_args(words)
        assert [arguments.training_script, *arguments.training_script_args] == words[words.index("foveate") :]
