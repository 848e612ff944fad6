"""The way through a stack of photographs: the list in a browser, with a few real ones and with 2,000."""

import json
import re
import zipfile
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

import tiny_package
import tiny_page
from tiny_page import CHROMIUM, until

from foveate.errors import FieldError
from foveate.geometry import field_of_view
from foveate.writers.tables import square_millimetres

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's package of that name")

MANY = 2000

NAMES = "[...document.querySelectorAll('#photographs .name')].map((name) => name.textContent).join()"

IS_AT = "(place) => document.getElementById('current-photograph').textContent === place"

DONE = "document.querySelectorAll('#photographs li.done').length"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a model and drawn photographs."""
    folder = tmp_path_factory.mktemp("list")
    tiny_package.build(folder / "tiny")
    for seed, name in enumerate(("a_OD", "b_OS", "c")):
        tiny_package.photograph(folder / f"{name}.png", seed=seed)
    return folder


@pytest.fixture(scope="module")
def address(files):
    """Yield the address of a server."""
    with tiny_page.serving(files / "data", files / "tiny") as address:
        yield address


@contextmanager
def new_page(browser, address, prepare=lambda page: None):
    """Yield a page that has been loaded, and none of whose scripts has failed."""
    context = tiny_page.new_context(browser)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    prepare(page)
    page.goto(address)
    until(page, "() => window.foveate?.state.server")
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def dropped(browser, address, files):
    """Yield a page on which three photographs were dropped together; all are deleted afterwards."""
    with new_page(browser, address) as page:
        page.set_input_files("#files", [files / f"{name}.png" for name in ("a_OD", "b_OS", "c")])
        until(page, f"() => {DONE} === 3")
        yield page
        for photograph in on_server(page, address).values():
            page.request.delete(f"{address}/api/photographs/{photograph['id']}")


def on_server(page, address):
    """Return the server's photographs by name."""
    listed = page.request.get(f"{address}/api/photographs").json()["photographs"]
    return {photograph["name"]: photograph for photograph in listed}


def until_on_server(page, address, holds):
    """Wait until the server's photographs are as they should be."""
    tiny_page.until_answer(page, lambda: on_server(page, address), holds)


def select(page, *names):
    """Select photographs by the boxes in their rows."""
    page.keyboard.press("i")
    for name in names:
        page.get_by_label(f"Select {name}", exact=True).check()


# ---- order ----


def test_the_first_that_was_dropped_opens_first_and_next_goes_on(dropped):
    for place in ("a_OD · 1 of 3", "b_OS · 2 of 3", "c · 3 of 3"):
        until(dropped, IS_AT, place)
        dropped.keyboard.press("n")

    assert dropped.locator("#next").is_disabled()
    assert dropped.evaluate(IS_AT, "c · 3 of 3")


def test_the_list_is_searched_and_filtered(dropped):
    dropped.keyboard.press("/")
    dropped.keyboard.type("B_o")
    until(dropped, f"() => {NAMES} === 'b_OS'")
    dropped.fill("#list-search", "")
    dropped.locator("#reviewed").check()
    dropped.select_option("#list-filter", "open")
    until(dropped, f"() => {NAMES} === 'a_OD,b_OS,c'")  # the open one keeps its place
    dropped.locator("#osd").focus()
    dropped.keyboard.press("n")
    until(dropped, f"() => {NAMES} === 'b_OS,c'")

    assert dropped.locator("#list-summary").inner_text() == "2 of 3"
    dropped.select_option("#list-filter", "reviewed")
    until(dropped, f"() => {NAMES}.startsWith('a_OD')")


def test_one_key_marks_as_reviewed_and_goes_on(dropped, address):
    for place in ("b_OS · 2 of 3", "c · 3 of 3", "c · 3 of 3"):
        dropped.keyboard.press("t")
        until(dropped, IS_AT, place)

    until_on_server(dropped, address, lambda held: all(stored["reviewed"] for stored in held.values()))
    assert dropped.evaluate(IS_AT, "c · 3 of 3")
    dropped.keyboard.press("t")  # again: a review is not taken back by the key
    assert dropped.locator("#reviewed").is_checked()


