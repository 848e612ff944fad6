"""Write counts and areas as a DICOM structured report (TID 1500 Measurement Report).

Knows:   which measurements the report holds, in which units, and how they refer to the Segmentation.
Ignores: how lesions were segmented, and who may see the patient's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegmentationFrame,
    RelationshipTypeValues,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
)
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard_codes

from foveate.version import version
from foveate.writers import maps
from foveate.writers.dicom import codes, segmentation, uids
from foveate.writers.dicom.source import DicomSource
from foveate.writers.results import NOTICE, LesionSummary, PhotographResult, PredictRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportContent:
    """The result that the report states."""

    result: PhotographResult
    summaries: Mapping[str, LesionSummary]
    """Lesion code -> its regions, in the order of the Segmentation's segments."""
    field_px: int
    """Number of pixels in the field of view."""


def measurement_report(source: DicomSource, content: ReportContent, segments: Dataset) -> Dataset:
    """Return the report: for each lesion its count, area, share, threshold, and a reference to its segment.

    Areas are in pixels, and also in square millimetres if the photograph states its spacing.

    Args:
        source: the photograph.
        content: the result to report.
        segments: the Segmentation that the report refers to.
    """
    request, origin = content.result.request, source.origin
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(request)),
        procedure_reported=codes.IMAGING,
        imaging_measurements=[
            _lesion_group(source, content, code, number, segments)
            for number, code in enumerate(content.summaries, start=1)
        ],
        title=standard_codes.DCM.ImagingMeasurementReport,
    )
    _add_text(report, codes.NOTICE, NOTICE)
    for quality_code in content.result.quality:
        _add_text(report, codes.QUALITY, quality_code)
    dataset = ComprehensiveSR(
        evidence=[source.header, segments],
        content=report[0],
        series_instance_uid=uids.derived_uid(origin, request, "sr series"),
        series_number=segmentation.SERIES_NUMBERS["sr"],
        sop_instance_uid=uids.derived_uid(origin, request, "sr"),
        instance_number=1,
        manufacturer="The Foveate developers",
        is_complete=True,
    )
    dataset.SeriesDescription = f"Foveate: {segmentation.TITLES['sr'].lower()}"
    return dataset


def _observer(request: PredictRequest) -> ObserverContext:
    """Return the model as the observing device."""
    return ObserverContext(
        observer_type=standard_codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=uids.model_uid(request),
            name="Foveate",
            manufacturer_name="The Foveate developers",
            model_name=f"{request.provenance.name} {request.provenance.version}",
            serial_number=request.provenance.digest,
        ),
    )


def _lesion_group(
    source: DicomSource, content: ReportContent, code: str, number: int, segments: Dataset
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return one lesion's measurements, with a reference to its segment."""
    request, origin = content.result.request, source.origin
    frames = None if origin.frame is None else [origin.frame]
    segment = ReferencedSegmentationFrame(
        sop_class_uid=str(segments.SOPClassUID),
        sop_instance_uid=str(segments.SOPInstanceUID),
        frame_number=number,
        segment_number=number,
        source_image=SourceImageForSegmentation(source.sop_class, origin.uid, frames),
    )
    # A reference may name a frame or a segment, not both (PS3.3 table 10-3); viewers use the segment.
    del segment[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uids.derived_uid(origin, request, f"tracking {code}"), identifier=code
        ),
        referenced_segment=segment,
        finding_type=codes.lesion_concept(code),
        finding_category=codes.ABNORMAL,
        finding_sites=[
            FindingSite(
                codes.RETINA,
                laterality=None if origin.laterality is None else codes.LATERALITIES[origin.laterality],
            )
        ],
        algorithm_id=_algorithm(request),
        measurements=_measurements(content, content.summaries[code]),
    )


def _measurements(content: ReportContent, summary: LesionSummary) -> list[Measurement]:
    area = sum(region.area_px for region in summary.regions)
    spacing = content.result.photograph.spacing
    values = [
        (codes.COUNT, len(summary.regions), codes.NO_UNITS),
        (codes.AREA_PX, area, codes.PIXELS),
        (codes.AREA_FRACTION, round(100 * area / content.field_px, 6), codes.PERCENT),
        (codes.THRESHOLD, summary.decision.threshold, codes.NO_UNITS),
        (codes.MINIMUM_AREA, summary.minimum_area, codes.PIXELS),
    ]
    if spacing is not None:
        values.insert(2, (codes.AREA, round(area * spacing**2, 9), codes.MM2))
    return [Measurement(name=name, value=value, unit=unit) for name, value, unit in values]


def _algorithm(request: PredictRequest) -> AlgorithmIdentification:
    """Return the software, model and settings that decide the result; thresholds are measurements."""
    top = maps.max_level(request.format)
    settings = [f"{key}={value}" for key, value in request.settings.items() if key != "thresholds"]
    return AlgorithmIdentification(
        name=f"Foveate {request.provenance.name}",
        version=request.provenance.version,
        parameters=[
            f"foveate={version()}",
            f"sha256={request.provenance.digest}",
            *settings,
            f"levels={top}",
        ],
        family=standard_codes.DCM.ArtificialIntelligence,
        manufacturer="The Foveate developers",
    )


def _add_text(report: MeasurementReport, name: CodedConcept, text: str) -> None:
    """Append a text to the report's root."""
    report[0].ContentSequence.append(
        TextContentItem(name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
    )
