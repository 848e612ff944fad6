"""Coordinates of the photograph, the canvas and the global view correspond."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import boxes_in, laws, seeds, turns

from foveate.errors import GeometryError
from foveate.geometry import canvas, tiling
from foveate.types import Box, Field, Frame, ModelContract

PAPER = (2816, 3328)
"""(rows, columns) of the paper's crop, px."""


def contract(*, diameter=1000.0, tolerance=0.1):
    return ModelContract(
        lesions=("EX",),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        view_side=640,
        window_side=256,
        overlap=0,
        field_diameter=diameter,
        scale_tolerance=tolerance,
    )


def disc(diameter, box=None):
    return Field(
        centre=(500.0, 500.0), radius=diameter / 2, box=box or Box(top=0, left=0, bottom=1000, right=1000)
    )


def ramp(shape, slopes=(1.0, 1.0)):
    """Return a picture (float32) whose value at a continuous coordinate is slopes @ coordinate."""
    rows, columns = (slope * (np.arange(n) + 0.5) for slope, n in zip(slopes, shape, strict=True))
    return np.add.outer(rows, columns).astype(np.float32)


def test_a_part_is_the_fields_box_the_paper_s_centre_crop_or_everything():
    box = Box(top=3, left=5, bottom=2800, right=3900)

    assert canvas.part_box("field", (2848, 4288), disc(1000, box)) == box
    assert canvas.part_box("whole", (2848, 4288), disc(1000, box)) == Box(
        top=0, left=0, bottom=2848, right=4288
    )
    assert canvas.part_box("paper", (2848, 4288), disc(1000, box)) == Box(
        top=16, left=480, bottom=2832, right=3808
    )
    assert canvas.part_box("paper", PAPER, disc(1000)).shape == PAPER


@pytest.mark.parametrize("shape", [(2815, 4288), (2848, 3327)])
def test_the_paper_s_crop_needs_a_photograph_at_least_as_large(shape):
    with pytest.raises(GeometryError, match=f"2816 x 3328 px, but the photograph is {shape[0]} x {shape[1]}"):
        canvas.part_box("paper", shape, disc(1000))


@pytest.mark.parametrize("diameter", [1000, 910, 1099])
def test_within_the_tolerance_nothing_is_resampled(diameter):
    box = Box(top=10, left=20, bottom=810, right=920)

    assert canvas.fit_frame(box, disc(diameter), contract()) == Frame(box=box, shape=(800, 900))


@given(st.floats(130, 8000), st.integers(100, 3000), st.integers(100, 3000))
def test_beyond_the_tolerance_the_field_gets_the_diameter_of_training_to_half_a_pixel(
    diameter, height, width
):
    assume(abs(math.log(1000 / diameter)) > math.log(1.11))
    box = Box(top=7, left=9, bottom=7 + height, right=9 + width)

    frame = canvas.fit_frame(box, disc(diameter), contract())

    assert frame.box == box
    assert abs(frame.shape[0] - height * 1000 / diameter) <= 0.5
    assert abs(frame.shape[1] - width * 1000 / diameter) <= 0.5


@pytest.mark.parametrize(("diameter", "scale"), [(901, 1000 / 901), (1111, 1000 / 1111)])
def test_the_tolerance_is_the_same_up_and_down(diameter, scale):
    box = Box(top=0, left=0, bottom=1000, right=1000)

    assert canvas.fit_frame(box, disc(diameter), contract(tolerance=0.12)).shape == (1000, 1000)
    assert canvas.fit_frame(box, disc(diameter), contract(tolerance=0.10)).shape == (round(1000 * scale),) * 2


@pytest.mark.parametrize(("diameter", "resampled"), [(1490, False), (1510, True), (672, False), (662, True)])
def test_a_tolerance_of_a_half_reaches_from_two_thirds_to_one_and_a_half(diameter, resampled):
    box = Box(top=0, left=0, bottom=1000, right=1000)

    shape = canvas.fit_frame(box, disc(diameter), contract(tolerance=0.5)).shape

    assert (shape != box.shape) == resampled


