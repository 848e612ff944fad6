"""The client returns what the server states, and tries again while the queue is full."""

import errno
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import tiny_package
import tiny_server
import uvicorn

from foveate.client import Client
from foveate.errors import ServerError
from foveate.inference.api import load
from foveate.server.http.app import create
from foveate.server.jobs.protocol import ReceiveTask
from foveate.server.jobs.worker_pool import WorkerPool
from foveate.server.options import Limits, Options

TOKEN = "a-token-that-is-long-enough"


@contextmanager
def serving(data, model, **changes):
    """Yield the address of a running server, and its inference worker."""
    worker = tiny_server.Inline(load(model, engine="onnx", threads=1))
    app = create(
        Options(data=data, model=model, **changes),
        lambda _: WorkerPool(io_worker=tiny_server.Inline(), inference_workers=[worker]),
    )
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws="none")
    listening = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", worker
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), model) as (address, _):
        yield address


@pytest.fixture
def client(address):
    return Client(address)


def test_a_submitted_photograph_is_processed_and_its_files_are_downloaded(client, tmp_path):
    path = tiny_package.photograph(tmp_path / "Müller, left.png", seed=3)
    batch = client.batch("Monday")

    submitted = client.submit(path, batch=batch)
    done = client.wait(submitted.id, seconds=60.0)
    client.download(done.id, tmp_path / "left.zip", parts=["masks"])

    assert (done.name, done.state, done.width) == ("Müller, left", "done", 256)
    assert done.lesions["EX"].count > 0
    assert [photograph.id for photograph in client.photographs(batch=batch)] == [done.id]
    with zipfile.ZipFile(tmp_path / "left.zip") as archive:
        assert archive.namelist() == ["masks/Muller__left_EX.png", "masks/Muller__left_MA.png"]
    regions = client.regions(done.id, lesion="EX")
    assert len(regions) == done.lesions["EX"].count
    assert sum(region.area_px for region in regions) == done.lesions["EX"].area_px
    assert len(client.regions(done.id)) == sum(lesion.count for lesion in done.lesions.values())
    changed = client.choose(done.id, {"EX": 0.2})
    assert changed.lesions["EX"].threshold == 0.2
    assert len(client.regions(done.id, lesion="EX", threshold=0.2)) == changed.lesions["EX"].count
    client.delete(done.id)
    with pytest.raises(ServerError, match="no such photograph") as raised:
        client.photograph(done.id)
    assert (raised.value.status, raised.value.code) == (404, "not_found")


NUMPY = """
import sys
import numpy as np
from foveate.client import Client
from foveate.errors import ServerError

client, photograph = Client(sys.argv[1]), sys.argv[2]
print(client.choose(photograph, {"EX": np.float32(0.25)}).lesions["EX"].threshold)
print(len(client.regions(photograph, lesion="EX", threshold=np.float64(0.25))))
client.download(photograph, sys.argv[3], parts="masks")
for call in (
    lambda: client.choose(photograph, {"EX": "high"}),
    lambda: client.regions(photograph, lesion="EX", threshold="high"),
):
    try:
        print("done:", call())
    except ServerError as error:
        print(error)
"""


