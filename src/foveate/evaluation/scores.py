"""Compute the figures that a model card states from the counts of several photographs.

Knows:   exact average precision, its interval, and Dice at the threshold that maximises it.
Ignores: photographs, networks, files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveate import metrics
from foveate.evaluation.histograms import CaseHistogram


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionScore:
    """The figures of one lesion, with the pixels of all photographs pooled at native resolution."""

    average_precision: float | None
    """Exact, 0 to 1; None where no photograph has the lesion."""
    interval: tuple[float, float] | None
    """95 % interval by a bootstrap over photographs."""
    threshold: float | None
    """Probability at which Dice is highest."""
    dice: float | None
    """Dice at that threshold on the same photographs: an upper bound for other photographs."""
    photographs: int
    """Number of photographs that have the lesion."""


def score(histograms: Sequence[CaseHistogram], resamples: int = 2000) -> Mapping[str, LesionScore]:
    """Pool the photographs and score each lesion.

    Args:
        histograms: the counts of one or more photographs, all with the same lesions.
        resamples: number of bootstrap samples.
    """
    scores = {}
    for lesion in histograms[0].counts:
        each = [case.counts[lesion] for case in histograms]
        pooled = metrics.pool(each)
        level = metrics.best_dice_threshold(pooled)
        scores[lesion] = LesionScore(
            average_precision=metrics.average_precision(pooled),
            interval=_interval(each, resamples),
            threshold=None if level is None else metrics.thresholds.to_probability(level),
            dice=None if level is None else metrics.dice(pooled, level),
            photographs=sum(bool(counts.positives.any()) for counts in each),
        )
    return scores


def tabulate(scores: Mapping[str, LesionScore]) -> str:
    """Return the scores as a Markdown table with a row for each lesion; an undefined figure is a dash."""
    rows = [
        "| lesion | photographs with it | average precision | 95 % interval | best Dice | at probability |",
        "|---|---|---|---|---|---|",
    ]
    for lesion, s in scores.items():
        interval = "-" if s.interval is None else " to ".join(map(_figure, s.interval))
        rows.append(
            f"| {lesion} | {s.photographs} | {_figure(s.average_precision)} "
            f"| {interval} | {_figure(s.dice)} | {_figure(s.threshold)} |"
        )
    return "\n".join(rows) + "\n"


def _interval(each: Sequence[metrics.PixelCounts], resamples: int) -> tuple[float, float] | None:
    table = metrics.interval_table([counts.interval_bins() for counts in each])
    return metrics.interval(table, metrics.average_precisions, resamples)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
