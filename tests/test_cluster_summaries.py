"""The tables of a run: those of one machine, and of any number of rows in the same memory."""

import json
import os
import tracemalloc
from datetime import UTC, datetime

import pyarrow.parquet as pq
from tiny_cluster import done, row

from foveate.cluster import ledger, summaries
from foveate.cluster.inventory import Inventory, Item, Share
from foveate.cluster.job import Report, Standing
from foveate.cluster.stores import Folder, Found
from foveate.writers import Burden, Maker, Order, Row, page, tables

CODES = ("EX", "MA")

MAKER = Maker(name="tiny", version="1.0", digest="0" * 64)

ORDER = Order(name="", key="", maker=MAKER, settings={"lesions": list(CODES), "thresholds": {"EX": 0.5}})

STARTED = datetime(2030, 1, 2, tzinfo=UTC)


def inventory_of(names):
    files = (Found(path=f"{name}.png", size=1, stamp="s", real=name) for name in names)
    found = Inventory(files, Share())
    for item in found.waiting():
        found.put(item.name, ledger.line(done(item)))
    return found


def report(total):
    standing = Standing(total=total, kept=1, ok=total - 2, failed=1, again=3, lost=2, workers=4, seconds=9.0)
    return Report(standing=standing, skipped=5, starting=1.5, tables=True, versions={"onnxruntime": "1"})


def test_the_tables_are_those_of_one_machine(tmp_path):
    names = [f"{number:03}" for number in range(50)]
    with inventory_of(names) as inventory:
        failed = Item(path="007.png", name="007", stamp="s", size=1)
        inventory.put("007", ledger.line(done(failed, row=failure("007"))))
        summaries.write(inventory, Folder(tmp_path), ORDER, report(50), STARTED)
    rows = [failure(name) if name == "007" else row(name) for name in names]

    assert (tmp_path / "summary.csv").read_bytes() == tables.summary(rows, CODES)
    assert (tmp_path / "index.html").read_bytes() == page.index(rows, CODES, MAKER)


def failure(name):
    return Row(name=name, status="failed", error="=no, never")


def test_parquet_says_what_the_rows_say(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    burden = Burden(count=2, area_px=30, area_fraction=0.25, area_mm2=0.5)
    rows = [
        row("a", burdens={"EX": burden, "MA": burden}, quality=("blur", "small")),
        failure("b"),
        row(name, burdens={"EX": Burden(count=0, area_px=0, area_fraction=0.0)}),
    ]

    summaries.parquet(tmp_path / "p", iter(rows), CODES)
    first, second, third = pq.read_table(tmp_path / "p").to_pylist()

    assert first == {
        "photograph": "a",
        "status": "ok",
        "error": "",
        "quality": ["blur", "small"],
        "sha256": "d" * 64,
        **{f"{code}_{what}": value for code in CODES for what, value in AMOUNTS.items()},
    }
    assert (second["error"], second["sha256"], second["EX_count"]) == ("=no, never", None, None)
    assert (third["photograph"], third["EX_area_mm2"], third["MA_count"]) == ("caf\\udce9", None, None)


AMOUNTS = {"count": 2, "area_px": 30, "area_fraction": 0.25, "area_mm2": 0.5}


def test_no_row_is_a_table_with_columns(tmp_path):
    summaries.parquet(tmp_path / "p", [], CODES)

    assert pq.read_table(tmp_path / "p").num_rows == 0
    assert "MA_area_fraction" in pq.read_schema(tmp_path / "p").names


def test_groups_are_as_long_as_they_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "GROUP", 10)
    summaries.parquet(tmp_path / "p", (row(f"{number}") for number in range(25)), CODES)

    found = pq.ParquetFile(tmp_path / "p")
    assert [found.metadata.row_group(at).num_rows for at in range(found.num_row_groups)] == [10, 10, 5]


def test_of_too_many_photographs_there_is_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "PAGE_ROWS", 2)
    (tmp_path / "index.html").write_text("of an earlier run")
    with inventory_of("abc") as inventory:
        summaries.write(inventory, Folder(tmp_path), ORDER, report(3), STARTED)

    assert not (tmp_path / "index.html").exists()
    assert (tmp_path / "summary.csv").exists()


def test_run_json_says_what_ran_but_lists_no_photograph():
    found = json.loads(summaries.record(ORDER, report(10), STARTED))

    assert found["photographs"] == {"ok": 9, "failed": 1, "done_before": 1, "skipped_files": 5}
    assert found["cluster"] == {
        "workers": 4,
        "starting_seconds": 1.5,
        "tries_that_failed": 3,
        "workers_lost": 2,
    }
    assert found["settings"] == {"lesions": ["EX", "MA"], "thresholds": {"EX": 0.5}, "format": "png"}
    assert found["model"]["name"] == "tiny"
    assert found["times"]["started"] == "2030-01-02T00:00:00Z"


def test_the_csv_of_twice_as_many_rows_takes_no_more_memory(tmp_path):
    def peak(count):
        tracemalloc.start()
        with (tmp_path / "csv").open("wb") as file:
            file.writelines(tables.summary_lines((row(f"{number}") for number in range(count)), CODES))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(600) < 1.2 * peak(300) < 2**20
