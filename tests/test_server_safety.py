"""Nobody asks who may not, and nothing comes in that should stay out."""

import contextlib
import io
import logging
import os
import re
import struct
import zlib
from pathlib import Path

import pytest
import tiny_package
import tiny_server
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from tiny_server import done, picture, submit

from foveate.server.http import guard, serving
from foveate.server.http.app import create
from foveate.server.options import Options
from foveate.server.sessions import Sessions

DOCUMENTED = Path(__file__).parents[1] / "docs" / "serve.md"

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A folder that may be read, beside one that may not."""
    place = tmp_path_factory.mktemp("places")
    tiny_package.photograph(place / "clinic" / "monday" / "left.png", seed=5)
    tiny_package.photograph(place / "private" / "secret.png", seed=6)
    (place / "clinic" / "link.png").symlink_to(place / "private" / "secret.png")
    (place / "clinic" / "inner.png").symlink_to(place / "clinic" / "monday" / "left.png")
    (place / "clinic" / "loop").symlink_to(place / "clinic" / "loop")
    (place / "clinic" / "outside").symlink_to(place / "private")
    os.mkfifo(place / "clinic" / "pipe.png")
    return place / "clinic"


@pytest.fixture(scope="module")
def client(model, clinic, tmp_path_factory):
    with tiny_server.running(
        tmp_path_factory.mktemp("server"),
        model,
        roots={"clinic": clinic.resolve()},
        hosts=frozenset({"eyes.example"}),
    ) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8000", "[::2]", "[", "10.0.0.1"],
)
def test_a_host_that_is_not_ours_is_refused(client, host):
    for path in ("/", "/api/photographs", "/healthz", "/page/anything.js"):
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9", "[::1]:8000", "eyes.example", "EYES.example:80"]
)
def test_our_own_names_are_known(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8000"},
    ],
)
def test_another_sites_page_can_neither_submit_nor_read_nor_delete(client, headers):
    identifier = done(client)["id"]
    one = f"/api/photographs/{identifier}"
    sent = {"Content-Type": "image/png", **headers}

    asked = [
        client.post("/api/photographs", content=picture(), headers=sent),
        client.post("/api/batches", json={}, headers=headers),
        client.post("/api/session", json={"token": TOKEN}, headers=headers),
        client.patch(one, json={"reviewed": True}, headers=headers),
        client.delete(one, headers=headers),
        client.get(one, headers=headers),
        client.get(f"{one}/tiles/0/0_0.jpg", headers=headers),
    ]

    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in asked} == {(403, "cross_site")}
    assert client.get(one).json()["reviewed"] is False


def test_our_own_page_may(client):
    headers = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}

    assert client.post("/api/batches", json={}, headers=headers).status_code == 201


def test_every_answer_says_what_may_run_and_that_nothing_is_kept(client):
    one = f"/api/photographs/{done(client)['id']}"

    for path in (one, f"{one}/tiles/0/0_0.jpg", f"{one}/download", "/api/nothing", "/healthz"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin-allow-popups"


def test_a_photograph_below_a_root_is_submitted_by_its_path(client):
    told = client.post("/api/photographs/from-path", json={"root": "clinic", "path": "monday/left.png"})
    linked = client.post("/api/photographs/from-path", json={"root": "clinic", "path": "inner.png"})

    assert (told.status_code, told.json()["name"]) == (201, "left")
    assert linked.status_code == 201
    assert tiny_server.waited(client, told.json()["id"])["state"] == "done"
    assert client.get("/api/server").json()["roots"] == ["clinic"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("../private/secret.png", 403),
        ("monday/../../private/secret.png", 403),
        ("/etc/passwd", 403),
        ("link.png", 403),
        ("outside/secret.png", 403),
        ("loop/../outside/secret.png", 403),
        ("../private/missing.png", 403),
        ("loop", 404),
        ("loop/left.png", 404),
        ("", 404),
        ("monday", 404),
        ("missing.png", 404),
        ("pipe.png", 404),
        ("\0", 404),
        ("a" * 4000, 404),
        ("~/.ssh/id_rsa", 404),
        ("..\\private\\secret.png", 404),
    ],
)
def test_no_path_leads_out_of_the_roots(client, path, status):
    answer = client.post("/api/photographs/from-path", json={"root": "clinic", "path": path})

    assert answer.status_code == status
    assert "private" not in answer.text
    assert "expired" not in answer.text
    assert not list(client.service.data_dir.incoming.iterdir())


@pytest.mark.parametrize("root", ["", "..", "/", "private", "clinic/"])
def test_a_root_that_was_not_given_is_refused(client, root):
    answer = client.post("/api/photographs/from-path", json={"root": root, "path": "monday/left.png"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "outside_roots")


@pytest.mark.parametrize(
    "path",
    [
        "/page/../options.py",
        "/page/%2e%2e/options.py",
        "/page/..%2foptions.py",
        "/page//etc/passwd",
        "/api/photographs/..%2f..%2fetc/tiles/0/0_0.jpg",
        "/api/photographs/" + "0" * 32 + "/references/..%2fx/agreement",
    ],
)
def test_no_address_leads_to_other_files(client, path):
    answer = client.get(path)

    assert 400 <= answer.status_code < 500
    assert "import" not in answer.text


def bomb(width=60_000, height=60_000):
    """Return a PNG of 3.6 thousand million pixels in a few kilobytes."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_by_its_header(client):
    for size in ((60_000, 60_000), (12_000, 12_000)):
        answer = submit(client, bomb(*size))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pixels")

    one = f"/api/photographs/{done(client)['id']}"
    headers = {"Content-Type": "image/png"}
    for path in ("corrections/masks/EX", "references/other/EX"):
        assert client.put(f"{one}/{path}", content=bomb(), headers=headers).status_code == 422


