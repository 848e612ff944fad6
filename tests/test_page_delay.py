"""The page on a slow network: what is done to one photograph never reaches another, and nothing is lost.

Requests are held back until a test lets them go, or all answers arrive late. The photographs are drawn ones.
"""

import re
import shutil
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

import tiny_package
import tiny_page
from tiny_page import (
    CHROMIUM,
    drawn_pixels,
    on_screen,
    set_threshold,
    until,
    until_answer,
    until_done,
    until_drawn,
    until_laid_out,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's package of that name")

TOKEN = "a-token-for-tests"
DELAY = 0.3
"""Seconds before each answer."""


# ---- fixtures and helpers ----


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the paths of drawn photographs, of the model, and of masks for them."""
    folder = tmp_path_factory.mktemp("delay")
    tiny_package.build(folder / "tiny")
    for seed, name in enumerate("abcd"):
        tiny_package.photograph(folder / f"{name}.png", seed=seed)
    for code in ("EX", "MA"):
        mask = np.zeros((256, 256), np.uint8)
        mask[100:120, 100:120] = 255
        cv2.imwrite(str(folder / f"mask_{code}.png"), mask)
    return folder


@pytest.fixture(scope="module")
def address(files):
    """Yield the address of a server."""
    with tiny_page.serving(files / "data", files / "tiny") as address:
        yield address


@contextmanager
def new_page(browser, address):
    """Yield a new page that has been loaded."""
    context = tiny_page.new_context(browser)
    page = context.new_page()
    page.goto(address)
    until(page, "() => window.foveate?.state.server")
    yield page
    context.close()


@pytest.fixture
def page(browser, address):
    """Yield a page; all photographs are deleted afterwards."""
    with new_page(browser, address) as page:
        yield page
        delete_all(page, address)


@pytest.fixture
def opened(page, address, files):
    """Yield the page with three photographs, a, b and c in the list, and a open; and their identifiers."""
    identifiers = submit(page, address, files, "abc")  # listed in the order in which they were added
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 3")
    open_photograph(page, identifiers[0])
    return page, identifiers


def submit(page, address, files, names):
    """Submit photographs, and wait until they are done; return their identifiers."""
    identifiers = []
    for name in names:
        headers = {"Content-Type": "image/png", "Foveate-Name": f"{name}.png"}
        content = (files / f"{name}.png").read_bytes()
        answer = page.request.post(f"{address}/api/photographs", data=content, headers=headers)
        identifiers.append(answer.json()["id"])
    for identifier in identifiers:
        until_done(page.request, f"{address}/api/photographs/{identifier}")
    return identifiers


def delete_all(page, address):
    for photograph in on_server(page, address)["photographs"]:
        page.request.delete(f"{address}/api/photographs/{photograph['id']}")


def on_server(page, address, path=""):
    """Return what the server says of its photographs, not through the page."""
    return page.request.get(f"{address}/api/photographs/{path}".removesuffix("/")).json()


def until_on_server(page, address, path, holds):
    """Wait until the server's answer satisfies a condition."""
    until_answer(page, lambda: on_server(page, address, path), holds)


def open_photograph(page, identifier):
    page.locator(f"#photographs [data-id='{identifier}'] button").first.click()
    until_open(page, identifier)
    until_drawn(page)


def until_open(page, identifier):
    """Wait until a photograph, its corrections and its figures are shown."""
    until(page, IS_OPEN, identifier)


IS_OPEN = """(id) => {
  const {photograph, view} = foveate.state;
  return photograph?.id === id && (!view.result || (view.corrections && view.counts))
    && document.getElementById("current-photograph").textContent.includes("of");
}"""


def settle(page):
    """Wait until all that the page sends has been answered, and events have arrived."""
    page.wait_for_timeout(600)
    until(page, SETTLED)


SETTLED = """() => foveate.state.photograph === null || (foveate.isIdle()
  && [...document.querySelectorAll(".figures, #regions")].every(({ariaBusy}) => ariaBusy !== "true"))"""


SHOWN = """() => {
  const texts = ["message", "save-status", "caption"].map((id) => document.getElementById(id).textContent);
  const {tool, view, activeLesion} = foveate.state;
  return JSON.stringify([tool, activeLesion, view?.corrections, foveate.viewer.placement(), ...texts]);
}"""
"""What the page shows, to be read when a test fails."""


class Held:
    """Requests that are held back until they are released."""

    def __init__(self, page, pattern, method, count=1):
        self.routes = []
        self._page = page
        self._pattern = pattern
        self._method = method
        self._count = count
        page.route(pattern, self._handle)

    def _handle(self, route):
        if route.request.method == self._method and len(self.routes) < self._count:
            self.routes.append(route)
        else:
            route.fallback()

    def wait(self):
        """Wait until a request is held."""
        until_answer(self._page, lambda: self._page.evaluate(SHOWN), lambda _: self.routes)

    def release(self):
        """Send what is held, and hold nothing more."""
        routes, self._count = self.routes, 0
        for route in routes:
            route.continue_()


def paint(page, x, y, width=5):
    """Paint a stroke around a point of the photograph, with the tool in hand."""
    page.locator("#diameter").evaluate(
        "(slider, width) => { slider.value = width; slider.dispatchEvent(new Event('input')); }", width
    )
    left, top = on_screen(page, x, y)
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 6, top)
    page.mouse.up()


def painted(page, address, identifier):
    """Return how many pixels were painted, by lesion."""
    corrections = on_server(page, address, f"{identifier}/corrections")
    return {code: lesion["added_px"] for code, lesion in corrections["lesions"].items()}


def level(page, address, identifier, code):
    return on_server(page, address, identifier)["result"]["lesions"][code]["level"]


# ---- each request is about what was open when a person acted ----


def test_a_stroke_goes_to_the_lesion_that_was_active_when_it_was_painted(opened, address):
    page, (a, b, _) = opened
    held = Held(page, "**/strokes", "POST")
    page.keyboard.press("Shift+1")
    page.keyboard.press("b")
    paint(page, 10, 10)
    held.wait()
    paint(page, 30, 10)  # waits for the first one
    page.keyboard.press("Shift+2")
    held.release()
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 2)
    settle(page)

    assert painted(page, address, a)["EX"] > 0
    assert painted(page, address, a)["MA"] == 0
    assert painted(page, address, b) == {"EX": 0, "MA": 0}


