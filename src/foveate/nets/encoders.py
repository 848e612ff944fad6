"""ImageNet encoders in the U-Net's place ('our framework can also work with other network backbones').

Knows:   EfficientNet-Lite0, its weights' order, and a decoder that ends at full resolution.
Ignores: what the features are used for.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import SettingError
from foveate.nets.unet import block

STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""EfficientNet-B0's stages (Tan and Le 2019, arXiv:1905.11946, table 1), which Lite0 keeps."""

STEM = 32
"""Channels of the first convolution, which Lite does not scale."""

TAPS = {2: (1, 16), 3: (2, 24), 4: (3, 40), 5: (5, 112), 6: (7, 320)}
"""Number of halvings + 1 -> (stages run until then, channels there)."""

EPSILON, MOMENTUM = 1e-3, 0.01
"""Of batch normalisation, as the TensorFlow original was trained."""


class SameConv(nn.Module):
    """A convolution padded as TensorFlow's SAME pads an even input: with stride 2 one pixel less before than
    after.

    The weights were trained so; padding alike on both sides shifts every feature by half a pixel a stage.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.pad = (before, after, before, after)
        padding = before if before == after else 0
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, features: Float[Tensor, "N C S T"]) -> Float[Tensor, "N D S2 T2"]:
        """Pad and convolve; sides are divided by the stride."""
        if self.conv.padding == (0, 0) and any(self.pad):
            features = nn.functional.pad(features, self.pad)
        if self.conv.groups == 1:
            return self._convolved(features)
        # Channel by channel, bf16 saves no time, and its gradient takes four times as long on a CPU.
        with torch.autocast(features.device.type, enabled=False):
            return self._convolved(features.float())

    def _convolved(self, features: Float[Tensor, "N C S T"]) -> Float[Tensor, "N D S2 T2"]:
        convolved: Tensor = self.conv(features)
        return convolved


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; the input is added where shapes agree.

    Source: Sandler et al. 2018, arXiv:1801.04381; Lite: no squeeze-and-excitation, ReLU6 for swish.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        expand = (
            [SameConv(channels_in, inner, 1), _norm(inner), nn.ReLU6(inplace=True)] if expansion > 1 else []
        )
        self.layers = nn.Sequential(
            *expand,
            SameConv(inner, inner, kernel, stride, groups=inner),
            _norm(inner),
            nn.ReLU6(inplace=True),
            SameConv(inner, channels_out, 1),
            _norm(channels_out),
        )
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, features: Float[Tensor, "N C S T"]) -> Float[Tensor, "N D S2 T2"]:
        """Return the block's features; sides are divided by the stride."""
        changed: Tensor = self.layers(features)
        return features + changed if self.adds else changed


class LiteEncoder(nn.Module):
    """EfficientNet-Lite0 as far as `halvings` goes; returns the last features of each size.

    Args:
        halvings: 2 to 5; the last features are 2**halvings times smaller than the input.

    Raises:
        SettingError: another number of halvings.

    Source: Tan and Le 2019, arXiv:1905.11946; the Lite variant is Google's, 2020.
    """

    def __init__(self, halvings: int = 5) -> None:
        super().__init__()
        if halvings + 1 not in TAPS or halvings < 2:
            raise SettingError(f"EfficientNet-Lite0 halves 2 to 5 times, not {halvings}")
        stages, _ = TAPS[halvings + 1]
        self.stem = nn.Sequential(SameConv(3, STEM, 3, 2), _norm(STEM), nn.ReLU6(inplace=True))
        self.stages = nn.ModuleList()
        width = STEM
        for repeats, kernel, stride, expansion, channels in STAGES[:stages]:
            blocks = [InvertedResidual(width, channels, kernel, stride, expansion)]
            blocks += [InvertedResidual(channels, channels, kernel, 1, expansion) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
            width = channels
        self.taps = tuple(TAPS[tap][0] for tap in range(2, halvings + 2))
        self.widths = tuple(TAPS[tap][1] for tap in range(2, halvings + 2))

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> list[Tensor]:
        """Return features at 1/2, 1/4, ... 1/2**halvings of the input's side."""
        features = self.stem(pictures)
        kept = []
        for number, stage in enumerate(self.stages, start=1):
            features = stage(features)
            if number in self.taps:
                kept.append(features)
        return kept


class EncoderUNet(nn.Module):
    """A U-Net whose encoder is EfficientNet-Lite0 and whose last skip is the picture itself.

    The encoder begins at half resolution, where a microaneurysm is two or three pixels wide; the picture
    beside the last features brings the full resolution back.

    Args:
        halvings: of the encoder, 2 to 5.
        widths: channels of the decoder's blocks, from the coarsest on, one a halving.

    Raises:
        SettingError: the counts disagree.

    Source: Yan et al. 2019, section 3.2 (other backbones); the decoder is our choice.
    """

    def __init__(self, halvings: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        if len(widths) != halvings:
            raise SettingError(f"{halvings} halvings need as many decoder widths, not {len(widths)}")
        self.encoder = LiteEncoder(halvings)
        self.channels = widths[-1]
        self.stride = 2**halvings
        below = [self.encoder.widths[-1], *widths[:-1]]
        skips = [*reversed(self.encoder.widths[:-1]), 3]
        self.decoder = nn.ModuleList(
            block(low + skip, width) for low, skip, width in zip(below, skips, widths, strict=True)
        )

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> Float[Tensor, "N C S T"]:
        """Return the decoder's last features; S and T are multiples of `stride`."""
        encoded: list[Tensor] = self.encoder(pictures)
        *skips, features = [pictures, *encoded]
        for merge in self.decoder:
            enlarged = nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = merge(torch.cat([enlarged, skips.pop()], dim=1))
        return features


def load_imagenet(encoder: LiteEncoder, weights: Mapping[str, Tensor]) -> None:
    """Copy ImageNet weights into an encoder, by position: names differ, order and shapes do not.

    Args:
        weights: the state of a whole EfficientNet-Lite0, classifier included, in its own order.

    Raises:
        SettingError: a shape differs, so that this is no EfficientNet-Lite0.
    """
    counters = "num_batches_tracked"
    source = [tensor for name, tensor in weights.items() if not name.endswith(counters)]
    target = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith(counters)}
    if len(source) < len(target):
        raise SettingError(f"{len(source)} tensors are too few for EfficientNet-Lite0's {len(target)}")
    for (name, tensor), loaded in zip(target.items(), source, strict=False):
        if tensor.shape != loaded.shape:
            raise SettingError(
                f"no EfficientNet-Lite0: {name} is {tuple(tensor.shape)}, given {tuple(loaded.shape)}"
            )
        tensor.copy_(loaded)
