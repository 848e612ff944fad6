"""Options of `foveate data check` and `foveate data split`.

Knows:   their names, help and defaults.
Ignores: what is wrong with a set, and how photographs are assigned to folds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Layout = Annotated[str, Parameter(metavar="L")]

Split = Annotated[str | None, Parameter(metavar="S")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """Options of `foveate data check`."""

    layout: Layout = "idrid"
    """How the set is laid out there: idrid, ddr, fgadr, e-ophtha, or a .toml file that describes it."""
    split: Split = None
    """Check this split only; all that exist, if not given."""
    out: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    """Folder for contact sheets, check.json and check.csv; nothing is written, if not given."""


DEFAULT_CHECK = CheckOptions()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """Options of `foveate data split`."""

    out: Annotated[Path, Parameter(metavar="FILE")]
    """JSON file to write; an existing one is not replaced."""
    layout: Layout = "idrid"
    """How the set is laid out there: idrid, ddr, fgadr, e-ophtha, or a .toml file that describes it."""
    folds: Annotated[int, Parameter(metavar="N")] = 5
    """Number of folds."""
    seed: Annotated[int, Parameter(metavar="N")] = 0
    """Seed of the assignment."""
    split: Split = None
    """Which split to divide; the one to train on, if not given."""
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None
    """Stratify by these, and leave out photographs that were not annotated for all of them; by all that the
    set knows, none left out, if not given."""
