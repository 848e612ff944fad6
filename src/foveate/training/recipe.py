"""The numbers that a recipe holds: everything that defines a training run.

Knows:   the names, units and ranges of these numbers, and how many steps an epoch has.
Ignores: their values (`recipes/`), and how a run uses them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from foveate.errors import SettingError
from foveate.nets import NetworkPlan, plans
from foveate.training.augmentation import AugmentationLimits
from foveate.training.losses import Loss
from foveate.types import ModelContract

StageName = Literal["global", "local", "fusion", "joint", "global-alone", "local-alone"]
STAGES: tuple[StageName, ...] = ("global", "local", "fusion", "joint")
"""In the paper's order: pre-train both streams, then train the fusion alone, then everything (section
2.2)."""

ALONE_STAGES: tuple[StageName, ...] = ("global-alone", "local-alone")
"""Not in the paper: a pre-trained stream continues by itself with the joint stage's numbers, samples and
steps. These stages separate what fusion gains from what longer training gains (`comparison`)."""

STORED_NAMES: Mapping[str, str] = MappingProxyType({"tta_views": "glances", **plans.STORED_NAMES})
"""Field -> its name in recipe.json, in manifests and in --set, where the two differ. Names in files never
change: old runs must stay readable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of a run: a number of steps or of epochs. The command line may give minutes instead."""

    photographs: int
    """Photographs a step. In the local stage each window comes from a photograph of its own."""
    windows: int
    """Windows of each photograph in a step. 1 for the global stage, which sees no windows, and the local
    one."""
    rate: float
    """Highest learning rate, after the warm-up; it decays to 0 polynomially."""
    steps: int | None = None
    """Weight updates; None where epochs are given."""
    epochs: float | None = None
    """How often every photograph is seen, each time with the recipe's `patches` windows; None where steps are
    given."""
    limits: AugmentationLimits = field(default_factory=AugmentationLimits)
    """Limits of augmentation. The fused stages may turn by quarter turns only."""
    accumulate: int = 1
    """Parts in which the samples of a step pass through the network: less memory, the same gradient."""
    snapshots: int = 1
    """Number of evenly spaced steps, from the middle of the stage to its end, at which the running average of
    the weights is kept; the mean of these averages is the stage's result. 1 keeps the last one alone (docs/
    decisions/0022)."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SettingError: a count is below 1, the rate is not above 0, or not exactly one of steps and epochs
                is given.
        """
        if (self.steps is None) == (self.epochs is None):
            raise SettingError(f"a stage says either steps or epochs, not both, not neither: {self}")
        counts = (1 if self.steps is None else self.steps, self.photographs, self.windows)
        if min(counts) < 1 or not (math.isfinite(self.rate) and self.rate > 0):
            raise SettingError(f"steps, photographs, windows at least 1 and rate above 0: {self}")
        if self.epochs is not None and not (math.isfinite(self.epochs) and self.epochs > 0):
            raise SettingError(f"epochs are above 0, not {self.epochs}")
        if self.snapshots < 1:
            raise SettingError(
                f"snapshots is {self.snapshots}; give 1 for the end of the stage alone, or more"
            )
        if not 1 <= self.accumulate <= self.photographs:
            raise SettingError(
                f"accumulate is {self.accumulate}; {self.photographs} photographs a step go in 1 to "
                f"{self.photographs} parts"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All numbers of one published model."""

    name: str
    """Also the name of the model package."""
    contract: ModelContract
    """What the network receives, in training and in every prediction."""
    network: NetworkPlan
    """Both streams and their fusion, built with one map for each lesion of the contract."""
    stages: dict[StageName, Stage]
    """All four."""
    loss: Loss
    """The loss and its weights."""
    lesion_share: float
    """Share of windows centred near a lesion pixel, 0 to 1 (the paper: 0)."""
    healthy_share: float = 0.0
    """Share of the fused stages' photographs that are healthy eyes, from 0 up to 1, where the command line
    gives some; 0 leaves them out. The streams' own stages do not use them (our choice)."""
    power: float
    """Exponent of the polynomial decay (0.9: Yang et al. 2018, DenseASPP, the paper's reference 13)."""
    averaging: float
    """Decay of the weights' exponential moving average, for each step. The average is what is kept; 0 keeps
    the last weights."""
    split: Path | None = None
    """JSON file of folds; None where the run assigns them or the command line names a file."""
    healthy_split: Path | None = None
    """JSON file that says which graded photographs may be used for training (`datasets.graded`); None:
    all."""
    held_back: int | None = 0
    """The fold that is not trained on; None trains on all (the paper, which had separate test
    photographs)."""
    any_lesions: bool = False
    """Whether the data set's layout, and not the contract, names the lesions and says whether photographs
    have a round field."""
    cases: Literal["all", "with-lesion"] = "all"
    """Photographs to train on: all, or those that have a lesion of the contract (the paper)."""
    sampling: Literal["drawn", "dealt"] = "drawn"
    """'drawn': every step draws at random, with replacement. 'dealt': an epoch is a random permutation of all
    photographs and of the windows of a grid without overlap, so that each is seen once: the paper's 'cropped
    uniformly'."""
    patches: int = 143
    """Windows of each photograph in an epoch: 13 x 11 windows of 256 px cover the paper's crop."""
    optimiser: Literal["adam", "adamw"] = "adamw"
    """'adam' applies lambda 3 as the L2 norm's gradient (the paper), 'adamw' as decoupled decay."""
    warm_up: float = 0.02
    """Share of a stage's steps over which the learning rate rises. New decoders behind trained encoders start
    with large gradients (our choice; the paper: 0)."""
    precision: Literal["bf16", "float32"] = "bf16"
    """In which the networks compute. Weights, loss and optimiser stay in float32."""
    seed: int = 0
    """Fixes initial weights, samples and augmentation."""

    def __post_init__(self) -> None:
        """Check that the numbers fit together.

        Raises:
            SettingError: a stage is missing, a fused stage turns freely, or numbers contradict each other.
        """
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
        if not 0 <= self.lesion_share <= 1:
            raise SettingError(
                f"recipe {self.name}: lesion_share is {self.lesion_share}; a share lies between 0 and 1"
            )
        if not (math.isfinite(self.power) and self.power >= 0):
            raise SettingError(f"recipe {self.name}: power is {self.power}; give a number of at least 0")
        self._check_sides()
        self._check_window_step()

    def _check_window_step(self) -> None:
        """Raise SettingError where LocalNet cannot take windows of every multiple of the contract's step."""
        step, stride = self.contract.step, 2**self.network.local_net.poolings
        if step is not None and (step % stride or self.contract.window_side % step):
            raise SettingError(
                f"recipe {self.name}: contract.step is {step}; make it a multiple of {stride}, local_net's "
                f"stride, that divides the window of {self.contract.window_side} px"
            )

    def _check_sides(self) -> None:
        """Raise SettingError where a stream cannot halve its input as often as it must.

        A side must be at least twice the stride: batch normalisation cannot average a single pixel a channel.
        """
        for side, key, stream, poolings in (
            (self.contract.view_side, "view_side", "global_net", self.network.global_net.poolings),
            (self.contract.window_side, "window_side", "local_net", self.network.local_net.poolings),
        ):
            stride = 2 ** min(poolings, side.bit_length())  # more poolings than bits are too many already
            if side < 2 * stride or side % stride:
                raise SettingError(
                    f"recipe {self.name}: contract.{key} is {side}, and {stream} halves it {poolings} times; "
                    f"make it 2, 3, 4, ... times 2**{poolings}, or lower network.{stream}.poolings"
                )


