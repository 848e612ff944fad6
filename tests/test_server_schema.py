"""Whatever is asked by the OpenAPI description, or against it, is answered, and never with 5xx."""

import contextlib
import time

import pytest
import schemathesis
import tiny_package
import tiny_server
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

EXAMPLES = 5
"""Of each operation, once as described and once against it: there are four dozen operations."""

ENDLESS = "/api/events"
"""A test client would wait for its end."""

GRADER = "ann"
"""Whose reference masks there are."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    model = tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")
    with tiny_server.running(tmp_path_factory.mktemp("server"), model) as client:
        yield client


@pytest.fixture(scope="module")
def operations(client):
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    return [found.ok() for found in schema.get_all_operations() if found.ok().path != ENDLESS]


def fill(client):
    """Return the resource in a path -> the identifier of one: a photograph, its batch, the batch's report."""
    batch = client.post("/api/batches", json={"name": "ward"}).json()["id"]
    photograph = tiny_server.done(client, batch=batch)["id"]
    masks = f"/api/photographs/{photograph}/references/{GRADER}"
    assert client.post(masks, json={"from": "corrections"}).status_code == 201
    job = client.post(f"/api/batches/{batch}/report-jobs", json={}).json()
    while job["state"] != "done":
        time.sleep(0.05)
        job = client.get(f"/api/report-jobs/{job['id']}").json()
    return {"photographs": photograph, "batches": batch, "report-jobs": job["id"]}


def put_known(known, case):
    """Put what there is in place of what was drawn: a lesion, a batch, a grader, a tile."""
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            values = {"lesion": "EX", "batch": known["batches"]}
            part.update({key: value for key, value in values.items() if key in part})
    if case.path_parameters and case.operation.method != "delete":
        values = {"name": GRADER, "reference": GRADER, "level": 0, "column": 0, "row": 0}
        case.path_parameters.update({key: values[key] for key in values.keys() & case.path_parameters.keys()})


def asked(client, known, case):
    """Send what was drawn, about a photograph, batch or report that there is unless it would be deleted."""
    is_deletion = case.operation.method == "delete" and case.operation.path.endswith("{id}")
    if "id" in (case.path_parameters or {}) and not is_deletion:
        case.path_parameters["id"] = known[case.operation.path.split("/")[2]]
    told = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    headers = {**dict(told.get("headers") or {}), "Host": "127.0.0.1:8000"}
    named = {key: told[key] for key in ("params", "json") if told.get(key) is not None}
    if told.get("data") is not None:
        named["content"] = told["data"]
    answer = client.request(told["method"], told["url"], headers=headers, **named)
    if case.operation.path.endswith("/again"):
        tiny_server.waited(client, known["photographs"])
    return answer


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # schemathesis does
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_nothing_that_is_asked_is_answered_with_5xx(client, operations, mode):
    answered, known = {}, fill(client)
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
        def ask(case, is_known):
            if is_known or mode is GenerationMode.POSITIVE:
                put_known(known, case)
            answer = asked(client, known, case)
            answered.setdefault(case.operation.label, set()).add(answer.status_code)
            assert answer.status_code < 500, (case.operation.label, answer.text)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"status", "code", "message"}

        with contextlib.suppress(Unsatisfiable):  # nothing of it can be drawn against the description
            ask()
    assert len(answered) > 30
    if mode is GenerationMode.POSITIVE:
        missed = {label for label, statuses in answered.items() if statuses == {404}}
        assert {label for label in missed if not label.startswith("DELETE")} == set()
