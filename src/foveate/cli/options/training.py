"""Options of `foveate train`, `programme`, `release` and `compare`.

Knows:   their names, help and defaults.
Ignores: how a network is trained.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.choices import Device, LastStage, StageChoice
from foveate.cli.options import (
    Count,
    DataFolder,
    Flag,
    InputFile,
    InputFolder,
    LayoutOption,
    OutputFolder,
    RunFolder,
)

Fold = Annotated[int | Literal["none"] | None, Parameter(metavar="N|none", show_choices=False)]

Stages = Annotated[
    tuple[StageChoice, ...],
    Parameter(negative="", show_default=False),
]

Workers = Annotated[
    int,
    Parameter(
        metavar="N",
        help="Number of processes that prepare samples in advance; with 0 each step waits for its samples.",
    ),
]

ValidateEvery = Annotated[
    Count,
    Parameter(
        help="Validate after every N steps, and at the end of each stage: segment whole photographs of the "
        "fold that the run holds back and compute the exact average precision of each lesion. No validation "
        "by default."
    ),
]

ValidatePhotographs = Annotated[
    int,
    Parameter(metavar="N", help="Number of photographs to validate on, spread evenly over the sorted names."),
]

Version = Annotated[str, Parameter(metavar="VERSION", help="Version to give the model package.")]

Int8 = Annotated[
    Flag,
    Parameter(
        help="Add int8 networks, the fastest with OpenVINO. They take about 6 MB and three minutes more, and "
        "need NNCF (pip install 'foveate[quantise]')."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """Options of every training."""

    data: DataFolder
    layout: LayoutOption = "idrid"
    split: InputFile | None = None
    """JSON file of folds, as `foveate data split` writes it; the recipe's own by default. A recipe that has
    none assigns the photographs to folds by its seed, and saves the folds in the run."""
    healthy: InputFolder | None = None
    """Folder of photographs of eyes without any lesion, for recipes that train on some; or IDRiD's
    folder 'B. Disease Grading', or one with a labels.csv (columns file and retinopathy_grade), of which the
    photographs of grade 0 in the recipe's train half are used."""
    start: Annotated[str | None, Parameter(metavar="MODEL")] = None
    """Model package whose weights training starts from: the name of one that comes with Foveate, or a folder.
    Layers of the recipe's network that have the same name and shape in the package take its weights; stages
    that are left out keep them. The package must not have been trained on photographs that are held
    back."""
    settings: Annotated[
        tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE", negative="", show_default=False)
    ] = ()
    """Another value for one of the recipe's settings, such as stages.joint.steps=100; may be given several
    times."""
    minutes: Annotated[float | None, Parameter(metavar="N")] = None
    """Train each stage for about this many minutes instead of the recipe's number of steps."""
    device: Device = "cpu"
    """Device to train on: the processor, or a CUDA device."""
    threads: Count = None
    """Number of threads to compute with; PyTorch's own choice by default."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """Options of `foveate train` alone."""

    out: RunFolder
    """Folder of the training run."""
    fold: Fold = None
    """Fold to hold back from training; 'none' trains on all photographs. The recipe's own by default."""
    stage: Stages = ()
    """Train only this stage; may be given several times. global and local may be trained at the same time.
    All stages of the recipe by default."""
    workers: Workers = 0
    validate_every: ValidateEvery = None
    validate_photographs: ValidatePhotographs = 3
    channels_last: bool = True
    """Keep the channels of images last in memory (NHWC), which is nearly always faster."""
    resume: Flag = False
    """Continue the run in --out. Recipe, data, split, fold, healthy eyes, --start and --set must be as
    before; other options may differ."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidationOptions:
    """Options of `foveate programme` alone."""

    out: OutputFolder
    """Folder to write to. Its subfolders are fold-N and all, which hold the runs, and package, which holds
    the model package."""
    folds: Annotated[tuple[int, ...], Parameter(name="--fold", metavar="N", negative="")]
    """Fold to hold back in a training of its own; may be given several times. The photographs held back serve
    to calibrate the model, to choose its thresholds and to measure how good it is."""
    all_from: Annotated[int | None, Parameter(metavar="N")] = None
    """Train the run on all photographs by stage 'refine' alone, from the joint stage of the run that holds
    this fold back; from the beginning by default. This saves hours. The photographs of the fold are then
    trained on in the last stage only."""
    stage: Stages = ()
    """Train only this stage; may be given several times. All stages of the recipe by default. The package is
    written once 'joint' is trained ('refine' with --all-from)."""
    workers: Workers = 0
    validate_every: ValidateEvery = None
    validate_photographs: ValidatePhotographs = 3
    version: Version = "1"
    int8: Int8 = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class AverageOptions:
    """Options of `foveate average`."""

    runs: Annotated[tuple[InputFolder, ...], Parameter(name="--run", metavar="RUN", negative="")]
    """Folder of a finished training run; give two or more."""
    out: RunFolder
    """Folder of the run to write."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseOptions:
    """Options of `foveate release`."""

    data: DataFolder
    run: RunFolder
    """Folder of the finished training run."""
    to: OutputFolder
    """Folder to write the model package to; a package that it holds is replaced."""
    layout: LayoutOption = "idrid"
    judged_by: Annotated[
        tuple[InputFolder, ...], Parameter(metavar="RUN", negative="", show_default=False)
    ] = ()
    """Folder of another finished run of the recipe, which held photographs back; may be given several times.
    Such runs calibrate a model that was trained on all photographs, and choose its thresholds, in place of
    its own run."""
    thresholds_of: Annotated[str | None, Parameter(metavar="MODEL")] = None
    """Package that the run started from, by name or as a folder. Its calibration, thresholds, smallest areas,
    evidence cuts, window selection and GlobalNet's shares are kept, for a run that was trained on all
    photographs if no other run held any back. Nothing is validated then."""
    version: Version = "1"
    int8: Int8 = False
    stage: LastStage | None = None
    """Last stage whose weights are used; by default refine if the run has finished it, joint otherwise."""
