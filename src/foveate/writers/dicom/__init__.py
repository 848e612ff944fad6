"""One photograph's result as DICOM objects that belong to its patient and study.

Knows:   which objects are created, and in which order; an equal request gives the same bytes.
Ignores: where the objects are stored or sent. Needs the extra `dicom`.
"""

import logging
import struct
from collections.abc import Mapping
from contextlib import nullcontext
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from foveate.choices import ObjectKind
from foveate.errors import PhotographError, one_line
from foveate.version import version
from foveate.warning_filter import suppress_warnings
from foveate.writers.dicom import codes, deidentification, segmentation, uids
from foveate.writers.dicom.report import ReportContent, measurement_report
from foveate.writers.dicom.source import DicomSource, require_source
from foveate.writers.results import DicomLesion, DicomRequest, PhotographResult

LOGGER = logging.getLogger(__name__)

HEADER_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, struct.error)
"""Exceptions of pydicom and highdicom on values that violate the standard."""

IMPLEMENTATION_UID = "2.25.190537095904587056210914975774095189162"
"""Foveate's Implementation Class UID: drawn at random, once."""


def encode(
    result: PhotographResult, lesions: Mapping[str, DicomLesion], field_px: int
) -> dict[ObjectKind, bytes]:
    """Return the requested DICOM objects as files.

    Args:
        result: the result of a photograph that was read from DICOM.
        lesions: lesion code -> its mask and regions, in the order of the segments.
        field_px: number of pixels in the field of view.

    Raises:
        PhotographError: the photograph was not read from DICOM, or results cannot refer to it or copy its
            header.
    """
    request, name = result.request.objects, result.photograph.source
    source = require_source(result.photograph.origin, name)
    if request is None:
        return {}
    if source.corrected:
        # only names of attributes: a log holds no patient's data
        LOGGER.warning("%s: corrected for the DICOM results: %s", name, ", ".join(source.corrected))
    try:
        with suppress_warnings() if source.is_irregular else nullcontext():
            datasets = _datasets(source, result, lesions, field_px)
            return {kind: _encode_file(datasets[kind], request) for kind in request.kinds}
    except HEADER_ERRORS as error:
        reason = one_line(error, 200)
        raise PhotographError(
            f"{name}: its header cannot be copied to DICOM results ({reason}); correct it, or leave out "
            "--dicom"
        ) from error


def _datasets(
    source: DicomSource, result: PhotographResult, lesions: Mapping[str, DicomLesion], field_px: int
) -> dict[ObjectKind, Dataset]:
    request = result.request
    kinds = () if request.objects is None else request.objects.kinds
    datasets: dict[ObjectKind, Dataset] = {}
    if "seg" in kinds:
        masks = {code: lesion.mask for code, lesion in lesions.items()}
        datasets["seg"] = segmentation.mask_segmentation(source, request, masks)
    if "sr" in kinds:
        summaries = {code: lesion.summary for code, lesion in lesions.items()}
        content = ReportContent(result=result, summaries=summaries, field_px=field_px)
        datasets["sr"] = measurement_report(source, content, datasets["seg"])
    if "prob" in kinds:
        levels = {code: lesion.levels for code, lesion in lesions.items() if lesion.levels is not None}
        datasets["prob"] = segmentation.map_segmentation(source, request, levels)
    return datasets


def _encode_file(dataset: Dataset, request: DicomRequest) -> bytes:
    """Return an object as a file, with the request's creation time, de-identified if that is requested."""
    moment = request.created
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.CodingSchemeIdentificationSequence = codes.scheme_identification()
    for prefix in ("InstanceCreation", "Content"):
        setattr(dataset, f"{prefix}Date", f"{moment:%Y%m%d}")
        setattr(dataset, f"{prefix}Time", f"{moment:%H%M%S}")
    for equipment in dataset.get("ContributingEquipmentSequence", ()):
        if equipment.get("ManufacturerModelName") == "highdicom":
            equipment.ContributionDateTime = f"{moment:%Y%m%d%H%M%S}"
    final = dataset if request.secret is None else deidentification.deidentify(dataset, request.secret)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = final.SOPClassUID
    meta.MediaStorageSOPInstanceUID = final.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = f"FOVEATE {version()}"[:16]
    final.file_meta = meta
    content = BytesIO()
    dcmwrite(content, final, enforce_file_format=True)
    return content.getvalue()


__all__ = ["encode", "require_source", "uids"]
