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
    layers = calibrated_layers(
        fused=fused,
        coarse=coarse,
        residual=copied.fusion.residual,
        blended=copied.fusion.global_head is not None,
    )
    for name, lines in layers.items():
        scale_layer(copied, name, lines)
    return copied


def calibrated_layers(
    *, fused: Sequence[LogitLine], coarse: Sequence[LogitLine], residual: bool, blended: bool
) -> dict[str, Sequence[LogitLine]]:
    """Return the convolutions that a calibration changes: name in the network -> one line per lesion.

    Args:
        fused: one line per lesion, for the maps of the fusion.
        coarse: one line per lesion, for GlobalNet's maps.
        residual: whether the fusion's output is added to LocalNet's logits; the shift must then count once.
        blended: whether the fusion has a `global_head`, whose output is added as well.
    """
    layers = {"fusion.layers.4": fused, "global_net.head": coarse}
    for name, is_added in (("local_net.head", residual), ("fusion.global_head", blended)):
        if is_added:
            layers[name] = [(slope, 0.0) for slope, _ in fused]
    return layers


@torch.no_grad()
def scale_layer(network: LocalGlobalUNet, name: str, lines: Sequence[LogitLine]) -> None:
    """Scale and shift the output of a network's convolution in place.

    It has as many output channels for each lesion as a block has pixels.

    Args:
        network: the network.
        name: name of the convolution in the network.
        lines: one line per lesion.
    """
    head = network.get_submodule(name)
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    values = head.out_channels // len(lines)
    slopes, shifts = torch.tensor(lines).to(head.weight).repeat_interleave(values, dim=0).unbind(dim=1)
    head.weight.mul_(slopes[:, None, None, None])
    head.bias.mul_(slopes).add_(shifts)
