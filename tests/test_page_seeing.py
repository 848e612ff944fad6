"""What is seen of a photograph: its field, its layers, another visit, on any screen and by any pointer."""

import base64
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

import tiny_package
import tiny_page
from tiny_page import CHROMIUM, drawn_pixels, on_screen, until, until_drawn, until_loaded

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's package of that name")

SMALL = {"tablet": (768, 1024), "phone": (390, 844), "twice the size": (720, 450)}

PLACE = "() => foveate.viewer.placement()"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a model and drawn photographs."""
    folder = tmp_path_factory.mktemp("seeing")
    tiny_package.build(folder / "tiny")
    for seed, name in enumerate(("first_OD", "second_OD")):
        tiny_package.photograph(folder / f"{name}.png", seed=seed)
    return folder


@pytest.fixture(scope="module")
def address(files):
    """Yield the address of a server."""
    with tiny_page.serving(files / "data", files / "tiny") as address:
        yield address


@pytest.fixture(scope="module")
def submitted(browser, address, files):
    """Return the identifiers of both photographs, which are analysed."""
    request = tiny_page.new_context(browser).request
    identifiers = []
    for name in ("first_OD", "second_OD"):
        headers = {"Content-Type": "image/png", "Foveate-Name": f"{name}.png"}
        content = (files / f"{name}.png").read_bytes()
        told = request.post(f"{address}/api/photographs", data=content, headers=headers).json()
        tiny_page.until_done(request, f"{address}/api/photographs/{told['id']}")
        identifiers.append(told["id"])
    return identifiers


@contextmanager
def new_page(browser, address, identifier, **settings):
    """Yield a page with a photograph open, none of whose scripts has failed."""
    context = tiny_page.new_context(browser, **settings)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{address}/#{identifier}")
    until(page, IS_OPEN)
    yield page
    context.close()
    assert problems == []


IS_OPEN = """() => {
  const view = window.foveate?.state.view;
  return view?.counts && view.corrections && foveate.isIdle();
}"""
"""Whether a photograph is open, and nothing of it is still to arrive."""


@pytest.fixture
def page(browser, address, submitted):
    """Yield a page with the first photograph open."""
    with new_page(browser, address, submitted[0]) as page:
        yield page


# ---- fit ----


def framed(page):
    """Return where the field's box begins and ends on the screen, in shares of the pane: x, then y."""
    place = page.evaluate(PLACE)
    box = page.evaluate("() => foveate.state.result.field.box")
    return [
        tuple(
            (place[axis] + edge * place["scale"]) / place[size] for edge in (box[axis], box[axis] + box[size])
        )
        for axis, size in (("x", "width"), ("y", "height"))
    ]


def test_fit_frames_the_field_of_view_and_then_the_whole_photograph(page):
    fitted, scale = framed(page), page.evaluate(PLACE)["scale"]
    page.keyboard.press("0")
    until_drawn(page)
    whole = page.evaluate(PLACE)
    page.keyboard.press("0")
    until_drawn(page)

    assert all(-0.01 < edge < 1.01 for edges in fitted for edge in edges)
    assert max(end - start for start, end in fitted) > 0.93  # it fills the pane
    assert whole["scale"] < scale
    assert whole["y"] > -1
    assert page.evaluate(PLACE)["scale"] == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize("zoomed", [False, True], ids=["fitted", "zoomed"])
def test_side_by_side_shows_all_that_was_seen_and_returns_to_it(page, zoomed):
    if zoomed:
        page.keyboard.press("9")
        page.keyboard.press("ArrowRight")
        until_drawn(page)
    before = page.evaluate(PLACE)
    page.keyboard.press("s")
    until_drawn(page)
    beside, both = page.evaluate(PLACE), framed(page)
    page.keyboard.press("s")
    until_drawn(page)
    after = page.evaluate(PLACE)

    assert beside["width"] < 0.6 * before["width"]
    field_width = page.evaluate("() => foveate.state.result.field.box.width")
    assert beside["width"] / beside["scale"] >= 0.98 * min(before["width"] / before["scale"], field_width)
    assert zoomed or all(-0.01 < edge < 1.01 for edges in both for edge in edges)
    assert [after[key] for key in ("x", "y", "scale")] == pytest.approx(
        [before[key] for key in ("x", "y", "scale")], abs=1
    )


