"""Collect the facts of one photograph of a set; its files are read once.

Knows:   how lesions are counted, and how duplicates of a photograph are recognised.
Ignores: what is wrong with a set, and how it is divided.

Shape letters: H W photograph.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from foveate import photographs
from foveate.datasets import Case, is_annotated, likeness, read_mask
from foveate.types import Photograph


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionArea:
    """The size of a lesion in one photograph."""

    pixels: int
    """Lesion pixels."""
    regions: int
    """8-connected groups of pixels."""
    has_mask: bool
    """Whether a mask exists, empty or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFacts:
    """The facts of one photograph."""

    name: str
    """Name of the case."""
    eye: str | None
    """Eye of the case."""
    shape: tuple[int, int]
    """(H, W), px."""
    digest: str
    """SHA-256 of the file."""
    levels: str
    """SHA-256 of the pixels and their (H, W), independent of the file format."""
    fingerprint: Float32[np.ndarray, "S S"]
    """As in `likeness`. Blank, so that it matches nothing, where photographs have no round field: what two
    such photographs have in common is the scene, not an eye."""
    areas: Mapping[str, LesionArea]
    """Lesion -> its area; lesions that were not annotated are absent."""


def read(case: Case, lesions: tuple[str, ...]) -> CaseFacts:
    """Read one case and return its facts.

    Args:
        case: the photograph and its masks.
        lesions: codes of the lesions to measure; masks of others are not read.

    Raises:
        PhotographError, DatasetError: the photograph or a mask cannot be used.
    """
    photograph = photographs.read(case.photograph)
    areas = {}
    for code in lesions:
        if is_annotated(case, code):
            path = case.masks.get(code)
            mask = None if path is None else read_mask(path, photograph.shape, case.lesion_from)
            areas[code] = lesion_area(mask)
    return of_photograph(case, photograph, areas)


def of_photograph(case: Case, photograph: Photograph, areas: Mapping[str, LesionArea]) -> CaseFacts:
    """Return the facts of a photograph that is already in memory."""
    return CaseFacts(
        name=case.name,
        eye=case.eye,
        shape=photograph.shape,
        digest=photograph.digest,
        levels=_digest(photograph),
        fingerprint=likeness.blank() if case.field == "whole" else likeness.fingerprint(photograph.pixels),
        areas=areas,
    )


def lesion_area(mask: Bool[np.ndarray, "H W"] | None) -> LesionArea:
    """Return the size of the lesion in a mask; None means that there is no mask."""
    if mask is None:
        return LesionArea(pixels=0, regions=0, has_mask=False)
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return LesionArea(pixels=int(mask.sum()), regions=count - 1, has_mask=True)


def _digest(photograph: Photograph) -> str:
    digest = hashlib.sha256(repr(photograph.shape).encode())
    digest.update(np.ascontiguousarray(photograph.pixels).data)
    return digest.hexdigest()
