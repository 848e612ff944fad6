"""Options of `foveate data check` and `foveate data split`.

Knows:   their names, help and defaults.
Ignores: what is wrong with a set, and how photographs are assigned to folds.
"""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from foveate.cli.options import Codes, LayoutOption, OutputFile, OutputFolder, Replace, UsageError

Split = Annotated[str | None, Parameter(metavar="SPLIT")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """Options of `foveate data check`."""

    layout: LayoutOption = "idrid"
    split: Split = None
    """Split to check; all splits by default."""
    out: OutputFolder | None = None
    """Folder to write contact sheets, check.json and check.csv to; nothing is written by default."""
    replace: Replace = False

    def require_consistent(self) -> None:
        """Check that the options make sense together.

        Raises:
            UsageError: they do not.
        """
        if self.replace and self.out is None:
            raise UsageError("data check: --replace is about --out; give --out DIR, or leave --replace out.")


DEFAULT_CHECK = CheckOptions()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """Options of `foveate data split`."""

    out: OutputFile
    """JSON file to write the folds to; an existing file is not replaced."""
    layout: LayoutOption = "idrid"
    folds: Annotated[int, Parameter(metavar="N")] = 5
    """Number of folds to make."""
    seed: Annotated[int, Parameter(metavar="N")] = 0
    """Seed of the random assignment."""
    split: Split = None
    """Split to divide into folds; the layout's first, the one to train on, by default."""
    lesions: Codes = None
    """Lesions to balance the folds by; photographs that were not annotated for all of them are left out. By
    default all lesions of the data set, and no photograph is left out."""
