"""Import the DICOM reader, which needs the extra `dicom`.

Knows:   how the extra is installed, and how a DICOM file begins.
Ignores: what is in the objects.
"""

from pathlib import Path
from types import ModuleType

from foveate.errors import PhotographError


def load_reader(name: str) -> ModuleType:
    """Return the module that reads DICOM.

    Args:
        name: name of a file, for messages.

    Raises:
        PhotographError: pydicom is not installed.
    """
    try:
        from foveate.photographs import _dicom  # noqa: PLC0415, the extra `dicom`
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        raise PhotographError(
            f"{name}: is DICOM, which needs the extra 'dicom'; pip install 'foveate[dicom]'"
        ) from None
    return _dicom


def count_frames(path: Path) -> int:
    """Return how many photographs a file holds: more than one only for a multi-frame DICOM object.

    A file that cannot be read counts as one photograph; `read` reports what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return 1
            file.seek(0)
            return int(load_reader(str(path)).count_frames(file))
    except (OSError, PhotographError):
        return 1
