"""The agreement of graders: Dice for pixels, Cohen's kappa for the presence of each lesion.

Knows:   what is compared, and when a figure is undefined.
Ignores: HTTP, and who may see it (`gradings`).

Regions below the minimum area are not counted for any grader. Dice of two empty masks is undefined, not 1:
agreement on absence is what kappa measures.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from foveate.metrics import cohen_kappa
from foveate.server.review.gradings import GradedCopies
from foveate.server.review.measures import PhotographMeasures
from foveate.server.storage.database import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionPair:
    """One lesion of one photograph in the gradings of two people."""

    photograph: Record
    graders: tuple[str, str]
    """In alphabetical order."""
    lesion: str
    regions: tuple[int, int]
    area_px: tuple[int, int]
    both_px: int
    """Number of pixels that both graders marked."""

    @property
    def present(self) -> tuple[bool, bool]:
        """Whether each grader marked any region of the lesion."""
        return self.regions[0] > 0, self.regions[1] > 0

    @property
    def dice(self) -> float | None:
        """Dice coefficient, 0 to 1; None if neither grader marked any pixel."""
        total = sum(self.area_px)
        return 2 * self.both_px / total if total else None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSummary:
    """One lesion in all photographs that the same two people graded."""

    graders: tuple[str, str]
    lesion: str
    photographs: int
    present_both: int
    present_first: int
    """Number of photographs in which only the first grader marked the lesion."""
    present_second: int
    present_neither: int
    kappa: float | None
    """Cohen's kappa of presence; None if it is undefined."""
    dice: float | None
    """Dice of the pixels of all photographs together; None if neither grader marked any."""
    mean_dice: float | None
    """Mean Dice of the photographs in which at least one grader marked a pixel; None if there are none."""


class Agreements:
    """The comparisons of the graders of all photographs; each is kept until a copy changes."""

    def __init__(self, measures: PhotographMeasures) -> None:
        self._measures = measures
        self._kept: dict[str, tuple[tuple[object, ...], list[LesionPair]]] = {}
        self._deletions = 0
        self._lock = threading.Lock()

    def pairs(self, graded: GradedCopies) -> list[LesionPair]:
        """Return the comparison of each lesion of a photograph for each pair of its graders."""
        versions = tuple(
            (grader, copy.id, copy.revision, *sorted(copy.thresholds.items()))
            for grader, copy in graded.copies
        )
        with self._lock:
            kept_versions, pairs = self._kept.get(graded.record.id, (None, []))
            deletions = self._deletions
        if kept_versions != versions:
            pairs = compare(graded, self._measures)
            with self._lock:
                if self._deletions == deletions:  # else the photograph itself may be deleted
                    self._kept[graded.record.id] = versions, pairs
        return [replace(pair, photograph=graded.record) for pair in pairs]

    def forget(self, photograph: str) -> None:
        """Forget the comparisons of a photograph that was deleted."""
        with self._lock:
            self._deletions += 1
            self._kept.pop(photograph, None)


def compare(graded: GradedCopies, measures: PhotographMeasures) -> list[LesionPair]:
    """Return the comparison of each lesion of a photograph for each pair of its graders."""
    pairs = []
    for copies in combinations(sorted(graded.copies, key=lambda copy: copy[0]), 2):
        (first, first_copy), (second, second_copy) = copies
        for lesion in graded.record.lesions:
            first_traced, second_traced = (
                measures.traced(first_copy, lesion),
                measures.traced(second_copy, lesion),
            )
            pairs.append(
                LesionPair(
                    photograph=graded.record,
                    graders=(first, second),
                    lesion=lesion,
                    regions=(len(first_traced.outlines), len(second_traced.outlines)),
                    area_px=(
                        int(np.count_nonzero(first_traced.mask)),
                        int(np.count_nonzero(second_traced.mask)),
                    ),
                    both_px=int(np.count_nonzero(first_traced.mask & second_traced.mask)),
                )
            )
    return pairs


def summarise(pairs: Iterable[LesionPair]) -> list[PairSummary]:
    """Return a summary for each pair of graders and each lesion, in the order in which they first occur."""
    grouped: dict[tuple[tuple[str, str], str], list[LesionPair]] = {}
    for pair in pairs:
        grouped.setdefault((pair.graders, pair.lesion), []).append(pair)
    return [_summary(graders, lesion, group) for (graders, lesion), group in grouped.items()]


def _summary(graders: tuple[str, str], lesion: str, pairs: Sequence[LesionPair]) -> PairSummary:
    both, first, second, neither = (
        sum(pair.present == presence for pair in pairs)
        for presence in ((True, True), (True, False), (False, True), (False, False))
    )
    area = sum(sum(pair.area_px) for pair in pairs)
    scores = [pair.dice for pair in pairs if pair.dice is not None]
    return PairSummary(
        graders=graders,
        lesion=lesion,
        photographs=len(pairs),
        present_both=both,
        present_first=first,
        present_second=second,
        present_neither=neither,
        kappa=cohen_kappa(both, first, second, neither),
        dice=2 * sum(pair.both_px for pair in pairs) / area if area else None,
        mean_dice=sum(scores) / len(scores) if scores else None,
    )
