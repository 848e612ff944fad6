"""Outlines run around lesions, never over them, and each lesion has one."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tiny_result
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import lesions
from foveate.analysis import regions
from foveate.writers import contours, overlays
from foveate.writers.overlays import Caption

few = settings(laws, max_examples=12)
"""Each example draws a picture."""

EX, MA, HE, SE = lesions.RETINOPATHY
STRIP = np.full((7, 90, 3), 33, np.uint8)


def blobs(seed, shape=(70, 90)):
    """Return discs and single pixels at random, some with holes, some at the border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for _ in range(rng.integers(1, 7)):
        row, column = rng.integers(0, shape)
        cv2.circle(mask, (int(column), int(row)), int(rng.integers(0, 9)), 1, -1)
    for _ in range(rng.integers(0, 3)):
        row, column = rng.integers(0, shape)
        cv2.circle(mask, (int(column), int(row)), int(rng.integers(0, 4)), 0, -1)
    mask[tuple(rng.integers(0, shape))] = 1
    return mask.astype(bool)


def lesion_regions(mask, minimum_area=1):
    return regions.find(mask.astype(np.uint8) * 255, 1, "EX", minimum_area, None)


def traced(mask, minimum_area=1):
    return contours.trace(mask, lesion_regions(mask, minimum_area))


def draw(mask, lesion=EX, ground=128):
    pixels = np.full((*mask.shape, 3), ground, np.uint8)
    strip = np.zeros((1, mask.shape[1], 3), np.uint8)
    return pixels, overlays.draw(pixels, [overlays.outlined_area(traced(mask), lesion)], strip)[:-1]


@few
@given(seeds)
def test_tracing_retains_exactly_the_regions(seed):
    mask = blobs(seed)

    result = traced(mask, 6)

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    large = [label for label in range(1, count) if (labels == label).sum() >= 6]
    specks = [label for label in range(1, count) if label not in large]
    assert not result.mask[np.isin(labels, specks)].any()
    assert result.mask[np.isin(labels, large)].all()
    assert [outline.region for outline in result.outlines] == list(lesion_regions(mask, 6))


def test_no_two_components_of_a_mask_share_a_box():
    for number in range(2**16):  # every mask of 4 x 4 px
        mask = np.array([number >> bit & 1 for bit in range(16)], np.uint8).reshape(4, 4)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        assert len({tuple(row[:4]) for row in stats[1:]}) == count - 1  # left, top, width, height


@few
@given(seeds)
def test_filled_outlines_without_their_holes_are_the_mask(seed):
    mask = blobs(seed)
    result = np.zeros(mask.shape, np.uint8)
    for outline in traced(mask).outlines:
        filled = cv2.fillPoly(np.zeros_like(result), [outline.outer], 1)
        for hole in outline.holes:
            inner = cv2.fillPoly(np.zeros_like(result), [hole], 1)
            filled[(inner == 1) & ~mask] = 0
        result |= filled

    assert (result.astype(bool) >= mask).all()
    assert not (result.astype(bool) & ~mask & ~enclosed(mask)).any()


def enclosed(mask):
    """Return the pixels in holes."""
    outside = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(outside, None, (0, 0), 2, flags=4)
    return (outside[1:-1, 1:-1] == 0) & ~mask


def test_a_region_within_the_hole_of_another_keeps_its_outline():
    mask = np.zeros((30, 30), bool)
    mask[2:28, 2:28] = True
    mask[6:24, 6:24] = False
    mask[12:18, 12:18] = True

    result = traced(mask)

    assert [len(outline.holes) for outline in result.outlines] == [1, 0]
    np.testing.assert_array_equal(result.mask.astype(bool), mask)


def test_a_region_within_a_speck_that_is_too_small_stays():
    mask = np.zeros((30, 30), bool)
    mask[2:22, 2:22] = True
    mask[3:21, 3:21] = False  # a ring of 76 px
    mask[7:17, 7:17] = True

    result = traced(mask, 90)

    assert result.mask.sum() == 100
    assert len(result.outlines) == 1


