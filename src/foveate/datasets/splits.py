"""Which photographs are held back: explicit, seeded, saved.

Knows:   names, strata, and what must stay together.
Ignores: pixels, and what a fold is used for.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveate.datasets import Case, facts, likeness
from foveate.datasets.facts import Facts
from foveate.errors import DatasetError
from foveate.writers import files

Folds = Mapping[str, int]
"""Photograph name -> number of the fold that holds it back, from 0."""

DEALS = 32
"""Random deals of which the most even is taken: more changed nothing on IDRiD."""

SWAPS = 4000
"""Most exchanges that are tried to make burdens even; of fewer photographs, three for each pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hand:
    """Photographs that must lie in one fold: of one eye, or nearly the same."""

    names: tuple[str, ...]
    having: Mapping[str, int]
    """Lesion -> how many of them have it; lesions that none has are absent."""
    burdens: Mapping[str, int]
    """Lesion -> its pixels in them; the same lesions."""


def stratified(cases: Iterable[Case], lesions: tuple[str, ...], count: int, seed: int) -> dict[str, int]:
    """Deal photographs to folds so that each lesion occurs as often in every fold, and as large.

    Photographs of one eye, as the layout or their likeness tells it, share a fold; so do equal ones. Likeness
    is asked only where photographs show a round field.

    Args:
        cases: all of the split.
        lesions: to stratify by; one that a photograph was not looked through for does not count for it.
        count: number of folds, at least 2.
        seed: fixes the deal.

    Raises:
        PhotographError, DatasetError: a photograph or mask cannot be used, or fewer groups than folds.
    """
    return deal_hands(hands([facts.of(case, lesions) for case in cases]), count, seed)


def hands(known: Sequence[Facts]) -> list[Hand]:
    """Put photographs of one eye together, and those of the very same pixels."""
    tied = [(low, high) for low, high, _ in likeness.pairs([one.fingerprint for one in known])]
    first: dict[str, int] = {}
    tied += [(first.setdefault(one.levels, index), index) for index, one in enumerate(known)]
    together = likeness.groups(len(known), tied, [one.eye for one in known])
    return [_hand([known[index] for index in group]) for group in together]


def deal_hands(dealt: Sequence[Hand], count: int, seed: int) -> dict[str, int]:
    """Deal groups of photographs to folds: the rarest lesion first, the largest burden first.

    Each group goes to the fold that has the lesion least often; of several such, to the one with the least of
    it; of several such, to the smallest. No fold grows beyond its share while another has room. Of 32 deals
    that differ in how ties are broken, the one is taken in which fewest folds lack a lesion that could be in
    all, then presence is most even, then burden. Last, groups that have the same lesions change folds where
    that makes burdens more even.

    Args:
        dealt: the groups.
        count: number of folds, at least 2.
        seed: fixes the deal; the order of the groups does not matter.

    Raises:
        DatasetError: fewer groups than folds, or fewer than two folds.

    Source: iterative stratification, Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10; burdens, groups,
    the choice among several deals and the exchanges are ours.
    """
    if not 2 <= count <= len(dealt):
        fewer = f"use 2 to {len(dealt)} folds, or " if len(dealt) >= 2 else ""
        raise DatasetError(
            f"{len(dealt)} photographs (or groups of one eye) cannot be dealt to {count} folds; {fewer}"
            'write the folds yourself ({"folds": {NAME: NUMBER}}) and train with --split FILE.json'
        )
    ordered = sorted(dealt, key=lambda hand: hand.names)
    deals = [_deal(ordered, count, np.random.default_rng([seed, number])) for number in range(DEALS)]
    best = min(deals, key=lambda folds: _unevenness(ordered, folds, count))
    best = _evened(ordered, best, count, np.random.default_rng([seed, DEALS]))
    return dict(sorted((name, fold) for hand, fold in zip(ordered, best, strict=True) for name in hand.names))


