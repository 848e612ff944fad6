"""What the networks are punished for.

Knows:   the paper's equations 1 and 2, Dice and focal Tversky beside them, and how parts of a batch are one.
Ignores: where logits and truth come from.

Shape letters: N pictures, K lesions, S T sides. Truth is the share of lesion in each pixel, 0 to 1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from foveate.errors import SettingError

MISSED = 0.7
"""Focal Tversky's weight of missed pixels; 1 - MISSED weighs those found in vain (Abraham and Khan 2019)."""

FOCUS = 0.75
"""Focal Tversky's exponent, the reciprocal of the paper's gamma of 4/3."""

Weighting = Literal["equation", "text"]
"""How equation 2's positives are weighted: as the equation has it, or as the text below it does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What a part of a batch must know of all of it, so that the parts' losses add up to the batch's."""

    share: float
    """Of the batch's pictures that the part has, above 0 to 1."""
    overlap: Float[Tensor, "3 K"]
    """`overlap` summed over all parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Weights of the loss; the paper gives no values for them."""

    gamma: float = 1 / 3
    """Equation 2's gamma as a share of the pixels: the weight of positives is at most 1 / gamma."""
    weighting: Weighting = "equation"
    """'equation': |Y-| / (|Y+| + gamma). 'text': |Y-| / (gamma |Y+|), where gamma is a plain number."""
    dice: float = 1.0
    """Weight of the soft Dice loss beside the cross-entropy; 0 is the paper's loss."""
    focal_tversky: float = 0.0
    """Weight of the focal Tversky loss beside them."""
    cross_entropy: float = 4.0
    """Weight of equation 2."""
    lambda_global: float = 0.5
    """Equation 1's lambda 1."""
    lambda_local: float = 1.0
    """Equation 1's lambda 2."""
    lambda_weights: float = 1e-4
    """Equation 1's lambda 3, of half the squared norm of the weights; for AdamW the decoupled decay."""

    def __post_init__(self) -> None:
        """Raise SettingError for a weight below 0, or a gamma of 0: an empty picture would divide by it."""
        weights = (self.dice, self.focal_tversky, self.cross_entropy)
        lambdas = (self.lambda_global, self.lambda_local, self.lambda_weights)
        if min(*weights, *lambdas) < 0 or self.gamma <= 0:
            raise SettingError(f"the loss's weights are not below 0 and gamma is above it: {self}")

    @property
    def pools(self) -> bool:
        """Whether the loss of a batch is more than the mean over its pictures."""
        return bool(self.dice or self.focal_tversky)

    def __call__(
        self, logits: Float[Tensor, "N K S T"], truth: Float[Tensor, "N K S T"], whole: Whole | None = None
    ) -> Float[Tensor, ""]:
        """Return L_global or L_local: the two are defined alike.

        Args:
            logits: of a batch, or of a part of one.
            truth: the same.
            whole: where it is a part. The values of all parts add up to the batch's loss, and their gradients
                to its gradient, however the batch was cut.
        """
        logits = logits.float()
        entropy = self.cross_entropy * weighted_cross_entropy(logits, truth, self.gamma, self.weighting)
        if not self.pools:
            return entropy if whole is None else entropy * whole.share
        own = overlap(logits, truth)
        if whole is None:
            return entropy + self._pooled(own)
        pooled = self._pooled(own + (whole.overlap - own.detach()))
        # Each part has the pooled value; it is cut to the part's share without cutting the gradient.
        return entropy * whole.share + pooled + (whole.share - 1) * pooled.detach()

    def _pooled(self, sums: Float[Tensor, "3 K"]) -> Float[Tensor, ""]:
        pooled = self.dice * dice_loss(sums)
        return pooled + self.focal_tversky * focal_tversky_loss(sums) if self.focal_tversky else pooled


def weighted_cross_entropy(
    logits: Float[Tensor, "N K S T"],
    truth: Float[Tensor, "N K S T"],
    gamma: float,
    weighting: Weighting = "equation",
) -> Float[Tensor, ""]:
    """Return equation 2, divided by the number of pixels, mean over pictures and lesions.

    -|Y-| / (|Y+| + gamma) sum over Y+ of log P(y = 1) - sum over Y- of log P(y = 0); |Y+| and |Y-| are
    counted in each picture and lesion. A pixel that is partly lesion counts in both by its shares.

    Args:
        gamma: 'equation': as a share of the picture's pixels; 'text': a plain number.
        weighting: 'text' has |Y-| / (gamma |Y+|) for the weight, as the text below the equation. A picture
            with less than a pixel of lesion counts as having one.

    Source: Yan et al. 2019, equation 2; from logits, so that it is finite for any of them.
    """
    pixels = truth.shape[-2] * truth.shape[-1]
    positive = truth.sum(dim=(-2, -1), keepdim=True)
    if weighting == "equation":
        weight = (pixels - positive) / (positive + gamma * pixels)
    else:
        weight = (pixels - positive) / (gamma * positive.clamp(min=1))
    return (weight * truth * softplus(-logits) + (1 - truth) * softplus(logits)).mean()


def overlap(logits: Float[Tensor, "N K S T"], truth: Float[Tensor, "N K S T"]) -> Float[Tensor, "3 K"]:
    """Return, for each lesion and over all pictures, how many pixels are common, predicted, and true.

    Sums, so that those of a batch are those of its parts, added.
    """
    chance = logits.sigmoid()
    return torch.stack([m.sum(dim=(0, 2, 3)) for m in (chance * truth, chance, truth)])


def dice_loss(sums: Float[Tensor, "3 K"]) -> Float[Tensor, ""]:
    """Return 1 - soft Dice of an `overlap`, mean over the lesions that occur in it; 0 where none does.

    Source: Milletari et al. 2016, arXiv:1606.04797, with plain sums in the denominator.
    """
    common, predicted, true = sums
    dice = (2 * common + 1) / (predicted + true + 1)  # +1 px: finite where nothing is predicted
    return _over_present(1 - dice, true)


def focal_tversky_loss(sums: Float[Tensor, "3 K"]) -> Float[Tensor, ""]:
    """Return the focal Tversky loss of an `overlap`, mean over the lesions that occur in it.

    Source: Abraham and Khan 2019, arXiv:1810.07842, equations 3 and 4, with their .7 for missed pixels, .3
    for those found in vain and 4/3 for gamma; a pixel is added above and below, as in `dice_loss`. A perfect
    answer has no gradient (our choice: the true one is infinite).
    """
    common, predicted, true = sums
    missed, vain = true - common, predicted - common
    index = (common + 1) / (common + MISSED * missed + (1 - MISSED) * vain + 1)
    return _over_present((1 - index).clamp(min=1e-6) ** FOCUS, true)


def _over_present(each: Float[Tensor, " K"], true: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """Return the mean over the lesions that occur; 0 where none does."""
    present = (true > 0).float()
    return (each * present).sum() / torch.clamp(present.sum(), min=1)
