"""ImageNet encoders that replace the U-Net ('our framework can also work with other network backbones').

Knows:   EfficientNet-Lite0 and MobileNetV2, the order of their weights, and a decoder with skip connections.
Ignores: what the features are used for.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import SettingError
from foveate.nets.timm_encoder import TimmEncoder
from foveate.nets.unet import block
from foveate.wording import quantity


class SameConv(nn.Module):
    """A convolution padded as TensorFlow's SAME pads an even input.

    With stride 2 it pads one pixel less before the input than after it. The weights were trained with this
    padding; equal padding on both sides would shift every feature by half a pixel per stage.
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
        return convolve(self.conv, features)


class EvenConv(nn.Module):
    """A convolution padded equally on all sides, as torchvision pads.

    With stride 2 its first tap lies before the input's first pixel.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        )

    def forward(self, features: Float[Tensor, "N C S T"]) -> Float[Tensor, "N D S2 T2"]:
        """Pad and convolve; even sides are divided by the stride."""
        return convolve(self.conv, features)


def convolve(convolution: nn.Conv2d, features: Float[Tensor, "N C S T"]) -> Float[Tensor, "N D S2 T2"]:
    """Apply a convolution, in float32 where it is depthwise.

    In a depthwise convolution bf16 saves no time, and its gradient takes four times as long on a CPU.
    """
    is_depthwise = convolution.groups > 1
    with torch.autocast(features.device.type, enabled=False) if is_depthwise else nullcontext():
        output: Tensor = convolution(features.float() if is_depthwise else features)
    return output


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """The numbers that define a network of inverted residuals."""

    name: str
    """The published name."""
    stages: tuple[tuple[int, int, int, int, int], ...]
    """(repeats, kernel, stride, expansion, channels) of each stage."""
    stem: int
    """Channels of the first convolution, 3x3 with stride 2."""
    convolution: Callable[..., nn.Module]
    """SameConv or EvenConv, which differ in their padding."""
    epsilon: float
    """Epsilon of batch normalisation."""
    momentum: float
    """Momentum of its running statistics: the share of the newest batch."""

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Return a batch normalisation."""
        return nn.BatchNorm2d(channels, eps=self.epsilon, momentum=self.momentum)


LITE0 = Design(
    name="EfficientNet-Lite0",
    stages=(
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ),
    stem=32,
    convolution=SameConv,
    epsilon=1e-3,  # as the TensorFlow original was trained
    momentum=0.01,
)
"""EfficientNet-B0's stages (Tan and Le 2019, arXiv:1905.11946, table 1), which Lite0 (Google, 2020) keeps."""

MOBILENET_V2 = Design(
    name="MobileNetV2",
    stages=(
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (3, 3, 2, 6, 32),
        (4, 3, 2, 6, 64),
        (3, 3, 1, 6, 96),
        (3, 3, 2, 6, 160),
        (1, 3, 1, 6, 320),
    ),
    stem=32,
    convolution=EvenConv,
    epsilon=1e-5,  # torch's own, with which torchvision trained the weights
    momentum=0.1,
)
"""Sandler et al. 2018, arXiv:1801.04381, table 2; padded and normalised as torchvision does."""

DESIGNS: Mapping[str, Design] = MappingProxyType({"efficientnet-lite0": LITE0, "mobilenet-v2": MOBILENET_V2})
"""Name of a backbone -> its design."""


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project; the input is added where the shapes agree.

    Args:
        design: states how to pad and normalise.
        channels_in: channels of the input.
        stage: (kernel, stride, expansion, channels out).

    Source: Sandler et al. 2018, arXiv:1801.04381; Lite: no squeeze-and-excitation, ReLU6 instead of swish.
    """

    def __init__(self, design: Design, channels_in: int, stage: tuple[int, int, int, int]) -> None:
        super().__init__()
        kernel, stride, expansion, channels_out = stage
        inner = channels_in * expansion
        convolution, norm = design.convolution, design.norm
        expand = (
            [convolution(channels_in, inner, 1), norm(inner), nn.ReLU6(inplace=True)] if expansion > 1 else []
        )
        self.layers = nn.Sequential(
            *expand,
            convolution(inner, inner, kernel, stride, groups=inner),
            norm(inner),
            nn.ReLU6(inplace=True),
            convolution(inner, channels_out, 1),
            norm(channels_out),
        )
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, features: Float[Tensor, "N C S T"]) -> Float[Tensor, "N D S2 T2"]:
        """Return the block's features; sides are divided by the stride."""
        changed: Tensor = self.layers(features)
        return features + changed if self.adds else changed


