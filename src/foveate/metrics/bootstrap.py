"""How sure a score is: an interval by drawing the photographs anew.

Knows:   that photographs, not pixels, are independent of one another; that two systems are compared on the
         same draws.
Ignores: what the statistic means.

A pooled score is a function of sums over photographs. A table holds what is summed, one row a photograph;
drawing photographs anew is one matrix product.

Shape letters: P Q photographs, R draws, C D columns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from foveate.errors import GeometryError, SettingError

COVERAGE = 0.95
"""Share of the resampled scores that lie in the interval."""

RESAMPLES = 2000
"""Draws; with 2000 the standard error of either end is some 1.5 % of the interval's width."""

ENTRIES = 1 << 21
"""Numbers that are pooled at a time: bounds the memory to some 16 MB an array."""

Statistic = Callable[[Float64[np.ndarray, "R C"]], Float64[np.ndarray, " R"]]
"""Rows of sums -> a score each; not a number where it means nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A score and how sure it is."""

    value: float | None
    """None where it means nothing."""
    low: float | None = None
    """Lower end of the 95 % interval; None where no draw means anything."""
    high: float | None = None
    """Upper end."""
    reason: str = ""
    """Why there is no value."""


def draws(photographs: int, resamples: int = RESAMPLES, seed: int = 0) -> Int64[np.ndarray, "R P"]:
    """Return how often each photograph is drawn, with replacement, as many in all as there are.

    Raises:
        GeometryError: there is no photograph.
        SettingError: fewer than one draw.
    """
    if photographs < 1:
        raise GeometryError("no photographs to draw from; score at least one")
    if resamples < 1:
        raise SettingError(f"resamples is {resamples}; draw at least once")
    shares = np.full(photographs, 1 / photographs)
    return np.random.default_rng(seed).multinomial(photographs, shares, size=resamples)


def estimate(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, drawn: Int64[np.ndarray, "R P"], reason: str
) -> Estimate:
    """Return the score of all photographs and its 95 % interval.

    Args:
        table: what is summed, one row a photograph.
        statistic: of the sums.
        drawn: from `draws`; the same for all scores that are to be compared.
        reason: said where the score means nothing.

    Source: percentile bootstrap, Efron 1979, doi:10.1214/aos/1176344552.
    """
    (value,) = statistic(table.sum(axis=0, keepdims=True)).tolist()
    if np.isnan(value):
        return Estimate(value=None, reason=reason)
    low, high = _ends(_scores(table, statistic, drawn)) or (None, None)
    return Estimate(value=value, low=low, high=high)


def interval(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of a pooled score over photographs drawn anew, with replacement.

    Args:
        table: what is summed, one row a photograph.
        statistic: of the sums, as `average_precisions`.
        resamples: draws.
        seed: of the draws.

    Returns:
        (low, high). Draws in which the statistic means nothing are left out; None where all are.

    Raises:
        GeometryError: there is no photograph.
        SettingError: fewer than one draw.

    Source: as `estimate`.
    """
    return _ends(_scores(table, statistic, draws(len(table), resamples, seed)))


def paired_interval(
    one: Float64[np.ndarray, "P C"],
    other: Float64[np.ndarray, "Q D"],
    statistic: Statistic,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return how much higher one system scores than the other, both on the same photographs in every draw.

    What makes a photograph hard for both cancels out: the interval is narrower than the two systems' own
    suggest. It does not hold 0 where one is better on all but 5 % of the draws.

    Args:
        one: sums of one system, one row a photograph.
        other: sums of the other, the same photographs in the same order.
        statistic: of the sums.
        resamples: draws.
        seed: of the draws.

    Raises:
        GeometryError: the two tables do not show the same number of photographs, or none.
        SettingError: fewer than one draw.

    Source: paired percentile bootstrap, Efron and Tibshirani 1993, chapter 16.
    """
    if one.shape != other.shape:
        raise GeometryError(
            f"{one.shape[0]} photographs beside {other.shape[0]}, {one.shape[1]} columns beside "
            f"{other.shape[1]}; compare both systems on the same photographs"
        )
    drawn = draws(len(one), resamples, seed)
    found = [
        statistic(table.sum(axis=0, keepdims=True))[0] for table in (one, other)
    ]  # all photographs, each once
    if np.isnan(found).any():
        return Estimate(value=None, reason="the score means nothing for at least one of the two")
    difference = _scores(one, statistic, drawn) - _scores(other, statistic, drawn)
    low, high = _ends(difference) or (None, None)
    return Estimate(value=float(found[0] - found[1]), low=low, high=high)


def share(part: Float64[np.ndarray, " R"], whole: Float64[np.ndarray, " R"]) -> Float64[np.ndarray, " R"]:
    """Divide, as statistics do; not a number where the whole is 0."""
    found: Float64[np.ndarray, " R"] = np.full(len(part), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def _scores(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, drawn: Int64[np.ndarray, "R P"]
) -> Float64[np.ndarray, " R"]:
    return np.concatenate([statistic(pooled) for pooled in _pooled(table, drawn)])


def _pooled(
    table: Float64[np.ndarray, "P C"], drawn: Int64[np.ndarray, "R P"]
) -> Iterator[Float64[np.ndarray, "r C"]]:
    """Yield the sums of some draws at a time. Sums of pixels stay below 2**53: they are exact."""
    at_once = max(1, ENTRIES // table.shape[1])
    for start in range(0, len(drawn), at_once):
        yield drawn[start : start + at_once].astype(np.float64) @ table


def _ends(scores: Float64[np.ndarray, " R"]) -> tuple[float, float] | None:
    meant = scores[~np.isnan(scores)]
    if not len(meant):
        return None
    low, high = np.quantile(meant, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]).tolist()
    return low, high
