"""Places correspond: photograph, canvas, view, window and the piece of the view beside it show the same."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import boxes_in, laws, quarter_turn, seeds, turns, window_plans, window_sights

from foveate.errors import GeometryError
from foveate.geometry import canvas, dihedral, feature_sampling, tiling
from foveate.types import Box, Contract, Field, Frame

PAPER = (2816, 3328)


def contract(*, diameter=1000.0, tolerance=0.1):
    return Contract(
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
    """Return a picture (float32) whose value at a continuous place is slopes @ place."""
    rows, columns = (slope * (np.arange(n) + 0.5) for slope, n in zip(slopes, shape, strict=True))
    return np.add.outer(rows, columns).astype(np.float32)


# part_box


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
    with pytest.raises(GeometryError, match=f"2816 x 3328 px, the photograph {shape[0]} x {shape[1]}"):
        canvas.part_box("paper", shape, disc(1000))


# frame


@pytest.mark.parametrize("diameter", [1000, 910, 1099])
def test_within_the_tolerance_nothing_is_resampled(diameter):
    box = Box(top=10, left=20, bottom=810, right=920)

    assert canvas.fit_frame(box, disc(diameter), contract()) == Frame(box=box, shape=(800, 900))


@given(st.floats(130, 8000), st.integers(100, 3000), st.integers(100, 3000))
def test_beyond_it_the_field_has_the_diameter_of_training_to_half_a_pixel(diameter, height, width):
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


@given(boxes_in(5000), st.integers(1, 5000), st.integers(1, 5000), st.lists(st.floats(-1e4, 1e4), min_size=2))
def test_places_go_to_the_canvas_and_back_within_a_millionth_of_a_pixel(place, height, width, numbers):
    _, (top, left, bottom, right) = place
    frame = Frame(box=Box(top=top, left=left, bottom=bottom, right=right), shape=(height, width))
    points = np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2)

    np.testing.assert_allclose(
        canvas.to_photograph(canvas.to_canvas(points, frame), frame), points, rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        canvas.to_canvas(canvas.to_photograph(points, frame), frame), points, rtol=0, atol=1e-6
    )


def test_the_corners_of_the_box_are_the_corners_of_the_canvas():
    frame = Frame(box=Box(top=10, left=20, bottom=110, right=320), shape=(40, 900))
    corners = np.array([[10.0, 20.0], [110.0, 320.0], [60.0, 170.0]])

    np.testing.assert_allclose(canvas.to_canvas(corners, frame), [[0, 0], [40, 900], [20, 450]])
    assert frame.scale == (0.4, 3.0)


# resample


sizes = st.tuples(st.integers(2, 60), st.integers(2, 60))


@laws
@given(sizes, sizes)
def test_a_ramp_stays_in_place_however_a_picture_is_stretched(old, new):
    shrinks = new[0] <= old[0] and new[1] <= old[1]
    factors = np.array(old) / new
    places = ramp(new, tuple(factors))  # rows + columns at every new pixel's centre, in old pixels

    off = np.abs(canvas.resample(ramp(old), new) - places)

    if shrinks:  # 0 for whole factors, else an eighth of an old pixel along each axis
        assert off.max() <= sum(0 if f == round(f) else 0.125 / f for f in factors) + 1e-4
    else:
        inner = tuple(
            slice(n, -n or None) for n in (max(0, math.ceil(0.5 / f - 0.5)) for f in factors)
        )  # centres between those of the outermost old pixels
        assert off[inner].max(initial=0) <= 1e-3
        assert off.max() <= 1 + 1e-3  # the rim repeats: at most half an old pixel along each axis


@pytest.mark.parametrize("scale", [0.1, 0.4, 0.7345, 0.95])
@pytest.mark.parametrize("old", [(256, 256), (285, 429)])
def test_a_ramp_over_a_photograph_is_reproduced_within_a_thousandth_rim_included_where_it_shrinks(scale, old):
    new = (round(old[0] * scale), round(old[1] * scale))

    for slopes in ((1 / old[0], 0.0), (0.0, 1 / old[1])):  # 0 at one edge, 1 at the other
        expected = ramp(new, (slopes[0] * old[0] / new[0], slopes[1] * old[1] / new[1]))
        np.testing.assert_allclose(canvas.resample(ramp(old, slopes), new), expected, atol=1e-3)


@pytest.mark.parametrize("scale", [1.03, 1.6, 3.7])
def test_a_ramp_over_a_photograph_is_reproduced_within_a_thousandth_but_for_the_rim_where_it_grows(scale):
    old = (256, 300)
    new = (round(old[0] * scale), round(old[1] * scale))
    rim = math.ceil(scale / 2)

    for slopes in ((1 / old[0], 0.0), (0.0, 1 / old[1])):
        expected = ramp(new, (slopes[0] * old[0] / new[0], slopes[1] * old[1] / new[1]))
        found = canvas.resample(ramp(old, slopes), new)
        np.testing.assert_allclose(found[rim:-rim, rim:-rim], expected[rim:-rim, rim:-rim], atol=1e-3)
        np.testing.assert_allclose(found, expected, atol=0.5 * max(slopes))


@laws
@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.integers(1, 5), st.integers(1, 5), seeds)
def test_shrunk_by_whole_numbers_each_pixel_is_the_mean_of_those_it_covers(new, down, across, seed):
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


def test_a_picture_of_the_shape_asked_for_is_returned_as_it_is():
    picture = ramp((9, 7))

    assert canvas.resample(picture, (9, 7)) is picture


@laws
@given(sizes, sizes, turns, seeds)
def test_turning_and_stretching_commute(old, new, quarter, seed):
    picture = np.random.default_rng(seed).random((*old, 3), np.float32)

    turned = canvas.resample(
        np.ascontiguousarray(np.rot90(picture, quarter)), new if quarter % 2 == 0 else new[::-1]
    )

    np.testing.assert_allclose(turned, np.rot90(canvas.resample(picture, new), quarter), atol=1e-4)


# canvas, view, window


@laws
@given(boxes_in(), st.floats(0.4, 2.5), seeds, st.data())
def test_a_window_of_the_resampled_photograph_is_the_same_cut_of_the_whole_resampled_one(
    place, scale, seed, data
):
    whole, (top, left, bottom, right) = place
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
def test_a_canvas_of_a_part_is_that_part_of_the_canvas_of_all(factor, rims, grows, seed):
    top, left, below, beside = rims
    inner = (8, 9)
    cells = (top + inner[0] + below, left + inner[1] + beside)
    unit = 1 if grows else factor  # photograph px a cell of the grid that both share
    pixels = (
        np.random.default_rng(seed).integers(0, 256, (cells[0] * unit, cells[1] * unit, 3)).astype(np.uint8)
    )
    out = factor if grows else 1  # canvas px a cell
    part = Box(top=top * unit, left=left * unit, bottom=(top + 8) * unit, right=(left + 9) * unit)
    all_of_it = Box(top=0, left=0, bottom=cells[0] * unit, right=cells[1] * unit)

    small = canvas.extract_canvas(pixels, Frame(box=part, shape=(8 * out, 9 * out)))
    large = canvas.extract_canvas(pixels, Frame(box=all_of_it, shape=(cells[0] * out, cells[1] * out)))

    rim = factor // 2 if grows else 0  # beyond the outermost centres a grown part repeats its own rim
    same = large[top * out : (top + 8) * out, left * out : (left + 9) * out]
    np.testing.assert_array_equal(
        small[rim : 8 * out - rim, rim : 9 * out - rim], same[rim : 8 * out - rim, rim : 9 * out - rim]
    )


@laws
@given(st.tuples(st.integers(2, 60), st.integers(2, 60)), st.integers(1, 40))
def test_the_view_shows_all_of_the_canvas_each_axis_by_its_own_factor(shape, side):
    along_rows = canvas.global_view(np.repeat(ramp(shape, (1, 0))[..., None], 3, axis=2), side)

    assert along_rows.shape == (side, side, 3)
    expected = (np.arange(side) + 0.5) * shape[0] / side
    np.testing.assert_allclose(along_rows[:, side // 2, 0], expected, atol=0.51)


def test_cutting_turns_with_the_canvas():
    picture = np.random.default_rng(1).random((20, 31, 2), np.float32)

    for quarter in range(4):
        turned = np.rot90(picture, quarter)
        corner = quarter_turn((3, 11), 8, (20, 31), quarter)
        (window,) = tiling.extract_windows(turned, np.array([corner]), 8)
        (original,) = tiling.extract_windows(picture, np.array([[3, 11]]), 8)
        np.testing.assert_array_equal(window, np.rot90(original, quarter))


# plan, cut


@laws
@given(window_plans(longest=80))
def test_windows_cover_the_canvas_in_reading_order_evenly_and_with_the_overlap_asked_for(plan):
    shape, side, overlap = plan

    corners = tiling.regular_grid(shape, side, overlap)

    assert corners.tolist() == sorted(corners.tolist())
    for axis, length in enumerate(shape):
        starts = np.unique(corners[:, axis])
        steps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] == length - side
        assert (steps <= side - overlap).all()
        assert np.ptp(steps) <= 1 if len(steps) else True
        assert (len(starts) - 1) * (side - overlap) + overlap < length or len(
            starts
        ) == 1  # no fewer would do
    assert len(corners) == len(np.unique(corners[:, 0])) * len(np.unique(corners[:, 1]))


def test_the_paper_s_crop_is_cut_into_11_rows_of_13_windows_edge_to_edge():
    corners = tiling.regular_grid(PAPER, 256, 0)

    assert len(corners) == 143
    np.testing.assert_array_equal(np.unique(corners[:, 0]), np.arange(11) * 256)
    np.testing.assert_array_equal(np.unique(corners[:, 1]), np.arange(13) * 256)
    assert corners[1].tolist() == [0, 256]


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_that_leaves_no_step_is_refused(overlap):
    with pytest.raises(GeometryError, match=f"8 px cannot overlap by {overlap} px"):
        tiling.regular_grid((20, 20), 8, overlap)


@pytest.mark.parametrize("shape", [(7, 20), (20, 7)])
def test_a_window_larger_than_the_canvas_is_refused(shape):
    with pytest.raises(GeometryError, match=f"8 px does not fit a canvas of {shape[0]} x {shape[1]} px"):
        tiling.regular_grid(shape, 8, 0)


@laws
@given(window_plans(), st.sampled_from([(), (3,), (2, 2)]), seeds)
def test_windows_are_copies_of_their_places(plan, axes, seed):
    shape, side, overlap = plan
    picture = np.random.default_rng(seed).integers(0, 99, (*shape, *axes))
    corners = tiling.regular_grid(shape, side, overlap)

    windows = tiling.extract_windows(picture, corners, side)

    assert not np.shares_memory(windows, picture)
    for window, (row, column) in zip(windows, corners, strict=True):
        np.testing.assert_array_equal(window, picture[row : row + side, column : column + side])


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (3, 0), (0, 4)])
def test_a_window_one_pixel_outside_is_refused(corner):
    with pytest.raises(GeometryError, match="4 px leaves the canvas of 6 x 7 px"):
        tiling.extract_windows(np.zeros((6, 7)), np.array([(0, 0), corner]), 4)


# sight


def seen(features, sight):
    """Return features (C V V) as the fusion samples them at a window's pixels: (C S S)."""
    (top, left), rows, columns = sight.corner, sight.rows, sight.columns
    piece = features[:, top : top + rows.shape[1], left : left + columns.shape[1]]
    return rows @ piece @ columns.T


