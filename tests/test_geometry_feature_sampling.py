"""The features that are sampled for a window show the same part of the photograph as the window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, quarter_turn, seeds, turns, window_plans, window_positions

from foveate.geometry import canvas, feature_sampling, tiling

PAPER = (2816, 3328)
"""(rows, columns) of the paper's crop, px."""


def sample(features, sampling):
    """Return features (C V V) sampled at a window's pixels, as the fusion does: (C S S)."""
    (top, left), rows, columns = sampling.corner, sampling.rows, sampling.columns
    crop = features[:, top : top + rows.shape[1], left : left + columns.shape[1]]
    return rows @ crop @ columns.T


def coordinates_of_pixels(view_side):
    """Return a feature map whose two channels hold each pixel's own coordinates, in view px."""
    centres = np.arange(view_side, dtype=np.float32) + 0.5
    return np.stack(np.meshgrid(centres, centres, indexing="ij"))


def expected_coordinates(shape, side, corner, view_side):
    """Return where a window's pixel centres lie in the view: whole canvas to whole view, the rim repeated."""
    rows, columns = (
        ((first + np.arange(side) + 0.5) * view_side / length).clip(0.5, view_side - 0.5)
        for first, length in zip(corner, shape, strict=True)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"))


@laws
@given(window_positions())
def test_the_sampled_coordinates_are_those_of_the_window_s_pixel_centres(position):
    shape, side, corner, view_side = position

    sampled = sample(
        coordinates_of_pixels(view_side), feature_sampling.window_sampling(corner, side, shape, view_side)
    )

    np.testing.assert_allclose(sampled, expected_coordinates(*position), atol=1e-4)


@laws
@given(window_positions(), seeds)
def test_the_sample_is_torch_s_bilinear_sample_of_the_whole_feature_map(position, seed):
    torch = pytest.importorskip("torch")
    shape, side, corner, view_side = position
    features = np.random.default_rng(seed).random((3, view_side, view_side), np.float32)

    rows, columns = (
        2 * (first + torch.arange(side) + 0.5) / length - 1
        for first, length in zip(corner, shape, strict=True)
    )
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
    reference = torch.nn.functional.grid_sample(
        torch.from_numpy(features)[None], grid, align_corners=False, padding_mode="border"
    )

    sampled = sample(features, feature_sampling.window_sampling(corner, side, shape, view_side))
    np.testing.assert_allclose(sampled, reference[0].numpy(), atol=1e-4)


@laws
@given(window_positions(), turns, seeds)
def test_turning_the_canvas_turns_the_sampled_features(position, quarter, seed):
    shape, side, corner, view_side = position
    features = np.random.default_rng(seed).random((2, view_side, view_side), np.float32)
    turned_shape = shape if quarter % 2 == 0 else shape[::-1]

    straight = sample(features, feature_sampling.window_sampling(corner, side, shape, view_side))
    turned = sample(
        np.rot90(features, quarter, axes=(1, 2)),
        feature_sampling.window_sampling(
            quarter_turn(corner, side, shape, quarter), side, turned_shape, view_side
        ),
    )

    np.testing.assert_allclose(turned, np.rot90(straight, quarter, axes=(1, 2)), atol=1e-4)


@laws
@given(window_positions())
def test_the_weights_sum_to_1_and_the_crop_lies_in_the_view(position):
    shape, side, corner, view_side = position

    sampling = feature_sampling.window_sampling(corner, side, shape, view_side)

    for first, weights in zip(sampling.corner, (sampling.rows, sampling.columns), strict=True):
        assert 0 <= first <= view_side - weights.shape[1]
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@laws
@given(window_plans(longest=90), st.integers(2, 40))
def test_the_crops_of_all_windows_of_a_canvas_are_equally_large(plan, view_side):
    shape, side, overlap = plan

    corners = tiling.regular_grid(shape, side, overlap)
    corners = corners[np.random.default_rng(0).permutation(len(corners))[:50]]
    samplings = [
        feature_sampling.window_sampling(tuple(corner), side, shape, view_side) for corner in corners.tolist()
    ]

    assert len({(sampling.rows.shape, sampling.columns.shape) for sampling in samplings}) == 1


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("corner", [(0, 0), (0, 3072), (2560, 0), (2560, 3072), (1280, 1536)])
def test_at_every_corner_of_the_paper_s_crop_and_every_turn_window_and_view_show_the_same(corner, quarter):
    shape = PAPER if quarter % 2 == 0 else PAPER[::-1]
    row, column = quarter_turn(corner, 256, PAPER, quarter)
    rows, columns = (
        np.sin((np.arange(n) + 0.5) / 190 + phase) for n, phase in zip(shape, (0, 1), strict=True)
    )
    picture = np.add.outer(rows, columns).astype(np.float32)  # waves of 1200 px, which 640 px can show

    sampling = feature_sampling.window_sampling((row, column), 256, shape, 640)
    sampled = sample(canvas.global_view(picture, 640)[None], sampling)[0]

    # a shift by one canvas pixel would differ by 1/190; the rim repeats half a view pixel of 5.2 px
    window = picture[row : row + 256, column : column + 256]
    np.testing.assert_allclose(sampled[3:-3, 3:-3], window[3:-3, 3:-3], atol=1e-3)


def test_a_window_of_the_paper_needs_58_by_49_view_pixels_and_two_more_to_interpolate():
    sampling = feature_sampling.window_sampling((256, 512), 256, PAPER, 640)

    assert sampling.rows.shape == (256, 61)  # 58.18, rounded up, and 2
    assert sampling.columns.shape == (256, 52)  # 49.23
    assert sampling.corner == (57, 98)  # 256 * 640 / 2816 = 58.18 less half a pixel; 512 * 640 / 3328 = 98.46