def test_a_review_names_the_grader_and_the_time_in_the_row_and_beside_the_photograph(dropped, address):
    dropped.locator("#author").fill(" Ann ")
    dropped.locator("#reviewed").check()
    until_on_server(dropped, address, lambda held: held["a_OD"]["reviewer"] == "Ann")
    until(dropped, "() => /^Reviewed by Ann, .*:/.test(document.getElementById('review').textContent)")
    beside = dropped.locator("#review").inner_text()
    until(
        dropped,
        "(text) => document.querySelector('#photographs li.open .reviewed-mark')?.title === text",
        beside,
    )
    dropped.locator("#reviewed").uncheck()
    until_on_server(dropped, address, lambda held: not held["a_OD"]["reviewed"])
    until(dropped, "() => document.getElementById('review').textContent === ''")
    dropped.locator("#author").fill("")
    dropped.locator("#reviewed").check()
    until(dropped, "() => document.getElementById('review').textContent.includes(':')")

    assert dropped.locator("#review").inner_text().startswith("Reviewed by a person without a name, ")
    assert on_server(dropped, address)["a_OD"]["reviewer"] == ""


def test_of_two_windows_that_review_at_once_the_first_name_stays(dropped):
    kept, said = dropped.evaluate(
        """async () => {
          const {changedElsewhere, omit, namesOf} = await import("/page/js/conflicts.js");
          const fields = {reviewed: true, reviewer: "Ann", note: "mine"};
          const base = {reviewed: false, reviewer: "", note: ""};
          const found = changedElsewhere(base, {...base, reviewed: true, reviewer: "Ben"}, fields);
          return [omit(fields, found), namesOf(found)];
        }"""
    )

    assert kept == {"note": "mine"}  # a name alone would be refused
    assert said == "'Reviewed'"


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_what_is_not_analysed_yet_cannot_be_marked_as_reviewed(browser, address, dropped, state):
    error = {"code": "no_field", "message": "No field."} if state == "failed" else None
    other = on_server(dropped, address)["b_OS"]
    waiting = on_server(dropped, address)["a_OD"] | {"state": state, "result": None, "error": error}
    waiting["progress"] = 0

    def prepare(page):
        answer = {"photographs": [waiting, other], "total": 2}
        page.route("**/api/photographs?**", lambda route: route.fulfill(json=answer))
        page.route(f"**/api/photographs/{waiting['id']}", lambda route: route.fulfill(json=waiting))

    with new_page(browser, f"{address}#{waiting['id']}", prepare) as page:
        until(page, "() => window.foveate.state.view")
        assert page.locator("#reviewed").is_disabled() == (state != "failed")
        if state == "failed":
            return
        page.keyboard.press("t")
        page.wait_for_timeout(200)
        assert page.evaluate("() => foveate.state.photograph.name") == "a_OD"
        assert not page.locator("#reviewed").is_checked()


def test_of_a_photograph_without_a_single_field_the_page_says_what_is_wrong_and_names_no_option(dropped):
    eye = tiny_package.fundus()
    failure = "async (error) => (await import('/page/js/messages.js')).failureText({error})"
    texts = []
    for pixels in (np.hstack([eye, eye]), np.full_like(eye, 80)):
        with pytest.raises(FieldError, match="--field") as refused:
            field_of_view.find(pixels)
        texts.append(dropped.evaluate(failure, {"code": "no_field", "message": str(refused.value)}))

    assert texts[0].startswith(
        "2 fields of view: discs around (row 128, column 128) and (row 128, column 384). If"
    )
    assert texts[1].startswith(
        "No round field of view: the lit area is a rectangle. If the picture shows several"
    )
    assert not any("--" in text for text in texts)