def _hand(known: Sequence[Facts]) -> Hand:
    having: dict[str, int] = {}
    burdens: dict[str, int] = {}
    for lesion, amount in ((lesion, amount) for one in known for lesion, amount in one.amounts.items()):
        if amount.pixels:
            having[lesion] = having.get(lesion, 0) + 1
            burdens[lesion] = burdens.get(lesion, 0) + amount.pixels
    return Hand(names=tuple(sorted(one.name for one in known)), having=having, burdens=burdens)


def _deal(dealt: Sequence[Hand], count: int, generator: np.random.Generator) -> list[int]:
    """Return each group's fold in one deal."""
    total = sum(len(hand.names) for hand in dealt)
    folds = [-1] * len(dealt)
    table = _Table(sizes=[0] * count, having=[{} for _ in range(count)], burdens=[{} for _ in range(count)])
    for index, lesion in _turns(dealt, generator):
        hand = dealt[index]
        ties = generator.permutation(count)
        folds[index] = min(
            _open(table.sizes, len(hand.names), total),
            key=lambda fold: (
                table.having[fold].get(lesion, 0),
                table.burdens[fold].get(lesion, 0),
                table.sizes[fold],
                ties[fold],
            ),
        )
        _lay(table, folds[index], hand)
    return folds


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """What has been dealt to each fold; grows while a deal goes on."""

    sizes: list[int]
    having: list[dict[str, int]]
    burdens: list[dict[str, int]]


def _lay(table: _Table, fold: int, hand: Hand) -> None:
    table.sizes[fold] += len(hand.names)
    for lesion, having in hand.having.items():
        table.having[fold][lesion] = table.having[fold].get(lesion, 0) + having
        table.burdens[fold][lesion] = table.burdens[fold].get(lesion, 0) + hand.burdens[lesion]


