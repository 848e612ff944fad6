"""Validate a network during its training, on some of the held-back photographs.

Knows:   which photographs are used, which maps a stage is validated by, and how they are scored.
Ignores: when a stage is validated, and where the scores are stored.

Whole photographs are segmented by the pipeline of inference, with the running average of the weights.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from foveate import evaluation, metrics, models
from foveate.choices import Device
from foveate.datasets import Case
from foveate.errors import SettingError
from foveate.evaluation.networks import ROW_ENGINES, Row
from foveate.nets import LocalGlobalUNet
from foveate.training import stages
from foveate.training.curves import Scores
from foveate.training.recipe import Recipe, StageName

STAGE_ROWS: Mapping[StageName, Row] = {
    "global": "GlobalNet",
    "local": "LocalNet",
    "fusion": "fused",
    "joint": "fused",
    "refine": "fused",
    "global-alone": "GlobalNet",
    "local-alone": "LocalNet",
}
"""Stage -> the row whose maps validate it; a stream's own stage is validated by that stream's maps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationSchedule:
    """How often a stage is validated, and on how many photographs."""

    every: int
    """Steps from one validation to the next; a stage is validated after its last step as well."""
    photographs: int = 3
    """Number of photographs, evenly spaced in the sorted names of those held back."""

    def __post_init__(self) -> None:
        """Raise SettingError for a number below 1."""
        if self.every < 1:
            raise SettingError(
                f"validate-every is {self.every}; give 1 or more, or leave out --validate-every"
            )
        if self.photographs < 1:
            raise SettingError(f"validate-photographs is {self.photographs}; give 1 or more")

    def choose(self, held_back: Sequence[Case]) -> tuple[Case, ...]:
        """Return the photographs to validate on: all, if there are not more than the schedule's number.

        Raises:
            SettingError: no photograph is held back.
        """
        if not held_back:
            raise SettingError(
                "no photograph is held back to validate on; hold back a fold with --fold N, or leave out "
                "--validate-every"
            )
        cases = sorted(held_back, key=lambda case: case.name)
        count = min(self.photographs, len(cases))
        return tuple(cases[(2 * n + 1) * len(cases) // (2 * count)] for n in range(count))


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """The photographs that validate a stage, and how often they do."""

    cases: Sequence[Case]
    every: int
    """Steps from one validation to the next."""

    def is_due(self, step: int, steps: int) -> bool:
        """Return whether a stage of `steps` steps is validated after step `step`."""
        return step % self.every == 0 or step == steps


def averaged_network(
    network: LocalGlobalUNet, stage: StageName, averaged: Mapping[str, torch.Tensor]
) -> LocalGlobalUNet:
    """Return a copy of a network in evaluation mode, with the averaged weights of the trained part.

    Args:
        network: the network in training; it is not changed.
        stage: the stage in training.
        averaged: weights of the trained part, under the names that they have in it.
    """
    validated = copy.deepcopy(network)
    stages.trained_part(validated, stage).load_state_dict(dict(averaged))
    return validated.eval().requires_grad_(False)


def score(
    network: LocalGlobalUNet, recipe: Recipe, stage: StageName, cases: Sequence[Case], device: Device = "cpu"
) -> Scores:
    """Return the exact average precision of a stage's maps, with the pixels of all photographs pooled.

    Test-time augmentation is off: the scores still show the progress, and GlobalNet runs once.

    Args:
        network: the network in evaluation mode; it is moved to the device that computes its maps.
        recipe: states what the network receives.
        stage: states which maps are scored.
        cases: photographs that were not trained on.
        device: where the fused maps are computed.

    Raises:
        FoveateError: a photograph or mask cannot be used; the message says which.
    """
    row = STAGE_ROWS[stage]
    options = {"device": device} if row == "fused" else {}  # single streams compute on the processor
    engine = ROW_ENGINES[row](network=network.to(options.get("device", "cpu")), **options)
    package = models.unsaved_package(recipe.name, replace(recipe.contract, tta_views=1))
    with torch.random.fork_rng(devices=[]):
        histograms = list(evaluation.count_pixels(cases, package, engine))
    return {
        lesion: metrics.average_precision(metrics.pool([case.counts[lesion] for case in histograms]))
        for lesion in recipe.contract.lesions
    }
