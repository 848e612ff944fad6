"""Cells cover the field; blobs and likely lesions raise the score of a cell; criteria select cells."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate.analysis import window_selection
from foveate.errors import GeometryError
from foveate.types import LesionCriterion


def disc(shape, centre, radius):
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


@laws
@given(
    st.sampled_from([1, 4, 8]),
    st.tuples(st.integers(8, 30), st.integers(8, 30)),
    st.integers(0, 24),
    st.floats(5, 150),
)
def test_cells_divide_the_field_and_lie_in_windows_at_multiples_of_the_step(step, steps, shared, radius):
    shape = (8 * steps[0], 8 * steps[1])
    inside = disc(shape, (shape[0] / 2, shape[1] / 3), radius)

    cells = window_selection.grid_cells(inside, 64, shared, step)

    covered = np.zeros(shape, int)
    for (top, left), (bottom, right) in zip(cells.first, cells.last, strict=True):
        covered[top:bottom, left:right] += 1
        assert inside[top:bottom, left:right].any()
    assert (covered[inside] == 1).all()
    assert covered.max() == 1
    assert not (cells.corners % step).any()
    assert (cells.corners >= 0).all()
    assert (cells.corners + 64 <= shape).all()
    assert (cells.corners <= cells.first).all()
    assert (cells.corners + 64 >= cells.last).all()
    reach = np.minimum(cells.first - cells.corners, cells.corners + 64 - cells.last)
    at_rim = (cells.corners == 0) | (cells.corners + 64 == shape)
    assert (reach[~at_rim] >= shared / 2).all()


@pytest.mark.parametrize(("shape", "shared"), [((48, 80), 8), ((80, 80), 64)])
def test_windows_that_do_not_fit_are_refused(shape, shared):
    with pytest.raises(GeometryError, match=r"windows of 64 px that overlap by .* do not fit a canvas of"):
        window_selection.grid_cells(np.ones(shape, bool), 64, shared, 8)


@laws
@given(seeds, st.integers(2, 50), st.integers(2, 50))
def test_the_maximum_of_a_map_of_any_size_is_in_its_cell(seed, height, width):
    shape = (128, 160)
    cells = window_selection.grid_cells(np.ones(shape, bool), 32, 0, 1)
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, (height, width))
    maps = np.zeros((2, height, width), np.float32)
    maps[1, row, column] = 1

    maxima = window_selection.cell_maxima(maps, cells, shape)

    middle = (np.array([row, column]) + 0.5) / (height, width) * shape
    contains = ((cells.first <= middle) & (middle <= cells.last)).all(axis=1)
    assert maxima.shape == (len(cells.first), 2)
    assert (maxima[contains, 1] == 1).all()
    assert contains.any()
    assert not maxima[:, 0].any()
    near = (cells.first - 1 - shape / np.array([height, width]) <= middle).all(axis=1)
    assert not maxima[~near, 1].any()


def uniform(shape=(300, 400), level=100):
    return np.full((*shape, 3), level, np.uint8)


def with_blob(picture, centre, radius, level):
    result = picture.copy()
    cv2.circle(result, centre[::-1], radius, (level,) * 3, -1, cv2.LINE_AA)
    return result


@pytest.mark.parametrize(("level", "polarity"), [(60, 0), (140, 1)])
def test_a_small_blob_has_a_response_at_its_centre_and_of_its_polarity(level, polarity):
    picture = with_blob(uniform(), (150, 210), 6, level)

    response = window_selection.blob_response(picture, np.ones(picture.shape[:2], bool))

    position = np.unravel_index(response[polarity].argmax(), response[polarity].shape)
    assert np.abs(np.array(position) * 2 + 1 - (150, 210)).max() <= 3
    assert response[polarity].max() > 3 * response[1 - polarity].max()


def test_a_vessel_has_a_lower_response_than_a_blob_as_dark_and_as_wide():
    vessel, blob = uniform(), with_blob(uniform(), (150, 200), 6, 60)
    cv2.line(vessel, (0, 60), (399, 240), (60, 60, 60), 12, cv2.LINE_AA)
    everywhere = np.ones((300, 400), bool)

    darkest = [
        float(window_selection.blob_response(picture, everywhere)[0][60:90, 60:140].max())
        for picture in (vessel, blob)
    ]

    assert darkest[0] < 0.5 * darkest[1]


def test_noise_around_a_blob_lowers_its_response():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (300, 400, 1))
    smooth, noisy = uniform(), np.clip(uniform() + noise, 0, 255).astype(np.uint8)
    everywhere = np.ones((300, 400), bool)

    smooth_response, noisy_response = (
        float(
            window_selection.blob_response(with_blob(picture, (150, 200), 6, 80), everywhere)[0][
                70:80, 95:105
            ].max()
        )
        for picture in (smooth, noisy)
    )

    assert noisy_response < smooth_response


def test_near_the_rim_of_the_field_there_is_no_response():
    inside = disc((300, 400), (150, 200), 120)
    picture = np.where(inside[..., None], 100, 0).astype(np.uint8).repeat(3, axis=2)

    response = window_selection.blob_response(picture, inside)

    assert response.max() < 0.1  # the edge of the light itself would be far above


def test_the_score_is_the_logarithm_of_the_odds_and_rises_with_the_blob_response():
    coarse = np.array([0.5, 0.9, 0.0, 1.0], np.float32)
    blobs = np.array([[1, 2], [1, 2], [1, 2], [0, 0]], np.float32)

    plain = window_selection.selection_score(coarse, blobs, "none")

    np.testing.assert_allclose(plain[:2], [0, np.log(9)], atol=1e-6)
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(window_selection.selection_score(coarse, blobs, "dark")[:3], plain[:3])
    bright = window_selection.selection_score(coarse, blobs, "bright")
    np.testing.assert_allclose(bright[:3] - plain[:3], window_selection.POWER * np.log(2))
    assert np.isfinite(bright).all()


def test_a_cell_is_selected_if_it_meets_the_criterion_of_at_least_one_lesion():
    coarse = {"EX": np.array([0.1, 0.9, 0.1], np.float32), "MA": np.array([0.1, 0.1, 0.6], np.float32)}
    blobs = np.zeros((3, 2), np.float32)

    def selected(**cutoffs):
        return window_selection.select_cells(
            coarse, blobs, {code: LesionCriterion(cutoff=cutoff) for code, cutoff in cutoffs.items()}
        ).tolist()

    assert selected(EX=2.0, MA=0.0) == [False, True, True]
    assert selected(EX=2.0, MA=9.0) == [False, True, False]
    assert selected(EX=9.0, MA=9.0) == [False] * 3
    assert selected(EX=-99.0, MA=9.0) == [True] * 3
