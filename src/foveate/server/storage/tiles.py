"""A large picture as tiles at several zoom levels: they are cut, reduced, packed into one file and read.

Knows:   levels and tiles; that photographs are reduced by the mean, and maps by the maximum.
Ignores: what the picture shows, and who looks at it.

Level 0 is at most one tile, each next level is twice as large, and the last one is the picture itself. A
pixel of a coarser level stands for a whole block of the finest one, so that all levels are aligned.

A pack is one file: a line of JSON (sizes and where each tile ends), then the tiles' bytes, level by level,
row by row. A tile of a map that is 0 everywhere has no bytes.

Shape letters: H W level, h w tile.
"""

import copy
import errno
import json
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from foveate import atomic_files
from foveate.types import Box
from foveate.writers import maps, overlays

SIZE = 512
"""Side of a tile, px: smaller tiles need more requests, larger ones load more that is off the screen."""

MARGIN = 2
"""Pixels of its neighbours around a tile in a stack, so that outlines join across the borders of tiles."""

STACKED = SIZE + 2 * MARGIN
"""Side of a tile with its margin, px."""

HEADERS = 256
"""Number of packs whose first line is cached: a few kilobytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZoomLevel:
    """One size of the picture, px."""

    height: int
    width: int

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.height // SIZE)

    @property
    def columns(self) -> int:
        """Number of columns of tiles."""
        return -(-self.width // SIZE)

    def has(self, row: int, column: int) -> bool:
        """Return whether there is such a tile."""
        return 0 <= row < self.rows and 0 <= column < self.columns

    def box(self, row: int, column: int) -> Box:
        """Return the pixels of a tile."""
        return Box(
            top=row * SIZE,
            left=column * SIZE,
            bottom=min(self.height, (row + 1) * SIZE),
            right=min(self.width, (column + 1) * SIZE),
        )


def levels(shape: tuple[int, int]) -> tuple[ZoomLevel, ...]:
    """Return the sizes of a picture of (H, W) px, the coarsest first."""
    last = max(0, math.ceil(math.log2(max(shape) / SIZE)))
    height, width = shape
    return tuple(
        ZoomLevel(height=-(-height // 2**away), width=-(-width // 2**away)) for away in range(last, -1, -1)
    )


def mean(finer: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Halve a photograph: each pixel is the mean of 2 x 2, of fewer at the right and the bottom edge."""
    height, width = finer.shape[:2]
    even = np.pad(finer, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
    halved = np.empty((len(even) // 2, even.shape[1] // 2, 3), np.uint8)
    for top in range(0, len(halved), SIZE):  # limits the memory for sums
        some = even[2 * top : 2 * (top + SIZE)].astype(np.uint16)
        four = some[::2, ::2] + some[1::2, ::2] + some[::2, 1::2] + some[1::2, 1::2]
        halved[top : top + SIZE] = (four + 2) // 4
    return halved


def highest(finer: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "h w"]:
    """Halve a map: each pixel is the maximum of 2 x 2, so that nothing small disappears."""
    height, width = finer.shape
    even = np.pad(finer, [(0, height % 2), (0, width % 2)]) if height % 2 or width % 2 else finer
    coarse: UInt8[np.ndarray, "h w"] = np.maximum(
        np.maximum(even[::2, ::2], even[1::2, ::2]), np.maximum(even[::2, 1::2], even[1::2, 1::2])
    )
    return coarse


class Pyramid:
    """A map at all its levels, which can be changed in place."""

    def __init__(self, finest: UInt8[np.ndarray, "H W"]) -> None:
        self.levels = levels(_shape(finest))
        pictures = [finest]
        while len(pictures) < len(self.levels):
            pictures.append(highest(pictures[-1]))
        self._pictures = pictures[::-1]

    @property
    def finest(self) -> UInt8[np.ndarray, "H W"]:
        """The map itself; only `replace` writes into it."""
        return self._pictures[-1]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(picture.nbytes for picture in self._pictures)

    def copy(self) -> "Pyramid":
        """Return a map of the same pixels, which can be changed without this one."""
        same = copy.copy(self)
        same._pictures = [picture.copy() for picture in self._pictures]
        return same

    def replace(self, box: Box, pixels: UInt8[np.ndarray, "h w"]) -> None:
        """Replace the pixels of a box at the finest level, and update the coarser levels."""
        self.finest[box.slices] = pixels
        for finer, coarser in zip(self._pictures[:0:-1], self._pictures[-2::-1], strict=True):
            box = Box(
                top=box.top // 2, left=box.left // 2, bottom=-(-box.bottom // 2), right=-(-box.right // 2)
            )
            rows, columns = (slice(2 * part.start, 2 * part.stop) for part in box.slices)
            coarser[box.slices] = highest(finer[rows, columns])

    def tile(self, level: int, row: int, column: int) -> bytes:
        """Return a tile as a grey PNG; no bytes if all of it is 0."""
        return grey(self._pictures[level][self.levels[level].box(row, column).slices])

    def around(self, level: int, row: int, column: int) -> UInt8[np.ndarray, "h w"]:
        """Return a tile with the part of its margin that lies in the picture."""
        box, picture = self.levels[level].box(row, column), self._pictures[level]
        top, left = max(0, box.top - MARGIN), max(0, box.left - MARGIN)
        return picture[top : box.bottom + MARGIN, left : box.right + MARGIN]

    def has(self, level: int, row: int, column: int) -> bool:
        """Return whether there is such a tile."""
        return 0 <= level < len(self.levels) and self.levels[level].has(row, column)


def grey(tile: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return a tile of a map as a grey PNG; no bytes if all of it is 0."""
    return maps.encode(np.ascontiguousarray(tile), "png") if tile.any() else b""


def pack_photograph(path: Path, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a photograph's pack.

    Raises:
        OutputError: it cannot be written.
    """
    sizes = levels(_shape(pixels))
    pictures = [pixels]
    while len(pictures) < len(sizes):
        pictures.append(mean(pictures[-1]))
    _pack(path, sizes, _cut(pictures[::-1], sizes, overlays.jpeg))


def pack_stack(path: Path, pyramids: Sequence[Pyramid]) -> None:
    """Write the pack of several maps of one size; each of its pictures stacks one tile of all maps.

    Raises:
        OutputError: it cannot be written.
    """
    sizes = pyramids[0].levels
    places = [
        (level, row, column)
        for level, size in enumerate(sizes)
        for row in range(size.rows)
        for column in range(size.columns)
    ]
    _pack(path, sizes, (stack(pyramids, *place) for place in places))


def stack(pyramids: Sequence[Pyramid | None], level: int, row: int, column: int) -> bytes:
    """Return the tiles of several maps of one size as one grey PNG; no bytes if all pixels are 0.

    The tiles are placed one below the other, each with its margin and padded with 0 to the full size.

    Args:
        pyramids: the maps; None for one that is 0 everywhere.
        level: level of the tile.
        row: row of the tile.
        column: column of the tile.
    """
    picture = np.zeros((len(pyramids) * STACKED, STACKED), np.uint8)
    for number, pyramid in enumerate(pyramids):
        if pyramid is not None:
            _place(picture, number, pyramid, (level, row, column))
    return grey(picture)


def restack(tile: bytes, pyramids: Sequence[Pyramid | None], level: int, row: int, column: int) -> bytes:
    """Return a tile of a stack with other maps in place of some of its own.

    Args:
        tile: a tile that `stack` returned.
        pyramids: the maps; None for one that stays as it is.
        level: level of the tile.
        row: row of the tile.
        column: column of the tile.
    """
    shape = (len(pyramids) * STACKED, STACKED)
    picture = maps.decode(tile, "png").copy() if tile else np.zeros(shape, np.uint8)
    for number, pyramid in enumerate(pyramids):
        if pyramid is not None:
            picture[number * STACKED : (number + 1) * STACKED] = 0
            _place(picture, number, pyramid, (level, row, column))
    return grey(picture)


def _place(
    picture: UInt8[np.ndarray, "H W"], number: int, pyramid: Pyramid, place: tuple[int, int, int]
) -> None:
    """Copy a map's tile, with its margin, to its place in a stack."""
    _, row, column = place
    tile = pyramid.around(*place)
    top, left = (MARGIN if first == 0 else 0 for first in (row, column))
    picture[number * STACKED + top :, left:][: tile.shape[0], : tile.shape[1]] = tile


def _cut(
    pictures: Sequence[np.ndarray], sizes: Sequence[ZoomLevel], encode: Callable[[np.ndarray], bytes]
) -> Iterator[bytes]:
    """Yield all tiles in the order of a pack."""
    for picture, level in zip(pictures, sizes, strict=True):
        for row in range(level.rows):
            for column in range(level.columns):
                yield encode(picture[level.box(row, column).slices])


def _pack(path: Path, sizes: Sequence[ZoomLevel], tiles: Iterator[bytes]) -> None:
    contents = list(tiles)
    end_offsets = np.cumsum([len(content) for content in contents]).tolist()
    header = {"sizes": [(level.height, level.width) for level in sizes], "ends": end_offsets}
    atomic_files.write_file(path, b"".join([json.dumps(header).encode(), b"\n", *contents]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    """The content of a pack's first line."""

    sizes: tuple[ZoomLevel, ...]
    firsts: tuple[int, ...]
    """Number of each level's first tile."""
    end_offsets: tuple[int, ...]
    """Where each tile ends, bytes after the first line."""
    start: int
    """Where the first tile begins in the file."""


class Packs:
    """Reads tiles from packs, and caches where the tiles lie in each pack."""

    def __init__(self) -> None:
        self._headers: OrderedDict[Path, _Header] = OrderedDict()
        self._lock = threading.Lock()

    def tile(self, path: Path, level: int, row: int, column: int) -> bytes | None:
        """Return a tile, or None if the picture has no such tile.

        Raises:
            FileNotFoundError: there is no such pack.
            OSError: the pack is damaged.
        """
        header = self._header(path)
        if not (0 <= level < len(header.sizes)):
            return None
        size = header.sizes[level]
        if not size.has(row, column):
            return None
        number = header.firsts[level] + row * size.columns + column
        begin = header.end_offsets[number - 1] if number else 0
        with path.open("rb") as file:
            content = os.pread(file.fileno(), header.end_offsets[number] - begin, header.start + begin)
        if len(content) != header.end_offsets[number] - begin:
            raise _damaged(path)
        return content

    def forget(self, path: Path) -> None:
        """Remove from the cache a pack that was rewritten or deleted."""
        with self._lock:
            self._headers.pop(path, None)

    def _header(self, path: Path) -> _Header:
        with self._lock:
            if path in self._headers:
                self._headers.move_to_end(path)
                return self._headers[path]
        with path.open("rb") as file:
            line = file.readline()
        try:
            header = _read_header(line)
        except ValueError as error:
            raise _damaged(path) from error
        with self._lock:
            self._headers[path] = header
            while len(self._headers) > HEADERS:
                self._headers.popitem(last=False)
        return header


def _read_header(line: bytes) -> _Header:
    """Return the content of a pack's first line.

    Raises:
        ValueError: it is not the first line of a pack.
    """
    header = json.loads(line)
    sizes = tuple(ZoomLevel(height=height, width=width) for height, width in header["sizes"])
    firsts = [0]
    for size in sizes[:-1]:
        firsts.append(firsts[-1] + size.rows * size.columns)
    return _Header(sizes=sizes, firsts=tuple(firsts), end_offsets=tuple(header["ends"]), start=len(line))


def _damaged(path: Path) -> OSError:
    """Return the error for a damaged pack; only a fault of the disk can damage one."""
    return OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def _shape(picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return int(height), int(width)