# ---- lists that do not hold what is open ----


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_photograph_that_a_list_lacks_is_left_only_if_it_was_deleted(browser, address, dropped, is_deleted):
    a, b, c = (on_server(dropped, address)[name] for name in ("a_OD", "b_OS", "c"))
    answers, asked = [[a, b, c], [a, b]], []

    def answer(route):
        listed = answers.pop(0) if len(answers) > 1 else answers[0]
        route.fulfill(json={"photographs": listed, "total": len(listed)})

    def prepare(page):
        page.route("**/api/photographs?**", answer)
        page.route("**/api/events", lambda route: route.abort())
        page.on("requestfinished", lambda request: asked.append(request.url.split("/")[-1]))

    with new_page(browser, f"{address}#{c['id']}", prepare) as page:
        until(page, IS_AT, "c · 3 of 3")
        tiny_page.until_answer(page, lambda: list(asked), lambda asked: asked.count(c["id"]) == 1)
        if is_deleted:
            page.request.delete(f"{address}/api/photographs/{c['id']}")
        page.select_option("#list-order", "name")  # loads the list
        if is_deleted:
            page.locator("#message", has_text="c was deleted in another window").wait_for()
            until(page, f"() => {NAMES} === 'a_OD,b_OS'")
        else:
            tiny_page.until_answer(page, lambda: list(asked), lambda asked: asked.count(c["id"]) == 2)
            until(page, f"() => {NAMES} === 'a_OD,b_OS,c'")
            assert page.evaluate(IS_AT, "c · 3 of 3")


def test_an_incomplete_list_removes_no_photograph(dropped):
    ids = dropped.evaluate(
        """async () => {
          const {createPhotographStore} = await import("/page/js/photograph-store.js");
          const store = createPhotographStore((photograph) => photograph);
          const shown = [];
          for (const [ids, isComplete] of [["abc", true], ["ac", false], ["ac", true]]) {
            store.receiveList([...ids].map((id) => ({id})), store.now(), isComplete);
            shown.push(store.ids().join(""));
          }
          return shown;
        }"""
    )

    assert ids == ["abc", "acb", "ac"]


def test_a_photograph_that_is_added_once_more_after_its_deletion_is_listed(dropped):
    shown = dropped.evaluate(
        """async () => {
          const {createPhotographStore} = await import("/page/js/photograph-store.js");
          const store = createPhotographStore((photograph) => photograph);
          const shown = [];
          const list = (ids) => {
            store.receiveList([...ids].map((id) => ({id})), store.now(), true);
            shown.push(store.ids().join(""));
          };
          list("ab");
          store.remove("a", {isAnswered: false});
          list("ab"); // as it was before the deletion
          store.remove("a");
          store.receive({id: "a"}); // an event that comes late
          shown.push(store.ids().join(""));
          list("ab");
          return shown;
        }"""
    )

    assert shown == ["ab", "b", "b", "ab"]


# ---- several at once ----


def test_of_several_that_are_deleted_the_open_one_makes_room_for_its_neighbour(dropped, address):
    select(dropped, "a_OD", "b_OS")
    dropped.locator("#delete-selected").click()
    dropped.locator("#confirm-yes").click()

    until(dropped, "() => document.getElementById('current-photograph').textContent === 'c · 1 of 1'")
    until_on_server(dropped, address, lambda known: set(known) == {"c"})


def test_selected_photographs_are_moved_to_a_new_batch_with_its_own_heading(dropped, address):
    select(dropped, "b_OS", "c")
    dropped.select_option("#move-to", "new")
    dropped.fill("#ask-value", "Second visit")
    dropped.locator("#ask-yes").click()
    until(dropped, "() => document.querySelectorAll('.batch-heading').length === 2")

    until_on_server(
        dropped,
        address,
        lambda known: known["b_OS"]["batch"] == known["c"]["batch"] != known["a_OD"]["batch"],
    )
    assert "Second visit" in dropped.locator(".batch-heading .batch-name").all_inner_texts()


def test_selected_photographs_are_one_download(dropped):
    select(dropped, "a_OD", "c")
    with dropped.expect_download() as download:
        dropped.locator("#download-selected").click()

    with zipfile.ZipFile(download.value.path()) as archive:
        table = archive.read("summary.csv").decode().splitlines()
    assert [row.split(",")[0] for row in table[1:]] == ["a_OD", "c"]