def test_figures_are_busy_from_an_edit_until_its_counts_are_there(opened):
    page, _ = opened
    busy = "() => [...document.querySelectorAll('.figures, #regions')].map((part) => part.ariaBusy)"
    strokes, counts, regions = (
        Held(page, pattern, method)
        for pattern, method in (("**/strokes", "POST"), ("**/counts", "GET"), ("**/regions?*", "GET"))
    )
    assert page.evaluate(busy) == ["false", "false", "false"]
    page.keyboard.press("Shift+1")
    page.keyboard.press("b")
    paint(page, 10, 10)
    strokes.wait()
    assert page.evaluate(busy) == ["true", "true", "false"]  # the list is requested when it is saved
    strokes.release()
    counts.wait()
    regions.wait()
    assert page.evaluate(busy) == ["true", "true", "true"]
    until(page, "() => getComputedStyle(document.querySelector('.figures')).opacity === '0.5'")
    counts.release()
    regions.release()
    settle(page)

    assert page.evaluate(busy) == ["false", "false", "false"]


def test_strokes_go_on_to_their_photograph_after_another_is_opened(opened, address):
    page, (a, b, _) = opened
    held = Held(page, "**/strokes", "POST")
    page.keyboard.press("Shift+2")
    page.keyboard.press("b")
    paint(page, 10, 10)
    held.wait()
    paint(page, 30, 10)
    page.keyboard.press("n")
    page.keyboard.press("Shift+1")
    until_open(page, b)
    page.route("**/strokes", lambda route: (revisions.append(route.request.post_data_json), route.fallback()))
    revisions = []
    held.release()
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 2)
    settle(page)

    assert [(body["lesion"], body["revision"]) for body in revisions] == [("MA", 1)]
    assert painted(page, address, b) == {"EX": 0, "MA": 0}
    assert page.evaluate("() => foveate.state.view.corrections.edits") == 0  # the one that is open is b


def test_a_stroke_that_was_painted_without_seeing_an_edit_elsewhere_is_added_to_it_and_the_page_says_so(
    opened, address
):
    page, (a, _, _) = opened
    held = Held(page, "**/strokes", "POST")
    page.keyboard.press("Shift+1")
    page.keyboard.press("b")
    paint(page, 10, 10)
    held.wait()
    stroke = {"lesion": "MA", "tool": "brush", "diameter": 3, "points": [[50, 50]]}
    page.request.post(f"{address}/api/photographs/{a}/corrections/strokes", data=stroke)
    held.release()
    until(page, "() => document.getElementById('message').textContent.includes('changed in another window')")
    said = page.locator("#message").inner_text()
    settle(page)
    shown = page.evaluate("() => foveate.state.view.corrections.edits")
    paint(page, 30, 10)  # what is painted afterwards is saved, too
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 3)

    assert "with your stroke on it" in said
    assert shown == 2
    assert painted(page, address, a)["EX"] > 0
    assert painted(page, address, a)["MA"] > 0


def test_an_undo_that_did_not_see_an_edit_elsewhere_is_not_made(opened, address):
    page, (a, _, _) = opened
    page.keyboard.press("b")
    paint(page, 10, 10)
    settle(page)
    held = Held(page, "**/undo", "POST")
    page.keyboard.press("z")
    held.wait()
    stroke = {"lesion": "MA", "tool": "brush", "diameter": 3, "points": [[50, 50]]}
    page.request.post(f"{address}/api/photographs/{a}/corrections/strokes", data=stroke)
    held.release()
    until(page, "() => document.getElementById('message').textContent.includes('edit was not made')")
    settle(page)

    assert on_server(page, address, f"{a}/corrections")["edits"] == 2
    assert page.evaluate("() => foveate.state.view.corrections.edits") == 2


@pytest.mark.parametrize("keys", ["xz", "xx"])
def test_what_waits_behind_an_edit_that_is_refused_is_not_made_on_the_newer_state(opened, address, keys):
    page, (a, _, _) = opened
    until(page, "() => document.querySelector('#regions [role=option]')")
    page.locator("#regions [role=option]").first.click()
    held = Held(page, "**/verdicts", "POST")
    page.keyboard.press(keys[0])
    held.wait()
    page.keyboard.press(keys[1])
    stroke = {"lesion": "MA", "tool": "brush", "diameter": 3, "points": [[50, 50]]}
    page.request.post(f"{address}/api/photographs/{a}/corrections/strokes", data=stroke)
    held.release()
    until(page, "() => document.getElementById('message').textContent.includes('edit was not made')")
    settle(page)
    corrections = on_server(page, address, f"{a}/corrections")
    shown = page.evaluate("() => foveate.state.view.corrections.edits")
    page.keyboard.press("z")  # of what is shown now
    until_on_server(page, address, f"{a}/corrections", lambda corrections: not corrections["can_undo"])

    assert (corrections["edits"], shown, corrections["can_redo"]) == (1, 1, False)
    assert corrections["lesions"]["MA"]["added_px"] > 0


def test_masks_that_were_chosen_for_one_photograph_never_reach_another(opened, address, files):
    page, (a, b, _) = opened
    page.locator("#compare-section summary").click()
    held = Held(page, "**/references/**", "PUT")
    page.set_input_files("#reference-files", [files / "mask_EX.png", files / "mask_MA.png"])
    held.wait()
    page.locator("#next").click()
    until_open(page, b)
    held.release()
    until_on_server(page, address, f"{a}/references", lambda answer: answer["references"])
    settle(page)

    (reference,) = on_server(page, address, f"{a}/references")["references"]
    assert set(reference["lesions"]) == {"EX", "MA"}
    assert on_server(page, address, f"{b}/references")["references"] == []
    assert page.locator("#reference").input_value() == ""


def test_reviewed_and_next_shows_the_next_photograph_with_its_own_state(opened, address):
    page, (a, b, _) = opened
    held = Held(page, f"**/photographs/{a}", "PATCH")
    page.locator("#reviewed").check()
    held.wait()
    page.locator("#next").click()
    until_open(page, b)
    held.release()
    until_on_server(page, address, a, lambda photograph: photograph["reviewed"])
    settle(page)

    assert page.evaluate("() => foveate.state.photograph.id") == b
    assert not page.locator("#reviewed").is_checked()
    assert not on_server(page, address, b)["reviewed"]


def test_a_threshold_that_is_moved_just_before_next_is_saved_for_its_photograph(opened, address):
    page, (a, b, _) = opened
    before = level(page, address, b, "EX")
    set_threshold(page, "EX", 40)
    page.keyboard.press("n")
    until_open(page, b)
    settle(page)

    assert level(page, address, a, "EX") == 40
    assert level(page, address, b, "EX") == before
    assert page.evaluate("() => foveate.state.lesion('EX').level") == before


