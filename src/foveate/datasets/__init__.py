"""Read sets of photographs and masks, for training and for evaluation alike.

Knows:   cases, which masks belong to a photograph, and which lesions a photograph was annotated for.
Ignores: networks, and how a case is used.

`layouts` describes the folders of published sets and of your own, `splits` divides photographs into folds,
and `checks` verifies a set.

Shape letters: H W photograph, K lesions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from foveate.datasets.masks import DAMAGED, LARGEST_SHARE, lesion_pixels, read_mask
from foveate.errors import DatasetError, is_out_of_memory
from foveate.paths import display_path, file_digest
from foveate.types import FieldRule

__all__ = [
    "DAMAGED",
    "LARGEST_SHARE",
    "SET_ASIDE",
    "Case",
    "annotated",
    "digest",
    "is_annotated",
    "lesion_pixels",
    "read_mask",
    "truth",
]

SET_ASIDE = frozenset({"IDRiD_226", "IDRiD_339", "IDRiD_376"})
"""Photographs of `examples/` (IDRiD, disease grading part): never trained on, by any recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One photograph and where its masks are."""

    name: str
    """Unique within the split: the file name of the photograph without suffix, preceded by the names of its
    subfolders where there are any."""
    photograph: Path
    masks: Mapping[str, Path]
    """Lesion code -> mask file. An annotated lesion without a file is absent from the photograph."""
    annotated: tuple[str, ...] | None = None
    """Lesions that the photograph was annotated for; any other lesion may be present or absent. Layouts
    always state them; None means all lesions, for cases made by hand."""
    eye: str | None = None
    """Photographs with the same text show the same eye, or the eyes of one person; None where unknown."""
    lesion_from: float = 0.0
    """Share of the full level of a mask from which a pixel is lesion, 0 to 1; 0 means any level above 0. For
    masks with soft edges."""
    field: FieldRule = "find"
    """As in `Layout`: "find" if the photograph shows the round field of an eye, "whole" if all is field."""


def is_annotated(case: Case, lesion: str) -> bool:
    """Return whether a photograph was annotated for a lesion.

    Only then does a missing mask mean that the lesion is absent.
    """
    return case.annotated is None or lesion in case.annotated


def annotated(cases: Iterable[Case], lesions: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases that were annotated for all of the given lesions."""
    return tuple(case for case in cases if all(is_annotated(case, lesion) for lesion in lesions))


def digest(path: Path) -> str:
    """Return the SHA-256 of a photograph or mask: 64 hex digits.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise DatasetError(
            f"{display_path(path)}: cannot be read ({error.strerror or error}); check the disk, or copy the "
            "file again from its source"
        ) from error


def truth(case: Case, lesions: tuple[str, ...], shape: tuple[int, int]) -> Bool[np.ndarray, "K H W"]:
    """Read the masks of a case; an annotated lesion without a file is empty.

    Raises:
        DatasetError: the photograph was not annotated for one of the lesions; otherwise as `read_mask`.
    """
    maps = np.zeros((len(lesions), *shape), bool)
    for plane, lesion in zip(maps, lesions, strict=True):
        if not is_annotated(case, lesion):
            raise DatasetError(
                f"{display_path(case.photograph)}: not annotated for {lesion}, only for "
                f"{_listed(case.annotated or ())}; choose other lesions, or leave the photograph out "
                "(datasets.annotated does)"
            )
        if lesion in case.masks:
            plane[:] = read_mask(case.masks[lesion], shape, case.lesion_from)
    return maps


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(codes) or "nothing"
