"""A real archive: what is in it comes out, results go in once, and nothing is lost when it goes away."""

import json
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import highdicom
import numpy as np
import pydicom
import pytest
import tiny_archive
import tiny_dicom
import tiny_package
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

import foveate
from foveate.dicom import transfer, watch
from foveate.dicom.connection import Access, Archive
from foveate.errors import ArchiveAwayError, ArchiveError, OutputError
from foveate.photographs import read
from foveate.writers import Objects, files

needs_orthanc = pytest.mark.skipif(
    not tiny_archive.installed(), reason="needs Debian's packages orthanc and orthanc-dicomweb"
)

ACCESS = Access(user=tiny_archive.USER, password=tiny_archive.PASSWORD)

OBJECTS = Objects(kinds=("seg", "sr"), made=datetime(2026, 1, 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return foveate.load(tiny_package.build(tmp_path_factory.mktemp("model") / "tiny"), threads=1)


@pytest.fixture
def orthanc(tmp_path):
    with tiny_archive.Orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture
def archive(orthanc):
    return Archive(orthanc.url, ACCESS)


def encoded(made):
    content = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(content, made, enforce_file_format=True)
    return content.getvalue()


def put(orthanc, number, *, study=0, syntax=None, **changes):
    """Put a photograph into an archive, as a camera would; return its pixels and its UID."""
    pixels = tiny_package.fundus(seed=number)
    made = tiny_dicom.op(pixels, number, study=study, **changes)
    orthanc.put(encoded(made if syntax is None else tiny_dicom.encoded(made, syntax)))
    return pixels, str(made.SOPInstanceUID)


def task(archive, model, out, **changes):
    return watch.Task(archive=archive, model=model, out=out, objects=OBJECTS, **changes)


# ---- photographs out, results in


@needs_orthanc
def test_photographs_are_pulled_looked_at_pushed_and_found_again_once(orthanc, archive, model, tmp_path):
    syntaxes = (None, JPEGLSLossless, JPEG2000Lossless)
    wanted = dict(
        reversed(put(orthanc, number, study=number // 2, syntax=syntax))
        for number, syntax in enumerate(syntaxes)
    )
    put(orthanc, 9, study=1, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.5.4", Modality="OPT")
    put(orthanc, 10, study=2, StudyDate="20250101")
    photographs, out = tmp_path / "photographs", tmp_path / "out"

    studies = archive.studies(date="20260101-20261231")
    assert transfer.pull(archive, photographs, studies) == transfer.Moved(done=3, kept=0)
    for path in photographs.rglob("*.dcm"):
        np.testing.assert_array_equal(read(path).pixels, wanted[path.stem])
    assert transfer.pull(archive, photographs, studies) == transfer.Moved(done=0, kept=3)

    assert not model.predict([photographs], out, objects=OBJECTS).failures
    before = orthanc.count()
    assert transfer.push(archive, out) == transfer.Moved(done=6, kept=0)
    assert orthanc.count() == before + 6
    assert transfer.push(archive, out) == transfer.Moved(done=0, kept=6)
    assert orthanc.count() == before + 6

    made = {str(pydicom.dcmread(path).SOPInstanceUID) for path in out.rglob("dicom/**/*.dcm")}
    assert set().union(*(archive.results(study) for study in studies)) == made
    for held in archive.objects(studies[0], frozenset({"SEG"})):
        segments = highdicom.seg.segread(pydicom.filebase.DicomBytesIO(archive.fetch(held)))
        source = segments.SourceImageSequence[0].ReferencedSOPInstanceUID
        name = f"{segments.StudyInstanceUID}/{source}_SEG.dcm"
        kept = highdicom.seg.segread(out / "dicom" / name)
        np.testing.assert_array_equal(segments.pixel_array, kept.pixel_array)


@needs_orthanc
def test_another_computer_that_does_the_same_work_stores_nothing(orthanc, archive, model, tmp_path):
    put(orthanc, 0)
    for computer in ("one", "two"):
        transfer.pull(archive, tmp_path / computer / "in", archive.studies())
        model.predict(
            [tmp_path / computer / "in"],
            tmp_path / computer / "out",
            objects=Objects(kinds=("seg", "sr"), made=datetime(2026, 1, 1 + len(computer))),
        )

    assert transfer.push(archive, tmp_path / "one" / "out").done == 2
    assert transfer.push(archive, tmp_path / "two" / "out") == transfer.Moved(done=0, kept=2)


@needs_orthanc
def test_a_wrong_password_is_one_line_and_nothing_is_stored(orthanc, model, tmp_path):
    put(orthanc, 0)
    path = tiny_dicom.save(tiny_dicom.op(tiny_package.fundus()), tmp_path / "eye.dcm")
    model.predict([path], tmp_path / "out", objects=OBJECTS)
    stranger = Archive(orthanc.url, Access(user=tiny_archive.USER, password="sea"))

    for act in (
        lambda: transfer.push(stranger, tmp_path / "out"),
        lambda: transfer.pull(stranger, tmp_path / "in", ["1.2.3"]),
        lambda: watch.once(task(stranger, model, tmp_path / "watch")),
        lambda: watch.watch(task(stranger, model, tmp_path / "watch"), 0.01, lambda: False),
    ):
        with pytest.raises(ArchiveError, match=r"^http://.*: refuses this user or password; check --user"):
            act()
    assert orthanc.count() == 1
    assert not list((tmp_path / "in").rglob("*.dcm"))


@needs_orthanc
def test_a_stopped_archive_is_one_line(orthanc, archive, model, tmp_path):
    path = tiny_dicom.save(tiny_dicom.op(tiny_package.fundus()), tmp_path / "eye.dcm")
    model.predict([path], tmp_path / "out", objects=OBJECTS)
    orthanc.kill()

    for act in (
        lambda: transfer.push(archive, tmp_path / "out"),
        lambda: transfer.pull(archive, tmp_path / "in", ["1.2.3"]),
        archive.studies,
    ):
        with pytest.raises(ArchiveAwayError, match=r"^http://.*: does not answer \(connection refused\)"):
            act()


@needs_orthanc
def test_an_archive_without_room_stores_no_part_of_an_object_and_no_report_without_segments(tmp_path):
    results = tmp_path / "out" / "dicom"
    large = tiny_dicom.op(
        np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8), Modality="SEG"
    )
    tiny_dicom.save(large, results / "eye_SEG.dcm")
    tiny_dicom.save(tiny_dicom.op(tiny_package.fundus(), 1, Modality="SR"), results / "eye_SR.dcm")
    place = tmp_path / "orthanc"
    with tiny_archive.Orthanc(place, largest=1 << 20) as orthanc:
        archive = Archive(orthanc.url, ACCESS)
        with pytest.raises(
            ArchiveError, match=r"^http://[^\n]*: did not store [^\n]*disk may be full[^\n]*$"
        ):
            transfer.push(archive, tmp_path / "out")
        assert orthanc.count() == 0
        assert archive.studies() == ()
        orthanc.kill()
        orthanc.largest = None  # somebody has made room
        orthanc.start()
        assert transfer.push(archive, tmp_path / "out") == transfer.Moved(done=2, kept=0)


@needs_orthanc
def test_a_full_disk_here_leaves_no_part_of_a_photograph(orthanc, archive, tmp_path, monkeypatch):
    for number in range(3):
        put(orthanc, number)
    whole, written = files.os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) == 3:  # the probe, one photograph, and no more
            raise OSError(28, "No space left on device")
        whole(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"no space is left there; free some"):
        transfer.pull(archive, tmp_path / "in", archive.studies())
    monkeypatch.undo()

    assert len([path for path in (tmp_path / "in").rglob("*") if path.is_file()]) == 1
    assert transfer.pull(archive, tmp_path / "in", archive.studies()) == transfer.Moved(done=2, kept=1)


# ---- watching


@needs_orthanc
def test_what_comes_is_done_once_and_nothing_stays_on_the_disk(orthanc, archive, model, tmp_path):
    watched = task(archive, model, tmp_path / "watch")
    assert watch.once(watched) == 0
    put(orthanc, 0)
    put(orthanc, 1, study=1)

    assert watch.once(watched) == 2
    assert orthanc.count() == 6
    assert watch.once(watched) == 0
    assert orthanc.count() == 6
    put(orthanc, 2, study=1)
    assert watch.once(watched) == 1
    assert orthanc.count() == 9
    assert not list((tmp_path / "watch").iterdir())


@needs_orthanc
def test_every_frame_is_done(orthanc, archive, model, tmp_path):
    frames = np.stack([tiny_package.fundus(seed=seed) for seed in range(2)])
    orthanc.put(encoded(tiny_dicom.op(frames)))
    watched = task(archive, model, tmp_path / "watch")

    assert watch.once(watched) == 1
    assert orthanc.count() == 1 + 2 * 2
    assert watch.once(watched) == 0


@needs_orthanc
def test_results_that_are_missing_in_part_are_completed(orthanc, archive, model, tmp_path):
    put(orthanc, 0)
    alone = watch.Task(
        archive=archive,
        model=model,
        out=tmp_path / "watch",
        objects=Objects(kinds=("seg",), made=datetime(2026, 1, 1)),
    )
    assert watch.once(alone) == 1
    assert orthanc.count() == 2

    assert watch.once(task(archive, model, tmp_path / "watch")) == 1
    assert orthanc.count() == 3, "the report alone: its segments were there"


@needs_orthanc
def test_a_photograph_that_cannot_be_looked_at_is_set_aside_once(orthanc, archive, model, tmp_path):
    _, bad = put(orthanc, 0, ImageType=["ORIGINAL", "PRIMARY", "", "FA"])
    put(orthanc, 1)
    events = []
    watched = task(archive, model, tmp_path / "watch")

    assert watch.once(watched, events.append) == 1
    assert watch.once(watched, events.append) == 0

    (failed,) = [event.text for event in events if event.failed]
    assert failed.startswith(f"set aside {bad}: ")
    assert "a fluorescein angiogram" in failed
    kept = tmp_path / "watch" / watch.SET_ASIDE
    assert list(json.loads(kept.read_text())) == [bad]
    kept.write_text("{}")
    assert watch.once(watched, events.append) == 0
    assert list(json.loads(kept.read_text())) == [bad], "tried again"
    kept.write_text("not json")
    with pytest.raises(OutputError, match="mend or delete it"):
        watch.once(watched)


@needs_orthanc
def test_an_archive_that_is_killed_and_comes_back_loses_none(orthanc, archive, model, tmp_path):
    """Killed while a watcher is at work, twice; a photograph comes in between."""
    for number in range(3):
        put(orthanc, number, study=number)
    events, away, done = [], threading.Event(), threading.Event()

    def tell(event):
        events.append(event)
        stored = sum(one.text.startswith("stored") for one in events)
        if event.failed:
            away.set()
        if not event.failed and stored in (1, 3):
            orthanc.kill()
        if stored == 4:
            done.set()

    watched = task(archive, model, tmp_path / "watch")
    worker = threading.Thread(
        target=watch.watch, args=(watched, 0.05, done.is_set, tell), daemon=True, name="watcher"
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


def test_a_second_outage_is_told_as_well_though_no_look_came_to_its_end_between(model, tmp_path, monkeypatch):
    looks, events = iter(("away", "away", "stored, then away")), []

    def once(_, tell, __):
        look = next(looks, None)
        if look == "stored, then away":
            tell(watch.Event(text="stored"))
        if look:
            raise ArchiveAwayError("it does not answer")

    monkeypatch.setattr(watch, "once", once)
    ends = iter((False, False, False, True))
    nowhere = task(Archive("http://127.0.0.1:9", ACCESS), model, tmp_path)
    watch.watch(nowhere, 0.0, lambda: next(ends), events.append)

    assert [event.failed for event in events] == [True, False, True]


# ---- what is no archive


class Odd(BaseHTTPRequestHandler):
    """A web server that is no archive: it answers all with what the test wants."""

    answer = (200, "text/html", b"<html>hello</html>")

    def do_GET(self):
        status, kind, content = self.answer
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
def odd(monkeypatch):
    """Return what starts a server with an answer, and gives an archive there."""
    servers = []

    def serve(*answer):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Odd,), {"answer": answer}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Archive(f"http://127.0.0.1:{server.server_port}/dicom-web/", ACCESS)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


REASON = json.dumps(
    {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
).encode()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((200, "text/html", b"<html></html>"), ArchiveError, "answers what is no DICOMweb"),
        ((404, "text/html", b""), ArchiveError, "has nothing there; give the root"),
        ((403, "text/html", b""), ArchiveError, "refuses this user"),
        ((401, "text/html", b""), ArchiveError, "refuses this user or password"),
        ((503, "text/html", b""), ArchiveAwayError, "does not answer now (503"),
        ((507, "text/html", b""), ArchiveError, "has no room left"),
        ((500, "text/html", b""), ArchiveError, "refuses (500"),
    ],
)
def test_each_odd_answer_is_one_line(odd, answer, error, said):
    archive = odd(*answer)

    with pytest.raises(error) as told:
        archive.studies()
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("status", [200, 409])
def test_an_object_that_is_not_stored_is_an_error_with_its_reason(odd, status):
    archive = odd(status, "application/dicom+json", REASON)

    with pytest.raises(ArchiveError, match="it has no room left"):
        archive.store(encoded(tiny_dicom.op(tiny_package.fundus())))


def test_an_address_that_is_none_is_an_error():
    for url in ("ftp:/nowhere", "nonsense"):
        with pytest.raises(ArchiveError, match="is no address"):
            Archive(url).studies()


def test_certificates_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"gone\.pem: no such file"):
        Archive("https://127.0.0.1:1/dicom-web", Access(authority=tmp_path / "gone.pem"))


def test_uids_that_lead_elsewhere_are_refused(tmp_path):
    held = transfer.Held(study="../../up", series="1.2", uid="1.2.3", kind="", frames=1)

    with pytest.raises(ArchiveError, match="is no UID"):
        transfer.place(tmp_path, held)


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(ArchiveError, match="holds no DICOM results; make them by foveate predict --dicom"):
        transfer.push(Archive("http://127.0.0.1:1/dicom-web"), tmp_path)


def test_secrets_do_not_show():
    shown = repr(Access(user="clinic", password="lake", token="card"))

    assert "lake" not in shown
    assert "card" not in shown
