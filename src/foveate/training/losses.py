"""Training losses.

Knows:   the paper's equations 1 and 2, the additional Dice and focal Tversky losses, and how the losses of a
         batch's parts add up to the loss of the batch.
Ignores: where logits and truth come from.

Shape letters: N pictures, K lesions, S T sides. Truth is the share of lesion in each pixel, 0 to 1.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from foveate.errors import SettingError

MISSED_WEIGHT = 0.7
"""Focal Tversky: weight of missed pixels; false positives weigh 1 - MISSED_WEIGHT (Abraham and Khan 2019)."""

FOCAL_EXPONENT = 0.75
"""Focal Tversky: the exponent, which is the reciprocal of the source's gamma of 4/3."""

Weighting = Literal["equation", "text"]
"""How positives are weighted in equation 2: as in the equation, or as in the text below it."""


WEIGHTS = ("dice", "focal_tversky", "cross_entropy", "lambda_global", "lambda_local", "lambda_weights")
"""The fields of `Loss` that weigh its terms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchTotals:
    """What a part of a batch must know of the whole batch, so that the parts' losses add up to its loss."""

    share: float
    """Share of the batch's pictures that the part holds, above 0 and up to 1."""
    overlap: Float[Tensor, "3 K"]
    """`overlap_sums` of the whole batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """The loss and the weights of its terms; the paper gives no values for them."""

    gamma: float = 1 / 3
    """Equation 2's gamma as a share of the pixels: positives weigh at most 1 / gamma."""
    weighting: Weighting = "equation"
    """'equation': |Y-| / (|Y+| + gamma). 'text': |Y-| / (gamma |Y+|), where gamma is a plain number."""
    dice: float = 1.0
    """Weight of the soft Dice loss, added to the cross-entropy; the paper's loss has 0."""
    focal_tversky: float = 0.0
    """Weight of the focal Tversky loss, added to both."""
    cross_entropy: float = 4.0
    """Weight of equation 2."""
    lambda_global: float = 0.5
    """Equation 1's lambda 1."""
    lambda_local: float = 1.0
    """Equation 1's lambda 2."""
    lambda_weights: float = 1e-4
    """Equation 1's lambda 3: weight of half the squared norm of the network's weights; for AdamW, the
    decoupled decay."""

    def __post_init__(self) -> None:
        """Check the weights.

        Raises:
            SettingError: a weight is below 0 or not finite, or gamma is not above 0: for an empty picture the
                loss divides by it.
        """
        for name in WEIGHTS:
            if not (math.isfinite(weight := getattr(self, name)) and weight >= 0):
                raise SettingError(f"loss.{name} is {weight:g}; give a weight of 0 or more")
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise SettingError(f"loss.gamma is {self.gamma:g}; give a number above 0")

    @property
    def needs_totals(self) -> bool:
        """Whether the loss of a batch is more than the mean over its pictures."""
        return bool(self.dice or self.focal_tversky)

    def __call__(
        self,
        logits: Float[Tensor, "N K S T"],
        truth: Float[Tensor, "N K S T"],
        totals: BatchTotals | None = None,
    ) -> Float[Tensor, ""]:
        """Return L_global or L_local, which have the same definition.

        Args:
            logits: logits of a batch, or of a part of one.
            truth: truth of the same pictures.
            totals: totals of the batch, if the logits are a part of it. However the batch is divided, the
                values of all parts then add up to its loss, and their gradients to its gradient.
        """
        logits = logits.float()
        entropy = self.cross_entropy * weighted_cross_entropy(logits, truth, self.gamma, self.weighting)
        if not self.needs_totals:
            return entropy if totals is None else entropy * totals.share
        own = overlap_sums(logits, truth)
        if totals is None:
            return entropy + self._overlap_loss(own)
        pooled = self._overlap_loss(own + (totals.overlap - own.detach()))
        # Each part computes the pooled loss. Its value is reduced to the part's share; its gradient is not.
        return entropy * totals.share + pooled + (totals.share - 1) * pooled.detach()

    def _overlap_loss(self, sums: Float[Tensor, "3 K"]) -> Float[Tensor, ""]:
        pooled = self.dice * dice_loss(sums)
        return pooled + self.focal_tversky * focal_tversky_loss(sums) if self.focal_tversky else pooled


def weighted_cross_entropy(
    logits: Float[Tensor, "N K S T"],
    truth: Float[Tensor, "N K S T"],
    gamma: float,
    weighting: Weighting = "equation",
) -> Float[Tensor, ""]:
    """Return equation 2 divided by the number of pixels, averaged over pictures and lesions.

    -|Y-| / (|Y+| + gamma) sum over Y+ of log P(y = 1) - sum over Y- of log P(y = 0). |Y+| and |Y-| are
    counted in each picture and for each lesion. A pixel that is partly lesion counts in both by its shares.

    Args:
        logits: predictions before the sigmoid.
        truth: share of lesion in each pixel.
        gamma: 'equation': as a share of the picture's pixels; 'text': a plain number.
        weighting: with 'text' the weight is |Y-| / (gamma |Y+|), as in the text below the equation; |Y+| is
            at least one pixel.

    Source: Yan et al. 2019, equation 2. It is computed from logits, so that it is finite for all of them.
    """
    pixels = truth.shape[-2] * truth.shape[-1]
    positive = truth.sum(dim=(-2, -1), keepdim=True)
    if weighting == "equation":
        weight = (pixels - positive) / (positive + gamma * pixels)
    else:
        weight = (pixels - positive) / (gamma * positive.clamp(min=1))
    return (weight * truth * softplus(-logits) + (1 - truth) * softplus(logits)).mean()


def overlap_sums(logits: Float[Tensor, "N K S T"], truth: Float[Tensor, "N K S T"]) -> Float[Tensor, "3 K"]:
    """Return, for each lesion and over all pictures, the number of common, predicted and true pixels.

    The sums of a batch's parts add up to the sums of the batch.
    """
    probability = logits.sigmoid()
    return torch.stack([m.sum(dim=(0, 2, 3)) for m in (probability * truth, probability, truth)])


def dice_loss(sums: Float[Tensor, "3 K"]) -> Float[Tensor, ""]:
    """Return 1 - soft Dice of `overlap_sums`, averaged over the lesions that occur; 0 where none does.

    Source: Milletari et al. 2016, arXiv:1606.04797, with plain sums in the denominator.
    """
    common, predicted, true = sums
    dice = (2 * common + 1) / (predicted + true + 1)  # +1 px: finite where nothing is predicted
    return _mean_over_present(1 - dice, true)


def focal_tversky_loss(sums: Float[Tensor, "3 K"]) -> Float[Tensor, ""]:
    """Return the focal Tversky loss of `overlap_sums`, averaged over the lesions that occur.

    Source: Abraham and Khan 2019, arXiv:1810.07842, equations 3 and 4, with their .7 for missed pixels,
    .3 for false positives and 4/3 for gamma. One pixel is added to numerator and denominator, as in
    `dice_loss`. A perfect prediction has no gradient (our choice: the true gradient is infinite).
    """
    common, predicted, true = sums
    missed, false = true - common, predicted - common
    index = (common + 1) / (common + MISSED_WEIGHT * missed + (1 - MISSED_WEIGHT) * false + 1)
    return _mean_over_present((1 - index).clamp(min=1e-6) ** FOCAL_EXPONENT, true)


def _mean_over_present(losses: Float[Tensor, " K"], true: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """Return the mean over the lesions that occur; 0 where none does."""
    present = (true > 0).float()
    return (losses * present).sum() / torch.clamp(present.sum(), min=1)
