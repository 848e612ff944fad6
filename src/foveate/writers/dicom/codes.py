"""Codes of lesions and measurements in DICOM.

Knows:   standard codes from DICOM's context groups, and private codes for the rest.
Ignores: which lesions were segmented.

SNOMED CT and DICOM codes are those that pydicom ships from PS3.16. PS3.16 has no codes for microaneurysms,
hard exudates, cotton-wool spots and our measurements. They get codes of a private scheme (PS3.16, section
8.2: its designator begins with 99), which every object declares as private.
"""

from collections.abc import Mapping

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from foveate import lesions

SCHEME = "99FOVEATE"


def _private(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme_designator=SCHEME, meaning=meaning)


RETINA = CodedConcept.from_code(codes.SCT.Retina)

LATERALITIES: Mapping[str, CodedConcept] = {
    "R": CodedConcept.from_code(codes.SCT.Right),
    "L": CodedConcept.from_code(codes.SCT.Left),
}

ABNORMAL = CodedConcept.from_code(codes.SCT.MorphologicallyAbnormalStructure)

IMAGING = CodedConcept.from_code(codes.SCT.ImagingProcedure)

COUNT = CodedConcept.from_code(codes.SCT.NumberOfLesions)

AREA = CodedConcept.from_code(codes.SCT.Area)

AREA_PX = _private("AREA-PX", "Area in pixels of the photograph")

AREA_FRACTION = _private("FIELD-SHARE", "Share of the field of view")

THRESHOLD = _private("THRESHOLD", "Probability from which a pixel is lesion")

MINIMUM_AREA = _private("MINIMUM-AREA", "Smallest region that is counted")

QUALITY = _private("QUALITY", "What may make the result unreliable")

NOTICE = _private("NOTICE", "Intended use")

NO_UNITS = CodedConcept.from_code(codes.UCUM.NoUnits)

PIXELS = CodedConcept(value="{pixels}", scheme_designator="UCUM", meaning="pixels")

MM2 = CodedConcept.from_code(codes.UCUM.SquareMillimeter)

PERCENT = CodedConcept.from_code(codes.UCUM.Percent)

_LESIONS: Mapping[str, CodedConcept] = {
    "EX": _private("EX", "Hard exudate"),
    "MA": _private("MA", "Microaneurysm"),
    "HE": CodedConcept.from_code(codes.SCT.Hemorrhage),
    "SE": _private("SE", "Soft exudate (cotton-wool spot)"),
}


def lesion_concept(code: str) -> CodedConcept:
    """Return the concept of a lesion; a lesion that is not in `_LESIONS` has its own code in our scheme."""
    return _LESIONS.get(code) or _private(code, lesions.of([code])[0].name)


def scheme_identification() -> Sequence:
    """Return the sequence that declares our scheme as private, and names its owner (PS3.3 C.12.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "Private scheme of Foveate: no code of a standard was found"
    item.CodingSchemeResponsibleOrganization = "The Foveate developers"
    return Sequence([item])
