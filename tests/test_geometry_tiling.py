"""Windows cover the canvas or the field, and are exact copies of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, quarter_turn, seeds, window_plans

from foveate.errors import GeometryError
from foveate.geometry import tiling

PAPER = (2816, 3328)
"""(rows, columns) of the paper's crop, px."""


def test_extracted_windows_turn_with_the_canvas():
    picture = np.random.default_rng(1).random((20, 31, 2), np.float32)

    for quarter in range(4):
        turned = np.rot90(picture, quarter)
        corner = quarter_turn((3, 11), 8, (20, 31), quarter)
        (window,) = tiling.extract_windows(turned, np.array([corner]), 8)
        (original,) = tiling.extract_windows(picture, np.array([[3, 11]]), 8)
        np.testing.assert_array_equal(window, np.rot90(original, quarter))


@laws
@given(window_plans(longest=80))
def test_windows_cover_the_canvas_in_reading_order_evenly_and_with_the_overlap(plan):
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


def test_the_paper_s_crop_has_11_rows_of_13_windows_edge_to_edge():
    corners = tiling.regular_grid(PAPER, 256, 0)

    assert len(corners) == 143
    np.testing.assert_array_equal(np.unique(corners[:, 0]), np.arange(11) * 256)
    np.testing.assert_array_equal(np.unique(corners[:, 1]), np.arange(13) * 256)
    assert corners[1].tolist() == [0, 256]


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_outside_0_to_the_side_is_refused(overlap):
    with pytest.raises(GeometryError, match=f"8 px cannot overlap by {overlap} px"):
        tiling.regular_grid((20, 20), 8, overlap)


@pytest.mark.parametrize("shape", [(7, 20), (20, 7)])
def test_a_window_larger_than_the_canvas_is_refused(shape):
    with pytest.raises(GeometryError, match=f"8 px does not fit a canvas of {shape[0]} x {shape[1]} px"):
        tiling.regular_grid(shape, 8, 0)


@laws
@given(window_plans(), st.sampled_from([(), (3,), (2, 2)]), seeds)
def test_windows_are_copies_of_the_canvas(plan, axes, seed):
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


@st.composite
def fields_on_canvases(draw):
    """Return (step, overlap, shape in whole steps, centre and radius of a disc in it)."""
    step = draw(st.sampled_from([1, 2, 4]))
    shape = tuple(step * draw(st.integers(1, 24)) for _ in range(2))  # also narrower than the overlap
    centre = tuple(draw(st.floats(0.2 * length, 0.8 * length)) for length in shape)
    return step, step * draw(st.integers(0, 3)), shape, centre, draw(st.floats(2, max(2, *shape)))


@laws
@given(fields_on_canvases(), st.integers(16, 400))
def test_windows_of_any_size_cover_the_field_on_multiples_of_the_step_with_the_overlap(plan, largest):
    step, overlap, shape, centre, radius = plan
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.hypot(rows - centre[0], columns - centre[1]) <= radius

    field_tiling = tiling.cover_field(inside, step, overlap, largest)

    height, width = field_tiling.window
    assert height % step == width % step == 0
    assert not (field_tiling.corners % step).any()
    assert (field_tiling.corners >= 0).all()
    assert (field_tiling.corners + np.array(field_tiling.window) <= shape).all()
    assert field_tiling.corners.tolist() == sorted(field_tiling.corners.tolist())
    shown = np.zeros(shape, bool)
    for row, column in field_tiling.corners:
        shown[row : row + height, column : column + width] = True
    assert shown[inside].all()
    for row in set(field_tiling.corners[:, 0].tolist()):
        columns = field_tiling.corners[field_tiling.corners[:, 0] == row, 1]
        assert (np.diff(columns) <= max(width - overlap, step)).all()


def window_count(blocks, window, shared):
    """Return how many windows of a size cover a field; all values are in steps of the grid."""
    lit, (height, width), count = np.flatnonzero(blocks.any(axis=1)), window, 0
    needed = max(1, -(-(np.ptp(lit) + 1 - shared) // max(1, height - shared)))
    first = min(lit[0], len(blocks) - height)
    tops = np.linspace(first, max(first, lit[-1] + 1 - height), needed).round().astype(int)
    for top in tops:
        columns = np.flatnonzero(blocks[top : top + height].any(axis=0))
        if len(columns):
            count += max(1, -(-(np.ptp(columns) + 1 - shared) // max(1, width - shared)))
    return count


@laws
@given(fields_on_canvases(), st.integers(16, 400))
def test_no_windows_cost_less_than_those_that_cover_the_field(plan, largest):
    step, overlap, shape, centre, radius = plan
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    blocks = inside.reshape(shape[0] // step, step, shape[1] // step, step).any(axis=(1, 3))
    shared = overlap // step

    field_tiling = tiling.cover_field(inside, step, overlap, largest)

    lowest, narrowest = (min(length, shared + 1) for length in blocks.shape)
    costs = {
        (height * step, width * step): window_count(blocks, (height, width), shared)
        * (height * width * step**2 + tiling.WINDOW_OVERHEAD_PIXELS)
        for height in range(lowest, blocks.shape[0] + 1)
        for width in range(narrowest, blocks.shape[1] + 1)
        if width == narrowest or height * width <= largest // step**2
    }
    assert costs[field_tiling.window] == min(costs.values())
    assert costs[field_tiling.window] == len(field_tiling.corners) * (
        np.prod(field_tiling.window) + tiling.WINDOW_OVERHEAD_PIXELS
    )


def test_few_large_windows_cover_a_field_with_little_beyond_it():
    shape = (2848, 3424)  # IDRiD's
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.hypot(rows - 1424, columns - 1712) <= 1740

    field_tiling = tiling.cover_field(inside, 16, 64, 512 * 1024)

    computed = len(field_tiling.corners) * np.prod(field_tiling.window)
    assert np.prod(field_tiling.window) <= 512 * 1024
    assert computed < 1.35 * inside.sum()
    assert computed < 0.75 * len(tiling.regular_grid(shape, 256, 64)) * 256**2


def test_a_canvas_narrower_than_the_overlap_is_covered():
    field_tiling = tiling.cover_field(np.ones((64, 640), bool), 32, 64, 512 * 1024)

    assert field_tiling.window == (64, 640)
    assert field_tiling.corners.tolist() == [[0, 0]]


def test_a_field_without_a_pixel_is_refused():
    with pytest.raises(GeometryError, match="no pixel of the canvas is inside the field"):
        tiling.cover_field(np.zeros((64, 64), bool), 16, 16, 1024)
