"""A network without its normalisation answers the same."""

import pytest
import tiny_set
import torch
from test_local_global import looked
from torch import nn

from foveate.nets import EncoderUNet, Fusion, LocalGlobalUNet, Stream, folded


def encoded():
    """Build a network whose streams have ImageNet's encoder, untrained."""
    return LocalGlobalUNet(
        Stream(EncoderUNet(2, (4, 4)), 4, 4), Stream(EncoderUNet(2, (4, 4)), 4, 4), Fusion(4, 4, 4, width=6)
    )


@pytest.mark.parametrize("build", [tiny_set.network, encoded])
def test_folded_it_computes_the_same(build):
    network = tiny_set.seeded(build)
    plain = folded(network)

    for one, other in ((network, plain), (plain, folded(plain))):
        torch.manual_seed(1)
        _, coarse, logits = looked(one)
        torch.manual_seed(1)
        _, coarse_again, logits_again = looked(other)
        torch.testing.assert_close(coarse_again, coarse, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits_again, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("build", [tiny_set.network, encoded])
def test_no_normalisation_is_left_and_every_convolution_has_a_bias(build):
    plain = folded(tiny_set.seeded(build))
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]

    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert all(convolution.bias is not None for convolution in convolutions)
    assert len(plain.state_dict()) == 2 * len(convolutions)


def test_the_network_itself_is_left_as_it_is():
    network = tiny_set.seeded().train()
    before = tiny_set.digests(network)

    plain = folded(network)

    assert tiny_set.digests(network) == before
    assert network.training
    assert not plain.training


def test_a_normalisation_behind_anything_else_is_refused():
    network = tiny_set.seeded()
    network.fusion.layers = nn.Sequential(nn.MaxPool2d(1), nn.BatchNorm2d(8))

    with pytest.raises(TypeError, match="behind MaxPool2d"):
        folded(network)
