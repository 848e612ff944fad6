"""How good a map is: arrays in, numbers out.

Knows:   counts by probability, precision and recall, Dice, lesions found, calibration, intervals.
Ignores: files, networks, which photographs were looked at, and what a good score is.

Figures of pixels are worked out from `Counts`: how many lesion and other pixels a map shows at each place of
one ruler. They are exact for maps of 8 and 16 bits, and add up: that pools photographs. All figures are
functions of sums over photographs, so that an interval is a matrix product (`resampling`).
"""

from foveate.metrics import calibration, froc, seams, thresholds
from foveate.metrics.bootstrap import (
    RESAMPLES,
    Estimate,
    Statistic,
    draws,
    estimate,
    interval,
    paired_interval,
)
from foveate.metrics.counts import COARSE, OFFICIAL, SKETCH, Counts, histogram, pool, sketches
from foveate.metrics.froc import Detection, detect
from foveate.metrics.precision_recall import (
    ESTIMATORS,
    Curve,
    at_thresholds,
    average_precision,
    average_precisions,
    best_dice_level,
    coarse_11,
    coarse_11_areas,
    dice,
    dices,
    ends,
    ious,
    official_33,
    official_33_areas,
    precision_recall,
    ratios,
    rounding,
)
from foveate.metrics.ranking import image_auc

__all__ = [
    "COARSE",
    "ESTIMATORS",
    "OFFICIAL",
    "RESAMPLES",
    "SKETCH",
    "Counts",
    "Curve",
    "Detection",
    "Estimate",
    "Statistic",
    "at_thresholds",
    "average_precision",
    "average_precisions",
    "best_dice_level",
    "calibration",
    "coarse_11",
    "coarse_11_areas",
    "detect",
    "dice",
    "dices",
    "draws",
    "ends",
    "estimate",
    "froc",
    "histogram",
    "image_auc",
    "interval",
    "ious",
    "official_33",
    "official_33_areas",
    "paired_interval",
    "pool",
    "precision_recall",
    "ratios",
    "rounding",
    "seams",
    "sketches",
    "thresholds",
]
