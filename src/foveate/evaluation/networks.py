"""Engines of the paper's Table 1, so that training is validated by the very way that predicts.

Knows:   the Engine protocol, and what each of the three rows leaves out.
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

from foveate.engines import Engine, Glance
from foveate.engines.pytorch import TorchEngine
from foveate.nets import LocalGlobalUNet, sample


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseEngine:
    """GlobalNet alone, its coarse maps read at each window's pixels: an `Engine`."""

    network: LocalGlobalUNet
    """In evaluation mode."""
    label: str = "torch float32"
    """As `Engine.label`."""

    @torch.inference_mode()
    def glance(self, view: Float32[np.ndarray, "1 3 V V"]) -> Glance:
        """Run GlobalNet; its coarse maps are what the windows see."""
        _, logits = self.network.glance(_tensor(view))
        coarse = logits.sigmoid()[0].numpy()
        return Glance(probabilities=coarse, features=coarse)

    @torch.inference_mode()
    def look(
        self,
        windows: Float32[np.ndarray, "N 3 S T"],
        pieces: Float32[np.ndarray, "N C G G2"],
        rows: Float32[np.ndarray, "N S G"],
        columns: Float32[np.ndarray, "N T G2"],
    ) -> Float32[np.ndarray, "N K S T"]:
        """Enlarge the coarse maps; the windows' pixels are not looked at."""
        found: Float32[np.ndarray, "N K S T"] = sample(
            *(torch.from_numpy(a) for a in (pieces, rows, columns))
        ).numpy()
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalEngine:
    """LocalNet alone: an `Engine`."""

    network: LocalGlobalUNet
    """In evaluation mode."""
    label: str = "torch float32"
    """As `Engine.label`."""

    def glance(self, view: Float32[np.ndarray, "1 3 V V"]) -> Glance:
        """Look at nothing."""
        empty = np.zeros((1, *view.shape[2:]), np.float32)
        return Glance(probabilities=empty, features=empty)

    @torch.inference_mode()
    def look(
        self,
        windows: Float32[np.ndarray, "N 3 S T"],
        pieces: Float32[np.ndarray, "N C G G2"],
        rows: Float32[np.ndarray, "N S G"],
        columns: Float32[np.ndarray, "N T G2"],
    ) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet; the pieces are not looked at."""
        _, logits = self.network.local_net(_tensor(windows))
        found: Float32[np.ndarray, "N K S T"] = logits.sigmoid().contiguous().numpy()
        return found


Row = Literal["GlobalNet", "LocalNet", "fused"]
"""Of the paper's Table 1."""

ROWS: Mapping[Row, Callable[..., Engine]] = MappingProxyType(
    {"GlobalNet": CoarseEngine, "LocalNet": LocalEngine, "fused": TorchEngine}
)
"""What makes a row's maps from a network."""


def _tensor(pictures: Float32[np.ndarray, "N 3 S T"]) -> torch.Tensor:
    return torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last)
