"""The eight symmetries of a square: quarter turns and mirror images.

Knows:   how a picture is rotated and mirrored, and how that is undone.
Ignores: what is in the picture.

Shape letters: H W sides of a picture; H2 W2 its sides afterwards, which an odd number of quarter turns swaps.
"""

import numpy as np
from jaxtyping import Num

Symmetry = tuple[int, bool]
"""Number of anticlockwise quarter turns, 0 to 3, and whether left and right are swapped afterwards."""

DIHEDRAL: tuple[Symmetry, ...] = tuple(
    (quarters, mirrored) for mirrored in (False, True) for quarters in range(4)
)
"""All eight symmetries; the first is the identity, and the first four are the rotations."""


def apply(picture: Num[np.ndarray, "... H W"], symmetry: Symmetry) -> Num[np.ndarray, "... H2 W2"]:
    """Rotate and mirror a picture whose last two axes are rows and columns."""
    quarters, mirrored = symmetry
    turned: Num[np.ndarray, "... H2 W2"] = np.rot90(picture, quarters, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if mirrored else turned)


def invert(picture: Num[np.ndarray, "... H2 W2"], symmetry: Symmetry) -> Num[np.ndarray, "... H W"]:
    """Undo `apply`; return a view of the picture, whatever the order of its axes in memory."""
    quarters, mirrored = symmetry
    turned = picture[..., ::-1] if mirrored else picture
    upright: Num[np.ndarray, "... H W"] = np.rot90(turned, -quarters, axes=(-2, -1))
    return upright
