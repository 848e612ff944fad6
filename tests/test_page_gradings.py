"""On the page, two people grade a photograph unseen by each other, and a third decides."""

import pytest
import tiny_package
import tiny_server

pytest.importorskip("playwright", reason="needs foveate[dev]: playwright")
pytest.importorskip("axe_playwright_python")

import tiny_page
from axe_playwright_python import sync_playwright as axe

if tiny_page.CHROMIUM is None:
    pytest.skip("needs chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Yield the address of a server where two people grade every photograph."""
    folder = tmp_path_factory.mktemp("gradings")
    model = tiny_package.build(folder / "tiny")
    with tiny_page.serving(folder / "data", model, "--double-grading") as address:
        yield address


def open_as(browser, address, identifier, name):
    """Return a page of a person of their own, with a photograph open."""
    page = tiny_page.new_context(browser).new_page()
    page.goto(f"{address}#{identifier}" if identifier else address)
    if identifier is None:
        tiny_page.drop(page, "eye.png", tiny_server.picture())
    tiny_page.until(page, "() => window.foveate?.state.view?.corrections")
    page.locator("#author").fill(name)
    page.locator("#author").blur()
    return page


def correct(page, address, author):
    """Paint something in the open photograph under a name, not through the page, and wait until it shows it.

    An edit that is made on the page before is refused: it is meant for what the page showed.
    """
    at = f"{address}/api/photographs/{page.evaluate('() => foveate.state.photograph.id')}"
    stroke = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[60.5, 60.5]], "author": author}
    answer = page.request.post(f"{at}/corrections/strokes", data=stroke)
    assert answer.ok, answer.text()
    tiny_page.until(
        page, "(revision) => foveate.state.view.corrections?.revision >= revision", answer.json()["revision"]
    )
    tiny_page.until_drawn(page)  # the list of regions is the one after it


def accessibility_problems(page):
    """Return the serious problems that axe finds on a page."""
    return [
        violation["id"]
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]


def said(page):
    return page.locator("#grading").inner_text()


def test_two_people_grade_and_a_third_decides(address):
    with tiny_page.chromium() as browser:
        ann = open_as(browser, address, None, "Ann")
        photograph = ann.evaluate("() => foveate.state.photograph.id")
        ann.locator("#grading-begin").click()
        ann.locator("#grading-done").wait_for()
        assert ann.evaluate("() => foveate.state.photograph.grading.original") == photograph
        ben = open_as(browser, address, photograph, "Ben")
        ben.locator("#grading-begin").wait_for()
        assert "Ann (under way)" in said(ben)
        assert ben.locator("#photographs li").count() == 1
        ann.locator("#grading-done").click()
        ann.locator("#grading-again").wait_for()
        ben.locator("#grading-begin").click()
        ben.locator("#grading-done").click()
        ben.locator("#grading-again").wait_for()

        carol = open_as(browser, address, photograph, "Carol")
        carol.locator("#adjudicate").wait_for()
        carol.locator("#grading", has_text="Dice 1.00").wait_for()  # computed when it is asked for
        assert carol.locator("#reviewed").is_disabled()
        carol.locator("#adjudicate").click()
        carol.locator("#grading", has_text="Adjudicated by Carol").wait_for()
        carol.locator("#reviewed").check()
        tiny_page.until(carol, "() => foveate.isIdle() && foveate.state.photograph.reviewed_at")


REFUSALS = """() => {
  const reason = (selector) => {
    const control = document.querySelector(selector);
    return control.disabled ? (control.closest(".choice") ?? control).title : "";
  };
  return ["#reviewed", "#accept", "#brush-tool", "#level-EX"].map((selector) =>
    reason(selector.replace("#brush-tool", "#tool [value=brush]")));
}"""
"""Why a review, a verdict, a stroke and a threshold would be refused; "" for those that would not."""


def refused(page):
    """Return why the server would refuse what the page offers, after a region was selected."""
    tiny_page.until(page, "() => foveate.isIdle()")
    page.locator("#regions [role=option]").first.click()
    return page.evaluate(REFUSALS)


