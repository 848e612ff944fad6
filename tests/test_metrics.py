"""Scores from counts equal those of scikit-learn and of plain counting; pooling is addition."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import metrics
from foveate.errors import GeometryError, SettingError
from foveate.metrics import bootstrap
from foveate.metrics.thresholds import MAX_INDEX, STEPS

dtypes = st.sampled_from([np.uint8, np.uint16])

few_examples = settings(max_examples=4)
"""For float maps, whose histograms have four million bins."""


def map_and_truth(seed, dtype=np.uint8, shape=(40, 50), share=0.1, distinct=None):
    """Return a map that correlates with the truth, the truth, and a mask; few distinct levels make ties."""
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
    """Return counts with one bin for each number."""
    return metrics.PixelCounts(
        positives=np.array(positives), negatives=np.array(negatives), bin_edges=np.arange(len(positives))
    )


@laws
@given(seeds, dtypes, st.sampled_from([None, 2, 8, 64]), st.floats(0.001, 0.9))
def test_average_precision_is_that_of_scikit_learn_ties_included(seed, dtype, distinct, share):
    reference = pytest.importorskip("sklearn.metrics")
    stored, truth, inside = map_and_truth(seed, dtype, share=share, distinct=distinct)

    score = metrics.average_precision(metrics.histogram(stored, truth, inside))

    assert score == pytest.approx(
        reference.average_precision_score(truth[inside], stored[inside].astype(int)), abs=1e-9
    )


@laws
@given(seeds, dtypes, st.sampled_from([None, 8]))
def test_the_curve_is_that_of_scikit_learn(seed, dtype, distinct):
    reference = pytest.importorskip("sklearn.metrics")
    stored, truth, _ = map_and_truth(seed, dtype, distinct=distinct)

    curve = metrics.precision_recall(metrics.histogram(stored, truth))

    precision, recall, levels = reference.precision_recall_curve(truth.ravel(), stored.ravel().astype(int))
    np.testing.assert_array_equal(curve.thresholds, levels[::-1] * (MAX_INDEX // np.iinfo(dtype).max))
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1])
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1])
    assert curve.recall[-1] == 1


@laws
@given(seeds, seeds, dtypes)
def test_adding_counts_pools_the_pixels_of_two_photographs(first_seed, second_seed, dtype):
    first, second = map_and_truth(first_seed, dtype), map_and_truth(second_seed, dtype, shape=(30, 50))
    concatenated = (np.concatenate(pair) for pair in zip(first, second, strict=True))

    pooled = metrics.histogram(*first) + metrics.histogram(*second)
    expected = metrics.histogram(*concatenated)

    np.testing.assert_array_equal(pooled.positives, expected.positives)
    np.testing.assert_array_equal(pooled.negatives, expected.negatives)


@laws
@given(seeds, st.integers(0, 255))
def test_dice_is_counted_over_the_pixels_at_or_above_the_level(seed, level):
    stored, truth, inside = map_and_truth(seed)

    score = metrics.dice(metrics.histogram(stored, truth, inside), level * (MAX_INDEX // 255))

    predicted, lesion = (stored >= level) & inside, truth & inside
    assert score == pytest.approx(2 * (predicted & lesion).sum() / (predicted.sum() + lesion.sum()))


@settings(max_examples=6)
@given(seeds, st.sampled_from([None, 4, 16]))
def test_the_best_threshold_has_the_highest_dice_and_is_the_highest_that_does(seed, distinct):
    counts = metrics.histogram(*map_and_truth(seed, distinct=distinct))
    scores = [metrics.dice(counts, level * (MAX_INDEX // 255)) for level in range(256)]

    best, rest = divmod(metrics.best_dice_threshold(counts), MAX_INDEX // 255)

    assert rest == 0

    assert 1 <= best <= 255
    assert scores[best] == max(scores[1:])
    assert all(value < scores[best] for value in scores[best + 1 :])


def test_the_best_threshold_does_not_predict_every_pixel_even_if_that_would_score_more():
    counts = counts_of([9, 0, 1, 0], [0, 0, 1, 5])  # most lesion pixels lie at level 0

    assert metrics.dice(counts, 0) > metrics.dice(counts, 1)
    assert metrics.best_dice_threshold(counts) == 2


def test_scores_of_four_pixels_counted_by_hand():
    # levels 3 and 1 are lesion, 2 and 0 are background: precision 1 at recall 1/2, then 2/3 at recall 1
    stored = np.array([[3, 2], [1, 0]], np.uint8)
    truth = np.array([[True, False], [True, False]])
    step = MAX_INDEX // 255

    counts = metrics.histogram(stored, truth)

    assert metrics.average_precision(counts) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.dice(counts, 3 * step) == pytest.approx(2 * 1 / (1 + 2))
    assert metrics.dice(counts, 2 * step) == pytest.approx(2 * 1 / (2 + 2))
    assert metrics.dice(counts, 1 * step) == pytest.approx(2 * 2 / (3 + 2))
    assert metrics.best_dice_threshold(counts) == step
    curve = metrics.precision_recall(counts)
    np.testing.assert_array_equal(curve.thresholds, [3 * step, 2 * step, step, 0])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2, 1, 1])


def test_counts_have_a_bin_for_every_level_of_the_dtype():
    truth = np.array([[True, True, False]])

    eight = metrics.histogram(np.array([[255, 0, 255]], np.uint8), truth)
    sixteen = metrics.histogram(np.array([[65535, 0, 65535]], np.uint16), truth)
    floats = metrics.histogram(np.array([[1, 0, 1]], np.float32), truth)

    for counts, levels in ((eight, 256), (sixteen, 65536), (floats, MAX_INDEX + 1)):
        assert len(counts.positives) == len(counts.negatives) == levels
        np.testing.assert_array_equal(counts.bin_edges, np.arange(levels) * (MAX_INDEX // (levels - 1)))
        assert (counts.positives[0], counts.positives[-1], counts.negatives[-1]) == (1, 1, 1)


def test_pixels_outside_are_not_counted():
    stored, truth = np.array([[5, 6, 7]], np.uint8), np.array([[True, True, False]])

    counts = metrics.histogram(stored, truth, np.array([[True, False, False]]))

    assert (counts.positives.sum(), counts.negatives.sum()) == (1, 0)


def test_without_a_lesion_pixel_there_is_no_curve_and_no_best_threshold():
    counts = counts_of([0, 0, 0], [4, 2, 1])

    assert metrics.average_precision(counts) is None
    assert metrics.precision_recall(counts) is None
    assert metrics.best_dice_threshold(counts) is None


def test_dice_is_0_if_every_prediction_is_wrong_and_none_if_there_is_nothing_to_predict():
    counts = counts_of([0, 0, 0], [4, 2, 0])

    assert metrics.dice(counts, 1) == 0
    assert metrics.dice(counts, 2) is None


@few_examples
@given(seeds)
def test_maps_of_three_formats_pool_as_their_probabilities_do(seed):
    reference = pytest.importorskip("sklearn.metrics")
    eight, first, _ = map_and_truth(seed, np.uint8)
    sixteen, second, _ = map_and_truth(seed + 1, np.uint16)
    floats = np.random.default_rng(seed).integers(0, 1025, first.shape).astype(np.float32) / 1024

    pooled = metrics.pool(
        [metrics.histogram(*p) for p in ((eight, first), (sixteen, second), (floats, first))]
    )

    levels = np.concatenate([eight.ravel() / 255, sixteen.ravel() / 65535, floats.ravel()])
    truth = np.concatenate([first.ravel(), second.ravel(), first.ravel()])
    expected = reference.average_precision_score(truth, levels)
    assert metrics.average_precision(pooled) == pytest.approx(expected, abs=1e-9)


def test_there_must_be_a_photograph_to_pool():
    with pytest.raises(GeometryError, match="no counts"):
        metrics.pool([])


def test_pooling_adds_every_photograph_once():
    counts = [counts_of([1, 0], [0, 2]), counts_of([0, 5], [7, 0]), counts_of([2, 2], [1, 1])]

    pooled = metrics.pool(counts)

    np.testing.assert_array_equal(pooled.positives, [3, 7])
    np.testing.assert_array_equal(pooled.negatives, [8, 3])


def test_wider_bins_hold_the_pixels_from_their_edge_to_the_next():
    counts = counts_of([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])

    positives, negatives = counts.rebin(np.array([0, 2, 3]))

    np.testing.assert_array_equal(positives, [3, 3, 9])
    np.testing.assert_array_equal(negatives, [9, 3, 3])


def test_the_interval_bins_are_few_with_one_for_each_level_of_8_bits_and_each_threshold():
    assert len(metrics.INTERVAL_BIN_EDGES) <= 4096
    assert metrics.INTERVAL_BIN_EDGES[0] == 0
    bins = np.searchsorted(metrics.INTERVAL_BIN_EDGES, np.arange(256) * (MAX_INDEX // 255), side="right")
    assert len(np.unique(bins)) == 256
    assert {1, MAX_INDEX, *metrics.OFFICIAL_THRESHOLDS, *metrics.COARSE_THRESHOLDS[:-1]} <= set(
        metrics.INTERVAL_BIN_EDGES.tolist()
    )


def extremes(interval_bins):
    """Return the lowest and the highest average precision that merged bins allow."""
    true_positives, false_positives = (row[::-1].cumsum() for row in interval_bins)
    positives, negatives = (row[::-1] for row in interval_bins)
    least = sum(
        (np.arange(1, n + 1) + h - n) @ (1 / (np.arange(1, n + 1) + h - n + o))
        for h, o, n in zip(true_positives, false_positives, positives, strict=True)
        if n
    )
    most = sum(
        n * h / (h + o - new)
        for h, o, n, new in zip(true_positives, false_positives, positives, negatives, strict=True)
        if n
    )
    return least / true_positives[-1], most / true_positives[-1]


@laws
@given(seeds, st.floats(0.01, 0.5), st.sampled_from([1, 30, 3000]))
def test_the_interval_bins_hold_all_pixels_and_bound_the_average_precision(seed, share, squeeze):
    stored, truth, _ = map_and_truth(seed, np.uint16, shape=(90, 100), share=share)
    counts = metrics.histogram(stored // squeeze, truth)  # squeezed to the lowest levels, with many ties

    interval_bins = counts.interval_bins()

    (score,) = metrics.average_precisions(metrics.interval_table([interval_bins]))
    exact = metrics.average_precision(counts)
    lowest, highest = extremes(interval_bins)
    assert interval_bins.sum() == truth.size
    assert interval_bins[0].sum() == truth.sum()
    assert lowest - 1e-9 <= min(score, exact) <= max(score, exact) <= highest + 1e-9
    assert score == pytest.approx(exact, abs=1e-2)  # of 900 draws .0034 was the highest


def test_the_interval_bins_of_a_large_map_change_the_score_by_less_than_a_tenth_of_a_thousandth():
    counts = metrics.histogram(*map_and_truth(1, np.uint16, shape=(1500, 2000), share=0.005))

    (score,) = metrics.average_precisions(metrics.interval_table([counts.interval_bins()]))

    assert score == pytest.approx(metrics.average_precision(counts), abs=1e-4)


@laws
@given(seeds)
def test_the_interval_bins_of_8_bits_lose_nothing(seed):
    counts = metrics.histogram(*map_and_truth(seed))

    (score,) = metrics.average_precisions(metrics.interval_table([counts.interval_bins()]))

    assert score == pytest.approx(metrics.average_precision(counts), abs=1e-12)


def photographs(count=9):
    return [
        metrics.histogram(*map_and_truth(seed, np.uint16, share=0.02 + 0.03 * seed)) for seed in range(count)
    ]


def table_of(photograph_counts):
    return metrics.interval_table([counts.interval_bins() for counts in photograph_counts])


def test_the_interval_is_that_of_resampled_photographs_with_their_pixels_pooled():
    each = photographs()
    draws = np.random.default_rng(7).multinomial(9, np.full(9, 1 / 9), size=25)
    exact = [
        metrics.average_precision(metrics.pool([each[i] for i in np.repeat(np.arange(9), draw)]))
        for draw in draws
    ]

    bounds = metrics.interval(table_of(each), metrics.average_precisions, resamples=25, seed=7)

    assert bounds == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])), abs=1e-3)


def test_the_interval_contains_the_pooled_score_and_depends_on_the_seed_alone():
    each = photographs()
    table, pooled = table_of(each), metrics.average_precision(metrics.pool(each))

    low, high = metrics.interval(table, metrics.average_precisions, resamples=200)

    assert low < pooled < high
    assert (low, high) == metrics.interval(table, metrics.average_precisions, resamples=200, seed=0)
    assert (low, high) != metrics.interval(table, metrics.average_precisions, resamples=200, seed=1)


def test_equal_photographs_have_an_interval_without_width():
    counts = photographs(1)[0]

    low, high = metrics.interval(table_of([counts] * 4), metrics.average_precisions, resamples=50)

    assert low == pytest.approx(high) == pytest.approx(metrics.average_precision(counts), abs=1e-3)


def test_samples_without_a_lesion_are_left_out_and_if_all_are_there_is_no_interval():
    with_lesion, healthy = counts_of([0, 0, 3], [9, 1, 0]), counts_of([0, 0, 0], [9, 4, 0])

    def interval(photograph_counts):
        table = np.array([[*counts.positives, *counts.negatives] for counts in photograph_counts], np.float64)
        return metrics.interval(table, metrics.average_precisions, resamples=50)

    assert interval([with_lesion, with_lesion, healthy, healthy]) == (1, 1)
    assert interval([healthy, healthy]) is None


@pytest.mark.parametrize("others", [0, 1, 9])
def test_a_score_of_one_photograph_has_no_interval(others):
    table = np.array([[5.0, 8.0], *[[0.0, 0.0]] * others])  # the lesion is in one photograph alone
    draws = metrics.resample_photographs(len(table), 50)

    estimate = metrics.estimate(table, metrics.ratios, draws, "no lesion")
    difference = metrics.paired_interval(table, table * [0.5, 1], metrics.ratios, resamples=50)

    assert (estimate.value, estimate.low, estimate.high) == (0.625, None, None)
    assert metrics.interval(table, metrics.ratios, resamples=50) is None
    assert (difference.value, difference.low, difference.high) == (0.3125, None, None)
    two = np.vstack([table, [[2.0, 8.0]]])
    assert metrics.interval(two, metrics.ratios, resamples=50) is not None


@pytest.mark.parametrize("with_lesion", [1, 2])
def test_the_area_by_photographs_needs_two_of_either_kind_for_an_interval(with_lesion):
    statistic = metrics.image_auc(np.array([0.9, 0.4, 0.5, 0.1]), np.arange(4) < with_lesion)

    estimate = metrics.estimate(np.eye(4), statistic, metrics.resample_photographs(4, 50), "one kind")

    assert estimate.value is not None
    assert (estimate.low is None) == (with_lesion == 1)


def test_at_least_one_bootstrap_sample_and_one_photograph_are_required():
    with pytest.raises(SettingError, match="resamples is 0"):
        metrics.interval(np.ones((2, 2)), metrics.ratios, resamples=0)
    with pytest.raises(GeometryError, match="no photograph to resample"):
        metrics.resample_photographs(0)


def test_an_estimate_without_a_value_says_why():
    estimate = metrics.estimate(
        np.zeros((3, 2)), metrics.ratios, metrics.resample_photographs(3, 10), "no lesion"
    )

    assert estimate == metrics.Estimate(value=None, low=None, high=None, reason="no lesion")


def test_results_do_not_depend_on_how_many_samples_are_pooled_at_a_time(monkeypatch):
    table = table_of(photographs(4))
    expected = metrics.interval(table, metrics.average_precisions, resamples=40)
    monkeypatch.setattr(bootstrap, "ENTRIES", 1)

    assert metrics.interval(table, metrics.average_precisions, resamples=40) == expected


# what is refused; `inspect.unwrap` leaves out the type checks of the test run, as a user does


@pytest.mark.parametrize("name", ["truth", "inside"])
def test_a_mask_that_is_not_boolean_or_has_another_shape_is_refused(name):
    stored, truth, inside = map_and_truth(0, shape=(60, 80))
    masks = {"truth": truth, "inside": inside}
    histogram = inspect.unwrap(metrics.histogram)

    for levels in (masks[name] * np.uint8(255), masks[name].astype(np.uint8), masks[name].astype(float)):
        with pytest.raises(GeometryError, match=rf"^{name} is \w+; give Boolean values, such as {name} > 0$"):
            histogram(stored, **masks | {name: levels})
    with pytest.raises(GeometryError, match=rf"^{name} has the shape \(80, 60\); give \(60, 80\)"):
        histogram(stored, **masks | {name: masks[name].T})


@few_examples
@given(st.sampled_from([1.2, -0.1, np.nan, np.nextafter(np.float32(1), np.float32(2))]))
def test_a_scored_pixel_that_is_no_probability_is_refused(value):
    stored = np.array([[0.5, value]], np.float32)
    truth, inside = np.array([[True, False]]), np.array([[True, False]])

    with pytest.raises(GeometryError, match=r"^the map has values from .*; give probabilities, clipped to 0"):
        metrics.histogram(stored, truth)
    assert metrics.histogram(stored, truth, inside).positives.sum() == 1


def test_the_range_of_a_map_has_all_digits_that_tell_it_from_1():
    above = np.nextafter(np.float32(1), np.float32(2))

    for dtype, text in ((np.float32, "1.0000001"), (np.float64, "1.0000001192092896")):
        assert metrics.thresholds.range_fault(np.array([0.5, above], dtype)) == f"values from 0.5 to {text}"
    assert metrics.thresholds.range_fault(np.array([0.0, 1.0])) == ""


def test_a_probability_is_no_index_of_a_threshold():
    counts = counts_of([0, 0, 3], [9, 1, 0])

    with pytest.raises(SettingError, match=r"^the thresholds are float64; give indices on the grid"):
        inspect.unwrap(metrics.PixelCounts.at_or_above)(counts, np.array([0.5]))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, np.nan])
def test_a_mask_is_made_from_a_map_and_a_probability_alone(threshold):
    stored, _, _ = map_and_truth(0)
    binarise = inspect.unwrap(metrics.thresholds.binarise)

    for levels in (stored, stored / 255):
        with pytest.raises(SettingError, match="is not a probability; give a number from 0 to 1"):
            binarise(levels, threshold)
    with pytest.raises(GeometryError, match="the map is int64; give uint8 or uint16"):
        binarise(stored.astype(np.int64), 0.5)


# paired differences


@laws
@given(seeds)
def test_a_paired_difference_is_that_of_both_scores_in_every_sample(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(1, 50, (6, 3)).astype(float) for _ in range(2))
    draws = metrics.resample_photographs(6, 80, 3)
    expected = metrics.dice_scores(draws @ first) - metrics.dice_scores(draws @ second)

    difference = metrics.paired_interval(first, second, metrics.dice_scores, resamples=80, seed=3)

    assert difference.value == pytest.approx(
        metrics.dice_scores(first.sum(0)[None])[0] - metrics.dice_scores(second.sum(0)[None])[0]
    )
    assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))


def test_a_paired_interval_is_narrower_where_photographs_are_hard_for_both_systems():
    rng = np.random.default_rng(0)
    hits = rng.integers(10, 1000, 20).astype(float)
    first = np.stack([hits, np.full(20, 1000.0)], axis=1)
    second = first - [5, 0]

    difference = metrics.paired_interval(first, second, metrics.ratios)
    low, high = metrics.interval(first, metrics.ratios)

    assert difference.low == pytest.approx(0.005)
    assert difference.high == pytest.approx(0.005)
    assert high - low > 0.1


def test_systems_are_compared_on_the_same_photographs_only():
    with pytest.raises(GeometryError, match=r"^the first system has 2 photographs, the second 3; compare"):
        metrics.paired_interval(np.ones((2, 2)), np.ones((3, 2)), metrics.ratios)


def test_systems_whose_maps_fill_other_bins_are_compared():
    first, second = photographs(5), photographs(9)[4:]
    tables = [table_of(each) for each in (first, second)]
    common = np.split(table_of([*first, *second]), 2)

    difference = metrics.paired_interval(*tables, metrics.average_precisions, resamples=50)
    expected = metrics.paired_interval(*common, metrics.average_precisions, resamples=50)

    assert tables[0].shape[1] != tables[1].shape[1]
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-12
    )


def test_a_difference_of_undefined_scores_is_none():
    assert metrics.paired_interval(np.ones((2, 2)), np.zeros((2, 2)), metrics.ratios).value is None


# the threshold grid


@given(st.floats(0, 1, width=32), st.sampled_from([k / 32 for k in range(33)] + [k / 10 for k in range(11)]))
def test_float_maps_are_counted_on_the_right_side_of_every_threshold(p, threshold):
    (index,) = metrics.thresholds.to_indices(np.array([p], np.float32))

    assert (index >= metrics.thresholds.to_index(threshold)) == (p >= threshold)
    assert (index > metrics.thresholds.to_index(threshold)) == (p > threshold)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_lies_on_the_same_side_of_every_threshold_as_its_probability(dtype):
    highest = int(np.iinfo(dtype).max)
    levels = np.arange(highest + 1, dtype=dtype)[np.newaxis]
    counts = metrics.histogram(levels, np.ones(levels.shape, bool))

    for indices, thresholds, is_predicted in (
        (metrics.OFFICIAL_THRESHOLDS, np.arange(33) / 32, np.greater_equal),
        (metrics.COARSE_THRESHOLDS, np.arange(11) / 10, np.greater),
    ):
        expected = [is_predicted(levels / highest, threshold).sum() for threshold in thresholds]
        np.testing.assert_array_equal(counts.at_or_above(indices)[0], expected)


def test_0_and_1_have_indices_of_their_own():
    near = np.array([[0, 1e-30, 0.5, np.nextafter(np.float32(1), np.float32(0)), 1]], np.float32)

    counts = metrics.histogram(near, np.ones(near.shape, bool))

    np.testing.assert_array_equal(
        counts.bin_edges[counts.positives > 0], [0, 1, STEPS, MAX_INDEX - 1, MAX_INDEX]
    )


@laws
@given(st.floats(0.0001, 1), st.sampled_from([bool, np.uint8, np.uint16, np.float32]), seeds)
def test_a_pixel_is_predicted_where_its_probability_reaches_the_threshold(threshold, dtype, seed):
    rng = np.random.default_rng(seed)
    stored = (
        rng.random((5, 6)).astype(dtype) if dtype == np.float32 else rng.integers(0, 2, (5, 6)).astype(dtype)
    )
    if dtype in (np.uint8, np.uint16):
        stored = rng.integers(0, np.iinfo(dtype).max + 1, (5, 6)).astype(dtype)
    probability = stored / np.iinfo(dtype).max if stored.dtype.kind == "u" else stored

    np.testing.assert_array_equal(metrics.thresholds.binarise(stored, threshold), probability >= threshold)


def test_a_threshold_above_1_and_a_dtype_that_no_map_has_are_refused():
    with pytest.raises(SettingError, match=r"1\.2 is not a probability"):
        metrics.thresholds.to_index(1.2)
    with pytest.raises(GeometryError, match="int64"):
        metrics.thresholds.bin_edges(np.dtype(np.int64))


@few_examples
@given(seeds, st.sampled_from([2.0, 8.0, 20.0]))
def test_the_quantisation_error_bounds_what_ties_of_crowded_floats_change(seed, steepness):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 70)) < 0.3
    stored = (1 / (1 + np.exp(-steepness * (rng.normal(0, 1, truth.shape) + truth)))).astype(np.float32)
    counts = metrics.histogram(stored, truth)

    error = abs(
        metrics.average_precision(counts) - reference.average_precision_score(truth.ravel(), stored.ravel())
    )

    near = (np.minimum(stored, 1 - stored) < 1 / STEPS) & (stored > 0) & (stored < 1)
    assert error <= metrics.quantisation_error(counts) + 1e-12
    assert metrics.saturated_share(counts) == pytest.approx((near & truth).sum() / truth.sum())
    assert steepness < 20 or error > 1e-6  # the limit that the docs state does occur


def test_the_quantisation_error_of_one_shared_index_computed_by_hand():
    # one lesion pixel at the top, then two lesion and two background pixels at one index: precision 3/5
    counts = counts_of([0, 2, 1], [3, 2, 0])

    assert metrics.quantisation_error(counts) == pytest.approx(2 / 3 * max(3 / 3 - 3 / 5, 3 / 5 - 2 / 4))


@laws
@given(seeds, dtypes)
def test_maps_of_whole_numbers_have_no_quantisation_error(seed, dtype):
    assert metrics.quantisation_error(metrics.histogram(*map_and_truth(seed, dtype))) == 0


def test_without_lesion_pixels_there_is_no_quantisation_error():
    counts = counts_of([0, 0, 0], [4, 2, 1])

    assert metrics.quantisation_error(counts) is None
    assert metrics.saturated_share(counts) is None


# the three areas


def plain_33(levels, truth):
    """Return the challenge's area, threshold by threshold from the pixels."""
    points = []
    for threshold in np.linspace(0, 1, 33)[::-1]:
        predicted = levels >= threshold
        if predicted.any():
            points.append((truth[predicted].sum() / truth.sum(), truth[predicted].mean()))
    points.insert(0, (0, points[0][1]))
    recall, precision = np.array(points).T
    return np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2)


