"""Remove everything from a DICOM object that names the patient.

Knows:   which attributes stay, which become empty, and which UIDs are replaced.
Ignores: the pixels; text burned into a photograph is not searched for.

PS3.15's Basic Application Level Confidentiality Profile lists what must be removed. We list what may stay,
which is stricter: an attribute in neither of the two lists below is removed, at any depth, including private
elements.
"""

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from foveate.writers.dicom import uids

PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Type 2 attributes of every object: they must be present, but may be empty."""

CLEARED = (*PATIENT_AND_STUDY, "ContentCreatorName")
"""Attributes that become empty (action Z of PS3.15, table E.1-1)."""

DUMMY_TIME = datetime(1900, 1, 1)
"""Replaces dates and times that may not be empty (action D)."""

RETAINED = frozenset(
    {
        # type of the object
        *("SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "SeriesNumber", "InstanceNumber"),
        *("SeriesDescription", "PatientOrientation", "Laterality", "ImageLaterality"),
        # software and camera, but never their serial numbers
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ContributingEquipmentSequence"),
        *("ContributionDescription", "PurposeOfReferenceCodeSequence"),
        # UIDs, all replaced except those of the standard
        *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "ReferencedSOPClassUID"),
        *("ReferencedSOPInstanceUID", "ReferencedFrameNumber", "ReferencedSeriesSequence"),
        *("ReferencedInstanceSequence", "SourceImageSequence", "DerivationImageSequence"),
        *("DerivationCodeSequence", "SpatialLocationsPreserved", "DimensionOrganizationUID", "TrackingUID"),
        # times that may not be empty: they get the dummy time
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
        # the report's content tree
        *("ValueType", "RelationshipType", "ContinuityOfContent", "ConceptNameCodeSequence"),
        "ContentSequence",
        *("ContentTemplateSequence", "MappingResource", "TemplateIdentifier", "MeasuredValueSequence"),
        *("NumericValue", "MeasurementUnitsCodeSequence", "ConceptCodeSequence", "TextValue", "UID"),
        *("ReferencedSOPSequence", "CompletionFlag", "VerificationFlag", "PreliminaryFlag"),
        *("CurrentRequestedProcedureEvidenceSequence", "PerformedProcedureCodeSequence"),
        *("ReferencedPerformedProcedureStepSequence", "FloatingPointValue", "RationalNumeratorValue"),
        "RationalDenominatorValue",
        # the fact of de-identification
        *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
        "LongitudinalTemporalInformationModified",
    }
)
"""Attributes that may stay with their values."""


def deidentify(dataset: Dataset, secret: bytes) -> Dataset:
    """Return a copy of an object, or of its header, without anything that names the patient.

    Args:
        dataset: the object; it is not changed.
        secret: key of the hash that replaces UIDs. The same UID and secret give the same replacement, so that
            objects that belong together still do.

    Source: PS3.15 2024, Annex E, Basic Profile without options; PS3.16, code 113100 (DCM).
    """
    retained = _retain(dataset, secret)
    for keyword in CLEARED:
        if keyword in dataset or keyword in PATIENT_AND_STUDY:
            setattr(retained, keyword, "")
    for keyword, value in (("ContentDate", f"{DUMMY_TIME:%Y%m%d}"), ("ContentTime", f"{DUMMY_TIME:%H%M%S}")):
        if keyword in dataset:
            setattr(retained, keyword, value)
    if "DeviceSerialNumber" in dataset:
        retained.DeviceSerialNumber = "REMOVED"
    retained.PatientIdentityRemoved = "YES"
    retained.DeidentificationMethod = "PS3.15 Basic Profile; UIDs by keyed hash; pixels not searched"
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    retained.DeidentificationMethodCodeSequence = Sequence([method])
    retained.LongitudinalTemporalInformationModified = "REMOVED"
    return retained


def _retain(dataset: Dataset, secret: bytes) -> Dataset:
    """Return the attributes that may stay, with replaced UIDs."""
    retained = Dataset()
    for element in dataset:
        if element.keyword not in RETAINED:
            continue
        if element.VR == "SQ":
            retained.add_new(element.tag, "SQ", Sequence([_retain(item, secret) for item in element.value]))
        elif element.VR == "UI":
            retained.add_new(element.tag, "UI", _pseudonyms(element.value, secret))
        else:
            retained.add(element)
    return retained


def _pseudonyms(value: str | MultiValue[str], secret: bytes) -> str | list[str]:
    """Return the replacements of one or several UIDs."""
    if isinstance(value, str):
        return uids.pseudonym(value, secret)
    return [uids.pseudonym(str(uid), secret) for uid in value]
