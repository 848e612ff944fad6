"""The cut is the largest within its limits, on regions that are counted by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_package
from tiny_package import Red

from foveate import photographs
from foveate.datasets import Case
from foveate.errors import DatasetError
from foveate.evaluation import evidence_cuts
from foveate.evaluation.evidence_cuts import CaseRegions

FULL = 65535


def squares(*places):
    """Return a map of 100 x 100 px with squares of 4 px: (row, column, level)."""
    stored = np.zeros((100, 100), np.uint16)
    for row, column, level in places:
        stored[row : row + 2, column : column + 2] = level
    return stored


def case(evidence, lesion_px, pairs, annotated, annotated_px=100):
    """Return a photograph's regions of 10 px each, all but the background given."""
    return CaseRegions(
        evidence=np.array([0.0, *evidence]),
        areas=np.array([1000] + [10] * len(evidence)),
        lesion_px=np.array([0, *lesion_px]),
        pairs=np.array(pairs, np.int64).reshape(-1, 2).T,
        annotated=annotated,
        annotated_px=annotated_px,
    )


def test_regions_are_matched_with_the_lesions_that_share_a_pixel():
    stored = squares((10, 10, FULL), (10, 20, FULL), (50, 50, FULL * 3 // 4))
    plane = np.zeros((100, 100), bool)
    plane[10, 10:21] = True  # one lesion, under two regions
    plane[80:82, 80:82] = True  # one that is missed

    matched = evidence_cuts.match_regions(stored, plane, 0.5)

    assert matched.areas[1:].tolist() == [4, 4, 4]
    assert matched.evidence[1:].tolist() == pytest.approx([2, 2, 1], abs=1e-3)
    assert matched.lesion_px[1:].tolist() == [2, 1, 0]
    assert matched.pairs.tolist() == [[1, 1], [1, 2]]
    assert (matched.annotated, matched.annotated_px) == (2, 15)


def test_an_outcome_is_pooled_over_the_photographs():
    first = case([1, 2, 3], [10, 0, 5], [(1, 1), (2, 3)], 4, 30)
    second = case([5], [0], [], 1, 10)

    whole = evidence_cuts.outcome([first, second], 0.0, 1)
    cut = evidence_cuts.outcome([first, second], 2.5, 1)

    assert whole.dice == pytest.approx(2 * 15 / (40 + 40))
    assert (whole.found, whole.false_regions) == (2 / 5, 1)
    assert cut.dice == pytest.approx(2 * 5 / (20 + 40))
    assert (cut.found, cut.false_regions) == (1 / 5, 0.5)


def test_regions_below_the_minimum_area_are_in_the_mask_and_find_nothing():
    small = case([1], [10], [(1, 1)], 1)

    outcome = evidence_cuts.outcome([small], 0.0, 11)

    assert (outcome.found, outcome.false_regions) == (0, 0)
    assert outcome.dice == pytest.approx(2 * 10 / 110)


def test_the_cut_is_the_largest_that_loses_one_lesion_in_twenty():
    found = [(lesion, lesion) for lesion in range(1, 41)]  # 40 lesions, each under a region of its own
    evidence = [float(number) for number in range(1, 41)]
    many = case([*evidence, 2.5], [10] * 40 + [0], found, 40, annotated_px=10_000_000)

    cut = evidence_cuts.choose([many], 1)

    assert cut.minimum_evidence == 3.0  # without it and those below, 38 of 40 are left
    assert (cut.before.found, cut.after.found) == (1, 0.95)
    assert (cut.before.false_regions, cut.after.false_regions) == (1, 0)


def test_the_cut_keeps_the_dice_within_its_limit():
    pairs = [(lesion, lesion) for lesion in range(1, 101)]
    one = case([float(number) for number in range(1, 101)], [10] * 100, pairs, 100, annotated_px=1000)

    cut = evidence_cuts.choose([one], 1)

    assert cut.before.dice == 1
    assert cut.minimum_evidence == 1.0  # each region has 10 of 1,000 px: without one Dice is .995
    assert cut.after.dice >= 1 - evidence_cuts.DICE_LIMIT


def test_without_an_annotated_lesion_nothing_is_chosen():
    with pytest.raises(DatasetError, match="no lesion is annotated"):
        evidence_cuts.choose([case([1.0], [0], [], 0, 0)], 1)


def test_the_regions_of_a_photograph_are_those_at_the_package_s_threshold_without_its_own_cut(tmp_path):
    path = tiny_package.photograph(tmp_path / "eye.png")
    pixels = photographs.read(path).pixels
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[100:140, 100:140] = 255
    cv2.imwrite(str(tmp_path / "EX.png"), mask)
    eye = Case(name="eye", photograph=path, masks={"EX": tmp_path / "EX.png"}, annotated=("EX", "MA"))
    model = tiny_package.fake()
    asked = {code: replace(decision, minimum_evidence=1e6) for code, decision in model.decisions.items()}

    (plain,) = evidence_cuts.list_regions(model, Red(model.contract), [eye])
    strict = tiny_package.restated(model, decisions=asked)
    (filtered,) = evidence_cuts.list_regions(strict, Red(model.contract), [eye])

    assert plain["EX"].annotated == 1
    assert plain["EX"].annotated_px == 40 * 40
    assert plain["MA"].annotated == 0
    assert len(plain["EX"].areas) > 1
    assert plain["EX"].areas.sum() == filtered["EX"].areas.sum()
    np.testing.assert_array_equal(plain["EX"].evidence, filtered["EX"].evidence)
