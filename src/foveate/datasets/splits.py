"""Divide photographs into folds that are explicit, seeded and saved to a file.

Knows:   names, strata, and which photographs must stay together.
Ignores: pixels, and what a fold is used for.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveate import atomic_files
from foveate.datasets import Case, facts, likeness
from foveate.datasets.facts import CaseFacts
from foveate.errors import DatasetError, SettingError
from foveate.paths import display_path, exists, nfc, valid_path
from foveate.wording import quantity
from foveate.writers.tables import utf8

FOLDS_EXAMPLE = '{"folds": {"IDRiD_01": 0, "IDRiD_02": 1}}'
"""A file of folds, for messages."""

Folds = Mapping[str, int]
"""Name of a photograph -> number of its fold, from 0."""

TRIALS = 32
"""Number of random assignments, of which the most even is used: more changed nothing on IDRiD."""

SWAPS = 4000
"""Largest number of swaps that are tried to make areas more even; with few photographs, three per pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographGroup:
    """Photographs that must be in the same fold: of one eye, or nearly equal."""

    names: tuple[str, ...]
    """Names of the photographs."""
    photographs: Mapping[str, int]
    """Lesion -> number of photographs that have it; lesions that none of them has are absent."""
    areas: Mapping[str, int]
    """Lesion -> its pixels in all photographs, for the same lesions."""


def stratified(cases: Iterable[Case], lesions: tuple[str, ...], count: int, seed: int) -> dict[str, int]:
    """Assign photographs to folds so that each lesion has a similar frequency and area in every fold.

    Photographs of one eye, as identified by the layout or by their likeness, share a fold; so do equal
    photographs. Likeness is computed only where photographs show a round field.

    Args:
        cases: all photographs of the split.
        lesions: lesions to stratify by; one that a photograph was not annotated for does not count for it.
        count: number of folds, at least 2.
        seed: seed of the assignment.

    Raises:
        PhotographError, DatasetError: a photograph or mask cannot be used, or there are fewer groups
            than folds.
    """
    return assign_folds(group_photographs([facts.read(case, lesions) for case in cases]), count, seed)


def group_photographs(cases: Sequence[CaseFacts]) -> list[PhotographGroup]:
    """Group photographs of one eye, and photographs with equal pixels."""
    tied = [(low, high) for low, high, _ in likeness.pairs([case.fingerprint for case in cases])]
    first: dict[str, int] = {}
    tied += [(first.setdefault(case.levels, index), index) for index, case in enumerate(cases)]
    groups = likeness.groups(len(cases), tied, [case.eye for case in cases])
    return [_group([cases[index] for index in group]) for group in groups]


def assign_folds(groups: Sequence[PhotographGroup], count: int, seed: int) -> dict[str, int]:
    """Assign groups of photographs to folds: the rarest lesion first, the largest area first.

    Each group goes to the fold in which the lesion is least frequent; among equals, to the one with the
    smallest area of it; among equals, to the one with the fewest photographs. No fold grows beyond its share
    while another has room. Of 32 assignments that break ties differently, the one is used in which the
    fewest folds lack a lesion that could be in all of them; among equals, the one with the most even
    presence; among equals, the one with the most even area. Finally, groups with the same lesions are swapped
    between folds where that makes areas more even.

    Args:
        groups: all groups.
        count: number of folds, at least 2.
        seed: seed of the assignment; the order of the groups does not matter.

    Raises:
        DatasetError: there are fewer groups than folds, or fewer than two folds.
        SettingError: the seed is below 0.

    Source: iterative stratification, Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10; areas, groups,
    the choice among several assignments and the swaps are ours.
    """
    require_divisible(len(groups), count, seed)
    ordered = sorted(groups, key=lambda group: group.names)
    trials = [
        _assign_randomly(ordered, count, np.random.default_rng([seed, trial])) for trial in range(TRIALS)
    ]
    best = min(trials, key=lambda folds: _unevenness(ordered, folds, count))
    best = _swap_for_even_areas(ordered, best, count, np.random.default_rng([seed, TRIALS]))
    return dict(
        sorted((name, fold) for group, fold in zip(ordered, best, strict=True) for name in group.names)
    )