@few
@given(seeds, st.sampled_from(lesions.RETINOPATHY))
def test_no_lesion_pixel_is_painted_and_every_region_is_outlined(seed, lesion):
    mask = blobs(seed)

    before, after = draw(mask, lesion)

    np.testing.assert_array_equal(before[mask], after[mask])
    painted = (before != after).any(axis=2)
    for region in lesion_regions(mask):
        near = (
            slice(max(0, region.box.top - 12), region.box.bottom + 12),
            slice(max(0, region.box.left - 12), region.box.right + 12),
        )
        assert painted[near].any()


@few
@given(seeds)
def test_far_from_lesions_nothing_changes(seed):
    mask = np.zeros((200, 260), bool)
    mask[60:130, 80:170] = blobs(seed)

    before, after = draw(mask)

    near = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8)) == 1
    np.testing.assert_array_equal(before[~near], after[~near])


@few
@given(seeds, st.integers(8, 60))
def test_drawing_a_few_rows_at_a_time_equals_drawing_all_at_once(seed, rows):
    areas = [
        overlays.outlined_area(traced(blobs(seed + number)), lesion)
        for number, lesion in enumerate((EX, MA, SE))
    ]
    pixels = np.full((70, 90, 3), 90, np.uint8)
    at_once = overlays.draw(pixels, areas, STRIP)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlays, "ROWS", rows)
        np.testing.assert_array_equal(overlays.draw(pixels, areas, STRIP), at_once)
        with ThreadPoolExecutor(3) as pool:
            np.testing.assert_array_equal(overlays.draw(pixels, areas, STRIP, pool=pool), at_once)


def scattered(seed, shape):
    """Return areas of three lesions whose spots are near each other in some places and far in others."""
    rng, areas = np.random.default_rng(seed), []
    for lesion in (EX, MA, SE):
        mask = np.zeros(shape, np.uint8)
        for row, column in rng.integers(0, shape, (rng.integers(0, 9), 2)):
            cv2.circle(mask, (int(column), int(row)), int(rng.integers(0, 6)), 1, -1)
        areas.append(overlays.OutlinedArea(lesion=lesion, bits=np.packbits(mask, axis=1)))
    return areas


@few
@given(seeds, st.integers(1, 300), st.integers(1, 300), st.integers(1, 4))
def test_drawing_part_by_part_equals_drawing_whole_rows(seed, height, columns, width):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, columns, 3), np.uint8)
    areas, nothing = scattered(seed, (height, columns)), np.zeros((0, columns, 3), np.uint8)
    by_parts = overlays.draw(pixels, areas, nothing, width=width)

    def whole(bits, reach):
        return [(slice(0, len(bits)), slice(0, bits.shape[1]))] if bits.any() else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlays, "_parts", whole)
        np.testing.assert_array_equal(overlays.draw(pixels, areas, nothing, width=width), by_parts)


def test_no_distance_is_computed_on_the_empty_ground_between_lesions(monkeypatch):
    mask = np.zeros((400, 2000), np.uint8)
    mask[20:30, 20:30] = mask[200:230, 900:930] = mask[380:, 1970:] = 1
    area = overlays.OutlinedArea(lesion=EX, bits=np.packbits(mask, axis=1))
    transform, sizes = cv2.distanceTransform, []
    monkeypatch.setattr(
        cv2, "distanceTransform", lambda *args: sizes.append(args[0].size) or transform(*args)
    )

    overlays.draw(np.zeros((400, 2000, 3), np.uint8), [area], np.zeros((0, 2000, 3), np.uint8))

    assert 0 < sum(sizes) < 0.03 * mask.size


@few
@given(seeds)
def test_a_picture_drawn_for_the_encoder_gives_the_same_jpeg(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), np.uint8)
    areas = [overlays.outlined_area(traced(blobs(seed)), MA)]

    usual, reversed_ = (overlays.draw(pixels, areas, STRIP, bgr=bgr) for bgr in (False, True))

    np.testing.assert_array_equal(reversed_[..., ::-1], usual)
    assert overlays.jpeg(reversed_, bgr=True) == overlays.jpeg(usual)


