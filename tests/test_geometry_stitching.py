"""Windows cut from a map and stitched are the map again; overlaps are fair means; gaps are refused."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes_in, laws, levels, quarter_turn, seeds, turns, window_plans

from foveate.errors import GeometryError, LesionError
from foveate.geometry import canvas, feature_sampling, stitching, tiling
from foveate.types import Box, Frame, Probabilities


def windows_of(maps, corners, side):
    """Cut stored maps (K h w) into looks (N K S S) of probabilities."""
    looks = np.stack([maps[:, row : row + side, column : column + side] for row, column in corners])
    return looks.astype(np.float32) / np.float32(stitching.LEVELS)


def in_batches(looks, size):
    return (looks[start : start + size] for start in range(0, len(looks), size))


def everywhere(shape):
    return np.ones(shape, bool)


@laws
@given(window_plans(), seeds, st.integers(1, 3), st.integers(1, 9))
def test_stitching_what_was_cut_returns_every_level_for_every_size_and_overlap(plan, seed, lesions, batch):
    shape, side, overlap = plan
    maps = levels(seed, (lesions, *shape))
    corners = tiling.regular_grid(shape, side, overlap)

    looks = in_batches(windows_of(maps, corners, side), batch)
    stitched = stitching.stitch(looks, corners, shape, everywhere(shape))

    np.testing.assert_array_equal(stitched, maps)


@laws
@given(window_plans(), st.tuples(*[st.integers(0, 20)] * 4), seeds)
def test_photograph_to_frame_to_windows_to_map_to_photograph_is_the_identity_at_scale_1(plan, rims, seed):
    shape, side, overlap = plan
    top, left, below, beside = rims
    whole = (top + shape[0] + below, left + shape[1] + beside)
    pixels = np.random.default_rng(seed).integers(0, 256, (*whole, 3)).astype(np.uint8)
    frame = Frame(box=Box(top=top, left=left, bottom=top + shape[0], right=left + shape[1]), shape=shape)

    corners = tiling.regular_grid(frame.shape, side, overlap)
    windows = tiling.extract_windows(canvas.extract_canvas(pixels, frame), corners, side)
    looks = np.moveaxis(windows, -1, 1).astype(np.float32) / np.float32(255)
    maps = stitching.stitch([looks], corners, shape, everywhere(shape))
    probabilities = Probabilities(lesions=("R", "G", "B"), maps=maps, frame=frame, shape=whole)

    for colour, lesion in enumerate("RGB"):
        expected = np.zeros(whole, np.uint16)
        expected[frame.box.slices] = pixels[frame.box.slices][..., colour].astype(np.uint16) * 257
        np.testing.assert_array_equal(stitching.native(probabilities, lesion), expected)


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

    looks = []
    for corner in corners.tolist():
        sight = feature_sampling.sample_at(tuple(corner), window, frame.shape, side)
        (top, left), height, width = sight.corner, sight.rows.shape[1], sight.columns.shape[1]
        looks.append(sight.rows @ view[top : top + height, left : left + width] @ sight.columns.T)
    stitched = stitching.stitch([np.stack(looks)[:, None]], corners, frame.shape, everywhere(frame.shape))

    np.testing.assert_array_equal(stitched[0], maps[0][frame.box.slices])


@laws
@given(window_plans(), seeds)
def test_windows_that_disagree_are_averaged_as_the_taper_weighs_them(plan, seed):
    shape, side, overlap = plan
    corners = tiling.regular_grid(shape, side, overlap)
    looks = np.random.default_rng(seed).random((len(corners), 2, side, side), np.float32)

    stitched = stitching.stitch([looks], corners, shape, everywhere(shape))

    total, mass = np.zeros((2, *shape)), np.zeros(shape)
    weight = stitching.taper(side).astype(np.float64)
    for look, (row, column) in zip(looks, corners, strict=True):
        total[:, row : row + side, column : column + side] += look * weight
        mass[row : row + side, column : column + side] += weight
    np.testing.assert_allclose(stitched, total / mass * stitching.LEVELS, atol=0.5 + 0.05)


@laws
@given(window_plans(), seeds, turns)
def test_turning_the_windows_and_their_places_turns_the_map(plan, seed, quarter):
    shape, side, overlap = plan
    corners = tiling.regular_grid(shape, side, overlap)
    looks = np.random.default_rng(seed).random((len(corners), 1, side, side), np.float32)
    moved = np.array([quarter_turn(corner, side, shape, quarter) for corner in corners])
    order = np.lexsort(moved.T[::-1])
    turned = np.rot90(everywhere(shape), quarter).shape

    one = stitching.stitch([looks], corners, shape, everywhere(shape))
    other = stitching.stitch(
        [np.rot90(looks, quarter, axes=(2, 3))[order]], moved[order], turned, everywhere(turned)
    )

    # a level that lies half-way may be rounded to either side: sums are added in another order
    assert np.abs(np.rot90(one, quarter, axes=(1, 2)).astype(int) - other).max() <= 1


@laws
@given(window_plans(), seeds, seeds)
def test_windows_without_a_pixel_of_the_field_may_be_left_out(plan, seed, dropping):
    shape, side, overlap = plan
    corners = tiling.regular_grid(shape, side, overlap)
    kept = np.random.default_rng(dropping).random(len(corners)) < 0.5
    kept[0] = True
    inside = np.zeros(shape, bool)
    for row, column in corners[kept]:
        inside[row : row + side, column : column + side] = True
    maps = levels(seed, (1, *shape))

    looks = windows_of(maps, corners[kept], side)
    stitched = stitching.stitch([looks], corners[kept], shape, inside)

    np.testing.assert_array_equal(stitched, np.where(inside, maps, 0))


def test_nothing_is_stored_outside_the_field_though_windows_look_there():
    corners = tiling.regular_grid((8, 8), 4, 0)
    inside = np.zeros((8, 8), bool)
    inside[2:6, 2:6] = True

    stitched = stitching.stitch([np.ones((4, 1, 4, 4), np.float32)], corners, (8, 8), inside)

    np.testing.assert_array_equal(stitched[0], np.where(inside, 65535, 0))


def test_two_windows_of_4_px_that_share_2_are_mixed_2_to_1_on_either_side():
    # the taper of 4 px is 1/2 1 1 1/2 along either axis, as sin(pi/4)^2 = 1/2; along columns it divides out
    looks = np.stack([np.full((1, 4, 4), 0.3, np.float32), np.full((1, 4, 4), 0.9, np.float32)])

    stitched = stitching.stitch([looks], np.array([[0, 0], [0, 2]]), (4, 6), everywhere((4, 6)))

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
        (-5e-7, 0),  # what rounding in float32 may leave
        (1 + 5e-7, 65535),
    ],
)
def test_probabilities_are_rounded_to_the_nearest_level(probability, level):
    looks = np.full((1, 1, 4, 4), probability, np.float32)

    stitched = stitching.stitch([looks], np.array([[0, 0]]), (4, 4), everywhere((4, 4)))

    assert (stitched == level).all()


@pytest.mark.parametrize(("overlap", "left"), [(64, 1 / 6600), (128, 1 / 6600), (32, 1 / 3200), (8, 1 / 220)])
def test_where_a_window_ends_the_seam_is_as_faint_as_the_taper_says(overlap, left):
    side, shape = 256, (256, 2 * 256 - overlap)
    looks = np.zeros((2, 1, side, side), np.float32)
    looks[1] = 1  # black and white: the worst that two windows can disagree
    corners = np.array([[0, 0], [0, side - overlap]])

    row = stitching.stitch([looks], corners, shape, everywhere(shape))[0, 128].astype(int)

    assert row[side - overlap] <= round(left * 65535)  # first pixel of the second window
    assert row[side - 1] >= 65535 - round(left * 65535)  # last of the first
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


def test_windows_that_are_no_squares_return_every_level_and_large_ones_have_a_ramp_of_what_they_share():
    maps, window = levels(3, (2, 300, 500)), (176, 288)
    corners = np.array([(row, column) for row in (0, 124) for column in (0, 212)])
    looks = [
        maps[:, row : row + window[0], column : column + window[1]].astype(np.float32) / stitching.LEVELS
        for row, column in corners
    ]

    stitched = stitching.stitch([np.stack(looks)], corners, (300, 500), everywhere((300, 500)))

    np.testing.assert_array_equal(stitched, maps)
    taper = stitching.taper((512, 1024))
    np.testing.assert_array_equal(taper[64:-64, 64:-64], 1)
    assert (np.diff(taper[256, :64]) > 0).all()


def test_memory_holds_float_rows_of_one_window_only_and_takes_looks_one_batch_at_a_time():
    shape, side, lesions = (4096, 128), 64, 4
    corners = tiling.regular_grid(shape, side, 16)
    looks = (np.full((1, lesions, side, side), 0.5, np.float32) for _ in corners)
    stored, band = lesions * 4096 * 128 * 2, (lesions + 1) * side * 128 * 4
    inside = everywhere(shape)

    tracemalloc.start()
    stitching.stitch(looks, corners, shape, inside)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < stored + 5 * band  # all looks at once would be 17 bands more, all float rows 60


ONE = np.ones((1, 1, 4, 4), np.float32)


def test_a_gap_in_the_field_is_named_by_its_first_pixel():
    with pytest.raises(GeometryError, match=r"pixel \(0, 4\) of the field is in no window"):
        stitching.stitch([ONE], np.array([[0, 0]]), (4, 6), everywhere((4, 6)))


@pytest.mark.parametrize(
    ("corners", "first"),
    [([[1, 0]], (0, 0)), ([[0, 0]], (4, 0)), ([[0, 0], [5, 0]], (4, 0)), ([[0, 0], [6, 0]], (4, 0))],
)
def test_rows_that_no_window_reaches_are_a_gap(corners, first):
    looks = np.ones((len(corners), 1, 4, 4), np.float32)

    with pytest.raises(GeometryError, match=rf"pixel \({first[0]}, {first[1]}\) of the field"):
        stitching.stitch([looks], np.array(corners), (10, 4), everywhere((10, 4)))


def test_rows_outside_the_field_need_no_window():
    inside = everywhere((12, 4))
    inside[4:7] = False
    inside[11:] = False

    stitched = stitching.stitch(
        [np.ones((2, 1, 4, 4), np.float32)], np.array([[0, 0], [7, 0]]), (12, 4), inside
    )

    np.testing.assert_array_equal(stitched[0], np.where(inside, 65535, 0))


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (3, 0), (0, 3)])
def test_a_window_one_pixel_outside_is_refused(corner):
    with pytest.raises(GeometryError, match="leaves the canvas of 6 x 6 px"):
        stitching.stitch([ONE], np.array([corner]), (6, 6), everywhere((6, 6)))


@pytest.mark.parametrize("count", [1, 3])
def test_looks_and_corners_must_be_equally_many(count):
    looks = [ONE] * count

    with pytest.raises(GeometryError, match=f"{count} looks for 2 corners"):
        stitching.stitch(looks, np.array([[0, 0], [0, 2]]), (4, 6), everywhere((4, 6)))


def test_windows_out_of_order_are_refused():
    with pytest.raises(GeometryError, match="top to bottom"):
        stitching.stitch([ONE, ONE], np.array([[2, 0], [0, 0]]), (6, 4), everywhere((6, 4)))


def test_no_window_at_all_is_refused():
    with pytest.raises(GeometryError, match="no window"):
        stitching.stitch([], np.zeros((0, 2), np.int64), (6, 4), np.zeros((6, 4), bool))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(GeometryError, match="4 x 4 px, the canvas 4 x 5"):
        stitching.stitch([ONE], np.array([[0, 0]]), (4, 5), everywhere((4, 4)))


def test_batches_of_unequal_windows_are_refused():
    looks = iter([np.ones((1, 2, 4, 4), np.float32), ONE])

    with pytest.raises(GeometryError, match="1 x 4 x 4, those before it 2 x 4 x 4"):
        stitching.stitch(looks, np.array([[0, 0], [0, 2]]), (4, 6), everywhere((4, 6)))


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.01, np.inf])
def test_a_look_that_holds_no_probability_is_refused(wrong):
    looks = ONE.copy()
    looks[0, 0, 2, 1] = wrong

    with pytest.raises(GeometryError, match=r"at \(0, 0\) .*probabilities lie in \[0, 1\]"):
        stitching.stitch([looks], np.array([[0, 0]]), (4, 4), everywhere((4, 4)))


# beneath


@laws
@given(st.integers(8, 40), st.integers(8, 40), st.integers(2, 20), seeds)
def test_without_a_window_the_map_is_the_coarse_one_brought_to_the_canvas(height, width, side, seed):
    coarse = np.random.default_rng(seed).random((2, side, side), np.float32)
    inside = np.random.default_rng(seed + 1).random((height + 3, width + 5)) < 0.8
    inside[height:], inside[:, width:] = False, False  # padding

    beneath = stitching.Beneath(maps=coarse, shape=(height, width))
    found = stitching.stitch([], np.zeros((0, 2), np.int64), inside.shape, inside, beneath)

    rows, columns = (
        feature_sampling.sample_at((0, 0), (height, width), (height, width), side).rows,
        feature_sampling.sample_at((0, 0), (height, width), (height, width), side).columns,
    )
    exact = rows @ coarse @ columns.T * stitching.LEVELS
    grown = side <= width  # else the columns are means, not samples
    where = inside[:height, :width]
    if grown:
        np.testing.assert_allclose(found[:, :height, :width][:, where], exact[:, where], atol=1.01)
    assert not found[:, ~inside].any()


def test_windows_decide_where_they_are_and_the_coarse_map_where_they_are_not():
    look, coarse = np.full((1, 1, 64, 64), 0.75, np.float32), np.full((1, 8, 8), 0.25, np.float32)
    corners = np.array([[64, 80]])
    beneath = stitching.Beneath(maps=coarse, shape=(256, 256))

    (found,) = stitching.stitch([look], corners, (256, 256), everywhere((256, 256)), beneath)

    np.testing.assert_array_equal(found[72:120, 88:136], round(0.75 * stitching.LEVELS))
    outside = np.ones((256, 256), bool)
    outside[64:128, 80:144] = False
    np.testing.assert_array_equal(found[outside], round(0.25 * stitching.LEVELS))
    across = found[96, 80:112].astype(int)
    assert (np.diff(across) >= 0).all()
    assert across[0] - found[96, 79] < 0.03 * stitching.LEVELS  # no seam


def test_where_windows_cover_everything_no_coarse_map_shows():
    maps = levels(0, (1, 120, 120))
    corners = tiling.regular_grid((120, 120), 64, 32)
    looks = windows_of(maps, corners, 64)
    beneath = stitching.Beneath(maps=np.zeros((1, 4, 4), np.float32), shape=(120, 120))

    found = stitching.stitch([looks], corners, (120, 120), everywhere((120, 120)), beneath)

    np.testing.assert_array_equal(found, maps)


def test_looks_are_not_written_into():
    looks = np.full((1, 1, 4, 4), 0.5, np.float32)
    before = looks.copy()

    stitching.stitch([looks], np.array([[0, 0]]), (4, 4), everywhere((4, 4)))

    np.testing.assert_array_equal(looks, before)


def mapped(maps, frame, shape):
    return Probabilities(lesions=("EX", "MA")[: len(maps)], maps=maps, frame=frame, shape=shape)


@laws
@given(boxes_in(), st.floats(0.3, 3), seeds)
def test_a_native_map_is_zero_outside_its_box_and_as_large_as_the_photograph(place, scale, seed):
    whole, (top, left, bottom, right) = place
    box = Box(top=top, left=left, bottom=bottom, right=right)
    frame = Frame(box=box, shape=(max(1, round(scale * box.shape[0])), max(1, round(scale * box.shape[1]))))
    maps = np.maximum(levels(seed, (1, *frame.shape)), 1)

    full = stitching.native(mapped(maps, frame, whole), "EX")

    assert full.shape == whole
    assert (full[box.slices] > 0).all()
    assert np.count_nonzero(full) == box.shape[0] * box.shape[1]


@pytest.mark.parametrize("scale", [0.4, 0.73, 1.0, 1.37, 2.5])
def test_a_native_map_lies_where_the_photograph_showed_it(scale):
    whole, box = (260, 300), Box(top=20, left=30, bottom=240, right=270)
    shape = (round(box.shape[0] * scale), round(box.shape[1] * scale))
    frame = Frame(box=box, shape=shape)
    spot = np.array([[97.3, 181.6]])  # centre of a soft spot, px of the photograph

    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    (row, column), width = canvas.to_canvas(spot, frame)[0], 12 * scale
    squares = np.add.outer(((rows - row) / width) ** 2, ((columns - column) / width) ** 2)
    maps = np.round(np.exp(-squares) * 65535).astype(np.uint16)[None]
    full = stitching.native(mapped(maps, frame, whole), "EX").astype(np.float64)

    mass = full.sum()
    assert full.sum(axis=1) @ (np.arange(260) + 0.5) / mass == pytest.approx(spot[0, 0], abs=0.05)
    assert full.sum(axis=0) @ (np.arange(300) + 0.5) / mass == pytest.approx(spot[0, 1], abs=0.05)


def test_each_lesion_has_its_own_map_and_an_unknown_one_is_refused():
    frame = Frame(box=Box(top=1, left=0, bottom=3, right=2), shape=(2, 2))
    maps = np.arange(8, dtype=np.uint16).reshape(2, 2, 2)
    probabilities = mapped(maps, frame, (3, 3))

    np.testing.assert_array_equal(stitching.native(probabilities, "EX"), [[0, 0, 0], [0, 1, 0], [2, 3, 0]])
    np.testing.assert_array_equal(stitching.native(probabilities, "MA"), [[0, 0, 0], [4, 5, 0], [6, 7, 0]])
    with pytest.raises(LesionError, match="'HE' has no map; there are EX, MA"):
        stitching.native(probabilities, "HE")
