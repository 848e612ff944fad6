"""Whoever marks a photograph as reviewed is named, with the time, wherever corrections name their authors."""

import csv
import io
import json
import re
import sqlite3
import zipfile

import numpy as np
import pytest
import tiny_server
from tiny_server import done, picture

from foveate.server.exports import report_pdf

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def unzipped(answer):
    """Return a zip's files."""
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def review(client, identifier, **changes):
    """Mark a photograph as reviewed; return the photograph."""
    answer = client.patch(f"/api/photographs/{identifier}", json={"reviewed": True, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def report_of(client, identifier):
    """Return the content of a photograph's report."""
    return client.service.reports.report(client.service.record(identifier))


def stroke(client, identifier):
    body = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[60.5, 60.5]], "author": "Ann"}
    assert client.post(f"/api/photographs/{identifier}/corrections/strokes", json=body).status_code == 200


def test_a_review_says_who_made_it_and_when_until_it_is_withdrawn(client):
    photograph = done(client)
    assert (photograph["reviewer"], photograph["reviewed_at"]) == ("", None)

    reviewed = review(client, photograph["id"], reviewer="Dr Ann")
    (listed,) = [
        one for one in client.get("/api/photographs").json()["photographs"] if one["id"] == photograph["id"]
    ]
    withdrawn = review(client, photograph["id"], reviewed=False)

    assert reviewed["reviewer"] == listed["reviewer"] == "Dr Ann"
    assert re.fullmatch(TIME, reviewed["reviewed_at"])
    assert reviewed["etag"] not in {photograph["etag"], review(client, photograph["id"])["etag"]}
    assert (withdrawn["reviewed"], withdrawn["reviewer"], withdrawn["reviewed_at"]) == (False, "", None)


def test_a_review_without_a_name_is_possible_and_a_name_without_a_review_is_not(client):
    identifier = done(client)["id"]

    refused = client.patch(f"/api/photographs/{identifier}", json={"reviewer": "Ann"})
    reviewed = review(client, identifier)

    assert refused.status_code == 422
    assert "send it together with reviewed" in refused.json()["error"]["message"]
    assert (reviewed["reviewed"], reviewed["reviewer"]) == (True, "")
    assert "Marked as reviewed by a person without a name, 20" in report_of(client, identifier).reviewed


def test_spaces_around_a_name_are_dropped(client):
    one = done(client)["id"]
    at = f"/api/photographs/{one}/corrections"
    body = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[60.5, 60.5]], "author": " Ann "}

    assert client.post(f"{at}/strokes", json=body).status_code == 200
    sent = {
        "content": tiny_server.png(np.zeros((256, 256), np.uint8)),
        "headers": {"Content-Type": "image/png"},
    }
    assert client.put(f"{at}/masks/EX", params={"author": "Ann "}, **sent).status_code == 200
    assert client.get(at).json()["authors"] == ["Ann"]
    assert review(client, one, reviewer="Ann ")["reviewer"] == "Ann"
    assert client.get("/api/photographs", params={"grader": "A" * 65}).status_code == 422


def test_the_report_names_the_reviewer_on_the_page_and_on_paper(client):
    identifier = done(client)["id"]
    assert report_of(client, identifier).reviewed == "Not marked as reviewed."

    review(client, identifier, reviewer="Ann <b>")

    said = report_of(client, identifier).reviewed
    assert re.fullmatch(r"Marked as reviewed by Ann <b>, 20\d\d-\d\d-\d\d \d\d:\d\d UTC\.", said)
    page = client.get(f"/api/photographs/{identifier}/report").text
    assert "Marked as reviewed by Ann &lt;b&gt;, 20" in page
    review(client, identifier, reviewer="\u0e44\u0e17\u0e22")  # in no font of the document
    document = client.get(f"/api/photographs/{identifier}/report.pdf")
    assert document.status_code == 200
    assert not report_pdf.shows_all(report_of(client, identifier).reviewed)