@pytest.mark.parametrize("kind", ["text/html", "multipart/form-data; boundary=x", "image/svg+xml", ""])
def test_only_files_themselves_are_taken(client, kind):
    answer = client.post("/api/photographs", content=picture(), headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_body_that_says_it_is_endless_is_refused_before_it_is_read(client):
    headers = {"Content-Type": "application/json", "Content-Length": str(10**12)}

    assert client.post("/api/batches", content=b"{}", headers=headers).status_code == 413
    assert client.post("/api/batches", content=b"[" * (guard.JSON_BYTES + 1)).status_code == 413
    headers["Content-Length"] = "many"
    assert client.post("/api/batches", content=b"{}", headers=headers).status_code == 400


def test_of_requests_with_put_only_masks_may_have_the_size_of_a_file(client):
    photograph = f"/api/photographs/{done(client)['id']}"
    content = b"[" * (guard.JSON_BYTES + 1)
    headers = {"Content-Type": "image/png"}

    told = {
        path: client.put(f"{photograph}/{path}", content=content, headers=headers).status_code
        for path in ("grading", "corrections/masks/EX", "references/ann/EX")
    }

    assert told == {"grading": 413, "corrections/masks/EX": 422, "references/ann/EX": 422}


@pytest.mark.parametrize("field", ["nan,1,1", "1,2", "inf,0,1", "x" * 101, "1,2,3,4", ""])
def test_fields_that_make_no_sense_are_refused(client, field):
    assert submit(client, picture(), field=field).status_code == 422


@pytest.fixture(scope="module")
def locked(model, tmp_path_factory):
    """A server that wants a token."""
    with tiny_server.running(tmp_path_factory.mktemp("locked"), model, token=TOKEN) as client:
        yield client


def cookie_name(client):
    return client.service.sessions.cookie


def test_without_the_token_nothing_is_told(locked):
    asked = [
        locked.get("/api/photographs"),
        locked.get("/metrics"),
        submit(locked, picture()),
        locked.get("/api/server", headers={"Authorization": "Bearer wrong-but-long-enough"}),
        locked.get("/api/server", headers={"Authorization": f"Basic {TOKEN}"}),
        locked.get("/api/server", headers={"Cookie": f"{cookie_name(locked)}={TOKEN}"}),
        locked.get("/api/server", headers={"Cookie": f"{cookie_name(locked)}="}),
    ]

    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in asked} == {
        (401, "token_required")
    }
    assert locked.get("/healthz").status_code == 200
    assert locked.get("/api/session").json() == {"token_required": True, "signed_in": False}


def test_the_token_lets_in(locked):
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert locked.get("/api/photographs", headers=headers).status_code == 200
    assert locked.get("/metrics", headers=headers).status_code == 200


