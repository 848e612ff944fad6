"""What is to be trained, and where.

Knows:   all choices of a training, and which of them contradict each other.
Ignores: how they are carried out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from foveate.choices import Device
from foveate.datasets import Case
from foveate.errors import SettingError
from foveate.models import Package
from foveate.training.recipe import REFINE, STAGES, Recipe, StageName
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import RunSplit
from foveate.training.validation import ValidationSchedule


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """What is to be trained, and where."""

    recipe: Recipe
    """The recipe with all overrides applied; if its split is None, the run assigns folds."""
    cases: Sequence[Case]
    """All photographs of the data set; the recipe's split says which are trained on."""
    folder: Path
    """Folder of the run, created if necessary. All processes must be able to read it."""
    healthy: Sequence[Case] = ()
    """Healthy eyes to train on in addition (`Recipe.healthy_share`); none of them is ever held back."""
    stages: tuple[StageName, ...] = STAGES
    """Stages to train now, in any order: each is trained once, after those that it starts from. Finished ones
    are skipped."""
    start: Package | None = None
    """A model package whose weights the network starts from, instead of random and ImageNet weights."""
    continued: RunFolder | None = None
    """A run of the same photographs whose joint stage this one continues, by stage 'refine' alone."""
    validation: ValidationSchedule | None = None
    """How often the stages are validated on held-back photographs; None: not at all."""
    minutes: float | None = None
    """Time for each stage, instead of the recipe's number of steps."""
    device: Device = "cpu"
    """Where the network computes."""
    threads: int | None = None
    """Threads to compute with; None for torch's own choice."""
    workers: int = 0
    """Processes that prepare samples in advance."""
    channels_last: bool = True
    """Whether pictures have the memory format channels last."""
    resume: bool = False
    """Continue the run that the folder holds."""
    assigned: RunSplit | None = None
    """Folds that were assigned before the run begins, so that it need not read all masks for that again."""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The overrides of the published recipe, to be recorded."""
    command: Sequence[str] = ()
    """The command line, to be recorded."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            SettingError: threads are below 1, minutes are not a positive number, no photograph is held back
                to validate on, healthy eyes are not used by the recipe or have a photograph's name, or a
                run is continued by other stages than 'refine' or with photographs held back.
        """
        if self.threads is not None and self.threads < 1:
            raise SettingError(f"threads is {self.threads}; give 1 or more, or leave out --threads")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise SettingError(f"minutes is {self.minutes}; give a number above 0, or leave out --minutes")
        if self.validation is not None and self.recipe.held_back is None:
            self.validation.choose([])  # raises
        if self.healthy and not self.recipe.healthy_share:
            raise SettingError(
                f"recipe {self.recipe.name}: healthy_share is {self.recipe.healthy_share:g}, so healthy eyes "
                "would not be used; give --set healthy_share=0.15, for example, or leave out --healthy"
            )
        if REFINE in self.stages:
            self._require_refinable()
        if self.continued is not None and not (
            set(self.stages) <= {REFINE} and self.recipe.held_back is None
        ):
            raise SettingError(
                f"another run is continued by stage '{REFINE}' alone, on all photographs; leave out other "
                "stages, and hold back no fold"
            )
        if duplicates := {case.name for case in self.cases} & {case.name for case in self.healthy}:
            raise SettingError(
                f"{min(duplicates)} is the name of both a photograph of the set and a healthy eye; rename "
                "one of them"
            )

    def _require_refinable(self) -> None:
        """Raise SettingError if the refine stage cannot be trained."""
        if REFINE not in self.recipe.stages:
            raise SettingError(
                f"recipe {self.recipe.name} has no stage '{REFINE}'; choose among {', '.join(STAGES)}"
            )
        if not self.healthy:
            raise SettingError(f"stage '{REFINE}' needs healthy eyes; give some with --healthy")

    @property
    def all_stages(self) -> tuple[StageName, ...]:
        """Return all stages that the recipe has for these photographs, in their order."""
        return self.recipe.all_stages(with_healthy=bool(self.healthy))

    @property
    def run(self) -> RunFolder:
        """Return the folder of the run with the names of its files."""
        return RunFolder(self.folder)
