"""Engines, which run a network, behind one protocol.

Knows:   the inputs and outputs, by shape and range.
Ignores: how they are computed, and the positions of windows.

Shape letters: V view side, K lesions, C channels of GlobalNet's features, N windows, S T their sides,
G G2 rows and columns of the piece of the features that a window needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from foveate.engines import telemetry
from foveate.geometry.feature_sampling import FeatureSampling

telemetry.disable_onnxruntime()  # before `foveate.engines.onnx` imports it


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GlobalOutput:
    """GlobalNet's output for one global view."""

    probabilities: Float32[np.ndarray, "K V V"]
    """The coarse maps, 0 to 1."""
    features: Float32[np.ndarray, "C V V"]
    """Its decoder's features: f_g in the paper. Their order in memory is the engine's own."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowBatch:
    """The inputs of LocalNet and the fusion for some windows of one size."""

    windows: Float32[np.ndarray, "N 3 S T"]
    """Normalised pixels."""
    pieces: Float32[np.ndarray, "N C G G2"]
    """For each window, the piece of the global features that shows its place."""
    rows: Float32[np.ndarray, "N S G"]
    """Weights that read a piece at the rows of its window (`FeatureSampling.rows`)."""
    columns: Float32[np.ndarray, "N T G2"]
    """The same for columns."""

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.windows)

    @classmethod
    def gather(
        cls,
        windows: Float32[np.ndarray, "N 3 S T"],
        features: Float32[np.ndarray, "C V V"],
        samplings: Sequence[FeatureSampling],
    ) -> "WindowBatch":
        """Gather each window's piece of the global features.

        Args:
            windows: normalised pixels.
            features: of GlobalNet.
            samplings: where each window's piece lies and how it is read; pieces are equally large.
        """
        pieces = [
            features[:, top : top + sampling.rows.shape[1], left : left + sampling.columns.shape[1]]
            for sampling in samplings
            for top, left in [sampling.corner]
        ]
        return cls(
            windows=windows,
            pieces=np.stack(pieces),
            rows=np.stack([sampling.rows for sampling in samplings]),
            columns=np.stack([sampling.columns for sampling in samplings]),
        )


@runtime_checkable
class Engine(Protocol):
    """A trained network, ready to run. Several threads may call it."""

    @property
    def label(self) -> str:
        """Name the library and the precision; two engines with one label give the same maps to rounding."""
        ...

    def run_global(self, view: Float32[np.ndarray, "1 3 V V"]) -> GlobalOutput:
        """Run GlobalNet on a photograph's normalised global view."""
        ...

    def run_local(self, batch: WindowBatch) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet and the fusion on some windows; return probabilities, 0 to 1."""
        ...

    def release_memory(self) -> None:
        """Free the memory that the runs for a photograph left allocated, because the next run is not soon."""
        ...
