"""Both streams and their fusion: what f_g shows lies in register with the window beside it."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_set
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds, window_sights
from torch import nn
from torch.nn.functional import grid_sample

from foveate import nets
from foveate.geometry import feature_sampling, tiling
from foveate.nets import Fusion, Stream, StreamPlan, UNet, sample
from foveate.training import augmentation


def warped(quarters, *, mirror):
    """Return a warp that turns and mirrors and does nothing else."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return augmentation.Warp(
        quarters=quarters, mirror=mirror, angle=0.0, zoom=1.0, levels=levels, noise=0.0, noise_seed=0
    )


def read(features, sight):
    """Sample a map C V V at a window's pixels, as the network does it."""
    (top, left), (depth, width) = sight.corner, (sight.rows.shape[1], sight.columns.shape[1])
    piece = torch.from_numpy(np.ascontiguousarray(features[:, top : top + depth, left : left + width]))[None]
    return sample(piece, torch.from_numpy(sight.rows)[None], torch.from_numpy(sight.columns)[None])[0].numpy()


def at_pixel_centres(features, corner, side, shape):
    """Sample a whole map C V V at the centres of a window's pixels by torch's own function."""
    rows, columns = (
        (2 * (start + torch.arange(side, dtype=torch.float64) + 0.5) / length - 1)
        for start, length in zip(corner, shape, strict=True)
    )
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]  # torch has (x, y)
    maps = torch.from_numpy(features).double()[None]
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)[0].numpy()


@laws
@given(window_sights(), seeds)
def test_a_sample_is_the_whole_map_read_bilinearly_at_the_window_s_pixel_centres(placed, seed):
    shape, side, corner, view_side = placed
    features = np.random.default_rng(seed).random((2, view_side, view_side), np.float32)

    found = read(features, feature_sampling.sample_at(corner, side, shape, view_side))

    np.testing.assert_allclose(found, at_pixel_centres(features, corner, side, shape), atol=1e-5)


@pytest.mark.parametrize("corner", [(0, 0), (0, 3072), (2560, 0), (2560, 3072), (1000, 1234)])
def test_so_it_is_for_the_paper_s_windows_in_all_corners(corner):
    features = np.random.default_rng(1).random((1, 640, 640), np.float32)

    found = read(features, feature_sampling.sample_at(corner, 256, (2816, 3328), 640))

    np.testing.assert_allclose(found, at_pixel_centres(features, corner, 256, (2816, 3328)), atol=1e-4)


CORNERS = [(0, 0), (0, 80), (48, 0), (48, 80), (17, 30)]
"""Of windows of 16 px in a canvas of 64 x 96 px."""


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_what_a_turned_window_sees_of_the_view_is_its_own_place(quarters, mirror, corner):
    """Features that are coordinates: each window must read the coordinates of its own pixels."""
    side, view_side, shape = 16, 32, (64, 96)
    warp = warped(quarters, mirror=mirror)
    coordinates = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1)
    picture = coordinates.astype(np.float32)
    window = augmentation.turn(tiling.extract_windows(picture, np.array([corner]), side)[0], warp)

    turned = np.ascontiguousarray(augmentation.turn(picture, warp))
    view = np.moveaxis(canvas.global_view(turned, view_side), -1, 0)
    there = augmentation.turn_corner(corner, side, shape, warp)
    found = read(
        view, feature_sampling.sample_at(there, side, augmentation.turn_shape(shape, warp), view_side)
    )

    # A view's pixel is 2 x 3 canvas px; beyond the centre of the outermost the rim is repeated.
    reachable = np.clip(np.moveaxis(window, -1, 0), [[[1.0]], [[1.5]]], [[[63.0]], [[94.5]]])
    np.testing.assert_allclose(found, reachable, atol=1e-4)


def test_a_sample_keeps_its_place_where_the_rest_is_bf16():
    places = np.broadcast_to(np.arange(640, dtype=np.float32), (1, 640, 640))
    sight = feature_sampling.sample_at((1700, 2000), 64, (2816, 3328), 640)
    plain = read(places, sight)

    with torch.autocast("cpu", torch.bfloat16):
        found = read(places, sight)

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, plain)  # in bf16 they would be off by a whole pixel of the view


