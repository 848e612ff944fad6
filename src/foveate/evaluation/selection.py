"""Select the photographs, lesions and thresholds that are scored.

Knows:   splits by name, file and fold; which lesions a set and a system have in common.
Ignores: pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foveate import lesions
from foveate.datasets import Case, is_annotated, layouts, splits
from foveate.datasets.layouts import Layout
from foveate.errors import DatasetError, LesionError, SettingError
from foveate.models import Package, training_statement
from foveate.paths import display_path, is_file, nfc, obstacle
from foveate.wording import quantity

FOREIGN_THRESHOLD = 0.5
"""Default probability from which a pixel is lesion, for maps that are read."""


def select_cases(root: Path, layout: Layout, split: str) -> tuple[Case, ...]:
    """Return the photographs of a split.

    Args:
        root: the folder that the set was unpacked to.
        layout: the layout of the set on disk.
        split: a split of the layout, or a JSON file of folds ('folds.json'), of which 'folds.json:1' is one.

    Raises:
        DatasetError: there is no such split, file or fold, or the file names a photograph that the set lacks.
    """
    if split in layout.splits:
        return layouts.cases(root, layout, split)
    path, colon, fold = split.rpartition(":")
    is_fold = bool(colon) and fold.isdecimal()
    file = Path(path if is_fold else split)
    if reason := obstacle(file):
        raise DatasetError(f"{display_path(file)}: {reason}")
    if not is_file(file):
        raise DatasetError(
            f"split {split!r} is neither a split of {layout.name} nor a file; choose one of "
            f"{', '.join(layout.splits)}, or give a JSON file of folds"
        )
    folds = splits.read(file)
    names = [name for name, number in folds.items() if not is_fold or number == int(fold)]
    if not names:
        raise DatasetError(
            f"{display_path(file)}: fold {fold} has no photograph; choose one of the folds "
            f"{', '.join(map(str, sorted(set(folds.values()))))}"
        )
    return _cases_by_name(names, root, layout)


def warnings(root: Path, layout: Layout, split: str, lesions: Sequence[str]) -> tuple[str, ...]:
    """Return a line for each reason why masks of a split may count as absent; see `layouts.warnings`.

    Args:
        root: the folder that the set was unpacked to.
        layout: the layout of the set.
        split: as in `select_cases`.
        lesions: the lesions that are scored.
    """
    names = [split] if split in layout.splits else layouts.present(root, layout)
    lines = (line for name in names for line in layouts.warnings(root, layout, name, lesions))
    return tuple(dict.fromkeys(lines))


def _cases_by_name(names: Sequence[str], root: Path, layout: Layout) -> tuple[Case, ...]:
    """Return photographs by their names, from all splits of a set that are present."""
    present = [case for split in layouts.present(root, layout) for case in layouts.cases(root, layout, split)]
    by_name = {case.name: case for case in present}
    for name in names:
        if name not in by_name:
            raise DatasetError(
                f"{display_path(root)}: photograph {name} of the split is not in the set; unpack the whole "
                "set, or give its own split"
            )
        if sum(case.name == name for case in present) > 1:
            raise DatasetError(
                f"{display_path(root)}: two photographs are called {name}; choose a split of the set "
                "instead of a file"
            )
    return tuple(by_name[name] for name in sorted(names))


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredLesions:
    """Which of the lesions of a set and a system are scored."""

    thresholds: Mapping[str, float]
    """Lesion -> probability from which a pixel is lesion, in the order of the system."""
    left_out: Mapping[str, str]
    """Lesion -> why it is not scored, for those that only the set or only the system has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which lesions and thresholds the user asks for."""

    lesions: tuple[str, ...] | None = None
    """Codes of the lesions; None means all."""
    thresholds: Mapping[str, float]
    """Lesion -> probability in (0, 1] that replaces the threshold of the system."""


def select_lesions(
    layout: Layout, cases: Sequence[Case], package: Package | None, selection: Selection
) -> ScoredLesions:
    """Return which lesions are scored, and the threshold of each.

    Args:
        layout: layout of the set.
        cases: photographs that are scored.
        package: the model; None where maps are read, which may be of any lesion.
        selection: what the user asks for.

    Raises:
        LesionError: a requested lesion is unknown to the set or the model, or no lesion is left.
        SettingError: a threshold is out of its range, or belongs to a lesion that is not scored.
    """
    annotated = [code for code in layout.lesions if any(is_annotated(case, code) for case in cases)]
    known_codes = list(package.contract.lesions) if package else annotated
    left_out = {code: "the model does not have it" for code in annotated if code not in known_codes}
    left_out |= {code: "the set is not annotated for it" for code in known_codes if code not in annotated}
    common = [code for code in known_codes if code in annotated]
    for code in selection.lesions or ():
        if code in left_out:
            raise LesionError(f"lesion {code!r} cannot be scored: {left_out[code]}")
    codes = tuple(common) if selection.lesions is None else lesions.select(selection.lesions, common)
    if not codes:
        raise LesionError(
            f"there is nothing to score: the set is annotated for {', '.join(annotated)}, "
            f"the system has {', '.join(known_codes)}; choose another set or model"
        )
    for code, threshold in selection.thresholds.items():
        if code not in codes:
            raise SettingError(
                f"a threshold is given for {code}, which is not among the scored lesions: "
                f"{', '.join(codes)}; leave it out, or add it to the lesions"
            )
        if not 0 < threshold <= 1:
            raise SettingError(f"threshold {code}={threshold:g}; give a probability above 0 and at most 1")
    own = {code: package.decisions[code].threshold if package else FOREIGN_THRESHOLD for code in codes}
    return ScoredLesions(thresholds=own | dict(selection.thresholds), left_out=left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviouslySeen:
    """Numbers of scored photographs that were used to make a model, according to their names."""

    in_training: int
    """Photographs that it was trained on, those of healthy eyes included."""
    in_threshold_selection: int
    """Photographs that its thresholds were chosen on."""

    def warning(self, total: int) -> str:
        """Return a warning in one sentence; empty where all photographs are new to the model.

        Args:
            total: number of photographs that are scored.
        """
        counts = {
            "used to train the model": self.in_training,
            "used to choose its thresholds": self.in_threshold_selection,
        }
        parts = [
            f"{number} {'was' if number == 1 else 'were'} {use}" for use, number in counts.items() if number
        ]
        if not parts:
            return ""
        return (
            f"Judging by their names, of the {quantity(total, 'photograph')} scored here, "
            f"{' and '.join(parts)}: these figures do not show how good the model is on photographs that "
            "are new to it."
        )


def previously_seen(cases: Sequence[Case], package: Package | None) -> PreviouslySeen | None:
    """Count the photographs that a model's manifest names as used for training or for choosing thresholds.

    Args:
        cases: photographs that are scored.
        package: the model; None where maps are read.

    Returns:
        None where this is unknown: where maps are read, or the manifest names no photographs.
    """
    if package is None:
        return None
    stated = training_statement.read(package.manifest.get("training"))
    if not stated.trained_on:
        return None
    names = {nfc(case.name) for case in cases}
    return PreviouslySeen(
        in_training=len(names.intersection(stated.trained_on)),
        in_threshold_selection=len(names.intersection(stated.scored)),
    )
