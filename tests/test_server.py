"""What becomes of photographs that are submitted, and of the queue that they wait in."""

import errno
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import tiny_dicom
import tiny_package
import tiny_server
from PIL import Image
from tiny_server import done, picture, submit, waited

import foveate
from foveate.errors import OutputError, SettingError
from foveate.server import options
from foveate.server.errors import ServiceError
from foveate.server.http import serving
from foveate.server.jobs import queue, steady_clock, tasks, worker_pool
from foveate.server.jobs.protocol import PredictTask, ReceiveTask
from foveate.server.options import Limits, Options
from foveate.server.storage import counts, names
from foveate.server.storage.data_dir import DataDir, PhotographDir
from foveate.server.storage.database import Database


def until(wanted, seconds=20):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def test_a_photograph_is_found_to_hold_what_python_finds_in_it(client, model):
    pixels = tiny_package.fundus(seed=3)
    expected = foveate.load(model, engine="onnx", threads=1).segment(foveate.from_array(pixels))

    told = done(client, tiny_server.png(pixels), "left eye.png")

    assert (told["name"], told["width"], told["height"]) == ("left eye", 256, 256)
    for code, lesion in told["result"]["lesions"].items():
        mine = [region for region in expected.regions if region.lesion == code]
        assert lesion["count"] == len(mine) > 0
        assert lesion["area_px"] == sum(region.area_px for region in mine)
        assert lesion["mask_px"] == expected.mask(code).sum()


def test_what_is_no_photograph_is_refused_by_name_and_nothing_of_it_is_kept(client):
    before = client.get("/api/photographs").json()["total"]
    damaged = picture()[:-200]
    small = tiny_server.png(tiny_package.fundus(diameter=100))

    for content, reason in (
        (b"", "empty"),
        (b"GIF89a" + bytes(200), "GIF"),
        (damaged, "end"),
        (small, "256"),
    ):
        answer = submit(client, content)
        assert answer.status_code == 422, reason
        error = answer.json()["error"]
        assert (error["status"], error["code"]) == (422, "unreadable")
        assert reason in error["message"]
        assert str(client.service.data_dir.data) not in error["message"]

    assert client.get("/api/photographs").json()["total"] == before
    assert not list(client.service.data_dir.incoming.iterdir())
    assert len(list(client.service.data_dir.photographs.iterdir())) == before


def test_a_photograph_without_a_field_fails_with_the_reason_and_can_be_looked_at_again(client):
    grey = tiny_package.fundus()
    grey[...] = (90, 80, 70)  # lit everywhere: no disc

    told = done(client, tiny_server.png(grey))
    assert (told["state"], told["error"]["code"]) == ("failed", "no_field")
    assert client.get(f"/api/photographs/{told['id']}/tiles/0/0_0.jpg").status_code == 200
    assert client.get(f"/api/photographs/{told['id']}/counts").status_code == 409

    again = client.post(f"/api/photographs/{told['id']}/again", json={"field": "128,128,120"})
    assert (again.status_code, again.json()["error"]) == (202, None)
    told = waited(client, told["id"])
    assert told["state"] == "done"
    assert (told["result"]["field"]["x"], told["result"]["field"]["radius"]) == (128, 120)


def test_a_deleted_photograph_is_gone_from_the_disk_and_from_the_database(client):
    name = "Name-that-nobody-else-has"
    identifier = done(client, name=f"{name}.png")["id"]
    folder = client.service.data_dir.photograph(identifier).folder
    assert folder.is_dir()

    assert client.delete(f"/api/photographs/{identifier}").status_code == 204

    assert not folder.exists()
    assert client.get(f"/api/photographs/{identifier}").status_code == 404
    assert client.delete(f"/api/photographs/{identifier}").status_code == 404
    for path in client.service.data_dir.data.rglob("*"):
        assert name not in path.name
        assert not path.is_file() or name.encode() not in path.read_bytes(), path.name


def test_a_photograph_deleted_while_the_list_is_read_is_left_out_of_it(client, monkeypatch):
    kept, deleted = done(client, name="kept.png")["id"], done(client, name="deleted.png")["id"]
    database = client.service.database
    select = database.select

    def select_then_delete(query):
        chosen = select(query)
        database.delete(deleted)
        return chosen

    monkeypatch.setattr(database, "select", select_then_delete)
    record = database.get(deleted)

    listed = client.get("/api/photographs")

    assert listed.status_code == 200
    ids = [photograph["id"] for photograph in listed.json()["photographs"]]
    assert kept in ids
    assert deleted not in ids
    assert listed.json()["total"] == len(ids)
    client.service.presenter.publish(record)  # nothing to publish, and no error


