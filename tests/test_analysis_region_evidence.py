"""Faint regions leave the map, strong ones keep every pixel, and all formats agree on which are left."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, levels, seeds, turns

from foveate.analysis import region_evidence, regions
from foveate.packed_maps import PackedMaps
from foveate.types import Decision
from foveate.writers import maps

thresholds = st.sampled_from([1 / 255, 0.1, 0.2, 0.3, 0.4, 0.5, 0.77, 1.0]) | st.floats(0.001, 1)


def decision(threshold, evidence):
    return Decision(threshold=threshold, minimum_area=1, minimum_evidence=evidence)


def suppressed(stored, threshold, evidence):
    packed = PackedMaps.pack(stored[np.newaxis])
    region_evidence.suppress(packed, 0, decision(threshold, evidence))
    return packed[0]


def blobs(seed):
    """Return a map with regions of several sizes: noise, of which most is 0."""
    stored = levels(seed, (40, 40))
    stored[np.random.default_rng(seed + 1).random((40, 40)) < 0.6] = 0
    return stored


@laws
@given(seeds, thresholds)
def test_no_evidence_asked_for_changes_nothing(seed, threshold):
    np.testing.assert_array_equal(suppressed(blobs(seed), threshold, 0.0), blobs(seed))


@laws
@given(seeds, st.floats(0.05, 0.95), st.floats(0.01, 20))
def test_what_is_left_are_the_regions_with_enough_evidence(seed, threshold, evidence):
    stored = blobs(seed)
    lowest = region_evidence.lowest_lesion_level(threshold)
    before = regions.find(stored, lowest, "EX", 1, None)
    strong = [
        region.box
        for region in before
        if region.area_px * (region.mean_probability - threshold) >= evidence + 1e-9
    ]

    after = regions.find(suppressed(stored, threshold, evidence), lowest, "EX", 1, None)

    assert [region.box for region in after] == strong


@laws
@given(seeds, thresholds, st.floats(0.01, 1e5))
def test_levels_fall_to_just_below_the_threshold_or_stay(seed, threshold, evidence):
    stored = blobs(seed)

    changed = suppressed(stored, threshold, evidence)

    is_changed = changed != stored
    assert (changed[is_changed] == region_evidence.lowest_lesion_level(threshold) - 1).all()
    assert (stored[is_changed] > changed[is_changed]).all()


@laws
@given(thresholds)
def test_what_was_removed_is_no_lesion_in_any_format_and_what_is_lesion_in_one_was_measured(threshold):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    lowest = region_evidence.lowest_lesion_level(threshold)
    is_lesion = [maps.quantise(ramp, format) >= maps.level(threshold, format) for format in ("png", "png16")]

    assert not any(mask[ramp < lowest].any() for mask in is_lesion)
    assert lowest == 1 or (is_lesion[0] | is_lesion[1])[ramp == lowest].all()


@laws
@given(seeds, turns)
def test_turning_a_map_turns_what_is_left_of_it(seed, quarter):
    stored = blobs(seed)

    turned = suppressed(np.rot90(stored, quarter).copy(), 0.5, 1.0)

    np.testing.assert_array_equal(turned, np.rot90(suppressed(stored, 0.5, 1.0), quarter))


def test_a_map_without_lesion_has_no_region_and_stays():
    empty = np.zeros((4, 4), np.uint16)

    measured = region_evidence.measure(empty, 0.5)

    assert (measured.areas.tolist(), measured.evidence.tolist()) == ([16], [0.0])
    assert not suppressed(empty, 0.5, 1.0).any()


def test_evidence_is_area_times_mean_above_the_threshold():
    stored = np.zeros((6, 6), np.uint16)
    stored[0, :3] = 65535  # 3 px, .5 above
    stored[4:, 4:] = 65535 * 3 // 4  # 4 px, a quarter above

    measured = region_evidence.measure(stored, 0.5)

    assert measured.areas.tolist() == [29, 3, 4]
    assert measured.evidence.tolist() == pytest.approx([0, 1.5, 1.0], abs=1e-4)
    assert regions.find(suppressed(stored, 0.5, 1.2), 32768, "EX", 1, None)[0].area_px == 3


@laws
@given(seeds, st.floats(0.05, 0.95), st.floats(0.01, 20))
def test_the_regions_that_are_removed_are_those_that_are_measured_as_weak(seed, threshold, evidence):
    stored = blobs(seed)
    measured = region_evidence.measure(stored, threshold)
    clear = np.abs(measured.evidence - evidence) > 1e-9  # sums in another order may round otherwise
    weak = (measured.evidence < evidence) & clear
    weak[0] = False

    is_changed = suppressed(stored, threshold, evidence) != stored

    np.testing.assert_array_equal(
        is_changed[clear[measured.labels]], weak[measured.labels][clear[measured.labels]]
    )


def test_a_region_over_several_bands_is_lowered_in_its_own_map_alone():
    maps = np.zeros((2, 200, 9), np.uint16)
    maps[:, 5:190, 2:5] = 40000
    packed = PackedMaps.pack(maps)

    region_evidence.suppress(packed, 1, decision(0.5, 100.0))

    np.testing.assert_array_equal(packed[0], maps[0])
    lowered = np.where(maps[1] == 40000, region_evidence.lowest_lesion_level(0.5) - 1, 0)
    np.testing.assert_array_equal(packed[1], lowered)
