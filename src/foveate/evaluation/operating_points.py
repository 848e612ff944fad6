"""What is asked for -> which photographs, lesions and thresholds are scored.

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
from foveate.models import Package

FOREIGN_THRESHOLD = 0.5
"""Probability from which a pixel is lesion where maps were read and nobody says otherwise."""


def cases(root: Path, layout: Layout, split: str) -> tuple[Case, ...]:
    """List the photographs of a split.

    Args:
        root: the folder that the set was unpacked to.
        layout: how the set lies on disk.
        split: a split of the layout, or a JSON file of folds ('folds.json'), of which 'folds.json:1' is one.

    Raises:
        DatasetError: no such split, file or fold; the file names a photograph that the set has not.
    """
    if split in layout.splits:
        return layouts.cases(root, layout, split)
    path, colon, fold = split.rpartition(":")
    one = bool(colon) and fold.isdecimal()
    file = Path(path if one else split)
    if not file.is_file():
        raise DatasetError(
            f"no split {split!r}: {layout.name} has {', '.join(layout.splits)}, and {file} is no file"
        )
    folds = splits.read(file)
    wanted = [name for name, number in folds.items() if not one or number == int(fold)]
    if not wanted:
        raise DatasetError(
            f"{file}: fold {fold} holds no photograph; there are {sorted(set(folds.values()))}"
        )
    return _named(wanted, root, layout)


def _named(wanted: Sequence[str], root: Path, layout: Layout) -> tuple[Case, ...]:
    """Find photographs by their names in whatever splits of a set are there."""
    there = [case for split in layouts.present(root, layout) for case in layouts.cases(root, layout, split)]
    known = {case.name: case for case in there}
    for name in wanted:
        if name not in known:
            raise DatasetError(
                f"{root}: photograph {name} of the split is not in the set; is it unpacked whole?"
            )
        if sum(case.name == name for case in there) > 1:
            raise DatasetError(f"{root}: two photographs are called {name}; name the split itself")
    return tuple(known[name] for name in sorted(wanted))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What is scored of all that a set and a system know."""

    thresholds: Mapping[str, float]
    """Lesion -> probability from which a pixel is lesion; in the system's order."""
    left_out: Mapping[str, str]
    """Lesion -> why it is not scored, for those that only one of the two knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a person asks for."""

    lesions: tuple[str, ...] | None = None
    """Codes; all that there are if None."""
    thresholds: Mapping[str, float]
    """Lesion -> probability in (0, 1], in place of the system's own."""


def choose(layout: Layout, found: Sequence[Case], package: Package | None, wish: Wish) -> Chosen:
    """Say which lesions are scored, and from which probability each is marked.

    Args:
        layout: of the set.
        found: photographs that are scored.
        package: the model; None where maps are read, which may be of any lesion.
        wish: what a person asks for.

    Raises:
        LesionError: a lesion asked for is unknown to the set or the model, or none is left.
        SettingError: a threshold is out of its range, or of a lesion that is not scored.
    """
    drawn = [code for code in layout.lesions if any(is_annotated(case, code) for case in found)]
    known = list(package.contract.lesions) if package else drawn
    left_out = {code: "the model does not know it" for code in drawn if code not in known}
    left_out |= {code: "the set does not show it" for code in known if code not in drawn}
    both = [code for code in known if code in drawn]
    for code in wish.lesions or ():
        if code in left_out:
            raise LesionError(f"lesion {code!r} cannot be scored: {left_out[code]}")
    codes = tuple(both) if wish.lesions is None else lesions.chosen(wish.lesions, both)
    if not codes:
        raise LesionError(
            f"nothing to score: the set shows {', '.join(drawn)}, the system knows {', '.join(known)}"
        )
    for code, threshold in wish.thresholds.items():
        if code not in codes:
            raise SettingError(f"a threshold for {code}, which is not scored; scored are {', '.join(codes)}")
        if not 0 < threshold <= 1:
            raise SettingError(f"threshold {code}={threshold:g}; give a probability above 0 and at most 1")
    own = {code: package.decisions[code].threshold if package else FOREIGN_THRESHOLD for code in codes}
    return Chosen(thresholds=own | dict(wish.thresholds), left_out=left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Familiar:
    """How many of the photographs that are scored a model has met before, by their names."""

    seen_in_training: int
    """It learned from these."""
    thresholds_chosen_on: int
    """Its thresholds were chosen on these."""

    def told(self, total: int) -> str:
        """Return what a reader must know, a sentence; empty where all photographs are new to the model.

        Args:
            total: photographs that are scored.
        """
        counts = {
            "the model learned from": self.seen_in_training,
            "its thresholds were chosen on": self.thresholds_chosen_on,
        }
        parts = [f"{what} {number}" for what, number in counts.items() if number]
        if not parts:
            return ""
        return (
            f"By their names, of the photographs scored here ({total}) {' and '.join(parts)}: these "
            "figures do not say how good it is on photographs that are new to it."
        )


def familiar(cases: Sequence[Case], package: Package | None) -> Familiar | None:
    """Count the photographs that a model's manifest names as those it learned from or was set by.

    Args:
        cases: photographs that are scored.
        package: the model; None where maps are read.

    Returns:
        None where nobody says what the system has met: maps, and manifests that name no photographs.
    """
    training = package.manifest.get("training") if package else None
    learned = _photographs(training)
    if learned is None:
        return None
    held_back = _photographs(training.get("validation")) if isinstance(training, Mapping) else None
    names = {case.name for case in cases}
    return Familiar(
        seen_in_training=len(names & learned), thresholds_chosen_on=len(names & (held_back or set()))
    )


def _photographs(told: object) -> set[str] | None:
    """Return the names that a part of a manifest lists; None where other makers' manifests list none."""
    names = told.get("photographs") if isinstance(told, Mapping) else None
    return {str(name) for name in names} if isinstance(names, list) else None