def base_stage(stage: StageName) -> StageName:
    """Return the stage whose numbers and samples a stage uses: its own, or the joint stage's."""
    return "joint" if stage in ALONE_STAGES else stage


def steps_per_epoch(recipe: Recipe, stage: StageName, photographs: int) -> float:
    """Return how many steps show a stage every photograph once, each with the recipe's number of windows.

    The global stage sees no windows: its epoch shows the view of every photograph once.

    Args:
        photographs: number of photographs that are trained on.
    """
    numbers = recipe.stages[base_stage(stage)]
    if stage == "global":
        return photographs / numbers.photographs
    if stage == "local":
        return photographs * recipe.patches / (numbers.photographs * numbers.windows)
    return photographs * math.ceil(recipe.patches / numbers.windows) / numbers.photographs


def stage_steps(recipe: Recipe, stage: StageName, photographs: int) -> int:
    """Return how many steps a stage takes where the command line gives no minutes."""
    numbers = recipe.stages[base_stage(stage)]
    if numbers.steps is not None:
        return numbers.steps
    assert numbers.epochs is not None
    return max(1, math.ceil(numbers.epochs * steps_per_epoch(recipe, stage, photographs)))


def snapshot_steps(snapshots: int, steps: int) -> tuple[int, ...]:
    """Return the steps before the last one at which a stage keeps its running average (`Stage.snapshots`).

    Args:
        snapshots: number of averages, with that of the last step.
        steps: of the stage.
    """
    middle = steps / 2
    return tuple(round(middle + (steps - middle) * n / (snapshots - 1)) for n in range(snapshots - 1))


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON values under their stored names; split files appear by their file names.

    A stage's number of snapshots is left out where it is 1, as in the runs from before there were any.
    """
    splits = {"split": recipe.split, "healthy_split": recipe.healthy_split}
    values: dict[str, Any] = _with_stored_names(asdict(recipe))
    for stage in values["stages"].values():
        if stage["snapshots"] == 1:
            del stage["snapshots"]
    return values | {key: path and path.name for key, path in splits.items()}


def _with_stored_names(value: Any) -> Any:  # noqa: ANN401  any value of a recipe
    if not isinstance(value, dict):
        return value
    return {STORED_NAMES.get(key, key): _with_stored_names(item) for key, item in value.items()}
