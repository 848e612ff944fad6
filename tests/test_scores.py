"""Scores from counts are those of scikit-learn and of plain counting; pooling is adding."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import scores
from foveate.errors import GeometryError, SettingError
from foveate.scores.resampling import BINS, coarse

dtypes = st.sampled_from([np.uint8, np.uint16])


def map_and_truth(seed, dtype=np.uint8, shape=(40, 50), share=0.1, distinct=None):
    """Return a map that knows something, its truth, and which pixels count; few distinct levels make ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random(shape) < share
    truth[0, 0] = True
    levels = int(np.iinfo(dtype).max) + 1
    raw = np.clip(rng.normal(0.35 + 0.25 * truth, 0.2), 0, 0.999)
    stored = (raw * levels).astype(dtype)
    if distinct:
        stored -= stored % (levels // distinct)
    inside = rng.random(shape) < 0.8
    inside[0, 0] = True
    return stored, truth, inside


def counts_of(positives, negatives):
    """Return counts over as many levels as are given."""
    return scores.Counts(
        positives=np.array(positives), negatives=np.array(negatives), floors=np.arange(len(positives))
    )


@laws
@given(seeds, dtypes, st.sampled_from([None, 2, 8, 64]), st.floats(0.001, 0.9))
def test_average_precision_is_that_of_scikit_learn_ties_included(seed, dtype, distinct, share):
    metrics = pytest.importorskip("sklearn.metrics")
    stored, truth, inside = map_and_truth(seed, dtype, share=share, distinct=distinct)

    found = scores.average_precision(scores.histogram(stored, truth, inside))

    assert found == pytest.approx(
        metrics.average_precision_score(truth[inside], stored[inside].astype(int)), abs=1e-9
    )


@laws
@given(seeds, dtypes, st.sampled_from([None, 8]))
def test_the_curve_is_that_of_scikit_learn(seed, dtype, distinct):
    metrics = pytest.importorskip("sklearn.metrics")
    stored, truth, _ = map_and_truth(seed, dtype, distinct=distinct)

    curve = scores.precision_recall(scores.histogram(stored, truth))

    precision, recall, levels = metrics.precision_recall_curve(truth.ravel(), stored.ravel().astype(int))
    np.testing.assert_array_equal(curve.levels, levels[::-1])
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1])
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1])
    assert curve.recall[-1] == 1


@laws
@given(seeds, seeds, dtypes)
def test_adding_counts_pools_the_pixels_of_two_photographs(one, other, dtype):
    first, second = map_and_truth(one, dtype), map_and_truth(other, dtype, shape=(30, 50))
    together = (np.concatenate(pair) for pair in zip(first, second, strict=True))

    added = scores.histogram(*first) + scores.histogram(*second)
    at_once = scores.histogram(*together)

    np.testing.assert_array_equal(added.positives, at_once.positives)
    np.testing.assert_array_equal(added.negatives, at_once.negatives)


@laws
@given(seeds, st.integers(0, 255))
def test_dice_is_counted_over_the_pixels_at_or_above_the_level(seed, level):
    stored, truth, inside = map_and_truth(seed)

    found = scores.dice(scores.histogram(stored, truth, inside), level)

    marked, lesion = (stored >= level) & inside, truth & inside
    assert found == pytest.approx(2 * (marked & lesion).sum() / (marked.sum() + lesion.sum()))


@laws
@given(seeds, st.sampled_from([None, 4, 16]))
def test_the_best_level_has_the_highest_dice_and_is_the_highest_that_does(seed, distinct):
    counts = scores.histogram(*map_and_truth(seed, distinct=distinct))
    every = [scores.dice(counts, level) for level in range(256)]

    best = scores.best_dice_level(counts)

    assert 1 <= best <= 255
    assert every[best] == max(every[1:])
    assert all(value < every[best] for value in every[best + 1 :])


def test_the_best_level_marks_something_though_marking_all_would_score_more():
    counts = counts_of([9, 0, 1, 0], [0, 0, 1, 5])  # most lesion pixels lie at level 0

    assert scores.dice(counts, 0) > scores.dice(counts, 1)
    assert scores.best_dice_level(counts) == 2


def test_scores_of_four_pixels_counted_by_hand():
    # levels 3 2 1 0 hold lesion, other, lesion, other: precision 1 at recall 1/2, then 2/3 at recall 1
    stored = np.array([[3, 2], [1, 0]], np.uint8)
    truth = np.array([[True, False], [True, False]])

    counts = scores.histogram(stored, truth)

    assert scores.average_precision(counts) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.dice(counts, 3) == pytest.approx(2 * 1 / (1 + 2))
    assert scores.dice(counts, 2) == pytest.approx(2 * 1 / (2 + 2))
    assert scores.dice(counts, 1) == pytest.approx(2 * 2 / (3 + 2))
    assert scores.best_dice_level(counts) == 1
    curve = scores.precision_recall(counts)
    np.testing.assert_array_equal(curve.levels, [3, 2, 1, 0])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2, 1, 1])


