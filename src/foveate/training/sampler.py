"""What each step learns from: chosen as a pure function of (seed, stage, step), then made, then shared out.

Knows:   which photographs, windows and changes a step has, and how processes divide them.
Ignores: networks and losses.

Shape letters: S window side, V view side.
"""

import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader

from foveate.errors import SettingError
from foveate.geometry import feature_sampling, tiling
from foveate.training import augmentation, cache
from foveate.training.augmentation import Warp
from foveate.training.cache import Sample, Sheet
from foveate.training.distributed import Machine
from foveate.training.recipe import Recipe, StageName, drawn_as

Item = TypeVar("Item")

DECK, GRID = 1, 2
"""Keep the generators of decks and of grids apart from each other and from those of steps, which end in 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One photograph's part in a step, before a pixel is touched."""

    sheet: Sheet
    """The photograph."""
    warp: Warp
    """How it is changed."""
    places: tuple[tuple[int, int], ...]
    """Canvas px. Local stage: the window's centre. Fused stages: the windows' corners, before turning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One photograph's part in a step: its view, windows of it, or both, turned alike."""

    view: Sample | None
    """None in the local stage."""
    windows: tuple[Sample, ...]
    """None in the global stage."""
    sights: tuple[feature_sampling.FeatureSampling, ...]
    """How each window sees the view, in the fused stages."""


def count(recipe: Recipe, stage: StageName) -> int:
    """Return how many choices a step of a stage has."""
    numbers = recipe.stages[drawn_as(stage)]
    return numbers.photographs * numbers.windows if stage == "local" else numbers.photographs


def choose(sheets: Sequence[Sheet], recipe: Recipe, stage: StageName, step: int) -> list[Choice]:
    """Choose what a step learns from.

    Args:
        step: from 0.
    """
    stage = drawn_as(stage)
    generator = np.random.default_rng([recipe.seed, ord(stage[0]), step])
    if recipe.sampling == "dealt":
        return _dealt(of_the_set(sheets), recipe, stage, step, generator)
    return _drawn(sheets, recipe, stage, step, generator)


def of_the_set(sheets: Sequence[Sheet]) -> list[Sheet]:
    """Return the sheets of the data set's own photographs: healthy eyes beside them count for no epoch."""
    return [sheet for sheet in sheets if not sheet.is_healthy]


def _drawn(
    sheets: Sequence[Sheet], recipe: Recipe, stage: StageName, step: int, generator: np.random.Generator
) -> list[Choice]:
    """Choose anew at each step, by the recipe's share of windows near lesions."""
    numbers, number = recipe.stages[stage], count(recipe, stage)
    if stage == "global":
        own = of_the_set(sheets)
        chosen = generator.choice(len(own), number, replace=number > len(own))
        return [
            Choice(sheet=own[i], warp=augmentation.draw(generator, numbers.limits), places=()) for i in chosen
        ]
    firsts = _firsts(sheets, recipe, stage, number, generator)
    choices = []
    for sheet, place in firsts:
        warp = augmentation.draw(generator, numbers.limits)
        if stage == "local":
            choices.append(Choice(sheet=sheet, warp=warp, places=(place,)))
        else:
            near = _places([sheet], recipe, numbers.windows, generator)
            side, shape = recipe.contract.window_side, sheet.bits.shape
            corners = tuple(cache.corner_around(middle, side, shape) for _, middle in near)
            choices.append(Choice(sheet=sheet, warp=warp, places=corners))
    return choices


def _firsts(
    sheets: Sequence[Sheet], recipe: Recipe, stage: StageName, number: int, generator: np.random.Generator
) -> list[tuple[Sheet, tuple[int, int]]]:
    """Draw the step's photographs, each with a window; in the fused stages some of them healthy eyes."""
    own, healthy = of_the_set(sheets), [sheet for sheet in sheets if sheet.is_healthy]
    if stage == "local" or not recipe.healthy_share or not healthy:
        return _places(own, recipe, number, generator)
    kinds = [healthy if generator.random() < recipe.healthy_share else own for _ in range(number)]
    return [_places(kind, recipe, 1, generator)[0] for kind in kinds]


def _places(
    sheets: Sequence[Sheet], recipe: Recipe, number: int, generator: np.random.Generator
) -> list[tuple[Sheet, tuple[int, int]]]:
    """Draw windows; those near a lesion lie up to a quarter of a side off it, since lesions are anywhere."""
    reach = recipe.contract.window_side // 4
    return cache.places(sheets, recipe.lesion_share, reach, number, generator)


