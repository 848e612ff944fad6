"""Requirements on the masks and labels that callers give.

Knows:   that they are Boolean, and as many as there are pixels or photographs.
Ignores: what is computed from them.
"""

import numpy as np

from foveate.errors import GeometryError


def require_booleans(values: np.ndarray, name: str, shape: tuple[int, ...]) -> None:
    """Require a mask or labels to be Boolean and of a shape.

    Numbers would be used as indices, and pixels of another shape would be paired with wrong ones: the scores
    would be wrong without an error.

    Args:
        values: the mask or the labels.
        name: name of the argument, for the error.
        shape: shape of the map, or number of the scores, that they belong to.

    Raises:
        GeometryError: they are of another type or shape.
    """
    if values.dtype != np.bool_:
        raise GeometryError(f"{name} is {values.dtype}; give Boolean values, such as {name} > 0")
    if values.shape != shape:
        raise GeometryError(f"{name} has the shape {values.shape}; give {shape}, the shape of what is scored")
