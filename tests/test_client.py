"""The client returns what the server states, and tries again while the queue is full."""

import threading
import zipfile
from contextlib import contextmanager

import pytest
import tiny_package
import tiny_server
import uvicorn

from foveate.client import Client
from foveate.errors import ServerError
from foveate.inference.api import load
from foveate.server.http.app import create
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
