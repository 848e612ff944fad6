"""GlobalNet, LocalNet and the fusion of their decoders' features.

Knows:   how f_g is sampled at a window's pixels, and the layers that combine it with f_l.
Ignores: the layers of either stream, except its number of channels.

Shape letters: N windows, P photographs, C D channels, K lesions, S T sides of a window or a view, S2 T2 the
same divided by the output stride, V view side, G G2 sides of a piece of f_g.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn


def head(channels: int, lesions: int, output_stride: int) -> nn.Conv2d:
    """Return the last 1x1 convolution: for each pixel it computes stride x stride values of each map."""
    return nn.Conv2d(channels, lesions * output_stride**2, 1)


def depth_to_space(values: Float[Tensor, "N KB S2 T2"], output_stride: int) -> Float[Tensor, "N K S T"]:
    """Arrange a head's values as maps at full resolution.

    Source: sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158.
    """
    return values if output_stride == 1 else nn.functional.pixel_shuffle(values, output_stride)


class Stream(nn.Module):
    """GlobalNet or LocalNet: a backbone, and a 1x1 convolution that turns its features into K maps.

    Args:
        backbone: computes the features.
        channels: channels of the features.
        lesions: K.
        output_stride: how many times smaller than the picture the features are.

    Source: Yan et al. 2019, section 2.1.
    """

    def __init__(self, backbone: nn.Module, channels: int, lesions: int, output_stride: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.output_stride = output_stride
        self.head = head(channels, lesions, output_stride)

    def forward(
        self, pictures: Float[Tensor, "N 3 S T"]
    ) -> tuple[Float[Tensor, "N C S2 T2"], Float[Tensor, "N K S T"]]:
        """Return the features before the last layer (f_g or f_l) and the logits."""
        features = self.backbone(pictures)
        return features, depth_to_space(self.head(features), self.output_stride)


class Fusion(nn.Module):
    """Two 3x3 convolutions and one 1x1 convolution on the concatenation of f_l and f_g.

    `global_head` is None in training. `nets.blend` sets it to a 1x1 convolution of f_g, whose output is
    added.

    Args:
        local_channels: channels of f_l.
        global_channels: channels of f_g.
        lesions: K.
        width: channels of the two 3x3 convolutions.
        output_stride: how many times smaller than the window f_l and all features of the fusion are.
        residual: whether the output is added to LocalNet's logits; the last convolution then starts at 0.

    Source: Yan et al. 2019, section 2.1. The ReLUs and the width are our choice. So is the absence of
    normalisation: the windows of one step come from few photographs.
    """

    def __init__(
        self,
        local_channels: int,
        global_channels: int,
        lesions: int,
        width: int,
        *,
        output_stride: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.global_head: nn.Conv2d | None = None
        self.layers = nn.Sequential(
            nn.Conv2d(local_channels + global_channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            head(width, lesions, output_stride),
        )
        if residual:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, local_features: Float[Tensor, "N C S2 T2"], global_features: Float[Tensor, "N D S2 T2"]
    ) -> Float[Tensor, "N KB S2 T2"]:
        """Return the logits of each window, before `depth_to_space`."""
        fused: Tensor = self.layers(torch.cat([local_features, global_features], dim=1))
        return fused if self.global_head is None else fused + self.global_head(global_features)


class GlobalPieces(NamedTuple):
    """For each window, its piece of f_g and the weights that interpolate it at the window's pixels."""

    features: Float[Tensor, "N C G G2"]
    rows: Float32[Tensor, "N S G"]
    """As `FeatureSampling.rows`."""
    columns: Float32[Tensor, "N T G2"]
    """As `FeatureSampling.columns`."""


def sample_pieces(pieces: GlobalPieces) -> Float32[Tensor, "N C S T"]:
    """Interpolate each window's piece of f_g at the window's pixel centres.

    It computes in float32, even under autocast: bf16 weights would be off by a third of a photograph
    pixel.
    """
    features, rows, columns = pieces
    with torch.autocast(features.device.type, enabled=False):
        return rows[:, None] @ features.float() @ columns[:, None].transpose(-1, -2)


class LocalGlobalUNet(nn.Module):
    """The paper's network: GlobalNet on the global view, LocalNet on windows, and their fusion.

    Source: Yan et al. 2019, section 2, figure 1.
    """

    def __init__(self, global_net: Stream, local_net: Stream, fusion: Fusion) -> None:
        super().__init__()
        self.global_net = global_net
        self.local_net = local_net
        self.fusion = fusion

    def forward_global(
        self, view: Float[Tensor, "P 3 V V"]
    ) -> tuple[Float[Tensor, "P C V V"], Float[Tensor, "P K V V"]]:
        """Return f_g and the coarse logits of each photograph."""
        features, logits = self.global_net(view)
        return features, logits

    def forward_local(
        self, windows: Float[Tensor, "N 3 S T"], pieces: GlobalPieces
    ) -> Float[Tensor, "N K S T"]:
        """Return the logits of each window, given its piece of f_g."""
        local_features, _ = self.local_net(windows)
        return self.fuse(local_features, pieces)

    def fuse(
        self, local_features: Float[Tensor, "N C S2 T2"], pieces: GlobalPieces
    ) -> Float[Tensor, "N K S T"]:
        """Return the logits of each window from f_l and its piece of f_g."""
        stride = self.local_net.output_stride
        if stride > 1:  # a pixel of f_l is a block of the window, and takes f_g at its centre
            rows, columns = (
                weights.unflatten(1, (-1, stride)).mean(dim=2)  # type: ignore[no-untyped-call]
                for weights in (pieces.rows, pieces.columns)
            )
            pieces = pieces._replace(rows=rows, columns=columns)
        fused: Tensor = self.fusion(local_features, sample_pieces(pieces))
        if self.fusion.residual:
            fused = fused + self.local_net.head(local_features)
        return depth_to_space(fused, stride)
