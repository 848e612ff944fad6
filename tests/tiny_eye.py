"""A drawn right eye with an optic disc, vessels and a fovea at known places."""

import cv2
import numpy as np

SIDE = 600
"""Side of the synthetic photographs, px."""

DISC, FOVEA, DIAMETER = (300.0, 440.0), (325.0, 240.0), 80.0
"""Where they are in a synthetic right eye, px: 2.5 diameters apart, as in most people."""


def eye(*, disc=True, spot=True, decoy=False):
    """Return a synthetic right eye: a disc with vessels that arch from it, and a dark fovea."""
    rng = np.random.default_rng(5)
    noise = cv2.GaussianBlur(rng.normal(0, 60, (SIDE, SIDE)).astype(np.float32), (0, 0), 3)
    picture = np.dstack([170 + noise, 90 + noise, 40 + noise]).astype(np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    if spot:
        distance = np.hypot(rows - FOVEA[0], columns - FOVEA[1])
        picture -= 35 * np.exp(-0.5 * (distance / 25) ** 2)[..., None]
    centre = (int(DISC[1]), int(DISC[0]))
    if disc:
        cv2.circle(picture, centre, int(DIAMETER / 2), (250, 200, 130), cv2.FILLED, cv2.LINE_AA)
    if decoy:  # as bright and as large as a disc, without vessels
        cv2.circle(picture, (170, 470), int(DIAMETER / 2), (250, 200, 130), cv2.FILLED, cv2.LINE_AA)
    if disc or decoy:
        for up in (-1, 1):
            for reach in (110, 150, 190):
                axes, middle = (int(1.4 * reach), reach), (centre[0] - int(1.4 * reach), centre[1] + up * 4)
                start, end = (270, 360) if up < 0 else (0, 90)
                cv2.ellipse(picture, middle, axes, 0, start, end, (120, 45, 25), 4, cv2.LINE_AA)
    inside = np.hypot(rows - SIDE / 2, columns - SIDE / 2) <= SIDE / 2 - 10
    return np.where(inside[..., None], picture.clip(20, 255), 0).astype(np.uint8)
