"""Write masks or maps as a DICOM Segmentation object.

Knows:   segments, how they refer to the photograph, and which objects highdicom does not accept.
Ignores: how lesions are measured, and who may see the patient's name.

highdicom 0.28 treats an Ophthalmic Photography object as an enhanced multi-frame object, since its definition
has frames, and fails. So highdicom gets a copy of the header with the class VL Photographic, and the
references are corrected afterwards.

No spacing is written: highdicom reads Pixel Measures only with a slice thickness, which a photograph does not
have. Frames have the photograph's rows and columns, and state that (Spatial Locations Preserved).

Shape letters: H W photograph, K lesions.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr.coding import CodedConcept
from jaxtyping import Bool, Float32, UInt8
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard_codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from foveate import lesions
from foveate.choices import ObjectKind
from foveate.lesions import Lesion
from foveate.version import version
from foveate.writers.dicom import codes, uids
from foveate.writers.dicom.source import DicomSource
from foveate.writers.results import PredictRequest

VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
"""VL Photographic Image Storage: highdicom treats it as a single frame without a position in space."""

SPATIAL = (
    *("NumberOfFrames", "PixelSpacing", "FrameOfReferenceUID", "ImagePositionPatient"),
    *("ImageOrientationPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""Attributes of the photograph from which highdicom would derive a position in space."""

SERIES_NUMBERS = {"seg": 9001, "sr": 9002, "prob": 9003}
"""Larger than the series numbers that cameras assign."""

TITLES = {"seg": "Lesions", "sr": "Lesion measurements", "prob": "Lesion probabilities"}


def mask_segmentation(
    source: DicomSource, request: PredictRequest, masks: Mapping[str, Bool[np.ndarray, "H W"]]
) -> Dataset:
    """Return a BINARY Segmentation with a segment for each lesion; lesions may overlap, and may be empty.

    Args:
        source: the photograph.
        request: the request for the photograph.
        masks: lesion code -> mask, in the order of the segments.
    """
    stack = np.stack([*masks.values()], axis=-1)[np.newaxis].view(np.uint8)
    return _segmentation(source, request, "seg", [*masks], stack)


def map_segmentation(
    source: DicomSource, request: PredictRequest, maps: Mapping[str, UInt8[np.ndarray, "H W"]]
) -> Dataset:
    """Return a FRACTIONAL Segmentation of probabilities, levels 0 to 255, as in the 8-bit maps.

    Args:
        source: the photograph.
        request: the request for the photograph.
        maps: lesion code -> levels, in the order of the segments.
    """
    stack = np.stack([*maps.values()], axis=-1)[np.newaxis].astype(np.float32) / np.float32(255)
    return _segmentation(source, request, "prob", [*maps], stack)


def _segmentation(
    source: DicomSource,
    request: PredictRequest,
    kind: ObjectKind,
    lesion_codes: Sequence[str],
    pixels: UInt8[np.ndarray, "1 H W K"] | Float32[np.ndarray, "1 H W K"],
) -> Dataset:
    origin = source.origin
    dataset = Segmentation(
        source_images=[_as_vl_photographic(source.header)],
        pixel_array=pixels,
        segmentation_type="BINARY" if kind == "seg" else "FRACTIONAL",
        segment_descriptions=[
            _segment_description(source, request, number, lesion)
            for number, lesion in enumerate(lesions.of(lesion_codes), start=1)
        ],
        series_instance_uid=uids.derived_uid(origin, request, f"{kind} series"),
        series_number=SERIES_NUMBERS[kind],
        sop_instance_uid=uids.derived_uid(origin, request, kind),
        instance_number=1,
        manufacturer="The Foveate developers",
        manufacturer_model_name="Foveate",
        software_versions=version(),
        device_serial_number=request.provenance.digest,
        content_label="LESIONS" if kind == "seg" else "PROBABILITIES",
        content_description="Research software, not a medical device: not for diagnosis",
        omit_empty_frames=False,
        transfer_syntax_uid=ExplicitVRLittleEndian if kind == "seg" else JPEGLSLossless,
    )
    dataset.SeriesDescription = f"Foveate: {TITLES[kind].lower()}"
    dataset.PatientOrientation = source.header.get("PatientOrientation") or ""
    dimensions = uids.derived_uid(origin, request, "dimensions")
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimensions
    dataset.DimensionIndexSequence[0].DimensionOrganizationUID = dimensions
    _correct_references(dataset, source)
    return dataset


def _as_vl_photographic(header: Dataset) -> Dataset:
    """Return a copy of a header that highdicom accepts."""
    copy = deepcopy(header)
    copy.SOPClassUID = VL_PHOTOGRAPHIC
    for keyword in SPATIAL:
        if keyword in copy:
            delattr(copy, keyword)
    return copy


def _segment_description(
    source: DicomSource, request: PredictRequest, number: int, lesion: Lesion
) -> SegmentDescription:
    provenance, origin = request.provenance, source.origin
    description = SegmentDescription(
        segment_number=number,
        segment_label=lesion.name.capitalize(),
        segmented_property_category=codes.ABNORMAL,
        segmented_property_type=codes.lesion_concept(lesion.code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"Foveate {provenance.name}",
            family=standard_codes.DCM.ArtificialIntelligence,
            version=provenance.version,
        ),
        tracking_id=lesion.code,
        tracking_uid=uids.derived_uid(origin, request, f"tracking {lesion.code}"),
        anatomic_regions=[deepcopy(codes.RETINA)],
        display_color=CIELabColor.from_rgb(*lesion.colour),
    )
    if origin.laterality is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [
            _item(codes.LATERALITIES[origin.laterality])
        ]
    return description


def _item(concept: CodedConcept) -> Dataset:
    item = Dataset()
    item.update(concept)
    return item


def _correct_references(dataset: Dataset, source: DicomSource) -> None:
    """Put the photograph's true class, and its frame if it has several, into every reference to it."""
    for element in dataset:
        if element.VR != "SQ":
            continue
        for item in element.value:
            if item.get("ReferencedSOPInstanceUID") == source.origin.uid:
                item.ReferencedSOPClassUID = source.sop_class
                if source.origin.frame is not None and element.keyword == "SourceImageSequence":
                    item.ReferencedFrameNumber = source.origin.frame
            _correct_references(item, source)
