"""How good a model, or any other system's maps, are on whole photographs with known lesions.

Knows:   cases, the same `segment` as everybody uses, maps that were written by others, scores pooled over
         photographs, reports.
Ignores: how a model was trained, and the command line.

`evaluation.networks`, which runs networks of torch, is imported by those who need it: all else does without.
"""

from foveate.evaluation.evaluate import LesionOutcome, Trial, evaluate
from foveate.evaluation.report import LesionScore, score, tabulate
from foveate.evaluation.sources import Shown, Source, of_folder, of_model
from foveate.evaluation.whole import CaseCounts, count

__all__ = [
    "CaseCounts",
    "LesionOutcome",
    "LesionScore",
    "Shown",
    "Source",
    "Trial",
    "count",
    "evaluate",
    "of_folder",
    "of_model",
    "score",
    "tabulate",
]
