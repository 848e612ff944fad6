"""Both streams and their fusion: the sampled f_g is in register with the pixels of its window."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_set
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds, window_positions
from torch import nn
from torch.nn.functional import grid_sample

from foveate import nets
from foveate.geometry import canvas, feature_sampling, tiling
from foveate.nets import Fusion, GlobalPieces, Stream, StreamPlan, UNet, sample_pieces
from foveate.training import augmentation


def warped(quarters, *, mirror):
    """Return a warp that only turns and mirrors."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return augmentation.Warp(
        quarters=quarters, mirror=mirror, angle=0.0, zoom=1.0, levels=levels, noise=0.0, noise_seed=0
    )


def gather(features, samplings):
    """Return the pieces of features C V V that windows need, and the weights that read them."""
    height, width = samplings[0].rows.shape[1], samplings[0].columns.shape[1]
    pieces = torch.stack(
        [
            features[:, top : top + height, left : left + width]
            for top, left in (sampling.corner for sampling in samplings)
        ]
    )
    rows, columns = (
        torch.from_numpy(np.stack([getattr(sampling, axis) for sampling in samplings]))
        for axis in ("rows", "columns")
    )
    return GlobalPieces(pieces, rows, columns)


def read(features, sampling):
    """Sample a map C V V at the pixels of a window, as the network does."""
    return sample_pieces(gather(torch.from_numpy(np.ascontiguousarray(features)), [sampling]))[0].numpy()


def at_pixel_centres(features, corner, side, shape):
    """Sample a whole map C V V at the centres of a window's pixels with torch's own function."""
    rows, columns = (
        (2 * (start + torch.arange(side, dtype=torch.float64) + 0.5) / length - 1)
        for start, length in zip(corner, shape, strict=True)
    )
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]  # torch has (x, y)
    maps = torch.from_numpy(features).double()[None]
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)[0].numpy()


@laws
@given(window_positions(), seeds)
def test_a_sample_is_the_whole_map_interpolated_at_the_windows_pixel_centres(window, seed):
    shape, side, corner, view_side = window
    features = np.random.default_rng(seed).random((2, view_side, view_side), np.float32)

    samples = read(features, feature_sampling.window_sampling(corner, side, shape, view_side))

    np.testing.assert_allclose(samples, at_pixel_centres(features, corner, side, shape), atol=1e-5)


@pytest.mark.parametrize("corner", [(0, 0), (0, 3072), (2560, 0), (2560, 3072), (1000, 1234)])
def test_the_papers_windows_in_all_corners_are_interpolated_likewise(corner):
    features = np.random.default_rng(1).random((1, 640, 640), np.float32)

    samples = read(features, feature_sampling.window_sampling(corner, 256, (2816, 3328), 640))

    np.testing.assert_allclose(samples, at_pixel_centres(features, corner, 256, (2816, 3328)), atol=1e-4)


CORNERS = [(0, 0), (0, 80), (48, 0), (48, 80), (17, 30)]
"""Corners of windows of 16 px in a canvas of 64 x 96 px."""


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_window_reads_its_own_place_of_the_view(quarters, mirror, corner):
    """Features that are coordinates: each window must read the coordinates of its own pixels."""
    side, view_side, shape = 16, 32, (64, 96)
    warp = warped(quarters, mirror=mirror)
    coordinates = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1)
    picture = coordinates.astype(np.float32)
    window = augmentation.turn(tiling.extract_windows(picture, np.array([corner]), side)[0], warp)

    turned = np.ascontiguousarray(augmentation.turn(picture, warp))
    view = np.moveaxis(canvas.global_view(turned, view_side), -1, 0)
    turned_corner = augmentation.turn_corner(corner, side, shape, warp)
    samples = read(
        view,
        feature_sampling.window_sampling(
            turned_corner, side, augmentation.turn_shape(shape, warp), view_side
        ),
    )

    # A view's pixel is 2 x 3 canvas px; beyond the centre of the outermost the rim is repeated.
    reachable = np.clip(np.moveaxis(window, -1, 0), [[[1.0]], [[1.5]]], [[[63.0]], [[94.5]]])
    np.testing.assert_allclose(samples, reachable, atol=1e-4)


def test_a_sample_keeps_its_position_where_the_rest_is_bf16():
    places = np.broadcast_to(np.arange(640, dtype=np.float32), (1, 640, 640))
    sampling = feature_sampling.window_sampling((1700, 2000), 64, (2816, 3328), 640)
    expected = read(places, sampling)

    with torch.autocast("cpu", torch.bfloat16):
        samples = read(places, sampling)

    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, expected)  # in bf16 they would be off by a whole pixel of the view


