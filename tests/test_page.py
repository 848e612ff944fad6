"""The page in a browser: real Chromium, the real server, a real photograph.

The model is the tiny one, so that results are quick; what it finds in an eye means nothing. What the page
shows is compared with what the command line writes for the same photograph.
"""

import base64
import json
import re
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

import tiny_package
import tiny_page
from axe_playwright_python import sync_playwright as axe
from tiny_page import (
    CHROMIUM,
    DESKTOP,
    command,
    drawn_pixels,
    drop,
    set_threshold,
    until,
    until_drawn,
    until_laid_out,
    until_loaded,
)

from foveate.analysis import regions
from foveate.server.exports import report
from foveate.server.review import etdrs
from foveate.server.storage.facts import BoxFacts, FieldFacts
from foveate.writers.page import QUALITY_TEXT

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's package of that name")

EXAMPLE = Path(__file__).parents[1] / "examples" / "IDRiD_376_small.jpg"
KEY = EXAMPLE.stem
PHONE = {"width": 390, "height": 844}
VIEW = "() => { const {view} = foveate.state; return"
"""The begin of a script about the open photograph; a closing brace ends it."""

READY = """() => {
  const view = window.foveate?.state.view;
  return view?.corrections && view.counts?.revision === view.revision && foveate.isIdle()
    && document.querySelector("#regions [role=option]");
}"""
"""Whether an open photograph is loaded: its corrections, counts, layers and list of regions."""

AS_ANALYSED = """() => {
  const {corrections, lesions, photograph} = foveate.state.view;
  return !corrections.edits && !photograph.grid && !photograph.spacing_mm
    && lesions.every(({level, modelLevel}) => level === modelLevel);
}"""
"""Whether an open photograph has no corrections, no grid, no spacing, and the model's thresholds."""

CLEAR = """() => {
  localStorage.clear();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const id of ["measure", "compare"]) document.getElementById(`${id}-section`).open = false;
  for (const id of ["hide-layers", "side-by-side"]) {
    const button = document.getElementById(id);
    if (button.getAttribute("aria-pressed") === "true") button.click();
  }
  foveate.state.set({tool: "move"}, "tool");
  const order = document.getElementById("list-order");
  if (order.value !== "submitted") {
    order.value = "submitted";
    order.dispatchEvent(new Event("change"));
  }
  document.activeElement.blur();
  history.replaceState(null, "", "#none"); // so that the next line changes the address in any case
  location.hash = "";
}"""


# ---- fixtures and helpers ----


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return a folder with the tiny model, and with what the command line writes for the photograph."""
    folder = tmp_path_factory.mktemp("page")
    model = tiny_package.build(folder / "tiny")
    run("predict", EXAMPLE, "--out", folder / "out", "--model", model)
    return folder


@pytest.fixture(scope="module")
def address(reference):
    """Yield the address of a server."""
    with tiny_page.serving(reference / "data", reference / "tiny") as address:
        yield address


@pytest.fixture(scope="module")
def photograph(address, browser):
    """Return the identifier of the example, which is dropped once and analysed."""
    page = tiny_page.new_context(browser).new_page()
    page.goto(address)
    drop(page, EXAMPLE.name, EXAMPLE.read_bytes())
    until(page, "() => window.foveate.state.result")
    identifier = page.evaluate("() => foveate.state.photograph.id")
    page.close()
    return identifier


@pytest.fixture(scope="module")
def shared_page(browser, address):
    """Yield one page for all tests, and its errors: of scripts, and requests to other servers."""
    context = tiny_page.new_context(browser)
    page = context.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text) if is_error(message) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request", lambda request: None if is_local(request.url, address) else problems.append(request.url)
    )
    page.goto(address)
    until(page, "() => window.foveate?.state.server")
    yield page, problems
    context.close()


@pytest.fixture
def page(shared_page):
    """Yield the page with no photograph open and no settings; it must have no errors."""
    page, problems = shared_page
    problems.clear()
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    page.evaluate(CLEAR)
    until(page, "() => !foveate.state.photograph")
    yield page
    assert problems == []


@pytest.fixture
def opened(page, address, photograph):
    """Yield the page with the photograph open, without corrections and at the model's thresholds."""
    at = f"{address}/api/photographs/{photograph}"
    page.request.delete(f"{at}/corrections")
    page.request.patch(at, data={"thresholds": None, "grid": None, "spacing_mm": None})
    page.evaluate("(id) => { location.hash = id; }", photograph)
    until(page, f"() => ({READY})() && ({AS_ANALYSED})()")
    yield page
    until(
        page, "() => !foveate.state.photograph || foveate.isIdle()"
    )  # what comes later would undo the next line
    page.request.delete(f"{at}/corrections")


def run(*arguments):
    return subprocess.run(command(*arguments), check=True, capture_output=True, timeout=120)


def is_error(message):
    """Say whether a console message is an error: a refused request, or one that a test cut off, is none.

    502 is of the tests, too: the server never sends it.
    """
    expected = ("responded with a status of 4", "responded with a status of 502", "ERR_FAILED")
    return message.type == "error" and not any(text in message.text for text in expected)


def is_local(url, address):
    return url.startswith((address, "blob:", "data:"))


def reload(page):
    """Load the page anew, when all changes have reached the server."""
    until(page, "() => foveate.isIdle()")
    page.reload()
    until(page, READY)


def canvas_pixels(page, name):
    """Return the pixels of a canvas: (rows, columns, RGBA)."""
    content = page.evaluate("(name) => document.querySelector(`#${name}`).toDataURL('image/png')", name)
    pixels = cv2.imdecode(
        np.frombuffer(base64.b64decode(content.split(",")[1]), np.uint8), cv2.IMREAD_UNCHANGED
    )
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)


def edit(page, action):
    """Do what makes a new revision, and wait until its counts are loaded."""
    before = page.evaluate("() => foveate.state.view.revision")
    action()
    until(page, f"{VIEW} view.revision > {before} && view.counts.revision === view.revision }}")


