"""Test-time augmentation: the outputs of both networks averaged over rotated and mirrored inputs.

Knows:   how a global view and a batch of windows are transformed, and how their outputs are transformed back.
Ignores: how the networks compute, and which efforts average over what.

Shape letters as in `foveate.engines`.
"""

import numpy as np
from jaxtyping import Float32

from foveate.engines import Engine, GlobalOutput, WindowBatch
from foveate.geometry import dihedral
from foveate.geometry.canvas import global_view
from foveate.inference.prepared_canvas import PreparedCanvas
from foveate.inference.preprocessing import normalise
from foveate.types import TtaViews


def run_global(engine: Engine, canvas: PreparedCanvas, views: TtaViews) -> GlobalOutput:
    """Run GlobalNet on a canvas, and average its output over the first `views` symmetries of a square.

    Averaged over all eight symmetries, the output rotates and mirrors exactly as the photograph does.

    Args:
        engine: runs the network.
        canvas: the canvas.
        views: the number of views: 1, 4 or 8.
    """
    pixels = global_view(canvas.unpadded, canvas.contract.view_side)
    view = normalise(pixels[np.newaxis], canvas.contract)
    first, *symmetries = dihedral.DIHEDRAL[:views]
    output = engine.run_global(dihedral.apply(view, first))
    features, probabilities = (
        array.copy(order="K")  # "K" keeps an engine's order of axes in memory, which makes sums fast
        for array in (output.features, output.probabilities)
    )
    del output
    for symmetry in symmetries:  # one view at a time, because the features of a view take 26 MB
        output = engine.run_global(dihedral.apply(view, symmetry))
        features += dihedral.invert(output.features, symmetry)
        probabilities += dihedral.invert(output.probabilities, symmetry)
        del output  # before the next view is computed
    share = np.float32(1 / views)
    features *= share
    probabilities *= share
    return GlobalOutput(probabilities=np.ascontiguousarray(probabilities), features=features)


def run_local(engine: Engine, batch: WindowBatch, views: TtaViews) -> Float32[np.ndarray, "N K S T"]:
    """Run LocalNet and the fusion on a batch, averaged over the first `views` symmetries of a square.

    The mean is that of the probabilities which the engine returns, after the last sigmoid, and it is computed
    in float32. One view is the engine's own output, bit by bit.

    Args:
        engine: runs the networks.
        batch: the windows, which need not be square.
        views: the number of symmetries: 1, 4 (the rotations) or 8.
    """
    first, *symmetries = dihedral.DIHEDRAL[:views]
    output = engine.run_local(transform_windows(batch, first))
    if not symmetries:
        return output
    probabilities = output.copy()
    for symmetry in symmetries:
        del output  # before the next one is computed
        output = engine.run_local(transform_windows(batch, symmetry))
        probabilities += dihedral.invert(output, symmetry)
    probabilities *= np.float32(1 / views)
    return probabilities


def transform_windows(batch: WindowBatch, symmetry: dihedral.Symmetry) -> WindowBatch:
    """Rotate and mirror windows together with the global features that they read.

    `dihedral.invert` undoes it for an output of the windows.

    Args:
        batch: the windows; the identity returns them as they are.
        symmetry: as in `dihedral.apply`.
    """
    if symmetry == dihedral.DIHEDRAL[0]:
        return batch
    quarters, mirrored = symmetry
    rows, columns = batch.rows, batch.columns
    for _ in range(quarters):  # the last column becomes the first row
        rows, columns = columns[:, ::-1, ::-1], rows
    if mirrored:
        columns = columns[:, ::-1, ::-1]
    return WindowBatch(
        windows=dihedral.apply(batch.windows, symmetry),
        pieces=dihedral.apply(batch.pieces, symmetry),
        rows=np.ascontiguousarray(rows),
        columns=np.ascontiguousarray(columns),
    )
