"""Hold the 16-bit maps of a photograph in little more than one byte per pixel.

Knows:   that nearly all high bytes are 0, since most probabilities are below 1/256, and all levels outside
         the field.
Ignores: what a map shows, and how it was computed.

Shape letters: K lesions, h w canvas, r rows of a band, c columns of it that are not all 0, N pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Shaped, UInt8, UInt16
from numpy.typing import DTypeLike
from zlib_ng import zlib_ng

ROWS = 64
"""Rows of a band when a whole map is packed, so that a band fits the processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Band:
    """Some rows of a map, from the first to the last column that is not 0."""

    rows: slice
    columns: slice
    highest: int
    """No level exceeds this one."""
    low: UInt8[np.ndarray, "r c"]
    """Low bytes of the levels."""
    compressed: bytes
    """High bytes of the levels, compressed."""

    @property
    def high(self) -> UInt8[np.ndarray, "r c"]:
        """High bytes of the levels, to read only."""
        return np.frombuffer(zlib_ng.decompress(self.compressed), np.uint8).reshape(self.low.shape)


class PackedMaps:
    """Maps of K lesions, packed band by band; they read as a sequence of K arrays, unpacked one at a time.

    Columns to the left and to the right of the field are left out. Low bytes are stored as they are. High
    bytes are compressed by zlib-ng at its fastest level, which takes 0.4 % of the processor time of a
    prediction and leaves 5 % of their size (IDRiD_30).

    Args:
        count: number of maps.
        shape: (h, w) of each map, px; all of it is 0 until bands are appended.
    """

    def __init__(self, count: int, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._bands: list[list[_Band]] = [[] for _ in range(count)]

    @classmethod
    def pack(cls, maps: UInt16[np.ndarray, "K h w"]) -> "PackedMaps":
        """Pack maps that are arrays."""
        count, height, width = maps.shape
        packed = cls(count, (height, width))
        for index, stored in enumerate(maps):
            for top in range(0, height, ROWS):
                packed.append(index, stored[top : top + ROWS])
        return packed

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, h, w)."""
        return len(self._bands), *self._shape

    def append(self, index: int, levels: UInt16[np.ndarray, "r w2"]) -> None:
        """Store a band below the previous one of a map; what exceeds the map's shape is left out."""
        (height, width), bands = self._shape, self._bands[index]
        top = bands[-1].rows.stop if bands else 0
        levels = levels[: height - top, :width]
        if len(levels):
            bands.append(_pack(levels, slice(top, top + len(levels))))

    def bands(self, index: int) -> Iterator[tuple[slice, UInt16[np.ndarray, "r w"]]]:
        """Yield the rows and the levels of each band of a map, from top to bottom."""
        for band in self._bands[index]:
            yield band.rows, self._merge(band.columns, band.low, band.high)

    def rows_reaching(
        self, index: int, level: int
    ) -> Iterator[tuple[Int64[np.ndarray, " r"], UInt16[np.ndarray, "r w"]]]:
        """Yield the numbers and the levels of the rows of a map that reach a level, some at a time.

        Most rows of most lesions do not reach a threshold, and are not unpacked. There may be further rows
        among those that are yielded.

        Args:
            index: of the map.
            level: 1 to 65535.
        """
        for band in self._bands[index]:
            if band.highest >= level:
                high = band.high
                rows = np.flatnonzero(high.max(axis=1) >= level >> 8)
                yield band.rows.start + rows, self._merge(band.columns, band.low[rows], high[rows])

    def replace(
        self, index: int, rows: Int64[np.ndarray, " N"], columns: Int64[np.ndarray, " N"], level: int
    ) -> None:
        """Give pixels of a map another level.

        Args:
            index: of the map.
            rows: of the pixels, ascending.
            columns: of the pixels, none of which has level 0.
            level: 0 to 65535.
        """
        for number, band in enumerate(self._bands[index]):
            first, last = np.searchsorted(rows, (band.rows.start, band.rows.stop))
            if first < last:
                pixels = rows[first:last] - band.rows.start, columns[first:last] - band.columns.start
                high, low = band.high.copy(), band.low.copy()
                high[pixels], low[pixels] = divmod(level, 256)
                self._bands[index][number] = _Band(
                    rows=band.rows,
                    columns=band.columns,
                    highest=max(band.highest, level),
                    low=low,
                    compressed=_compress(high),
                )

    def _merge(
        self, columns: slice, low: UInt8[np.ndarray, "r c"], high: UInt8[np.ndarray, "r c"]
    ) -> UInt16[np.ndarray, "r w"]:
        """Return the levels of some rows, from the bytes that are stored of them."""
        levels = np.zeros((len(low), self._shape[1]), np.uint16)
        part = levels[:, columns]
        part[:] = high
        part <<= 8
        part |= low
        return levels

    def __getitem__(self, index: int) -> UInt16[np.ndarray, "h w"]:
        """Return a map as an array of its own.

        Raises:
            IndexError: there is no such map.
        """
        number = range(len(self))[index]
        unpacked = np.zeros(self._shape, np.uint16)
        for rows, levels in self.bands(number):
            unpacked[rows] = levels
        return unpacked

    def __iter__(self) -> Iterator[UInt16[np.ndarray, "h w"]]:
        """Yield each map as an array of its own."""
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        """Return the number of maps."""
        return len(self._bands)

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> Shaped[np.ndarray, "K h w"]:
        """Return all maps as one array, for NumPy's functions."""
        if copy is False:
            raise ValueError("packed maps cannot become an array without a copy; allow one")
        maps = np.zeros(self.shape, dtype or np.uint16)
        for index, unpacked in enumerate(maps):
            for rows, levels in self.bands(index):
                unpacked[rows] = levels
        return maps


def _pack(levels: UInt16[np.ndarray, "r w"], rows: slice) -> _Band:
    column_maxima = levels.max(axis=0)
    lit = np.flatnonzero(column_maxima)
    columns = slice(int(lit[0]), int(lit[-1]) + 1) if len(lit) else slice(0, 0)
    part = levels[:, columns]
    return _Band(
        rows=rows,
        columns=columns,
        highest=int(column_maxima.max(initial=0)),
        low=part.astype(np.uint8),
        compressed=_compress((part >> 8).astype(np.uint8)),
    )


def _compress(high: UInt8[np.ndarray, "r c"]) -> bytes:
    packed: bytes = zlib_ng.compress(high, 1)
    return packed
