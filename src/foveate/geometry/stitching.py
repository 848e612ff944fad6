"""Stitch overlapping windows into one map, and resample a map to the photograph's pixels.

Knows:   the weight of each pixel of a window, the averaging of overlaps, and how a probability is stored.
Ignores: which network predicted the windows, and how their positions were chosen.

Shape letters: M windows, N of them in one batch, K lesions, S T sides of a window, h w canvas, H W
photograph, V side of a coarse map, r rows of the canvas. Coordinates are (row, column) in canvas px, origin
top left.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt16

from foveate.errors import GeometryError, LesionError
from foveate.geometry import canvas, feature_sampling, tiling
from foveate.packed_maps import PackedMaps
from foveate.types import Probabilities
from foveate.wording import quantity

LEVELS = 65535
"""Stored level of probability 1; a probability p is stored as round(p * LEVELS)."""

RAMP = 4
"""The ramp of the taper is the window's side divided by this: 64 px of 256 px. Our choice: windows overlap by
32 to 64 px, and the ramp may use the whole overlap; pixels further inside have enough context to count
fully."""

LONGEST_RAMP = 64
"""Longest ramp, px: the overlap of larger windows."""

FULL_WEIGHT = 0.25
"""Weight from which a window alone decides a pixel, where coarse maps fill the gaps. It is the weight of
pixels that are half a ramp away from two sides, so that a window decides all pixels of its grid cell
(`window_selection.grid_cells`). Further out, the coarse map fades in."""

ROWS = 64
"""Number of rows that are finished at a time, so that intermediate results fit the processor's cache."""

