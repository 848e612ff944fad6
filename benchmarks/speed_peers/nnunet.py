"""nnU-Net's own predictor with a plain U-Net whose convolutions cost what LocalNet's and the fusion's do.

Knows:   nnU-Net v2's predictor, by hand, without a trained model.
Ignores: what comes out: the weights are random, only time and memory count.
"""

import os

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

import foveate
from foveate import models
from foveate.inference.prepared_canvas import prepare_canvas
from speed_peers import networks
from speed_peers.answers import Answer, Opened

for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_name, os.devnull)  # it warns of each folder that is not named; none is used

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402  reads the folders
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: E402

PATCH = 512
"""px: with half overlap as many pixels are computed as with 256, and less of them at rims."""

STAGES = 6
"""Of the U-Net; nnU-Net's planner halves until some 8 px are left, with at most this here: more cost next to
nothing."""


def windows(photograph, model, mirroring):
    """Canvas to logits: tiles that overlap by half, Gaussian weights, as nnU-Net does by default.

    Args:
        photograph: its path.
        model: name or folder of a package: its cost a pixel, and how its canvas is laid.
        mirroring: whether each tile is seen in four ways, nnU-Net's default, or in one.
    """
    networks.use_all_processors()
    package, pixels = models.load(model), foveate.read(photograph)
    contract = package.contract
    local_global = networks.load_network(package)
    goal = (
        networks.multiply_adds(local_global, networks.run_local(local_global, contract))
        / contract.window_side**2
    )
    network, width, cost = _unet_of_cost(goal, 1 + len(contract.lesions))
    predictor = _predictor(network, package, mirroring)

    def run():
        picture = np.moveaxis(prepare_canvas(pixels, contract).unpadded, -1, 0).astype(np.float32)
        mean, spread = picture.mean(axis=(1, 2)), picture.std(axis=(1, 2))
        picture = (picture - mean[:, None, None]) / spread[:, None, None]
        predictor.predict_sliding_window_return_logits(torch.from_numpy(picture[:, None]))
        return Answer()

    what = (
        f"eager PyTorch float32, plain U-Net of width {width}: {cost:.0f} multiply-adds a pixel, "
        f"LocalNet and fusion {goal:.0f}"
    )
    return Opened(run=run, what=what, warm=False)


def _unet_of_cost(goal, classes):
    """Return the plain U-Net whose cost a pixel is nearest to the goal, its width and its cost."""
    candidates = []
    for width in range(4, 36, 2):
        network = _unet(width, classes)
        cost = networks.multiply_adds(network, lambda n=network: n(torch.zeros(1, 3, 128, 128))) / 128**2
        candidates.append((abs(cost - goal), width, cost))
    _, width, cost = min(candidates)
    return _unet(width, classes).eval(), width, cost


def _unet(width, classes):
    return PlainConvUNet(
        input_channels=3,
        n_stages=STAGES,
        features_per_stage=[min(512, width * 2**stage) for stage in range(STAGES)],  # nnU-Net's cap in 2-D
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, *[2] * (STAGES - 1)],
        n_conv_per_stage=2,
        num_classes=classes,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


def _predictor(network, package, mirroring):
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=mirroring,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    plan = {"patch_size": [PATCH, PATCH], "architecture": {}}  # the network is handed over as it is
    plans = PlansManager({"configurations": {"2d": plan}})
    labels = {"background": 0, **{code: 1 + k for k, code in enumerate(package.contract.lesions)}}
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration("2d"),
        parameters=[network.state_dict()],
        dataset_json={"labels": labels},
        trainer_name="none",
        inference_allowed_mirroring_axes=(0, 1),
    )
    return predictor
