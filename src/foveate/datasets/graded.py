"""Photographs with a grade of retinopathy and no masks: healthy eyes to learn from, and eyes to judge with.

Knows:   IDRiD's grading part as it is published, and which half of it is for what.
Ignores: how a healthy eye is learned from, and how a judgement is made.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foveate import photographs
from foveate.datasets import SET_ASIDE, Case, splits
from foveate.datasets.splits import Hand
from foveate.errors import DatasetError

LABELS = "labels.csv"
"""In the folder of graded photographs: 'file', 'retinopathy_grade' and more."""

LEARN, JUDGE = 0, 1
"""The halves of `splits/idrid-graded.json`."""

PREFIX = "healthy-"
"""How a healthy eye's name begins as a case, so that it is not taken for one of the data set's."""

HEALTHY = 0
"""No apparent retinopathy, by the International Clinical Diabetic Retinopathy scale."""

ONE_EYE = (("IDRiD_043", "IDRiD_401"),)
"""Shots of one eye, as far as correlation of thumbnails can tell (`likeness`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """One photograph and its grade."""

    name: str
    """The file's, without ending."""
    photograph: Path
    grade: int
    """Of retinopathy, 0 (none apparent) to 4 (proliferative)."""


def graded(folder: Path) -> list[Graded]:
    """Return the photographs that a folder's labels.csv names, in the order of their names.

    Raises:
        DatasetError: no such file, a column or a value is missing, a grade is no number from 0 to 4, or a
            photograph is not there or named twice.
    """
    path = folder / LABELS
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: unreadable labels ({error}); restore the file") from error
    found = sorted((_read(path, row) for row in rows), key=lambda one: one.name)
    _refuse_twins(path, [one.name for one in found])
    return found


def _refuse_twins(place: Path, names: Sequence[str]) -> None:
    if twins := [name for name, times in Counter(names).items() if times > 1]:
        raise DatasetError(f"{place}: photograph {twins[0]} is there twice; take one out, or rename it")


def _read(path: Path, row: Mapping[str, str | None]) -> Graded:
    try:
        file, grade = row["file"], row["retinopathy_grade"]
    except KeyError as error:
        raise DatasetError(f"{path}: no column {error}; it needs file and retinopathy_grade") from error
    if not file or grade not in tuple("01234"):
        raise DatasetError(f"{path}: file {file!r} has grade {grade!r}; grades are 0, 1, 2, 3, 4")
    photograph = path.parent / file
    if not photograph.is_file():
        raise DatasetError(f"{path}: {photograph} is not there; unpack the set again")
    return Graded(name=photograph.stem, photograph=photograph, grade=int(grade))


def healthy(folder: Path, split: Path | None) -> list[Case]:
    """Return eyes without any lesion, as cases to learn from: looked through for everything, no masks.

    Args:
        folder: with a labels.csv, those of grade 0 that the split leaves to learn from; without, all
            photographs in it and below.
        split: folds LEARN and JUDGE of the graded photographs; None takes all of them but those of
            `examples/`.

    Raises:
        DatasetError: as `graded` and `splits.read`; a photograph is in neither half, two have one name, or
            there is none.
        PhotographError: the folder is not there, or holds no photograph.
    """
    if (folder / LABELS).exists():
        found = [one for one in graded(folder) if one.grade == HEALTHY]
        halves = (
            splits.read(split) if split is not None else dict.fromkeys((one.name for one in found), LEARN)
        )
        if lost := [one.name for one in found if one.name not in halves]:
            raise DatasetError(f"{folder}: {lost[0]} is in neither half of {split}; add it there")
        named = [(one.name, one.photograph) for one in found if halves[one.name] == LEARN]
    else:
        sources = photographs.sources([str(folder)]).photographs
        named = [(source.name.replace("/", "-"), source.path) for source in sources]
    kept = sorted((name, path) for name, path in named if path.stem not in SET_ASIDE)
    if not kept:
        raise DatasetError(f"{folder}: no photograph of a healthy eye to learn from; name another folder")
    _refuse_twins(folder, [name for name, _ in kept])
    return [Case(name=f"{PREFIX}{name}", photograph=path, masks={}) for name, path in kept]


def halves(listed: Sequence[Graded], seed: int) -> dict[str, int]:
    """Deal graded photographs to LEARN and JUDGE, as many of each grade to either.

    Those of one eye stay together; those of `examples/` are judged with.

    Args:
        listed: all photographs of the set.
        seed: fixes the deal.
    """
    bound = [set(SET_ASIDE), *map(set, ONE_EYE)]
    groups = [[one for one in listed if one.name in names] for names in bound]
    groups += [[one] for one in listed if not any(one.name in names for names in bound)]
    dealt = splits.deal_hands([_hand(group) for group in groups if group], 2, seed)
    shown = next((dealt[name] for name in sorted(SET_ASIDE) if name in dealt), JUDGE)
    return {name: JUDGE if fold == shown else LEARN for name, fold in dealt.items()}


def _hand(group: Sequence[Graded]) -> Hand:
    having = Counter(f"grade {one.grade}" for one in group)
    return Hand(names=tuple(sorted(one.name for one in group)), having=having, burdens=having)
