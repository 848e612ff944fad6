"""The four charts of one lesion in the report, as SVG.

Knows:   which figures are drawn as which curves and dots.
Ignores: how a figure is computed, and the page around a chart.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from foveate import metrics
from foveate.evaluation.charts import UNIT, Axis, Chart, ChartPoint
from foveate.metrics import PixelCounts
from foveate.metrics.froc import Matching

CURVE_POINTS = 300
"""Points of a precision-recall curve, evenly spaced along recall: more than a screen shows."""

MATCHING_STYLES: tuple[tuple[Matching, str], ...] = (("one_pixel", "one"), ("iou_0.2", "two"))
"""How lesions are matched, and the style of that curve."""

Figures = Any
"""A branch of the tree of figures, as in metrics.json."""


def precision_recall(figures: Figures, pooled: PixelCounts) -> str:
    """Return the chart of the exact curve, the challenge's 33 points and the point at the used threshold."""
    chart = Chart(x=Axis(title="recall", ticks=UNIT), y=Axis(title="precision", ticks=UNIT))
    if figures["aupr"]["exact"]["value"] is None:
        return chart.render("no curve")
    curve = _curve(pooled)
    prevalence = curve[-1][1]
    place = metrics.thresholds.to_index(figures["threshold"])
    return chart.render(
        "precision over recall",
        chart.line([(0.0, prevalence), (1.0, prevalence)], "ideal"),
        chart.line(curve, "one"),
        chart.dots(_points(pooled, metrics.OFFICIAL_THRESHOLDS.tolist()), "thin", 2.5),
        chart.dots(_points(pooled, [place]), "mark", 5.0),
    )


def froc(figures: Figures) -> str:
    """Return the chart of detected lesions against false positives per photograph, for each matching."""
    ticks = [(0.125, "≤ ⅛"), (0.5, "½"), *((float(n), str(n)) for n in (1, 2, 4, 8, 16, 32)), (64.0, "≥ 64")]
    chart = Chart(
        x=Axis(title="false positives a photograph", ticks=ticks, scale=lambda x: math.log2(max(x, 0.125))),
        y=Axis(title="lesions found", ticks=UNIT),
    )
    parts = []
    for matching, style in MATCHING_STYLES:
        detection = figures["detection"][matching]
        curve = detection["curve"]
        points = [
            (false_positives, sensitivity)
            for false_positives, sensitivity in zip(
                curve["false_positives_per_photograph"], curve["sensitivity"], strict=True
            )
            if sensitivity is not None
        ]
        tooltips = [f"from probability {threshold:.3f}" for threshold in curve["threshold"]]
        parts += [chart.line(points, style), chart.dots(points, f"dot-{style}", 2.0, tooltips)]
        if detection["sensitivity"]["value"] is not None:
            in_use = (detection["false_positives_per_photograph"]["value"], detection["sensitivity"]["value"])
            parts.append(chart.dots([in_use], "mark", 5.0))
    return chart.render("share of lesions found over false positives", *parts)


def sensitivity_by_diameter(figures: Figures) -> str:
    """Return the chart of lesions detected at the threshold, by their diameter, for each matching."""
    strata = figures["detection"]["one_pixel"]["by_diameter"]
    ticks = [(0.0, ""), *((k + 1.0, _stratum(s)) for k, s in enumerate(strata)), (len(strata) + 1.0, "")]
    chart = Chart(
        x=Axis(title="diameter of the lesion, px", ticks=ticks), y=Axis(title="lesions found", ticks=UNIT)
    )
    parts = []
    for (matching, style), shift in zip(MATCHING_STYLES, (-0.12, 0.12), strict=True):
        for k, stratum in enumerate(figures["detection"][matching]["by_diameter"]):
            sensitivity, x = stratum["sensitivity"], k + 1 + shift
            if sensitivity["value"] is None:
                continue
            tooltip = f"{sensitivity['value']:.3f} of {stratum['lesions']} lesions"
            if sensitivity["low"] is not None:
                parts.append(chart.whisker(x, (sensitivity["low"], sensitivity["high"]), f"range-{style}"))
            parts.append(chart.dots([(x, sensitivity["value"])], f"dot-{style}", 4.5, [tooltip]))
    return chart.render("share of lesions found by diameter", *parts)


def reliability(figures: Figures) -> str:
    """Return the chart of the share of lesion pixels in each bin of probability."""
    chart = Chart(x=Axis(title="probability", ticks=UNIT), y=Axis(title="share that is lesion", ticks=UNIT))
    bins = [b for b in figures["calibration"]["reliability"] if b["pixels"]]
    points = [(b["mean_probability"], b["share_of_lesion"]) for b in bins]
    tooltips = [f"{b['pixels']:,} pixels from {b['from']:g} to {b['to']:g}" for b in bins]
    return chart.render(
        "share of lesion over probability",
        chart.line([(0.0, 0.0), (1.0, 1.0)], "ideal"),
        chart.line(points, "one"),
        chart.dots(points, "dot-one", 3.5, tooltips),
    )


def _curve(pooled: PixelCounts) -> list[ChartPoint]:
    """Return the exact precision-recall curve at CURVE_POINTS recalls, starting at recall 0."""
    curve = metrics.precision_recall(pooled)
    assert curve is not None  # the caller has checked that the lesion occurs
    recalls = np.linspace(0, 1, CURVE_POINTS)
    index = np.unique(np.searchsorted(curve.recall, recalls).clip(0, len(curve.recall) - 1))
    first = (0.0, float(curve.precision[index[0]]))
    return [first, *zip(curve.recall[index].tolist(), curve.precision[index].tolist(), strict=True)]


def _points(pooled: PixelCounts, indices: Sequence[int]) -> list[ChartPoint]:
    """Return (recall, precision) at some 16-bit thresholds, except where no pixel reaches the threshold."""
    hits, false_positives = pooled.at_or_above(np.array(indices))
    lesion = int(pooled.positives.sum())
    pairs = zip(hits.tolist(), false_positives.tolist(), strict=True)
    return [(hit / lesion, hit / (hit + false)) for hit, false in pairs if hit + false]


def _stratum(stratum: Figures) -> str:
    if stratum["to_px"] is None:
        return f"{stratum['from_px']:g} on"
    return f"{stratum['from_px']:g}-{stratum['to_px']:g}"
