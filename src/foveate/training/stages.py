"""One stage of a run: the weights that are trained, the pictures that it uses, and the learning rate.

Knows:   the four stages of the paper's training strategy, `recipe.REFINE` after them, and the additional
         stage of each stream alone.
Ignores: files (`run_folder`), and how samples are chosen (`sampler`).

Shape letters: P photographs, N windows, K lesions, S window side, V view side, C channels, G G2 sides of a
window's piece of the global features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.geometry.feature_sampling import FeatureSampling
from foveate.inference.preprocessing import normalise
from foveate.nets import GlobalPieces, LocalGlobalUNet
from foveate.training.distributed import LOCAL, Machine
from foveate.training.losses import BatchTotals, overlap_sums
from foveate.training.recipe import WHOLE_STAGES, Recipe, StageName, base_stage
from foveate.training.sampler import TrainingItem
from foveate.training.samples import Sample
from foveate.types import ModelContract

Pair = tuple[Tensor, Tensor]
"""Input pictures (N 3 S S) and their truth (N K S S)."""


def trained_part(network: LocalGlobalUNet, stage: StageName) -> nn.Module:
    """Return the part of the network that a stage trains.

    Source: Yan et al. 2019, section 2.2, training strategy.
    """
    parts = {
        "global": network.global_net,
        "local": network.local_net,
        "fusion": network.fusion,
        "joint": network,
        "refine": network,
        "global-alone": network.global_net,
        "local-alone": network.local_net,
    }
    return parts[stage]


def set_modes(network: LocalGlobalUNet, stage: StageName, *, update_statistics: bool = True) -> None:
    """Make the stage's weights trainable and freeze all others, including batch-norm statistics.

    In the fused stages no statistics are updated: a step sees windows of few photographs, whose statistics
    would fit no photograph (our choice, docs/decisions/0004-frozen-statistics.md).

    Args:
        network: changed in place.
        stage: the stage to train next.
        update_statistics: whether a stream's own stage updates its statistics; False if the network starts
            from a package, whose normalisations are folded into its weights (`warm_start`).
    """
    network.eval().requires_grad_(False)
    trained = trained_part(network, stage).requires_grad_(True)
    if update_statistics and stage in ("global", "local"):
        trained.train()
    if stage in WHOLE_STAGES and not network.fusion.residual:
        network.local_net.head.requires_grad_(False)  # no term of equation 1 uses its maps


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBatch:
    """The pictures that pass through the network together."""

    view: Pair | None
    """None in the local stage."""
    windows: Pair | None
    """None in the global stage."""
    samplings: tuple[tuple[FeatureSampling, ...], ...]
    """For each view, where its windows lie in it, in the fused stages."""


def make_batch(
    items: Sequence[TrainingItem], contract: ModelContract, machine: Machine = LOCAL
) -> TrainingBatch:
    """Stack items and move them to the network's device."""
    views = [item.view for item in items if item.view is not None]
    windows = [window for item in items for window in item.windows]
    return TrainingBatch(
        view=collate(views, contract, machine) if views else None,
        windows=collate(windows, contract, machine) if windows else None,
        samplings=tuple(item.samplings for item in items),
    )


def collate(samples: Sequence[Sample], contract: ModelContract, machine: Machine = LOCAL) -> Pair:
    """Normalise samples as inference does, and stack them."""
    pictures = torch.from_numpy(normalise(np.stack([sample.pixels for sample in samples]), contract))
    truth = torch.from_numpy(np.stack([sample.truth for sample in samples]))
    formatted = pictures.contiguous(memory_format=machine.memory_format)
    return formatted.to(machine.device), truth.to(machine.device)


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervision:
    """Maps that enter the loss, with their truth and weight."""

    weight: float
    """Weight of the maps in equation 1."""
    logits: Float[Tensor, "N K S T"]
    truth: Float[Tensor, "N K S T"]


