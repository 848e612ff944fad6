"""A system, model or folder of maps, on photographs with known lesions: one photograph at a time.

Knows:   which photographs, lesions and pixels are scored, and in which order things are done.
Ignores: how a figure is computed, and how it is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foveate import metrics
from foveate.datasets import Case, is_annotated, truth
from foveate.errors import DatasetError, FoveateError, LesionError
from foveate.evaluation import figures, gallery, measures
from foveate.evaluation.gallery import Gallery, Picture
from foveate.evaluation.measures import Compared, Measures
from foveate.evaluation.sources import Shown, Source
from foveate.metrics import Counts
from foveate.types import Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What is evaluated on what."""

    source: Source
    """Makes or reads maps."""
    cases: Sequence[Case]
    """Photographs and masks."""
    thresholds: Mapping[str, float]
    """Lesion -> probability from which a pixel is lesion, in (0, 1]; only these lesions are scored."""
    region: Part = "whole"
    """Pixels that are scored."""
    resamples: int = metrics.RESAMPLES
    """Of the bootstrap over photographs."""
    seed: int = 0
    """Of the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionOutcome:
    """What came of one lesion."""

    figures: figures.Tree
    """As in metrics.json."""
    pooled: Counts
    """Of all photographs: the exact precision-recall curve."""
    each: tuple[Measures, ...]
    """One a photograph: what another system is compared by (`metrics.paired_interval`)."""
    gallery: Gallery
    """Of the best and the worst."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sofar:
    """One lesion while photographs are seen."""

    pooled: Counts
    each: tuple[Measures, ...]
    gallery: Gallery


def evaluate(
    trial: Trial, tell: Callable[[int, str], None] = lambda done, name: None
) -> dict[str, LesionOutcome]:
    """Score a system on all photographs; each is in memory alone.

    Args:
        trial: what is evaluated on what.
        tell: called with the number of photographs done and the name of the last one.

    Returns:
        Lesion -> what came of it, in the order of the thresholds.

    Raises:
        DatasetError: there is no photograph; a mask or map cannot be used.
        LesionError: no lesion is scored.
        FoveateError: a photograph cannot be used; the message says which.
    """
    if not trial.cases:
        raise DatasetError("no photograph to evaluate on; choose another --split")
    if not trial.thresholds:
        raise LesionError("no lesion to evaluate; the set and the system have none in common")
    sofar: dict[str, _Sofar] = {}
    for done, case in enumerate(trial.cases, start=1):
        try:
            sofar = _seen(trial, case, sofar)
        except FoveateError as error:
            raise type(error)(f"{case.name}: {error}") from error
        tell(done, case.name)
    return {lesion: _outcome(trial, lesion, sofar[lesion]) for lesion in trial.thresholds if lesion in sofar}


def _seen(trial: Trial, case: Case, sofar: Mapping[str, _Sofar]) -> dict[str, _Sofar]:
    """Return what is known after one more photograph; lesions it was not looked through for are left out."""
    wanted = {
        lesion: threshold for lesion, threshold in trial.thresholds.items() if is_annotated(case, lesion)
    }
    if not wanted:
        return dict(sofar)
    shown = trial.source(case)
    where = measures.inside(trial.region, shown)
    known = dict(sofar)
    for lesion, threshold in wanted.items():
        (plane,) = truth(case, (lesion,), shown.photograph.shape)
        compared = measures.compare(shown.stored(lesion), plane, where, threshold)
        seams = None if shown.seams is None else shown.seams(lesion)
        one = measures.measure(case.name, compared, seams)
        before = known.get(lesion)
        known[lesion] = _Sofar(
            pooled=compared.counts if before is None else before.pooled + compared.counts,
            each=(one,) if before is None else (*before.each, one),
            gallery=_hung(Gallery() if before is None else before.gallery, shown, compared, one),
        )
    return known


def _hung(shelf: Gallery, shown: Shown, compared: Compared, one: Measures) -> Gallery:
    """Return the gallery with a photograph, if it has the lesion and is among the best or worst."""
    score = one.areas["exact"]
    if score is None:
        return shelf

    def draw() -> Picture:
        overview, closeup = gallery.draw(shown.photograph.pixels, compared.truth, compared.marked)
        return Picture(name=one.photograph, score=score, overview=overview, closeup=closeup)

    return shelf.having(score, draw)


def _outcome(trial: Trial, lesion: str, seen: _Sofar) -> LesionOutcome:
    drawn = metrics.draws(len(seen.each), trial.resamples, trial.seed)
    return LesionOutcome(
        figures=figures.lesion(seen.each, seen.pooled, trial.thresholds[lesion], drawn),
        pooled=seen.pooled,
        each=seen.each,
        gallery=seen.gallery,
    )
