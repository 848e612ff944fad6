"""A trained network without its batch normalisation: the same function of its input, with fewer weights.

Knows:   that a normalisation right behind a convolution is a change of the convolution's weights, and back.
Ignores: which network it is.
"""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from foveate.nets.encoders import EvenConv, SameConv
from foveate.nets.local_global import LocalGlobalUNet

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
"""All layers that have weights, but for normalisations."""


def folded(network: LocalGlobalUNet) -> LocalGlobalUNet:
    """Return a copy for inference in which every normalisation is part of the convolution before it.

    Its `state_dict` is what a model package's weights.safetensors holds; to load one, fold a network of the
    same recipe first.
    """
    copied = copy.deepcopy(network).eval()
    for layers, number, before, after in _normalised(copied):
        layers[number] = _fused(before, after)
        layers[number + 1] = nn.Identity()
    return copied


@torch.no_grad()
def unfold(weights: Mapping[str, Tensor], network: LocalGlobalUNet) -> tuple[str, ...]:
    """Give a network the weights of a folded one, layer by layer, where names and shapes agree.

    The layers then compute what the folded ones do, as long as their normalisations' statistics are not
    moved: those become mean 0 and variance 1, since nothing else can be told from folded weights.

    Args:
        weights: `state_dict` of a folded network.
        network: changed in place.

    Returns:
        Names of the convolutions that keep their own weights, since there are none for them.
    """
    norms = {id(_plain(before)): after for _, _, before, after in _normalised(network)}
    left = []
    for name, layer in network.named_modules():
        if not isinstance(layer, CONVOLUTIONS):
            continue
        weight, norm = weights.get(f"{name}.weight"), norms.get(id(layer))
        if weight is None or weight.shape != layer.weight.shape:
            left.append(name)
            continue
        layer.weight.copy_(weight)
        if norm is not None:
            _neutralise(norm)
        bias = layer.bias if norm is None else norm.bias
        if bias is not None:
            bias.copy_(weights[f"{name}.bias"])
    return tuple(left)


def _neutralise(norm: nn.BatchNorm2d) -> None:
    """Let a normalisation change nothing, but for its bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight.fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)  # epsilon is added before the root is taken


def _normalised(network: nn.Module) -> Iterator[tuple[nn.Sequential, int, nn.Module, nn.BatchNorm2d]]:
    """Return every sequence, the place of a layer in it that a normalisation follows, and both of these."""
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for number in range(len(layers) - 1):
            before, after = layers[number], layers[number + 1]
            if type(after) is nn.BatchNorm2d:  # timm has kinds that hold an activation too
                yield layers, number, before, after


def _plain(layer: nn.Module) -> nn.Module:
    """Return the convolution itself, without what pads for it."""
    return layer.conv if isinstance(layer, SameConv | EvenConv) else layer


def _fused(before: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    """Return the convolution that does the work of both."""
    if isinstance(before, SameConv | EvenConv):
        before.conv = fuse_conv_bn_eval(before.conv, norm)
        return before
    if isinstance(before, nn.Conv2d):
        return fuse_conv_bn_eval(before, norm)
    raise TypeError(f"a normalisation behind {type(before).__name__} cannot be folded")
