"""Segment whole photographs and count their pixels against their masks at native resolution.

Knows:   cases, and that every pixel of a photograph counts, the black surround included.
Ignores: which figures are computed from the counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from foveate import metrics, photographs
from foveate.datasets import Case, truth
from foveate.engines import Engine
from foveate.geometry import stitching
from foveate.inference.pipeline import segment
from foveate.inference.settings import Settings
from foveate.models import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseHistogram:
    """Pixels of one photograph by probability (16 bits), separately for lesion and background."""

    name: str
    """Name of the case."""
    counts: Mapping[str, metrics.PixelCounts]
    """Lesion -> counts."""


def count_pixels(
    cases: Iterable[Case], package: Package, engine: Engine, settings: Settings | None = None
) -> Iterator[CaseHistogram]:
    """Segment each case and count its pixels, with one photograph in memory at a time.

    Raises:
        FoveateError: a photograph or mask cannot be used; the message names it.
    """
    for case in cases:
        photograph = photographs.read(case.photograph)
        segmentation = segment(photograph, package, engine, settings or Settings())
        lesions = segmentation.probabilities.lesions
        planes = truth(case, lesions, photograph.shape)
        yield CaseHistogram(
            name=case.name,
            counts={
                lesion: metrics.histogram(stitching.native_map(segmentation.probabilities, lesion), plane)
                for lesion, plane in zip(lesions, planes, strict=True)
            },
        )
