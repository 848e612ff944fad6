"""The U-Net has the paper's blocks, poolings, widths and skip connections."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws
from torch import nn

from foveate.errors import SettingError
from foveate.nets import UNet
from foveate.nets.unet import block


def weights(module):
    return sum(parameter.numel() for parameter in module.parameters())


def seen(net, pictures):
    """Run a network; return the input and the output of each member of its children."""
    passed = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _, into, out, name=name: passed.update({name: (into[0], out)}))
    out = net(pictures)
    return passed, out


def test_a_block_is_convolution_normalisation_relu_twice():
    layers = list(block(3, 5))

    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    for convolution, channels_in in ((layers[0], 3), (layers[3], 5)):
        assert (convolution.in_channels, convolution.out_channels) == (channels_in, 5)
        assert convolution.kernel_size == (3, 3)
        assert convolution.padding == (1, 1)
        assert convolution.bias is None  # the normalisation has one


@pytest.mark.parametrize("poolings", [1, 3, 4, 6])  # 3, 4 and 6 are the paper's
def test_each_pooling_halves_the_size_and_doubles_the_channels_up_to_the_cap(poolings):
    net, side = UNet(2, poolings, cap=20).eval(), 2**poolings
    passed, out = seen(net, torch.randn(1, 3, 2 * side, side))
    widths = [2, 4, 8, 16, 20, 20, 20][: poolings + 1]

    assert net.stride == side
    assert len(net.down) == len(net.up) == len(net.merge) == poolings
    assert passed["first"][1].shape == (1, 2, 2 * side, side)
    for depth, width in enumerate(widths[1:], start=1):
        down, merge = f"down.{depth - 1}", f"merge.{poolings - depth}"
        size = (2 * side >> depth, side >> depth)
        assert passed[down][1].shape == (1, width, *size)
        assert passed[merge][1].shape == (1, widths[depth - 1], 2 * size[0], 2 * size[1])
    assert out.shape == (1, net.channels, 2 * side, side)


def test_pooling_takes_the_largest_of_four():
    net = UNet(2, 1).eval()
    passed, _ = seen(net, torch.randn(1, 3, 8, 8))
    before, pooled = passed["first"][1], passed["down.0"][0]

    expected = before.reshape(1, 2, 4, 2, 4, 2).amax(dim=(3, 5))
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0)


def test_each_decoder_block_sees_the_encoders_features_beside_the_upsampled_ones():
    net = UNet(2, 3).eval()
    passed, _ = seen(net, torch.randn(1, 3, 16, 16))

    for number, skip in enumerate(["down.1", "down.0", "first"]):
        skipped, upsampled = passed[skip][1], passed[f"up.{number}"][1]
        expected = torch.cat([skipped, upsampled], dim=1)
        torch.testing.assert_close(passed[f"merge.{number}"][0], expected, rtol=0, atol=0)


@laws
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_the_output_has_the_inputs_size_and_the_first_blocks_channels(width, poolings, tall, wide):
    net = UNet(width, poolings, cap=8).eval()
    side = 2**poolings

    assert net(torch.zeros(2, 3, tall * side, wide * side)).shape == (2, width, tall * side, wide * side)


@torch.no_grad()
@pytest.mark.parametrize(("poolings", "margin"), [(1, 12), (2, 24), (3, 48)])  # 3: EX and MA in the paper
def test_a_larger_window_has_the_same_interior_beyond_what_its_rim_reaches(poolings, margin):
    torch.manual_seed(0)
    net, step = UNet(3, poolings).eval(), 2**poolings
    picture = torch.rand(1, 3, 2 * margin + 96, 2 * margin + 64)
    whole = net(picture)

    part = net(picture[:, :, step:-step, 2 * step :])

    inner = part[:, :, margin:-margin, margin:-margin]
    expected = whole[:, :, step + margin : -step - margin, 2 * step + margin : -margin]
    assert min(inner.shape[2:]) > 0
    torch.testing.assert_close(inner, expected, rtol=0, atol=1e-6)
    short = np.s_[:, :, 2:-2, 2:-2]  # two pixels from the rim it does show
    assert (part[short] - whole[:, :, step + 2 : -step - 2, 2 * step + 2 : -2]).abs().max() > 1e-3


def test_a_small_network_has_as_many_weights_as_counted_by_hand():
    # block(a, b): 9ab + 9bb + 2b + 2b; enlarging b to a: 4ab + a; widths 2, 4, 8
    first, down = 98, [232, 896]
    up, merge = [132, 34], [448, 116]  # two times the channels go into a merging block

    net = UNet(2, 2)

    assert weights(net.first) == first
    assert [weights(part) for part in net.down] == down
    assert [weights(part) for part in net.up] == up
    assert [weights(part) for part in net.merge] == merge
    assert weights(net) == 1956


def test_the_cap_saves_three_quarters_of_the_500_million_weights_of_six_poolings_from_64_channels():
    with torch.device("meta"):
        assert 450e6 < weights(UNet(64, 6, cap=4096)) < 550e6
        assert 130e6 < weights(UNet(64, 6)) < 140e6


def test_every_weight_learns():
    net = UNet(3, 2)
    net(torch.randn(2, 3, 8, 8)).square().sum().backward()

    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("width", "poolings", "cap"), [(0, 3, 8), (4, 0, 8), (4, 3, 3)])
def test_invalid_sizes_are_refused(width, poolings, cap):
    with pytest.raises(SettingError, match=f"width is {width}, poolings is {poolings} and cap is {cap}"):
        UNet(width, poolings, cap)
