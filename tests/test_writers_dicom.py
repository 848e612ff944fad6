"""DICOM results hold the lesions, belong to the photograph's patient and study, and pass a validator."""

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from io import BytesIO

import cv2
import highdicom
import numpy as np
import pydicom
import pytest
import tiny_dicom
import tiny_package
from PIL import Image
from pydicom.uid import UID, JPEGBaseline8Bit

import foveate
from foveate import lesions, writers
from foveate.errors import PhotographError, SettingError
from foveate.inference import photograph_job
from foveate.types import SMALLEST_PIXEL_MM
from foveate.writers import DicomRequest, PredictRequest, Provenance
from foveate.writers.dicom import codes, deidentification, require_source, uids
from foveate.writers.dicom.segmentation import mask_segmentation

CREATED = datetime(2026, 3, 4, 5, 6, 7)

ALL = DicomRequest(kinds=("seg", "sr", "prob"), created=CREATED)

SECRET = b"thirty-two bytes that nobody has"

FUNDUS = tiny_package.fundus()

TERMS = ("Müster", "Erika", "PAT-4711", "Ärztin", "Lake", "ACC-1", "19600102", "20260102", "SN-1")
"""Texts that name the patient, or a visit, in the synthetic objects."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return foveate.load(tiny_package.build(tmp_path_factory.mktemp("model") / "tiny"), threads=1)


@pytest.fixture(scope="module")
def process(model, tmp_path_factory):
    """Return a function that processes an object, and returns the folder of its results."""

    def process(dataset, objects=ALL, **options):
        folder = tmp_path_factory.mktemp("results")
        path = tiny_dicom.save(dataset, folder / "eye.dcm")
        photograph = foveate.read(path)
        segmentation = model.segment(photograph, **options).segmentation
        photograph_job.save(segmentation, folder / "out", name="eye", objects=objects)
        return folder / "out"

    return process


@pytest.fixture(scope="module")
def out(process):
    return process(tiny_dicom.op(FUNDUS))


@pytest.fixture(scope="module")
def deidentified(process):
    return process(tiny_dicom.op(FUNDUS), replace(ALL, secret=SECRET))


def read_object(folder, kind):
    return pydicom.dcmread(object_path(folder, kind))


def object_path(folder, kind):
    (path,) = (folder / "dicom").rglob(f"*_{kind}.dcm")
    return path


def elements(dataset):
    """Yield every element at any depth."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def valid(path):
    """Return whether dciodvfy finds no error in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60, check=False)
    errors = [line for line in result.stderr.splitlines() if "Error" in line]
    assert not errors, errors
    return True


# ---- the objects


@pytest.mark.parametrize("kind", ["SEG", "SR", "PROB"])
@pytest.mark.parametrize("fixture", ["out", "deidentified"])
def test_every_object_passes_the_validator(request, fixture, kind):
    assert valid(object_path(request.getfixturevalue(fixture), kind))


@pytest.mark.parametrize("sop", [tiny_dicom.OP8, tiny_dicom.VL, tiny_dicom.SC])
def test_objects_of_every_source_class_pass_and_name_that_class(process, sop):
    folder = process(tiny_dicom.op(FUNDUS, SOPClassUID=sop))

    for kind in ("SEG", "SR", "PROB"):
        assert valid(folder / f"dicom/eye_{kind}.dcm")
        referred = {
            (str(item.ReferencedSOPInstanceUID), str(item.ReferencedSOPClassUID))
            for element in elements(read_object(folder, kind))
            if element.VR == "SQ"
            for item in element.value
            if "ReferencedSOPInstanceUID" in item
        }
        assert ("1.2.826.0.1.3680043.8.498.1.0.0", sop) in referred
        assert {cls for uid, cls in referred if uid == "1.2.826.0.1.3680043.8.498.1.0.0"} == {sop}


def test_objects_of_a_photograph_stored_with_loss_pass(process):
    folder = process(tiny_dicom.encoded(tiny_dicom.op(FUNDUS), JPEGBaseline8Bit))

    for kind in ("SEG", "SR", "PROB"):
        assert valid(folder / f"dicom/eye_{kind}.dcm")


@pytest.mark.parametrize("fixture", ["out", "deidentified"])
def test_highdicom_reads_the_masks_back_bit_for_bit(request, fixture):
    folder = request.getfixturevalue(fixture)
    segments = highdicom.seg.segread(object_path(folder, "SEG"))

    assert [segments.get_segment_description(n).tracking_id for n in segments.segment_numbers] == ["EX", "MA"]
    for number, code in enumerate(("EX", "MA")):
        mask = np.asarray(Image.open(folder / f"masks/eye_{code}.png")) == 255
        assert mask.any()
        np.testing.assert_array_equal(segments.pixel_array[number] == 1, mask)


def test_highdicom_reads_the_probabilities_back_level_for_level(out):
    maps = highdicom.seg.segread(out / "dicom/eye_PROB.dcm")

    assert (maps.SegmentationType, maps.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    for number, code in enumerate(("EX", "MA")):
        stored = np.asarray(Image.open(out / f"maps/eye_{code}.png"))
        np.testing.assert_array_equal(maps.pixel_array[number], stored)


@pytest.mark.parametrize("syntax", [*tiny_dicom.LOSSLESS, *tiny_dicom.LOSSY], ids=lambda uid: UID(uid).name)
def test_masks_equal_those_of_the_same_decoded_pixels_given_as_png(model, tmp_path, syntax):
    path = tiny_dicom.save(tiny_dicom.encoded(tiny_dicom.op(FUNDUS), syntax), tmp_path / "eye.dcm")
    photograph = foveate.read(path)
    Image.fromarray(photograph.pixels).save(tmp_path / "eye.png")

    from_dicom, from_png = model.segment(photograph), model.segment(foveate.read(tmp_path / "eye.png"))

    for code in ("EX", "MA"):
        assert from_dicom.mask(code).any()
        np.testing.assert_array_equal(from_dicom.mask(code), from_png.mask(code))
        np.testing.assert_array_equal(from_dicom.map(code), from_png.map(code))


@pytest.mark.parametrize("absent", [("EX",), ("EX", "MA")])
def test_an_absent_lesion_has_an_empty_segment(process, absent):
    folder = process(tiny_dicom.op(FUNDUS), thresholds=dict.fromkeys(absent, 1.0))

    segments = highdicom.seg.segread(folder / "dicom/eye_SEG.dcm")
    assert segments.number_of_segments == 2
    assert segments.pixel_array.any(axis=(1, 2)).tolist() == [code not in absent for code in ("EX", "MA")]
    assert valid(folder / "dicom/eye_SEG.dcm")


def test_the_report_says_what_the_table_says(out):
    table = json.loads((out / "regions/eye.json").read_text())["lesions"]
    report = highdicom.sr.srread(out / "dicom/eye_SR.dcm")

    groups = report.content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(table)
    for number, (group, lesion) in enumerate(zip(groups, table.values(), strict=True), start=1):
        measured = {
            element.name.value: (element.value, element.unit.value) for element in group.get_measurements()
        }
        assert measured == {
            codes.COUNT.value: (lesion["count"], "1"),
            "AREA-PX": (lesion["area_px"], "{pixels}"),
            codes.AREA.value: (pytest.approx(lesion["area_mm2"]), "mm2"),
            "FIELD-SHARE": (pytest.approx(100 * lesion["area_fraction"], abs=1e-5), "%"),
            "THRESHOLD": (lesion["threshold"], "1"),
            "MINIMUM-AREA": (lesion["minimum_area_px"], "{pixels}"),
        }
        pointed = group.referenced_segmentation_frame
        reference = pointed[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == read_object(out, "SEG").SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
    text = str(report)
    assert "Research software, not a medical device" in str(
        [element.value for element in elements(report) if element.keyword == "TextValue"]
    )
    assert "1.0" in text
    assert "99FOVEATE" in text


def test_an_area_of_a_few_pixels_is_not_rounded_in_the_report(process):
    spacing = [SMALLEST_PIXEL_MM, SMALLEST_PIXEL_MM]
    folder = process(tiny_dicom.op(FUNDUS, PixelSpacing=spacing))

    groups = highdicom.sr.srread(folder / "dicom/eye_SR.dcm").content.get_planar_roi_measurement_groups()
    for group in groups:
        measured = {element.name.value: element.value for element in group.get_measurements()}
        assert measured["AREA-PX"] > 0
        assert measured[codes.AREA.value] == pytest.approx(measured["AREA-PX"] * SMALLEST_PIXEL_MM**2)


def test_no_area_in_millimetres_stands_where_no_spacing_does(process):
    folder = process(tiny_dicom.op(FUNDUS, PixelSpacing=...))

    groups = highdicom.sr.srread(folder / "dicom/eye_SR.dcm").content.get_planar_roi_measurement_groups()
    units = {element.unit.value for group in groups for element in group.get_measurements()}
    assert units == {"1", "%", "{pixels}"}
    for kind in ("SEG", "SR", "PROB"):
        assert not [
            element
            for element in elements(read_object(folder, kind))
            if "Spacing" in element.keyword or "Thick" in element.keyword
        ]
        assert valid(folder / f"dicom/eye_{kind}.dcm")


def test_everything_belongs_to_the_photographs_patient_and_study(out):
    source = tiny_dicom.op(FUNDUS)

    for kind, modality in (("SEG", "SEG"), ("SR", "SR"), ("PROB", "SEG")):
        dataset = read_object(out, kind)
        for keyword in (*deidentification.PATIENT_AND_STUDY, "StudyInstanceUID", "StudyDescription"):
            assert str(dataset[keyword].value) == str(source[keyword].value), keyword
        assert dataset.Modality == modality
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert read_object(out, "SEG").ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    for segment in read_object(out, "SEG").SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (segment.SegmentAlgorithmType, algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (
            "AUTOMATIC",
            "Foveate tiny",
            "1.0",
        )
        (modifier,) = segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence
        assert modifier.CodeMeaning == "Right"


def test_a_left_eye_does_not_affect_the_next_photograph(process):
    for side, meaning in (("L", "Left"), ("R", "Right")):
        folder = process(tiny_dicom.op(FUNDUS, ImageLaterality=side))
        region = read_object(folder, "SEG").SegmentSequence[0].AnatomicRegionSequence[0]
        assert [item.CodeMeaning for item in region.AnatomicRegionModifierSequence] == [meaning]
    folder = process(tiny_dicom.op(FUNDUS, ImageLaterality=...))
    assert (
        "AnatomicRegionModifierSequence"
        not in read_object(folder, "SEG").SegmentSequence[0].AnatomicRegionSequence[0]
    )
    assert "Left" not in str(read_object(folder, "SR"))


def test_a_frame_is_referred_to_by_its_number(model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(np.stack([FUNDUS, FUNDUS[:, ::-1]])), tmp_path / "pair.dcm")
    model.predict([path], tmp_path / "out", objects=ALL)

    uids = set()
    for frame in (1, 2):
        for kind in ("SEG", "SR", "PROB"):
            file = tmp_path / f"out/dicom/pair_frame-{frame}_{kind}.dcm"
            dataset = pydicom.dcmread(file)
            uids.add(dataset.SOPInstanceUID)
            frames = [
                element.value for element in elements(dataset) if element.keyword == "ReferencedFrameNumber"
            ]
            assert set(map(int, frames)) == {frame}
            assert valid(file)
    assert len(uids) == 6


def test_names_of_another_alphabet_are_unchanged(process):
    dataset = tiny_dicom.op(FUNDUS)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müster^Ångström"

    folder = process(dataset)

    for kind in ("SEG", "SR", "PROB"):
        assert str(read_object(folder, kind).PatientName) == "Müster^Ångström"
        assert valid(folder / f"dicom/eye_{kind}.dcm")


def test_type_2_attributes_that_the_source_lacks_are_present_but_empty(process):
    dataset = tiny_dicom.op(FUNDUS)
    for keyword in deidentification.PATIENT_AND_STUDY:
        delattr(dataset, keyword)

    folder = process(dataset)

    for kind in ("SEG", "SR", "PROB"):
        assert not any(
            read_object(folder, kind)[keyword].value for keyword in deidentification.PATIENT_AND_STUDY
        )
        assert valid(folder / f"dicom/eye_{kind}.dcm")


# ---- UIDs


def test_equal_requests_have_equal_uids_and_bytes(process, out):
    second = process(tiny_dicom.op(FUNDUS))

    for kind in ("SEG", "SR", "PROB"):
        name = f"dicom/eye_{kind}.dcm"
        assert (out / name).read_bytes() == (second / name).read_bytes()


def test_different_requests_have_different_uids(process, out):
    def object_uids(folder):
        datasets = [read_object(folder, kind) for kind in ("SEG", "SR", "PROB")]
        series = {str(dataset.SeriesInstanceUID) for dataset in datasets}
        return series | {str(dataset.SOPInstanceUID) for dataset in datasets}

    first = object_uids(out)
    assert len(first) == 6
    for second in (
        process(tiny_dicom.op(FUNDUS, 7)),
        process(tiny_dicom.op(FUNDUS), thresholds={"EX": 0.25}),
    ):
        assert not first & object_uids(second)
    later = process(tiny_dicom.op(FUNDUS), replace(ALL, created=datetime(2027, 1, 1)))
    assert object_uids(later) == first


def test_every_uid_is_valid(out, deidentified):
    for folder in (out, deidentified):
        for kind in ("SEG", "SR", "PROB"):
            values = [element.value for element in elements(read_object(folder, kind)) if element.VR == "UI"]
            assert values
            assert all(UID(uid).is_valid for uid in values)


# ---- de-identified


def test_nothing_that_names_the_patient_is_written(deidentified):
    for kind in ("SEG", "SR", "PROB"):
        content = object_path(deidentified, kind).read_bytes()
        for term in TERMS:
            assert term.encode() not in content, term
        dataset = read_object(deidentified, kind)
        texts = [
            str(element.value)
            for element in elements(dataset)
            if element.VR != "SQ" and element.keyword != "PixelData"
        ]
        assert not [text for text in texts if "1.2.826.0.1.3680043.8.498" in text]
        times = {str(element.value) for element in elements(dataset) if element.VR in ("DA", "TM", "DT")}
        assert times <= {"", "19000101", "000000"}
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert dataset.DeidentificationMethod
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"


def test_required_attributes_are_present_but_empty(deidentified):
    for kind in ("SEG", "SR", "PROB"):
        for keyword in deidentification.PATIENT_AND_STUDY:
            assert not read_object(deidentified, kind)[keyword].value, keyword


def test_the_terms_are_present_without_deidentification(out):
    content = b"".join((out / f"dicom/eye_{kind}.dcm").read_bytes() for kind in ("SEG", "SR", "PROB"))

    assert [term for term in TERMS if term.encode() in content] == list(TERMS)


def test_uids_are_replaced_and_objects_still_belong_together(out, deidentified):
    for kind in ("SEG", "SR", "PROB"):
        original, replaced = read_object(out, kind), read_object(deidentified, kind)
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert replaced[keyword].value == uids.pseudonym(str(original[keyword].value), SECRET)
    evidence = (
        read_object(deidentified, "SR").CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    )
    references = {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in evidence}
    assert references == {
        str(read_object(deidentified, "SEG").SOPInstanceUID),
        uids.pseudonym("1.2.826.0.1.3680043.8.498.1.0.0", SECRET),
    }
    assert (
        read_object(deidentified, "SEG").file_meta.MediaStorageSOPInstanceUID
        == read_object(deidentified, "SEG").SOPInstanceUID
    )
    assert uids.pseudonym("1.2.3", SECRET) != uids.pseudonym("1.2.3", SECRET + b"!")
    assert uids.pseudonym("1.2.840.10008.1.2.1", SECRET) == "1.2.840.10008.1.2.1"
    of_a_device = "1.2.840.10008.20240131.101500.7"  # below the standard's root, but not in the standard
    assert uids.pseudonym(of_a_device, SECRET).startswith("2.25.")


# fmt: off
RETAINED = [
    "AlgorithmFamilyCodeSequence", "AlgorithmName", "AlgorithmVersion", "AnatomicRegionModifierSequence",
    "AnatomicRegionSequence", "BitsAllocated", "BitsStored", "CodeMeaning", "CodeValue",
    "CodingSchemeDesignator", "CodingSchemeIdentificationSequence", "CodingSchemeName",
    "CodingSchemeResponsibleOrganization", "Columns", "CompletionFlag", "ConceptCodeSequence",
    "ConceptNameCodeSequence", "ContentDate", "ContentDescription", "ContentLabel", "ContentSequence",
    "ContentTemplateSequence", "ContentTime", "ContinuityOfContent", "ContributingEquipmentSequence",
    "ContributionDescription", "CurrentRequestedProcedureEvidenceSequence", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "DerivationCodeSequence", "DerivationImageSequence",
    "DeviceSerialNumber", "DimensionDescriptionLabel", "DimensionIndexPointer", "DimensionIndexSequence",
    "DimensionIndexValues", "DimensionOrganizationSequence", "DimensionOrganizationUID",
    "FloatingPointValue", "FrameContentSequence", "FunctionalGroupPointer", "HighBit", "ImageType",
    "InstanceNumber", "LongitudinalTemporalInformationModified", "LossyImageCompression", "Manufacturer",
    "ManufacturerModelName", "MappingResource", "MaximumFractionalValue", "MeasuredValueSequence",
    "MeasurementUnitsCodeSequence", "Modality", "NumberOfFrames", "NumericValue", "PatientIdentityRemoved",
    "PatientOrientation", "PerFrameFunctionalGroupsSequence", "PerformedProcedureCodeSequence",
    "PhotometricInterpretation", "PixelData", "PixelRepresentation", "PreliminaryFlag",
    "PresentationLUTShape", "PurposeOfReferenceCodeSequence", "RecommendedDisplayCIELabValue",
    "ReferencedInstanceSequence", "ReferencedPerformedProcedureStepSequence", "ReferencedSOPClassUID",
    "ReferencedSOPInstanceUID", "ReferencedSOPSequence", "ReferencedSegmentNumber",
    "ReferencedSeriesSequence", "RelationshipType", "Rows", "SOPClassUID", "SOPInstanceUID",
    "SamplesPerPixel", "SegmentAlgorithmName", "SegmentAlgorithmType", "SegmentIdentificationSequence",
    "SegmentLabel", "SegmentNumber", "SegmentSequence", "SegmentationAlgorithmIdentificationSequence",
    "SegmentationFractionalType", "SegmentationType", "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence", "SegmentsOverlap", "SeriesDescription", "SeriesInstanceUID",
    "SeriesNumber", "SharedFunctionalGroupsSequence", "SoftwareVersions", "SourceImageSequence",
    "SpatialLocationsPreserved", "SpecificCharacterSet", "StudyInstanceUID", "TemplateIdentifier",
    "TextValue", "TrackingID", "TrackingUID", "UID", "ValueType", "VerificationFlag",
]
# fmt: on
"""Every attribute with a value in de-identified objects: check each before you change the list."""


def test_every_retained_attribute_is_listed(deidentified):
    keywords = {
        element.keyword
        for kind in ("SEG", "SR", "PROB")
        for element in elements(read_object(deidentified, kind))
        if element.keyword not in deidentification.CLEARED
    }

    assert sorted(keywords) == sorted(RETAINED)
    assert keywords - {"DeviceSerialNumber"} <= deidentification.RETAINED
    assert {str(read_object(deidentified, kind).ContentDate) for kind in ("SEG", "SR", "PROB")} == {
        "19000101"
    }
    serials = {
        str(element.value)
        for kind in ("SEG", "SR", "PROB")
        for element in elements(read_object(deidentified, kind))
        if element.keyword == "DeviceSerialNumber"
    }
    assert serials == {"REMOVED"}


def test_all_other_attributes_of_a_source_are_removed(process):
    dataset = tiny_dicom.op(FUNDUS)
    dataset.private_block(0x0011, "CAMERA", create=True).add_new(1, "LO", "Erika")
    dataset.OtherPatientIDs, dataset.PatientComments, dataset.EthnicGroup = "PAT-4711", "Erika", "Lake"
    dataset.OperatorsName, dataset.StationName = "Ärztin^Anna", "Lake 1"
    dataset.RequestAttributesSequence = [pydicom.Dataset()]
    dataset.RequestAttributesSequence[0].RequestedProcedureDescription = "of Erika"
    folder = process(dataset, replace(ALL, secret=SECRET))

    for kind in ("SEG", "SR", "PROB"):
        content = object_path(folder, kind).read_bytes()
        assert not [term for term in TERMS if term.encode() in content]


# ---- requests


@pytest.mark.parametrize(("kinds", "complete"), [(["sr"], ("seg", "sr")), (("prob", "seg"), ("seg", "prob"))])
def test_a_report_requires_its_segments(kinds, complete):
    assert DicomRequest(kinds=kinds, created=CREATED).kinds == complete


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kinds": ()}, "no DICOM object is named; choose from seg, sr, prob"),
        ({"secret": b"0123456789abcde"}, "the secret must be bytes, at least 16"),
        ({"secret": b""}, "the secret must be bytes, at least 16; make one with foveate dicom key FILE"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_at_once(wrong, message):
    with pytest.raises(SettingError, match=message):
        DicomRequest(**{"kinds": ("seg",), "created": CREATED} | wrong)


def test_lesions_of_ones_own_have_the_colours_of_the_overlay(out):
    source = require_source(foveate.read(out.parent / "eye.dcm").origin, "eye.dcm")
    request = PredictRequest(
        name="eye", provenance=Provenance(name="m", version="1", digest="0" * 64), settings={}
    )
    masks = dict.fromkeys(("IRMA", "NV"), np.zeros(FUNDUS.shape[:2], bool))

    made = mask_segmentation(source, request, masks)

    colours = np.float32([[lesion.colour for lesion in lesions.of([*masks])]])
    lab = cv2.cvtColor(colours / 255, cv2.COLOR_RGB2LAB)[0]  # L* to 100, a* and b* from -128 to 127
    levels = (lab + np.array([0, 128, 128])) / [100, 255, 255] * 65535  # PS3.3 C.10.7.1.1
    for segment, level in zip(made.SegmentSequence, levels, strict=True):
        assert segment.RecommendedDisplayCIELabValue == pytest.approx(level, abs=150)  # of 65,535


def test_a_photograph_that_is_no_dicom_object_fails_alone(model, tmp_path):
    tiny_package.photograph(tmp_path / "in" / "plain.png")
    tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "in" / "eye.dcm")
    tiny_dicom.save(tiny_dicom.op(FUNDUS, 1, StudyInstanceUID=...), tmp_path / "in" / "lost.dcm")

    report = model.predict([tmp_path / "in"], tmp_path / "out", objects=ALL)

    rows = {row.name: row for row in report.rows}
    assert rows["eye"].status == "ok"
    assert "plain.png: not a DICOM object, so DICOM results cannot refer to it" in rows["plain"].error
    assert "lost.dcm: has no StudyInstanceUID" in rows["lost"].error
    assert sorted(path.name for path in (tmp_path / "out/dicom").iterdir()) == [
        "eye_PROB.dcm",
        "eye_SEG.dcm",
        "eye_SR.dcm",
    ]


def test_resuming_keeps_objects_and_writes_missing_ones(model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.dcm")
    out = tmp_path / "out"
    model.predict([path], out)
    assert not (out / "dicom").exists()

    model.predict([path], out, objects=ALL, resume=True)
    first = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    model.predict([path], out, objects=replace(ALL, created=datetime(2027, 1, 1)), resume=True)
    second = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    (out / "dicom/eye_SR.dcm").unlink()
    model.predict([path], out, objects=ALL, resume=True)
    completed = {file.name for file in (out / "dicom").iterdir()}
    model.predict([path], out, objects=replace(ALL, secret=SECRET), resume=True)
    deidentified = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    model.predict([path], out, objects=replace(ALL, secret=SECRET, created=datetime(2027, 1, 1)), resume=True)
    again = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    model.predict([path], out, objects=replace(ALL, secret=SECRET[::-1]), resume=True)
    otherwise = {file.name for file in (out / "dicom").iterdir()}
    model.predict([path], out, resume=True)

    assert len(first) == 3
    assert second == first
    assert completed == set(first)
    assert len(deidentified) == 3
    assert not [name for name in deidentified if "eye" in name]
    assert again == deidentified
    assert len(otherwise) == 3
    assert not otherwise & set(deidentified), "those of the other secret are removed"
    assert not list((out / "dicom").iterdir()), "no longer requested"


def test_the_names_of_deidentified_objects_are_their_new_uids(model, tmp_path):
    dataset = tiny_dicom.op(FUNDUS)
    study, uid = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
    tiny_dicom.save(dataset, tmp_path / "pulled" / study / f"{uid}.dcm")
    out = tmp_path / "out"

    model.predict([tmp_path / "pulled"], out, objects=replace(ALL, secret=SECRET))

    names = sorted(path.relative_to(out).as_posix() for path in (out / "dicom").rglob("*.dcm"))
    segmentation = read_object(out, "SEG")
    photograph = (
        segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    )
    stem = f"dicom/{segmentation.StudyInstanceUID}/{photograph}"
    assert names == [f"{stem}_{kind}.dcm" for kind in ("PROB", "SEG", "SR")]
    assert study not in "".join(names)
    content = json.loads((out / f"regions/{study}/{uid}.json").read_bytes())
    assert sorted(content["dicom"]["files"]) == names


def test_a_result_cannot_name_other_files_to_be_removed(model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.dcm")
    out = tmp_path / "out"
    model.predict([path], out, objects=ALL)
    content = json.loads((out / "regions/eye.json").read_bytes())
    kept = ["dicom/other_SEG.dcm", "masks/1.2/1.3_SEG.dcm", "dicom/../1.2_SEG.dcm", "../1.2_SEG.dcm"]
    for file in kept:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).touch()
    content["dicom"]["files"] = [*kept, 7]
    (out / "regions/eye.json").write_text(json.dumps(content))

    writers.clear(out, "eye")

    assert all((out / file).exists() for file in kept)
    assert not list((out / "dicom").glob("eye_*"))


def test_nothing_is_written_for_a_photograph_without_a_series(process):
    dataset = tiny_dicom.op(FUNDUS)
    del dataset.SeriesInstanceUID

    with pytest.raises(PhotographError, match="has no SeriesInstanceUID"):
        process(dataset)


def test_a_header_is_a_readable_dicom_file(tmp_path):
    photograph = foveate.read(tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.dcm"))

    assert pydicom.dcmread(BytesIO(photograph.origin.header)).StudyID == "S1"


def test_tripwire_highdicom_still_fails_on_ophthalmic_photography():
    """When this fails, the copy with the class VL Photographic is no longer needed."""
    source = tiny_dicom.op(FUNDUS)
    mask = np.zeros((1, *FUNDUS.shape[:2]), np.uint8)
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="any",
        segmented_property_category=codes.ABNORMAL,
        segmented_property_type=codes.lesion_concept("HE"),
        algorithm_type="MANUAL",
    )

    with pytest.raises(AttributeError, match="SharedFunctionalGroupsSequence"):
        highdicom.seg.Segmentation(
            source_images=[source],
            pixel_array=mask,
            segmentation_type="BINARY",
            segment_descriptions=[description],
            series_instance_uid="2.25.1",
            series_number=1,
            sop_instance_uid="2.25.2",
            instance_number=1,
            manufacturer="any",
            manufacturer_model_name="any",
            software_versions="1",
            device_serial_number="1",
        )
