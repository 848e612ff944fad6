"""The numbers that define a network: the backbone of each stream, its depth and its width.

Knows:   the names of the backbones, which numbers each has, and how a plan becomes a network.
Ignores: which plan is good for what (`recipes/`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from foveate.errors import SettingError
from foveate.nets import pretrained
from foveate.nets.encoders import DESIGNS, EncoderUNet, MobileEncoder, load_imagenet
from foveate.nets.local_global import Fusion, LocalGlobalUNet, Stream
from foveate.nets.timm_encoder import TimmEncoder
from foveate.nets.unet import UNet
from foveate.wording import quantity

TIMM_PREFIX = "timm:"
"""Prefix of a backbone's name that means an encoder from timm."""

DECODER_WIDTHS = (128, 64, 48, 32, 16)
"""Channels of the decoder behind encoders other than the U-Net's, the coarsest first; a shallower decoder
uses the last of them. Our choice: narrow, so that two CPUs can train them."""

STORED_NAMES: Mapping[str, str] = MappingProxyType({"output_stride": "ends", "residual_fusion": "corrects"})
"""Field -> its name in recipe.json, in manifests and in `--set`. These names never change, so that old runs
and packages stay readable."""

WeightReader = Callable[[str, str | None], Mapping[str, Tensor]]
"""(backbone, file or None) -> its ImageNet weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamPlan:
    """The numbers that define GlobalNet or LocalNet."""

    backbone: str
    """'unet' (the paper's), 'efficientnet-lite0', 'mobilenet-v2', or 'timm:NAME' where timm is installed."""
    poolings: int
    """How often the side is halved. The paper names 3, 4 and 6, by lesion and stream (section 2.1)."""
    width: int = 64
    """U-Net: channels of the first block (the paper names none; 64 is Ronneberger et al. 2015)."""
    cap: int = 1024
    """U-Net: channels double with each pooling, but not beyond this (our choice: Ronneberger's)."""
    decoder: tuple[int, ...] = ()
    """Other backbones: channels of the decoder's blocks, the coarsest first; () for DECODER_WIDTHS."""
    output_stride: int = 1
    """Other backbones: how many times smaller than the picture the decoder's last features are, 1 or 2; the
    maps have the picture's size all the same (docs/decisions/0013-half-resolution.md)."""
    imagenet: bool = False
    """Other backbones: whether the encoder starts from ImageNet weights."""
    weights: str | None = None
    """File of those weights; None for the one that their Python package holds. Nothing is downloaded."""

    def __post_init__(self) -> None:
        """Raise SettingError for an unknown backbone, or numbers that it does not have."""
        if self.backbone not in ("unet", *DESIGNS) and not self.backbone.removeprefix(TIMM_PREFIX).strip():
            raise SettingError(f"backbone '{self.backbone}' names no encoder; give one such as timm:resnet34")
        if self.backbone not in ("unet", *DESIGNS) and not self.backbone.startswith(TIMM_PREFIX):
            raise SettingError(
                f"backbone '{self.backbone}' is unknown; choose one of unet, {', '.join(DESIGNS)}, timm:NAME"
            )
        if self.backbone == "unet" and (self.decoder or self.imagenet or self.weights):
            raise SettingError(
                "decoder, imagenet and weights do not apply to backbone unet; give width and cap, or "
                "choose another backbone"
            )
        for name in ("poolings", "width", "cap"):
            if (number := getattr(self, name)) < 1:
                raise SettingError(f"{name} of {self.backbone} is {number}; give 1 or more")
        if self.decoder and min(self.decoder) < 1:
            raise SettingError(f"decoder of {self.backbone} has width {min(self.decoder)}; give 1 or more")
        if self.output_stride not in (1, 2) or (self.backbone == "unet" and self.output_stride != 1):
            raise SettingError(
                f"ends of {self.backbone} is {self.output_stride}; give "
                f"{'1' if self.backbone == 'unet' else '1 or 2'}"
            )
        if self.doublings < 1:
            raise SettingError(
                f"{self.backbone} halves {quantity(self.poolings, 'time')} and ends at "
                f"1/{self.output_stride}, so nothing is left to decode; raise poolings, or lower ends"
            )
        if self.decoder and len(self.decoder) != self.doublings:
            raise SettingError(
                f"{self.backbone} halves {quantity(self.poolings, 'time')} and ends at "
                f"1/{self.output_stride}, but decoder has {quantity(len(self.decoder), 'width')}; give "
                f"{self.doublings}"
            )
        if self.weights and not self.imagenet:
            raise SettingError(
                f"weights is '{self.weights}', but imagenet is false; set imagenet to true, or leave out "
                "weights"
            )

    @property
    def doublings(self) -> int:
        """How often the decoder doubles the side."""
        return self.poolings - self.output_stride // 2

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of the decoder's blocks, the coarsest first, for backbones other than the U-Net."""
        widths = (DECODER_WIDTHS[:1] * self.poolings + DECODER_WIDTHS[1:])[-self.poolings :]
        return self.decoder or widths[: self.doublings]

    @classmethod
    def from_stored(cls, stored: Mapping[str, object]) -> "StreamPlan":
        """Return a plan from JSON values under their stored names.

        Raises:
            KeyError, TypeError, SettingError: the values do not form a plan.
        """
        values = _field_names(stored)
        return cls(**values | {"decoder": tuple(values["decoder"])})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkPlan:
    """The numbers that define GlobalNet, LocalNet and their fusion."""

    global_net: StreamPlan
    """Sees the whole photograph."""
    local_net: StreamPlan
    """Sees windows."""
    fusion_width: int
    """Channels of the fusion's two 3x3 convolutions (the paper names none)."""
    residual_fusion: bool = False
    """Whether the fusion's output is added to LocalNet's logits and starts at 0, so that the fused network
    starts as good as LocalNet; false is the paper's fusion (docs/decisions/0011-fusion-corrects.md)."""

    def __post_init__(self) -> None:
        """Raise SettingError for a fusion of no channels, or a GlobalNet whose features are not full size."""
        if self.global_net.output_stride != 1:
            raise SettingError(
                f"ends of global_net is {self.global_net.output_stride}; give 1, since only local_net may "
                "end early"
            )
        if self.fusion_width < 1:
            raise SettingError(f"fusion_width is {self.fusion_width}; give 1 or more")

    @classmethod
    def from_stored(cls, stored: Mapping[str, object]) -> "NetworkPlan":
        """Return a plan from JSON values under their stored names, as a recipe's record holds them.

        Raises:
            KeyError, TypeError, SettingError: the values do not form a plan.
        """
        streams = {
            name: StreamPlan.from_stored(stored[name])  # type: ignore[arg-type]
            for name in ("global_net", "local_net")
        }
        return cls(**_field_names(stored) | streams)  # type: ignore[arg-type]


def _field_names(stored: Mapping[str, object]) -> dict[str, object]:
    """Return stored values under the names of their fields."""
    fields = {name: field for field, name in STORED_NAMES.items()}
    return {fields.get(name, name): value for name, value in stored.items()}


def build(
    plan: NetworkPlan, lesions: int, read_weights: WeightReader | None = pretrained.read_weights
) -> LocalGlobalUNet:
    """Build a network with its initial weights: random ones, and ImageNet's where the plan states them.

    Args:
        plan: the network.
        lesions: K, the number of maps.
        read_weights: reads ImageNet weights; None leaves them out, where trained weights are loaded next or
            only shapes matter.

    Raises:
        SettingError: there is no lesion, a backbone cannot have these numbers, or weights are missing.
    """
    if lesions < 1:
        raise SettingError(f"the number of lesions is {lesions}; give 1 or more")
    global_net = _stream(plan.global_net, lesions, read_weights)
    local_net = _stream(plan.local_net, lesions, read_weights)
    fusion = Fusion(
        local_net.channels,
        global_net.channels,
        lesions,
        width=plan.fusion_width,
        output_stride=local_net.output_stride,
        residual=plan.residual_fusion,
    )
    return LocalGlobalUNet(global_net, local_net, fusion)


def _stream(plan: StreamPlan, lesions: int, read_weights: WeightReader | None) -> Stream:
    if plan.backbone == "unet":
        return Stream(UNet(plan.width, plan.poolings, plan.cap), plan.width, lesions)
    backbone = EncoderUNet(_encoder(plan, read_weights), plan.decoder_widths, plan.output_stride)
    return Stream(backbone, plan.decoder_widths[-1], lesions, plan.output_stride)


def _encoder(plan: StreamPlan, read_weights: WeightReader | None) -> MobileEncoder | TimmEncoder:
    """Return the encoder of any backbone but the U-Net, with ImageNet weights if the plan has them."""
    if plan.backbone.startswith(TIMM_PREFIX):
        if plan.imagenet and plan.weights is None:
            raise SettingError(
                f"{plan.backbone} has no file of ImageNet weights; set weights to one, since nothing is "
                "downloaded"
            )
        name = plan.backbone.removeprefix(TIMM_PREFIX)
        return TimmEncoder(name, plan.poolings, plan.weights if read_weights else None)
    encoder = MobileEncoder(DESIGNS[plan.backbone], plan.poolings)
    if plan.imagenet and read_weights is not None:
        load_imagenet(encoder, read_weights(plan.backbone, plan.weights))
    return encoder
