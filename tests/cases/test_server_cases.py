"""Cases of a running server: deletion while reading, heavy inputs, slow and many clients."""

import http.client
import io
import json
import math
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from unittest.mock import Mock
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import uvicorn
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

import tiny_package
import tiny_server
from tiny_server import done, picture

import foveate
from foveate.client import Client
from foveate.errors import FoveateError, OutputError
from foveate.inference.api import load
from foveate.server import service
from foveate.server.errors import ServiceError
from foveate.server.http import connections, guard, routes, serving
from foveate.server.http.app import create
from foveate.server.jobs import image_limits, worker_pool
from foveate.server.jobs.events import EventBroker
from foveate.server.jobs.protocol import ReadMaskTask, ReceiveTask
from foveate.server.jobs.worker_pool import WorkerPool
from foveate.server.monitoring import Metrics
from foveate.server.options import Limits, Options
from foveate.server.review import strokes
from foveate.server.review.changes import PhotographEditor
from foveate.server.sessions import Sessions
from foveate.server.storage import counts

READS = (
    "",
    "/counts",
    "/regions",
    "/corrections",
    "/download",
    "/overlay.jpg",
    "/thumbnail.jpg",
    "/tiles/0/0_0.jpg",
    "/maps/EX/0/0_0.png",
    "/stack/model/0/0_0.png",
)


def test_reading_a_photograph_that_is_deleted_meanwhile_is_404_and_leaves_no_folder(client):
    statuses = set()
    with ThreadPoolExecutor(4) as pool:
        for seed in range(12):
            photograph = f"/api/photographs/{done(client, picture(seed))['id']}"
            client.patch(photograph, json={"thresholds": {"EX": 0.3}})  # so that a download writes files
            reads = [pool.submit(client.get, photograph + path) for path in (*READS, *READS)]
            time.sleep(seed / 100)
            assert client.delete(photograph).status_code == 204
            statuses |= {read.result().status_code for read in reads}

    assert statuses <= {200, 204, 404}
    assert list(client.service.data_dir.photographs.iterdir()) == []


@pytest.mark.parametrize("path", ["/download", "/training", "/overlay.jpg"])
def test_files_that_are_written_for_a_deleted_photograph_are_deleted_and_the_answer_is_404(
    client, monkeypatch, path
):
    identifier = done(client)["id"]
    photograph = f"/api/photographs/{identifier}"
    client.patch(photograph, json={"thresholds": {"EX": 0.3}, "reviewed": True})
    run, deletes = client.service.jobs.run_io_task, []

    def delete_first(task):
        if not deletes:
            deletes.append(client.service.jobs.delete(identifier))
        return run(task)

    monkeypatch.setattr(client.service.jobs, "run_io_task", delete_first)
    answer = client.get(photograph + path)

    assert deletes == [True]
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert not client.service.data_dir.photograph(identifier).folder.exists()


@pytest.mark.parametrize("path", ["/report", "/report.pdf"])
def test_a_report_of_a_photograph_that_is_deleted_meanwhile_is_404(client, monkeypatch, path):
    identifier = done(client)["id"]
    reports, deletes = client.service.reports, []
    pictures = reports._pictures

    def delete_first(record):
        deletes.append(client.service.jobs.delete(identifier))
        return pictures(record)

    monkeypatch.setattr(reports, "_pictures", delete_first)
    answer = client.get(f"/api/photographs/{identifier}{path}")

    assert deletes == [True]
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_an_edit_of_a_photograph_whose_files_are_gone_is_404(client):
    identifier = done(client)["id"]
    record = client.service.record(identifier)
    client.service.jobs.delete(identifier)

    with pytest.raises(ServiceError, match="no such photograph"):
        client.service.references.put(record, "truth", "EX", np.ones((record.height, record.width), bool))
    with pytest.raises(ServiceError, match="no such photograph"):
        counts.level_counts_of(client.service.database, identifier, "EX")
    with pytest.raises(ServiceError, match="no such photograph"):
        counts.current_counts_of(client.service.database, identifier)
    assert not client.service.data_dir.photograph(identifier).folder.exists()


