"""An encoder of timm's by name, where timm is installed.

Knows:   how timm is asked for an encoder, and which of its features are kept.
Ignores: what timm builds.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import SettingError


class TimmEncoder(nn.Module):
    """An encoder of timm's as far as `halvings` goes; returns the last features of each size it has.

    Args:
        name: timm's, e.g. 'resnet34'.
        halvings: the last features are 2**halvings times smaller than the input.
        weights: file of its pretrained weights, read by timm itself; None for random ones.

    Raises:
        SettingError: timm is not installed, does not know the name, has no features of that size, or finds no
            weights.

    Source: timm's feature extraction, https://huggingface.co/docs/timm/feature_extraction.
    """

    def __init__(self, name: str, halvings: int, weights: str | None = None) -> None:
        super().__init__()
        timm = _timm(name)
        with torch.device("meta"):  # only to be asked for its sizes
            reductions = tuple(timm.create_model(name, features_only=True).feature_info.reduction())
        sizes = ", ".join(f"1/{reduction}" for reduction in reductions)
        if 2**halvings not in reductions:
            raise SettingError(f"timm:{name} has features at {sizes}, not at 1/{2**halvings}")
        if list(reductions) != sorted(set(reductions)) or any(r & (r - 1) for r in reductions):
            raise SettingError(f"timm:{name} has features at {sizes}; a U-Net needs each size halved, once")
        kept = tuple(number for number, reduction in enumerate(reductions) if reduction <= 2**halvings)
        first = {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}} if weights else {}
        try:
            self.body = timm.create_model(name, features_only=True, out_indices=kept, **first)
        except FileNotFoundError as error:
            raise SettingError(f"the weights of timm:{name} are not at {weights}; name their file") from error
        self.reductions = tuple(self.body.feature_info.reduction())
        self.widths = tuple(self.body.feature_info.channels())

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> list[Tensor]:
        """Return features at 1/r of the input's side for each r of `reductions`."""
        kept: list[Tensor] = list(self.body(pictures))
        return kept


def _timm(name: str):  # type: ignore[no-untyped-def]  # a module that may not be installed  # noqa: ANN202
    """Return timm, or say how it is got."""
    try:
        import timm  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise SettingError(
            f"timm:{name} needs timm ({error}); pip install 'foveate[timm]', or choose another backbone"
        ) from error
    if not timm.is_model(name):
        raise SettingError(f"timm knows no '{name}'; timm.list_models() lists those it knows")
    return timm