def plain_11(levels, truth):
    """Return the area of later papers, also from the pixels; scikit-learn adds up the trapezoids."""
    reference = pytest.importorskip("sklearn.metrics")
    recall, precision = [], []
    for k in range(11):
        predicted = levels > k / 10
        recall.append(truth[predicted].sum() / truth.sum())
        precision.append(truth[predicted].mean() if predicted.any() else 1)
    return reference.auc(recall, precision)


@few_examples
@given(seeds, st.sampled_from([np.uint8, np.uint16, np.float32]), st.floats(0.01, 1), st.floats(0.01, 0.5))
def test_coarse_areas_are_those_of_a_loop_over_thresholds(seed, dtype, reach, share):
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 40)) < share
    truth[0, 0] = True
    levels = (rng.random((30, 40)) * reach * (0.3 + 0.7 * truth)).astype(np.float32)
    stored = levels if dtype == np.float32 else np.rint(levels * np.iinfo(dtype).max).astype(dtype)
    probability = stored if dtype == np.float32 else stored / np.iinfo(dtype).max

    counts = metrics.histogram(stored, truth)

    assert metrics.official_33(counts) == pytest.approx(plain_33(probability, truth), abs=1e-9)
    assert metrics.coarse_11(counts) == pytest.approx(plain_11(probability, truth), abs=1e-9)


