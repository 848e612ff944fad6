"""With a real archive: photographs are pulled, results are stored once, and no outage loses anything."""

import errno
import io
import json
import os
import sys
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import highdicom
import numpy as np
import pydicom
import pytest
import tiny_archive
import tiny_dicom
import tiny_package
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

import foveate
from foveate import atomic_files
from foveate.dicom import transfer, watch
from foveate.dicom.connection import Archive, Credentials
from foveate.errors import ArchiveAwayError, ArchiveError, ArchiveObjectError, OutputError
from foveate.photographs import read
from foveate.writers import DicomRequest

needs_orthanc = pytest.mark.skipif(
    not tiny_archive.installed(), reason="needs Debian's packages orthanc and orthanc-dicomweb"
)

CREDENTIALS = Credentials(user=tiny_archive.USER, password=tiny_archive.PASSWORD)

OBJECTS = DicomRequest(kinds=("seg", "sr"), created=datetime(2026, 1, 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return foveate.load(tiny_package.build(tmp_path_factory.mktemp("model") / "tiny"), threads=1)


@pytest.fixture
def orthanc(tmp_path):
    with tiny_archive.Orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture
def archive(orthanc):
    return Archive(orthanc.url, CREDENTIALS)


def encode(dataset):
    content = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(content, dataset, enforce_file_format=True)
    return content.getvalue()


def put(orthanc, number, *, study=0, syntax=None, **changes):
    """Put a photograph into an archive, as a camera does; return its pixels and its UID."""
    pixels = tiny_package.fundus(seed=number)
    dataset = tiny_dicom.op(pixels, number, study=study, **changes)
    orthanc.put(encode(dataset if syntax is None else tiny_dicom.encoded(dataset, syntax)))
    return pixels, str(dataset.SOPInstanceUID)


def watch_task(archive, model, out, **changes):
    return watch.WatchTask(archive=archive, model=model, out=out, objects=OBJECTS, **changes)


# ---- pull photographs, push results


@needs_orthanc
def test_photographs_are_pulled_processed_and_pushed_once(orthanc, archive, model, tmp_path):
    syntaxes = (None, JPEGLSLossless, JPEG2000Lossless)
    expected = dict(
        reversed(put(orthanc, number, study=number // 2, syntax=syntax))
        for number, syntax in enumerate(syntaxes)
    )
    put(orthanc, 9, study=1, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.5.4", Modality="OPT")
    put(orthanc, 10, study=2, StudyDate="20250101")
    photographs, out = tmp_path / "photographs", tmp_path / "out"

    studies = archive.studies(date="20260101-20261231")
    assert transfer.pull(archive, photographs, studies) == transfer.TransferCounts(transferred=3, existing=0)
    for path in photographs.rglob("*.dcm"):
        np.testing.assert_array_equal(read(path).pixels, expected[path.stem])
    assert transfer.pull(archive, photographs, studies) == transfer.TransferCounts(transferred=0, existing=3)

    assert not model.predict([photographs], out, objects=OBJECTS).failures
    count = orthanc.count()
    assert transfer.push(archive, out) == transfer.TransferCounts(transferred=6, existing=0)
    assert orthanc.count() == count + 6
    assert transfer.push(archive, out) == transfer.TransferCounts(transferred=0, existing=6)
    assert orthanc.count() == count + 6

    stored = {str(pydicom.dcmread(path).SOPInstanceUID) for path in out.rglob("dicom/**/*.dcm")}
    assert set().union(*(archive.results(study) for study in studies)) == stored
    for result in archive.objects(studies[0], frozenset({"SEG"})):
        segments = highdicom.seg.segread(pydicom.filebase.DicomBytesIO(archive.fetch(result)))
        source = segments.SourceImageSequence[0].ReferencedSOPInstanceUID
        name = f"{segments.StudyInstanceUID}/{source}_SEG.dcm"
        written = highdicom.seg.segread(out / "dicom" / name)
        np.testing.assert_array_equal(segments.pixel_array, written.pixel_array)


@needs_orthanc
def test_a_photograph_padded_with_zeros_is_pulled(orthanc, archive, tmp_path):
    pixels = tiny_package.fundus()
    orthanc.put(encode(tiny_dicom.op(pixels)) + bytes(512))

    assert transfer.pull(archive, tmp_path, archive.studies()).transferred == 1

    (path,) = tmp_path.rglob("1.2*.dcm")
    np.testing.assert_array_equal(read(path).pixels, pixels)


@needs_orthanc
def test_a_second_computer_with_the_same_results_stores_nothing(orthanc, archive, model, tmp_path):
    put(orthanc, 0)
    for computer in ("first", "second"):
        transfer.pull(archive, tmp_path / computer / "in", archive.studies())
        model.predict(
            [tmp_path / computer / "in"],
            tmp_path / computer / "out",
            objects=DicomRequest(kinds=("seg", "sr"), created=datetime(2026, 1, 1 + len(computer))),
        )

    assert transfer.push(archive, tmp_path / "first" / "out").transferred == 2
    assert transfer.push(archive, tmp_path / "second" / "out") == transfer.TransferCounts(
        transferred=0, existing=2
    )


@needs_orthanc
def test_a_wrong_password_is_an_error_of_one_line_and_nothing_is_stored(orthanc, model, tmp_path):
    put(orthanc, 0)
    path = tiny_dicom.save(tiny_dicom.op(tiny_package.fundus()), tmp_path / "eye.dcm")
    model.predict([path], tmp_path / "out", objects=OBJECTS)
    stranger = Archive(orthanc.url, Credentials(user=tiny_archive.USER, password="sea"))

    for action in (
        lambda: transfer.push(stranger, tmp_path / "out"),
        lambda: transfer.pull(stranger, tmp_path / "in", ["1.2.3"]),
        lambda: watch.process_new(watch_task(stranger, model, tmp_path / "watch")),
        lambda: watch.watch(watch_task(stranger, model, tmp_path / "watch"), 0.01, lambda: False),
    ):
        with pytest.raises(ArchiveError, match=r"^http://.*: refuses this user or password; check --user"):
            action()
    assert orthanc.count() == 1
    assert not list((tmp_path / "in").rglob("*.dcm"))


@needs_orthanc
def test_a_stopped_archive_is_an_error_of_one_line(orthanc, archive, model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(tiny_package.fundus()), tmp_path / "eye.dcm")
    model.predict([path], tmp_path / "out", objects=OBJECTS)
    orthanc.kill()

    for action in (
        lambda: transfer.push(archive, tmp_path / "out"),
        lambda: transfer.pull(archive, tmp_path / "in", ["1.2.3"]),
        archive.studies,
    ):
        with pytest.raises(ArchiveAwayError, match=r"^http://.*: does not answer \(connection refused\)"):
            action()


@needs_orthanc
def test_an_archive_with_a_full_disk_stores_no_partial_object_and_no_report_without_segments(tmp_path):
    results = tmp_path / "out" / "dicom"
    large = tiny_dicom.op(
        np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8), Modality="SEG"
    )
    tiny_dicom.save(large, results / "eye_SEG.dcm")
    tiny_dicom.save(tiny_dicom.op(tiny_package.fundus(), 1, Modality="SR"), results / "eye_SR.dcm")
    with tiny_archive.Orthanc(tmp_path / "orthanc", max_file_bytes=1 << 20) as orthanc:
        archive = Archive(orthanc.url, CREDENTIALS)
        with pytest.raises(
            ArchiveError, match=r"^http://[^\n]*: did not store [^\n]*disk may be full[^\n]*$"
        ):
            transfer.push(archive, tmp_path / "out")
        assert orthanc.count() == 0
        assert archive.studies() == ()
        orthanc.kill()
        orthanc.max_file_bytes = None  # the disk has space again
        orthanc.start()
        assert transfer.push(archive, tmp_path / "out") == transfer.TransferCounts(transferred=2, existing=0)


@needs_orthanc
def test_a_full_local_disk_leaves_no_partial_photograph(orthanc, archive, tmp_path, monkeypatch):
    for number in range(3):
        put(orthanc, number)
    real_fsync, written = atomic_files.os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) == 3:  # the probe, one photograph, and no more
            raise OSError(28, "No space left on device")
        real_fsync(handle)

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"no space is left there; free some"):
        transfer.pull(archive, tmp_path / "in", archive.studies())
    monkeypatch.undo()

    assert len([path for path in (tmp_path / "in").rglob("*") if path.is_file()]) == 1
    assert transfer.pull(archive, tmp_path / "in", archive.studies()) == transfer.TransferCounts(
        transferred=2, existing=1
    )


# ---- watching


@needs_orthanc
def test_new_photographs_are_processed_once_and_no_file_stays(orthanc, archive, model, tmp_path):
    task = watch_task(archive, model, tmp_path / "watch")
    assert watch.process_new(task) == 0
    put(orthanc, 0)
    put(orthanc, 1, study=1)

    assert watch.process_new(task) == 2
    assert orthanc.count() == 6
    assert watch.process_new(task) == 0
    assert orthanc.count() == 6
    put(orthanc, 2, study=1)
    assert watch.process_new(task) == 1
    assert orthanc.count() == 9
    assert not list((tmp_path / "watch").iterdir())


@needs_orthanc
def test_every_frame_is_processed(orthanc, archive, model, tmp_path):
    frames = np.stack([tiny_package.fundus(seed=seed) for seed in range(2)])
    orthanc.put(encode(tiny_dicom.op(frames)))
    task = watch_task(archive, model, tmp_path / "watch")

    assert watch.process_new(task) == 1
    assert orthanc.count() == 1 + 2 * 2
    assert watch.process_new(task) == 0


@needs_orthanc
def test_missing_results_are_completed(orthanc, archive, model, tmp_path):
    put(orthanc, 0)
    segments_only = watch.WatchTask(
        archive=archive,
        model=model,
        out=tmp_path / "watch",
        objects=DicomRequest(kinds=("seg",), created=datetime(2026, 1, 1)),
    )
    assert watch.process_new(segments_only) == 1
    assert orthanc.count() == 2

    assert watch.process_new(watch_task(archive, model, tmp_path / "watch")) == 1
    assert orthanc.count() == 3, "the report alone: its segments were there"


@needs_orthanc
def test_a_photograph_that_cannot_be_processed_is_set_aside_once(orthanc, archive, model, tmp_path):
    _, bad = put(orthanc, 0, ImageType=["ORIGINAL", "PRIMARY", "", "FA"])
    put(orthanc, 1)
    events = []
    task = watch_task(archive, model, tmp_path / "watch")

    assert watch.process_new(task, events.append) == 1
    assert watch.process_new(task, events.append) == 0

    (failed,) = [event.text for event in events if event.failed]
    assert failed.startswith(f"set aside {bad}: ")
    assert "a fluorescein angiogram" in failed
    set_aside = tmp_path / "watch" / watch.SET_ASIDE
    assert list(json.loads(set_aside.read_text())) == [bad]
    set_aside.write_text("{}")
    assert watch.process_new(task, events.append) == 0
    assert list(json.loads(set_aside.read_text())) == [bad], "tried again"
    for content in ("not json", "[1]"):
        set_aside.write_text(content)
        with pytest.raises(OutputError, match="correct or delete it"):
            watch.process_new(task)


@needs_orthanc
def test_a_killed_and_restarted_archive_loses_no_result(orthanc, archive, model, tmp_path):
    """Kill the archive twice while a watcher works; a photograph arrives in between."""
    for number in range(3):
        put(orthanc, number, study=number)
    events, away, done = [], threading.Event(), threading.Event()

    def on_event(event):
        events.append(event)
        stored = sum(event.text.startswith("stored") for event in events)
        if event.failed:
            away.set()
        if not event.failed and stored in (1, 3):
            orthanc.kill()
        if stored == 4:
            done.set()

    task = watch_task(archive, model, tmp_path / "watch")
    worker = threading.Thread(
        target=watch.watch, args=(task, 0.05, done.is_set, on_event), daemon=True, name="watcher"
    )
    worker.start()
    for visit in range(2):
        assert away.wait(60)
        away.clear()
        orthanc.start()
        if visit == 0:
            put(orthanc, 3, study=3)
    assert done.wait(60)
    worker.join(60)

    assert not worker.is_alive()
    assert orthanc.count() == 4 + 2 * 4
    assert sum(event.failed for event in events) == 2, [event.text for event in events]


def test_a_second_outage_is_reported_although_no_query_was_completed_in_between(model, tmp_path, monkeypatch):
    outcomes, events = iter(("away", "away", "stored, then away")), []

    def process_new(_, on_event, __):
        outcome = next(outcomes, None)
        if outcome == "stored, then away":
            on_event(watch.WatchEvent(text="stored"))
        if outcome:
            raise ArchiveAwayError("it does not answer")

    monkeypatch.setattr(watch, "process_new", process_new)
    ends = iter((False, False, False, True))
    task = watch_task(Archive("http://127.0.0.1:9", CREDENTIALS), model, tmp_path)
    watch.watch(task, 0.0, lambda: next(ends), events.append)

    assert [event.failed for event in events] == [True, False, True]


# ---- servers that are no archive


class NoArchive(BaseHTTPRequestHandler):
    """A web server that is no archive: it gives one response to every request."""

    response = (200, "text/html", b"<html>hello</html>")

    def do_GET(self):
        status, kind, content = self.response
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def no_archive():
    """Return a function that starts a server with a response, and returns an `Archive` with its address."""
    servers = []

    def serve(*response):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Server", (NoArchive,), {"response": response}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Archive(f"http://127.0.0.1:{server.server_port}/dicom-web/", CREDENTIALS)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


REASON = json.dumps(
    {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
).encode()


@pytest.mark.parametrize(
    ("response", "error", "text"),
    [
        ((200, "text/html", b"<html></html>"), ArchiveError, "its response is not DICOMweb"),
        ((404, "text/html", b""), ArchiveError, "has nothing at this address; give the root"),
        ((403, "text/html", b""), ArchiveError, "refuses this user"),
        ((401, "text/html", b""), ArchiveError, "refuses this user or password"),
        ((503, "text/html", b""), ArchiveAwayError, "not available now (503"),
        ((507, "text/html", b""), ArchiveError, "is full; ask its administrator for space"),
        ((500, "text/html", b""), ArchiveError, "refuses the request (500"),
        ((200, "application/json", b"[null]"), ArchiveError, "its response is not DICOMweb"),
        ((200, "application/json", b'[{"0020000D": null}]'), ArchiveError, "its response is not DICOMweb"),
    ],
)
def test_each_unexpected_response_is_an_error_of_one_line(no_archive, response, error, text):
    archive = no_archive(*response)

    with pytest.raises(error) as raised:
        archive.studies()
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [200, 409])
def test_an_object_that_is_not_stored_is_an_error_with_its_reason(no_archive, status):
    archive = no_archive(status, "application/dicom+json", REASON)

    with pytest.raises(ArchiveError, match="it is full"):
        archive.store(encode(tiny_dicom.op(tiny_package.fundus())))


@pytest.mark.parametrize("content", [b"[]", b"[1]", b"null"])
def test_an_answer_to_a_store_that_is_not_dicomweb_is_an_error_of_one_line(no_archive, content):
    archive = no_archive(200, "application/dicom+json", content)

    with pytest.raises(ArchiveError, match="its response is not DICOMweb"):
        archive.store(encode(tiny_dicom.op(tiny_package.fundus())))


def studies_of(uids):
    return json.dumps([{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()


def test_an_archive_that_ignores_the_offset_of_a_query_is_asked_twice(no_archive):
    archive = no_archive(200, "application/dicom+json", studies_of(["1.3", "1.2"]))

    assert archive.studies() == ("1.2", "1.3")


def test_all_pages_of_a_query_are_read(no_archive, monkeypatch):
    uids = [f"1.{number}" for number in range(10, 17)]

    def answer_a_page(self):
        query = parse_qs(urlsplit(self.path).query)
        offset = int(query["offset"][0])
        self.response = (200, "application/dicom+json", studies_of(uids[offset : offset + 3]))
        get(self)

    get = NoArchive.do_GET
    monkeypatch.setattr(NoArchive, "do_GET", answer_a_page)

    assert no_archive(200, "", b"").studies() == tuple(uids)


def test_a_transfer_that_is_cut_off_is_an_archive_that_is_away(no_archive, monkeypatch):
    def answer_the_half(self):
        self.send_response(200)
        self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=b')
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + bytes(1000))

    monkeypatch.setattr(NoArchive, "do_GET", answer_the_half)

    with pytest.raises(ArchiveAwayError, match="does not answer"):
        no_archive(200, "", b"").fetch(object_of("1.2.3"))


def object_of(uid, study="1.2"):
    return transfer.ArchiveObject(study=study, series="1.2.1", uid=uid, sop_class="", frames=1)


def with_damaged(tag, content):
    """Return an object in which an attribute has a representation that the standard does not have."""
    start = content.index(tag) + len(tag)
    return content[:start] + b"U\x9f" + content[start + 2 :]


def test_a_damaged_object_is_an_error_of_one_line(monkeypatch):
    content = encode(tiny_dicom.op(tiny_package.fundus()))
    uid = pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID
    damaged = with_damaged(b"\x22\x00\x15\x00", content)
    archive = Archive("http://127.0.0.1:9")
    monkeypatch.setattr(archive._client, "retrieve_instance", lambda *_: pydicom.dcmread(io.BytesIO(damaged)))

    with pytest.raises(
        ArchiveObjectError, match=r"in a form that cannot be read \(.*; ask its administrator"
    ):
        archive.fetch(object_of(uid))


def test_a_damaged_file_is_not_pushed_but_counted(tmp_path):
    content = with_damaged(b"\x20\x00\x0d\x00", encode(tiny_dicom.op(tiny_package.fundus())))
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "eye_SEG.dcm").write_bytes(content)

    counts = transfer.push(Archive("http://127.0.0.1:9"), tmp_path)

    assert counts.transferred == 0
    assert "eye_SEG.dcm: cannot be read" in counts.refused[0]


class RefusesSegmentations(Archive):
    """An archive that takes reports, but no segmentations."""

    stored = ()

    def results(self, study):
        return frozenset()

    def store(self, content):
        if pydicom.dcmread(io.BytesIO(content)).Modality == "SEG":
            raise ArchiveObjectError("does not store segmentations")
        self.stored = (*self.stored, content)


def test_no_report_is_stored_whose_segmentation_was_refused(tmp_path):
    for number, (name, modality) in enumerate(
        (("a_SEG", "SEG"), ("a_SR", "SR"), ("b_SR", "SR"))  # the SEG of b was stored before
    ):
        made = tiny_dicom.op(tiny_package.fundus(), number, Modality=modality)
        tiny_dicom.save(made, tmp_path / "dicom" / f"{name}.dcm")
    archive = RefusesSegmentations("http://127.0.0.1:9")

    counts = transfer.push(archive, tmp_path)

    assert (counts.transferred, len(archive.stored)) == (1, 1)
    assert counts.refused[0] == "does not store segmentations"
    assert "a_SR.dcm: not stored, because the Segmentation that it refers to was not" in counts.refused[1]


def test_a_file_of_another_name_among_the_results_is_stored_as_well(tmp_path):
    tiny_dicom.save(tiny_dicom.op(tiny_package.fundus(), Modality="SR"), tmp_path / "dicom" / "_.dcm")
    tiny_dicom.save(tiny_dicom.op(tiny_package.fundus(), 1, Modality="SR"), tmp_path / "dicom" / "eye.dcm")

    assert transfer.push(RefusesSegmentations("http://127.0.0.1:9"), tmp_path).transferred == 2


class TwoStudies(Archive):
    """An archive of two studies with a photograph each; results of the first cannot be asked for."""

    def studies(self, *, date=None):
        return ("1.2", "1.3")

    def photographs(self, study):
        return (object_of(f"{study}.7", study),)

    def results(self, study):
        if study == "1.2":
            raise ArchiveObjectError("holds 'a/b', which is not a valid UID")
        return frozenset()


def test_a_study_whose_results_cannot_be_asked_for_is_set_aside(model, tmp_path, monkeypatch):
    processed = []
    monkeypatch.setattr(watch, "_process", lambda task, photograph: processed.append(photograph.uid))

    watch.process_new(watch_task(TwoStudies("http://127.0.0.1:9"), model, tmp_path))

    assert processed == ["1.3.7"]
    assert json.loads((tmp_path / "set-aside.json").read_text()) == {
        "1.2": "holds 'a/b', which is not a valid UID"
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_photographs_are_not_pulled_into_a_folder_that_another_run_writes_to(tmp_path):
    unfinished = tmp_path / ".foveate-0123456789abcdef.part"
    unfinished.write_bytes(b"x")

    with atomic_files.reserve(tmp_path), pytest.raises(OutputError, match="another run is writing to"):
        transfer.pull(TwoStudies("http://127.0.0.1:9"), tmp_path, ["1.2"])

    assert unfinished.exists()


def test_a_bug_in_one_photograph_does_not_end_the_watch(model, tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(TwoStudies, "results", lambda self, study: frozenset())

    def process(task, photograph):
        if photograph.study == "1.2":
            raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(watch, "_process", process)

    assert (
        watch.process_new(watch_task(TwoStudies("http://127.0.0.1:9"), model, tmp_path), events.append) == 1
    )
    (line,) = json.loads((tmp_path / "set-aside.json").read_text()).values()
    assert line.startswith("ZeroDivisionError in test_dicom.py")
    assert [event.failed for event in events] == [True, False]


@pytest.mark.parametrize(
    "error",
    [
        ArchiveObjectError("does not send 1.2.7 (404 Not Found)", may_pass=True),
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_photograph_is_set_aside_for_an_error_that_may_pass_only_after_three_queries(
    model, tmp_path, monkeypatch, error
):
    monkeypatch.setattr(TwoStudies, "results", lambda self, study: frozenset())
    outcomes, events = iter([error, error, None, error, error, error]), []

    def process(task, photograph):
        if photograph.study == "1.2" and (outcome := next(outcomes)):
            raise outcome

    monkeypatch.setattr(watch, "_process", process)
    task = watch_task(TwoStudies("http://127.0.0.1:9"), model, tmp_path)
    kept, numbers = tmp_path / "failures.json", []
    for _ in range(5):
        assert watch.process_new(task, events.append) >= 1
        numbers.append(json.loads(kept.read_text())["1.2.7"] if kept.exists() else 0)
    assert numbers == [1, 2, 0, 1, 2]
    assert not (tmp_path / "set-aside.json").exists()
    assert watch.process_new(task, events.append) == 1
    assert not kept.exists()

    failed = [event.text for event in events if event.failed]
    assert [text.startswith("left 1.2.7 for the next query: ") for text in failed] == [True] * 4 + [False]
    assert list(json.loads((tmp_path / "set-aside.json").read_text())) == ["1.2.7"]


@pytest.mark.parametrize("content", ["[]", "{", '{"1.2.7": "twice"}'])
def test_counts_of_failures_that_cannot_be_read_are_refused(model, tmp_path, content):
    (tmp_path / "failures.json").write_text(content)

    with pytest.raises(OutputError, match=r"failures.json: cannot be read .*; correct or delete it"):
        watch.process_new(watch_task(TwoStudies("http://127.0.0.1:9"), model, tmp_path))


@pytest.mark.parametrize(("status", "may_pass"), [(404, True), (500, True), (400, False), (410, False)])
def test_an_object_that_an_archive_does_not_send_yet_may_be_asked_for_again(no_archive, status, may_pass):
    archive = no_archive(status, "text/html", b"")
    with pytest.raises(ArchiveObjectError, match=f"does not send 1.2.7 .{status}") as refused:
        archive.fetch(object_of("1.2.7", "1.2"))

    assert refused.value.may_pass is may_pass


def test_an_invalid_address_is_an_error():
    for url in ("ftp:/nowhere", "nonsense"):
        with pytest.raises(ArchiveError, match="not a valid address"):
            Archive(url).studies()


def test_a_missing_file_of_certificates_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"gone\.pem: no such file"):
        Archive("https://127.0.0.1:1/dicom-web", Credentials(ca_file=tmp_path / "gone.pem"))
    with pytest.raises(ArchiveError, match=r"aaa: cannot be reached \(File name too long\); check the path"):
        Archive("https://127.0.0.1:1/dicom-web", Credentials(ca_file=tmp_path / ("a" * 300)))


def test_uids_that_lead_to_another_folder_are_refused(tmp_path):
    item = transfer.ArchiveObject(study="../../up", series="1.2", uid="1.2.3", sop_class="", frames=1)

    with pytest.raises(ArchiveObjectError, match="is not a valid UID"):
        transfer.photograph_path(tmp_path, item)


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(
        ArchiveError, match="contains no DICOM results; make them with foveate predict --dicom"
    ):
        transfer.push(Archive("http://127.0.0.1:1/dicom-web"), tmp_path)


def test_secrets_are_not_in_the_repr():
    text = repr(Credentials(user="clinic", password="lake", token="card"))

    assert "lake" not in text
    assert "card" not in text
