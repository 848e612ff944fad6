"""Detected lesions, calibration, image-level AUC and seams agree with plain counting and scikit-learn."""

import inspect

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import metrics
from foveate.errors import GeometryError, SettingError
from foveate.metrics import calibration, froc, seams
from foveate.metrics.froc import DIAMETERS, IOU, THRESHOLDS
from foveate.metrics.thresholds import MAX_INDEX


def blobs(seed, shape=(60, 70), dtype=np.uint16):
    """Return a map of smooth hills, and a truth that roughly covers the high parts."""
    rng = np.random.default_rng(seed)
    hills = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 2)
    hills = (hills - hills.min()) / (hills.max() - hills.min())
    truth = np.roll(hills, 2, axis=1) > 0.75
    if dtype == np.float32:
        return hills, truth
    return np.rint(hills * np.iinfo(dtype).max).astype(dtype), truth


def count_by_pairs(stored, truth, threshold):
    """Count detected lesions and false positives by both matchings, pair by pair."""
    highest = 1 if stored.dtype.kind == "f" else np.iinfo(stored.dtype).max
    components = []
    for mask in ((stored / highest) >= threshold, truth):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        components.append([labels == k for k in range(1, count)])
    regions, lesions = components
    result = {}
    for matching, match in (
        ("one_pixel", lambda f, d: (f & d).any()),
        ("iou_0.2", lambda f, d: (f & d).sum() / (f | d).sum() >= IOU),
    ):
        table = np.array([[match(f, d) for d in lesions] for f in regions], bool).reshape(
            len(regions), len(lesions)
        )
        result[matching] = (int(table.any(axis=0).sum()), int((~table.any(axis=1)).sum()))
    return result, len(lesions)