def test_a_photograph_that_is_left_and_opened_again_has_its_unsaved_threshold(opened, address):
    page, (a, b, _) = opened
    held = Held(page, f"**/photographs/{a}", "PATCH")
    set_threshold(page, "EX", 40)
    page.keyboard.press("n")
    until_open(page, b)
    held.wait()
    page.keyboard.press("p")
    until_open(page, a)
    shown = page.locator("#level-EX").input_value()
    held.release()
    settle(page)

    assert shown == "40"
    assert level(page, address, a, "EX") == 40


def test_regions_of_one_photograph_cannot_be_selected_while_another_is_open(opened):
    page, (_, b, _) = opened
    until(page, "() => document.querySelector('#regions [role=option]')")
    held = Held(page, f"**/photographs/{b}/regions**", "GET", count=10)
    page.keyboard.press("n")
    until_open(page, b)
    page.keyboard.press("j")

    assert page.locator("#regions [role=option]").count() == 0
    assert page.evaluate("() => foveate.state.view.region") is None
    held.release()


def test_a_list_of_regions_that_is_still_loading_does_not_say_that_there_are_none(opened):
    page, (_, b, _) = opened
    held = Held(page, "**/regions?**", "GET", count=10)  # a list that is asked for again, too
    page.keyboard.press("n")
    until_open(page, b)
    held.wait()
    until(
        page, "() => document.getElementById('regions-footer').innerText === 'The regions are being loaded.'"
    )
    held.release()
    until(page, "() => document.querySelector('#regions [role=option]')")
    page.route("**/regions?**", lambda route: route.fulfill(status=500, json={}))
    page.keyboard.press("n")
    until(page, "() => document.getElementById('regions-footer').innerText.includes('could not be loaded')")
    page.unroute("**/regions?**")


def test_after_a_deletion_the_next_photograph_is_open(opened):
    page, (a, b, _) = opened
    held = Held(page, f"**/photographs/{b}", "GET")
    page.locator(f"#photographs [data-id='{a}'] .delete-button").evaluate("(button) => button.click()")
    page.locator("#confirm-yes").click()
    held.wait()
    page.wait_for_timeout(600)  # the server's event of the deletion arrives
    held.release()
    until_open(page, b)
    settle(page)

    assert page.locator("#current-photograph").text_content() == "b · 1 of 2"


# ---- answers that come late or not at all ----


@pytest.mark.parametrize("answered", ["before", "after"])
def test_corrections_are_those_after_an_edit_elsewhere_while_they_were_being_loaded(
    opened, address, answered
):
    page, (_, b, _) = opened
    held = Held(page, f"**/photographs/{b}/corrections", "GET")
    tiny_page.until_connected(page)
    page.keyboard.press("n")
    held.wait()
    before = drawn_pixels(page)
    if answered == "before":
        answer = held.routes[0].fetch()
    stroke = {"lesion": "EX", "tool": "brush", "diameter": 31, "points": [[20, 20]]}
    assert page.request.post(f"{address}/api/photographs/{b}/corrections/strokes", data=stroke).ok
    until(page, "() => foveate.state.result.revision === 1")
    if answered == "after":
        answer = held.routes[0].fetch()
    held.routes[0].fulfill(response=answer)
    until(page, "() => foveate.state.view.corrections?.revision === 1")
    settle(page)

    assert drawn_pixels(page) > before
    assert page.locator("#undo").is_enabled()
    assert page.evaluate("() => foveate.state.view.counts.revision") == 1


def test_an_edit_elsewhere_of_which_the_page_is_told_before_its_own_is_answered_is_shown(opened, address):
    page, (a, _, _) = opened
    held = Held(page, "**/strokes", "POST")
    tiny_page.until_connected(page)
    page.keyboard.press("b")
    paint(page, 10, 10)
    held.wait()
    answer = held.routes[0].fetch()
    stroke = {"lesion": "MA", "tool": "brush", "diameter": 3, "points": [[50, 50]]}
    assert page.request.post(f"{address}/api/photographs/{a}/corrections/strokes", data=stroke).ok
    until(page, "() => foveate.state.result.revision === 2")
    held.routes[0].fulfill(response=answer)
    until(page, "() => foveate.state.view.corrections.revision === 2")


def test_of_two_lists_the_one_that_was_asked_for_last_is_shown(opened):
    page, _ = opened
    held = Held(page, "**/photographs?**", "GET")
    page.select_option("#list-order", "submitted")
    page.locator("#list-order").evaluate("(order) => order.dispatchEvent(new Event('change'))")
    held.wait()
    page.locator("#list-order").evaluate(
        "(order) => { order.value = 'name'; order.dispatchEvent(new Event('change')); }"
    )
    by_name = ["a", "b", "c"]
    until(page, f"() => {NAMES}.join() === '{','.join(by_name)}'")
    answer = held.routes[0].fetch()
    photographs = answer.json()["photographs"]
    photographs[0]["name"] = "earlier"  # so that it differs
    with page.expect_event("requestfinished", lambda request: request == held.routes[0].request):
        held.routes[0].fulfill(json={"photographs": photographs, "total": 3})
    page.wait_for_timeout(300)  # time enough to show it

    assert page.evaluate(f"() => {NAMES}") == by_name


NAMES = "[...document.querySelectorAll('#photographs .name')].map((name) => name.textContent)"


def test_a_list_that_was_asked_for_before_a_deletion_does_not_bring_the_photograph_back(opened, address):
    page, (_, _, c) = opened
    held = Held(page, "**/photographs?**", "GET")
    page.locator("#list-order").evaluate("(order) => order.dispatchEvent(new Event('change'))")
    held.wait()
    answer = held.routes[0].fetch()
    page.request.delete(f"{address}/api/photographs/{c}")
    until(page, "() => document.querySelectorAll('#photographs li[data-id]').length === 2")
    with page.expect_event("requestfinished", lambda request: request == held.routes[0].request):
        held.routes[0].fulfill(response=answer)
    page.wait_for_timeout(300)  # time enough to show it

    assert page.locator("#photographs li[data-id]").count() == 2