def test_the_corners_of_the_box_are_the_corners_of_the_canvas():
    frame = Frame(box=Box(top=10, left=20, bottom=110, right=320), shape=(40, 900))
    corners = np.array([[10.0, 20.0], [110.0, 320.0], [60.0, 170.0]])

    np.testing.assert_allclose(canvas.to_canvas(corners, frame), [[0, 0], [40, 900], [20, 450]])
    assert frame.scale == (0.4, 3.0)


sizes = st.tuples(st.integers(2, 60), st.integers(2, 60))


@laws
@given(sizes, sizes)
def test_a_ramp_stays_in_place_whatever_the_factors_of_resampling(old, new):
    shrinks = new[0] <= old[0] and new[1] <= old[1]
    factors = np.array(old) / new
    expected = ramp(new, tuple(factors))  # rows + columns at every new pixel's centre, in old pixels

    error = np.abs(canvas.resample(ramp(old), new) - expected)

    if shrinks:  # 0 for whole factors, else an eighth of an old pixel along each axis
        assert error.max() <= sum(0 if f == round(f) else 0.125 / f for f in factors) + 1e-4
    else:
        inner = tuple(
            slice(n, -n or None) for n in (max(0, math.ceil(0.5 / f - 0.5)) for f in factors)
        )  # centres between those of the outermost old pixels
        assert error[inner].max(initial=0) <= 1e-3
        assert error.max() <= 1 + 1e-3  # the rim repeats: at most half an old pixel along each axis


@pytest.mark.parametrize("scale", [0.1, 0.4, 0.7345, 0.95])
@pytest.mark.parametrize("old", [(256, 256), (285, 429)])
def test_a_shrunk_ramp_is_exact_within_a_thousandth_rim_included(scale, old):
    new = (round(old[0] * scale), round(old[1] * scale))

    for slopes in ((1 / old[0], 0.0), (0.0, 1 / old[1])):  # 0 at one edge, 1 at the other
        expected = ramp(new, (slopes[0] * old[0] / new[0], slopes[1] * old[1] / new[1]))
        np.testing.assert_allclose(canvas.resample(ramp(old, slopes), new), expected, atol=1e-3)


@pytest.mark.parametrize("scale", [1.03, 1.6, 3.7])
def test_a_grown_ramp_is_exact_within_a_thousandth_except_at_the_rim(scale):
    old = (256, 300)
    new = (round(old[0] * scale), round(old[1] * scale))
    rim = math.ceil(scale / 2)

    for slopes in ((1 / old[0], 0.0), (0.0, 1 / old[1])):
        expected = ramp(new, (slopes[0] * old[0] / new[0], slopes[1] * old[1] / new[1]))
        resampled = canvas.resample(ramp(old, slopes), new)
        np.testing.assert_allclose(resampled[rim:-rim, rim:-rim], expected[rim:-rim, rim:-rim], atol=1e-3)
        np.testing.assert_allclose(resampled, expected, atol=0.5 * max(slopes))


@laws
@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.integers(1, 5), st.integers(1, 5), seeds)
def test_shrunk_by_whole_numbers_each_pixel_is_the_mean_of_the_pixels_it_covers(new, down, across, seed):
    picture = np.random.default_rng(seed).random((new[0] * down, new[1] * across, 3), np.float32)

    expected = picture.reshape(new[0], down, new[1], across, 3).mean(axis=(1, 3))

    np.testing.assert_allclose(canvas.resample(picture, new), expected, atol=1e-5)


@pytest.mark.parametrize("new", [(4, 4), (20, 20), (10, 20)])
@pytest.mark.parametrize("axes", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_axes_after_rows_and_columns_and_the_dtype_are_kept(new, axes, dtype):
    resampled = canvas.resample(np.ones((10, 12, *axes), dtype), new)

    assert resampled.shape == (*new, *axes)
    assert resampled.dtype == dtype
    assert (resampled == 1).all()


def test_a_picture_that_has_the_shape_already_is_returned_without_a_copy():
    picture = ramp((9, 7))

    assert canvas.resample(picture, (9, 7)) is picture


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [((40, 60), 30, (20, 30)), ((61, 40), 30, (30, 20)), ((7, 9), 30, (7, 9)), ((1, 300), 30, (1, 30))],
)
def test_a_picture_is_shrunk_to_its_longer_side_and_never_grows(shape, side, expected):
    picture = np.arange(3 * shape[0] * shape[1]).reshape(*shape, 3).astype(np.uint8)

    shrunk = canvas.shrink(picture, side)

    assert shrunk.shape[:2] == expected
    assert np.array_equal(shrunk, canvas.resample(picture, expected))