def _turns(dealt: Sequence[Hand], generator: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield the groups in the order in which they are dealt, each with the lesion that it is dealt for."""
    waiting = [int(index) for index in generator.permutation(len(dealt))]
    while waiting:
        holders: dict[str, int] = {}
        for lesion in (lesion for index in waiting for lesion in dealt[index].having):
            holders[lesion] = holders.get(lesion, 0) + 1
        rarest = min(sorted(holders), key=holders.__getitem__, default="")
        turn = [index for index in waiting if rarest in dealt[index].having or not rarest]
        turn.sort(key=lambda index: (-dealt[index].burdens.get(rarest, 0), -len(dealt[index].names)))
        yield from ((index, rarest) for index in turn)
        waiting = [index for index in waiting if index not in set(turn)]


def _open(sizes: Sequence[int], more: int, total: int) -> list[int]:
    """Return the folds that a group may go to: those that stay within their share; else the smallest."""
    within = [fold for fold, size in enumerate(sizes) if size + more <= total // len(sizes)]
    return within or [fold for fold, size in enumerate(sizes) if size == min(sizes)]


def _unevenness(dealt: Sequence[Hand], folds: Sequence[int], count: int) -> tuple[float, float, float]:
    """Return how many folds lack a lesion that could be in all, and how far presence and burden differ."""
    lacking = spread = uneven = 0.0
    for lesion in sorted({lesion for hand in dealt for lesion in hand.having}):
        having, burdens, groups = np.zeros(count), np.zeros(count), np.zeros(count)
        for hand, fold in zip(dealt, folds, strict=True):
            if lesion in hand.having:
                having[fold] += hand.having[lesion]
                burdens[fold] += hand.burdens[lesion]
                groups[fold] += 1
        lacking += (groups == 0).sum() if groups.sum() >= count else 0
        spread += having.max() - having.min()
        uneven += burdens.std() / burdens.mean()
    return float(lacking), float(spread), float(uneven)


def _evened(
    dealt: Sequence[Hand], folds: Sequence[int], count: int, generator: np.random.Generator
) -> list[int]:
    """Exchange groups of the same size and lesions between folds where burdens become more even."""
    lesions = sorted({lesion for hand in dealt for lesion in hand.having})
    burdens = np.array([[hand.burdens.get(lesion, 0) for lesion in lesions] for hand in dealt], float)
    burdens /= np.maximum(burdens.sum(axis=0), 1)
    found = list(folds)
    sums = np.stack([burdens[np.array(found) == fold].sum(axis=0) for fold in range(count)])
    tries = min(SWAPS, 3 * len(dealt) * (len(dealt) - 1) // 2)
    for one, other in generator.integers(len(dealt), size=(tries, 2)).tolist():
        here, there = found[one], found[other]
        same = len(dealt[one].names) == len(dealt[other].names) and dealt[one].having == dealt[other].having
        if here == there or not same:
            continue
        after = sums.copy()
        after[here] += burdens[other] - burdens[one]
        after[there] += burdens[one] - burdens[other]
        if after.std(axis=0).sum() < sums.std(axis=0).sum() - 1e-12:  # no exchange back and forth by rounding
            sums, found[one], found[other] = after, there, here
    return found


def write(path: Path, folds: Folds, about: str) -> None:
    """Save folds as JSON.

    Args:
        path: of the file; an earlier one is not replaced: a model may have been trained on it.
        folds: name -> fold.
        about: what was dealt, and how it is dealt again.

    Raises:
        DatasetError: the file is there already.
        OutputError: it cannot be written.
    """
    require_new(path)
    content = {"about": about, "folds": dict(sorted(folds.items()))}
    files.write(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def deal(names: Sequence[str], burdens: Sequence[tuple[float, ...]], count: int, seed: int) -> dict[str, int]:
    """Deal photographs to folds so that each fold sees the whole range of burdens.

    Photographs are sorted by burden, most significant entry first, and every `count` neighbours go to
    different folds, in random order.

    Args:
        names: of the photographs.
        burdens: what to stratify by, one tuple a photograph, e.g. (soft exudates present, haemorrhage area).
        count: number of folds, at least 2.
        seed: fixes the deal.

    Raises:
        DatasetError: fewer photographs than folds, or fewer than two folds.

    Source: our choice.
    """
    if not 2 <= count <= len(names):
        raise DatasetError(
            f"{len(names)} photographs cannot be dealt to {count} folds; use 2 to {len(names)}"
        )
    generator = np.random.default_rng(seed)
    order = sorted(range(len(names)), key=lambda i: (burdens[i], names[i]))
    folds: dict[str, int] = {}
    for start in range(0, len(order), count):
        hand = order[start : start + count]
        folds |= {names[i]: int(fold) for i, fold in zip(hand, generator.permutation(count), strict=False)}
    return dict(sorted(folds.items()))


def require_new(path: Path) -> None:
    """Refuse to replace a split.

    Raises:
        DatasetError: the file is there already.
    """
    if path.exists():
        raise DatasetError(
            f"{path}: is there already, and a model may have been trained on it; choose another --out"
        )


def read(path: Path) -> dict[str, int]:
    """Read folds from JSON.

    Raises:
        DatasetError: the file is missing or is no mapping of names to whole numbers.
    """
    try:
        folds = json.loads(path.read_text())["folds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no folds could be read ({error})") from error
    if not isinstance(folds, dict) or not all(isinstance(fold, int) for fold in folds.values()):
        raise DatasetError(f"{path}: 'folds' must map each photograph's name to a whole number")
    return folds


def part(names: Sequence[str], folds: Folds, held_back: int) -> tuple[list[str], list[str]]:
    """Return the names to train on and the names held back.

    Raises:
        DatasetError: a photograph is in no fold, or the fold is empty.
    """
    missing = sorted(set(names) - set(folds))
    if missing:
        raise DatasetError(f"photograph {missing[0]} is in no fold of the split ({len(missing)} such)")
    validation = [name for name in names if folds[name] == held_back]
    if not validation:
        raise DatasetError(
            f"fold {held_back} holds no photograph; there are folds {sorted(set(folds.values()))}"
        )
    return [name for name in names if folds[name] != held_back], validation
