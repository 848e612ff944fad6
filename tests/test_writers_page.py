"""The page opens anywhere, requests nothing from a network, and no name in it does harm."""

import io
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import tiny_result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import laws

from foveate import lesions, writers
from foveate.analysis import regions
from foveate.writers import contours, page
from foveate.writers.results import LesionLoad, SummaryRow

VOID = {"meta", "input", "img", "br"}
EVIL = "<img src=x onerror=alert(1)>\"'&</script>"


class Page(HTMLParser):
    """Elements with their attributes and texts; fails if an element is not closed."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attrs for name, attrs, _ in self.elements if name == tag]


def row(name="a", *, fraction=0.01, **changes):
    load = LesionLoad(count=7 if fraction else 0, area_px=int(fraction * 1e6), area_fraction=fraction)
    return SummaryRow(name=name, status="ok", digest="0" * 64, loads={"EX": load}, **changes)


FAILED = SummaryRow(name="bad", status="failed", error="bad.jpg: cannot be read")


def index(rows, codes=("EX",)):
    return page.index(rows, codes, tiny_result.PROVENANCE)


def test_every_element_is_closed_and_every_id_is_unique():
    parsed = Page(index([row("a"), FAILED, row("b", quality=("blur", "new"))]))

    ids = [attrs["id"] for _, attrs, _ in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs, _ in parsed.elements:
        for reference in ("aria-labelledby", "aria-describedby", "for"):
            assert attrs.get(reference, ids[0]) in ids


def test_every_control_has_a_name():
    parsed = Page(index([row("a"), FAILED]))

    for tag, attrs, above in parsed.elements:
        if tag in ("input", "select"):
            assert "label" in above or "aria-label" in attrs
        if attrs.get("role") in ("region", "img"):
            assert attrs.keys() & {"aria-label", "aria-labelledby"}
        if tag == "img":
            assert "alt" in attrs
    assert parsed.all("html")[0]["lang"] == "en"


def test_nothing_is_loaded_from_a_network_or_from_outside_the_results():
    content = index([row("a"), row("b")])
    parsed = Page(content)

    assert not re.search(rb"(https?:)?//[a-z0-9]", content)
    assert b"@import" not in content
    assert b"url(" not in content
    assert parsed.all("link") == []
    assert [attrs for attrs in parsed.all("script") if attrs] == []
    assert "connect-src 'none'" in parsed.all("meta")[3]["content"]


def test_the_notice_and_the_model_are_shown():
    texts = " ".join(text for _, text in Page(index([row("a")])).texts)

    assert writers.NOTICE in texts
    assert "model tiny 1.2" in texts


@pytest.mark.parametrize("part", ["name", "error", "model"])
def test_no_name_becomes_markup(part):
    provenance = tiny_result.PROVENANCE
    rows = [row(EVIL if part == "name" else "a")]
    if part == "error":
        rows = [SummaryRow(name="b", status="failed", error=EVIL)]
    if part == "model":
        provenance = writers.Provenance(name=EVIL, version="1", digest=EVIL)

    parsed = Page(page.index(rows, ("EX",), provenance))

    assert not any("onerror" in attrs for attrs in parsed.all("img"))
    assert len(parsed.all("script")) == 1
    assert EVIL in "".join(text for _, text in parsed.texts)


@settings(laws, max_examples=10)
@given(st.text(min_size=1, max_size=20).filter(lambda text: "/" not in text))
def test_any_name_is_shown_unchanged_and_linked_to_its_files(name):
    parsed = Page(index([row(name)]))

    names = [text for tag, text in parsed.texts if tag == "span"]
    readable = name.encode("utf-8", "backslashreplace").decode()
    if "\r" not in readable and "\0" not in readable:  # HTML itself replaces these
        assert readable in names
    link = next(attrs for attrs in parsed.all("a") if "data-show" in attrs)
    assert unquote(link["href"]) == f"overlays/{name}.jpg"
    assert not re.search(r"[^\w/.~%-]", link["href"] + link["data-show"])


def test_a_failure_is_a_row_without_links():
    parsed = Page(index([FAILED]))

    texts = [text for _, text in parsed.texts]
    assert "failed" in texts
    assert any("bad.jpg: cannot be read" in text for text in texts)
    assert not any("data-show" in attrs for attrs in parsed.all("a"))
    assert "1 failed" in texts


def test_values_for_sorting_are_the_values_in_the_table():
    parsed = Page(index([row("a", fraction=0.25), row("b", fraction=0.0), row("c")], ("EX", "MA")))

    values = [attrs["data-values"] for attrs in parsed.all("tr") if "data-values" in attrs]
    assert values == ["0.25 -1", "0 -1", "0.01 -1"]
    texts = [text for _, text in parsed.texts]
    assert "25.00 %" in texts
    assert "none" in texts


def test_quality_is_shown_in_words():
    texts = [text for _, text in Page(index([row("a", quality=("blur", "newcode"))])).texts]

    assert "blurred" in texts
    assert "newcode" in texts
    assert any("1 of doubtful quality" in text for text in texts)


def test_a_thousand_photographs_stay_below_two_megabytes():
    codes = ("EX", "MA", "HE", "SE")
    load = LesionLoad(count=117, area_px=120_000, area_fraction=0.01234567)
    rows = [
        SummaryRow(
            name=f"clinic-{number % 7}/2024/photograph_{number:05d}",
            status="ok",
            quality=("blur",),
            loads=dict.fromkeys(codes, load),
        )
        for number in range(1000)
    ]

    content = page.index(rows, codes, tiny_result.PROVENANCE)

    assert len(content) < 2_000_000
    assert content.count(b"<img src=") == content.count(b'loading="lazy"') == 1000


def rings(region):
    """Yield the outlines of a region as points, decoded as on the page."""
    for steps in region[10]:
        yield np.cumsum(np.array(steps).reshape(-1, 2), axis=0).astype(np.int32)


def script_values(script):
    """Return the values that a script gives to the page."""
    text = script.decode("ascii")
    assert text.startswith("foveate(document.currentScript,{")
    assert text.endswith("})\n")
    return json.loads(text[len("foveate(document.currentScript,") : -2])


def test_outlines_on_the_page_fill_the_regions():
    rng = np.random.default_rng(3)
    mask = np.zeros((300, 400), np.uint8)
    for _ in range(12):
        cv2.ellipse(
            mask,
            tuple(int(value) for value in rng.integers(20, 280, 2)),
            tuple(int(value) for value in rng.integers(3, 40, 2)),
            float(rng.integers(0, 180)),
            0,
            360,
            1,
            -1,
        )
    lesion_regions = regions.find(mask, 1, "EX", 1, None)
    traced = contours.trace(mask.astype(bool), lesion_regions)

    layer = page.page_layer(traced, lesions.EX)

    filled = np.zeros_like(mask)
    for region in layer.regions:
        outer, *holes = rings(region)
        cv2.fillPoly(filled, [outer], 1)
        for hole in holes:
            cv2.fillPoly(filled, [hole], 0)
            cv2.polylines(filled, [hole], True, 1)
    assert (filled != mask).mean() < 0.002
    areas = [region[1] for region in layer.regions]
    assert areas == sorted(areas, reverse=True)
    assert {region[0] for region in layer.regions} == {region.id for region in lesion_regions}


def test_only_the_largest_regions_are_on_the_page(monkeypatch):
    monkeypatch.setattr(page, "MAX_REGIONS", 3)
    mask = np.zeros((50, 50), bool)
    for number in range(6):
        mask[8 * number, : number + 1] = True

    lesion_regions = regions.find(mask.astype(np.uint8), 1, "EX", 1, None)
    layer = page.page_layer(contours.trace(mask, lesion_regions), lesions.EX)

    assert [region[1] for region in layer.regions] == [6, 5, 4]


def test_the_page_says_how_many_of_the_regions_it_lists():
    script = next(text for tag, text in Page(index([row()])).texts if tag == "script")

    assert "of which the ${entries.length} largest are listed; all are in the CSV" in script


def test_the_script_holds_the_photographs_values_and_no_code_of_its_name(tmp_path):
    writers.write(tmp_path, tiny_result.photograph_result(EVIL, quality=("blur",)))

    values = script_values((tmp_path / "page" / f"{EVIL}.js").read_bytes())

    assert values["name"] == EVIL
    assert (values["width"], values["height"]) == (240, 180)
    assert values["field"] == [2, 0, 236, 180]
    assert values["quality"] == ["blurred"]
    assert [layer["code"] for layer in values["lesions"]] == ["EX", "MA", "HE", "SE"]
    (bar,) = values["lesions"][0]["regions"]
    assert bar[:8] == [1, 640, 70.0, 50.0, 50, 40, 40, 20]
    outer, hole = rings(bar)
    assert cv2.boundingRect(outer.reshape(-1, 1, 2)) == (50, 40, 40, 20)
    assert cv2.boundingRect(hole.reshape(-1, 1, 2)) == (59, 45, 22, 10)


@pytest.mark.parametrize(("shape", "expected"), [((90, 160), (90, 160)), ((60, 8640), (30, 4320))])
def test_the_display_copy_is_the_photograph_or_smaller(shape, expected):
    pixels = np.full((*shape, 3), (200, 90, 30), np.uint8)

    display, thumbnail = (
        np.array(Image.open(io.BytesIO(content))) for content in page.display_pictures(pixels)
    )

    assert display.shape == (*expected, 3)
    assert max(thumbnail.shape) <= page.THUMBNAIL_SIDE
    assert np.abs(display.mean(axis=(0, 1)) - (200, 90, 30)).max() < 4


def test_every_file_that_the_page_links_to_exists(tmp_path):
    keys = ("clinic/left", "a b&c/ü '\"#%3F", "caf\udce9")
    rows = [writers.write(tmp_path, tiny_result.photograph_result(key)) for key in keys]
    writers.write_summary(tmp_path, rows, ("EX", "MA", "HE", "SE"), tiny_result.PROVENANCE)

    parsed = Page((tmp_path / "index.html").read_bytes())

    kinds = ("href", "src", "data-show")
    links = [attrs[kind] for _, attrs, _ in parsed.elements for kind in kinds if kind in attrs]
    assert len(links) == 3 * len(keys) + 1
    for link in links:
        assert (tmp_path / unquote(link, errors="surrogateescape")).is_file()
        if link.endswith(".js"):  # the page's script derives these names from it
            stem = unquote(link.removeprefix("page/").removesuffix(".js"), errors="surrogateescape")
            for path in (f"page/{stem}_photo.jpg", f"regions/{stem}.csv", f"regions/{stem}.json"):
                assert (tmp_path / path).is_file()


# ---- in a browser ----

SITE = "http://page.invalid/"

ONE_PIXEL = [1, 1, 120.0, 90.0, 120, 90, 1, 1, 0.9, 0.9, [[120, 90]]]


@pytest.fixture
def shown(request):
    """Yield a page with the first of two photographs; the picture of the second one never arrives.

    The parameter, if there is one, is the pixel spacing, mm.
    """
    pytest.importorskip("playwright")
    import tiny_page

    if tiny_page.CHROMIUM is None:
        pytest.skip("needs chromium")
    lesion = {"code": "EX", "name": "hard exudates", "colour": "#009e73", "style": "line", "threshold": 0.5}
    values = {
        "width": 240,
        "height": 180,
        "spacing": getattr(request, "param", None),
        "field": [0, 0, 240, 180],
        "quality": [],
    }
    values["lesions"] = [lesion | {"count": 1, "area": "0.01 %", "regions": [ONE_PIXEL]}]
    picture = cv2.imencode(".jpg", np.full((180, 240, 3), (0, 0, 200), np.uint8))[1].tobytes()
    answers = {"": ("text/html", index([row("a"), row("b")])), "page/a_photo.jpg": ("image/jpeg", picture)}
    for name in "ab":
        script = f"foveate(document.currentScript, {json.dumps(values | {'name': name})})"
        answers[f"page/{name}.js"] = ("text/javascript", script)

    def answer(route):
        path = route.request.url.removeprefix(SITE).split("#")[0]
        if path in answers:
            content_type, body = answers[path]
            route.fulfill(content_type=content_type, body=body)

    with tiny_page.chromium() as browser:
        page = browser.new_page(viewport=tiny_page.DESKTOP)
        page.route("**/*", answer)
        page.goto(SITE, wait_until="commit")
        page.locator("#regions tbody button").wait_for()
        tiny_page.until(page, f"() => {PICTURES}.every(({{naturalWidth}}) => naturalWidth)")
        yield page


PICTURES = "[...document.querySelectorAll('.pane img')]"


def test_the_picture_of_a_photograph_that_is_left_is_not_shown_under_the_name_of_the_next(shown):
    shown.locator("#next").click()
    shown.locator("#photograph-name", has_text="b").wait_for()
    shown.locator("#regions tbody button").wait_for()  # its outlines are there

    assert shown.evaluate(f"() => {PICTURES}.map(({{naturalWidth}}) => naturalWidth)") == [0, 0]


@pytest.mark.parametrize(
    ("shown", "area"), [(None, "1 px"), (0.004, "0.000016 mm²"), (0.1, "0.0100 mm²")], indirect=["shown"]
)
def test_an_area_of_one_pixel_is_not_0(shown, area):
    assert shown.locator("#regions tbody .number").first.inner_text() == area


def test_a_region_of_one_pixel_is_marked_at_any_scale(shown):
    shown.locator("#regions tbody button").click()
    marked = []
    for _ in range(12):
        shown.wait_for_timeout(100)
        marked.append(
            (int(shown.locator("#zoom").inner_text().removesuffix(" %")), shown.evaluate(GREEN_PIXELS))
        )
        shown.locator("#in").click()

    assert marked[-1][0] > 1000
    assert all(count for _, count in marked), marked


FOUR_LESIONS = """() => {
  const label = document.querySelector("#layers label");
  label.append(" microaneurysms");
  for (let more = 0; more < 3; more++) label.parentElement.append(label.cloneNode(true));
}"""
"""Adds switches of three more lesions, all with a long name."""


@pytest.mark.parametrize("width", [360, 400, 760])
def test_the_page_is_no_wider_than_a_phone(shown, width):
    shown.evaluate(FOUR_LESIONS)
    shown.set_viewport_size({"width": width, "height": 800})

    assert shown.evaluate("() => document.scrollingElement.scrollWidth") <= width


GREEN_PIXELS = """() => {
  const canvas = document.querySelectorAll(".pane canvas")[1];
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let pixels = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] && data[at] < 60 && data[at + 1] > 120) pixels++;
  }
  return pixels;
}"""
"""How many pixels have the colour of the lesion."""
