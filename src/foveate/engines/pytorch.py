"""A model package's network in PyTorch, on the processor or a CUDA device: `pip install 'foveate[train]'`.

Knows:   how a package says what its network is, where its weights lie, and torch's devices and precisions.
Ignores: photographs, and what the numbers mean.

It is imported only when it is chosen: the base predicts without torch.
Shape letters as in `foveate.engines`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from safetensors.torch import load_file

from foveate import nets
from foveate.engines import Device, Glance, Precision, counted
from foveate.errors import PackageError, SettingError
from foveate.models import Package
from foveate.nets import LocalGlobalUNet, NetworkPlan, StreamPlan

TYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
}
"""Precision -> what torch calls it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchEngine:
    """A network on a device: an `Engine`. Several callers may use it at a time: it keeps nothing."""

    network: LocalGlobalUNet
    """In evaluation mode, on the device."""
    device: Device = "cpu"
    precision: Precision = "float32"

    @property
    def label(self) -> str:
        """What computes, how precisely, and where."""
        return f"torch {self.precision} on {self.device}"

    @torch.inference_mode()
    def glance(self, view: Float32[np.ndarray, "1 3 V V"]) -> Glance:
        """Run GlobalNet on a photograph's prepared view; see `Engine.glance`."""
        with self._precisely():
            features, logits = self.network.glance(self._there(view))
        return Glance(probabilities=_array(logits.float().sigmoid())[0], features=_array(features)[0])

    @torch.inference_mode()
    def look(
        self,
        windows: Float32[np.ndarray, "N 3 S T"],
        pieces: Float32[np.ndarray, "N C G G2"],
        rows: Float32[np.ndarray, "N S G"],
        columns: Float32[np.ndarray, "N T G2"],
    ) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet and the fusion on prepared windows; see `Engine.look`."""
        with self._precisely():
            logits = self.network.look(
                self._there(windows),
                *(torch.from_numpy(each).to(self.device) for each in (pieces, rows, columns)),
            )
        return _array(logits.float().sigmoid())

    def _there(self, pictures: Float32[np.ndarray, "N 3 S T"]) -> torch.Tensor:
        """Bring pictures to the device, in the order of memory that convolutions like."""
        return torch.from_numpy(pictures).to(self.device).contiguous(memory_format=torch.channels_last)

    def _precisely(self) -> AbstractContextManager[object]:
        """Compute in the precision that was chosen; sampling of features stays in float32 (`nets.sample`)."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, dtype=TYPES[self.precision])


def open(
    package: Package,
    *,
    device: Device = "cpu",
    precision: Precision | None = None,
    threads: int | None = None,
) -> tuple[TorchEngine, Mapping[str, str]]:
    """Return a package's network ready to run, and the versions of what computes.

    Args:
        package: says what its network is.
        device: 'cpu' or 'cuda'.
        precision: 'float32', or 'bf16' and 'float16', which are half precision; float32 on the processor and
            float16 on CUDA, if None.
        threads: of the processor, to compute with; all processors if None. They are the process's.

    Raises:
        PackageError: the package does not say what its network is.
        SettingError: there is no CUDA device, the processor is to compute in float16, or threads is below 1.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingError("no CUDA device is there, or torch was built without CUDA; choose --device cpu")
    chosen: Precision = precision or ("float32" if device == "cpu" else "float16")
    if device == "cpu" and chosen == "float16":
        raise SettingError("processors do not compute in float16 in PyTorch; choose --precision bf16")
    count = counted(threads)
    torch.set_num_threads(count)
    built = network(package).to(device)
    built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as torch documents it
    versions = {"torch": torch.__version__, "threads": str(count)}
    if device == "cuda":
        versions["cuda_device"] = torch.cuda.get_device_name()
    return TorchEngine(network=built, device=device, precision=chosen), versions


def network(package: Package) -> LocalGlobalUNet:
    """Return a package's network with the weights that its graphs run with, ready to run.

    Raises:
        PackageError: the manifest does not say what the network is, or the weights belong to another.
    """
    where = package.folder / "manifest.json"
    try:
        training: object = package.manifest["training"]
        stored = training["recipe"]["network"]  # type: ignore[index]  # whatever it is, KeyError or TypeError
        plan = _plan(stored)
        built = nets.folded(nets.build(plan, len(package.contract.lesions), read=None))
        weights = load_file(package.folder / "weights.safetensors")
        built.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except (KeyError, TypeError, RuntimeError, SettingError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise PackageError(
            f"{where}: does not say what network the weights belong to ({why}); choose another --engine"
        ) from None
    return built.eval().requires_grad_(False)


def _plan(stored: Mapping[str, object]) -> NetworkPlan:
    """Return a network as numbers from what a recipe's record holds of it."""
    streams = {}
    for name in ("global_net", "local_net"):
        numbers = dict(stored[name])  # type: ignore[call-overload]  # a mapping, or TypeError
        streams[name] = StreamPlan(**{**numbers, "decoder": tuple(numbers["decoder"])})
    return NetworkPlan(**{**stored, **streams})  # type: ignore[arg-type]


def _array(found: torch.Tensor) -> Float32[np.ndarray, "..."]:
    """Bring what was computed back to the processor."""
    there: Float32[np.ndarray, "..."] = found.float().contiguous().cpu().numpy()
    return there
