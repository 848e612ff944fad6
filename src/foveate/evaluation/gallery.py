"""Pictures of the photographs on which a lesion is segmented best and worst.

Knows:   how the truth and the prediction are drawn on a photograph, and which of many pictures are kept.
Ignores: the page that shows them.

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

SHOWN_AT_EACH_END = 2
"""Number of best photographs, and of worst ones, that are shown for each lesion."""

SIDE = 384
"""Side of the close-up, px of the photograph: a microaneurysm of 10 px is still visible."""

ENLARGED = 2
"""Magnification of the close-up, so that outlines do not hide what they mark."""

OVERVIEW = 480
"""Longest side of the overview, px."""

CELL = 32
"""Grid on which the position of the close-up is chosen, px of the photograph."""

QUALITY = 80
"""Quality of the JPEGs: a page with 16 of each has about 2 MB."""

TRUTH_COLOUR, PREDICTION_COLOUR = (86, 200, 255), (255, 90, 200)
"""sRGB of the outlines of the truth and of the prediction: sky blue and pink, which colour-blind readers
can tell apart and which stand out on an orange fundus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One photograph of the gallery."""

    name: str
    """Name of the case."""
    score: float
    """Exact area under the precision-recall curve of this photograph alone."""
    overview: bytes
    """JPEG of the whole photograph with the frame of the close-up."""
    closeup: bytes
    """JPEG of the part with the most lesion pixels, with both outlines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """The best and the worst photographs so far, each sorted with the most extreme first."""

    best: tuple[Picture, ...] = ()
    worst: tuple[Picture, ...] = ()

    def add(self, score: float, draw: Callable[[], Picture]) -> "Gallery":
        """Return the gallery with another photograph; `draw` is called only if it is kept."""
        high = len(self.best) < SHOWN_AT_EACH_END or score > self.best[-1].score
        low = len(self.worst) < SHOWN_AT_EACH_END or score < self.worst[-1].score
        if not (high or low):
            return self
        picture = draw()
        best = sorted([*self.best, picture] if high else self.best, key=lambda shot: -shot.score)
        worst = sorted([*self.worst, picture] if low else self.worst, key=lambda shot: shot.score)
        return Gallery(best=tuple(best[:SHOWN_AT_EACH_END]), worst=tuple(worst[:SHOWN_AT_EACH_END]))

    @property
    def worst_only(self) -> tuple[Picture, ...]:
        """The worst photographs that are not among the best; of few photographs, some may be both."""
        best = {picture.name for picture in self.best}
        return tuple(picture for picture in self.worst if picture.name not in best)


def draw(
    pixels: UInt8[np.ndarray, "H W 3"], truth: Bool[np.ndarray, "H W"], predicted: Bool[np.ndarray, "H W"]
) -> tuple[bytes, bytes]:
    """Return the overview and the close-up as JPEG."""
    box = densest_box(truth | predicted)
    small = canvas.shrink(pixels, OVERVIEW).copy()
    factor = min(1.0, OVERVIEW / max(pixels.shape[:2]))
    corners = [
        (round(x * factor), round(y * factor)) for x, y in ((box.left, box.top), (box.right, box.bottom))
    ]
    cv2.rectangle(small, corners[0], corners[1], (255, 255, 255), 2)
    return overlays.jpeg(small, QUALITY), overlays.jpeg(_closeup(pixels, truth, predicted, box), QUALITY)


def densest_box(mask: Bool[np.ndarray, "H W"]) -> Box:
    """Return the box that holds the most pixels of a mask, on a grid of CELL px.

    Its sides are SIDE px, or those of the photograph where they are shorter.
    """
    height, width = mask.shape
    rows, columns = min(SIDE, height), min(SIDE, width)
    sums = cv2.integral(mask.view(np.uint8))
    tops = np.unique(np.append(np.arange(0, height - rows + 1, CELL), height - rows))
    lefts = np.unique(np.append(np.arange(0, width - columns + 1, CELL), width - columns))
    pixels = (
        sums[np.ix_(tops + rows, lefts + columns)]
        - sums[np.ix_(tops, lefts + columns)]
        - sums[np.ix_(tops + rows, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(int(pixels.argmax()), pixels.shape)
    top, left = int(tops[row]), int(lefts[column])
    return Box(top=top, left=left, bottom=top + rows, right=left + columns)


def _closeup(
    pixels: UInt8[np.ndarray, "H W 3"],
    truth: Bool[np.ndarray, "H W"],
    predicted: Bool[np.ndarray, "H W"],
    box: Box,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the part of a photograph in a box, enlarged, with the outlines of both masks."""
    rows, columns = box.shape
    shape = (rows * ENLARGED, columns * ENLARGED)
    large = np.ascontiguousarray(canvas.resample(np.ascontiguousarray(pixels[box.slices]), shape))
    for mask, colour in ((truth, TRUTH_COLOUR), (predicted, PREDICTION_COLOUR)):
        enlarged = mask[box.slices].astype(np.uint8).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
        contours, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(large, contours, -1, colour, ENLARGED)
    return large
