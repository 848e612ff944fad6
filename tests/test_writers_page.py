"""The page opens anywhere, asks nothing of a network, and no name in it does harm."""

import io
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import tiny_finding
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import laws

from foveate import lesions, writers
from foveate.analysis import regions
from foveate.writers import contours, page
from foveate.writers.results import Burden, Row

VOID = {"meta", "input", "img", "br"}
EVIL = "<img src=x onerror=alert(1)>\"'&</script>"


class Page(HTMLParser):
    """Elements with their attributes and texts; complains of what is not closed."""

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
    burden = Burden(count=7 if fraction else 0, area_px=int(fraction * 1e6), area_fraction=fraction)
    return Row(name=name, status="ok", key=name, digest="0" * 64, burdens={"EX": burden}, **changes)


FAILED = Row(name="bad", status="failed", error="bad.jpg: cannot be read")


def index(rows, codes=("EX",)):
    return page.index(rows, codes, tiny_finding.MAKER)


def test_every_element_is_closed_and_every_id_is_single():
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


def test_nothing_comes_from_a_network_or_another_file_than_the_results():
    content = index([row("a"), row("b")])
    parsed = Page(content)

    assert not re.search(rb"(https?:)?//[a-z0-9]", content)
    assert b"@import" not in content
    assert b"url(" not in content
    assert parsed.all("link") == []
    assert [attrs for attrs in parsed.all("script") if attrs] == []
    assert "connect-src 'none'" in parsed.all("meta")[3]["content"]


def test_the_notice_and_the_model_are_said():
    texts = " ".join(text for _, text in Page(index([row("a")])).texts)

    assert writers.NOTICE in texts
    assert "model tiny 1.2" in texts


@pytest.mark.parametrize("where", ["name", "error", "model"])
def test_no_name_becomes_markup(where):
    maker = tiny_finding.MAKER
    rows = [row(EVIL if where == "name" else "a")]
    if where == "error":
        rows = [Row(name="b", status="failed", error=EVIL)]
    if where == "model":
        maker = writers.Maker(name=EVIL, version="1", digest=EVIL)

    parsed = Page(page.index(rows, ("EX",), maker))

    assert not any("onerror" in attrs for attrs in parsed.all("img"))
    assert len(parsed.all("script")) == 1
    assert EVIL in "".join(text for _, text in parsed.texts)


@settings(laws, max_examples=10)
@given(st.text(min_size=1, max_size=20).filter(lambda text: "/" not in text))
def test_any_name_is_shown_as_it_is_and_linked_to_its_files(name):
    parsed = Page(index([row(name)]))

    shown = [text for tag, text in parsed.texts if tag == "span"]
    readable = name.encode("utf-8", "backslashreplace").decode()
    if "\r" not in readable and "\0" not in readable:  # HTML itself takes these for others
        assert readable in shown
    link = next(attrs for attrs in parsed.all("a") if "data-show" in attrs)
    assert unquote(link["href"]) == f"overlays/{name}.jpg"
    assert not re.search(r"[^\w/.~%-]", link["href"] + link["data-show"])


def test_a_failure_is_a_row_that_leads_nowhere():
    parsed = Page(index([FAILED]))

    texts = [text for _, text in parsed.texts]
    assert "failed" in texts
    assert any("bad.jpg: cannot be read" in text for text in texts)
    assert not any("data-show" in attrs for attrs in parsed.all("a"))
    assert "1 failed" in texts


def test_values_for_sorting_are_those_of_the_table():
    parsed = Page(index([row("a", fraction=0.25), row("b", fraction=0.0), row("c")], ("EX", "MA")))

    values = [attrs["data-values"] for attrs in parsed.all("tr") if "data-values" in attrs]
    assert values == ["0.25 -1", "0 -1", "0.01 -1"]
    texts = [text for _, text in parsed.texts]
    assert "25.00 %" in texts
    assert "none" in texts


def test_quality_is_said_in_words():
    texts = [text for _, text in Page(index([row("a", quality=("blur", "newcode"))])).texts]

    assert "blurred" in texts
    assert "newcode" in texts
    assert any("1 of doubtful quality" in text for text in texts)


def test_a_thousand_photographs_stay_below_two_megabytes():
    codes = ("EX", "MA", "HE", "SE")
    burden = Burden(count=117, area_px=120_000, area_fraction=0.01234567)
    rows = [
        Row(
            name=f"clinic-{number % 7}/2024/photograph_{number:05d}",
            key=f"clinic-{number % 7}/2024/photograph_{number:05d}",
            status="ok",
            quality=("blur",),
            burdens=dict.fromkeys(codes, burden),
        )
        for number in range(1000)
    ]

    content = page.index(rows, codes, tiny_finding.MAKER)

    assert len(content) < 2_000_000
    assert content.count(b"<img src=") == content.count(b'loading="lazy"') == 1000


