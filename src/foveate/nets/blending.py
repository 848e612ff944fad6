"""The mean of the fused network's logits and GlobalNet's, lesion by lesion, as one more convolution.

Knows:   that GlobalNet's logits are linear in f_g, and that f_g is sampled linearly at a window's pixels.
Ignores: for which lesions the mean is better.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from foveate.nets.calibration import IDENTITY, calibrate
from foveate.nets.local_global import LocalGlobalUNet, head


@torch.no_grad()
def blend(network: LocalGlobalUNet, shares: Sequence[float]) -> LocalGlobalUNet:
    """Return a copy whose fused logits are the weighted mean of its own and GlobalNet's.

    GlobalNet's maps stay as they are. Do not use LocalNet's own maps of the copy: with a residual fusion,
    they change.

    Args:
        network: a trained network whose fusion has no `global_head`.
        shares: one number per lesion, at least 0 and below 1: the weight of GlobalNet's logits. None at all
            for a copy without changes.

    Source: our choice (docs/decisions/0030-soft-exudates-by-both.md).
    """
    if not any(shares):
        return copy.deepcopy(network)
    blended = calibrate(
        network, fused=[(1 - share, 0.0) for share in shares], coarse=[IDENTITY] * len(shares)
    )
    source, target = blended.global_net.head, add_global_head(blended)
    assert source.bias is not None
    assert target.bias is not None
    scaled = torch.tensor(shares).to(source.weight)
    block = target.out_channels // len(shares)
    target.weight.copy_((scaled[:, None, None, None] * source.weight).repeat_interleave(block, dim=0))
    target.bias.copy_((scaled * source.bias).repeat_interleave(block))
    return blended


def add_global_head(network: LocalGlobalUNet) -> nn.Conv2d:
    """Give the fusion of a network a `global_head` with random weights, and return it."""
    source = network.global_net.head
    target = head(network.global_net.channels, source.out_channels, network.local_net.output_stride)
    network.fusion.global_head = target.to(source.weight).train(network.training)
    return network.fusion.global_head
