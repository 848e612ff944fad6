"""The paper's U-Net, up to the features before its last 1x1 convolution.

Knows:   blocks, poolings, skips.
Ignores: what the features are used for.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import SettingError


def block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return conv-bn-relu-conv-bn-relu with 3x3 kernels, which keep the size.

    Source: Yan et al. 2019, section 2.1 ('stacked by conv-bn-relu-conv-bn-relu basic blocks').
    """
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """A U-Net with a given number of poolings; its output has the input's size and `width` channels.

    Args:
        width: channels of the first block (the paper names none; Ronneberger et al. 2015 use 64).
        poolings: how often the size is halved; the paper's counts are 3, 4 and 6, by lesion and stream.
        cap: channels double with each pooling, but not beyond this (our choice: at six poolings 64 would
            become 4096, and the network would hold 500 million weights).

    Raises:
        SettingError: there is no pooling, or there are no channels.

    Source: Yan et al. 2019, section 2.1; Ronneberger et al. 2015, arXiv:1505.04597.
    """

    def __init__(self, width: int, poolings: int, cap: int = 1024) -> None:
        super().__init__()
        if poolings < 1 or width < 1 or cap < width:
            raise SettingError(
                f"width is {width}, poolings is {poolings} and cap is {cap}; give 1 or more each, and a cap "
                "of at least width"
            )
        widths = [min(width * 2**depth, cap) for depth in range(poolings + 1)]
        self.channels = width
        self.stride = 2**poolings
        pairs = list(itertools.pairwise(widths))
        self.first = block(3, width)
        self.down = nn.ModuleList(block(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(block(2 * a, a) for a, _ in reversed(pairs))

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> Float[Tensor, "N C S T"]:
        """Return the decoder's last features; S and T must be multiples of `stride`."""
        features: Tensor = self.first(pictures)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(nn.functional.max_pool2d(features, 2))
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([skips.pop(), up(features)], dim=1))
        return features
