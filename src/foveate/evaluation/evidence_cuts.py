"""Choose the minimum evidence that a region must have, on photographs held back from training.

Knows:   the rule by which the cut is chosen, and what the cut costs and saves.
Ignores: how networks run, and how the cut changes a map (`analysis.region_evidence`).

The rule is our choice (docs/decisions/0019-region-evidence.md): the largest cut at which the Dice of the
pooled masks falls by at most DICE_LIMIT, and the share of the annotated lesions that are detected by at most
FOUND_LIMIT. A larger cut never leaves more false regions, so this is the cut with the fewest.

Shape letters: H W photograph, h w canvas, R the background and the regions after it, T pairs of an annotated
lesion and a region that share a pixel.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from foveate import photographs
from foveate.analysis import region_evidence
from foveate.datasets import Case, truth
from foveate.engines import Engine
from foveate.errors import DatasetError
from foveate.evaluation.effort_cutoffs import truth_on_canvas
from foveate.inference.pipeline import segment
from foveate.models import Package
from foveate.types import Decision

DICE_LIMIT = 0.005
"""Largest allowed fall of Dice: less than its interval on a few photographs can show."""

FOUND_LIMIT = 0.05
"""Largest allowed fall of the share of annotated lesions that are detected: one lesion in twenty."""

DECIMALS = 1
"""Number of decimals of a cut, small so that it is short in the manifest."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CaseRegions:
    """The regions of one lesion in one photograph, and which of them overlap the annotated lesions."""

    evidence: Float64[np.ndarray, " R"]
    """Evidence of each region, px."""
    areas: Int64[np.ndarray, " R"]
    """Pixels of each region."""
    lesion_px: Int64[np.ndarray, " R"]
    """Annotated pixels in each region."""
    pairs: Int64[np.ndarray, "2 T"]
    """The number of an annotated lesion and that of a region that share a pixel."""
    annotated: int
    """Number of annotated lesions."""
    annotated_px: int
    """Number of pixels of the annotated lesions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutOutcome:
    """The figures of the regions that have enough evidence, with all photographs pooled."""

    dice: float
    """Dice of the masks."""
    found: float
    """Share of the annotated lesions that share a pixel with a region."""
    false_regions: float
    """Mean number of regions without an annotated pixel per photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceCut:
    """The chosen cut of one lesion, with what it costs and saves."""

    minimum_evidence: float
    """Canvas px; 0 where no cut stays within the limits."""
    before: CutOutcome
    after: CutOutcome


def list_regions(
    package: Package, engine: Engine, cases: Sequence[Case]
) -> Iterator[Mapping[str, CaseRegions]]:
    """Segment each photograph and list its regions by lesion, at the package's thresholds.

    Args:
        package: the model; its minimum evidence is ignored.
        engine: the engine that runs it.
        cases: photographs that it was not trained on, with their masks.
    """
    unfiltered = {
        code: replace(decision, minimum_evidence=0.0) for code, decision in package.decisions.items()
    }
    package = replace(package, manifest=replace(package.manifest, decisions=unfiltered))
    for case in cases:
        photograph = photographs.read(case.photograph)
        segmentation = segment(photograph, package, engine)
        codes = segmentation.probabilities.lesions
        planes = truth_on_canvas(truth(case, codes, photograph.shape), segmentation)
        yield {
            code: match_regions(stored, plane, package.decisions[code].threshold)
            for code, stored, plane in zip(codes, segmentation.probabilities.maps, planes, strict=True)
        }


def match_regions(
    stored: UInt16[np.ndarray, "h w"], plane: Bool[np.ndarray, "h w"], threshold: float
) -> CaseRegions:
    """List the regions of a map, and match them with the annotated lesions.

    Args:
        stored: probability times 65535.
        plane: the annotated pixels.
        threshold: probability from which a pixel is lesion.
    """
    regions = region_evidence.measure(stored, threshold)
    count, lesions = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    inside = regions.labels[plane]
    pairs = np.stack([lesions[plane], inside])[:, inside > 0].astype(np.int64)
    return CaseRegions(
        evidence=regions.evidence,
        areas=regions.areas,
        lesion_px=np.bincount(inside, minlength=len(regions.areas)),
        pairs=np.unique(pairs, axis=1),
        annotated=count - 1,
        annotated_px=int(np.count_nonzero(plane)),
    )


def outcome(cases: Sequence[CaseRegions], minimum_evidence: float, minimum_area: int) -> CutOutcome:
    """Return the figures of the regions that have enough evidence.

    The mask keeps regions below the minimum area, as the mask's file does. They count neither as detections
    nor as false regions.

    Args:
        cases: the regions of each photograph; at least one lesion is annotated.
        minimum_evidence: canvas px.
        minimum_area: canvas px.
    """
    lesion_pixels = region_pixels = detected = false_regions = 0
    for case in cases:
        is_kept = case.evidence >= minimum_evidence
        is_kept[0] = False
        lesion_pixels += int(case.lesion_px[is_kept].sum())
        region_pixels += int(case.areas[is_kept].sum())
        is_listed = is_kept & (case.areas >= minimum_area)
        detected += len(np.unique(case.pairs[0, is_listed[case.pairs[1]]]))
        false_regions += int(np.count_nonzero(is_listed & (case.lesion_px == 0)))
    annotated_px = sum(case.annotated_px for case in cases)
    return CutOutcome(
        dice=2 * lesion_pixels / (region_pixels + annotated_px),
        found=detected / sum(case.annotated for case in cases),
        false_regions=false_regions / len(cases),
    )


def choose(cases: Sequence[CaseRegions], minimum_area: int) -> EvidenceCut:
    """Choose the cut of one lesion by the rule.

    Args:
        cases: the regions of each photograph held back.
        minimum_area: minimum area of a region that is listed, canvas px.

    Raises:
        DatasetError: no lesion is annotated, so the cost of a cut is unknown.
    """
    if not any(case.annotated for case in cases):
        raise DatasetError(
            "no lesion is annotated in the held-back photographs, so the least evidence cannot be chosen; "
            "hold back others"
        )
    before = outcome(cases, 0.0, minimum_area)
    evidence = np.concatenate([case.evidence[1:] for case in cases])
    candidates = np.unique(np.floor(evidence * 10**DECIMALS) / 10**DECIMALS)
    best = EvidenceCut(minimum_evidence=0.0, before=before, after=before)
    for candidate in candidates[candidates > 0]:
        after = outcome(cases, float(candidate), minimum_area)
        if round(before.found - after.found, 9) > FOUND_LIMIT:
            break  # larger cuts detect even fewer lesions
        if round(before.dice - after.dice, 9) <= DICE_LIMIT:
            best = EvidenceCut(minimum_evidence=float(candidate), before=before, after=after)
    return best


def choose_all(
    cases: Sequence[Mapping[str, CaseRegions]], decisions: Mapping[str, Decision]
) -> dict[str, EvidenceCut]:
    """Choose the cut of each lesion, on the regions of all photographs held back."""
    return {
        code: choose([case[code] for case in cases], decision.minimum_area)
        for code, decision in decisions.items()
    }