def test_a_photograph_that_is_looked_at_can_be_deleted(client):
    client.predictor.hold.clear()
    try:
        identifier = submit(client, picture(7)).json()["id"]
        until(lambda: client.get(f"/api/photographs/{identifier}").json()["state"] == "running")

        assert client.delete(f"/api/photographs/{identifier}").status_code == 204
        until(lambda: client.service.jobs.lengths()["under_way"] == 0)
    finally:
        client.predictor.hold.set()

    assert not client.service.data_dir.photograph(identifier).folder.exists()
    assert done(client, picture(8))["state"] == "done"


ID = "0123456789abcdef" * 2


def upload(client, content, identifier=ID, **query):
    """Submit a photograph with an identifier; return the answer."""
    headers = {"Content-Type": "image/png", "Foveate-Name": "eye.png", "Foveate-Upload": identifier}
    return client.post("/api/photographs", content=content, headers=headers, params=query)


def test_an_upload_that_is_repeated_with_its_identifier_is_added_once(model, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "eye.png").write_bytes(picture())
    by_path = {"root": "clinic", "path": "eye.png"}
    settings = {"limits": Limits(waiting=1), "roots": {"clinic": tmp_path / "root"}}
    with tiny_server.running(tmp_path / "data", model, **settings) as client:
        client.predictor.hold.clear()
        first = upload(client, picture())
        until(lambda: client.get(f"/api/photographs/{ID}").json()["state"] == "running")
        submit(client, picture(1))
        repeated = upload(client, bytes(1 << 20), field="full")  # the queue is full; its body is not needed
        answer = client.post("/api/photographs/from-path", json=by_path, headers={"Foveate-Upload": ID})

        assert submit(client, picture(2)).status_code == 429
        assert (first.status_code, first.json()["id"]) == (201, ID)
        for again in (repeated, answer):
            assert (again.status_code, again.headers["Location"]) == (201, f"/api/photographs/{ID}")
            assert again.json()["sha256"] == first.json()["sha256"]
            assert again.json()["state"] == "running"
        assert client.get("/api/photographs").json()["total"] == 2
        client.predictor.hold.set()
        assert waited(client, ID)["state"] == "done"


