"""How overlapping windows become one map, and how a map comes back to the photograph.

Knows:   how much each pixel of a window counts, how overlaps are averaged, how a probability is stored.
Ignores: which network looked, and why the windows lie where they do.

Shape letters: M windows, N of them in one batch, K lesions, S T sides of a window, h w canvas, H W
photograph.
Places are (row, column) in canvas px, origin top left.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt16

from foveate.errors import GeometryError, LesionError
from foveate.geometry import canvas, feature_sampling, tiling
from foveate.types import Probabilities

LEVELS = 65535
"""Stored level of probability 1; a probability p is stored as round(p * LEVELS)."""

RAMP = 4
"""The taper rises over one part in this many of a window's side: 64 of 256 px. Our choice: windows overlap by
32 to 64 px, and a seam may use all of that; further in, every window has seen enough to count fully."""

LONGEST_RAMP = 64
"""px: as much as larger windows share."""

ENOUGH = 0.25
"""Weight from which on a window alone decides where coarse maps lie beneath: that of its pixels half a ramp
from two sides, so that it decides in all of its cell (`gaze.cells`); further out the coarse map fades in."""

ROWS = 64
"""Rows finished at a time: what is worked out on the way fits the processor's cache."""

ROUNDING = 1e-6
"""How far float32 may carry a probability beyond [0, 1] before it is refused; no stored level moves by it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beneath:
    """Maps of all of a canvas at a lower resolution."""

    maps: Float32[np.ndarray, "K V V"]
    """Probabilities."""
    shape: tuple[int, int]
    """(h, w) of the canvas that they show; padding may lie below and beside it."""

    def rows(self, number: int, rows: slice, width: int) -> Float32[np.ndarray, "r w"]:
        """Return some rows of one map at the canvas's resolution: bilinear, half-pixel centres; 0 in padding.

        Args:
            number: of the map.
            rows: of the canvas.
            width: of the canvas, padding included.
        """
        coarse = self.maps[number]
        seen = feature_sampling.sample_at(
            (rows.start, 0), (rows.stop - rows.start, 1), self.shape, coarse.shape[0]
        )
        top = seen.corner[0]
        narrow = seen.rows @ coarse[top : top + seen.rows.shape[1]]
        found = np.zeros((len(narrow), width), np.float32)
        found[:, : self.shape[1]] = canvas.resample(narrow, (len(narrow), self.shape[1]))
        return found


def taper(side: int | tuple[int, int]) -> Float32[np.ndarray, "S T"]:
    """Weigh the pixels of a window: 1 in the middle, falling towards the rim as a raised cosine.

    Near its rim a network has seen less of what surrounds a pixel, so its word counts less there. The ramp
    is sampled at pixel centres, strictly above its zero: where windows agree, or one alone covers a pixel,
    the weights divide out whatever the overlap. Where two overlap, the share of the one that ends has all
    but vanished at its last pixel, and with it the seam: 1/6600 of the difference is left if they share 64
    of 256 px or more, 1/3200 for 32, 1/220 for 8. Windows that do not overlap are not blended.

    Args:
        side: of the window, px; (rows, columns) where it is no square.

    Returns:
        Weights above 0, at most 1.

    Source: our choice; Ronneberger et al. 2015 (arXiv:1505.04597) crop to the valid centre instead.
    """
    rows, columns = (_wave(length) for length in tiling.window_shape(side))
    return np.outer(rows, columns).astype(np.float32)


def _wave(length: int) -> Float64[np.ndarray, " S"]:
    """Weigh the pixels along one axis of a window."""
    ramp = min(max(1, length // RAMP), LONGEST_RAMP)
    depth = (
        np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    )  # px from the rim to a pixel's centre
    wave: Float64[np.ndarray, " S"] = np.sin(np.pi / 2 * np.minimum(depth / ramp, 1)) ** 2
    return wave


def stitch(
    looks: Iterable[Float32[np.ndarray, "N K S T"]],
    corners: Int64[np.ndarray, "M 2"],
    shape: tuple[int, int],
    inside: Bool[np.ndarray, "h w"],
    beneath: Beneath | None = None,
) -> UInt16[np.ndarray, "K h w"]:
    """Return, for every pixel of the canvas, the weighted mean of the windows that cover it.

    Sums are held for as many rows as one window has; rows that no later window touches are rounded at once.
    Where a coarse map lies beneath, it shows through where no window is, and fades out over the outer part of
    a window's ramp where neither another window nor the canvas's rim lies beside it.

    Args:
        looks: batches of windows' probabilities in [0, 1], in the order of the corners.
        corners: (row, column) of each window's top-left pixel, from top to bottom as
            `tiling.regular_grid` gives them; some may be left out.
        shape: (h, w) of the canvas.
        inside: pixels of the canvas that belong to the field.
        beneath: coarse maps for where windows are missing; where None, none may be missing.

    Returns:
        Probability times LEVELS, rounded; 0 where not inside.

    Raises:
        GeometryError: looks and corners are not equally many, corners do not run from top to bottom, a window
            leaves the canvas, a look holds anything but probabilities, or a pixel inside is in no window.

    Source: weighted overlap-add; the taper is our choice.
    """
    if inside.shape != shape:
        raise GeometryError(f"the field's mask is {_by(inside.shape)} px, the canvas {_by(shape)} px")
    if (np.diff(corners[:, 0]) < 0).any():
        raise GeometryError("windows do not run from top to bottom; keep the order of tiling.regular_grid")
    band = None
    for look, (row, column) in _pairs(looks, corners):
        if band is None:
            band = _Band(look.shape[0], (look.shape[1], look.shape[2]), inside, beneath)
        band.add(look, int(row), int(column))
    if band is None and beneath is not None:
        band = _Band(len(beneath.maps), (1, 1), inside, beneath)
    if band is None:
        raise GeometryError(
            f"no window covers the canvas of {_by(shape)} px; plan them with tiling.regular_grid"
        )
    return band.finish()


def native(probabilities: Probabilities, lesion: str) -> UInt16[np.ndarray, "H W"]:
    """Bring one lesion's map to the photograph's own pixels.

    Returns:
        Probability times LEVELS; 0 outside the frame's box. An exact copy where nothing was resampled.

    Raises:
        LesionError: the lesion has no map.
    """
    if lesion not in probabilities.lesions:
        raise LesionError(f"lesion {lesion!r} has no map; there are {', '.join(probabilities.lesions)}")
    box = probabilities.frame.box
    full = np.zeros(probabilities.shape, np.uint16)
    full[box.slices] = canvas.resample(probabilities.maps[probabilities.lesions.index(lesion)], box.shape)
    return full


class _Band:
    """The rows under way: weighted sums for one window's height, moved down the canvas as windows arrive."""

    def __init__(
        self,
        lesions: int,
        window: tuple[int, int],
        inside: Bool[np.ndarray, "h w"],
        beneath: Beneath | None,
    ) -> None:
        height, width = inside.shape
        side, _ = window
        self._inside = inside
        self._beneath = beneath
        self._taper = taper(window)
        self._weighed = np.empty(window, np.float32)  # one lesion of a look, times the taper
        self._top = 0  # first row under way; all above are finished
        self._total = np.zeros((lesions, side, width), np.float32)
        self._mass = np.zeros((side, width), np.float32)
        self._shown = np.zeros((side, width), np.float32)  # the largest weight: how surely a window decides
        self._maps = np.zeros((lesions, height, width), np.uint16)

    def add(self, look: Float32[np.ndarray, "K S T"], row: int, column: int) -> None:
        """Add a window whose row is not above that of the last one."""
        self._check(look, row, column)
        self._move(row)
        here = slice(column, column + look.shape[-1])
        for total, one in zip(self._total, look, strict=True):
            np.multiply(one, self._taper, out=self._weighed)
            total[:, here] += self._weighed
        self._mass[:, here] += self._taper
        if self._beneath is not None:
            np.maximum(self._shown[:, here], self._decisive(row, column), out=self._shown[:, here])

    def finish(self) -> UInt16[np.ndarray, "K h w"]:
        """Round what is left and return the maps."""
        self._move(self._inside.shape[0])
        return self._maps

    def _decisive(self, row: int, column: int) -> Float32[np.ndarray, "S T"]:
        """Weigh a window's pixels as the taper does, but fully towards the canvas's own rim."""
        waves = []
        for start, size, length in zip((row, column), self._taper.shape, self._inside.shape, strict=True):
            wave = _wave(size)
            if start == 0:
                wave[: size // 2] = 1
            if start + size == length:
                wave[size // 2 :] = 1
            waves.append(wave)
        return np.outer(*waves).astype(np.float32)

    def _check(self, look: Float32[np.ndarray, "K S T"], row: int, column: int) -> None:
        (rows, columns), (height, width) = self._taper.shape, self._inside.shape
        if look.shape != (len(self._total), rows, columns):
            first = (len(self._total), rows, columns)
            raise GeometryError(f"a look is {_by(look.shape)}, those before it {_by(first)}")
        if min(row, column) < 0 or row + rows > height or column + columns > width:
            raise GeometryError(
                f"the window of {rows} x {columns} px at ({row}, {column}) leaves the canvas of "
                f"{height} x {width} px"
            )
        low, high = float(look.min()), float(look.max())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # not a number fails both
            raise GeometryError(
                f"the look at ({row}, {column}) runs from {low:g} to {high:g}; probabilities lie in [0, 1]"
            )

    def _move(self, row: int) -> None:
        """Round the rows above `row` and make it the first one under way."""
        side = len(self._mass)
        count = min(row - self._top, side)
        if count == 0:
            return
        self._round(count)
        self._finish_bare(self._top + count, row)
        for sums in (self._total, self._mass, self._shown):
            sums[..., : side - count, :] = sums[..., count:, :]
            sums[..., side - count :, :] = 0
        self._top = row

    def _round(self, count: int) -> None:
        """Write the mean of the first `count` rows under way.

        Raises:
            GeometryError: a pixel of the field is in no window, and nothing lies beneath.
        """
        for start in range(0, count, ROWS):
            here = slice(start, min(start + ROWS, count))
            rows = slice(self._top + here.start, self._top + here.stop)
            inside, mass = self._inside[rows], self._mass[here]
            factor = np.divide(LEVELS, mass, out=np.zeros_like(mass), where=inside & (mass > 0))
            if self._beneath is not None:
                self._mix(self._beneath, here, rows, factor)
                continue
            if (gaps := inside & (mass == 0)).any():
                raise _gap(gaps, rows.start)
            for total, finished in zip(self._total, self._maps, strict=True):
                finished[rows] = total[here] * factor + np.float32(0.5)  # cut off to whole levels: rounded

    def _mix(self, beneath: Beneath, here: slice, rows: slice, factor: Float32[np.ndarray, "r w"]) -> None:
        """Write some rows, the coarse maps showing where no window decides.

        Args:
            beneath: the coarse maps.
            here: the rows, of those under way.
            rows: the same, of the canvas.
            factor: what makes levels of the sums.
        """
        share = np.minimum(self._shown[here] / ENOUGH, 1)
        missing = self._inside[rows] * (1 - share) * np.float32(LEVELS)
        for number, (total, finished) in enumerate(zip(self._total, self._maps, strict=True)):
            levels = total[here] * (factor * share) + np.float32(0.5)
            if missing.any():
                levels += missing * beneath.rows(number, rows, missing.shape[1])
            finished[rows] = levels

    def _finish_bare(self, top: int, bottom: int) -> None:
        """Write the rows between two bands, in which no window lies.

        Raises:
            GeometryError: they hold something of the field, and nothing lies beneath.
        """
        inside = self._inside[top:bottom]
        if self._beneath is None:
            if inside.any():
                raise _gap(inside, top)
            return
        for start in range(top, bottom, ROWS):
            rows = slice(start, min(start + ROWS, bottom))
            for number, finished in enumerate(self._maps):
                levels = self._beneath.rows(number, rows, inside.shape[1]) * LEVELS + np.float32(0.5)
                finished[rows] = np.where(self._inside[rows], levels, 0)


def _gap(missing: Bool[np.ndarray, "r w"], top: int) -> GeometryError:
    row, column = (int(place) for place in np.argwhere(missing)[0])
    return GeometryError(
        f"pixel ({row + top}, {column}) of the field is in no window; plan with tiling.regular_grid"
    )


def _pairs(
    looks: Iterable[Float32[np.ndarray, "N K S T"]], corners: Int64[np.ndarray, "M 2"]
) -> Iterator[tuple[Float32[np.ndarray, "K S T"], Int64[np.ndarray, " 2"]]]:
    """Yield every window beside its corner.

    Raises:
        GeometryError: one of the two ends before the other.
    """
    taken = 0
    for batch in looks:
        if taken + len(batch) > len(corners):
            raise GeometryError(f"at least {taken + len(batch)} looks for {len(corners)} corners")
        yield from zip(batch, corners[taken : taken + len(batch)], strict=True)
        taken += len(batch)
    if taken < len(corners):
        raise GeometryError(f"{taken} looks for {len(corners)} corners")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
