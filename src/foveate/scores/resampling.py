"""How sure a score is: an interval by drawing the photographs anew.

Knows:   that photographs, not pixels, are independent of one another.
Ignores: what the statistic means.

Shape letter: B bins of stored levels.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64

from foveate.errors import SettingError
from foveate.scores.counts import Counts, pool

BINS = 4096
"""Bins that a resample is counted in. Beside its lowest level each holds less than 1/4096 of the lesion
pixels, so that average precision moves by less than 1/4096 of all that precision rises and falls by."""

COVERAGE = 0.95
"""Share of the resampled scores that lie in the interval."""


def interval(
    per_photograph: Sequence[Counts],
    statistic: Callable[[Counts], float | None],
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the 95 % interval of a pooled score over photographs drawn anew, with replacement.

    Args:
        per_photograph: counts of each, over the same levels.
        statistic: of the pooled counts, as `average_precision`; None where it means nothing.
        resamples: draws; with 2000 the standard error of either end is some 1.5 % of the interval's width.
        seed: of the draws.

    Returns:
        (low, high). Draws in which the statistic is None are left out; None where all are.

    Raises:
        GeometryError: there is no photograph, or they are counted over different levels.
        SettingError: fewer than one draw.

    Source: percentile bootstrap, Efron 1979, doi:10.1214/aos/1176344552.
    """
    if resamples < 1:
        raise SettingError(f"resamples is {resamples}; draw at least once")
    floors = coarse(pool(per_photograph))
    merged = [counts.merged(floors) for counts in per_photograph]
    positives = np.stack([counts.positives for counts in merged])
    negatives = np.stack([counts.negatives for counts in merged])
    size = len(merged)
    draws = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples)
    pooled = (Counts(positives=d @ positives, negatives=d @ negatives, floors=floors) for d in draws)
    scores = [score for score in map(statistic, pooled) if score is not None]
    if not scores:
        return None
    low, high = np.quantile(scores, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def coarse(counts: Counts) -> Int64[np.ndarray, " B"]:
    """Return floors of at most BINS + 1 bins that hold about equally many lesion pixels each.

    The lowest level of a bin holds lesion, so that levels without any join the next lesion level below them:
    that changes no average precision.
    """
    above = np.cumsum(counts.positives[::-1])[::-1] - counts.positives  # lesion pixels at higher levels
    share = above * BINS // max(1, int(counts.positives.sum()))
    floors: Int64[np.ndarray, " B"] = counts.floors[np.flatnonzero(np.diff(share, prepend=-1))]
    return floors
