"""The tables of a run: those of one machine, in bounded memory for any number of rows."""

import errno
import json
import os
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from tiny_cluster import row, success

from foveate.cluster import ledger, summaries
from foveate.cluster.inventory import Inventory, Share, WorkItem
from foveate.cluster.job import ClusterReport, RunStatus
from foveate.cluster.stores import FolderStore, StoredFile
from foveate.errors import OutputError
from foveate.writers import LesionLoad, PredictRequest, Provenance, SummaryRow, page, tables

CODES = ("EX", "MA")

PROVENANCE = Provenance(name="tiny", version="1.0", digest="0" * 64)

REQUEST = PredictRequest(
    name="", provenance=PROVENANCE, settings={"lesions": list(CODES), "thresholds": {"EX": 0.5}}
)

STARTED = datetime(2030, 1, 2, tzinfo=UTC)


def inventory_of(names):
    files = (StoredFile(path=f"{name}.png", size=1, stamp="s") for name in names)
    inventory = Inventory(files, Share())
    for item in inventory.pending():
        inventory.set_line(item.name, ledger.encode(success(item)))
    return inventory


def report(total):
    status = RunStatus(
        total=total,
        done_before=1,
        ok=total - 2,
        failed=1,
        retries=3,
        workers_lost=2,
        workers=4,
        seconds=9.0,
    )
    return ClusterReport(
        status=status, skipped=5, startup_seconds=1.5, has_tables=True, versions={"onnxruntime": "1"}
    )


def test_a_full_scratch_disk_is_an_error_of_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(summaries, "write_parquet", refuse)
    with inventory_of(["1"]) as inventory, pytest.raises(OutputError, match="no space is left there"):
        summaries.write(inventory, FolderStore(tmp_path), REQUEST, report(1), STARTED, lesions=CODES)


def test_the_tables_are_those_of_one_machine(tmp_path):
    names = [f"{number:03}" for number in range(50)]
    with inventory_of(names) as inventory:
        failed = WorkItem(path="007.png", name="007", stamp="s", size=1)
        inventory.set_line("007", ledger.encode(success(failed, row=failure("007"))))
        summaries.write(inventory, FolderStore(tmp_path), REQUEST, report(50), STARTED, lesions=CODES)
    rows = [failure(name) if name == "007" else row(name) for name in names]

    assert (tmp_path / "summary.csv").read_bytes() == tables.summary(rows, CODES)
    assert (tmp_path / "index.html").read_bytes() == page.index(rows, CODES, PROVENANCE)


def test_the_lesions_columns_do_not_depend_on_how_the_request_states_them(tmp_path):
    request = replace(REQUEST, settings={"lesions": {"selected": list(CODES)}})
    with inventory_of("a") as inventory:
        summaries.write(inventory, FolderStore(tmp_path), request, report(1), STARTED, lesions=CODES)

    assert (tmp_path / "summary.csv").read_bytes() == tables.summary([row("a")], CODES)
    assert "MA_count" in pq.read_schema(tmp_path / "summary.parquet").names


def failure(name):
    return SummaryRow(name=name, status="failed", error="=no, never")


def test_parquet_says_what_the_rows_say(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    load = LesionLoad(count=2, area_px=30, area_fraction=0.25, area_mm2=0.5)
    rows = [
        row("a", loads={"EX": load, "MA": load}, quality=("blur", "small")),
        failure("b"),
        row(name, loads={"EX": LesionLoad(count=0, area_px=0, area_fraction=0.0)}),
    ]

    summaries.write_parquet(tmp_path / "p", iter(rows), CODES)
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


def test_a_table_without_rows_has_columns(tmp_path):
    summaries.write_parquet(tmp_path / "p", [], CODES)

    assert pq.read_table(tmp_path / "p").num_rows == 0
    assert "MA_area_fraction" in pq.read_schema(tmp_path / "p").names


def test_a_group_has_the_largest_allowed_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "GROUP_ROWS", 10)
    summaries.write_parquet(tmp_path / "p", (row(f"{number}") for number in range(25)), CODES)

    file = pq.ParquetFile(tmp_path / "p")
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [10, 10, 5]


def test_there_is_no_page_of_too_many_photographs(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "PAGE_ROWS", 2)
    (tmp_path / "index.html").write_text("of an earlier run")
    with inventory_of("abc") as inventory:
        summaries.write(inventory, FolderStore(tmp_path), REQUEST, report(3), STARTED, lesions=CODES)

    assert not (tmp_path / "index.html").exists()
    assert (tmp_path / "summary.csv").exists()


def test_run_json_describes_the_run_but_lists_no_photograph():
    content = json.loads(summaries.run_json(REQUEST, report(10), STARTED))

    assert content["photographs"] == {"ok": 9, "failed": 1, "done_before": 1, "skipped_files": 5}
    assert content["cluster"] == {
        "workers": 4,
        "starting_seconds": 1.5,
        "tries_that_failed": 3,
        "workers_lost": 2,
    }
    assert content["settings"] == {"lesions": ["EX", "MA"], "thresholds": {"EX": 0.5}, "format": "png"}
    assert content["model"]["name"] == "tiny"
    assert content["times"]["started"] == "2030-01-02T00:00:00Z"


def test_the_csv_of_twice_as_many_rows_takes_no_more_memory(tmp_path):
    def peak(count):
        tracemalloc.start()
        with (tmp_path / "csv").open("wb") as file:
            file.writelines(tables.summary_lines((row(f"{number}") for number in range(count)), CODES))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes

    peak(10)
    assert peak(600) < 1.2 * peak(300) < 2**20
