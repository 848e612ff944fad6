"""What runs a network: the one seam between the flow and whatever computes.

Knows:   what goes in and comes out, by shape and range.
Ignores: how it is computed, and where windows come from.

Shape letters: V view side, K lesions, C channels of GlobalNet's features, N windows, S window side,
G G2 rows and columns of the piece of the features that a window needs.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What GlobalNet makes of the whole photograph."""

    probabilities: Float32[np.ndarray, "K V V"]
    """0 to 1: the coarse maps."""
    features: Float32[np.ndarray, "C V V"]
    """Of its decoder: f_g in the paper."""


@runtime_checkable
class Engine(Protocol):
    """A trained network, ready to run."""

    def glance(self, view: Float32[np.ndarray, "1 3 V V"]) -> Glance:
        """Run GlobalNet on a photograph's prepared view, or on that view turned or mirrored."""
        ...

    def look(
        self,
        windows: Float32[np.ndarray, "N 3 S S"],
        pieces: Float32[np.ndarray, "N C G G2"],
        rows: Float32[np.ndarray, "N S G"],
        columns: Float32[np.ndarray, "N S G2"],
    ) -> Float32[np.ndarray, "N K S S"]:
        """Run LocalNet and the fusion on prepared windows.

        Args:
            windows: prepared pixels.
            pieces: of GlobalNet's features, one a window.
            rows: how to read a piece at the window's rows, as `views.sight` says.
            columns: the same for columns.

        Returns:
            Probabilities, 0 to 1.
        """
        ...
