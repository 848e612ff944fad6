"""Lesion-level detection: free-response operating characteristic (FROC).

Knows:   regions of a map at falling thresholds (8-connected), and two ways to match them with true lesions.
Ignores: the probabilities of single pixels, files, and other scores.

Matching 'one_pixel': a lesion is detected if a region shares a pixel with it, and a region is a false
positive if none of its pixels is lesion. Matching 'iou_0.2': a lesion and a region match if their
intersection is at least 20 % of their union.

Shape letters: H W photograph, h w packed canvas, N pixels above the threshold, L lesions, T thresholds,
D strata of lesion diameter, P photographs, R bootstrap samples (pools of photographs), C columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from foveate.errors import SettingError
from foveate.metrics import bootstrap, thresholds
from foveate.metrics.arguments import require_booleans
from foveate.metrics.bootstrap import COVERAGE, Estimate, Statistic, divide_or_nan
from foveate.metrics.thresholds import StoredMap, lowest_stored, require_map

Matching = Literal["one_pixel", "iou_0.2"]

MATCHINGS: tuple[Matching, ...] = get_args(Matching)

IOU = 0.2
"""Smallest intersection over union of the stricter matching. It is low because annotators outline lesions of
a few pixels only roughly."""

THRESHOLDS = tuple(
    sorted(
        {1 / 64, *(k / 32 for k in range(1, 33)), *(1 - 2.0 ** (-half / 2) for half in range(12, 31))},
        reverse=True,
    )
)
"""Probabilities at which regions are formed, falling. They are denser towards 1, where networks'
probabilities crowd: from 1 - 2**-6 to 1 - 2**-15, the last level but one of 16 bits, each is 1.4 times as
close to 1 as the one below. Networks that are not calibrated have their few false regions per photograph up
there."""

DIAMETERS = (8.0, 16.0, 32.0, 64.0)
"""Edges of the strata, px of the photograph. The diameter of a lesion is that of a disc of equal area. Below
8 px a lesion of an IDRiD photograph spans less than two pixels of the paper's 640 x 640 view (4.4 to 5.2 px
each)."""

RATES = (1.0, 2.0, 4.0, 8.0)
"""False positives per photograph at which the sensitivity is reported."""

SATURATED = "even at the highest level of the maps there are more false regions, so the maps cannot tell"
"""Why there is no sensitivity at a rate of false positives."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LesionDetections:
    """Detected lesions and false positives of one photograph at each threshold, for one way of matching."""

    true_positives: Int64[np.ndarray, "T D"]
    """Detected lesions, by stratum."""
    false_positives: Int64[np.ndarray, " T"]
    """Regions that match no lesion."""
    lesions: Int64[np.ndarray, " D"]
    """Lesions of the mask, by stratum."""

    def table_row(self, stratum: int | None = None) -> Float64[np.ndarray, " C"]:
        """Return the numbers that are summed over photographs.

        They are T true positives, T false positives, the number of lesions, and 1 for the photograph.

        Args:
            stratum: index of one stratum of lesions; None adds up all strata.
        """
        hits = self.true_positives.sum(axis=1) if stratum is None else self.true_positives[:, stratum]
        lesions = self.lesions.sum() if stratum is None else self.lesions[stratum]
        return np.concatenate([hits, self.false_positives, [lesions, 1]]).astype(np.float64)


