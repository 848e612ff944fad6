"""Figures of several photographs agree with what is worked out from their pixels one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from foveate import metrics
from foveate.evaluation import CaseHistogram, LesionScore, score, tabulate
from foveate.geometry.stitching import LEVELS


def histogram_of(number, pairs):
    """Count one photograph's maps: lesion -> (stored levels, truth)."""
    return CaseHistogram(
        name=f"eye {number}", counts={code: metrics.histogram(*pair) for code, pair in pairs.items()}
    )


@st.composite
def photographs(draw):
    """Some photographs with two lesions each: maps with many ties and, now and then, no lesion pixel."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = generator.integers(0, LEVELS + 1, draw(st.integers(1, 12))).astype(np.uint16)
    levels[0] = draw(st.sampled_from([0, LEVELS]))
    scores = []
    for _ in range(draw(st.integers(1, 4))):
        shape = tuple(draw(st.lists(st.integers(3, 9), min_size=2, max_size=2)))
        share = {code: draw(st.sampled_from([0.0, 0.1, 0.5])) for code in ("EX", "MA")}
        scores.append(
            {
                code: (generator.choice(levels, shape), generator.random(shape) < s)
                for code, s in share.items()
            }
        )
    return scores


def pooled(cases, code):
    """Concatenate all pixels of one lesion."""
    stored, truth = zip(*(ex[code] for ex in cases), strict=True)
    return np.concatenate([s.ravel() for s in stored]), np.concatenate([t.ravel() for t in truth])


def best_by_trying(stored, truth):
    """Try every level that makes a difference, and the highest there is; the highest of equals wins."""
    candidates = []
    for level in sorted({*stored.tolist(), LEVELS} - {0}):
        marked = stored >= level
        candidates.append((2 * (marked & truth).sum() / (marked.sum() + truth.sum()), level))
    return max(candidates)


@settings(max_examples=12)
@given(photographs())
def test_figures_are_those_of_all_pixels_put_together(cases):
    scores = score([histogram_of(number, pairs) for number, pairs in enumerate(cases)], resamples=2)

    assert list(scores) == ["EX", "MA"]
    for code, ex in scores.items():
        stored, truth = pooled(cases, code)
        assert ex.photographs == sum(pairs[code][1].any() for pairs in cases)
        if not truth.any():
            assert ex == LesionScore(
                average_precision=None, interval=None, threshold=None, dice=None, photographs=0
            )
            continue
        dice, level = best_by_trying(stored, truth)
        assert ex.average_precision == pytest.approx(average_precision_score(truth, stored), abs=1e-9)
        assert ex.dice == pytest.approx(dice, abs=1e-12)
        assert ex.threshold == level / LEVELS


def test_the_interval_is_that_of_photographs_drawn_anew():
    generator = np.random.default_rng(0)
    cases = [
        {"HE": (generator.integers(0, 9, (8, 8)).astype(np.uint16), generator.random((8, 8)) < 0.3)}
        for _ in range(5)
    ]
    several = [histogram_of(number, pairs) for number, pairs in enumerate(cases)]
    ex = score(several, resamples=50)["HE"]

    table = metrics.interval_table([case.counts["HE"].interval_bins() for case in several])
    assert ex.interval == metrics.interval(table, metrics.average_precisions, 50)
    assert ex.interval[0] < ex.average_precision < ex.interval[1]


def test_the_score_of_one_photograph_has_no_interval():
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4)
    ex = score([histogram_of(0, {"SE": (stored, stored % 3 == 0)})], resamples=3)["SE"]

    assert ex.average_precision is not None
    assert ex.interval is None


def test_by_hand():
    stored = np.array([[60000, 50000, 40000, 0]], np.uint16)
    truth = np.array([[True, False, True, False]])
    ex = score([histogram_of(0, {"MA": (stored, truth)})], resamples=1)["MA"]

    assert ex.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (ex.dice, ex.threshold, ex.photographs) == (pytest.approx(4 / 5), 40000 / 65535, 1)


def test_the_table_has_a_row_a_lesion_and_dashes_for_what_means_nothing():
    scores = {
        "EX": LesionScore(
            average_precision=0.8884, interval=(0.8, 0.91), threshold=0.4, dice=0.75, photographs=26
        ),
        "SE": LesionScore(average_precision=None, interval=None, threshold=None, dice=None, photographs=0),
    }

    header, rule, *rows = tabulate(scores).splitlines()

    assert {line.count("|") for line in (header, rule, *rows)} == {7}
    assert rows == [
        "| EX | 26 | 0.888 | 0.800 to 0.910 | 0.750 | 0.400 |",
        "| SE | 0 | - | - | - | - |",
    ]
    assert tabulate(scores).endswith("|\n")
