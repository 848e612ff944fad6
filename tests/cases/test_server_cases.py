"""Cases of a running server: deletion while reading, heavy inputs, slow and many clients."""

import http.client
import math
import random
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parent.parent))

import tiny_server
from tiny_server import done, picture

from foveate.inference.api import load
from foveate.server.errors import ServiceError
from foveate.server.http import connections, guard, serving
from foveate.server.http.app import create
from foveate.server.jobs.worker_pool import WorkerPool
from foveate.server.options import Options
from foveate.server.review import strokes

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


@pytest.mark.parametrize("path", ["/download", "/training", "/overlay.jpg", "/report"])
def test_files_that_are_written_for_a_deleted_photograph_are_deleted_and_the_answer_is_404(
    client, monkeypatch, path
):
    identifier = done(client)["id"]
    photograph = f"/api/photographs/{identifier}"
    client.patch(photograph, json={"thresholds": {"EX": 0.3}, "reviewed": True})
    run, deletes = client.service.jobs.run_io_task, []

    def delete_first(task):
        if not deletes:
            deletes.append(client.service.delete(identifier))
        return run(task)

    monkeypatch.setattr(client.service.jobs, "run_io_task", delete_first)
    answer = client.get(photograph + path)

    assert deletes == [True]
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert not client.service.data_dir.photograph(identifier).folder.exists()


def test_an_edit_of_a_photograph_whose_files_are_gone_is_404(client):
    identifier = done(client)["id"]
    record = client.service.record(identifier)
    client.service.delete(identifier)

    with pytest.raises(ServiceError, match="no such photograph"):
        client.service.references.put(record, "truth", "EX", np.ones((record.height, record.width), bool))
    with pytest.raises(ServiceError, match="no such photograph"):
        client.service.database.counts(identifier, "EX")
    with pytest.raises(ServiceError, match="no such photograph"):
        client.service.database.present(identifier)
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

    covered = strokes.covered([*points, *circle], 512.0, (2848, 4288))

    assert time.process_time() - start < 15
    assert covered is not None
    assert covered.pixels.mean() > 0.9


TOKEN = "a-token-that-is-long-enough"


@contextmanager
def listening(model, data, **changes):
    """Yield the address of a server that listens on a socket, as (host, port)."""
    worker = tiny_server.Inline(load(model, engine="onnx", threads=1))
    pool = WorkerPool(io_worker=tiny_server.Inline(), inference_workers=[worker])
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