# ---- layers ----


TILE = """async ([stack, side, style, colour]) => {
  const {drawTile} = await import("/page/js/raster.js");
  const tile = new Uint8Array(side * side * 4);
  const layers = [{level: 128, colour, opacity: 1, style, thickness: 2}];
  for (const {pixels, box} of drawTile(new Uint8Array(stack), {side, margin: 2}, layers)) {
    for (let row = 0; row < box.height; row++) {
      const start = row * box.width * 4;
      tile.set(pixels.subarray(start, start + box.width * 4), ((box.y + row) * side + box.x) * 4);
    }
  }
  return btoa(String.fromCharCode(...tile));
}"""


def drawn_tile(page, stack, style, colour=(0, 158, 115)):
    side = len(stack) - 4
    content = page.evaluate(TILE, [stack.ravel().tolist(), side, style, list(colour)])
    return np.frombuffer(base64.b64decode(content), np.uint8).reshape(side, side, 4)


def test_heat_is_the_probability_itself_below_the_threshold_too(page):
    stack = np.arange(24 * 24, dtype=np.int64).reshape(24, 24) % 256

    tile = drawn_tile(page, stack, "heat")

    assert np.abs(tile[..., 3].astype(int) - stack[2:-2, 2:-2]).max() <= 1
    assert (tile[tile[..., 3] > 20][:, 1] == 158).all()


@pytest.mark.parametrize(
    ("colour", "halo"), [((0, 158, 115), 255), ((240, 228, 66), 0)], ids=["dark", "light"]
)
def test_an_outline_has_a_halo_that_contrasts_with_its_colour(page, colour, halo):
    stack = np.zeros((24, 24), int)
    stack[10:13, 10:13] = 255

    tile = drawn_tile(page, stack, "outline", colour)

    assert (tile[10, 5] == [halo, halo, halo, round(0.55 * 255)]).all()
    assert (tile[10, 6:8] == [*colour, 255]).all()
    assert tile[9, 9, 3] == 0  # nothing of the lesion is hidden


def test_the_heat_layer_covers_more_than_what_is_above_the_threshold(page):
    page.keyboard.press("f")
    filled = drawn_pixels(page)
    page.keyboard.press("f")

    assert drawn_pixels(page) > filled > 0
    assert page.locator("#outline-style input:checked").input_value() == "heat"


def test_the_loupe_follows_the_pointer_and_shows_the_photograph_larger(page):
    page.keyboard.press("l")
    x, y = on_screen(page, 120, 130)
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    until_loaded(page, "osd-loupe")
    box = page.locator("#loupe").bounding_box()
    lit = page.evaluate("""() => {
      const canvas = document.querySelector("#loupe canvas");
      const {data} = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1);
      return data[0];
    }""")
    page.keyboard.press("l")

    assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx((x, y), abs=2)
    assert lit > 20
    assert page.locator("#loupe").is_hidden()


def test_the_loupe_and_the_position_follow_what_moves_under_a_pointer_at_rest(page, submitted):
    position, glass = (
        page.locator("#pointer-position"),
        "() => document.querySelector('#loupe canvas').toDataURL()",
    )
    x, y = on_screen(page, 120, 130)
    page.mouse.move(x, y)
    page.keyboard.press("l")
    for key in ("+", "ArrowLeft", "0", "n"):
        page.keyboard.press(key)
        until_drawn(page)
        until_loaded(page, "osd-loupe")
        at_rest = (position.inner_text(), page.evaluate(glass), page.locator("#loupe").is_visible())
        page.mouse.move(x + 9, y)
        page.mouse.move(x, y)
        until_loaded(page, "osd-loupe")
        moved = (position.inner_text(), page.evaluate(glass), page.locator("#loupe").is_visible())

        assert at_rest == moved, key
        assert moved[2]
    opened = page.evaluate("() => foveate.state.photograph.id")
    page.keyboard.press("l")

    assert opened == submitted[1]


