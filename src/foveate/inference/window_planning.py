"""Plan the windows that LocalNet processes: all that show the field, or those that a rule selects.

Knows:   the sizes of windows, and which scores select them.
Ignores: how windows are laid out and scored, and what is computed in them.

Shape letters: N windows or cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from foveate.analysis import window_selection
from foveate.engines import GlobalOutput
from foveate.errors import FieldError
from foveate.geometry.tiling import Tiling, cover_field, regular_grid
from foveate.inference.prepared_canvas import PreparedCanvas
from foveate.types import SelectionRule

OVERLAP = 64
"""Smallest overlap of windows that are larger than in training, canvas px. Half of it is wider than the rim
of a window in which LocalNet predicts poorly (docs/results/windows.md)."""

LARGEST_WINDOW = 512 * 1024
"""Largest window, in pixels. Larger ones are no faster, and a window takes some 0.4 GB of memory per
megapixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowScores:
    """The scores that decide which cells of a canvas LocalNet processes."""

    cells: window_selection.GridCells
    coarse: Mapping[str, Float32[np.ndarray, " N"]]
    """Lesion -> GlobalNet's largest probability in each cell."""
    blob_contrast: Float32[np.ndarray, "N 2"]
    """The largest response to a dark and to a bright blob in each cell."""


def cover_windows(canvas: PreparedCanvas) -> Tiling:
    """Return the windows that cover the whole field, larger than in training where the network allows it.

    Raises:
        GeometryError: the canvas is smaller than a training window.
        FieldError: no window contains any part of the field.
    """
    contract, inside = canvas.contract, canvas.inside
    side = contract.window_side
    corners = regular_grid(canvas.frame.shape, side, contract.overlap)  # raises if the canvas is too small
    if contract.step is not None and inside.any():
        return cover_field(inside, contract.step, OVERLAP, LARGEST_WINDOW)
    in_field = [inside[row : row + side, column : column + side].any() for row, column in corners]
    if not any(in_field):
        raise FieldError("the analysed part contains none of the field of view; use --region field")
    return Tiling(window=(side, side), corners=corners[np.array(in_field)])


def score_windows(canvas: PreparedCanvas, output: GlobalOutput, *, with_blobs: bool = True) -> WindowScores:
    """Return the scores of the cells of a canvas.

    Args:
        canvas: the canvas.
        output: GlobalNet's output for it.
        with_blobs: whether to compute the blob contrast, which is 0 otherwise.
    """
    contract = canvas.contract
    overlap = min(OVERLAP, contract.window_side // 4)  # windows of 256 px share 64 px, as in training
    cells = window_selection.grid_cells(canvas.inside, contract.window_side, overlap, contract.step or 1)
    coarse = window_selection.cell_maxima(output.probabilities, cells, canvas.frame.shape)
    blob_contrast = np.zeros((len(cells.first), 2), np.float32)
    if with_blobs:
        response = window_selection.blob_response(canvas.padded(), canvas.inside)
        height, width = canvas.inside.shape
        blob_contrast = window_selection.cell_maxima(response, cells, (height, width))
    by_lesion = dict(zip(contract.lesions, coarse.T, strict=True))
    return WindowScores(cells=cells, coarse=by_lesion, blob_contrast=blob_contrast)


def select_windows(canvas: PreparedCanvas, output: GlobalOutput, rule: SelectionRule) -> Tiling:
    """Return the windows that a rule selects; there may be none."""
    with_blobs = any(criterion.blobs != "none" for criterion in rule.criteria.values())
    scores = score_windows(canvas, output, with_blobs=with_blobs)
    selected = window_selection.select_cells(scores.coarse, scores.blob_contrast, rule.criteria)
    return Tiling(window=scores.cells.window, corners=scores.cells.corners[selected])
