"""On the page, two people grade a photograph unseen by each other, and a third decides."""

import pytest
import tiny_package
import tiny_server

pytest.importorskip("playwright", reason="needs foveate[dev]: playwright")

import tiny_page

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
    page = browser.new_context().new_page()
    page.goto(f"{address}#{identifier}" if identifier else address)
    if identifier is None:
        tiny_page.drop(page, "eye.png", tiny_server.picture())
    tiny_page.until(page, "() => window.foveate?.state.result")
    page.locator("#author").fill(name)
    page.locator("#author").blur()
    return page


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
        assert "Dice 1.00" in said(carol)
        carol.locator("#adjudicate").click()
        carol.locator("#grading", has_text="Decided by Carol").wait_for()
