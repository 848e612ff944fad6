"""The networks: layers and shapes, nothing of files, photographs or training.

Knows:   U-Net, pretrained encoders, GlobalNet, LocalNet and their fusion.
Ignores: where pixels come from and how weights are found.

Shape letters: N pictures or windows, P photographs, C channels, K lesions, S T sides, V view side,
G sides of the piece of the global features that a window needs.
"""

from foveate.nets.calibrated import SAME, Line, scaled
from foveate.nets.encoders import LITE0, MOBILENET_V2, EncoderUNet, MobileEncoder, load_imagenet
from foveate.nets.folding import CONVOLUTIONS, folded, unfold
from foveate.nets.local_global import Fusion, LocalGlobalUNet, Stream, sample
from foveate.nets.plans import NetworkPlan, StreamPlan, build
from foveate.nets.timm_encoder import TimmEncoder
from foveate.nets.unet import UNet

__all__ = [
    "CONVOLUTIONS",
    "LITE0",
    "MOBILENET_V2",
    "SAME",
    "EncoderUNet",
    "Fusion",
    "Line",
    "LocalGlobalUNet",
    "MobileEncoder",
    "NetworkPlan",
    "Stream",
    "StreamPlan",
    "TimmEncoder",
    "UNet",
    "build",
    "folded",
    "load_imagenet",
    "sample",
    "scaled",
    "unfold",
]
