"""The report of a whole batch is made in the background: it tells how far it is, and can be cancelled."""

import re
import threading
import time

import pytest
import tiny_server
from tiny_server import done, picture

from foveate.server import errors
from foveate.server.exports import report_jobs, report_pdf
from foveate.server.exports.report import Reports


@pytest.fixture
def batch(client):
    """A batch of three photographs that are done."""
    batch = client.post("/api/batches", json={"name": "día"}).json()["id"]
    for seed in range(3):
        done(client, picture(seed), f"{seed}.png", batch=batch)
    yield batch
    client.delete(f"/api/batches/{batch}")


@pytest.fixture
def held(monkeypatch):
    """Let reports wait after their first page until the event is set."""
    event, made, report = threading.Event(), [], Reports.report

    def report_later(self, record):
        if made:
            assert event.wait(30)
        made.append(record.name)
        return report(self, record)

    monkeypatch.setattr(Reports, "report", report_later)
    yield event
    event.set()


def begin(client, batch, **body):
    answer = client.post(f"/api/batches/{batch}/report-jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/report-jobs/{answer.json()['id']}"
    return answer.json()


def until(client, job, holds):
    """Ask for a report until it is as it should be."""
    for _ in range(600):
        answer = client.get(f"/api/report-jobs/{job['id']}")
        if holds(answer):
            return answer.json()
        time.sleep(0.05)
    raise AssertionError(answer.text)


def test_a_report_of_a_batch_tells_how_far_it_is_and_is_the_same_file_as_at_once(client, batch, held):
    job = begin(client, batch, paper="letter")
    assert (job["state"] in {"waiting", "working"}, job["done"], job["total"]) == (True, 0, 3)
    until(client, job, lambda answer: answer.json()["done"] == 1)
    early = client.get(f"/api/report-jobs/{job['id']}/report.pdf")
    assert early.status_code == 409
    assert "working" in early.json()["error"]["message"]
    held.set()
    told = until(client, job, lambda answer: answer.json()["state"] == "done")
    made = client.get(f"/api/report-jobs/{job['id']}/report.pdf")
    at_once = client.get(f"/api/batches/{batch}/report.pdf", params={"paper": "letter"})

    assert (told["done"], told["error"]) == (3, None)
    assert made.headers["content-type"] == "application/pdf"
    assert made.headers["content-disposition"] == at_once.headers["content-disposition"]
    assert len(re.findall(rb"/Type /Page\b(?!s)", made.content)) == 3
    assert b"612 792" in made.content
    assert client.delete(f"/api/report-jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/report-jobs/{job['id']}").status_code == 404
    assert not list(client.service.data_dir.incoming.glob("*.pdf"))


def test_a_report_that_is_cancelled_is_not_made_and_the_next_one_is(client, batch, held):
    cancelled, waiting = begin(client, batch), begin(client, batch)
    until(client, cancelled, lambda answer: answer.json()["done"] == 1)
    assert client.delete(f"/api/report-jobs/{cancelled['id']}").status_code == 204
    held.set()

    until(client, waiting, lambda answer: answer.json()["state"] == "done")
    assert client.get(f"/api/report-jobs/{cancelled['id']}").status_code == 404
    files = list(client.service.data_dir.incoming.glob("*.pdf"))
    assert [path.stem for path in files] == [waiting["id"]]


def test_a_report_goes_with_a_photograph_that_it_shows(client, batch, held):
    identifiers = [
        photograph["id"]
        for photograph in client.get("/api/photographs", params={"batch": batch}).json()["photographs"]
    ]
    under_way = begin(client, batch)
    until(client, under_way, lambda answer: answer.json()["done"] == 1)
    client.delete(f"/api/photographs/{identifiers[0]}")
    held.set()
    failed = until(client, under_way, lambda answer: answer.json()["state"] == "failed")
    finished = begin(client, batch)
    until(client, finished, lambda answer: answer.json()["state"] == "done")
    client.delete(f"/api/photographs/{identifiers[1]}")

    assert "begin the report again" in failed["error"]
    assert client.get(f"/api/report-jobs/{finished['id']}").status_code == 404
    assert not list(client.service.data_dir.incoming.glob("*.pdf"))


def test_a_report_leaves_out_what_has_no_result_and_says_so(client, batch, held, monkeypatch):
    pages, pdf = [], report_pdf.pdf
    monkeypatch.setattr(
        report_pdf, "pdf", lambda title, made, *more: pages.extend(made) or pdf(title, made, *more)
    )
    (last,) = client.get("/api/photographs", params={"batch": batch, "offset": 2}).json()["photographs"]
    failed = done(client, name="failed.png", batch=batch)["id"]
    client.service.database.update(failed, state="failed")
    job = begin(client, batch)
    until(client, job, lambda answer: answer.json()["done"] == 1)
    client.service.database.update(last["id"], state="running")
    held.set()
    told = until(client, job, lambda answer: answer.json()["state"] in {"done", "failed"})
    client.service.database.update(last["id"], state="done")
    made = client.get(f"/api/report-jobs/{job['id']}/report.pdf")

    assert (told["state"], told["done"], told["total"], told["without_result"]) == ("done", 2, 3, 1)
    assert len(re.findall(rb"/Type /Page\b(?!s)", made.content)) == 2
    assert [page.remark for page in pages] == [
        (
            "2 of 4 photographs had no result and are not in this report; "
            "make the report again once all are analysed."
        ),
        "",
    ]


def test_a_report_of_which_every_photograph_is_analysed_again_says_so(client, batch, held):
    photographs = client.get("/api/photographs", params={"batch": batch}).json()["photographs"]
    delayed = begin(client, batch)
    until(client, delayed, lambda answer: answer.json()["done"] == 1)  # the next report waits behind it
    job = begin(client, batch)
    for photograph in photographs:
        client.service.database.update(photograph["id"], state="running")
    held.set()
    told = until(client, job, lambda answer: answer.json()["state"] in {"done", "failed"})
    for photograph in photographs:
        client.service.database.update(photograph["id"], state="done")

    assert told["state"] == "failed"
    assert told["error"] == "no photograph of the batch is done any more; wait until they are analysed"


def test_what_cannot_be_made_says_why(client, batch, monkeypatch):
    def refuse(self, record):
        raise errors.no_space()

    monkeypatch.setattr(Reports, "report", refuse)
    told = until(client, begin(client, batch), lambda answer: answer.json()["state"] == "failed")

    assert "disk is full" in told["error"]


def test_a_report_that_fails_by_an_error_of_ours_names_nobody_in_the_log(client, batch, monkeypatch, caplog):
    patient = "somebody's name"

    def broken(self, record):
        raise KeyError(patient)

    monkeypatch.setattr(Reports, "report", broken)
    told = until(client, begin(client, batch), lambda answer: answer.json()["state"] == "failed")

    assert "error in Foveate itself" in told["error"]
    assert "KeyError while making a report" in caplog.text
    assert patient not in caplog.text


def test_reports_are_limited_in_size_number_and_time(client, batch, held, monkeypatch):
    empty = client.post("/api/batches", json={"name": "empty"}).json()["id"]
    assert client.post(f"/api/batches/{empty}/report-jobs", json={}).status_code == 409
    monkeypatch.setattr(report_jobs, "MOST_PHOTOGRAPHS", 2)
    refused = client.post(f"/api/batches/{batch}/report-jobs", json={})
    assert refused.status_code == 422
    assert "3 photographs are done, but a report holds at most 2" in refused.json()["error"]["message"]
    monkeypatch.setattr(report_jobs, "MOST_PHOTOGRAPHS", 300)
    monkeypatch.setattr(report_jobs, "MOST_JOBS", 1)
    job = begin(client, batch)
    busy = client.post(f"/api/batches/{batch}/report-jobs", json={})
    assert (busy.status_code, busy.json()["error"]["code"]) == (429, "busy")
    held.set()
    until(client, job, lambda answer: answer.json()["state"] == "done")
    monkeypatch.setattr(report_jobs, "KEEP_SECONDS", 0.0)

    assert client.get(f"/api/report-jobs/{job['id']}").status_code == 404


def test_a_finished_report_gives_way_to_a_new_one(client, batch, monkeypatch):
    monkeypatch.setattr(report_jobs, "MOST_JOBS", 2)
    jobs = []
    for _ in range(3):
        jobs.append(begin(client, batch))
        until(client, jobs[-1], lambda answer: answer.json()["state"] == "done")

    answers = [client.get(f"/api/report-jobs/{job['id']}").status_code for job in jobs]

    assert answers == [404, 200, 200]
    assert len(list(client.service.data_dir.incoming.glob("*.pdf"))) == 2


def test_a_server_stops_while_a_report_is_made(model, tmp_path, held):
    with tiny_server.running(tmp_path / "data", model) as client:
        batch = client.post("/api/batches", json={"name": "one"}).json()["id"]
        for seed in range(2):
            done(client, picture(seed), f"{seed}.png", batch=batch)
        job = begin(client, batch)
        until(client, job, lambda answer: answer.json()["done"] == 1)
        start = time.monotonic()
    assert time.monotonic() - start < 10
    with tiny_server.running(tmp_path / "data", model) as client:
        assert client.get(f"/api/report-jobs/{job['id']}").status_code == 404
        assert not list(client.service.data_dir.incoming.iterdir())
