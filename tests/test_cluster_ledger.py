"""The manifest: what is written down is found again, and nobody adds to another's run."""

import json
from datetime import UTC, datetime

import pytest
import tiny_cluster
from hypothesis import given
from hypothesis import strategies as st

from foveate.cluster import ledger
from foveate.cluster.inventory import Item
from foveate.cluster.ledger import Entry, Ledger
from foveate.cluster.stores import Folder
from foveate.errors import OutputError
from foveate.writers import Burden, Maker, Order, Row

MAKER = Maker(name="tiny", version="1.0", digest="0" * 64)

ITEM = Item(path="a.png", name="a", stamp="s", size=1)


def order(**changes):
    return Order(**{"name": "", "key": "", "maker": MAKER, "settings": {"lesions": ["EX"]}, **changes})


@given(
    st.text(st.characters(codec=None), min_size=1, max_size=9),
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e6),
)
def test_a_row_survives_its_line(name, number, fraction, mm2):
    burdens = {"EX": Burden(count=number, area_px=number, area_fraction=fraction, area_mm2=mm2)}
    row = Row(name=name, status="ok", quality=("blur",), key=name, digest="ab" * 32, burdens=burdens)
    entry = Entry(row=row, stamp="s", worker="w1", seconds={"looking": 0.5})

    text = ledger.line(entry)

    assert ledger.row(text) == row
    assert text.isascii()
    assert "\n" not in text


def test_a_failure_survives_its_line():
    row = Row(name="a", status="failed", error="a.png: the file is empty")
    assert ledger.row(ledger.line(Entry(row=row, stamp="s", worker="w1", seconds={}))) == row


def test_lines_that_went_well_are_found_again_oldest_first(tmp_path):
    store = Folder(tmp_path)
    for run, stamp in (("20300101T000000Z-a", "new"), ("20290101T000000Z-b", "old")):
        book = Ledger(store, run)
        book.add(ledger.line(tiny_cluster.done(ITEM, stamp=stamp)))
        failed = Row(name="b", status="failed", error="no")
        book.add(ledger.line(Entry(row=failed, stamp="s", worker="w1", seconds={})))
        book.put()

    assert [(name, stamp) for name, stamp, _ in Ledger(store, "x").lines()] == [("a", "old"), ("a", "new")]


def test_lines_are_put_when_they_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "LINES", 3)
    book = Ledger(Folder(tmp_path), "run")
    for _ in range(7):
        book.add(ledger.line(tiny_cluster.done(ITEM)))

    parts = sorted((tmp_path / "manifest").iterdir())
    assert [len(part.read_text().splitlines()) for part in parts] == [3, 3]
    assert [part.name for part in parts] == ["run-000000.jsonl", "run-000001.jsonl"]


def test_lines_are_put_when_they_are_old(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "SECONDS", 0)
    book = Ledger(Folder(tmp_path), "run")
    book.add(ledger.line(tiny_cluster.done(ITEM)))

    assert len(list((tmp_path / "manifest").iterdir())) == 1


def test_nothing_to_put_makes_no_file(tmp_path):
    Ledger(Folder(tmp_path), "run").put()
    assert not (tmp_path / "manifest").exists()


def test_the_key_of_a_target_stays(tmp_path):
    first = Ledger(Folder(tmp_path), "a").agree(order())
    second = Ledger(Folder(tmp_path), "b").agree(order())

    assert first == second
    assert len(bytes.fromhex(first)) == 16
    assert first != Ledger(Folder(tmp_path / "other"), "a").agree(order())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"settings": {"lesions": ["MA"]}}, '"MA"'),
        ({"format": "tiff"}, "png"),
        ({"maker": Maker(name="tiny", version="1.0", digest="1" * 64)}, "1111"),
    ],
)
def test_another_order_is_refused_by_what_differs(tmp_path, changes, word):
    Ledger(Folder(tmp_path), "a").agree(order())

    with pytest.raises(OutputError, match=f"was begun with .*{word}.*choose another --out"):
        Ledger(Folder(tmp_path), "b").agree(order(**changes))


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", json.dumps({"foveate": "0"})])
def test_an_order_that_is_none_of_ours_is_refused(tmp_path, content):
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "order.json").write_text(content)

    with pytest.raises(OutputError, match="none of ours"):
        Ledger(Folder(tmp_path), "a").agree(order())


def test_names_of_runs_sort_by_time():
    early, late = (ledger.run_name(datetime(2030, 1, day, tzinfo=UTC)) for day in (9, 10))
    assert early < late
    assert ledger.run_name(datetime(2030, 1, 9, tzinfo=UTC)) != early
