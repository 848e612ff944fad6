"""Results as files: maps, masks, overlays, tables, and a page to look at them.

Knows:   the output folder's layout; each file appears whole or not at all, and all but run.json are the same,
         byte for byte, from run to run.
Ignores: how photographs are read and lesions are found.

`prepare`; for each photograph `earlier` or `write`, `clear` where it failed; `finish`, `record`.
"""

from collections.abc import Sequence
from pathlib import Path

from foveate.writers import files, page, runs, tables
from foveate.writers.maps import FORMATS, Format
from foveate.writers.photograph_files import clear, earlier, others, prepare, vouched, write
from foveate.writers.results import NOTICE, Burden, Finding, Maker, ObjectKind, Objects, Order, Row
from foveate.writers.runs import Run

__all__ = [
    "FORMATS",
    "NOTICE",
    "Burden",
    "Finding",
    "Format",
    "Maker",
    "ObjectKind",
    "Objects",
    "Order",
    "Row",
    "Run",
    "clear",
    "earlier",
    "finish",
    "others",
    "prepare",
    "record",
    "vouched",
    "write",
]


def finish(out: Path, rows: Sequence[Row], lesions: Sequence[str], maker: Maker) -> None:
    """Write summary.csv and index.html.

    Args:
        out: the output folder.
        rows: all photographs in the order wanted, failures and those done before included.
        lesions: codes that get columns.
        maker: the model.

    Raises:
        OutputError: a file cannot be written.
    """
    files.write(out / "summary.csv", tables.summary(rows, lesions))
    files.write(out / "index.html", page.index(rows, lesions, maker))


def record(out: Path, run: Run) -> None:
    """Write run.json, the only file that holds times.

    Raises:
        OutputError: it cannot be written.
    """
    files.write(out / "run.json", runs.to_json(run))