def rings(region):
    """The outlines of a region as points, decoded as the page does."""
    for steps in region[10]:
        yield np.cumsum(np.array(steps).reshape(-1, 2), axis=0).astype(np.int32)


def numbers(script):
    """What a script hands to the page."""
    text = script.decode("ascii")
    assert text.startswith("foveate(document.currentScript,{")
    assert text.endswith("})\n")
    return json.loads(text[len("foveate(document.currentScript,") : -2])


def test_sketched_outlines_lie_on_the_regions():
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
    found = regions.find(mask, 1, "EX", 1, None)
    traced = contours.trace(mask.astype(bool), found)

    sketch = page.sketch(traced, lesions.EX)

    again = np.zeros_like(mask)
    for region in sketch.regions:
        outer, *holes = rings(region)
        cv2.fillPoly(again, [outer], 1)
        for hole in holes:
            cv2.fillPoly(again, [hole], 0)
            cv2.polylines(again, [hole], True, 1)
    assert (again != mask).mean() < 0.002
    areas = [region[1] for region in sketch.regions]
    assert areas == sorted(areas, reverse=True)
    assert {region[0] for region in sketch.regions} == {region.id for region in found}


def test_only_the_largest_regions_are_sketched(monkeypatch):
    monkeypatch.setattr(page, "DRAWN", 3)
    mask = np.zeros((50, 50), bool)
    for number in range(6):
        mask[8 * number, : number + 1] = True

    found = regions.find(mask.astype(np.uint8), 1, "EX", 1, None)
    sketch = page.sketch(contours.trace(mask, found), lesions.EX)

    assert [region[1] for region in sketch.regions] == [6, 5, 4]


def test_the_script_holds_the_photographs_numbers_and_nothing_that_runs(tmp_path):
    writers.write(tmp_path, tiny_finding.finding(name=EVIL, quality=("blur",)))

    shown = numbers((tmp_path / "page" / "clinic" / "left.js").read_bytes())

    assert shown["name"] == EVIL
    assert (shown["width"], shown["height"]) == (240, 180)
    assert shown["field"] == [2, 0, 236, 180]
    assert shown["quality"] == ["blurred"]
    assert [layer["code"] for layer in shown["lesions"]] == ["EX", "MA", "HE", "SE"]
    (bar,) = shown["lesions"][0]["regions"]
    assert bar[:8] == [1, 640, 70.0, 50.0, 50, 40, 40, 20]
    outer, hole = rings(bar)
    assert cv2.boundingRect(outer.reshape(-1, 1, 2)) == (50, 40, 40, 20)
    assert cv2.boundingRect(hole.reshape(-1, 1, 2)) == (59, 45, 22, 10)


@pytest.mark.parametrize(("shape", "wanted"), [((90, 160), (90, 160)), ((60, 8640), (30, 4320))])
def test_the_display_copy_is_the_photograph_or_smaller(shape, wanted):
    pixels = np.full((*shape, 3), (200, 90, 30), np.uint8)

    photo, thumbnail = (np.array(Image.open(io.BytesIO(content))) for content in page.pictures(pixels))

    assert photo.shape == (*wanted, 3)
    assert max(thumbnail.shape) <= page.THUMBNAIL_SIDE
    assert np.abs(photo.mean(axis=(0, 1)) - (200, 90, 30)).max() < 4


def test_what_the_page_links_to_is_there(tmp_path):
    keys = ("clinic/left", "a b&c/ü '\"#%3F", "caf\udce9")
    rows = [writers.write(tmp_path, tiny_finding.finding(key)) for key in keys]
    writers.finish(tmp_path, rows, ("EX", "MA", "HE", "SE"), tiny_finding.MAKER)

    parsed = Page((tmp_path / "index.html").read_bytes())

    kinds = ("href", "src", "data-show")
    links = [attrs[kind] for _, attrs, _ in parsed.elements for kind in kinds if kind in attrs]
    assert len(links) == 3 * len(keys) + 1
    for link in links:
        assert (tmp_path / unquote(link, errors="surrogateescape")).is_file()
        if link.endswith(".js"):  # the page's script makes these of it
            stem = unquote(link.removeprefix("page/").removesuffix(".js"), errors="surrogateescape")
            for made in (f"page/{stem}_photo.jpg", f"regions/{stem}.csv", f"regions/{stem}.json"):
                assert (tmp_path / made).is_file()