@few_examples
@given(seeds)
def test_average_precision_of_floats_is_that_of_scikit_learn(seed):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 70)) < 0.1
    truth[0, 0] = True
    logits = rng.normal(-4 + 5 * truth, 2)
    levels = (1 / (1 + np.exp(-logits))).astype(np.float32)

    counts = metrics.histogram(levels, truth)
    score, bound = metrics.average_precision(counts), metrics.quantisation_error(counts)

    expected = reference.average_precision_score(truth.ravel(), levels.ravel())
    assert bound < 1e-4
    assert score == pytest.approx(expected, abs=bound + 1e-9)


def map_of(name, truth):
    """Return a map whose scores are known."""
    return {
        "zeros": np.zeros(truth.shape, np.uint8),
        "ones": np.full(truth.shape, 255, np.uint8),
        "constant": np.full(truth.shape, 0.45, np.float32),
        "truth": truth,
        "truth of 8 bits": truth.astype(np.uint8) * np.uint8(255),
    }[name]


@pytest.mark.parametrize(
    ("name", "exact", "official", "coarse"),
    [
        ("zeros", 0.03, 0.03, 0.0),  # coarse: nothing is ever predicted, recall stays 0
        ("ones", 0.03, 0.03, 0.515),  # coarse: a line from precision 1, recall 0 to precision .03, recall 1
        ("constant", 0.03, 0.03, 0.515),
        ("truth", 1.0, 1.0, 1.0),
        ("truth of 8 bits", 1.0, 1.0, 1.0),
    ],
)
def test_areas_of_maps_with_a_known_answer(name, exact, official, coarse):
    truth = np.zeros((100, 100), bool)
    truth[10:20, 10:40] = True  # 300 of 10,000 pixels
    counts = metrics.histogram(map_of(name, truth), truth)

    assert metrics.average_precision(counts) == pytest.approx(exact, abs=1e-12)
    assert metrics.official_33(counts) == pytest.approx(official, abs=1e-12)
    assert metrics.coarse_11(counts) == pytest.approx(coarse, abs=1e-12)


