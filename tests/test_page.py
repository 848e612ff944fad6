"""A person looks at photographs in a browser: real Chromium, the real server, a real photograph.

The model is the tiny one, so that every figure is quick to get; what it sees in an eye means nothing. What
the page shows is compared with what the command line writes for the same photograph.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

import tiny_package
from axe_playwright_python import sync_playwright as axe
from playwright import sync_api as playwright

from foveate.analysis import regions
from foveate.writers import maps

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's package of that name")

EXAMPLE = Path(__file__).parents[1] / "examples" / "IDRiD_376_small.jpg"
KEY = EXAMPLE.stem
DESKTOP = {"width": 1180, "height": 640}
"""Wide enough for three columns, small enough to be quick where a processor draws."""
PHONE = {"width": 390, "height": 844}
PATIENCE = 30
"""Seconds until what should appear counts as missing; a busy machine is no failing test."""

DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  const about = {dataTransfer: transfer, bubbles: true, cancelable: true};
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, about));
  }
}"""
"""What a browser does when a file is dropped; playwright has no hand for it."""

LIT = """() => {
  const canvas = document.getElementById("over");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let lit = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at]) lit++;
  return lit;
}"""


READY = """() => window.foveate?.desk.counts && foveate.desk.corrections && foveate.still()
  && document.querySelector("#regions [role=option]")"""
"""What the tests of an open photograph begin with: its counts, layers and list of regions are there."""

CLEARED = """() => {
  localStorage.clear();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const id of ["measure", "compare"]) document.getElementById(`${id}-section`).open = false;
  for (const id of ["hide", "beside"]) {
    const button = document.getElementById(id);
    if (button.getAttribute("aria-pressed") === "true") button.click();
  }
  foveate.desk.set({tool: "move"}, "tool");
  const order = document.getElementById("order");
  if (order.value !== "submitted") {
    order.value = "submitted";
    order.dispatchEvent(new Event("change"));
  }
  document.activeElement.blur();
  history.replaceState(null, "", "#none"); // so that the next line is a change in any case
  location.hash = "";
}"""


