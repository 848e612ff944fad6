"""Count the pixels and lesions of one photograph's map against its mask, for figures of many photographs.

Knows:   which pixels are scored, and what is counted for one lesion in one photograph.
Ignores: where maps come from, and how figures are computed from the sums.

Shape letters: H W photograph, S interval bins, C columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from foveate import metrics
from foveate.choices import Part
from foveate.evaluation.sources import CaseMaps
from foveate.geometry import canvas, field_of_view
from foveate.metrics import LesionDetections, PixelCounts
from foveate.metrics.froc import THRESHOLDS, Matching
from foveate.metrics.thresholds import StoredMap
from foveate.types import Box

ESTIMATOR_NAMES = tuple(metrics.ESTIMATORS)
"""Names of the three estimates of the area under the precision-recall curve."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measures:
    """The counts of one lesion in one photograph: about 60 kB, for a photograph of any size."""

    photograph: str
    """Name of the case."""
    lesion_pixels: int
    """Scored pixels that are lesion."""
    pixels: int
    """Scored pixels."""
    areas: Mapping[str, float | None]
    """Estimator -> area under the curve of this photograph alone; None where it has no lesion."""
    interval_bins: Int64[np.ndarray, "2 S"]
    """Lesion pixels and background pixels in the bins of `metrics.INTERVAL_BIN_EDGES`."""
    official: Float64[np.ndarray, " 67"]
    """Sums at the challenge's thresholds, from `metrics.threshold_sums`."""
    coarse: Float64[np.ndarray, " 23"]
    """Sums at eleven thresholds, from `metrics.threshold_sums`."""
    confusion: Float64[np.ndarray, " 3"]
    """True positives, false positives and false negatives at the lesion's own threshold, pixels."""
    detection: Mapping[Matching, LesionDetections]
    """Lesions detected at `search_thresholds(the lesion's own threshold)`."""
    calibration: Float64[np.ndarray, " 30"]
    """A row of `metrics.calibration.table_row`."""
    highest: float
    """Highest probability of any pixel: the score of the whole photograph for the lesion."""
    seams: Float64[np.ndarray, " 4"] | None
    """A row of `metrics.seams.table_row`; None where the windows are unknown."""


def search_thresholds(own: float) -> tuple[float, ...]:
    """Return the thresholds for lesion detection, the highest first: the fixed ones and the lesion's own."""
    return tuple(sorted({*THRESHOLDS, own}, reverse=True))


def scored_pixels(part: Part, maps: CaseMaps) -> Bool[np.ndarray, "H W"] | None:
    """Return a mask of the pixels that are scored; None means all.

    Raises:
        FieldError: no field of view is detected.
        GeometryError: the photograph is smaller than the paper's crop.
    """
    shape = maps.photograph.shape
    if part == "whole":
        return None
    if part == "field":
        return field_of_view.mask(maps.find_field(), Box.whole(shape))
    mask = np.zeros(shape, bool)
    mask[canvas.part_box(part, shape, field_of_view.full_frame(shape)).slices] = True
    return mask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MapComparison:
    """One lesion's map and mask, both empty outside the scored pixels."""

    map: StoredMap
    """As stored."""
    truth: Bool[np.ndarray, "H W"]
    """Lesion pixels according to the mask."""
    predicted: Bool[np.ndarray, "H W"]
    """Lesion pixels according to the map: where it reaches the threshold."""
    counts: PixelCounts
    """Counts of the scored pixels."""
    threshold: float
    """Probability from which a pixel is lesion."""


def compare(
    stored: StoredMap,
    truth: Bool[np.ndarray, "H W"],
    scored: Bool[np.ndarray, "H W"] | None,
    threshold: float,
) -> MapComparison:
    """Compare a map with its mask.

    Args:
        stored: the map in the photograph's frame.
        truth: lesion pixels.
        scored: pixels that are scored, None for all.
        threshold: probability from which a pixel is lesion, in (0, 1].
    """
    counts = metrics.histogram(stored, truth, scored)
    if scored is not None:
        stored = np.where(scored, stored, stored.dtype.type(0))
        truth = truth & scored
    predicted = metrics.thresholds.binarise(stored, threshold)
    return MapComparison(map=stored, truth=truth, predicted=predicted, counts=counts, threshold=threshold)


def measure(name: str, comparison: MapComparison, seams: Float64[np.ndarray, " 4"] | None) -> Measures:
    """Count everything from which the figures are computed.

    Args:
        name: name of the case.
        comparison: its map and mask.
        seams: jumps at the borders of windows, None where the windows are unknown.
    """
    counts, truth, predicted = comparison.counts, comparison.truth, comparison.predicted
    hits = int(np.count_nonzero(predicted & truth))
    lesion = int(counts.positives.sum())
    occupied = np.flatnonzero(counts.positives + counts.negatives)
    return Measures(
        photograph=name,
        lesion_pixels=lesion,
        pixels=lesion + int(counts.negatives.sum()),
        areas={key: estimator(counts) for key, estimator in metrics.ESTIMATORS.items()},
        interval_bins=counts.interval_bins(),
        official=metrics.threshold_sums(counts, metrics.OFFICIAL_THRESHOLDS),
        coarse=metrics.threshold_sums(counts, metrics.COARSE_THRESHOLDS),
        confusion=np.array([hits, np.count_nonzero(predicted) - hits, lesion - hits], np.float64),
        detection=metrics.detect(comparison.map, truth, search_thresholds(comparison.threshold)),
        calibration=metrics.calibration.table_row(counts),
        highest=metrics.thresholds.to_probability(int(counts.bin_edges[occupied[-1]]))
        if len(occupied)
        else 0.0,
        seams=seams,
    )
