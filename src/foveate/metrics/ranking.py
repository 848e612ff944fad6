"""Image-level detection: the area under the ROC curve of photographs with and without a lesion.

Knows:   one score for each photograph, and which photographs have the lesion.
Ignores: where the score comes from.

Shape letters: P photographs, R bootstrap samples.
"""

import numpy as np
from jaxtyping import Bool, Float64

from foveate.errors import SettingError
from foveate.metrics.arguments import require_booleans
from foveate.metrics.bootstrap import Statistic, divide_or_nan


def image_auc(scores: Float64[np.ndarray, " P"], has_lesion: Bool[np.ndarray, " P"]) -> Statistic:
    """Return the statistic 'area under the ROC curve': how often a photograph with the lesion scores higher.

    It is the share of pairs of a photograph with and one without the lesion in which the first scores higher;
    ties count half. Each row that the statistic takes holds a weight for every photograph, so the table of
    single photographs is an identity matrix. The result is NaN if either group is missing.

    Args:
        scores: score of each photograph, such as its highest probability.
        has_lesion: whether each photograph has the lesion.

    Raises:
        GeometryError: `has_lesion` is not Boolean, or not as long as the scores.
        SettingError: a score is not a number.

    Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    require_booleans(has_lesion, "has_lesion", scores.shape)
    if np.isnan(scores).any():
        raise SettingError("a score is not a number; leave its photograph out, or score it anew")
    positive, negative = scores[has_lesion, np.newaxis], scores[~has_lesion]
    wins = (positive > negative) + 0.5 * (positive == negative)

    def statistic(weights: Float64[np.ndarray, "R P"]) -> Float64[np.ndarray, " R"]:
        positive_weights, negative_weights = weights[:, has_lesion], weights[:, ~has_lesion]
        won = ((positive_weights @ wins) * negative_weights).sum(axis=1)
        pairs = positive_weights.sum(axis=1) * negative_weights.sum(axis=1)
        return divide_or_nan(won, pairs)

    return statistic
