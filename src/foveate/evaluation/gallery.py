"""Pictures of the photographs on which a lesion is found best and worst.

Knows:   how truth and map are drawn on a photograph, and which few of many pictures are kept.
Ignores: where they are shown.

Shape letters: H W photograph, h w close-up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from foveate.geometry import canvas
from foveate.types import Box
from foveate.writers import overlays

KEPT = 2
"""Best and worst photographs shown of each lesion."""

SIDE = 384
"""Side of the close-up, px of the photograph: a microaneurysm of 10 px is still seen."""

ENLARGED = 2
"""Times that the close-up is enlarged, so that outlines do not hide what they mark."""

OVERVIEW = 480
"""Longest side of the whole photograph, px."""

CELL = 32
"""Px of the photograph by which the place of the close-up is chosen."""

QUALITY = 80
"""Of the JPEGs: a page with 16 of each stays at some 2 MB."""

TRUTH, FOUND = (86, 200, 255), (255, 90, 200)
"""Outlines (sRGB) of what is drawn by hand and of what is found: sky blue and pink, apart for colour-blind
readers too, and seen on orange ground."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One photograph of the gallery."""

    name: str
    """Of the case."""
    score: float
    """Exact area below this photograph's own precision-recall curve."""
    overview: bytes
    """JPEG of the whole photograph with the close-up's frame."""
    closeup: bytes
    """JPEG of the part with most lesion, both outlines drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """The best and the worst of the photographs seen so far, each sorted, the most extreme first."""

    best: tuple[Picture, ...] = ()
    worst: tuple[Picture, ...] = ()

    def having(self, score: float, draw: Callable[[], Picture]) -> "Gallery":
        """Return the gallery after another photograph, which is drawn only if it is shown."""
        high = len(self.best) < KEPT or score > self.best[-1].score
        low = len(self.worst) < KEPT or score < self.worst[-1].score
        if not (high or low):
            return self
        picture = draw()
        best = sorted([*self.best, picture] if high else self.best, key=lambda one: -one.score)
        worst = sorted([*self.worst, picture] if low else self.worst, key=lambda one: one.score)
        return Gallery(best=tuple(best[:KEPT]), worst=tuple(worst[:KEPT]))

    @property
    def low(self) -> tuple[Picture, ...]:
        """The worst that are not among the best: where there are few photographs, one may be both."""
        shown = {picture.name for picture in self.best}
        return tuple(picture for picture in self.worst if picture.name not in shown)


def draw(
    pixels: UInt8[np.ndarray, "H W 3"], truth: Bool[np.ndarray, "H W"], marked: Bool[np.ndarray, "H W"]
) -> tuple[bytes, bytes]:
    """Return overview and close-up as JPEG."""
    box = busiest(truth | marked)
    height, width = pixels.shape[:2]
    factor = min(1.0, OVERVIEW / max(height, width))
    small = np.ascontiguousarray(
        canvas.resample(pixels, (max(1, round(height * factor)), max(1, round(width * factor))))
    ).copy()
    corners = [
        (round(x * factor), round(y * factor)) for x, y in ((box.left, box.top), (box.right, box.bottom))
    ]
    cv2.rectangle(small, corners[0], corners[1], (255, 255, 255), 2)
    return overlays.jpeg(small, QUALITY), overlays.jpeg(_closeup(pixels, truth, marked, box), QUALITY)


def busiest(mask: Bool[np.ndarray, "H W"]) -> Box:
    """Return the square of SIDE px, less in smaller photographs, that holds most of a mask, by CELL px."""
    height, width = mask.shape
    rows, columns = min(SIDE, height), min(SIDE, width)
    sums = cv2.integral(mask.view(np.uint8))
    tops = np.unique(np.append(np.arange(0, height - rows + 1, CELL), height - rows))
    lefts = np.unique(np.append(np.arange(0, width - columns + 1, CELL), width - columns))
    held = (
        sums[np.ix_(tops + rows, lefts + columns)]
        - sums[np.ix_(tops, lefts + columns)]
        - sums[np.ix_(tops + rows, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(int(held.argmax()), held.shape)
    top, left = int(tops[row]), int(lefts[column])
    return Box(top=top, left=left, bottom=top + rows, right=left + columns)


def _closeup(
    pixels: UInt8[np.ndarray, "H W 3"],
    truth: Bool[np.ndarray, "H W"],
    marked: Bool[np.ndarray, "H W"],
    box: Box,
) -> UInt8[np.ndarray, "h w 3"]:
    rows, columns = box.shape
    shape = (rows * ENLARGED, columns * ENLARGED)
    large = np.ascontiguousarray(canvas.resample(np.ascontiguousarray(pixels[box.slices]), shape))
    for mask, colour in ((truth, TRUTH), (marked, FOUND)):
        enlarged = mask[box.slices].astype(np.uint8).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
        contours, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(large, contours, -1, colour, ENLARGED)
    return large
