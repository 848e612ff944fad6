"""The networks: their layers and shapes, without files, photographs or training.

Knows:   U-Net, pretrained encoders, GlobalNet, LocalNet and their fusion.
Ignores: where pixels come from and how weights are trained.

Shape letters: N pictures or windows, P photographs, C channels, K lesions, S T sides, V view side,
G sides of the piece of the global features that a window needs.
"""

from foveate.nets.blending import add_global_head, blend
from foveate.nets.calibration import IDENTITY, LogitLine, calibrate, calibrated_layers, scale_layer
from foveate.nets.encoders import LITE0, MOBILENET_V2, EncoderUNet, MobileEncoder, load_imagenet
from foveate.nets.folding import CONVOLUTIONS, fold_batch_norm, fold_in_place, load_folded
from foveate.nets.local_global import Fusion, GlobalPieces, LocalGlobalUNet, Stream, sample_pieces
from foveate.nets.plans import NetworkPlan, StreamPlan, build
from foveate.nets.timm_encoder import TimmEncoder
from foveate.nets.unet import UNet

__all__ = [
    "CONVOLUTIONS",
    "IDENTITY",
    "LITE0",
    "MOBILENET_V2",
    "EncoderUNet",
    "Fusion",
    "GlobalPieces",
    "LocalGlobalUNet",
    "LogitLine",
    "MobileEncoder",
    "NetworkPlan",
    "Stream",
    "StreamPlan",
    "TimmEncoder",
    "UNet",
    "add_global_head",
    "blend",
    "build",
    "calibrate",
    "calibrated_layers",
    "fold_batch_norm",
    "fold_in_place",
    "load_folded",
    "load_imagenet",
    "sample_pieces",
    "scale_layer",
]
