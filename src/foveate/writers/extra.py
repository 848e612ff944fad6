"""The writer of DICOM objects, which is an extra.

Knows:   how it is installed, and what has to be kept of each lesion until objects are made.
Ignores: DICOM.

Shape letters: H W photograph.
"""

from collections.abc import Mapping
from types import ModuleType

import numpy as np
from jaxtyping import Bool, UInt8

from foveate.errors import OutputError
from foveate.types import Photograph
from foveate.writers import maps
from foveate.writers.results import Drawn, Finding, ObjectKind, Order, Tally

NEEDED = ("pydicom", "highdicom")


def dicom() -> ModuleType:
    """Return the module that writes DICOM.

    Raises:
        OutputError: it is not installed.
    """
    try:
        from foveate.writers import dicom as writer  # noqa: PLC0415, the extra `dicom`
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise OutputError("to write DICOM objects: pip install 'foveate[dicom]'") from None
    return writer


def require(photograph: Photograph, order: Order) -> None:
    """Raise PhotographError where DICOM objects are asked for of a photograph that none can refer to."""
    if order.objects is not None:
        dicom().required(photograph.origin, photograph.source)


def levels(stored: maps.Stored, order: Order) -> UInt8[np.ndarray, "H W"] | None:
    """Return a map in 8 bits where an order asks for it in DICOM."""
    if order.objects is None or "prob" not in order.objects.kinds:
        return None
    return stored if stored.dtype == np.uint8 else maps.quantise(stored, "png")


def drawn(
    tally: Tally, mask: Bool[np.ndarray, "H W"], levels: UInt8[np.ndarray, "H W"] | None, order: Order
) -> Drawn | None:
    """Return what is kept of a lesion where an order asks for DICOM objects."""
    return None if order.objects is None else Drawn(tally=tally, mask=mask, levels=levels)


def encoded(finding: Finding, kept: Mapping[str, Drawn | None], field_px: int) -> dict[ObjectKind, bytes]:
    """Return the DICOM files that an order asks for; none where it asks for none."""
    if finding.order.objects is None:
        return {}
    lesions = {code: one for code, one in kept.items() if one is not None}
    made: dict[ObjectKind, bytes] = dicom().encode(finding, lesions, field_px)
    return made
