"""Which lesions are found, and how much is found that is none: free-response operating characteristic (FROC).

Knows:   regions of a map at rising thresholds (8-connected), two ways to match them with drawn lesions.
Ignores: pixels' probabilities beyond thresholds, files, and what else is scored.

Matched by one pixel: a lesion is found where any of its pixels is marked, a region is false where none of its
pixels is lesion. Matched by IoU: lesion and region must overlap by 20 % of their union.

Shape letters: H W photograph, h w canvas of crowded regions, N marked pixels, L lesions, T thresholds,
D strata of lesion diameter, P photographs, R pools of photographs, C columns.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from foveate.metrics import thresholds
from foveate.metrics.bootstrap import Statistic, share
from foveate.metrics.thresholds import Map

Matching = Literal["one_pixel", "iou_0.2"]

MATCHINGS: tuple[Matching, ...] = get_args(Matching)

IOU = 0.2
"""Overlap that the stricter matching asks for: lesions of some pixels are drawn with less care than that."""

THRESHOLDS = tuple(
    sorted({1 / 64, *(k / 32 for k in range(1, 33)), *(1 - 2.0**-power for power in (6, 7, 8))}, reverse=True)
)
"""Probabilities at which regions are formed, falling; closer towards 1, where maps of networks crowd."""

DIAMETERS = (8.0, 16.0, 32.0, 64.0)
"""Edges of the strata, px of the photograph: the diameter of the disc of a lesion's area. Below 8 px a lesion
of an IDRiD photograph spans less than two pixels of the paper's 640 x 640 view (4.4 to 5.2 px each)."""

