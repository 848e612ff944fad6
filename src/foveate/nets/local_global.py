"""GlobalNet, LocalNet and the fusion of their decoders' features.

Knows:   how f_g reaches a window's pixels and what is learned on both.
Ignores: what either stream is made of, beyond its number of channels.
"""

from typing import Protocol

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn


class Backbone(Protocol):
    """Anything that turns a picture into features of the same size."""

    channels: int
    """Of its output."""

    def __call__(self, pictures: Float[Tensor, "N 3 S T"]) -> Float[Tensor, "N C S T"]:
        """Return the last features of the decoder."""
        ...


class Stream(nn.Module):
    """GlobalNet or LocalNet: a backbone and a 1x1 convolution that turns its features into K maps.

    Source: Yan et al. 2019, section 2.1.
    """

    def __init__(self, backbone: nn.Module, channels: int, lesions: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.head = nn.Conv2d(channels, lesions, 1)

    def forward(
        self, pictures: Float[Tensor, "N 3 S T"]
    ) -> tuple[Float[Tensor, "N C S T"], Float[Tensor, "N K S T"]]:
        """Return the features before the last layer (f_g or f_l) and the logits."""
        features = self.backbone(pictures)
        return features, self.head(features)


class Fusion(nn.Module):
    """Two 3x3 and one 1x1 convolution on f_l and f_g side by side.

    Source: Yan et al. 2019, section 2.1. ReLU between them and the width are our choice; no normalisation,
    since a step sees windows of few photographs.
    """

    def __init__(self, local_channels: int, global_channels: int, lesions: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(local_channels + global_channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, lesions, 1),
        )

    def forward(
        self, local_features: Float[Tensor, "N C S S"], global_features: Float[Tensor, "N D S S"]
    ) -> Float[Tensor, "N K S S"]:
        """Return the logits of each window."""
        fused: Tensor = self.layers(torch.cat([local_features, global_features], dim=1))
        return fused


def sample(
    pieces: Float[Tensor, "N C G G2"], rows: Float32[Tensor, "N S G"], columns: Float32[Tensor, "N S G2"]
) -> Float32[Tensor, "N C S S"]:
    """Read each window's piece of f_g at the window's pixel centres; weights from `views.sight`.

    In float32 whatever the precision around it: bf16 weights would be off by a third of a photograph pixel.
    """
    with torch.autocast(pieces.device.type, enabled=False):
        return rows[:, None] @ pieces.float() @ columns[:, None].transpose(-1, -2)


class LocalGlobalUNet(nn.Module):
    """The paper's network: GlobalNet on a view of the whole, LocalNet on windows, fused.

    Source: Yan et al. 2019, section 2, figure 1.
    """

    def __init__(self, global_net: Stream, local_net: Stream, fusion: Fusion) -> None:
        super().__init__()
        self.global_net = global_net
        self.local_net = local_net
        self.fusion = fusion

    def glance(
        self, view: Float[Tensor, "P 3 V V"]
    ) -> tuple[Float[Tensor, "P C V V"], Float[Tensor, "P K V V"]]:
        """Return f_g and the coarse logits of each photograph."""
        features, logits = self.global_net(view)
        return features, logits

    def look(
        self,
        windows: Float[Tensor, "N 3 S S"],
        pieces: Float[Tensor, "N C G G2"],
        rows: Float32[Tensor, "N S G"],
        columns: Float32[Tensor, "N S G2"],
    ) -> Float[Tensor, "N K S S"]:
        """Return the logits of each window, given its piece of f_g and how to read it."""
        local_features, _ = self.local_net(windows)
        return self.fuse(local_features, pieces, rows, columns)

    def fuse(
        self,
        local_features: Float[Tensor, "N C S S"],
        pieces: Float[Tensor, "N D G G2"],
        rows: Float32[Tensor, "N S G"],
        columns: Float32[Tensor, "N S G2"],
    ) -> Float[Tensor, "N K S S"]:
        """Return the logits of each window from f_l and its piece of f_g."""
        fused: Tensor = self.fusion(local_features, sample(pieces, rows, columns))
        return fused
