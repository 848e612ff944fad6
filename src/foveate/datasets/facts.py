"""What is known of one photograph of a set, from one reading of its files.

Knows:   how lesions are counted, and by what two photographs are found to be one.
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
class Amount:
    """How much of a lesion is drawn in a photograph."""

    pixels: int
    regions: int
    """8-connected groups of pixels."""
    is_drawn: bool
    """Whether there is a mask, empty or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One photograph."""

    name: str
    """Of the case."""
    eye: str | None
    """Of the case."""
    shape: tuple[int, int]
    """(H, W), px."""
    digest: str
    """SHA-256 of the file."""
    levels: str
    """SHA-256 of the pixels and their (H, W): the same whatever the file."""
    fingerprint: Float32[np.ndarray, "S S"]
    """As in `likeness`; blank, which is like nothing, where no round field is to be found: what stays the
    same there is the scene, not an eye."""
    amounts: Mapping[str, Amount]
    """Lesion -> how much; lesions that were not looked for are absent."""


def of(case: Case, lesions: tuple[str, ...]) -> Facts:
    """Read one case.

    Raises:
        PhotographError, DatasetError: the photograph or a mask cannot be used.
    """
    photograph = photographs.read(case.photograph)
    masks = {code: read_mask(path, photograph.shape, case.lesion_from) for code, path in case.masks.items()}
    amounts = {code: amount(masks.get(code)) for code in lesions if is_annotated(case, code)}
    return told(case, photograph, amounts)


def told(case: Case, photograph: Photograph, amounts: Mapping[str, Amount]) -> Facts:
    """Return what is known of a photograph that has been read."""
    return Facts(
        name=case.name,
        eye=case.eye,
        shape=photograph.shape,
        digest=photograph.digest,
        levels=_digest(photograph),
        fingerprint=likeness.blank() if case.field == "whole" else likeness.fingerprint(photograph.pixels),
        amounts=amounts,
    )


def amount(mask: Bool[np.ndarray, "H W"] | None) -> Amount:
    """Count a mask; None is no mask."""
    if mask is None:
        return Amount(pixels=0, regions=0, is_drawn=False)
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return Amount(pixels=int(mask.sum()), regions=count - 1, is_drawn=True)


def _digest(photograph: Photograph) -> str:
    digest = hashlib.sha256(repr(photograph.shape).encode())
    digest.update(np.ascontiguousarray(photograph.pixels).data)
    return digest.hexdigest()
