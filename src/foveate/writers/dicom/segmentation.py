"""Masks or maps -> a DICOM Segmentation object.

Knows:   segments, how they refer to the photograph, and what highdicom does not take.
Ignores: how lesions are measured, and who may see the patient's name.

highdicom 0.28 takes an Ophthalmic Photography object for an enhanced multi-frame one, since its definition
knows frames, and fails. So it is given a copy of the header that passes for VL Photographic, and the
references are put right afterwards.

No spacing is written: highdicom reads Pixel Measures only with a slice thickness, which a photograph has
not. Frames have the photograph's rows and columns, and say so (Spatial Locations Preserved).

Shape letters: H W photograph, K lesions.
"""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr.coding import CodedConcept
from jaxtyping import Bool, Float32, UInt8
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as known
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from foveate import lesions
from foveate.version import version
from foveate.writers.dicom import codes, names
from foveate.writers.dicom.source import Source
from foveate.writers.results import ObjectKind, Order

PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
"""VL Photographic Image Storage: a single frame without a place in space, as highdicom has it."""

FOREIGN = (
    *("NumberOfFrames", "PixelSpacing", "FrameOfReferenceUID", "ImagePositionPatient"),
    *("ImageOrientationPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""Attributes of the photograph that highdicom would make a place in space of."""

SERIES = {"seg": 9001, "sr": 9002, "prob": 9003}
"""Series numbers: above those that cameras give."""

WHAT = {"seg": "Lesions", "sr": "Lesion measurements", "prob": "Lesion probabilities"}


def masks(source: Source, order: Order, found: Sequence[tuple[str, Bool[np.ndarray, "H W"]]]) -> Dataset:
    """Return a BINARY Segmentation: a segment a lesion, in order; lesions may overlap, and may be empty.

    Args:
        source: the photograph.
        order: what was asked for.
        found: lesion code and mask.
    """
    stacked = np.stack([mask for _, mask in found], axis=-1)[np.newaxis].view(np.uint8)
    return _made(source, order, "seg", [code for code, _ in found], stacked)


def maps(source: Source, order: Order, found: Sequence[tuple[str, UInt8[np.ndarray, "H W"]]]) -> Dataset:
    """Return a FRACTIONAL Segmentation of probabilities, levels 0 to 255, as the 8-bit maps have them."""
    stacked = np.stack([stored for _, stored in found], axis=-1)[np.newaxis]
    return _made(
        source, order, "prob", [code for code, _ in found], stacked.astype(np.float32) / np.float32(255)
    )


def _made(
    source: Source,
    order: Order,
    kind: ObjectKind,
    lesion_codes: Sequence[str],
    pixels: UInt8[np.ndarray, "1 H W K"] | Float32[np.ndarray, "1 H W K"],
) -> Dataset:
    origin = source.origin
    made = Segmentation(
        source_images=[_taken_by_highdicom(source.header)],
        pixel_array=pixels,
        segmentation_type="BINARY" if kind == "seg" else "FRACTIONAL",
        segment_descriptions=[
            _description(source, order, number, code) for number, code in enumerate(lesion_codes, start=1)
        ],
        series_instance_uid=names.derived(origin, order, f"{kind} series"),
        series_number=SERIES[kind],
        sop_instance_uid=names.derived(origin, order, kind),
        instance_number=1,
        manufacturer="The Foveate developers",
        manufacturer_model_name="Foveate",
        software_versions=version(),
        device_serial_number=order.maker.digest,
        content_label="LESIONS" if kind == "seg" else "PROBABILITIES",
        content_description="Research software, not a medical device: not for diagnosis",
        omit_empty_frames=False,
        transfer_syntax_uid=ExplicitVRLittleEndian if kind == "seg" else JPEGLSLossless,
    )
    made.SeriesDescription = f"Foveate: {WHAT[kind].lower()}"
    made.PatientOrientation = source.header.get("PatientOrientation") or ""
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = names.derived(
        origin, order, "dimensions"
    )
    made.DimensionIndexSequence[0].DimensionOrganizationUID = names.derived(origin, order, "dimensions")
    _refer(made, source)
    return made


def _taken_by_highdicom(held: Dataset) -> Dataset:
    """Return a header that highdicom takes."""
    copy = deepcopy(held)
    copy.SOPClassUID = PHOTOGRAPHIC
    for keyword in FOREIGN:
        if keyword in copy:
            delattr(copy, keyword)
    return copy


def _description(source: Source, order: Order, number: int, code: str) -> SegmentDescription:
    maker, origin = order.maker, source.origin
    made = SegmentDescription(
        segment_number=number,
        segment_label=lesions.of([code])[0].name.capitalize(),
        segmented_property_category=codes.ABNORMAL,
        segmented_property_type=codes.of_lesion(code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"Foveate {maker.name}", family=known.DCM.ArtificialIntelligence, version=maker.version
        ),
        tracking_id=code,
        tracking_uid=names.derived(origin, order, f"tracking {code}"),
        anatomic_regions=[deepcopy(codes.RETINA)],
    )
    if origin.laterality is not None:
        made.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [
            _item(codes.SIDES[origin.laterality])
        ]
    made.RecommendedDisplayCIELabValue = _cielab(lesions.of([code])[0].colour)
    return made


def _item(concept: CodedConcept) -> Dataset:
    item = Dataset()
    item.update(concept)
    return item


def _cielab(colour: tuple[int, int, int]) -> list[int]:
    """Return an sRGB colour as DICOM has CIELab: three numbers of 16 bits (PS3.3 C.10.7.1.1).

    Source: IEC 61966-2-1 for sRGB, CIE 15 for L*a*b*; white D65, as sRGB has it.
    """
    level = np.array(colour) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ linear / (to_xyz @ np.ones(3))
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    light = 116 * root[1] - 16
    red, yellow = 500 * (root[0] - root[1]), 200 * (root[1] - root[2])
    return [round(light * 65535 / 100), round((red + 128) * 65535 / 255), round((yellow + 128) * 65535 / 255)]


def _refer(made: Dataset, source: Source) -> None:
    """Let every reference to the photograph name its true class, and the frame where there are several."""
    for element in made:
        if element.VR != "SQ":
            continue
        for item in element.value:
            if item.get("ReferencedSOPInstanceUID") == source.origin.uid:
                item.ReferencedSOPClassUID = source.kind
                if source.origin.frame is not None and element.keyword == "SourceImageSequence":
                    item.ReferencedFrameNumber = source.origin.frame
            _refer(item, source)
