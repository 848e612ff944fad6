"""Warps are sampled first and applied to picture and masks alike; a warp holds all its parameters."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, quarter_turn, seeds, turns

from foveate.errors import SettingError
from foveate.geometry import tiling
from foveate.training import augmentation
from foveate.training.augmentation import LARGEST_ZOOM, AugmentationLimits

FREE = AugmentationLimits(turn=45, zoom=0.3, free_share=1.0, colour=0.1, noise=4)


def random_warp(seed, limits=FREE):
    return augmentation.sample_warp(np.random.default_rng(seed), limits)


def values(warp):
    """Everything that a warp holds, to be compared."""
    plain = (warp.quarters, warp.mirror, warp.angle, warp.zoom, warp.noise, warp.noise_seed)
    return *plain, warp.levels.tobytes()


def numbered(shape):
    """Return a picture in which no two pixels are alike."""
    return np.arange(math.prod(shape), dtype=np.int32).reshape(shape)


@st.composite
def placed_windows(draw):
    """Return (shape of a canvas that is mostly no square, window side, corner)."""
    side = draw(st.integers(1, 9))
    shape = (draw(st.integers(side, 24)), draw(st.integers(side, 24)))
    return shape, side, tuple(draw(st.integers(0, length - side)) for length in shape)


@given(seeds)
def test_a_warp_is_a_pure_function_of_its_generator(seed):
    assert values(random_warp(seed)) == values(random_warp(seed))
    assert values(random_warp(seed)) != values(random_warp(seed + 1))


@given(seeds)
def test_warps_stay_within_the_limits(seed):
    warp = random_warp(seed)

    assert abs(warp.angle) <= math.radians(45)
    assert abs(math.log(warp.zoom)) <= 0.3 + 1e-12
    assert 0 <= warp.noise <= 4
    assert warp.quarters in range(4)


@given(seeds)
def test_without_limits_pixels_keep_their_values_and_only_change_places(seed):
    warp = random_warp(seed, AugmentationLimits())
    picture = np.random.default_rng(seed).integers(0, 256, (5, 8, 3)).astype(np.uint8)

    changed = augmentation.recolour(np.ascontiguousarray(augmentation.turn(picture, warp)), warp)

    assert warp.is_exact
    assert sorted(map(tuple, changed.reshape(-1, 3))) == sorted(map(tuple, picture.reshape(-1, 3)))
    np.testing.assert_array_equal(changed, augmentation.turn(picture, warp))


def test_all_eight_turns_and_mirrors_are_about_equally_frequent():
    warps = [random_warp(seed, AugmentationLimits()) for seed in range(800)]
    counts = np.bincount([2 * warp.quarters + warp.mirror for warp in warps], minlength=8)

    assert len(counts) == 8
    assert counts.min() > 70


def test_the_free_share_says_how_many_are_turned_freely():
    warps = [random_warp(seed, AugmentationLimits(turn=45, zoom=0.2, free_share=0.3)) for seed in range(500)]
    free = [warp for warp in warps if not warp.is_exact]

    assert 0.2 < len(free) / len(warps) < 0.4
    assert np.ptp([warp.angle for warp in free]) > math.radians(80)
    assert min(warp.zoom for warp in free) < 0.85
    assert max(warp.zoom for warp in free) > 1.15


@laws
@given(placed_windows(), turns, st.booleans())
def test_cropping_and_turning_commute(placed, quarters, mirror):
    shape, side, corner = placed
    warp = augmentation.Warp(
        quarters=quarters,
        mirror=mirror,
        angle=0.0,
        zoom=1.0,
        levels=random_warp(0, AugmentationLimits()).levels,
        noise=0.0,
        noise_seed=0,
    )
    canvas = numbered(shape)

    turned_corner = augmentation.turn_corner(corner, side, shape, warp)
    turned = augmentation.turn(canvas, warp)

    assert turned.shape == augmentation.turn_shape(shape, warp)
    cut_of_turned = tiling.extract_windows(turned, np.array([turned_corner]), side)[0]
    turned_cut = augmentation.turn(tiling.extract_windows(canvas, np.array([corner]), side)[0], warp)
    np.testing.assert_array_equal(cut_of_turned, turned_cut)
    if not mirror:
        assert turned_corner == quarter_turn(corner, side, shape, quarters)


def test_quarter_turns_run_against_the_clock_and_the_mirror_comes_after():
    picture = np.array([[1, 2], [3, 4]])
    warps = {
        (warp.quarters, warp.mirror): warp
        for warp in (random_warp(seed, AugmentationLimits()) for seed in range(100))
    }

    assert augmentation.turn(picture, warps[1, False]).tolist() == [[2, 4], [1, 3]]
    assert augmentation.turn(picture, warps[1, True]).tolist() == [[4, 2], [3, 1]]


def shaped(angle, zoom):
    """Return a warp of one angle and zoom."""
    levels = random_warp(0, AugmentationLimits()).levels
    return augmentation.Warp(
        quarters=0, mirror=False, angle=angle, zoom=zoom, levels=levels, noise=0.0, noise_seed=0
    )


def about_centre(warp, side, spread=(1, 1)):
    linear = augmentation.affine(warp, spread)
    return np.column_stack([linear, (side - 1) / 2 - linear @ np.full(2, (side - 1) / 2)])


def test_no_angle_and_no_zoom_is_the_identity():
    np.testing.assert_array_equal(augmentation.affine(shaped(0.0, 1.0), (3, 7)), np.eye(2))
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        augmentation.resample_square(picture, about_centre(shaped(0.0, 1.0), 9), 9), picture
    )


@pytest.mark.parametrize("quarters", [1, 2, -1])
def test_a_free_turn_by_a_quarter_is_a_quarter_turn_against_the_clock(quarters):
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    matrix = about_centre(shaped(quarters * math.pi / 2, 1.0), 9)

    turned = augmentation.resample_square(picture, matrix, 9)

    np.testing.assert_array_equal(turned, np.rot90(picture, quarters))


def test_a_zoom_of_two_makes_things_twice_as_large():
    picture = np.zeros((33, 33), np.uint8)
    picture[14:19, 12:21] = 255  # 5 x 9 px about the centre

    larger = augmentation.resample_square(picture, about_centre(shaped(0.0, 2.0), 33), 33) > 127

    assert larger.any(axis=1).sum() in (9, 10, 11)
    assert larger.any(axis=0).sum() in (17, 18, 19)


@laws
@given(
    st.floats(-math.pi, math.pi), st.floats(0.7, 1.4), st.tuples(st.integers(1, 9), st.integers(1, 9)), seeds
)
def test_a_squeezed_picture_turns_as_what_it_shows(angle, zoom, spread, seed):
    offset = np.random.default_rng(seed).normal(0, 1, 2)
    true_size = np.array([spread[1], spread[0]])  # (x, y) of what one unit of the squeezed picture shows
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    expected = turn @ (offset * true_size) / zoom / true_size

    np.testing.assert_allclose(augmentation.affine(shaped(angle, zoom), spread) @ offset, expected, atol=1e-9)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_channels_stay_one_or_many(channels):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, *channels)).astype(np.uint8)

    assert augmentation.resample_square(picture, about_centre(shaped(0.3, 1.0), 8), 6).shape == (
        6,
        6,
        *channels,
    )


@given(seeds)
def test_nearest_mixes_no_values(seed):
    warp = random_warp(seed)
    bits = np.random.default_rng(seed).choice(np.array([0, 5, 9], np.uint8), (16, 16))

    changed = augmentation.resample_square(bits, about_centre(warp, 16), 16, nearest=True)

    assert set(np.unique(changed)) <= {0, 5, 9}


@laws
@given(seeds)
def test_black_stays_black_and_noise_is_the_same_each_time(seed):
    warp = random_warp(seed, AugmentationLimits(colour=0.2, noise=20))
    pixels = np.random.default_rng(seed).integers(1, 256, (8, 8, 3)).astype(np.uint8)
    pixels[2:5] = 0

    changed = augmentation.recolour(pixels, warp)

    assert not changed[2:5].any()
    np.testing.assert_array_equal(augmentation.recolour(pixels, warp), changed)
    assert (warp.levels[0] == 0).all()
    assert (np.diff(warp.levels.astype(int), axis=0) >= 0).all()  # brighter stays brighter


def test_noise_has_the_warps_standard_deviation():
    warp = random_warp(3, AugmentationLimits(noise=9))
    pixels = np.full((64, 64, 3), 128, np.uint8)

    spread = augmentation.recolour(pixels, warp).astype(float).std()

    assert warp.noise > 1
    assert spread == pytest.approx(warp.noise, rel=0.1)


def test_recolouring_does_not_write_into_what_it_is_given():
    pixels = np.full((4, 4, 3), 100, np.uint8)
    pixels.flags.writeable = False

    assert augmentation.recolour(pixels[:, ::-1], random_warp(1)).shape == (4, 4, 3)


@pytest.mark.parametrize(
    "limits",
    [
        {"turn": -1},
        {"turn": 181},
        {"zoom": -0.1},
        {"zoom": LARGEST_ZOOM + 0.01},
        {"free_share": 1.1},
        {"colour": -0.1},
        {"noise": -1},
        {"noise": math.nan},
    ],
)
def test_limits_outside_their_range_are_refused(limits):
    ((name, number),) = limits.items()
    with pytest.raises(SettingError, match=rf"^limits\.{name} is {number:g}; give a "):
        AugmentationLimits(**{name: float(value) for name, value in limits.items()})
