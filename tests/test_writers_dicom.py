"""DICOM results say what was found, belong to the photograph's patient and study, and pass a validator."""

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from io import BytesIO

import highdicom
import numpy as np
import pydicom
import pytest
import tiny_dicom
import tiny_package
from PIL import Image
from pydicom.uid import UID, JPEGBaseline8Bit

import foveate
from foveate.errors import PhotographError
from foveate.inference import batch
from foveate.writers import Objects
from foveate.writers.dicom import codes, identity, names
from foveate.writers.results import kinds_of

MADE = datetime(2026, 3, 4, 5, 6, 7)

ALL = Objects(kinds=("seg", "sr", "prob"), made=MADE)

SECRET = b"thirty-two bytes that nobody has"

FUNDUS = tiny_package.fundus()

TERMS = ("Müster", "Erika", "PAT-4711", "Ärztin", "Lake", "ACC-1", "19600102", "20260102", "SN-1")
"""What names the patient, or a visit, in the synthetic objects."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return foveate.load(tiny_package.build(tmp_path_factory.mktemp("model") / "tiny"), threads=1)


@pytest.fixture(scope="module")
def looked(model, tmp_path_factory):
    """Look at an object and return the folder of its results."""

    def look(made, objects=ALL, **options):
        folder = tmp_path_factory.mktemp("looked")
        path = tiny_dicom.save(made, folder / "eye.dcm")
        photograph = foveate.read(path)
        segmentation = model.segment(photograph, **options).segmentation
        batch.save(segmentation, folder / "out", name="eye", objects=objects)
        return folder / "out"

    return look


@pytest.fixture(scope="module")
def out(looked):
    return looked(tiny_dicom.op(FUNDUS))


@pytest.fixture(scope="module")
def hidden(looked):
    return looked(tiny_dicom.op(FUNDUS), replace(ALL, secret=SECRET))


def held(folder, kind):
    return pydicom.dcmread(folder / f"dicom/eye_{kind}.dcm")


def every(content):
    """Yield every element at whatever depth."""
    for element in content:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from every(item)


def valid(path):
    """Whether dciodvfy finds no error in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60, check=False)
    errors = [line for line in told.stderr.splitlines() if "Error" in line]
    assert not errors, errors
    return True


# ---- the objects


@pytest.mark.parametrize("kind", ["SEG", "SR", "PROB"])
@pytest.mark.parametrize("who", ["out", "hidden"])
def test_every_object_passes_the_validator(request, who, kind):
    assert valid(request.getfixturevalue(who) / f"dicom/eye_{kind}.dcm")


@pytest.mark.parametrize("sop", [tiny_dicom.OP8, tiny_dicom.VL, tiny_dicom.SC])
def test_objects_of_every_source_class_pass_and_name_that_class(looked, sop):
    found = looked(tiny_dicom.op(FUNDUS, SOPClassUID=sop))

    for kind in ("SEG", "SR", "PROB"):
        assert valid(found / f"dicom/eye_{kind}.dcm")
        referred = {
            (str(item.ReferencedSOPInstanceUID), str(item.ReferencedSOPClassUID))
            for element in every(held(found, kind))
            if element.VR == "SQ"
            for item in element.value
            if "ReferencedSOPInstanceUID" in item
        }
        assert ("1.2.826.0.1.3680043.8.498.1.0.0", sop) in referred
        assert {cls for uid, cls in referred if uid == "1.2.826.0.1.3680043.8.498.1.0.0"} == {sop}


def test_objects_of_a_photograph_stored_with_loss_pass(looked):
    found = looked(tiny_dicom.encoded(tiny_dicom.op(FUNDUS), JPEGBaseline8Bit))

    for kind in ("SEG", "SR", "PROB"):
        assert valid(found / f"dicom/eye_{kind}.dcm")


@pytest.mark.parametrize("who", ["out", "hidden"])
def test_highdicom_reads_the_masks_back_bit_for_bit(request, who):
    folder = request.getfixturevalue(who)
    segments = highdicom.seg.segread(folder / "dicom/eye_SEG.dcm")

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

    seen, plain = model.segment(photograph), model.segment(foveate.read(tmp_path / "eye.png"))

    for code in ("EX", "MA"):
        assert seen.mask(code).any()
        np.testing.assert_array_equal(seen.mask(code), plain.mask(code))
        np.testing.assert_array_equal(seen.map(code), plain.map(code))


