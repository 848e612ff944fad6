"""The values that a candidate returns: how it is run, and the result of one run.

Knows:   the two values that pass between a candidate and the process it runs in.
Ignores: what is computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The result of one run beside its time."""

    maps: Callable[[], np.ndarray] | None = None
    """Makes probabilities, K h w, canvas px; called only where somebody compares them."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Phase -> seconds, where the candidate knows them."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Name -> whatever else was counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A candidate that is loaded."""

    run: Callable[[], Answer]
    """Does all that is timed."""
    what: str
    """What computes, and how: for the table."""
    warm: bool = True
    """Whether one run that is not counted comes first."""
