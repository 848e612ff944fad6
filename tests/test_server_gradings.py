"""Two people grade a photograph unseen by each other; their agreement is measured, and somebody decides."""

import csv
import io
import json
import re
import sqlite3
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_server
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from tiny_server import done, grey, png

from foveate.errors import SettingError
from foveate.metrics import cohen_kappa
from foveate.server.errors import ServiceError
from foveate.server.review import agreement
from foveate.server.review import gradings as all_gradings
from foveate.server.review.agreement import Agreements
from foveate.server.review.corrections import Corrections
from foveate.server.review.gradings import GradedCopies, Gradings, starting_mask
from foveate.server.review.measures import PhotographMeasures
from foveate.server.storage import journal
from foveate.server.storage.database import Database
from foveate.server.storage.gradings import grading_in

COUNTS = st.integers(0, 30)

PAGE = Path(__file__).parent.parent / "docs" / "grading.md"


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_kappa_is_that_of_scikit_learn(both, first, second, neither):
    one = [1] * (both + first) + [0] * (second + neither)
    two = [1] * both + [0] * first + [1] * second + [0] * neither

    kappa = cohen_kappa(both, first, second, neither)

    if len(set(one) | set(two)) < 2:
        assert kappa is None
    else:
        assert kappa == pytest.approx(cohen_kappa_score(one, two), abs=1e-12)


def test_kappa_of_fewer_than_no_items_is_refused():
    with pytest.raises(SettingError, match="give none below 0"):
        cohen_kappa(21, -3, 2, 14)


