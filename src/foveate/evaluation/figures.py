"""All photographs' measures -> the figures of one lesion, each with its interval.

Knows:   which figure is which function of which sums, and why one may mean nothing.
Ignores: maps, files, and how figures are shown.

Every figure is an `Estimate`; they hang in a tree of plain mappings, as they stand in metrics.json.

Shape letters: P photographs, R draws, C columns.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from foveate import metrics
from foveate.evaluation.measures import NAMES, Measures, thresholds
from foveate.metrics import Counts, Estimate, Statistic, calibration, froc
from foveate.metrics.froc import DIAMETERS, MATCHINGS, RATES, Matching

Tree = Mapping[str, object]
"""Names -> estimates, numbers, texts, lists and trees."""

ABSENT = "no photograph of the split has this lesion"
NO_SEAMS = "the windows of maps that were read are not known; --model measures them"


def lesion(
    each: Sequence[Measures], pooled: Counts, threshold: float, drawn: Int64[np.ndarray, "R P"]
) -> Tree:
    """Return all figures of one lesion.

    Args:
        each: one a photograph.
        pooled: counts of all photographs.
        threshold: from which a pixel is lesion, as the measures have it.
        drawn: from `metrics.draws`; the same for all systems that are to be compared.
    """
    sick = sum(one.lesion_pixels > 0 for one in each)
    confusion = np.stack([one.confusion for one in each])
    return {
        "photographs": len(each),
        "photographs_with_lesion": sick,
        "pixels": sum(one.pixels for one in each),
        "lesion_pixels": sum(one.lesion_pixels for one in each),
        "threshold": threshold,
        "aupr": _areas(each, pooled, drawn),
        "aupr_mean_over_photographs": {
            name: _mean([one.areas[name] for one in each], drawn) for name in NAMES
        },
        "dice": metrics.estimate(confusion, metrics.dices, drawn, "no pixel is lesion and none is marked"),
        "iou": metrics.estimate(confusion, metrics.ious, drawn, "no pixel is lesion and none is marked"),
        "dice_mean_over_photographs": _mean([_dice(one) for one in each], drawn),
        "detection": {matching: _detection(each, matching, threshold, drawn) for matching in MATCHINGS},
        "image_auc": _image_auc(each, drawn),
        "calibration": _calibration(each, drawn),
        "seams": _seams(each, drawn),
    }


def _areas(each: Sequence[Measures], pooled: Counts, drawn: Int64[np.ndarray, "R P"]) -> Tree:
    """Return the three areas below the pooled curve; of the exact one also how far off its bins are."""
    table = metrics.sketches([one.sketch for one in each])
    exact = metrics.average_precision(pooled)
    sketched = metrics.estimate(table, metrics.average_precisions, drawn, ABSENT)
    deviation = None if exact is None or sketched.value is None else sketched.value - exact
    return {
        "exact": {
            "value": exact,
            "low": sketched.low,
            "high": sketched.high,
            "interval_bins": table.shape[1] // 2,
            "interval_deviation": deviation,
            "rounding": metrics.rounding(pooled),
            "lesion_share_next_to_0_or_1": metrics.ends(pooled),
        }
        | ({"reason": ABSENT} if exact is None else {}),
        "official_33": metrics.estimate(
            np.stack([one.official for one in each]), metrics.official_33_areas, drawn, ABSENT
        ),
        "coarse_11": metrics.estimate(
            np.stack([one.coarse for one in each]), metrics.coarse_11_areas, drawn, ABSENT
        ),
    }


def _mean(values: Sequence[float | None], drawn: Int64[np.ndarray, "R P"]) -> Estimate:
    """Return the mean over the photographs that have a value."""
    table = np.array([[0.0, 0.0] if value is None else [value, 1.0] for value in values])
    return metrics.estimate(table, metrics.ratios, drawn, ABSENT)


def _dice(one: Measures) -> float | None:
    """Return a photograph's own Dice; None where it has no lesion."""
    return float(metrics.dices(one.confusion[np.newaxis])[0]) if one.lesion_pixels else None


def _detection(
    each: Sequence[Measures], matching: Matching, threshold: float, drawn: Int64[np.ndarray, "R P"]
) -> Tree:
    """Return sensitivity and false positives at the threshold, along the curve, and by diameter."""
    found = [one.detection[matching] for one in each]
    table = np.stack([one.row() for one in found])
    at = thresholds(threshold)
    index, count, total = at.index(threshold), len(at), table.sum(axis=0)
    edges = (0.0, *DIAMETERS, None)
    return {
        "sensitivity": _of(table, froc.sensitivity(index), drawn),
        "false_positives_per_photograph": _of(table, froc.false_positives(index), drawn),
        "lesions": int(total[-2]),
        "sensitivity_at_false_positives": _at_rates(table, drawn),
        "curve": {
            "threshold": list(at),
            "sensitivity": [hits / total[-2] if total[-2] else None for hits in total[:count].tolist()],
            "false_positives_per_photograph": (total[count : 2 * count] / total[-1]).tolist(),
        },
        "by_diameter": [
            {
                "from_px": edges[stratum],
                "to_px": edges[stratum + 1],
                "lesions": int(rows[:, -2].sum()),
                "sensitivity": _of(rows, froc.sensitivity(index), drawn),
                "sensitivity_at_false_positives": _at_rates(rows, drawn),
            }
            for stratum in range(len(DIAMETERS) + 1)
            for rows in [np.stack([one.row(stratum) for one in found])]
        ],
    }


def _at_rates(table: Float64[np.ndarray, "P C"], drawn: Int64[np.ndarray, "R P"]) -> Tree:
    return {f"{rate:g}": _of(table, froc.sensitivity_at(rate), drawn) for rate in RATES}


def _of(table: Float64[np.ndarray, "P C"], statistic: Statistic, drawn: Int64[np.ndarray, "R P"]) -> Estimate:
    return metrics.estimate(table, statistic, drawn, "no lesion is drawn")


def _image_auc(each: Sequence[Measures], drawn: Int64[np.ndarray, "R P"]) -> Estimate:
    sick = np.array([one.lesion_pixels > 0 for one in each])
    highest = np.array([one.highest for one in each])
    reason = "every photograph has this lesion: there is none to tell apart" if sick.all() else ABSENT
    return metrics.estimate(np.eye(len(each)), metrics.image_auc(highest, sick), drawn, reason)


def _calibration(each: Sequence[Measures], drawn: Int64[np.ndarray, "R P"]) -> Tree:
    table = np.stack([one.calibration for one in each])
    pixels, mass, positives = np.split(table.sum(axis=0), 3)
    edges = [*(calibration.EDGES / metrics.thresholds.TOP).tolist(), 1.0]
    return {
        "ece": metrics.estimate(table, calibration.errors, drawn, "no pixel is scored"),
        "ece_from_0.1": metrics.estimate(
            table, calibration.errors_above_lowest, drawn, "no pixel reaches 0.1"
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


def _seams(each: Sequence[Measures], drawn: Int64[np.ndarray, "R P"]) -> Tree:
    rows = [one.seams for one in each if one.seams is not None]
    if len(rows) < len(each):
        return {"ratio": Estimate(value=None, reason=NO_SEAMS)}
    table = np.stack(rows)
    return {
        "ratio": metrics.estimate(table, metrics.seams.ratio, drawn, "the maps do not change"),
        "border": metrics.estimate(table[:, :2], metrics.ratios, drawn, "no border of windows is inside"),
        "elsewhere": metrics.estimate(table[:, 2:], metrics.ratios, drawn, "no other pixels are inside"),
    }
