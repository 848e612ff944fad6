"""Write the results of an evaluation: metrics.json, metrics.csv and report.html.

Knows:   the names of the files; each is written completely or not at all.
Ignores: their content.
"""

from collections.abc import Mapping
from pathlib import Path

from foveate import atomic_files
from foveate.evaluation import html_report, tables
from foveate.evaluation.evaluate import EvaluationSpec, LesionOutcome
from foveate.evaluation.tables import EvaluationInfo


def prepare(out: Path) -> None:
    """Create the folder and check that it is writable, before the evaluation starts.

    Raises:
        OutputError: the folder cannot be written.
    """
    atomic_files.require_writable(out)


def write(
    outcomes: Mapping[str, LesionOutcome], spec: EvaluationSpec, info: EvaluationInfo, out: Path
) -> None:
    """Write all three files; those of an earlier evaluation are replaced.

    Raises:
        OutputError: a file cannot be written.
    """
    atomic_files.write_file(out / "metrics.csv", tables.metrics_csv(outcomes))
    atomic_files.write_file(out / "report.html", html_report.report(outcomes, spec, info))
    atomic_files.write_file(out / "metrics.json", tables.metrics_json(outcomes, spec, info))