def test_the_page_s_kappa_is_that_of_its_counts():
    (example,) = re.findall(r'^\{"pairs": .*?\]\}$', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (pair,) = json.loads(example)["pairs"]

    assert sum(pair["present"].values()) == pair["photographs"]
    assert pair["kappa"] == round(cohen_kappa(**pair["present"]), 3)


@pytest.fixture(scope="module")
def graded(model, tmp_path_factory):
    """A server where two people grade every photograph."""
    data = tmp_path_factory.mktemp("graded")
    with tiny_server.running(data, model, double_grading=True) as client:
        yield client


def draw(client, identifier, **changes):
    body = {"lesion": "EX", "tool": "brush", "diameter": 21, "points": [[60.5, 60.5]], "author": ""} | changes
    return client.post(f"/api/photographs/{identifier}/corrections/strokes", json=body)


def begin(client, identifier, grader):
    answer = client.post(f"/api/photographs/{identifier}/gradings", json={"grader": grader})
    assert answer.status_code == 201, answer.text
    return answer.json()


def finish(client, copy, is_done=True):
    return client.put(f"/api/photographs/{copy}/grading", json={"done": is_done})


def gradings(client, identifier, **query):
    return client.get(f"/api/photographs/{identifier}/gradings", params=query).json()


def mask(client, identifier, lesion="EX"):
    """Return a photograph's corrected mask at the present threshold."""
    level = client.get(f"/api/photographs/{identifier}").json()["result"]["lesions"][lesion]["level"]
    tile = client.get(f"/api/photographs/{identifier}/corrected/{lesion}/0/0_0.png")
    return grey(tile.content) >= level


def names(client, **query):
    return [entry["id"] for entry in client.get("/api/photographs", params=query).json()["photographs"]]


def both_done(client, **shared):
    """Return a photograph and the copies of Ann and Ben, both done; what they painted overlaps in part."""
    photograph = done(client, **shared)["id"]
    ann, ben = (begin(client, photograph, name)["id"] for name in ("Ann", "Ben"))
    for copy in (ann, ben):  # the model's exudates go, so that only the drawn ones are left
        assert draw(client, copy, tool="eraser", points=[[128, 128]], diameter=512).status_code == 200
    draw(client, ann, points=[[60, 60], [80, 60]], diameter=20)
    draw(client, ben, points=[[80, 60], [100, 60]], diameter=20)
    assert finish(client, ann).json()["grading"]["done"]
    finish(client, ben)
    return photograph, ann, ben


def test_a_grading_begins_with_the_models_result_and_touches_nothing_else(graded):
    photograph = done(graded)
    ann = begin(graded, photograph["id"], "Ann")

    assert ann["grading"] == {"original": photograph["id"], "grader": "Ann", "done": False}
    assert ann["result"]["lesions"] == photograph["result"]["lesions"]
    assert draw(graded, ann["id"]).status_code == 200
    graded.patch(f"/api/photographs/{ann['id']}", json={"thresholds": {"MA": 0.9}})
    graded.patch(f"/api/photographs/{photograph['id']}", json={"note": "haemorrhages below the disc"})
    ben = begin(graded, photograph["id"], "Ben")

    assert ben["note"] == ""
    assert ben["result"]["lesions"] == photograph["result"]["lesions"]
    assert graded.get(f"/api/photographs/{photograph['id']}").json()["result"] == photograph["result"]
    assert begin(graded, photograph["id"], "Ann")["id"] == ann["id"]  # it goes on where it was left
    assert ann["grading"]["grader"] == "Ann"


def test_a_grader_downloads_the_copies_of_their_own_list(graded):
    photographs = [done(graded, name=f"{name}.png")["id"] for name in ("graded", "other")]
    copy = begin(graded, photographs[0], "Ann")["id"]
    draw(graded, copy)
    listed = [identifier for identifier in names(graded, grader="Ann") if identifier in {copy, *photographs}]

    answer = graded.post("/api/downloads", json={"photographs": listed})

    assert listed == [copy, photographs[1]]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        journal = json.loads(archive.read("corrected/corrections/graded.json"))
        assert {"regions/graded.json", "regions/other.json"} <= set(archive.namelist())
    assert [edit["author"] for edit in journal["edits"]] == ["Ann"]


def test_no_edit_is_stored_after_its_grading_was_done(graded, monkeypatch):
    copy = begin(graded, done(graded)["id"], "Ann")["id"]
    commit, was_done = Corrections._commit, []

    def commit_late(self, *arguments, **named):
        finishing.start()
        time.sleep(0.5)
        was_done.append(grading_in(graded.service.database, copy).done is not None)
        return commit(self, *arguments, **named)

    finishing = threading.Thread(target=finish, args=(graded, copy))
    monkeypatch.setattr(Corrections, "_commit", commit_late)
    drawn = draw(graded, copy)
    finishing.join()

    assert drawn.status_code == 200
    assert was_done == [False]
    assert grading_in(graded.service.database, copy).done is not None


def test_a_change_of_which_a_part_is_refused_changes_nothing(graded):
    copy = begin(graded, done(graded)["id"], "Ann")["id"]
    finish(graded, copy)

    answer = graded.patch(f"/api/photographs/{copy}", json={"note": "soft drusen", "levels": {"MA": 200}})

    assert answer.status_code == 409
    assert graded.get(f"/api/photographs/{copy}").json()["note"] == ""


@pytest.mark.parametrize(
    "change",
    [
        {"note": "soft drusen"},
        {"eye": "left"},
        {"spacing_mm": 0.0052},
        {"grid": {"fovea": {"x": 60, "y": 60}, "disc": {"x": 90, "y": 60}}},
        {"grid": None},
        {"reviewed": True},
        {"reviewed": False},
        {"thresholds": None},
        {"levels": {"MA": 200}},
    ],
    ids=lambda change: "-".join(f"{key}-{value}"[:18] for key, value in change.items()),
)
def test_no_field_of_a_copy_is_changed_once_its_grading_is_done(graded, change):
    copy = begin(graded, done(graded)["id"], "Ann")["id"]
    finish(graded, copy)
    before = graded.get(f"/api/photographs/{copy}").json()

    refused = graded.patch(f"/api/photographs/{copy}", json=change)
    after = graded.get(f"/api/photographs/{copy}").json()
    finish(graded, copy, is_done=False)
    reopened = graded.patch(f"/api/photographs/{copy}", json=change)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_ready")
    assert "reopen it" in refused.json()["error"]["message"]
    assert after == before
    assert reopened.status_code == 200


def test_nobody_finds_anothers_grading_until_both_are_done(graded):
    batch = graded.post("/api/batches", json={"name": "blind"}).json()["id"]
    photograph = done(graded, batch=batch)["id"]
    ann, ben = (begin(graded, photograph, name)["id"] for name in ("Ann", "Ben"))

    def table(name):
        return graded.get(f"/api/gradings/{name}.csv", params={"batch": batch}).text.splitlines()[1:]

    def shown(**query):
        return {one["grader"]: one["photograph"] for one in gradings(graded, photograph, **query)["gradings"]}

    assert shown() == {"Ann": None, "Ben": None}
    assert shown(grader="Ben") == {"Ann": None, "Ben": ben}
    finish(graded, ann)
    assert shown(grader="Ben") == {"Ann": None, "Ben": ben}
    assert graded.get(f"/api/photographs/{photograph}/gradings/agreement").status_code == 409
    assert graded.get("/api/gradings/agreement", params={"batch": batch}).json() == {"pairs": []}
    assert not any(table(name) for name in ("gradings", "pairs", "agreement"))
    finish(graded, ben)
    assert all(table(name) for name in ("gradings", "pairs", "agreement"))
    assert shown() == {"Ann": ann, "Ben": ben}
    assert gradings(graded, photograph)["open"]


def test_lists_show_a_grader_their_own_copies_and_nobody_elses(graded):
    batch = graded.post("/api/batches", json={"name": "study"}).json()["id"]
    first, second = (done(graded, name=f"{name}.png", batch=batch)["id"] for name in ("a", "b"))
    ann = begin(graded, first, "Ann")["id"]

    assert names(graded, batch=batch) == [first, second]
    assert names(graded, batch=batch, grader="Ann") == [ann, second]
    assert names(graded, batch=batch, grader="Ann", order="desc", sort="name") == [second, ann]
    assert names(graded, batch=batch, grader="Ben") == [first, second]
    assert graded.get(f"/api/batches/{batch}").json()["photographs"]["done"] == 2


@pytest.mark.parametrize("moved", ["photograph", "copy"])
def test_a_photograph_and_its_copies_move_to_another_batch_together(graded, moved):
    left, other = (
        graded.post("/api/batches", json={"name": name}).json()["id"] for name in ("left", "other")
    )
    photograph, ann, ben = both_done(graded, batch=left)
    drawn = mask(graded, ann)

    identifier = {"photograph": photograph, "copy": ann}[moved]
    assert graded.patch(f"/api/photographs/{identifier}", json={"batch": other}).json()["batch"] == other

    assert graded.get(f"/api/batches/{left}").json()["photographs"]["done"] == 0
    assert names(graded, batch=other, grader="Ann") == [ann]
    assert graded.delete(f"/api/batches/{left}").status_code == 204
    assert [one["photograph"] for one in gradings(graded, photograph)["gradings"]] == [ann, ben]
    np.testing.assert_array_equal(mask(graded, ann), drawn)
    assert graded.delete(f"/api/batches/{other}").status_code == 204
    for each in (photograph, ann, ben):
        assert graded.get(f"/api/photographs/{each}").status_code == 404


def test_subscribers_are_told_that_a_photograph_moved_with_a_copy(graded):
    batch = graded.post("/api/batches", json={"name": "moved to"}).json()["id"]
    photograph = done(graded)["id"]
    copy = begin(graded, photograph, "Ann")["id"]
    events = tiny_server.stream(graded)
    next(events)

    graded.patch(f"/api/photographs/{copy}", json={"batch": batch})
    graded.patch(f"/api/photographs/{done(graded)['id']}", json={"spacing_mm": 0.0126})

    told = ""
    while '"spacing_mm":0.0126' not in told:
        told += next(events).replace(": ", ":")
    assert copy not in told
    assert any(photograph in line and f'"batch":"{batch}"' in line for line in told.splitlines())


def test_no_subscriber_is_told_of_a_grading(graded):
    photograph = done(graded)["id"]
    events = tiny_server.stream(graded)
    next(events)

    copy = begin(graded, photograph, "Ann")["id"]
    draw(graded, copy)
    graded.patch(f"/api/photographs/{done(graded)['id']}", json={"spacing_mm": 0.0125})

    told = ""
    while '"spacing_mm":0.0125' not in told:
        told += next(events).replace(": ", ":")
    assert copy not in told


def test_subscribers_are_told_of_a_photograph_whose_grading_begins_is_done_or_is_deleted(graded):
    photograph, marker = done(graded)["id"], done(graded)["id"]
    events = tiny_server.stream(graded)
    next(events)
    told, copies = [], []

    def act(number, action):
        action()
        spacing = round(0.013 + number / 10_000, 4)
        graded.patch(f"/api/photographs/{marker}", json={"spacing_mm": spacing})
        lines = [next(events).replace(": ", ":")]
        while f'"spacing_mm":{spacing}' not in lines[-1]:
            lines.append(next(events).replace(": ", ":"))
        changed = [line for line in lines if f'"id":"{photograph}"' in line and "event:photograph" in line]
        told.append(len(changed))

    act(1, lambda: copies.append(begin(graded, photograph, "Ann")["id"]))
    act(2, lambda: finish(graded, copies[0]))
    act(3, lambda: finish(graded, copies[0], is_done=False))
    act(4, lambda: graded.delete(f"/api/photographs/{copies[0]}"))

    assert told == [1, 1, 1, 1]
    assert gradings(graded, photograph)["gradings"] == []


def test_a_photograph_that_failed_is_reviewed_without_graders_until_it_has_a_result(graded):
    photograph = done(graded)["id"]
    graded.service.database.update(photograph, state="failed")
    answer = graded.patch(f"/api/photographs/{photograph}", json={"reviewed": True, "reviewer": "Ann"})
    graded.service.database.update(photograph, state="done")
    with_result = graded.get(f"/api/photographs/{photograph}").json()

    assert answer.status_code == 200, answer.text
    assert (answer.json()["reviewed"], answer.json()["reviewed_before_grading"]) == (True, False)
    assert (with_result["reviewed"], with_result["reviewed_before_grading"]) == (False, True)


def test_a_photograph_waits_for_its_graders_and_a_grading_belongs_to_one(graded):
    photograph = done(graded)["id"]
    copy = begin(graded, photograph, "Ann")["id"]

    waiting = draw(graded, photograph, author="Carol")
    other = draw(graded, copy, author="Ben")

    assert waiting.status_code == 409
    assert "2 people must grade this photograph first" in waiting.json()["error"]["message"]
    assert other.status_code == 422
    assert "the grading of Ann" in other.json()["error"]["message"]
    assert draw(graded, copy, author="").json()["authors"] == ["Ann"]
    thresholds = graded.patch(f"/api/photographs/{photograph}", json={"thresholds": {"EX": 0.5}})
    assert thresholds.status_code == 409
    assert graded.patch(f"/api/photographs/{photograph}", json={"reviewed": True}).status_code == 409
    for path, body in (("gradings", {"grader": "Ben"}), ("again", {})):
        assert graded.post(f"/api/photographs/{copy}/{path}", json=body).status_code in {409, 422}
    assert graded.post(f"/api/photographs/{photograph}/again", json={}).status_code == 409
    assert finish(graded, photograph).status_code == 422


def test_a_grading_that_is_done_can_be_taken_up_again_until_others_may_see_it(graded):
    photograph = done(graded)["id"]
    ann, ben = (begin(graded, photograph, name)["id"] for name in ("Ann", "Ben"))
    finish(graded, ann)
    assert draw(graded, ann).status_code == 409

    assert not finish(graded, ann, is_done=False).json()["grading"]["done"]
    assert draw(graded, ann).status_code == 200
    finish(graded, ann)
    finish(graded, ben)

    refused = finish(graded, ann, is_done=False)
    assert refused.status_code == 409
    assert "may have been seen" in refused.json()["error"]["message"]


def test_agreement_is_counted_on_what_the_graders_left(graded):
    photograph, ann, ben = both_done(graded)

    told = graded.get(f"/api/photographs/{photograph}/gradings/agreement").json()["pairs"]

    one, two = mask(graded, ann), mask(graded, ben)
    exudates = next(pair for pair in told if pair["lesion"] == "EX")
    assert exudates["graders"] == ["Ann", "Ben"]
    assert exudates["dice"] == pytest.approx(2 * (one & two).sum() / (one.sum() + two.sum()))
    assert 0.1 < exudates["dice"] < 0.9
    assert exudates["present"] == {"both": 1, "first": 0, "second": 0, "neither": 0}
    assert exudates["kappa"] is None  # of one photograph it is undefined
    other = next(pair for pair in told if pair["lesion"] == "MA")
    assert other["dice"] in {1.0, None}  # nobody changed these


def test_kappa_is_over_all_photographs_of_a_batch(graded):
    batch = graded.post("/api/batches", json={"name": "kappa"}).json()["id"]
    for number, tools in enumerate([("brush", "brush"), ("eraser", "eraser"), ("brush", "eraser")]):
        photograph = done(graded, name=f"{number}.png", batch=batch)["id"]
        for grader, tool in zip(("Ann", "Ben"), tools, strict=True):
            copy = begin(graded, photograph, grader)["id"]
            draw(graded, copy, tool=tool, points=[[128, 128]], diameter=512)
            finish(graded, copy)
    unfinished = done(graded, batch=batch)["id"]
    begin(graded, unfinished, "Ann")

    told = graded.get("/api/gradings/agreement", params={"batch": batch}).json()["pairs"]
    rows = list(
        csv.DictReader(io.StringIO(graded.get("/api/gradings/agreement.csv", params={"batch": batch}).text))
    )

    exudates = next(pair for pair in told if pair["lesion"] == "EX")
    assert exudates["photographs"] == 3
    assert exudates["present"] == {"both": 1, "first": 1, "second": 0, "neither": 1}
    assert exudates["kappa"] == pytest.approx(cohen_kappa_score([1, 0, 1], [1, 0, 0]))
    assert exudates["mean_dice"] == pytest.approx(0.5)
    row = next(row for row in rows if row["lesion"] == "EX")
    assert float(row["kappa"]) == pytest.approx(exudates["kappa"], abs=1e-6)
    assert (row["present_1_only"], row["photographs"]) == ("1", "3")


@pytest.mark.parametrize("table", ["agreement", "agreement.csv", "pairs.csv", "gradings.csv"])
def test_what_is_deleted_while_a_table_is_made_is_left_out_as_a_whole(graded, monkeypatch, table):
    batch = graded.post("/api/batches", json={"name": table}).json()["id"]
    deleted, _ = (both_done(graded, name=f"{name}.png", batch=batch)[0] for name in ("deleted", "left"))

    def deletes(read):
        def read_and_delete(*arguments):
            part = read(*arguments)
            graded.service.jobs.delete(deleted)
            return part

        return read_and_delete

    for owner, name in ((all_gradings, "current_counts_of"), (PhotographMeasures, "traced")):
        monkeypatch.setattr(owner, name, deletes(getattr(owner, name)))
    answer = graded.get(f"/api/gradings/{table}", params={"batch": batch})

    assert answer.status_code == 200, answer.text
    rows = answer.json()["pairs"] if table == "agreement" else list(csv.DictReader(io.StringIO(answer.text)))
    assert graded.get(f"/api/photographs/{deleted}").status_code == 404
    assert {str(row.get("photographs", 1)) for row in rows} == {"1"}
    assert {row.get("photograph", "left") for row in rows} == {"left"}


def test_a_photograph_is_compared_once_for_all_tables(graded, monkeypatch):
    batch = graded.post("/api/batches", json={"name": "once"}).json()["id"]
    both_done(graded, name="earlier.png", batch=batch)
    compared = []
    traced = PhotographMeasures.traced

    def record_and_trace(self, record, lesion):
        compared.append(record.name)
        return traced(self, record, lesion)

    monkeypatch.setattr(PhotographMeasures, "traced", record_and_trace)

    def table(name):
        compared.clear()
        answer = graded.get(f"/api/gradings/{name}", params={"batch": batch})
        return answer.text, set(compared)

    first, of_first = table("pairs.csv")
    again, of_again = table("pairs.csv")
    _, of_summary = table("agreement")
    both_done(graded, name="later.png", batch=batch)
    more, of_more = table("pairs.csv")

    assert (of_first, of_again, of_summary, of_more) == ({"earlier"}, set(), set(), {"later"})
    assert again == first
    assert more.startswith(first)
    assert "later" in more


def test_each_photograph_is_compared_once_however_many_there_are(graded, monkeypatch):
    copies = []
    for _ in range(2):
        photograph, *graders = both_done(graded)
        records = [graded.service.record(identifier) for identifier in graders]
        copies.append(
            GradedCopies(
                record=graded.service.record(photograph),
                copies=tuple(zip(("Ann", "Ben"), records, strict=True)),
            )
        )
    compared = []

    def compare_many(graded_copies, measures):
        compared.append(graded_copies.record.id)
        return compare(graded_copies, measures)[:1] * 40_000

    compare, agreements = agreement.compare, Agreements(graded.service.measures)
    monkeypatch.setattr(agreement, "compare", compare_many)
    first, second = copies
    for each in (first, second, first, second):
        assert len(agreements.pairs(each)) == 40_000
    identifiers = [first.record.id, second.record.id]

    assert compared == identifiers
    agreements.forget(first.record.id)
    agreements.pairs(first)
    assert compared == [*identifiers, first.record.id]


def test_what_is_deleted_while_it_is_compared_is_not_kept(graded, monkeypatch):
    photograph, *graders = both_done(graded)
    records = [graded.service.record(identifier) for identifier in graders]
    copies = GradedCopies(
        record=graded.service.record(photograph), copies=tuple(zip(("Ann", "Ben"), records, strict=True))
    )
    compared = []

    def compare_late(graded_copies, measures):
        compared.append(graded_copies.record.id)
        if len(compared) == 1:
            agreements.forget(photograph)
        return compare(graded_copies, measures)

    compare, agreements = agreement.compare, Agreements(graded.service.measures)
    monkeypatch.setattr(agreement, "compare", compare_late)
    for _ in range(3):
        agreements.pairs(copies)

    assert compared == [photograph] * 2


@pytest.mark.parametrize("source", ["agreed", "either", "grader:Ann", "model"])
def test_an_adjudicator_decides_in_the_photographs_own_corrections(graded, source):
    photograph, ann, ben = both_done(graded)
    one, two = mask(graded, ann), mask(graded, ben)
    expected = {"agreed": one & two, "either": one | two, "grader:Ann": one}.get(
        source, mask(graded, photograph)
    )
    address = f"/api/photographs/{photograph}/adjudication"

    answer = graded.post(address, json={"adjudicator": "Carol", "from": source})

    assert answer.status_code == 201, answer.text
    assert answer.json()["adjudication"]["adjudicator"] == "Carol"
    np.testing.assert_array_equal(mask(graded, photograph), expected)
    assert draw(graded, photograph, author="Carol").status_code == 200
    graded.patch(f"/api/photographs/{photograph}", json={"reviewed": True})
    report = graded.get(f"/api/photographs/{photograph}/report").text
    assert "Carol, last" in report
    rows = csv.DictReader(io.StringIO(graded.get("/api/gradings/gradings.csv").text))
    roles = {(row["grader"], row["role"]) for row in rows if row["done"]}
    assert {("Ann", "grader"), ("Ben", "grader"), ("Carol", "adjudicator")} <= roles
    np.testing.assert_array_equal(mask(graded, ann), one)  # what graders left stays as it was
    late = graded.post(f"/api/photographs/{photograph}/gradings", json={"grader": "Dora"})
    assert late.status_code == 409


def test_a_graded_photograph_is_corrected_and_reviewed_only_in_a_decision_and_by_no_grader(graded):
    photograph, _, _ = both_done(graded)
    address = f"/api/photographs/{photograph}"
    verdict = {"lesion": "EX", "level": 1, "x": 60, "y": 60, "verdict": "rejected"}

    def attempts(author):
        return [
            draw(graded, photograph, author=author),
            graded.post(f"{address}/corrections/verdicts", json=verdict | {"author": author}),
            graded.patch(address, json={"reviewed": True, "reviewer": author}),
        ]

    before = [*attempts("Carol"), graded.patch(address, json={"thresholds": {"EX": 0.5}})]
    undecided = graded.get(address).json()
    graded.post(f"{address}/adjudication", json={"adjudicator": "Carol", "from": "either"})
    by_grader = attempts("ann")
    by_adjudicator = graded.patch(address, json={"reviewed": True, "reviewer": "Carol"})

    assert [answer.status_code for answer in before] == [409] * 4
    assert all("nobody has begun to adjudicate" in answer.json()["error"]["message"] for answer in before)
    assert (undecided["reviewed"], undecided["result"]["revision"]) == (False, 0)
    assert [answer.status_code for answer in by_grader] == [422] * 3
    assert all("Ann has graded this photograph" in answer.text for answer in by_grader)
    assert by_adjudicator.json()["reviewer"] == "Carol"


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ({"adjudicator": "Ann"}, 422, "Ann has graded this photograph"),
        ({"adjudicator": "ANN"}, 422, "Ann has graded this photograph"),
        ({"adjudicator": "Carol", "from": "grader:Dora"}, 422, "source 'grader:Dora' is unknown"),
        ({"adjudicator": " "}, 422, "adjudicator"),
    ],
)
def test_adjudications_that_make_no_sense_are_refused(graded, body, status, line):
    photograph, _, _ = both_done(graded)

    answer = graded.post(f"/api/photographs/{photograph}/adjudication", json=body)

    assert answer.status_code == status
    assert line in answer.json()["error"]["message"]
    assert gradings(graded, photograph)["adjudication"] is None