def test_after_a_deletion_by_key_the_focus_is_on_the_next_row(dropped, address):
    dropped.locator("#photographs .open-button").nth(1).focus()
    dropped.keyboard.press("Delete")
    dropped.locator("#confirm-yes").click()
    until(dropped, f"() => {NAMES} === 'a_OD,c'")
    focused = dropped.evaluate("() => document.activeElement.querySelector('.name')?.textContent")
    dropped.keyboard.press("Delete")
    dropped.locator("#confirm-dialog[open]").wait_for()
    question = dropped.locator("#confirm-text").inner_text()
    dropped.keyboard.press("Escape")
    until_on_server(dropped, address, lambda known: set(known) == {"a_OD", "c"})

    assert focused == "c"
    assert question.startswith("Delete c,")


def test_the_delete_key_rejects_no_region(dropped):
    until(dropped, "() => foveate.state.view.corrections && document.querySelector('#regions [role=option]')")
    dropped.keyboard.press("j")
    until(dropped, "() => foveate.state.view.region")
    dropped.locator("#osd").focus()
    dropped.keyboard.press("Delete")
    dropped.wait_for_timeout(300)

    assert dropped.evaluate("() => foveate.state.view.corrections.edits") == 0


DROP_FOLDER = """async (paths) => {
  const folder = (path) => {
    const names = [...new Set(paths.filter((file) => file.startsWith(`${path}/`)).map(
      (file) => file.slice(path.length + 1).split("/")[0]))];
    const parts = [names.map((name) => entry(`${path}/${name}`)), []];
    const createReader = () => ({readEntries: (take) => take(parts.shift())});
    return {isFile: false, fullPath: path, createReader};
  };
  const entry = (path) => paths.includes(path)
    ? {isFile: true, fullPath: path, file: (take) => take(new File(["x"], path.split("/").at(-1)))}
    : folder(path);
  const drop = new Event("drop", {bubbles: true, cancelable: true});
  drop.dataTransfer = {types: ["Files"], items: [{webkitGetAsEntry: () => folder("/eyes")}]};
  document.body.dispatchEvent(drop);
}"""
"""What a browser does when a folder is dropped."""


@pytest.mark.parametrize("how", ["dropped", "chosen"])
def test_a_folder_is_uploaded_by_name_folder_by_folder(browser, address, tmp_path, how):
    names_on_disk = ["10.png", "right/9.png", "left/2.png", "right/1.png", "9.png", "left/8.png"]
    paths = [f"eyes/{name}" for name in names_on_disk]
    for path in paths:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    names = []

    def refuse(route):
        names.append(route.request.headers["foveate-name"])
        route.fulfill(status=422, json={"error": {"code": "unreadable", "message": "It is no photograph."}})

    def prepare(page):
        page.route(re.compile(r"/api/photographs\?batch="), refuse)

    with new_page(browser, address, prepare) as page:
        if how == "dropped":
            page.evaluate(DROP_FOLDER, [f"/{path}" for path in paths])
        else:
            page.set_input_files("#folder", tmp_path / "eyes")
        until(page, "() => document.querySelectorAll('#uploads li.failed').length === 6")

    assert names == ["9.png", "10.png", "2.png", "8.png", "1.png", "9.png"]


# ---- the report of a batch ----


def test_the_report_of_a_batch_is_made_in_the_background_cancelled_and_downloaded(dropped, address):
    told = {"state": "working", "done": 1, "total": 3, "error": None, "paper": "a4", "batch": "0" * 32}
    dropped.route("**/api/report-jobs/*", lambda route: progress(route, told))
    dropped.locator("#batch-report").click()
    dropped.locator("#batch-report-progress", has_text="Report: 1 of 3").wait_for()
    bar = dropped.locator("#batch-report-progress progress").get_attribute("value")
    dropped.locator("#osd").focus()
    dropped.keyboard.press("n")  # the next photograph is of the same batch
    until(dropped, "() => foveate.state.photograph.name === 'b_OS' && foveate.state.result")
    on_next = dropped.locator("#batch-report-progress").count()
    dropped.locator("#batch-report-cancel").click()
    dropped.locator("#batch-report").wait_for()
    dropped.unroute("**/api/report-jobs/*")
    dropped.locator("#batch-report").click()
    with dropped.expect_download() as download:
        dropped.locator("#batch-report-pdf").click()
    document = download.value.path().read_bytes()

    assert bar == "1"
    assert on_next == 1
    assert document.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b(?!s)", document)) == 3


