"""Write the files about all photographs: summary.csv, summary.parquet, index.html, run.json.

Knows:   the columns of the Parquet file, and how millions of rows are written without holding them all.
Ignores: how the photographs were processed.

summary.csv and index.html are byte for byte those of a run on a single machine. Rows come from the inventory
in the order of the photographs; the tables are made in a scratch folder and uploaded as a whole.

| column of summary.parquet | type    |                                                                 |
|---------------------------|---------|-----------------------------------------------------------------|
| photograph                | string  | its name, unguarded; undecodable bytes as escapes                |
| status, error             | string  | as in the CSV                                                    |
| quality                   | strings | codes of what may spoil the result                               |
| sha256                    | string  | of the photograph's file; null where it failed                   |
| EX_count, EX_area_px      | int64   | null where it failed; the same for each lesion                   |
| EX_area_fraction          | double  | of the field's pixels                                            |
| EX_area_mm2               | double  | null where the spacing is unknown                                |
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foveate import atomic_files
from foveate.cluster import ledger
from foveate.cluster.inventory import Inventory
from foveate.cluster.job import ClusterReport
from foveate.cluster.scratch import ScratchFolder
from foveate.cluster.stores import FileStore
from foveate.writers import PredictRequest, SummaryRow, page, runs, tables

GROUP_ROWS = 20_000
"""Rows in a group of the Parquet file, and the most rows held in memory: about 20 MB."""

PAGE_ROWS = 5000
"""Most photographs that index.html shows, so that a browser can open it; for more there is no page."""


def write(
    inventory: Inventory,
    target: FileStore,
    request: PredictRequest,
    report: ClusterReport,
    started: datetime,
    *,
    lesions: Sequence[str],
) -> None:
    """Write the files about the whole run.

    Args:
        inventory: the photographs and their outcomes.
        target: where to write.
        request: the request that applies to each photograph.
        report: the outcome of the run.
        started: when the run began, with its time zone.
        lesions: codes of the lesions that get columns.

    Raises:
        OutputError: the target refuses the write, or the scratch folder is full.
        ClusterError: the target cannot be reached.
    """
    with ScratchFolder() as folder:
        with atomic_files.errors_for(folder):
            with (folder / "summary.csv").open("wb") as file:
                file.writelines(tables.summary_lines(rows(inventory), lesions))
            write_parquet(folder / "summary.parquet", rows(inventory), lesions)
        target.upload(folder, ["summary.csv"])
        target.upload(folder, ["summary.parquet"])
    if report.status.total <= PAGE_ROWS:
        target.write("index.html", page.index(list(rows(inventory)), lesions, request.provenance))
    else:
        target.remove(["index.html"])
    target.write("run.json", run_json(request, report, started))


def rows(inventory: Inventory) -> Iterator[SummaryRow]:
    """Yield the row of each photograph, in their order."""
    return (ledger.decode_row(line) for line in inventory.lines())


def write_parquet(path: Path, rows: Iterable[SummaryRow], codes: Sequence[str]) -> None:
    """Write the rows to a Parquet file, group by group.

    Args:
        path: of the file.
        rows: in the order of the file.
        codes: of the lesions that get columns.
    """
    schema = _schema(codes)
    iterator = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := [_parquet_row(row, codes) for row in islice(iterator, GROUP_ROWS)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def run_json(request: PredictRequest, report: ClusterReport, started: datetime) -> bytes:
    """Return run.json: as for a run on a single machine, but without the list of photographs."""
    status, settings = report.status, {**request.settings, "format": request.format}
    seconds = (datetime.now(UTC) - started).total_seconds()
    content = runs.run_header(request.provenance, settings, report.versions, started, seconds) | {
        "photographs": {
            "ok": status.ok + status.done_before,
            "failed": status.failed,
            "done_before": status.done_before,
            "skipped_files": report.skipped,
        },
        "cluster": {
            "workers": status.workers,
            "starting_seconds": round(report.startup_seconds, 3),
            "tries_that_failed": status.retries,
            "workers_lost": status.workers_lost,
        },
    }
    return tables.utf8(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _schema(codes: Sequence[str]) -> pa.Schema:
    columns = [
        ("photograph", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("quality", pa.list_(pa.string())),
        ("sha256", pa.string()),
    ]
    for code in codes:
        columns += [(f"{code}_count", pa.int64()), (f"{code}_area_px", pa.int64())]
        columns += [(f"{code}_area_fraction", pa.float64()), (f"{code}_area_mm2", pa.float64())]
    return pa.schema(columns)


def _parquet_row(row: SummaryRow, codes: Sequence[str]) -> dict[str, object]:
    """Return a row's cells by column of the Parquet file; missing ones are null."""
    cells: dict[str, object] = {
        "photograph": _text(row.name),
        "status": row.status,
        "error": _text(row.error),
        "quality": list(row.quality),
        "sha256": row.digest or None,
    }
    for code in codes:
        load = row.loads.get(code)
        if load is not None:
            cells[f"{code}_count"] = load.count
            cells[f"{code}_area_px"] = load.area_px
            cells[f"{code}_area_fraction"] = load.area_fraction
            cells[f"{code}_area_mm2"] = load.area_mm2
    return cells


def _text(text: str) -> str:
    """Return a text as valid Unicode: undecodable bytes of a name become escapes."""
    return tables.utf8(text).decode()
