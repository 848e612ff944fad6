"""A trained network whose probabilities are put right, lesion by lesion, in its last convolutions.

Knows:   which last convolutions make a lesion's logits.
Ignores: how slopes and shifts were found.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from foveate.nets.local_global import LocalGlobalUNet

Line = tuple[float, float]
"""Slope and shift of a lesion's logits: the new one is slope times the old one plus shift."""

SAME: Line = (1.0, 0.0)
"""Changes nothing."""


@torch.no_grad()
def scaled(network: LocalGlobalUNet, *, fused: Sequence[Line], coarse: Sequence[Line]) -> LocalGlobalUNet:
    """Return a copy whose logits are scaled and shifted, lesion by lesion.

    The last convolutions are changed and nothing else: it costs no time, and no pixel changes its rank.
    LocalNet's own maps are not meant to be looked at in it: where the fusion is added to them, they change.

    Args:
        network: trained.
        fused: one a lesion, for the maps of the fusion.
        coarse: one a lesion, for GlobalNet's.
    """
    copied = copy.deepcopy(network)
    last = copied.fusion.layers[-1]
    assert isinstance(last, nn.Conv2d)
    _scale(last, fused)
    if copied.fusion.corrects:  # both are added up; the shift counts once
        _scale(copied.local_net.head, [(slope, 0.0) for slope, _ in fused])
    _scale(copied.global_net.head, coarse)
    return copied


def _scale(head: nn.Conv2d, lines: Sequence[Line]) -> None:
    """Change a convolution in place; it makes as many values of each lesion as a block has pixels."""
    assert head.bias is not None
    values = head.out_channels // len(lines)
    slopes, shifts = torch.tensor(lines).to(head.weight).repeat_interleave(values, dim=0).unbind(dim=1)
    head.weight.mul_(slopes[:, None, None, None])
    head.bias.mul_(slopes).add_(shifts)
