"""One photograph's map against its mask: everything that figures of many photographs are summed from.

Knows:   which pixels are scored; what is counted of one lesion in one photograph.
Ignores: where maps come from, and what the sums come to.

Shape letters: H W photograph, S bins of a sketch, C columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from foveate import metrics
from foveate.evaluation.sources import Shown, everywhere
from foveate.geometry import canvas, field_of_view
from foveate.metrics import Counts, Detection
from foveate.metrics.froc import THRESHOLDS, Matching
from foveate.metrics.thresholds import Map
from foveate.types import Part

NAMES = tuple(metrics.ESTIMATORS)
"""Of the three areas below the precision-recall curve."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measures:
    """One lesion in one photograph: some 60 kB, whatever the photograph's size."""

    photograph: str
    """Name of the case."""
    lesion_pixels: int
    pixels: int
    """Scored, lesion and other."""
    areas: Mapping[str, float | None]
    """Estimator -> area below this photograph's own curve; None where it has no lesion."""
    sketch: Int64[np.ndarray, "2 S"]
    """Lesion and other pixels in the bins of `metrics.SKETCH`."""
    official: Float64[np.ndarray, " 67"]
    """Sums at the challenge's thresholds, as `metrics.at_thresholds` makes them."""
    coarse: Float64[np.ndarray, " 23"]
    """The same at eleven thresholds."""
    confusion: Float64[np.ndarray, " 3"]
    """True positives, false positives and false negatives at the lesion's threshold, pixels."""
    detection: Mapping[Matching, Detection]
    """At `thresholds(the lesion's own)`."""
    calibration: Float64[np.ndarray, " 30"]
    """As `metrics.calibration.row` makes it."""
    highest: float
    """Probability of the surest pixel: the photograph's own score for the lesion."""
    seams: Float64[np.ndarray, " 4"] | None
    """As `metrics.seams.row` makes it; None where nobody knows the windows."""


def thresholds(own: float) -> tuple[float, ...]:
    """Return the thresholds at which lesions are searched, falling: the fixed ones and the lesion's own."""
    return tuple(sorted({*THRESHOLDS, own}, reverse=True))


def inside(part: Part, shown: Shown) -> Bool[np.ndarray, "H W"] | None:
    """Return the pixels that are scored; None for all.

    Raises:
        FieldError: no field is found.
        GeometryError: the photograph is smaller than the paper's crop.
    """
    shape = shown.photograph.shape
    if part == "whole":
        return None
    if part == "field":
        return field_of_view.mask(shown.field(), everywhere(shape))
    mask = np.zeros(shape, bool)
    mask[canvas.part_box(part, shape, field_of_view.full(shape)).slices] = True
    return mask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Compared:
    """One lesion's map and mask, nothing marked or drawn outside of what is scored."""

    stored: Map
    truth: Bool[np.ndarray, "H W"]
    marked: Bool[np.ndarray, "H W"]
    """Where the map reaches the threshold."""
    counts: Counts
    """Of the pixels that are scored."""
    threshold: float
    """Probability from which a pixel is lesion."""


def compare(
    stored: Map, truth: Bool[np.ndarray, "H W"], where: Bool[np.ndarray, "H W"] | None, threshold: float
) -> Compared:
    """Lay a map beside its mask.

    Args:
        stored: in the photograph's frame.
        truth: lesion pixels.
        where: pixels that are scored, None for all.
        threshold: in (0, 1].
    """
    counts = metrics.histogram(stored, truth, where)
    if where is not None:
        stored = np.where(where, stored, stored.dtype.type(0))
        truth = truth & where
    marked = metrics.thresholds.marked(stored, threshold)
    return Compared(stored=stored, truth=truth, marked=marked, counts=counts, threshold=threshold)


def measure(name: str, compared: Compared, seams: Float64[np.ndarray, " 4"] | None) -> Measures:
    """Count what figures are summed from.

    Args:
        name: of the case.
        compared: map and mask.
        seams: jumps at borders of windows, if anybody knows them.
    """
    counts, truth, marked = compared.counts, compared.truth, compared.marked
    hits = int(np.count_nonzero(marked & truth))
    lesion = int(counts.positives.sum())
    occupied = np.flatnonzero(counts.positives + counts.negatives)
    return Measures(
        photograph=name,
        lesion_pixels=lesion,
        pixels=lesion + int(counts.negatives.sum()),
        areas={key: estimator(counts) for key, estimator in metrics.ESTIMATORS.items()},
        sketch=counts.sketch(),
        official=metrics.at_thresholds(counts, metrics.OFFICIAL),
        coarse=metrics.at_thresholds(counts, metrics.COARSE),
        confusion=np.array([hits, np.count_nonzero(marked) - hits, lesion - hits], np.float64),
        detection=metrics.detect(compared.stored, truth, thresholds(compared.threshold)),
        calibration=metrics.calibration.row(counts),
        highest=metrics.thresholds.probability(int(counts.floors[occupied[-1]])) if len(occupied) else 0.0,
        seams=seams,
    )
