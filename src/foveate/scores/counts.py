"""How many lesion and other pixels a map shows at each stored level.

Knows:   counting, adding up photographs, merging levels.
Ignores: what is worked out from the counts.

Shape letters: H W photograph, B bins of stored levels from low to high, C coarser bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt16

from foveate.errors import GeometryError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Counts:
    """Pixels by stored level, apart for lesion and other: all that pooled scores need to know of a map."""

    positives: Int64[np.ndarray, " B"]
    """Lesion pixels in each bin."""
    negatives: Int64[np.ndarray, " B"]
    """Other pixels in each bin."""
    floors: Int64[np.ndarray, " B"]
    """Lowest stored level of each bin, rising from 0; it holds all levels up to the next bin's floor."""

    def __add__(self, other: "Counts") -> "Counts":
        """Pool the pixels of both.

        Raises:
            GeometryError: the two are counted over different levels.
        """
        if not np.array_equal(self.floors, other.floors):
            raise GeometryError(
                f"counts over {len(self.floors)} and {len(other.floors)} bins do not add up; "
                "count maps of one format in equal bins"
            )
        return Counts(
            positives=self.positives + other.positives,
            negatives=self.negatives + other.negatives,
            floors=self.floors,
        )

    def merged(self, floors: Int64[np.ndarray, " C"]) -> "Counts":
        """Put neighbouring bins together; pixels within a bin then count as equally probable.

        Args:
            floors: some of this one's floors, rising from 0.
        """
        starts = np.searchsorted(self.floors, floors)
        return Counts(
            positives=np.add.reduceat(self.positives, starts),
            negatives=np.add.reduceat(self.negatives, starts),
            floors=floors,
        )


def histogram(
    stored: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"],
    truth: Bool[np.ndarray, "H W"],
    inside: Bool[np.ndarray, "H W"] | None = None,
) -> Counts:
    """Count the pixels of one map at each level its dtype can hold.

    Args:
        stored: the map as it is written.
        truth: lesion pixels.
        inside: pixels that are scored; all of them where None.
    """
    levels = int(np.iinfo(stored.dtype).max) + 1
    everything = stored.ravel() if inside is None else stored[inside]
    lesion = stored[truth if inside is None else truth & inside]
    positives = np.bincount(lesion, minlength=levels)
    return Counts(
        positives=positives,
        negatives=np.bincount(everything, minlength=levels) - positives,
        floors=np.arange(levels),
    )


def pool(several: Sequence[Counts]) -> Counts:
    """Add up the counts of several photographs.

    Raises:
        GeometryError: there are none, or they are counted over different levels.
    """
    if not several:
        raise GeometryError("no counts to pool; score at least one photograph")
    total = several[0]
    for counts in several[1:]:
        total = total + counts
    return total