def test_numbers_of_numpy_and_a_single_part_are_sent(client, address, tmp_path):
    id = client.wait(client.submit(tiny_package.photograph(tmp_path / "eye.png", seed=3)).id, seconds=60.0).id

    done = subprocess.run(  # without the type checks that the tests add
        [sys.executable, "-c", NUMPY, address, id, tmp_path / "masks.zip"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        "0.25",
        str(client.photograph(id).lesions["EX"].count),
        "threshold EX is 'high'; give a number",
        "threshold is 'high'; give a number",
    ]
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        assert archive.namelist() == ["masks/eye_EX.png", "masks/eye_MA.png"]


def test_a_request_that_fails_is_an_error_of_one_line(client, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ServerError, match="is text"):
        client.submit(tmp_path / "text.jpg")
    with pytest.raises(ServerError, match="cannot be read"):
        client.submit(tmp_path / "missing.jpg")
    lit = tiny_package.fundus() * 0 + (120, 80, 50)  # all of it: there is no rim
    (tmp_path / "lit.png").write_bytes(tiny_server.png(lit.astype("uint8")))
    submitted = client.submit(tmp_path / "lit.png")
    with pytest.raises(ServerError, match="lit: no round field"):
        client.wait(submitted.id, seconds=60.0)
    with pytest.raises(ServerError, match="cannot be written"):
        client.download(
            client.wait(client.submit(tiny_package.photograph(tmp_path / "a.png")).id).id,
            tmp_path / "no" / "a.zip",
        )


def test_a_missing_server_is_an_error(tmp_path):
    with pytest.raises(ServerError, match="is the server running"):
        Client("http://127.0.0.1:9").photographs()
    with pytest.raises(ServerError, match="no address of a server"):
        Client("ftp://somewhere")


def test_a_request_is_repeated_while_the_queue_is_full_and_the_token_is_sent(model, tmp_path):
    path = tiny_package.photograph(tmp_path / "eye.png")
    with serving(tmp_path / "data", model, token=TOKEN, limits=Limits(waiting=1)) as (address, worker):
        worker.hold.clear()
        client = Client(address, token=TOKEN)
        first = client.submit(path)
        while client.photograph(first.id).state == "queued":
            pass
        client.submit(path)
        with pytest.raises(ServerError, match="the queue is full"):
            Client(address, token=TOKEN, patience=0.0).submit(path)
        threading.Timer(0.5, worker.hold.set).start()
        assert client.wait(client.submit(path).id, seconds=60.0).state == "done"
        with pytest.raises(ServerError, match="Bearer TOKEN"):
            Client(address).photographs()


def test_a_photograph_whose_answer_was_lost_is_submitted_again_and_added_once(model, tmp_path, monkeypatch):
    path, identifier = tiny_package.photograph(tmp_path / "eye.png"), uuid.uuid4().hex
    do, received = tiny_server.Inline.do, threading.Event()

    def do_slowly(worker, task, *more):
        if isinstance(task, ReceiveTask):
            assert received.wait(60)
        return do(worker, task, *more)

    monkeypatch.setattr(tiny_server.Inline, "do", do_slowly)
    with serving(tmp_path / "data", model) as (address, _):
        client = Client(address)
        with pytest.raises(ServerError, match="cannot be reached"):
            Client(address, timeout=1.0).submit(path, id=identifier)
        received.set()
        repeated = client.submit(path, id=identifier)
        path.write_bytes(bytes(8 << 20))  # the server does not need it, and reads it all the same

        assert repeated.id == client.submit(path, id=identifier).id == identifier
        assert [photograph.id for photograph in client.photographs()] == [identifier]
    with pytest.raises(ServerError, match="give 32 hex digits"):
        Client("http://127.0.0.1:9").submit(path, id="a\nb")


def framed(body, *, status="200 OK", length=None, more=""):
    """Return an HTTP response; `length` is what it states as its body's."""
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode() + body


@contextmanager
def answering(*answers, pause=0.0):
    """Yield the address of a server that gives one answer to each connection, and the heads of its requests.

    An answer of None resets the connection. The server keeps silent for `pause` seconds before it hangs up.
    """
    heads = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run():
            for answer in answers:
                connection, _ = listening.accept()
                with connection, connection.makefile("rb") as request, suppress(ConnectionError):
                    lines = list(iter(request.readline, b"\r\n"))
                    heads.append(b"".join(lines).decode("latin-1"))
                    for line in lines:
                        if line.lower().startswith(b"content-length:"):
                            request.read(int(line.split()[1]))
                    if answer is None:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        connection.sendall(answer)
                        time.sleep(pause)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heads
        thread.join(30)
        assert not thread.is_alive()


def zipped():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.bin", bytes(100_000))
    return content.getvalue()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

CALLS = {
    "submit": lambda client, path: client.submit(path),
    "photograph": lambda client, path: client.photograph("a"),
    "wait": lambda client, path: client.wait("a"),
    "photographs": lambda client, path: client.photographs(),
    "regions": lambda client, path: client.regions("a"),
    "choose": lambda client, path: client.choose("a", {"EX": 0.5}),
    "download": lambda client, path: client.download("a", path.with_name("a.zip")),
    "batch": lambda client, path: client.batch("Monday"),
    "delete": lambda client, path: client.delete("a"),
}
"""Every method that sends a request."""

ANSWERS = {
    "cut": (framed(b'{"id"', length=100), "cut off"),
    "cut chunk": (CHUNKED + b"64\r\nPK", "cut off"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "cannot be reached"),
    "reset": (None, "cannot be reached"),
    "no JSON": (framed(b"<html>"), "not that of a Foveate server|no complete ZIP"),
    "other JSON": (
        framed(b'{"result": 1, "photographs": 1}'),
        "not that of a Foveate server|no complete ZIP",
    ),
    "empty": (framed(b""), "not that of a Foveate server|no complete ZIP"),
    "deep JSON": (framed(b"[" * 100_000), "not that of a Foveate server|no complete ZIP"),
    "redirection": (
        framed(b"{}", status="302 Found", more="Location: https://eye.example/\r\n"),
        "redirects to https://eye.example/; give that address instead",
    ),
    "other status": (framed(b"", status="304 Not Modified"), "304 Not Modified"),
    "cut error": (framed(b'{"err', status="502 Bad Gateway", length=99), "502 Bad Gateway"),
    "error": (framed(b"<html>", status="503 No", more="Retry-After: \xb2\r\n"), "503 No"),
}
"""Answer of a server -> what the client's error says."""


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_cannot_be_used_is_an_error_of_one_line_in_every_method(tmp_path, call, answer):
    if call == "delete" and answer in {"other JSON", "empty"}:
        return  # its answer holds nothing
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=64)
    content, message = ANSWERS[answer]

    with answering(content) as (address, _), pytest.raises(ServerError, match=message) as raised:
        CALLS[call](Client(address, patience=0.0), path)

    assert "\n" not in str(raised.value)
    assert "check the path" not in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == ["eye.png"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (framed(zipped()[:10], length=100_000), "99,990 bytes are missing"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + zipped()[:50_000], "no complete ZIP"),
        (CHUNKED + b"186a0\r\n" + zipped()[:10], "cut off"),
        (framed(zipped(), status="302 Found"), "answers 302 Found"),
    ],
    ids=["length", "no length", "chunk", "redirection"],
)
def test_a_download_that_is_cut_off_leaves_the_earlier_file_and_nothing_else(tmp_path, answer, message):
    target = tmp_path / "left.zip"
    target.write_bytes(b"earlier")

    with answering(answer) as (address, _), pytest.raises(ServerError, match=message):
        Client(address).download("a", target)

    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"earlier"


