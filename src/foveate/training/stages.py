"""One stage of a run: which weights learn, what goes through the network, how the rate falls.

Knows:   the four stages of the paper's training strategy, and each stream's last stage alone.
Ignores: files (`run` keeps them), and what a step draws (`draws`).

Shape letters: P photographs, N windows, K lesions, S window side, V view side, C channels, G sides of pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.geometry import feature_sampling
from foveate.inference.preprocessing import prepare
from foveate.nets import LocalGlobalUNet
from foveate.training.cache import Sample
from foveate.training.distributed import HERE, Machine
from foveate.training.losses import Whole, overlap
from foveate.training.recipe import Recipe, StageName, drawn_as
from foveate.training.sampler import Drawn
from foveate.types import Contract

Pair = tuple[Tensor, Tensor]
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
        "global-alone": network.global_net,
        "local-alone": network.local_net,
    }
    return parts[stage]


def set_modes(network: LocalGlobalUNet, stage: StageName, *, moving: bool = True) -> None:
    """Let the stage's weights learn and freeze all others, batch-norm statistics included.

    In the fused stages no statistics move at all: a step sees windows of few photographs, whose running
    statistics would fit no photograph (our choice, docs/decisions/0004-frozen-statistics.md).

    Args:
        network: changed in place.
        stage: what is trained next.
        moving: whether a stream's own stage moves its statistics; not where it has none of its own yet
            (`start`).
    """
    network.eval().requires_grad_(False)
    learning = trainable(network, stage).requires_grad_(True)
    if moving and stage in ("global", "local"):
        learning.train()
    if stage == "joint" and not network.fusion.corrects:
        network.local_net.head.requires_grad_(False)  # its maps are in no loss of equation 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What goes through the network together."""

    view: Pair | None
    """None in the local stage."""
    windows: Pair | None
    """None in the global stage."""
    sights: tuple[tuple[feature_sampling.FeatureSampling, ...], ...]
    """How each view's windows see it, in the fused stages."""


def batch(drawn: Sequence[Drawn], contract: Contract, machine: Machine = HERE) -> Batch:
    """Stack what was drawn and bring it to where the network is."""
    seen = [one.view for one in drawn if one.view is not None]
    windows = [window for one in drawn for window in one.windows]
    return Batch(
        view=collate(seen, contract, machine) if seen else None,
        windows=collate(windows, contract, machine) if windows else None,
        sights=tuple(one.sights for one in drawn),
    )


def collate(drawn: Sequence[Sample], contract: Contract, machine: Machine = HERE) -> Pair:
    """Prepare samples as inference does and stack them."""
    pictures = torch.from_numpy(prepare(np.stack([sample.pixels for sample in drawn]), contract))
    truth = torch.from_numpy(np.stack([sample.truth for sample in drawn]))
    laid = pictures.contiguous(memory_format=machine.layout)
    return laid.to(machine.device), truth.to(machine.device)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Maps that are punished, and how much."""

    weight: float
    """In equation 1."""
    logits: Float[Tensor, "N K S T"]
    truth: Float[Tensor, "N K S T"]


class StepLoss(nn.Module):
    """A network and what a stage punishes it for, as one module: what several processes wrap."""

    def __init__(
        self, network: LocalGlobalUNet, recipe: Recipe, stage: StageName, machine: Machine = HERE
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.stage = stage
        self.machine = machine

    def forward(self, batch: Batch, share: float = 1.0, sums: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, or what a part of one adds to it.

        Args:
            batch: all of the step's samples, or some of them.
            share: of the step's samples that these are.
            sums: `overlaps` of the whole step, where they are known already.
        """
        judged = self._judged(batch)
        if share == 1:
            return self._summed([one.weight * self.recipe.loss(one.logits, one.truth) for one in judged])
        if sums is None:
            sums = self.machine.added(self._overlaps(judged))
        wholes = [Whole(share=share, overlap=of) for of in sums]
        return self._summed(
            [
                one.weight * self.recipe.loss(one.logits, one.truth, whole)
                for one, whole in zip(judged, wholes, strict=True)
            ]
        )

    @torch.no_grad()
    def overlaps(self, batch: Batch) -> Float[Tensor, "n 3 K"]:
        """Return `loss.overlap` of each of the maps that are punished; batch-norm statistics do not move."""
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        moving = [norm for norm in norms if norm.training and norm.track_running_stats]
        for norm in moving:
            norm.track_running_stats = False
        try:
            return self._overlaps(self._judged(batch))
        finally:
            for norm in moving:
                norm.track_running_stats = True

    def _overlaps(self, judged: Sequence[Judged]) -> Float[Tensor, "n 3 K"]:
        return torch.stack([overlap(one.logits.detach().float(), one.truth) for one in judged])

    def _summed(self, losses: Sequence[Tensor]) -> Tensor:
        first, *others = losses
        for loss in others:
            first = first + loss
        return first

    def _judged(self, batch: Batch) -> list[Judged]:
        """Run the network: one of the streams, or both and the fusion, which is equation 1."""
        network, loss = self.network, self.recipe.loss
        if batch.windows is None:
            assert batch.view is not None
            pictures, truth = batch.view
            return [Judged(weight=1.0, logits=network.global_net(pictures)[1], truth=truth)]
        windows, truth = batch.windows
        if batch.view is None:
            return [Judged(weight=1.0, logits=network.local_net(windows)[1], truth=truth)]
        view, view_truth = batch.view
        with torch.set_grad_enabled(self.stage == "joint" and torch.is_grad_enabled()):
            features, coarse = network.glance(view)
            pieces, rows, columns = _pieces(features, batch.sights)
            local_features, _ = network.local_net(windows)
        logits = network.fuse(local_features, pieces, rows, columns)
        return [
            Judged(weight=loss.lambda_local, logits=logits, truth=truth),
            Judged(weight=loss.lambda_global, logits=coarse, truth=view_truth),
        ]


def _pieces(
    features: Float[Tensor, "P C V V"], sights: Sequence[Sequence[feature_sampling.FeatureSampling]]
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
    down, across = (torch.from_numpy(np.stack(each)).to(features.device) for each in (rows, columns))
    return torch.stack(pieces), down, across


def rate(recipe: Recipe, stage: StageName, step: int, steps: int) -> float:
    """Return the learning rate of a step: a climb over the recipe's warm-up, then polynomial decay to 0.

    Source: the decay is Yan et al. 2019, section 3.1.
    """
    climb = min(1.0, (step + 1) / max(1, round(recipe.warm_up * steps)))
    remaining: float = (1 - step / steps) ** recipe.power
    return recipe.stages[drawn_as(stage)].rate * climb * remaining