def test_nobody_adjudicates_before_both_are_done(graded):
    photograph = done(graded)["id"]
    finish(graded, begin(graded, photograph, "Ann")["id"])

    answer = graded.post(f"/api/photographs/{photograph}/adjudication", json={"adjudicator": "Carol"})

    assert answer.status_code == 409


def test_an_adjudication_that_cannot_be_stored_as_a_whole_changes_nothing(reviewed_before, monkeypatch):
    client, photograph = reviewed_before
    for name in ("Ann", "Ben"):
        copy = begin(client, photograph, name)["id"]
        for lesion in ("EX", "MA"):
            assert draw(client, copy, lesion=lesion, points=[[150, 150]]).status_code == 200
        finish(client, copy)
    address = f"/api/photographs/{photograph}/corrections"
    before = client.get(address).json(), [mask(client, photograph, lesion) for lesion in ("EX", "MA")]
    put_edit, stored = journal.put_edit, []

    def put_one_edit(connection, identifier, edit):
        if stored:
            raise sqlite3.OperationalError("database or disk is full")
        stored.append(edit.lesion)
        put_edit(connection, identifier, edit)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "put_edit", put_one_edit)
        body = {"adjudicator": "Carol"}
        assert client.post(f"/api/photographs/{photograph}/adjudication", json=body).status_code == 500

    assert stored
    assert client.get(address).json() == before[0]
    for lesion, expected in zip(("EX", "MA"), before[1], strict=True):
        np.testing.assert_array_equal(mask(client, photograph, lesion), expected)
    assert gradings(client, photograph)["adjudication"] is None
    assert review_of(client, photograph) == [False, True, "Zoe"]