RATES = (1.0, 2.0, 4.0, 8.0)
"""False positives a photograph at which sensitivity is read off."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detection:
    """What one map finds in one photograph at each threshold, by one way to match."""

    hits: Int64[np.ndarray, "T D"]
    """Lesions found, by stratum."""
    false: Int64[np.ndarray, " T"]
    """Regions that are no lesion."""
    lesions: Int64[np.ndarray, " D"]
    """Lesions drawn, by stratum."""

    def row(self, stratum: int | None = None) -> Float64[np.ndarray, " C"]:
        """Return what is summed over photographs: T hits, T false, lesions, 1; of one stratum or of all."""
        hits = self.hits.sum(axis=1) if stratum is None else self.hits[:, stratum]
        lesions = self.lesions.sum() if stratum is None else self.lesions[stratum]
        return np.concatenate([hits, self.false, [lesions, 1]]).astype(np.float64)


def detect(
    stored: Map, truth: Bool[np.ndarray, "H W"], thresholds: tuple[float, ...]
) -> dict[Matching, Detection]:
    """Match the regions of a map with the lesions drawn, at each threshold.

    Regions at a higher threshold lie in those at a lower one. So the photograph is searched once, at the
    lowest threshold; what is found is crowded together on a small canvas, gaps kept, and searched there.
    Where that canvas would be no smaller than the photograph, the photograph itself is searched.

    Args:
        stored: a map; nothing marked outside of what is scored.
        truth: lesion pixels that are scored.
        thresholds: probabilities above 0 and up to 1, falling.

    Returns:
        Way to match -> what is found; strata by DIAMETERS.
    """
    _, drawn, stats, _ = cv2.connectedComponentsWithStats(
        truth.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    crowd = _crowded(stored, thresholds[-1])
    lesion_there = drawn.ravel()[crowd.origin]
    strata = np.digitize(2 * np.sqrt(areas / np.pi), DIAMETERS)
    size = len(DIAMETERS) + 1
    lesions = np.bincount(strata[1:], minlength=size)
    found: dict[Matching, tuple[list[Int64[np.ndarray, " D"]], list[int]]] = {m: ([], []) for m in MATCHINGS}
    for threshold in thresholds:
        overlaps = _overlaps(crowd, lesion_there, areas, threshold)
        for matching, (hits, false) in found.items():
            matched = overlaps.share >= (IOU if matching == "iou_0.2" else 0)
            seen = np.unique(overlaps.lesion[matched])
            hits.append(np.bincount(strata[seen], minlength=size))
            false.append(overlaps.regions - len(np.unique(overlaps.region[matched])))
    return {
        matching: Detection(hits=np.array(hits), false=np.array(false), lesions=lesions)
        for matching, (hits, false) in found.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Crowd:
    """Marked pixels, moved region by region onto a canvas no larger than the photograph."""

    levels: Map
    """As stored; between the regions 0, or below the lowest threshold."""
    place: Int64[np.ndarray, " N"]
    """Of each marked pixel, flat, on the canvas."""
    origin: Int64[np.ndarray, " N"]
    """The same in the photograph."""


def _crowded(stored: Map, threshold: float) -> _Crowd:
    """Search a photograph at a threshold and crowd the regions: shelves of boxes, the highest first.

    Boxes of regions may overlap, as those of diagonal stripes, and come to many times the photograph: then it
    is its own canvas.
    """
    lit = thresholds.marked(stored, threshold)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        lit.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    origin = np.flatnonzero(lit)
    label = labels.ravel()[origin]
    corners, shape = _shelved(stats[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]])
    if shape[0] * shape[1] >= stored.size:
        return _Crowd(levels=stored, place=origin, origin=origin)
    rows, columns = np.divmod(origin, stored.shape[1])
    rows += corners[label, 0] - stats[label, cv2.CC_STAT_TOP]
    columns += corners[label, 1] - stats[label, cv2.CC_STAT_LEFT]
    place = rows * shape[1] + columns
    levels = np.zeros(shape, stored.dtype)
    levels.ravel()[place] = stored.ravel()[origin]
    return _Crowd(levels=levels, place=place, origin=origin)


def _shelved(boxes: Int32[np.ndarray, "L 2"]) -> tuple[Int64[np.ndarray, "L 2"], tuple[int, int]]:
    """Return where boxes of (height, width) lie on a canvas, a pixel apart, and its shape; not the first."""
    corners = np.zeros((len(boxes), 2), np.int64)
    order = 1 + np.argsort(-boxes[1:, 0], kind="stable")
    widest = int(boxes[1:, 1].max(initial=0)) + 1
    total = int(((boxes[1:, 0] + 1).astype(np.int64) * (boxes[1:, 1] + 1)).sum())
    across = max(widest, int(np.sqrt(total)))  # about square
    top = left = below = 0
    for index, (height, width) in zip(order.tolist(), boxes[order].tolist(), strict=True):
        if left + width + 1 > across:
            top, left = below, 0
        corners[index] = top, left
        left += width + 1
        below = max(below, top + height + 1)
    return corners, (max(below, 1), across)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Overlaps:
    """Pairs of a region and a lesion that share a pixel."""

    region: Int64[np.ndarray, " N"]
    lesion: Int64[np.ndarray, " N"]
    share: Float64[np.ndarray, " N"]
    """Shared pixels in the union of both, above 0 and up to 1."""
    regions: int
    """How many regions there are, paired or not."""


def _overlaps(
    crowd: _Crowd, lesion_there: Int32[np.ndarray, " N"], areas: Int64[np.ndarray, " L"], threshold: float
) -> _Overlaps:
    """Find the regions at one threshold and what they share with lesions."""
    lit = thresholds.marked(crowd.levels, threshold)
    count, labels = cv2.connectedComponents(lit.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    region = labels.ravel()[crowd.place]
    region_areas = np.bincount(region, minlength=count)
    both = (region > 0) & (lesion_there > 0)
    pairs, shared = np.unique(
        region[both].astype(np.int64) * len(areas) + lesion_there[both], return_counts=True
    )
    first, second = np.divmod(pairs, len(areas))
    return _Overlaps(
        region=first,
        lesion=second,
        share=shared / (region_areas[first] + areas[second] - shared),
        regions=count - 1,
    )


def sensitivity(index: int) -> Statistic:
    """Return the statistic: share of the lesions found at one threshold; of rows as `Detection.row`."""

    def statistic(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
        return share(table[:, index], table[:, -2])

    return statistic


def false_positives(index: int) -> Statistic:
    """Return the statistic: false regions a photograph at one threshold."""

    def statistic(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
        return share(table[:, thresholds_of(table) + index], table[:, -1])

    return statistic


def sensitivity_at(rate: float) -> Statistic:
    """Return the statistic: the highest sensitivity that costs at most `rate` false regions a photograph.

    Nothing is interpolated; where every threshold costs more it is 0, since nothing marked finds nothing.
    Rows of a stratum hold the false regions of all: no region that is false has a lesion's diameter.

    Source: our choice of reading the curve; FROC, Bunch et al. 1978, doi:10.1117/12.955926.
    """

    def statistic(table: Float64[np.ndarray, "R C"]) -> Float64[np.ndarray, " R"]:
        count = thresholds_of(table)
        hits, false = table[:, :count], table[:, count : 2 * count]
        affordable = np.where(false <= rate * table[:, -1:], hits, 0)
        return share(affordable.max(axis=1), table[:, -2])

    return statistic


def thresholds_of(table: Float64[np.ndarray, "R C"]) -> int:
    """Return how many thresholds the rows of `Detection.row` hold."""
    return (int(table.shape[1]) - 2) // 2