def test_the_photograph_is_unchanged_and_the_legend_is_below_it():
    pixels = np.full((70, 90, 3), 90, np.uint8)

    result = overlays.draw(pixels, [overlays.outlined_area(traced(blobs(1)), EX)], STRIP)

    assert result.shape == (77, 90, 3)
    np.testing.assert_array_equal(result[70:], STRIP)
    assert (pixels == 90).all()


@pytest.mark.parametrize("ground", [0, 255])
def test_an_outline_shows_on_black_and_on_white(ground):
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True

    for lesion in lesions.RETINOPATHY:
        _, after = draw(mask, lesion, ground)
        luma = after.astype(float).mean(axis=2)
        assert luma.max() - luma.min() > 80  # of 255: clearly visible


def test_a_small_lesion_gets_a_ring_a_few_pixels_away():
    mask = np.zeros((600, 1300), bool)  # a line is one px wide
    mask[300:303, 600:603] = True

    before, after = draw(mask)

    painted = (before != after).any(axis=2)
    rows, columns = np.nonzero(painted)
    distance = np.hypot(rows - 301, columns - 601)
    assert distance.min() > 3
    assert distance.max() < 9
    angles = np.degrees(np.arctan2(rows - 301, columns - 601)) // 20
    assert set(range(-9, 9)) <= set(angles)  # all around


def test_styles_differ_even_if_colours_do_not():
    mask = np.zeros((100, 100), bool)
    mask[20:60, 20:60] = True
    grey = {}
    for lesion in lesions.RETINOPATHY:
        grey_lesion = lesions.Lesion(code=lesion.code, name=lesion.name, colour=(200, 200, 200))
        grey[lesion.code] = draw(mask, grey_lesion)[1]
    mask[20:60, 20:60] = False
    mask[30:37, 30:37] = True
    large = [draw(mask, lesions.Lesion(code=code, name="x", colour=(9, 9, 9)))[1] for code in ("EX", "MA")]

    assert (grey["EX"] != grey["SE"]).any()
    assert (large[0] != large[1]).any()


def test_lines_grow_with_the_photograph():
    assert [overlays.line_width(shape) for shape in ((256, 256), (2848, 4288), (8000, 12000))] == [1, 4, 12]


@pytest.mark.parametrize("width", [256, 1024, 2000])
def test_the_legend_is_as_wide_as_the_photograph_and_holds_each_colour(width):
    captions = [
        Caption(lesion=lesion, text=f"{lesion.name}: 17, 1.24 % of field") for lesion in lesions.RETINOPATHY
    ]

    strip = overlays.legend(width, captions, "Research software, not a medical device. " * 2)

    assert strip.shape[1:] == (width, 3)
    for lesion in lesions.RETINOPATHY:
        distance = np.abs(strip.astype(int) - lesion.colour).sum(axis=2)
        assert distance.min() < 60


def test_a_narrow_legend_takes_more_lines():
    captions = [
        Caption(lesion=lesion, text=f"{lesion.name}: 17, 1.24 % of field") for lesion in lesions.RETINOPATHY
    ]

    heights = [len(overlays.legend(width, captions, "not a medical device")) for width in (1000, 500, 250)]

    assert heights == sorted(heights)
    assert heights[0] < heights[-1]
    right = overlays.legend(250, captions, "word " * 60)[:, -3:]
    assert (right == overlays.GROUND).all()  # no text runs over the border


def test_a_jpeg_keeps_its_colours_in_order():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 200, 100, 20

    decoded = cv2.imdecode(np.frombuffer(overlays.jpeg(pixels), np.uint8), cv2.IMREAD_COLOR_RGB)

    assert np.abs(decoded.astype(int) - pixels).max() < 6


def test_the_tiny_photograph_is_drawn_where_its_lesions_are():
    result = tiny_result.photograph_result()
    mask = result.probabilities.maps[0] >= 32_768

    before, after = draw(mask)

    rows, columns = np.nonzero((before != after).any(axis=2))
    assert rows.min() >= 34
    assert rows.max() <= 106
    assert columns.min() >= 44
    assert columns.max() <= 108
