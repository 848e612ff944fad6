"""Where a network begins when it does not begin anew: with the weights of a model package.

Knows:   which of a package's weights fit a network, and that they must not have seen what is held back.
Ignores: what is trained from there on.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from safetensors.torch import load_file

from foveate import nets
from foveate.datasets import Case
from foveate.errors import TrainingError
from foveate.models import Package
from foveate.nets import LocalGlobalUNet
from foveate.training.recipe import Recipe

WEIGHTS = "weights.safetensors"
"""Of a package; normalisations are folded into them (`nets.folded`)."""

LAST = MappingProxyType({"fused": "fusion.layers.4", "GlobalNet": "global_net.head"})
"""Row of Table 1 -> the convolution that `release` calibrates."""


def take(network: LocalGlobalUNet, package: Package) -> tuple[str, ...]:
    """Give a network a package's weights, wherever both have a layer of the same name and shape.

    The package's calibration is taken back: the loss would spend its first steps on that.

    Returns:
        Names of the layers that the package has no weights for; they begin as the recipe says.

    Raises:
        TrainingError: one of the streams gets no weights at all: nothing would be gone on from.
    """
    left = set(nets.unfold(load_file(package.folder / WEIGHTS), network))
    for stream in ("global_net", "local_net"):
        layers = {name for name, layer in network.named_modules() if isinstance(layer, nets.CONVOLUTIONS)}
        if {name for name in layers if name.startswith(f"{stream}.backbone.")} <= left:
            raise TrainingError(
                f"package {package.name} has no weights for {stream} of this recipe; start from a package "
                "with such a network, or leave --start out"
            )
    fused, coarse = (_taken_back(package, row, changed=layer not in left) for row, layer in LAST.items())
    network.load_state_dict(nets.scaled(network, fused=fused, coarse=coarse).state_dict())
    return tuple(sorted(left))


def _taken_back(package: Package, row: str, *, changed: bool) -> list[nets.Line]:
    """Return what undoes the calibration of a row's maps, by the manifest; nothing where it has none."""
    validation = _mapping(_mapping(package.manifest, "training"), "validation")
    each = _mapping(_mapping(validation, "calibration"), row) if changed else {}
    lines = [_mapping(each, code) for code in package.contract.lesions]
    return [
        (1 / one["slope"], -one["shift"] / one["slope"]) if one.get("slope") else nets.SAME for one in lines
    ]


def _mapping(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return what stands under a key, nothing where it is no mapping or is not there."""
    found = of.get(key)
    return found if isinstance(found, Mapping) else {}


def require_unseen(package: Package, recipe: Recipe, held_back: Sequence[Case]) -> None:
    """Refuse a package that learned from what is held back, which would say nothing any more.

    Raises:
        TrainingError: it did, or it finds other lesions.
    """
    if package.contract.lesions != recipe.contract.lesions:
        raise TrainingError(
            f"package {package.name} finds {', '.join(package.contract.lesions)}, and recipe {recipe.name} "
            f"{', '.join(recipe.contract.lesions)}; start from a package that finds the same"
        )
    if spoilt := sorted({case.name for case in held_back} & set(learned(package))):
        raise TrainingError(
            f"package {package.name} learned from {spoilt[0]}, which is held back here; hold back another "
            "fold, or train on all with --fold none"
        )


def learned(package: Package) -> tuple[str, ...]:
    """Return the names of the photographs that a package learned from, by its manifest."""
    return tuple(_mapping(package.manifest, "training").get("photographs", ()))


def described(package: Package) -> dict[str, Any]:
    """Return what names a package to the last bit, and what it learned from."""
    return {
        "name": package.name,
        "version": package.version,
        "digest": package.digest,
        "photographs": list(learned(package)),
    }
