"""Scores from counts are those of scikit-learn and of plain counting; pooling is adding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import metrics
from foveate.errors import GeometryError, SettingError
from foveate.metrics import bootstrap
from foveate.metrics.thresholds import STEPS, TOP

dtypes = st.sampled_from([np.uint8, np.uint16])

few = settings(max_examples=4)
"""For float maps, whose histograms have four million bins."""


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
    return metrics.Counts(
        positives=np.array(positives), negatives=np.array(negatives), floors=np.arange(len(positives))
    )


@laws
@given(seeds, dtypes, st.sampled_from([None, 2, 8, 64]), st.floats(0.001, 0.9))
def test_average_precision_is_that_of_scikit_learn_ties_included(seed, dtype, distinct, share):
    reference = pytest.importorskip("sklearn.metrics")
    stored, truth, inside = map_and_truth(seed, dtype, share=share, distinct=distinct)

    found = metrics.average_precision(metrics.histogram(stored, truth, inside))

    assert found == pytest.approx(
        reference.average_precision_score(truth[inside], stored[inside].astype(int)), abs=1e-9
    )


@laws
@given(seeds, dtypes, st.sampled_from([None, 8]))
def test_the_curve_is_that_of_scikit_learn(seed, dtype, distinct):
    reference = pytest.importorskip("sklearn.metrics")
    stored, truth, _ = map_and_truth(seed, dtype, distinct=distinct)

    curve = metrics.precision_recall(metrics.histogram(stored, truth))

    precision, recall, levels = reference.precision_recall_curve(truth.ravel(), stored.ravel().astype(int))
    np.testing.assert_array_equal(curve.levels, levels[::-1] * (TOP // np.iinfo(dtype).max))
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1])
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1])
    assert curve.recall[-1] == 1


@laws
@given(seeds, seeds, dtypes)
def test_adding_counts_pools_the_pixels_of_two_photographs(one, other, dtype):
    first, second = map_and_truth(one, dtype), map_and_truth(other, dtype, shape=(30, 50))
    together = (np.concatenate(pair) for pair in zip(first, second, strict=True))

    added = metrics.histogram(*first) + metrics.histogram(*second)
    at_once = metrics.histogram(*together)

    np.testing.assert_array_equal(added.positives, at_once.positives)
    np.testing.assert_array_equal(added.negatives, at_once.negatives)


@laws
@given(seeds, st.integers(0, 255))
def test_dice_is_counted_over_the_pixels_at_or_above_the_level(seed, level):
    stored, truth, inside = map_and_truth(seed)

    found = metrics.dice(metrics.histogram(stored, truth, inside), level * (TOP // 255))

    marked, lesion = (stored >= level) & inside, truth & inside
    assert found == pytest.approx(2 * (marked & lesion).sum() / (marked.sum() + lesion.sum()))


@settings(max_examples=6)
@given(seeds, st.sampled_from([None, 4, 16]))
def test_the_best_level_has_the_highest_dice_and_is_the_highest_that_does(seed, distinct):
    counts = metrics.histogram(*map_and_truth(seed, distinct=distinct))
    every = [metrics.dice(counts, level * (TOP // 255)) for level in range(256)]

    best, rest = divmod(metrics.best_dice_level(counts), TOP // 255)

    assert rest == 0

    assert 1 <= best <= 255
    assert every[best] == max(every[1:])
    assert all(value < every[best] for value in every[best + 1 :])


def test_the_best_level_marks_something_though_marking_all_would_score_more():
    counts = counts_of([9, 0, 1, 0], [0, 0, 1, 5])  # most lesion pixels lie at level 0

    assert metrics.dice(counts, 0) > metrics.dice(counts, 1)
    assert metrics.best_dice_level(counts) == 2


def test_scores_of_four_pixels_counted_by_hand():
    # levels 3 2 1 0 hold lesion, other, lesion, other: precision 1 at recall 1/2, then 2/3 at recall 1
    stored = np.array([[3, 2], [1, 0]], np.uint8)
    truth = np.array([[True, False], [True, False]])
    step = TOP // 255

    counts = metrics.histogram(stored, truth)

    assert metrics.average_precision(counts) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.dice(counts, 3 * step) == pytest.approx(2 * 1 / (1 + 2))
    assert metrics.dice(counts, 2 * step) == pytest.approx(2 * 1 / (2 + 2))
    assert metrics.dice(counts, 1 * step) == pytest.approx(2 * 2 / (3 + 2))
    assert metrics.best_dice_level(counts) == step
    curve = metrics.precision_recall(counts)
    np.testing.assert_array_equal(curve.levels, [3 * step, 2 * step, step, 0])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2, 1, 1])


def test_counts_have_a_place_for_every_level_of_the_dtype():
    truth = np.array([[True, True, False]])

    eight = metrics.histogram(np.array([[255, 0, 255]], np.uint8), truth)
    sixteen = metrics.histogram(np.array([[65535, 0, 65535]], np.uint16), truth)
    floats = metrics.histogram(np.array([[1, 0, 1]], np.float32), truth)

    for counts, levels in ((eight, 256), (sixteen, 65536), (floats, TOP + 1)):
        assert len(counts.positives) == len(counts.negatives) == levels
        np.testing.assert_array_equal(counts.floors, np.arange(levels) * (TOP // (levels - 1)))
        assert (counts.positives[0], counts.positives[-1], counts.negatives[-1]) == (1, 1, 1)


def test_pixels_outside_are_not_counted():
    stored, truth = np.array([[5, 6, 7]], np.uint8), np.array([[True, True, False]])

    counts = metrics.histogram(stored, truth, np.array([[True, False, False]]))

    assert (counts.positives.sum(), counts.negatives.sum()) == (1, 0)


def test_without_a_lesion_pixel_there_is_no_precision_recall_or_best_level():
    counts = counts_of([0, 0, 0], [4, 2, 1])

    assert metrics.average_precision(counts) is None
    assert metrics.precision_recall(counts) is None
    assert metrics.best_dice_level(counts) is None


def test_dice_is_0_where_all_that_is_marked_is_wrong_and_none_where_there_is_nothing_to_mark():
    counts = counts_of([0, 0, 0], [4, 2, 0])

    assert metrics.dice(counts, 1) == 0
    assert metrics.dice(counts, 2) is None


@few
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
    wanted = reference.average_precision_score(truth, levels)
    assert metrics.average_precision(pooled) == pytest.approx(wanted, abs=1e-9)


def test_there_must_be_a_photograph_to_pool():
    with pytest.raises(GeometryError, match="no counts"):
        metrics.pool([])


def test_pooling_adds_every_photograph_once():
    three = [counts_of([1, 0], [0, 2]), counts_of([0, 5], [7, 0]), counts_of([2, 2], [1, 1])]

    pooled = metrics.pool(three)

    np.testing.assert_array_equal(pooled.positives, [3, 7])
    np.testing.assert_array_equal(pooled.negatives, [8, 3])


def test_wider_bins_hold_the_places_from_their_floor_to_the_next():
    counts = counts_of([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])

    positives, negatives = counts.binned(np.array([0, 2, 3]))

    np.testing.assert_array_equal(positives, [3, 3, 9])
    np.testing.assert_array_equal(negatives, [9, 3, 3])


def test_a_sketch_has_few_bins_and_one_for_each_level_of_8_bits_and_each_threshold():
    assert len(metrics.SKETCH) <= 4096
    assert metrics.SKETCH[0] == 0
    eight = np.searchsorted(metrics.SKETCH, np.arange(256) * (TOP // 255), side="right")
    assert len(np.unique(eight)) == 256
    assert {1, TOP, *metrics.OFFICIAL, *metrics.COARSE[:-1]} <= set(metrics.SKETCH.tolist())


def extremes(sketch):
    """Return the least and the most average precision that a sketch leaves open."""
    hits, others = (row[::-1].cumsum() for row in sketch)
    hit, other = (row[::-1] for row in sketch)
    least = sum(
        (np.arange(1, n + 1) + h - n) @ (1 / (np.arange(1, n + 1) + h - n + o))
        for h, o, n in zip(hits, others, hit, strict=True)
        if n
    )
    most = sum(n * h / (h + o - new) for h, o, n, new in zip(hits, others, hit, other, strict=True) if n)
    return least / hits[-1], most / hits[-1]


@laws
@given(seeds, st.floats(0.01, 0.5), st.sampled_from([1, 30, 3000]))
def test_a_sketch_keeps_all_pixels_and_average_precision_as_closely_as_its_bins_tell(seed, share, squeeze):
    stored, truth, _ = map_and_truth(seed, np.uint16, shape=(90, 100), share=share)
    counts = metrics.histogram(stored // squeeze, truth)  # squeezed: all at the lowest levels, many ties

    sketch = counts.sketch()

    (found,) = metrics.average_precisions(metrics.sketches([sketch]))
    exact = metrics.average_precision(counts)
    least, most = extremes(sketch)
    assert sketch.sum() == truth.size
    assert sketch[0].sum() == truth.sum()
    assert least - 1e-9 <= min(found, exact) <= max(found, exact) <= most + 1e-9
    assert found == pytest.approx(exact, abs=1e-2)  # of 900 draws .0034 was the most


def test_the_sketch_of_a_large_map_is_off_by_less_than_a_tenth_of_a_thousandth():
    counts = metrics.histogram(*map_and_truth(1, np.uint16, shape=(1500, 2000), share=0.005))

    (found,) = metrics.average_precisions(metrics.sketches([counts.sketch()]))

    assert found == pytest.approx(metrics.average_precision(counts), abs=1e-4)


@laws
@given(seeds)
def test_a_sketch_of_8_bits_loses_nothing(seed):
    counts = metrics.histogram(*map_and_truth(seed))

    (found,) = metrics.average_precisions(metrics.sketches([counts.sketch()]))

    assert found == pytest.approx(metrics.average_precision(counts), abs=1e-12)


def photographs(count=9):
    return [
        metrics.histogram(*map_and_truth(seed, np.uint16, share=0.02 + 0.03 * seed)) for seed in range(count)
    ]


def table_of(several):
    return metrics.sketches([counts.sketch() for counts in several])


def test_the_interval_is_that_of_photographs_drawn_anew_pixel_counts_and_all():
    several = photographs()
    draws = np.random.default_rng(7).multinomial(9, np.full(9, 1 / 9), size=25)
    exact = [
        metrics.average_precision(metrics.pool([several[i] for i in np.repeat(np.arange(9), draw)]))
        for draw in draws
    ]

    found = metrics.interval(table_of(several), metrics.average_precisions, resamples=25, seed=7)

    assert found == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])), abs=1e-3)


def test_the_interval_holds_the_pooled_score_and_depends_on_the_seed_alone():
    several = photographs()
    table, pooled = table_of(several), metrics.average_precision(metrics.pool(several))

    low, high = metrics.interval(table, metrics.average_precisions, resamples=200)

    assert low < pooled < high
    assert (low, high) == metrics.interval(table, metrics.average_precisions, resamples=200, seed=0)
    assert (low, high) != metrics.interval(table, metrics.average_precisions, resamples=200, seed=1)


def test_photographs_that_are_all_alike_leave_no_interval_between_low_and_high():
    one = photographs(1)[0]

    low, high = metrics.interval(table_of([one] * 4), metrics.average_precisions, resamples=50)

    assert low == pytest.approx(high) == pytest.approx(metrics.average_precision(one), abs=1e-3)


def test_draws_without_a_lesion_are_left_out_and_without_any_there_is_no_interval():
    sick, healthy = counts_of([0, 0, 3], [9, 1, 0]), counts_of([0, 0, 0], [9, 4, 0])

    def found(several):
        table = np.array([[*one.positives, *one.negatives] for one in several], np.float64)
        return metrics.interval(table, metrics.average_precisions, resamples=50)

    assert found([sick, healthy, healthy]) == (1, 1)
    assert found([healthy, healthy]) is None


def test_at_least_one_draw_and_one_photograph_are_asked_for():
    with pytest.raises(SettingError, match="resamples is 0"):
        metrics.interval(np.ones((2, 2)), metrics.ratios, resamples=0)
    with pytest.raises(GeometryError, match="no photographs"):
        metrics.draws(0)


def test_an_estimate_without_a_value_says_why():
    found = metrics.estimate(np.zeros((3, 2)), metrics.ratios, metrics.draws(3, 10), "nothing is there")

    assert found == metrics.Estimate(value=None, low=None, high=None, reason="nothing is there")


def test_results_do_not_depend_on_how_many_draws_are_pooled_at_a_time(monkeypatch):
    table = table_of(photographs(4))
    at_once = metrics.interval(table, metrics.average_precisions, resamples=40)
    monkeypatch.setattr(bootstrap, "ENTRIES", 1)

    assert metrics.interval(table, metrics.average_precisions, resamples=40) == at_once


# paired differences


@laws
@given(seeds)
def test_a_paired_difference_is_that_of_both_scores_in_every_draw(seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(1, 50, (6, 3)).astype(float) for _ in range(2))
    drawn = metrics.draws(6, 80, 3)
    wanted = metrics.dices(drawn @ one) - metrics.dices(drawn @ other)

    found = metrics.paired_interval(one, other, metrics.dices, resamples=80, seed=3)

    assert found.value == pytest.approx(
        metrics.dices(one.sum(0)[None])[0] - metrics.dices(other.sum(0)[None])[0]
    )
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(wanted, [0.025, 0.975])))


def test_pairing_is_surer_than_two_intervals_where_photographs_are_hard_for_both():
    rng = np.random.default_rng(0)
    hits = rng.integers(10, 1000, 20).astype(float)
    one = np.stack([hits, np.full(20, 1000.0)], axis=1)
    other = one - [5, 0]

    found = metrics.paired_interval(one, other, metrics.ratios)
    low, high = metrics.interval(one, metrics.ratios)

    assert found.low == pytest.approx(0.005)
    assert found.high == pytest.approx(0.005)
    assert high - low > 0.1


def test_systems_are_compared_on_the_same_photographs_only():
    with pytest.raises(GeometryError, match="2 photographs beside 3"):
        metrics.paired_interval(np.ones((2, 2)), np.ones((3, 2)), metrics.ratios)


def test_a_difference_of_what_means_nothing_is_none():
    assert metrics.paired_interval(np.ones((2, 2)), np.zeros((2, 2)), metrics.ratios).value is None


# the ruler


@given(st.floats(0, 1, width=32), st.sampled_from([k / 32 for k in range(33)] + [k / 10 for k in range(11)]))
def test_float_maps_are_counted_on_the_right_side_of_every_threshold(p, threshold):
    (place,) = metrics.thresholds.places(np.array([p], np.float32))

    assert (place >= metrics.thresholds.place(threshold)) == (p >= threshold)
    assert (place > metrics.thresholds.place(threshold)) == (p > threshold)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_lies_on_the_side_of_every_threshold_that_division_says(dtype):
    top = int(np.iinfo(dtype).max)
    levels = np.arange(top + 1, dtype=dtype)[np.newaxis]
    counts = metrics.histogram(levels, np.ones(levels.shape, bool))

    for places, thresholds, marks in (
        (metrics.OFFICIAL, np.arange(33) / 32, np.greater_equal),
        (metrics.COARSE, np.arange(11) / 10, np.greater),
    ):
        wanted = [marks(levels / top, threshold).sum() for threshold in thresholds]
        np.testing.assert_array_equal(counts.reaching(places)[0], wanted)


def test_0_and_1_have_places_of_their_own():
    near = np.array([[0, 1e-30, 0.5, np.nextafter(np.float32(1), np.float32(0)), 1]], np.float32)

    counts = metrics.histogram(near, np.ones(near.shape, bool))

    np.testing.assert_array_equal(counts.floors[counts.positives > 0], [0, 1, STEPS, TOP - 1, TOP])


@laws
@given(st.floats(0.0001, 1), st.sampled_from([bool, np.uint8, np.uint16, np.float32]), seeds)
def test_pixels_are_marked_from_their_probability_on(threshold, dtype, seed):
    rng = np.random.default_rng(seed)
    stored = (
        rng.random((5, 6)).astype(dtype) if dtype == np.float32 else rng.integers(0, 2, (5, 6)).astype(dtype)
    )
    if dtype in (np.uint8, np.uint16):
        stored = rng.integers(0, np.iinfo(dtype).max + 1, (5, 6)).astype(dtype)
    probability = stored / np.iinfo(dtype).max if stored.dtype.kind == "u" else stored

    np.testing.assert_array_equal(metrics.thresholds.marked(stored, threshold), probability >= threshold)


def test_a_probability_beyond_the_ruler_and_a_dtype_that_no_map_has_are_refused():
    with pytest.raises(SettingError, match=r"1\.2 lies on no ruler"):
        metrics.thresholds.place(1.2)
    with pytest.raises(GeometryError, match="int64"):
        metrics.thresholds.floors(np.dtype(np.int64))


@few
@given(seeds, st.sampled_from([2.0, 8.0, 20.0]))
def test_rounding_is_the_most_that_ties_of_crowded_floats_can_change(seed, steepness):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 70)) < 0.3
    stored = (1 / (1 + np.exp(-steepness * (rng.normal(0, 1, truth.shape) + truth)))).astype(np.float32)
    counts = metrics.histogram(stored, truth)

    off = abs(
        metrics.average_precision(counts) - reference.average_precision_score(truth.ravel(), stored.ravel())
    )

    near = (np.minimum(stored, 1 - stored) < 1 / STEPS) & (stored > 0) & (stored < 1)
    assert off <= metrics.rounding(counts) + 1e-12
    assert metrics.ends(counts) == pytest.approx((near & truth).sum() / truth.sum())
    assert steepness < 20 or off > 1e-6  # the limit that the docs state is real


def test_rounding_by_hand_of_one_shared_place():
    # one surer lesion pixel, then two lesion and two other pixels in one place: precision 3/5
    counts = counts_of([0, 2, 1], [3, 2, 0])

    assert metrics.rounding(counts) == pytest.approx(2 / 3 * max(3 / 3 - 3 / 5, 3 / 5 - 2 / 4))


@laws
@given(seeds, dtypes)
def test_whole_number_maps_are_not_rounded(seed, dtype):
    assert metrics.rounding(metrics.histogram(*map_and_truth(seed, dtype))) == 0


def test_without_lesion_pixels_rounding_means_nothing():
    counts = counts_of([0, 0, 0], [4, 2, 1])

    assert metrics.rounding(counts) is None
    assert metrics.ends(counts) is None


# the three areas


def plain_33(levels, truth):
    """The challenge's area, threshold by threshold from the pixels."""
    points = []
    for threshold in np.linspace(0, 1, 33)[::-1]:
        marked = levels >= threshold
        if marked.any():
            points.append((truth[marked].sum() / truth.sum(), truth[marked].mean()))
    points.insert(0, (0, points[0][1]))
    recall, precision = np.array(points).T
    return np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2)


