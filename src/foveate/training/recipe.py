"""What a recipe must say: all the numbers of a training run.

Knows:   their names, units and ranges, and how many steps an epoch is.
Ignores: their values (`recipes/`), and how a run uses them.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from foveate.errors import SettingError
from foveate.nets import NetworkPlan
from foveate.training.augmentation import Limits
from foveate.training.losses import Loss
from foveate.types import Contract

StageName = Literal["global", "local", "fusion", "joint", "global-alone", "local-alone"]
STAGES: tuple[StageName, ...] = ("global", "local", "fusion", "joint")
"""In the paper's order: pre-train both streams, then the fusion alone, then everything (section 2.2)."""

ALONE: tuple[StageName, ...] = ("global-alone", "local-alone")
"""Not the paper's: a pre-trained stream goes on by itself with the joint stage's numbers, draws and steps, so
that what fusion brings can be told from what more training brings (`comparison`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of a run: so many steps, or so many epochs; the command line may give minutes instead."""

    photographs: int
    """Drawn a step; for the local stage each window has a photograph of its own."""
    windows: int
    """A photograph and step; 1 for the global stage, which sees no windows, and for the local one."""
    rate: float
    """Learning rate at the start; decays to 0 polynomially."""
    steps: int | None = None
    """Weight updates; None where epochs are named."""
    epochs: float | None = None
    """Times that every photograph is seen, each with the recipe's `patches` windows; None where steps are."""
    limits: Limits = field(default_factory=Limits)
    """Of augmentation; fused stages may turn by quarters only."""
    accumulate: int = 1
    """Parts that a step's samples go through the network in: less memory, the same gradient."""

    def __post_init__(self) -> None:
        """Raise SettingError for counts below 1, a rate not above 0, both of steps and epochs, or neither."""
        if (self.steps is None) == (self.epochs is None):
            raise SettingError(f"a stage says either steps or epochs, not both, not neither: {self}")
        counts = (1 if self.steps is None else self.steps, self.photographs, self.windows)
        if min(counts) < 1 or self.rate <= 0:
            raise SettingError(f"steps, photographs, windows at least 1 and rate above 0: {self}")
        if self.epochs is not None and self.epochs <= 0:
            raise SettingError(f"epochs are above 0, not {self.epochs}")
        if not 1 <= self.accumulate <= self.photographs:
            raise SettingError(
                f"accumulate is {self.accumulate}; {self.photographs} photographs a step go in 1 to "
                f"{self.photographs} parts"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All the numbers of one published model."""

    name: str
    """Also the name of the model package."""
    contract: Contract
    """What the network is fed, in training and ever after."""
    network: NetworkPlan
    """Both streams and their fusion; built with as many maps as the contract has lesions."""
    stages: dict[StageName, Stage]
    """All four."""
    loss: Loss
    """Its weights."""
    lesion_share: float
    """Share of windows centred near a lesion's pixel, 0 to 1 (the paper: 0)."""
    healthy_share: float = 0.0
    """Share of the fused stages' photographs that are healthy eyes, from 0 up to 1, where the command line
    names some; 0 leaves them out. The streams alone do not meet them (our choice)."""
    power: float
    """Of the polynomial decay (0.9: Yang et al. 2018, DenseASPP, the paper's reference 13)."""
    averaging: float
    """Decay a step of the weights' exponential moving average, which is kept; 0 keeps the last weights."""
    split: Path | None = None
    """JSON file of folds; None where the run deals them, or the command line names a file."""
    healthy_split: Path | None = None
    """JSON file that says which graded photographs may be learned from (`datasets.graded`); None: all."""
    held_back: int | None = 0
    """The fold that is not trained on; None trains on all (the paper, which had test photographs apart)."""
    any_lesions: bool = False
    """Whether the data set's layout says what is looked for, and whether its photographs have a round field,
    in place of the contract."""
    cases: Literal["all", "with-lesion"] = "all"
    """Photographs to train on: all, or those that have a lesion of the contract (the paper)."""
    sampling: Literal["drawn", "dealt"] = "drawn"
    """'drawn': every step draws anew. 'dealt': photographs and the windows of a grid without overlap are
    dealt like cards, so that an epoch sees each once: the paper's 'cropped uniformly'."""
    patches: int = 143
    """Windows a photograph and epoch: 13 x 11 of 256 px make up the paper's crop."""
    optimiser: Literal["adam", "adamw"] = "adamw"
    """'adam' takes lambda 3 as the L2 norm's gradient (the paper), 'adamw' as decoupled decay."""
    warm_up: float = 0.02
    """Share of a stage's steps over which the rate climbs, since new decoders behind trained encoders start
    with large gradients (our choice; the paper: 0)."""
    precision: Literal["bf16", "float32"] = "bf16"
    """In which the networks compute; weights, loss and optimiser stay in float32."""
    seed: int = 0
    """Fixes first weights, draws and augmentation."""

    def __post_init__(self) -> None:
        """Raise SettingError where stages are missing, leave register, or numbers disagree."""
        if missing := set(STAGES) - set(self.stages):
            raise SettingError(f"recipe {self.name}: no stage {', '.join(sorted(missing))}")
        for name in ("fusion", "joint"):
            limits = self.stages[name].limits
            if limits.turn or limits.zoom:
                raise SettingError(
                    f"recipe {self.name}: stage {name} may turn by quarters only (paper, section 2.2)"
                )
        if self.sampling == "dealt" and self.lesion_share:
            raise SettingError(
                f"recipe {self.name}: lesion_share is {self.lesion_share}, but dealt windows are uniform; "
                "set lesion_share to 0 or sampling to drawn"
            )
        if not 0 <= self.healthy_share < 1 or (self.healthy_share and self.sampling == "dealt"):
            raise SettingError(
                f"recipe {self.name}: healthy_share is {self.healthy_share}; from 0 up to 1, and 0 where "
                "sampling is dealt"
            )
        if self.patches < 1 or not 0 <= self.warm_up < 1 or not 0 <= self.averaging < 1:
            raise SettingError(
                f"recipe {self.name}: patches at least 1, warm_up and averaging from 0 up to 1, not "
                f"{self.patches}, {self.warm_up}, {self.averaging}"
            )
        self._refuse_sides()
        self._refuse_step()

    def _refuse_step(self) -> None:
        """Raise SettingError where LocalNet cannot take windows of any multiple of the contract's step."""
        step, stride = self.contract.step, 2**self.network.local_net.poolings
        if step is not None and (step % stride or self.contract.window_side % step):
            raise SettingError(
                f"recipe {self.name}: contract.step is {step}; make it a multiple of {stride}, local_net's "
                f"stride, that divides the window of {self.contract.window_side} px"
            )

    def _refuse_sides(self) -> None:
        """Raise SettingError where a stream cannot halve its pictures as often as it must.

        Twice the stride at least: of one pixel a channel, batch normalisation has nothing to take a mean of.
        """
        for side, key, stream, poolings in (
            (self.contract.view_side, "view_side", "global_net", self.network.global_net.poolings),
            (self.contract.window_side, "window_side", "local_net", self.network.local_net.poolings),
        ):
            stride = 2 ** min(poolings, side.bit_length())  # the second is too deep already
            if side < 2 * stride or side % stride:
                raise SettingError(
                    f"recipe {self.name}: contract.{key} is {side}, and {stream} halves it {poolings} times; "
                    f"make it 2, 3, 4, ... times 2**{poolings}, or lower network.{stream}.poolings"
                )


def drawn_as(stage: StageName) -> StageName:
    """Return the stage whose numbers and draws a stage has: its own, or the joint stage's."""
    return "joint" if stage in ALONE else stage


def epoch(recipe: Recipe, stage: StageName, photographs: int) -> float:
    """Return how many steps show a stage every photograph once, each with the recipe's number of windows.

    The global stage sees no windows: there an epoch is every photograph's view once.

    Args:
        photographs: that are trained on.
    """
    numbers = recipe.stages[drawn_as(stage)]
    if stage == "global":
        return photographs / numbers.photographs
    if stage == "local":
        return photographs * recipe.patches / (numbers.photographs * numbers.windows)
    return photographs * math.ceil(recipe.patches / numbers.windows) / numbers.photographs


def steps_of(recipe: Recipe, stage: StageName, photographs: int) -> int:
    """Return how many steps a stage takes where the command line gives no minutes."""
    numbers = recipe.stages[drawn_as(stage)]
    if numbers.steps is not None:
        return numbers.steps
    assert numbers.epochs is not None
    return max(1, math.ceil(numbers.epochs * epoch(recipe, stage, photographs)))
