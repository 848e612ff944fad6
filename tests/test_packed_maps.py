"""Packed maps give every level back, whatever their bands, in little more than one byte per pixel."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, levels, seeds

from foveate.packed_maps import PackedMaps


def sparse_maps(seed, shape):
    """Return maps that are 0 in most pixels, in whole columns on both sides, and in some whole rows."""
    generator = np.random.default_rng(seed)
    maps = levels(seed, shape)
    maps[generator.random(shape) < generator.choice([0.1, 0.9])] = 0
    maps[..., : generator.integers(0, shape[-1])] = 0
    maps[..., shape[-1] - generator.integers(0, shape[-1]) :] = 0
    maps[:, generator.random(shape[1]) < 0.3] = 0
    return maps


@laws
@given(seeds, st.integers(1, 3), st.integers(1, 150), st.integers(1, 40))
def test_every_level_comes_back(seed, count, height, width):
    maps = sparse_maps(seed, (count, height, width))

    packed = PackedMaps.pack(maps)

    assert packed.shape == maps.shape
    np.testing.assert_array_equal(np.asarray(packed), maps)
    for unpacked, expected in zip(packed, maps, strict=True):
        np.testing.assert_array_equal(unpacked, expected)


@laws
@given(seeds, st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 40))
def test_bands_of_any_height_follow_one_another(seed, heights, width):
    maps = sparse_maps(seed, (1, sum(heights), width))
    packed = PackedMaps(1, maps.shape[1:])

    for top, height in zip(np.cumsum([0, *heights[:-1]]), heights, strict=True):
        packed.append(0, maps[0, top : top + height])

    assert [rows.stop - rows.start for rows, _ in packed.bands(0)] == heights
    np.testing.assert_array_equal(packed[0], maps[0])


def test_padding_below_and_to_the_right_is_left_out():
    maps = levels(1, (1, 10, 12))
    packed = PackedMaps(1, (7, 9))

    for top in range(0, 10, 4):
        packed.append(0, maps[0, top : top + 4])

    np.testing.assert_array_equal(packed[0], maps[0, :7, :9])


@laws
@given(seeds, st.integers(0, 65535))
def test_pixels_get_another_level_where_they_are(seed, level):
    maps = sparse_maps(seed, (2, 150, 20))
    rows, columns = np.nonzero((np.random.default_rng(seed).random((150, 20)) < 0.1) & (maps[1] > 0))
    packed = PackedMaps.pack(maps)

    packed.replace(1, rows, columns, level)

    maps[1, rows, columns] = level
    np.testing.assert_array_equal(np.asarray(packed), maps)
    if (maps[1] >= max(level, 1)).any():  # a level that is now the highest is still found
        assert any(levels.max() >= level for _, levels in packed.rows_reaching(1, max(level, 1)))


@laws
@given(seeds, st.integers(1, 65535))
def test_every_row_that_reaches_a_level_is_among_those_that_are_unpacked(seed, level):
    maps = sparse_maps(seed, (1, 150, 20))
    maps[0, np.random.default_rng(seed).random(150) < 0.5] >>= 8
    maps[0, :100] >>= 4

    bands = list(PackedMaps.pack(maps).rows_reaching(0, level))

    rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in bands)])
    assert (np.diff(rows) > 0).all()
    assert set(np.flatnonzero(maps[0].max(axis=1) >= level)) <= set(rows)
    for numbers, unpacked in bands:
        np.testing.assert_array_equal(unpacked, maps[0, numbers])


def test_rows_and_bands_below_a_level_are_not_unpacked():
    maps = np.full((1, 200, 9), 1000, np.uint16)
    maps[0, 70, 3] = 40_000

    ((rows, unpacked),) = PackedMaps.pack(maps).rows_reaching(0, 30_000)

    assert rows.tolist() == [70]
    np.testing.assert_array_equal(unpacked[0], maps[0, 70])


def test_faint_maps_of_a_round_field_take_less_than_a_byte_per_pixel():
    rows = np.arange(640) - 319.5
    inside = np.add.outer(rows**2, rows**2) <= 320**2
    maps = np.where(inside, levels(1, (2, 640, 640)) % 200, 0).astype(np.uint16)
    maps[:, 300:340, 300:340] = 40_000

    tracemalloc.start()
    packed = PackedMaps.pack(maps)
    packed_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert packed.shape == maps.shape
    assert packed_bytes < 0.9 * maps.size


def test_an_unknown_map_ends_the_sequence():
    packed = PackedMaps.pack(levels(1, (2, 4, 4)))

    np.testing.assert_array_equal(packed[-1], packed[1])
    with pytest.raises(IndexError):
        packed[2]


def test_no_array_without_a_copy():
    with pytest.raises(ValueError, match="without a copy"):
        np.array(PackedMaps.pack(levels(1, (2, 4, 4))), copy=False)
