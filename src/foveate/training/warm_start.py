"""Start a network from the weights of a model package.

Knows:   which of a package's weights fit a network, and that the package must not have been trained on the
         photographs that are held back.
Ignores: how training continues from there.
"""

import math
from collections.abc import Sequence

from safetensors.torch import load_file

from foveate import models, nets
from foveate.datasets import Case
from foveate.errors import TrainingError
from foveate.models import Package
from foveate.nets import LocalGlobalUNet, plans
from foveate.paths import nfc
from foveate.training.recipe import Recipe
from foveate.training.run_record import StartPackage
from foveate.wording import quantity


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
    missing = set(nets.load_folded(load_file(package.folder / models.WEIGHTS), network))
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
    return package.training.network.get(plans.STORED_NAMES["residual_fusion"]) is True


def stated_calibration(package: Package, row: str) -> dict[str, nets.LogitLine]:
    """Return (slope, shift) of each lesion whose maps were calibrated, as the package's manifest states it.

    Args:
        package: the model.
        row: 'fused' or 'GlobalNet', a row of Table 1.

    Raises:
        TrainingError: a slope or a shift is not a finite number.
    """
    stated = (package.training.calibration or {}).get(row, {})
    lines = {
        lesion: (stated[lesion].slope, stated[lesion].shift)
        for lesion in package.contract.lesions
        if lesion in stated
    }
    for lesion, line in lines.items():
        for key, number in zip(("slope", "shift"), line, strict=True):
            if not math.isfinite(number):
                raise TrainingError(
                    f"package {package.name}: its manifest states no finite number as the {key} of the "
                    f"calibration of {lesion} ({row}); restore the manifest"
                )
    return lines


def stated_global_shares(package: Package) -> tuple[float, ...]:
    """Return the share of GlobalNet's logits in the fused logits of each lesion, as a manifest states it.

    Raises:
        TrainingError: the manifest states something else than one share of at least 0 and below 1 per lesion.
    """
    count = len(package.contract.lesions)
    shares = package.training.global_shares or (0.0,) * count
    if len(shares) != count or not all(0 <= share < 1 for share in shares):  # NaN fails as well
        raise TrainingError(
            f"package {package.name}: its manifest states {list(shares)} as global_shares, not a number of "
            f"at least 0 and below 1 for each of {quantity(count, 'lesion')}; restore the manifest"
        )
    return shares


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
    if shared := sorted({nfc(case.name) for case in held_back} & set(package.training.trained_on)):
        raise TrainingError(
            f"package {package.name} was trained on {shared[0]}, which this run holds back; hold back "
            "another fold, or train on all photographs with --fold none"
        )


def describe(package: Package) -> StartPackage:
    """Return what a run records about the package that it starts from."""
    return StartPackage(
        name=package.name,
        version=package.version,
        digest=package.digest,
        photographs=package.training.photographs,
    )
