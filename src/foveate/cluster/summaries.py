"""What speaks of all photographs: summary.csv, summary.parquet, index.html, run.json.

Knows:   the columns of the Parquet file; that no table of millions of rows is ever held.
Ignores: how the photographs were done.

summary.csv and index.html are those of a run on a single machine, byte for byte. Rows come from the
inventory, in the order of the photographs; the tables are made in a scratch folder and put as a whole.

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
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foveate.cluster import ledger
from foveate.cluster.inventory import Inventory
from foveate.cluster.job import Report
from foveate.cluster.stores import Store
from foveate.writers import Order, Row, page, runs, tables

GROUP = 20_000
"""Rows of a group of the Parquet file, and at most so many are held: some 20 MB."""

PAGE_ROWS = 5000
"""Most photographs that index.html shows: a browser opens so many lines at once; of more there is no page."""


def write(inventory: Inventory, target: Store, order: Order, report: Report, started: datetime) -> None:
    """Write all that speaks of the whole run.

    Args:
        inventory: the photographs and what came of them.
        target: where to.
        order: what was asked for each.
        report: what came of the run.
        started: when it began, with its time zone.

    Raises:
        OutputError, ClusterError: the target refuses, or cannot be reached.
    """
    codes = tuple(str(code) for code in _lesions(order))
    with tempfile.TemporaryDirectory(prefix="foveate-") as scratch:
        folder = Path(scratch)
        with (folder / "summary.csv").open("wb") as file:
            file.writelines(tables.summary_lines(rows(inventory), codes))
        parquet(folder / "summary.parquet", rows(inventory), codes)
        target.take(folder, ["summary.csv"])
        target.take(folder, ["summary.parquet"])
    if report.standing.total <= PAGE_ROWS:
        target.write("index.html", page.index(list(rows(inventory)), codes, order.maker))
    else:
        target.remove(["index.html"])
    target.write("run.json", record(order, report, started))


def rows(inventory: Inventory) -> Iterator[Row]:
    """Yield what came of each photograph, in their order."""
    return (ledger.row(line) for line in inventory.lines())


def parquet(path: Path, every: Iterable[Row], codes: Sequence[str]) -> None:
    """Write the rows as Parquet, a group at a time.

    Args:
        path: of the file.
        every: row, in the order wanted.
        codes: of the lesions that get columns.
    """
    schema = _schema(codes)
    waiting = iter(every)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := [_flat(row, codes) for row in islice(waiting, GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def record(order: Order, report: Report, started: datetime) -> bytes:
    """Return run.json: as of a run on a single machine, but without the list of photographs."""
    standing, settings = report.standing, {**order.settings, "format": order.format}
    seconds = (datetime.now(UTC) - started).total_seconds()
    content = runs.head(order.maker, settings, report.versions, started, seconds) | {
        "photographs": {
            "ok": standing.ok + standing.kept,
            "failed": standing.failed,
            "done_before": standing.kept,
            "skipped_files": report.skipped,
        },
        "cluster": {
            "workers": standing.workers,
            "starting_seconds": round(report.starting, 3),
            "tries_that_failed": standing.again,
            "workers_lost": standing.lost,
        },
    }
    return tables.utf8(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _lesions(order: Order) -> Sequence[object]:
    found = order.settings["lesions"]
    return found if isinstance(found, list | tuple) else ()


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


def _flat(row: Row, codes: Sequence[str]) -> dict[str, object]:
    """Return a row as the Parquet file has it."""
    found: dict[str, object] = {
        "photograph": _text(row.name),
        "status": row.status,
        "error": _text(row.error),
        "quality": list(row.quality),
        "sha256": row.digest or None,
    }
    for code in codes:
        burden = row.burdens.get(code)
        if burden is not None:
            found[f"{code}_count"] = burden.count
            found[f"{code}_area_px"] = burden.area_px
            found[f"{code}_area_fraction"] = burden.area_fraction
            found[f"{code}_area_mm2"] = burden.area_mm2
    return found


def _text(text: str) -> str:
    """Return a text as Unicode: undecodable bytes of a name as escapes."""
    return tables.utf8(text).decode()