def test_uploads_of_one_identifier_at_the_same_moment_add_one_photograph(client, monkeypatch):
    database, received = client.service.database, []
    add = database.add

    def add_slowly(photograph):
        time.sleep(0.3)
        return add(photograph)

    monkeypatch.setattr(database, "add", add_slowly)
    threads = [
        threading.Thread(target=lambda: received.append(upload(client, picture(4), "1" * 32)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [(answer.status_code, answer.json()["id"]) for answer in received] == [(201, "1" * 32)] * 4
    assert not list(client.service.data_dir.incoming.iterdir())
    assert waited(client, "1" * 32)["state"] == "done"


def test_photographs_of_one_name_sent_to_a_batch_at_the_same_moment_get_files_of_different_names(
    client, monkeypatch
):
    batch, database = client.post("/api/batches", json={}).json()["id"], client.service.database
    add = database.add

    def add_slowly(photograph):
        time.sleep(0.3)
        return add(photograph)

    monkeypatch.setattr(database, "add", add_slowly)
    threads = [
        threading.Thread(target=lambda: submit(client, picture(4), batch=batch, name="eye.png"))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(database.keys(batch)) == 3


def test_the_identifier_of_a_deleted_photograph_adds_none_before_a_start_a_week_later(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model) as client:
        upload(client, picture())
        client.delete(f"/api/photographs/{ID}")
        refused = upload(client, picture())

        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert "deleted since it was uploaded" in refused.json()["error"]["message"]
        assert client.get("/api/photographs").json()["total"] == 0
        assert upload(client, picture(), "2" * 32).status_code == 201

    with tiny_server.running(tmp_path / "data", model) as client:
        assert upload(client, picture()).status_code == 404
        with client.service.database.change() as connection:
            connection.execute("UPDATE removed SET deleted = deleted - 7 * 86400 - 1")

    with tiny_server.running(tmp_path / "data", model) as client:
        assert upload(client, picture()).json()["id"] == ID
        assert waited(client, ID)["state"] == "done"


def test_the_identifier_of_an_upload_that_was_refused_can_be_used_again(client):
    assert upload(client, b"hello", "3" * 32).status_code == 422
    assert upload(client, picture(), "3" * 32, batch="0" * 32).status_code == 404

    assert upload(client, picture(), "3" * 32).json()["id"] == "3" * 32


@pytest.mark.parametrize("identifier", ["", "A" * 32, "a" * 31, "a" * 33, "../" + "a" * 29, "a" * 32 + " b"])
def test_an_identifier_of_another_form_is_refused(client, identifier):
    refused = upload(client, picture(), identifier)

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid")
    assert "foveate-upload" in refused.json()["error"]["message"]


def test_a_full_queue_refuses_with_429_and_says_when_to_come_again(model, tmp_path):
    limits = Limits(waiting=2)
    with tiny_server.running(tmp_path / "data", model, limits=limits) as client:
        client.predictor.hold.clear()
        first = submit(client, picture(0)).json()["id"]
        until(lambda: client.get(f"/api/photographs/{first}").json()["state"] == "running")
        accepted = [submit(client, picture(seed)).json() for seed in (1, 2)]
        assert [one["position"] for one in accepted] == [1, 2]

        refused = submit(client, picture(3))

        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        client.predictor.hold.set()
        assert all(
            waited(client, one)["state"] == "done" for one in (first, *(two["id"] for two in accepted))
        )
        assert submit(client, picture(3)).status_code == 201


def test_limits_of_bytes_and_pixels_have_their_own_statuses(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model, limits=Limits(bytes=5000, pixels=70_000)) as client:
        large = submit(client, picture()[:4000] + bytes(4000))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_many_bytes")

        def endless():
            for _ in range(100):
                yield bytes(1000)

        headers = {"Content-Type": "image/png"}
        streamed = client.post("/api/photographs", content=endless(), headers=headers)
        assert (streamed.status_code, streamed.json()["error"]["code"]) == (413, "too_many_bytes")
        assert not list(client.service.data_dir.incoming.iterdir())

    with tiny_server.running(tmp_path / "more", model, limits=Limits(pixels=66_000)) as client:
        many = submit(client, picture(diameter=300))
        assert (many.status_code, many.json()["error"]["code"]) == (413, "too_many_pixels")


def test_what_the_server_has_accepted_can_be_exported_whatever_its_limit_is(model, tmp_path, monkeypatch):
    monkeypatch.setattr("foveate.photographs.LIMIT_PIXELS", 1000)
    with tiny_server.running(tmp_path / "data", model, limits=Limits(pixels=10**6)) as client:
        photograph = f"/api/photographs/{done(client)['id']}"
        client.patch(photograph, json={"reviewed": True, "thresholds": {"EX": 0.3}})

        for path in ("download", "training", "overlay.jpg"):
            assert client.get(f"{photograph}/{path}").status_code == 200


def test_a_full_disk_is_507(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model, limits=Limits(free=1 << 60)) as client:
        answer = submit(client, picture())

    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_space")


@pytest.fixture
def hasty(monkeypatch):
    """A queue that does not pause after the disk has refused."""
    monkeypatch.setattr(queue, "RETRY_SECONDS", 0.01)


class Failing:
    """A worker that fails in one way and then works."""

    def __init__(self, worker, *raised):
        self._hand = worker
        self.raised = list(raised)

    def __getattr__(self, name):
        return getattr(self._hand, name)

    def do(self, task, watch, seconds):
        if self.raised:
            raise self.raised.pop(0)
        return self._hand.do(task, watch, seconds)


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        ([worker_pool.LostError()], ("done", None)),
        ([worker_pool.LostError()] * 9, ("failed", "crashed")),
        ([worker_pool.StartError("no such model package")] * 9, ("done", None)),
        ([worker_pool.TooSlowError()], ("failed", "too_slow")),
        ([ServiceError("no_space", "full")] * 5, ("done", None)),
        ([ServiceError("storage", "a disk error")], ("failed", "storage")),
        ([ZeroDivisionError("with a secret name")], ("failed", "crashed")),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_every_accepted_photograph_is_done_or_says_why_not(model, tmp_path, raised, outcome, caplog):
    state, code = outcome
    with tiny_server.running(
        tmp_path / "data", model, wrap=lambda worker: Failing(worker, *raised)
    ) as client:
        told = done(client)
        after = done(client, picture(2)) if state == "failed" and code != "crashed" else told

    assert told["state"] == state
    assert (told["error"] or {}).get("code") == code
    assert after["state"] in {"done", state}
    assert "secret" not in caplog.text
    if str(raised[0]) == "no such model package":
        assert caplog.text.count("no such model package; trying again in") == len(raised)


@pytest.mark.parametrize(
    "error", [worker_pool.StartError("no such model package"), ServiceError("no_space", "full")]
)
def test_a_photograph_that_another_worker_takes_over_can_be_cancelled(model, tmp_path, monkeypatch, error):
    raised, woken, delete_remains = [error], threading.Event(), queue.delete_remains

    def holding(worker):
        failing = Failing(held(worker))
        failing.raised = raised  # whichever worker is first
        return failing

    def delete_remains_and_note(*arguments):
        woken.set()
        return delete_remains(*arguments)

    monkeypatch.setattr(queue, "delete_remains", delete_remains_and_note)
    monkeypatch.setattr(queue, "RETRY_SECONDS", 2.5)  # the other worker looks once a second
    other = holding(tiny_server.Inline(foveate.load(model, engine="onnx", threads=1)))
    with tiny_server.running(tmp_path / "data", model, wrap=holding, others=[other]) as client:
        identifier = submit(client, picture()).json()["id"]
        assert woken.wait(60)
        until(lambda: client.get(f"/api/photographs/{identifier}").json()["state"] == "running")

        until(lambda: client.service.jobs.lengths()["under_way"] == 1)
        assert client.delete(f"/api/photographs/{identifier}").status_code == 204
        until(lambda: client.predictor.cancelled.is_set() or other.cancelled.is_set())


def held(worker):
    """Return a worker whose tasks wait."""
    worker.hold.clear()
    return worker


def test_what_was_under_way_when_the_server_ended_is_begun_again(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model) as client:
        finished = done(client, picture(0))
        client.predictor.hold.clear()
        waiting = [submit(client, picture(seed)).json()["id"] for seed in (1, 2)]
        until(lambda: client.get(f"/api/photographs/{waiting[0]}").json()["state"] == "running")

    with tiny_server.running(tmp_path / "data", model) as client:
        assert client.get(f"/api/photographs/{finished['id']}").json() == finished
        assert [waited(client, one)["state"] for one in waiting] == ["done", "done"]


def stop_while_it_is_predicted(data, model, times):
    """Stop a server so often while it predicts the same photograph; return the photograph's identifier."""
    identifier = None
    for _ in range(times):
        with tiny_server.running(data, model, wrap=held) as client:
            identifier = identifier or submit(client, picture()).json()["id"]
            until(lambda: client.get(f"/api/photographs/{identifier}").json()["state"] == "running")  # noqa: B023
    return identifier


def test_a_photograph_may_be_under_way_in_any_number_of_orderly_stops(model, tmp_path):
    identifier = stop_while_it_is_predicted(tmp_path / "data", model, times=queue.ATTEMPTS)

    with tiny_server.running(tmp_path / "data", model) as client:
        assert waited(client, identifier)["state"] == "done"
        assert client.service.record(identifier).attempts == 1


def test_a_photograph_under_way_whenever_the_server_is_lost_fails_in_the_end(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Database, "release", lambda self: 0)  # as after kill -9: nothing is put back
    identifier = stop_while_it_is_predicted(tmp_path / "data", model, times=queue.ATTEMPTS)

    with tiny_server.running(tmp_path / "data", model) as client:
        assert waited(client, identifier)["error"]["code"] == "crashed"


def test_results_expire_when_they_are_told_to(model, tmp_path):
    limits = Limits(keep=timedelta(days=1))
    with tiny_server.running(tmp_path / "data", model, limits=limits) as client:
        told = done(client)
        assert told["expires"] > told["finished"]
        client.service.jobs.expire(time.time() + 86000)
        assert client.get(f"/api/photographs/{told['id']}").status_code == 200

        client.service.jobs.expire(time.time() + 86500)

        assert client.get(f"/api/photographs/{told['id']}").status_code == 404
        assert not list(client.service.data_dir.photographs.iterdir())


def test_nothing_expires_by_a_clock_that_has_jumped_until_it_has_run_for_an_hour(model, tmp_path, caplog):
    day = 86400
    with tiny_server.running(tmp_path / "data", model, limits=Limits(keep=timedelta(days=1))) as client:
        told = done(client)
        jobs, now = client.service.jobs, time.time()
        clock = steady_clock.SteadyClock.start(now, 0.0)

        jobs._sweep_by(clock, now + 60 + 400 * day, 60.0)
        jobs._sweep_by(clock, now + 3540 + 400 * day, 3540.0)
        kept = client.get(f"/api/photographs/{told['id']}").status_code
        jobs._sweep_by(clock, now + 3660 + 400 * day, 3660.0)

        assert (kept, client.get(f"/api/photographs/{told['id']}").status_code) == (200, 404)
        (line,) = [record.message for record in caplog.records if "clock" in record.message]
        assert line.startswith("the machine's clock has jumped by 34560000 seconds; nothing expires for")


def test_a_clock_that_runs_evenly_is_believed_from_the_start(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model, limits=Limits(keep=timedelta(days=1))) as client:
        told = done(client)
        start = time.time() + 86500
        clock = steady_clock.SteadyClock.start(start, 0.0)

        client.service.jobs._sweep_by(clock, start + 61, 60.0)

        assert client.get(f"/api/photographs/{told['id']}").status_code == 404


def test_a_batch_keeps_its_photographs_together_and_sorts_them_by_burden(client):
    batch = client.post("/api/batches", json={"name": "Monday"}).json()["id"]
    shown = [done(client, picture(seed), "left.png", batch=batch) for seed in (1, 2, 3)]
    plain = tiny_package.fundus()
    plain[(plain != 0).any(axis=2)] = (120, 80, 40)
    shown.append(done(client, tiny_server.png(plain), "left.png", batch=batch))

    listed = client.get("/api/photographs", params={"batch": batch, "sort": "burden", "order": "desc"}).json()

    shares = [one["result"]["burden"]["area_fraction"] for one in listed["photographs"]]
    assert listed["total"] == 4
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    told = client.get(f"/api/batches/{batch}").json()
    assert (told["name"], told["photographs"]["done"]) == ("Monday", 4)
    keys = [client.service.record(one["id"]).key for one in shown]
    assert keys == ["left", "left-2", "left-3", "left-4"]

    assert client.delete(f"/api/batches/{batch}").status_code == 204
    assert client.get("/api/photographs", params={"batch": batch}).json()["total"] == 0
    assert client.get(f"/api/batches/{batch}").status_code == 404


def test_lists_sort_by_name_and_by_one_lesion_and_page(client):
    batch = client.post("/api/batches", json={}).json()["id"]
    for seed, name in ((1, "b"), (2, "a"), (3, "c")):
        done(client, picture(seed), f"{name}.png", batch=batch)

    def asked(**query):
        told = client.get("/api/photographs", params={"batch": batch, **query}).json()
        return told["photographs"]

    assert [one["name"] for one in asked(sort="name")] == ["a", "b", "c"]
    assert [one["name"] for one in asked(sort="name", order="desc", limit=1, offset=1)] == ["b"]
    counts = [one["result"]["lesions"]["MA"]["count"] for one in asked(sort="count", lesion="MA")]
    assert counts == sorted(counts)


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("P12_OD_macula", "right"),
        ("OS1", "left"),
        ("Left eye", "left"),
        ("0012-r", "right"),
        ("L 3", "left"),
        (names.of_file("P12.OD"), "right"),
        ("R1M0", None),
        ("r2", None),
        ("od and os", None),
        ("world", None),
        ("IDRiD_01", None),
    ],
)
def test_the_eye_is_that_of_the_files_name_where_it_is_stated(name, eye):
    assert names.eye(name) == eye


def test_the_eye_is_that_of_the_dicom_header_before_that_of_the_name(client, tmp_path):
    header = tiny_dicom.op(tiny_package.fundus(), ImageLaterality="L")
    content = tiny_dicom.save(header, tmp_path / "a.dcm").read_bytes()

    assert done(client, content, "OD.dcm")["eye"] == "left"


def test_the_burden_of_one_lesion_is_its_share_of_the_field(client):
    batch = client.post("/api/batches", json={}).json()["id"]
    identifiers = [done(client, picture(seed), batch=batch)["id"] for seed in (51, 52)]
    database = client.service.database
    for identifier, area_px, field_px in zip(identifiers, (100, 200), (1_000, 10_000), strict=True):
        with database.change() as connection:
            connection.execute("UPDATE present SET area_px = ? WHERE photograph = ?", (area_px, identifier))
            connection.execute(
                "UPDATE photographs SET facts = json_set(facts, '$.field.area_px', ?) WHERE id = ?",
                (field_px, identifier),
            )

    query = {"batch": batch, "sort": "burden", "lesion": "EX", "order": "desc"}
    listed = client.get("/api/photographs", params=query).json()["photographs"]

    assert [photograph["id"] for photograph in listed] == identifiers


def test_eye_and_note_are_changed_and_kept(client):
    told = done(client, picture(5), "OD.png")
    one = f"/api/photographs/{told['id']}"

    client.patch(one, json={"eye": "left", "note": "see \x07again\nin May"})

    kept = client.get(one).json()
    assert (told["eye"], told["note"]) == ("right", "")
    assert (kept["eye"], kept["note"]) == ("left", "see again\nin May")
    assert client.patch(one, json={"eye": None, "note": None}).json()["note"] == ""
    assert client.get(one).json()["eye"] is None


def test_a_photograph_is_moved_to_another_batch_and_out_of_it(client):
    batch = client.post("/api/batches", json={"name": "Monday"}).json()["id"]
    one = f"/api/photographs/{done(client, picture(6))['id']}"

    moved = client.patch(one, json={"batch": batch}).json()
    unknown = client.patch(one, json={"batch": "0" * 32})

    assert moved["batch"] == batch
    assert unknown.status_code == 404
    assert client.get("/api/photographs", params={"batch": batch}).json()["total"] == 1
    assert client.patch(one, json={"batch": None}).json()["batch"] is None


def test_a_photograph_is_not_moved_to_a_batch_that_is_deleted_meanwhile(client, monkeypatch):
    batch = client.post("/api/batches", json={"name": "Monday"}).json()["id"]
    one = f"/api/photographs/{done(client)['id']}"
    database = client.service.database
    update = database.update

    def late(identifier, **values):
        database.delete_batch(batch)  # as by another request since the batch was looked up
        return update(identifier, **values)

    monkeypatch.setattr(database, "update", late)
    refused = client.patch(one, json={"batch": batch, "note": "seen"})

    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert refused.json()["error"]["message"].startswith("no such batch")
    assert (client.get(one).json()["batch"], client.get(one).json()["note"]) == (None, "")
    assert client.get(f"/api/batches/{batch}").status_code == 404


@pytest.mark.parametrize("change", ["thresholds", "stroke"])
def test_a_change_of_a_photograph_that_is_deleted_meanwhile_is_404(client, monkeypatch, caplog, change):
    identifier = done(client)["id"]
    put_current_counts = counts.put_current_counts

    def late(connection, *arguments):
        connection.execute("DELETE FROM photographs WHERE id = ?", (identifier,))
        return put_current_counts(connection, *arguments)

    monkeypatch.setattr("foveate.server.review.corrections.put_current_counts", late)
    if change == "thresholds":
        refused = client.patch(f"/api/photographs/{identifier}", json={"thresholds": {"EX": 0.3}})
    else:
        stroke = {"lesion": "EX", "tool": "brush", "diameter": 5, "points": [[50.5, 60.5]]}
        refused = client.post(f"/api/photographs/{identifier}/corrections/strokes", json=stroke)

    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert "an error of the database" not in caplog.text


def test_thresholds_are_chosen_kept_and_given_back(client):
    told = done(client)
    one = f"/api/photographs/{told['id']}"
    counts = client.get(f"{one}/counts").json()["lesions"]["EX"]

    changed = client.patch(one, json={"thresholds": {"EX": 0.2}}).json()["result"]["lesions"]

    assert (changed["EX"]["level"], changed["EX"]["threshold"]) == (51, 0.2)
    assert changed["EX"]["model_level"] == 128
    assert changed["EX"]["count"] == counts["regions"][51]
    assert changed["EX"]["area_px"] == counts["area_px"][51]
    assert client.patch(one, json={"levels": {"MA": 9}}).json()["result"]["lesions"]["MA"]["level"] == 9
    assert client.get(one).json()["result"]["lesions"]["EX"]["level"] == 128
    assert client.patch(one, json={"thresholds": None}).json()["result"] == told["result"]


def test_every_level_gives_back_itself(client):
    told = done(client)

    for level in (1, 2, 77, 128, 254, 255):
        changed = client.patch(f"/api/photographs/{told['id']}", json={"levels": {"EX": level}}).json()
        assert changed["result"]["lesions"]["EX"]["level"] == level


def test_counts_of_all_levels_are_those_of_the_command_line(client, model):
    pixels = tiny_package.fundus(seed=5)
    told = done(client, tiny_server.png(pixels))
    counts = client.get(f"/api/photographs/{told['id']}/counts").json()["lesions"]
    loaded = foveate.load(model, engine="onnx", threads=1)

    for threshold in (0.004, 0.1, 0.37, 0.5, 0.93, 1.0):
        level = next(one for one in range(1, 256) if one / 255 >= threshold)
        found = loaded.segment(
            foveate.from_array(pixels), thresholds={"EX": threshold, "MA": threshold}
        ).regions
        for code in ("EX", "MA"):
            mine = [region for region in found if region.lesion == code]
            assert counts[code]["regions"][level] == len(mine)
            assert counts[code]["area_px"][level] == sum(region.area_px for region in mine)


def test_spacing_makes_areas_in_millimetres(client):
    told = done(client)
    one = f"/api/photographs/{told['id']}"

    changed = client.patch(one, json={"spacing_mm": 0.01}).json()

    lesion = changed["result"]["lesions"]["EX"]
    assert lesion["area_mm2"] == pytest.approx(lesion["area_px"] * 1e-4)
    region = client.get(f"{one}/regions", params={"lesion": "EX"}).json()["regions"][0]
    assert region["area_mm2"] == pytest.approx(region["area_px"] * 1e-4)
    assert client.patch(one, json={"spacing_mm": None}).json()["spacing_mm"] is None


def test_events_tell_what_happens_to_a_photograph(client):
    heard = []
    ready = threading.Event()

    def listen():
        for text in told:
            heard.append(text)
            ready.set()
            if '"state": "done"' in text:
                return

    told = tiny_server.stream(client)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert ready.wait(10)
    identifier = submit(client, picture(4)).json()["id"]
    listener.join(30)

    mine = [json.loads(text.split("data: ")[1]) for text in heard if identifier in text]
    assert heard[0].startswith("event: hello\n")
    assert [one["state"] for one in mine if "state" in one] == ["queued", "running", "done"]
    shares = [one["progress"] for one in mine if "state" not in one]
    assert shares == sorted(shares)
    assert shares


def test_the_server_says_what_it_is(client, model):
    told = client.get("/api/server").json()

    assert told["model"]["sha256"] == foveate.load(model, engine="onnx", threads=1).package.digest
    assert told["lesions"]["EX"] == {
        "name": "hard exudates", "colour": [240, 228, 66], "threshold": 0.5, "level": 128,
    }  # fmt: skip
    assert client.get("/healthz").json() == {"status": "ok", "version": foveate.__version__}
    assert "not a medical device" in told["notice"]


def test_metrics_count_and_name_nobody(client):
    done(client, name="Jane Doe.png")

    text = client.get("/metrics").text

    assert 'foveate_photographs_total{outcome="done"}' in text
    assert "foveate_look_seconds_bucket" in text
    assert "Jane" not in text
    for line in text.splitlines():
        assert line.startswith("#") or len(line.split(" ")) == 2, line


def test_every_error_has_the_one_body(client):
    missing = "0" * 32
    asked = [
        client.get("/api/nothing"),
        client.get(f"/api/photographs/{missing}"),
        client.get("/api/photographs/short"),
        client.post("/healthz"),
        client.get("/api/photographs", params={"limit": 0}),
        client.post("/api/batches", content=b"{", headers={"Content-Type": "application/json"}),
        client.post("/api/batches", json={"name": "x", "more": 1}),
        client.post("/api/photographs", content=picture(), headers={"Content-Type": "text/plain"}),
    ]

    assert [answer.status_code for answer in asked] == [404, 404, 422, 405, 422, 400, 422, 415]
    for answer in asked:
        error = answer.json()["error"]
        assert set(error) == {"status", "code", "message"}
        assert error["status"] == answer.status_code
        assert error["message"]


def test_one_data_folder_is_for_one_server(model, tmp_path):
    with (
        tiny_server.running(tmp_path / "data", model),
        pytest.raises(OutputError, match="another server uses it"),
    ):
        DataDir(tmp_path / "data")
    DataDir(tmp_path / "data").close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_disk_without_locks_is_not_taken_for_another_server(tmp_path, monkeypatch):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("foveate.server.storage.data_dir.fcntl.flock", no_locks)

    with pytest.raises(OutputError, match=r"lock: cannot be locked \(No locks available\); choose"):
        DataDir(tmp_path / "data")


def test_a_data_folder_that_cannot_be_closed_to_others_is_refused(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)

    def not_ours(self, mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", not_ours)
        with pytest.raises(OutputError, match=r"data: cannot be closed to other users .* such as --data"):
            DataDir(data)
    DataDir(data).close()  # the first one has released the folder
    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", not_ours)
        DataDir(data).close()  # it is closed already


def test_the_address_that_is_shown_is_one_of_the_servers_names(tmp_path):
    assert "127.0.0.2" in Options(data=tmp_path, host="127.0.0.2").names


@pytest.mark.parametrize(
    ("error", "expected", "line"),
    [
        (
            PermissionError(errno.EPERM, "Operation not permitted", "/x/y"),
            OutputError,
            "/x/y: the server cannot",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), OutputError, "data: the server cannot start"),
        (sqlite3.DatabaseError("malformed"), OutputError, "cannot be used as a database .* restore a backup"),
        (KeyError("a bug"), KeyError, "a bug"),
        (SettingError("no such model"), SettingError, "no such model"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path, monkeypatch, error, expected, line):
    def broken(*arguments):
        raise error

    monkeypatch.setattr("foveate.server.service.start", broken)
    ready = []

    with pytest.raises(expected, match=line) as raised:
        serving.serve(Options(data=tmp_path / "data", port=0), ready.append)

    assert "\n" not in str(raised.value)
    assert ready == []


def test_an_address_at_which_another_server_starts_is_refused(tmp_path):
    with serving._listening(Options(data=tmp_path, port=0)) as listening:
        port = listening.getsockname()[1]

        with pytest.raises(SettingError, match=f"127.0.0.1:{port} cannot be opened .Address already in use"):
            serving._listening(Options(data=tmp_path / "other", port=port))


def test_a_start_that_ends_without_an_error_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)

    with pytest.raises(OutputError, match="could not start"):
        serving.serve(Options(data=tmp_path / "data", port=0), lambda address: None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_terminal_that_is_closed_stops_the_server_as_sigterm_does(tmp_path, monkeypatch):
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        serving.serve(Options(data=tmp_path / "data", port=0), lambda address: None)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(SettingError, match="lets other machines reach the server"):
        Options(data=tmp_path, host="0.0.0.0")
    with pytest.raises(SettingError, match="has 5 characters"):
        Options(data=tmp_path, token="short")
    with pytest.raises(SettingError, match="workers is 0"):
        Options(data=tmp_path, workers=0)
    with pytest.raises(SettingError, match="give more than 0"):
        Limits(bytes=0)
    assert Limits(pixels=options.MOST_PIXELS).pixels == 2 * Image.MAX_IMAGE_PIXELS
    with pytest.raises(SettingError, match="limit pixels is 178956971; give at most 178956970"):
        Limits(pixels=options.MOST_PIXELS + 1)
    with pytest.raises(SettingError, match="no such folder"):
        options.roots((tmp_path / "missing",))
    with pytest.raises(SettingError, match=r"--root .*: cannot be reached \(File name too long\); check"):
        options.roots((tmp_path / ("a" * 300),))
    with pytest.raises(SettingError, match=r"--root 'a\\x00b': no such folder; check the path"):
        options.roots((Path("a\0b"),))
    assert Options(data=tmp_path, host="0.0.0.0", token="x" * 16).token


def test_a_database_of_another_version_is_refused(tmp_path):
    store = Database(tmp_path / "one.sqlite3")
    store._connection.execute("PRAGMA user_version=99")
    store.close()

    with pytest.raises(OutputError, match="has version 99"):
        Database(tmp_path / "one.sqlite3")


@pytest.mark.parametrize(
    ("sent", "read", "file"),
    [
        ("IDRiD_339.jpg", "IDRiD_339", "IDRiD_339"),
        ("C:\\clinic\\left.png", "left", "left"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("%3Cscript%3Ealert(1)%3C%2Fscript%3E.jpg", "script>", "script_"),
        ("%E7%9C%BC%20left.tif", "眼 left", "眼_left"),
        ("M%C3%BCller.png", "Müller", "Muller"),
        ("%00%0A%1B.jpg", ".jpg", "jpg"),
        ("%00%0A%1B", "photograph", "photograph"),
        ("", "photograph", "photograph"),
        (".hidden", ".hidden", "hidden"),
        ("%E2%80%AEgnp.exe", "gnp.exe", "gnp.exe"),
        ("1.2.840.113619.2.5.1", "1.2.840.113619.2.5.1", "1.2.840.113619.2.5.1"),
        ("1.2.840.113619.2.5.2.DCM", "1.2.840.113619.2.5.2", "1.2.840.113619.2.5.2"),
        ("P12.OD", "P12.OD", "P12.OD"),
        ("P12.OS.jpe", "P12.OS", "P12.OS"),
        ("a" * 500, "a" * 120, "a" * 120),
        ("Con.jpg", "Con", "_Con"),
        ("aux.left.png", "aux.left", "_aux.left"),
        ("LPT1.tif", "LPT1", "_LPT1"),
        ("contrast.png", "contrast", "contrast"),
    ],
)
def test_names_are_made_safe(sent, read, file):
    name = names.of_header(sent)

    assert (name, names.key(name)) == (read, file)


def test_a_disk_that_is_full_at_the_last_file_is_named_and_nothing_half_done_appears(
    model, tmp_path, monkeypatch
):
    place = PhotographDir(folder=tmp_path)
    place.upload.write_bytes(picture())
    tasks.receive(ReceiveTask(folder=tmp_path, pixels=10**8))
    task = PredictTask(folder=tmp_path, key="eye", field="auto", region=None, pixels=10**8)

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tasks.np, "savez_compressed", full)
    with pytest.raises(ServiceError) as refused:
        tasks.predict(task, foveate.load(model, engine="onnx", threads=1), lambda share: None)

    assert refused.value.code == "no_space"
    assert not place.segmentation_file.exists()
    assert not place.results.exists()


def test_a_photograph_that_does_not_fit_the_memory_is_refused(model, tmp_path, monkeypatch):
    PhotographDir(folder=tmp_path).upload.write_bytes(picture())
    tasks.receive(ReceiveTask(folder=tmp_path, pixels=10**8))
    task = PredictTask(folder=tmp_path, key="eye", field="auto", region=None, pixels=10**8)

    def fail(*arguments, **named):
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(tasks, "segment", fail)
    with pytest.raises(ServiceError, match="there is not enough memory for it; scale it down"):
        tasks.predict(task, foveate.load(model, engine="onnx", threads=1), lambda share: None)