def detect(
    stored: StoredMap, truth: Bool[np.ndarray, "H W"], thresholds: tuple[float, ...]
) -> dict[Matching, LesionDetections]:
    """Match the regions of a map with the lesions of a mask, at each threshold.

    Every region at a higher threshold lies within a region at a lower one. The map is therefore labelled
    once, at the lowest threshold. Its regions are then packed onto a small canvas, with gaps between them,
    and the other thresholds are applied there. If that canvas would be no smaller than the map, the
    map itself is used. Thresholds between the same two levels of the map share their result.

    Args:
        stored: a map that is 0 outside the scored pixels.
        truth: lesion pixels that are scored.
        thresholds: probabilities above 0 and up to 1, falling.

    Returns:
        The detections for each way of matching, with the strata of `DIAMETERS`.

    Raises:
        GeometryError: the truth is not Boolean or not of the map's shape, no map has this dtype, or a float
            is not in [0, 1].
        SettingError: there is no threshold, one is out of range, or they do not fall.
    """
    require_booleans(truth, "truth", stored.shape)
    require_map(stored)
    is_falling = all(high >= low for high, low in pairwise(thresholds))
    if not (thresholds and is_falling and all(0 < threshold <= 1 for threshold in thresholds)):
        raise SettingError(
            f"the thresholds are {', '.join(map(str, thresholds)) or 'missing'}; give probabilities above 0 "
            "and up to 1, the highest first"
        )
    _, lesion_labels, stats, _ = cv2.connectedComponentsWithStats(
        truth.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    packed = _pack_regions(stored, thresholds[-1])
    lesion_of_pixel = lesion_labels.ravel()[packed.source]
    strata = np.digitize(2 * np.sqrt(areas / np.pi), DIAMETERS)
    size = len(DIAMETERS) + 1
    lesions = np.bincount(strata[1:], minlength=size)
    series: dict[Matching, tuple[list[Int64[np.ndarray, " D"]], list[int]]] = {m: ([], []) for m in MATCHINGS}
    lowest = None
    for threshold in thresholds:
        before, lowest = lowest, lowest_stored(threshold, stored.dtype)
        if lowest == before:
            for counts in series.values():
                for column in counts:
                    column.append(column[-1])
            continue
        overlaps = _overlaps(packed, lesion_of_pixel, areas, threshold)
        for matching, (true_positives, false_positives) in series.items():
            is_match = overlaps.iou >= (IOU if matching == "iou_0.2" else 0)
            detected = np.unique(overlaps.lesion[is_match])
            true_positives.append(np.bincount(strata[detected], minlength=size))
            false_positives.append(overlaps.region_count - len(np.unique(overlaps.region[is_match])))
    return {
        matching: LesionDetections(
            true_positives=np.array(true_positives),
            false_positives=np.array(false_positives),
            lesions=lesions,
        )
        for matching, (true_positives, false_positives) in series.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _PackedRegions:
    """The pixels above the lowest threshold, moved region by region onto a small canvas."""

    levels: StoredMap
    """Stored levels on the canvas; between the regions they are 0, or below the lowest threshold."""
    position: Int64[np.ndarray, " N"]
    """Flat index of each pixel on the canvas."""
    source: Int64[np.ndarray, " N"]
    """Flat index of each pixel in the photograph."""


def _pack_regions(stored: StoredMap, threshold: float) -> _PackedRegions:
    """Label the regions of a map at a threshold, and pack them onto a canvas.

    The boxes of regions may overlap, as those of diagonal stripes do. Together they can be many times as
    large as the photograph; the map itself then serves as the canvas.
    """
    above = thresholds.binarise(stored, threshold)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        above.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    source = np.flatnonzero(above)
    label = labels.ravel()[source]
    corners, shape = _pack_boxes(stats[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]])
    if shape[0] * shape[1] >= stored.size:
        return _PackedRegions(levels=stored, position=source, source=source)
    rows, columns = np.divmod(source, stored.shape[1])
    rows += corners[label, 0] - stats[label, cv2.CC_STAT_TOP]
    columns += corners[label, 1] - stats[label, cv2.CC_STAT_LEFT]
    position = rows * shape[1] + columns
    levels = np.zeros(shape, stored.dtype)
    levels.ravel()[position] = stored.ravel()[source]
    return _PackedRegions(levels=levels, position=position, source=source)


def _pack_boxes(boxes: Int32[np.ndarray, "L 2"]) -> tuple[Int64[np.ndarray, "L 2"], tuple[int, int]]:
    """Pack boxes in rows, the tallest first and one pixel apart: next-fit decreasing height.

    Args:
        boxes: (height, width) of each box, px; the first one is the background and is left out.

    Returns:
        The corners of the boxes on the canvas, and the canvas's shape.
    """
    corners = np.zeros((len(boxes), 2), np.int64)
    order = 1 + np.argsort(-boxes[1:, 0], kind="stable")
    widest = int(boxes[1:, 1].max(initial=0)) + 1
    total = int(((boxes[1:, 0] + 1).astype(np.int64) * (boxes[1:, 1] + 1)).sum())
    canvas_width = max(widest, int(np.sqrt(total)))  # about square
    top = left = bottom = 0
    for index, (height, width) in zip(order.tolist(), boxes[order].tolist(), strict=True):
        if left + width + 1 > canvas_width:
            top, left = bottom, 0
        corners[index] = top, left
        left += width + 1
        bottom = max(bottom, top + height + 1)
    return corners, (max(bottom, 1), canvas_width)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Overlaps:
    """Pairs of a region and a lesion that share a pixel."""

    region: Int64[np.ndarray, " N"]
    lesion: Int64[np.ndarray, " N"]
    iou: Float64[np.ndarray, " N"]
    """Intersection over union, above 0 and up to 1."""
    region_count: int
    """Number of regions, including those without a lesion."""


def _overlaps(
    packed: _PackedRegions,
    lesion_of_pixel: Int32[np.ndarray, " N"],
    areas: Int64[np.ndarray, " L"],
    threshold: float,
) -> _Overlaps:
    """Label the regions at one threshold and pair them with the lesions that they overlap."""
    above = thresholds.binarise(packed.levels, threshold)
    count, labels = cv2.connectedComponents(above.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    region = labels.ravel()[packed.position]
    region_areas = np.bincount(region, minlength=count)
    is_shared = (region > 0) & (lesion_of_pixel > 0)
    pairs, intersection = np.unique(
        region[is_shared].astype(np.int64) * len(areas) + lesion_of_pixel[is_shared], return_counts=True
    )
    regions, lesions = np.divmod(pairs, len(areas))
    return _Overlaps(
        region=regions,
        lesion=lesions,
        iou=intersection / (region_areas[regions] + areas[lesions] - intersection),
        region_count=count - 1,
    )


def sensitivity(index: int) -> Statistic:
    """Return the statistic 'share of the lesions that are detected' at the threshold with this index.

    The statistic takes rows as `LesionDetections.table_row` returns them.
    """

    def statistic(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
        return divide_or_nan(table[:, index], table[:, -2])

    return statistic


def false_positives(index: int) -> Statistic:
    """Return the statistic 'false positives per photograph' at the threshold with this index."""

    def statistic(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
        return divide_or_nan(table[:, threshold_count(table) + index], table[:, -1])

    return statistic


def sensitivity_at(rate: float) -> Statistic:
    """Return the statistic 'highest sensitivity with at most `rate` false positives per photograph'.

    Nothing is interpolated. If every threshold exceeds the rate, the sensitivity is 0: an empty map detects
    nothing; `estimate_at` says that such a map is saturated. Rows of one stratum hold the false positives of
    all strata, since a false positive has no lesion and therefore no lesion diameter.

    Source: FROC, Bunch et al. 1978, doi:10.1117/12.955926; the lack of interpolation is our choice.
    """

    def statistic(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
        count = threshold_count(table)
        true_positives, false_positives = table[:, :count], table[:, count : 2 * count]
        affordable = np.where(false_positives <= rate * table[:, -1:], true_positives, 0)
        return divide_or_nan(affordable.max(axis=1), table[:, -2])

    return statistic


def estimate_at(
    rate: float, table: Float64[np.ndarray, "P C"], draws: Int64[np.ndarray, "R P"], reason: str
) -> Estimate:
    """Return the sensitivity with at most `rate` false positives per photograph, and its 95 % interval.

    Maps are saturated if even the highest threshold exceeds the rate: which of their regions are more
    probable is lost. The sensitivity is then unknown. If this is true of more than 2.5 % of the samples, the
    interval is unknown.

    Args:
        rate: false positives per photograph.
        table: rows as `LesionDetections.table_row` returns them.
        draws: bootstrap samples from `metrics.resample_photographs`.
        reason: explanation that is returned if no lesion is annotated.
    """
    estimate = bootstrap.estimate(table, sensitivity_at(rate), draws, reason)
    return _without_saturated(estimate, [table], rate, draws)


def gain_at(
    rate: float,
    first: Float64[np.ndarray, "P C"],
    second: Float64[np.ndarray, "P C"],
) -> Estimate:
    """Return by how much the first system's sensitivity exceeds the second's, on the same photographs.

    Args:
        rate: false positives per photograph.
        first: rows of the first system, as `LesionDetections.table_row` returns them.
        second: rows of the second system, for the same photographs in the same order.

    Returns:
        The difference with its 95 % interval, as `metrics.paired_interval`; both are unknown where they are
        in `estimate_at` for one of the systems.

    Raises:
        GeometryError: the numbers of photographs differ, or there is no photograph.
    """
    gain = bootstrap.paired_interval(first, second, sensitivity_at(rate))
    return _without_saturated(gain, [first, second], rate, bootstrap.resample_photographs(len(first)))


def _without_saturated(
    estimate: Estimate,
    tables: Sequence[Float64[np.ndarray, "P C"]],
    rate: float,
    draws: Int64[np.ndarray, "R P"],
) -> Estimate:
    """Return an estimate without the parts that saturated maps leave unknown; see `estimate_at`."""
    if estimate.value is None:
        return estimate
    all_photographs = np.ones((1, draws.shape[1]), np.int64)
    if any(_saturated_share(table, rate, all_photographs) for table in tables):
        return Estimate(value=None, reason=SATURATED)
    if any(_saturated_share(table, rate, draws) > (1 - COVERAGE) / 2 for table in tables):
        return replace(estimate, low=None, high=None)
    return estimate


def _saturated_share(
    table: Float64[np.ndarray, "P C"], rate: float, draws: Int64[np.ndarray, "R P"]
) -> float:
    """Return the share of the samples in which even the highest threshold has too many false positives."""
    false_positives, photographs = (draws @ table[:, [threshold_count(table), -1]]).T
    return float((false_positives > rate * photographs).mean())


def threshold_count(table: Float64[np.ndarray, "R C"]) -> int:
    """Return the number of thresholds in rows of `LesionDetections.table_row`."""
    return (int(table.shape[1]) - 2) // 2