def test_a_session_is_opened_with_the_token_and_closed(locked):
    assert locked.post("/api/session", json={"token": "wrong-but-long-enough"}).status_code == 401

    answer = locked.post("/api/session", json={"token": TOKEN})

    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 204
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    name = answer.cookies[cookie_name(locked)]
    assert locked.get("/api/photographs").status_code == 200
    assert locked.get("/api/session").json()["signed_in"]
    assert locked.delete("/api/session").status_code == 204
    assert (
        locked.get("/api/photographs", headers={"Cookie": f"{cookie_name(locked)}={name}"}).status_code == 401
    )


def test_each_server_has_another_cookie_even_if_its_folder_has_the_same_path():
    assert Sessions(TOKEN).cookie != Sessions(TOKEN).cookie


def test_servers_on_one_host_do_not_end_each_others_sessions(model, locked, tmp_path):
    with tiny_server.running(tmp_path, model, base="http://127.0.0.1:8001", token=TOKEN) as other:
        for client in (locked, other):
            assert client.post("/api/session", json={"token": TOKEN}).status_code == 204
        shared = "; ".join(
            f"{name}={value}" for each in (locked, other) for name, value in each.cookies.items()
        )

        for client in (locked, other):
            client.cookies.clear()
            assert client.get("/api/photographs", headers={"Cookie": shared}).status_code == 200


def test_the_documented_proxy_passes_on_who_sends_a_request(tmp_path, monkeypatch):
    lines = re.findall(r"proxy_set_header +([\w-]+) +([^;]+);", DOCUMENTED.read_text())
    values = {"$remote_addr": "203.0.113.9", "$scheme": "https", "$http_host": "clinic.example"}
    seen = []

    async def record(self, scope, receive, send):
        seen.append((scope["client"][0], scope["scheme"]))
        await PlainTextResponse("")(scope, receive, send)

    monkeypatch.setattr(guard.Guard, "__call__", record)
    config = serving.configuration(create(Options(data=tmp_path)))
    config.load()
    with contextlib.closing(TestClient(config.loaded_app, client=("127.0.0.1", 50000))) as proxy:
        proxy.get("/healthz", headers={name: values[value] for name, value in lines})
    with contextlib.closing(TestClient(config.loaded_app, client=("203.0.113.7", 50000))) as stranger:
        stranger.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9"})

    assert seen == [("203.0.113.9", "https"), ("203.0.113.7", "http")]


def test_names_notes_and_authors_are_only_ever_json(client):
    script = "<script>alert(1)</script>"
    told = done(client, name="%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    one = f"/api/photographs/{told['id']}"
    body = {"lesion": "EX", "tool": "brush", "diameter": 3, "points": [[9, 9]], "author": script}

    answer = client.post(f"{one}/corrections/strokes", json=body)

    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["authors"] == [script]
    assert client.get(f"{one}/download").headers["content-disposition"].isascii()


def test_an_error_of_our_own_says_nothing_of_what_it_was(client, monkeypatch, caplog):
    name = bytes.fromhex("4a616e65").decode()  # so that a line of this file does not hold it

    def broken(*arguments):
        raise RuntimeError(name)

    monkeypatch.setattr(client.service.database, "batches", broken)
    with caplog.at_level(logging.DEBUG):
        answer = client.get("/api/batches")

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert name not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_the_data_folder_is_for_the_one_who_runs_the_server(client):
    assert client.service.data_dir.data.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("length", [1, 40, 400, 1500])
def test_damaged_photographs_are_4xx(client, length):
    content = picture()
    torn = io.BytesIO(content[:length])
    flipped = bytearray(content)
    flipped[length % len(flipped)] ^= 0xFF

    for damaged in (torn.getvalue(), bytes(flipped)):
        assert submit(client, damaged).status_code in {201, 422}
    assert submit(client, torn.getvalue()).status_code == 422


def test_a_bug_is_the_one_body_and_one_line_of_the_log_without_its_message(client, monkeypatch, caplog):
    patient = "somebody's name"

    def broken():
        raise KeyError(patient)

    monkeypatch.setattr(client.service.database, "states", broken)
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    (told,) = [record.getMessage() for record in caplog.records if record.name == "foveate.server"]
    assert told.startswith("KeyError while answering")
    assert patient not in told + answer.text
