"""Run a model package's network with PyTorch, on the CPU or a CUDA device: `pip install 'foveate[train]'`.

Knows:   how a package describes its network, where its weights are, and torch's devices and precisions.
Ignores: photographs, and what the numbers mean.

It is imported only when it is chosen: the base package predicts without torch.
Shape letters as in `foveate.engines`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from safetensors.torch import load_file

from foveate import models, nets
from foveate.choices import Device, Precision
from foveate.engines import GlobalOutput, WindowBatch
from foveate.engines.threads import thread_count
from foveate.errors import PackageError, SettingError, one_line, raise_if_out_of_memory
from foveate.models import Package
from foveate.nets import GlobalPieces, LocalGlobalUNet, NetworkPlan
from foveate.paths import display_path

DTYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
}
"""Precision -> torch's name of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchEngine:
    """A network on a device: an `Engine`. It keeps no state, so several callers may run it at a time."""

    network: LocalGlobalUNet
    """In evaluation mode, on the device."""
    device: Device = "cpu"
    precision: Precision = "float32"

    @property
    def label(self) -> str:
        """Name the library, the precision and the device."""
        return f"torch {self.precision} on {self.device}"

    @torch.inference_mode()
    def run_global(self, view: Float32[np.ndarray, "1 3 V V"]) -> GlobalOutput:
        """Run GlobalNet on a photograph's normalised global view."""
        with self._autocast():
            features, logits = self.network.forward_global(self._pictures(view))
        return GlobalOutput(
            probabilities=_to_numpy(logits.float().sigmoid())[0], features=_to_numpy(features)[0]
        )

    @torch.inference_mode()
    def run_local(self, batch: WindowBatch) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet and the fusion on some windows; return probabilities, 0 to 1."""
        pieces = to_tensors(batch, self.device)
        with self._autocast():
            logits = self.network.forward_local(self._pictures(batch.windows), pieces)
        return _to_numpy(logits.float().sigmoid())

    def release_memory(self) -> None:
        """Do nothing: PyTorch frees its tensors after each run."""

    def _pictures(self, pictures: Float32[np.ndarray, "N 3 S T"]) -> torch.Tensor:
        """Copy pictures to the device, in the memory format that makes convolutions fast."""
        return torch.from_numpy(pictures).to(self.device).contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> AbstractContextManager[object]:
        """Compute in the chosen precision; `nets.sample_pieces` stays in float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, dtype=DTYPES[self.precision])


def to_tensors(batch: WindowBatch, device: str = "cpu") -> GlobalPieces:
    """Return a batch's pieces of the global features, and the weights that read them, as tensors."""
    return GlobalPieces(
        *(torch.from_numpy(array).to(device) for array in (batch.pieces, batch.rows, batch.columns))
    )


def open(
    package: Package,
    *,
    device: Device = "cpu",
    precision: Precision,
    threads: int | None = None,
) -> tuple[TorchEngine, Mapping[str, str]]:
    """Return a package's network ready to run, and the versions of what computes.

    Args:
        package: says what its network is.
        device: 'cpu' or 'cuda'.
        precision: 'float32', 'bf16', or on CUDA 'float16'.
        threads: number of CPU threads of this process to compute with; one for each available CPU if None.

    Raises:
        PackageError: the package does not say what its network is.
        MemoryError: there is not enough memory.
        SettingError: there is no CUDA device, float16 is chosen for the CPU, or threads is below 1.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingError("there is no CUDA device, or PyTorch was built without CUDA; choose --device cpu")
    if device == "cpu" and precision == "float16":
        raise SettingError("PyTorch does not compute in float16 on the CPU; choose --precision bf16")
    count = thread_count(threads)
    torch.set_num_threads(count)
    network = load_network(package).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as torch documents it
    versions = {"torch": torch.__version__, "threads": str(count)}
    if device == "cuda":
        versions["cuda_device"] = torch.cuda.get_device_name()
    return TorchEngine(network=network, device=device, precision=precision), versions


def load_network(package: Package) -> LocalGlobalUNet:
    """Return a package's network with the weights of its graphs, in evaluation mode.

    Raises:
        PackageError: the manifest does not say what the network is, or the weights belong to another one.
        MemoryError: there is not enough memory.
    """
    path, stated = package.folder / models.MANIFEST, package.training
    try:
        plan = NetworkPlan.from_stored(stated.network)
        network = nets.fold_batch_norm(nets.build(plan, len(package.contract.lesions), read_weights=None))
        if any(stated.global_shares):
            nets.add_global_head(network)
        weights = load_file(package.folder / models.WEIGHTS)
        network.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except (AttributeError, KeyError, TypeError, RuntimeError, SettingError) as error:
        raise_if_out_of_memory(error)
        reason = one_line(error, 200) if stated.network else "it states none"
        raise PackageError(
            f"{display_path(path)}: does not say which network the weights belong to ({reason}); choose "
            "another --engine"
        ) from None
    return network.eval().requires_grad_(False)


def _to_numpy(tensor: torch.Tensor) -> Float32[np.ndarray, "..."]:
    """Copy a tensor to the CPU as a float32 array."""
    array: Float32[np.ndarray, "..."] = tensor.float().contiguous().cpu().numpy()
    return array
