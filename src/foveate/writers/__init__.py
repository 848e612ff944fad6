"""Results as files: maps, masks, overlays, tables, and a page to view them.

Knows:   the layout of the output folder. Each file is written completely or not at all, and all but run.json
         are byte-identical from run to run.
Ignores: how photographs are read and lesions are segmented.

Call `prepare` first. For each photograph, call `write`, unless `existing_results.load` returns a result that
matches and is complete, and `clear` if it failed. At the end, call `write_summary` and `write_run`.
"""

from collections.abc import Sequence
from pathlib import Path

from foveate import atomic_files
from foveate.choices import MapFormat, ObjectKind
from foveate.writers import page, runs, tables
from foveate.writers.existing_results import EarlierResult, StoredResult, existing_rows
from foveate.writers.maps import FORMATS
from foveate.writers.photograph_files import clear, prepare, write
from foveate.writers.results import (
    NOTICE,
    DicomRequest,
    LesionLoad,
    PhotographResult,
    PredictRequest,
    Provenance,
    SummaryRow,
)
from foveate.writers.runs import PredictRun

__all__ = [
    "FORMATS",
    "NOTICE",
    "DicomRequest",
    "EarlierResult",
    "LesionLoad",
    "MapFormat",
    "ObjectKind",
    "PhotographResult",
    "PredictRequest",
    "PredictRun",
    "Provenance",
    "StoredResult",
    "SummaryRow",
    "clear",
    "existing_rows",
    "prepare",
    "write",
    "write_run",
    "write_summary",
]


def write_summary(
    out: Path, rows: Sequence[SummaryRow], lesions: Sequence[str], provenance: Provenance
) -> None:
    """Write summary.csv and index.html.

    Args:
        out: the output folder.
        rows: all photographs in the requested order, failures and existing results included.
        lesions: codes of the lesions that get columns.
        provenance: the model.

    Raises:
        OutputError: a file cannot be written.
    """
    atomic_files.write_file(out / "summary.csv", tables.summary(rows, lesions))
    atomic_files.write_file(out / "index.html", page.index(rows, lesions, provenance))


def write_run(out: Path, run: PredictRun) -> None:
    """Write run.json, the only file that holds times.

    Raises:
        OutputError: it cannot be written.
    """
    atomic_files.write_file(out / "run.json", runs.to_json(run))
