"""Cells cover the field; what stands out or is likely is called for, and what is called for is looked at."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate.analysis import window_selection
from foveate.errors import GeometryError
from foveate.types import Interest


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
def test_cells_divide_the_field_and_lie_in_their_windows_on_whole_steps(step, steps, shared, radius):
    shape = (8 * steps[0], 8 * steps[1])
    inside = disc(shape, (shape[0] / 2, shape[1] / 3), radius)

    divided = window_selection.cells(inside, 64, shared, step)

    times = np.zeros(shape, int)
    for (top, left), (bottom, right) in zip(divided.first, divided.last, strict=True):
        times[top:bottom, left:right] += 1
        assert inside[top:bottom, left:right].any()
    assert (times[inside] == 1).all()
    assert times.max() == 1
    assert not (divided.corners % step).any()
    assert (divided.corners >= 0).all()
    assert (divided.corners + 64 <= shape).all()
    assert (divided.corners <= divided.first).all()
    assert (divided.corners + 64 >= divided.last).all()
    reach = np.minimum(divided.first - divided.corners, divided.corners + 64 - divided.last)
    at_rim = (divided.corners == 0) | (divided.corners + 64 == shape)
    assert (reach[~at_rim] >= shared / 2).all()


@pytest.mark.parametrize(("shape", "shared"), [((48, 80), 8), ((80, 80), 64)])
def test_windows_that_do_not_fit_are_refused(shape, shared):
    with pytest.raises(GeometryError, match=r"windows of 64 px that share .* do not fit a canvas of"):
        window_selection.cells(np.ones(shape, bool), 64, shared, 8)


@laws
@given(seeds, st.integers(2, 50), st.integers(2, 50))
def test_the_strongest_place_of_a_map_is_found_in_its_cell_whatever_the_maps_size(seed, tall, wide):
    shape = (128, 160)
    divided = window_selection.cells(np.ones(shape, bool), 32, 0, 1)
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, (tall, wide))
    maps = np.zeros((2, tall, wide), np.float32)
    maps[1, row, column] = 1

    found = window_selection.strongest(maps, divided, shape)

    middle = (np.array([row, column]) + 0.5) / (tall, wide) * shape
    there = ((divided.first <= middle) & (middle <= divided.last)).all(axis=1)
    assert found.shape == (len(divided.first), 2)
    assert (found[there, 1] == 1).all()
    assert there.any()
    assert not found[:, 0].any()
    near = (divided.first - 1 - shape / np.array([tall, wide]) <= middle).all(axis=1)
    assert not found[~near, 1].any()


def lit(shape=(300, 400), level=100):
    return np.full((*shape, 3), level, np.uint8)


def spotted(picture, at, radius, level):
    drawn = picture.copy()
    cv2.circle(drawn, at[::-1], radius, (level,) * 3, -1, cv2.LINE_AA)
    return drawn


@pytest.mark.parametrize(("level", "kind"), [(60, 0), (140, 1)])
def test_a_small_spot_stands_out_where_it_is_and_as_what_it_is(level, kind):
    picture = spotted(lit(), (150, 210), 6, level)

    found = window_selection.spots(picture, np.ones(picture.shape[:2], bool))

    place = np.unravel_index(found[kind].argmax(), found[kind].shape)
    assert np.abs(np.array(place) * 2 + 1 - (150, 210)).max() <= 3
    assert found[kind].max() > 3 * found[1 - kind].max()


def test_a_vessel_stands_out_less_than_a_spot_as_dark_and_as_wide():
    vessel, spot = lit(), spotted(lit(), (150, 200), 6, 60)
    cv2.line(vessel, (0, 60), (399, 240), (60, 60, 60), 12, cv2.LINE_AA)
    everywhere = np.ones((300, 400), bool)

    darkest = [
        float(window_selection.spots(one, everywhere)[0][60:90, 60:140].max()) for one in (vessel, spot)
    ]

    assert darkest[0] < 0.5 * darkest[1]


def test_contrast_is_measured_by_what_is_around():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (300, 400, 1))
    quiet, busy = lit(), np.clip(lit() + noise, 0, 255).astype(np.uint8)
    everywhere = np.ones((300, 400), bool)

    alone, among = (
        float(window_selection.spots(spotted(one, (150, 200), 6, 80), everywhere)[0][70:80, 95:105].max())
        for one in (quiet, busy)
    )

    assert among < alone


def test_beside_the_rim_of_the_field_nothing_stands_out():
    inside = disc((300, 400), (150, 200), 120)
    picture = np.where(inside[..., None], 100, 0).astype(np.uint8).repeat(3, axis=2)

    found = window_selection.spots(picture, inside)

    assert found.max() < 0.1  # the edge of the light itself would be far above


def test_interest_is_the_logarithm_of_the_odds_and_rises_with_what_stands_out():
    coarse = np.array([0.5, 0.9, 0.0, 1.0], np.float32)
    spots = np.array([[1, 2], [1, 2], [1, 2], [0, 0]], np.float32)

    plain = window_selection.interest(coarse, spots, "none")

    np.testing.assert_allclose(plain[:2], [0, np.log(9)], atol=1e-6)
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(window_selection.interest(coarse, spots, "dark")[:3], plain[:3])
    bright = window_selection.interest(coarse, spots, "bright")
    np.testing.assert_allclose(bright[:3] - plain[:3], window_selection.POWER * np.log(2))
    assert np.isfinite(bright).all()


def test_one_lesion_is_enough_to_call_and_none_means_none():
    coarse = {"EX": np.array([0.1, 0.9, 0.1], np.float32), "MA": np.array([0.1, 0.1, 0.6], np.float32)}
    spots = np.zeros((3, 2), np.float32)

    def called(**cutoffs):
        return window_selection.worth(
            coarse, spots, {code: Interest(cutoff=cutoff) for code, cutoff in cutoffs.items()}
        ).tolist()

    assert called(EX=2.0, MA=0.0) == [False, True, True]
    assert called(EX=2.0, MA=9.0) == [False, True, False]
    assert called(EX=9.0, MA=9.0) == [False] * 3
    assert called(EX=-99.0, MA=9.0) == [True] * 3
