"""What runs a network: the one seam between the flow and whatever computes.

Knows:   what goes in and comes out, by shape and range.
Ignores: how it is computed, and where windows come from.

Shape letters: V view side, K lesions, C channels of GlobalNet's features, N windows, S T their sides,
G G2 rows and columns of the piece of the features that a window needs.
"""

import os
import sys
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from foveate.errors import SettingError

Precision = Literal["float32", "bf16", "float16"]
"""In which a network's features are computed."""

Device = Literal["cpu", "cuda"]
"""The processor, or the first CUDA device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What GlobalNet makes of the whole photograph."""

    probabilities: Float32[np.ndarray, "K V V"]
    """0 to 1: the coarse maps."""
    features: Float32[np.ndarray, "C V V"]
    """Of its decoder: f_g in the paper."""


@runtime_checkable
class Engine(Protocol):
    """A trained network, ready to run. One caller at a time."""

    @property
    def label(self) -> str:
        """What computes, and how precisely: maps of two engines with one label are the same to rounding."""
        ...

    def glance(self, view: Float32[np.ndarray, "1 3 V V"]) -> Glance:
        """Run GlobalNet on a photograph's prepared view, or on that view turned or mirrored."""
        ...

    def look(
        self,
        windows: Float32[np.ndarray, "N 3 S T"],
        pieces: Float32[np.ndarray, "N C G G2"],
        rows: Float32[np.ndarray, "N S G"],
        columns: Float32[np.ndarray, "N T G2"],
    ) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet and the fusion on prepared windows.

        Args:
            windows: prepared pixels.
            pieces: of GlobalNet's features, one a window.
            rows: how to read a piece at the window's rows, as `feature_sampling.sample_at` says.
            columns: the same for columns.

        Returns:
            Probabilities, 0 to 1.
        """
        ...


def processors() -> int:
    """Return how many processors this process may use; named, so that no engine pins threads to others."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def counted(threads: int | None) -> int:
    """Return how many threads to compute with: those asked for, one for each of `processors` if None.

    Raises:
        SettingError: they are fewer than 1.
    """
    count = processors() if threads is None else threads
    if count < 1:
        raise SettingError(f"threads is {count}; give 1 or more")
    return count
