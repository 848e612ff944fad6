"""Whether photographs with a lesion rank above those without: image-level area under the ROC curve.

Knows:   one score a photograph, and which photographs have the lesion.
Ignores: where the score comes from.

Shape letters: P photographs, R draws.
"""

import numpy as np
from jaxtyping import Bool, Float64

from foveate.metrics.bootstrap import Statistic, share


def image_auc(scores: Float64[np.ndarray, " P"], sick: Bool[np.ndarray, " P"]) -> Statistic:
    """Return the statistic: the chance that a photograph with the lesion scores above one without; ties half.

    Its rows say how often each photograph counts: a table of ones on the diagonal makes them. Not a number
    where either kind is missing.

    Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747: equals the area under the ROC curve.
    """
    above = (scores[sick, np.newaxis] > scores[~sick]) + 0.5 * (scores[sick, np.newaxis] == scores[~sick])

    def statistic(weights: Float64[np.ndarray, "R P"]) -> Float64[np.ndarray, " R"]:
        ill, well = weights[:, sick], weights[:, ~sick]
        won = ((ill @ above) * well).sum(axis=1)
        pairs = ill.sum(axis=1) * well.sum(axis=1)
        return share(won, pairs)

    return statistic