# ---- two visits ----


def test_another_visit_is_beside_or_in_place_by_turns_with_linked_views(page, submitted):
    page.locator("#compare-section summary").click()
    page.locator("#visit").focus()
    page.select_option("#visit", submitted[1])
    until(page, "() => document.querySelector('#pane-untouched canvas')")
    page.locator("#osd").focus()
    page.keyboard.press("9")
    until_drawn(page)
    name = page.locator("#beside-name").inner_text()
    page.keyboard.press("y")
    seen = set()
    for _ in range(30):
        seen.add(page.evaluate("() => getComputedStyle(document.getElementById('pane')).visibility"))
        page.wait_for_timeout(100)
    boxes = [page.locator(pane).bounding_box()["width"] for pane in ("#pane", "#pane-untouched")]
    page.keyboard.press("y")
    page.keyboard.press("n")
    until(page, "() => foveate.state.photograph.name === 'second_OD'")

    assert name == "second_OD"
    assert seen == {"visible", "hidden"}
    assert boxes[0] == boxes[1] > 400
    assert page.locator("#beside-name").text_content() == "Untouched"


FIELD = {"x": 128, "y": 128, "radius": 120}


def seen(fovea, disc, *, suggested=True, placed=False, field=FIELD):
    """Return what the page knows of a photograph with landmarks at some places, (x, y)."""
    grid = {part: {"x": x, "y": y} for part, (x, y) in (("fovea", fovea), ("disc", disc))}
    result = {"field": field, "suggested_grid": grid if suggested else None}
    return {"grid": grid if placed else None, "result": result}


def linked(page, function, *photographs):
    """Return the link of two photographs, by fields or by landmarks."""
    script = f"async ([a, b]) => (await import('/page/js/alignment.js')).{function}(a, b)"
    return page.evaluate(script, list(photographs))


def through(link, x, y):
    """Return where a link takes a place, by its definition."""
    place = link["factor"] * np.exp(1j * link["angle"]) * complex(x, y)
    return (place.real + link["x"], place.imag + link["y"])


def test_visits_are_aligned_at_disc_and_fovea_with_shift_scale_and_rotation(page):
    turn = np.exp(1j * np.radians(12))
    places = [complex(100, 130), complex(160, 120)]
    moved = [turn * place + complex(20, -15) for place in places]
    first = seen(*((place.real, place.imag) for place in places))
    second = seen(*((place.real, place.imag) for place in moved))

    link = linked(page, "linkByLandmarks", first, second)
    back = page.evaluate("async (link) => (await import('/page/js/alignment.js')).inverse(link)", link)

    assert np.degrees(link["angle"]) == pytest.approx(12)
    assert link["factor"] == pytest.approx(1)
    for place, there in zip(places, moved, strict=True):
        assert through(link, place.real, place.imag) == pytest.approx((there.real, there.imag))
        assert through(back, there.real, there.imag) == pytest.approx((place.real, place.imag))


def test_landmarks_that_do_not_fit_each_other_align_nothing(page):
    right = seen((100, 130), (160, 120))

    assert linked(page, "linkByLandmarks", right, seen((160, 130), (100, 120))) is None  # a left eye
    assert linked(page, "linkByLandmarks", right, seen((100, 130), (130, 80))) is None  # 50 degrees
    assert linked(page, "linkByLandmarks", right, seen((1, 1), (9, 9), suggested=False)) is None
    middle = seen((128, 128), (185.6, 120.8), suggested=False, placed=True)
    assert linked(page, "linkByLandmarks", right, middle) is None  # where the page lays a grid at first
    assert linked(page, "linkByLandmarks", right, seen((90, 130), (150, 125), suggested=False, placed=True))


