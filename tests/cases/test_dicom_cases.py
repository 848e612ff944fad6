"""DICOM objects as cameras and archives hold them: read, corrected or refused by name, one by one.

A new bug report becomes one row. Each row of HEADERS is a header that violates the standard, or is rare, and
the values that the results must hold; each row of REFUSED is one that results cannot refer to.
"""

import datetime
import errno
import io
import json
import struct
import warnings
import zipfile
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import tiny_archive
import tiny_dicom
import tiny_package
from PIL import Image
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.pixels import convert_color_space
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian

import foveate
from foveate import atomic_files, photographs
from foveate.dicom import transfer, watch
from foveate.dicom.connection import Archive, ArchiveObject, Credentials
from foveate.errors import ArchiveObjectError, OutputError, PhotographError
from foveate.inference import photograph_job
from foveate.writers import DicomRequest
from foveate.writers import dicom as dicom_writer

FUNDUS = tiny_package.fundus()

OBJECTS = DicomRequest(kinds=("seg", "sr", "prob"), created=datetime.datetime(2026, 1, 2))

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"

KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"

CHINESE = "Wang^XiaoDong=王^小东"


def with_values(dataset, values):
    """Return an object's file with raw values in its header, which pydicom itself would not write.

    Args:
        dataset: uncompressed, in explicit VR little endian.
        values: keyword of an attribute that the object has -> bytes.
    """
    file = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    content = file.getvalue()
    for keyword, value in values.items():
        tag, representation = Tag(tag_for_keyword(keyword)), dictionary_VR(keyword)
        start = content.index(struct.pack("<HH2s", tag.group, tag.element, representation.encode()), 132)
        (length,) = struct.unpack_from("<H", content, start + 6)
        padded = value + (b"\0" if representation == "UI" else b" ") * (len(value) % 2)
        content = (
            content[: start + 6] + struct.pack("<H", len(padded)) + padded + content[start + 8 + length :]
        )
    return content


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return foveate.load(tiny_package.build(tmp_path_factory.mktemp("model") / "tiny"), threads=1)


@pytest.fixture(scope="module")
def segmentation(model, tmp_path_factory):
    path = tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path_factory.mktemp("good") / "eye.dcm")
    return model.segment(foveate.read(path)).segmentation


@pytest.fixture
def process(segmentation, tmp_path):
    """Return a function that writes results of an object with the same pixels, and returns their folder."""

    def write(content):
        (tmp_path / "eye.dcm").write_bytes(content)
        photograph = foveate.read(tmp_path / "eye.dcm")
        np.testing.assert_array_equal(photograph.pixels, FUNDUS)
        photograph_job.save(
            replace(segmentation, photograph=photograph), tmp_path / "out", name="eye", objects=OBJECTS
        )
        return tmp_path / "out"

    return write