def test_the_table_of_a_download_has_the_reviewer_and_the_time(client):
    named, unnamed = (done(client, picture(seed), "eye.png")["id"] for seed in (1, 2))
    reviewed = review(client, named, reviewer="=cmd()")
    review(client, unnamed)

    answer = client.post("/api/downloads", json={"photographs": [named, unnamed]})
    rows = list(csv.DictReader(io.StringIO(unzipped(answer)["photographs.csv"].decode())))

    assert [row["reviewer"] for row in rows] == ["'=cmd()", ""]
    assert rows[0]["reviewed_at"] == reviewed["reviewed_at"]
    assert re.fullmatch(TIME, rows[1]["reviewed_at"])


def test_the_journal_in_downloads_says_who_reviewed_also_after_an_earlier_download(client):
    identifier = done(client)["id"]
    stroke(client, identifier)
    address = f"/api/photographs/{identifier}"

    def journals():
        for kind, name in (
            ("download", "corrected/corrections/eye.json"),
            ("training", "corrections/eye.json"),
        ):
            content = json.loads(unzipped(client.get(f"{address}/{kind}"))[name])
            yield content["reviewed"], content["reviewer"], content["reviewed_at"]

    before = list(journals())
    reviewed = review(client, identifier, reviewer="Ann")

    assert before == [(False, "", None)] * 2
    assert list(journals()) == [(True, "Ann", reviewed["reviewed_at"])] * 2


def test_a_review_of_an_older_database_says_that_its_name_was_not_recorded(model, tmp_path):
    data = tmp_path / "data"
    with tiny_server.running(data, model) as client:
        identifier = done(client)["id"]
    connection = sqlite3.connect(data / "foveate.sqlite3")
    for column in ("reviewer", "reviewed_at"):
        connection.execute(f"ALTER TABLE photographs DROP COLUMN {column}")
    connection.execute("DROP TABLE removed")
    connection.execute("UPDATE photographs SET reviewed = 1")
    connection.execute("PRAGMA user_version=3")
    connection.commit()
    connection.close()

    with tiny_server.running(data, model) as client:
        photograph = client.get(f"/api/photographs/{identifier}").json()
        said = report_of(client, identifier).reviewed

    assert (photograph["reviewed"], photograph["reviewer"], photograph["reviewed_at"]) == (True, "", None)
    assert said == "Marked as reviewed; by whom and when was not recorded."
    assert (data / "foveate.sqlite3.v3").is_file()


@pytest.mark.parametrize("name", [None, "Ann", "Ben"])
def test_on_a_graders_copy_the_grader_reviews_and_nobody_else(client, name):
    begun = client.post(f"/api/photographs/{done(client)['id']}/gradings", json={"grader": "Ann"})
    changes = {"reviewed": True} | ({} if name is None else {"reviewer": name})

    answer = client.patch(f"/api/photographs/{begun.json()['id']}", json=changes)

    if name == "Ben":
        assert answer.status_code == 422
    else:
        assert answer.json()["reviewer"] == "Ann"


def test_a_photograph_that_is_analysed_again_is_to_be_reviewed_again(client):
    identifier = done(client)["id"]
    review(client, identifier, reviewer="Ann")

    client.predictor.hold.clear()
    again = client.post(f"/api/photographs/{identifier}/again", json={"field": "128,128,120"}).json()
    early = client.patch(f"/api/photographs/{identifier}", json={"reviewed": True})
    client.predictor.hold.set()
    analysed = tiny_server.waited(client, identifier)

    assert early.status_code == 409
    assert "has not been analysed yet" in early.json()["error"]["message"]
    for photograph in (again, analysed):
        assert (photograph["reviewed"], photograph["reviewer"], photograph["reviewed_at"]) == (
            False,
            "",
            None,
        )
    assert report_of(client, identifier).reviewed == "Not marked as reviewed."
    assert review(client, identifier)["reviewed"]
