"""The eight symmetries of a square differ, and each can be undone."""

import numpy as np

from foveate.geometry import dihedral


def test_each_symmetry_can_be_undone_and_the_eight_differ():
    square = np.arange(2 * 9).reshape(2, 3, 3)
    pictures = [dihedral.apply(square, symmetry) for symmetry in dihedral.DIHEDRAL]
    for picture, symmetry in zip(pictures, dihedral.DIHEDRAL, strict=True):
        np.testing.assert_array_equal(dihedral.invert(picture, symmetry), square)
    assert len({picture.tobytes() for picture in pictures}) == 8
    np.testing.assert_array_equal(pictures[0], square)
    np.testing.assert_array_equal(pictures[1][0], [[2, 5, 8], [1, 4, 7], [0, 3, 6]])  # against the clock