HEADERS = {
    # ---- character sets
    "no character set": (
        {"SpecificCharacterSet": b"", "PatientName": b"Muller^A"},
        {"PatientName": "Muller^A"},
    ),
    "Japanese with extensions": (
        {"SpecificCharacterSet": b"\\ISO 2022 IR 87", "PatientName": JAPANESE.encode("iso2022_jp")},
        {"PatientName": JAPANESE, "SpecificCharacterSet": "ISO_IR 192"},
    ),
    "Korean with extensions": (
        {
            "SpecificCharacterSet": b"\\ISO 2022 IR 149",
            "PatientName": (
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
                b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
            ),
        },
        {"PatientName": KOREAN, "SpecificCharacterSet": "ISO_IR 192"},
    ),
    "Chinese with extensions": (
        {
            "SpecificCharacterSet": b"\\ISO 2022 IR 58",
            "PatientName": b"Wang^XiaoDong=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab",
        },
        {"PatientName": CHINESE, "SpecificCharacterSet": "ISO_IR 192"},
    ),
    "Chinese": (
        {"SpecificCharacterSet": b"GB18030", "PatientName": CHINESE.encode("gb18030")},
        {"PatientName": CHINESE, "SpecificCharacterSet": "GB18030"},
    ),
    "Japanese with two extensions": (
        {
            "SpecificCharacterSet": b"ISO 2022 IR 13\\ISO 2022 IR 87",
            "PatientName": b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3",
        },
        {"PatientName": "ﾔﾏﾀﾞ^ﾀﾛｳ", "SpecificCharacterSet": "ISO_IR 192"},
    ),
    **{
        f"misspelt {name.decode()}": (
            {"SpecificCharacterSet": name, "PatientName": "Müller^A".encode(codec)},
            {"PatientName": "Müller^A", "SpecificCharacterSet": "ISO_IR 192"},
        )
        for name, codec in (
            (b"ISO-IR 100", "latin1"),
            (b"ISO IR 100", "latin1"),
            (b"ISO_IR_100", "latin1"),
            (b"LATIN1", "latin1"),
            (b"unknown", "latin1"),
            (b"UTF-8", "utf8"),
            (b"utf8", "utf8"),
            (b"ISO-IR 192", "utf8"),
            (b"ISO_IR 192\\ISO 2022 IR 87", "utf8"),
        )
    },
    "no UTF-8": ({"PatientName": b"M\xfcller^A"}, {"PatientName": "M�ller^A"}),
    # ---- dates and times
    **{
        f"birth date {text!r}": ({"PatientBirthDate": text.encode()}, {"PatientBirthDate": date})
        for text, date in (
            ("1960", ""),
            ("196001", ""),
            ("19600000", ""),
            ("19601301", ""),
            ("19600230", ""),
            ("00000000", ""),
            ("unknown", ""),
            ("1960-01-02", "19600102"),
            ("1960.01.02", "19600102"),
            ("99991231", "99991231"),
            ("19600102", "19600102"),
            ("", ""),
        )
    },
    **{
        f"study date {text!r}": ({"StudyDate": text.encode()}, {"StudyDate": date})
        for text, date in (
            ("20261305", ""),
            ("2026", ""),
            ("20260230", ""),
            ("20260102-20260103", ""),
            ("20260102\\20260103", ""),
            ("2026/01/02", "20260102"),
            ("", ""),
        )
    },
    **{
        f"study time {text!r}": ({"StudyTime": text.encode()}, {"StudyTime": time})
        for text, time in (
            ("10:10:10", "101010"),
            ("10:10", "1010"),
            ("10", "10"),
            ("1010", "1010"),
            ("101010.123456", "101010.123456"),
            ("101010.1234567", "101010.123456"),
            ("10:10:10,5", "101010.5"),
            ("101060", ""),
            ("256060", ""),
            ("24", ""),
            ("1", ""),
            ("badtime", ""),
            ("", ""),
        )
    },
    # ---- the patient
    **{
        f"sex {text!r}": ({"PatientSex": text.encode()}, {"PatientSex": sex})
        for text, sex in (
            ("X", ""),
            ("U", ""),
            ("W", ""),
            ("f", "F"),
            ("female", "F"),
            ("MALE", "M"),
            ("O", "O"),
            ("", ""),
        )
    },
    "long name": ({"PatientName": b"a" * 200}, {"PatientName": "a" * 200}),
    "name of six components": ({"PatientName": b"a^b^c^d^e^f"}, {"PatientName": "a^b^c^d^e^f"}),
    "long identifier": ({"PatientID": b"x" * 100}, {"PatientID": "x" * 100}),
    "long accession number": ({"AccessionNumber": b"1" * 40}, {"AccessionNumber": "1" * 40}),
    # ---- numbers and UIDs
    "instance number": ({"InstanceNumber": b"x"}, {"InstanceNumber": 1}),
    "series number": ({"SeriesNumber": b"abc"}, {}),
    "spacing": ({"PixelSpacing": b"a\\b"}, {}),
    "field of view of two bytes": ({"HorizontalFieldOfView": b"ab"}, {}),
    "frame time": ({"FrameTime": b"zz"}, {}),
    "laterality": ({"ImageLaterality": b"OD"}, {}),
    "study UID with a leading zero": (
        {"StudyInstanceUID": b"1.2.826.0.1.03.4"},
        {"StudyInstanceUID": "1.2.826.0.1.03.4"},
    ),
    "source UID with a leading zero": ({"SOPInstanceUID": b"1.2.826.0.1.03.4"}, {}),
    "frame of reference": ({"SynchronizationFrameOfReferenceUID": b"none"}, {}),
}