def test_an_upload_whose_answer_comes_after_its_result_is_shown_as_done(opened, files):
    page, _ = opened  # one that is opened is loaded anew; this one is only listed
    page.route("**/api/photographs", lambda route: answer_late(route, page))
    page.set_input_files("#files", files / "d.png")
    until(page, "() => document.querySelector('#uploads li')")
    until(page, "() => !document.querySelector('#uploads li')")
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 4")


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_file_whose_upload_lost_its_answer_is_added_once(page, address, files, is_deleted):
    identifiers = []

    def lose_first(route):
        identifiers.append(route.request.headers["foveate-upload"])
        if len(identifiers) > 1:
            return route.continue_()
        stored = route.fetch().json()["id"]  # it reaches the server
        if is_deleted:
            page.request.delete(f"{address}/api/photographs/{stored}")
        return route.fulfill(status=504, body="the proxy's time is over")

    page.route("**/api/photographs", lose_first)
    page.set_input_files("#files", files / "d.png")
    if is_deleted:
        page.locator("#uploads li.failed", has_text="deleted since it was uploaded").wait_for()
        page.get_by_role("button", name="Upload d.png again").click()
    until_answer(page, lambda: page.evaluate(SHOWN), lambda _: len(identifiers) == (3 if is_deleted else 2))
    until(page, "() => !document.querySelector('#uploads li')")
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 1")

    assert [photograph["id"] for photograph in on_server(page, address)["photographs"]] == identifiers[-1:]
    assert identifiers[1] == identifiers[0]
    assert (identifiers[-1] == identifiers[0]) == (not is_deleted)


def test_another_analysis_whose_answer_comes_after_its_result_is_shown_as_done(page, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((256, 256, 3), (70, 80, 90), np.uint8))  # no disc
    page.set_input_files("#files", tmp_path / "grey.png")
    button = page.get_by_role("button", name="Analyse the whole photograph", exact=True)
    button.wait_for()
    page.route("**/again", lambda route: answer_late(route, page))
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/again")):
        button.click()
    until_laid_out(page)
    until(page, "() => document.querySelector('#photographs li[data-id]').className === 'done open'")


def answer_late(route, page):
    """Let an answer arrive after the photograph that it is about is done, and an event has said so."""
    if route.request.method != "POST":
        return route.fallback()
    tiny_page.until_connected(page)
    page.evaluate("() => { window.toldPhotographs.length = 0; }")
    answer = route.fetch()
    assert answer.json()["state"] in ("queued", "running")
    until(
        page,
        "(id) => window.toldPhotographs.some((told) => told.id === id && told.state === 'done')",
        answer.json()["id"],
    )
    return route.fulfill(response=answer)


def test_a_batch_that_cannot_be_created_at_once_is_created_later(page, address, files):
    attempts = []

    def refuse_once(route):
        if route.request.method == "POST":  # the list asks for the batches meanwhile
            attempts.append(1)
        if route.request.method == "POST" and len(attempts) == 1:
            route.fulfill(
                status=503, headers={"Retry-After": "1"}, json={"error": {"code": "busy", "message": ""}}
            )
        else:
            route.continue_()

    page.route("**/api/batches", refuse_once)
    page.set_input_files("#files", [files / "a.png", files / "b.png"])
    until(page, "() => document.querySelectorAll('#photographs li[data-id]').length === 2")

    batches = {photograph["batch"] for photograph in on_server(page, address)["photographs"]}
    assert len(batches) == 1
    assert None not in batches


def test_photographs_of_a_batch_that_is_refused_can_be_uploaded_again(page, address, files):
    refused = {"error": {"code": "invalid", "message": "no such batch today"}}

    def refuse_new(route):  # the list asks for the batches meanwhile
        if route.request.method == "POST":
            route.fulfill(status=422, json=refused)
        else:
            route.continue_()

    page.route("**/api/batches", refuse_new)
    page.set_input_files("#files", [files / "a.png", files / "b.png"])
    until(page, "() => document.querySelectorAll('#uploads li.failed').length === 2")
    texts = page.locator("#uploads li .small").all_inner_texts()
    count = on_server(page, address)["total"]
    page.unroute("**/api/batches")
    for count_then, name in enumerate("ab", start=1):  # one after the other: rows move when one is added
        page.get_by_role("button", name=f"Upload {name}.png again").click()
        until(page, f"() => document.querySelectorAll('#photographs li.done').length === {count_then}")

    assert texts == ["no such batch today"] * 2
    assert count == 0
    until_on_server(page, address, "", lambda held: held["total"] == 2)
    batches = {photograph["batch"] for photograph in on_server(page, address)["photographs"]}
    assert len(batches) == 1
    assert None not in batches


def test_photographs_whose_batch_was_deleted_meanwhile_are_uploaded_into_one_new_batch(page, address, files):
    held = Held(page, "**/photographs?**", "POST")
    page.set_input_files("#files", [files / f"{name}.png" for name in "abc"])
    held.wait()
    batch = page.request.get(f"{address}/api/batches").json()["batches"][0]  # the latest
    page.request.delete(f"{address}/api/batches/{batch['id']}")
    held.release()
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 2")  # by themselves
    refused = page.locator("#uploads li .text").all_inner_texts()
    page.get_by_role("button", name="Upload a.png again").click()
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 3")

    assert len(refused) == 1
    assert refused[0].startswith("a.png\nno such batch")
    batches = {photograph["batch"] for photograph in on_server(page, address)["photographs"]}
    assert len(batches) == 1
    assert not batches & {None, batch["id"]}


def test_a_file_that_is_gone_before_its_upload_is_named_and_the_others_go_on(page, address, files, tmp_path):
    chosen = [shutil.copy(files / "a.png", tmp_path / name) for name in ("1 gone.png", "2 there.png")]
    held = Held(page, "**/api/batches", "POST")
    page.set_input_files("#files", chosen)
    held.wait()
    chosen[0].unlink()
    held.release()
    until(page, "() => document.querySelectorAll('#photographs li[data-id]').length === 1")
    until(page, "() => document.querySelectorAll('#uploads li.failed').length === 1")

    assert page.locator("#uploads li .text").inner_text().splitlines() == [
        "1 gone.png",
        "The file can no longer be read; add it again.",
    ]
    assert page.locator("#notices").inner_text() == ""
    assert [photograph["name"] for photograph in on_server(page, address)["photographs"]] == ["2 there"]


def test_tiles_are_drawn_after_the_tile_worker_could_not_be_loaded(browser, address, files):
    context = tiny_page.new_context(browser)
    page = context.new_page()
    lost = []

    def fail_twice(route):
        lost.append(1)
        if len(lost) <= 2:
            route.abort()
        else:
            route.continue_()

    context.route("**/js/worker.js", fail_twice)
    page.goto(address)
    (identifier,) = submit(page, address, files, "a")
    page.evaluate("(id) => { location.hash = id; }", identifier)
    until(page, "(id) => window.foveate?.state.result", identifier)
    pixels = drawn_pixels(page)
    delete_all(page, address)
    context.close()

    assert len(lost) > 2
    assert pixels > 0