def test_a_grading_that_is_done_while_they_are_listed_is_not_shown_before(graded, monkeypatch):
    photograph = done(graded)["id"]
    copies = [begin(graded, photograph, grader) for grader in ("Ann", "Ben")]
    finish(graded, copies[0]["id"])
    done_meanwhile, of = [], Gradings.of

    def of_and_finish(self, record):
        listed = of(self, record)
        if not done_meanwhile:
            done_meanwhile.append(copies[1]["id"])
            self.set_done(graded.service.record(copies[1]["id"]), done=True)
        return listed

    monkeypatch.setattr(Gradings, "of", of_and_finish)
    shown = gradings(graded, photograph)

    assert done_meanwhile
    assert not shown["open"]
    assert [grading["photograph"] for grading in shown["gradings"]] == [None, None]


def test_nobody_begins_or_reopens_a_grading_after_all_are_done(graded):
    photograph, ann, _ = both_done(graded)

    begun = graded.post(f"/api/photographs/{photograph}/gradings", json={"grader": "Dave"})

    assert (begun.status_code, begun.json()["error"]["code"]) == (409, "not_ready")
    assert "may have been seen" in begun.json()["error"]["message"]
    assert finish(graded, ann, is_done=False).status_code == 409
    assert begin(graded, photograph, "Ann")["id"] == ann
    assert [grading["grader"] for grading in gradings(graded, photograph)["gradings"]] == ["Ann", "Ben"]


