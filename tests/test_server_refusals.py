"""What the server answers when its disk, its database or a worker refuses."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import tiny_package
import tiny_server
from tiny_server import done, picture, submit

from foveate import atomic_files
from foveate.errors import OutputError
from foveate.server.errors import ServiceError
from foveate.server.jobs import tasks, worker_pool
from foveate.server.jobs.protocol import ReadMaskTask, ReceiveTask
from foveate.server.storage import refusals
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def client(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model) as client:
        yield client


NUMBERS = [
    (errno.ENOSPC, 507, "no_space"),
    (errno.EDQUOT, 507, "no_space"),
    (errno.EMFILE, 429, "busy"),
    (errno.EACCES, 500, "storage"),
    (errno.EROFS, 500, "storage"),
    (errno.EIO, 500, "storage"),
]
"""Number of an error, and what is answered."""


@pytest.mark.parametrize(("number", "status", "code"), NUMBERS)
def test_an_error_number_has_one_answer_whether_it_came_bare_or_with_a_path(number, status, code):
    bare = OSError(number, os.strerror(number))
    named = atomic_files.output_error(Path("/data/photographs/x"), bare)

    for error in (bare, named):
        refusal = refusals.disk_error(error)
        assert refusal.code == code
        assert "/data" not in refusal.message
        assert code != "storage" or os.strerror(number) in refusal.message


def test_an_output_error_that_is_not_the_systems_is_no_full_disk():
    assert refusals.disk_error(OutputError("a name that leads out")).code == "storage"


def sqlite_error(code, message):
    """Return an error as SQLite raises it."""
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "beside", "code"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full"), None, "no_space"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE, "disk I/O error"), errno.EDQUOT, "no_space"),
        (sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE, "disk I/O error"), errno.ENOSPC, "no_space"),
        (sqlite_error(sqlite3.SQLITE_IOERR_READ, "disk I/O error"), None, "storage"),
        (sqlite_error(sqlite3.SQLITE_BUSY, "database is locked"), None, "busy"),
        (sqlite_error(sqlite3.SQLITE_READONLY, "attempt to write a readonly database"), None, "storage"),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY failed"), None, "not_found"),
    ],
)
def test_a_database_that_refuses_is_asked_for_the_reason(tmp_path, monkeypatch, error, beside, code):
    data_dir = DataDir(tmp_path)
    if beside is not None:

        def refuse(folder):
            raise atomic_files.output_error(folder, OSError(beside, os.strerror(beside)))

        monkeypatch.setattr(atomic_files, "require_writable", refuse)

    assert refusals.database_error(error, data_dir).code == code
    data_dir.close()


def refuse(monkeypatch, name, number, place):
    """Let a method of paths fail for paths in a place."""
    method = getattr(Path, name)

    def refused(path, *arguments, **named):
        if place in path.parts:
            raise OSError(number, os.strerror(number), str(path))
        return method(path, *arguments, **named)

    monkeypatch.setattr(Path, name, refused)


@pytest.mark.parametrize(("number", "status", "code"), NUMBERS)
def test_an_upload_that_cannot_be_written_says_why(client, monkeypatch, number, status, code):
    refuse(monkeypatch, "open", number, "incoming")

    answer = submit(client, picture())

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(("number", "status", "code"), NUMBERS)
def test_a_photograph_whose_folder_cannot_be_made_says_why(client, monkeypatch, number, status, code):
    refuse(monkeypatch, "mkdir", number, "photographs")

    answer = submit(client, picture())

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert client.get("/api/photographs").json()["total"] == 0


@pytest.mark.parametrize(("number", "status", "code"), NUMBERS)
def test_a_photograph_whose_tiles_cannot_be_written_says_why(client, monkeypatch, number, status, code):
    refuse(monkeypatch, "write_bytes", number, "photographs")

    answer = submit(client, picture())

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert list(client.service.data_dir.photographs.iterdir()) == []


@pytest.mark.parametrize("refusal", NUMBERS)
@pytest.mark.parametrize("path", ["corrections/masks/EX", "references/truth/EX"])
def test_a_mask_that_cannot_be_written_says_why(client, monkeypatch, path, refusal):
    number, status, code = refusal
    photograph = f"/api/photographs/{done(client)['id']}"
    refuse(monkeypatch, "write_bytes", number, "incoming" if "corrections" in path else "references")
    content = tiny_package.fundus()[..., 0] > 200

    answer = client.put(
        f"{photograph}/{path}", content=tiny_server.png(content), headers={"Content-Type": "image/png"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("refusal", NUMBERS)
@pytest.mark.parametrize("path", ["download", "training", "overlay.jpg"])
def test_files_that_cannot_be_written_say_why(client, monkeypatch, path, refusal):
    number, status, code = refusal
    photograph = f"/api/photographs/{done(client)['id']}"
    client.patch(photograph, json={"reviewed": True, "thresholds": {"EX": 0.3}})
    refuse(monkeypatch, "write_bytes", number, "photographs")

    answer = client.get(f"{photograph}/{path}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(("number", "status", "code"), NUMBERS)
def test_a_zip_that_cannot_be_written_says_why(client, monkeypatch, number, status, code):
    photograph = f"/api/photographs/{done(client)['id']}"

    def refused(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("foveate.server.exports.downloads.zipfile.ZipFile.writestr", refused)
    answer = client.get(f"{photograph}/download")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert list(client.service.data_dir.incoming.iterdir()) == []


def test_a_photograph_that_meets_a_full_disk_waits_until_there_is_space(client, monkeypatch):
    monkeypatch.setattr("foveate.server.jobs.queue.RETRY_SECONDS", 0.05)
    write, refused = tasks.np.savez_compressed, []

    def full_five_times(*arguments, **named):
        if len(refused) < 5:  # more often than a photograph is tried
            refused.append(client.service.database.states()["running"])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments, **named)

    monkeypatch.setattr(tasks.np, "savez_compressed", full_five_times)
    photograph = done(client)

    assert refused == [1] * 5
    assert photograph["state"] == "done"
    assert client.service.record(photograph["id"]).attempts == 1


class Lost:
    """An I/O worker that is lost a number of times, and then works."""

    def __init__(self, worker, error, times):
        self._worker, self._error, self.times = worker, error, times

    def __getattr__(self, name):
        return getattr(self._worker, name)

    def do(self, task, progress, seconds):
        if self.times:
            self.times -= 1
            raise self._error
        return self._worker.do(task, progress, seconds)


def lose(client, error, times):
    """Let the I/O worker of a server be lost."""
    workers = client.service.jobs._workers
    object.__setattr__(workers, "io_worker", Lost(workers.io_worker, error, times))
    return workers.io_worker


def test_an_upload_whose_worker_is_lost_once_is_received_all_the_same(client):
    lose(client, worker_pool.LostError(), 1)

    assert submit(client, picture()).status_code == 201


@pytest.mark.parametrize(("error", "times"), [(worker_pool.LostError(), 2), (worker_pool.TooSlowError(), 1)])
def test_a_lost_worker_is_explained_by_what_it_was_doing(client, error, times):
    photograph = f"/api/photographs/{done(client)['id']}"
    client.patch(photograph, json={"thresholds": {"EX": 0.3}, "reviewed": True})
    mask = tiny_server.png(tiny_package.fundus()[..., 0] > 200)
    requests = {
        "it takes too much time or memory to read": lambda: submit(client, picture(1)),
        "the mask takes too much time or memory to read": lambda: client.put(
            f"{photograph}/references/truth/EX", content=mask, headers={"Content-Type": "image/png"}
        ),
        "its files take too much time or memory to write": lambda: client.get(f"{photograph}/download"),
    }
    for line, request in requests.items():
        lose(client, error, times)
        answer = request()
        assert answer.json()["error"]["message"].startswith(line)
        assert answer.status_code == (500 if "write" in line else 422)
        assert request().status_code < 300  # the next one is done by the new worker


def test_a_worker_that_cannot_be_replaced_is_no_fault_of_an_upload(client, caplog):
    worker = lose(client, worker_pool.StartError("a worker cannot be started (no memory)"), 1)

    answer = submit(client, picture())

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
    assert int(answer.headers["retry-after"]) > 0
    assert "cannot be started (no memory)" in caplog.text
    assert not list(client.service.data_dir.photographs.iterdir())

    lose(client, worker_pool.LostError(), 1)
    worker.times = 1  # its replacement cannot be started either
    assert submit(client, picture()).status_code == 429
    assert submit(client, picture()).status_code == 201


def test_what_a_lost_worker_left_unfinished_is_removed_by_the_next(client):
    folder = client.service.data_dir.photographs / ("a" * 32)
    folder.mkdir()
    leftover = folder / ".foveate-0123456789abcdef.part"
    leftover.write_bytes(b"torn")
    (folder / "upload").write_bytes(picture())

    tasks.receive(ReceiveTask(folder=folder, pixels=10**8))

    assert sorted(path.name for path in folder.iterdir()) == ["photo.tiles", "thumbnail.jpg", "upload"]


def test_a_mask_that_the_system_refuses_to_read_is_not_called_unreadable(tmp_path):
    task = ReadMaskTask(mask=tmp_path / "mask", out=tmp_path / "out.png", height=4, width=4)

    with pytest.raises(ServiceError) as refused:
        tasks.read_mask(task)  # there is no such file

    assert refused.value.code == "storage"


def test_a_restart_removes_unfinished_files_and_keeps_the_photograph(model, tmp_path):
    with tiny_server.running(tmp_path, model) as client:
        identifier = done(client)["id"]
        folder = client.service.data_dir.photograph(identifier).folder
    (folder / ".foveate-0123456789abcdef.part").mkdir()

    with tiny_server.running(tmp_path, model) as client:
        assert client.get(f"/api/photographs/{identifier}/download").status_code == 200
        assert not list(folder.glob(".foveate-*"))


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("upload", "download"),
        ("seen.npz", "overlay.jpg"),
        ("photo.tiles", "tiles/0/0_0.jpg"),
        ("maps.tiles", "stack/model/0/0_0.png"),
    ],
)
@pytest.mark.parametrize("length", [0, 10, -3])
def test_a_file_that_is_torn_or_gone_is_no_fault_of_whoever_asks(client, file, path, length):
    identifier = done(client)["id"]
    photograph, place = f"/api/photographs/{identifier}", client.service.data_dir.photograph(identifier)
    client.patch(photograph, json={"thresholds": {"EX": 0.3}})
    content = (place.folder / file).read_bytes()
    if file.endswith(".tiles"):
        (place.folder / file).write_bytes(content[:length])
        client.service.packs.forget(place.folder / file)
    else:
        (place.folder / file).unlink()

    answer = client.get(f"{photograph}/{path}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "storage")


@pytest.mark.parametrize("field", ["10,10,-5", "10,10,0", "1e300,1e300,1e300", "nan,1,1", "1,2", "1,2,inf"])
def test_a_field_that_no_photograph_has_is_refused_at_once(client, field):
    answer = submit(client, picture(), field=field)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_on_a_full_disk_a_photograph_and_its_gradings_can_be_deleted(client, monkeypatch):
    photograph = done(client)["id"]
    copy = client.post(f"/api/photographs/{photograph}/gradings", json={"grader": "Ann"}).json()["id"]
    folders = [client.service.data_dir.photograph(identifier).folder for identifier in (photograph, copy)]
    delete, refused = Database.delete, []

    def delete_with_space(self, identifier):
        if any(folder.exists() for folder in folders):
            refused.append(identifier)
            raise sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full")
        return delete(self, identifier)

    monkeypatch.setattr(Database, "delete", delete_with_space)

    assert client.delete(f"/api/photographs/{photograph}").status_code == 204
    assert refused == [photograph]
    assert not list((client.service.data_dir.data / "gone").iterdir())
    for identifier in (photograph, copy):
        assert client.get(f"/api/photographs/{identifier}").status_code == 404


def test_a_database_that_fails_otherwise_deletes_no_file(client, monkeypatch):
    photograph = done(client)["id"]
    error = sqlite_error(sqlite3.SQLITE_READONLY, "attempt to write a readonly database")

    def refuse(self, identifier):
        raise error

    monkeypatch.setattr(Database, "delete", refuse)

    assert client.delete(f"/api/photographs/{photograph}").status_code == 500
    assert client.service.data_dir.photograph(photograph).results.is_dir()


def test_a_batch_that_is_deleted_while_a_photograph_is_read_is_404(client, monkeypatch):
    batch = client.post("/api/batches", json={"name": "clinic"}).json()["id"]
    read = client.service.jobs.run_io_task

    def read_and_delete(task):
        received = read(task)
        assert client.delete(f"/api/batches/{batch}").status_code == 204
        return received

    monkeypatch.setattr(client.service.jobs, "run_io_task", read_and_delete)
    answer = submit(client, picture(), batch=batch)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "no such batch" in answer.json()["error"]["message"]
    assert not any(client.service.data_dir.photographs.iterdir())


def test_a_photograph_that_is_submitted_while_its_batch_is_deleted_is_deleted_too(client, monkeypatch):
    batch = client.post("/api/batches", json={"name": "clinic"}).json()["id"]
    photograph = done(client, batch=batch)["id"]
    identifiers, asked = Database.identifiers, []

    def identifiers_of_a_moment_ago(self, batch=None):
        asked.append(batch)
        return [] if len(asked) == 1 else identifiers(self, batch)

    monkeypatch.setattr(Database, "identifiers", identifiers_of_a_moment_ago)

    assert client.delete(f"/api/batches/{batch}").status_code == 204
    assert client.get(f"/api/photographs/{photograph}").status_code == 404
    assert client.get(f"/api/batches/{batch}").status_code == 404
