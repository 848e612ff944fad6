"""The photograph that DICOM objects refer to.

Knows:   which attributes it must have.
Ignores: which lesions were found in it.
"""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from foveate.errors import PhotographError
from foveate.types import DicomOrigin
from foveate.writers.dicom import deidentification

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Attributes without which no object can refer to a photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSource:
    """The DICOM object of a photograph."""

    header: Dataset
    """Without pixels; attributes of type 2 are present, although they may be empty."""
    origin: DicomOrigin

    @property
    def sop_class(self) -> str:
        """SOP Class UID of the photograph."""
        return str(self.header.SOPClassUID)


def require_source(origin: DicomOrigin | None, name: str) -> DicomSource:
    """Return the object that DICOM results refer to.

    Args:
        origin: the photograph's.
        name: the photograph's, for messages.

    Raises:
        PhotographError: the photograph was not read from DICOM, or states no study.
    """
    if origin is None:
        raise PhotographError(f"{name}: is no DICOM object, so that none can refer to it; leave out --dicom")
    header = pydicom.dcmread(BytesIO(origin.header))
    header.decode()
    if missing := [keyword for keyword in REQUIRED if not header.get(keyword)]:
        raise PhotographError(
            f"{name}: states no {missing[0]}, so that no object can refer to it; leave out --dicom"
        )
    for keyword in deidentification.PATIENT_AND_STUDY:
        if keyword not in header:
            setattr(header, keyword, "")
    return DicomSource(header=header, origin=origin)
