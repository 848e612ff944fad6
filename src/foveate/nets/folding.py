"""Batch normalisation folded into convolutions: the same function of the input, with fewer weights.

Knows:   how to fold a normalisation into the convolution right before it, and how to load folded weights.
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
"""The types of all layers that have weights, except normalisations."""


def fold_batch_norm(network: LocalGlobalUNet) -> LocalGlobalUNet:
    """Return a copy for inference in which each normalisation is part of the convolution before it.

    One that follows another layer stays a layer of its own.

    Its `state_dict` is what a model package's weights.safetensors holds. To load one, fold a network of the
    same plan first.
    """
    copied = copy.deepcopy(network).eval()
    for layers, number, convolution, norm in _normalised(copied):
        layers[number] = _fuse(convolution, norm)
        layers[number + 1] = nn.Identity()
    return copied


@torch.no_grad()
def load_folded(weights: Mapping[str, Tensor], network: LocalGlobalUNet) -> tuple[str, ...]:
    """Copy the weights of a folded network into an unfolded one, for all layers whose names and shapes agree.

    The layers then compute what the folded ones do, until the statistics of their normalisations change.
    Those start at mean 0 and variance 1, because folded weights do not hold them.

    Args:
        weights: `state_dict` of a folded network.
        network: changed in place.

    Returns:
        Names of the convolutions that keep their own weights, because `weights` has none that fit.
    """
    norms = {id(_unwrap(convolution)): norm for _, _, convolution, norm in _normalised(network)}
    convolutions = {name: layer for name, layer in network.named_modules() if isinstance(layer, CONVOLUTIONS)}
    own = network.state_dict()
    others = {  # such as the normalisations of timm's encoders, which are not folded
        name: tensor
        for name, tensor in weights.items()
        if name.rpartition(".")[0] not in convolutions and name in own and tensor.shape == own[name].shape
    }
    network.load_state_dict(others, strict=False)
    unmatched = []
    for name, layer in convolutions.items():
        weight, norm = weights.get(f"{name}.weight"), norms.get(id(layer))
        if weight is None or weight.shape != layer.weight.shape:
            unmatched.append(name)
            continue
        layer.weight.copy_(weight)
        if norm is not None:
            _neutralise(norm)
            if layer.bias is not None:
                layer.bias.zero_()  # the norm's bias includes it
        bias = layer.bias if norm is None else norm.bias
        if bias is not None:
            bias.copy_(weights[f"{name}.bias"])
    return tuple(unmatched)


def fold_in_place(network: LocalGlobalUNet) -> None:
    """Fold the normalisations that `fold_batch_norm` folds, and keep each as a layer that only adds its bias.

    The network computes the same and can be trained on; its weights are those of `fold_batch_norm`.

    Args:
        network: changed in place.
    """
    unmatched = load_folded(fold_batch_norm(network).state_dict(), network)
    assert not unmatched, "a folded network has the layers of its own"


def _neutralise(norm: nn.BatchNorm2d) -> None:
    """Make a normalisation the identity, except for its bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight.fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)  # epsilon is added before the root is taken


def _normalised(network: nn.Module) -> Iterator[tuple[nn.Sequential, int, nn.Module, nn.BatchNorm2d]]:
    """Yield each convolution that a normalisation follows: its sequence, its index there, and both layers.

    Other normalisations, such as those behind timm's separable convolutions, are not folded.
    """
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for number in range(len(layers) - 1):
            layer, norm = layers[number], layers[number + 1]
            follows_convolution = type(_unwrap(layer)) is nn.Conv2d
            if follows_convolution and type(norm) is nn.BatchNorm2d:  # timm's hold an activation, too
                yield layers, number, layer, norm


def _unwrap(layer: nn.Module) -> nn.Module:
    """Return the convolution itself, without the layer that pads for it."""
    return layer.conv if isinstance(layer, SameConv | EvenConv) else layer


def _fuse(convolution: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    """Return a convolution that computes what both layers compute."""
    if isinstance(convolution, SameConv | EvenConv):
        convolution.conv = fuse_conv_bn_eval(convolution.conv, norm)
        return convolution
    assert isinstance(convolution, nn.Conv2d)
    return fuse_conv_bn_eval(convolution, norm)
