"""Reference masks to compare a result with: ground truth, or the masks of another grader.

Knows:   how masks are stored, and the agreement of each level of a map with a mask.
Ignores: who drew the masks.

Shape letters: H W photograph, P pixels.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from foveate import atomic_files
from foveate.analysis.component_tree import LEVELS
from foveate.server import errors
from foveate.server.review.checks import require_done, require_lesion, require_size
from foveate.server.review.corrections import Corrections
from foveate.server.storage.cache import MapCache
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Record
from foveate.server.storage.remains import delete_remains
from foveate.server.storage.tiles import Pyramid
from foveate.writers import maps

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")

MOST_NAMES = 20
"""Maximum number of names for one photograph: more would be a mistake (our choice)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceMask:
    """The numbers of pixels and regions of one mask."""

    mask_px: int
    regions: int


class References:
    """The reference masks of all photographs."""

    def __init__(
        self, database: Database, data_dir: DataDir, memory: MapCache, corrections: Corrections
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._memory = memory
        self._corrections = corrections

    def put(self, record: Record, name: str, lesion: str, mask: Bool[np.ndarray, "H W"]) -> None:
        """Store a mask; it replaces an earlier one of the same name and lesion.

        Raises:
            ServiceError: the photograph is not done or was deleted, the name cannot be part of a file name,
                there are `MOST_NAMES` names already, the lesion is unknown, or the mask has another size.
        """
        require_name(name)
        require_done(record)
        require_lesion(record, lesion)
        require_size(mask.shape, (record.height, record.width))
        names = self.names(record)
        if name not in names and len(names) >= MOST_NAMES:
            raise errors.invalid(f"there are masks of {MOST_NAMES} graders already; delete those of one")
        atomic_files.write_file(
            self._data_dir.photograph(record.id).reference(name, lesion), maps.encode_mask(mask)
        )
        if delete_remains(self._database, self._data_dir, record.id):
            raise errors.not_found("photograph")
        self._memory.forget(record.id, "reference")

    def snapshot(self, record: Record, name: str) -> None:
        """Store the corrected masks of all lesions as they are now.

        Raises:
            ServiceError: as `put`.
        """
        require_done(record)
        for lesion in record.lesions:
            self.put(record, name, lesion, self._corrections.mask(record, lesion))

    def delete(self, record: Record, name: str) -> bool:
        """Delete all masks of a name; return whether there were any."""
        lesions = self.names(record).get(name, ())
        for lesion in lesions:
            self._data_dir.delete(self._data_dir.photograph(record.id).reference(name, lesion))
        self._memory.forget(record.id, "reference")
        return bool(lesions)

    def names(self, record: Record) -> dict[str, tuple[str, ...]]:
        """Return name -> the lesions that have a mask with that name."""
        folder = self._data_dir.photograph(record.id).references
        lesions: dict[str, tuple[str, ...]] = {}
        for path in sorted(folder.glob("*.png")):
            name, _, lesion = path.stem.rpartition("_")
            lesions[name] = (*lesions.get(name, ()), lesion)
        return lesions

    def pyramid(self, record: Record, name: str, lesion: str) -> Pyramid | None:
        """Return a mask at all zoom levels, or None if there is none."""
        path = self._data_dir.photograph(record.id).reference(name, lesion)
        if not NAME.fullmatch(name):
            return None
        key = (record.id, "reference", name, lesion)
        try:
            return self._memory.get(key, lambda: Pyramid(maps.decode(path.read_bytes(), "png")))
        except FileNotFoundError:  # somebody may delete it at any moment
            return None

    def size(self, record: Record, name: str, lesion: str) -> ReferenceMask | None:
        """Return the numbers of pixels and regions of a mask, or None if there is none."""
        pyramid = self.pyramid(record, name, lesion)
        if pyramid is None:
            return None
        count, _ = cv2.connectedComponents(pyramid.finest, connectivity=8)
        return ReferenceMask(mask_px=int(np.count_nonzero(pyramid.finest)), regions=count - 1)

    def listed(self, record: Record) -> dict[str, dict[str, ReferenceMask]]:
        """Return name -> lesion -> the size of its mask; masks deleted meanwhile are left out."""
        listed = {}
        for name, lesions in self.names(record).items():
            sizes = {lesion: self.size(record, name, lesion) for lesion in lesions}
            masks = {lesion: size for lesion, size in sizes.items() if size is not None}
            if masks:
                listed[name] = masks
        return listed

    def agreements(
        self, record: Record, name: str, stored: Callable[[str], UInt8[np.ndarray, "H W"]]
    ) -> dict[str, tuple[Int64[np.ndarray, " 256"], Int64[np.ndarray, " 256"], Int64[np.ndarray, " 256"]]]:
        """Return lesion -> its agreement with the masks of a name, as `agreement`.

        Masks of lesions that the result lacks, since another model made it, are left out.

        Args:
            record: the photograph, which is done.
            name: name of the masks.
            stored: lesion -> the map to compare.

        Raises:
            ServiceError: 'not_found': there are no masks of that name.
        """
        lesions = self.names(record).get(name)
        if lesions is None:
            raise errors.not_found("reference mask")
        return {
            lesion: self.agreement(record, name, lesion, stored(lesion))
            for lesion in lesions
            if lesion in record.lesions
        }

    def agreement(
        self, record: Record, name: str, lesion: str, stored: UInt8[np.ndarray, "H W"]
    ) -> tuple[Int64[np.ndarray, " 256"], Int64[np.ndarray, " 256"], Int64[np.ndarray, " 256"]]:
        """Return, for each level of a map, the pixels in both, in the map only and in the mask only."""
        mask = self._mask(record, name, lesion) > 0
        inside = _at_or_above(stored[mask])
        true, every = inside, _at_or_above(stored.ravel())
        missed = int(np.count_nonzero(mask)) - true
        missed[0] = 0
        return true, every - true, missed

    def _mask(self, record: Record, name: str, lesion: str) -> UInt8[np.ndarray, "H W"]:
        pyramid = self.pyramid(record, name, lesion)
        if pyramid is None:
            raise errors.not_found("reference mask")
        return pyramid.finest


def require_name(name: str) -> None:
    """Require that a name can be part of a file's name.

    Raises:
        ServiceError: 'invalid'.
    """
    if not NAME.fullmatch(name):
        raise errors.invalid(f"name is {name!r}; give 1 to 40 letters, digits, '-' or '_'")


def _at_or_above(values: UInt8[np.ndarray, " P"]) -> Int64[np.ndarray, " 256"]:
    """Return the number of values at or above each level; 0 for level 0, which is not a threshold."""
    counts = np.cumsum(np.bincount(values, minlength=LEVELS)[::-1])[::-1].copy()
    counts[0] = 0
    return counts
