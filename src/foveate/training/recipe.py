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

from foveate import lesions
from foveate.choices import LastStage, StageChoice
from foveate.errors import LesionError, SettingError
from foveate.nets import NetworkPlan, plans
from foveate.training.augmentation import AugmentationLimits
from foveate.training.losses import Loss
from foveate.types import ModelContract
from foveate.wording import quantity

StageName = Literal[StageChoice, "global-alone", "local-alone"]
STAGES: tuple[StageName, ...] = ("global", "local", "fusion", "joint")
"""In the paper's order: pre-train both streams, then train the fusion alone, then everything (section
2.2)."""

REFINE: LastStage = "refine"
"""Not in the paper, and only in recipes that have it: everything is trained further, with healthy eyes shown
where the network of the joint stage wrongly marks lesions (`hard_negatives`)."""

WHOLE_STAGES: tuple[StageName, ...] = ("joint", REFINE)
"""Stages that train the whole network."""

ALONE_STAGES: tuple[StageName, ...] = ("global-alone", "local-alone")
"""Not in the paper: a pre-trained stream is trained further without the other one, with the joint stage's
numbers, samples and steps. These stages separate the gain of fusion from the gain of longer training
(`comparison`)."""

STORED_NAMES: Mapping[str, str] = MappingProxyType({"tta_views": "glances", **plans.STORED_NAMES})
"""Field -> its name in recipe.json, in manifests and in --set, where the two differ. Names in files never
change: old runs must stay readable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of a run; its length is in steps or epochs, and the command line may give minutes instead."""

    photographs: int
    """Photographs per step. In the local stage each window comes from a photograph of its own."""
    windows: int
    """Windows of each photograph in a step; 1 in the global stage, which uses no windows, and in the local
    stage."""
    rate: float
    """Highest learning rate, after the warm-up; it decays to 0 polynomially."""
    steps: int | None = None
    """Weight updates; None where epochs are given."""
    epochs: float | None = None
    """How often every photograph is seen, each time with the recipe's `patches` windows; None where steps are
    given."""
    limits: AugmentationLimits = field(default_factory=AugmentationLimits)
    """Limits of augmentation. In the fused stages, view and windows are warped as one (the paper: by quarter
    turns only, section 2.2)."""
    accumulate: int = 1
    """Number of parts in which a step's samples pass through the network; more need less memory, and the
    gradient is the same."""
    snapshots: int = 1
    """Number of evenly spaced steps, from the middle of the stage to its end, at which the running average of
    the weights is kept; the mean of these averages is the stage's result. 1 keeps the last one alone (docs/
    decisions/0022)."""

    healthy_share: float | None = None
    """Share of the stage's photographs that are healthy eyes; None for the recipe's."""

    fold_batch_norm: bool = False
    """Whether the stage begins with its normalisations folded into the convolutions. The network computes the
    same, but the optimiser then moves other numbers (docs/decisions/0031). Not for the streams' own stages,
    which update the statistics."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SettingError: a count is below 1, the rate is not above 0, or not exactly one of steps and epochs
                is given.
        """
        if (self.steps is None) == (self.epochs is None):
            raise SettingError(
                f"steps is {self.steps} and epochs is {self.epochs}; give either steps or epochs"
            )
        for name in ("steps", "photographs", "windows"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise SettingError(f"{name} is {count}; give 1 or more")
        for name in ("rate", "epochs"):
            if (number := getattr(self, name)) is not None and not (math.isfinite(number) and number > 0):
                raise SettingError(f"{name} is {number:g}; give a number above 0")
        if self.snapshots < 1:
            raise SettingError(f"snapshots is {self.snapshots}; give 1 (only the end of the stage) or more")
        if not 1 <= self.accumulate <= self.photographs:
            raise SettingError(
                f"accumulate is {self.accumulate}; give 1 to {self.photographs}, the number of photographs "
                "in a step"
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
    """The numbers of all four stages in STAGES, and of `REFINE` in recipes that have it."""
    loss: Loss
    """The loss and its weights."""
    lesion_share: float
    """Share of windows centred near a lesion pixel, 0 to 1 (the paper: 0)."""
    healthy_share: float = 0.0
    """Share of the fused stages' photographs that are healthy eyes, from 0 up to 1, if the command line names
    some; 0 leaves them out. The streams' own stages do not use them (our choice)."""
    global_shares: tuple[float, ...] = ()
    """For each lesion of the contract, the share of GlobalNet's logits in the fused logits of the released
    network, at least 0 and below 1; () for none. Training does not depend on it (docs/decisions/0030)."""
    power: float
    """Exponent of the polynomial decay (0.9: Yang et al. 2018, DenseASPP, the paper's reference 13)."""
    averaging: float
    """Decay of the weights' exponential moving average at each step. A stage's result is made of averaged
    weights (`Stage.snapshots`); with 0 they are the last weights."""
    split: Path | None = None
    """JSON file of folds; None if the run assigns them or the command line names a file."""
    healthy_split: Path | None = None
    """JSON file that says which graded photographs may be used for training (`datasets.dr_grades`); None:
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
    """'drawn': every step samples at random, with replacement. 'dealt': an epoch is a random permutation of
    all photographs and of the windows of a grid without overlap, so that each is seen once, as in the paper
    ('cropped uniformly')."""
    patches: int = 143
    """Windows of each photograph in an epoch: 13 x 11 windows of 256 px cover the paper's crop."""
    optimiser: Literal["adam", "adamw"] = "adamw"
    """'adam' applies lambda 3 as the L2 norm's gradient (the paper), 'adamw' as decoupled decay."""
    warm_up: float = 0.02
    """Share of a stage's steps over which the learning rate rises. New decoders behind trained encoders start
    with large gradients (our choice; the paper: 0)."""
    precision: Literal["bf16", "float32"] = "bf16"
    """Precision in which the networks compute. Weights, loss and optimiser stay in float32."""
    seed: int = 0
    """Seed of the initial weights, the samples and the augmentation."""

    def __post_init__(self) -> None:
        """Check that the numbers fit together.

        Raises:
            SettingError: a stage is missing, or numbers contradict each other.
        """
        if missing := set(STAGES) - set(self.stages):
            raise SettingError(
                f"recipe {self.name}: stage {min(missing)} is missing; give all of {', '.join(STAGES)}"
            )
        if self.sampling == "dealt" and self.lesion_share:
            raise SettingError(
                f"recipe {self.name}: lesion_share is {self.lesion_share:g}, but with sampling=dealt "
                "windows lie anywhere; set lesion_share to 0, or sampling to drawn"
            )
        for share in {self.healthy_share, *map(self.healthy_share_in, self.stages)}:
            if not 0 <= share < 1 or (share and self.sampling == "dealt"):
                raise SettingError(
                    f"recipe {self.name}: healthy_share is {share:g}; give a share of at least 0 and below "
                    "1, and 0 with sampling=dealt"
                )
        self._check_folding()
        self._check_numbers()
        self._check_contract()
        self._check_sides()
        self._check_window_step()

    def healthy_share_in(self, stage: StageName) -> float:
        """Return the share of a stage's photographs that are healthy eyes, if the run has any."""
        own = self.stages[base_stage(stage)].healthy_share
        return self.healthy_share if own is None else own

    def all_stages(self, *, with_healthy: bool) -> tuple[StageName, ...]:
        """Return the stages of a run in their order: the paper's, and `REFINE` if the recipe has it.

        Args:
            with_healthy: whether the run is trained on healthy eyes too; without any, `REFINE` has no use.
        """
        return (*STAGES, REFINE) if with_healthy and REFINE in self.stages else STAGES

    def _check_folding(self) -> None:
        """Raise SettingError if a stage that updates the statistics of its normalisations would fold them."""
        for name in ("global", "local"):
            if self.stages[name].fold_batch_norm:
                raise SettingError(
                    f"recipe {self.name}: stages.{name}.fold_batch_norm is true, but this stage updates the "
                    "statistics of its normalisations; set it to false"
                )

    def _check_numbers(self) -> None:
        """Raise SettingError where a number by itself is outside its range."""
        if self.patches < 1:
            raise SettingError(f"recipe {self.name}: patches is {self.patches}; give 1 or more")
        for name, share in (("warm_up", self.warm_up), ("averaging", self.averaging)):
            if not 0 <= share < 1:
                raise SettingError(
                    f"recipe {self.name}: {name} is {share:g}; give a number of at least 0 and below 1"
                )
        if not 0 <= self.lesion_share <= 1:
            raise SettingError(
                f"recipe {self.name}: lesion_share is {self.lesion_share:g}; give a share from 0 to 1"
            )
        self._check_global_shares()
        if not 0 <= self.seed < 2**64:
            raise SettingError(f"recipe {self.name}: seed is {self.seed}; give a number from 0 to 2**64 - 1")
        if not (math.isfinite(self.power) and self.power >= 0):
            raise SettingError(f"recipe {self.name}: power is {self.power:g}; give a number of 0 or more")

    def _check_global_shares(self) -> None:
        """Raise SettingError unless there is one share for each lesion, in its range, or none at all."""
        shares, codes = self.global_shares, self.contract.lesions
        if shares and not (len(shares) == len(codes) and all(0 <= share < 1 for share in shares)):
            raise SettingError(
                f"recipe {self.name}: global_shares is {', '.join(f'{share:g}' for share in shares)}; give a "
                f"share of at least 0 and below 1 for each of {', '.join(codes)}, or set it to nothing: "
                "global_shares="
            )

    def _check_contract(self) -> None:
        """Raise SettingError where a model package would refuse a lesion or a number of the contract."""
        contract = self.contract
        try:
            known = lesions.of(contract.lesions)
        except LesionError as error:
            raise SettingError(f"recipe {self.name}: contract.lesions: {error}") from error
        window, tolerance = contract.window_side, contract.scale_tolerance
        checks = (
            ("lesions", bool(known), "one or more"),
            ("view_side", contract.view_side >= 2, "2 or more"),
            ("window_side", window >= 1, "1 or more"),
            ("overlap", 0 <= contract.overlap < window, f"0 to {window - 1}"),
            ("step", contract.step is None or contract.step >= 1, "1 or more, or none"),
            ("field_diameter", window <= contract.field_diameter < math.inf, f"{window} or more"),
            ("scale_tolerance", 0 <= tolerance < math.inf, "a number of 0 or more"),
            ("mean", all(map(math.isfinite, contract.mean)), "three numbers"),
            ("std", all(0 < std < math.inf for std in contract.std), "three numbers above 0"),
        )
        for name, is_valid, valid in checks:
            if not is_valid:
                value = getattr(contract, name)
                raise SettingError(f"recipe {self.name}: contract.{name} is {value}; give {valid}")

    def _check_window_step(self) -> None:
        """Raise SettingError if LocalNet cannot process windows of every multiple of the contract's step."""
        step, stride = self.contract.step, 2**self.network.local_net.poolings
        if step is not None and (step % stride or self.contract.window_side % step):
            raise SettingError(
                f"recipe {self.name}: contract.step is {step}; give a multiple of {stride}, the stride of "
                f"local_net, that divides the window of {self.contract.window_side} px"
            )

    def _check_sides(self) -> None:
        """Raise SettingError if a stream cannot halve its input as often as its poolings require.

        A side must be at least twice the stride: batch normalisation needs more than one pixel per channel.
        """
        for side, key, stream, poolings in (
            (self.contract.view_side, "view_side", "global_net", self.network.global_net.poolings),
            (self.contract.window_side, "window_side", "local_net", self.network.local_net.poolings),
        ):
            stride = 2 ** min(poolings, side.bit_length())  # more poolings than bits are too many anyway
            if side < 2 * stride or side % stride:
                raise SettingError(
                    f"recipe {self.name}: contract.{key} is {side}, but {stream} halves it "
                    f"{quantity(poolings, 'time')}; give 2, 3, 4, ... times 2**{poolings}, or lower "
                    f"network.{stream}.poolings"
                )


def base_stage(stage: StageName) -> StageName:
    """Return the stage whose numbers and samples a stage uses: its own, or the joint stage's."""
    return "joint" if stage in ALONE_STAGES else stage


def steps_per_epoch(recipe: Recipe, stage: StageName, photographs: int) -> float:
    """Return the number of steps in which a stage sees every photograph once, with `patches` windows each.

    The global stage uses no windows: in its epoch it sees the view of every photograph once.

    Args:
        photographs: number of photographs to train on.
    """
    numbers = recipe.stages[base_stage(stage)]
    if stage == "global":
        return photographs / numbers.photographs
    if stage == "local":
        return photographs * recipe.patches / (numbers.photographs * numbers.windows)
    return photographs * math.ceil(recipe.patches / numbers.windows) / numbers.photographs


def stage_steps(recipe: Recipe, stage: StageName, photographs: int) -> int:
    """Return how many steps a stage takes if the command line gives no minutes."""
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
    spread = {round(middle + (steps - middle) * n / (snapshots - 1)) for n in range(snapshots - 1)}
    return tuple(sorted(step for step in spread if 0 < step < steps))  # a short stage has fewer


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON values under their stored names; split files appear by their file names.

    GlobalNet's shares, and a stage's snapshots, share of healthy eyes and folding, are left out if they are
    the defaults, so that older runs are described as before.
    """
    splits = {"split": recipe.split, "healthy_split": recipe.healthy_split}
    values: dict[str, Any] = _with_stored_names(asdict(recipe))
    if not any(values["global_shares"]):
        del values["global_shares"]
    for stage in values["stages"].values():
        for key, default in (("snapshots", 1), ("healthy_share", None), ("fold_batch_norm", False)):
            if stage[key] == default:
                del stage[key]
    return values | {key: path and path.name for key, path in splits.items()}


def _with_stored_names(value: Any) -> Any:  # noqa: ANN401  any value of a recipe
    if not isinstance(value, dict):
        return value
    return {STORED_NAMES.get(key, key): _with_stored_names(item) for key, item in value.items()}
