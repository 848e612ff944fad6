"""A network as numbers: which backbone in each stream, how deep, how wide.

Knows:   the names of the backbones, what each needs to be said, and how a plan becomes a network.
Ignores: which plan is good for what (`recipes/`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from foveate.errors import SettingError
from foveate.nets import pretrained
from foveate.nets.encoders import DESIGNS, EncoderUNet, MobileEncoder, load_imagenet
from foveate.nets.local_global import Fusion, LocalGlobalUNet, Stream
from foveate.nets.timm_encoder import TimmEncoder
from foveate.nets.unet import UNet

TIMM = "timm:"
"""What the name of an encoder of timm's begins with."""

DECODER = (128, 64, 48, 32, 16)
"""Channels of the decoder behind encoders other than the U-Net's, the coarsest first; a shallower one has the
last of them. Our choice: narrow, so that two processor cores can train them."""

Reader = Callable[[str, str | None], Mapping[str, Tensor]]
"""(backbone, file or None) -> its ImageNet weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamPlan:
    """GlobalNet or LocalNet as numbers."""

    backbone: str
    """'unet' (the paper's), 'efficientnet-lite0', 'mobilenet-v2', or 'timm:NAME' where timm is installed."""
    poolings: int
    """How often the side is halved. The paper names 3, 4 and 6, by lesion and stream (section 2.1)."""
    width: int = 64
    """U-Net: channels of the first block (the paper names none; 64 is Ronneberger et al. 2015)."""
    cap: int = 1024
    """U-Net: channels double with each pooling, but not beyond this (our choice: Ronneberger's)."""
    decoder: tuple[int, ...] = ()
    """Other backbones: channels of the decoder's blocks, the coarsest first; () for those of DECODER."""
    ends: int = 1
    """Other backbones: how many times smaller than the picture the decoder's last features are, 1 or 2; the
    maps have the picture's size all the same (docs/decisions/0013-half-resolution.md)."""
    imagenet: bool = False
    """Other backbones: whether the encoder starts from ImageNet weights."""
    weights: str | None = None
    """File of those weights; None for the one that their package brings. Nothing is downloaded."""

    def __post_init__(self) -> None:
        """Raise SettingError for a backbone nobody knows, or numbers that do not belong to it."""
        if self.backbone not in ("unet", *DESIGNS) and not self.backbone.removeprefix(TIMM).strip():
            raise SettingError(f"backbone '{self.backbone}' names no encoder; write e.g. timm:resnet34")
        if self.backbone not in ("unet", *DESIGNS) and not self.backbone.startswith(TIMM):
            raise SettingError(f"backbone '{self.backbone}' is none of unet, {', '.join(DESIGNS)}, timm:NAME")
        if self.backbone == "unet" and (self.decoder or self.imagenet or self.weights):
            raise SettingError("a unet has width and cap, no decoder's widths and no ImageNet weights")
        if self.poolings < 1:
            raise SettingError(f"{self.backbone} with {self.poolings} poolings; at least 1")
        if self.ends not in (1, 2) or (self.backbone == "unet" and self.ends != 1):
            raise SettingError(f"{self.backbone} ends at 1/{self.ends}; a unet ends at 1, others at 1 or 2")
        if self.doublings < 1:
            raise SettingError(
                f"{self.backbone} halves {self.poolings} times and ends at 1/{self.ends}: nothing is left to "
                "decode; raise poolings, or lower ends"
            )
        if self.decoder and len(self.decoder) != self.doublings:
            raise SettingError(
                f"{self.backbone} halves {self.poolings} times and ends at 1/{self.ends}: it needs "
                f"{self.doublings} decoder widths, not {len(self.decoder)}"
            )
        if self.weights and not self.imagenet:
            raise SettingError(f"weights '{self.weights}' are named, but imagenet is false")

    @property
    def doublings(self) -> int:
        """How often the decoder doubles the side."""
        return self.poolings - self.ends // 2

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the decoder's blocks, the coarsest first, for backbones other than the U-Net."""
        widths = (DECODER[:1] * self.poolings + DECODER[1:])[-self.poolings :]
        return self.decoder or widths[: self.doublings]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkPlan:
    """GlobalNet, LocalNet and their fusion as numbers."""

    global_net: StreamPlan
    """Sees the whole."""
    local_net: StreamPlan
    """Sees windows."""
    fusion_width: int
    """Channels of the fusion's two 3x3 convolutions (the paper names none)."""
    corrects: bool = False
    """Whether the fusion's output is added to LocalNet's logits and starts at 0, so that the fused network
    begins as good as LocalNet; false is the paper's (docs/decisions/0011-fusion-corrects.md)."""

    def __post_init__(self) -> None:
        """Raise SettingError for a fusion of no channels, or a GlobalNet that ends before its view's size."""
        if self.global_net.ends != 1:
            raise SettingError(f"global_net ends at 1/{self.global_net.ends}; only local_net may end early")
        if self.fusion_width < 1:
            raise SettingError(f"fusion_width is {self.fusion_width}; at least 1 channel")


def build(plan: NetworkPlan, lesions: int, read: Reader | None = pretrained.read) -> LocalGlobalUNet:
    """Build a network with its first weights: random ones, and ImageNet's where the plan says so.

    Args:
        plan: the network.
        lesions: K, the number of maps.
        read: finds ImageNet weights; None leaves them out, where trained weights are loaded next or only
            shapes are asked for.

    Raises:
        SettingError: no lesion, numbers that a backbone cannot have, weights or timm are not there.
    """
    if lesions < 1:
        raise SettingError(f"a network for {lesions} lesions; at least 1")
    global_net = _stream(plan.global_net, lesions, read)
    local_net = _stream(plan.local_net, lesions, read)
    fusion = Fusion(
        local_net.channels,
        global_net.channels,
        lesions,
        width=plan.fusion_width,
        ends=local_net.ends,
        corrects=plan.corrects,
    )
    return LocalGlobalUNet(global_net, local_net, fusion)


def _stream(plan: StreamPlan, lesions: int, read: Reader | None) -> Stream:
    if plan.backbone == "unet":
        return Stream(UNet(plan.width, plan.poolings, plan.cap), plan.width, lesions)
    backbone = EncoderUNet(_encoder(plan, read), plan.channels, plan.ends)
    return Stream(backbone, plan.channels[-1], lesions, plan.ends)


def _encoder(plan: StreamPlan, read: Reader | None) -> MobileEncoder | TimmEncoder:
    """Return the encoder of any backbone but the U-Net, ImageNet weights loaded."""
    if plan.backbone.startswith(TIMM):
        if plan.imagenet and plan.weights is None:
            raise SettingError(f"{plan.backbone}: name the file of its weights; nothing is downloaded")
        return TimmEncoder(plan.backbone.removeprefix(TIMM), plan.poolings, plan.weights if read else None)
    encoder = MobileEncoder(DESIGNS[plan.backbone], plan.poolings)
    if plan.imagenet and read is not None:
        load_imagenet(encoder, read(plan.backbone, plan.weights))
    return encoder