def test_a_download_that_stalls_is_the_servers_error_and_one_that_cannot_be_written_is_not(tmp_path):
    stalled = answering(framed(zipped()[:10], length=100_000), pause=3.0)
    with stalled as (address, _), pytest.raises(ServerError, match=r"cut off \(timed out\)"):
        Client(address, timeout=1.0).download("a", tmp_path / "left.zip")
    (tmp_path / "folder").mkdir()
    with answering(framed(zipped())) as (address, _), pytest.raises(ServerError, match="cannot be written"):
        Client(address).download("a", tmp_path / "folder")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    for whole in (framed(zipped()), b"HTTP/1.0 200 OK\r\n\r\n" + zipped()):
        with answering(whole) as (address, _):
            Client(address).download("a", tmp_path / "left.zip")
        assert (tmp_path / "left.zip").read_bytes() == zipped()


def listing(names, total):
    """Return the answer with a page of a list; each photograph is named by one letter."""
    photograph = {"state": "queued", "error": None, "width": 256, "height": 256, "result": None}
    photographs = [{"id": name, "name": name, **photograph} for name in names]
    return framed(json.dumps({"photographs": photographs, "total": total}).encode())


@pytest.mark.parametrize("moved", ["cd", "ba", ""])
def test_a_list_whose_entries_move_between_two_pages_is_read_again(moved):
    answers = [listing("ab", 4), listing(moved, 3), listing("bc", 3), listing("cd", 3)]
    with answering(*answers) as (address, heads):
        photographs = Client(address).photographs()
    with (
        answering(*answers[:2] * 5) as (address, _),
        pytest.raises(ServerError, match="changed each time that it was read"),
    ):
        Client(address).photographs()

    assert "".join(photograph.id for photograph in photographs) == "bcd"
    assert [head.split("offset=")[1][0] for head in heads] == ["0", "1", "0", "1"]