def progress(route, told):
    """Answer that a report is under way; cancel it in fact."""
    if route.request.method == "DELETE":
        return route.continue_()
    return route.fulfill(json=told | {"id": route.request.url.split("/")[-1]})


def test_a_report_that_lacks_photographs_says_so(dropped):
    told = {"state": "done", "total": 3, "error": None, "paper": "a4", "batch": "0" * 32}
    lines = []
    dropped.route("**/api/report-jobs/*", lambda route: progress(route, told))
    for done, without_result in ((3, 0), (2, 0), (1, 0), (3, 1)):
        told |= {"done": done, "without_result": without_result}
        with dropped.expect_response(
            lambda answer: "/api/report-jobs/" in answer.url and answer.request.method == "GET"
        ):
            dropped.locator("#batch-report, #batch-report-again").click()
        dropped.locator("#batch-report-pdf").wait_for()
        lines.append(dropped.locator("#batch-report-missing").all_inner_texts())
    dropped.unroute("**/api/report-jobs/*")

    advice = "make the report again once all are analysed."
    assert lines == [
        [],
        [f"1 of 3 photographs had no result and is not in this report; {advice}"],
        [f"2 of 3 photographs had no result and are not in this report; {advice}"],
        [f"1 of 4 photographs had no result and is not in this report; {advice}"],
    ]


def test_a_report_of_a_batch_that_fails_says_why(dropped):
    failed = {"state": "failed", "done": 0, "total": 3, "error": "the disk", "paper": "a4", "batch": "0" * 32}
    dropped.route("**/api/report-jobs/*", lambda route: progress(route, failed))
    dropped.locator("#batch-report").click()
    dropped.locator("#message", has_text="could not be made: the disk").wait_for()

    assert dropped.locator("#batch-report").is_visible()


# ---- eye and note ----


def test_the_eye_is_that_of_the_name_and_eye_and_note_are_saved(dropped, address):
    stated = dropped.locator("#eye input:checked").input_value()
    dropped.locator("#eye input[value=left]").check()
    dropped.fill("#note", "again in May")
    dropped.keyboard.press("Tab")

    until_on_server(
        dropped,
        address,
        lambda known: (known["a_OD"]["eye"], known["a_OD"]["note"]) == ("left", "again in May"),
    )
    assert stated == "right"
    until(dropped, "() => document.querySelector('#photographs li.open .note-mark')")
    dropped.fill("#list-search", "may")
    until(dropped, f"() => {NAMES} === 'a_OD'")


def test_a_time_has_its_date_unless_it_is_of_today(dropped):
    today, earlier = dropped.evaluate(
        """async () => {
          const {formatTime} = await import("/page/js/format.js");
          return [new Date(), new Date(2025, 4, 7, 14, 5)].map(formatTime);
        }"""
    )

    assert re.fullmatch(r"\d\d:\d\d", today)
    assert "2025" in earlier
    assert earlier.endswith("14:05")


def test_an_area_has_two_digits_that_are_not_0_as_in_reports(dropped):
    decimals = {0: 4, 1: 4, 3: 4, 62: 4, 63: 4, 4_000: 4, 100_000: 3, 10_000_000: 1}
    shown = dropped.evaluate(
        """async (areas) => {
          const {formatArea} = await import("/page/js/format.js");
          return areas.map((pixels) => formatArea(pixels, 0.004));
        }""",
        list(decimals),
    )

    assert shown[1] == "0.000016 mm²"
    assert shown == [
        f"{square_millimetres(pixels * 0.004**2, least)} mm²" for pixels, least in decimals.items()
    ]


