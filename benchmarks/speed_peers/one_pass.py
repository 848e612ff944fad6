"""One pass of an SE-ResNeXt50 U-Net over the field, shrunk to 1024 x 1024 px.

Knows:   segmentation_models_pytorch, and what it needs to be imported.
Ignores: what comes out: the weights are random, only time and memory count.
"""

import numpy as np
import torch

import foveate
from foveate import models
from foveate.geometry import canvas
from foveate.inference.prepared_canvas import find_field
from foveate.training.trainer import keep_memory
from speed_peers import networks
from speed_peers.answers import Answer, Opened

SIDE = 1024
"""px, of the picture: what the one model of this field that can be downloaded takes."""

CLASSES = 5
"""Four lesions and what is none."""

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""That torchvision's Python part speaks of while it is imported. Its compiled part, which has them, does not
load beside a torch that was built for the processor alone, and the import fails. Nothing here calls them."""


def single(photograph, model, best):
    """Decoded pixels to probabilities at 1024 px; they are not brought back to the photograph.

    Args:
        photograph: its path.
        model: name or folder of a package: how its field is found.
        best: channels last and memory kept, or the defaults.
    """
    is_memory_kept = keep_memory() if best else False
    networks.use_all_processors()
    unet = _library().Unet(
        encoder_name="se_resnext50_32x4d", encoder_weights=None, in_channels=3, classes=CLASSES
    )
    order = torch.channels_last if best else torch.contiguous_format
    unet = unet.eval().requires_grad_(False).to(memory_format=order)
    rule, pixels = models.load(model).contract.field, foveate.read(photograph)

    def run():
        field = find_field(pixels, "auto", rule)
        small = canvas.resample(pixels.pixels[field.box.slices], (SIDE, SIDE))
        picture = torch.from_numpy(np.moveaxis(small, -1, 0)[None].astype(np.float32) / 255)
        with torch.inference_mode():
            unet(picture.contiguous(memory_format=order)).softmax(dim=1)
        return Answer()

    suffix = f", channels last, {'memory kept' if is_memory_kept else 'memory not kept'}" if best else ""
    return Opened(run=run, what=f"eager PyTorch float32{suffix}")


def _library():
    declared = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision  # noqa: F401, PLC0415  may come with its operators, and then needs no help
    except RuntimeError:
        for operator in OPERATORS:
            declared.define(operator)
    import segmentation_models_pytorch  # noqa: PLC0415  imports torchvision

    segmentation_models_pytorch.operators = declared  # they go when the library object does
    return segmentation_models_pytorch
