"""The report of a run at its end.

Knows:   tables for people, JSON for programs.
Ignores: how the run was done.
"""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foveate.inference.batch import Report
from foveate.paths import display_path
from foveate.wording import quantity
from foveate.writers import NOTICE, SummaryRow

MAX_ROWS = 20
"""Photographs that the table shows: a screenful; summary.csv and index.html have all of them."""


def print_table(report: Report, out: Path) -> None:
    """Print the first photographs' lesions, the outcome of all, and where the results are."""
    console = Console(highlight=False, markup=False)
    codes = list(dict.fromkeys(code for row in report.rows for code in row.loads))
    table = Table("photograph", *codes, "remarks")
    for row in report.rows[:MAX_ROWS]:
        table.add_row(
            Text(display_path(row.name), overflow="fold"),
            *(_load_cell(row, code) for code in codes),
            Text(_remark(row)),
        )
    console.print(table)
    if len(report.rows) > MAX_ROWS:
        console.print(
            f"... and {len(report.rows) - MAX_ROWS} more in {display_path(out / 'summary.csv')}",
            soft_wrap=True,
        )
    console.print(_outcome(report), soft_wrap=True)
    if any(row.status == "ok" and row.name in report.seconds_each for row in report.rows):
        console.print(_pace(report), soft_wrap=True)
    console.print(f"Look at {display_path(out / 'index.html')}", soft_wrap=True)
    console.print(NOTICE, soft_wrap=True)


def print_json(report: Report, out: Path) -> None:
    """Print all photographs as one JSON object; areas in px of the photograph, fractions of its field."""
    content = {
        "out": str(out),
        "index": str(out / "index.html"),
        "summary": str(out / "summary.csv"),
        "ok": len(report.rows) - len(report.failures),
        "failed": len(report.failures),
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
        "seconds_of": {phase: round(seconds, 3) for phase, seconds in report.seconds_by_phase.items()},
        "photographs": [_photograph_record(row) for row in report.rows],
    }
    print(json.dumps(content))


def _photograph_record(row: SummaryRow) -> dict[str, object]:
    lesions = {
        code: {
            "count": load.count,
            "area_px": load.area_px,
            "area_fraction": load.area_fraction,
            "area_mm2": load.area_mm2,
        }
        for code, load in row.loads.items()
    }
    return {
        "photograph": row.name,
        "status": row.status,
        "error": row.error or None,
        "quality": list(row.quality),
        "lesions": lesions,
    }


def _load_cell(row: SummaryRow, code: str) -> str:
    """Return the number of regions and their share of the field."""
    load = row.loads.get(code)
    if load is None:
        return ""
    return f"{load.count} ({load.area_fraction:.2%})" if load.count else "-"


def _remark(row: SummaryRow) -> str:
    return "failed" if row.status == "failed" else ", ".join(row.quality)


def _outcome(report: Report) -> str:
    """Return the outcome of all photographs in one line."""
    before = sum(row.status == "ok" and row.name not in report.seconds_each for row in report.rows)
    parts = [quantity(len(report.rows) - len(report.failures), "photograph") + " done"]
    parts += [f"{before} of them by an earlier run"] * bool(before)
    parts += [f"{len(report.failures)} failed"] * bool(report.failures)
    parts += [quantity(report.skipped, "other file") + " skipped"] * bool(report.skipped)
    parts += [quantity(report.result_folders, "folder") + " with earlier results left out"] * bool(
        report.result_folders
    )
    return f"{', '.join(parts)}; {report.seconds:.1f} s"


def _pace(report: Report) -> str:
    """Return the speed of this run, and the time that each phase took."""
    done = len(report.seconds_each)
    pace = 60 * done / max(report.seconds, 1e-3)
    phases = ", ".join(
        f"{phase} {seconds / done:.2f} s" for phase, seconds in report.seconds_by_phase.items()
    )
    each = f"{phases} each" if done > 1 else phases
    parallel = f", {report.workers} at the same time" if report.workers > 1 else ""
    return f"{pace:.1f} photographs a minute{parallel}: {each}"
