"""The pixels that a brush stroke covers.

Knows:   that a pixel is covered if its centre is within half a diameter of the line, or if it holds a point.
Ignores: what is done to the pixels.

A stroke is a chain of straight segments. The part of a row that is within a radius of a segment is one
interval. A stroke of many long segments therefore costs one interval per segment and row, for a brush of any
width.

Strokes are given in (x, y); this module computes in (row, column). Shape letters: P points, S segments,
R rows, h w box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from foveate.types import Box

STRIP = 64
"""Number of rows rasterised at a time, which bounds the memory of a stroke of many segments."""

SLACK = 1e-6
"""Length by which an interval may be too long, px; its ends are then checked by the exact distance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelMask:
    """Pixels of a photograph: a box, and which of its pixels are covered."""

    box: Box
    pixels: Bool[np.ndarray, "h w"]
    """Which pixels of the box are covered."""


def rasterise(
    points: Sequence[tuple[float, float]], diameter: float, shape: tuple[int, int]
) -> PixelMask | None:
    """Return the pixels that a stroke covers, or None if all of it lies outside the photograph.

    Args:
        points: (x, y), px from the outer edge of the first pixel; at least one.
        diameter: diameter of the brush, px.
        shape: (H, W) of the photograph.
    """
    line = np.array([(y, x) for x, y in points], np.float64)
    box = _box(line.min(axis=0) - diameter / 2, line.max(axis=0) + diameter / 2, shape)
    if box is None:
        return None
    segments = _Segments(start=line, along=np.diff(line, axis=0, append=line[-1:]), radius=diameter / 2)
    pixels = np.zeros(box.shape, bool)
    for top in range(box.top, box.bottom, STRIP):
        rows = np.arange(top, min(top + STRIP, box.bottom))
        pixels[top - box.top :][: len(rows)] = _strip(segments.near(rows), rows, box)
    _cover_points(pixels, box, line)
    return PixelMask(box=box, pixels=pixels) if pixels.any() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Segments:
    """Straight segments, and the radius within which they cover pixels; (row, column), px."""

    start: Float64[np.ndarray, "S 2"]
    along: Float64[np.ndarray, "S 2"]
    """From the start of each segment to its end."""
    radius: float

    def near(self, rows: Int64[np.ndarray, " R"]) -> "_Segments":
        """Return the segments that may cover a pixel of some consecutive rows."""
        first, second = self.start[:, 0], self.start[:, 0] + self.along[:, 0]
        meets = (np.minimum(first, second) - self.radius <= rows[-1] + 1) & (
            np.maximum(first, second) + self.radius >= rows[0]
        )
        return _Segments(start=self.start[meets], along=self.along[meets], radius=self.radius)

    def covers(
        self,
        number: Int64[np.ndarray, " N"],
        rows: Float64[np.ndarray, " N"],
        columns: Float64[np.ndarray, " N"],
    ) -> Bool[np.ndarray, " N"]:
        """Return whether each numbered segment covers the pixel whose centre lies at a row and a column."""
        along, start = self.along[number], self.start[number]
        down, right, length = rows - start[:, 0], columns - start[:, 1], (along**2).sum(axis=1)
        share = (down * along[:, 0] + right * along[:, 1]) / np.where(length > 0, length, 1.0)
        share = np.clip(share, 0.0, 1.0)
        distance = (down - share * along[:, 0]) ** 2 + (right - share * along[:, 1]) ** 2
        return np.asarray(distance <= self.radius**2)

    def intervals(
        self, rows: Float64[np.ndarray, " R"]
    ) -> tuple[Float64[np.ndarray, "S R"], Float64[np.ndarray, "S R"]]:
        """Return where each segment starts and stops covering each row; an empty interval has stop < start.

        The area that a segment covers is convex: the hull of two discs, one at each end. In a row, its end on
        one side is that of a disc, or of the straight edge between the discs.
        """
        left = np.full((len(self.start), len(rows)), np.inf)
        right = np.full_like(left, -np.inf)
        for centre in (self.start, self.start + self.along):
            half = self.radius**2 - (rows - centre[:, :1]) ** 2
            half = np.where(half > -SLACK, np.sqrt(np.maximum(half, 0.0)), -np.inf)
            np.minimum(left, centre[:, 1:] - half, out=left)
            np.maximum(right, centre[:, 1:] + half, out=right)
        length = np.hypot(*self.along.T)[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # level segments, points
            across = self.radius * self.along[:, ::-1] * (-1.0, 1.0) / length  # to one long edge
            for side in (across, -across):
                share = (rows - self.start[:, :1] - side[:, :1]) / self.along[:, :1]
                column = self.start[:, 1:] + side[:, 1:] + share * self.along[:, 1:]
                on_edge = (share >= 0) & (share <= 1)  # false for points and level segments
                left = np.where(on_edge, np.minimum(left, column), left)
                right = np.where(on_edge, np.maximum(right, column), right)
        return left, right


def _strip(segments: _Segments, rows: Int64[np.ndarray, " R"], box: Box) -> Bool[np.ndarray, "R w"]:
    """Return which pixels of some rows of the box any segment covers."""
    centres, width = rows + 0.5, box.right - box.left
    left, right = segments.intervals(centres)
    first, last = _first(segments, centres, left, 1.0), _first(segments, centres, right, -1.0)
    begin = np.clip(first - box.left, 0, width).astype(np.int64)
    end = np.clip(last + 1 - box.left, begin, width).astype(np.int64)
    row_starts = np.arange(len(rows)) * (width + 1)
    size = len(rows) * (width + 1)
    changes = np.bincount((row_starts + begin).ravel(), minlength=size)
    changes -= np.bincount((row_starts + end).ravel(), minlength=size)
    return np.asarray(changes.reshape(len(rows), -1).cumsum(axis=1)[:, :width] > 0)


def _first(
    segments: _Segments, rows: Float64[np.ndarray, " R"], ends: Float64[np.ndarray, "S R"], direction: float
) -> Float64[np.ndarray, "S R"]:
    """Return the first column that each interval covers, from its left end (1) or its right end (-1)."""
    position = np.clip(ends, -1e9, 1e9) - 0.5
    columns: Float64[np.ndarray, "S R"] = (
        np.ceil(position - SLACK) if direction > 0 else np.floor(position + SLACK)
    )
    number, row = np.nonzero((np.abs(columns - position) <= SLACK) & (np.abs(position) < 1e9 - 1))
    uncovered = ~segments.covers(number, rows[row], columns[number, row] + 0.5)
    columns[number[uncovered], row[uncovered]] += direction
    return columns


def _cover_points(pixels: Bool[np.ndarray, "h w"], box: Box, line: Float64[np.ndarray, "P 2"]) -> None:
    """Cover the pixels that hold a point, so that the thinnest brush leaves a mark."""
    rows, columns = np.floor(line).astype(int).T
    inside = (rows >= box.top) & (rows < box.bottom) & (columns >= box.left) & (columns < box.right)
    pixels[rows[inside] - box.top, columns[inside] - box.left] = True


def _box(
    first: Float64[np.ndarray, " 2"], last: Float64[np.ndarray, " 2"], shape: tuple[int, int]
) -> Box | None:
    """Return the pixels between two corners that lie in a photograph, or None if there are none."""
    top, left = (max(0, int(edge)) for edge in np.floor(first))
    bottom, right = (min(side, int(edge) + 1) for edge, side in zip(np.floor(last), shape, strict=True))
    return Box(top=top, left=left, bottom=bottom, right=right) if top < bottom and left < right else None
