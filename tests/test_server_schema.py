"""Whatever is asked by the OpenAPI description, or against it, is answered, and never with 5xx."""

import contextlib

import pytest
import schemathesis
import tiny_package
import tiny_server
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

EXAMPLES = 5
"""Of each operation, once as described and once against it: there are four dozen operations."""

ENDLESS = "/api/events"
"""A test client would wait for its end."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    model = tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")
    with tiny_server.running(tmp_path_factory.mktemp("server"), model) as client:
        client.known = tiny_server.done(client)["id"]
        yield client


@pytest.fixture(scope="module")
def operations(client):
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    return [found.ok() for found in schema.get_all_operations() if found.ok().path != ENDLESS]


def asked(client, case):
    """Send what was drawn, about a photograph and a lesion that there are."""
    if isinstance(case.body, dict) and "lesion" in case.body:
        case.body["lesion"] = "EX"
    if "id" in (case.path_parameters or {}) and case.operation.method != "delete":
        case.path_parameters["id"] = client.known
    told = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    headers = {**dict(told.get("headers") or {}), "Host": "127.0.0.1:8000"}
    named = {key: told[key] for key in ("params", "json") if told.get(key) is not None}
    if told.get("data") is not None:
        named["content"] = told["data"]
    return client.request(told["method"], told["url"], headers=headers, **named)


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # schemathesis does
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_nothing_that_is_asked_is_answered_with_5xx(client, operations, mode):
    answered = {}
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            answer = asked(client, case)
            answered.setdefault(case.operation.label, set()).add(answer.status_code)
            assert answer.status_code < 500, (case.operation.label, answer.text)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"status", "code", "message"}

        with contextlib.suppress(Unsatisfiable):  # nothing of it can be drawn against the description
            ask()
    assert len(answered) > 30