@pytest.mark.parametrize(("values", "expected"), HEADERS.values(), ids=HEADERS)
def test_results_of_a_rare_header_are_written_and_hold_the_right_values(process, values, expected):
    out = process(with_values(tiny_dicom.op(FUNDUS), values))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what the header held
        segments = highdicom.seg.segread(out / "dicom/eye_SEG.dcm")
        report = highdicom.sr.srread(out / "dicom/eye_SR.dcm")
        datasets = [segments, report, pydicom.dcmread(out / "dicom/eye_PROB.dcm")]
        for dataset in datasets:
            for keyword, value in expected.items():
                assert str(dataset.get(keyword) or "") == str(value), keyword
    for number, code in enumerate(("EX", "MA")):
        mask = np.asarray(Image.open(out / f"masks/eye_{code}.png")) == 255
        assert mask.any()
        np.testing.assert_array_equal(segments.pixel_array[number] == 1, mask)
    assert len(report.content.get_planar_roi_measurement_groups()) == 2


def test_corrected_attributes_are_logged_by_name_without_their_values(process, caplog):
    process(with_values(tiny_dicom.op(FUNDUS), {"PatientBirthDate": b"1960", "StudyTime": b"10:10:10"}))

    (message,) = [record.getMessage() for record in caplog.records]
    assert message.endswith("eye.dcm: corrected for the DICOM results: StudyTime, PatientBirthDate")


def test_no_attribute_of_an_ordinary_header_is_corrected(process, caplog):
    process(with_values(tiny_dicom.op(FUNDUS), {}))

    assert not caplog.records