def test_the_scale_is_that_of_the_fields_unless_it_is_another_camera(page):
    first = seen((100, 130), (160, 130))
    larger = seen((200, 260), (326, 260), field={"x": 256, "y": 256, "radius": 240})
    wider = seen((100, 130), (136, 130))  # the same field in px, of more retina

    assert linked(page, "linkByLandmarks", first, larger)["factor"] == pytest.approx(2)
    assert linked(page, "linkByLandmarks", first, wider)["factor"] == pytest.approx(0.6)
    assert linked(page, "linkByFields", first, larger) == pytest.approx(
        {"factor": 2, "angle": 0, "x": 0, "y": 0}
    )


@pytest.mark.parametrize("moved", [False, True], ids=["as opened", "zoomed and moved"])
def test_a_place_of_the_eye_lies_at_the_same_place_of_both_panes(page, address, submitted, moved):
    grids = [((100, 130), (160, 120)), ((118, 110), (176.0, 127.0))]
    for identifier, (fovea, disc) in zip(submitted, grids, strict=True):
        grid = seen(fovea, disc, placed=True)["grid"]
        tiny_page.change_elsewhere(page, f"{address}/api/photographs/{identifier}", {"grid": grid})
    page.locator("#compare-section summary").click()
    page.locator("#visit").focus()
    page.select_option("#visit", submitted[1])
    until(page, "(point) => foveate.viewer.placeBeside(point)", {"x": 0, "y": 0})
    until_drawn(page)
    if moved:
        page.locator("#osd-untouched").hover()
        page.mouse.wheel(0, -300)
        until_drawn(page)
    said = page.locator("#alignment").inner_text()
    first, second = page.evaluate(
        """([first, second]) => {
          const {x, y, scale} = foveate.viewer.placement();
          const places = ["fovea", "disc"].map((part) => ({
            x: x + scale * first[part].x, y: y + scale * first[part].y}));
          return [places, ["fovea", "disc"].map((part) => foveate.viewer.placeBeside(second[part]))];
        }""",
        [seen(*grid, placed=True)["grid"] for grid in grids],
    )
    page.locator("#by-landmarks").uncheck()
    by_field = page.locator("#alignment").inner_text()
    for identifier in submitted:
        page.request.patch(f"{address}/api/photographs/{identifier}", data={"grid": None})

    assert "rotated by" in said
    assert "not rotated" in by_field
    for one, other in zip(first, second, strict=True):
        assert (other["x"], other["y"]) == pytest.approx((one["x"], one["y"]), abs=1.5)


# ---- small screens and touch ----


@pytest.mark.parametrize("screen", SMALL)
def test_the_photograph_and_each_threshold_are_seen_together(browser, address, submitted, screen):
    width, height = SMALL[screen]
    with new_page(browser, address, submitted[0], viewport={"width": width, "height": height}) as page:
        for code in ("EX", "MA"):
            page.locator(f"#level-{code}").focus()
            page.wait_for_timeout(200)
            slider, panes = (
                page.locator(f"#level-{code}").bounding_box(),
                page.locator("#panes").bounding_box(),
            )

            assert panes["y"] >= 0
            assert panes["y"] + panes["height"] <= slider["y"]
            assert slider["y"] + slider["height"] <= height
        assert page.locator("#toolbar-more").is_visible()
        assert page.evaluate("() => document.scrollingElement.scrollWidth") <= width


