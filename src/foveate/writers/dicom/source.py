"""The photograph that DICOM objects refer to.

Knows:   which attributes it must have.
Ignores: which lesions were segmented in it.
"""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from foveate.errors import PhotographError
from foveate.types import DicomOrigin
from foveate.warning_filter import suppress_warnings
from foveate.writers.dicom import deidentification, headers

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Attributes without which no object can refer to a photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSource:
    """The DICOM object of a photograph."""

    header: Dataset
    """Without pixels; attributes of type 2 are present, although they may be empty."""
    origin: DicomOrigin
    corrected: tuple[str, ...]
    """Keywords of the attributes whose invalid values were corrected."""
    is_irregular: bool
    """Whether pydicom warns about the header. If so, it would also warn about the results, and print the
    patient's data."""

    @property
    def sop_class(self) -> str:
        """SOP Class UID of the photograph."""
        return str(self.header.SOPClassUID)


def require_source(origin: DicomOrigin | None, name: str) -> DicomSource:
    """Return the object that DICOM results refer to.

    Args:
        origin: the photograph's DICOM origin; None if it was not read from DICOM.
        name: the photograph's name, for messages.

    Raises:
        PhotographError: the photograph was not read from DICOM, or has no valid UIDs to refer to.
    """
    if origin is None:
        raise PhotographError(
            f"{name}: not a DICOM object, so DICOM results cannot refer to it; leave out --dicom"
        )
    with suppress_warnings() as collected:
        header = pydicom.dcmread(BytesIO(origin.header))
        headers.require_uids(header, REQUIRED, name)
        corrected = headers.correct(header)
    for keyword in deidentification.PATIENT_AND_STUDY:
        if keyword not in header:
            setattr(header, keyword, "")
    return DicomSource(header=header, origin=origin, corrected=corrected, is_irregular=bool(collected))
