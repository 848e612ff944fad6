"""Import the DICOM reader, which needs the extra `dicom`.

Knows:   how the extra is installed, and how a DICOM file begins.
Ignores: what is in the objects.
"""

import stat
from pathlib import Path
from types import ModuleType

from foveate.errors import PhotographError
from foveate.photographs._dicom_classes import is_plausible


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

    A file that cannot be read, or holds fewer frames than it states, counts as one photograph; `read` reports
    what is wrong with it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return 1
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return 1
            file.seek(0)
            count = int(load_reader(str(path)).count_frames(file))
            return count if is_plausible(count, file) else 1
    except (OSError, PhotographError):
        return 1
