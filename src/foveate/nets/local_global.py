"""GlobalNet, LocalNet and the fusion of their decoders' features.

Knows:   how f_g reaches a window's pixels and what is learned on both.
Ignores: what either stream is made of, beyond its number of channels.
"""

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn


def head(channels: int, lesions: int, ends: int) -> nn.Conv2d:
    """Return the last 1x1 convolution: ends x ends values of each map at each pixel of the features."""
    return nn.Conv2d(channels, lesions * ends**2, 1)


def spread(values: Float[Tensor, "N KE S2 T2"], ends: int) -> Float[Tensor, "N K S T"]:
    """Lay a head's values out as maps.

    Source: sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158.
    """
    return values if ends == 1 else nn.functional.pixel_shuffle(values, ends)


class Stream(nn.Module):
    """GlobalNet or LocalNet: a backbone and a 1x1 convolution that turns its features into K maps.

    Args:
        backbone: of the features.
        channels: of them.
        lesions: K.
        ends: how many times smaller than the picture they are.

    Source: Yan et al. 2019, section 2.1.
    """

    def __init__(self, backbone: nn.Module, channels: int, lesions: int, ends: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.ends = ends
        self.head = head(channels, lesions, ends)

    def forward(
        self, pictures: Float[Tensor, "N 3 S T"]
    ) -> tuple[Float[Tensor, "N C S2 T2"], Float[Tensor, "N K S T"]]:
        """Return the features before the last layer (f_g or f_l) and the logits."""
        features = self.backbone(pictures)
        return features, spread(self.head(features), self.ends)


class Fusion(nn.Module):
    """Two 3x3 and one 1x1 convolution on f_l and f_g side by side.

    Source: Yan et al. 2019, section 2.1. ReLU between them and the width are our choice; no normalisation,
    since a step sees windows of few photographs.

    Args:
        local_channels: of f_l.
        global_channels: of f_g.
        lesions: K.
        width: channels of the two 3x3 convolutions.
        ends: how many times smaller than the window f_l is, and with it all but the logits.
        corrects: whether the last convolution starts at 0, since its output is added to LocalNet's logits.
    """

    def __init__(
        self,
        local_channels: int,
        global_channels: int,
        lesions: int,
        width: int,
        *,
        ends: int = 1,
        corrects: bool = False,
    ) -> None:
        super().__init__()
        self.corrects = corrects
        self.layers = nn.Sequential(
            nn.Conv2d(local_channels + global_channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            head(width, lesions, ends),
        )
        if corrects:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, local_features: Float[Tensor, "N C S2 T2"], global_features: Float[Tensor, "N D S2 T2"]
    ) -> Float[Tensor, "N KE S2 T2"]:
        """Return the logits of each window, before they are `spread`."""
        fused: Tensor = self.layers(torch.cat([local_features, global_features], dim=1))
        return fused


def sample(
    pieces: Float[Tensor, "N C G G2"], rows: Float32[Tensor, "N S G"], columns: Float32[Tensor, "N T G2"]
) -> Float32[Tensor, "N C S T"]:
    """Read each window's piece of f_g at the window's pixel centres.

    The weights come from `feature_sampling.sample_at`.

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
        windows: Float[Tensor, "N 3 S T"],
        pieces: Float[Tensor, "N C G G2"],
        rows: Float32[Tensor, "N S G"],
        columns: Float32[Tensor, "N T G2"],
    ) -> Float[Tensor, "N K S T"]:
        """Return the logits of each window, given its piece of f_g and how to read it."""
        local_features, _ = self.local_net(windows)
        return self.fuse(local_features, pieces, rows, columns)

    def fuse(
        self,
        local_features: Float[Tensor, "N C S2 T2"],
        pieces: Float[Tensor, "N D G G2"],
        rows: Float32[Tensor, "N S G"],
        columns: Float32[Tensor, "N T G2"],
    ) -> Float[Tensor, "N K S T"]:
        """Return the logits of each window from f_l and its piece of f_g."""
        ends = self.local_net.ends
        if ends > 1:  # f_l's pixels are blocks of the window's: a block sees f_g where its middle lies
            rows, columns = (
                each.unflatten(1, (-1, ends)).mean(dim=2)  # type: ignore[no-untyped-call]
                for each in (rows, columns)
            )
        fused: Tensor = self.fusion(local_features, sample(pieces, rows, columns))
        if self.fusion.corrects:
            fused = fused + self.local_net.head(local_features)
        return spread(fused, ends)
