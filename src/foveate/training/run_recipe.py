"""The recipe of a run: a published recipe for a data set, and the recipe that an earlier run was trained by.

Knows:   which numbers of two recipes must be equal for one to stand for the other.
Ignores: which photographs are trained on, and how.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from foveate.errors import TrainingError
from foveate.paths import display_path
from foveate.training import overrides
from foveate.training import recipe as recipes
from foveate.training.recipe import Recipe
from foveate.training.run_folder import RunFolder
from foveate.types import FieldRule

RUN_KEYS = frozenset({"name", "split", "held_back"})
"""Keys of a recipe in JSON that belong to a run, and not to the way in which a network is trained."""

INPUT_KEYS = frozenset(
    f"contract.{key}"
    for key in (
        "lesions",
        "mean",
        "std",
        "view_side",
        "window_side",
        "field_diameter",
        "scale_tolerance",
        "field",
        "part",
    )
)
"""Dotted names of a recipe's numbers in JSON that say what a network is trained on. The contract's others can
be changed afterwards: they say how predictions lay out and average windows and views."""


def adapt_to_layout(recipe: Recipe, lesions: tuple[str, ...], field: FieldRule) -> Recipe:
    """Return a recipe with a data set's lesions if it is for any lesions; return other recipes unchanged.

    Args:
        recipe: any recipe.
        lesions: codes of the lesions that the set's layout describes.
        field: whether its photographs have a round field of view.
    """
    if not recipe.any_lesions:
        return recipe
    return replace(recipe, contract=replace(recipe.contract, lesions=lesions, field=field))


def load_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe as it was trained in a run's folder: with the run's overrides, lesions and split.

    A run of this recipe is accepted if the network and what it is trained on have not changed since; the
    other numbers, such as `tta_views` and `global_shares`, are those of today. A run of a recipe with another
    name is accepted if all its numbers are equal to this recipe's: both train the same weights.

    Args:
        recipe: a published recipe: that of the run's name, or one with the same numbers.
        folder: folder of the run.

    Raises:
        TrainingError: the run has other numbers, or its records are damaged.
        SettingError: an override is no longer known.
    """
    run = RunFolder(folder)
    settings, split = run.read_settings(), run.read_split()
    if settings is not None:
        recipe = adapt_to_layout(recipe, settings.lesions, settings.field)
        if settings.recipe == recipe.name:
            recipe = overrides.override(recipe, settings.overrides)
        if settings.recipe != recipe.name or run.has_run():
            _require_same_numbers(recipe, run, settings.recipe)
    return recipe if split is None else replace(recipe, split=run.split, held_back=split.held_back)


def _require_same_numbers(recipe: Recipe, run: RunFolder, run_recipe: str) -> None:
    """Raise TrainingError unless a run has the same numbers as this recipe.

    The name and the choice of photographs (split and fold) may differ; they belong to the run. If the name is
    the same, only those numbers are compared without which the run's weights are of no use.
    """
    recorded = _numbers(run.read_recipe() or {})
    numbers = _numbers(json.loads(json.dumps(recipes.describe(recipe))))
    differing = [key for key in {**numbers, **recorded} if numbers.get(key) != recorded.get(key)]
    kind, remedy = f"recipe {run_recipe}, not {recipe.name}", "name that recipe"
    if run_recipe == recipe.name:
        differing = [key for key in differing if key in INPUT_KEYS or key.startswith("network.")]
        kind, remedy = f"an earlier recipe {run_recipe}", "name a recipe of your own with the run's numbers"
    if differing:
        raise TrainingError(
            f"{display_path(run.path)}: a run of {kind}, from which it differs in {', '.join(differing)}; "
            f"{remedy}, or another run"
        )


def _numbers(content: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401  JSON
    """Return the numbers of a recipe in JSON by dotted names, without its name, split and fold."""
    if not isinstance(content, dict):
        return {prefix: content}
    pairs = {key: value for key, value in content.items() if prefix or key not in RUN_KEYS}
    return {
        name: number
        for key, value in pairs.items()
        for name, number in _numbers(value, f"{prefix}.{key}" if prefix else key).items()
    }
