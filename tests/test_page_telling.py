"""What the page says when something hinders it, and how it welcomes whoever comes first."""

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

import tiny_dicom
import tiny_package
import tiny_page
from tiny_page import CHROMIUM, drop, until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's package of that name")

NOTICES = "document.getElementById('notices').textContent"

SERVER = re.compile("/api/|/healthz")

RELOAD = "() => document.getElementById('list-order').dispatchEvent(new Event('change'))"

FULL = {"error": {"code": "no_space", "message": "the server's disk is full"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a model and photographs."""
    folder = tmp_path_factory.mktemp("telling")
    tiny_package.build(folder / "tiny")
    tiny_package.photograph(folder / "a.png", seed=0)
    tiny_dicom.save(tiny_dicom.op(tiny_package.fundus(seed=3), ImageLaterality="L"), folder / "IM000001")
    return folder


@pytest.fixture(scope="module")
def address(files):
    """Yield the address of a server."""
    with tiny_page.serving(files / "data", files / "tiny") as address:
        yield address


@pytest.fixture
def page(browser, address):
    """Yield a new page; all photographs are deleted afterwards."""
    context = tiny_page.new_context(browser)
    page = context.new_page()
    page.goto(address)
    until(page, "() => window.foveate?.state.server")
    yield page
    page.unroute_all()
    for photograph in page.request.get(f"{address}/api/photographs").json()["photographs"]:
        page.request.delete(f"{address}/api/photographs/{photograph['id']}")
    context.close()


def test_whoever_comes_first_is_offered_a_sample_that_is_analysed(page):
    page.locator("#sample").click()
    until(page, "() => foveate.state.result")

    assert page.locator("#current-photograph").inner_text().startswith("Sample IDRiD 376")
    assert not page.locator("#sample").is_visible()


def test_the_sample_is_the_example_that_is_set_aside_from_training():
    root = Path(__file__).parents[1]
    sample = root / "src" / "foveate" / "server" / "page" / "sample.jpg"

    assert sample.read_bytes() == (root / "examples" / "IDRiD_376_small.jpg").read_bytes()


def test_dicom_is_named_selectable_and_known_without_an_ending(page, files, tmp_path):
    (tmp_path / "notes").write_text("no photograph " * 20)
    chosen = [shutil.copy(files / name, tmp_path / name) for name in ("a.png", "IM000001")]
    page.set_input_files("#files", [*chosen, tmp_path / "notes"])
    skipped = "Skipped 1 file that is not a photograph."
    until(page, "(text) => document.getElementById('message').textContent === text", skipped)
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 2")

    assert "DICOM" in page.locator("#drop-area").text_content()
    assert ".dcm" in page.locator("#files").get_attribute("accept")
    assert page.locator("#photographs .eye-mark [aria-hidden]").all_inner_texts() == ["L"]


def test_a_server_that_does_not_answer_is_named_until_it_answers(page):
    page.route(SERVER, lambda route: route.abort())
    until(page, asking(f"/does not answer.*leave the page open/.test({NOTICES})"))
    page.unroute(SERVER)
    until(page, asking(f"{NOTICES} === ''"))


def asking(condition):
    """Return a script that asks the server again, since any answer counts, and checks a condition."""
    return f"() => {{ ({RELOAD})(); return {condition}; }}"


def test_a_full_disk_is_named_with_what_to_do_until_something_is_stored(page, files):
    page.route("**/api/photographs", lambda route: route.fulfill(status=507, json=FULL))
    drop(page, "a.png", (files / "a.png").read_bytes())
    until(page, f"() => /disk is full.*Delete photographs/.test({NOTICES})")
    page.unroute("**/api/photographs")
    page.get_by_role("button", name="Upload a.png again").click()
    until(page, f"() => {NOTICES} === '' && foveate.state.photograph")


def test_a_full_queue_is_named_and_the_upload_goes_on_by_itself(page, files):
    busy = {"error": {"code": "queue_full", "message": "the queue is full with 100 photographs"}}
    refused = []

    def answer(route):
        refused.append(1)
        if len(refused) > 1:
            return route.continue_()
        return route.fulfill(status=429, headers={"Retry-After": "1"}, json=busy)

    page.route("**/api/photographs", answer)
    drop(page, "a.png", (files / "a.png").read_bytes())
    until(page, "() => document.getElementById('uploads').textContent.includes('queue is full')")
    until(page, "() => foveate.state.photograph")

    assert len(refused) == 2


def test_a_token_is_asked_for_in_a_field_and_taken(browser, files, tmp_path):
    with tiny_page.serving(tmp_path / "data", files / "tiny", token="a-token-for-tests") as address:
        page = tiny_page.new_context(browser).new_page()
        page.goto(address)
        until(page, "() => document.getElementById('sign-in').open")
        page.fill("#token", "another-token")
        page.keyboard.press("Enter")
        until(page, "() => document.getElementById('sign-in-status').textContent !== ''")
        refused = page.locator("#sign-in-status").inner_text()
        page.fill("#token", "a-token-for-tests")
        page.keyboard.press("Enter")
        until(page, "() => window.foveate?.state.server && !document.getElementById('sign-in').open")
        page.close()

    assert "The token is wrong" in refused
