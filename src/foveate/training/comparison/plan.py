"""What a comparison compares, and what is checked before its hours of training.

Knows:   on which photographs rows are compared, which of them a run has seen, and which stages it lacks.
Ignores: how stages are trained, how rows are scored, and where the results are written.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from foveate.choices import ComparisonTiling
from foveate.datasets import DAMAGED, Case, checks
from foveate.errors import DatasetError, SettingError, TrainingError, raise_if_out_of_memory
from foveate.evaluation.networks import Row
from foveate.geometry import canvas
from foveate.inference.prepared_canvas import find_frame
from foveate.models import Package
from foveate.paths import display_path, nfc
from foveate.training import run_split, runner, warm_start
from foveate.training.comparison import (
    COMPARISON_STAGES,
    LesionComparison,
    compare,
    steps_by_stage,
    with_tiling,
)
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import ALONE_STAGES, StageName
from foveate.training.run_folder import RunFolder
from foveate.training.trainer import StageProgress
from foveate.types import ModelContract


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A run whose networks are compared, and the photographs that they are compared on; see `prepare`."""

    plan: TrainingPlan
    """Plan of the run; the stages that the run lacks are trained."""
    training_cases: Sequence[Case]
    """Photographs of the set that the run is trained on."""
    cases: Sequence[Case]
    """Photographs to compare on, at least one, which the run is not trained on."""
    split: str
    """Name of their split, for the record."""
    lesions: tuple[str, ...]
    """Lesions to compare: some of the recipe's."""
    tiling: ComparisonTiling = "model"
    """How photographs are divided into windows."""

    def __post_init__(self) -> None:
        """Check the photographs to compare on; no more than their headers are read.

        Raises:
            SettingError: there is none, or one is smaller than the paper's crop.
            DatasetError: a header cannot be read.
        """
        if not self.cases:
            raise SettingError(
                "no photograph is held back to compare on; hold back a fold, or name other photographs"
            )
        if self.tiling == "paper":
            require_crop(self.cases)

    def check_files(self, progress: checks.CheckProgress = lambda done, total, name: None) -> tuple[str, ...]:
        """Read all photographs and masks that the hours of work will use.

        Those that the run is trained on are read only before it begins: afterwards its records prove that
        they are still the same.

        Returns:
            Lines of doubt about masks, as `checks.check_files`, which also says what is raised.
        """
        contract = self.plan.recipe.contract
        training_cases = () if self.plan.run.has_run() else self.training_cases
        doubts = (
            _check(training_cases, contract.lesions, contract, progress),
            _check(self.cases, self.lesions, with_tiling(contract, self.tiling), progress),
        )
        return tuple(filter(None, doubts))


def prepare(
    plan: TrainingPlan,
    lesions: tuple[str, ...],
    *,
    tiling: ComparisonTiling = "model",
    unseen: Sequence[Case] = (),
    split: str = "the fold held back",
) -> Comparison:
    """Return a comparison whose photographs are known before its run begins.

    If the run has yet to assign folds, they are assigned here, for which all masks are read.

    Args:
        plan: plan of the run; its stages, and whether it is continued, do not matter.
        lesions: lesions to compare: some of the recipe's.
        tiling: how photographs are divided into windows.
        unseen: photographs to compare on; the fold that the run holds back if there are none.
        split: name of their split, for the record.

    Raises:
        TrainingError: the run, or the package that it starts from, is trained on one of the photographs.
        SettingError, TrainingError, DatasetError: as `Comparison`, `run_split.require_folds` and
            `run_split.choose_split`.
    """
    require_not_trained_on(unseen, [*plan.cases, *plan.healthy], plan.start)  # before masks are read
    (plan,) = run_split.require_folds([plan])
    plan = replace(plan, cases=run_split.require_annotated(plan.recipe, plan.cases))
    assigned = run_split.choose_split(plan)
    training_cases, held_back = run_split.divide(plan, assigned)
    return Comparison(
        plan=replace(plan, assigned=assigned),
        training_cases=training_cases,
        cases=unseen or held_back,
        split=split,
        lesions=lesions,
        tiling=tiling,
    )


def train(comparison: Comparison) -> Iterator[tuple[StageName, StageProgress]]:
    """Train the stages that a comparison lacks; yield after every step. Raises as `runner.train`."""
    plan = comparison.plan
    return runner.train(replace(plan, stages=missing_stages(plan.folder), resume=True))


def score(
    comparison: Comparison, progress: Callable[[Row, int, str], None] = lambda row, done, name: None
) -> dict[str, LesionComparison]:
    """Score all rows on the same photographs, once all stages are trained; see `compare`."""
    return compare(
        comparison.plan.recipe,
        comparison.plan.folder,
        comparison.cases,
        lesions=comparison.lesions,
        tiling=comparison.tiling,
        progress=progress,
    )


def describe(comparison: Comparison) -> dict[str, object]:
    """Return what was compared, for the page and the record."""
    recipe = comparison.plan.recipe
    return {
        "recipe": recipe.name,
        "photographs compared on": len(comparison.cases),
        "split": comparison.split,
        "fold held back": recipe.held_back,
        "tiling": comparison.tiling,
        "steps": steps_by_stage(comparison.plan.folder),
    }


def _check(
    cases: Sequence[Case], lesions: Sequence[str], contract: ModelContract, progress: checks.CheckProgress
) -> str:
    """Return a line of doubt, and raise, as `checks.check_files`; each photograph must fit the contract."""
    return checks.check_files(cases, lesions, progress, lambda photograph: find_frame(photograph, contract))


def require_crop(cases: Sequence[Case]) -> None:
    """Require that every photograph contains the paper's crop; only the file headers are read.

    Raises:
        SettingError: a photograph is smaller.
        DatasetError: a file is not a readable picture.
        MemoryError: there is not enough memory.
    """
    for case in cases:
        try:
            with Image.open(case.photograph) as picture:
                shape = (picture.height, picture.width)
        except DAMAGED as error:
            raise_if_out_of_memory(error)
            raise DatasetError(
                f"{display_path(case.photograph)}: unreadable ({error}); restore the file"
            ) from error
        if shape[0] < canvas.PAPER_CROP[0] or shape[1] < canvas.PAPER_CROP[1]:
            raise SettingError(
                f"{display_path(case.photograph)}: has {shape[0]} x {shape[1]} px, too few for the paper's "
                f"crop of {canvas.PAPER_CROP[0]} x {canvas.PAPER_CROP[1]} px; choose --tiling model"
            )


def require_not_trained_on(
    cases: Sequence[Case], training_cases: Sequence[Case], start: Package | None = None
) -> None:
    """Require that no photograph of the comparison is a training photograph.

    Args:
        cases: photographs of the comparison.
        training_cases: photographs of the run.
        start: the package that the run starts from, which was trained on the photographs that it names.

    Raises:
        TrainingError: a photograph is both.
    """
    trained = {case.photograph for case in training_cases}
    names_before = () if start is None else warm_start.trained_photographs(start)
    for case in cases:
        if case.photograph in trained:
            raise TrainingError(f"{case.name} was used for training; compare on photographs that were not")
        if start is not None and nfc(case.name) in names_before:
            raise TrainingError(
                f"package {start.name} was trained on {case.name}; compare on photographs that it was not "
                "trained on, or leave out --start"
            )


def missing_stages(folder: Path) -> tuple[StageName, ...]:
    """Return the stages that a run still needs for a comparison.

    Once the joint stage is finished, the stages before it are not needed any more: a run that started from a
    package may have left some of them out.
    """
    return ALONE_STAGES if RunFolder(folder).is_finished("joint") else COMPARISON_STAGES