def test_a_graders_list_never_holds_both_the_photograph_and_their_copy(address):
    with tiny_page.chromium() as browser:
        page = open_as(browser, address, None, "Eve")
        photograph = page.evaluate("() => foveate.state.photograph.id")
        page.locator("#grading-begin").click()
        page.locator("#grading-done").wait_for()
        before = page.locator("#photographs li").count()
        tiny_page.change_elsewhere(page, f"{address}/api/photographs/{photograph}", {"eye": "left"})

        assert page.locator("#photographs li").count() == before
        assert page.locator(f'#photographs li[data-id="{photograph}"]').count() == 0


def test_the_next_grader_at_the_same_screen_still_finds_the_photograph(address):
    with tiny_page.chromium() as browser:
        page = open_as(browser, address, None, "Ann")
        photograph = page.evaluate("() => foveate.state.photograph.id")
        page.locator("#grading-begin").click()
        page.locator("#grading-done").click()
        page.locator("#grading-back").click()
        tiny_page.until(page, "(id) => foveate.state.photograph?.id === id", photograph)
        page.locator("#author").fill("Ben")
        page.locator("#author").blur()
        page.locator("#grading-begin").wait_for()
        assert "Ann (done)" in said(page)
        page.locator("#grading-begin").click()
        page.locator("#grading-done").wait_for()
        copy = page.evaluate("() => foveate.state.photograph")
        page.locator("#author").fill("Carol")  # from Ben's copy, not from the photograph
        page.locator("#author").blur()
        tiny_page.until(page, "(id) => foveate.state.photograph?.id === id", photograph)

        assert copy["grading"] == {"original": photograph, "grader": "Ben", "done": False}
        assert page.locator(f'#photographs li[data-id="{photograph}"]').count() == 1
        for name in ("Ann", "Ben"):  # who both have a copy
            page.locator("#author").fill(name)
            page.locator("#author").blur()
            tiny_page.until(page, "(name) => foveate.state.photograph?.grading?.grader === name", name)
        assert page.evaluate("() => foveate.state.photograph.id") == copy["id"]
        assert page.locator("#photographs li.open").count() == 1


ENABLED = """() => [
    "#reviewed", "#undo", "#accept", "#tool [value=brush]", "#level-EX", "#spacing", "#note", "#eye input",
    "#grid", "#reference-files", "#downloads > .row:last-child button",
].filter((selector) => !document.querySelector(selector).disabled)"""
"""Which of all that changes a photograph can be used."""


def test_nobody_but_the_grader_changes_or_ends_a_grading(address):
    with tiny_page.chromium() as browser:
        ann = open_as(browser, address, None, "Ann")
        photograph = ann.evaluate("() => foveate.state.photograph.id")
        ann.locator("#grading-begin").click()
        ann.locator("#grading-done").wait_for()
        copy = ann.evaluate("() => foveate.state.photograph.id")
        stroke = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[60.5, 60.5]]}
        assert ann.request.post(f"{address}/api/photographs/{copy}/corrections/strokes", data=stroke).ok
        ben = open_as(browser, address, photograph, "Ben")
        ben.locator("#grading-begin").wait_for()
        ben.evaluate("(id) => { location.hash = id; }", copy)
        ben.locator("#grading", has_text="Grading of Ann").wait_for()

        assert ben.locator("#grading button").all_inner_texts() == ["Back to the photograph"]
        another = "This is the grading of Ann: begin your own."
        tiny_page.until(ben, "() => foveate.state.view.corrections?.can_undo")
        assert refused(ben) == [another] * 4
        assert ben.evaluate(ENABLED) == []
        sent, messages = [], []
        ben.on("request", lambda request: sent.append(request.method))
        for key in ("t", "z", "a", "b", ".", "g"):
            ben.evaluate("() => { document.getElementById('message').textContent = ''; }")
            ben.keyboard.press(key)
            messages.append(ben.locator("#message").inner_text())
        assert messages == [another] * 6

        grid = {"fovea": {"x": 128, "y": 128}, "disc": {"x": 178, "y": 120}}
        assert ann.request.patch(f"{address}/api/photographs/{copy}", data={"grid": grid}).ok
        ben.reload()
        tiny_page.until(ben, "() => window.foveate?.isIdle() && foveate.state.view?.corrections?.can_undo")
        ben.locator("#grid").evaluate("(button) => button.click()")
        handle = ben.locator("#annotations .handle.fovea").bounding_box()
        ben.mouse.move(handle["x"] + 7, handle["y"] + 7)
        ben.mouse.down()
        ben.mouse.move(handle["x"] + 30, handle["y"] + 30)
        ben.mouse.up()
        assert ben.locator("#message").inner_text() == another
        assert ben.locator("#annotations .handle.fovea").bounding_box() == handle
        assert set(sent) <= {"GET"}

        ben.locator("#regions [role=option]").first.click()
        ben.locator("#author").fill("")
        nameless = ben.evaluate(ENABLED)
        ben.locator("#author").fill("Ann")
        assert nameless == ["#grid"]  # it is shown
        assert len(ben.evaluate(ENABLED)) == 11
        ben.locator("#author").fill("Ben")
        ben.locator("#grading-back").click()
        ben.locator("#grading-begin").wait_for()


