"""Counts of several photographs -> the figures that a model card states.

Knows:   exact average precision, its interval, Dice at the threshold that is best for it.
Ignores: photographs, networks, files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveate import metrics
from foveate.evaluation.whole import CaseCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionScore:
    """How well one lesion is found, pixels of all photographs pooled at native resolution."""

    average_precision: float | None
    """Exact, 0 to 1; None where no photograph has the lesion."""
    interval: tuple[float, float] | None
    """95 %, bootstrap over photographs."""
    threshold: float | None
    """Probability at which Dice is highest."""
    dice: float | None
    """At that threshold, on the same photographs: an upper bound of what others will show."""
    photographs: int
    """That have the lesion."""


def score(counted: Sequence[CaseCounts], resamples: int = 2000) -> Mapping[str, LesionScore]:
    """Pool the photographs and score each lesion.

    Args:
        counted: one or more photographs, all with the same lesions.
        resamples: of the bootstrap.
    """
    found = {}
    for lesion in counted[0].counts:
        each = [case.counts[lesion] for case in counted]
        pooled = metrics.pool(each)
        level = metrics.best_dice_level(pooled)
        found[lesion] = LesionScore(
            average_precision=metrics.average_precision(pooled),
            interval=_interval(each, resamples),
            threshold=None if level is None else metrics.thresholds.probability(level),
            dice=None if level is None else metrics.dice(pooled, level),
            photographs=sum(bool(counts.positives.any()) for counts in each),
        )
    return found


def tabulate(found: Mapping[str, LesionScore]) -> str:
    """Return the scores as a Markdown table, one lesion a row; a figure that means nothing is a dash."""
    rows = [
        "| lesion | photographs with it | average precision | 95 % interval | best Dice | at probability |",
        "|---|---|---|---|---|---|",
    ]
    for lesion, s in found.items():
        low, high = s.interval or (None, None)
        rows.append(
            f"| {lesion} | {s.photographs} | {_figure(s.average_precision)} "
            f"| {_figure(low)} to {_figure(high)} | {_figure(s.dice)} | {_figure(s.threshold)} |"
        )
    return "\n".join(rows) + "\n"


def _interval(each: Sequence[metrics.Counts], resamples: int) -> tuple[float, float] | None:
    table = metrics.sketches([counts.sketch() for counts in each])
    return metrics.interval(table, metrics.average_precisions, resamples)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
