"""A package's network in PyTorch, and how many multiply-adds a network takes.

Knows:   how a package says what its network is, and where its weights lie.
Ignores: who runs it.
"""

import os
import sys

import torch
from torch import nn

from foveate import nets
from foveate.engines import pytorch

load_network = pytorch.load_network
"""Return the network of a package, ready to run, with the weights of its graphs."""


def multiply_adds(network, run):
    """Count those of all convolutions of a network while `run` runs it."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        total += (
            output.numel() * layer.weight[0].numel()
        )  # each output sums over in_channels / groups * k * k

    def count_up(layer, inputs, output):
        nonlocal total
        total += inputs[0].numel() * layer.weight[0].numel()

    kinds = ((nn.Conv2d, count), (nn.ConvTranspose2d, count_up))
    hooks = [
        layer.register_forward_hook(hook)
        for layer in network.modules()
        for kind, hook in kinds
        if type(layer) is kind
    ]
    with torch.inference_mode():
        run()
    for hook in hooks:
        hook.remove()
    return total


def run_local(network, contract):
    """Return how to run LocalNet and the fusion on one window, for `multiply_adds`."""
    side, reach = contract.window_side, 64  # of the piece: any will do, only convolutions are counted
    channels = network.global_net.channels
    return lambda: network.forward_local(
        torch.zeros(1, 3, side, side),
        nets.GlobalPieces(
            torch.zeros(1, channels, reach, reach),
            torch.zeros(1, side, reach),
            torch.zeros(1, side, reach),
        ),
    )


def use_all_processors():
    torch.set_num_threads(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