def require_divisible(groups: int, count: int, seed: int) -> None:
    """Check a division into folds before all photographs are read.

    Args:
        groups: number of groups; at first that of the photographs, of which some may be in one group.
        count: number of folds.
        seed: seed of the assignment.

    Raises:
        DatasetError: there are fewer groups than folds, or fewer than two folds.
        SettingError: the seed is below 0.
    """
    if not 2 <= count <= groups:
        raise DatasetError(
            f"{quantity(groups, 'photograph')} (those of one eye are counted once) cannot be divided "
            f"into {quantity(count, 'fold')}; {_fold_range(groups)}, or "
            'write the folds yourself ({"folds": {NAME: NUMBER}}) and train with --split FILE.json'
        )
    if seed < 0:
        raise SettingError(f"seed is {seed}; give 0 or more")


def _fold_range(photographs: int) -> str:
    """Return what to do where photographs cannot be divided into the requested number of folds."""
    if photographs < 2:
        return "add photographs"
    return "use 2 folds" if photographs == 2 else f"use 2 to {photographs} folds"


def _group(cases: Sequence[CaseFacts]) -> PhotographGroup:
    photographs: dict[str, int] = {}
    areas: dict[str, int] = {}
    for lesion, area in ((lesion, area) for case in cases for lesion, area in case.areas.items()):
        if area.pixels:
            photographs[lesion] = photographs.get(lesion, 0) + 1
            areas[lesion] = areas.get(lesion, 0) + area.pixels
    names = tuple(sorted(case.name for case in cases))
    return PhotographGroup(names=names, photographs=photographs, areas=areas)


@dataclass(frozen=True, kw_only=True, slots=True)
class _FoldContents:
    """The contents of each fold while groups are assigned."""

    sizes: list[int]
    photographs: list[dict[str, int]]
    areas: list[dict[str, int]]

    def add(self, fold: int, group: PhotographGroup) -> None:
        """Add a group to a fold."""
        self.sizes[fold] += len(group.names)
        for lesion, count in group.photographs.items():
            self.photographs[fold][lesion] = self.photographs[fold].get(lesion, 0) + count
            self.areas[fold][lesion] = self.areas[fold].get(lesion, 0) + group.areas[lesion]


def _assign_randomly(
    groups: Sequence[PhotographGroup], count: int, generator: np.random.Generator
) -> list[int]:
    """Return the fold of each group in one assignment; the generator breaks ties."""
    total = sum(len(group.names) for group in groups)
    folds = [-1] * len(groups)
    contents = _FoldContents(
        sizes=[0] * count, photographs=[{} for _ in range(count)], areas=[{} for _ in range(count)]
    )
    for index, lesion in _assignment_order(groups, generator):
        group = groups[index]
        ties = generator.permutation(count)
        folds[index] = min(
            _open_folds(contents.sizes, len(group.names), total),
            key=lambda fold: (
                contents.photographs[fold].get(lesion, 0),
                contents.areas[fold].get(lesion, 0),
                contents.sizes[fold],
                ties[fold],
            ),
        )
        contents.add(folds[index], group)
    return folds


def _assignment_order(
    groups: Sequence[PhotographGroup], generator: np.random.Generator
) -> Iterator[tuple[int, str]]:
    """Yield the groups in the order of their assignment, each with the lesion that decides its fold."""
    remaining = [int(index) for index in generator.permutation(len(groups))]
    while remaining:
        holders: dict[str, int] = {}
        for lesion in (lesion for index in remaining for lesion in groups[index].photographs):
            holders[lesion] = holders.get(lesion, 0) + 1
        rarest = min(sorted(holders), key=holders.__getitem__, default="")
        selected = [index for index in remaining if rarest in groups[index].photographs or not rarest]
        remaining = [index for index in remaining if rarest not in groups[index].photographs and rarest]
        selected.sort(key=lambda index: (-groups[index].areas.get(rarest, 0), -len(groups[index].names)))
        yield from ((index, rarest) for index in selected)


