"""Choose the samples of each step as a pure function of (seed, stage, step), and share them among processes.

Knows:   which photographs, windows and augmentations a step has, and how processes divide them.
Ignores: networks and losses.

Shape letters: S window side, V view side.
"""

import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader

from foveate.errors import FoveateError, SettingError, is_out_of_memory
from foveate.geometry import tiling
from foveate.geometry.feature_sampling import FeatureSampling, window_sampling
from foveate.training import augmentation, cache, samples
from foveate.training.augmentation import Warp
from foveate.training.cache import CachedCase
from foveate.training.distributed import Machine
from foveate.training.recipe import Recipe, StageName, base_stage
from foveate.training.samples import Sample
from foveate.wording import quantity

Item = TypeVar("Item")

PHOTOGRAPH_STREAM, GRID_STREAM = 1, 2
"""Parts of seeds that keep the generators of epochs and of grids apart from each other and from those of
steps, whose seeds are shorter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSpec:
    """The samples that a step takes from one photograph, before any pixel is read."""

    case: CachedCase
    """The photograph."""
    warp: Warp
    """Its augmentation."""
    positions: tuple[tuple[int, int], ...]
    """Canvas px. Local stage: the window's centre. Fused stages: the windows' corners before the warp."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingItem:
    """The samples that a step takes from one photograph: view, windows or both, augmented alike."""

    view: Sample | None
    """None in the local stage."""
    windows: tuple[Sample, ...]
    """Empty in the global stage."""
    samplings: tuple[FeatureSampling, ...]
    """Where each window lies in the view, in the fused stages."""


def items_per_step(recipe: Recipe, stage: StageName) -> int:
    """Return the number of `SampleSpec`s of a step."""
    numbers = recipe.stages[base_stage(stage)]
    return numbers.photographs * numbers.windows if stage == "local" else numbers.photographs


def sample_specs(
    cases: Sequence[CachedCase], recipe: Recipe, stage: StageName, step: int
) -> list[SampleSpec]:
    """Choose the samples of a step.

    Args:
        cases: all cases to train on, healthy eyes included.
        recipe: states how samples are chosen.
        stage: a stage of the run.
        step: number of the step, from 0.
    """
    stage = base_stage(stage)
    generator = np.random.default_rng([recipe.seed, ord(stage[0]), step])
    if recipe.sampling == "dealt":
        return _epoch_specs(without_healthy(cases), recipe, stage, step, generator)
    return _random_specs(cases, recipe, stage, generator)


def without_healthy(cases: Sequence[CachedCase]) -> list[CachedCase]:
    """Return the data set's own photographs: healthy eyes from outside it do not count towards an epoch."""
    return [case for case in cases if not case.is_healthy]


def _random_specs(
    cases: Sequence[CachedCase], recipe: Recipe, stage: StageName, generator: np.random.Generator
) -> list[SampleSpec]:
    """Choose samples with replacement, with the recipe's share of windows near lesions."""
    numbers, count = recipe.stages[stage], items_per_step(recipe, stage)
    if stage == "global":
        own = without_healthy(cases)
        indices = generator.choice(len(own), count, replace=count > len(own))
        return [
            SampleSpec(case=own[i], warp=augmentation.sample_warp(generator, numbers.limits), positions=())
            for i in indices
        ]
    specs = []
    for case, centre in _photographs_and_centres(cases, recipe, stage, count, generator):
        warp = augmentation.sample_warp(generator, numbers.limits)
        if stage == "local":
            specs.append(SampleSpec(case=case, warp=warp, positions=(centre,)))
        else:
            centres = _centres([case], recipe, numbers.windows, generator)
            side, shape = recipe.contract.window_side, case.shape
            corners = tuple(samples.window_corner(position, side, shape) for _, position in centres)
            specs.append(SampleSpec(case=case, warp=warp, positions=corners))
    return specs


def _photographs_and_centres(
    cases: Sequence[CachedCase], recipe: Recipe, stage: StageName, count: int, generator: np.random.Generator
) -> list[tuple[CachedCase, tuple[int, int]]]:
    """Choose the step's photographs, each with a window; in the fused stages some are healthy eyes."""
    own, healthy = without_healthy(cases), [case for case in cases if case.is_healthy]
    share = recipe.healthy_share_in(stage)
    if stage == "local" or not share or not healthy:
        return _centres(own, recipe, count, generator)
    pools = [healthy if generator.random() < share else own for _ in range(count)]
    return [_centres(pool, recipe, 1, generator)[0] for pool in pools]


