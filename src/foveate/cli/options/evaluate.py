"""Options of `foveate evaluate` and `foveate compare`.

Knows:   their names, help and defaults.
Ignores: how anything is scored.
"""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from foveate.choices import ComparisonTiling, Effort, Part
from foveate.cli.options import (
    DEFAULT_ENGINE,
    Codes,
    DataFolder,
    EngineOptions,
    FieldOption,
    InputFolder,
    LayoutOption,
    ModelOption,
    OutputFolder,
    Replace,
    RunFolder,
    Thresholds,
    UsageError,
)
from foveate.cli.options.training import Fold


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """Options of `foveate evaluate`."""

    data: DataFolder
    out: OutputFolder
    """Folder to write metrics.json, metrics.csv and report.html to."""
    layout: LayoutOption = "idrid"
    split: Annotated[str, Parameter(metavar="test|train|FILE[:FOLD]")] = "test"
    """Photographs to score: a split of the layout, or those in a JSON file of folds, of one fold if its
    number is added, such as folds.json:0."""
    model: ModelOption = None
    predictions: InputFolder | None = None
    """Score the probability maps in this folder instead of a model: files named `<photograph>_<LESION>.png`,
    .tif, .tiff, .npy or .npz."""
    region: Part = "whole"
    """Pixels to score: of the whole photograph (whole), the paper's centre crop of 2816 x 3328 px (paper), or
    the field of view (field)."""
    lesions: Codes = None
    """Lesions to score; all that the data set and the model have in common by default."""
    threshold: Thresholds = None
    """Probability from which a pixel belongs to the lesion; by default the model's own, or 0.5 with
    --predictions."""
    field: FieldOption = "auto"
    effort: Effort = "full"
    """How much the second network (LocalNet) computes: every window (full); every window in four rotations,
    averaged (best; about three times as long); or only windows that the first network (GlobalNet) selects
    (balanced; fast selects fewer), if the model has rules for it."""
    engine: EngineOptions = DEFAULT_ENGINE
    replace: Replace = False

    def require_consistent(self) -> None:
        """Check that the options make sense together.

        Raises:
            UsageError: they do not.
        """
        if self.model is not None and self.predictions is not None:
            raise UsageError("evaluate: give --model or --predictions, not both.")
        if self.predictions is not None and (self.effort, self.engine) != ("full", DEFAULT_ENGINE):
            raise UsageError(
                "evaluate: --effort, --engine, --precision and --threads are about a model; leave them out "
                "with --predictions."
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """Options of `foveate compare`."""

    out: OutputFolder
    """Folder to write comparison.md, comparison.json and `figure-2-<LESION>.png` to."""
    run: RunFolder | None = None
    """Folder of the training run: stages that it lacks are trained, finished ones are kept. OUT/run by
    default."""
    fold: Fold = None
    """Fold to hold back from training and to compare on; 'none' trains on all photographs. The recipe's own
    by default."""
    on: Annotated[str | None, Parameter(metavar="SPLIT")] = None
    """Split of the layout to compare on, such as test; the fold held back by default."""
    lesions: Codes = None
    """Lesions to compare; all of the recipe's by default."""
    tiling: ComparisonTiling = "model"
    """How photographs are divided into windows: as the model does it, with overlap (model), or into the
    paper's 143 patches without overlap (paper)."""
    replace: Replace = False
