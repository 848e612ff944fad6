"""Hypothesis strategies of plain numbers, and pictures made from them.

Strategies draw numbers only; tests call package code in their own bodies (beartype draws from `random`,
which Hypothesis refuses inside a strategy).
"""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)
turns = st.integers(0, 3)
"""Quarter turns counter-clockwise, as np.rot90 counts them."""

laws = settings(deadline=None, max_examples=40)
"""No deadline, since a busy machine is no failure."""


@st.composite
def window_plans(draw, longest=48):
    """Return (shape of a canvas, window side, overlap): any overlap from 0 to side - 1."""
    side = draw(st.integers(1, 16))
    shape = (draw(st.integers(side, longest)), draw(st.integers(side, longest)))
    return shape, side, draw(st.integers(0, side - 1))


@st.composite
def window_positions(draw):
    """Return (shape of a canvas, window side, corner of a window in it, view side)."""
    side = draw(st.integers(1, 20))
    shape = (draw(st.integers(side, 90)), draw(st.integers(side, 90)))
    corner = tuple(draw(st.integers(0, length - side)) for length in shape)
    return shape, side, corner, draw(st.integers(2, 40))


@st.composite
def boxes_in(draw, longest=60):
    """Return ((H, W) of a photograph, (top, left, bottom, right) of a box in it)."""
    height, width = draw(st.integers(2, longest)), draw(st.integers(2, longest))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return (height, width), (
        top,
        left,
        draw(st.integers(top + 1, height)),
        draw(st.integers(left + 1, width)),
    )


def levels(seed, shape):
    """Return stored levels of a map, 0 to 65535."""
    return np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)


def quarter_turn(corner, side, shape, turns):
    """Return the corner of a window after its canvas of a shape is turned by np.rot90."""
    (row, column), (height, width) = corner, shape
    for _ in range(turns % 4):
        row, column, height, width = width - column - side, row, width, height
    return row, column


def eye(shape=(300, 360), centre=(150.0, 180.0), radius=130.0, *, dimming=0.0, noise=6.0):
    """Return a photograph of a lit disc on black, whose light falls by a share towards its rim.

    The disc has the colours of a fundus and a sharp rim.
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(rows + 0.5 - centre[0], columns + 0.5 - centre[1])
    light = 1 - dimming * np.minimum(distance / radius, 1) ** 2
    grain = np.random.default_rng(0).normal(0, noise, shape)
    pixels = light[..., None] * (150, 80, 40) + grain[..., None]
    pixels[distance > radius] = 0
    return pixels.clip(0, 255).astype(np.uint8)


def framed(pixels, top=0, left=0, bottom=0, right=0):
    """Return a photograph with black added around it, px."""
    return np.pad(pixels, ((top, bottom), (left, right), (0, 0)))