def test_pictures_of_a_photograph_that_is_left_are_closed(opened):
    page, (_, b, _) = opened
    page.keyboard.press("f")  # filled regions are pictures; outlines are lines at this zoom
    until_drawn(page)
    page.evaluate(COUNT_CLOSED)
    page.keyboard.press("n")
    until_open(page, b)
    until_drawn(page)

    assert page.evaluate("() => window.closedPieces") > 0


COUNT_CLOSED = """() => {
  const {drawImage} = CanvasRenderingContext2D.prototype;
  const {close} = ImageBitmap.prototype;
  const pieces = new Set(); // of layers, as they are drawn
  window.closedPieces = 0;
  CanvasRenderingContext2D.prototype.drawImage = function (image, ...place) {
    if (this.canvas.id === "layer-canvas") pieces.add(image);
    return drawImage.call(this, image, ...place);
  };
  ImageBitmap.prototype.close = function () {
    window.closedPieces += pieces.has(this);
    return close.call(this);
  };
  dispatchEvent(new Event("resize"));
  foveate.viewer.zoomBy(1.01); // everything is drawn again
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def test_layers_are_those_of_the_model_after_all_corrections_are_deleted(opened, address):
    page, (a, _, _) = opened
    before = drawn_pixels(page)
    page.keyboard.press("Shift+1")
    page.keyboard.press("b")
    paint(page, 20, 20, width=31)
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 1)
    page.keyboard.press("v")
    settle(page)
    corrected = drawn_pixels(page)
    held = Held(page, "**/corrections", "DELETE")
    page.get_by_role("button", name=re.compile("(Delete|Forget) all corrections")).click()
    page.locator("#confirm-yes").click()
    held.wait()
    page.wait_for_timeout(600)  # tiles that are asked for too early are loaded
    held.release()
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 0)
    settle(page)

    assert corrected > before
    assert drawn_pixels(page) == before


def test_masks_that_were_replaced_while_another_photograph_was_open_are_shown_as_they_are(
    opened, address, files
):
    page, (a, b, _) = opened
    page.locator("#compare-section summary").click()
    put_mask(page, address, a, (files / "mask_EX.png").read_bytes())
    drawn = []
    for _ in range(2):
        open_photograph(page, b)
        open_photograph(page, a)
        until(page, "() => document.querySelector('#reference option[value=Ann]')")
        page.select_option("#reference", "Ann")
        until(page, "() => foveate.state.view.reference === 'Ann'")
        drawn.append(drawn_pixels(page))
        whole = np.full((256, 256), 255, np.uint8)
        put_mask(page, address, a, cv2.imencode(".png", whole)[1].tobytes())

    assert drawn[1] > 2 * drawn[0] > 0


def put_mask(page, address, identifier, content):
    """Send a mask of EX that Ann drew."""
    path = f"{address}/api/photographs/{identifier}/references/Ann/EX"
    assert page.request.put(path, data=content, headers={"Content-Type": "image/png"}).ok


@pytest.mark.parametrize("told_by", ["events", "list"])
def test_outlines_are_those_of_the_last_analysis(opened, address, told_by):
    page, (a, _, _) = opened
    if told_by == "list":
        cut_off(page, a)
    until_drawn(page)
    before = page.evaluate(OUTLINED_OUTSIDE)
    time.sleep(1)  # an analysis is known by the second at which it ended
    page.request.post(f"{address}/api/photographs/{a}/again", data={"field": "128,128,70"})
    finished = until_done(page.request, f"{address}/api/photographs/{a}")["finished"]
    if told_by == "list":
        page.evaluate("() => document.getElementById('list-order').dispatchEvent(new Event('change'))")
    until(page, "(finished) => foveate.state.photograph.finished === finished", finished)
    settle(page)
    until_drawn(page)

    assert before > 0
    assert page.evaluate(OUTLINED_OUTSIDE) == 0


def test_an_edit_after_another_analysis_is_not_refused_for_edits_of_the_one_before(opened, address):
    page, (a, _, _) = opened
    page.keyboard.press("Shift+1")
    page.keyboard.press("b")
    paint(page, 20, 20)
    paint(page, 40, 20)
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 2)
    time.sleep(1)  # an analysis is known by the second at which it ended
    page.request.post(f"{address}/api/photographs/{a}/again", data={"field": "128,128,70"})
    finished = until_done(page.request, f"{address}/api/photographs/{a}")["finished"]
    until(page, "(finished) => foveate.state.view.photograph.finished === finished", finished)
    until(page, "() => foveate.state.view.corrections?.edits === 0")
    paint(page, 128, 128)
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 1)
    settle(page)

    assert page.locator("#message").inner_text() == ""


OUTLINED_OUTSIDE = """() => {
  const canvas = document.getElementById("layer-canvas");
  const {width, height} = canvas;
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  const {x, y, scale} = foveate.viewer.placement();
  const offset = (screen, start) => (screen - start) / scale - 128;
  const distance = (place) => Math.hypot(offset(place % width, x), offset(Math.floor(place / width), y));
  let count = 0;
  for (let place = 0; place < width * height; place++)
    if (data[4 * place + 3] && distance(place) > 75) count++;
  return count;
}"""
"""Counts pixels of the layers that lie more than 75 px of the photograph from its middle."""


def test_a_click_reaches_what_was_pressed_although_it_is_drawn_anew_meanwhile(opened, address):
    page, (_, b, _) = opened
    page.locator(f"#photographs [data-id='{b}'] button").first.hover()
    page.mouse.down()
    change(page, address, b, {"reviewed": True})
    page.mouse.up()
    until_open(page, b)
    until(page, "() => document.querySelectorAll('#photographs .reviewed-mark').length === 1")

    settle(page)
    page.locator("#region-0").hover()
    page.mouse.down()
    page.evaluate("() => foveate.state.emit('corrections')")  # the regions are loaded again
    settle(page)
    page.mouse.up()
    until(page, "() => foveate.state.view.region !== null")


@pytest.mark.parametrize("link", ["#batch", ".batch-download"])
def test_the_files_of_a_batch_wait_for_what_is_pending_of_any_photograph(opened, address, link):
    page, identifiers = opened
    batch = page.request.post(f"{address}/api/batches", data={"name": "waits"}).json()["id"]
    for identifier in identifiers:
        change(page, address, identifier, {"batch": batch})
    held = Held(page, "**/photographs/*", "PATCH")
    page.keyboard.press("t")  # which opens the next one
    held.wait()
    until_open(page, identifiers[1])
    page.evaluate("""() => {
      window.followed = [];
      window.addEventListener("click", (event) => window.followed.push(!event.defaultPrevented));
    }""")
    page.locator(link).click()
    page.wait_for_timeout(500)
    early = page.evaluate("() => window.followed")
    with page.expect_download() as download:
        held.release()

    assert early == [False]
    assert page.evaluate("() => window.followed") == [False, True]
    assert download.value.url.endswith(f"/api/batches/{batch}/download")


def test_no_click_goes_to_what_is_of_a_photograph_that_is_no_longer_open(opened):
    page, (_, b, c) = opened
    settle(page)
    page.evaluate("""() => {
      window.selected = [];
      window.addEventListener("click", () => window.selected.push(foveate.state.view.region));
    }""")
    page.locator("#region-0").hover()
    page.mouse.down()
    page.keyboard.press("n")
    until_open(page, b)
    page.mouse.up()
    settle(page)
    selected = page.evaluate("() => window.selected.filter(Boolean)")
    page.locator("#zip").scroll_into_view_if_needed()
    page.locator("#zip").hover()
    page.mouse.down(button="right")  # the browser's menu takes the release
    page.keyboard.press("n")
    until_open(page, c)
    settle(page)

    assert selected == []
    assert f"/{c}/" in page.locator("#zip").get_attribute("href")
    page.mouse.up(button="right")


def change(page, address, identifier, fields):
    """Change fields of a photograph, not through the page, and wait until the page has been told."""
    tiny_page.change_elsewhere(page, f"{address}/api/photographs/{identifier}", fields)


def test_undo_right_after_a_stroke_undoes_it(opened, address):
    page, (a, _, _) = opened
    held = Held(page, "**/strokes", "POST")
    page.keyboard.press("Shift+1")
    page.keyboard.press("b")
    paint(page, 10, 10)
    held.wait()
    page.keyboard.press("z")
    held.release()
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["can_redo"])

    assert painted(page, address, a) == {"EX": 0, "MA": 0}


# ---- sessions, tabs, and closing the page ----


def test_a_lost_session_keeps_what_was_painted_until_the_token_is_given_again(browser, files, tmp_path):
    with tiny_page.serving(tmp_path / "data", files / "tiny", token=TOKEN) as address:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        context = tiny_page.new_context(browser)
        page = context.new_page()
        page.goto(f"{address}/#token={TOKEN}")
        until(page, "() => window.foveate?.state.server")
        (a,) = submit(page, address, files, "a")
        until(page, "() => document.querySelectorAll('#photographs li.done').length === 1")
        open_photograph(page, a)
        page.keyboard.press("Shift+1")
        page.keyboard.press("b")
        context.clear_cookies()
        paint(page, 10, 10)
        until(page, "() => document.querySelector('dialog#sign-in[open]')")
        strokes = page.locator("#annotations .stroke").count()
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        until(page, "() => document.getElementById('sign-in-status').textContent")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        until(page, "() => foveate.state.view.corrections?.edits === 1")
        corrections = page.request.get(f"{address}/api/photographs/{a}/corrections", headers=bearer).json()
        context.close()

    assert strokes == 1
    assert corrections["lesions"]["EX"]["added_px"] > 0


def test_a_token_in_the_address_is_never_sent_as_a_path(page):
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    with page.expect_response("**/api/session"):
        page.evaluate("(token) => { location.hash = `token=${token}`; }", TOKEN)

    assert urls
    assert not any(TOKEN in url or "token" in url for url in urls)
    assert TOKEN not in page.url


def test_two_tabs_see_each_others_thresholds(opened, browser, address):
    page, (a, _, _) = opened
    with new_page(browser, f"{address}/#{a}") as other_tab:
        until(other_tab, "() => foveate.state.view?.counts")
        before = other_tab.locator("#count-EX").inner_text()
        set_threshold(page, "EX", 1)
        until(other_tab, "() => foveate.state.lesion('EX').level === 1")
        set_threshold(other_tab, "MA", 77)  # does not set the other lesion back
        until(page, "() => foveate.state.lesion('MA').level === 77")
        slider = other_tab.locator("#level-EX").input_value()
        after = other_tab.locator("#count-EX").inner_text()

    assert slider == "1"
    assert after != before or page.locator("#count-EX").inner_text() == before
    assert (level(page, address, a, "EX"), level(page, address, a, "MA")) == (1, 77)


def test_a_threshold_that_another_tab_moved_unseen_stays_beside_ones_own(opened, address):
    page, (a, _, _) = opened
    cut_off(page, a)
    page.request.patch(f"{address}/api/photographs/{a}", data={"levels": {"MA": 90}})
    set_threshold(page, "EX", 40)
    until_on_server(page, address, a, lambda told: told["result"]["lesions"]["EX"]["level"] == 40)
    settle(page)

    assert level(page, address, a, "MA") == 90
    assert page.evaluate("() => foveate.state.lesion('MA').level") == 90
    assert "window" not in page.locator("#message").inner_text()


def test_of_one_threshold_that_two_tabs_moved_the_first_stays_and_the_second_tab_says_so(opened, address):
    page, (a, _, _) = opened
    cut_off(page, a)
    page.request.patch(f"{address}/api/photographs/{a}", data={"levels": {"EX": 90}, "note": "theirs"})
    page.keyboard.press("b")
    left, top = on_screen(page, 20, 20)
    page.mouse.move(left, top)
    page.mouse.down()  # a stroke is being drawn meanwhile
    page.mouse.move(left + 9, top)
    set_threshold(page, "EX", 40)
    until(page, "() => document.getElementById('message').textContent.includes('in another window')")
    said = page.locator("#message").inner_text()
    page.mouse.move(left + 20, top)
    page.mouse.up()
    until_on_server(page, address, f"{a}/corrections", lambda corrections: corrections["edits"] == 1)
    again = page.locator("#message").inner_text()
    settle(page)
    shown = page.evaluate("() => [foveate.state.lesion('EX').level, foveate.state.photograph.note]")
    set_threshold(page, "EX", 40)  # now that it was seen, the second one is right
    until_on_server(page, address, a, lambda told: told["result"]["lesions"]["EX"]["level"] == 40)

    assert said.startswith("Not saved: The threshold of hard exudates was changed")
    assert again == said
    assert shown == [90, "theirs"]
    assert painted(page, address, a)["EX"] > 0


def test_a_note_of_another_window_is_shown_in_the_field_that_has_the_focus_and_is_added_to(opened, address):
    page, (a, _, _) = opened
    page.fill("#note", "mine")
    until_on_server(page, address, a, lambda told: told["note"] == "mine")
    settle(page)
    change(page, address, a, {"note": "theirs"})
    shown = page.locator("#note").input_value()
    page.keyboard.press("Control+End")
    page.keyboard.type("!")
    until_on_server(page, address, a, lambda told: told["note"] == "theirs!")

    assert shown == "theirs"


@pytest.mark.parametrize(
    ("field", "mine", "theirs"), [("note", "mine", "theirs"), ("spacing_mm", "0.006", 0.005)]
)
def test_what_waits_to_be_saved_does_not_overwrite_what_another_window_saved_first(
    opened, address, field, mine, theirs
):
    page, (a, _, _) = opened
    page.locator("#measure-section summary").click()
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": {"message": "it is busy"}}}
    sent, changed = [], []

    def refuse_until_changed(route):
        if route.request.method != "PATCH":
            return route.fallback()
        sent.append(bool(changed))
        return route.fallback() if changed else route.fulfill(**busy)

    page.route(f"**/photographs/{a}", refuse_until_changed)
    field_id = f"#{field.removesuffix('_mm')}"
    page.fill(field_id, mine)
    page.press(field_id, "Tab")
    until(page, "() => document.getElementById('save-status').textContent.includes('Not saved yet')")
    change(page, address, a, {field: theirs})
    changed.append(field)
    until(page, "() => document.getElementById('message').textContent.includes('in another window')")
    settle(page)

    assert True not in sent  # the page was told before it tried again
    assert on_server(page, address, a)[field] == theirs
    assert page.locator(field_id).input_value() == str(theirs)


def test_a_spacing_that_is_typed_while_another_window_sets_it_does_not_overwrite_it(opened, address):
    page, (a, _, _) = opened
    page.locator("#measure-section summary").click()
    page.locator("#spacing").focus()
    page.keyboard.type("0.00")
    change(page, address, a, {"spacing_mm": 0.005})
    typed, area = page.locator("#spacing").input_value(), page.locator("#regions .figure").first.inner_text()
    page.keyboard.type("6")
    page.keyboard.press("Tab")
    until(
        page, "() => document.getElementById('message').textContent.includes('The pixel spacing was changed')"
    )
    settle(page)

    assert typed == "0.00"
    assert area.endswith("mm²")
    assert on_server(page, address, a)["spacing_mm"] == 0.005
    assert page.locator("#spacing").input_value() == "0.005"


def until_grid(page, grid):
    """Wait until the fovea of a grid is drawn at its place."""
    until(page, FOVEA_LIES_AT, [grid["fovea"]["x"], grid["fovea"]["y"]])


FOVEA_LIES_AT = """([x, y]) => {
  const handle = document.querySelector("#annotations .handle.fovea"), place = foveate.viewer.placement();
  if (!handle) return false;
  const [left, top] = [handle.cx.baseVal.value - place.x, handle.cy.baseVal.value - place.y];
  return Math.hypot(left / place.scale - x, top / place.scale - y) < 0.2;
}"""


def hold_fovea(page, right):
    """Press the fovea of the grid and move it to the right, without releasing it."""
    box = page.locator("#annotations .handle.fovea").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y, steps=3)


GRIDS = [{"fovea": {"x": x, "y": 100}, "disc": {"x": 200, "y": 110}} for x in (80, 120)]


def test_the_grid_and_its_table_are_those_that_another_window_saved(opened, address):
    page, (a, _, _) = opened
    change(page, address, a, {"grid": GRIDS[0]})
    page.keyboard.press("g")
    until_grid(page, GRIDS[0])
    settle(page)
    with page.expect_response("**/grid"):
        change(page, address, a, {"grid": GRIDS[1]})
    until_grid(page, GRIDS[1])
    hold_fovea(page, 30)
    change(page, address, a, {"grid": GRIDS[0]})  # during the drag
    page.mouse.up()
    until(page, "() => document.getElementById('message').textContent.includes('grid was changed meanwhile')")
    until_grid(page, GRIDS[0])
    settle(page)

    assert on_server(page, address, a)["grid"] == GRIDS[0]


def test_the_table_of_the_grid_is_that_of_the_spacing_that_another_window_set(opened, address):
    page, (a, _, _) = opened
    change(page, address, a, {"grid": GRIDS[0]})
    page.keyboard.press("g")
    said = "document.getElementById('grid-description').textContent"
    until(page, f"() => {said}.includes('by a rule of thumb')")
    change(page, address, a, {"spacing_mm": 0.01})
    until(page, f"() => {said}.includes('from the pixel spacing; 1 disc diameter = 180 px')")


def test_a_grid_that_is_refused_is_drawn_where_it_is_stored(opened, address):
    page, (a, _, _) = opened
    change(page, address, a, {"grid": GRIDS[0]})
    cut_off(page, a)
    page.keyboard.press("g")
    until_grid(page, GRIDS[0])
    until(page, "() => foveate.isIdle()")
    page.request.patch(f"{address}/api/photographs/{a}", data={"grid": GRIDS[1]})  # unseen
    hold_fovea(page, 30)
    page.mouse.up()
    until(page, "() => document.getElementById('message').textContent.includes('in another window')")
    until_grid(page, GRIDS[1])

    assert on_server(page, address, a)["grid"] == GRIDS[1]


def test_a_photograph_that_is_deleted_elsewhere_while_it_is_painted_is_named(opened, address):
    page, (a, b, _) = opened
    page.keyboard.press("b")
    left, top = on_screen(page, 20, 20)
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 9, top)
    page.request.delete(f"{address}/api/photographs/{a}")
    until_open(page, b)
    page.mouse.move(left + 20, top)
    page.mouse.up()
    settle(page)

    assert page.locator("#message").inner_text() == "a was deleted in another window; b is open now."
    assert page.evaluate("() => foveate.state.tool") == "move"
    assert on_server(page, address, f"{b}/corrections")["edits"] == 0


def test_ones_own_change_whose_answer_was_lost_is_no_change_of_another_tab(opened, address):
    page, (a, _, _) = opened
    cut_off(page, a)
    lost = []

    def lose(route):
        if route.request.method != "PATCH" or lost:
            return route.continue_()
        lost.append(route.fetch())  # it reaches the server
        return route.abort()

    page.route(f"**/photographs/{a}", lose)
    set_threshold(page, "EX", 40)
    until(page, "() => foveate.isIdle() && foveate.state.photograph.result.lesions.EX.level === 40")
    set_threshold(page, "EX", 41)
    until_on_server(page, address, a, lambda told: told["result"]["lesions"]["EX"]["level"] == 41)
    settle(page)

    assert len(lost) == 1
    assert "window" not in page.locator("#message").inner_text()


def cut_off(page, identifier):
    """Let no event reach the page: it has not seen what another tab does."""
    page.route("**/api/events", lambda route: route.abort())
    page.reload()
    until(page, "() => window.foveate?.state.view?.corrections && foveate.isIdle()")
    open_photograph(page, identifier)


def test_closing_the_page_during_an_upload_asks_first_and_a_reload_says_what_is_missing(page, files):
    dialogs = accept_dialogs(page)
    held = Held(page, "**/api/photographs", "POST")
    page.set_input_files("#files", [files / "a.png"])
    held.wait()
    page.reload()
    until(page, "() => window.foveate?.state.server")
    message = page.locator("#message").inner_text()
    page.reload()
    until(page, "() => window.foveate?.state.server")

    assert dialogs == ["beforeunload"]
    assert "a.png" in message
    assert "window" not in page.locator("#message").inner_text()


def test_closing_the_page_while_photographs_are_being_deleted_asks_first(opened):
    page, (a, _, _) = opened
    dialogs = accept_dialogs(page)
    held = Held(page, "**/api/photographs/*", "DELETE")
    page.locator(f"#photographs [data-id='{a}'] .delete-button").click()
    page.locator("#confirm-yes").click()
    held.wait()
    page.reload()
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 3")
    page.locator(f"#photographs [data-id='{a}'] .delete-button").click()
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.locator("#confirm-yes").click()
    settle(page)
    page.reload()
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 2")

    assert dialogs == ["beforeunload"]


def test_a_threshold_that_is_moved_just_before_the_page_is_closed_is_saved(opened, browser, address):
    page, (a, _, _) = opened
    with new_page(browser, f"{address}/#{a}") as closing:
        until(closing, "() => foveate.state.view?.counts")
        set_threshold(closing, "EX", 33)
        closing.goto("about:blank")
        until_on_server(
            page, address, a, lambda photograph: photograph["result"]["lesions"]["EX"]["level"] == 33
        )

    assert level(page, address, a, "EX") == 33


def test_a_threshold_that_the_server_has_not_taken_yet_is_saved_when_the_page_is_closed(
    opened, browser, address
):
    page, (a, _, _) = opened
    with new_page(browser, f"{address}/#{a}") as closing:
        until(closing, "() => foveate.state.view?.counts")
        busy = {"status": 503, "headers": {"Retry-After": "60"}, "json": {"error": {"message": "it is busy"}}}
        closing.route(f"**/photographs/{a}", lambda route: route.fulfill(**busy))
        set_threshold(closing, "EX", 33)
        until(closing, "() => document.getElementById('save-status').textContent.includes('Not saved yet')")
        closing.unroute(f"**/photographs/{a}")
        dialogs = accept_dialogs(closing)
        closing.goto("about:blank")
        until_on_server(
            page, address, a, lambda photograph: photograph["result"]["lesions"]["EX"]["level"] == 33
        )

    assert dialogs == ["beforeunload"]


def accept_dialogs(page):
    """Accept all dialogs of a page; return the list of their kinds, which grows."""
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.accept()))
    page.locator("#stage").click()  # a browser asks only a person who has done something
    return dialogs


# ---- all together ----


def test_an_hour_of_work_leaves_the_same_with_and_without_a_delay(browser, address, files):
    left = {}
    for delay in (0, DELAY):
        with tiny_page.delayed(address, delay) as slow_address, new_page(browser, slow_address) as page:
            work(page, files)
            settle(page)
            left[delay] = server_state(page, address)
            delete_all(page, address)

    assert len(left[0]) == 3
    assert left[DELAY] == left[0]


def work(page, files):
    """Upload, open, move thresholds, correct, review, go on, delete; wait only for what the page shows."""
    page.set_input_files("#files", [files / f"{name}.png" for name in "abc"])
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 3")
    page.select_option("#list-order", "name")
    until(page, f"() => {NAMES}.join() === 'a,b,c'")
    page.locator("#photographs button.open-button").first.click()
    until_shown(page, "a")
    set_threshold(page, "EX", 60)
    page.keyboard.press("Shift+2")
    page.keyboard.press("b")
    paint(page, 10, 10)
    page.keyboard.press("Shift+1")
    paint(page, 40, 10, width=9)
    page.keyboard.press("z")
    paint(page, 70, 10, width=7)
    page.locator("#reviewed").check()
    set_threshold(page, "MA", 99)
    page.keyboard.press("n")
    until_shown(page, "b")
    set_threshold(page, "EX", 200)
    paint(page, 20, 30)
    page.keyboard.press("v")
    page.keyboard.press("g")
    page.keyboard.press("n")
    until_shown(page, "c")
    page.locator("#reviewed").check()
    page.keyboard.press("p")
    until_shown(page, "b")
    page.locator("#photographs li.open .delete-button").evaluate("(button) => button.click()")
    page.locator("#confirm-yes").click()
    until_shown(page, "c")
    until(page, "() => document.querySelector('#regions [role=option]')")
    page.locator("#regions [role=option]").first.click()
    page.keyboard.press("x")
    page.keyboard.press("a")
    page.set_input_files("#files", [files / "d.png"])
    until(page, "() => document.querySelectorAll('#photographs li.done').length === 3")
    page.keyboard.press("p")
    until_shown(page, "a")
    set_threshold(page, "EX", 61)


def until_shown(page, name):
    """Wait until the page shows a photograph; no longer than a person would."""
    until(
        page,
        "(name) => document.getElementById('current-photograph').textContent.startsWith(`${name} `)",
        name,
    )
    until(page, "() => foveate.viewer.placement() && foveate.state.result")


def server_state(page, address):
    """Return all that the server holds of its photographs, without identifiers and times."""
    states = {}
    for photograph in on_server(page, address)["photographs"]:
        corrections = on_server(page, address, f"{photograph['id']}/corrections")
        lesions = photograph["result"]["lesions"].items()
        verdicts = [
            {key: value for key, value in verdict.items() if key != "time"}
            for verdict in corrections["verdicts"]
        ]
        states[photograph["name"]] = {
            "fields": {
                key: photograph[key] for key in ("reviewed", "reviewer", "spacing_mm", "grid", "state")
            },
            "levels": {
                code: (lesion["level"], lesion["count"], lesion["area_px"]) for code, lesion in lesions
            },
            "corrections": {key: corrections[key] for key in ("revision", "edits", "can_redo", "lesions")},
            "verdicts": verdicts,
        }
    return states