class StepLoss(nn.Module):
    """A network and the loss of a stage as one module, which several processes can wrap."""

    def __init__(
        self, network: LocalGlobalUNet, recipe: Recipe, stage: StageName, machine: Machine = LOCAL
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.stage = stage
        self.machine = machine

    def forward(self, batch: TrainingBatch, share: float = 1.0, totals: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, or the contribution of a part of it.

        Args:
            batch: all samples of the step, or some of them.
            share: share of the step's samples that are in the batch.
            totals: `overlaps` of the whole step (n 3 K), if they are already known.
        """
        supervisions = self.run_network(batch)
        if share == 1:
            parts: Sequence[BatchTotals | None] = [None] * len(supervisions)
        else:
            if totals is None:
                totals = self.machine.all_reduce_sum(_overlaps(supervisions))
            parts = [BatchTotals(share=share, overlap=overlap) for overlap in totals]
        first, *rest = (
            supervision.weight * self.recipe.loss(supervision.logits, supervision.truth, part)
            for supervision, part in zip(supervisions, parts, strict=True)
        )
        return sum(rest, start=first)

    @torch.no_grad()
    def overlaps(self, batch: TrainingBatch) -> Float[Tensor, "n 3 K"]:
        """Return `losses.overlap_sums` of each supervised map, without updating batch-norm statistics."""
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        updated = [norm for norm in norms if norm.training and norm.track_running_stats]
        for norm in updated:
            norm.track_running_stats = False
        try:
            return _overlaps(self.run_network(batch))
        finally:
            for norm in updated:
                norm.track_running_stats = True

    def run_network(self, batch: TrainingBatch) -> list[Supervision]:
        """Return the maps of a stream, or of both streams and the fusion: the terms of equation 1."""
        network, loss = self.network, self.recipe.loss
        if batch.windows is None:
            assert batch.view is not None
            pictures, truth = batch.view
            return [Supervision(weight=1.0, logits=network.global_net(pictures)[1], truth=truth)]
        windows, truth = batch.windows
        if batch.view is None:
            return [Supervision(weight=1.0, logits=network.local_net(windows)[1], truth=truth)]
        view, view_truth = batch.view
        with torch.set_grad_enabled(self.stage in WHOLE_STAGES and torch.is_grad_enabled()):
            features, coarse = network.forward_global(view)
            pieces = _gather_pieces(features, batch.samplings)
            local_features, _ = network.local_net(windows)
        logits = network.fuse(local_features, pieces)
        return [
            Supervision(weight=loss.lambda_local, logits=logits, truth=truth),
            Supervision(weight=loss.lambda_global, logits=coarse, truth=view_truth),
        ]


def _overlaps(supervisions: Sequence[Supervision]) -> Float[Tensor, "n 3 K"]:
    return torch.stack([overlap_sums(item.logits.detach().float(), item.truth) for item in supervisions])


def _gather_pieces(
    features: Float[Tensor, "P C V V"], samplings: Sequence[Sequence[FeatureSampling]]
) -> GlobalPieces:
    """Gather every window's piece of its photograph's features; smaller pieces are padded, with weight 0."""
    flat = [(photograph, sampling) for photograph, group in enumerate(samplings) for sampling in group]
    height = max(sampling.rows.shape[1] for _, sampling in flat)
    width = max(sampling.columns.shape[1] for _, sampling in flat)
    padded = nn.functional.pad(features, (0, width, 0, height))
    pieces = [
        padded[photograph, :, top : top + height, left : left + width]
        for photograph, (top, left) in ((photograph, sampling.corner) for photograph, sampling in flat)
    ]
    rows = [np.pad(sampling.rows, ((0, 0), (0, height - sampling.rows.shape[1]))) for _, sampling in flat]
    columns = [
        np.pad(sampling.columns, ((0, 0), (0, width - sampling.columns.shape[1]))) for _, sampling in flat
    ]
    weights = (torch.from_numpy(np.stack(axis)).to(features.device) for axis in (rows, columns))
    return GlobalPieces(torch.stack(pieces), *weights)


def learning_rate(recipe: Recipe, stage: StageName, step: int, steps: int) -> float:
    """Return the learning rate of a step: it rises over the recipe's warm-up, then decays polynomially to 0.

    Source: the decay is Yan et al. 2019, section 3.1.
    """
    warm_up = min(1.0, (step + 1) / max(1, round(recipe.warm_up * steps)))
    decay: float = (1 - step / steps) ** recipe.power
    return recipe.stages[base_stage(stage)].rate * warm_up * decay
