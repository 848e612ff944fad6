"""An evaluation as files: metrics.json, metrics.csv and report.html.

Knows:   their names; each appears whole or not at all.
Ignores: what stands in them.
"""

from collections.abc import Mapping
from pathlib import Path

from foveate.evaluation import page, tables
from foveate.evaluation.evaluate import LesionOutcome, Trial
from foveate.evaluation.tables import About
from foveate.writers import files


def prepare(out: Path) -> None:
    """Make the folder and prove that it can be written, before time is spent.

    Raises:
        OutputError: it cannot.
    """
    files.prove(out)


def write(outcomes: Mapping[str, LesionOutcome], trial: Trial, about: About, out: Path) -> None:
    """Write all three; those of an earlier evaluation are replaced.

    Raises:
        OutputError: a file cannot be written.
    """
    files.write(out / "metrics.csv", tables.table(outcomes))
    files.write(out / "report.html", page.report(outcomes, trial, about))
    files.write(out / "metrics.json", tables.metrics_json(outcomes, trial, about))
