"""Scores of probability maps: arrays in, numbers out.

Knows:   pixel counts by probability, precision and recall, Dice, FROC, calibration, confidence intervals.
Ignores: files, networks, which photographs are evaluated, and what a good score is.

Pixel scores are computed from `PixelCounts`: the lesion and the background pixels of a map at each index of
one fine threshold grid (`thresholds`). They are exact for maps of 8 and 16 bits, and counts of photographs
can be added. All scores are functions of sums over photographs, so the sums for a confidence interval are
a matrix product (`bootstrap`).
"""

from foveate.metrics import calibration, froc, seams, thresholds
from foveate.metrics.bootstrap import (
    RESAMPLES,
    Estimate,
    Statistic,
    estimate,
    interval,
    paired_interval,
    resample_photographs,
)
from foveate.metrics.counts import (
    COARSE_THRESHOLDS,
    INTERVAL_BIN_EDGES,
    OFFICIAL_THRESHOLDS,
    PixelCounts,
    histogram,
    interval_table,
    pool,
)
from foveate.metrics.froc import LesionDetections, detect
from foveate.metrics.kappa import cohen_kappa
from foveate.metrics.precision_recall import (
    ESTIMATORS,
    PrecisionRecallCurve,
    average_precision,
    average_precisions,
    best_dice_threshold,
    coarse_11,
    coarse_11_areas,
    dice,
    dice_scores,
    iou_scores,
    official_33,
    official_33_areas,
    precision_recall,
    quantisation_error,
    ratios,
    saturated_share,
    threshold_sums,
)
from foveate.metrics.ranking import image_auc

__all__ = [
    "COARSE_THRESHOLDS",
    "ESTIMATORS",
    "INTERVAL_BIN_EDGES",
    "OFFICIAL_THRESHOLDS",
    "RESAMPLES",
    "Estimate",
    "LesionDetections",
    "PixelCounts",
    "PrecisionRecallCurve",
    "Statistic",
    "average_precision",
    "average_precisions",
    "best_dice_threshold",
    "calibration",
    "coarse_11",
    "coarse_11_areas",
    "cohen_kappa",
    "detect",
    "dice",
    "dice_scores",
    "estimate",
    "froc",
    "histogram",
    "image_auc",
    "interval",
    "interval_table",
    "iou_scores",
    "official_33",
    "official_33_areas",
    "paired_interval",
    "pool",
    "precision_recall",
    "quantisation_error",
    "ratios",
    "resample_photographs",
    "saturated_share",
    "seams",
    "threshold_sums",
    "thresholds",
]