def test_a_click_is_taken_although_the_list_of_graders_changes_meanwhile(address):
    with tiny_page.chromium() as browser:
        page = open_as(browser, address, None, "Ann")
        page.locator("#grading-begin").hover()
        page.mouse.down()
        with page.expect_response("**/gradings*"):
            page.evaluate("() => foveate.state.emit('document')")  # as after any change of the photograph
        page.wait_for_timeout(200)
        page.mouse.up()
        page.locator("#grading-done").wait_for()


def test_whoever_begins_without_a_name_is_taken_to_its_field(address):
    with tiny_page.chromium() as browser:
        page = open_as(browser, address, None, "")
        page.locator("#grading-begin").click()
        focused = page.evaluate("() => document.activeElement.id")
        asked = page.locator("#message").inner_text()
        page.keyboard.type("Dora")
        page.locator("#author").blur()
        page.locator("#grading-begin").click()
        page.locator("#grading-done").wait_for()

        assert focused == "author"
        assert asked == "Enter your name as grader first."
        assert page.locator("#message").inner_text() == ""


def test_the_panel_is_as_wide_as_what_is_in_it(address):
    with tiny_page.chromium() as browser:
        identifier = graded_by_two(tiny_page.new_context(browser).request, address)
        page = open_as(browser, address, identifier, "Carol")
        page.set_viewport_size({"width": 1400, "height": 900})
        page.locator("#adjudicate").wait_for()
        page.evaluate("panel.style.marginRight = '15px'")  # as a scroll bar, which this browser hides
        tops = page.evaluate("['accept', 'redo'].map((id) => document.getElementById(id).offsetTop)")
        widths = page.evaluate("[panel.scrollWidth, panel.clientWidth]")

        assert widths[0] == widths[1]
        assert tops[0] == tops[1]


GRADER_PIXELS = """() => {
  const canvases = document.querySelectorAll("#pane canvas.layer-canvas:not(#layer-canvas)");
  return [...canvases].map((canvas) => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let pixels = 0;
    for (let at = 3; at < data.length; at += 4) if (data[at]) pixels++;
    return pixels;
  });
}"""
"""How many pixels each grader's outlines cover."""


def photograph(request, address, name):
    """Return a photograph that is done."""
    headers = {"Content-Type": "image/png", "Foveate-Name": f"{name}.png"}
    answer = request.post(f"{address}/api/photographs", data=tiny_server.picture(4), headers=headers)
    identifier = answer.json()["id"]
    tiny_page.until_done(request, f"{address}/api/photographs/{identifier}")
    return identifier