class MobileEncoder(nn.Module):
    """The first stages of a network of inverted residuals; it returns the last features of each size.

    Args:
        design: LITE0 or MOBILENET_V2.
        halvings: 2 to 5; the last features are 2**halvings times smaller than the input.

    Raises:
        SettingError: the number of halvings is outside that range.
    """

    def __init__(self, design: Design, halvings: int) -> None:
        super().__init__()
        taps = _taps(design)
        if not 2 <= halvings <= len(taps):
            raise SettingError(f"poolings of {design.name} is {halvings}; give 2 to {len(taps)}")
        self.design = design
        self.taps = taps[:halvings]
        self.widths = tuple(design.stages[tap - 1][-1] for tap in self.taps)
        self.reductions = tuple(2**n for n in range(1, halvings + 1))
        self.stem = nn.Sequential(
            design.convolution(3, design.stem, 3, 2), design.norm(design.stem), nn.ReLU6(inplace=True)
        )
        self.stages = nn.ModuleList()
        width = design.stem
        for repeats, kernel, stride, expansion, channels in design.stages[: self.taps[-1]]:
            blocks = [InvertedResidual(design, width, (kernel, stride, expansion, channels))]
            repeated = (kernel, 1, expansion, channels)
            blocks += [InvertedResidual(design, channels, repeated) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
            width = channels

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> list[Tensor]:
        """Return features at 1/2, 1/4, ... 1/2**halvings of the input's side."""
        features = self.stem(pictures)
        pyramid = []
        for number, stage in enumerate(self.stages, start=1):
            features = stage(features)
            if number in self.taps:
                pyramid.append(features)
        return pyramid


def _taps(design: Design) -> tuple[int, ...]:
    """Return, for each halving, the number of the last stage before the next halving."""
    strides = [stride for _, _, stride, _, _ in design.stages]
    return tuple(n for n in range(1, len(strides) + 1) if n == len(strides) or strides[n] == 2)


class EncoderUNet(nn.Module):
    """A U-Net with any encoder; at output stride 1 its last skip connection is the picture itself.

    Such encoders begin at half resolution or less, where a microaneurysm is two or three pixels wide. The
    skip connection from the picture restores the full resolution.

    Args:
        encoder: returns features of decreasing size; it need not have features at every size.
        widths: channels of the decoder's blocks, the coarsest first, one for each doubling.
        output_stride: how many times smaller than the picture the last features are, a power of 2.

    Raises:
        SettingError: the number of widths does not fit the encoder and the output stride.

    Source: Yan et al. 2019, section 3.2 (other backbones); the decoder is our choice.
    """

    def __init__(
        self, encoder: MobileEncoder | TimmEncoder, widths: tuple[int, ...], output_stride: int = 1
    ) -> None:
        super().__init__()
        skip_widths = {1: 3} | dict(zip(encoder.reductions, encoder.widths, strict=True))
        self.stride = max(skip_widths)
        if 2 ** len(widths) * output_stride != self.stride:
            raise SettingError(
                f"the decoder has {quantity(len(widths), 'width')}, but doubles "
                f"{quantity((self.stride // output_stride).bit_length() - 1, 'time')} from 1/{self.stride} "
                f"to 1/{output_stride}; give one width for each"
            )
        self.encoder = encoder
        self.channels = widths[-1]
        self.reductions = tuple(output_stride * 2**n for n in reversed(range(len(widths))))
        inputs = [skip_widths[self.stride], *widths[:-1]]
        self.decoder = nn.ModuleList(
            block(channels + skip_widths.get(reduction, 0), width)
            for channels, reduction, width in zip(inputs, self.reductions, widths, strict=True)
        )

    def forward(self, pictures: Float[Tensor, "N 3 S T"]) -> Float[Tensor, "N C S2 T2"]:
        """Return the decoder's last features; S and T must be multiples of `stride`."""
        encoded: list[Tensor] = self.encoder(pictures)
        skips = {1: pictures} | dict(zip(self.encoder.reductions, encoded, strict=True))
        features = skips[self.stride]
        for reduction, merge in zip(self.reductions, self.decoder, strict=True):
            features = nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")
            if reduction in skips:
                features = torch.cat([features, skips[reduction]], dim=1)
            features = merge(features)
        return features


def load_imagenet(encoder: MobileEncoder, weights: Mapping[str, Tensor]) -> None:
    """Copy ImageNet weights into an encoder by position, because names differ while order and shapes agree.

    Args:
        encoder: changed in place; it may have fewer stages than the classifier, with the rest unused.
        weights: `state_dict` of the whole classifier, in its own order.

    Raises:
        SettingError: a shape differs, so these are not the design's weights.
    """
    design = encoder.design.name
    counters = "num_batches_tracked"
    source = [tensor for name, tensor in weights.items() if not name.endswith(counters)]
    target = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith(counters)}
    if len(source) < len(target):
        raise SettingError(
            f"the weights have {quantity(len(source), 'tensor')}, but {design} has {len(target)}; choose "
            "another file"
        )
    for (name, tensor), loaded in zip(target.items(), source, strict=False):
        if tensor.shape != loaded.shape:
            raise SettingError(
                f"the weights are not those of {design}: {name} has shape {tuple(loaded.shape)}, not "
                f"{tuple(tensor.shape)}; choose another file"
            )
        tensor.copy_(loaded)
