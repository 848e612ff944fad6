"""Pixels become (level - mean) / std, colours first, whatever array they are a part of."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate.inference.preprocessing import normalise
from foveate.types import ModelContract

CONTRACT = ModelContract(
    lesions=("EX",),
    mean=(116.5, 56.4, 16.3),
    std=(80.2, 41.2, 13.3),
    view_side=640,
    window_side=256,
    overlap=0,
    field_diameter=3400.0,
    scale_tolerance=0.05,
)


@laws
@given(st.lists(st.integers(0, 4), max_size=2), st.integers(1, 9), st.integers(1, 9), seeds)
def test_every_level_of_every_colour_is_normalised_by_its_own_mean_and_std(stacks, height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (*stacks, height, width, 3)).astype(np.uint8)

    normalised = normalise(pixels, CONTRACT)

    assert normalised.shape == (*stacks, 3, height, width)
    assert normalised.dtype == np.float32
    assert normalised.flags.c_contiguous
    for colour in range(3):
        expected = (pixels[..., colour].astype(float) - CONTRACT.mean[colour]) / CONTRACT.std[colour]
        np.testing.assert_allclose(normalised[..., colour, :, :], expected, atol=1e-5)


@laws
@given(st.integers(1, 5), seeds)
def test_a_stack_is_normalised_as_each_of_its_windows(count, seed):
    windows = np.random.default_rng(seed).integers(0, 256, (count, 6, 7, 3)).astype(np.uint8)

    together = normalise(windows, CONTRACT)

    for window, normalised in zip(windows, together, strict=True):
        np.testing.assert_array_equal(normalise(window, CONTRACT), normalised)


def test_a_pixel_computed_by_hand():
    contract = replace(CONTRACT, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
    pixels = np.array([[[10, 24, 14]]], np.uint8)

    np.testing.assert_array_equal(normalise(pixels, contract), [[[0]], [[1]], [[-2]]])


def test_a_cropped_or_turned_view_of_an_array_needs_no_copy():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)

    np.testing.assert_array_equal(
        normalise(np.rot90(pixels)[2:9, 3:5], CONTRACT),
        normalise(np.rot90(pixels)[2:9, 3:5].copy(), CONTRACT),
    )


def test_the_input_pixels_stay_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    before = pixels.copy()

    normalise(pixels, CONTRACT)

    np.testing.assert_array_equal(pixels, before)
