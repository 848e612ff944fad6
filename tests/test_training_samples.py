"""Samples are what inference will see: the same canvas, view and windows, in register."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_set
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate.geometry import canvas, tiling
from foveate.training import augmentation, cache, sampler, samples
from foveate.training.augmentation import LARGEST_ZOOM, AugmentationLimits
from foveate.training.sampler import SampleSpec

CONTRACT = tiny_set.CONTRACT


@pytest.fixture(scope="module")
def cached_cases(tmp_path_factory):
    return tiny_set.cached_cases(tmp_path_factory.mktemp("samples"))


def warp(seed, limits=None):
    return augmentation.sample_warp(np.random.default_rng(seed), limits or AugmentationLimits())


def unchanged():
    """Return the warp that changes nothing."""
    return next(w for w in map(warp, range(100)) if w.quarters == 0 and not w.mirror)


@pytest.mark.parametrize("seed", range(12))
def test_an_exact_view_is_inference_s_view_of_the_turned_canvas(cached_cases, seed):
    change = warp(seed)
    for cached_case in cached_cases:
        turned = np.ascontiguousarray(augmentation.turn(np.asarray(cached_case.pixels), change))
        bits = np.ascontiguousarray(augmentation.turn(np.asarray(cached_case.bits), change))

        sample = samples.view_sample(cached_case, CONTRACT, change)

        expected = canvas.global_view(turned, CONTRACT.view_side)
        assert np.abs(sample.pixels.astype(int) - expected).max() <= 1
        for k in range(
            len(CONTRACT.lesions) if cached_case is not cached_cases[2] else 0
        ):  # whose masks were resampled
            share = canvas.global_view((bits >> k & 1) * np.uint8(255), CONTRACT.view_side)
            assert np.abs(sample.truth[k] * 255 - share).max() <= 1.001


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("corner", [(0, 0), (37, 61), (100, 3)])
def test_an_exact_window_is_the_turned_crop(cached_cases, seed, corner):
    cached_case, change, side = cached_cases[0], warp(seed), CONTRACT.window_side
    cut = augmentation.turn(
        tiling.extract_windows(np.asarray(cached_case.pixels), np.array([corner]), side)[0], change
    )
    bits = augmentation.turn(
        tiling.extract_windows(np.asarray(cached_case.bits), np.array([corner]), side)[0], change
    )

    around = samples.window_sample(
        cached_case, (corner[0] + side // 2, corner[1] + side // 2), CONTRACT, change
    )
    registered, moved = samples.registered_window_sample(cached_case, corner, CONTRACT, change)

    assert moved == augmentation.turn_corner(corner, side, cached_case.bits.shape, change)
    for sample in (around, registered):
        np.testing.assert_array_equal(sample.pixels, cut)
        for k in range(len(CONTRACT.lesions)):
            np.testing.assert_array_equal(sample.truth[k], bits >> k & 1)


def smooth_case():
    """Return a case of 700 x 900 px whose colours say where a pixel lies, with one square lesion."""
    height, width = 700, 900
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns / width * 200 + 30, rows / height * 200 + 30, rows * 0 + 99], -1)
    pixels, bits = pixels.astype(np.uint8), np.zeros((height, width), np.uint8)
    bits[300:420, 500:640] = 1
    side = cache.VIEW_OVERSAMPLING * SMOOTH.view_side
    return tiny_set.CaseInMemory(
        name="smooth",
        shape=bits.shape,
        pixels=pixels,
        bits=bits,
        fine_view=canvas.global_view(pixels, side),
        fine_truth=canvas.global_view(bits * np.uint8(255), side)[..., None],
        lesion_pixels={"EX": np.argwhere(bits).astype(np.int32)},
    )


SMOOTH = replace(CONTRACT, lesions=("EX",), view_side=256, window_side=64)


@pytest.mark.parametrize("seed", range(20))
def test_freely_rotated_and_zoomed_windows_are_in_register_with_the_view(seed):
    case, generator = smooth_case(), np.random.default_rng(seed)
    change = warp(seed, AugmentationLimits(turn=45, zoom=LARGEST_ZOOM, free_share=1.0))
    side = SMOOTH.window_side
    drawn = [tuple(int(generator.integers(length - side)) for length in case.bits.shape) for _ in range(8)]
    spec = SampleSpec(case=case, warp=change, positions=tuple(drawn))

    item = sampler.materialise(spec, replace(tiny_set.recipe(), contract=SMOOTH), "joint")

    inside = 0
    for window, sampling in zip(item.windows, item.samplings, strict=True):
        piece = item.view.pixels[sampling.corner[0] :, sampling.corner[1] :]
        piece = piece[: sampling.rows.shape[1], : sampling.columns.shape[1]].astype(float)
        seen = np.einsum("sg,ghc,th->stc", sampling.rows, piece, sampling.columns)
        lit = (window.pixels[..., 2] == 99) & (seen[..., 2] > 98.9)  # off the canvas's edges
        inside += lit.sum()
        assert np.abs(seen - window.pixels)[lit].max(initial=0) < 2  # a pixel off is .3 levels, a turn 100
    assert inside > 8 * side * side / 4


@pytest.mark.parametrize("seed", range(20))
def test_a_freely_warped_window_keeps_the_middle_that_was_drawn_and_its_mask(seed):
    case, side = smooth_case(), SMOOTH.window_side
    change = warp(seed, AugmentationLimits(turn=45, zoom=LARGEST_ZOOM, free_share=1.0))
    drawn = (330, 400)  # near the canvas's middle: no warp moves it over an edge

    window, _ = samples.registered_window_sample(case, drawn, SMOOTH, change)

    middle = np.array(drawn) + (side - 1) / 2
    expected = middle[1] / 900 * 200 + 30, middle[0] / 700 * 200 + 30
    shown = window.pixels[side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1].mean(axis=(0, 1))
    assert shown[:2] == pytest.approx(expected, abs=1.2)
    lesion = case.bits[drawn[0] : drawn[0] + side, drawn[1] : drawn[1] + side]
    assert not lesion.any()
    red, green = window.pixels[..., 0].astype(float), window.pixels[..., 1].astype(float)
    columns, rows = (red - 30) / 200 * 900, (green - 30) / 200 * 700
    within = (rows > 305) & (rows < 415) & (columns > 506) & (columns < 634)
    beyond = (rows < 295) | (rows > 425) | (columns < 494) | (columns > 646)
    assert window.truth[0][within].all()
    assert not window.truth[0][beyond].any()


def test_a_window_is_black_and_without_lesions_where_it_leaves_the_canvas():
    white = replace(
        synthetic(np.full((160, 160), 255, np.uint8)),
        bits=np.full((160, 160), 15, np.uint8),
    )

    sample = samples.window_sample(white, (5, 80), CONTRACT, unchanged())

    assert (sample.pixels[:11] == 0).all()  # 16 px reach up from row 5
    assert (sample.pixels[11:] == 255).all()
    assert (sample.truth[:, :11] == 0).all()
    assert (sample.truth[:, 11:] == 1).all()


@pytest.mark.parametrize("centre", [(-16, 80), (-40, -40), (1000, 80), (80, 1000)])
def test_a_window_beyond_the_canvas_is_black_all_over(cached_cases, centre):
    sample = samples.window_sample(cached_cases[0], centre, CONTRACT, unchanged())

    assert not sample.pixels.any()
    assert not sample.truth.any()


@laws
@given(seeds)
def test_a_turned_and_shrunken_window_inside_the_canvas_shows_nothing_but_canvas(seed):
    limits = AugmentationLimits(turn=45, zoom=LARGEST_ZOOM, free_share=1.0)
    white = synthetic(np.full((128, 128), 255, np.uint8))

    sample = samples.window_sample(white, (64, 64), CONTRACT, warp(seed, limits))

    assert (sample.pixels == 255).all()


def synthetic(brightness):
    """Return a cached case of a grey picture whose first lesion is what is brighter than 150."""
    pixels = np.repeat(brightness[..., None], 3, axis=2)
    lesion = (brightness > 150).astype(np.uint8)
    side = cache.VIEW_OVERSAMPLING * CONTRACT.view_side
    shares = np.zeros((side, side, len(CONTRACT.lesions)), np.uint8)
    shares[..., 0] = canvas.global_view(lesion * 255, side)
    return tiny_set.CaseInMemory(
        name="synthetic",
        shape=lesion.shape,
        pixels=pixels,
        bits=lesion,
        fine_view=canvas.global_view(pixels, side),
        fine_truth=shares,
        lesion_pixels={"EX": np.argwhere(lesion).astype(np.int32)},
    )


def letter(place, size):
    """Return a picture of 60, 96 x 128 px, with an L of 240 about a place: no two of its turns agree."""
    picture, (row, column), thick = np.full((96, 128), 60, np.uint8), place, 2 * size // 5
    picture[row - size // 2 : row + size // 2, column - size // 2 : column - size // 2 + thick] = 240
    picture[row + size // 2 - thick : row + size // 2, column - size // 2 : column + size // 3] = 240
    return picture


def in_register(first, second):
    """Return whether two masks agree up to a pixel along their rims and have the same centre."""
    inner, core = (
        cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        for mask in (first, second)
    )
    agree = (inner <= second).all() and (core <= first).all()
    return agree and np.abs(np.argwhere(first).mean(axis=0) - np.argwhere(second).mean(axis=0)).max() < 0.5


@pytest.mark.parametrize("seed", range(100))  # fixed: one draw in 10,000 is a pixel off at a sharp corner
def test_photograph_and_masks_stay_in_register_under_any_warp(seed):
    change = warp(seed, AugmentationLimits(turn=45, zoom=0.3, free_share=0.7))
    row, column = np.random.default_rng(seed).integers(-6, 7, 2)
    far, near = synthetic(letter((48 + row, 64 + column), 50)), synthetic(letter((40 + row, 70 + column), 18))

    for sample in (
        samples.view_sample(far, CONTRACT, change),
        samples.window_sample(near, (40, 70), CONTRACT, change),
    ):
        # At .45 of the way from 60 to 240: half a pixel is common, and would fall to either side of .5.
        bright = (sample.pixels[..., 0] > 141).astype(np.uint8)
        lesion = (sample.truth[0] > 0.45).astype(np.uint8)
        assert lesion.sum() > 20
        assert in_register(lesion, bright)
        assert not sample.truth[1:].any()


def test_a_freely_turned_view_shows_the_photograph_turned_not_the_squeezed_square():
    """A disc of a wide canvas is an ellipse in the view; turned by any angle it is the same ellipse."""
    rows, columns = np.mgrid[:96, :192] + 0.5
    disc = np.where(np.hypot(rows - 48, columns - 96) < 30, 240, 60).astype(np.uint8)
    cached_case = synthetic(disc)
    levels = unchanged().levels
    for angle in np.linspace(-0.78, 0.78, 7):
        for quarters in range(4):
            change = augmentation.Warp(
                quarters=quarters,
                mirror=False,
                angle=float(angle),
                zoom=1.0,
                levels=levels,
                noise=0.0,
                noise_seed=0,
            )
            lesion = samples.view_sample(cached_case, CONTRACT, change).truth[0]
            tall, wide = lesion.max(axis=1).sum(), lesion.max(axis=0).sum()
            expected = (20, 10) if quarters % 2 == 0 else (10, 20)  # 60 px of 96 and of 192, in 32
            assert (tall, wide) == pytest.approx(expected, abs=1.1)


def test_masks_are_never_recoloured(cached_cases):
    change = warp(5, AugmentationLimits(colour=0.3, noise=30))

    sample = samples.window_sample(cached_cases[0], (80, 90), CONTRACT, change)

    assert set(np.unique(sample.truth)) <= {0.0, 1.0}
    registered, _ = samples.registered_window_sample(cached_cases[0], (64, 74), CONTRACT, change)
    np.testing.assert_array_equal(sample.truth, registered.truth)
    np.testing.assert_array_equal(sample.pixels, registered.pixels)


@given(st.integers(0, 255), st.integers(1, 8))
def test_bits_become_one_map_each(bits, lesions):
    maps = samples.unpack_bits(np.array([[bits]], np.uint8), lesions)

    assert maps.shape == (lesions, 1, 1)
    assert [int(value) for value in maps.ravel()] == [int(d) for d in f"{bits:08b}"[::-1]][:lesions]


@given(
    st.integers(1, 20),
    st.integers(0, 30),
    st.integers(0, 30),
    st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
)
def test_a_window_around_any_point_lies_within_the_canvas(side, tall, wide, place):
    shape = (side + tall, side + wide)

    corner = samples.window_corner(place, side, shape)

    assert all(0 <= start <= length - side for start, length in zip(corner, shape, strict=True))
    for start, centre, length in zip(corner, place, shape, strict=True):
        if side // 2 <= centre <= length - side + side // 2:
            assert start == centre - side // 2  # centred where there is room


def test_a_degree_is_a_degree():
    warps = [warp(seed, AugmentationLimits(turn=10, free_share=1.0)) for seed in range(300)]

    assert 9 < max(math.degrees(w.angle) for w in warps) <= 10