@pytest.mark.parametrize("absent", [("EX",), ("EX", "MA")])
def test_a_lesion_that_is_not_there_has_an_empty_segment(looked, absent):
    folder = looked(tiny_dicom.op(FUNDUS), thresholds=dict.fromkeys(absent, 1.0))

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
        measured = {one.name.value: (one.value, one.unit.value) for one in group.get_measurements()}
        assert measured == {
            codes.NUMBER.value: (lesion["count"], "1"),
            "AREA-PX": (lesion["area_px"], "{pixels}"),
            codes.AREA.value: (pytest.approx(lesion["area_mm2"]), "mm2"),
            "FIELD-SHARE": (pytest.approx(100 * lesion["area_fraction"], abs=1e-5), "%"),
            "THRESHOLD": (lesion["threshold"], "1"),
            "MINIMUM-AREA": (lesion["minimum_area_px"], "{pixels}"),
        }
        pointed = group.referenced_segmentation_frame
        reference = pointed[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == held(out, "SEG").SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
    text = str(report)
    assert "Research software, not a medical device" in str(
        [element.value for element in every(report) if element.keyword == "TextValue"]
    )
    assert "1.0" in text
    assert "99FOVEATE" in text


def test_no_area_in_millimetres_stands_where_no_spacing_does(looked):
    folder = looked(tiny_dicom.op(FUNDUS, PixelSpacing=...))

    groups = highdicom.sr.srread(folder / "dicom/eye_SR.dcm").content.get_planar_roi_measurement_groups()
    units = {one.unit.value for group in groups for one in group.get_measurements()}
    assert units == {"1", "%", "{pixels}"}
    for kind in ("SEG", "SR", "PROB"):
        assert not [
            one for one in every(held(folder, kind)) if "Spacing" in one.keyword or "Thick" in one.keyword
        ]
        assert valid(folder / f"dicom/eye_{kind}.dcm")


def test_everything_belongs_to_the_photographs_patient_and_study(out):
    source = tiny_dicom.op(FUNDUS)

    for kind, modality in (("SEG", "SEG"), ("SR", "SR"), ("PROB", "SEG")):
        made = held(out, kind)
        for keyword in (*identity.PATIENT_AND_STUDY, "StudyInstanceUID", "StudyDescription"):
            assert str(made[keyword].value) == str(source[keyword].value), keyword
        assert made.Modality == modality
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert held(out, "SEG").ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    for segment in held(out, "SEG").SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (segment.SegmentAlgorithmType, algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (
            "AUTOMATIC",
            "Foveate tiny",
            "1.0",
        )
        (modifier,) = segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence
        assert modifier.CodeMeaning == "Right"


def test_a_left_eye_does_not_make_the_next_one_left(looked):
    for side, meaning in (("L", "Left"), ("R", "Right")):
        folder = looked(tiny_dicom.op(FUNDUS, ImageLaterality=side))
        region = held(folder, "SEG").SegmentSequence[0].AnatomicRegionSequence[0]
        assert [item.CodeMeaning for item in region.AnatomicRegionModifierSequence] == [meaning]
    folder = looked(tiny_dicom.op(FUNDUS, ImageLaterality=...))
    assert (
        "AnatomicRegionModifierSequence"
        not in held(folder, "SEG").SegmentSequence[0].AnatomicRegionSequence[0]
    )
    assert "Left" not in str(held(folder, "SR"))


def test_a_frame_is_referred_to_by_its_number(model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(np.stack([FUNDUS, FUNDUS[:, ::-1]])), tmp_path / "pair.dcm")
    model.predict([path], tmp_path / "out", objects=ALL)

    uids = set()
    for frame in (1, 2):
        for kind in ("SEG", "SR", "PROB"):
            file = tmp_path / f"out/dicom/pair_frame-{frame}_{kind}.dcm"
            made = pydicom.dcmread(file)
            uids.add(made.SOPInstanceUID)
            frames = [one.value for one in every(made) if one.keyword == "ReferencedFrameNumber"]
            assert set(map(int, frames)) == {frame}
            assert valid(file)
    assert len(uids) == 6


def test_names_of_another_alphabet_arrive_as_they_were(looked):
    made = tiny_dicom.op(FUNDUS)
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientName = "Müster^Ångström"

    folder = looked(made)

    for kind in ("SEG", "SR", "PROB"):
        assert str(held(folder, kind).PatientName) == "Müster^Ångström"
        assert valid(folder / f"dicom/eye_{kind}.dcm")


def test_type_2_attributes_that_the_source_lacks_are_there_but_empty(looked):
    made = tiny_dicom.op(FUNDUS)
    for keyword in identity.PATIENT_AND_STUDY:
        delattr(made, keyword)

    folder = looked(made)

    for kind in ("SEG", "SR", "PROB"):
        assert not any(held(folder, kind)[keyword].value for keyword in identity.PATIENT_AND_STUDY)
        assert valid(folder / f"dicom/eye_{kind}.dcm")


# ---- names


def test_the_same_work_has_the_same_names_and_bytes(looked, out):
    again = looked(tiny_dicom.op(FUNDUS))

    for kind in ("SEG", "SR", "PROB"):
        name = f"dicom/eye_{kind}.dcm"
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_other_work_has_other_names(looked, out):
    def uids(folder):
        made = {kind: held(folder, kind) for kind in ("SEG", "SR", "PROB")}
        return {str(one.SOPInstanceUID) for one in made.values()} | {
            str(one.SeriesInstanceUID) for one in made.values()
        }

    first = uids(out)
    assert len(first) == 6
    for other in (
        looked(tiny_dicom.op(FUNDUS, 7)),
        looked(tiny_dicom.op(FUNDUS), thresholds={"EX": 0.25}),
    ):
        assert not first & uids(other)
    later = looked(tiny_dicom.op(FUNDUS), replace(ALL, made=datetime(2027, 1, 1)))
    assert uids(later) == first


def test_every_uid_is_one(out, hidden):
    for folder in (out, hidden):
        for kind in ("SEG", "SR", "PROB"):
            found = [one.value for one in every(held(folder, kind)) if one.VR == "UI"]
            assert found
            assert all(UID(uid).is_valid for uid in found)


# ---- without the patient


def test_nothing_that_names_the_patient_is_written(hidden):
    for kind in ("SEG", "SR", "PROB"):
        content = (hidden / f"dicom/eye_{kind}.dcm").read_bytes()
        for term in TERMS:
            assert term.encode() not in content, term
        made = held(hidden, kind)
        texts = [str(one.value) for one in every(made) if one.VR != "SQ" and one.keyword != "PixelData"]
        assert not [text for text in texts if "1.2.826.0.1.3680043.8.498" in text]
        times = {str(one.value) for one in every(made) if one.VR in ("DA", "TM", "DT")}
        assert times <= {"", "19000101", "000000"}
        assert made.PatientIdentityRemoved == "YES"
        assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert made.DeidentificationMethod
        assert made.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_must_be_there_is_there_but_empty(hidden):
    for kind in ("SEG", "SR", "PROB"):
        for keyword in identity.PATIENT_AND_STUDY:
            assert not held(hidden, kind)[keyword].value, keyword


def test_the_terms_that_are_looked_for_are_there_otherwise(out):
    content = b"".join((out / f"dicom/eye_{kind}.dcm").read_bytes() for kind in ("SEG", "SR", "PROB"))

    assert [term for term in TERMS if term.encode() in content] == list(TERMS)


def test_uids_are_replaced_so_that_what_belonged_together_still_does(out, hidden):
    for kind in ("SEG", "SR", "PROB"):
        open_, closed = held(out, kind), held(hidden, kind)
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert closed[keyword].value == names.replaced(str(open_[keyword].value), SECRET)
    evidence = held(hidden, "SR").CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in evidence}
    assert named == {
        str(held(hidden, "SEG").SOPInstanceUID),
        names.replaced("1.2.826.0.1.3680043.8.498.1.0.0", SECRET),
    }
    assert held(hidden, "SEG").file_meta.MediaStorageSOPInstanceUID == held(hidden, "SEG").SOPInstanceUID
    assert names.replaced("1.2.3", SECRET) != names.replaced("1.2.3", SECRET + b"!")
    assert names.replaced("1.2.840.10008.1.2.1", SECRET) == "1.2.840.10008.1.2.1"


# fmt: off
KEPT = [
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
"""Every attribute with a value in what is written without the patient: read it before you change it."""


def test_every_attribute_that_is_kept_is_listed(hidden):
    found = {
        one.keyword
        for kind in ("SEG", "SR", "PROB")
        for one in every(held(hidden, kind))
        if one.keyword not in identity.EMPTIED
    }

    assert sorted(found) == sorted(KEPT)
    assert found - {"DeviceSerialNumber"} <= identity.KEPT
    assert {str(held(hidden, kind).ContentDate) for kind in ("SEG", "SR", "PROB")} == {"19000101"}
    serials = {
        str(one.value)
        for kind in ("SEG", "SR", "PROB")
        for one in every(held(hidden, kind))
        if one.keyword == "DeviceSerialNumber"
    }
    assert serials == {"REMOVED"}


def test_whatever_else_a_source_states_is_removed(looked):
    made = tiny_dicom.op(FUNDUS)
    made.private_block(0x0011, "CAMERA", create=True).add_new(1, "LO", "Erika")
    made.OtherPatientIDs, made.PatientComments, made.EthnicGroup = "PAT-4711", "Erika", "Lake"
    made.OperatorsName, made.StationName = "Ärztin^Anna", "Lake 1"
    made.RequestAttributesSequence = [pydicom.Dataset()]
    made.RequestAttributesSequence[0].RequestedProcedureDescription = "of Erika"
    folder = looked(made, replace(ALL, secret=SECRET))

    for kind in ("SEG", "SR", "PROB"):
        content = (folder / f"dicom/eye_{kind}.dcm").read_bytes()
        assert not [term for term in TERMS if term.encode() in content]


# ---- what is asked for


def test_a_report_brings_its_segments():
    assert kinds_of(["sr"]) == ("seg", "sr")
    assert kinds_of(["prob", "seg"]) == ("seg", "prob")


def test_a_photograph_that_is_no_dicom_fails_alone_and_before_it_is_looked_at(model, tmp_path):
    tiny_package.photograph(tmp_path / "in" / "plain.png")
    tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "in" / "eye.dcm")
    tiny_dicom.save(tiny_dicom.op(FUNDUS, 1, StudyInstanceUID=...), tmp_path / "in" / "lost.dcm")

    report = model.predict([tmp_path / "in"], tmp_path / "out", objects=ALL)

    rows = {row.name: row for row in report.rows}
    assert rows["eye"].status == "ok"
    assert "plain.png: is no DICOM object, so that none can refer to it" in rows["plain"].error
    assert "lost.dcm: states no StudyInstanceUID" in rows["lost"].error
    assert sorted(path.name for path in (tmp_path / "out/dicom").iterdir()) == [
        "eye_PROB.dcm",
        "eye_SEG.dcm",
        "eye_SR.dcm",
    ]


def test_resume_keeps_objects_and_makes_those_that_are_missing(model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.dcm")
    out = tmp_path / "out"
    model.predict([path], out)
    assert not (out / "dicom").exists()

    model.predict([path], out, objects=ALL, resume=True)
    first = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    model.predict([path], out, objects=replace(ALL, made=datetime(2027, 1, 1)), resume=True)
    kept = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    (out / "dicom/eye_SR.dcm").unlink()
    model.predict([path], out, objects=ALL, resume=True)
    mended = {file.name for file in (out / "dicom").iterdir()}
    model.predict([path], out, objects=replace(ALL, secret=SECRET), resume=True)
    other = {file.name: file.read_bytes() for file in (out / "dicom").iterdir()}
    model.predict([path], out, resume=True)

    assert len(first) == 3
    assert kept == first
    assert mended == set(first)
    assert all(other[name] != first[name] for name in first)
    assert not list((out / "dicom").iterdir()), "not asked for any more"


def test_nothing_is_written_for_a_photograph_without_a_study(looked):
    made = tiny_dicom.op(FUNDUS)
    del made.SeriesInstanceUID

    with pytest.raises(PhotographError, match="states no SeriesInstanceUID"):
        looked(made)


def test_a_header_is_read_by_others(tmp_path):
    photograph = foveate.read(tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.dcm"))

    assert pydicom.dcmread(BytesIO(photograph.origin.header)).StudyID == "S1"


def test_tripwire_highdicom_still_fails_on_ophthalmic_photography():
    """When this fails, the copy that passes for VL Photographic can go."""
    source = tiny_dicom.op(FUNDUS)
    mask = np.zeros((1, *FUNDUS.shape[:2]), np.uint8)
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="any",
        segmented_property_category=codes.ABNORMAL,
        segmented_property_type=codes.of_lesion("HE"),
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
