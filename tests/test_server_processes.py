"""The server as it is run: a process with workers of its own, many clients, and whatever kills it."""

import concurrent.futures
import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_package
import tiny_server

import foveate
from foveate import cli, models
from foveate.client import Client
from foveate.errors import FoveateError, ServerError
from foveate.server.errors import ServiceError
from foveate.server.jobs import worker_pool
from foveate.server.jobs.protocol import PredictTask, ReceiveTask
from foveate.server.options import Options

SOURCE = str(Path(foveate.__file__).parent.parent)

CLIENTS, EACH = 16, 200


@contextmanager
def serving(data, model, *options):
    """Yield a server's process and address; it is killed at the end."""
    command = ["-m", "foveate", "serve", "--data", data, "--model", model, "--engine", "onnx"]
    process = subprocess.Popen(
        [sys.executable, *map(str, command), "--threads", "1", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )
    timer = threading.Timer(300, process.kill)  # nothing here may hang
    timer.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("Foveate serves at http://127.0.0.1:"), line + process.stderr.read()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.wait()
        timer.cancel()
        process.stdout.close()
        process.stderr.close()


def workers_of(process):
    """Return the processes that a server has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process.pid:
            found.append(int(place.parent.name))
    return found


def is_running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@functools.cache
def plain():
    """Return a drawn fundus without a spot."""
    pixels = tiny_package.fundus()
    pixels[(pixels != 0).any(axis=2)] = (120, 80, 40)
    return pixels


def eye(seed):
    """Return a photograph of its own, and what its one bright spot comes to."""
    pixels = plain().copy()
    side = 6 + seed % 50
    row, column = 40 + 2 * (seed // 50), 60 + seed % 7
    pixels[row : row + side, column : column + side] = (250, 230, 90)
    pixels[128, 128] = (120, 80, seed % 200)
    return tiny_server.png(pixels), side**2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_two_hundred_photographs_from_sixteen_clients_and_none_lost_or_wrong(model, tmp_path):
    waited = threading.Event()
    with serving(tmp_path / "data", model, "--queue", "40", "--workers", "2") as (_, address):

        def send(seed):
            path = tmp_path / f"{seed}.png"
            content, area = eye(seed)
            path.write_bytes(content)
            client = Client(address)
            found = client.wait(client.submit(path).id, seconds=250.0)
            return seed, found, area

        def browse(stop):
            client = Client(address)
            while not stop.wait(0.05):
                told = client.photographs()
                waited.set()
                assert sum(one.state == "queued" for one in told) <= 40

        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS + 1) as pool:
            browsing = pool.submit(browse, stop)
            done = list(pool.map(send, range(EACH)))
            stop.set()
            browsing.result()
        kept = Client(address).photographs()

    assert len({found.id for _, found, _ in done}) == len(kept) == EACH
    assert len({found.response["sha256"] for _, found, _ in done}) == EACH
    for seed, found, area in done:
        assert (found.name, found.state) == (str(seed), "done")
        assert found.lesions["EX"].count == 1
        assert found.lesions["EX"].area_px == area
    assert waited.is_set()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_a_server_that_was_killed_goes_on_where_it_was(model, tmp_path):
    data, path = tmp_path / "data", tiny_package.photograph(tmp_path / "eye.png", diameter=700)
    with serving(data, model) as (process, address):
        client = Client(address)
        finished = client.wait(client.submit(path).id, seconds=60.0)
        stroke = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[500, 500]], "author": "AB"}
        client._send_json("POST", f"/api/photographs/{finished.id}/corrections/strokes", stroke, dict)
        corrected = client.photograph(finished.id)
        under_way = [client.submit(path).id for _ in range(2)]
        while client.photograph(under_way[0]).state == "queued":
            time.sleep(0.01)
        workers = workers_of(process)
        assert len(workers) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()

        end = time.monotonic() + 20
        while any(map(is_running, workers)):
            assert time.monotonic() < end, "a worker outlived its server"
            time.sleep(0.05)

    with serving(data, model) as (process, address):
        client = Client(address)
        assert client.photograph(finished.id).response == corrected.response
        for identifier in under_way:
            found = client.wait(identifier, seconds=60.0)
            assert found.lesions == finished.lesions
        assert not list((data / "incoming").iterdir())

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_a_download_is_what_the_command_line_writes_and_no_log_holds_a_name(model, tmp_path):
    path = tiny_package.photograph(tmp_path / "Jane-Doe.png", seed=9)
    command = [
        "predict",
        path,
        "--out",
        tmp_path / "out",
        "--model",
        model,
        "--engine",
        "onnx",
        "--threads",
        "1",
    ]
    subprocess.run(
        [sys.executable, "-m", "foveate", *map(str, command)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with serving(tmp_path / "data", model) as (process, address):
        client = Client(address)
        found = client.wait(client.submit(path).id, seconds=60.0)
        client.download(found.id, tmp_path / "all.zip")
        with pytest.raises(ServerError):
            client.submit(tmp_path / "broken.png")
        process.send_signal(signal.SIGINT)
        process.wait(30)
        attribution = process.stdout.read() + process.stderr.read()

    assert "Jane" not in attribution
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / "out" / name).read_bytes(), name
        written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
        assert written - set(archive.namelist()) == {"run.json"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_a_zip_is_unpacked_once_and_nothing_of_it_is_left(model, tmp_path, monkeypatch):
    temporary, data, zipped = tmp_path / "temporary", tmp_path / "data", tmp_path / "tiny-zip.zip"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with zipfile.ZipFile(zipped, "w") as archive:
        for file in model.iterdir():
            archive.write(file, f"tiny/{file.name}")
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=300)

    def predicted_model(client):
        found = client.wait(client.submit(path).id, seconds=60.0)
        return found.response["result"]["model"]

    with serving(data, zipped, "--workers", "2") as (process, address):
        client = Client(address)
        before = predicted_model(client)
        for worker in workers_of(process):
            os.kill(worker, signal.SIGKILL)
        zipped.rename(tmp_path / "moved.zip")
        assert predicted_model(client) == before
        assert before["name"] == "tiny"
        assert before["sha256"] == models.load(model).digest
        assert not list(temporary.iterdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not list((data / "incoming").iterdir())

    with serving(data, tmp_path / "moved.zip") as (process, address):
        process.kill()
        process.wait()
    with serving(data, model) as (process, address):
        assert not list((data / "incoming").iterdir())
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--host", "0.0.0.0"], "lets other machines reach the server"),
        (["--queue", "0"], "limit waiting is 0"),
        (["--root", "missing"], "no such folder"),
        (["--token-file", "missing"], "cannot be read"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path, monkeypatch, capsys, options, line):
    def serves(*_, **__):
        raise AssertionError("it is served")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker_pool, "WorkerProcess", serves)
    monkeypatch.setattr("uvicorn.Server.run", serves)

    code = cli.run(["serve", "--data", "data", "--port", "0", *options])

    assert code == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert line in message


def test_a_server_whose_worker_cannot_start_says_so_in_one_line(tmp_path):
    command = ["serve", "--data", "data", "--port", "0", "--model", "nowhere"]
    done = subprocess.run(
        [sys.executable, "-m", "foveate", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )

    assert done.returncode == 1
    assert "no such model package" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def worker(model, tmp_path_factory):
    """A process that looks."""
    process = worker_pool.WorkerProcess(
        Options(data=tmp_path_factory.mktemp("data"), model=model, engine="onnx", threads=1), loads_model=True
    )
    yield process
    process.close()


def predicting(folder, diameter=1400):
    """Return a task that takes a while."""
    folder.mkdir()
    tiny_package.photograph(folder / "upload.png", diameter=diameter).rename(folder / "upload")
    return PredictTask(folder=folder, key="eye", field="auto", region=None, pixels=120_000_000)


def test_a_worker_that_is_lost_or_too_slow_is_replaced(worker, tmp_path):
    assert worker.handshake().name == "tiny"
    task = predicting(tmp_path / "one")

    def kill(share):
        os.kill(worker._process.pid, signal.SIGKILL)

    with pytest.raises(worker_pool.LostError):
        worker.do(task, kill, 60.0)
    with pytest.raises(worker_pool.TooSlowError):
        worker.do(task, lambda share: None, 0.0)
    shares = []
    assert worker.do(task, shares.append, 60.0).facts.lesions["EX"].model_extra["count"] > 0
    assert shares == sorted(shares)


def test_a_worker_that_cannot_be_replaced_says_why_and_starts_later(model, tmp_path, monkeypatch):
    package, moved = tmp_path / "package", tmp_path / "moved"
    shutil.copytree(model, package)
    process = worker_pool.WorkerProcess(
        Options(data=tmp_path / "data", model=package, engine="onnx", threads=1), loads_model=True
    )
    task = ReceiveTask(folder=tmp_path, pixels=1000)

    def kill():
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()

    def no_memory(*arguments, **named):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    try:
        process.handshake()
        kill()
        with monkeypatch.context() as patch:
            patch.setattr(worker_pool.subprocess, "Popen", no_memory)
            for _ in range(2):
                with pytest.raises(worker_pool.StartError, match=r"cannot be started .*allocate memory"):
                    process.do(task, lambda share: None, 60.0)
        package.rename(moved)
        with pytest.raises(worker_pool.StartError, match="no such model package"):
            process.do(task, lambda share: None, 60.0)
        process._process.wait()
        moved.rename(package)
        with pytest.raises(ServiceError, match="No such file"):  # the worker runs, and has no upload to read
            process.do(task, lambda share: None, 60.0)
    finally:
        process.close()


def test_a_task_that_is_cancelled_ends(worker, tmp_path):
    task = predicting(tmp_path / "one")

    with pytest.raises(worker_pool.CancelledError):
        worker.do(task, lambda share: worker.cancel(), 60.0)

    assert worker.do(task, lambda share: None, 60.0).facts.quality is not None


def test_a_worker_refuses_by_name_and_survives(worker, tmp_path):
    (tmp_path / "upload").write_bytes(b"")
    with pytest.raises(ServiceError, match="empty") as raised:
        worker.do(ReceiveTask(folder=tmp_path, pixels=1000), lambda share: None, 60.0)
    assert raised.value.code == "unreadable"
    without_model = worker_pool.WorkerProcess(Options(data=tmp_path), loads_model=False)
    try:
        with pytest.raises(ServiceError, match="error in Foveate itself"):
            without_model.do(predicting(tmp_path / "one"), lambda share: None, 60.0)
    finally:
        without_model.close()


def test_a_worker_imports_nothing_from_the_folder_in_which_the_server_is_started(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    process = worker_pool.WorkerProcess(Options(data=tmp_path), loads_model=False)
    try:
        assert process.handshake() is None
    finally:
        process.close()


def test_a_worker_that_cannot_start_says_why(tmp_path):
    process = worker_pool.WorkerProcess(Options(data=tmp_path, model="nowhere"), loads_model=True)
    try:
        with pytest.raises(FoveateError, match="no such model package"):
            process.handshake()
    finally:
        process.close()
