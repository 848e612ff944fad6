"""Compute the figures of one lesion, each with its interval, from the measures of all photographs.

Knows:   how each figure is computed from sums, and why a figure may be undefined.
Ignores: maps, files, and how figures are presented.

Every figure is an `Estimate`. The figures form a tree of plain mappings, as in metrics.json.

Shape letters: P photographs, R draws, C columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from foveate import metrics
from foveate.evaluation.measures import ESTIMATOR_NAMES, Measures, search_thresholds
from foveate.metrics import Estimate, PixelCounts, Statistic, calibration, froc
from foveate.metrics.froc import DIAMETERS, MATCHINGS, RATES, Matching

Tree = Mapping[str, object]
"""Names -> estimates, numbers, texts, lists and further trees."""

ABSENT = "no photograph of the split has this lesion"
NO_LESION = "no lesion is annotated"
NO_SEAMS = "the windows of maps read from files are unknown; measure them with --model"


def compute(
    each: Sequence[Measures], pooled: PixelCounts, threshold: float, draws: Int64[np.ndarray, "R P"]
) -> Tree:
    """Return all figures of one lesion.

    Args:
        each: the measures of each photograph.
        pooled: counts of all photographs.
        threshold: probability from which a pixel is lesion, as in the measures.
        draws: bootstrap samples from `metrics.resample_photographs`; the same for all systems that are to be
            compared.
    """
    with_lesion = sum(measures.lesion_pixels > 0 for measures in each)
    confusion = np.stack([measures.confusion for measures in each])
    return {
        "photographs": len(each),
        "photographs_with_lesion": with_lesion,
        "pixels": sum(measures.pixels for measures in each),
        "lesion_pixels": sum(measures.lesion_pixels for measures in each),
        "threshold": threshold,
        "aupr": _areas(each, pooled, draws),
        "aupr_mean_over_photographs": {
            name: _mean([measures.areas[name] for measures in each], draws) for name in ESTIMATOR_NAMES
        },
        "dice": _overlap(confusion, metrics.dice_scores, draws),
        "iou": _overlap(confusion, metrics.iou_scores, draws),
        "dice_mean_over_photographs": _mean([_dice(measures) for measures in each], draws),
        "detection": {matching: _detection(each, matching, threshold, draws) for matching in MATCHINGS},
        "image_auc": _image_auc(each, draws),
        "calibration": _calibration(each, draws),
        "seams": _seams(each, draws),
    }


def _areas(each: Sequence[Measures], pooled: PixelCounts, draws: Int64[np.ndarray, "R P"]) -> Tree:
    """Return the three areas under the pooled curve, with the binning error of the exact one."""
    table = metrics.interval_table([measures.interval_bins for measures in each])
    exact = metrics.average_precision(pooled)
    sketched = metrics.estimate(table, metrics.average_precisions, draws, ABSENT)
    deviation = None if exact is None or sketched.value is None else sketched.value - exact
    return {
        "exact": {
            "value": exact,
            "low": sketched.low,
            "high": sketched.high,
            "interval_bins": table.shape[1] // 2,
            "interval_deviation": deviation,
            "rounding": metrics.quantisation_error(pooled),
            "lesion_share_next_to_0_or_1": metrics.saturated_share(pooled),
        }
        | ({"reason": ABSENT} if exact is None else {}),
        "official_33": metrics.estimate(
            np.stack([measures.official for measures in each]), metrics.official_33_areas, draws, ABSENT
        ),
        "coarse_11": metrics.estimate(
            np.stack([measures.coarse for measures in each]), metrics.coarse_11_areas, draws, ABSENT
        ),
    }


def _overlap(
    confusion: Float64[np.ndarray, "P 3"], statistic: Statistic, draws: Int64[np.ndarray, "R P"]
) -> Estimate:
    """Return Dice or IoU of the pooled pixels; an interval needs two photographs that have the lesion.

    Without a lesion pixel both are 0, not undefined, so `metrics.estimate` cannot tell that they depend on a
    single photograph.
    """
    overlap = metrics.estimate(confusion, statistic, draws, "no pixel is lesion and none is marked")
    with_lesion = np.count_nonzero(confusion[:, 0] + confusion[:, 2])
    return overlap if with_lesion > 1 else replace(overlap, low=None, high=None)


def _mean(values: Sequence[float | None], draws: Int64[np.ndarray, "R P"]) -> Estimate:
    """Return the mean over the photographs that have a value."""
    table = np.array([[0.0, 0.0] if value is None else [value, 1.0] for value in values])
    return metrics.estimate(table, metrics.ratios, draws, ABSENT)


def _dice(measures: Measures) -> float | None:
    """Return the Dice of one photograph; None where it has no lesion."""
    return float(metrics.dice_scores(measures.confusion[np.newaxis])[0]) if measures.lesion_pixels else None


def _detection(
    each: Sequence[Measures], matching: Matching, threshold: float, draws: Int64[np.ndarray, "R P"]
) -> Tree:
    """Return sensitivity and false positives at the threshold, along the curve, and by diameter."""
    detections = [measures.detection[matching] for measures in each]
    table = np.stack([detection.table_row() for detection in detections])
    thresholds = search_thresholds(threshold)
    index, count, total = thresholds.index(threshold), len(thresholds), table.sum(axis=0)
    edges = (0.0, *DIAMETERS, None)
    return {
        "sensitivity": _lesion_estimate(table, froc.sensitivity(index), draws),
        "false_positives_per_photograph": _lesion_estimate(table, froc.false_positives(index), draws),
        "lesions": int(total[-2]),
        "sensitivity_at_false_positives": _at_rates(table, draws),
        "curve": {
            "threshold": list(thresholds),
            "sensitivity": [hits / total[-2] if total[-2] else None for hits in total[:count].tolist()],
            "false_positives_per_photograph": (total[count : 2 * count] / total[-1]).tolist(),
        },
        "by_diameter": [
            {
                "from_px": edges[stratum],
                "to_px": edges[stratum + 1],
                "lesions": int(rows[:, -2].sum()),
                "sensitivity": _lesion_estimate(rows, froc.sensitivity(index), draws),
                "sensitivity_at_false_positives": _at_rates(rows, draws),
            }
            for stratum in range(len(DIAMETERS) + 1)
            for rows in [np.stack([detection.table_row(stratum) for detection in detections])]
        ],
    }


def _at_rates(table: Float64[np.ndarray, "P C"], draws: Int64[np.ndarray, "R P"]) -> Tree:
    return {f"{rate:g}": froc.estimate_at(rate, table, draws, NO_LESION) for rate in RATES}


def _lesion_estimate(
    table: Float64[np.ndarray, "P C"], statistic: Statistic, draws: Int64[np.ndarray, "R P"]
) -> Estimate:
    return metrics.estimate(table, statistic, draws, NO_LESION)


def _image_auc(each: Sequence[Measures], draws: Int64[np.ndarray, "R P"]) -> Estimate:
    with_lesion = np.array([measures.lesion_pixels > 0 for measures in each])
    highest = np.array([measures.highest for measures in each])
    reason = (
        "every photograph has this lesion, so there is none without it to compare"
        if with_lesion.all()
        else ABSENT
    )
    return metrics.estimate(np.eye(len(each)), metrics.image_auc(highest, with_lesion), draws, reason)


def _calibration(each: Sequence[Measures], draws: Int64[np.ndarray, "R P"]) -> Tree:
    table = np.stack([measures.calibration for measures in each])
    pixels, mass, positives = np.split(table.sum(axis=0), 3)
    edges = [*(calibration.EDGES / metrics.thresholds.MAX_INDEX).tolist(), 1.0]
    return {
        "ece": metrics.estimate(table, calibration.expected_errors, draws, "no pixel is scored"),
        "ece_from_0.1": metrics.estimate(
            table, calibration.expected_errors_above_lowest, draws, "no pixel reaches 0.1"
        ),
        "reliability": [
            {
                "from": edges[b],
                "to": edges[b + 1],
                "pixels": int(pixels[b]),
                "mean_probability": float(mass[b] / pixels[b]) if pixels[b] else None,
                "share_of_lesion": float(positives[b] / pixels[b]) if pixels[b] else None,
            }
            for b in range(len(pixels))
        ],
    }


def _seams(each: Sequence[Measures], draws: Int64[np.ndarray, "R P"]) -> Tree:
    rows = [measures.seams for measures in each if measures.seams is not None]
    if len(rows) < len(each):
        return {"ratio": Estimate(value=None, reason=NO_SEAMS)}
    table = np.stack(rows)
    return {
        "ratio": metrics.estimate(table, metrics.seams.ratio, draws, "the maps do not change"),
        "border": metrics.estimate(
            table[:, :2], metrics.ratios, draws, "no border between windows lies inside the field"
        ),
        "elsewhere": metrics.estimate(
            table[:, 2:], metrics.ratios, draws, "no other pixels lie inside the field"
        ),
    }
