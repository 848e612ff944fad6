"""Foveate's own networks and weights, run by MONAI's sliding window inference in eager PyTorch.

Knows:   MONAI's call, and how the predictor learns which window it is given.
Ignores: how Foveate lays windows and blends them.

Field, canvas and view are made by Foveate's own code, and GlobalNet looks once a photograph, as often turned
and mirrored as the package says: what differs is how the canvas is taken apart, computed and put together.
"""

import time

import numpy as np
import torch
from monai.inferers import sliding_window_inference

import foveate
from foveate import models
from foveate.geometry import canvas, dihedral, feature_sampling
from foveate.inference.prepared_canvas import prepare_canvas
from foveate.inference.preprocessing import normalise
from foveate.nets import GlobalPieces
from foveate.training.trainer import keep_memory
from speed_peers import networks
from speed_peers.answers import Answer, Opened

OVERLAP = 0.5
"""MONAI's tutorials take .25 to .8; a half with Gaussian blending is also nnU-Net's."""

DEFAULT_BATCH = 4
"""Windows a batch; MONAI has no default, its tutorials take 4."""

BATCHES = (1, 2, 4, 8, 16)
"""That are tried for the best."""

TRIAL_SIDE = 1152
"""Side of the corner that batches are tried on, px: 8 x 8 windows, which all of BATCHES divide."""


def with_defaults(photograph, model):
    """Contiguous, the default allocator, no_grad: what its tutorials show."""
    run = _runner(photograph, model, DEFAULT_BATCH, torch.no_grad, channels_last=False)
    return Opened(run=run, what=f"eager PyTorch float32, {DEFAULT_BATCH} windows a batch", warm=False)


def search(photograph, model, precision="float32"):
    """Time each batch on a corner of the canvas, at its best otherwise; one run tells the quickest."""
    keep_memory()
    seconds = {}
    for batch in BATCHES:
        run = _runner(photograph, model, batch, _context(precision), channels_last=True, part=TRIAL_SIDE)
        run()
        seconds[batch] = min(_timed(run) for _ in range(2))
    best = min(seconds, key=seconds.get)
    return Opened(run=lambda: Answer(figures={"batch": best}), what=f"{seconds}", warm=False)


def at_its_best(photograph, model, batch, precision="float32"):
    """The batch that was found best, channels last, memory kept, inference mode."""
    memory = "memory kept" if keep_memory() else "memory not kept"
    run = _runner(photograph, model, batch, _context(precision), channels_last=True)
    what = f"eager PyTorch {precision}, {batch} windows a batch, channels last, {memory}"
    return Opened(run=run, what=what, warm=False)


def _context(precision):
    if precision == "float32":
        return torch.inference_mode

    def context():
        torch.set_grad_enabled(False)
        return torch.autocast("cpu", dtype=torch.bfloat16)

    return context


def _timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _runner(photograph, model, batch, context, *, channels_last, part=None):
    """Return what runs the networks once over a photograph, or over a corner of `part` px of its canvas."""
    networks.use_all_processors()
    package, pixels = models.load(model), foveate.read(photograph)
    contract = package.contract
    network = networks.load_network(package)
    order = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=order)

    def run():
        with context():
            prepared = prepare_canvas(pixels, contract)
            frame, picture = prepared.frame, prepared.unpadded
            features = _features(
                network,
                normalise(canvas.global_view(picture, contract.view_side)[None], contract),
                contract,
                order,
            )
            features = features / contract.tta_views

            def predict(windows, positions):
                samplings = [_sampling(position, contract, frame.shape) for position in positions]
                pieces = [_piece(features, sampling) for sampling in samplings]
                rows, columns = (
                    torch.stack([torch.from_numpy(getattr(sampling, axis)) for sampling in samplings])
                    for axis in ("rows", "columns")
                )
                windows = windows.contiguous(memory_format=order)
                return (
                    network.forward_local(windows, GlobalPieces(torch.stack(pieces), rows, columns))
                    .sigmoid()
                    .float()
                )

            maps = sliding_window_inference(
                torch.from_numpy(normalise(picture[:part, :part][None], contract)),
                roi_size=contract.window_side,
                sw_batch_size=batch,
                predictor=predict,
                overlap=OVERLAP,
                mode="gaussian",
                with_coord=True,
            )
        return Answer(maps=maps[0].numpy)

    return run


def _features(network, view, contract, order):
    """Add up GlobalNet's features of all test-time views of the package."""
    total = 0
    for view_number in dihedral.DIHEDRAL[: contract.tta_views]:
        turned = torch.from_numpy(np.ascontiguousarray(dihedral.apply(view, view_number)))
        features, _ = network.forward_global(turned.contiguous(memory_format=order))
        inverted = np.ascontiguousarray(dihedral.invert(features.float().numpy(), view_number))
        total = total + torch.from_numpy(inverted)[0]
    return total


def _sampling(position, contract, shape):
    """Return how a window samples the features; MONAI gives its position as slices, rows and columns last."""
    *_, rows, columns = position
    return feature_sampling.window_sampling(
        (rows.start, columns.start), contract.window_side, shape, contract.view_side
    )


def _piece(features, sampling):
    top, left = sampling.corner
    return features[:, top : top + sampling.rows.shape[1], left : left + sampling.columns.shape[1]]
