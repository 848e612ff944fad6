"""One pass over a map gives the same counts as a search at every level."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.analysis import component_tree, regions
from foveate.errors import SettingError

sides = st.tuples(st.integers(1, 12), st.integers(1, 12))


def count_by_search(stored, level, minimum_area):
    """Count the regions of one level by a search."""
    lesion_regions = regions.find(stored, level, "EX", minimum_area, None)
    return len(lesion_regions), sum(region.area_px for region in lesion_regions), int((stored >= level).sum())


def require_equal(stored, minimum_area):
    counts = component_tree.count_regions(stored, minimum_area)
    for level in {1, 255, *(int(value) for value in np.unique(stored) if value)}:
        result = counts.regions[level], counts.area_px[level], counts.mask_px[level]
        assert result == count_by_search(stored, level, minimum_area), level


@settings(max_examples=40)
@given(sides, st.integers(1, 6), st.integers(1, 255), st.integers(0, 2**32 - 1))
def test_the_counts_of_every_level_are_those_of_a_search_at_that_level(shape, minimum_area, highest, seed):
    stored = np.random.default_rng(seed).integers(0, highest, shape, np.uint8, endpoint=True)

    require_equal(stored, minimum_area)


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_smooth_hills_are_counted_as_they_merge(minimum_area, seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :60]
    hills = [
        rng.uniform(50, 255)
        * np.exp(-((rows - rng.uniform(0, 40)) ** 2 + (columns - rng.uniform(0, 60)) ** 2) / 40)
        for _ in range(6)
    ]

    require_equal(np.max(hills, axis=0).astype(np.uint8), minimum_area)


def test_regions_join_across_blocks_of_rows():
    stored = np.zeros((3 * component_tree.ROWS + 5, 7), np.uint8)
    stored[:, 2] = 90
    stored[component_tree.ROWS - 1, 2], stored[component_tree.ROWS - 1, 3] = 0, 80
    stored[2 * component_tree.ROWS, :] = 255

    require_equal(stored, 1)
    require_equal(stored, 8)


def test_the_last_column_does_not_touch_the_first_of_the_next_row():
    stored = np.zeros((3, 4), np.uint8)
    stored[0, 3] = stored[1, 0] = stored[2, 0] = 9

    assert component_tree.count_regions(stored, 1).regions[[0, 1, 9, 10]].tolist() == [0, 2, 2, 0]


def test_an_empty_map_counts_nothing():
    counts = component_tree.count_regions(np.zeros((5, 5), np.uint8), 1)

    assert not counts.regions.any()
    assert not counts.area_px.any()
    assert not counts.mask_px.any()


def test_a_minimum_area_below_a_pixel_is_refused():
    with pytest.raises(SettingError, match="minimum area is 0 px"):
        component_tree.count_regions(np.zeros((5, 5), np.uint8), 0)


def test_counting_takes_little_memory_beside_the_map():
    """8 bytes for each pixel once exceeded what a photograph of 100 megapixels may take."""
    stored = np.zeros((2000, 1000), np.uint8)
    stored[500:600, 200:300] = np.arange(100, dtype=np.uint8)

    tracemalloc.start()
    component_tree.count_regions(stored, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < stored.size