def touch(session, kind, *points):
    """Send touches to the browser: (x, y) of each finger."""
    fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def test_two_fingers_zoom_under_the_brush_and_paint_nothing(browser, address, submitted):
    with new_page(browser, address, submitted[0], has_touch=True) as page:
        session = page.context.new_cdp_session(page)
        page.keyboard.press("b")
        x, y = on_screen(page, 128, 128)
        before = page.evaluate(PLACE)
        touch(session, "touchStart", (x - 30, y))
        touch(session, "touchStart", (x - 30, y), (x + 30, y))
        touch(session, "touchMove", (x - 60, y), (x + 60, y))
        touch(session, "touchEnd")
        page.wait_for_timeout(300)
        after, middle = page.evaluate(PLACE), on_screen(page, 128, 128)
        edits = page.evaluate("() => foveate.state.view.corrections.edits")
        touch(session, "touchStart", (x, y))
        touch(session, "touchMove", (x + 9, y))
        touch(session, "touchEnd")
        until(page, "() => foveate.state.view.corrections.edits === 1")
        page.keyboard.press("z")
        until(page, "() => foveate.isIdle()")

    assert after["scale"] == pytest.approx(2 * before["scale"], rel=0.05)
    assert middle == pytest.approx((x, y), abs=4)
    assert edits == 0


def test_beside_a_pen_which_paints_a_finger_moves_the_photograph(page):
    page.keyboard.press("b")
    x, y = on_screen(page, 128, 128)
    page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("layer-canvas");
          canvas.setPointerCapture = () => {};
          const send = (type, pointerType, pointerId, clientX) => canvas.dispatchEvent(
            new PointerEvent(type, {pointerType, pointerId, clientX, clientY: y, button: 0, bubbles: true}));
          send("pointerdown", "pen", 1, x);
          send("pointermove", "pen", 1, x + 5);
          send("pointerup", "pen", 1, x + 5);
          window.before = foveate.viewer.placement().x;
          send("pointerdown", "touch", 2, x);
          send("pointermove", "touch", 2, x + 40);
          send("pointerup", "touch", 2, x + 40);
        }""",
        [x, y],
    )
    until(page, "() => foveate.state.view.corrections.edits === 1 && foveate.isIdle()")
    moved = page.evaluate("() => foveate.viewer.placement().x - before")
    page.keyboard.press("z")
    until(page, "() => foveate.isIdle() && !foveate.state.view.corrections.can_undo")

    assert moved == pytest.approx(40, abs=1)


def test_a_hand_beside_the_pen_neither_ends_nor_moves_its_stroke(page):
    page.keyboard.press("b")
    x, y = on_screen(page, 128, 128)
    with page.expect_request("**/strokes") as sent:
        moved = page.evaluate(
            """([x, y]) => {
              const canvas = document.getElementById("layer-canvas");
              canvas.setPointerCapture = () => {};
              const send = (type, pointerType, pointerId, right) => {
                const at = {clientX: x + right, clientY: y, button: 0, bubbles: true};
                canvas.dispatchEvent(new PointerEvent(type, {pointerType, pointerId, ...at}));
              };
              const before = foveate.viewer.placement();
              send("pointerdown", "touch", 2, 60);
              send("pointerdown", "pen", 1, 0);
              for (let right = 2; right <= 10; right += 2) send("pointermove", "pen", 1, right);
              send("pointercancel", "touch", 2, 60);
              send("pointerdown", "touch", 3, 70);
              for (let right = 12; right <= 20; right += 2) {
                send("pointermove", "pen", 1, right);
                send("pointermove", "touch", 3, 70 + right);
              }
              send("pointerup", "touch", 3, 90);
              send("pointermove", "pen", 1, 22);
              send("pointerup", "pen", 1, 22);
              const after = foveate.viewer.placement();
              return Math.hypot(after.x - before.x, after.y - before.y);
            }""",
            [x, y],
        )
    until(page, "() => foveate.state.view.corrections.edits === 1 && foveate.isIdle()")
    page.keyboard.press("z")
    until(page, "() => foveate.isIdle() && !foveate.state.view.corrections.can_undo")

    assert len(sent.value.post_data_json["points"]) == 12
    assert moved == 0