def plain_11(levels, truth):
    """The area of later papers, the same way; scikit-learn adds up the trapezoids."""
    reference = pytest.importorskip("sklearn.metrics")
    recall, precision = [], []
    for k in range(11):
        marked = levels > k / 10
        recall.append(truth[marked].sum() / truth.sum())
        precision.append(truth[marked].mean() if marked.any() else 1)
    return reference.auc(recall, precision)


@few
@given(seeds, st.sampled_from([np.uint8, np.uint16, np.float32]), st.floats(0.01, 1), st.floats(0.01, 0.5))
def test_coarse_areas_are_those_of_thresholds_tried_one_by_one(seed, dtype, reach, share):
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 40)) < share
    truth[0, 0] = True
    levels = (rng.random((30, 40)) * reach * (0.3 + 0.7 * truth)).astype(np.float32)
    stored = levels if dtype == np.float32 else np.rint(levels * np.iinfo(dtype).max).astype(dtype)
    probability = stored if dtype == np.float32 else stored / np.iinfo(dtype).max

    counts = metrics.histogram(stored, truth)

    assert metrics.official_33(counts) == pytest.approx(plain_33(probability, truth), abs=1e-9)
    assert metrics.coarse_11(counts) == pytest.approx(plain_11(probability, truth), abs=1e-9)


