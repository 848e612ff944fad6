"""Options of `foveate train`, `programme`, `release` and `compare`.

Knows:   their names, help and defaults.
Ignores: how a network is trained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.choices import Device
from foveate.cli.options import Count

Fold = Annotated[int | Literal["none"] | None, Parameter(metavar="N|none")]

Stages = Annotated[
    tuple[Literal["global", "local", "fusion", "joint", "refine"], ...], Parameter(negative="")
]

Number = Annotated[int, Parameter(metavar="N")]

Version = Annotated[str, Parameter(metavar="V")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """Options of every training."""

    data: Annotated[Path, Parameter(metavar="DIR")]
    """Folder that the data set was unpacked to."""
    layout: Annotated[str, Parameter(metavar="L")] = "idrid"
    """How the set is laid out in it: a name such as idrid, or a .toml file that describes it."""
    split: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """JSON file of folds, as 'foveate data split' writes it; the recipe's own, if not given. A recipe without
    one assigns folds by its seed and saves them in the run."""
    healthy: Annotated[Path | None, Parameter(metavar="DIR")] = None
    """Folder of eyes without any lesion, for recipes that learn from some: photographs, or IDRiD's grading
    part with its labels.csv, of which those of grade 0 in the recipe's train half are taken."""
    start: Annotated[str | None, Parameter(metavar="MODEL")] = None
    """Model package to start from, a shipped one's name or a folder: its weights, wherever the recipe's
    network has layers of the same name and shape. Stages that are left out keep them. It must have learned
    from none of the photographs that are held back."""
    settings: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE", negative="")] = ()
    """Another value for one of the recipe's numbers, such as stages.joint.steps=100 (may be given more than
    once)."""
    minutes: Annotated[float | None, Parameter(metavar="N")] = None
    """Train each stage for about so long, in place of the recipe's number of steps."""
    device: Device = "cpu"
    """What computes."""
    threads: Count = None
    """Threads to compute with; as many as there are processors, if not given."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """Options of `foveate train` alone."""

    out: Annotated[Path, Parameter(metavar="RUN")]
    """Folder of the run."""
    fold: Fold = None
    """The fold that is held back from training, or 'none' to train on all photographs."""
    stage: Stages = ()
    """Train this stage only (may be given more than once). 'global' and 'local' may run side by side."""
    workers: Number = 0
    """Processes that prepare samples ahead of the steps; with 0 the steps wait for them."""
    validate_every: Count = None
    """Steps after which whole photographs of the fold held back are segmented and scored (exact average
    precision of each lesion), and again at the end of each stage; never, if not given."""
    validate_photographs: Number = 3
    """How many of them, chosen evenly from their sorted names."""
    channels_last: bool = True
    """Memory layout of the images: nearly always the faster one."""
    resume: Annotated[bool, Parameter(negative="")] = False
    """Continue the run in --out; all other options must be as they were."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidationOptions:
    """Options of `foveate programme` alone."""

    out: Annotated[Path, Parameter(metavar="DIR")]
    """Folder of the runs fold-N and all, and of the package."""
    folds: Annotated[tuple[int, ...], Parameter(name="--fold", metavar="N", negative="")]
    """A fold to hold back from a training of its own (may be given more than once): the photographs that are
    held back calibrate the model, choose its thresholds and measure how good it is."""
    stage: Stages = ()
    """Train this stage only, as for training."""
    workers: Number = 0
    """Processes that prepare samples ahead of the steps."""
    validate_every: Count = None
    """Steps after which whole photographs of a run's fold held back are segmented and scored (exact average
    precision of each lesion), and again at the end of each stage; never, if not given."""
    validate_photographs: Number = 3
    """How many of them, chosen evenly from their sorted names."""
    version: Version = "1"
    """Version of the package's weights."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseOptions:
    """Options of `foveate release`."""

    data: Annotated[Path, Parameter(metavar="DIR")]
    """Folder that the data set was unpacked to."""
    run: Annotated[Path, Parameter(metavar="RUN")]
    """Folder of the run."""
    to: Annotated[Path, Parameter(metavar="FOLDER")]
    """Folder of the package; replaced if it exists."""
    layout: Annotated[str, Parameter(metavar="L")] = "idrid"
    """How the set is laid out in its folder, as for training."""
    judged_by: Annotated[tuple[Path, ...], Parameter(metavar="RUN", negative="")] = ()
    """Folder of a finished run of the recipe that held photographs back, in place of the run itself (may be
    given more than once): these runs calibrate a model that learned from all photographs, and choose its
    thresholds."""
    version: Version = "1"
    """Version of the weights."""
    stage: Literal["fusion", "joint", "refine"] | None = None
    """Last stage whose weights are used; refine if the run has finished it, and else joint, if not given."""
