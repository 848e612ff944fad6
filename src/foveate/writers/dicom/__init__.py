"""One photograph's result -> DICOM objects that belong to its patient and study.

Knows:   which objects are made, in which order; the same work gives the same bytes at the same moment.
Ignores: where they lie or go. Needs the extra `dicom`.
"""

from collections.abc import Mapping
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from foveate.version import version
from foveate.writers.dicom import codes, identity, names, segmentation
from foveate.writers.dicom.report import Measured, report
from foveate.writers.dicom.source import Source, required
from foveate.writers.results import Drawn, Finding, ObjectKind, Objects

IMPLEMENTATION = "2.25.190537095904587056210914975774095189162"
"""Foveate's Implementation Class UID: drawn once."""


def encode(finding: Finding, drawn: Mapping[str, Drawn], field_px: int) -> dict[ObjectKind, bytes]:
    """Return the DICOM files that an order asks for.

    Args:
        finding: of a photograph that was read from DICOM.
        drawn: lesion code -> what was found, in the order of segments.
        field_px: pixels of the field of view.

    Raises:
        PhotographError: the photograph was not read from DICOM, or names no study.
    """
    objects = finding.order.objects
    source = required(finding.photograph.origin, finding.photograph.source)
    if objects is None:
        return {}
    found = _objects(source, finding, drawn, field_px)
    return {kind: _encoded(found[kind], objects) for kind in objects.kinds}


def _objects(
    source: Source, finding: Finding, drawn: Mapping[str, Drawn], field_px: int
) -> dict[ObjectKind, Dataset]:
    order = finding.order
    kinds = () if order.objects is None else order.objects.kinds
    made: dict[ObjectKind, Dataset] = {}
    if "seg" in kinds:
        made["seg"] = segmentation.masks(source, order, [(code, one.mask) for code, one in drawn.items()])
    if "sr" in kinds:
        tallies = {code: one.tally for code, one in drawn.items()}
        measured = Measured(finding=finding, tallies=tallies, field_px=field_px)
        made["sr"] = report(source, measured, made["seg"])
    if "prob" in kinds:
        levels = [(code, one.levels) for code, one in drawn.items() if one.levels is not None]
        made["prob"] = segmentation.maps(source, order, levels)
    return made


def _encoded(made: Dataset, objects: Objects) -> bytes:
    """Return an object as a file: at the order's time, without the patient where that is asked for."""
    moment = objects.made
    syntax = made.file_meta.TransferSyntaxUID
    made.CodingSchemeIdentificationSequence = codes.schemes()
    for what in ("InstanceCreation", "Content"):
        setattr(made, f"{what}Date", f"{moment:%Y%m%d}")
        setattr(made, f"{what}Time", f"{moment:%H%M%S}")
    for equipment in made.get("ContributingEquipmentSequence", ()):
        if equipment.get("ManufacturerModelName") == "highdicom":
            equipment.ContributionDateTime = f"{moment:%Y%m%d%H%M%S}"
    final = made if objects.secret is None else identity.hidden(made, objects.secret)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = final.SOPClassUID
    meta.MediaStorageSOPInstanceUID = final.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = f"FOVEATE {version()}"[:16]
    final.file_meta = meta
    content = BytesIO()
    dcmwrite(content, final, enforce_file_format=True)
    return content.getvalue()


__all__ = ["encode", "names", "required"]