def places(view_side):
    """Return a feature map whose two channels hold each pixel's own place, in view px."""
    centres = np.arange(view_side, dtype=np.float32) + 0.5
    return np.stack(np.meshgrid(centres, centres, indexing="ij"))


def expected_places(shape, side, corner, view_side):
    """Return where a window's pixel centres lie in the view: whole canvas to whole view, the rim repeated."""
    rows, columns = (
        ((first + np.arange(side) + 0.5) * view_side / length).clip(0.5, view_side - 0.5)
        for first, length in zip(corner, shape, strict=True)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"))


@laws
@given(window_sights())
def test_the_features_beside_a_window_show_the_window_s_own_place(at):
    shape, side, corner, view_side = at

    found = seen(places(view_side), feature_sampling.sample_at(corner, side, shape, view_side))

    np.testing.assert_allclose(found, expected_places(*at), atol=1e-4)


@laws
@given(window_sights(), seeds)
def test_the_sample_is_torch_s_bilinear_sample_of_the_whole_feature_map(at, seed):
    torch = pytest.importorskip("torch")
    shape, side, corner, view_side = at
    features = np.random.default_rng(seed).random((3, view_side, view_side), np.float32)

    rows, columns = (
        2 * (first + torch.arange(side) + 0.5) / length - 1
        for first, length in zip(corner, shape, strict=True)
    )
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
    reference = torch.nn.functional.grid_sample(
        torch.from_numpy(features)[None], grid, align_corners=False, padding_mode="border"
    )

    found = seen(features, feature_sampling.sample_at(corner, side, shape, view_side))
    np.testing.assert_allclose(found, reference[0].numpy(), atol=1e-4)


@laws
@given(window_sights(), turns, seeds)
def test_turning_the_canvas_turns_what_a_window_sees(at, quarter, seed):
    shape, side, corner, view_side = at
    features = np.random.default_rng(seed).random((2, view_side, view_side), np.float32)
    turned_shape = shape if quarter % 2 == 0 else shape[::-1]

    straight = seen(features, feature_sampling.sample_at(corner, side, shape, view_side))
    turned = seen(
        np.rot90(features, quarter, axes=(1, 2)),
        feature_sampling.sample_at(quarter_turn(corner, side, shape, quarter), side, turned_shape, view_side),
    )

    np.testing.assert_allclose(turned, np.rot90(straight, quarter, axes=(1, 2)), atol=1e-4)


@laws
@given(window_sights())
def test_every_weight_is_a_share_and_the_piece_lies_in_the_view(at):
    shape, side, corner, view_side = at

    sight = feature_sampling.sample_at(corner, side, shape, view_side)

    for first, weights in zip(sight.corner, (sight.rows, sight.columns), strict=True):
        assert 0 <= first <= view_side - weights.shape[1]
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@laws
@given(window_plans(longest=90), st.integers(2, 40))
def test_the_pieces_of_all_windows_of_a_canvas_are_equally_large(plan, view_side):
    shape, side, overlap = plan

    corners = tiling.regular_grid(shape, side, overlap)
    corners = corners[np.random.default_rng(0).permutation(len(corners))[:50]]
    sights = [
        feature_sampling.sample_at(tuple(corner), side, shape, view_side) for corner in corners.tolist()
    ]

    assert len({(sight.rows.shape, sight.columns.shape) for sight in sights}) == 1


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("corner", [(0, 0), (0, 3072), (2560, 0), (2560, 3072), (1280, 1536)])
def test_at_every_corner_of_the_paper_s_crop_and_every_turn_window_and_view_show_the_same(corner, quarter):
    shape = PAPER if quarter % 2 == 0 else PAPER[::-1]
    row, column = quarter_turn(corner, 256, PAPER, quarter)
    rows, columns = (
        np.sin((np.arange(n) + 0.5) / 190 + phase) for n, phase in zip(shape, (0, 1), strict=True)
    )
    canvas = np.add.outer(rows, columns).astype(np.float32)  # waves of 1200 px: nothing is lost at 640 px

    sight = feature_sampling.sample_at((row, column), 256, shape, 640)
    sample = seen(canvas.global_view(canvas, 640)[None], sight)[0]

    # a shift by one canvas pixel would differ by 1/190; the rim repeats half a view pixel of 5.2 px
    np.testing.assert_allclose(
        sample[3:-3, 3:-3], canvas[row : row + 256, column : column + 256][3:-3, 3:-3], atol=1e-3
    )


def test_a_window_of_the_paper_sees_58_by_49_view_pixels_and_one_or_two_more_to_mix_from():
    sight = feature_sampling.sample_at((256, 512), 256, PAPER, 640)

    assert sight.rows.shape == (256, 61)  # 58.18, rounded up, and 2
    assert sight.columns.shape == (256, 52)  # 49.23
    assert sight.corner == (57, 98)  # 256 * 640 / 2816 = 58.18 less half a pixel; 512 * 640 / 3328 = 98.46


# tile


@st.composite
def fields_on_canvases(draw):
    """Return (step, overlap, shape in whole steps, centre and radius of a disc in it)."""
    step = draw(st.sampled_from([1, 2, 4]))
    shape = tuple(step * draw(st.integers(6, 24)) for _ in range(2))
    centre = tuple(draw(st.floats(0.2 * length, 0.8 * length)) for length in shape)
    return step, step * draw(st.integers(0, 3)), shape, centre, draw(st.floats(2, max(shape)))


@laws
@given(fields_on_canvases(), st.integers(16, 400))
def test_larger_windows_show_all_of_the_field_on_whole_steps_and_share_what_was_asked_for(plan, largest):
    step, overlap, shape, centre, radius = plan
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.hypot(rows - centre[0], columns - centre[1]) <= radius

    chosen = tiling.cover_field(inside, step, overlap, largest)

    height, width = chosen.window
    assert height % step == width % step == 0
    assert not (chosen.corners % step).any()
    assert (chosen.corners >= 0).all()
    assert (chosen.corners + np.array(chosen.window) <= shape).all()
    assert chosen.corners.tolist() == sorted(chosen.corners.tolist())
    shown = np.zeros(shape, bool)
    for row, column in chosen.corners:
        shown[row : row + height, column : column + width] = True
    assert shown[inside].all()
    for row in set(chosen.corners[:, 0].tolist()):
        there = chosen.corners[chosen.corners[:, 0] == row, 1]
        assert (np.diff(there) <= max(width - overlap, step)).all()


def test_few_large_windows_are_chosen_and_hardly_more_than_the_field_is_computed():
    shape = (2848, 3424)  # IDRiD's
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.hypot(rows - 1424, columns - 1712) <= 1740

    chosen = tiling.cover_field(inside, 16, 64, 512 * 1024)

    computed = len(chosen.corners) * np.prod(chosen.window)
    assert np.prod(chosen.window) <= 512 * 1024
    assert computed < 1.35 * inside.sum()
    assert computed < 0.75 * len(tiling.regular_grid(shape, 256, 64)) * 256**2


def test_a_field_without_a_pixel_is_refused():
    with pytest.raises(GeometryError, match="no pixel of the canvas is inside the field"):
        tiling.cover_field(np.zeros((64, 64), bool), 16, 16, 1024)


def test_what_was_put_another_way_comes_back_and_the_eight_ways_differ():
    square = np.arange(2 * 9).reshape(2, 3, 3)
    put = [dihedral.apply(square, way) for way in dihedral.DIHEDRAL]
    for picture, way in zip(put, dihedral.DIHEDRAL, strict=True):
        np.testing.assert_array_equal(dihedral.invert(picture, way), square)
    assert len({picture.tobytes() for picture in put}) == 8
    np.testing.assert_array_equal(put[0], square)
    np.testing.assert_array_equal(put[1][0], [[2, 5, 8], [1, 4, 7], [0, 3, 6]])  # against the clock
