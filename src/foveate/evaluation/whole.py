"""Whole photographs through `segment`, counted against their masks at native resolution.

Knows:   cases, and that every pixel of a photograph counts, the black surround included.
Ignores: what is worked out from the counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from foveate import metrics, photographs
from foveate.datasets import Case, truth
from foveate.engines import Engine
from foveate.geometry import stitching
from foveate.inference.pipeline import Settings, segment
from foveate.models import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseCounts:
    """Pixels of one photograph by probability (16 bits), apart for lesion and other."""

    name: str
    """Of the case."""
    counts: Mapping[str, metrics.Counts]
    """Lesion -> counts."""


def count(
    cases: Iterable[Case], package: Package, engine: Engine, settings: Settings | None = None
) -> Iterator[CaseCounts]:
    """Segment each case and count its pixels; one photograph in memory at a time.

    Raises:
        FoveateError: a photograph or mask cannot be used; its message says which.
    """
    for case in cases:
        photograph = photographs.read(case.photograph)
        seen = segment(photograph, package, engine, settings or Settings())
        known = seen.probabilities.lesions
        planes = truth(case, known, photograph.shape)
        yield CaseCounts(
            name=case.name,
            counts={
                lesion: metrics.histogram(stitching.native(seen.probabilities, lesion), plane)
                for lesion, plane in zip(known, planes, strict=True)
            },
        )
