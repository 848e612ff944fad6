"""Start a network from the weights of a model package.

Knows:   which of a package's weights fit a network, and that the package must not have been trained on the
         photographs that are held back.
Ignores: how training continues from there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors.torch import load_file

from foveate import nets
from foveate.datasets import Case
from foveate.errors import TrainingError
from foveate.models import Package, training_statement
from foveate.nets import LocalGlobalUNet, plans
from foveate.paths import nfc
from foveate.training.recipe import Recipe
from foveate.training.run_record import StartPackage
from foveate.wording import quantity

WEIGHTS = "weights.safetensors"
"""A package's weights; normalisations are folded into them (`nets.fold_batch_norm`)."""


def load_matching(network: LocalGlobalUNet, package: Package) -> tuple[str, ...]:
    """Copy a package's weights into a network, wherever both have a layer of the same name and shape.

    The package's calibration and GlobalNet's shares are undone: otherwise the first steps would only serve to
    undo them.

    Args:
        network: the network; it is changed in place.
        package: the model to start from.

    Returns:
        Names of the layers without weights in the package; they keep the recipe's initial weights.

    Raises:
        TrainingError: one of the streams gets no weights at all, so that there is nothing to start from.
    """
    missing = set(nets.load_folded(load_file(package.folder / WEIGHTS), network))
    for stream in ("global_net", "local_net"):
        layers = {name for name, layer in network.named_modules() if isinstance(layer, nets.CONVOLUTIONS)}
        if {name for name in layers if name.startswith(f"{stream}.backbone.")} <= missing:
            raise TrainingError(
                f"package {package.name} has no weights for {stream} of this recipe; start from a package "
                "with such a network, or leave out --start"
            )
    shares = stated_global_shares(package)
    inverse = nets.calibrated_layers(
        fused=_inverse_calibration(package, "fused", shares),
        coarse=_inverse_calibration(package, "GlobalNet", [0.0] * len(shares)),
        residual=_has_residual_fusion(package),
        blended=False,  # a network in training has no such layer
    )
    for name in inverse.keys() - missing:
        nets.scale_layer(network, name, inverse[name])
    return tuple(sorted(missing))


def _has_residual_fusion(package: Package) -> bool:
    """Return whether a package's fusion is added to LocalNet's logits; the recipe's need not be."""
    plan = mapping_at(package.manifest, "training", "recipe", "network")
    return plan.get(plans.STORED_NAMES["residual_fusion"]) is True


def stated_calibration(package: Package, row: str) -> dict[str, nets.LogitLine]:
    """Return (slope, shift) of each lesion whose maps were calibrated, as the package's manifest states it.

    Args:
        package: the model.
        row: 'fused' or 'GlobalNet', a row of Table 1.

    Raises:
        TrainingError: a slope or a shift is not a finite number.
    """
    by_lesion = mapping_at(package.manifest, "training", "validation", "calibration", row)
    stated = {lesion: mapping_at(by_lesion, lesion) for lesion in package.contract.lesions}
    return {
        lesion: (_number(package, scaling, "slope"), _number(package, scaling, "shift"))
        for lesion, scaling in stated.items()
        if scaling.get("slope")
    }


def _number(package: Package, scaling: Mapping[str, Any], key: str) -> float:
    """Return a number of a lesion's calibration."""
    value = scaling.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TrainingError(
            f"package {package.name}: its manifest states {value!r} as the {key} of a calibration, which is "
            "no number; restore the manifest"
        )
    return float(value)


def stated_global_shares(package: Package) -> tuple[float, ...]:
    """Return the share of GlobalNet's logits in the fused logits of each lesion, as a manifest states it.

    Raises:
        TrainingError: the manifest states something else than one share of at least 0 and below 1 per lesion.
    """
    count = len(package.contract.lesions)
    stated = mapping_at(package.manifest, "training", "recipe").get("global_shares", [0.0] * count)
    if isinstance(stated, list | tuple) and len(stated) == count:
        shares = [share for share in stated if type(share) in (int, float) and 0 <= share < 1]
        if len(shares) == count:
            return tuple(map(float, shares))
    raise TrainingError(
        f"package {package.name}: its manifest states {stated!r} as global_shares, not a number of at "
        f"least 0 and below 1 for each of {quantity(count, 'lesion')}; restore the manifest"
    )


def _inverse_calibration(package: Package, row: str, shares: Sequence[float]) -> list[nets.LogitLine]:
    """Return the scalings that undo the calibration of a row's maps.

    Args:
        package: the model.
        row: a row of Table 1.
        shares: GlobalNet's share of the row's logits, for each lesion; the rest is scaled back to the whole.
    """
    stated = stated_calibration(package, row)
    inverse = []
    for lesion, share in zip(package.contract.lesions, shares, strict=True):
        slope, shift = stated.get(lesion, nets.IDENTITY)
        own = slope * (1 - share)
        inverse.append((1 / own, -shift / own))
    return inverse


def mapping_at(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the mapping under nested keys of a manifest; an empty mapping if there is none."""
    for key in keys:
        value = content.get(key)
        content = value if isinstance(value, Mapping) else {}
    return content


def require_unseen(package: Package, recipe: Recipe, held_back: Sequence[Case]) -> None:
    """Refuse a package that was trained on held-back photographs: these could no longer validate the run.

    Raises:
        TrainingError: the package was trained on one of them, or it segments other lesions.
    """
    if package.contract.lesions != recipe.contract.lesions:
        raise TrainingError(
            f"package {package.name} is for {', '.join(package.contract.lesions)}, but recipe {recipe.name} "
            f"is for {', '.join(recipe.contract.lesions)}; start from a package for the same lesions"
        )
    if shared := sorted({nfc(case.name) for case in held_back} & set(trained_photographs(package))):
        raise TrainingError(
            f"package {package.name} was trained on {shared[0]}, which this run holds back; hold back "
            "another fold, or train on all photographs with --fold none"
        )


def trained_photographs(package: Package) -> tuple[str, ...]:
    """Return the names of all photographs that a package was trained on, in NFC, as its manifest states.

    Those of healthy eyes are included.
    """
    return training_statement.read(package.manifest.get("training")).trained_on


def describe(package: Package) -> StartPackage:
    """Return what a run records about the package that it starts from."""
    return StartPackage(
        name=package.name,
        version=package.version,
        digest=package.digest,
        photographs=training_statement.read(package.manifest.get("training")).photographs,
    )
