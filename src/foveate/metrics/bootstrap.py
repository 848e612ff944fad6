"""Confidence intervals of scores by the bootstrap over photographs.

Knows:   that photographs, not pixels, are independent of one another, and that two systems are compared on
         the same bootstrap samples.
Ignores: what the statistic means.

A pooled score is a function of sums over photographs. A table holds the summands, one row for each
photograph, so the sums of all bootstrap samples are one matrix product.

Shape letters: P Q photographs, R bootstrap samples, C D columns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from foveate.errors import GeometryError, SettingError
from foveate.wording import quantity

COVERAGE = 0.95
"""Share of the resampled scores that lie in the interval."""

RESAMPLES = 2000
"""Bootstrap samples; with 2000 the standard error of either end is some 1.5 % of the interval's width."""

ENTRIES = 1 << 21
"""Sums that are computed at a time; this bounds the memory to some 16 MB for each array."""

Statistic = Callable[[Float64[np.ndarray, "R C"]], Float64[np.ndarray, " R"]]
"""Function from rows of sums to a score for each row; NaN where the score is undefined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A score and its confidence interval."""

    value: float | None
    """None where the score is undefined."""
    low: float | None = None
    """Lower end of the 95 % interval; None where nothing is known of the score's spread: it depends on a
    single photograph, or (`froc.estimate_at`) on saturated maps."""
    high: float | None = None
    """Upper end."""
    reason: str = ""
    """Why there is no value."""


def resample_photographs(
    photographs: int, resamples: int = RESAMPLES, seed: int = 0
) -> Int64[np.ndarray, "R P"]:
    """Draw bootstrap samples, and return how often each photograph is drawn in each.

    Every sample has as many photographs as there are, drawn with replacement.

    Raises:
        GeometryError: there is no photograph.
        SettingError: fewer than one sample is asked for.
    """
    if photographs < 1:
        raise GeometryError("there is no photograph to resample; score at least one")
    if resamples < 1:
        raise SettingError(f"resamples is {resamples}; give 1 or more")
    shares = np.full(photographs, 1 / photographs)
    return np.random.default_rng(seed).multinomial(photographs, shares, size=resamples)


def estimate(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, draws: Int64[np.ndarray, "R P"], reason: str
) -> Estimate:
    """Return the score of all photographs and its 95 % interval.

    Args:
        table: the summands, one row for each photograph.
        statistic: the score as a function of the sums.
        draws: bootstrap samples from `resample_photographs`; the same for all scores that are compared.
        reason: explanation that is returned if the score is undefined.

    Source: percentile bootstrap, Efron 1979, doi:10.1214/aos/1176344552.
    """
    (value,) = statistic(table.sum(axis=0, keepdims=True)).tolist()
    if np.isnan(value):
        return Estimate(value=None, reason=reason)
    if _depends_on_one(table, statistic):
        return Estimate(value=value)
    low, high = _percentiles(_scores(table, statistic, draws))
    return Estimate(value=value, low=low, high=high)


def interval(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of a pooled score.

    Args:
        table: the summands, one row for each photograph.
        statistic: the score as a function of the sums, such as `average_precisions`.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.

    Returns:
        (low, high). Samples in which the score is undefined are left out; None where it is undefined without
        one of the photographs, as if only one has the lesion.

    Raises:
        GeometryError: there is no photograph.
        SettingError: fewer than one sample is asked for.

    Source: as for `estimate`.
    """
    draws = resample_photographs(len(table), resamples, seed)
    return None if _depends_on_one(table, statistic) else _percentiles(_scores(table, statistic, draws))


def paired_interval(
    first: Float64[np.ndarray, "P C"],
    second: Float64[np.ndarray, "Q D"],
    statistic: Statistic,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return by how much the first system scores higher than the second, with a 95 % interval.

    Both systems are scored on the same photographs in every sample. Photographs that are hard for both cancel
    out, so the interval is narrower than the two systems' own intervals suggest. It excludes 0 if at most
    2.5 % of the samples favour the other system.

    Args:
        first: summands of the first system, one row for each photograph.
        second: summands of the second system, for the same photographs in the same order. It may have other
            columns, such as other bins from `interval_table`.
        statistic: the score as a function of the sums.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.

    Raises:
        GeometryError: the numbers of photographs differ, or there is no photograph.
        SettingError: fewer than one sample is asked for.

    Source: paired percentile bootstrap, Efron and Tibshirani 1993, chapter 16.
    """
    if len(first) != len(second):
        raise GeometryError(
            f"the first system has {quantity(len(first), 'photograph')}, the second {len(second):,}; compare "
            "both on the same photographs"
        )
    draws = resample_photographs(len(first), resamples, seed)
    # The scores of all photographs, without resampling; their difference is the estimate.
    values = [statistic(table.sum(axis=0, keepdims=True))[0] for table in (first, second)]
    if np.isnan(values).any():
        return Estimate(value=None, reason="the score is undefined for at least one of the two systems")
    value = float(values[0] - values[1])
    if any(_depends_on_one(table, statistic) for table in (first, second)):
        return Estimate(value=value)
    low, high = _percentiles(_scores(first, statistic, draws) - _scores(second, statistic, draws))
    return Estimate(value=value, low=low, high=high)


def divide_or_nan(
    part: Float64[np.ndarray, " R"], whole: Float64[np.ndarray, " R"]
) -> Float64[np.ndarray, " R"]:
    """Divide element by element; the quotient is NaN where the whole is 0."""
    quotient: Float64[np.ndarray, " R"] = np.full(len(part), np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _scores(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, draws: Int64[np.ndarray, "R P"]
) -> Float64[np.ndarray, " R"]:
    return np.concatenate([statistic(pooled) for pooled in _pooled(table, draws)])


def _pooled(
    table: Float64[np.ndarray, "P C"], draws: Int64[np.ndarray, "R P"]
) -> Iterator[Float64[np.ndarray, "r C"]]:
    """Yield the sums of some bootstrap samples at a time; pixel sums stay below 2**53, so they are exact."""
    batch = max(1, ENTRIES // table.shape[1])
    for start in range(0, len(draws), batch):
        yield draws[start : start + batch].astype(np.float64) @ table


def _depends_on_one(table: Float64[np.ndarray, "P C"], statistic: Statistic) -> bool:
    """Return whether the score is undefined without one of the photographs, as if only one has the lesion.

    All samples in which such a score is defined then hold copies of that photograph, and would differ too
    little.
    """
    total, batch = table.sum(axis=0), max(1, ENTRIES // table.shape[1])
    starts = range(0, len(table), batch)
    return any(np.isnan(statistic(total - table[start : start + batch])).any() for start in starts)


def _percentiles(scores: Float64[np.ndarray, " R"]) -> tuple[float, float]:
    """Return the two ends of the percentile interval, without the samples in which the score is undefined."""
    defined = scores[~np.isnan(scores)]
    low, high = np.quantile(defined, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]).tolist()
    return low, high