@pytest.mark.parametrize(
    ("name", "same"), [("Ann", "ann"), ("Ren\u00e9", "Rene\u0301"), ("STRAUSS", "Strau\u00df")]
)
def test_one_name_written_in_two_ways_is_one_grader(graded, name, same):
    photograph = done(graded)["id"]
    copy = begin(graded, photograph, name)["id"]

    refused = graded.post(f"/api/photographs/{photograph}/gradings", json={"grader": same})

    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith(f"{name} grades this photograph already")
    assert begin(graded, photograph, name)["id"] == copy
    assert [grading["grader"] for grading in gradings(graded, photograph)["gradings"]] == [name]


def test_spaces_around_a_name_make_nobody_another_person(graded):
    photograph = done(graded)["id"]
    copy = begin(graded, photograph, "Ann")["id"]
    at = f"/api/photographs/{copy}"
    black = png(np.zeros((256, 256), np.uint8))

    assert draw(graded, copy, author=" Ann ").status_code == 200
    sent = graded.put(
        f"{at}/corrections/masks/EX",
        content=black,
        headers={"Content-Type": "image/png"},
        params={"author": "Ann "},
    )
    assert sent.status_code == 200, sent.text
    assert graded.patch(at, json={"reviewed": True, "reviewer": "Ann "}).status_code == 200
    assert graded.get(f"{at}/corrections").json()["authors"] == ["Ann"]
    assert copy in names(graded, grader="Ann ")
    assert gradings(graded, photograph, grader="Ann ")["gradings"][0]["photograph"] == copy


