"""Where a run computes: on which device, and in how many processes side by side.

Knows:   devices, torch's processes, and what they tell each other.
Ignores: what is computed.

Several GPUs or machines are several processes, one a GPU, as `torchrun` starts them; the first one writes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from foveate.errors import SettingError

Device = Literal["cpu", "cuda"]

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: one may lay out a thousand photographs more than another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a run computes; nothing of it changes what is computed, beyond rounding."""

    device: Device = "cpu"
    """CUDA's for a GPU; with several processes each takes the one of its number on its machine."""
    workers: int = 0
    """Processes that draw samples ahead; 0 draws between the steps."""
    channels_last: bool = True
    """How pictures lie in memory: what processors and GPUs with tensor cores like best."""
    rank: int = 0
    """Number of this process, from 0."""
    ranks: int = 1
    """Processes that compute side by side."""

    def __post_init__(self) -> None:
        """Raise SettingError for a device that is not there, or workers below 0."""
        if self.workers < 0:
            raise SettingError(f"workers are {self.workers}; 0 or more")
        if self.device == "cuda":
            _require_gpus(1)

    @property
    def layout(self) -> torch.memory_format:
        """Return how pictures lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def placed(self, network: nn.Module) -> nn.Module:
        """Bring a network to the device; on several GPUs its normalisations count over all of them."""
        moved: nn.Module = network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        if self.device == "cuda" and self.ranks > 1:
            return nn.SyncBatchNorm.convert_sync_batchnorm(moved)  # type: ignore[no-untyped-call,no-any-return]
        return moved

    def wrapped(self, module: nn.Module) -> nn.Module:
        """Return the module whose backward pass takes the mean of all processes' gradients."""
        return DistributedDataParallel(module) if self.ranks > 1 else module

    def added(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes; without gradient."""
        if self.ranks == 1:
            return tensor
        total = tensor.detach().clone()
        distributed.all_reduce(total)
        return total

    def agreed(self, number: int) -> int:
        """Return the first process's number in all of them."""
        told = torch.tensor(number, device=self.device)
        if self.ranks > 1:
            distributed.broadcast(told, 0)
        return int(told)

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.ranks > 1:
            distributed.barrier()


HERE = Machine()
"""One process on the CPU."""


@contextmanager
def joined(environment: Mapping[str, str], device: Device) -> Iterator[None]:
    """Join the processes that `torchrun` started, if it did, and leave them at the end.

    Args:
        environment: of this process; torchrun says in it how many there are.
        device: CPU processes speak through gloo, GPUs through NCCL.

    Raises:
        SettingError: fewer GPUs than processes on this machine, or torchrun did not say where to meet.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device == "cuda":
        number = int(environment.get("LOCAL_RANK", "0"))
        _require_gpus(max(number + 1, int(environment.get("LOCAL_WORLD_SIZE", "1"))))
        torch.cuda.set_device(number)
    try:
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    except ValueError as error:  # a variable of its environment is missing
        raise SettingError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but the processes cannot meet ({error}); "
            "start them by torchrun, or unset WORLD_SIZE"
        ) from error
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _require_gpus(processes: int) -> None:
    """Raise SettingError where processes of this machine would have no GPU of their own."""
    if not torch.cuda.is_available():
        raise SettingError(
            "device is cuda, but torch finds no GPU; use --device cpu or a build of torch for CUDA"
        )
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise SettingError(
            f"{processes} processes on a machine of {gpus} GPUs; each needs one of its own: start "
            f"torchrun with --nproc-per-node {gpus} at most"
        )


def found(device: Device, workers: int = 0, *, channels_last: bool = True) -> Machine:
    """Return the machine as it is, after `joined`.

    Raises:
        SettingError: as `Machine`.
    """
    several = distributed.is_available() and distributed.is_initialized()
    return Machine(
        device=device,
        workers=workers,
        channels_last=channels_last,
        rank=distributed.get_rank() if several else 0,
        ranks=distributed.get_world_size() if several else 1,
    )


def describe(machine: Machine) -> dict[str, str | int | None]:
    """Return what a run's record says of where it was computed."""
    return {
        "device": machine.device,
        "gpu": torch.cuda.get_device_name() if machine.device == "cuda" else None,
        "processes": machine.ranks,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "workers": machine.workers,
    }
