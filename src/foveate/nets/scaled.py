"""A trained network whose probabilities are put right, lesion by lesion, in its last convolutions.

Knows:   which last convolutions make a lesion's logits.
Ignores: how slopes and shifts were found.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from foveate.nets.local_global import LocalGlobalUNet


@torch.no_grad()
def scaled(network: LocalGlobalUNet, slopes: Sequence[float], shifts: Sequence[float]) -> LocalGlobalUNet:
    """Return a copy whose fused logits are, for each lesion, `slope` times what they were plus `shift`.

    The last convolutions are changed and nothing else: it costs no time, and no pixel changes its rank. The
    maps of GlobalNet and LocalNet alone are not meant to be looked at in it: LocalNet's change where the
    fusion is added to them.

    Args:
        network: trained.
        slopes: one a lesion.
        shifts: one a lesion.
    """
    copied = copy.deepcopy(network)
    last = copied.fusion.layers[-1]
    assert isinstance(last, nn.Conv2d)
    values = last.out_channels // len(slopes)  # of each lesion, for as many pixels of a block
    slope, shift = (torch.tensor(each).repeat_interleave(values).to(last.weight) for each in (slopes, shifts))
    heads = [last, copied.local_net.head] if copied.fusion.corrects else [last]  # which are added up
    for head in heads:
        assert head.bias is not None
        head.weight.mul_(slope[:, None, None, None])
        head.bias.mul_(slope)
    assert last.bias is not None
    last.bias.add_(shift)
    return copied