@pytest.mark.parametrize("path", ["again", "adjudication", "gradings"])
def test_what_changes_a_photograph_waits_for_a_grading_that_begins(graded, monkeypatch, path):
    photograph = done(graded)["id"]
    if path != "again":
        finish(graded, begin(graded, photograph, "Ann")["id"])
        begin(graded, photograph, "Ben")
    add, answers = Gradings._add, []
    body = {"again": {}, "adjudication": {"adjudicator": "Carol"}, "gradings": {"grader": "Dora"}}[path]

    def send():
        answers.append(graded.post(f"/api/photographs/{photograph}/{path}", json=body))

    def add_late(self, record, grader):
        monkeypatch.setattr(Gradings, "_add", add)
        sending.start()
        time.sleep(0.5)
        assert not answers
        return add(self, record, grader)

    sending = threading.Thread(target=send)
    monkeypatch.setattr(Gradings, "_add", add_late)
    copy = begin(graded, photograph, "Dora")
    sending.join()

    assert answers[0].status_code == (201 if path == "gradings" else 409)
    assert graded.get(f"/api/photographs/{photograph}").json()["state"] == copy["state"] == "done"
    assert gradings(graded, photograph)["adjudication"] is None


def test_nobody_begins_a_grading_while_a_decision_begins(graded, monkeypatch):
    photograph, _, _ = both_done(graded)
    replace_masks, begun = Corrections.replace_masks, []

    def begin_late():
        begun.append(graded.post(f"/api/photographs/{photograph}/gradings", json={"grader": "Dora"}))

    def replace_late(self, *arguments):
        beginning.start()
        time.sleep(0.5)
        assert not begun
        return replace_masks(self, *arguments)

    beginning = threading.Thread(target=begin_late)
    monkeypatch.setattr(Corrections, "replace_masks", replace_late)
    body = {"adjudicator": "Carol"}
    assert graded.post(f"/api/photographs/{photograph}/adjudication", json=body).status_code == 201
    beginning.join()

    assert begun[0].status_code == 409
    assert gradings(graded, photograph)["open"]