# ---- what all tests share ----


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the tiny model, and what the command line writes for the photograph."""
    folder = tmp_path_factory.mktemp("page")
    model = tiny_package.build(folder / "tiny")
    run("predict", EXAMPLE, "--out", folder / "out", "--model", model)
    return folder


@pytest.fixture(scope="module")
def address(made):
    """Where a server listens; it is killed at the end."""
    asked = ["serve", "--data", made / "data", "--model", made / "tiny", "--port", "0"]
    with subprocess.Popen(
        command(*asked), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            line = server.stdout.readline()
            assert "http://" in line
            yield line[line.index("http://") :].split()[0].rstrip("/")
        finally:
            server.terminate()
            server.wait(PATIENCE)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def photograph(address, browser):
    """The example, dropped once and looked at; its identifier."""
    page = browser.new_page(viewport=DESKTOP)
    page.goto(address)
    drop(page, EXAMPLE.name, EXAMPLE.read_bytes())
    until(page, "() => window.foveate.desk.result")
    identifier = page.evaluate("() => foveate.desk.photograph.id")
    page.close()
    return identifier


@pytest.fixture(scope="module")
def shown(browser, address):
    """One page for all tests, and all that it has to complain of: foreign requests, errors."""
    context = browser.new_context(viewport=DESKTOP, accept_downloads=True, reduced_motion="reduce")
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if complains(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if foreign(asked.url, address) else None)
    page.goto(address)
    until(page, "() => window.foveate?.desk.server")
    yield page, complaints
    context.close()


@pytest.fixture
def page(shown):
    """The page with no photograph open and nothing chosen; it must have nothing to complain of."""
    page, complaints = shown
    complaints.clear()
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    page.evaluate(CLEARED)
    until(page, "() => !foveate.desk.photograph")
    yield page
    assert complaints == []


@pytest.fixture
def opened(page, address, photograph):
    """The page with the photograph, as the model left it."""
    at = f"{address}/api/photographs/{photograph}"
    page.request.delete(f"{at}/corrections")
    page.request.patch(at, data={"thresholds": None, "grid": None, "spacing_mm": None})
    page.evaluate("(id) => { location.hash = id; }", photograph)
    until(page, READY)
    yield page
    page.request.delete(f"{at}/corrections")


def command(*words):
    return [sys.executable, "-m", "foveate", *map(str, words)]


def run(*words):
    return subprocess.run(command(*words), check=True, capture_output=True, timeout=120)


def complains(message):
    """Say whether the console tells of a fault: a refusal, or a request that a test cut, is none."""
    none = ("responded with a status of 4", "ERR_FAILED")
    return message.type == "error" and not any(text in message.text for text in none)


def foreign(asked, address):
    return not asked.startswith((address, "blob:", "data:"))


def look_again(page):
    """Load the page anew."""
    page.reload()
    until(page, READY)


def until(page, condition, patience=PATIENCE):
    """Wait for a condition; playwright's own `wait_for_function` needs what the page's policy forbids."""
    end = time.monotonic() + patience
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not: {condition}"
        time.sleep(0.05)


def still(page):
    """Wait until all is drawn: what was set is asked for at the next frame, and drawn when it has come."""
    frames = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(frames)
    until(page, "() => foveate.still()")
    page.evaluate(frames)


def drop(page, name, content):
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def lit(page):
    still(page)
    return page.evaluate(LIT)


def picture(page, name):
    """The pixels of a canvas: rows, columns, R G B A."""
    content = page.evaluate("(name) => document.querySelector(`#${name}`).toDataURL('image/png')", name)
    found = cv2.imdecode(
        np.frombuffer(base64.b64decode(content.split(",")[1]), np.uint8), cv2.IMREAD_UNCHANGED
    )
    return cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA)


def after_edit(page, act):
    """Do what makes a new revision, and wait until its counts are there."""
    before = page.evaluate("() => foveate.desk.revision")
    act()
    until(
        page,
        f"() => foveate.desk.revision > {before} && foveate.desk.counts.revision === foveate.desk.revision",
    )


def faults(page):
    """What axe-core calls a serious or a critical fault, and the first element that has it."""
    return [
        (fault["id"], fault["nodes"][0]["html"])
        for fault in axe.Axe().run(page).response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


def stored(made, code):
    """The map that the command line wrote."""
    return cv2.imread(str(made / "out" / "maps" / f"{KEY}_{code}.png"), cv2.IMREAD_UNCHANGED)


def written(made):
    return json.loads((made / "out" / "regions" / f"{KEY}.json").read_text())


def put_threshold(page, code, level):
    slider = page.locator(f"#level-{code}")
    slider.evaluate(
        "(slider, level) => { slider.value = level; slider.dispatchEvent(new Event('input')); }",
        level,
    )


def number(page, selector):
    return int(page.locator(selector).inner_text().replace(",", "").removesuffix(" px"))


def only(page, code, style="fill"):
    """Show one lesion alone, opaque."""
    page.evaluate(
        """([code, style]) => {
          for (const one of foveate.desk.lesions) {
            foveate.desk.draw(one.code, {shown: one.code === code, opacity: 1, style});
          }
        }""",
        [code, style],
    )


# ---- looking ----


def test_a_photograph_that_is_dropped_is_listed_with_what_was_found(opened, made):
    line = opened.locator("#photographs li.open")

    for code, lesion in written(made)["lesions"].items():
        if lesion["count"]:
            assert f"{code} {lesion['count']}" in line.inner_text()


def test_a_key_hides_one_layer_and_another_all(opened):
    both = lit(opened)
    opened.keyboard.press("1")
    fewer = lit(opened)
    opened.keyboard.press("1")
    again = lit(opened)
    opened.keyboard.press("h")

    assert 0 < fewer < both
    assert again == both
    assert lit(opened) == 0


def test_counts_and_areas_beside_a_threshold_are_those_of_the_command_line(opened, made):
    lesions = written(made)["lesions"]
    for code, lesion in lesions.items():
        for level in (1, 40, 128, lesion["stored_level"], 254):
            put_threshold(opened, code, level)

            wanted = regions.find(stored(made, code), level, code, lesion["minimum_area_px"], None)
            assert number(opened, f"#count-{code}") == len(wanted)
            assert number(opened, f"#area-{code}") == sum(region.area_px for region in wanted)


def test_a_moved_threshold_redraws_at_once_and_is_kept(opened):
    before = lit(opened)
    put_threshold(opened, "EX", 40)
    after = lit(opened)
    until(opened, "() => foveate.desk.photograph.result.lesions.EX.level === 40")
    look_again(opened)

    assert after != before
    assert opened.evaluate("() => foveate.desk.lesion('EX').level") == 40


def test_at_native_size_what_is_filled_is_the_mask_pixel_by_pixel(opened, made):
    only(opened, "EX")
    opened.keyboard.press("9")
    still(opened)
    services = opened.evaluate("() => foveate.viewer.place()")
    seen = picture(opened, "over")[..., 3] > 0

    mask = cv2.imread(str(made / "out" / "masks" / f"{KEY}_EX.png"), cv2.IMREAD_UNCHANGED) > 0
    assert services["scale"] == pytest.approx(1)
    left, top = round(services["x"]), round(services["y"])
    wanted = np.zeros(seen.shape, bool)
    rows, columns = np.nonzero(mask)
    inside = (
        (rows + top >= 0)
        & (rows + top < seen.shape[0])
        & (columns + left >= 0)
        & (columns + left < seen.shape[1])
    )
    wanted[rows[inside] + top, columns[inside] + left] = True
    assert wanted.any()
    assert (seen == wanted).all()


def test_a_click_in_the_list_flies_to_the_region(opened):
    opened.locator("#regions [role=option]").last.click()
    still(opened)

    region = opened.evaluate("() => foveate.desk.region")
    services = opened.evaluate("() => foveate.viewer.place()")
    box = region["box"]
    assert (services["width"] / 2 - services["x"]) / services["scale"] == pytest.approx(
        box["x"] + box["width"] / 2, abs=2
    )
    assert (services["height"] / 2 - services["y"]) / services["scale"] == pytest.approx(
        box["y"] + box["height"] / 2, abs=2
    )
    assert opened.locator("#regions [aria-selected=true]").count() == 1


def test_the_list_is_sorted_by_size_or_probability(opened):
    areas = opened.locator("#regions .region .figure:nth-of-type(3)")
    opened.select_option("#sorted", "area")
    sizes = [
        int(text.split()[0].replace(",", ""))
        for text in opened.locator("#regions .region > :nth-child(3)").all_inner_texts()
    ]
    opened.select_option("#sorted", "max")
    until(opened, "() => document.querySelector('#regions .region')")
    opened.wait_for_timeout(300)
    highest = [float(text) for text in opened.locator("#regions .region > :nth-child(4)").all_inner_texts()]

    assert areas is not None
    assert sizes == sorted(sizes, reverse=True)
    assert highest == sorted(highest, reverse=True)


def test_other_colours_and_side_by_side_leave_the_second_photograph_untouched(opened):
    opened.keyboard.press("s")
    opened.keyboard.press("r")
    still(opened)
    opened.wait_for_timeout(500)
    still(opened)

    red_free, untouched = (picture(opened, f"{name} canvas") for name in ("osd", "osd-plain"))
    middle = np.s_[red_free.shape[0] // 2 - 5 :, red_free.shape[1] // 2 - 5 :]
    red_free, untouched = (shown[middle][:10, :10].astype(int) for shown in (red_free, untouched))
    assert (red_free[..., 0] == red_free[..., 1]).all()
    assert (untouched[..., 0] > untouched[..., 1] + 20).all()  # an eye's fundus is red


# ---- correcting ----


def test_a_rejected_region_goes_comes_back_with_undo_and_is_found_after_a_reload(opened):
    opened.fill("#author", "AB")
    opened.locator("#osd").focus()
    whole, count = lit(opened), number(opened, "#count-EX")
    opened.keyboard.press("2")
    opened.locator("#regions [role=option]").first.click()
    opened.keyboard.press("0")
    after_edit(opened, lambda: opened.keyboard.press("x"))
    opened.keyboard.press("2")
    fewer, gone = number(opened, "#count-EX"), lit(opened)
    after_edit(opened, lambda: opened.keyboard.press("z"))
    undone, again = number(opened, "#count-EX"), lit(opened)
    after_edit(opened, lambda: opened.keyboard.press("Shift+z"))
    look_again(opened)

    assert fewer == count - 1
    assert undone == count
    assert gone < again == whole
    assert (number(opened, "#count-EX"), lit(opened)) == (fewer, gone)
    assert "Rejected · 1" in opened.locator("#rest").inner_text()
    assert faults(opened) == []
    assert opened.evaluate("() => foveate.desk.corrections.authors") == ["AB"]


def test_a_brush_of_one_pixel_paints_one_and_the_eraser_takes_it_away(opened):
    before = opened.evaluate("() => foveate.desk.counts.lesions.MA.mask_px[255]")
    opened.keyboard.press("Shift+2")
    opened.keyboard.press("b")
    opened.locator("#diameter").evaluate(
        "(slider) => { slider.value = 1; slider.dispatchEvent(new Event('input')); }"
    )
    frame = opened.locator("#over").bounding_box()
    corner = opened.evaluate("() => foveate.viewer.place()")
    x, y = frame["x"] + corner["x"] + 20 * corner["scale"], frame["y"] + corner["y"] + 20 * corner["scale"]
    after_edit(opened, lambda: opened.mouse.click(x, y))  # far from the field: no lesion is there
    painted = opened.evaluate(
        "() => [foveate.desk.corrections.lesions.MA.added_px, foveate.desk.counts.lesions.MA.mask_px[255]]"
    )
    opened.keyboard.press("e")
    after_edit(opened, lambda: opened.mouse.click(x, y))

    assert painted == [1, before + 1]
    assert opened.evaluate("() => foveate.desk.counts.lesions.MA.mask_px[255]") == before


def test_a_stroke_that_the_server_did_not_answer_is_sent_again(opened):
    lost = []
    opened.route(
        "**/strokes", lambda route: (lost.append(1), route.abort()) if not lost else route.continue_()
    )
    opened.keyboard.press("b")
    frame = opened.locator("#over").bounding_box()
    opened.mouse.click(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    until(opened, "() => document.getElementById('saved').textContent.startsWith('Not saved yet')")
    after_edit(opened, lambda: None)
    opened.unroute("**/strokes")

    assert lost
    assert opened.locator("#saved").inner_text().startswith("Saved")


def test_a_questionable_region_is_marked_and_loses_no_pixel(opened):
    count = number(opened, "#count-EX")
    opened.keyboard.press("j")
    after_edit(opened, lambda: opened.keyboard.press("q"))
    until(opened, "() => document.querySelector('#regions .questionable')")

    assert number(opened, "#count-EX") == count
    assert opened.locator("#marks .badge.questionable").count() == 1


# ---- measuring and comparing ----


def test_a_ruler_reads_pixels_and_millimetres_where_the_spacing_is_told(opened):
    opened.locator("#measure-section summary").click()
    opened.fill("#spacing", "0.01")
    opened.press("#spacing", "Tab")
    until(opened, "() => foveate.desk.spacing === 0.01")
    opened.locator("#stage").focus()
    opened.keyboard.press("m")
    frame, services = opened.locator("#over").bounding_box(), opened.evaluate("() => foveate.viewer.place()")
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    opened.mouse.move(x, y)
    opened.mouse.down()
    opened.mouse.move(x + 200 * services["scale"], y, steps=4)
    opened.mouse.up()

    reading = opened.locator("#marks .word").first.text_content()
    assert float(reading.split(" px")[0]) == pytest.approx(200, abs=2)
    assert float(reading.split("· ")[1].split(" mm")[0]) == pytest.approx(2, abs=0.02)


def test_the_fields_of_the_grid_and_the_rest_hold_all_regions(opened):
    opened.keyboard.press("g")
    until(opened, "() => document.querySelectorAll('#grid-table tbody tr').length === 10")
    counts = opened.locator("#grid-table tbody td:nth-child(2) b").all_inner_texts()

    assert sum(int(text.replace(",", "")) for text in counts) == number(opened, "#count-EX")
    assert opened.evaluate("() => foveate.desk.photograph.grid.fovea.x") > 0  # and it is kept


def test_beside_the_very_same_masks_all_is_true(opened, made):
    opened.locator("#compare-section summary").click()
    opened.set_input_files(
        "#reference-files", [made / "out" / "masks" / f"{KEY}_{code}.png" for code in ("EX", "MA")]
    )
    until(opened, "() => document.querySelectorAll('#agreement tbody tr').length === 2")
    rows = [row.split() for row in opened.locator("#agreement tbody tr").all_inner_texts()]
    only(opened, "EX")

    for _, hit, wrong, missed, dice in rows:
        assert (wrong, missed, dice) == ("0", "0", "1.00")
        assert int(hit.replace(",", "")) > 0
    assert lit(opened) > 0


# ---- many ----


def test_photographs_dropped_together_are_a_batch_sorted_by_burden(page, tmp_path):
    drawn = [tiny_package.photograph(tmp_path / f"{name}.png", seed=seed) for seed, name in enumerate("abc")]
    page.set_input_files("#files", drawn)
    until(page, "() => document.querySelectorAll('#photographs li.done').length >= 4")
    page.select_option("#order", "burden")
    until(page, "() => foveate.desk.result && document.getElementById('batch')")
    page.wait_for_timeout(300)
    names = page.locator("#photographs .name").all_inner_texts()
    told = page.request.get(page.url.split("#")[0] + "api/photographs?sort=burden&order=desc").json()[
        "photographs"
    ]
    still(
        page
    )  # a tile that was on its way is asked for again when later ones come: a complaint of later tests
    page.evaluate(CLEARED)
    until(page, "() => !foveate.desk.photograph")
    page.request.delete(page.url.split("#")[0] + f"api/batches/{told[0]['batch'] or told[1]['batch']}")
    until(page, "() => document.querySelectorAll('#photographs li').length === 1")

    assert names == [one["name"] for one in told]
    assert {"a", "b", "c"} < set(names)


# ---- taking away ----


def test_the_masks_in_the_zip_are_those_of_the_command_line(opened, made, tmp_path):
    with opened.expect_download() as waited:
        opened.locator("#zip").click()
    waited.value.save_as(tmp_path / "taken.zip")

    with zipfile.ZipFile(tmp_path / "taken.zip") as taken:
        for code in ("EX", "MA"):
            name = f"masks/{KEY}_{code}.png"
            assert taken.read(name) == (made / "out" / name).read_bytes()


# ---- everybody ----


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
def test_axe_finds_no_serious_fault(opened, scheme, size):
    opened.set_viewport_size(size)
    opened.emulate_media(color_scheme=scheme)
    for summary in ("#measure-section", "#compare-section"):
        opened.locator(summary).evaluate("(section) => { section.open = true; }")
    found = faults(opened)
    opened.locator("#keys").evaluate("(button) => button.click()")

    assert found + faults(opened) == []


def test_nothing_reaches_beyond_the_screen_at_phone_width_or_twice_the_size(opened):
    for width in (390, 590, 720):
        opened.set_viewport_size({"width": width, "height": 800})

        assert opened.evaluate("() => document.scrollingElement.scrollWidth") <= width


def test_all_is_reached_by_tab_alone_and_seen_where_it_is(opened):
    opened.locator("body").evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(90):
        opened.keyboard.press("Tab")
        seen = opened.evaluate("""() => {
          const at = document.activeElement;
          const ring = at.closest(".choice, .active, .button, .pane") || at;
          const drawn = getComputedStyle(ring).outlineStyle !== "none"
            || getComputedStyle(ring, "::after").borderStyle !== "none";
          return [at.id || at.name || at.className || at.tagName, drawn];
        }""")
        assert seen[1] or seen[0] == "BODY", seen
        reached.add(seen[0])

    assert {
        "keys",
        "files",
        "order",
        "tool",
        "view",
        "osd",
        "level-EX",
        "level-MA",
        "regions",
        "zip",
        "report",
    } <= reached


def test_every_key_of_the_help_is_documented_and_works_while_keys_are_on(opened):
    opened.keyboard.press("?")
    keys = set(opened.locator("#bindings kbd").all_inner_texts())
    opened.locator("#keys-on").uncheck()
    opened.keyboard.press("Escape")
    opened.keyboard.press("h")
    off = opened.evaluate("() => foveate.desk.hidden")
    opened.keyboard.press("?")
    opened.locator("#keys-on").check()
    opened.keyboard.press("Escape")
    opened.keyboard.press("h")

    page = (Path(__file__).parents[1] / "docs" / "viewer.md").read_text()
    assert keys - {"?", "…"} <= {key for quoted in re.findall(r"`([^`]+)`", page) for key in quoted.split()}
    assert not off
    assert opened.evaluate("() => foveate.desk.hidden")


def test_a_name_that_is_markup_is_shown_as_text_and_can_be_deleted(page):
    name = "<img src=x onerror=document.title='hurt'>.png"
    drop(page, name, cv2.imencode(".png", tiny_package.fundus())[1].tobytes())
    until(page, "() => window.foveate.desk.result || window.foveate.desk.photograph?.state === 'failed'")

    assert page.locator("#photographs .name").first.inner_text().startswith("<img src=x")
    assert page.locator("#photographs .name img").count() == 0
    assert "hurt" not in page.title().split("–")[-1]
    page.locator("#photographs li.open .away").evaluate("(button) => button.click()")
    page.locator("#ask-yes").click()
    until(page, "() => !document.getElementById('photographs').textContent.includes('<img')")


def test_what_is_no_photograph_is_refused_in_words(page):
    drop(page, "notes.jpg", b"no photograph at all")
    until(page, "() => document.querySelector('#photographs li.failed')")

    assert len(page.locator("#photographs li.failed .small").inner_text()) > 10


# ---- the page's own arithmetic, beside NumPy and OpenCV ----


@pytest.fixture(scope="module")
def scripts(browser, address):
    """A page from which the modules can be called."""
    shown = browser.new_page()
    shown.goto(address)
    yield shown
    shown.close()


def test_a_threshold_becomes_the_same_level_as_on_the_command_line(scripts):
    thresholds = [
        0.001,
        0.0039,
        0.004,
        0.1,
        1 / 3,
        0.5,
        0.502,
        0.7,
        254 / 255,
        0.999,
        1.0,
        *np.linspace(0.01, 1, 50).tolist(),
    ]
    found = scripts.evaluate(
        """async (thresholds) => {
          const {level} = await import("/page/js/levels.js");
          return thresholds.map(level);
        }""",
        thresholds,
    )

    assert found == [maps.level(threshold, "png") for threshold in thresholds]


DRAWN = """async ([stack, side, layers, truth]) => {
  const {draw} = await import("/page/js/raster.js");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const shown = new Uint8Array(side * side * 4);
  for (const {pixels, box} of draw(bytes(stack), {side, margin: 2}, layers, truth && bytes(truth))) {
    for (let row = 0; row < box.height; row++) {
      const from = row * box.width * 4;
      shown.set(pixels.subarray(from, from + box.width * 4), ((box.y + row) * side + box.x) * 4);
    }
  }
  return btoa(String.fromCharCode(...shown));
}"""

SIDE = 136  # wider than one piece


@pytest.fixture(scope="module")
def blobs():
    """A map with its margin: blobs on either side of a threshold."""
    noise = np.random.default_rng(3).random((SIDE + 4, SIDE + 4)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def drawn(scripts, layers, *stack, truth=None):
    content = [text(np.stack(stack)), SIDE, layers, None if truth is None else text(truth)]
    shown = base64.b64decode(scripts.evaluate(DRAWN, content))
    return np.frombuffer(shown, np.uint8).reshape(SIDE, SIDE, 4)


def text(pixels):
    return base64.b64encode(pixels.tobytes()).decode()


def layer(**changes):
    return {"level": 140, "colour": [10, 200, 30], "opacity": 1, "style": "fill", "thickness": 1} | changes


def test_a_fill_is_the_thresholded_map(scripts, blobs):
    shown = drawn(scripts, [layer()], blobs)

    assert ((shown[..., 3] > 0) == (blobs[2:-2, 2:-2] >= 140)).all()
    assert (shown[shown[..., 3] > 0][:, :3] == [10, 200, 30]).all()


@pytest.mark.parametrize("thickness", [1, 2])
def test_an_outline_lies_around_the_mask_and_hides_none_of_it(scripts, blobs, thickness):
    shown = drawn(scripts, [layer(style="outline", thickness=thickness)], blobs)

    mask = (blobs >= 140).astype(np.uint8)
    wider = cv2.dilate(mask, np.ones((2 * thickness + 1,) * 2, np.uint8))
    ring = ((wider > 0) & (mask == 0))[2:-2, 2:-2]
    assert ring.any()
    assert ((shown[..., :3] == [10, 200, 30]).all(axis=-1) & (shown[..., 3] == 255) == ring).all()
    assert (shown[mask[2:-2, 2:-2] > 0][:, 3] == 0).all()


def test_of_two_lesions_the_second_lies_above_and_a_hidden_one_is_not_drawn(scripts, blobs):
    above = layer(level=170, colour=[200, 0, 0])
    both = drawn(scripts, [layer(), above], blobs, blobs)
    one = drawn(scripts, [None, above], blobs, blobs)

    inner = blobs[2:-2, 2:-2] >= 170
    assert (both[inner][:, :3] == [200, 0, 0]).all()
    assert ((one[..., 3] > 0) == inner).all()


def test_true_false_and_missed_share_the_pixels_of_both_masks(scripts, blobs):
    truth = np.where(np.roll(blobs, 5, axis=0) >= 140, 255, 0).astype(np.uint8)
    shown = drawn(scripts, [layer()], blobs, truth=truth)

    mask, other = (blobs >= 140)[2:-2, 2:-2], (truth > 0)[2:-2, 2:-2]
    for colour, wanted in (
        ([0, 158, 115], mask & other),
        ([213, 94, 0], mask & ~other),
        ([86, 180, 233], ~mask & other),
    ):
        assert wanted.any()
        assert ((shown[..., :3] == colour).all(axis=-1) & (shown[..., 3] > 0) == wanted).all()


def test_the_lines_of_deep_zoom_run_along_every_border_of_the_mask(scripts, blobs):
    runs = scripts.evaluate(
        """async ([stack, side]) => {
          const {edges, lit} = await import("/page/js/raster.js");
          const shape = {side, margin: 2};
          return [...edges(lit(Uint8Array.from(stack), 0, shape, 140), shape)];
        }""",
        [blobs.ravel().tolist(), SIDE],
    )

    mask = blobs >= 140
    length = sum(abs(x2 - x1) + abs(y2 - y1) for x1, y1, x2, y2 in np.array(runs).reshape(-1, 4).tolist())
    across = np.count_nonzero(mask[1:-3, 2:-2] != mask[2:-2, 2:-2])
    along = np.count_nonzero(mask[2:-2, 1:-3] != mask[2:-2, 2:-2])
    assert length == across + along