def graded_by_two(request, address, name="two"):
    """Return a photograph that Ann and Ben have graded: Ann painted a line of exudates, Ben nothing more."""
    identifier = photograph(request, address, name)
    at = f"{address}/api/photographs/{identifier}"
    for grader in ("Ann", "Ben"):
        copy = request.post(f"{at}/gradings", data={"grader": grader}).json()["id"]
        own = f"{address}/api/photographs/{copy}"
        if grader == "Ann":
            stroke = {
                "lesion": "EX",
                "tool": "brush",
                "diameter": 9,
                "points": [[60.5, 128.5], [200.5, 128.5]],
            }
            assert request.post(f"{own}/corrections/strokes", data=stroke).ok
        assert request.put(f"{own}/grading", data={"done": True}).ok
    return identifier


def test_graders_outlines_do_not_wait_for_the_figures_of_their_agreement(address):
    with tiny_page.chromium() as browser:
        context, held, released = tiny_page.new_context(browser), [], []
        identifier = graded_by_two(context.request, address)
        page = context.new_page()
        page.route(
            "**/gradings/agreement", lambda route: route.continue_() if released else held.append(route)
        )
        page.goto(f"{address}#{identifier}")
        page.locator("#graders").wait_for()
        waiting = said(page)
        decided_early = page.locator("#adjudicate").count()
        released.append(True)  # it may be asked for again
        for route in held:
            route.continue_()
        page.locator("#adjudicate").wait_for()

        assert "is being computed" in waiting
        assert decided_early == 0
        assert "Dice" in said(page)


def test_whoever_decides_sees_what_each_grader_left(address):
    with tiny_page.chromium() as browser:
        request = tiny_page.new_context(browser).request
        carol = open_as(browser, address, graded_by_two(request, address), "Carol")
        carol.locator("#graders").wait_for()
        tiny_page.until_drawn(carol)
        names = carol.locator("#graders label").all_inner_texts()
        legend = carol.locator("#graders-legend").inner_text()
        ann, ben = carol.evaluate(GRADER_PIXELS)
        own = carol.evaluate(tiny_page.COUNT_PIXELS)
        carol.locator("#grader-0").uncheck()
        carol.locator("#grader-own").check()
        tiny_page.until_drawn(carol)
        without_ann = carol.evaluate(GRADER_PIXELS)
        legend_without = carol.locator("#graders-legend").inner_text()

        assert [name.strip() for name in names] == ["Ann", "Ben", "The model"]
        assert legend.split() == ["Ann", "Ben"]
        assert own == 0  # until somebody decides, the graders are compared with each other
        assert ann > ben > 0
        assert without_ann == [0, ben]
        assert legend_without.split() == ["Ben"]
        assert carol.evaluate(tiny_page.COUNT_PIXELS) > 0

        carol.locator("#adjudicate").click()
        carol.locator("#grading", has_text="Adjudicated by Carol").wait_for()
        assert carol.locator("#graders input:checked").count() == 3  # they stay while Carol decides
        request.patch(f"{address}/api/photographs/{carol.url.split('#')[1]}", data={"reviewed": True})
        carol.reload()
        carol.locator("#graders").wait_for()
        assert carol.locator("#graders input:checked").count() == 1  # when all is decided, it is seen alone


def test_whoever_deletes_a_photograph_is_told_whose_gradings_go_with_it(browser, address):
    context = tiny_page.new_context(browser)
    identifier = graded_by_two(context.request, address)
    page = open_as(browser, address, identifier, "Carol")
    row = page.locator(f'#photographs li[data-id="{identifier}"]')
    questions = []
    for press in (
        lambda: row.locator(".delete-button").evaluate("(button) => button.click()"),
        lambda: page.locator("#delete-selected").click(),
    ):
        if questions:
            page.locator("#select").click()
            row.locator(".select-box").check()
        press()
        page.locator("#confirm-dialog[open]").wait_for()
        questions.append(page.locator("#confirm-text").inner_text())
        page.keyboard.press("Escape")
    page.close()

    assert questions[0] == (
        "Delete two, with its result and corrections, and the gradings by Ann and Ben? "
        "It is removed from the server's disk."
    )
    assert questions[1] == questions[0]


