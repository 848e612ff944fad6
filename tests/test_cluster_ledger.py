"""The ledger: lines survive, and a run with other settings is refused."""

import json
from datetime import UTC, datetime

import pytest
import tiny_cluster
from hypothesis import given
from hypothesis import strategies as st

from foveate.cluster import ledger
from foveate.cluster.inventory import WorkItem
from foveate.cluster.ledger import Ledger, LedgerEntry
from foveate.cluster.stores import FolderStore
from foveate.errors import OutputError
from foveate.writers import LesionLoad, PredictRequest, Provenance, SummaryRow

PROVENANCE = Provenance(name="tiny", version="1.0", digest="0" * 64)

ITEM = WorkItem(path="a.png", name="a", stamp="s", size=1)


def request(**changes):
    return PredictRequest(
        **{"name": "", "provenance": PROVENANCE, "settings": {"lesions": ["EX"]}, **changes}
    )


@given(
    st.text(st.characters(codec=None), min_size=1, max_size=9),
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e6),
)
def test_a_row_survives_its_line(name, number, fraction, mm2):
    loads = {"EX": LesionLoad(count=number, area_px=number, area_fraction=fraction, area_mm2=mm2)}
    row = SummaryRow(name=name, status="ok", quality=("blur",), digest="ab" * 32, loads=loads)
    entry = LedgerEntry(row=row, stamp="s", worker="w1", seconds={"inference": 0.5})

    text = ledger.encode(entry)

    assert ledger.decode_row(text) == row
    assert text.isascii()
    assert "\n" not in text


def test_a_failure_survives_its_line():
    row = SummaryRow(name="a", status="failed", error="a.png: the file is empty")
    assert ledger.decode_row(ledger.encode(LedgerEntry(row=row, stamp="s", worker="w1", seconds={}))) == row


DAMAGED = [
    '{"photograph":"b","sou',
    "[]",
    "null",
    "7",
    '"text"',
    "{}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ("status", None),
    ("photograph", 3),
    ("photograph", ["a"]),
    ("source", {"a": 1}),
    ("lesions", []),
    ("lesions", {"EX": [1, 2, 3]}),
    ("lesions", {"EX": ["many", 2, 0.1, None]}),
    ("lesions", {"EX": [1, 2, 0.1, "much"]}),
    ("quality", 5),
    ("sha256", 5),
]
"""Lines, or keys of a line with another value; None leaves the key out."""


@pytest.mark.parametrize("damage", DAMAGED, ids=str)
def test_a_damaged_line_is_named_with_its_file_and_number(tmp_path, damage):
    store = FolderStore(tmp_path)
    sound = ledger.encode(tiny_cluster.success(ITEM))
    if isinstance(damage, tuple):
        key, value = damage
        content = {
            name: entry for name, entry in json.loads(sound).items() if name != key or value is not None
        }
        damage = json.dumps(content if value is None else {**content, key: value})
    store.write("manifest/run-000000.jsonl", f"{sound}\n\n{damage}\n".encode())

    with pytest.raises(OutputError) as refused:
        list(Ledger(store, "later").successes())

    assert str(refused.value).startswith(f"{tmp_path}/manifest/run-000000.jsonl: line 3 is damaged (")
    assert str(refused.value).endswith(
        "; delete that line, and the result of its photograph is checked instead"
    )
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["not hexadecimal", 7, None])
def test_a_request_without_its_key_is_refused(tmp_path, key):
    Ledger(FolderStore(tmp_path), "run").match_request(request())
    path = tmp_path / "manifest/order.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": key}))

    with pytest.raises(OutputError, match=r"order.json: was not written by Foveate"):
        Ledger(FolderStore(tmp_path), "later").match_request(request())


def test_successes_of_earlier_runs_are_listed_oldest_first(tmp_path):
    store = FolderStore(tmp_path)
    for run, stamp in (("20300101T000000Z-a", "new"), ("20290101T000000Z-b", "old")):
        run_ledger = Ledger(store, run)
        run_ledger.add(ledger.encode(tiny_cluster.success(ITEM, stamp=stamp)))
        failed = SummaryRow(name="b", status="failed", error="no")
        run_ledger.add(ledger.encode(LedgerEntry(row=failed, stamp="s", worker="w1", seconds={})))
        run_ledger.flush()

    assert [(name, stamp) for name, stamp, _ in Ledger(store, "x").successes()] == [
        ("a", "old"),
        ("a", "new"),
    ]


def test_lines_are_written_when_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "FLUSH_LINES", 3)
    run_ledger = Ledger(FolderStore(tmp_path), "run")
    for _ in range(7):
        run_ledger.add(ledger.encode(tiny_cluster.success(ITEM)))

    parts = sorted((tmp_path / "manifest").iterdir())
    assert [len(part.read_text().splitlines()) for part in parts] == [3, 3]
    assert [part.name for part in parts] == ["run-000000.jsonl", "run-000001.jsonl"]


def test_lines_are_written_when_they_are_old(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "FLUSH_SECONDS", 0)
    run_ledger = Ledger(FolderStore(tmp_path), "run")
    run_ledger.add(ledger.encode(tiny_cluster.success(ITEM)))

    assert len(list((tmp_path / "manifest").iterdir())) == 1


def test_no_line_makes_no_file(tmp_path):
    Ledger(FolderStore(tmp_path), "run").flush()
    assert not (tmp_path / "manifest").exists()


def test_the_key_of_a_target_stays(tmp_path):
    first = Ledger(FolderStore(tmp_path), "a").match_request(request())
    second = Ledger(FolderStore(tmp_path), "b").match_request(request())

    assert first == second
    assert len(bytes.fromhex(first)) == 16
    assert first != Ledger(FolderStore(tmp_path / "other"), "a").match_request(request())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"settings": {"lesions": ["MA"]}}, '"MA"'),
        ({"format": "tiff"}, "png"),
        ({"provenance": Provenance(name="tiny", version="1.0", digest="1" * 64)}, "1111"),
    ],
)
def test_another_request_is_refused_by_what_differs(tmp_path, changes, word):
    Ledger(FolderStore(tmp_path), "a").match_request(request())

    with pytest.raises(OutputError, match=f"was started with .*{word}.*choose another --out"):
        Ledger(FolderStore(tmp_path), "b").match_request(request(**changes))


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", json.dumps({"foveate": "0"})])
def test_a_foreign_request_file_is_refused(tmp_path, content):
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "order.json").write_text(content)

    with pytest.raises(OutputError, match="was not written by Foveate"):
        Ledger(FolderStore(tmp_path), "a").match_request(request())


def test_names_of_runs_sort_by_time():
    early, late = (ledger.run_name(datetime(2030, 1, day, tzinfo=UTC)) for day in (9, 10))
    assert early < late
    assert ledger.run_name(datetime(2030, 1, 9, tzinfo=UTC)) != early
