"""Score a system (a model or a folder of maps) on photographs with known lesions, one photograph at a time.

Knows:   which photographs, lesions and pixels are scored, and the order of the work.
Ignores: how a figure is computed, and how it is presented.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foveate import metrics
from foveate.choices import Part
from foveate.datasets import Case, is_annotated, truth
from foveate.errors import DatasetError, FoveateError, LesionError, PhotographError, is_out_of_memory
from foveate.evaluation import gallery, lesion_metrics, measures
from foveate.evaluation.gallery import Gallery, Picture
from foveate.evaluation.measures import MapComparison, Measures
from foveate.evaluation.sources import CaseMaps, MapSource
from foveate.metrics import PixelCounts

LEVEL_ONE = frozenset({1 / 255, 1 / 65535})
"""Probabilities of level 1 in maps of 8 and of 16 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSpec:
    """What is evaluated, and on which photographs."""

    source: MapSource
    """Computes or reads maps."""
    cases: Sequence[Case]
    """Photographs with masks."""
    thresholds: Mapping[str, float]
    """Lesion -> probability from which a pixel is lesion, in (0, 1]; only these lesions are scored."""
    region: Part = "whole"
    """Which pixels are scored."""
    resamples: int = metrics.RESAMPLES
    """Number of bootstrap samples of the photographs."""
    seed: int = 0
    """Seed of the bootstrap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionOutcome:
    """The results of one lesion."""

    figures: lesion_metrics.Tree
    """The figures, as in metrics.json."""
    pooled: PixelCounts
    """Counts of all photographs: the exact precision-recall curve."""
    each: tuple[Measures, ...]
    """The measures of each photograph; `metrics.paired_interval` compares two systems with them."""
    gallery: Gallery
    """Pictures of the best and the worst photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Accumulated:
    """The results of one lesion over the photographs so far."""

    pooled: PixelCounts
    each: tuple[Measures, ...]
    gallery: Gallery


def evaluate(
    spec: EvaluationSpec, progress: Callable[[int, str], None] = lambda done, name: None
) -> dict[str, LesionOutcome]:
    """Score a system on all photographs, with one photograph in memory at a time.

    Args:
        spec: what is evaluated, and on which photographs.
        progress: called with the number of photographs done and the name of the last one.

    Returns:
        Lesion -> its results, in the order of the thresholds.

    Raises:
        DatasetError: there is no photograph; a mask or map cannot be used.
        LesionError: no lesion is scored.
        FoveateError: a photograph cannot be used, or memory runs out; the message names the photograph.
    """
    if not spec.cases:
        raise DatasetError("there is no photograph to evaluate on; choose another --split")
    if not spec.thresholds:
        raise LesionError(
            "there is no lesion to evaluate, because the set and the system have none in common; choose "
            "another set or model"
        )
    accumulated: dict[str, _Accumulated] = {}
    for done, case in enumerate(spec.cases, start=1):
        try:
            accumulated |= _score_case(spec, case, accumulated)
        except FoveateError as error:
            raise type(error)(f"{case.name}: {error}") from error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise PhotographError(
                f"{case.name}: not enough memory to score it; free some, or use a machine with more"
            ) from error
        progress(done, case.name)
    _require_full_levels(accumulated)
    return {
        lesion: _outcome(spec, lesion, accumulated[lesion])
        for lesion in spec.thresholds
        if lesion in accumulated
    }


def _require_full_levels(accumulated: Mapping[str, _Accumulated]) -> None:
    """Refuse maps of levels 0 and 1 only: they are meant as masks, but read as probabilities near 0.

    Raises:
        DatasetError: the largest level of all maps of a lesion is 1.
    """
    for lesion, results in accumulated.items():
        highest = max(measured.highest for measured in results.each)
        if highest in LEVEL_ONE:
            raise DatasetError(
                f"the maps of {lesion} contain only the levels 0 and 1, which are probabilities up to "
                f"{highest:.2g}; write 0 and 255, or floating-point 0 and 1"
            )


def _score_case(
    spec: EvaluationSpec, case: Case, accumulated: Mapping[str, _Accumulated]
) -> dict[str, _Accumulated]:
    """Return the results including this photograph, for the lesions that it was annotated for."""
    thresholds = {
        lesion: threshold for lesion, threshold in spec.thresholds.items() if is_annotated(case, lesion)
    }
    if not thresholds:
        return {}
    maps = spec.source(case)
    scored = measures.scored_pixels(spec.region, maps)
    updated = {}
    for lesion, threshold in thresholds.items():
        (plane,) = truth(case, (lesion,), maps.photograph.shape)
        comparison = measures.compare(maps.load_map(lesion), plane, scored, threshold)
        seams = None if maps.measure_seams is None else maps.measure_seams(lesion)
        measured = measures.measure(case.name, comparison, seams)
        before = accumulated.get(lesion)
        updated[lesion] = _Accumulated(
            pooled=comparison.counts if before is None else before.pooled + comparison.counts,
            each=(measured,) if before is None else (*before.each, measured),
            gallery=_add_picture(Gallery() if before is None else before.gallery, maps, comparison, measured),
        )
    return updated


def _add_picture(pictures: Gallery, maps: CaseMaps, comparison: MapComparison, measured: Measures) -> Gallery:
    """Return the gallery with a photograph, if it has the lesion and is among the best or the worst."""
    score = measured.areas["exact"]
    if score is None:
        return pictures

    def draw() -> Picture:
        overview, closeup = gallery.draw(maps.photograph.pixels, comparison.truth, comparison.predicted)
        return Picture(name=measured.photograph, score=score, overview=overview, closeup=closeup)

    return pictures.add(score, draw)


def _outcome(spec: EvaluationSpec, lesion: str, accumulated: _Accumulated) -> LesionOutcome:
    draws = metrics.resample_photographs(len(accumulated.each), spec.resamples, spec.seed)
    return LesionOutcome(
        figures=lesion_metrics.compute(accumulated.each, accumulated.pooled, spec.thresholds[lesion], draws),
        pooled=accumulated.pooled,
        each=accumulated.each,
        gallery=accumulated.gallery,
    )