# ---- what a row says ----

FOUR = {"EX": 1416, "MA": 168, "HE": 121, "SE": 84}

CLIPPED = """() => {
  const list = document.querySelector("#photographs").getBoundingClientRect();
  return [...document.querySelectorAll("#photographs .chip, #photographs .mark")].filter((shown) => {
    const {left, right, top, bottom} = shown.getBoundingClientRect();
    const card = shown.closest(".open-button").getBoundingClientRect();
    return left < list.left || right > card.right || top < card.top || bottom > card.bottom;
  }).map((shown) => shown.textContent);
}"""
"""Which counts and marks do not lie within their row."""


@pytest.mark.parametrize("width", [1440, 1180, 768, 390])
def test_the_counts_of_four_lesions_and_all_marks_lie_within_the_row(browser, address, files, dropped, width):
    example = on_server(dropped, address)["c"]
    lesions = {code: example["result"]["lesions"]["EX"] | {"count": count} for code, count in FOUR.items()}
    told = {"eye": "right", "note": "again in May", "reviewed": True, "name": "a name that is far too long"}
    listed = example | told | {"result": example["result"] | {"lesions": lesions, "corrected": True}}
    answer = {"photographs": [listed | {"id": f"{number:032x}"} for number in range(3)], "total": 3}

    def prepare(page):
        page.set_viewport_size({"width": width, "height": 900})
        page.route("**/api/photographs?**", lambda route: route.fulfill(json=answer))

    with new_page(browser, address, prepare) as page:
        until(page, "() => document.querySelectorAll('#photographs .chip').length === 12")
        shown = page.locator("#photographs li.done").first.locator(".chip").all_inner_texts()

        assert [text.split() for text in shown] == [[code, str(count)] for code, count in FOUR.items()]
        assert page.evaluate(CLIPPED) == []


def test_the_place_in_the_queue_is_told_as_others_are_analysed(browser, address, dropped):
    waiting = on_server(dropped, address)["c"] | {"state": "queued", "result": None, "batch": None}
    listed = [waiting | {"id": f"{number:032x}", "position": number} for number in (1, 2, 3)]
    event = f"event: photograph\ndata: {json.dumps(listed[0] | {'state': 'running', 'position': None})}\n\n"
    stream = {"status": 200, "content_type": "text/event-stream", "body": event}

    def prepare(page):
        answer = {"photographs": listed, "total": 3}
        page.route("**/api/photographs?**", lambda route: route.fulfill(json=answer))
        page.route("**/api/events", lambda route: route.fulfill(**stream))

    with new_page(browser, address, prepare) as page:
        until(page, "() => document.querySelector('#photographs li.running')")
        until(
            page,
            "() => [...document.querySelectorAll('#photographs li.queued .line')]"
            ".map((line) => line.innerText).join() === 'Waiting, position 1,Waiting, position 2'",
        )


def test_a_batch_is_named_after_the_time_of_whoever_adds_it(browser, address, files):
    india = timezone(timedelta(hours=5, minutes=30))
    context = tiny_page.new_context(browser, timezone_id="Asia/Kolkata")
    page = context.new_page()
    page.goto(address)
    until(page, "() => window.foveate?.state.server")
    page.set_input_files("#files", [files / "a_OD.png", files / "b_OS.png"])
    until(page, f"() => {DONE} === 2")
    until(page, "() => /^\\d{4}-/.test(document.querySelector('.batch-heading')?.innerText)")
    name, size = page.locator(".batch-heading").inner_text().splitlines()[:2]
    added = datetime.strptime(name, "%Y-%m-%d %H:%M:%S").replace(tzinfo=india)
    for photograph in on_server(page, address).values():
        page.request.delete(f"{address}/api/photographs/{photograph['id']}")
    context.close()

    assert abs(datetime.now(india) - added) < timedelta(minutes=3)
    assert size == "2"  # once: the name says nothing of it, which may change