REFUSED = {
    **{
        f"{keyword} {uid!r}": ({keyword: uid}, f"its {keyword} is not a valid UID")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        for uid in (b"nonsense", b"1.2..3", b"1." + b"1" * 64, b"../up")
    },
    "no study": ({"StudyInstanceUID": b""}, "has no StudyInstanceUID"),
    "no series": ({"SeriesInstanceUID": b""}, "has no SeriesInstanceUID"),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_a_photograph_without_valid_uids_is_refused_alone(model, tmp_path, values, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.dcm").write_bytes(with_values(tiny_dicom.op(FUNDUS), values))
    tiny_dicom.save(tiny_dicom.op(FUNDUS, 1), tmp_path / "in" / "good.dcm")

    report = model.predict([tmp_path / "in"], tmp_path / "out", objects=OBJECTS)

    errors = {row.name: row.error for row in report.rows}
    assert errors["good"] == ""
    assert f"bad.dcm: {message}" in errors["bad"]
    assert errors["bad"].count("\n") == 0
    without_objects = model.predict([tmp_path / "in"], tmp_path / "plain")
    assert not without_objects.failures


def test_a_header_that_a_library_refuses_fails_one_photograph(model, tmp_path, monkeypatch):
    for number, name in enumerate(("bad", "good")):
        tiny_dicom.save(tiny_dicom.op(FUNDUS, number), tmp_path / "in" / f"{name}.dcm")
    real = dicom_writer.segmentation.mask_segmentation

    def refuse(source, request, masks):
        if request.name == "bad":
            raise ValueError("'X'\nis not valid")
        return real(source, request, masks)

    monkeypatch.setattr(dicom_writer.segmentation, "mask_segmentation", refuse)

    report = model.predict([tmp_path / "in"], tmp_path / "out", objects=OBJECTS)

    errors = {row.name: row.error for row in report.rows}
    assert errors["good"] == ""
    assert "bad.dcm: its header cannot be copied to DICOM results ('X' is not valid)" in errors["bad"]


# ---- an archive of such objects

needs_orthanc = pytest.mark.skipif(
    not tiny_archive.installed(), reason="needs Debian's packages orthanc and orthanc-dicomweb"
)

IN_ARCHIVE = {
    **{name: HEADERS[name][0] for name in [*HEADERS][::5] if "UID" not in name},
    "study nonsense": {"StudyInstanceUID": b"nonsense"},
    "source nonsense": {"SOPInstanceUID": b"rubbish"},
    "angiogram": {"ImageType": b"ORIGINAL\\PRIMARY\\\\FA"},
}


@needs_orthanc
def test_a_watcher_processes_an_archive_of_rare_headers_and_sets_aside_what_it_cannot(model, tmp_path):
    with tiny_archive.Orthanc(tmp_path / "orthanc") as orthanc:
        for number, values in enumerate(IN_ARCHIVE.values()):
            dataset = tiny_dicom.op(FUNDUS, number, study=number)
            orthanc.put(with_values(dataset, values))
        archive = Archive(orthanc.url, Credentials(user=tiny_archive.USER, password=tiny_archive.PASSWORD))
        task = watch.WatchTask(archive=archive, model=model, out=tmp_path / "watch", objects=OBJECTS)

        events = []
        count = watch.process_new(task, events.append)
        again = watch.process_new(task, events.append)
        objects = orthanc.count()

    failed = [event.text for event in events if event.failed]
    assert count == len(IN_ARCHIVE) - 3, failed
    assert again == 0
    assert objects == len(IN_ARCHIVE) + 3 * count
    set_aside = json.loads((tmp_path / "watch" / watch.SET_ASIDE).read_text())
    assert len(set_aside) == len(failed) == 3
    assert sum("is not a valid UID" in error for error in set_aside.values()) == 2
    assert sum("angiogram" in error for error in set_aside.values()) == 1


class DamagedArchive(Archive):
    """An archive of three photographs, of which it cannot send the first."""

    def __init__(self):
        super().__init__("http://127.0.0.1:1/dicom-web")
        self.stored = []
        self.uids = ["1.2.1", "1.2.2", "1.2.3"]

    def studies(self, *, date=None):
        return ("1.2",)

    def photographs(self, study):
        return tuple(
            ArchiveObject(study=study, series="1.2.9", uid=uid, sop_class=tiny_dicom.OP8, frames=1)
            for uid in self.uids
        )

    def results(self, study):
        return frozenset(self.stored)

    def fetch(self, item):
        if item.uid == "1.2.1":
            raise ArchiveObjectError("does not send 1.2.1")
        return with_values(tiny_dicom.op(FUNDUS, SOPInstanceUID=item.uid, StudyInstanceUID="1.2"), {})

    def store(self, content):
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        if dataset.Modality == "SR" and "1.2.2" in str(dataset):
            raise ArchiveObjectError("did not store the report of 1.2.2")
        self.stored.append(str(dataset.SOPInstanceUID))


def test_an_object_that_an_archive_does_not_send_or_accept_is_set_aside_and_the_others_are_processed(
    model, tmp_path
):
    task = watch.WatchTask(archive=DamagedArchive(), model=model, out=tmp_path, objects=OBJECTS)

    assert watch.process_new(task) == 1
    assert watch.process_new(task) == 0

    set_aside = json.loads((tmp_path / watch.SET_ASIDE).read_text())
    assert set_aside == {"1.2.1": "does not send 1.2.1", "1.2.2": "did not store the report of 1.2.2"}
    assert len(task.archive.stored) == 2 + 3


class ArchiveOfFalseFrames(DamagedArchive):
    """The same archive, which states far too many frames of one photograph."""

    def photographs(self, study):
        *others, last = super().photographs(study)
        return (*others, replace(last, frames=photographs.MAX_FRAMES + 1))


def test_a_photograph_with_a_false_number_of_frames_is_set_aside(model, tmp_path):
    task = watch.WatchTask(archive=ArchiveOfFalseFrames(), model=model, out=tmp_path, objects=OBJECTS)

    assert (watch.process_new(task), watch.process_new(task)) == (0, 0)

    assert json.loads((tmp_path / watch.SET_ASIDE).read_text())["1.2.3"] == (
        "1.2.3 has 10,001 frames by the archive, more than the limit of 10,000; ask its administrator"
    )


def test_a_watcher_leaves_photographs_that_were_pulled_into_its_folder(model, tmp_path):
    archive = DamagedArchive()
    transfer.pull(archive, tmp_path, ["1.2"])
    (tmp_path / "1.2.3").mkdir()
    (tmp_path / "1.2.3" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    task = watch.WatchTask(archive=archive, model=model, out=tmp_path, objects=OBJECTS)
    assert watch.process_new(task) == 1  # and the report of 1.2.2 is refused

    assert {path: path.read_bytes() for path in before if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"1.2", "1.2.3", watch.SET_ASIDE}


def test_a_pull_fetches_the_others_and_names_the_object_that_is_not_sent(tmp_path):
    counts = transfer.pull(DamagedArchive(), tmp_path, ["1.2"])

    assert counts == transfer.TransferCounts(transferred=2, existing=0, refused=("does not send 1.2.1",))
    assert sorted(path.name for path in tmp_path.rglob("*.dcm")) == ["1.2.2.dcm", "1.2.3.dcm"]


class ArchiveOfAnInvalidStudy(DamagedArchive):
    """The same archive, with a study whose UID would lead to another address."""

    def studies(self, *, date=None):
        return ("../up", "1.2")

    def photographs(self, study):
        return super().photographs(study) if study == "1.2" else Archive.photographs(self, study)


def test_a_study_that_cannot_be_addressed_is_named_and_the_others_are_pulled(tmp_path):
    archive = ArchiveOfAnInvalidStudy()

    counts = transfer.pull(archive, tmp_path, archive.studies())

    assert counts.transferred == 2
    assert counts.refused == (
        "http://127.0.0.1:1/dicom-web: holds '../up', which is not a valid UID; ask its administrator",
        "does not send 1.2.1",
    )


def test_a_study_that_cannot_be_addressed_is_set_aside_and_the_others_are_processed(model, tmp_path):
    task = watch.WatchTask(archive=ArchiveOfAnInvalidStudy(), model=model, out=tmp_path, objects=OBJECTS)

    assert (watch.process_new(task), watch.process_new(task)) == (1, 0)

    assert set(json.loads((tmp_path / watch.SET_ASIDE).read_text())) == {"../up", "1.2.1", "1.2.2"}


class ArchiveOfOneInvalidUid(DamagedArchive):
    """Two studies, with a photograph each; both photographs have the same invalid UID."""

    def __init__(self):
        super().__init__()
        self.uids = ["unknown"]

    def studies(self, *, date=None):
        return ("1.2", "1.3")


def test_each_photograph_with_the_same_invalid_uid_is_set_aside(model, tmp_path):
    task = watch.WatchTask(archive=ArchiveOfOneInvalidUid(), model=model, out=tmp_path, objects=OBJECTS)

    assert (watch.process_new(task), watch.process_new(task)) == (0, 0)

    assert set(json.loads((tmp_path / watch.SET_ASIDE).read_text())) == {"1.2 unknown", "1.3 unknown"}


@pytest.mark.parametrize(("number", "is_disk_full"), [(errno.ENAMETOOLONG, False), (errno.ENOSPC, True)])
def test_a_watcher_ends_for_a_full_disk_but_not_for_one_photograph(
    model, tmp_path, monkeypatch, number, is_disk_full
):
    task = watch.WatchTask(archive=DamagedArchive(), model=model, out=tmp_path, objects=OBJECTS)
    save = photograph_job.save

    def refuse(segmentation, out, *, name, objects):
        if name == "1.2.2":
            error = OSError(number, "refused")
            raise atomic_files.output_error(out, error) from error
        return save(segmentation, out, name=name, objects=objects)

    monkeypatch.setattr(photograph_job, "save", refuse)

    if is_disk_full:
        with pytest.raises(OutputError, match="no space is left"):
            watch.process_new(task)
    else:
        assert watch.process_new(task) == 1


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_pushed(tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "a_SEG.dcm").write_bytes(b"x" * 500)
    dataset = tiny_dicom.op(FUNDUS, SOPInstanceUID="1.2.77", StudyInstanceUID="1.2", Modality="SEG")
    tiny_dicom.save(dataset, tmp_path / "dicom" / "b_SEG.dcm")
    archive = DamagedArchive()

    counts = transfer.push(archive, tmp_path)

    assert archive.stored == ["1.2.77"]
    assert [line.partition(": ")[2].partition(" (")[0] for line in counts.refused] == ["cannot be read"]


# ---- pixels


def as_422(dataset, pixels, *, padded):
    """Put pixels into an object as uncompressed YBR_FULL_422, where two neighbours share their colours.

    Args:
        dataset: the object.
        pixels: uint8, H W 3.
        padded: end each row of odd width with a copy of its last pixel.
    """
    levels = convert_color_space(pixels, "RGB", "YBR_FULL")
    if padded:
        levels = np.concatenate([levels, levels[:, -1:]], axis=1)
    pairs = levels.reshape(-1, 2, 3)
    stream = np.concatenate([pairs[:, :, 0], pairs[:, :1, 1], pairs[:, :1, 2]], axis=1)
    tiny_dicom.put(dataset, pixels)
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = stream.tobytes()
    return dataset


@pytest.mark.parametrize("columns", [300, 301])
@pytest.mark.parametrize("frames", [1, 2])
def test_ybr_422_is_read_at_even_and_at_odd_width(tmp_path, columns, frames):
    pairs = np.random.default_rng(0).integers(0, 256, (260, (columns + 1) // 2, 3), np.uint8)
    pixels = np.ascontiguousarray(np.repeat(pairs, 2, axis=1)[:, :columns])  # pairs of equal colour
    dataset = as_422(tiny_dicom.op(pixels), pixels, padded=columns % 2 == 1)
    dataset.NumberOfFrames = frames
    dataset.PixelData = dataset.PixelData * frames
    path = tiny_dicom.save(dataset, tmp_path / "eye.dcm")

    for frame in range(frames):
        photograph = foveate.read(path, frame=frame + 1 if frames > 1 else None)
        assert photograph.pixels.shape == pixels.shape
        assert np.abs(photograph.pixels.astype(int) - pixels).max() <= 2  # YCbCr is rounded


PALETTE = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=-1)


def with_palette(indices, *, entry_bits, word_bytes, scale=1, order="<"):
    """Return an object with a palette.

    Args:
        indices: uint8 or uint16, H W.
        entry_bits: bits of an entry that the descriptor states.
        word_bytes: bytes in which an entry is stored.
        scale: factor of the levels of PALETTE.
        order: byte order of the words.
    """
    dataset = tiny_dicom.as_palette(tiny_dicom.op(FUNDUS), indices, PALETTE)
    for number, colour in enumerate(("Red", "Green", "Blue")):
        levels = (PALETTE[:, number] * scale).astype(f"{order}u{word_bytes}")
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, entry_bits])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", levels.tobytes())
    return dataset


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("entry_bits", "word_bytes", "scale"), [(8, 1, 1), (8, 2, 1), (16, 2, 1), (16, 2, 257), (8, 2, 257)]
)
def test_a_palette_of_8_or_16_bits_is_read_in_bytes_and_in_words(
    tmp_path, depth, entry_bits, word_bytes, scale
):
    indices = np.random.default_rng(0).integers(0, 256, (260, 280)).astype(depth)
    dataset = with_palette(indices, entry_bits=entry_bits, word_bytes=word_bytes, scale=scale)

    photograph = foveate.read(tiny_dicom.save(dataset, tmp_path / "eye.dcm"))

    np.testing.assert_array_equal(photograph.pixels, PALETTE[indices])


def test_a_palette_in_big_endian_words_is_read(tmp_path):
    indices = np.random.default_rng(0).integers(0, 256, (260, 280)).astype(np.uint8)
    dataset = with_palette(indices, entry_bits=16, word_bytes=2, scale=257, order=">")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian

    photograph = foveate.read(tiny_dicom.save(dataset, tmp_path / "eye.dcm"))

    np.testing.assert_array_equal(photograph.pixels, PALETTE[indices])


def test_a_palette_that_is_too_short_is_refused_by_name(tmp_path):
    dataset = with_palette(np.zeros((260, 280), np.uint8), entry_bits=8, word_bytes=1)
    dataset.GreenPaletteColorLookupTableData = b"\0" * 100

    with pytest.raises(PhotographError, match=r"eye\.dcm: its palette is too short"):
        foveate.read(tiny_dicom.save(dataset, tmp_path / "eye.dcm"))


# ---- pixel spacing in the server


def test_the_server_shows_an_objects_pixel_spacing_everywhere_and_keeps_it(tmp_path):
    pytest.importorskip("fastapi")
    import tiny_server

    package = tiny_package.build(tmp_path / "tiny")
    path = tiny_dicom.save(tiny_dicom.op(FUNDUS, PixelSpacing=[0.006, 0.006]), tmp_path / "eye.dcm")
    with tiny_server.running(tmp_path / "data", package) as client:
        photograph = tiny_server.done(client, path.read_bytes(), name="eye.dcm")
        url = f"/api/photographs/{photograph['id']}"

        def require_spacing(spacing):
            shown = client.get(url).json()
            assert shown["spacing_mm"] == spacing
            area = shown["result"]["lesions"]["EX"]
            expected = spacing and pytest.approx(area["area_px"] * spacing**2)
            assert area["area_mm2"] == expected
            report = client.get(f"{url}/report").text
            assert ("0.006 mm per pixel" in report) == (spacing == 0.006)
            with zipfile.ZipFile(io.BytesIO(client.get(f"{url}/download").content)) as archive:
                (content,) = [json.loads(archive.read(name)) for name in archive.namelist() if "json" in name]
            assert content["photograph"]["spacing_mm"] == spacing
            assert content["lesions"]["EX"]["area_mm2"] == expected

        require_spacing(0.006)
        client.patch(url, json={"thresholds": {"EX": 0.31}})
        require_spacing(0.006)
        client.patch(url, json={"spacing_mm": None, "thresholds": None})
        require_spacing(None)


def test_a_photograph_that_does_not_fit_the_memory_is_set_aside_with_that_reason(
    model, tmp_path, monkeypatch
):
    def fail(*arguments):
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(watch, "segment", fail)
    task = watch.WatchTask(archive=DamagedArchive(), model=model, out=tmp_path, objects=OBJECTS)

    for _ in range(watch.QUERIES):
        assert watch.process_new(task) == 0

    assert json.loads((tmp_path / watch.SET_ASIDE).read_text())["1.2.3"].startswith(
        "not enough memory to process"
    )