def test_files_that_are_being_read_stay_when_thresholds_change(client):
    identifier = done(client)["id"]
    exports, photograph = client.service.exports, f"/api/photographs/{identifier}"
    client.patch(photograph, json={"thresholds": {"EX": 0.3}})

    with exports.results(client.service.record(identifier)) as older:
        client.patch(photograph, json={"thresholds": {"EX": 0.6}})
        with exports.results(client.service.record(identifier)) as newer:
            assert newer != older
            assert (older / "summary.csv").is_file()
    client.patch(photograph, json={"thresholds": {"EX": 0.7}})
    with exports.results(client.service.record(identifier)) as newest:
        assert [path for path in newest.parent.iterdir() if path.is_dir()] == [newest]


def test_a_stroke_of_ten_thousand_points_with_the_widest_brush_takes_seconds():
    draw = random.Random(1)
    points = [(draw.uniform(0, 4288), draw.uniform(0, 2848)) for _ in range(300)]
    circle = [(2000 + 400 * math.cos(i / 50), 1400 + 400 * math.sin(i / 50)) for i in range(9_700)]
    start = time.process_time()

    covered = strokes.rasterise([*points, *circle], 512.0, (2848, 4288))

    assert time.process_time() - start < 15
    assert covered is not None
    assert covered.pixels.mean() > 0.9


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("عين يسرى.png", "عين_يسرى"),
        ("左眼.png", "左眼"),
        ("右目（がん）.png", "右目_がん_"),
        ("왼쪽 눈.png", "왼쪽_눈"),
        ("बायाँ.png", "बायाँ"),
        ("œil gauche.png", "œil_gauche"),
        ("眼" * 120 + ".png", "眼" * 40),
    ],
)
def test_files_of_a_photograph_keep_the_letters_of_its_name(client, name, key):
    photograph = f"/api/photographs/{done(client, name=quote(name))['id']}"

    download = client.get(f"{photograph}/download")

    with zipfile.ZipFile(io.BytesIO(download.content)) as archive:
        assert f"maps/{key}_EX.png" in archive.namelist()
        assert json.loads(archive.read(f"regions/{key}.json"))["lesions"]["EX"]["map"] == f"maps/{key}_EX.png"
    assert quote(f"{key}.zip") in download.headers["Content-Disposition"]


def progressive(scans):
    """Return a JPEG that draws over its picture so many times."""
    content = io.BytesIO()
    with Image.open(io.BytesIO(picture())) as image:
        image.convert("RGB").save(content, "JPEG", progressive=True)
    body = content.getvalue()[:-2]
    last = body.rindex(b"\xff\xda")
    return body + body[last:] * (scans - body.count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(client):
    def submit(scans):
        headers = {"Content-Type": "image/jpeg", "Foveate-Name": "eye.jpg"}
        return client.post("/api/photographs", content=progressive(scans), headers=headers)

    answer = submit(image_limits.SCANS + 1)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unreadable")
    assert "it has 51 scans, more than the limit of 50" in answer.json()["error"]["message"]
    assert "scans" not in submit(image_limits.SCANS).text


def one_tile(side, shape):
    """Return a TIFF of (H, W) px in one tile of zeros, deflated."""
    height, width = shape
    content = zlib.compress(bytes(side * side), 9)
    entries = [
        *((256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)),
        *((322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, len(content))),
    ]
    table = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
    )
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + table + bytes(4)


@pytest.mark.parametrize("path", ["corrections/masks/EX", "references/truth/EX"])
def test_a_mask_in_one_large_tile_is_refused_before_it_is_decoded(client, path):
    photograph = f"/api/photographs/{done(client)['id']}"

    def put(side):
        content = one_tile(side, (256, 256))
        return client.put(f"{photograph}/{path}", content=content, headers={"Content-Type": "image/tiff"})

    answer = put(4096)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unreadable")
    assert "tiles are much larger" in answer.json()["error"]["message"]
    assert put(256).status_code == 200


def test_masks_are_decoded_by_the_io_worker(client, monkeypatch):
    photograph = f"/api/photographs/{done(client)['id']}"
    tasks, run = [], client.service.jobs.run_io_task
    monkeypatch.setattr(client.service.jobs, "run_io_task", lambda task: (tasks.append(task), run(task))[1])

    content = tiny_server.png(np.zeros((256, 256), np.uint8))
    headers = {"Content-Type": "image/png"}
    answer = client.put(f"{photograph}/corrections/masks/EX", content=content, headers=headers)

    assert answer.status_code == 200
    assert [type(task) for task in tasks] == [ReadMaskTask]
    assert list(client.service.data_dir.incoming.iterdir()) == []


TOKEN = "a-token-that-is-long-enough"


