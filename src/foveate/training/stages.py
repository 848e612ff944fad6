"""One stage of a run: which weights learn, what a step draws, how the rate falls.

Knows:   the four stages of the paper's training strategy.
Ignores: files; `run` keeps them.

Shape letters: P photographs, N windows, K lesions, S window side, V view side, C channels, G sides of pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate import views
from foveate.kinds import Contract
from foveate.nets import LocalGlobalUNet
from foveate.prepare import prepare
from foveate.training import augment, samples
from foveate.training.recipe import Recipe, StageName
from foveate.training.samples import Sample, Sheet

Batch = tuple[Tensor, Tensor]
"""What goes in (N 3 S S) and what should come out (N K S S)."""


def trainable(network: LocalGlobalUNet, stage: StageName) -> nn.Module:
    """Return the part of the network whose weights a stage changes.

    Source: Yan et al. 2019, section 2.2, training strategy.
    """
    parts = {
        "global": network.global_net,
        "local": network.local_net,
        "fusion": network.fusion,
        "joint": network,
    }
    return parts[stage]


def set_modes(network: LocalGlobalUNet, stage: StageName) -> None:
    """Let the stage's weights learn and freeze all others, batch-norm statistics included.

    In the fused stages no statistics move at all: a step sees windows of few photographs, whose running
    statistics would fit no photograph (our choice, docs/decisions/0004-frozen-statistics.md).
    """
    network.eval().requires_grad_(False)
    learning = trainable(network, stage).requires_grad_(True)
    if stage in ("global", "local"):
        learning.train()


def loss_of_step(
    network: LocalGlobalUNet, sheets: Sequence[Sheet], recipe: Recipe, stage: StageName, step: int
) -> Tensor:
    """Draw a step's samples, a pure function of (seed, stage, step), and return their loss."""
    generator = np.random.default_rng([recipe.seed, ord(stage[0]), step])
    if stage == "global":
        return _loss_of_views(network, sheets, recipe, generator)
    if stage == "local":
        return _loss_of_windows(network, sheets, recipe, generator)
    return _loss_of_both(network, sheets, recipe, stage, generator)


def _loss_of_views(
    network: LocalGlobalUNet, sheets: Sequence[Sheet], recipe: Recipe, generator: np.random.Generator
) -> Tensor:
    stage = recipe.stages["global"]
    chosen = generator.choice(len(sheets), stage.photographs, replace=stage.photographs > len(sheets))
    drawn = [samples.view(sheets[i], recipe.contract, augment.draw(generator, stage.limits)) for i in chosen]
    pictures, truth = collate(drawn, recipe.contract)
    _, logits = network.global_net(pictures)
    return recipe.loss(logits, truth)


def _loss_of_windows(
    network: LocalGlobalUNet, sheets: Sequence[Sheet], recipe: Recipe, generator: np.random.Generator
) -> Tensor:
    stage = recipe.stages["local"]
    places = _places(sheets, recipe, stage.photographs * stage.windows, generator)
    drawn = [
        samples.window(sheet, place, recipe.contract, augment.draw(generator, stage.limits))
        for sheet, place in places
    ]
    pictures, truth = collate(drawn, recipe.contract)
    _, logits = network.local_net(pictures)
    return recipe.loss(logits, truth)


def _places(
    sheets: Sequence[Sheet], recipe: Recipe, count: int, generator: np.random.Generator
) -> list[tuple[Sheet, tuple[int, int]]]:
    """Draw windows; those near a lesion lie up to a quarter of a side off it, since lesions are anywhere."""
    reach = recipe.contract.window_side // 4
    return samples.places(sheets, recipe.lesion_share, reach, count, generator)


def _loss_of_both(
    network: LocalGlobalUNet,
    sheets: Sequence[Sheet],
    recipe: Recipe,
    name: StageName,
    generator: np.random.Generator,
) -> Tensor:
    """Return equation 1 for a few photographs and some windows of each."""
    stage = recipe.stages[name]
    firsts = _places(sheets, recipe, stage.photographs, generator)
    drawn = [
        _draw_both(sheet, recipe, stage.windows, augment.draw(generator, stage.limits), generator)
        for sheet, _ in firsts
    ]
    view, view_truth = collate([both.view for both in drawn], recipe.contract)
    windows, truth = collate([window for both in drawn for window in both.windows], recipe.contract)
    with torch.set_grad_enabled(name == "joint"):
        features, coarse = network.glance(view)
        pieces, rows, columns = _pieces(features, [both.sights for both in drawn])
        local_features, _ = network.local_net(windows)
    logits = network.fuse(local_features, pieces, rows, columns)
    return recipe.loss.lambda_local * recipe.loss(logits, truth) + recipe.loss.lambda_global * recipe.loss(
        coarse, view_truth
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Both:
    """A view of one photograph and windows of it, turned alike."""

    view: Sample
    windows: list[Sample]
    sights: list[views.Sight]


def _draw_both(
    sheet: Sheet, recipe: Recipe, count: int, warp: augment.Warp, generator: np.random.Generator
) -> _Both:
    contract, shape = recipe.contract, sheet.bits.shape
    corners = [
        samples.corner_around(place, contract.window_side, shape)
        for _, place in _places([sheet], recipe, count, generator)
    ]
    return _Both(
        view=samples.view(sheet, contract, warp),
        windows=[samples.turned_window(sheet, corner, contract, warp) for corner in corners],
        sights=[
            views.sight(
                augment.turn_corner(corner, contract.window_side, shape, warp),
                contract.window_side,
                augment.turn_shape(shape, warp),
                contract.view_side,
            )
            for corner in corners
        ],
    )


def _pieces(
    features: Float[Tensor, "P C V V"], sights: Sequence[Sequence[views.Sight]]
) -> tuple[Float[Tensor, "N C G G2"], Float[Tensor, "N S G"], Float[Tensor, "N S G2"]]:
    """Cut every window's piece of its photograph's features; narrower ones are filled up, with weight 0."""
    flat = [(p, sight) for p, group in enumerate(sights) for sight in group]
    depth = max(sight.rows.shape[1] for _, sight in flat)
    width = max(sight.columns.shape[1] for _, sight in flat)
    padded = nn.functional.pad(features, (0, width, 0, depth))
    pieces = [
        padded[p, :, s.corner[0] : s.corner[0] + depth, s.corner[1] : s.corner[1] + width] for p, s in flat
    ]
    rows = [np.pad(s.rows, ((0, 0), (0, depth - s.rows.shape[1]))) for _, s in flat]
    columns = [np.pad(s.columns, ((0, 0), (0, width - s.columns.shape[1]))) for _, s in flat]
    return torch.stack(pieces), torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(columns))


def collate(drawn: Sequence[Sample], contract: Contract) -> Batch:
    """Prepare samples as inference does and stack them, channels last (what the processor likes best)."""
    pictures = torch.from_numpy(prepare(np.stack([sample.pixels for sample in drawn]), contract))
    truth = torch.from_numpy(np.stack([sample.truth for sample in drawn]))
    return pictures.contiguous(memory_format=torch.channels_last), truth


def rate(recipe: Recipe, stage: StageName, step: int, steps: int) -> float:
    """Return the learning rate of a step: a short climb, then polynomial decay to 0.

    Source: the decay is Yan et al. 2019, section 3.1; the climb over the first 2 % is our choice, since new
    decoders behind trained encoders start with large gradients.
    """
    climb = min(1.0, (step + 1) / max(1, round(0.02 * steps)))
    remaining: float = (1 - step / steps) ** recipe.power
    return recipe.stages[stage].rate * climb * remaining