def _centres(
    cases: Sequence[CachedCase], recipe: Recipe, count: int, generator: np.random.Generator
) -> list[tuple[CachedCase, tuple[int, int]]]:
    """Choose windows; their lesion is up to a quarter of a side off the centre, so that its place varies."""
    reach = recipe.contract.window_side // 4
    return sample_centres(cases, recipe.lesion_share, reach, count, generator)


def sample_centres(
    cases: Sequence[CachedCase], lesion_share: float, reach: int, count: int, generator: np.random.Generator
) -> list[tuple[CachedCase, tuple[int, int]]]:
    """Sample cases and the centres of windows in them.

    A share of the windows is centred near a pixel of a random lesion: the lesion is chosen first, then a case
    that has it, then the pixel, so that rare lesions are seen as often as common ones. The other windows lie
    anywhere.

    Args:
        cases: the cases to choose from.
        lesion_share: share of the windows that are centred near a lesion, 0 to 1.
        reach: largest distance of their centres from that pixel along each axis, canvas px.
        count: number of windows.
        generator: the source of randomness.

    Returns:
        Cases and centres; a centre may lie up to `reach` px beyond the canvas.

    Raises:
        SettingError: the share is outside 0 to 1.

    Source: our choice; the paper crops uniformly (lesion_share 0).
    """
    if not 0 <= lesion_share <= 1:
        raise SettingError(f"lesion_share is {lesion_share:g}; give a share from 0 to 1")
    present = sorted({lesion for case in cases for lesion in case.marked_pixels})
    centres = []
    for _ in range(count):
        if present and generator.random() < lesion_share:
            lesion = present[generator.integers(len(present))]
            candidates = [case for case in cases if lesion in case.marked_pixels]
            case = candidates[int(generator.integers(len(candidates)))]
            pixels = case.marked_pixels[lesion]
            pixel = pixels[generator.integers(len(pixels))]
            offset = generator.integers(-reach, reach + 1, 2)
            centres.append((case, (int(pixel[0] + offset[0]), int(pixel[1] + offset[1]))))
        else:
            case = cases[int(generator.integers(len(cases)))]
            height, width = case.shape
            centres.append((case, (int(generator.integers(height)), int(generator.integers(width)))))
    return centres


