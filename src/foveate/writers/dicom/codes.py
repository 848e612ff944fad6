"""What lesions and measurements are called in DICOM.

Knows:   codes that DICOM's own context groups hold, and our own for the rest.
Ignores: what was found.

SNOMED CT and DICOM codes are those that pydicom ships from PS3.16. For microaneurysms, hard exudates and
cotton-wool spots PS3.16 has none, nor for what we measure: those are our own, by a private scheme (PS3.16,
section 8.2: its designator begins with 99) that every object declares as such.
"""

from collections.abc import Mapping

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from foveate import lesions

SCHEME = "99FOVEATE"


def _own(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme_designator=SCHEME, meaning=meaning)


def _known(code: Code) -> CodedConcept:
    return CodedConcept(value=code.value, scheme_designator=code.scheme_designator, meaning=code.meaning)


RETINA = _known(codes.SCT.Retina)

SIDES: Mapping[str, CodedConcept] = {"R": _known(codes.SCT.Right), "L": _known(codes.SCT.Left)}

ABNORMAL = _known(codes.SCT.MorphologicallyAbnormalStructure)

IMAGING = _known(codes.SCT.ImagingProcedure)

NUMBER = _known(codes.SCT.NumberOfLesions)

AREA = _known(codes.SCT.Area)

AREA_PX = _own("AREA-PX", "Area in pixels of the photograph")

SHARE = _own("FIELD-SHARE", "Share of the field of view")

THRESHOLD = _own("THRESHOLD", "Probability from which a pixel is lesion")

SMALLEST = _own("MINIMUM-AREA", "Smallest region that is counted")

QUALITY = _own("QUALITY", "What may make the result unreliable")

NOTICE = _own("NOTICE", "Intended use")

ONE = _known(codes.UCUM.NoUnits)

PIXELS = CodedConcept(value="{pixels}", scheme_designator="UCUM", meaning="pixels")

MM2 = _known(codes.UCUM.SquareMillimeter)

PERCENT = _known(codes.UCUM.Percent)

_LESIONS: Mapping[str, CodedConcept] = {
    "EX": _own("EX", "Hard exudate"),
    "MA": _own("MA", "Microaneurysm"),
    "HE": _known(codes.SCT.Hemorrhage),
    "SE": _own("SE", "Soft exudate (cotton-wool spot)"),
}


def of_lesion(code: str) -> CodedConcept:
    """Return the concept for a lesion; one that we have no name for has its code in our own scheme."""
    return _LESIONS.get(code) or _own(code, lesions.of([code])[0].name)


def schemes() -> Sequence:
    """Return what says that our scheme is private, and whose it is (PS3.3 C.12.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "Private scheme of Foveate: no code of a standard was found"
    item.CodingSchemeResponsibleOrganization = "The Foveate developers"
    return Sequence([item])