def test_counts_have_a_bin_for_every_level_of_the_dtype():
    truth = np.array([[True, True, False]])

    eight = scores.histogram(np.array([[255, 0, 255]], np.uint8), truth)
    sixteen = scores.histogram(np.array([[65535, 0, 65535]], np.uint16), truth)

    for counts, levels in ((eight, 256), (sixteen, 65536)):
        assert len(counts.positives) == len(counts.negatives) == levels
        np.testing.assert_array_equal(counts.floors, np.arange(levels))
        assert (counts.positives[0], counts.positives[-1], counts.negatives[-1]) == (1, 1, 1)


def test_pixels_outside_are_not_counted():
    stored, truth = np.array([[5, 6, 7]], np.uint8), np.array([[True, True, False]])

    counts = scores.histogram(stored, truth, np.array([[True, False, False]]))

    assert (counts.positives.sum(), counts.negatives.sum()) == (1, 0)


def test_without_a_lesion_pixel_there_is_no_precision_recall_or_best_level():
    counts = counts_of([0, 0, 0], [4, 2, 1])

    assert scores.average_precision(counts) is None
    assert scores.precision_recall(counts) is None
    assert scores.best_dice_level(counts) is None


def test_dice_is_0_where_all_that_is_marked_is_wrong_and_none_where_there_is_nothing_to_mark():
    counts = counts_of([0, 0, 0], [4, 2, 0])

    assert scores.dice(counts, 1) == 0
    assert scores.dice(counts, 2) is None


def test_counts_of_maps_of_two_formats_do_not_add_up():
    truth = np.array([[True]])

    with pytest.raises(GeometryError, match="256 and 65536 bins"):
        scores.histogram(np.array([[1]], np.uint8), truth) + scores.histogram(
            np.array([[1]], np.uint16), truth
        )


def test_there_must_be_a_photograph_to_pool():
    with pytest.raises(GeometryError, match="no counts"):
        scores.pool([])


def test_pooling_adds_every_photograph_once():
    three = [counts_of([1, 0], [0, 2]), counts_of([0, 5], [7, 0]), counts_of([2, 2], [1, 1])]

    pooled = scores.pool(three)

    np.testing.assert_array_equal(pooled.positives, [3, 7])
    np.testing.assert_array_equal(pooled.negatives, [8, 3])


def test_merged_bins_hold_the_levels_from_their_floor_to_the_next():
    counts = counts_of([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])

    merged = counts.merged(np.array([0, 2, 3]))

    np.testing.assert_array_equal(merged.positives, [3, 3, 9])
    np.testing.assert_array_equal(merged.negatives, [9, 3, 3])
    assert scores.dice(merged, 2) == scores.dice(counts, 2)
    assert scores.dice(merged, 3) == scores.dice(counts, 3)


@laws
@given(seeds, st.floats(0.01, 0.5), st.sampled_from([1, 30, 3000]))
def test_coarse_bins_are_few_and_keep_average_precision_to_one_in_4096(seed, share, squeeze):
    stored, truth, _ = map_and_truth(seed, np.uint16, shape=(150, 160), share=share)
    counts = scores.histogram(stored // squeeze, truth)  # squeezed: all at the lowest levels, many ties

    floors = coarse(counts)

    precision = scores.precision_recall(counts).precision
    swing = sum(abs(after - before) for before, after in pairwise(precision))
    assert floors[0] == 0
    assert len(floors) <= BINS + 1
    merged = counts.merged(floors)
    assert merged.positives.sum() == counts.positives.sum()
    assert abs(scores.average_precision(merged) - scores.average_precision(counts)) <= swing / BINS


def photographs(count=9):
    return [
        scores.histogram(*map_and_truth(seed, np.uint16, share=0.02 + 0.03 * seed)) for seed in range(count)
    ]


def test_the_interval_is_that_of_photographs_drawn_anew_pixel_counts_and_all():
    several = photographs()
    draws = np.random.default_rng(7).multinomial(9, np.full(9, 1 / 9), size=300)
    exact = [
        scores.average_precision(scores.pool([several[i] for i in np.repeat(np.arange(9), draw)]))
        for draw in draws
    ]

    found = scores.interval(several, scores.average_precision, resamples=300, seed=7)

    assert found == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])), abs=1e-3)


def test_the_interval_holds_the_pooled_score_and_depends_on_the_seed_alone():
    several = photographs()
    pooled = scores.average_precision(scores.pool(several))

    low, high = scores.interval(several, scores.average_precision, resamples=200)

    assert low < pooled < high
    assert (low, high) == scores.interval(several, scores.average_precision, resamples=200, seed=0)
    assert (low, high) != scores.interval(several, scores.average_precision, resamples=200, seed=1)


def test_photographs_that_are_all_alike_leave_no_interval_between_low_and_high():
    one = photographs(1)[0]

    low, high = scores.interval([one] * 4, scores.average_precision, resamples=50)

    assert low == pytest.approx(high) == pytest.approx(scores.average_precision(one), abs=1e-3)


def test_draws_without_a_lesion_are_left_out_and_without_any_there_is_no_interval():
    sick, healthy = counts_of([0, 0, 3], [9, 1, 0]), counts_of([0, 0, 0], [9, 4, 0])

    assert scores.interval([sick, healthy, healthy], scores.average_precision, resamples=50) == (1, 1)
    assert scores.interval([healthy, healthy], scores.average_precision, resamples=50) is None


def test_at_least_one_draw_is_asked_for():
    with pytest.raises(SettingError, match="resamples is 0"):
        scores.interval([counts_of([1], [1])], scores.average_precision, resamples=0)
