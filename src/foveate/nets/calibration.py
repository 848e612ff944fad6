"""Calibration of a trained network, lesion by lesion, in its last convolutions.

Knows:   which last convolutions compute a lesion's logits.
Ignores: how slopes and shifts are fitted.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from foveate.nets.local_global import LocalGlobalUNet

LogitLine = tuple[float, float]
"""Slope and shift of a lesion's logits: the new logit is slope times the old one plus shift."""

IDENTITY: LogitLine = (1.0, 0.0)
"""The line that changes nothing."""


@torch.no_grad()
def calibrate(
    network: LocalGlobalUNet, *, fused: Sequence[LogitLine], coarse: Sequence[LogitLine]
) -> LocalGlobalUNet:
    """Return a copy whose logits are scaled and shifted, lesion by lesion.

    Only the last convolutions are changed: inference takes no longer, and no pixel changes its rank. Do not
    use LocalNet's own maps of the copy: with a residual fusion, they change.

    Args:
        network: a trained network.
        fused: one line per lesion, for the maps of the fusion.
        coarse: one line per lesion, for GlobalNet's maps.
    """
    copied = copy.deepcopy(network)
    last = copied.fusion.layers[-1]
    assert isinstance(last, nn.Conv2d)
    _scale(last, fused)
    if copied.fusion.residual:  # the two outputs are added, and the shift must count once
        _scale(copied.local_net.head, [(slope, 0.0) for slope, _ in fused])
    _scale(copied.global_net.head, coarse)
    return copied


def _scale(head: nn.Conv2d, lines: Sequence[LogitLine]) -> None:
    """Scale and shift the output of a convolution in place.

    It has as many output channels for each lesion as a block has pixels.
    """
    assert head.bias is not None
    values = head.out_channels // len(lines)
    slopes, shifts = torch.tensor(lines).to(head.weight).repeat_interleave(values, dim=0).unbind(dim=1)
    head.weight.mul_(slopes[:, None, None, None])
    head.bias.mul_(slopes).add_(shifts)
