"""Engines for the three rows of the paper's Table 1, to validate training with the prediction pipeline.

Knows:   the Engine protocol, and which network each row leaves out.
Ignores: photographs.

Shape letters as in `foveate.engines`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from foveate.engines import Engine, GlobalOutput, WindowBatch
from foveate.engines.pytorch import TorchEngine, to_tensors
from foveate.nets import LocalGlobalUNet, sample_pieces


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseEngine:
    """An `Engine` of GlobalNet alone: each window is sampled from its coarse maps."""

    network: LocalGlobalUNet
    """In evaluation mode."""
    label: str = "torch float32"
    """As `Engine.label`."""

    @torch.inference_mode()
    def run_global(self, view: Float32[np.ndarray, "1 3 V V"]) -> GlobalOutput:
        """Run GlobalNet; the coarse maps are also returned as the features."""
        _, logits = self.network.forward_global(_tensor(view))
        coarse = logits.sigmoid()[0].numpy()
        return GlobalOutput(probabilities=coarse, features=coarse)

    @torch.inference_mode()
    def run_local(self, batch: WindowBatch) -> Float32[np.ndarray, "N K S T"]:
        """Enlarge the coarse maps; the pixels of the windows are ignored."""
        probabilities: Float32[np.ndarray, "N K S T"] = sample_pieces(to_tensors(batch)).numpy()
        return probabilities

    def release_memory(self) -> None:
        """Do nothing: PyTorch frees its tensors after each run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalEngine:
    """An `Engine` of LocalNet alone."""

    network: LocalGlobalUNet
    """In evaluation mode."""
    label: str = "torch float32"
    """As `Engine.label`."""

    def run_global(self, view: Float32[np.ndarray, "1 3 V V"]) -> GlobalOutput:
        """Return empty maps: there is no GlobalNet."""
        empty = np.zeros((1, *view.shape[2:]), np.float32)
        return GlobalOutput(probabilities=empty, features=empty)

    @torch.inference_mode()
    def run_local(self, batch: WindowBatch) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet; the features of GlobalNet are ignored."""
        _, logits = self.network.local_net(_tensor(batch.windows))
        probabilities: Float32[np.ndarray, "N K S T"] = logits.sigmoid().contiguous().numpy()
        return probabilities

    def release_memory(self) -> None:
        """Do nothing: PyTorch frees its tensors after each run."""


Row = Literal["GlobalNet", "LocalNet", "fused"]
"""A row of the paper's Table 1."""

ROW_ENGINES: Mapping[Row, Callable[..., Engine]] = MappingProxyType(
    {"GlobalNet": CoarseEngine, "LocalNet": LocalEngine, "fused": TorchEngine}
)
"""Row -> the class of its engine, which is constructed from a network."""


def _tensor(pictures: Float32[np.ndarray, "N 3 S T"]) -> torch.Tensor:
    return torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last)
