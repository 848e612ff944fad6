"""Options of `foveate evaluate` and `foveate compare`.

Knows:   their names, help and defaults.
Ignores: how anything is scored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.cli.options import DEFAULT_ENGINE, EngineOptions, Flag, ModelName, UsageError
from foveate.cli.options.training import Fold


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """Options of `foveate evaluate`."""

    data: Annotated[Path, Parameter(metavar="DIR")]
    """Folder that the data set was unpacked to."""
    out: Annotated[Path, Parameter(metavar="DIR")]
    """Folder of the results: metrics.json, metrics.csv, report.html."""
    layout: Annotated[str, Parameter(metavar="NAME|FILE.toml")] = "idrid"
    """How the set is laid out on disk: the name of a layout, or a TOML file that describes one."""
    split: Annotated[str, Parameter(metavar="test|train|FILE[:FOLD]")] = "test"
    """Photographs to score: a split of the layout, or a JSON file of folds and the number of one."""
    model: ModelName = None
    """A model package that comes with Foveate (see `foveate models`), a package's folder, or a zip of one."""
    predictions: Annotated[Path | None, Parameter(metavar="DIR")] = None
    """Score maps in this folder in place of a model: <photograph>_<LESION>.png, .tif, .tiff, .npy or .npz."""
    region: Literal["whole", "paper", "field"] = "whole"
    """Pixels to score: the whole photograph, the paper's centre crop, or the field of view."""
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None
    """Lesions to score; all that the set and the model have in common, if not given."""
    threshold: Annotated[str | None, Parameter(metavar="EX=0.4,...")] = None
    """Probabilities from which a pixel is lesion; the model's own, 0.5 for --predictions, if not given."""
    field: Annotated[str, Parameter(metavar="auto|full|ROW,COL,RADIUS")] = "auto"
    """The field of view: detected, the whole photograph, or a disc in pixels of the photograph."""
    effort: Literal["full", "balanced", "fast"] = "full"
    """How much of a photograph the model examines closely: all of it, or the windows that the global view
    selects."""
    engine: EngineOptions = DEFAULT_ENGINE
    replace: Flag = False
    """Replace the results of an earlier evaluation in --out; it is refused otherwise."""

    def require_consistent(self) -> None:
        """Check that the options make sense together.

        Raises:
            UsageError: they do not.
        """
        if self.model is not None and self.predictions is not None:
            raise UsageError("evaluate: give --model or --predictions, not both.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """Options of `foveate compare`."""

    out: Annotated[Path, Parameter(metavar="DIR")]
    """Folder of the results: comparison.md, comparison.json, figure-2-<LESION>.png."""
    run: Annotated[Path | None, Parameter(metavar="RUN")] = None
    """Folder of the run: what it lacks is trained, what is finished stays as it is. OUT/run, if not given."""
    fold: Fold = None
    """The fold that is held back from training, and compared on; 'none' to train on all photographs."""
    on: Annotated[str | None, Parameter(metavar="SPLIT")] = None
    """Another split of the layout to compare on, such as test, in place of the fold held back."""
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None
    """Lesions to compare; all of the recipe's, if not given."""
    tiling: Literal["model", "paper"] = "model"
    """How photographs are divided: as the model does, or in the paper's 143 patches without overlap."""