@contextmanager
def listening(model, data, io_worker=None, **changes):
    """Yield the address of a server that listens on a socket, as (host, port)."""
    worker = tiny_server.Inline(load(model, engine="onnx", threads=1))
    pool = WorkerPool(io_worker=io_worker or tiny_server.Inline(), inference_workers=[worker])
    config = serving.configuration(create(Options(data=data, model=model, **changes), lambda _: pool))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def ask(address, path, **headers):
    """Return the status of a GET, on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def slow_body(address):
    """Return a connection on which a body is announced and never sent."""
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 30\r\n\r\n{")
    return connection


@pytest.mark.parametrize(
    "start", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "]
)
def test_a_connection_whose_header_does_not_arrive_is_closed(model, tmp_path, monkeypatch, start):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    with listening(model, tmp_path, token=TOKEN) as address, socket.create_connection(address, 30) as slow:
        slow.sendall(start)
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(4):
                time.sleep(0.1)
                slow.sendall(start and b"x")  # a byte now and then does not help
            assert slow.recv(100) == b""

        assert ask(address, "/healthz") == 200


def test_a_kept_connection_whose_next_header_does_not_arrive_is_closed(model, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    with listening(model, tmp_path) as address, socket.create_connection(address, 30) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert slow.recv(10_000).startswith(b"HTTP/1.1 200")
        slow.sendall(b"GET /healthz HT")
        start = time.monotonic()
        with suppress(ConnectionResetError):
            while slow.recv(10_000):
                pass

        assert time.monotonic() - start < 10


def test_a_client_has_a_limited_number_of_connections(model, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "PER_CLIENT", 3)
    with listening(model, tmp_path) as address:
        held = [socket.create_connection(address, 30) for _ in range(3)]
        time.sleep(0.2)
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            ask(address, "/healthz")
        for connection in held:
            connection.close()
        time.sleep(0.2)

        assert ask(address, "/healthz") == 200


def test_a_body_that_does_not_arrive_is_408(model, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "JSON_SECONDS", 0.3)
    with listening(model, tmp_path, token=TOKEN) as address, slow_body(address) as slow:
        assert slow.recv(10_000).startswith(b"HTTP/1.1 408")


def test_strangers_with_slow_bodies_do_not_shut_out_whoever_has_the_token(model, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "PER_STRANGER", 8)
    with listening(model, tmp_path, token=TOKEN) as address, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(slow_body(address))
        time.sleep(0.3)
        with slow_body(address) as another:
            assert another.recv(10_000).startswith(b"HTTP/1.1 429")

        assert ask(address, "/api/photographs", Authorization=f"Bearer {TOKEN}") == 200


def is_running(number):
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_a_worker_is_ended_with_what_it_has_started_though_that_holds_its_pipe():
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes)
    child = int(process.stdout.readline())
    threading.Thread(target=worker_pool._read_replies, args=(process, SimpleQueue()), daemon=True).start()
    start = time.monotonic()

    worker_pool._end(process)

    assert time.monotonic() - start < 5
    while is_running(child):
        assert time.monotonic() - start < 10
        time.sleep(0.01)


def test_a_data_folder_that_is_in_use_is_refused_before_any_worker_is_started(model, tmp_path):
    spawned, parts = [], (EventBroker(), Metrics(), Sessions(None))
    options = Options(data=tmp_path, model=model)
    with tiny_server.running(tmp_path, model), pytest.raises(OutputError, match="another server uses it"):
        service.start(options, spawned.append, *parts)

    assert spawned == []


def test_a_start_that_fails_ends_the_workers_and_releases_the_data_folder(model, tmp_path):
    worker = tiny_server.Inline()
    worker.handshake = Mock(side_effect=FoveateError("no such model package"))
    pool = WorkerPool(io_worker=tiny_server.Inline(), inference_workers=[worker])
    options, parts = Options(data=tmp_path, model=model), (EventBroker(), Metrics(), Sessions(None))

    with pytest.raises(FoveateError, match="no such model package"):
        service.start(options, lambda _: pool, *parts)

    assert worker.closed
    assert pool.io_worker.closed
    with tiny_server.running(tmp_path, model) as client:
        assert client.get("/healthz").status_code == 200


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_a_server_stops_within_five_seconds_whatever_is_under_way(model, tmp_path):
    source = str(Path(foveate.__file__).parent.parent)
    command = ["-m", "foveate", "serve", "--data", tmp_path / "data", "--model", model, "--port", "0"]
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=2000)
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, *map(str, command), "--engine", "onnx", "--threads", "1"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": source},
            )
        )
        timer = threading.Timer(120, process.kill)
        timer.start()
        stack.callback(timer.cancel)
        url = urlsplit(process.stdout.readline().split()[-1])
        client = Client(f"http://{url.netloc}")
        for _ in range(2):
            client.submit(path)
        address = (url.hostname, url.port)
        events, upload = (stack.enter_context(socket.create_connection(address, 30)) for _ in range(2))
        events.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert events.recv(10_000).startswith(b"HTTP/1.1 200")
        upload.sendall(
            b"POST /api/photographs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Content-Length: 10000\r\n\r\n12"
        )
        time.sleep(0.2)
        start = time.monotonic()

        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
        assert time.monotonic() - start < 5
        assert process.stderr.read() == ""


def test_a_worker_that_is_killed_while_it_starts_is_lost_and_then_replaced(model, tmp_path):
    options = Options(data=tmp_path, model=model, engine="onnx", threads=1)
    worker = worker_pool.WorkerProcess(options, loads_model=True)
    try:
        threading.Timer(0.1, worker._process.kill).start()
        with pytest.raises(worker_pool.LostError):
            worker.do(ReceiveTask(folder=tmp_path, pixels=1000), lambda share: None, 60.0)
        with pytest.raises(ServiceError, match="No such file"):
            worker.do(ReceiveTask(folder=tmp_path, pixels=1000), lambda share: None, 60.0)
    finally:
        worker.close()


def test_an_expired_photograph_leaves_nothing_in_the_memory(model, tmp_path):
    with tiny_server.running(tmp_path, model, limits=Limits(keep=timedelta(days=1))) as client:
        photograph = f"/api/photographs/{done(client)['id']}"
        for path in ("/maps/EX/0/0_0.png", "/tiles/0/0_0.jpg"):
            assert client.get(photograph + path).status_code in {200, 204}
        assert client.service.memory._entries
        assert client.service.packs._headers

        client.service.jobs.expire(time.time() + 2 * 86400)

        assert client.get(photograph).status_code == 404
        assert not client.service.memory._entries
        assert not client.service.packs._headers


def thresholds_of(photograph):
    """Return lesion -> present threshold."""
    return {code: lesion["threshold"] for code, lesion in photograph["result"]["lesions"].items()}


def test_two_tabs_that_change_thresholds_at_once_do_not_overwrite_each_other(client):
    photograph = done(client)
    path, seen = f"/api/photographs/{photograph['id']}", {"If-Match": f'"{photograph["etag"]}"'}

    first = client.patch(path, json={"thresholds": {"EX": 0.3}}, headers=seen)
    second = client.patch(path, json={"thresholds": {"MA": 0.7}}, headers=seen)

    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json()["error"]["code"] == "outdated"
    present = second.json()["photograph"]
    assert present == client.get(path).json()
    assert thresholds_of(present)["EX"] == 0.3
    assert second.headers["ETag"] == first.headers["ETag"] == f'"{present["etag"]}"'

    merged = thresholds_of(present) | {"MA": 0.7}
    again = {"If-Match": second.headers["ETag"]}
    assert client.patch(path, json={"thresholds": merged}, headers=again).status_code == 200
    assert thresholds_of(client.get(path).json()) == {"EX": 0.3, "MA": 0.7}


@pytest.mark.parametrize(
    "change",
    [
        {"reviewed": True},
        {"spacing_mm": 0.004},
        {"levels": {"EX": 77}},
        {"grid": {"fovea": {"x": 9, "y": 9}, "disc": {"x": 99, "y": 9}}},
    ],
)
def test_the_etag_names_all_that_patch_changes_and_nothing_else(client, change):
    photograph = done(client)
    path = f"/api/photographs/{photograph['id']}"
    stroke = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[50, 50]], "author": ""}
    assert client.post(f"{path}/corrections/strokes", json=stroke).status_code == 200
    assert client.get(path).headers["ETag"] == f'"{photograph["etag"]}"'

    changed = client.patch(path, json=change).json()

    assert changed["etag"] != photograph["etag"]
    listed = client.get("/api/photographs").json()["photographs"]
    assert [each["etag"] for each in listed if each["id"] == photograph["id"]] == [changed["etag"]]
    undone = dict.fromkeys(change) | ({"reviewed": False} if "reviewed" in change else {})
    assert client.patch(path, json=undone).json()["etag"] == photograph["etag"]


@pytest.mark.parametrize("form", ["*", '"{}"', 'W/"{}"', '"0", "{}"', "{}"])
def test_if_match_takes_the_forms_of_http(client, form):
    photograph = done(client)
    path, headers = f"/api/photographs/{photograph['id']}", {"If-Match": form.format(photograph["etag"])}

    assert client.patch(path, json={"reviewed": True}, headers=headers).status_code == 200
    assert client.patch(path, json={"reviewed": False}, headers=headers).status_code == (
        200 if form == "*" else 412
    )


def test_of_many_changes_at_once_from_one_state_exactly_one_is_made(client, monkeypatch):
    photograph = done(client)
    path, seen = f"/api/photographs/{photograph['id']}", {"If-Match": f'"{photograph["etag"]}"'}
    change_fields = PhotographEditor.change

    def change_slowly(*arguments):
        time.sleep(0.05)  # between the comparison and the change
        change_fields(*arguments)

    monkeypatch.setattr(PhotographEditor, "change", change_slowly)

    def change(level):
        return client.patch(path, json={"levels": {"EX": level}}, headers=seen).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(change, range(10, 18)))

    assert sorted(statuses) == [200] + [412] * 7


def test_an_upload_that_waits_when_the_server_stops_is_answered_with_503(model, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "GRACE", 0.2)
    io_worker = tiny_server.Inline()
    io_worker.hold.clear()
    with ThreadPoolExecutor(1) as pool, listening(model, tmp_path, io_worker) as address:

        def upload():
            connection = http.client.HTTPConnection(*address, timeout=30)
            headers = {"Content-Type": "image/png"}
            connection.request("POST", "/api/photographs", picture(), headers)
            with closing(connection), connection.getresponse() as answer:
                return answer.status, json.loads(answer.read())["error"]["code"]

        answer = pool.submit(upload)
        end = time.monotonic() + 30
        while not io_worker._lock.locked():
            assert time.monotonic() < end
            time.sleep(0.01)

    assert answer.result() == (503, "stopping")


def test_a_request_that_finds_the_database_closed_is_answered_with_503(model, tmp_path):
    with tiny_server.running(tmp_path, model) as client:
        client.service.jobs._closing.set()
        client.service.database.close()

        answer = client.get("/api/photographs")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")


def test_a_client_that_leaves_during_its_upload_leaves_neither_a_file_nor_an_error(model, tmp_path, caplog):
    head = b"POST /api/photographs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    with listening(model, tmp_path) as address:
        for length in (b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"):
            with socket.create_connection(address, 30) as upload:
                upload.sendall(head + length + b"12345")
                while not list((tmp_path / "incoming").iterdir()):
                    time.sleep(0.01)
            end = time.monotonic() + 30
            while list((tmp_path / "incoming").iterdir()):
                assert time.monotonic() < end
                time.sleep(0.01)
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request("GET", "/metrics")
        with closing(connection), connection.getresponse() as answer:
            metrics = answer.read().decode()

    assert 'status="500"' not in metrics
    assert not [record for record in caplog.records if record.name == "foveate.server"]


def test_downloads_that_wait_for_the_io_worker_leave_threads_for_the_page(model, tmp_path, monkeypatch):
    monkeypatch.setattr(routes, "EXPORT_THREADS", 1)
    io_worker = tiny_server.Inline()
    with ThreadPoolExecutor(1) as pool, listening(model, tmp_path, io_worker) as address:
        client = Client(f"http://{address[0]}:{address[1]}")
        (tmp_path / "eye.png").write_bytes(picture())
        photograph = f"/api/photographs/{client.wait(client.submit(tmp_path / 'eye.png').id).id}"
        client._send_json("PATCH", photograph, {"thresholds": {"EX": 0.3}}, dict)
        io_worker.hold.clear()
        waiting = pool.submit(ask, address, f"{photograph}/download")
        end = time.monotonic() + 30
        while not io_worker._lock.locked():
            assert time.monotonic() < end
            time.sleep(0.01)

        assert ask(address, f"{photograph}/overlay.jpg") == 429
        assert ask(address, photograph) == 200
        io_worker.hold.set()
        assert waiting.result() == 200
        assert ask(address, f"{photograph}/overlay.jpg") == 200


def test_nothing_of_a_request_goes_to_open_telemetry(model, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")

    config = create(Options(data=tmp_path, model=model)).routes._telemetry

    assert [name for name in ("tracing", "metrics", "logs", "operation_spans") if config[name]] == []
    assert config["auto_configure"] is False
