"""The photograph that DICOM objects refer to.

Knows:   what must be stated of it.
Ignores: what was found in it.
"""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from foveate.errors import PhotographError
from foveate.types import Origin
from foveate.writers.dicom import identity

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Without these nothing can refer to a photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A photograph as its object states it."""

    header: Dataset
    """Without pixels; all that must be there although it may be empty is there."""
    origin: Origin

    @property
    def kind(self) -> str:
        """SOP Class UID."""
        return str(self.header.SOPClassUID)


def required(origin: Origin | None, name: str) -> Source:
    """Return what DICOM objects refer to.

    Args:
        origin: the photograph's.
        name: the same, for messages.

    Raises:
        PhotographError: it was not read from DICOM, or states no study.
    """
    if origin is None:
        raise PhotographError(f"{name}: is no DICOM object, so that none can refer to it; leave out --dicom")
    header = pydicom.dcmread(BytesIO(origin.header))
    header.decode()
    if missing := [keyword for keyword in REQUIRED if not header.get(keyword)]:
        raise PhotographError(
            f"{name}: states no {missing[0]}, so that no object can refer to it; leave out --dicom"
        )
    for keyword in identity.PATIENT_AND_STUDY:
        if keyword not in header:
            setattr(header, keyword, "")
    return Source(header=header, origin=origin)
