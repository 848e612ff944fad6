"""Evaluate a model, or the maps of any other system, on whole photographs with known lesions.

Knows:   cases, the pipeline's `segment`, map files of other systems, figures of pooled photographs, reports.
Ignores: how a model was trained, and the command line.

Only `evaluation.networks` needs torch, so it is not imported here.
"""

from foveate.evaluation.evaluate import EvaluationSpec, LesionOutcome, evaluate
from foveate.evaluation.histograms import CaseHistogram, count_pixels
from foveate.evaluation.scores import LesionScore, score, tabulate
from foveate.evaluation.sources import CaseMaps, MapSource, maps_from_folder, maps_from_model

__all__ = [
    "CaseHistogram",
    "CaseMaps",
    "EvaluationSpec",
    "LesionOutcome",
    "LesionScore",
    "MapSource",
    "count_pixels",
    "evaluate",
    "maps_from_folder",
    "maps_from_model",
    "score",
    "tabulate",
]
