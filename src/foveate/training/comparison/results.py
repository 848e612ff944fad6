"""Write the results of a comparison: comparison.md, comparison.json and a figure for each lesion.

Knows:   the names of the files; each is written completely or not at all.
Ignores: their content.
"""

from collections.abc import Mapping
from pathlib import Path

from foveate import atomic_files
from foveate.training.comparison import LesionComparison, figure, tables
from foveate.writers.tables import utf8

FILES = ("comparison.md", "comparison.json", "figure-2-*.png")
"""Files of a comparison, as patterns."""


def prepare(out: Path, *, replace: bool = False) -> None:
    """Create the folder and check that the results may be written there, before the comparison starts.

    Args:
        out: folder of the results.
        replace: whether those of an earlier comparison are replaced.

    Raises:
        OutputError: the folder cannot be written, or holds results that are not to be replaced.
    """
    atomic_files.require_free(out, FILES, results="comparison", replace=replace)


def write(out: Path, comparisons: Mapping[str, LesionComparison], about: Mapping[str, object]) -> None:
    """Write the figures and tables, in place of those of an earlier comparison.

    Raises:
        OutputError: a file cannot be written; those of an earlier comparison stay, all of them.
    """
    files = {
        f"figure-2-{lesion}.png": figure.png(column.patch)
        for lesion, column in comparisons.items()
        if column.patch
    }
    files["comparison.md"] = utf8(tables.page(comparisons, about))
    files["comparison.json"] = utf8(tables.record(comparisons, about))
    atomic_files.write_files(out, files)
    atomic_files.remove_others(out, FILES, files)
