"""Which photographs are held back: explicit, seeded, saved.

Knows:   names and strata.
Ignores: pixels, and what a fold is used for.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from foveate.errors import DatasetError

Folds = Mapping[str, int]
"""Photograph name -> number of the fold that holds it back, from 0."""


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
