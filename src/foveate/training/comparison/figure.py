"""The paper's Fig. 2: patch, truth, LocalNet, GlobalNet, fused, side by side.

Knows:   the layout and the captions of the five pictures.
Ignores: how they were chosen.

Shape letters: S side of a patch, H W picture.
"""

import io

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from foveate.training.comparison import ExamplePatch

ENLARGEMENT = 2
"""Factor by which a patch is enlarged: a microaneurysm of 10 px must be visible on a page."""

GAP, CAPTION_HEIGHT = 8, 28
"""Space between the pictures and above them, px."""

FONT_SIZE = 18
"""Font size of the captions, px."""


def png(patch: ExamplePatch) -> bytes:
    """Return the figure of one lesion as a PNG file; maps are grey, white where the probability is 1."""
    cells = {
        patch.photograph: patch.pixels,
        "truth": _grey(patch.truth.astype(np.uint8) * 255),
        "LocalNet": _grey((patch.maps["LocalNet"] // 257).astype(np.uint8)),
        "GlobalNet": _grey((patch.maps["GlobalNet"] // 257).astype(np.uint8)),
        "fused": _grey((patch.maps["fused"] // 257).astype(np.uint8)),
    }
    side = ENLARGEMENT * patch.truth.shape[0]
    page = Image.new("RGB", (len(cells) * (side + GAP) - GAP, CAPTION_HEIGHT + side), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for index, (caption, cell) in enumerate(cells.items()):
        left = index * (side + GAP)
        pen.text((left, 2), caption, fill="black", font=font)
        large = cv2.resize(cell, (side, side), interpolation=cv2.INTER_NEAREST)
        page.paste(Image.fromarray(large), (left, CAPTION_HEIGHT))
    file = io.BytesIO()
    page.save(file, "PNG", optimize=True)
    return file.getvalue()


def _grey(levels: UInt8[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S 3"]:
    return np.repeat(levels[..., np.newaxis], 3, axis=2)
