"""How a run is shown when it is done.

Knows:   tables for people, JSON for programs.
Ignores: what was done.
"""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foveate.inference.batch import Report
from foveate.writers import NOTICE, Row

ROWS = 20
"""Photographs that the table shows: a screenful; all stand in summary.csv and index.html."""


def print_table(report: Report, out: Path) -> None:
    """Print the first photographs' burdens, what became of all, and where to look."""
    console = Console(highlight=False, markup=False)
    codes = list(dict.fromkeys(code for row in report.rows for code in row.burdens))
    table = Table("photograph", *codes, "remarks")
    for row in report.rows[:ROWS]:
        table.add_row(
            Text(row.name, overflow="fold"), *(_burden(row, code) for code in codes), Text(_remark(row))
        )
    console.print(table)
    if len(report.rows) > ROWS:
        console.print(f"... and {len(report.rows) - ROWS} more in {out / 'summary.csv'}", soft_wrap=True)
    console.print(_sum(report), soft_wrap=True)
    if any(row.status == "ok" and row.name in report.seconds_each for row in report.rows):
        console.print(_pace(report), soft_wrap=True)
    console.print(f"Look at {out / 'index.html'}", soft_wrap=True)
    console.print(NOTICE, soft_wrap=True)


def print_json(report: Report, out: Path) -> None:
    """Print all photographs' burdens as one JSON object; areas in its px, fractions of its field."""
    found = {
        "out": str(out),
        "index": str(out / "index.html"),
        "summary": str(out / "summary.csv"),
        "ok": len(report.rows) - len(report.failures),
        "failed": len(report.failures),
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
        "seconds_of": {phase: round(seconds, 3) for phase, seconds in report.seconds_of.items()},
        "photographs": [_photograph(row) for row in report.rows],
    }
    print(json.dumps(found))


def print_error(error: Exception) -> None:
    """Print why nothing, or not all, could be done, as one JSON object."""
    print(json.dumps({"error": str(error)}))


def _photograph(row: Row) -> dict[str, object]:
    lesions = {
        code: {
            "count": burden.count,
            "area_px": burden.area_px,
            "area_fraction": burden.area_fraction,
            "area_mm2": burden.area_mm2,
        }
        for code, burden in row.burdens.items()
    }
    return {
        "photograph": row.name,
        "status": row.status,
        "error": row.error or None,
        "quality": list(row.quality),
        "lesions": lesions,
    }


def _burden(row: Row, code: str) -> str:
    """Number of regions and their share of the field."""
    burden = row.burdens.get(code)
    if burden is None:
        return ""
    return f"{burden.count} ({burden.area_fraction:.2%})" if burden.count else "-"


def _remark(row: Row) -> str:
    return "failed" if row.status == "failed" else ", ".join(row.quality)


def _sum(report: Report) -> str:
    """Say in one line what became of all photographs."""
    before = sum(row.status == "ok" and row.name not in report.seconds_each for row in report.rows)
    parts = [_count(len(report.rows) - len(report.failures), "photograph") + " done"]
    parts += [f"{before} of them by an earlier run"] * bool(before)
    parts += [f"{len(report.failures)} failed"] * bool(report.failures)
    parts += [_count(report.skipped, "other file") + " skipped"] * bool(report.skipped)
    return f"{', '.join(parts)}; {report.seconds:.1f} s"


def _pace(report: Report) -> str:
    """Say how fast the photographs of this run were done, and what took the time."""
    done = len(report.seconds_each)
    pace = 60 * done / max(report.seconds, 1e-3)
    phases = ", ".join(f"{phase} {seconds / done:.2f} s" for phase, seconds in report.seconds_of.items())
    each = f"{phases} each" if done > 1 else phases
    beside = f", {report.workers} side by side" if report.workers > 1 else ""
    return f"{pace:.1f} photographs a minute{beside}: {each}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
