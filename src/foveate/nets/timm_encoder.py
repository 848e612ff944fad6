"""An encoder from timm by its name, where timm is installed.

Knows:   how timm creates an encoder, and which of its features a U-Net uses.
Ignores: the layers of the encoder.
"""

from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import SettingError, one_line
from foveate.paths import display_path


class TimmEncoder(nn.Module):
    """The first stages of an encoder from timm; it returns the last features of each size.

    Args:
        name: timm's name of the encoder, e.g. 'resnet34'.
        halvings: the last features are 2**halvings times smaller than the input.
        weights: file of its pretrained weights, read by timm itself; None for random ones.

    Raises:
        SettingError: timm is not installed or does not know the name, the encoder has no features of that
            size, or the file of its weights does not exist or does not fit.

    Source: timm's feature extraction, https://huggingface.co/docs/timm/feature_extraction.
    """

    def __init__(self, name: str, halvings: int, weights: str | None = None) -> None:
        super().__init__()
        timm = _import_timm(name)
        with torch.device("meta"):  # without weights, because only its sizes are read
            reductions = tuple(timm.create_model(name, features_only=True).feature_info.reduction())
        sizes = ", ".join(f"1/{reduction}" for reduction in reductions)
        if 2**halvings not in reductions:
            raise SettingError(
                f"timm:{name} has features at {sizes}, but not at 1/{2**halvings}; change poolings"
            )
        if list(reductions) != sorted(set(reductions)) or any(r & (r - 1) for r in reductions):
            raise SettingError(
                f"timm:{name} has features at {sizes}, but a U-Net needs each size half the one before; "
                "choose another backbone"
            )
        indices = tuple(number for number, reduction in enumerate(reductions) if reduction <= 2**halvings)
        options = {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}} if weights else {}
        try:
            self.body = timm.create_model(name, features_only=True, out_indices=indices, **options)
        except FileNotFoundError as error:
            raise SettingError(
                f"the weights of timm:{name} are not at {display_path(weights or '')}; set weights to their "
                "file"
            ) from error
        except Exception as error:  # each format of weights has errors of its own
            if weights is None:
                raise
            reason = one_line(error, 120)
            raise SettingError(
                f"{display_path(weights)}: holds no weights of timm:{name} ({reason}); set weights to their "
                "file"
            ) from error
        self.reductions = tuple(self.body.feature_info.reduction())
        self.widths = tuple(self.body.feature_info.channels())

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> list[Tensor]:
        """Return features at 1/r of the input's side for each r of `reductions`."""
        pyramid: list[Tensor] = list(self.body(pictures))
        return pyramid


def _import_timm(name: str) -> ModuleType:
    """Import timm and check that it knows an encoder.

    Raises:
        SettingError: timm is not installed, or does not know the name.
    """
    try:
        import timm  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise SettingError(
            f"timm:{name} needs timm ({error}); pip install 'foveate[timm]', or choose another backbone"
        ) from error
    if not timm.is_model(name):
        raise SettingError(f"timm has no model '{name}'; choose one that timm.list_models() lists")
    module: ModuleType = timm
    return module
