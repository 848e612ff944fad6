"""Test-time augmentation: GlobalNet's output averaged over rotated and mirrored global views.

Knows:   how a view is transformed, and how its output is transformed back.
Ignores: how GlobalNet computes.
"""

import numpy as np

from foveate.engines import Engine, GlobalOutput
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