def _open_folds(sizes: Sequence[int], added: int, total: int) -> list[int]:
    """Return the folds that stay within their share after the addition, or else the smallest folds."""
    within = [fold for fold, size in enumerate(sizes) if size + added <= total // len(sizes)]
    return within or [fold for fold, size in enumerate(sizes) if size == min(sizes)]


def _unevenness(
    groups: Sequence[PhotographGroup], folds: Sequence[int], count: int
) -> tuple[float, float, float]:
    """Return how many folds lack a lesion that could be in all, and the unevenness of presence and area."""
    lacking = spread = uneven = 0.0
    for lesion in sorted({lesion for group in groups for lesion in group.photographs}):
        photographs, areas, holders = np.zeros(count), np.zeros(count), np.zeros(count)
        for group, fold in zip(groups, folds, strict=True):
            if lesion in group.photographs:
                photographs[fold] += group.photographs[lesion]
                areas[fold] += group.areas[lesion]
                holders[fold] += 1
        lacking += (holders == 0).sum() if holders.sum() >= count else 0
        spread += photographs.max() - photographs.min()
        uneven += areas.std() / areas.mean()
    return float(lacking), float(spread), float(uneven)


def _swap_for_even_areas(
    groups: Sequence[PhotographGroup], folds: Sequence[int], count: int, generator: np.random.Generator
) -> list[int]:
    """Swap groups of equal size and lesions between folds where areas become more even."""
    lesions = sorted({lesion for group in groups for lesion in group.photographs})
    areas = np.array([[group.areas.get(lesion, 0) for lesion in lesions] for group in groups], float)
    areas /= np.maximum(areas.sum(axis=0), 1)
    swapped = list(folds)
    sums = np.stack([areas[np.array(swapped) == fold].sum(axis=0) for fold in range(count)])
    tries = min(SWAPS, 3 * len(groups) * (len(groups) - 1) // 2)
    for a, b in generator.integers(len(groups), size=(tries, 2)).tolist():
        fold_a, fold_b = swapped[a], swapped[b]
        if fold_a == fold_b or not _are_alike(groups[a], groups[b]):
            continue
        after = sums.copy()
        after[fold_a] += areas[b] - areas[a]
        after[fold_b] += areas[a] - areas[b]
        if after.std(axis=0).sum() < sums.std(axis=0).sum() - 1e-12:  # rounding must not cause endless swaps
            sums, swapped[a], swapped[b] = after, fold_b, fold_a
    return swapped


def _are_alike(a: PhotographGroup, b: PhotographGroup) -> bool:
    return len(a.names) == len(b.names) and a.photographs == b.photographs


def write(path: Path, folds: Folds, about: str) -> None:
    """Save folds as JSON.

    Args:
        path: path of the file; an existing one is not replaced, because a model may have been trained on it.
        folds: name -> fold.
        about: what was divided, and how to repeat the division.

    Raises:
        DatasetError: the file already exists.
        OutputError: the file cannot be written.
    """
    require_new(path)
    content = {"about": about, "folds": dict(sorted(folds.items()))}
    atomic_files.write_file(path, utf8(json.dumps(content, indent=1, ensure_ascii=False) + "\n"))


def require_new(path: Path) -> None:
    """Refuse to replace an existing file of folds.

    Raises:
        DatasetError: the file already exists.
    """
    if exists(path):
        raise DatasetError(
            f"{display_path(path)}: already exists, and a model may have been trained on it; choose another "
            "--out"
        )


def read(path: Path) -> dict[str, int]:
    """Read folds from JSON.

    Raises:
        DatasetError: the file is missing, or does not map names to whole numbers of at least 0.
    """
    try:
        folds = json.loads(valid_path(path).read_text(encoding="utf-8-sig"))["folds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{display_path(path)}: the folds cannot be read ({error}); give a JSON file such as "
            f"{FOLDS_EXAMPLE}"
        ) from error
    if not isinstance(folds, dict):
        raise DatasetError(
            f"{display_path(path)}: 'folds' is {folds!r}; give a JSON file such as {FOLDS_EXAMPLE}"
        )
    for name, fold in folds.items():
        if type(fold) is not int or fold < 0:  # True is an int as well
            raise DatasetError(
                f"{display_path(path)}: the fold of photograph {name!r} is {json.dumps(fold)}; give a whole "
                "number, 0 or more"
            )
    return {nfc(name): fold for name, fold in folds.items()}


def part(names: Sequence[str], folds: Folds, held_out: int) -> tuple[list[str], list[str]]:
    """Return the names to train on and the names of the held-out fold.

    Raises:
        DatasetError: a photograph is in no fold, or the fold is empty.
    """
    missing = sorted(set(names) - set(folds))
    if missing:
        others = f"and {quantity(len(missing) - 1, 'other')} are" if len(missing) > 1 else "is"
        raise DatasetError(f"photograph {missing[0]} {others} in no fold of the split")
    validation = [name for name in names if folds[name] == held_out]
    if not validation:
        raise DatasetError(
            f"fold {held_out} has no photograph; the split has the folds "
            f"{', '.join(map(str, sorted(set(folds.values()))))}"
        )
    return [name for name in names if folds[name] != held_out], validation