@pytest.mark.parametrize("width", [1440, 768, 720, 390])
def test_of_a_long_name_the_place_in_the_list_stays_readable_and_the_head_keeps_its_rows(
    browser, address, dropped, width
):
    listed = on_server(dropped, address)["c"] | {"name": "a name that is far too long " * 4}

    def prepare(page):
        page.set_viewport_size({"width": width, "height": 900})
        page.route(f"**/api/photographs/{listed['id']}", lambda route: route.fulfill(json=listed))

    with new_page(browser, address, prepare) as page:
        page.evaluate("(id) => { location.hash = id; }", listed["id"])
        until(
            page,
            "() => /^a name.* of \\d+$/.test(document.getElementById('current-photograph').textContent)",
        )
        output = page.locator("#current-photograph").bounding_box()
        shown = page.locator("#current-photograph-position").bounding_box()
        height = page.locator(".top").bounding_box()["height"]

    assert shown["x"] + shown["width"] <= output["x"] + output["width"] + 1
    assert output["x"] + output["width"] <= width
    assert height < (60 if width > 700 else 100)


ANNOUNCED = """() => {
  window.announced = [];
  const nameOf = ({ target }) => target.id || target.parentElement?.id;
  const note = (changes) => announced.push(...changes.map(nameOf));
  for (const region of document.querySelectorAll("output, [role=status]"))
    new MutationObserver(note).observe(region, { childList: true, characterData: true, subtree: true });
}"""
"""Note what a screen reader would announce from now on."""


def test_a_list_drawn_anew_announces_only_what_has_changed(dropped, address):
    dropped.locator("#photographs li.done button").first.click()
    until(dropped, "() => foveate.state.view?.counts && foveate.state.view.corrections && foveate.isIdle()")
    dropped.evaluate(ANNOUNCED)
    dropped.select_option("#list-order", "name")
    dropped.select_option("#list-filter", "open")
    until(dropped, "() => new Promise((done) => requestAnimationFrame(() => done(true)))")
    without = dropped.evaluate("() => [...announced]")
    dropped.request.delete(f"{address}/api/photographs/{on_server(dropped, address)['c']['id']}")
    until(dropped, IS_AT, "a_OD · 1 of 2")

    assert without == []
    assert sorted(dropped.evaluate("() => announced")) == ["current-photograph-position", "list-summary"]


OVERLAPS = """() => [...document.querySelectorAll("#photographs li[data-id]")].flatMap((row) => {
  const button = row.querySelector(".delete-button").getBoundingClientRect();
  return [...row.querySelectorAll(".chip, .mark, .name")].filter((shown) => {
    const {left, right, top, bottom} = shown.getBoundingClientRect();
    return left < button.right && right > button.left && top < button.bottom && bottom > button.top;
  }).map((shown) => shown.textContent);
})"""
"""Which texts of the rows lie under the button that deletes."""


@pytest.mark.parametrize("width", [1440, 1168, 1122])
def test_the_button_that_selects_stands_beside_order_and_filter(dropped, width):
    dropped.set_viewport_size({"width": width, "height": 844})
    places = dropped.locator("#list-order, #list-filter, #select").evaluate_all(
        "(parts) => parts.map(({offsetTop, offsetHeight}) => offsetTop + offsetHeight / 2)"
    )

    assert max(places) - min(places) < 4


@pytest.mark.parametrize(("width", "has_touch"), [(1440, False), (768, True), (390, True)])
def test_the_button_that_deletes_covers_nothing_of_its_row(browser, address, dropped, width, has_touch):
    example = on_server(dropped, address)["c"]
    lesions = {code: example["result"]["lesions"]["EX"] | {"count": count} for code, count in FOUR.items()}
    told = {"eye": "right", "note": "x", "reviewed": True, "name": "a name that is far too long for it"}
    listed = example | told | {"result": example["result"] | {"lesions": lesions, "corrected": True}}
    answer = {"photographs": [listed], "total": 1}
    size = {"width": width, "height": 844}
    context = tiny_page.new_context(browser, viewport=size, has_touch=has_touch, is_mobile=has_touch)
    page = context.new_page()
    page.route("**/api/photographs?**", lambda route: route.fulfill(json=answer))
    page.goto(address)
    until(page, "() => document.querySelectorAll('#photographs .chip').length === 4")
    button = page.locator("#photographs .delete-button")
    button.scroll_into_view_if_needed()
    if not has_touch:
        page.locator("#photographs .card").hover()
    until(page, "() => getComputedStyle(document.querySelector('.delete-button')).opacity === '1'")
    frame, overlaps, cut_off = button.bounding_box(), page.evaluate(OVERLAPS), page.evaluate(CLIPPED)
    context.close()

    assert overlaps == []
    assert cut_off == []
    assert min(frame["width"], frame["height"]) >= (36 if has_touch else 20)


