"""Where a run computes: the device, and the processes that share the work.

Knows:   devices, torch's process groups, what processes exchange, and torch's errors where memory is full.
Ignores: what is computed.

Several GPUs or machines are used by several processes, one for each GPU; `torchrun` starts them. The first
process writes the files.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from foveate.choices import Device
from foveate.errors import SettingError, TrainingError, is_out_of_memory
from foveate.wording import quantity

TIMEOUT = timedelta(hours=2)
"""How long processes wait for each other: one may have to cache a thousand photographs more than another."""


LOST_WORKER = "DataLoader worker (pid"
"""Beginning of torch's error about a worker process that ended."""

CONTINUE = "run the command again ('foveate train' with --resume)"
"""How a run is continued: the other commands that train do so by themselves."""


@contextmanager
def one_line_errors(task: str, remedy: str, *, gpu_remedy: str | None = None) -> Iterator[None]:
    """Turn the errors of torch, NumPy and OpenCV about memory within the block into errors of one line.

    Linux kills processes where the machine's memory is full, most likely one that prepares samples. Torch
    reports its end at any moment, not only where samples are read. Memory that runs out within such a process
    is reported by `sampler.load_steps`.

    Args:
        task: what the block does, for the message.
        remedy: what to do if the memory is too small for the task.
        gpu_remedy: the same for the GPU's memory, if it differs.

    Raises:
        TrainingError: the memory of the GPU or of the machine is full, or a process that prepares samples was
            killed.
    """
    try:
        yield
    except Exception as error:
        if str(error).startswith(LOST_WORKER):
            raise TrainingError(
                f"{task}: a process that prepares samples ended ({str(error).partition('.')[0]}); lower "
                f"--workers if the machine's memory, or its shared memory (/dev/shm), is full, and {CONTINUE}"
            ) from error
        if not is_out_of_memory(error):
            raise
        if isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error):
            raise TrainingError(f"{task}: the GPU is out of memory; {gpu_remedy or remedy}") from error
        raise TrainingError(
            f"{task}: the machine is out of memory; free some, and {CONTINUE}; otherwise {remedy}"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a run computes; apart from rounding, the results do not depend on it."""

    device: Device = "cpu"
    """'cuda' for a GPU; each of several processes on a machine uses the GPU with its number."""
    workers: int = 0
    """Processes that prepare samples in advance; with 0 they are prepared between the steps."""
    channels_last: bool = True
    """Whether pictures are stored channels last, which is fastest on processors and on tensor cores."""
    rank: int = 0
    """Number of this process, from 0."""
    world_size: int = 1
    """Number of processes that compute together."""

    def __post_init__(self) -> None:
        """Raise SettingError for a device that does not exist, or a number of workers below 0."""
        if self.workers < 0:
            raise SettingError(f"workers is {self.workers}; give 0 or more")
        if self.device == "cuda":
            _require_gpus(1)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes the files."""
        return self.rank == 0

    @property
    def memory_format(self) -> torch.memory_format:
        """Return the memory format of pictures and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device; on several GPUs, batch normalisation uses the samples of all."""
        moved: nn.Module = network.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]
        if self.device == "cuda" and self.world_size > 1:
            return nn.SyncBatchNorm.convert_sync_batchnorm(moved)  # type: ignore[no-untyped-call,no-any-return]
        return moved

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module whose backward pass averages the gradients of all processes."""
        return DistributedDataParallel(module) if self.world_size > 1 else module

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes, without gradient."""
        if self.world_size == 1:
            return tensor
        total = tensor.detach().clone()
        distributed.all_reduce(total)
        return total

    def broadcast(self, number: int) -> int:
        """Return the first process's number in all processes."""
        shared = torch.tensor(number, device=self.device)
        if self.world_size > 1:
            distributed.broadcast(shared, 0)
        return int(shared)

    def barrier(self) -> None:
        """Wait until all processes have reached this point."""
        if self.world_size > 1:
            distributed.barrier()


LOCAL = Machine()
"""One process on the CPU."""


@contextmanager
def process_group(environment: Mapping[str, str], device: Device) -> Iterator[None]:
    """Join the group of processes that `torchrun` started, if there is one, and leave it at the end.

    Args:
        environment: environment of this process; torchrun writes the number of processes into it.
        device: processes communicate through gloo on CPUs and through NCCL on GPUs.

    Raises:
        SettingError: this machine has fewer GPUs than processes, or a variable of torchrun is missing.
    """
    if _world_size(environment) == 1:
        yield
        return
    if device == "cuda":
        number = int(environment.get("LOCAL_RANK", "0"))
        _require_gpus(max(number + 1, int(environment.get("LOCAL_WORLD_SIZE", "1"))))
        torch.cuda.set_device(number)
    try:
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    except ValueError as error:  # an environment variable is missing
        raise SettingError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but the processes cannot connect to each other "
            f"({error}); start them with torchrun, or unset WORLD_SIZE"
        ) from error
    try:
        yield
    finally:
        distributed.destroy_process_group()


def require_single_process(environment: Mapping[str, str], command: str) -> None:
    """Refuse to be one of several processes that `torchrun` started: each would train the same runs.

    Args:
        environment: environment of this process.
        command: name of the command that trains in one process, for the message.

    Raises:
        SettingError: there are several processes.
    """
    if (processes := _world_size(environment)) > 1:
        raise SettingError(
            f"WORLD_SIZE is {processes}, but {command} trains in one process; train its runs with torchrun "
            "and 'foveate train', then repeat the command without torchrun"
        )


def _world_size(environment: Mapping[str, str]) -> int:
    """Return the number of processes that `torchrun` started; 1 without it."""
    return int(environment.get("WORLD_SIZE", "1"))


def _require_gpus(processes: int) -> None:
    """Raise SettingError if this machine does not have a GPU for each of its processes."""
    if not torch.cuda.is_available():
        raise SettingError(
            "the device is cuda, but PyTorch finds no GPU; choose --device cpu, or install PyTorch with CUDA"
        )
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise SettingError(
            f"{processes} processes on a machine with {quantity(gpus, 'GPU')}, but each needs its own; start "
            f"torchrun with --nproc-per-node {gpus} at most"
        )


def current_machine(device: Device, workers: int = 0, *, channels_last: bool = True) -> Machine:
    """Return the machine with this process's rank; to be called within `process_group`.

    Raises:
        SettingError: as `Machine`.
    """
    has_group = distributed.is_available() and distributed.is_initialized()
    return Machine(
        device=device,
        workers=workers,
        channels_last=channels_last,
        rank=distributed.get_rank() if has_group else 0,
        world_size=distributed.get_world_size() if has_group else 1,
    )


def describe(machine: Machine) -> dict[str, str | int | None]:
    """Return what a run's record states about the machine."""
    return {
        "device": machine.device,
        "gpu": torch.cuda.get_device_name() if machine.device == "cuda" else None,
        "processes": machine.world_size,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "workers": machine.workers,
    }
