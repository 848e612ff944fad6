"""A trained network without its batch normalisation: the same function of its input, with fewer weights.

Knows:   that a normalisation right behind a convolution is a change of the convolution's weights.
Ignores: which network it is.
"""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from foveate.nets.encoders import EvenConv, SameConv
from foveate.nets.local_global import LocalGlobalUNet


def folded(network: LocalGlobalUNet) -> LocalGlobalUNet:
    """Return a copy for inference in which every normalisation is part of the convolution before it.

    Its `state_dict` is what a model package's weights.safetensors holds; to load one, fold a network of the
    same recipe first.
    """
    copied = copy.deepcopy(network).eval()
    for layers in [module for module in copied.modules() if isinstance(module, nn.Sequential)]:
        for number in range(len(layers) - 1):
            before, after = layers[number], layers[number + 1]
            if type(after) is nn.BatchNorm2d:  # timm has kinds that hold an activation too
                layers[number] = _fused(before, after)
                layers[number + 1] = nn.Identity()
    return copied


def _fused(before: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    """Return the convolution that does the work of both."""
    if isinstance(before, SameConv | EvenConv):
        before.conv = fuse_conv_bn_eval(before.conv, norm)
        return before
    if isinstance(before, nn.Conv2d):
        return fuse_conv_bn_eval(before, norm)
    raise TypeError(f"a normalisation behind {type(before).__name__} cannot be folded")