def test_the_gradient_reaches_every_place_of_the_pieces():
    sampling = feature_sampling.window_sampling((10, 20), 16, (64, 96), 32)
    piece = torch.zeros(1, 2, sampling.rows.shape[1], sampling.columns.shape[1], requires_grad=True)
    rows, columns = (torch.from_numpy(a)[None] for a in (sampling.rows, sampling.columns))

    sample_pieces(GlobalPieces(piece, rows, columns)).sum().backward()

    weights = np.outer(sampling.rows.sum(0), sampling.columns.sum(0))
    np.testing.assert_allclose(piece.grad[0, 0].numpy(), weights, atol=1e-5)


def test_a_stream_is_a_backbone_and_one_linear_layer():
    stream = Stream(UNet(3, 1), 3, lesions=2).eval()

    features, logits = stream(torch.randn(2, 3, 8, 6))

    assert features.shape == (2, 3, 8, 6)
    expected = torch.einsum("kc,nchw->nkhw", stream.head.weight[:, :, 0, 0], features)
    torch.testing.assert_close(logits, expected + stream.head.bias[:, None, None])


def test_the_fusion_is_two_3x3_and_one_1x1_convolution_on_both_features():
    fusion = Fusion(3, 5, lesions=2, width=7)
    convolutions = [layer for layer in fusion.layers if isinstance(layer, nn.Conv2d)]

    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [
        (8, 7, (3, 3)),
        (7, 7, (3, 3)),
        (7, 2, (1, 1)),
    ]
    assert fusion(torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 8, 8)).shape == (2, 2, 8, 8)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fusion.modules())


def run_random(network, count=2):
    """Run a network on a random view and windows.

    Returns:
        The windows with their pieces of f_g, the coarse logits, and the fused logits.
    """
    view = torch.randn(1, 3, 32, 32)
    windows = torch.randn(count, 3, 16, 16)
    samplings = [feature_sampling.window_sampling((10 * n, 20), 16, (64, 96), 32) for n in range(count)]
    features, coarse = network.forward_global(view)
    pieces = gather(features[0], samplings)
    return (windows, pieces), coarse, network.forward_local(windows, pieces)


def test_the_fused_logits_are_the_fusion_of_both_streams_features():
    network = tiny_set.seeded()
    (windows, pieces), coarse, logits = run_random(network)

    local_features, _ = network.local_net(windows)
    expected = network.fusion(local_features, sample_pieces(pieces))

    assert coarse.shape == (1, 4, 32, 32)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(network.fuse(local_features, pieces), expected)


def half_resolution():
    """Build a network with a LocalNet of output stride 2 and a residual fusion."""
    local_net = StreamPlan(backbone="mobilenet-v2", poolings=2, decoder=(6,), output_stride=2)
    return nets.build(replace(tiny_set.NETWORK, local_net=local_net, residual_fusion=True), 4)


@pytest.mark.parametrize("build", [tiny_set.correcting, half_resolution])
def test_a_residual_fusion_starts_with_localnets_maps(build):
    torch.manual_seed(0)
    network = tiny_set.seeded(build)
    (windows, _), _, logits = run_random(network)

    torch.testing.assert_close(logits, network.local_net(windows)[1], rtol=0, atol=0)
    assert logits.abs().max() > 0.01


def test_the_papers_fusion_starts_with_maps_of_its_own():
    torch.manual_seed(0)
    network = tiny_set.seeded()
    (windows, _), _, logits = run_random(network)

    assert (logits - network.local_net(windows)[1]).abs().max() > 0.01
    assert all(parameter.any() for parameter in network.fusion.parameters())


def test_a_residual_fusion_is_added_to_localnets_maps():
    network = tiny_set.seeded(tiny_set.correcting)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)
    (windows, pieces), _, logits = run_random(network)

    local_features, local_logits = network.local_net(windows)
    residual = network.fusion(local_features, sample_pieces(pieces))
    torch.testing.assert_close(logits, local_logits + residual)
    assert residual.abs().max() > 0.01


def test_a_residual_fusion_learns_from_its_first_step_on():
    network = tiny_set.seeded(tiny_set.correcting)
    _, _, logits = run_random(network)

    logits.square().sum().backward()

    assert network.fusion.layers[-1].weight.grad.any()
    assert network.local_net.head.weight.grad.any()


def test_the_windows_loss_reaches_globalnets_weights():
    network = tiny_set.seeded()
    _, _, logits = run_random(network)

    logits.square().sum().backward()

    for name, weight in network.global_net.backbone.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    assert network.global_net.head.weight.grad is None  # the coarse maps are not fused


@laws
@given(st.integers(1, 3))
def test_each_window_is_computed_independently(count):
    network = tiny_set.seeded()
    (windows, pieces), _, logits = run_random(network, count)

    for n in range(count):
        piece = GlobalPieces(*(tensor[n : n + 1] for tensor in pieces))
        alone = network.forward_local(windows[n : n + 1], piece)
        torch.testing.assert_close(alone[0], logits[n], atol=1e-4, rtol=1e-4)