@laws
@given(seeds, st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_lesions_and_false_regions_are_those_of_comparing_every_pair(seed, dtype):
    stored, truth = blobs(seed, dtype=dtype)
    thresholds = (0.9, 0.7, 0.5, 0.3)

    detections = metrics.detect(stored, truth, thresholds)

    for index, threshold in enumerate(thresholds):
        expected, lesions = count_by_pairs(stored, truth, threshold)
        for matching, (true_positives, false_positives) in expected.items():
            detection = detections[matching]
            assert (detection.true_positives[index].sum(), detection.false_positives[index]) == (
                true_positives,
                false_positives,
            ), (matching, threshold)
            assert detection.lesions.sum() == lesions


@laws
@given(seeds)
def test_more_lesions_are_touched_as_the_threshold_falls(seed):
    detections = metrics.detect(*blobs(seed), THRESHOLDS)["one_pixel"]

    assert (np.diff(detections.true_positives, axis=0) >= 0).all()
    assert (detections.true_positives <= detections.lesions).all()


def stripes(shape=(90, 120), dtype=np.uint16):
    """Return a map of long diagonal stripes that fade, and a truth on some of them."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    highest = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    ramp = ((rows + columns) % 4 == 0) * (0.3 + 0.7 * rows / shape[0])
    return (ramp * highest).astype(dtype), ((rows + columns) % 12 == 0) & (columns % 40 > 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_regions_whose_boxes_overlap_are_packed_on_a_canvas_no_larger_than_the_photograph(dtype):
    stored, truth = stripes(dtype=dtype)
    thresholds = (0.9, 0.6, 0.2)

    packed = froc._pack_regions(stored, thresholds[-1])
    detections = metrics.detect(stored, truth, thresholds)

    assert packed.levels.size <= stored.size
    for index, threshold in enumerate(thresholds):
        for matching, (true_positives, false_positives) in count_by_pairs(stored, truth, threshold)[
            0
        ].items():
            detection = detections[matching]
            assert (detection.true_positives[index].sum(), detection.false_positives[index]) == (
                true_positives,
                false_positives,
            ), (matching, threshold)


def test_a_few_distant_regions_are_packed_on_a_small_canvas():
    stored = np.zeros((200, 300), np.uint8)
    stored[3:6, 3:6] = stored[190:195, 290:299] = 255

    assert froc._pack_regions(stored, 0.5).levels.size < 200


def test_the_truth_itself_detects_every_lesion_without_false_positives():
    _, truth = blobs(3)

    for detection in metrics.detect(truth, truth, (1.0, 0.5)).values():
        np.testing.assert_array_equal(detection.true_positives, [detection.lesions] * 2)
        np.testing.assert_array_equal(detection.false_positives, [0, 0])


def test_an_empty_map_detects_nothing_and_without_lesions_every_region_is_a_false_positive():
    empty, truth = np.zeros((20, 20), np.uint8), np.zeros((20, 20), bool)
    truth[4:6, 4:6] = True
    stored = np.zeros((20, 20), np.uint8)
    stored[1, 1] = stored[10, 10] = 255

    no_regions = metrics.detect(empty, truth, (0.5,))["one_pixel"]
    no_lesions = metrics.detect(stored, np.zeros_like(truth), (0.5,))["iou_0.2"]

    assert (
        no_regions.true_positives.sum(),
        no_regions.false_positives.tolist(),
        no_regions.lesions.sum(),
    ) == (0, [0], 1)
    assert (
        no_lesions.true_positives.sum(),
        no_lesions.false_positives.tolist(),
        no_lesions.lesions.sum(),
    ) == (0, [2], 0)


def test_thresholds_between_two_levels_are_computed_once(monkeypatch):
    """36 of the 52 thresholds differ at 8 bits; the same map in floats has the same detections at all."""
    stored, truth = blobs(3, dtype=np.uint8)
    compute, computed = froc._overlaps, []
    monkeypatch.setattr(froc, "_overlaps", lambda *given: computed.append(given[-1]) or compute(*given))

    at_levels = metrics.detect(stored, truth, THRESHOLDS)
    assert len(computed) == 36
    at_floats = metrics.detect(stored / 255, truth, THRESHOLDS)

    assert len(computed) == 36 + len(THRESHOLDS)
    for matching, detections in at_levels.items():
        np.testing.assert_array_equal(detections.true_positives, at_floats[matching].true_positives)
        np.testing.assert_array_equal(detections.false_positives, at_floats[matching].false_positives)


def test_a_truth_a_map_and_thresholds_that_do_not_fit_are_refused():
    stored, truth = blobs(0, dtype=np.float32)
    detect = inspect.unwrap(metrics.detect)

    with pytest.raises(GeometryError, match=r"^truth is uint8; give Boolean values, such as truth > 0$"):
        detect(stored, truth * np.uint8(255), (0.5,))
    with pytest.raises(GeometryError, match=r"^truth has the shape \(70, 60\); give \(60, 70\)"):
        detect(stored, truth.T, (0.5,))
    with pytest.raises(GeometryError, match=r"^the map has values from 0\.0 to 2\.0; give probabilities"):
        detect(2 * stored, truth, (0.5,))
    with pytest.raises(GeometryError, match=r"^the map is int64; give uint8"):
        detect((9 * stored).astype(np.int64), truth, (0.5,))
    for thresholds in ((), (0.3, 0.5), (0.5, 0.0), (1.5, 0.5)):
        with pytest.raises(SettingError, match=r"^the thresholds are .*; give probabilities above 0"):
            detect(stored, truth, thresholds)


def test_pixels_that_touch_by_a_corner_are_one_lesion():
    truth = np.eye(5, dtype=bool)

    assert metrics.detect(truth, truth, (0.5,))["one_pixel"].lesions.sum() == 1


def test_one_region_over_three_lesions_matches_all_by_a_pixel_and_none_by_iou():
    truth = np.zeros((9, 30), bool)
    truth[4, 2:5] = truth[4, 12:15] = truth[4, 22:25] = True
    stored = np.zeros((9, 30), np.uint8)
    stored[:, 1:27] = 255

    detections = metrics.detect(stored, truth, (0.5,))

    assert (detections["one_pixel"].true_positives.sum(), detections["one_pixel"].false_positives[0]) == (
        3,
        0,
    )
    assert (detections["iou_0.2"].true_positives.sum(), detections["iou_0.2"].false_positives[0]) == (0, 1)


def test_lesions_are_stratified_by_the_diameter_of_the_disc_of_their_area():
    truth = np.zeros((200, 400), np.uint8)
    for column, radius in ((30, 2), (80, 5), (140, 10), (220, 20), (330, 50)):
        cv2.circle(truth, (column, 100), radius, 1, cv2.FILLED)
    detections = metrics.detect(truth.astype(bool), truth.astype(bool), (0.5,))["one_pixel"]

    assert len(DIAMETERS) == 4
    np.testing.assert_array_equal(detections.lesions, [1, 1, 1, 1, 1])


def test_sensitivity_at_a_rate_has_at_most_so_many_false_positives():
    # three thresholds; two photographs pooled: true positives, false positives, lesions, photographs
    table = np.array([[3, 5, 6, 1, 4, 20, 10, 2]], np.float64)

    sensitivities = [froc.sensitivity_at(rate)(table)[0] for rate in (0.25, 0.5, 2.0, 10.0)]

    assert sensitivities == [0, 0.3, 0.5, 0.6]
    assert froc.sensitivity(1)(table)[0] == 0.5
    assert froc.false_positives(2)(table)[0] == 10


def discs(seed, shift):
    """Return a map of 65 discs, and a truth of 25 of them that are rather more probable.

    Args:
        seed: of the positions, sizes and logits.
        shift: added to the logits; a network that is not calibrated may state high odds for all discs.
    """
    rng, shape = np.random.default_rng(seed), (500, 600)
    truth, logits = np.zeros(shape, np.uint8), np.full(shape, -20.0)
    for index, cell in enumerate(rng.permutation(120)[:65].tolist()):
        disc = np.zeros(shape, np.uint8)
        centre = (25 + 50 * (cell % 12), 25 + 50 * (cell // 12))
        cv2.circle(disc, centre, int(rng.integers(3, 12)), 1, cv2.FILLED)
        logits[disc > 0] = rng.normal(3.0 if index < 25 else -0.5, 2.0) + shift
        if index < 25:
            truth |= disc
    return np.rint(65535 / (1 + np.exp(-logits))).astype(np.uint16), truth > 0


def rows_of_discs(shift, count=8, dtype=np.uint16):
    """Return the rows of several photographs of discs."""
    rows = []
    for seed in range(count):
        stored, truth = discs(seed, shift)
        stored = stored if dtype == np.uint16 else np.rint(stored / 257).astype(dtype)
        rows.append(metrics.detect(stored, truth, THRESHOLDS)["one_pixel"].table_row())
    return np.stack(rows)


@pytest.mark.parametrize("shift", [3, 5, 6])
def test_the_sensitivity_at_a_rate_is_that_of_the_same_map_with_other_odds(shift):
    draws = metrics.resample_photographs(8)

    calibrated, confident = (
        froc.estimate_at(4.0, rows_of_discs(added), draws, "none") for added in (0, shift)
    )

    assert calibrated.low > 0.4
    for end in ("value", "low", "high"):
        assert getattr(confident, end) == pytest.approx(getattr(calibrated, end), abs=0.08)


def test_nothing_is_said_where_even_the_highest_level_has_more_false_positives():
    fine, saturated = rows_of_discs(6), rows_of_discs(6, dtype=np.uint8)  # 8 bits end at .996
    draws = metrics.resample_photographs(8)

    estimate = froc.estimate_at(4.0, saturated, draws, "none is annotated")
    gains = (froc.gain_at(4.0, fine, saturated), froc.gain_at(4.0, saturated, fine))

    assert (saturated.sum(axis=0)[len(THRESHOLDS)]) > 4 * 8
    assert {*gains, estimate} == {metrics.Estimate(value=None, reason=froc.SATURATED)}
    no_lesion = saturated.copy()
    no_lesion[:, : len(THRESHOLDS)] = no_lesion[:, -2] = 0
    assert froc.estimate_at(4.0, no_lesion, draws, "none is annotated").reason == "none is annotated"


def test_there_is_no_interval_where_the_maps_are_saturated_in_many_samples():
    # two thresholds: true positives, false positives, lesions, photographs
    rows = np.array([[2, 3, 7, 20, 4, 1], [1, 3, 0, 20, 4, 1], [2, 4, 2, 20, 4, 1]], np.float64)
    draws = metrics.resample_photographs(3)

    for rate, has_interval in ((7.0, True), (4.0, False)):  # 3 on average, but 7 in one photograph
        estimate = froc.estimate_at(rate, rows, draws, "none is annotated")
        gain = froc.gain_at(rate, rows, rows)
        assert estimate.value == 5 / 12
        assert gain.value == 0
        assert (estimate.low is not None) == (gain.high is not None) == has_interval


def test_without_lesions_sensitivity_is_undefined_but_false_positives_are_not():
    table = np.array([[0, 0, 3, 4, 0, 1]], np.float64)

    assert np.isnan(froc.sensitivity(0)(table)[0])
    assert np.isnan(froc.sensitivity_at(8.0)(table)[0])
    assert froc.false_positives(0)(table)[0] == 3


# calibration


@laws
@given(seeds, st.sampled_from([np.uint8, np.uint16]))
def test_calibration_is_that_of_pixels_sorted_into_ten_bins(seed, dtype):
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, np.iinfo(dtype).max + 1, (40, 50)).astype(dtype)
    probability = stored / np.iinfo(dtype).max
    truth = rng.random(stored.shape) < probability**2
    bins = np.minimum((stored.astype(int) * 10) // np.iinfo(dtype).max, 9)
    expected = expected_above = 0.0
    for k in range(10):
        in_bin = bins == k
        error = abs(probability[in_bin].sum() - truth[in_bin].sum())
        expected, expected_above = expected + error, expected_above + error * (k > 0)

    row = calibration.table_row(metrics.histogram(stored, truth))[np.newaxis]

    assert calibration.expected_errors(row)[0] == pytest.approx(expected / truth.size)
    assert calibration.expected_errors_above_lowest(row)[0] == pytest.approx(
        expected_above / (bins > 0).sum()
    )


def test_a_map_of_true_probabilities_has_no_calibration_error():
    truth = np.zeros((10, 10), bool)
    truth[:3] = True
    certain = calibration.table_row(metrics.histogram(truth, truth))[np.newaxis]
    constant = calibration.table_row(metrics.histogram(np.full((10, 10), 0.3, np.float64), truth))[np.newaxis]

    assert calibration.expected_errors(certain)[0] == 0
    assert calibration.expected_errors(constant)[0] == pytest.approx(0, abs=1e-9)


def sampled_counts(draw_probabilities, probability_of_lesion, size=200_000, seed=0):
    """Return the counts of a 16-bit map whose truth is drawn with some function of its probabilities."""
    rng = np.random.default_rng(seed)
    stored = np.rint(draw_probabilities(rng, size) * 65535).astype(np.uint16)
    truth = rng.random(size) < probability_of_lesion(stored / 65535)
    return metrics.histogram(stored[np.newaxis], truth[np.newaxis])


def uniform(rng, size):
    return rng.uniform(0.01, 0.99, size)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, -2.0), (2.0, 1.0), (0.9, -5.0)])
def test_a_scaling_that_generated_the_truth_is_recovered(slope, shift):
    scaling = calibration.PlattScaling(slope=slope, shift=shift)

    fitted = calibration.fit(sampled_counts(uniform, scaling))

    assert fitted.slope == pytest.approx(slope, abs=0.05)
    assert fitted.shift == pytest.approx(shift, abs=0.1)


def test_the_fit_is_that_of_scikit_learn():
    reference = pytest.importorskip("sklearn.linear_model")
    counts = sampled_counts(uniform, lambda p: 0.6 * p**3, size=3000)
    inner = slice(1, -1)
    probabilities = counts.bin_edges[inner] / MAX_INDEX
    logits = np.tile(np.log(probabilities / (1 - probabilities)), 2)[:, np.newaxis]
    labels = np.repeat([1, 0], len(probabilities))
    weights = np.concatenate([counts.positives[inner], counts.negatives[inner]])
    model = reference.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, labels, weights)

    fitted = calibration.fit(counts)

    assert fitted.slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert fitted.shift == pytest.approx(model.intercept_[0], rel=1e-3)


def test_scaled_counts_are_calibrated_and_keep_their_order():
    counts = sampled_counts(uniform, lambda p: p**4)
    scaled = calibration.fit(counts).of_counts(counts)

    before, after = (
        calibration.expected_errors(calibration.table_row(each)[np.newaxis])[0] for each in (counts, scaled)
    )

    assert before > 0.2
    assert after < 0.03
    assert (np.diff(scaled.bin_edges) >= 0).all()
    assert (scaled.bin_edges[0], scaled.bin_edges[-1]) == (0, MAX_INDEX)


@pytest.mark.parametrize("truth", [False, True])
def test_without_pixels_of_both_kinds_there_is_no_scaling(truth):
    assert (
        calibration.fit(sampled_counts(uniform, lambda p: np.full(p.shape, float(truth)), size=500)) is None
    )


def test_a_map_that_ranks_lesions_lowest_is_not_inverted():
    assert calibration.fit(sampled_counts(uniform, lambda p: 1 - p)) is None
    with pytest.raises(SettingError, match="slope of a calibration is -1; give a number above 0"):
        calibration.PlattScaling(slope=-1.0, shift=0.0)


def test_each_photograph_is_scaled_by_the_fit_to_the_rest():
    rest = [sampled_counts(uniform, lambda p: p**4, seed=seed) for seed in (1, 2)]
    counts = sampled_counts(uniform, lambda p: p, seed=3)

    rows = calibration.leave_one_out([counts, *rest])

    expected = calibration.fit(metrics.pool(rest)).of_counts(counts)
    np.testing.assert_allclose(rows[0], calibration.table_row(expected))
    assert len(rows) == 3


# photographs


@laws
@given(seeds)
def test_image_auc_is_that_of_scikit_learn_ties_and_weights_included(seed):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    scores, has_lesion = rng.integers(0, 5, 12) / 4, np.arange(12) < rng.integers(1, 12)
    statistic = metrics.image_auc(scores, has_lesion)
    weights = rng.integers(1, 4, (1, 12)).astype(float)

    assert statistic(np.ones((1, 12)))[0] == pytest.approx(reference.roc_auc_score(has_lesion, scores))
    assert statistic(weights)[0] == pytest.approx(
        reference.roc_auc_score(has_lesion, scores, sample_weight=weights[0])
    )


def test_image_auc_is_undefined_where_all_photographs_have_the_lesion():
    assert np.isnan(metrics.image_auc(np.array([0.1, 0.9]), np.array([True, True]))(np.ones((1, 2)))[0])


def test_labels_that_are_not_boolean_or_too_few_and_scores_that_are_no_numbers_are_refused():
    scores, has_lesion = np.array([0.1, 0.9, 0.4]), np.array([False, True, True])
    image_auc = inspect.unwrap(metrics.image_auc)

    with pytest.raises(GeometryError, match=r"^has_lesion is int64; give Boolean values"):
        image_auc(scores, has_lesion.astype(np.int64))
    with pytest.raises(GeometryError, match=r"^has_lesion has the shape \(2,\); give \(3,\)"):
        image_auc(scores, has_lesion[:2])
    with pytest.raises(SettingError, match=r"^a score is not a number"):
        image_auc(np.array([0.1, np.nan, 0.4]), has_lesion)


def test_a_scaling_refuses_what_is_no_probability():
    scaling = calibration.PlattScaling(slope=2.0, shift=0.0)

    with pytest.raises(GeometryError, match=r"^the map has values from -0\.5 to 0\.5"):
        scaling(np.array([-0.5, 0.5]))


# seams


def test_seams_are_those_of_levels_inside_a_boolean_mask():
    levels, corners = np.zeros((12, 12), np.uint16), np.array([[0, 0], [0, 6]])
    table_row = inspect.unwrap(seams.table_row)

    with pytest.raises(GeometryError, match=r"^the map is float64; give levels, as uint8 or uint16$"):
        table_row(levels / 65535, levels == 0, corners, 6)
    with pytest.raises(GeometryError, match=r"^inside is uint8; give Boolean values"):
        table_row(levels, np.full((12, 12), 255, np.uint8), corners, 6)
    with pytest.raises(GeometryError, match=r"^inside has the shape \(12, 11\)"):
        table_row(levels, levels[:, 1:] == 0, corners, 6)


def test_jumps_are_separated_by_whether_a_window_begins_or_has_ended_there():
    levels = np.zeros((12, 12), np.uint16)
    levels[:, 6:] = 65535  # one jump of 1 between columns 5 and 6
    corners = np.array([[0, 0], [0, 6], [6, 0], [6, 6]])

    row = seams.table_row(levels, np.ones((12, 12), bool), corners, side=6)

    # borders: between rows 5 and 6, columns 5 and 6: 12 pairs each; elsewhere 2 * 12 * 10
    np.testing.assert_allclose(row, [12, 24, 0, 240])
    assert np.isnan(seams.ratio(row[np.newaxis])[0])  # nothing changes elsewhere


def test_where_windows_overlap_both_ends_are_borders():
    levels = np.zeros((14, 8), np.uint16)
    levels[8:] = 65535  # the first window has ended, the second began at row 6

    row = seams.table_row(levels, np.ones((14, 8), bool), np.array([[0, 0], [6, 0]]), side=8)

    np.testing.assert_allclose(row, [8, 2 * 8, 0, 11 * 8 + 14 * 7])


def test_a_smooth_map_shows_no_seam_and_pixels_outside_are_not_compared():
    levels = np.add.outer(np.arange(40), np.arange(40)).astype(np.uint16)
    corners = np.array([[r, c] for r in (0, 12, 24) for c in (0, 12, 24)])
    inside = np.ones((40, 40), bool)
    inside[:, 30:] = False
    levels[:, 30:] = 60000

    row = seams.table_row(levels, inside, corners, side=16)

    assert seams.ratio(row[np.newaxis])[0] == pytest.approx(1)
    assert row[1] + row[3] == 39 * 30 + 40 * 29