def test_areas_of_the_truth_shifted_by_a_pixel():
    truth = np.zeros((100, 100), bool)
    truth[10:20, 10:40] = True  # ten rows of 30: shifted down, nine rows are right
    shifted = np.roll(truth, 1, axis=0)
    counts = metrics.histogram(shifted, truth)

    # precision .9 up to recall .9; then all pixels: recall 1 at precision .03
    assert metrics.average_precision(counts) == pytest.approx(0.9 * 0.9 + 0.1 * 0.03)
    assert metrics.official_33(counts) == pytest.approx(0.9 * 0.9 + 0.1 * (0.9 + 0.03) / 2)
    assert metrics.coarse_11(counts) == pytest.approx(
        0.9 * (1 + 0.9) / 2
    )  # p > 0 predicts exactly the shifted pixels
    assert metrics.dice(counts, MAX_INDEX) == pytest.approx(0.9)


def test_a_random_map_scores_about_its_prevalence_exactly_and_more_coarsely():
    rng = np.random.default_rng(0)
    truth = rng.random((400, 400)) < 0.05
    counts = metrics.histogram(rng.random((400, 400)).astype(np.float32), truth)

    assert metrics.average_precision(counts) == pytest.approx(0.05, abs=0.005)
    assert metrics.official_33(counts) == pytest.approx(0.05, abs=0.01)
    assert metrics.coarse_11(counts) > 0.09  # few thresholds inflate the area


def test_without_a_lesion_pixel_no_area_is_defined():
    counts = metrics.histogram(np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool))

    assert [area(counts) for area in metrics.ESTIMATORS.values()] == [None, None, None]


def test_dice_and_iou_of_rows_are_those_of_pixels():
    table = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])

    np.testing.assert_allclose(metrics.dice_scores(table), [6 / 9, np.nan, 0])
    np.testing.assert_allclose(metrics.iou_scores(table), [3 / 6, np.nan, 0])
