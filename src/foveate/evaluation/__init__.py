"""How good a model is on whole photographs with known lesions.

Knows:   cases, the same `segment` as everybody uses, scores pooled over photographs.
Ignores: how the model was trained, and the command line.

Shape letters: N windows, S window side, V view side, K lesions, C channels, G G2 sides of pieces.
"""

from foveate.evaluation.networks import CoarseEngine, LocalEngine, NetworkEngine
from foveate.evaluation.report import LesionScore, score, tabulate
from foveate.evaluation.whole import CaseCounts, count

__all__ = [
    "CaseCounts",
    "CoarseEngine",
    "LesionScore",
    "LocalEngine",
    "NetworkEngine",
    "count",
    "score",
    "tabulate",
]