def test_a_deleted_photograph_takes_its_gradings_and_their_files_with_it(graded):
    photograph = done(graded)["id"]
    copy = begin(graded, photograph, "Ann")["id"]
    folder = graded.service.data_dir.photograph(copy).folder
    assert (folder / "results").is_dir()

    assert graded.delete(f"/api/photographs/{photograph}").status_code == 204

    assert graded.get(f"/api/photographs/{copy}").status_code == 404
    assert not folder.exists()
    assert not list(graded.service.data_dir.incoming.iterdir())


def test_a_grading_that_is_done_is_deleted_only_with_its_photograph(graded):
    photograph, ann, ben = both_done(graded)
    other = begin(graded, done(graded)["id"], "Ann")["id"]
    finish(graded, other)

    refused = [graded.delete(f"/api/photographs/{copy}") for copy in (ann, other)]
    kept = gradings(graded, photograph)
    finish(graded, other, is_done=False)

    assert [answer.status_code for answer in refused] == [409, 409]
    assert "delete the photograph with all its gradings" in refused[0].json()["error"]["message"]
    assert [grading["photograph"] for grading in kept["gradings"]] == [ann, ben]
    assert graded.delete(f"/api/photographs/{other}").status_code == 204
    assert graded.delete(f"/api/photographs/{photograph}").status_code == 204
    assert graded.get(f"/api/photographs/{ann}").status_code == 404


def test_a_grading_is_not_marked_as_done_while_it_is_deleted(graded, monkeypatch):
    copy = begin(graded, done(graded)["id"], "Ann")["id"]
    require_deletable, finished = Gradings.require_deletable, []

    def require_late(self, record):
        require_deletable(self, record)
        finishing.start()
        time.sleep(0.5)

    finishing = threading.Thread(target=lambda: finished.append(finish(graded, copy)))
    monkeypatch.setattr(Gradings, "require_deletable", require_late)
    deleted = graded.delete(f"/api/photographs/{copy}")
    finishing.join()

    assert (deleted.status_code, finished[0].status_code) == (204, 404)


def test_a_grading_that_begins_while_its_photograph_is_deleted_is_deleted_too(graded, monkeypatch):
    photograph = done(graded)["id"]
    delete, copies = Database.delete, []

    def begin_and_delete(self, identifier):
        if not copies:
            copies.append(begin(graded, photograph, "Ann")["id"])
        return delete(self, identifier)

    monkeypatch.setattr(Database, "delete", begin_and_delete)

    assert graded.service.jobs.delete(photograph)  # as with its batch

    for identifier in (photograph, *copies):
        assert graded.get(f"/api/photographs/{identifier}").status_code == 404
        assert not graded.service.data_dir.photograph(identifier).folder.exists()


def test_a_grading_outlives_the_photograph_files_that_it_shares(graded):
    photograph = done(graded)["id"]
    copy = begin(graded, photograph, "Ann")["id"]
    before = graded.get(f"/api/photographs/{copy}/download").content

    data_dir = graded.service.data_dir
    data_dir.delete(data_dir.photograph(photograph).folder)

    assert graded.get(f"/api/photographs/{copy}/download").content == before


def test_one_grader_who_begins_twice_at_once_has_one_grading(graded):
    photograph = done(graded)["id"]
    record, barrier = graded.service.record(photograph), threading.Barrier(4)

    def start(_):
        barrier.wait()
        return graded.service.gradings.begin(record, "Ann").id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1
    assert len(gradings(graded, photograph)["gradings"]) == 1


