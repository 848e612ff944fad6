"""Counts and areas -> a DICOM structured report (TID 1500 Measurement Report).

Knows:   which measurements stand there, in which units, and how they point into the Segmentation.
Ignores: how lesions were found, and who may see the patient's name.
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
from pydicom.sr.codedict import codes as known

from foveate.version import version
from foveate.writers import maps
from foveate.writers.dicom import codes, names, segmentation
from foveate.writers.dicom.source import Source
from foveate.writers.results import NOTICE, Finding, Order, Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What the report is about."""

    finding: Finding
    tallies: Mapping[str, Tally]
    """Lesion code -> its regions; in the order of the Segmentation's segments."""
    field_px: int
    """Pixels of the field of view."""


def report(source: Source, measured: Measured, segments: Dataset) -> Dataset:
    """Return the report: for each lesion its number, area, share, threshold, and the segment that shows it.

    Areas are in pixels; in square millimetres as well only where the photograph states its spacing.

    Args:
        source: the photograph.
        measured: what was found.
        segments: the Segmentation, which the report points into.
    """
    order, origin = measured.finding.order, source.origin
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(order)),
        procedure_reported=codes.IMAGING,
        imaging_measurements=[
            _group(source, measured, code, number, segments)
            for number, code in enumerate(measured.tallies, start=1)
        ],
        title=known.DCM.ImagingMeasurementReport,
    )
    _remark(content, codes.NOTICE, NOTICE)
    for remark in measured.finding.quality:
        _remark(content, codes.QUALITY, remark)
    made = ComprehensiveSR(
        evidence=[source.header, segments],
        content=content[0],
        series_instance_uid=names.derived(origin, order, "sr series"),
        series_number=segmentation.SERIES["sr"],
        sop_instance_uid=names.derived(origin, order, "sr"),
        instance_number=1,
        manufacturer="The Foveate developers",
        is_complete=True,
    )
    made.SeriesDescription = f"Foveate: {segmentation.WHAT['sr'].lower()}"
    return made


def _observer(order: Order) -> ObserverContext:
    """Return who measured: the model."""
    return ObserverContext(
        observer_type=known.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=names.of_maker(order),
            name="Foveate",
            manufacturer_name="The Foveate developers",
            model_name=f"{order.maker.name} {order.maker.version}",
            serial_number=order.maker.digest,
        ),
    )


def _group(
    source: Source, measured: Measured, code: str, number: int, segments: Dataset
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return one lesion's measurements, and which segment they are of."""
    order, origin = measured.finding.order, source.origin
    frames = None if origin.frame is None else [origin.frame]
    segment = ReferencedSegmentationFrame(
        sop_class_uid=str(segments.SOPClassUID),
        sop_instance_uid=str(segments.SOPInstanceUID),
        frame_number=number,
        segment_number=number,
        source_image=SourceImageForSegmentation(source.kind, origin.uid, frames),
    )
    # Either a frame or a segment may be named, not both (PS3.3 table 10-3); viewers go by the segment.
    del segment[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=names.derived(origin, order, f"tracking {code}"), identifier=code
        ),
        referenced_segment=segment,
        finding_type=codes.of_lesion(code),
        finding_category=codes.ABNORMAL,
        finding_sites=[
            FindingSite(
                codes.RETINA,
                laterality=None if origin.laterality is None else codes.SIDES[origin.laterality],
            )
        ],
        algorithm_id=_algorithm(order),
        measurements=_measurements(measured, measured.tallies[code]),
    )


def _measurements(measured: Measured, tally: Tally) -> list[Measurement]:
    area = sum(region.area_px for region in tally.regions)
    spacing = measured.finding.photograph.spacing
    stated = [
        (codes.NUMBER, len(tally.regions), codes.ONE),
        (codes.AREA_PX, area, codes.PIXELS),
        (codes.SHARE, round(100 * area / measured.field_px, 6), codes.PERCENT),
        (codes.THRESHOLD, tally.decision.threshold, codes.ONE),
        (codes.SMALLEST, tally.minimum_area, codes.PIXELS),
    ]
    if spacing is not None:
        stated.insert(2, (codes.AREA, round(area * spacing**2, 6), codes.MM2))
    return [Measurement(name=name, value=value, unit=unit) for name, value, unit in stated]


def _algorithm(order: Order) -> AlgorithmIdentification:
    """Return what computed, to the last bit; thresholds stand apart."""
    top = maps.maximum(order.format)
    settings = [f"{key}={value}" for key, value in order.settings.items() if key != "thresholds"]
    return AlgorithmIdentification(
        name=f"Foveate {order.maker.name}",
        version=order.maker.version,
        parameters=[f"foveate={version()}", f"sha256={order.maker.digest}", *settings, f"levels={top}"],
        family=known.DCM.ArtificialIntelligence,
        manufacturer="The Foveate developers",
    )


def _remark(content: MeasurementReport, name: CodedConcept, text: str) -> None:
    """Add a text at the end of the report's root."""
    content[0].ContentSequence.append(
        TextContentItem(name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
    )
