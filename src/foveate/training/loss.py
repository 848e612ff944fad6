"""What the networks are punished for.

Knows:   the paper's equations 1 and 2, and Dice beside them.
Ignores: where logits and truth come from.

Shape letters: N pictures, K lesions, S T sides. Truth is the share of lesion in each pixel, 0 to 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from foveate.errors import SettingError


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Weights of the loss; the paper gives no values for them."""

    gamma: float = 1 / 3
    """Equation 2's gamma as a share of the pixels: the weight of positives is at most 1 / gamma."""
    dice: float = 1.0
    """Weight of the soft Dice loss beside the cross-entropy; 0 is the paper's loss."""
    cross_entropy: float = 4.0
    """Weight of equation 2."""
    lambda_global: float = 0.5
    """Equation 1's lambda 1."""
    lambda_local: float = 1.0
    """Equation 1's lambda 2."""
    lambda_weights: float = 1e-4
    """Equation 1's lambda 3, as decoupled weight decay (AdamW) for the squared norm of the weights."""

    def __post_init__(self) -> None:
        """Raise SettingError for a weight below 0, or a gamma of 0: an empty picture would divide by it."""
        weights = (self.dice, self.cross_entropy, self.lambda_global, self.lambda_local, self.lambda_weights)
        if min(weights) < 0 or self.gamma <= 0:
            raise SettingError(f"the loss's weights are not below 0 and gamma is above it: {self}")

    def __call__(
        self, logits: Float[Tensor, "N K S T"], truth: Float[Tensor, "N K S T"]
    ) -> Float[Tensor, ""]:
        """Return L_global or L_local: the two are defined alike."""
        logits = logits.float()
        entropy = weighted_cross_entropy(logits, truth, self.gamma)
        return self.cross_entropy * entropy + self.dice * dice_loss(logits, truth)


def weighted_cross_entropy(
    logits: Float[Tensor, "N K S T"], truth: Float[Tensor, "N K S T"], gamma: float
) -> Float[Tensor, ""]:
    """Return equation 2, divided by the number of pixels, mean over pictures and lesions.

    -|Y-| / (|Y+| + gamma) sum over Y+ of log P(y = 1) - sum over Y- of log P(y = 0); |Y+| and |Y-| are
    counted in each picture and lesion. A pixel that is partly lesion counts in both by its shares.

    Args:
        gamma: as a share of the picture's pixels.

    Source: Yan et al. 2019, equation 2; from logits, so that it is finite for any of them. The text below the
    equation has |Y0| / (gamma |Y1|): the equation is followed.
    """
    pixels = truth.shape[-2] * truth.shape[-1]
    positive = truth.sum(dim=(-2, -1), keepdim=True)
    weight = (pixels - positive) / (positive + gamma * pixels)
    return (weight * truth * softplus(-logits) + (1 - truth) * softplus(logits)).mean()


def dice_loss(logits: Float[Tensor, "N K S T"], truth: Float[Tensor, "N K S T"]) -> Float[Tensor, ""]:
    """Return 1 - soft Dice, pooled over the batch, mean over the lesions that occur in it; 0 where none does.

    Source: Milletari et al. 2016, arXiv:1606.04797, with plain sums in the denominator.
    """
    chance = logits.sigmoid()
    common, predicted, true = ((m).sum(dim=(0, 2, 3)) for m in (chance * truth, chance, truth))
    present = (true > 0).float()
    dice = (2 * common + 1) / (predicted + true + 1)  # +1 px: finite where nothing is predicted
    return ((1 - dice) * present).sum() / torch.clamp(present.sum(), min=1)