def test_gradings_that_cannot_be_read_are_named_all_before_a_deletion(browser, address):
    context = tiny_page.new_context(browser)
    identifier = graded_by_two(context.request, address)
    page = open_as(browser, address, identifier, "Carol")
    busy = {"error": {"code": "busy", "message": "too many requests at once"}}
    page.route("**/gradings**", lambda route: route.fulfill(status=429, json=busy))
    row = page.locator(f'#photographs li[data-id="{identifier}"]')
    row.locator(".delete-button").evaluate("(button) => button.click()")
    page.locator("#confirm-dialog[open]").wait_for()
    question = page.locator("#confirm-text").inner_text()
    page.close()

    assert question == (
        "Delete two, with its result and corrections, and all gradings of it (the graders' names were not "
        "loaded)? It is removed from the server's disk."
    )


def delete_selection(page, search):
    """Ask to delete all photographs that a search finds; return the question."""
    page.locator("#list-search").fill(search)
    page.locator("#select").click()
    page.locator("#select-all").click()
    page.locator("#delete-selected").click()
    page.locator("#confirm-dialog[open]").wait_for()
    return page.locator("#confirm-text").inner_text()


def test_graders_that_were_read_are_named_although_others_were_not(browser, address):
    request = tiny_page.new_context(browser).request
    identifier = graded_by_two(request, address, "partly 1")
    unread = photograph(request, address, "partly 2")
    page = open_as(browser, address, identifier, "Carol")
    busy = {"error": {"code": "busy", "message": "too many requests at once"}}
    page.route(f"**/{unread}/gradings**", lambda route: route.fulfill(status=429, json=busy))
    question = delete_selection(page, "partly")
    page.close()

    assert question == (
        "Delete 2 photographs, with results and corrections, and the gradings by Ann and Ben, and all "
        "gradings of 1 of them (the graders' names were not loaded)? They are removed from the server's disk."
    )


def test_each_reason_for_which_photographs_are_kept_is_said(browser, address):
    request = tiny_page.new_context(browser).request
    original = graded_by_two(request, address, "kept 1")
    for name in ("kept 2", "kept 3"):
        photograph(request, address, name)
    page = open_as(browser, address, original, "Ann")
    tiny_page.until(page, "() => foveate.state.photograph?.grading?.grader === 'Ann'")
    busy = {"error": {"code": "busy", "message": "it is busy"}}
    copy = page.evaluate("() => foveate.state.photograph.id")

    def refuse(route):
        passes = route.request.method != "DELETE" or copy in route.request.url
        return route.continue_() if passes else route.fulfill(status=422, json=busy)

    page.route("**/api/photographs/*", refuse)
    page.locator("#list-order").select_option("name")
    delete_selection(page, "kept")
    page.locator("#confirm-yes").click()
    page.locator("#message", has_text="Not deleted").wait_for()
    message = page.locator("#message").inner_text()
    page.close()

    assert message.startswith("Not deleted: kept 1 (1 of 3): this grading is done")
    assert message.endswith(". kept 2 and kept 3 (2 of 3): it is busy")


def test_of_a_selection_only_the_grading_that_is_done_is_kept(browser, address):
    request = tiny_page.new_context(browser).request
    original = graded_by_two(request, address, "chosen 1")
    others = [photograph(request, address, name) for name in ("chosen 2", "chosen 3")]
    page = open_as(browser, address, original, "Ann")
    tiny_page.until(page, "() => foveate.state.photograph?.grading?.grader === 'Ann'")
    copy = page.evaluate("() => foveate.state.photograph.id")
    delete_selection(page, "chosen")
    page.locator("#confirm-yes").click()
    page.locator("#message", has_text="Not deleted: chosen 1 (1 of 3): this grading is done").wait_for()
    page.locator(f'#photographs li[data-id="{copy}"]').wait_for()
    answers = [request.get(f"{address}/api/photographs/{identifier}").status for identifier in others]
    page.close()

    assert answers == [404, 404]