def _dealt(
    sheets: Sequence[Sheet], recipe: Recipe, stage: StageName, step: int, generator: np.random.Generator
) -> list[Choice]:
    """Deal photographs, or groups of windows of them, without putting any back until the epoch is over."""
    numbers, number = recipe.stages[stage], count(recipe, stage)
    together = {"global": recipe.patches, "local": 1}.get(stage, numbers.windows)
    groups = -(-recipe.patches // together)
    side, choices = recipe.contract.window_side, []
    for deck, card in _cards([recipe.seed, ord(stage[0])], groups * len(sheets), step * number, number):
        group, which = divmod(card, len(sheets))
        sheet = sheets[which]
        places: tuple[tuple[int, int], ...] = ()
        if stage != "global":
            grid = tiling.regular_grid(sheet.bits.shape, side, 0)
            order = np.random.default_rng([recipe.seed, ord(stage[0]), deck, GRID, which]).permutation(
                len(grid)
            )
            mine = [grid[order[n % len(grid)]] for n in range(group * together, (group + 1) * together)]
            offset = side // 2 if stage == "local" else 0
            places = tuple((int(row) + offset, int(column) + offset) for row, column in mine)
        choices.append(Choice(sheet=sheet, warp=augmentation.draw(generator, numbers.limits), places=places))
    return choices


def _cards(key: list[int], size: int, start: int, number: int) -> list[tuple[int, int]]:
    """Return (deck, card) of some cards of decks that are shuffled and dealt one after another."""
    decks = {n // size for n in range(start, start + number)}
    shuffled = {deck: np.random.default_rng([*key, deck, DECK]).permutation(size) for deck in decks}
    return [(n // size, int(shuffled[n // size][n % size])) for n in range(start, start + number)]


def make(choice: Choice, recipe: Recipe, stage: StageName) -> Drawn:
    """Cut, turn and recolour what was chosen."""
    contract, sheet, warp = recipe.contract, choice.sheet, choice.warp
    if stage == "global":
        return Drawn(view=cache.view(sheet, contract, warp), windows=(), sights=())
    if stage == "local":
        windows = tuple(cache.window(sheet, place, contract, warp) for place in choice.places)
        return Drawn(view=None, windows=windows, sights=())
    view = None if stage == "local-alone" else cache.view(sheet, contract, warp)
    if stage == "global-alone":
        return Drawn(view=view, windows=(), sights=())
    side, shape = contract.window_side, sheet.bits.shape
    return Drawn(
        view=view,
        windows=tuple(cache.turned_window(sheet, corner, contract, warp) for corner in choice.places),
        sights=tuple(
            feature_sampling.sample_at(
                augmentation.turn_corner(corner, side, shape, warp),
                side,
                augmentation.turn_shape(shape, warp),
                contract.view_side,
            )
            for corner in choice.places
        ),
    )


def divided(items: Sequence[Item], parts: int) -> list[list[Item]]:
    """Divide items into parts in their order, as evenly as can be.

    Raises:
        SettingError: fewer items than parts.
    """
    if len(items) < parts:
        raise SettingError(
            f"{len(items)} photographs a step cannot be divided into {parts} parts; raise the stage's "
            "photographs, or use fewer processes or parts"
        )
    edges = [len(items) * n // parts for n in range(parts + 1)]
    return [list(items[start:stop]) for start, stop in itertools.pairwise(edges)]


class Steps:
    """Step -> what this process learns from in it; travels to other processes as the places of its sheets."""

    def __init__(self, sheets: Sequence[Sheet], recipe: Recipe, stage: StageName, machine: Machine) -> None:
        self.sheets, self.recipe, self.stage = tuple(sheets), recipe, stage
        self.rank, self.ranks = machine.rank, machine.ranks

    def __getitem__(self, step: int) -> tuple[Drawn, ...]:
        """Return this process's share of a step."""
        choices = divided(choose(self.sheets, self.recipe, self.stage, step), self.ranks)[self.rank]
        return tuple(make(choice, self.recipe, self.stage) for choice in choices)

    def __getstate__(self) -> dict[str, Any]:
        """Name the files of the sheets: 150 MB each would be copied otherwise."""
        files = [Path(str(getattr(sheet.pixels, "filename"))) for sheet in self.sheets]  # noqa: B009
        sheets = zip(files, self.sheets, strict=True)
        return vars(self) | {
            "sheets": [(file.parent, sheet.name, sheet.is_healthy) for file, sheet in sheets]
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the files."""
        vars(self).update(state)
        self.sheets = tuple(
            replace(cache.opened(place, name), is_healthy=is_healthy)
            for place, name, is_healthy in state["sheets"]
        )


def ahead(steps: Steps, wanted: range, workers: int) -> Iterator[tuple[Drawn, ...]]:
    """Return what the wanted steps learn from, drawn by so many processes ahead of time, or by this one.

    They are not forked from this one, since OpenCV's threads do not survive that, but from a fresh one that
    has imported what they need, or started afresh where there is no such way.
    """
    if workers == 0:
        return (steps[step] for step in wanted)
    has_server = "forkserver" in multiprocessing.get_all_start_methods()
    way = multiprocessing.get_context("forkserver" if has_server else "spawn")
    way.set_forkserver_preload([__name__])
    loader: DataLoader[tuple[Drawn, ...]] = DataLoader(
        steps,  # type: ignore[arg-type]  # anything that can be asked for a step will do
        batch_size=None,
        sampler=wanted,
        num_workers=workers,
        multiprocessing_context=way,
        collate_fn=_as_it_is,
    )
    return iter(loader)


def _as_it_is(drawn: Item) -> Item:
    return drawn
