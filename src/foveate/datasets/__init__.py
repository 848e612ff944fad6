"""How a set of photographs and masks lies on disk: one reader for training and for evaluation.

Knows:   cases, how masks are saved, and which lesions a photograph was looked through for.
Ignores: networks, and what is done with a case.

Folders of published sets and of your own are values in `layouts`; which photographs are held back is in
`splits`; whether a set is sound, `checks` says.

Shape letters: H W photograph, K lesions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped
from PIL import Image

from foveate.errors import DatasetError

LARGEST_SHARE = 0.30
"""A mask that covers more of its photograph than this is refused: it was misread, or is no lesion mask. The
largest true one of IDRiD covers 14.9 %."""

DAMAGED = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)
"""What Pillow raises on files that are not as their format has it."""

LOSSY = frozenset({"JPEG", "MPO"})
"""Formats that smear a mask's edges: faint levels around a lesion are no lesion."""

FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The level of a lesion that is surely one, by the kind of a grey or coloured mask."""

SET_ASIDE = frozenset({"IDRiD_226", "IDRiD_339", "IDRiD_376"})
"""Photographs of `examples/` (IDRiD, disease grading part): never trained on, by any recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One photograph and where its masks are."""

    name: str
    """Unique within the split; the photograph's file name without ending, after its folders' where it lies
    deeper than others."""
    photograph: Path
    masks: Mapping[str, Path]
    """Lesion code -> mask file. An annotated lesion without a file is absent from the photograph."""
    annotated: tuple[str, ...] | None = None
    """Lesions that the photograph was looked through for; nothing is known of any other. Layouts always say
    so; None is whatever lesion there is, for cases made by hand."""
    eye: str | None = None
    """Photographs with the same text show one eye, or one person's eyes; None where the set does not say."""
    lesion_from: float = 0.0
    """Share of a mask's full level from which a pixel is lesion, 0 to 1; 0: any colour at all. For masks with
    soft edges."""
    field: Literal["find", "whole"] = "find"
    """As in `Layout`: whether the photograph shows an eye's round field, or is all field."""


def is_annotated(case: Case, lesion: str) -> bool:
    """Return whether a photograph was looked through for a lesion: only then does no mask mean no lesion."""
    return case.annotated is None or lesion in case.annotated


def annotated(cases: Iterable[Case], lesions: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases that were looked through for every one of some lesions."""
    return tuple(case for case in cases if all(is_annotated(case, lesion) for lesion in lesions))


def read_mask(path: Path, shape: tuple[int, int], lesion_from: float = 0.0) -> Bool[np.ndarray, "H W"]:
    """Read which pixels are lesion: those with any colour, whatever the mask's kind of file.

    Palette masks are read by index, so that dark red counts; of RGBA only the colours count, since alpha is
    255 all over in one official file (IDRiD_81_EX.tif).

    Args:
        path: of the mask.
        shape: (H, W) that the mask must have, px.
        lesion_from: share of the full level from which grey or colour counts, 0 to 1.

    Raises:
        DatasetError: unreadable, of another size than its photograph, or lesion nearly everywhere.
    """
    lesion = marked(path, lesion_from)
    if lesion.shape != shape:
        raise DatasetError(f"{path}: the mask is {lesion.shape}, its photograph {shape}; both must agree")
    if lesion.mean() > LARGEST_SHARE:
        raise DatasetError(
            f"{path}: {lesion.mean():.0%} of the photograph is lesion, over the {LARGEST_SHARE:.0%} that is "
            "believed; is the mask inverted?"
        )
    return lesion


def marked(path: Path, lesion_from: float = 0.0) -> Bool[np.ndarray, "H W"]:
    """Read which pixels of a mask are lesion, of whatever size it is and however many they are.

    Raises:
        DatasetError: unreadable, JPEG where any colour counts, or of a kind without a full level where a
            share of it counts.
    """
    try:
        with Image.open(path) as image:
            coloured = image.mode in ("RGBA", "LA", "PA")
            levels = np.asarray(image.convert("RGB") if coloured else image)
            form, indexed = image.format, image.mode in ("1", "P")
    except DAMAGED as error:
        raise DatasetError(f"{path}: unreadable mask ({error}); restore the file") from error
    if form in LOSSY and lesion_from == 0:
        raise DatasetError(
            f"{path}: a JPEG smears a mask's edges; save it as PNG, or let the layout say lesion_from = 0.5"
        )
    if indexed or lesion_from == 0:
        return _any_colour(levels > 0)
    if levels.dtype not in FULL:
        raise DatasetError(
            f"{path}: levels are {levels.dtype}, whose full level is not known; save it as PNG"
        )
    return _any_colour(levels >= lesion_from * FULL[levels.dtype])


def truth(case: Case, lesions: tuple[str, ...], shape: tuple[int, int]) -> Bool[np.ndarray, "K H W"]:
    """Read a case's masks; an annotated lesion without a file is empty.

    Raises:
        DatasetError: a lesion that the photograph was not looked through for; else as `read_mask`.
    """
    maps = np.zeros((len(lesions), *shape), bool)
    for plane, lesion in zip(maps, lesions, strict=True):
        if not is_annotated(case, lesion):
            raise DatasetError(
                f"{case.photograph}: {lesion} is not annotated there, only {_listed(case.annotated or ())}; "
                "choose other lesions, or leave the photograph out (datasets.annotated)"
            )
        if lesion in case.masks:
            plane[:] = read_mask(case.masks[lesion], shape, case.lesion_from)
    return maps


def _any_colour(lesion: Shaped[np.ndarray, "H W ..."]) -> Bool[np.ndarray, "H W"]:
    return np.asarray(lesion.any(axis=-1) if lesion.ndim == 3 else lesion)


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(codes) or "nothing"