def test_the_second_graders_line_is_broken(browser, address):
    page = tiny_page.new_context(browser).new_page()
    page.goto(address)
    stack = [0] * (36 * 36)
    for row in range(8, 28):
        stack[row * 36 + 8 : row * 36 + 28] = [255] * 20
    covered = page.evaluate(
        """async (stack) => {
          const {drawTile} = await import("/page/js/raster.js");
          const line = {level: 9, colour: [0, 114, 178], opacity: 1, style: "outline", thickness: 1};
          return [false, true].map((dashed) => {
            const layer = {...line, dashed};
            const pieces = drawTile(Uint8Array.from(stack), {side: 32, margin: 2}, [layer]);
            return pieces.reduce((sum, {pixels}) => {
              for (let at = 0; at < pixels.length; at += 4) if (pixels[at + 2] === 178) sum++;
              return sum;
            }, 0);
          });
        }""",
        stack,
    )
    page.close()

    assert covered[0] == pytest.approx(4 * 21, abs=1)
    assert covered[1] == pytest.approx(covered[0] / 2, abs=6)


def test_a_photograph_reviewed_before_double_grading_is_still_to_review_and_says_by_whom(browser, tmp_path):
    model = tiny_package.build(tmp_path / "tiny")
    with tiny_page.serving(tmp_path / "data", model) as address:
        page = open_as(browser, address, None, "Zoe")
        correct(page, address, "Zoe")
        page.locator("#regions [role=option]").first.click()
        page.locator("#reject").click()
        page.keyboard.press("0")  # it has moved to the next region
        page.locator("#annotations .badge").wait_for()
        page.locator("#reviewed").check()
        tiny_page.until(page, "() => foveate.isIdle() && foveate.state.photograph.reviewed_at")
        page.close()
    with tiny_page.serving(tmp_path / "data", model, "--double-grading") as address:
        page = tiny_page.new_context(browser).new_page()
        page.goto(address)
        page.locator("#photographs li").wait_for()
        page.locator("#list-filter").select_option("open")
        rows = page.locator("#photographs li.done")
        listed, mark = rows.count(), rows.locator(".reviewed-mark").count()
        rows.locator(".open-button").click()
        page.locator("#grading-begin").wait_for()
        said, is_checked = page.locator("#review").inner_text(), page.locator("#reviewed").is_checked()
        at = f"{address}/api/photographs/{page.url.split('#')[1]}"
        for grader in ("Ann", "Ben"):
            copy = page.request.post(f"{at}/gradings", data={"grader": grader}).json()["id"]
            page.request.put(f"{address}/api/photographs/{copy}/grading", data={"done": True})
        page.reload()
        page.locator("#graders").wait_for()
        outlines = page.locator("#graders label").all_inner_texts()
        badges = [page.locator("#annotations .badge").count()]
        page.locator("#grader-own").check()
        page.locator("#annotations .badge").wait_for()
        badges.append(page.locator("#annotations .badge").count())
        page.close()

    assert badges == [0, 1]  # like the outlines, verdicts from before are seen on request
    assert (listed, mark, is_checked) == (1, 0, False)
    assert outlines[-1].strip() == "Earlier corrections"
    assert said.startswith("Reviewed by Zoe, ")
    assert said.endswith(", before double grading; not adjudicated yet")


def test_without_double_grading_a_second_name_is_told_that_the_corrections_are_shared(browser, tmp_path):
    model = tiny_package.build(tmp_path / "tiny")
    shared = "() => document.getElementById('shared-corrections').textContent"
    with tiny_page.serving(tmp_path / "data", model) as address:
        page = open_as(browser, address, None, "Ann")
        correct(page, address, "Ann")
        correct(page, address, "")
        tiny_page.until(page, "() => foveate.state.view.corrections?.authors.length === 2")
        own, saved = page.evaluate(shared), page.locator("#save-status").inner_text()
        page.locator("#author").fill("Ben")
        page.locator("#author").blur()
        tiny_page.until(page, f"() => ({shared})() !== ''")
        told = page.evaluate(shared)
        problems = accessibility_problems(page)
        page.locator("#show-keys").click()
        helped = page.locator("#help-graders").inner_text()
        page.close()

    assert own == ""
    assert saved.endswith(" · no name given · Ann")
    assert told.startswith("Ann has worked on this photograph: your changes go into the same corrections.")
    for text in (told, helped):
        assert "start the server with foveate serve --double-grading" in text
    assert problems == []