def test_without_the_setting_photographs_are_corrected_as_ever_until_somebody_grades_them(client):
    submitted = done(client)
    photograph = submitted["id"]
    assert draw(client, photograph, author="Carol").status_code == 200
    client.patch(f"/api/photographs/{photograph}", json={"thresholds": {"MA": 0.99}, "reviewed": True})
    assert not client.get("/api/server").json()["double_grading"]

    copy = begin(client, photograph, "Ann")

    assert copy["result"]["lesions"] == submitted["result"]["lesions"]  # the model's, not Carol's
    assert (copy["result"]["revision"], copy["reviewed"]) == (0, False)
    assert draw(client, photograph, author="Carol").status_code == 409


def test_names_in_tables_run_no_formula(graded):
    photograph = done(graded, name="%3D1%2B1.png")["id"]
    for name in ("=cmd()", "Ben"):
        finish(graded, begin(graded, photograph, name)["id"])

    for table in ("gradings.csv", "pairs.csv", "agreement.csv"):
        text = graded.get(f"/api/gradings/{table}").text
        assert "'=cmd()" in text
        assert not any(cell.startswith("=") for row in csv.reader(io.StringIO(text)) for cell in row)


def test_a_starting_mask_is_what_all_or_any_marked():
    one, two = np.array([[True, True, False]]), np.array([[False, True, False]])
    masks = {"Ann": one, "Ben": two}

    np.testing.assert_array_equal(starting_mask(masks, "agreed"), one & two)
    np.testing.assert_array_equal(starting_mask(masks, "either"), one | two)
    np.testing.assert_array_equal(starting_mask(masks, "grader:Ben"), two)
    with pytest.raises(ServiceError, match="source 'Ann' is unknown"):
        starting_mask(masks, "Ann")


@pytest.fixture
def reviewed_before(model, tmp_path):
    """Yield a server that began to require graders after somebody had corrected and reviewed a photograph."""
    data = tmp_path / "data"
    with tiny_server.running(data, model) as client:
        photograph = done(client)["id"]
        assert draw(client, photograph, author="Zoe").status_code == 200
        client.patch(f"/api/photographs/{photograph}", json={"reviewed": True, "reviewer": "Zoe"})
    with tiny_server.running(data, model, double_grading=True) as client:
        yield client, photograph


def review_of(client, identifier):
    photograph = client.get(f"/api/photographs/{identifier}").json()
    return [photograph[key] for key in ("reviewed", "reviewed_before_grading", "reviewer")]


def report_of(client, identifier):
    return client.service.reports.report(client.service.record(identifier)).reviewed


def test_a_photograph_that_was_reviewed_before_double_grading_waits_for_its_graders(reviewed_before):
    client, photograph = reviewed_before
    waiting = review_of(client, photograph), report_of(client, photograph)
    for name in ("Ann", "Ben"):
        finish(client, begin(client, photograph, name)["id"])
    graded_by_two = review_of(client, photograph)
    client.post(f"/api/photographs/{photograph}/adjudication", json={"adjudicator": "Carol"})
    begun = review_of(client, photograph)
    client.patch(f"/api/photographs/{photograph}", json={"reviewed": True, "reviewer": "Carol"})

    assert waiting[0] == graded_by_two == [False, True, "Zoe"]
    assert waiting[1].startswith("Marked as reviewed by Zoe, 20")
    assert waiting[1].endswith(", before double grading; not adjudicated yet.")
    assert begun == [False, False, ""]
    assert review_of(client, photograph) == [True, False, "Carol"]


def test_a_review_without_an_adjudication_that_an_earlier_version_stored_counts_if_after_all_gradings(
    reviewed_before,
):
    client, photograph = reviewed_before
    for name in ("Ann", "Ben"):
        finish(client, begin(client, photograph, name)["id"])

    client.service.database.update(photograph, reviewed=1, reviewer="Carol", reviewed_at=time.time())

    assert review_of(client, photograph) == [True, False, "Carol"]


def test_an_earlier_review_stays_on_record_in_downloads_but_is_no_decision(reviewed_before):
    client, photograph = reviewed_before

    with zipfile.ZipFile(io.BytesIO(client.get(f"/api/photographs/{photograph}/download").content)) as files:
        table = files.read("photographs.csv").decode()
        journal = json.loads(files.read("corrected/corrections/eye.json"))

    (row,) = csv.DictReader(io.StringIO(table))
    assert (row["reviewed"], row["reviewer"]) == ("0", "Zoe")
    assert (journal["reviewed"], journal["reviewer"]) == (False, "Zoe")


def test_a_decision_that_begins_with_the_models_result_holds_no_earlier_correction(reviewed_before):
    client, photograph = reviewed_before
    corrected = mask(client, photograph)
    for name in ("Ann", "Ben"):
        copy = begin(client, photograph, name)["id"]
        finish(client, copy)

    body = {"adjudicator": "Carol", "from": "model"}
    assert client.post(f"/api/photographs/{photograph}/adjudication", json=body).status_code == 201

    assert (corrected != mask(client, copy)).any()  # the copy is the model's result, which nobody has changed
    np.testing.assert_array_equal(mask(client, photograph), mask(client, copy))