ROUNDING = 1e-6
"""Tolerance for float32 probabilities outside [0, 1]; it is too small to change a stored level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseMaps:
    """Maps of a whole canvas at a lower resolution."""

    maps: Float32[np.ndarray, "K V V"]
    """Probabilities."""
    shape: tuple[int, int]
    """(h, w) of the canvas that they show; padding may follow below and to the right."""

    def rows(self, rows: slice, width: int) -> Iterator[Float32[np.ndarray, "r w"]]:
        """Yield some rows of each map at the canvas's resolution, in arrays of their own; 0 in the padding.

        The interpolation is bilinear with half-pixel centres.

        Args:
            rows: rows of the canvas.
            width: width of the canvas, padding included, px.
        """
        sampling = feature_sampling.window_sampling(
            (rows.start, 0), (rows.stop - rows.start, 1), self.shape, self.maps.shape[1]
        )
        top = sampling.corner[0]
        for coarse in self.maps:
            narrow = sampling.rows @ coarse[top : top + sampling.rows.shape[1]]
            resampled = np.zeros((len(narrow), width), np.float32)
            resampled[:, : self.shape[1]] = canvas.resample(narrow, (len(narrow), self.shape[1]))
            yield resampled


def taper(side: int | tuple[int, int]) -> Float32[np.ndarray, "S T"]:
    """Return the weights of a window's pixels: 1 in the middle, falling towards the rim as a raised cosine.

    Near the rim of a window a network has less context, so those pixels count less. The ramp is sampled at
    pixel centres, where it is above 0. So the weights cancel out where windows agree, or where only one
    covers a pixel, for any overlap. Where two windows overlap, the weight of the window that ends is almost 0
    at its last pixel, and so is the step at the seam: 1/6600 of the difference if they share 64 of 256 px or
    more, 1/3200 for 32 px, 1/220 for 8 px. Windows that do not overlap are not blended.

    Args:
        side: side of the window, px; (rows, columns) if it is not square.

    Returns:
        Weights above 0 and up to 1.

    Source: our choice; Ronneberger et al. 2015 (arXiv:1505.04597) crop to the valid centre instead.
    """
    rows, columns = (_ramp(length) for length in tiling.window_shape(side))
    return np.outer(rows, columns).astype(np.float32)


def _ramp(length: int) -> Float64[np.ndarray, " S"]:
    """Return the weights along one axis of a window."""
    ramp = min(max(1, length // RAMP), LONGEST_RAMP)
    from_rim = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5  # to pixel centres, px
    weights: Float64[np.ndarray, " S"] = np.sin(np.pi / 2 * np.minimum(from_rim / ramp, 1)) ** 2
    return weights


def stitch(
    batches: Iterable[Float32[np.ndarray, "N K S T"]],
    corners: Int64[np.ndarray, "M 2"],
    shape: tuple[int, int],
    inside: Bool[np.ndarray, "h w"],
    coarse_maps: CoarseMaps | None = None,
    *,
    without_padding: tuple[int, int] | None = None,
) -> PackedMaps:
    """Return, for every pixel of the canvas, the weighted mean of the windows that cover it.

    Sums are held only for as many rows as one window has. Rows that no later window touches are rounded and
    stored at once. If coarse maps are given, they fill the pixels without a window. They fade out over the
    outer part of a window's ramp, except where another window or the rim of the canvas is next to it.

    Args:
        batches: the windows' probabilities in [0, 1], in batches, in the order of the corners.
        corners: (row, column) of each window's first pixel, from top to bottom as `tiling.regular_grid`
            returns them; some may be left out.
        shape: (h, w) of the canvas.
        inside: mask of the pixels that belong to the field.
        coarse_maps: maps for pixels without a window; None if windows cover all of the field.
        without_padding: (h, w) of the maps, if the canvas is padded below and to the right.

    Returns:
        K maps: probability times LEVELS, rounded; 0 outside the mask.

    Raises:
        GeometryError: the numbers of windows and corners differ, corners do not run from top to bottom, a
            window leaves the canvas or holds values that are not probabilities, or a pixel of the field is in
            no window.

    Source: weighted overlap-add; the taper is our choice.
    """
    if inside.shape != shape:
        raise GeometryError(
            f"the field's mask is {_by(inside.shape)} px, but the canvas is {_by(shape)} px; give a mask of "
            "the canvas"
        )
    if (np.diff(corners[:, 0]) < 0).any():
        raise GeometryError(
            "windows are not ordered from top to bottom; keep the order of tiling.regular_grid"
        )
    maps_shape = shape if without_padding is None else without_padding
    accumulator = None
    for window, (row, column) in _pair(batches, corners):
        if accumulator is None:
            lesions, rows, columns = window.shape
            accumulator = _RowAccumulator(
                (rows, columns), inside, coarse_maps, PackedMaps(lesions, maps_shape)
            )
        accumulator.add(window, int(row), int(column))
    if accumulator is None and coarse_maps is not None:
        maps = PackedMaps(len(coarse_maps.maps), maps_shape)
        accumulator = _RowAccumulator((1, 1), inside, coarse_maps, maps)
    if accumulator is None:
        raise GeometryError(
            f"no window covers the canvas of {_by(shape)} px; lay out windows with tiling.regular_grid"
        )
    return accumulator.finish()


def native_map(probabilities: Probabilities, lesion: str) -> UInt16[np.ndarray, "H W"]:
    """Return one lesion's map in the photograph's own pixels.

    Returns:
        Probability times LEVELS; 0 outside the frame's box. An exact copy if nothing was resampled.

    Raises:
        LesionError: the lesion has no map.
    """
    native = np.zeros(probabilities.shape, np.uint16)
    for place, levels in native_bands(probabilities, lesion):
        native[place] = levels
    return native


def native_bands(
    probabilities: Probabilities, lesion: str
) -> Iterator[tuple[tuple[slice, slice], UInt16[np.ndarray, "r c"]]]:
    """Yield the parts of a lesion's map in the photograph's own pixels; together they fill the frame's box.

    A map that is not resampled comes some rows at a time, another one as a whole.

    Yields:
        Rows and columns of the photograph, and their levels: probability times LEVELS.

    Raises:
        LesionError: the lesion has no map.
    """
    if lesion not in probabilities.lesions:
        raise LesionError(f"lesion {lesion!r} has no map; maps exist for {', '.join(probabilities.lesions)}")
    index, frame = probabilities.lesions.index(lesion), probabilities.frame
    rows, columns = frame.box.slices
    if frame.shape != frame.box.shape:
        yield (rows, columns), canvas.resample(probabilities.maps[index], frame.box.shape)
        return
    for band, levels in probabilities.maps.bands(index):
        yield (slice(rows.start + band.start, rows.start + band.stop), columns), levels


class _RowAccumulator:
    """Weighted sums of the open rows: as many rows as a window has, moved down as windows are added."""

    def __init__(
        self,
        window: tuple[int, int],
        inside: Bool[np.ndarray, "h w"],
        coarse_maps: CoarseMaps | None,
        maps: PackedMaps,
    ) -> None:
        width = inside.shape[1]
        side, _ = window
        self._inside = inside
        self._coarse_maps = coarse_maps
        self._taper = taper(window)
        self._top = 0  # the first open row; all rows above are finished
        self._sums = np.zeros((len(maps), side, width), np.float32)
        self._weights = np.zeros((side, width), np.float32)
        # the largest weight of any window, which only blending with coarse maps needs
        self._confidence = np.zeros((side if coarse_maps else 0, width), np.float32)
        self._maps = maps  # complete above the first open row

    def add(self, window: Float32[np.ndarray, "K S T"], row: int, column: int) -> None:
        """Add a window that does not begin above the previous one."""
        self._check(window, row, column)
        self._advance(row)
        columns = slice(column, column + window.shape[-1])
        for sums, probabilities in zip(self._sums, window, strict=True):
            # one pass over memory in place of two, for which NumPy has no function
            cv2.accumulateProduct(probabilities, self._taper, sums[:, columns])
        self._weights[:, columns] += self._taper
        if self._coarse_maps is not None:
            confidence = self._confidence[:, columns]
            np.maximum(confidence, self._rim_taper(row, column), out=confidence)

    def finish(self) -> PackedMaps:
        """Store the remaining rows and return the maps."""
        self._advance(self._inside.shape[0])
        return self._maps

    def _rim_taper(self, row: int, column: int) -> Float32[np.ndarray, "S T"]:
        """Return the taper of a window, without its ramps along the rim of the canvas."""
        ramps = []
        for start, size, length in zip((row, column), self._taper.shape, self._inside.shape, strict=True):
            ramp = _ramp(size)
            if start == 0:
                ramp[: size // 2] = 1
            if start + size == length:
                ramp[size // 2 :] = 1
            ramps.append(ramp)
        return np.outer(*ramps).astype(np.float32)

    def _check(self, window: Float32[np.ndarray, "K S T"], row: int, column: int) -> None:
        (rows, columns), (height, width) = self._taper.shape, self._inside.shape
        expected = (len(self._sums), rows, columns)
        if window.shape != expected:
            raise GeometryError(
                f"a window is {_by(window.shape)}, but those before it are {_by(expected)}; give windows of "
                "one size"
            )
        if min(row, column) < 0 or row + rows > height or column + columns > width:
            raise GeometryError(
                f"the window of {rows} x {columns} px at ({row}, {column}) leaves the canvas of "
                f"{height} x {width} px"
            )
        # The bits of a float from 0 to 1, read as a whole number, are at most those of 1; those of NaN, of
        # negative numbers and of numbers above 1 are higher. So one search shows whether all is well.
        if window.view(np.uint32).max() <= np.float32(1).view(np.uint32):
            return
        low, high = float(window.min()), float(window.max())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN fails both
            raise GeometryError(
                f"the window at ({row}, {column}) has values from {low:g} to {high:g}; give probabilities "
                "from 0 to 1"
            )

    def _advance(self, row: int) -> None:
        """Store the rows above `row`, and make `row` the first open one."""
        side = len(self._weights)
        count = min(row - self._top, side)
        if count == 0:
            return
        self._store_means(count)
        self._store_coarse(self._top + count, row)
        for sums in (*self._sums, self._weights, self._confidence):
            sums[: side - count] = sums[count:]
            sums[side - count :] = 0
        self._top = row

    def _store_means(self, count: int) -> None:
        """Store the means of the first `count` open rows.

        Raises:
            GeometryError: a pixel of the field is in no window, and there are no coarse maps.
        """
        for start in range(0, count, ROWS):
            open_rows = slice(start, min(start + ROWS, count))
            rows = slice(self._top + open_rows.start, self._top + open_rows.stop)
            inside, weights = self._inside[rows], self._weights[open_rows]
            factor = np.divide(LEVELS, weights, out=np.zeros_like(weights), where=inside & (weights > 0))
            if self._coarse_maps is not None:
                self._store_blend(self._coarse_maps, open_rows, rows, factor)
                continue
            if (gaps := inside & (weights == 0)).any():
                raise _gap(gaps, rows.start)
            for lesion, sums in enumerate(self._sums):
                levels = sums[open_rows] * factor
                levels += np.float32(0.5)  # so that truncation rounds
                self._maps.append(lesion, levels.astype(np.uint16))

    def _store_blend(
        self, coarse_maps: CoarseMaps, open_rows: slice, rows: slice, factor: Float32[np.ndarray, "r w"]
    ) -> None:
        """Store some rows, blended with the coarse maps where no window decides.

        Args:
            coarse_maps: the coarse maps.
            open_rows: the rows, counted from the first open one.
            rows: the same rows, counted on the canvas.
            factor: LEVELS divided by the sums of weights.
        """
        share = np.minimum(self._confidence[open_rows] / FULL_WEIGHT, 1)
        missing = self._inside[rows] * (1 - share) * np.float32(LEVELS)
        factor = factor * share
        coarse_rows = coarse_maps.rows(rows, missing.shape[1]) if missing.any() else None
        for lesion, sums in enumerate(self._sums):
            levels = sums[open_rows] * factor
            levels += np.float32(0.5)
            if coarse_rows is not None:
                coarse = next(coarse_rows)
                coarse *= missing
                levels += coarse
            self._maps.append(lesion, levels.astype(np.uint16))

    def _store_coarse(self, top: int, bottom: int) -> None:
        """Store the rows between two rows of windows, where only the coarse maps have values.

        Raises:
            GeometryError: they hold a pixel of the field, and there are no coarse maps.
        """
        if self._coarse_maps is None and self._inside[top:bottom].any():
            raise _gap(self._inside[top:bottom], top)
        for start in range(top, bottom, ROWS):
            rows = slice(start, min(start + ROWS, bottom))
            inside = self._inside[rows]
            if self._coarse_maps is None:
                coarse_rows = iter([np.zeros_like(inside, np.float32)] * len(self._maps))
            else:
                coarse_rows = self._coarse_maps.rows(rows, inside.shape[1])
            for lesion, coarse in enumerate(coarse_rows):
                levels = coarse * LEVELS + np.float32(0.5)
                levels[~inside] = 0
                self._maps.append(lesion, levels.astype(np.uint16))


def _gap(missing: Bool[np.ndarray, "r w"], top: int) -> GeometryError:
    """Return the error for pixels without a window; it names the first of them."""
    row, column = (int(index) for index in np.argwhere(missing)[0])
    return GeometryError(
        f"pixel ({row + top}, {column}) of the field is in no window; lay out windows with "
        "tiling.regular_grid"
    )


def _pair(
    batches: Iterable[Float32[np.ndarray, "N K S T"]], corners: Int64[np.ndarray, "M 2"]
) -> Iterator[tuple[Float32[np.ndarray, "K S T"], Int64[np.ndarray, " 2"]]]:
    """Yield every window with its corner.

    Raises:
        GeometryError: there are more windows than corners, or fewer.
    """
    count = 0
    for batch in batches:
        if count + len(batch) > len(corners):
            raise GeometryError(
                f"at least {count + len(batch)} windows for {quantity(len(corners), 'corner')}; give one "
                "window per corner"
            )
        yield from zip(batch, corners[count : count + len(batch)], strict=True)
        count += len(batch)
    if count < len(corners):
        raise GeometryError(
            f"{quantity(count, 'window')} for {quantity(len(corners), 'corner')}; give one window per corner"
        )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