# ---- 2,000 photographs ----


@pytest.fixture
def many(browser, address, files, dropped):
    """Yield a page whose server lists 2,000 photographs, of which the first three are still waiting."""
    example = on_server(dropped, address)["c"]

    def listed(number):
        waiting = {"state": "queued", "result": None, "position": number + 1, "progress": 0}
        return example | {"id": f"{number:032x}", "name": f"eye {number}"} | (waiting if number < 3 else {})

    def answer(route):
        offset = int(route.request.url.split("offset=")[1].split("&")[0])
        photographs = [listed(number) for number in range(offset, min(offset + 1000, MANY))]
        route.fulfill(json={"photographs": photographs, "total": MANY})

    with new_page(browser, address, lambda page: page.route("**/api/photographs?**", answer)) as page:
        until(page, f"() => document.getElementById('list-summary').textContent === '{MANY}'")
        yield page


def test_a_deletion_between_two_parts_of_the_list_hides_no_other_photograph(browser, address, dropped):
    example = on_server(dropped, address)["c"]
    listed = [example | {"id": f"{number:032x}", "name": f"eye {number}"} for number in range(MANY)]

    def answer(route):
        offset = int(route.request.url.split("offset=")[1].split("&")[0])
        route.fulfill(json={"photographs": listed[offset : offset + 1000], "total": len(listed)})
        if len(listed) == MANY:
            del listed[5:7]

    def prepare(page):
        page.route("**/api/photographs?**", answer)
        page.route("**/api/events", lambda route: route.abort())  # which would have the list loaded again

    with new_page(browser, address, prepare) as page:
        until(page, f"() => document.getElementById('list-summary').textContent === '{MANY - 2}'")
        until(page, f"() => {NAMES}.startsWith('eye 0,eye 1,eye 2,eye 3,eye 4,eye 7,')")
        page.fill("#list-search", "eye 1001")  # has taken the place of the last one of the first part
        until(page, f"() => {NAMES} === 'eye 1001'")


def test_of_two_thousand_rows_only_those_around_the_screen_are_elements(many):
    counts = []
    for place in (0, 0.5, 1):
        many.evaluate(
            """(place) => {
              const list = document.getElementById("photographs");
              list.scrollTop = place * (list.scrollHeight - list.clientHeight);
            }""",
            place,
        )
        at_place = round(place * (MANY - 1))
        until(many, f"() => {NAMES}.split(',').includes('eye {at_place}')")
        counts.append(many.locator("#photographs li").count())

    assert max(counts) < 60
    assert many.locator("#queue-text").inner_text().startswith("0 of 3 done")


def test_sixty_tabs_lead_through_a_list_of_two_thousand_and_arrow_keys_go_along_it(many):
    many.locator("#list-search").focus()
    for _ in range(60):
        many.keyboard.press("Tab")
        if many.evaluate("() => Boolean(document.activeElement.closest('#toolbar'))"):
            break
    left = many.evaluate("() => Boolean(document.activeElement.closest('#toolbar'))")
    many.locator("#photographs .open-button").first.focus()
    for _ in range(40):
        many.keyboard.press("ArrowDown")
    name = many.evaluate("() => document.activeElement.querySelector('.name').textContent")
    many.keyboard.press("End")

    assert left
    assert name == "eye 40"
    assert (
        many.evaluate("() => document.activeElement.querySelector('.name').textContent") == f"eye {MANY - 1}"
    )
