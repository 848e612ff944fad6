"""What a recipe must say: all the numbers of a training run.

Knows:   their names, units and ranges.
Ignores: their values (`recipes/`), and how a run uses them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from foveate.errors import SettingError
from foveate.kinds import Contract
from foveate.nets import LocalGlobalUNet
from foveate.training.augment import Limits
from foveate.training.loss import Loss

StageName = Literal["global", "local", "fusion", "joint"]
STAGES: tuple[StageName, ...] = ("global", "local", "fusion", "joint")
"""In the paper's order: pre-train both streams, then the fusion alone, then everything (section 2.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of a run."""

    steps: int
    """Weight updates, unless the command line gives minutes."""
    photographs: int
    """Drawn a step; for the local stage each window has a photograph of its own."""
    windows: int
    """A photograph and step; 1 for the global stage, which sees no windows, and for the local one."""
    rate: float
    """Learning rate at the start; decays to 0 polynomially."""
    limits: Limits = field(default_factory=Limits)
    """Of augmentation; fused stages may turn by quarters only."""

    def __post_init__(self) -> None:
        """Raise SettingError for counts below 1 or a rate not above 0."""
        if min(self.steps, self.photographs, self.windows) < 1 or self.rate <= 0:
            raise SettingError(f"steps, photographs, windows at least 1 and rate above 0: {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All the numbers of one published model."""

    name: str
    """Also the name of the model package."""
    contract: Contract
    """What the network is fed, in training and ever after."""
    network: Callable[[], LocalGlobalUNet]
    """Builds it, with its first weights."""
    stages: dict[StageName, Stage]
    """All four."""
    split: Path
    """JSON file of folds."""
    held_back: int
    """The fold that is not trained on."""
    loss: Loss
    """Its weights."""
    lesion_share: float
    """Share of windows centred near a lesion's pixel, 0 to 1."""
    power: float
    """Of the polynomial decay (0.9: Yang et al. 2018, DenseASPP, the paper's reference 13)."""
    averaging: float
    """Decay a step of the weights' exponential moving average, which is what is kept."""
    seed: int = 0
    """Fixes first weights, draws and augmentation."""

    def __post_init__(self) -> None:
        """Raise SettingError where stages are missing or the fused ones would leave register."""
        if missing := set(STAGES) - set(self.stages):
            raise SettingError(f"recipe {self.name}: no stage {', '.join(sorted(missing))}")
        for name in ("fusion", "joint"):
            limits = self.stages[name].limits
            if limits.turn or limits.zoom:
                raise SettingError(
                    f"recipe {self.name}: stage {name} may turn by quarters only (paper, section 2.2)"
                )
