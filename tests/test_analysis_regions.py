"""Regions equal those of a plain flood fill, in reading order, with measures over their pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds, turns

from foveate.analysis import regions, runs
from foveate.errors import SettingError
from foveate.types import Box

pictures = st.tuples(st.integers(1, 14), st.integers(1, 14), st.floats(0.05, 0.9), seeds)
"""Height, width, share of lesion pixels, seed."""


def stored_of(picture, dtype=np.uint8):
    """Return a map in which about a share of the pixels is at level 128 (of the dtype: half) or above."""
    height, width, share, seed = picture
    rng = np.random.default_rng(seed)
    half = (int(np.iinfo(dtype).max) + 1) // 2
    high = rng.integers(half, 2 * half, (height, width))
    return np.where(rng.random((height, width)) < share, high, rng.integers(0, half, (height, width))).astype(
        dtype
    )


def flood_fill(mask):
    """Return the pixels (row, column) of 8-connected groups, in reading order of their first pixels."""
    unvisited, groups = {(int(r), int(c)) for r, c in np.argwhere(mask)}, []
    for place in sorted(unvisited):
        if place not in unvisited:
            continue
        unvisited.remove(place)
        group, stack = [], [place]
        while stack:
            row, column = stack.pop()
            group.append((row, column))
            neighbours = {(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)} & unvisited
            unvisited -= neighbours
            stack += neighbours
        groups.append(group)
    return groups


@laws
@given(pictures, st.integers(0, 6), st.sampled_from([np.uint8, np.uint16]))
def test_regions_are_those_of_a_plain_flood_fill(picture, minimum, dtype):
    stored = stored_of(picture, dtype)
    highest = int(np.iinfo(dtype).max)
    level = (highest + 1) // 2

    result = regions.find(stored, level, "MA", minimum, 0.005)

    groups = [group for group in flood_fill(stored >= level) if len(group) >= minimum]
    assert [region.id for region in result] == list(range(1, len(groups) + 1))
    for region, group in zip(result, groups, strict=True):
        places = np.array(group)
        values = stored[places[:, 0], places[:, 1]].astype(float) / highest
        (top, left), (bottom, right) = places.min(axis=0).tolist(), (places.max(axis=0) + 1).tolist()
        assert region.lesion == "MA"
        assert region.area_px == len(group)
        assert region.area_mm2 == pytest.approx(len(group) * 0.005**2)
        assert region.box == Box(top=top, left=left, bottom=bottom, right=right)
        assert region.centroid == pytest.approx(tuple(places.mean(axis=0) + 0.5))
        assert region.mean_probability == pytest.approx(values.mean())
        assert region.max_probability == pytest.approx(values.max())


@laws
@given(pictures, turns)
def test_turning_a_map_turns_its_regions(picture, quarter):
    stored = stored_of(picture)

    before = regions.find(stored, 128, "EX", 1, None)
    after = regions.find(np.ascontiguousarray(np.rot90(stored, quarter)), 128, "EX", 1, None)

    def measures(lesion_regions):
        return sorted((r.area_px, round(r.mean_probability, 12), r.max_probability) for r in lesion_regions)

    assert measures(before) == measures(after)


@laws
@given(pictures, st.integers(1, 255))
def test_without_a_minimum_every_pixel_at_the_level_is_in_one_region(picture, level):
    stored = stored_of(picture)

    result = regions.find(stored, level, "EX", 1, None)

    assert sum(region.area_px for region in result) == np.count_nonzero(stored >= level)


def test_pixels_that_touch_at_a_corner_are_one_region():
    stored = np.array([[9, 0, 0, 0], [0, 9, 0, 9], [0, 0, 0, 0]], np.uint8)

    assert [region.area_px for region in regions.find(stored, 9, "EX", 1, None)] == [2, 1]


def test_regions_are_numbered_by_their_first_pixel_and_small_ones_get_no_number():
    stored = np.array(
        [
            [0, 0, 0, 0, 0, 7],
            [7, 0, 7, 0, 0, 7],
            [7, 0, 0, 0, 0, 0],
            [0, 0, 0, 7, 7, 7],
        ],
        np.uint8,
    )

    result = regions.find(stored, 7, "HE", 2, None)

    assert [(region.id, region.box.left, region.area_px) for region in result] == [
        (1, 5, 2),
        (2, 0, 2),
        (3, 3, 3),
    ]


def test_a_region_is_measured_at_pixel_centres_and_over_its_own_pixels_only():
    stored = np.array([[255, 51, 0], [0, 102, 50]], np.uint8)

    (region,) = regions.find(stored, 51, "SE", 1, None)

    assert region.centroid == pytest.approx(((0.5 + 0.5 + 1.5) / 3, (0.5 + 1.5 + 1.5) / 3))
    assert region.box == Box(top=0, left=0, bottom=2, right=2)
    assert region.mean_probability == pytest.approx((1 + 0.2 + 0.4) / 3)
    assert region.max_probability == 1
    assert region.area_mm2 is None


def test_a_16_bit_level_counts_to_65535():
    stored = np.array([[65535, 32768]], np.uint16)

    (region,) = regions.find(stored, 32768, "EX", 1, None)

    assert region.area_px == 2
    assert region.mean_probability == pytest.approx((1 + 32768 / 65535) / 2)


def test_a_region_across_blocks_of_rows_is_measured_whole():
    height = 2 * runs.ROWS + 3
    stored = np.zeros((height, 5), np.uint16)
    stored[:, 1] = np.arange(height)[::-1] + 1  # falls, so that the first row holds the maximum
    stored[runs.ROWS, 4] = 40_000  # only in the second block of rows, in its first row
    stored[3, 3] = 9

    result = regions.find(stored, 1, "EX", 1, None)

    assert [region.area_px for region in result] == [height, 1, 1]
    assert [region.box.top for region in result] == [0, 3, runs.ROWS]
    assert result[0].max_probability == pytest.approx(height / 65535)
    assert result[0].mean_probability == pytest.approx((height + 1) / 2 / 65535)
    assert result[0].centroid == pytest.approx((height / 2, 1.5))
    assert result[2].max_probability == pytest.approx(40_000 / 65535)


def test_a_map_without_lesion_has_no_region():
    assert regions.find(np.zeros((5, 4), np.uint8), 1, "EX", 0, None) == ()


@pytest.mark.parametrize(
    ("dtype", "level"), [(np.uint8, 0), (np.uint8, 256), (np.uint16, 0), (np.uint16, 65536)]
)
def test_level_0_and_a_level_beyond_the_dtype_are_refused(dtype, level):
    with pytest.raises(SettingError, match=f"level {level} is outside the map's range"):
        regions.find(np.zeros((4, 4), dtype), level, "EX", 1, None)


def test_a_map_is_not_written_into():
    stored = stored_of((12, 12, 0.5, 3))
    before = stored.copy()

    regions.find(stored, 128, "EX", 1, None)

    np.testing.assert_array_equal(stored, before)


@pytest.mark.parametrize("quarter", range(4))
def test_arms_that_meet_far_away_are_one_region(quarter):
    stored = np.zeros((40, 41), np.uint8)
    stored[:, ::2] = 9  # 21 arms that touch nowhere but at their end
    stored[-1] = 9
    stored[0, 1:-1:4] = 9  # and every second gap is closed at the other end as well

    (region,) = regions.find(np.ascontiguousarray(np.rot90(stored, quarter)), 9, "HE", 1, None)

    assert region.area_px == np.count_nonzero(stored)
    assert region.box.shape == np.rot90(stored, quarter).shape


def test_the_end_of_a_row_does_not_touch_the_beginning_of_the_next():
    stored = np.array([[0, 0, 0, 9], [9, 0, 0, 0], [0, 0, 0, 9]], np.uint8)

    assert [region.area_px for region in regions.find(stored, 9, "MA", 1, None)] == [1, 1, 1]
