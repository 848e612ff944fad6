"""How many lesion and other pixels a map shows at each place of the ruler.

Knows:   counting, adding up photographs, merging bins into a sketch.
Ignores: what is worked out from the counts.

Shape letters: H W photograph, B bins from low to high, S bins of a sketch, T thresholds,
P photographs, C columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from foveate.errors import GeometryError
from foveate.metrics import thresholds
from foveate.metrics.thresholds import STEPS, TOP, Map

ROWS = 512
"""Rows of a map that are counted at a time: bounds the memory for wider numbers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Counts:
    """Pixels by probability, apart for lesion and other: all that pooled scores need to know of a map."""

    positives: Int64[np.ndarray, " B"]
    """Lesion pixels in each bin."""
    negatives: Int64[np.ndarray, " B"]
    """Other pixels in each bin."""
    floors: Int64[np.ndarray, " B"]
    """Place on the ruler of each bin, rising from 0."""

    def __add__(self, other: "Counts") -> "Counts":
        """Pool the pixels of both; a map of 8 bits has some of the places of one of 16, and that of floats.

        Raises:
            GeometryError: one has places that the other has not, and the other way round.
        """
        wide, narrow = (self, other) if len(self.floors) >= len(other.floors) else (other, self)
        where = np.searchsorted(wide.floors, narrow.floors)
        if where[-1] == len(wide.floors) or not np.array_equal(wide.floors[where], narrow.floors):
            raise GeometryError(
                f"counts over {len(wide.floors)} and {len(narrow.floors)} bins do not add up; "
                "count both maps by their formats' places"
            )
        positives, negatives = wide.positives.copy(), wide.negatives.copy()
        positives[where] += narrow.positives
        negatives[where] += narrow.negatives
        return Counts(positives=positives, negatives=negatives, floors=wide.floors)

    def reaching(
        self, thresholds: Int64[np.ndarray, " T"]
    ) -> tuple[Int64[np.ndarray, " T"], Int64[np.ndarray, " T"]]:
        """Return how many lesion and other pixels lie at or above each place; a place above TOP has none."""
        first = np.searchsorted(self.floors, thresholds)
        return _from(self.positives, first), _from(self.negatives, first)

    def binned(
        self, floors: Int64[np.ndarray, " S"]
    ) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " S"]]:
        """Return lesion and other pixels in wider bins, each from its floor to the next; the first is 0."""
        hits, others = self.reaching(floors)
        return -np.diff(hits, append=0), -np.diff(others, append=0)

    def sketch(self) -> Int64[np.ndarray, "2 S"]:
        """Return lesion and other pixels in the bins of SKETCH: what intervals are computed from."""
        return np.stack(self.binned(SKETCH))


def sketches(each: Sequence[Int64[np.ndarray, "2 S"]]) -> Float64[np.ndarray, "P C"]:
    """Return a table for `average_precisions`: a row a photograph, lesion pixels by bin, then others.

    Bins in which no photograph has a pixel are left out: they change nothing.
    """
    rows = np.array(each, np.float64)
    used = rows.any(axis=(0, 1))
    return np.ascontiguousarray(rows[:, :, used]).reshape(len(rows), -1)


def _from(counts: Int64[np.ndarray, " B"], first: Int64[np.ndarray, " T"]) -> Int64[np.ndarray, " T"]:
    """Return the sums of a histogram from each bin on."""
    below = np.concatenate([[0], np.cumsum(counts)])
    found: Int64[np.ndarray, " T"] = below[-1] - below[first]
    return found


def histogram(
    stored: Map, truth: Bool[np.ndarray, "H W"], inside: Bool[np.ndarray, "H W"] | None = None
) -> Counts:
    """Count the pixels of one map at each place that its dtype can use.

    Args:
        stored: the map as it is written: levels, or probabilities in [0, 1].
        truth: lesion pixels.
        inside: pixels that are scored; all of them where None.
    """
    floors = thresholds.floors(stored.dtype)
    everything, positives = np.zeros_like(floors), np.zeros_like(floors)
    for top in range(0, len(stored), ROWS):
        rows = slice(top, top + ROWS)
        levels, lesion = stored[rows].ravel(), truth[rows].ravel()
        if inside is not None:
            kept = inside[rows].ravel()
            levels, lesion = levels[kept], lesion[kept]
        index = thresholds.places(levels) if levels.dtype.kind == "f" else levels.astype(np.int64)
        everything += np.bincount(index, minlength=len(floors))
        positives += np.bincount(index[lesion], minlength=len(floors))
    return Counts(positives=positives, negatives=everything - positives, floors=floors)


def pool(several: Sequence[Counts]) -> Counts:
    """Add up the counts of several photographs.

    Raises:
        GeometryError: there are none.
    """
    if not several:
        raise GeometryError("no counts to pool; score at least one photograph")
    total = several[0]
    for counts in several[1:]:
        total = total + counts
    return total


OFFICIAL = np.arange(33) * (TOP // 32)
"""Places of the challenge's thresholds 0, 1/32 ... 1, for p >= t."""

COARSE = np.arange(11) * (TOP // 10) + 1
"""Places just above 0, .1 ... 1, for p > t; the last lies beyond the ruler."""


def _sketch_floors() -> Int64[np.ndarray, " S"]:
    """Lay out the bins of a sketch."""
    even = np.rint(np.linspace(0, TOP, 1025)).astype(np.int64)  # finer than the levels of 8 bits
    near = np.rint(np.geomspace(1, STEPS / 16, 1490)).astype(np.int64)  # up to where even bins are as dense
    floors: Int64[np.ndarray, " S"] = np.unique(
        np.concatenate([even, OFFICIAL, COARSE[:-1], 2 * near, TOP - 2 * near, [1, TOP]])
    )
    return floors


SKETCH = _sketch_floors()
"""Floors of the at most 4,096 bins a photograph that intervals are computed from: 0 and 1 and every threshold
of both coarse estimators exactly, every level of 8 bits in a bin of its own, the rest spread evenly, and
geometrically towards 0 and 1, where maps of networks crowd."""
