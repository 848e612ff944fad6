"""Take everything out of a DICOM object that names the patient.

Knows:   what is kept, what stays as an empty attribute, and which UIDs are replaced.
Ignores: pixels: text burned into a photograph is not looked for.

PS3.15's Basic Application Level Confidentiality Profile lists what must go. We list what may stay, which is
less: whatever stands in neither of the two lists below is removed, at any depth, private elements as well.
"""

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from foveate.writers.dicom import names

PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Type 2 of every object: must be present, may be empty."""

EMPTIED = (*PATIENT_AND_STUDY, "ContentCreatorName")
"""What is there but empty where nobody is named (action Z of PS3.15, table E.1-1)."""

DUMMY = datetime(1900, 1, 1)
"""In place of dates and times that may not be empty (action D)."""

KEPT = frozenset(
    {
        # what kind of object it is
        *("SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "SeriesNumber", "InstanceNumber"),
        *("SeriesDescription", "PatientOrientation", "Laterality", "ImageLaterality"),
        # who made it: software and camera, never their serial numbers
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ContributingEquipmentSequence"),
        *("ContributionDescription", "PurposeOfReferenceCodeSequence"),
        # UIDs, all replaced but for those of the standard
        *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "ReferencedSOPClassUID"),
        *("ReferencedSOPInstanceUID", "ReferencedFrameNumber", "ReferencedSeriesSequence"),
        *("ReferencedInstanceSequence", "SourceImageSequence", "DerivationImageSequence"),
        *("DerivationCodeSequence", "SpatialLocationsPreserved", "DimensionOrganizationUID", "TrackingUID"),
        # times that may not be empty: the dummy
        *("ContentDate", "ContentTime"),
        # codes
        *("CodeValue", "CodingSchemeDesignator", "CodeMeaning", "CodingSchemeIdentificationSequence"),
        *("CodingSchemeName", "CodingSchemeResponsibleOrganization", "AnatomicRegionSequence"),
        *("AnatomicRegionModifierSequence", "CodingSchemeVersion"),
        # segments
        *("SegmentationType", "SegmentationFractionalType", "MaximumFractionalValue", "SegmentsOverlap"),
        *("SegmentSequence", "SegmentNumber", "SegmentLabel", "SegmentAlgorithmType", "SegmentAlgorithmName"),
        *("SegmentationAlgorithmIdentificationSequence", "AlgorithmFamilyCodeSequence", "AlgorithmName"),
        *("AlgorithmVersion", "AlgorithmParameters", "SegmentedPropertyCategoryCodeSequence"),
        *("SegmentedPropertyTypeCodeSequence", "TrackingID", "RecommendedDisplayCIELabValue"),
        *("SegmentIdentificationSequence", "ReferencedSegmentNumber", "ContentLabel", "ContentDescription"),
        # frames
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "FrameContentSequence"),
        *("DimensionIndexValues", "DimensionOrganizationSequence", "DimensionIndexSequence"),
        *("DimensionIndexPointer", "FunctionalGroupPointer", "DimensionDescriptionLabel"),
        # pixels
        *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "LossyImageCompression"),
        *("LossyImageCompressionRatio", "LossyImageCompressionMethod", "PresentationLUTShape", "PixelData"),
        # the report's tree
        *(
            "ValueType",
            "RelationshipType",
            "ContinuityOfContent",
            "ConceptNameCodeSequence",
            "ContentSequence",
        ),
        *("ContentTemplateSequence", "MappingResource", "TemplateIdentifier", "MeasuredValueSequence"),
        *("NumericValue", "MeasurementUnitsCodeSequence", "ConceptCodeSequence", "TextValue", "UID"),
        *("ReferencedSOPSequence", "CompletionFlag", "VerificationFlag", "PreliminaryFlag"),
        *("CurrentRequestedProcedureEvidenceSequence", "PerformedProcedureCodeSequence"),
        *("ReferencedPerformedProcedureStepSequence", "FloatingPointValue", "RationalNumeratorValue"),
        "RationalDenominatorValue",
        # that it was done
        *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
        "LongitudinalTemporalInformationModified",
    }
)
"""All that may stay with its value."""


def hidden(held: Dataset, secret: bytes) -> Dataset:
    """Return an object, or the header of one, without anything that names the patient.

    Args:
        held: the object; it is left as it is.
        secret: UIDs are replaced through it: the same UID by the same secret gives the same one, so that what
            belonged together still does.

    Source: PS3.15 2024, Annex E, Basic Profile without options; PS3.16, code 113100 (DCM).
    """
    kept = _kept(held, secret)
    for keyword in EMPTIED:
        if keyword in held or keyword in PATIENT_AND_STUDY:
            setattr(kept, keyword, "")
    for keyword, value in (("ContentDate", f"{DUMMY:%Y%m%d}"), ("ContentTime", f"{DUMMY:%H%M%S}")):
        if keyword in held:
            setattr(kept, keyword, value)
    if "DeviceSerialNumber" in held:
        kept.DeviceSerialNumber = "REMOVED"
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "PS3.15 Basic Profile; UIDs by keyed hash; pixels not searched"
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    kept.DeidentificationMethodCodeSequence = Sequence([method])
    kept.LongitudinalTemporalInformationModified = "REMOVED"
    return kept


def _kept(held: Dataset, secret: bytes) -> Dataset:
    kept = Dataset()
    for element in held:
        if element.keyword not in KEPT:
            continue
        if element.VR == "SQ":
            kept.add_new(element.tag, "SQ", Sequence([_kept(item, secret) for item in element.value]))
        elif element.VR == "UI":
            kept.add_new(element.tag, "UI", _replaced(element.value, secret))
        else:
            kept.add(element)
    return kept


def _replaced(value: str | MultiValue[str], secret: bytes) -> str | list[str]:
    """Return what stands in place of one or several UIDs."""
    if isinstance(value, str):
        return names.replaced(value, secret)
    return [names.replaced(str(one), secret) for one in value]
