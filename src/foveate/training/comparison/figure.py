"""The paper's Fig. 2: patch, truth, LocalNet, GlobalNet, fused, side by side.

Knows:   how the five pictures are laid out and named.
Ignores: how they were chosen.

Shape letters: S side of a patch, H W picture.
"""

import io

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from foveate.training.comparison import Patch

ENLARGED = 2
"""Times that a patch is enlarged: a microaneurysm of 10 px shall be seen on a page."""

GAP, CAPTION = 8, 28
"""Between the pictures and above them, px."""

SIZE = 18
"""Of the captions' letters, px."""


def png(patch: Patch) -> bytes:
    """Return the figure of one lesion; maps are grey, white where the probability is 1."""
    cells = {
        patch.photograph: patch.pixels,
        "truth": _grey(patch.truth.astype(np.uint8) * 255),
        "LocalNet": _grey((patch.maps["LocalNet"] // 257).astype(np.uint8)),
        "GlobalNet": _grey((patch.maps["GlobalNet"] // 257).astype(np.uint8)),
        "fused": _grey((patch.maps["fused"] // 257).astype(np.uint8)),
    }
    side = ENLARGED * patch.truth.shape[0]
    page = Image.new("RGB", (len(cells) * (side + GAP) - GAP, CAPTION + side), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(SIZE)
    for number, (caption, cell) in enumerate(cells.items()):
        left = number * (side + GAP)
        pen.text((left, 2), caption, fill="black", font=font)
        large = cv2.resize(cell, (side, side), interpolation=cv2.INTER_NEAREST)
        page.paste(Image.fromarray(large), (left, CAPTION))
    file = io.BytesIO()
    page.save(file, "PNG", optimize=True)
    return file.getvalue()


def _grey(levels: UInt8[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S 3"]:
    return np.repeat(levels[..., np.newaxis], 3, axis=2)
