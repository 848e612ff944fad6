"""A map's file holds the map without loss, and the mask follows from it bit for bit."""

import io
import zipfile
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import laws, seeds

from foveate.errors import OutputError, SettingError
from foveate.writers import maps

formats = st.sampled_from(maps.FORMATS)
thresholds = st.floats(min_value=0, max_value=1, exclude_min=True)
sides = st.integers(1, 40)


def native(height, width, seed):
    """Return a map with flat parts, as real maps have."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 65536, (height, width), np.uint16)
    levels[rng.random((height, width)) < 0.5] = 0
    return levels


def test_eight_bit_levels_are_the_nearest_to_every_level():
    all_levels = np.arange(65536, dtype=np.uint16).reshape(1024, 64)

    stored = maps.quantise(all_levels, "png")

    nearest = [round(Fraction(int(p) * 255, 65535)) for p in range(65536)]
    np.testing.assert_array_equal(stored.ravel(), nearest)


def test_all_other_formats_keep_sixteen_bits():
    all_levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)

    for format in ("png16", "tiff", "npz"):
        np.testing.assert_array_equal(maps.quantise(all_levels, format), all_levels)


@laws
@given(thresholds, formats)
def test_the_level_is_the_first_whose_probability_reaches_the_threshold(threshold, format):
    top = maps.max_level(format)

    level = maps.level(threshold, format)

    assert 1 <= level <= top
    assert level / top >= threshold
    assert level == 1 or (level - 1) / top < threshold


@pytest.mark.parametrize("format", maps.FORMATS)
def test_a_threshold_that_is_a_level_is_that_level(format):
    top = maps.max_level(format)

    for level in (1, 2, 51, 127, 128, 254, 255, top - 1, top):
        assert maps.level(level / top, format) == level


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.0001, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold):
    with pytest.raises(SettingError, match="give a number above 0 and at most 1"):
        maps.level(threshold, "png")


@laws
@given(sides, sides, seeds, formats)
def test_a_decoded_map_equals_the_encoded_map(height, width, seed, format):
    stored = maps.quantise(native(height, width, seed), format)

    decoded = maps.decode(maps.encode(stored, format), format)

    assert decoded.dtype == stored.dtype
    np.testing.assert_array_equal(decoded, stored)


def test_other_programs_read_the_same_levels():
    levels = native(60, 70, 1)

    for format, dtype in (("png", np.uint8), ("png16", np.uint16), ("tiff", np.uint16)):
        stored = maps.quantise(levels, format)
        pixels = np.array(Image.open(io.BytesIO(maps.encode(stored, format))))
        np.testing.assert_array_equal(pixels.astype(dtype), stored)
    with np.load(io.BytesIO(maps.encode(levels, "npz"))) as arrays:
        assert arrays.files == ["probability"]
        np.testing.assert_array_equal(arrays["probability"], levels)


def test_equal_maps_give_equal_bytes_at_any_time(monkeypatch):
    levels = native(30, 40, 2)
    files = {format: maps.encode(maps.quantise(levels, format), format) for format in maps.FORMATS}
    monkeypatch.setattr("time.time", lambda: 2e9)

    assert files == {format: maps.encode(maps.quantise(levels, format), format) for format in maps.FORMATS}
    (entry,) = zipfile.ZipFile(io.BytesIO(files["npz"])).infolist()
    assert entry.date_time == maps.EARLIEST


@laws
@given(seeds, thresholds, formats)
def test_a_mask_is_the_decoded_map_at_or_above_its_level(seed, threshold, format):
    stored = maps.quantise(native(9, 11, seed), format)
    level = maps.level(threshold, format)

    picture = np.array(Image.open(io.BytesIO(maps.encode_mask(stored >= level))))

    assert set(np.unique(picture)) <= {0, 255}
    np.testing.assert_array_equal(picture == 255, maps.decode(maps.encode(stored, format), format) >= level)


@pytest.mark.parametrize("format", maps.FORMATS)
def test_content_that_is_no_map_of_the_format_is_refused(format):
    other_depth = maps.encode(maps.quantise(native(4, 4, 0), "png16" if format == "png" else "png"), "png")

    for content in (b"", b"nonsense", other_depth):
        with pytest.raises(OutputError, match=f"map in format {format}"):
            maps.decode(content, format)


def test_a_colour_picture_is_no_map():
    content = maps.encode_picture(np.zeros((4, 4, 3), np.uint8), ".png", [])

    with pytest.raises(OutputError, match="not contain a uint8 map"):
        maps.decode(content, "png")


def test_a_picture_that_its_format_cannot_hold_is_refused():
    with pytest.raises(OutputError, match=r"70000 x 1 px do not fit in a \.jpg file"):
        maps.encode_picture(np.zeros((70_000, 1, 3), np.uint8), ".jpg", [])


@laws
@given(st.integers(1, 40), st.integers(1, 40), seeds, st.sampled_from([np.uint8, np.uint16]))
def test_other_readers_see_the_levels_of_a_png(height, width, seed, dtype):
    grey = native(height, width, seed).astype(dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "ROWS", 7)  # so that there are several blocks of rows
        content = maps.encode_png(grey)

    picture = Image.open(io.BytesIO(content))
    assert picture.mode == ("L" if dtype == np.uint8 else "I;16")
    np.testing.assert_array_equal(np.asarray(picture), grey)
    np.testing.assert_array_equal(maps.decode(content, "png" if dtype == np.uint8 else "png16"), grey)
    assert content == maps.encode_png(grey)  # the blocks leave no trace


def test_a_mask_that_is_no_contiguous_array_is_encoded_as_it_is():
    mask = np.random.default_rng(0).random((30, 40)) < 0.3

    picture = Image.open(io.BytesIO(maps.encode_mask(mask[::2, ::-1])))

    np.testing.assert_array_equal(np.asarray(picture) == 255, mask[::2, ::-1])


def test_a_picture_that_does_not_fit_the_memory_is_not_blamed(monkeypatch):
    def fail(*arguments):
        raise cv2.error(
            "OpenCV(4.12.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"
        )

    monkeypatch.setattr(cv2, "imencode", fail)
    with pytest.raises(MemoryError, match="Insufficient memory"):
        maps.encode_picture(np.zeros((4, 4, 3), np.uint8), ".jpg", [])