def test_the_gradient_reaches_every_place_of_the_pieces():
    sight = feature_sampling.sample_at((10, 20), 16, (64, 96), 32)
    piece = torch.zeros(1, 2, sight.rows.shape[1], sight.columns.shape[1], requires_grad=True)
    rows, columns = (torch.from_numpy(a)[None] for a in (sight.rows, sight.columns))

    sample(piece, rows, columns).sum().backward()

    weights = np.outer(sight.rows.sum(0), sight.columns.sum(0))
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


def looked(network, count=2):
    """Run a network on a random view and windows; return what went in, f_g and the logits."""
    view = torch.randn(1, 3, 32, 32)
    windows = torch.randn(count, 3, 16, 16)
    sights = [feature_sampling.sample_at((10 * n, 20), 16, (64, 96), 32) for n in range(count)]
    rows, columns = (torch.from_numpy(np.stack([getattr(s, a) for s in sights])) for a in ("rows", "columns"))
    features, coarse = network.glance(view)
    pieces = torch.stack(
        [
            features[0, :, top : top + rows.shape[2], left : left + columns.shape[2]]
            for top, left in (s.corner for s in sights)
        ]
    )
    return (windows, pieces, rows, columns), coarse, network.look(windows, pieces, rows, columns)


def test_a_look_is_the_fusion_of_both_streams_features():
    network = tiny_set.seeded()
    (windows, pieces, rows, columns), coarse, logits = looked(network)

    local_features, _ = network.local_net(windows)
    expected = network.fusion(local_features, sample(pieces, rows, columns))

    assert coarse.shape == (1, 4, 32, 32)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(network.fuse(local_features, pieces, rows, columns), expected)


def half_resolution():
    """Build a network whose LocalNet ends at half the window's resolution, and whose fusion corrects."""
    local_net = StreamPlan(backbone="mobilenet-v2", poolings=2, decoder=(6,), ends=2)
    return nets.build(replace(tiny_set.NETWORK, local_net=local_net, corrects=True), 4)


@pytest.mark.parametrize("build", [tiny_set.correcting, half_resolution])
def test_a_fusion_that_corrects_begins_with_localnets_maps(build):
    torch.manual_seed(0)
    network = tiny_set.seeded(build)
    (windows, *_), _, logits = looked(network)

    torch.testing.assert_close(logits, network.local_net(windows)[1], rtol=0, atol=0)
    assert logits.abs().max() > 0.01


def test_a_fusion_as_the_papers_begins_with_maps_of_its_own():
    torch.manual_seed(0)
    network = tiny_set.seeded()
    (windows, *_), _, logits = looked(network)

    assert (logits - network.local_net(windows)[1]).abs().max() > 0.01
    assert all(parameter.any() for parameter in network.fusion.parameters())


def test_a_fusion_that_corrects_is_added_to_localnets_maps():
    network = tiny_set.seeded(tiny_set.correcting)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)
    (windows, pieces, rows, columns), _, logits = looked(network)

    local_features, alone = network.local_net(windows)
    correction = network.fusion(local_features, sample(pieces, rows, columns))
    torch.testing.assert_close(logits, alone + correction)
    assert correction.abs().max() > 0.01


def test_a_fusion_that_corrects_learns_from_its_first_step_on():
    network = tiny_set.seeded(tiny_set.correcting)
    _, _, logits = looked(network)

    logits.square().sum().backward()

    assert network.fusion.layers[-1].weight.grad.any()
    assert network.local_net.head.weight.grad.any()


def test_the_windows_loss_reaches_globalnet_s_weights():
    network = tiny_set.seeded()
    _, _, logits = looked(network)

    logits.square().sum().backward()

    for name, weight in network.global_net.backbone.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    assert network.global_net.head.weight.grad is None  # the coarse maps are not what is fused


@laws
@given(st.integers(1, 3))
def test_each_window_is_looked_at_for_itself(count):
    network = tiny_set.seeded()
    into, _, logits = looked(network, count)

    for n in range(count):
        alone = network.look(*(tensor[n : n + 1] for tensor in into))
        torch.testing.assert_close(alone[0], logits[n], atol=1e-4, rtol=1e-4)