def test_with_double_grading_nothing_is_said_of_shared_corrections(browser, address):
    page = open_as(browser, address, None, "Ann")
    page.locator("#show-keys").click()
    helped = page.locator("#help-graders").inner_text()
    shared = page.locator("#shared-corrections").inner_text()
    page.close()

    assert shared == ""
    assert helped.startswith("Two people grade each photograph")


def test_what_the_server_would_refuse_is_disabled_and_says_why(browser, address):
    request = tiny_page.new_context(browser).request
    identifier = photograph(request, address, "early")
    at = f"{address}/api/photographs/{identifier}"
    ann = open_as(browser, address, identifier, "Ann")
    ann.locator("#grading-begin").wait_for()
    before = refused(ann)
    ann.locator("#grading-begin").click()
    ann.locator("#grading-done").wait_for()
    own = refused(ann)
    ann.locator("#grading-done").click()
    ann.locator("#grading-again").wait_for()
    done = refused(ann)
    ann.close()
    copy = request.post(f"{at}/gradings", data={"grader": "Ben"}).json()["id"]
    request.put(f"{address}/api/photographs/{copy}/grading", data={"done": True})

    carol = open_as(browser, address, identifier, "Carol")
    carol.locator("#adjudicate").wait_for()
    undecided, sent, messages = refused(carol), [], []
    carol.on("request", lambda request: sent.append(request.method))
    for key in ("t", "a", "x", "b", "."):
        carol.evaluate("() => { document.getElementById('message').textContent = ''; }")
        carol.keyboard.press(key)
        messages.append(carol.locator("#message").inner_text())
    methods = set(sent)
    opened, tool = carol.evaluate("() => [foveate.state.photograph.id, foveate.state.tool]")
    carol.locator("#adjudicate").click()
    carol.locator("#grading", has_text="Adjudicated by Carol").wait_for()
    decided = refused(carol)
    carol.locator("#author").fill("ann")
    by_grader = carol.evaluate(REFUSALS)
    carol.close()

    assert before == ["At least two people must grade this photograph first: see Review and downloads."] * 4
    assert own == decided == [""] * 4
    assert done == ["This grading is done: reopen it before you change it."] * 4
    reason = (
        "Nobody has begun to adjudicate between its gradings: "
        "choose Adjudicate under Review and downloads first."
    )
    assert undecided == [reason] * 4
    assert messages == [reason] * 5
    assert methods <= {"GET"}
    assert (opened, tool) == (identifier, "move")
    assert by_grader == ["Ann has graded this photograph: somebody else must adjudicate."] * 3 + [""]


def test_what_a_name_may_do_follows_it_while_it_is_typed(browser, address):
    request = tiny_page.new_context(browser).request
    carol = open_as(browser, address, graded_by_two(request, address, "typed"), "Carol")
    carol.locator("#adjudicate").wait_for()
    may_decide = []
    for name in ("ann", "Carol"):
        carol.locator("#author").fill(name)  # the field is not left yet
        may_decide.append(carol.locator("#adjudicate").is_enabled())
    carol.locator("#adjudicate").click()
    carol.locator("#grading", has_text="Adjudicated by Carol").wait_for()
    tiny_page.until_drawn(carol)
    carol.evaluate("() => foveate.state.set({tool: 'brush'}, 'tool')")
    box, tools = carol.locator("#layer-canvas").bounding_box(), []
    carol.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    carol.mouse.down()
    for name in ("ann", "Carol"):
        carol.evaluate("(author) => foveate.state.set({author}, 'author')", name)
        tools.append(carol.evaluate("() => foveate.state.tool"))
    carol.mouse.up()
    tiny_page.until(carol, "() => foveate.isIdle()")
    tools.append(carol.evaluate("() => foveate.state.tool"))
    carol.locator("#author").fill("ann")
    tools.append(carol.evaluate("() => foveate.state.tool"))
    carol.close()

    assert may_decide == [False, True]
    assert tools == ["brush", "brush", "brush", "move"]


