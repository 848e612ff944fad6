"""Limits on uploaded images besides their size: a small file must not need much time or memory to decode.

Knows:   how many scans a JPEG has, and how large the tiles of a TIFF are.
Ignores: pixels.
"""

import mmap
import re
from pathlib import Path

from PIL import Image

from foveate.server.errors import ServiceError

SCANS = 50
"""Maximum number of scans of one JPEG. Each scan covers the whole picture; encoders write about 10."""

TILE_SLACK = 1 << 22
"""Number of pixels by which a tile of a TIFF may exceed its picture: encoders pad small pictures to whole
tiles."""

TILE_WIDTH, TILE_HEIGHT = 322, 323
"""Numbers of the TIFF tags TileWidth and TileLength."""

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""The next JPEG marker after compressed data, in which 0xff is followed by 0, or by a restart marker."""

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9


def require_bounded(path: Path, header: Image.Image) -> None:
    """Refuse an image that is disproportionately expensive to decode.

    Args:
        path: path of the file.
        header: the file, opened by Pillow but not decoded.

    Raises:
        ServiceError: 'unreadable'.
    """
    if header.format == "JPEG" and (scans := _scans(path)) > SCANS:
        line = f"it has {scans} scans, more than the limit of {SCANS}; save it again as baseline JPEG"
        raise ServiceError("unreadable", line)
    if header.format == "TIFF":
        _require_small_tiles(header)


def _scans(path: Path) -> int:
    """Return the number of scans of a JPEG."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        scans, position = 0, 2
        while match := MARKER.search(content, position):
            marker, start = match[1][0], match.end()
            if marker == END_OF_IMAGE:
                break
            scans += marker == START_OF_SCAN
            position = start + max(2, int.from_bytes(content[start : start + 2], "big"))
        return scans


def _require_small_tiles(header: Image.Image) -> None:
    """Refuse a TIFF whose tiles are much larger than its picture: each is decoded as a whole.

    Raises:
        ServiceError: 'unreadable'.
    """
    tags = getattr(header, "tag_v2", {})
    pixels = int(tags.get(TILE_WIDTH, 0)) * int(tags.get(TILE_HEIGHT, 0))
    if pixels > header.width * header.height + TILE_SLACK:
        line = "its tiles are much larger than its picture; save it again without tiles"
        raise ServiceError("unreadable", line)
