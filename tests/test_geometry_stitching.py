"""Extracted windows are stitched to the same map; overlaps are weighted means; gaps are refused."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes_in, laws, levels, quarter_turn, seeds, turns, window_plans

from foveate.errors import GeometryError, LesionError
from foveate.geometry import canvas, feature_sampling, stitching, tiling
from foveate.packed_maps import PackedMaps
from foveate.types import Box, Frame, Probabilities


def probability_windows(maps, corners, side):
    """Extract windows (N K S S) of probabilities from stored maps (K h w)."""
    windows = np.stack([maps[:, row : row + side, column : column + side] for row, column in corners])
    return windows.astype(np.float32) / np.float32(stitching.LEVELS)


def in_batches(batches, size):
    return (batches[start : start + size] for start in range(0, len(batches), size))


def everywhere(shape):
    return np.ones(shape, bool)


def stitch(*arguments, **options):
    return np.asarray(stitching.stitch(*arguments, **options))


@laws
@given(window_plans(), seeds, st.integers(1, 3), st.integers(1, 9))
def test_stitching_extracted_windows_returns_every_level_for_every_size_and_overlap(
    plan, seed, lesions, batch
):
    shape, side, overlap = plan
    maps = levels(seed, (lesions, *shape))
    corners = tiling.regular_grid(shape, side, overlap)

    batches = in_batches(probability_windows(maps, corners, side), batch)
    stitched = stitch(batches, corners, shape, everywhere(shape))

    np.testing.assert_array_equal(stitched, maps)


@laws
@given(window_plans(), st.tuples(*[st.integers(0, 20)] * 4), seeds)
def test_photograph_to_frame_to_windows_to_map_to_photograph_is_the_identity_at_scale_1(plan, rims, seed):
    shape, side, overlap = plan
    top, left, bottom, right = rims
    whole = (top + shape[0] + bottom, left + shape[1] + right)
    pixels = np.random.default_rng(seed).integers(0, 256, (*whole, 3)).astype(np.uint8)
    frame = Frame(box=Box(top=top, left=left, bottom=top + shape[0], right=left + shape[1]), shape=shape)

    corners = tiling.regular_grid(frame.shape, side, overlap)
    windows = tiling.extract_windows(canvas.extract_canvas(pixels, frame), corners, side)
    windows = np.moveaxis(windows, -1, 1).astype(np.float32) / np.float32(255)
    maps = stitching.stitch([windows], corners, shape, everywhere(shape))
    probabilities = Probabilities(lesions=("R", "G", "B"), maps=maps, frame=frame, shape=whole)

    for colour, lesion in enumerate("RGB"):
        expected = np.zeros(whole, np.uint16)
        expected[frame.box.slices] = pixels[frame.box.slices][..., colour].astype(np.uint16) * 257
        np.testing.assert_array_equal(stitching.native_map(probabilities, lesion), expected)


@laws
@given(st.integers(2, 30), st.data(), seeds)
def test_crop_to_view_to_windows_to_map_is_the_identity_where_the_view_has_the_canvas_s_size(
    side, data, seed
):
    window = data.draw(st.integers(1, side))
    overlap = data.draw(st.integers(0, window - 1))
    maps = levels(seed, (1, side + 5, side + 3))
    frame = Frame(box=Box(top=2, left=1, bottom=2 + side, right=1 + side), shape=(side, side))
    view = canvas.global_view(maps[0][frame.box.slices], side).astype(np.float32) / np.float32(
        stitching.LEVELS
    )
    corners = tiling.regular_grid(frame.shape, window, overlap)

    windows = []
    for corner in corners.tolist():
        sampling = feature_sampling.window_sampling(tuple(corner), window, frame.shape, side)
        (top, left), height, width = sampling.corner, sampling.rows.shape[1], sampling.columns.shape[1]
        windows.append(sampling.rows @ view[top : top + height, left : left + width] @ sampling.columns.T)
    stitched = stitch([np.stack(windows)[:, None]], corners, frame.shape, everywhere(frame.shape))

    np.testing.assert_array_equal(stitched[0], maps[0][frame.box.slices])


@laws
@given(window_plans(), seeds)
def test_windows_that_disagree_are_averaged_with_the_weights_of_the_taper(plan, seed):
    shape, side, overlap = plan
    corners = tiling.regular_grid(shape, side, overlap)
    windows = np.random.default_rng(seed).random((len(corners), 2, side, side), np.float32)

    stitched = stitch([windows], corners, shape, everywhere(shape))

    total, weights = np.zeros((2, *shape)), np.zeros(shape)
    weight = stitching.taper(side).astype(np.float64)
    for window, (row, column) in zip(windows, corners, strict=True):
        total[:, row : row + side, column : column + side] += window * weight
        weights[row : row + side, column : column + side] += weight
    np.testing.assert_allclose(stitched, total / weights * stitching.LEVELS, atol=0.5 + 0.05)


@laws
@given(window_plans(), seeds, turns)
def test_turning_the_windows_and_their_corners_turns_the_map(plan, seed, quarter):
    shape, side, overlap = plan
    corners = tiling.regular_grid(shape, side, overlap)
    windows = np.random.default_rng(seed).random((len(corners), 1, side, side), np.float32)
    moved = np.array([quarter_turn(corner, side, shape, quarter) for corner in corners])
    order = np.lexsort(moved.T[::-1])
    turned = np.rot90(everywhere(shape), quarter).shape

    upright = stitch([windows], corners, shape, everywhere(shape))
    turned_map = stitch(
        [np.rot90(windows, quarter, axes=(2, 3))[order]], moved[order], turned, everywhere(turned)
    )

    # a level that lies half-way may be rounded to either side: sums are added in another order
    assert np.abs(np.rot90(upright, quarter, axes=(1, 2)).astype(int) - turned_map).max() <= 1


@laws
@given(window_plans(), seeds, seeds)
def test_windows_without_a_pixel_of_the_field_may_be_left_out(plan, seed, selection_seed):
    shape, side, overlap = plan
    corners = tiling.regular_grid(shape, side, overlap)
    selected = np.random.default_rng(selection_seed).random(len(corners)) < 0.5
    selected[0] = True
    inside = np.zeros(shape, bool)
    for row, column in corners[selected]:
        inside[row : row + side, column : column + side] = True
    maps = levels(seed, (1, *shape))

    windows = probability_windows(maps, corners[selected], side)
    stitched = stitch([windows], corners[selected], shape, inside)

    np.testing.assert_array_equal(stitched, np.where(inside, maps, 0))


def test_nothing_is_stored_outside_the_field_even_where_windows_are():
    corners = tiling.regular_grid((8, 8), 4, 0)
    inside = np.zeros((8, 8), bool)
    inside[2:6, 2:6] = True

    stitched = stitch([np.ones((4, 1, 4, 4), np.float32)], corners, (8, 8), inside)

    np.testing.assert_array_equal(stitched[0], np.where(inside, 65535, 0))


def test_two_windows_of_4_px_that_share_2_are_mixed_2_to_1_on_either_side():
    # the taper of 4 px is 1/2 1 1 1/2 along either axis, as sin(pi/4)^2 = 1/2; along columns it divides out
    windows = np.stack([np.full((1, 4, 4), 0.3, np.float32), np.full((1, 4, 4), 0.9, np.float32)])

    stitched = stitch([windows], np.array([[0, 0], [0, 2]]), (4, 6), everywhere((4, 6)))

    expected = np.array([0.3, 0.3, (2 * 0.3 + 0.9) / 3, (0.3 + 2 * 0.9) / 3, 0.9, 0.9]) * 65535
    np.testing.assert_allclose(stitched[0], np.tile(expected, (4, 1)), atol=0.51)


@pytest.mark.parametrize(
    ("probability", "level"),
    [
        (0.0, 0),
        (0.4 / 65535, 0),
        (0.6 / 65535, 1),
        (0.5, 32768),
        (1.0, 65535),
        (-0.0, 0),
        (-5e-7, 0),  # what rounding in float32 may leave
        (1 + 5e-7, 65535),
    ],
)
def test_probabilities_are_rounded_to_the_nearest_level(probability, level):
    windows = np.full((1, 1, 4, 4), probability, np.float32)

    stitched = stitch([windows], np.array([[0, 0]]), (4, 4), everywhere((4, 4)))

    assert (stitched == level).all()


@pytest.mark.parametrize(("overlap", "rest"), [(64, 1 / 6600), (128, 1 / 6600), (32, 1 / 3200), (8, 1 / 220)])
def test_where_a_window_ends_the_seam_is_as_faint_as_the_taper_says(overlap, rest):
    side, shape = 256, (256, 2 * 256 - overlap)
    windows = np.zeros((2, 1, side, side), np.float32)
    windows[1] = 1  # black and white: the worst that two windows can disagree
    corners = np.array([[0, 0], [0, side - overlap]])

    row = stitch([windows], corners, shape, everywhere(shape))[0, 128].astype(int)

    assert row[side - overlap] <= round(rest * 65535)  # first pixel of the second window
    assert row[side - 1] >= 65535 - round(rest * 65535)  # last of the first
    assert (np.diff(row) >= 0).all()


@given(st.integers(1, 300))
def test_the_taper_is_positive_at_most_1_and_the_same_from_every_side(side):
    taper = stitching.taper(side)

    assert 0 < taper.min() <= taper.max() <= 1
    for same in (taper.T, taper[::-1], taper[:, ::-1]):
        np.testing.assert_array_equal(taper, same)


def test_the_taper_of_256_px_rises_over_64_and_is_1_within():
    taper = stitching.taper(256)

    np.testing.assert_array_equal(taper[64:-64, 64:-64], 1)
    assert (np.diff(taper[128, :64]) > 0).all()
    assert taper[128, 31] < 0.5 < taper[128, 32]


def test_windows_that_are_not_square_return_every_level_and_large_ones_have_the_longest_ramp():
    maps, window = levels(3, (2, 300, 500)), (176, 288)
    corners = np.array([(row, column) for row in (0, 124) for column in (0, 212)])
    windows = [
        maps[:, row : row + window[0], column : column + window[1]].astype(np.float32) / stitching.LEVELS
        for row, column in corners
    ]

    stitched = stitch([np.stack(windows)], corners, (300, 500), everywhere((300, 500)))

    np.testing.assert_array_equal(stitched, maps)
    taper = stitching.taper((512, 1024))
    np.testing.assert_array_equal(taper[64:-64, 64:-64], 1)
    assert (np.diff(taper[256, :64]) > 0).all()


def test_memory_holds_float_rows_of_one_window_only_and_one_batch_at_a_time():
    shape, side, lesions = (4096, 512), 64, 4
    corners = tiling.regular_grid(shape, side, 16)
    batches = (np.full((1, lesions, side, side), 0.5, np.float32) for _ in corners)
    stored, band = lesions * 4096 * 512, (lesions + 1) * side * 512 * 4  # one byte for each pixel
    inside = everywhere(shape)

    tracemalloc.start()
    stitching.stitch(batches, corners, shape, inside)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # two bytes for each pixel would be 12 bands more, all batches at once 90, and all float rows 60
    assert peak < stored + 5 * band


ONE = np.ones((1, 1, 4, 4), np.float32)


def test_a_gap_in_the_field_is_named_by_its_first_pixel():
    with pytest.raises(GeometryError, match=r"pixel \(0, 4\) of the field is in no window"):
        stitch([ONE], np.array([[0, 0]]), (4, 6), everywhere((4, 6)))


@pytest.mark.parametrize(
    ("corners", "first"),
    [([[1, 0]], (0, 0)), ([[0, 0]], (4, 0)), ([[0, 0], [5, 0]], (4, 0)), ([[0, 0], [6, 0]], (4, 0))],
)
def test_rows_without_a_window_are_a_gap(corners, first):
    windows = np.ones((len(corners), 1, 4, 4), np.float32)

    with pytest.raises(GeometryError, match=rf"pixel \({first[0]}, {first[1]}\) of the field"):
        stitch([windows], np.array(corners), (10, 4), everywhere((10, 4)))


def test_rows_outside_the_field_need_no_window():
    inside = everywhere((12, 4))
    inside[4:7] = False
    inside[11:] = False

    stitched = stitch([np.ones((2, 1, 4, 4), np.float32)], np.array([[0, 0], [7, 0]]), (12, 4), inside)

    np.testing.assert_array_equal(stitched[0], np.where(inside, 65535, 0))


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (3, 0), (0, 3)])
def test_a_window_one_pixel_outside_is_refused(corner):
    with pytest.raises(GeometryError, match="leaves the canvas of 6 x 6 px"):
        stitch([ONE], np.array([corner]), (6, 6), everywhere((6, 6)))


@pytest.mark.parametrize("count", [1, 3])
def test_windows_and_corners_must_be_equally_many(count):
    batches = [ONE] * count

    with pytest.raises(GeometryError, match=rf"{count} windows? for 2 corners; give one"):
        stitch(batches, np.array([[0, 0], [0, 2]]), (4, 6), everywhere((4, 6)))


def test_windows_out_of_order_are_refused():
    with pytest.raises(GeometryError, match="top to bottom"):
        stitch([ONE, ONE], np.array([[2, 0], [0, 0]]), (6, 4), everywhere((6, 4)))


def test_no_window_at_all_is_refused():
    with pytest.raises(GeometryError, match="no window"):
        stitch([], np.zeros((0, 2), np.int64), (6, 4), np.zeros((6, 4), bool))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(GeometryError, match="4 x 4 px, but the canvas is 4 x 5"):
        stitch([ONE], np.array([[0, 0]]), (4, 5), everywhere((4, 4)))


def test_batches_of_unequal_windows_are_refused():
    batches = iter([np.ones((1, 2, 4, 4), np.float32), ONE])

    with pytest.raises(GeometryError, match="1 x 4 x 4, but those before it are 2 x 4 x 4"):
        stitch(batches, np.array([[0, 0], [0, 2]]), (4, 6), everywhere((4, 6)))


@pytest.mark.parametrize("value", [np.nan, -np.nan, -0.01, 1.01, np.inf, -np.inf])
def test_a_window_with_a_value_that_is_no_probability_is_refused(value):
    windows = ONE.copy()
    windows[0, 0, 2, 1] = value

    with pytest.raises(GeometryError, match=r"at \(0, 0\) .*give probabilities from 0 to 1"):
        stitch([windows], np.array([[0, 0]]), (4, 4), everywhere((4, 4)))


# coarse maps


def pixel_shares(old, new):
    """Return the shares of `old` pixels in fewer `new` pixels along one axis, by their overlap."""
    edges = np.arange(new + 1) * old / new
    first, last = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    pixels = np.arange(old)
    overlap = (np.minimum(last, pixels + 1) - np.maximum(first, pixels)).clip(0)
    return overlap * new / old


@laws
@given(st.integers(8, 40), st.integers(8, 40), st.integers(2, 20), seeds)
def test_without_a_window_the_map_is_the_coarse_one_brought_to_the_canvas(height, width, side, seed):
    coarse = np.random.default_rng(seed).random((2, side, side), np.float32)
    inside = np.random.default_rng(seed + 1).random((height + 3, width + 5)) < 0.8
    inside[height:], inside[:, width:] = False, False  # padding

    coarse_maps = stitching.CoarseMaps(maps=coarse, shape=(height, width))
    stitched = stitch([], np.zeros((0, 2), np.int64), inside.shape, inside, coarse_maps)

    sampling = feature_sampling.window_sampling((0, 0), (height, width), (height, width), side)
    columns = sampling.columns if side <= width else pixel_shares(side, width)
    expected = sampling.rows @ coarse @ columns.T * stitching.LEVELS
    field = inside[:height, :width]
    np.testing.assert_allclose(stitched[:, :height, :width][:, field], expected[:, field], atol=0.6)
    assert not stitched[:, ~inside].any()


def test_windows_decide_where_they_are_and_the_coarse_map_where_they_are_not():
    window, coarse = np.full((1, 1, 64, 64), 0.75, np.float32), np.full((1, 8, 8), 0.25, np.float32)
    corners = np.array([[64, 80]])
    coarse_maps = stitching.CoarseMaps(maps=coarse, shape=(256, 256))

    (stitched,) = stitch([window], corners, (256, 256), everywhere((256, 256)), coarse_maps)

    np.testing.assert_array_equal(stitched[72:120, 88:136], round(0.75 * stitching.LEVELS))
    outside = np.ones((256, 256), bool)
    outside[64:128, 80:144] = False
    np.testing.assert_array_equal(stitched[outside], round(0.25 * stitching.LEVELS))
    across = stitched[96, 80:112].astype(int)
    assert (np.diff(across) >= 0).all()
    assert across[0] - stitched[96, 79] < 0.03 * stitching.LEVELS  # no seam


def test_where_windows_cover_everything_no_coarse_map_shows():
    maps = levels(0, (1, 120, 120))
    corners = tiling.regular_grid((120, 120), 64, 32)
    windows = probability_windows(maps, corners, 64)
    coarse_maps = stitching.CoarseMaps(maps=np.zeros((1, 4, 4), np.float32), shape=(120, 120))

    stitched = stitch([windows], corners, (120, 120), everywhere((120, 120)), coarse_maps)

    np.testing.assert_array_equal(stitched, maps)


def test_windows_are_not_written_into():
    windows = np.full((1, 1, 4, 4), 0.5, np.float32)
    before = windows.copy()

    stitch([windows], np.array([[0, 0]]), (4, 4), everywhere((4, 4)))

    np.testing.assert_array_equal(windows, before)


def probabilities_of(maps, frame, shape):
    packed = PackedMaps.pack(maps)
    return Probabilities(lesions=("EX", "MA")[: len(maps)], maps=packed, frame=frame, shape=shape)


@laws
@given(boxes_in(), st.floats(0.3, 3), seeds)
def test_a_native_map_is_zero_outside_its_box_and_as_large_as_the_photograph(photograph_and_box, scale, seed):
    whole, (top, left, bottom, right) = photograph_and_box
    box = Box(top=top, left=left, bottom=bottom, right=right)
    frame = Frame(box=box, shape=(max(1, round(scale * box.shape[0])), max(1, round(scale * box.shape[1]))))
    maps = np.maximum(levels(seed, (1, *frame.shape)), 1)

    native = stitching.native_map(probabilities_of(maps, frame, whole), "EX")

    assert native.shape == whole
    assert (native[box.slices] > 0).all()
    assert np.count_nonzero(native) == box.shape[0] * box.shape[1]


@pytest.mark.parametrize("scale", [0.4, 0.73, 1.0, 1.37, 2.5])
def test_a_native_map_has_its_spot_where_the_photograph_has_it(scale):
    whole, box = (260, 300), Box(top=20, left=30, bottom=240, right=270)
    shape = (round(box.shape[0] * scale), round(box.shape[1] * scale))
    frame = Frame(box=box, shape=shape)
    spot = np.array([[97.3, 181.6]])  # centre of a soft spot, px of the photograph

    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    (row, column), width = canvas.to_canvas(spot, frame)[0], 12 * scale
    squares = np.add.outer(((rows - row) / width) ** 2, ((columns - column) / width) ** 2)
    maps = np.round(np.exp(-squares) * 65535).astype(np.uint16)[None]
    native = stitching.native_map(probabilities_of(maps, frame, whole), "EX").astype(np.float64)

    total = native.sum()
    assert native.sum(axis=1) @ (np.arange(260) + 0.5) / total == pytest.approx(spot[0, 0], abs=0.05)
    assert native.sum(axis=0) @ (np.arange(300) + 0.5) / total == pytest.approx(spot[0, 1], abs=0.05)


def test_each_lesion_has_its_own_map_and_an_unknown_one_is_refused():
    frame = Frame(box=Box(top=1, left=0, bottom=3, right=2), shape=(2, 2))
    maps = np.arange(8, dtype=np.uint16).reshape(2, 2, 2)
    probabilities = probabilities_of(maps, frame, (3, 3))

    np.testing.assert_array_equal(
        stitching.native_map(probabilities, "EX"), [[0, 0, 0], [0, 1, 0], [2, 3, 0]]
    )
    np.testing.assert_array_equal(
        stitching.native_map(probabilities, "MA"), [[0, 0, 0], [4, 5, 0], [6, 7, 0]]
    )
    with pytest.raises(LesionError, match="'HE' has no map; maps exist for EX, MA"):
        stitching.native_map(probabilities, "HE")
