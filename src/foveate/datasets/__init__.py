"""How a set of photographs and masks lies on disk: one reader for training and for evaluation.

Knows:   folders, file names, how masks are saved, which photographs are held back.
Ignores: networks, and what is done with a case.

Shape letters: H W photograph, K lesions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from foveate.errors import DatasetError

LARGEST_SHARE = 0.30
"""A mask that covers more of its photograph than this is refused: it was misread, or is no lesion mask. The
largest true one of IDRiD covers 14.9 %."""

DAMAGED = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)
"""What Pillow raises on files that are not as their format has it."""

SET_ASIDE = frozenset({"IDRiD_226", "IDRiD_339", "IDRiD_376"})
"""Photographs of `examples/` (IDRiD, disease grading part): never trained on, by any recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One photograph and where its masks are."""

    name: str
    """Unique within the set; the photograph's file name without ending."""
    photograph: Path
    masks: Mapping[str, Path]
    """Lesion code -> mask file. A lesion without a file is absent from the photograph, by IDRiD's rule."""


def read_mask(path: Path, shape: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Read which pixels are lesion: those with any colour, whatever the mask's kind of file.

    Palette masks are read by index, so that dark red counts; of RGBA only the colours count, since alpha is
    255 all over in one official file (IDRiD_81_EX.tif).

    Args:
        shape: (H, W) that the mask must have, px.

    Raises:
        DatasetError: unreadable, of another size than its photograph, or lesion nearly everywhere.
    """
    try:
        with Image.open(path) as image:
            levels = np.asarray(image if image.mode not in ("RGBA", "LA", "PA") else image.convert("RGB"))
    except DAMAGED as error:
        raise DatasetError(f"{path}: unreadable mask ({error}); restore the file") from error
    lesion = levels.any(axis=-1) if levels.ndim == 3 else levels > 0
    if lesion.shape != shape:
        raise DatasetError(f"{path}: the mask is {lesion.shape}, its photograph {shape}; both must agree")
    if lesion.mean() > LARGEST_SHARE:
        raise DatasetError(
            f"{path}: {lesion.mean():.0%} of the photograph is lesion, over the {LARGEST_SHARE:.0%} that is "
            "believed; is the mask inverted?"
        )
    return lesion


def truth(case: Case, lesions: tuple[str, ...], shape: tuple[int, int]) -> Bool[np.ndarray, "K H W"]:
    """Read a case's masks; a lesion without a file is empty.

    Raises:
        DatasetError: as `read_mask`.
    """
    maps = np.zeros((len(lesions), *shape), bool)
    for plane, lesion in zip(maps, lesions, strict=True):
        if lesion in case.masks:
            plane[:] = read_mask(case.masks[lesion], shape)
    return maps