@few
@given(seeds)
def test_average_precision_of_floats_is_that_of_scikit_learn(seed):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 70)) < 0.1
    truth[0, 0] = True
    logits = rng.normal(-4 + 5 * truth, 2)
    levels = (1 / (1 + np.exp(-logits))).astype(np.float32)

    found = metrics.average_precision(metrics.histogram(levels, truth))

    assert found == pytest.approx(reference.average_precision_score(truth.ravel(), levels.ravel()), abs=1e-6)


def known(kind, truth):
    """Maps with a known answer."""
    return {
        "zeros": np.zeros(truth.shape, np.uint8),
        "ones": np.full(truth.shape, 255, np.uint8),
        "constant": np.full(truth.shape, 0.45, np.float32),
        "truth": truth,
        "truth of 8 bits": truth.astype(np.uint8) * np.uint8(255),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "exact", "official", "coarse"),
    [
        ("zeros", 0.03, 0.03, 0.0),  # coarse: nothing is ever marked, recall stays 0
        ("ones", 0.03, 0.03, 0.515),  # coarse: a line from precision 1, recall 0 to precision .03, recall 1
        ("constant", 0.03, 0.03, 0.515),
        ("truth", 1.0, 1.0, 1.0),
        ("truth of 8 bits", 1.0, 1.0, 1.0),
    ],
)
def test_areas_of_maps_with_a_known_answer(kind, exact, official, coarse):
    truth = np.zeros((100, 100), bool)
    truth[10:20, 10:40] = True  # 300 of 10,000 pixels
    counts = metrics.histogram(known(kind, truth), truth)

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
    )  # p > 0 marks nothing but the shifted
    assert metrics.dice(counts, TOP) == pytest.approx(0.9)


def test_a_random_map_scores_about_its_prevalence_exactly_and_more_coarsely():
    rng = np.random.default_rng(0)
    truth = rng.random((400, 400)) < 0.05
    counts = metrics.histogram(rng.random((400, 400)).astype(np.float32), truth)

    assert metrics.average_precision(counts) == pytest.approx(0.05, abs=0.005)
    assert metrics.official_33(counts) == pytest.approx(0.05, abs=0.01)
    assert metrics.coarse_11(counts) > 0.09  # few thresholds inflate the area


def test_without_a_lesion_pixel_no_area_means_anything():
    counts = metrics.histogram(np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool))

    assert [area(counts) for area in metrics.ESTIMATORS.values()] == [None, None, None]


def test_dice_and_iou_of_rows_are_those_of_pixels():
    table = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])

    np.testing.assert_allclose(metrics.dices(table), [6 / 9, np.nan, 0])
    np.testing.assert_allclose(metrics.ious(table), [3 / 6, np.nan, 0])
