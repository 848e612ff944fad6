"""Remove the regions of a map that have too little evidence: those that are too faint for their size.

Knows:   that the evidence of a region is its area times its mean probability above the threshold.
Ignores: how the least evidence is chosen (`evaluation.evidence_cuts`), and where regions are written.

The evidence is the sum, over a region's pixels, of probability minus threshold: a large faint region and a
small bright one may have the same evidence. It is the volume of a connected component, and `suppress` is a
volume opening at a single grey level. A region that is removed keeps its pixels in the map, just below the
threshold: it reappears if a user lowers the threshold.

Source: volume as an attribute of connected components: Salembier, Oliveras and Garrido 1998,
doi:10.1109/83.663500. Its use as evidence is our choice.

Shape letters: h w canvas, R regions and the background before them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt16

from foveate.analysis.runs import find_row_runs, label_runs, total
from foveate.packed_maps import PackedMaps
from foveate.types import Decision, lowest_level

HIGHEST = 65535
"""Level of probability 1 in a map of 16 bits."""

HIGHEST_8_BIT = 255
"""Level of probability 1 in a map of 8 bits; 257 levels of 16 bits are rounded to each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledRegions:
    """The regions of a map, and the evidence that decides whether they are kept."""

    labels: Int32[np.ndarray, "h w"]
    """Number of each pixel's region; 0 outside all regions."""
    areas: Int64[np.ndarray, " R"]
    """Pixels of each region; entry 0 is the background."""
    evidence: Float64[np.ndarray, " R"]
    """Evidence of each region, px; entry 0 is 0."""


def lowest_lesion_level(threshold: float) -> int:
    """Return the lowest 16-bit level that is lesion in a map of 16 bits, or in one rounded to 8 bits.

    The two can differ by half a level of 8 bits, because maps are rounded to the nearest level.

    Args:
        threshold: a probability in (0, 1].
    """
    of_8_bits = lowest_level(threshold, HIGHEST_8_BIT) * (HIGHEST // HIGHEST_8_BIT) - 128
    return max(1, min(lowest_level(threshold, HIGHEST), of_8_bits))


def measure(stored: UInt16[np.ndarray, "h w"], threshold: float) -> LabelledRegions:
    """Label the 8-connected regions of a map and measure their evidence.

    Args:
        stored: probability times 65535.
        threshold: a probability in (0, 1].
    """
    lesion_pixels = (stored >= lowest_lesion_level(threshold)).view(np.uint8)
    count, labels = cv2.connectedComponents(lesion_pixels, connectivity=8, ltype=cv2.CV_32S)
    positions = np.flatnonzero(labels)
    label, level = labels.ravel()[positions], stored.ravel()[positions]
    areas = np.bincount(label, minlength=count)
    areas[0] = stored.size - len(positions)
    evidence = np.bincount(label, weights=level / HIGHEST - threshold, minlength=count)
    # if no pixel is lesion, bincount returns integers in spite of the weights
    return LabelledRegions(labels=labels, areas=areas, evidence=evidence.astype(np.float64))


def suppress(maps: PackedMaps, index: int, decision: Decision) -> None:
    """Lower the regions of a map with too little evidence to just below the threshold, in place.

    Nothing changes if the decision requires no evidence.

    Args:
        maps: probability times 65535; changed.
        index: of the map.
        decision: threshold and minimum evidence.
    """
    if not decision.minimum_evidence:
        return
    lowest = lowest_lesion_level(decision.threshold)
    runs = find_row_runs(maps.rows_reaching(index, lowest), lowest)
    labels = label_runs(runs, maps.shape[-1])
    count, lengths = int(labels.max(initial=-1)) + 1, runs.last - runs.first + 1
    evidence = total(runs.levels, labels, count) / HIGHEST - decision.threshold * total(
        lengths, labels, count
    )
    is_weak = (evidence < decision.minimum_evidence)[labels]
    rows, first, lengths = runs.rows[is_weak], runs.first[is_weak], lengths[is_weak]
    columns = np.arange(lengths.sum()) + np.repeat(first + lengths - np.cumsum(lengths), lengths)
    maps.replace(index, np.repeat(rows, lengths), columns, lowest - 1)