def accessibility_problems(page):
    """Return what axe-core calls serious or critical, with the first element of each."""
    return [
        (violation["id"], violation["nodes"][0]["html"])
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def stored_map(reference, code):
    """Return the map that the command line wrote."""
    return cv2.imread(str(reference / "out" / "maps" / f"{KEY}_{code}.png"), cv2.IMREAD_UNCHANGED)


def written_regions(reference):
    return json.loads((reference / "out" / "regions" / f"{KEY}.json").read_text())


def number(page, selector):
    return int(page.locator(selector).inner_text().replace(",", "").removesuffix(" px"))


def show_only(page, code, style="fill"):
    """Show one lesion only, opaque."""
    page.evaluate(
        """([code, style]) => {
          for (const lesion of foveate.state.lesions) {
            foveate.state.draw(lesion.code, {shown: lesion.code === code, opacity: 1, style});
          }
        }""",
        [code, style],
    )


# ---- viewing ----


def test_a_photograph_that_is_dropped_is_listed_with_its_lesions(opened, reference):
    row = opened.locator("#photographs li.open")

    for code, lesion in written_regions(reference)["lesions"].items():
        if lesion["count"]:
            assert f"{code} {lesion['count']}" in row.inner_text()


def test_a_key_hides_one_layer_and_another_all(opened):
    both = drawn_pixels(opened)
    opened.keyboard.press("1")
    fewer = drawn_pixels(opened)
    opened.keyboard.press("1")
    again = drawn_pixels(opened)
    opened.keyboard.press("h")

    assert 0 < fewer < both
    assert again == both
    assert drawn_pixels(opened) == 0


def test_counts_and_areas_beside_a_threshold_are_those_of_the_command_line(opened, reference):
    lesions = written_regions(reference)["lesions"]
    for code, lesion in lesions.items():
        for level in (1, 40, 128, lesion["stored_level"], 254):
            set_threshold(opened, code, level)

            expected = regions.find(stored_map(reference, code), level, code, lesion["minimum_area_px"], None)
            assert number(opened, f"#count-{code}") == len(expected)
            assert number(opened, f"#area-{code}") == sum(region.area_px for region in expected)


def test_a_moved_threshold_redraws_at_once_and_is_saved(opened):
    before = drawn_pixels(opened)
    set_threshold(opened, "EX", 40)
    after = drawn_pixels(opened)
    until(opened, "() => foveate.state.photograph.result.lesions.EX.level === 40")
    reload(opened)

    assert after != before
    assert opened.evaluate("() => foveate.state.lesion('EX').level") == 40


def test_at_native_size_the_filled_pixels_are_those_of_the_mask(opened, reference):
    show_only(opened, "EX")
    opened.locator("#regions [role=option]").filter(has_text="EX").first.click()
    until_drawn(opened)
    opened.keyboard.press("9")
    until_drawn(opened)
    placement = opened.evaluate("() => foveate.viewer.placement()")
    filled = canvas_pixels(opened, "layer-canvas")[..., 3] > 0

    mask = cv2.imread(str(reference / "out" / "masks" / f"{KEY}_EX.png"), cv2.IMREAD_UNCHANGED) > 0
    assert placement["scale"] == pytest.approx(1)
    left, top = round(placement["x"]), round(placement["y"])
    expected = np.zeros(filled.shape, bool)
    rows, columns = np.nonzero(mask)
    inside = (
        (rows + top >= 0)
        & (rows + top < filled.shape[0])
        & (columns + left >= 0)
        & (columns + left < filled.shape[1])
    )
    expected[rows[inside] + top, columns[inside] + left] = True
    assert expected.any()
    assert (filled == expected).all()


def test_a_click_in_the_list_moves_to_the_region(opened):
    opened.locator("#regions [role=option]").last.click()
    until_drawn(opened)

    region = opened.evaluate("() => foveate.state.view.region")
    placement = opened.evaluate("() => foveate.viewer.placement()")
    box = region["box"]
    assert (placement["width"] / 2 - placement["x"]) / placement["scale"] == pytest.approx(
        box["x"] + box["width"] / 2, abs=2
    )
    assert (placement["height"] / 2 - placement["y"]) / placement["scale"] == pytest.approx(
        box["y"] + box["height"] / 2, abs=2
    )
    assert opened.locator("#regions [aria-selected=true]").count() == 1


def test_the_headings_of_the_regions_stand_over_their_columns(opened):
    right = "(cells) => cells.map((cell) => Math.round(cell.getBoundingClientRect().right))"
    for width in (1440, 390):
        opened.set_viewport_size({"width": width, "height": 844})
        until_laid_out(opened)
        headings, cells = (
            opened.locator(f"{row} > :is(:nth-child(3), :nth-child(4))").evaluate_all(right)
            for row in (".heading-row", "#regions [role=option]:first-child")
        )

        assert headings == cells


def test_the_list_is_sorted_by_size_or_probability(opened):
    until(opened, "() => foveate.isIdle()")
    opened.select_option("#region-order", "area")
    sizes = [
        int(text.split()[0].replace(",", ""))
        for text in opened.locator("#regions .region > :nth-child(3)").all_inner_texts()
    ]
    opened.select_option("#region-order", "max")
    until(opened, "() => foveate.isIdle()")
    highest = [float(text) for text in opened.locator("#regions .region > :nth-child(4)").all_inner_texts()]

    assert sizes == sorted(sizes, reverse=True)
    assert highest == sorted(highest, reverse=True)


def test_other_colours_and_side_by_side_leave_the_second_photograph_untouched(opened):
    opened.keyboard.press("s")
    opened.keyboard.press("r")
    until_drawn(opened)
    until_loaded(opened, "osd-untouched")

    red_free, untouched = (canvas_pixels(opened, f"{name} canvas") for name in ("osd", "osd-untouched"))
    middle = np.s_[red_free.shape[0] // 2 - 5 :, red_free.shape[1] // 2 - 5 :]
    red_free, untouched = (pixels[middle][:10, :10].astype(int) for pixels in (red_free, untouched))
    assert (red_free[..., 0] == red_free[..., 1]).all()
    assert (untouched[..., 0] > untouched[..., 1] + 20).all()  # an eye's fundus is red


# ---- correcting ----


def test_a_rejected_region_disappears_returns_with_undo_and_is_kept_after_a_reload(opened):
    opened.fill("#author", "AB")
    opened.locator("#osd").focus()
    before, count = drawn_pixels(opened), number(opened, "#count-EX")
    opened.keyboard.press("2")
    until_drawn(opened)  # the list is the one without that lesion
    opened.locator("#regions [role=option]").first.click()
    opened.keyboard.press("0")
    edit(opened, lambda: opened.keyboard.press("x"))
    opened.keyboard.press("0")  # it has moved to the next region
    opened.keyboard.press("2")
    fewer, pixels_after = number(opened, "#count-EX"), drawn_pixels(opened)
    edit(opened, lambda: opened.keyboard.press("z"))
    undone, pixels_undone = number(opened, "#count-EX"), drawn_pixels(opened)
    edit(opened, lambda: opened.keyboard.press("Shift+z"))
    reload(opened)

    assert fewer == count - 1
    assert undone == count
    assert pixels_after < pixels_undone == before
    assert (number(opened, "#count-EX"), drawn_pixels(opened)) == (fewer, pixels_after)
    assert "Rejected · 1" in opened.locator("#regions-footer").inner_text()
    assert accessibility_problems(opened) == []
    assert opened.evaluate("() => foveate.state.view?.corrections.authors") == ["AB"]


def test_the_region_after_a_rejected_one_is_shown_before_it_can_be_rejected(opened):
    opened.locator("#regions [role=option]").first.click()
    until_drawn(opened)
    opened.evaluate("() => foveate.state.set({activeLesion: foveate.state.lesions.at(-1).code}, 'tool')")
    first, second = opened.locator("#regions .code").all_inner_texts()[:2]
    edit(opened, lambda: opened.keyboard.press("x"))
    until_drawn(opened)

    shown = opened.evaluate(f"{VIEW} ({{...view.region, active: foveate.state.activeLesion}}) }}")
    placement, box = opened.evaluate("() => foveate.viewer.placement()"), shown["box"]
    assert first != second
    assert opened.locator("#regions [aria-selected=true] .code").inner_text().split()[0] == second.split()[0]
    assert shown["active"] == shown["lesion"]
    for size, start, axis in (("width", "x", "x"), ("height", "y", "y")):
        middle = (placement[size] / 2 - placement[start]) / placement["scale"]
        assert middle == pytest.approx(box[axis] + box[size] / 2, abs=2)


def test_the_photograph_says_which_lesion_the_brush_paints(opened):
    opened.keyboard.press("Shift+1")
    caption = opened.locator("#caption")
    assert caption.is_hidden()
    told = []
    for key in ("b", "Shift+2", "e", "w", "v"):
        opened.keyboard.press(key)
        told.append(caption.inner_text())

    assert told == [
        "The brush paints hard exudates",
        "The brush paints microaneurysms",
        "The eraser erases microaneurysms",
        "Restore brings back the model's result for microaneurysms",
        "",
    ]
    assert caption.is_hidden()


@pytest.mark.parametrize("width", [1920, 1440, 1366, 1280, 1180, 768, 390])
def test_the_photograph_stays_under_the_pointer_whatever_tool_is_chosen(opened, width):
    opened.set_viewport_size({"width": width, "height": 844})
    until_drawn(opened)
    places = {}
    for key in ("v", "b", "m", "e", "w", "v"):
        opened.keyboard.press(key)
        until_drawn(opened)
        places[key] = [round(at, 2) for at in tiny_page.on_screen(opened, 100, 100)]
        shown = opened.locator("#brush-width").is_visible()
        assert shown == (key in {"b", "e", "w"})

    assert len(set(map(tuple, places.values()))) == 1, places


@pytest.mark.parametrize(
    ("width", "rows"), [(1920, 1), (1440, 2), (1366, 2), (1280, 2), (1200, 2), (1122, 2)]
)
def test_the_toolbar_takes_one_row_on_a_wide_screen_and_two_on_a_laptop_at_any_zoom(opened, width, rows):
    opened.set_viewport_size({"width": width, "height": 844})
    opened.keyboard.press("b")
    opened.evaluate("() => (document.getElementById('zoom-value').textContent = '4000 %')")
    until_laid_out(opened)
    centres = opened.locator("#toolbar > .group").evaluate_all(
        "(groups) => groups.map((group) => group.offsetTop + group.offsetHeight / 2)"
    )

    assert len({round(centre / 10) for centre in centres}) == rows


@pytest.mark.parametrize("width", [1440, 390])
def test_a_message_moves_nothing_and_can_be_clicked_through(opened, width):
    opened.set_viewport_size({"width": width, "height": 844})
    until_drawn(opened)
    before = tiny_page.on_screen(opened, 100, 100)

    opened.evaluate("() => (document.getElementById('message').textContent = 'The disk is full. '.repeat(9))")
    until_drawn(opened)

    assert tiny_page.on_screen(opened, 100, 100) == before
    box = opened.locator("#message").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    centre = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    under = "([x, y]) => document.elementFromPoint(x, y).id"
    assert opened.evaluate(under, centre) != "message"


NOTED = """async ([status, writes]) => {
  const {noteStatus} = await import("/page/js/notices.js");
  noteStatus(status, writes);
}"""
"""What the page does with the status of an answer."""

BELOW_NOTICES = """() => {
  const notices = document.getElementById("notices");
  const covered = [...notices.children].map((notice) => notice.getBoundingClientRect());
  return [...document.querySelectorAll("button, input, select, textarea, a, summary, output, figcaption")]
    .filter((control) => !notices.contains(control) && control.checkVisibility())
    .filter((control) => {
      const {left, right, top, bottom} = control.getBoundingClientRect();
      return covered.some(
        (box) => left < box.right && right > box.left && top < box.bottom && bottom > box.top
      );
    })
    .map((control) => control.id || control.outerHTML);
}"""
"""The controls and texts that the notices cover."""


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_a_notice_neither_moves_nor_scales_the_photograph_and_covers_no_control(opened, width):
    opened.set_viewport_size({"width": width, "height": 844})
    opened.keyboard.press("b")  # the caption says what the brush paints
    until_drawn(opened)
    placement = "() => [foveate.viewer.placement(), document.getElementById('osd').getBoundingClientRect()]"
    before = opened.evaluate(placement)

    opened.evaluate(NOTED, [507, True])
    opened.evaluate(NOTED, [0, False])
    until_drawn(opened)
    assert opened.locator(".notice").count() == 2
    shown, covered = opened.evaluate(placement), opened.evaluate(BELOW_NOTICES)
    opened.evaluate(NOTED, [200, True])
    until_drawn(opened)

    assert shown == before
    assert covered == []
    assert opened.evaluate(placement) == before
    assert opened.locator(".notice").count() == 0


def test_the_dialog_for_a_lost_session_does_not_move_the_photograph(opened):
    until_drawn(opened)
    before = tiny_page.on_screen(opened, 100, 100)
    opened.evaluate("() => document.getElementById('sign-in').showModal()")
    until_drawn(opened)

    assert tiny_page.on_screen(opened, 100, 100) == before


def test_a_notice_that_is_folded_stays_folded_when_another_appears(opened):
    opened.evaluate(NOTED, [507, True])
    opened.locator(".notice summary").click()
    opened.evaluate(NOTED, [0, False])
    folded = opened.locator(".notice").evaluate_all("(notices) => notices.map(({open}) => open)")
    opened.evaluate(NOTED, [200, True])

    assert folded == [False, True]


def test_a_brush_of_one_pixel_paints_one_pixel_and_the_eraser_erases_it(opened):
    before = opened.evaluate("() => foveate.state.view?.counts.lesions.MA.mask_px[255]")
    opened.keyboard.press("0")  # from the field of view to the whole photograph
    until_drawn(opened)
    opened.keyboard.press("Shift+2")
    opened.keyboard.press("b")
    opened.locator("#diameter").evaluate(
        "(slider) => { slider.value = 1; slider.dispatchEvent(new Event('input')); }"
    )
    frame = opened.locator("#layer-canvas").bounding_box()
    corner = opened.evaluate("() => foveate.viewer.placement()")
    x, y = frame["x"] + corner["x"] + 20 * corner["scale"], frame["y"] + corner["y"] + 20 * corner["scale"]
    edit(opened, lambda: opened.mouse.click(x, y))  # far from the field: no lesion is there
    painted = opened.evaluate(
        f"{VIEW} [view.corrections.lesions.MA.added_px, view.counts.lesions.MA.mask_px[255]] }}"
    )
    opened.keyboard.press("e")
    edit(opened, lambda: opened.mouse.click(x, y))

    assert painted == [1, before + 1]
    assert opened.evaluate("() => foveate.state.view?.counts.lesions.MA.mask_px[255]") == before


def test_what_was_changed_by_hand_is_counted_at_the_threshold_that_is_shown(opened, address, photograph):
    at, page = f"{address}/api/photographs/{photograph}", opened
    region = page.request.get(f"{at}/regions?lesion=EX&sort=area&order=desc&limit=1").json()["regions"][0]
    centre = [region["centroid"]["x"], region["centroid"]["y"]]
    stroke = {"lesion": "EX", "tool": "eraser", "diameter": 60, "points": [centre]}
    assert page.request.post(f"{at}/corrections/strokes", data=stroke).ok
    edited = "document.querySelector('#lesions [data-code=EX] .edited').textContent"
    page.reload()
    until(page, READY)
    until(page, f"() => {edited}.includes('px by hand')")
    tables = page.request.get(f"{at}/counts").json()["lesions"]["EX"]
    level = page.evaluate(f"{VIEW} view.lesion('EX').level }}")

    def said():
        return [int(number.replace(",", "")) for number in re.findall(r"[\d,]+", page.evaluate(edited))]

    higher = next(at for at in range(level, 256) if tables["erased_px"][at] < tables["erased_px"][level] / 2)
    at_first = said()
    set_threshold(page, "EX", higher)
    until(page, f"(text) => {edited} !== text", f"−{at_first[0]:,} px by hand")

    assert at_first == [tables["erased_px"][level]]
    assert said() == [erased for erased in [tables["erased_px"][higher]] if erased]


def test_a_stroke_that_the_server_did_not_answer_is_sent_again(opened):
    lost_requests = []
    opened.route(
        "**/strokes",
        lambda route: (lost_requests.append(1), route.abort()) if not lost_requests else route.continue_(),
    )
    opened.keyboard.press("b")
    frame = opened.locator("#layer-canvas").bounding_box()

    def paint():
        opened.mouse.click(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
        until(opened, "() => document.getElementById('save-status').textContent.startsWith('Not saved yet')")

    edit(opened, paint)
    opened.unroute("**/strokes")

    assert lost_requests
    assert opened.locator("#save-status").inner_text().startswith("Saved")


def test_a_questionable_region_is_marked_and_keeps_its_pixels(opened):
    count = number(opened, "#count-EX")
    opened.keyboard.press("j")
    edit(opened, lambda: opened.keyboard.press("q"))
    until(opened, "() => document.querySelector('#regions .questionable')")

    assert number(opened, "#count-EX") == count
    assert opened.locator("#annotations .badge.questionable").count() == 1


# ---- measuring and comparing ----


def test_a_ruler_reads_pixels_and_millimetres_if_the_spacing_is_known(opened):
    opened.locator("#measure-section summary").click()
    opened.fill("#spacing", "0.01")
    opened.press("#spacing", "Tab")
    until(opened, "() => foveate.state.view?.spacing === 0.01")
    opened.locator("#stage").focus()
    opened.keyboard.press("m")
    frame = opened.locator("#layer-canvas").bounding_box()
    scale = opened.evaluate("() => foveate.viewer.placement().scale")
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    opened.mouse.move(x, y)
    opened.mouse.down()
    opened.mouse.move(x + 200 * scale, y, steps=4)
    opened.mouse.up()

    reading = opened.locator("#annotations .label").first.text_content()
    assert float(reading.split(" px")[0]) == pytest.approx(200, abs=2)
    assert float(reading.split("· ")[1].split(" mm")[0]) == pytest.approx(2, abs=0.02)


def test_a_spacing_that_is_no_number_is_named_and_the_stored_one_stays(opened):
    opened.locator("#measure-section summary").click()
    opened.fill("#spacing", "0.0052")
    opened.press("#spacing", "Tab")
    until(opened, "() => foveate.isIdle() && foveate.state.view?.spacing === 0.0052")
    sent = []
    opened.on("request", lambda request: sent.append(request.method))
    opened.locator("#spacing").select_text()
    opened.keyboard.type("1e")
    opened.press("#spacing", "Tab")
    until(opened, "() => document.getElementById('message').textContent.includes('0.0052')")
    opened.wait_for_timeout(600)

    assert opened.evaluate("() => foveate.isIdle()")
    assert "PATCH" not in sent
    assert opened.locator("#spacing").input_value() == "0.0052"
    assert opened.evaluate("() => foveate.state.photograph.spacing_mm") == 0.0052


def test_a_spacing_that_is_refused_leaves_areas_and_field_as_they_are_stored(opened):
    opened.locator("#measure-section summary").click()
    figures = "#regions .figure:nth-child(3)"
    opened.fill("#spacing", "0.01")
    opened.press("#spacing", "Tab")
    at_once = opened.locator(figures).first.inner_text()
    until(opened, "() => foveate.isIdle() && foveate.state.view?.spacing === 0.01")
    opened.fill("#spacing", "7")
    opened.press("#spacing", "Tab")
    until(opened, "() => document.getElementById('message').textContent.startsWith('Not saved')")
    until(opened, "() => foveate.isIdle()")

    assert at_once.endswith("mm²")
    assert opened.locator(figures).first.inner_text() == at_once
    assert opened.locator("#spacing").input_value() == "0.01"


def test_a_moving_threshold_asks_for_the_fields_of_the_grid_once(opened):
    opened.keyboard.press("g")
    until(opened, "() => document.querySelectorAll('#grid-table tbody tr').length === 10")
    until(opened, "() => foveate.isIdle()")
    asked = []
    opened.on("request", lambda request: asked.append(request.url) if request.url.endswith("/grid") else None)
    with opened.expect_request("**/grid"):
        opened.evaluate("""() => {
          const slider = document.getElementById("level-EX");
          for (let level = 60; level < 100; level++) {
            slider.value = level;
            slider.dispatchEvent(new Event("input"));
          }
          for (let share = 0.2; share < 1; share += 0.05) foveate.state.draw("EX", {opacity: share});
          document.getElementById("shown-MA").click();
        }""")
    columns = opened.locator("#grid-table thead th").count()
    until(opened, "() => foveate.isIdle() && foveate.state.photograph.result.lesions.EX.level === 99")
    opened.wait_for_timeout(300)
    opened.locator("#shown-MA").check()

    assert columns == opened.locator("#grid-table thead th").count() - 1
    assert len(asked) == 1


def test_a_new_grid_lies_where_the_program_places_it_and_says_so(opened):
    opened.keyboard.press("g")
    until(opened, "() => document.querySelectorAll('#grid-table tbody tr').length === 10")

    placed, suggested = opened.evaluate(
        "() => [foveate.state.photograph.grid, foveate.state.result.suggested_grid]"
    )
    assert placed == suggested is not None
    assert "Placed by the program: check it" in opened.locator("#measure-section").inner_text()


def test_the_fields_of_the_grid_and_the_outside_hold_all_regions(opened):
    opened.keyboard.press("g")
    until(opened, "() => document.querySelectorAll('#grid-table tbody tr').length === 10")
    counts = opened.locator("#grid-table tbody td:nth-child(2) b").all_inner_texts()

    assert sum(int(text.replace(",", "")) for text in counts) == number(opened, "#count-EX")
    assert opened.evaluate("() => foveate.state.photograph.grid.fovea.x") > 0  # and it is kept


def test_compared_with_the_same_masks_every_pixel_is_in_both(opened, reference):
    opened.locator("#compare-section summary").click()
    opened.set_input_files(
        "#reference-files", [reference / "out" / "masks" / f"{KEY}_{code}.png" for code in ("EX", "MA")]
    )
    until(opened, "() => document.querySelectorAll('#agreement tbody tr').length === 2")
    rows = [row.split() for row in opened.locator("#agreement tbody tr").all_inner_texts()]
    headings = opened.locator("#agreement thead th").all_inner_texts()
    legend = opened.locator("#compare .legend .chip").all_inner_texts()
    show_only(opened, "EX")

    assert headings == [*legend, "Dice"]
    assert legend == ["Both", "Only the result", "Only the other mask"]
    for _, both, result_only, other_only, dice in rows:
        assert (result_only, other_only, dice) == ("0", "0", "1.00")
        assert int(both.replace(",", "")) > 0
    assert drawn_pixels(opened) > 0


# ---- batches ----


IN_ORDER = """(names) => {
  const shown = [...document.querySelectorAll("#photographs .name")].map((name) => name.textContent);
  return shown.join() === names.join();
}"""


@pytest.mark.usefixtures("photograph")
def test_photographs_dropped_together_are_a_batch_sorted_by_burden(page, tmp_path):
    files = [tiny_package.photograph(tmp_path / f"{name}.png", seed=seed) for seed, name in enumerate("abc")]
    page.set_input_files("#files", files)
    until(page, "() => document.querySelectorAll('#photographs li.done').length >= 4")
    page.select_option("#list-order", "burden")
    until(page, "() => foveate.state.result && document.getElementById('batch')")
    listed = page.request.get(page.url.split("#")[0] + "api/photographs?sort=burden&order=desc").json()[
        "photographs"
    ]
    names = [photograph["name"] for photograph in listed]
    until(page, IN_ORDER, names)
    until_drawn(page)  # a deleted photograph's tile that comes later would be an error of a later test
    page.evaluate(CLEAR)
    until(page, "() => !foveate.state.photograph")
    page.request.delete(page.url.split("#")[0] + f"api/batches/{listed[0]['batch'] or listed[1]['batch']}")
    until(page, "() => document.querySelectorAll('#photographs li[data-id]').length === 1")

    assert {"a", "b", "c"} < set(names)


# ---- downloads ----


def test_the_masks_in_the_zip_are_those_of_the_command_line(opened, reference, tmp_path):
    with opened.expect_download() as download:
        opened.locator("#zip").click()
    download.value.save_as(tmp_path / "results.zip")

    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        for code in ("EX", "MA"):
            name = f"masks/{KEY}_{code}.png"
            assert archive.read(name) == (reference / "out" / name).read_bytes()


def test_print_the_report_opens_it_and_the_dialogue_to_print_after_all_is_saved(opened):
    opened.context.add_init_script("window.print = () => { window.isPrinted = true; }")
    opened.fill("#note", "again in May")  # on its way to the server for a moment
    with opened.context.expect_page() as event:
        opened.locator("#report").click()
    report = event.value
    report.wait_for_url("**/report")
    until(report, "() => window.isPrinted === true")

    assert opened.locator("#report").inner_text() == "Print the report"
    assert report.url.endswith("/report")
    assert "again in May" in report.locator("dl").inner_text()
    report.close()
    opened.fill("#note", "")
    until(opened, "() => foveate.isIdle()")


def test_a_report_that_is_refused_says_why_on_the_page_and_leaves_no_tab(opened, address):
    opened.context.add_init_script("window.print = () => { window.opener.isPrinted = true; }")
    unknown = f"{address}/api/photographs/{32 * '0'}/report"  # refused by the server, with its own headers
    opened.context.route("**/report", lambda route: route.continue_(url=unknown))
    with opened.context.expect_page() as event:
        opened.locator("#report").click()
    opened.locator("#message", has_text="The report: no such photograph; it may have been deleted").wait_for()
    if not event.value.is_closed():
        event.value.wait_for_event("close")
    opened.context.unroute("**/report")

    assert opened.evaluate("() => window.isPrinted") is None
    assert len(opened.context.pages) == 1


def until_polled(page):
    """Wait until what the page asks every tenth of a second has been asked, however slow its timers are."""
    page.evaluate("() => new Promise((done) => setTimeout(done, 300))")


def until_answered(page):
    """Make a request that the server answers, and wait until no notice says that it does not."""
    page.select_option("#region-order", "max")
    until(page, "() => !document.querySelector('.notice')")
    page.select_option("#region-order", "area")


def test_a_report_that_no_server_answers_leaves_the_browsers_own_page(opened):
    opened.context.route("**/report", lambda route: route.abort())
    with opened.context.expect_page() as event:
        opened.locator("#report").click()
    opened.locator(".notice").wait_for()
    until_polled(opened)  # the fixture fails for any error of the page
    opened.context.unroute("**/report")

    assert not event.value.is_closed()
    event.value.close()
    until_answered(opened)


@pytest.mark.parametrize("content_type", ["text/html", "text/plain"])
def test_a_report_in_whose_place_a_proxy_answers_says_why_on_the_page_and_leaves_no_tab(opened, content_type):
    answer = {"status": 502, "content_type": content_type, "body": "<h1>Bad Gateway</h1>"}  # as nginx does
    opened.context.route("**/report", lambda route: route.fulfill(**answer))
    with opened.context.expect_page() as event:
        opened.locator("#report").click()
    opened.locator("#message", has_text="The report: the server answered 502").wait_for()
    if not event.value.is_closed():
        event.value.wait_for_event("close")
    opened.context.unroute("**/report")
    until_answered(opened)

    assert len(opened.context.pages) == 1


# ---- accessibility and safety ----


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem_on_the_page_and_in_its_help(opened, scheme, size):
    opened.set_viewport_size(size)
    opened.emulate_media(color_scheme=scheme)
    for summary in ("#measure-section", "#compare-section"):
        opened.locator(summary).evaluate("(section) => { section.open = true; }")
    on_page = accessibility_problems(opened)
    opened.locator("#show-keys").evaluate("(button) => button.click()")

    assert on_page + accessibility_problems(opened) == []
    assert opened.locator("#help-graders").inner_text().startswith("Everybody works on the same corrections")


def test_the_help_can_be_closed_wherever_it_is_scrolled_to(opened):
    opened.set_viewport_size(PHONE)
    opened.locator("#show-keys").click()
    opened.locator("#help").evaluate("(help) => help.scrollTo(0, help.scrollHeight)")
    frame, close = (opened.locator(f"#help{inside}").bounding_box() for inside in ("", " form button"))

    assert opened.locator("#help").evaluate("(help) => help.scrollTop") > 100
    assert frame["y"] < close["y"] < frame["y"] + frame["height"] / 4


OPENED = {
    "selection": "() => document.getElementById('select').click()",
    "notices": """async () => {
      const {noteStatus} = await import("/page/js/notices.js");
      const {showMessage} = await import("/page/js/messages.js");
      noteStatus(507, true);
      noteStatus(0);
      showMessage("The change was not saved", {persistent: true});
    }""",
    "told": """async () => {
      const {showMessage} = await import("/page/js/messages.js");
      showMessage("Preparing the files", {persistent: true, isGood: true});
    }""",
    "confirm": "() => document.getElementById('confirm-dialog').showModal()",
    "ask": "() => document.getElementById('ask-dialog').showModal()",
    "sign in": """() => {
      document.getElementById("sign-in-status").textContent = "The server has another token.";
      document.getElementById("sign-in").showModal();
    }""",
}
"""What opens a bar, a notice or a dialog of the page."""

CLOSED = """async () => {
  const {noteStatus} = await import("/page/js/notices.js");
  const {showMessage} = await import("/page/js/messages.js");
  noteStatus(200, true);
  showMessage("");
  const select = document.getElementById("select");
  if (select.getAttribute("aria-pressed") === "true") select.click();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  document.getElementById("sign-in-status").textContent = "";
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem_in_bars_notices_and_dialogs(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.evaluate(
        """() => {
          document.getElementById("confirm-text").textContent = "Delete the photograph?";
          document.getElementById("ask-text").textContent = "Name of the new batch";
        }"""
    )
    problems = {}
    for name, script in OPENED.items():
        opened.evaluate(script)
        problems[name] = accessibility_problems(opened)
        opened.evaluate("() => document.querySelector('dialog[open]')?.close()")
    opened.evaluate(CLOSED)

    assert problems == {name: [] for name in OPENED}


def test_nothing_is_wider_than_the_screen_at_phone_width_or_twice_the_size(opened):
    for width in (390, 590, 720):
        opened.set_viewport_size({"width": width, "height": 800})

        assert opened.evaluate("() => document.scrollingElement.scrollWidth") <= width


def test_every_control_is_reached_by_tab_and_shows_its_focus(opened):
    opened.locator("body").evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(90):
        opened.keyboard.press("Tab")
        name, has_ring = opened.evaluate("""() => {
          const focused = document.activeElement;
          const outlined = focused.closest(".choice, .active, .button, .pane") || focused;
          const hasRing = getComputedStyle(outlined).outlineStyle !== "none"
            || getComputedStyle(outlined, "::after").borderStyle !== "none";
          return [focused.id || focused.name || focused.className || focused.tagName, hasRing];
        }""")
        assert has_ring or name == "BODY", name
        reached.add(name)

    assert {
        "show-keys",
        "files",
        "list-order",
        "tool",
        "colours",
        "osd",
        "level-EX",
        "level-MA",
        "regions",
        "zip",
        "report",
    } <= reached


def test_every_key_of_the_help_is_documented_and_keys_can_be_switched_off(opened):
    opened.keyboard.press("Shift+1")
    active = opened.evaluate("() => foveate.state.activeLesion")
    opened.keyboard.press("?")
    keys = set(opened.locator("#bindings kbd").all_inner_texts())
    opened.locator("#keys-enabled").uncheck()
    opened.keyboard.press("Escape")
    opened.keyboard.press("h")
    opened.keyboard.press("Shift+2")
    hidden_while_off = opened.evaluate("() => foveate.state.hidden")
    active_while_off = opened.evaluate("() => foveate.state.activeLesion")
    opened.keyboard.press("?")
    opened.locator("#keys-enabled").check()
    opened.keyboard.press("Escape")
    opened.keyboard.press("h")

    page = (Path(__file__).parents[1] / "docs" / "viewer.md").read_text()
    assert keys - {"?", "…"} <= {key for quoted in re.findall(r"`([^`]+)`", page) for key in quoted.split()}
    assert not hidden_while_off
    assert active_while_off == active
    assert opened.evaluate("() => foveate.state.hidden")


def test_a_name_that_is_markup_is_shown_as_text_and_can_be_deleted(page):
    name = "<img src=x onerror=document.title='hurt'>.png"
    drop(page, name, cv2.imencode(".png", tiny_package.fundus())[1].tobytes())
    until(page, "() => window.foveate.state.result || window.foveate.state.photograph?.state === 'failed'")

    assert page.locator("#photographs li.open .name").inner_text().startswith("<img src=x")
    assert page.locator("#photographs .name img").count() == 0
    assert "hurt" not in page.title().split("–")[-1]
    page.locator("#photographs li.open .delete-button").evaluate("(button) => button.click()")
    page.locator("#confirm-yes").click()
    until(page, "() => !document.getElementById('photographs').textContent.includes('<img')")


def test_a_file_that_is_no_photograph_is_refused_with_a_message(page):
    drop(page, "notes.jpg", b"no photograph at all")
    until(page, "() => document.querySelector('#uploads li.failed')")

    assert len(page.locator("#uploads li.failed .small").inner_text()) > 10
    row, text = (page.locator(f"#uploads li.failed{inside}").bounding_box() for inside in ("", " .text"))
    assert text["x"] < row["x"] + 10  # there is no picture, and long reasons need the room


# ---- the page's own arithmetic, compared with NumPy and OpenCV ----


@pytest.fixture(scope="module")
def scripts(browser, address):
    """Yield a page in which the modules can be called."""
    page = tiny_page.new_context(browser).new_page()
    page.goto(address)
    yield page
    page.close()


def test_the_page_places_and_scales_the_grid_as_the_server_does(scripts):
    """Only what lies where the program places it is reported as not moved (`etdrs.placed_by_program`)."""
    box = BoxFacts(x=60, y=30, width=300, height=300)
    field = FieldFacts(x=210.4, y=180.2, radius=150.3, box=box, area_px=70_000)

    on_page = scripts.evaluate(
        """async (field) => {
          const etdrs = await import("/page/js/etdrs.js");
          const grid = etdrs.initialGrid(field);
          return {
            grid,
            fields: etdrs.FIELDS.map(([name]) => name),
            radii: etdrs.RADII_MM,
            perMm: etdrs.pixelsPerMm(grid, null),
            disc: etdrs.discDiameter(grid, null),
          };
        }""",
        field.model_dump(),
    )

    assert on_page["grid"] == etdrs._in_the_middle(field).model_dump()
    fovea, disc = ((place["y"], place["x"]) for place in on_page["grid"].values())
    scale = etdrs.Grid(fovea=fovea, disc=disc, spacing=None).mm_per_px
    assert on_page["perMm"] == pytest.approx(1 / scale)
    assert on_page["disc"] == pytest.approx(etdrs.DISC_MM / scale)
    assert on_page["radii"] == list(etdrs.RADII_MM)
    assert on_page["fields"] == list(etdrs.FIELDS)


def test_a_doubtful_quality_has_the_same_words_wherever_it_is_shown(scripts):
    words = scripts.evaluate("""async () => (await import("/page/js/stage.js")).QUALITY""")

    assert words == QUALITY_TEXT
    assert words.keys() == report.QUALITY.keys()


DRAW = """async ([stack, side, layers, reference]) => {
  const {drawTile} = await import("/page/js/raster.js");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const tile = new Uint8Array(side * side * 4);
  const shape = {side, margin: 2};
  for (const {pixels, box} of drawTile(bytes(stack), shape, layers, reference && bytes(reference))) {
    for (let row = 0; row < box.height; row++) {
      const start = row * box.width * 4;
      tile.set(pixels.subarray(start, start + box.width * 4), ((box.y + row) * side + box.x) * 4);
    }
  }
  return btoa(String.fromCharCode(...tile));
}"""

SIDE = 136  # wider than one piece


@pytest.fixture(scope="module")
def blobs():
    """Return a map with its margin: blobs above and below a threshold."""
    noise = np.random.default_rng(3).random((SIDE + 4, SIDE + 4)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def draw_tile(scripts, layers, *stack, reference=None):
    masks = None if reference is None else base64_text(reference)
    arguments = [base64_text(np.stack(stack)), SIDE, layers, masks]
    return np.frombuffer(base64.b64decode(scripts.evaluate(DRAW, arguments)), np.uint8).reshape(SIDE, SIDE, 4)


def base64_text(pixels):
    return base64.b64encode(pixels.tobytes()).decode()


def layer(**changes):
    return {"level": 140, "colour": [10, 200, 30], "opacity": 1, "style": "fill", "thickness": 1} | changes


def test_a_fill_is_the_thresholded_map(scripts, blobs):
    tile = draw_tile(scripts, [layer()], blobs)

    assert ((tile[..., 3] > 0) == (blobs[2:-2, 2:-2] >= 140)).all()
    assert (tile[tile[..., 3] > 0][:, :3] == [10, 200, 30]).all()


@pytest.mark.parametrize("thickness", [1, 2])
def test_an_outline_surrounds_the_mask_and_hides_none_of_it(scripts, blobs, thickness):
    tile = draw_tile(scripts, [layer(style="outline", thickness=thickness)], blobs)

    mask = (blobs >= 140).astype(np.uint8)
    wider = cv2.dilate(mask, np.ones((2 * thickness + 1,) * 2, np.uint8))
    ring = ((wider > 0) & (mask == 0))[2:-2, 2:-2]
    assert ring.any()
    assert ((tile[..., :3] == [10, 200, 30]).all(axis=-1) & (tile[..., 3] == 255) == ring).all()
    assert (tile[mask[2:-2, 2:-2] > 0][:, 3] == 0).all()


def test_of_two_lesions_the_second_is_on_top_and_a_hidden_lesion_is_not_drawn(scripts, blobs):
    above = layer(level=170, colour=[200, 0, 0])
    both = draw_tile(scripts, [layer(), above], blobs, blobs)
    alone = draw_tile(scripts, [None, above], blobs, blobs)

    inner = blobs[2:-2, 2:-2] >= 170
    assert (both[inner][:, :3] == [200, 0, 0]).all()
    assert ((alone[..., 3] > 0) == inner).all()


def test_true_false_and_missed_share_the_pixels_of_both_masks(scripts, blobs):
    reference = np.where(np.roll(blobs, 5, axis=0) >= 140, 255, 0).astype(np.uint8)
    tile = draw_tile(scripts, [layer()], blobs, reference=reference)

    mask, other_mask = (blobs >= 140)[2:-2, 2:-2], (reference > 0)[2:-2, 2:-2]
    for colour, expected in (
        ([0, 158, 115], mask & other_mask),
        ([213, 94, 0], mask & ~other_mask),
        ([86, 180, 233], ~mask & other_mask),
    ):
        assert expected.any()
        assert ((tile[..., :3] == colour).all(axis=-1) & (tile[..., 3] > 0) == expected).all()


def test_the_lines_at_high_zoom_run_along_every_border_of_the_mask(scripts, blobs):
    lines = scripts.evaluate(
        """async ([stack, side]) => {
          const {edgeLines} = await import("/page/js/outlines.js");
          const {thresholdMask} = await import("/page/js/raster.js");
          const shape = {side, margin: 2};
          return [...edgeLines(thresholdMask(Uint8Array.from(stack), 0, shape, 140), shape)];
        }""",
        [blobs.ravel().tolist(), SIDE],
    )

    mask = blobs >= 140
    length = sum(abs(x2 - x1) + abs(y2 - y1) for x1, y1, x2, y2 in np.array(lines).reshape(-1, 4).tolist())
    across = np.count_nonzero(mask[1:-3, 2:-2] != mask[2:-2, 2:-2])
    along = np.count_nonzero(mask[2:-2, 1:-3] != mask[2:-2, 2:-2])
    assert length == across + along