def test_waiting_asks_for_no_longer_silence_than_the_timeout(model, tmp_path):
    with serving(tmp_path / "data", model) as (address, worker):
        worker.hold.clear()
        threading.Timer(1.5, worker.hold.set).start()
        client = Client(address, timeout=1.0)
        submitted = Client(address).submit(tiny_package.photograph(tmp_path / "eye.png"))
        assert client.wait(submitted.id, seconds=60.0).state == "done"


@pytest.mark.parametrize(
    "address",
    [
        *("http://localhost:80a", "http://localhost:99999", "http://[::1", "http://[x]:1"),
        *("http://a b:80", "http://a/b c", "http://a/\xfc", "http://", "localhost:8000", ""),
    ],
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ServerError, match="no address of a server; give one such as"):
        Client(address)


def test_an_address_is_used_as_it_was_read_from_a_file_and_without_a_port():
    with answering(framed(b"{}")) as (address, _):
        Client(f" {address}\n").delete("a")
    with pytest.raises(ServerError, match=r"^http://127\.0\.0\.1:9: cannot be reached"):
        Client("http://127.0.0.1:9\n").photographs()
    with pytest.raises(ServerError, match="cannot be reached"):
        Client(f"http://{'a' * 64}.example").photographs()  # longer than a name of a host may be
    assert (Client("http://[::1]")._host, Client("http://[::1]")._port) == ("::1", 80)


@pytest.mark.parametrize("token", ["", " \n", "a\nb", "a\0b", "токен-токен-токен", "\ud800"])
def test_a_token_that_no_header_can_hold_is_refused(token):
    with pytest.raises(ServerError, match="the token is empty, or contains characters"):
        Client("http://127.0.0.1:9", token=token)


def test_a_token_is_sent_without_the_line_end_of_its_file():
    with answering(framed(b"{}")) as (address, heads):
        Client(address, token=f"{TOKEN}\r\n").delete("a")
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in heads[0]


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
def test_a_timeout_that_no_connection_can_have_is_refused(timeout):
    with pytest.raises(ServerError, match="timeout is"):
        Client("http://127.0.0.1:9", timeout=timeout)


def test_names_that_are_no_text_are_sent_and_files_that_cannot_be_read_are_named(tmp_path):
    with answering(*[framed(b'{"error": {"message": "no\\nsuch", "code": "x"}}', status="404 No")] * 2) as (
        address,
        heads,
    ):
        path = tmp_path / os.fsdecode(b"\xff.png")
        path.write_bytes(b"x")
        for call in (lambda: Client(address).submit(path), lambda: Client(address).delete("\ud800")):
            with pytest.raises(ServerError, match=r"^no such$"):
                call()
    assert "\r\nFoveate-Name: %FF.png\r\n" in heads[0]
    assert heads[1].startswith("DELETE /api/photographs/%3F ")
    with pytest.raises(ServerError, match=r"cannot be read .*; check the path"):
        Client("http://127.0.0.1:9").submit(tmp_path)


def test_a_disk_that_fails_while_a_photograph_is_sent_is_not_the_servers_error(tmp_path, monkeypatch):
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=64)

    class Failing(io.BufferedReader):
        def read(self, size=-1):
            raise OSError(errno.EIO, "disk error")

    monkeypatch.setattr(Path, "open", lambda *_: Failing(io.FileIO(path)))
    with (
        answering(framed(b"")) as (address, _),
        pytest.raises(ServerError, match=r"eye\.png: cannot be read \(disk error\)"),
    ):
        Client(address).submit(path)
