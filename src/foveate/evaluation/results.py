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

FILES = ("metrics.json", "metrics.csv", "report.html")


def prepare(out: Path, *, replace: bool = False) -> None:
    """Create the folder and check that the results may be written there, before the evaluation starts.

    Args:
        out: folder of the results.
        replace: whether those of an earlier evaluation are replaced.

    Raises:
        OutputError: the folder cannot be written, or holds results that are not to be replaced.
    """
    atomic_files.require_free(out, FILES, results="evaluation", replace=replace)


def write(
    outcomes: Mapping[str, LesionOutcome], spec: EvaluationSpec, info: EvaluationInfo, out: Path
) -> None:
    """Write all three files; `prepare` says whether those of an earlier evaluation may be replaced.

    Raises:
        OutputError: a file cannot be written; those of an earlier evaluation stay, all three.
    """
    contents = {
        "metrics.json": tables.metrics_json(outcomes, spec, info),
        "metrics.csv": tables.metrics_csv(outcomes),
        "report.html": html_report.report(outcomes, spec, info),
    }
    atomic_files.write_files(out, contents)