def test_where_gradings_cannot_be_read_the_server_decides(browser, address):
    page = tiny_page.new_context(browser).new_page()
    identifier = photograph(page.request, address, "unread")
    busy = {"error": {"code": "busy", "message": "too many requests at once"}}
    held = []

    def hold(route):
        held.append(route)

    page.route("**/gradings", hold)
    page.goto(f"{address}#{identifier}")
    tiny_page.until_answer(page, lambda: held, bool)
    tiny_page.until(page, "() => window.foveate?.state.view?.corrections")
    waiting = refused(page)
    page.evaluate("() => foveate.state.set({tool: 'brush'}, 'tool')")
    page.evaluate("() => foveate.state.emit('author')")
    tool = page.evaluate("() => foveate.state.tool")
    for route in held:
        route.fulfill(status=429, json=busy)
    page.locator("#message", has_text="The gradings could not be read").wait_for()
    failed = refused(page)
    page.close()

    assert waiting == ["The gradings of this photograph are being loaded."] * 4
    assert tool == "brush"
    assert failed == [""] * 4


def test_an_open_page_offers_to_decide_when_the_last_grader_is_done_elsewhere(browser, address):
    request = tiny_page.new_context(browser).request
    identifier = photograph(request, address, "elsewhere")
    page = open_as(browser, address, identifier, "Carol")
    page.locator("#grading-begin").wait_for()
    tiny_page.until_connected(page)
    copies = {}
    for grader in ("Ann", "Ben", "Dan"):
        begun = request.post(f"{address}/api/photographs/{identifier}/gradings", data={"grader": grader})
        copies[grader] = begun.json()["id"]
    page.locator("#grading", has_text="Dan (under way)").wait_for()
    for grader in ("Ann", "Ben"):
        request.put(f"{address}/api/photographs/{copies[grader]}/grading", data={"done": True})
    page.locator("#grading", has_text="Ben (done)").wait_for()
    waiting = page.locator("#adjudicate").count()
    request.delete(f"{address}/api/photographs/{copies['Dan']}")
    page.locator("#adjudicate").wait_for()
    graders = said(page)
    page.close()

    assert waiting == 0
    assert "Graded by Ann (done), Ben (done)." in graders


REASONS = """async () => {
  const {refusalOf, refusalOfCopy, refusalOfGrader} = await import("/page/js/refusals.js");
  const server = {double_grading: true}, photograph = {state: "failed", grading: null};
  const copyOf = (grader, author) => refusalOfCopy({author, photograph: {grading: {grader}}});
  const decides = (grader, author) => refusalOfGrader({gradings: [{grader}]}, author);
  return {
    failed: refusalOf({server, photograph, view: {result: null, gradings: null}, author: "Ann"}, "Ann"),
    loading: refusalOf({server, photograph, view: {result: {}, gradings: null}, author: "Ann"}, "Ann"),
    copies: [["Ann", "ann"], ["Strau\u00df", "STRAUSS"], ["Ann", "Ben"], ["Ann", ""], ["Ann", "Ann"]].map(
      (names) => copyOf(...names)),
    graders: [["Strau\u00df", "STRAUSS"], ["Ren\u00e9", "RENE\u0301"], ["Ann", "Anne"]].map(
      (names) => decides(...names)),
  };
}"""
"""What refusals.js says of photographs and of names."""


def test_a_refusal_advises_what_can_be_done(browser, address):
    page = tiny_page.new_context(browser).new_page()
    page.goto(address)
    reasons = page.evaluate(REASONS)
    page.close()

    assert reasons["failed"] == ""  # it has nothing to grade
    assert reasons["loading"] == "The gradings of this photograph are being loaded."
    assert reasons["copies"] == [
        'This is the grading of Ann: enter the name exactly as "Ann".',
        'This is the grading of Strauß: enter the name exactly as "Strauß".',
        "This is the grading of Ann: begin your own.",
        "This is the grading of Ann: begin your own.",
        "",
    ]
    decides = "has graded this photograph: somebody else must adjudicate."
    assert reasons["graders"] == [f"Strauß {decides}", f"René {decides}", ""]