@laws
@given(sizes, sizes, turns, seeds)
def test_turning_and_resampling_commute(old, new, quarter, seed):
    picture = np.random.default_rng(seed).random((*old, 3), np.float32)

    turned = canvas.resample(
        np.ascontiguousarray(np.rot90(picture, quarter)), new if quarter % 2 == 0 else new[::-1]
    )

    np.testing.assert_allclose(turned, np.rot90(canvas.resample(picture, new), quarter), atol=1e-4)


@laws
@given(boxes_in(), st.floats(0.4, 2.5), seeds, st.data())
def test_a_window_of_the_canvas_is_a_crop_of_the_resampled_photograph(photograph_and_box, scale, seed, data):
    whole, (top, left, bottom, right) = photograph_and_box
    box = Box(top=top, left=left, bottom=bottom, right=right)
    shape = (max(1, round(box.shape[0] * scale)), max(1, round(box.shape[1] * scale)))
    pixels = np.random.default_rng(seed).integers(0, 256, (*whole, 3)).astype(np.uint8)
    side = data.draw(st.integers(1, min(shape)))
    row, column = (data.draw(st.integers(0, length - side)) for length in shape)

    (window,) = tiling.extract_windows(
        canvas.extract_canvas(pixels, Frame(box=box, shape=shape)), np.array([[row, column]]), side
    )

    resampled = canvas.resample(pixels[top:bottom, left:right], shape)
    np.testing.assert_array_equal(window, resampled[row : row + side, column : column + side])


@laws
@given(st.integers(2, 4), st.tuples(*[st.integers(0, 6)] * 4), st.booleans(), seeds)
def test_the_canvas_of_a_part_is_that_part_of_the_canvas_of_the_whole(factor, rims, grows, seed):
    top, left, bottom, right = rims
    inner = (8, 9)
    blocks = (top + inner[0] + bottom, left + inner[1] + right)
    unit = 1 if grows else factor  # photograph px in a block of the grid that both share
    pixels = (
        np.random.default_rng(seed).integers(0, 256, (blocks[0] * unit, blocks[1] * unit, 3)).astype(np.uint8)
    )
    unit_out = factor if grows else 1  # canvas px in a block
    part = Box(top=top * unit, left=left * unit, bottom=(top + 8) * unit, right=(left + 9) * unit)
    whole = Box(top=0, left=0, bottom=blocks[0] * unit, right=blocks[1] * unit)

    small = canvas.extract_canvas(pixels, Frame(box=part, shape=(8 * unit_out, 9 * unit_out)))
    large = canvas.extract_canvas(
        pixels, Frame(box=whole, shape=(blocks[0] * unit_out, blocks[1] * unit_out))
    )

    rim = factor // 2 if grows else 0  # beyond the outermost centres a grown part repeats its own rim
    same = large[top * unit_out : (top + 8) * unit_out, left * unit_out : (left + 9) * unit_out]
    np.testing.assert_array_equal(
        small[rim : 8 * unit_out - rim, rim : 9 * unit_out - rim],
        same[rim : 8 * unit_out - rim, rim : 9 * unit_out - rim],
    )


@laws
@given(st.tuples(st.integers(2, 60), st.integers(2, 60)), st.integers(1, 40))
def test_the_view_shows_all_of_the_canvas_with_a_factor_for_each_axis(shape, side):
    along_rows = canvas.global_view(np.repeat(ramp(shape, (1, 0))[..., None], 3, axis=2), side)

    assert along_rows.shape == (side, side, 3)
    expected = (np.arange(side) + 0.5) * shape[0] / side
    np.testing.assert_allclose(along_rows[:, side // 2, 0], expected, atol=0.51)
