"""Load and call the writer of DICOM objects, which is an optional extra.

Knows:   how to import the writer, and which pixels of each lesion it needs.
Ignores: DICOM.

Shape letters: H W photograph.
"""

from collections.abc import Mapping
from types import ModuleType

import numpy as np
from jaxtyping import UInt8

from foveate.choices import ObjectKind
from foveate.errors import OutputError
from foveate.types import LevelMap, Photograph
from foveate.writers import maps, result_paths
from foveate.writers.results import DicomLesion, PhotographResult, PredictRequest

PACKAGES = ("pydicom", "highdicom")


def load_writer() -> ModuleType:
    """Import and return the module that writes DICOM objects.

    Raises:
        OutputError: the extra is not installed.
    """
    try:
        from foveate.writers import dicom  # noqa: PLC0415, the extra `dicom`
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise OutputError("DICOM results need the extra 'dicom'; pip install 'foveate[dicom]'") from None
    return dicom


def require_source(photograph: Photograph, request: PredictRequest) -> None:
    """Raise PhotographError if DICOM objects are requested but cannot refer to the photograph."""
    if request.objects is not None:
        load_writer().require_source(photograph.origin, photograph.source)


def object_files(request: PredictRequest) -> dict[ObjectKind, str]:
    """Return the path of each DICOM object that is requested, relative to the output folder.

    The objects are named after the photograph. With a secret, every part of this name is replaced as a UID is
    in the objects: those of a photograph that `foveate dicom pull` has named after its UIDs get the new ones.
    """
    if request.objects is None:
        return {}
    name, secret = request.name, request.objects.secret
    if secret is not None:
        uids = load_writer().uids
        name = "/".join(uids.pseudonym(part, secret) for part in name.split("/"))
    return {kind: result_paths.object_file(name, kind) for kind in request.objects.kinds}


def dicom_levels(stored: LevelMap, request: PredictRequest) -> UInt8[np.ndarray, "H W"] | None:
    """Return a map in 8 bits if it is requested as a DICOM object, else None."""
    if request.objects is None or "prob" not in request.objects.kinds:
        return None
    return stored if stored.dtype == np.uint8 else maps.quantise(stored, "png")


def encode(
    result: PhotographResult, lesions: Mapping[str, DicomLesion], field_px: int
) -> dict[ObjectKind, bytes]:
    """Return the requested DICOM objects as files; an empty dict if none are requested.

    Args:
        result: the photograph's result.
        lesions: lesion code -> its mask and regions.
        field_px: number of pixels in the field of view.
    """
    if result.request.objects is None:
        return {}
    files: dict[ObjectKind, bytes] = load_writer().encode(result, lesions, field_px)
    return files