def _epoch_specs(
    cases: Sequence[CachedCase], recipe: Recipe, stage: StageName, step: int, generator: np.random.Generator
) -> list[SampleSpec]:
    """Choose photographs, or groups of their windows, without replacement until the epoch is over."""
    numbers, count = recipe.stages[stage], items_per_step(recipe, stage)
    group_size = {"global": recipe.patches, "local": 1}.get(stage, numbers.windows)
    groups = -(-recipe.patches // group_size)
    side, specs, seed = recipe.contract.window_side, [], [recipe.seed, ord(stage[0])]
    for epoch, position in _epoch_positions(seed, groups * len(cases), step * count, count):
        group, index = divmod(position, len(cases))
        case = cases[index]
        positions: tuple[tuple[int, int], ...] = ()
        if stage != "global":
            grid = tiling.regular_grid(case.shape, side, 0)
            order = np.random.default_rng([*seed, epoch, GRID_STREAM, index]).permutation(len(grid))
            corners = [
                grid[order[n % len(grid)]] for n in range(group * group_size, (group + 1) * group_size)
            ]
            offset = side // 2 if stage == "local" else 0
            positions = tuple((int(row) + offset, int(column) + offset) for row, column in corners)
        warp = augmentation.sample_warp(generator, numbers.limits)
        specs.append(SampleSpec(case=case, warp=warp, positions=positions))
    return specs


def _epoch_positions(seed: list[int], size: int, start: int, count: int) -> list[tuple[int, int]]:
    """Return (epoch, position) of consecutive items, where each epoch is a permutation of all positions."""
    epochs = {n // size for n in range(start, start + count)}
    permutations = {epoch: epoch_permutation(seed, epoch, size) for epoch in epochs}
    return [(n // size, int(permutations[n // size][n % size])) for n in range(start, start + count)]


def epoch_permutation(seed: list[int], epoch: int, size: int) -> np.ndarray:
    """Return the order of an epoch's `size` positions."""
    return np.random.default_rng([*seed, epoch, PHOTOGRAPH_STREAM]).permutation(size)


def materialise(spec: SampleSpec, recipe: Recipe, stage: StageName) -> TrainingItem:
    """Crop, warp and recolour the samples of a spec."""
    contract, case, warp = recipe.contract, spec.case, spec.warp
    if stage == "global":
        return TrainingItem(view=samples.view_sample(case, contract, warp), windows=(), samplings=())
    if stage == "local":
        windows = tuple(samples.window_sample(case, centre, contract, warp) for centre in spec.positions)
        return TrainingItem(view=None, windows=windows, samplings=())
    view = None if stage == "local-alone" else samples.view_sample(case, contract, warp)
    if stage == "global-alone":
        return TrainingItem(view=view, windows=(), samplings=())
    placed = [samples.registered_window_sample(case, corner, contract, warp) for corner in spec.positions]
    shape = augmentation.turn_shape(case.shape, warp)
    return TrainingItem(
        view=view,
        windows=tuple(window for window, _ in placed),
        samplings=tuple(
            window_sampling(corner, contract.window_side, shape, contract.view_side) for _, corner in placed
        ),
    )


def split_evenly(items: Sequence[Item], parts: int) -> list[list[Item]]:
    """Divide items into consecutive parts whose sizes are equal or differ by one.

    Raises:
        SettingError: there are fewer items than parts.
    """
    if len(items) < parts:
        raise SettingError(
            f"a step of {quantity(len(items), 'sample')} cannot be divided into {parts} parts; raise the "
            "stage's photographs, lower its accumulate, or start fewer processes"
        )
    edges = [len(items) * n // parts for n in range(parts + 1)]
    return [list(items[start:stop]) for start, stop in itertools.pairwise(edges)]


class StepDataset:
    """A data set of steps, each with this process's samples.

    Pickling stores the folders of the cached cases, not what is in them.
    """

    def __init__(
        self, cases: Sequence[CachedCase], recipe: Recipe, stage: StageName, machine: Machine
    ) -> None:
        self.cases, self.recipe, self.stage = tuple(cases), recipe, stage
        self.rank, self.world_size = machine.rank, machine.world_size

    def __getitem__(self, step: int) -> tuple[TrainingItem, ...]:
        """Return this process's share of a step."""
        specs = sample_specs(self.cases, self.recipe, self.stage, step)
        own = split_evenly(specs, self.world_size)[self.rank]
        return tuple(materialise(spec, self.recipe, self.stage) for spec in own)

    def __getstate__(self) -> dict[str, Any]:
        """Return folders in place of the cases, whose lesion pixels take up to 1 MB per photograph."""
        stored = [
            (case.folder, case.name, {"is_healthy": case.is_healthy, "false_pixels": case.false_pixels})
            for case in self.cases
        ]
        return vars(self) | {"cases": stored}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the cached cases in their folders."""
        vars(self).update(state)
        self.cases = tuple(
            replace(cache.open_case(path, name), **facts) for path, name, facts in state["cases"]
        )


def load_steps(dataset: StepDataset, steps: range, workers: int) -> Iterator[tuple[TrainingItem, ...]]:
    """Return the samples of some steps, prepared in advance by worker processes, or by this process.

    Workers are not forked from this process, since OpenCV's threads do not survive a fork. They come from a
    fork server that has imported what they need, or are spawned where there is no fork server.

    Raises:
        FoveateError: a step's samples cannot be prepared, whichever process prepares them.
        MemoryError: the memory of a worker process is full; in this process, libraries raise other types too.
    """
    if workers == 0:
        return (dataset[step] for step in steps)
    has_server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if has_server else "spawn")
    context.set_forkserver_preload([__name__])
    loader: DataLoader[tuple[TrainingItem, ...] | Exception] = DataLoader(
        _StepsOrErrors(dataset),  # type: ignore[arg-type]  # any object with __getitem__ is accepted
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=_identity,
    )
    return map(_raise_error, loader)


@dataclass(frozen=True, slots=True)
class _StepsOrErrors:
    """The steps of a data set in a worker process, or the errors that they end with.

    What torch raises for an error of a worker has a traceback for its message, and has lost the system's
    number. That is right for bugs; errors of Foveate, and those that say that memory ran out, are returned.
    """

    dataset: StepDataset

    def __getitem__(self, step: int) -> tuple[TrainingItem, ...] | Exception:
        try:
            return self.dataset[step]
        except FoveateError as error:
            return error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return MemoryError(str(error))  # errors of libraries may not survive the way between processes


def _raise_error(item: tuple[TrainingItem, ...] | Exception) -> tuple[TrainingItem, ...]:
    """Return a step; raise the error in its place."""
    if isinstance(item, Exception):
        raise item
    return item


def _identity(item: Item) -> Item:
    return item
