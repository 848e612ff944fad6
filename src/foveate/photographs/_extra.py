"""The reader of DICOM, which is an extra.

Knows:   how it is installed, and which classes of objects it reads.
Ignores: what is in them.
"""

from pathlib import Path
from types import ModuleType

from foveate.errors import PhotographError

OPHTHALMIC = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
"""Ophthalmic Photography 8 Bit and 16 Bit Image Storage."""

TAKEN = frozenset(
    {
        *OPHTHALMIC,
        "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
        "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture
    }
)
"""SOP classes that are read."""


def dicom(name: str) -> ModuleType:
    """Return the module that reads DICOM.

    Args:
        name: of a file, for messages.

    Raises:
        PhotographError: pydicom is not installed.
    """
    try:
        from foveate.photographs import _dicom  # noqa: PLC0415, the extra `dicom`
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        raise PhotographError(f"{name}: is DICOM; to read it: pip install 'foveate[dicom]'") from None
    return _dicom


def frames(path: Path) -> int:
    """Return how many photographs a file holds: more than one only for a DICOM object that says so.

    What is wrong with a file is for `read` to say: here it counts as one photograph.
    """
    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return 1
            file.seek(0)
            return int(dicom(str(path)).frames(file))
    except (OSError, PhotographError):
        return 1
