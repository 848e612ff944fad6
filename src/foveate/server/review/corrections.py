"""What people say about a result: strokes, verdicts and whole masks, kept as a journal.

Knows:   what each edit does to which pixels, undo and redo, and how much of each lesion there is after it.
Ignores: HTTP, and how edits are drawn.

The model's map is never changed. A step of the journal holds the pixels of its box before and after, so that
it can be undone whatever it was, and the layer is what all steps that are not undone leave behind.
"""

import base64
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from weakref import WeakValueDictionary

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from foveate.analysis import component_tree
from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.review import layers, strokes
from foveate.server.review.layers import ERASED, NOTHING, PAINTED, Layer, Patch
from foveate.server.review.strokes import PixelMask
from foveate.server.storage import database
from foveate.server.storage.cache import MapCache
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import CurrentCounts, Database, Edit, Record
from foveate.server.storage.facts import (
    EditDetails,
    LevelCounts,
    MaskDetails,
    PhotographFacts,
    StrokeDetails,
    VerdictDetails,
)
from foveate.types import Box
from foveate.writers import maps

Tool = Literal["brush", "eraser", "restore"]

Verdict = Literal["accepted", "rejected", "questionable", "none"]

LABEL_OF = {
    "brush": PAINTED,
    "eraser": ERASED,
    "restore": NOTHING,
    "accepted": PAINTED,
    "rejected": ERASED,
    "none": NOTHING,
}
"""What becomes of the pixels; 'questionable' changes none."""


SMALL = 200_000
"""Pixels of a patch up to which only the regions that it meets are counted anew: strokes and verdicts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """Who says something, and about which state of things."""

    author: str
    revision: int | None
    """Of the corrections as they were seen; None: whatever it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stroke:
    """A line drawn with a tool."""

    lesion: str
    tool: Tool
    diameter: float
    """Of the tool, px of the photograph."""
    points: Sequence[tuple[float, float]]
    """(x, y), px from the outer edge of the photograph's first pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionVerdict:
    """A verdict on one region."""

    lesion: str
    level: int
    """Stored level, 1 to 255, from which a pixel is lesion."""
    x: int
    y: int
    """A pixel of the region: its column and row."""
    verdict: Verdict
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _NewEdit:
    """What an edit comes to: what is kept of it, and what it lays down."""

    kind: str
    lesion: str
    details: EditDetails
    patch: Patch | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EditResult:
    """A photograph after an edit."""

    record: Record
    lesion: str | None = None
    box: Box | None = None
    """Of the pixels that changed."""


def current_counts_of(
    facts: PhotographFacts, counts: Mapping[str, LevelCounts], thresholds: Mapping[str, float]
) -> dict[str, CurrentCounts]:
    """Return what each lesion comes to where nobody corrected it.

    Args:
        facts: what was found.
        counts: of all levels, by lesion.
        thresholds: chosen in place of the model's.
    """
    return {
        lesion: counts_at(counts[lesion], level_of(facts, thresholds, lesion)) for lesion in facts.lesions
    }


def counts_at(counts: LevelCounts, level: int) -> CurrentCounts:
    """Return what a lesion comes to at one stored level."""
    return CurrentCounts(
        level=level,
        count=counts.regions[level],
        area_px=counts.area_px[level],
        mask_px=counts.mask_px[level],
    )


def threshold_of(facts: PhotographFacts, thresholds: Mapping[str, float], lesion: str) -> float:
    """Return the probability from which a pixel is lesion, as it was chosen."""
    return thresholds.get(lesion, facts.lesions[lesion].threshold)


def level_of(facts: PhotographFacts, thresholds: Mapping[str, float], lesion: str) -> int:
    """Return the same as a stored level."""
    return maps.level(threshold_of(facts, thresholds, lesion), "png")


class Corrections:
    """The journals of all photographs."""

    def __init__(self, database: Database, data_dir: DataDir, memory: MapCache) -> None:
        self._database = database
        self._data_dir = data_dir
        self._memory = memory
        self._locks: WeakValueDictionary[str, _Lock] = WeakValueDictionary()
        self._guard = threading.Lock()

    # Maps

    def model(self, record: Record, lesion: str) -> UInt8[np.ndarray, "H W"]:
        """Return the model's map, as its file holds it."""
        path = self._data_dir.photograph(record.id).map_file(record.key, lesion)
        return self._memory.get((record.id, "map", lesion), lambda: maps.decode(path.read_bytes(), "png"))

    def corrected(self, record: Record, lesion: str) -> UInt8[np.ndarray, "H W"]:
        """Return the map with corrections."""
        if not self.is_corrected(record, lesion):
            return self.model(record, lesion)
        return self.layer(record, lesion).corrected.finest

    def layer(self, record: Record, lesion: str) -> Layer:
        """Return a lesion's layer of edits, whether there are any or not."""

        def make() -> Layer:
            patches = [
                _patch(edit, edit.after) for edit in self._database.edits_with_pixels(record.id, lesion)
            ]
            return Layer(self.model(record, lesion), [patch for patch in patches if patch is not None])

        return self._memory.get((record.id, "layer", lesion), make)

    def is_corrected(self, record: Record, lesion: str) -> bool:
        """Say whether any pixel of a lesion is corrected."""
        return record.revision > 0 and lesion in self._database.corrected_lesions(record.id)

    def lock(self, identifier: str) -> "_Lock":
        """Return the lock of a photograph's journal and thresholds; hold it to read and then change them."""
        return self._lock_of(identifier)

    # Edits

    def stroke(self, identifier: str, stroke: Stroke, attribution: Attribution) -> EditResult:
        """Draw.

        Raises:
            ServiceError: as `_edit`.
        """

        def make(record: Record) -> _NewEdit:
            shape = (record.height, record.width)
            covered = strokes.rasterise(stroke.points, stroke.diameter, shape)
            details = StrokeDetails(tool=stroke.tool, diameter=stroke.diameter)
            patch = self._patch_for(record, stroke.lesion, covered, LABEL_OF[stroke.tool])
            return _NewEdit(kind="stroke", lesion=stroke.lesion, details=details, patch=patch)

        return self._edit(identifier, stroke.lesion, make, attribution)

    def add_verdict(self, identifier: str, verdict: RegionVerdict, attribution: Attribution) -> EditResult:
        """Say of a region whether it is one.

        Raises:
            ServiceError: there is no region at that pixel; or as `_edit`.
        """

        def make(record: Record) -> _NewEdit:
            covered, met = self._region(record, verdict)
            details = VerdictDetails(
                level=verdict.level,
                x=verdict.x,
                y=verdict.y,
                verdict=verdict.verdict,
                note=verdict.note,
                replaces=tuple(met),
                box=_corners(covered.box),
                pixels=base64.b64encode(zlib.compress(np.packbits(covered.pixels).tobytes())).decode(),
            )
            patch = None
            if verdict.verdict != "questionable":
                patch = self._patch_for(record, verdict.lesion, covered, LABEL_OF[verdict.verdict])
            return _NewEdit(kind="verdict", lesion=verdict.lesion, details=details, patch=patch)

        return self._edit(identifier, verdict.lesion, make, attribution)

    def mask(
        self, identifier: str, lesion: str, mask: Bool[np.ndarray, "H W"], attribution: Attribution
    ) -> EditResult:
        """Take a whole mask for what is lesion and what is not.

        Raises:
            ServiceError: it has another size than the photograph; or as `_edit`.
        """

        def make(record: Record) -> _NewEdit:
            require_size(mask.shape, (record.height, record.width))
            whole = Box(top=0, left=0, bottom=record.height, right=record.width)
            pixels = np.where(mask, PAINTED, ERASED)
            return _NewEdit(
                kind="mask", lesion=lesion, details=MaskDetails(), patch=Patch(box=whole, pixels=pixels)
            )

        return self._edit(identifier, lesion, make, attribution)

    def _edit(
        self, identifier: str, lesion: str, make: Callable[[Record], _NewEdit], attribution: Attribution
    ) -> EditResult:
        """Do one step, put it into the journal, and only then show it.

        Raises:
            ServiceError: the photograph is gone or not done, the lesion is unknown, or the revision is stale.
        """
        with self._lock_of(identifier):
            record = self._ready(identifier, attribution.revision)
            require_lesion(record, lesion)
            step = make(record)
            before = None if step.patch is None else self.layer(record, lesion).patch_at(step.patch.box)
            number = 1 + sum(not edit.undone for edit in self._database.edits(identifier))
            edit = Edit(
                number=number,
                undone=False,
                kind=step.kind,
                lesion=lesion,
                author=attribution.author,
                time=time.time(),
                details=step.details,
                box=None if step.patch is None else _corners(step.patch.box),
                before=None if before is None else layers.pack(before.pixels),
                after=None if step.patch is None else layers.pack(step.patch.pixels),
            )
            return self._commit(record, edit, step.patch, before, new=True)

    def undo(self, identifier: str, revision: int | None) -> EditResult:
        """Undo the last step.

        Raises:
            ServiceError: there is none; or as `_edit`.
        """
        with self._lock_of(identifier):
            record = self._ready(identifier, revision)
            done = [edit for edit in self._database.edits(identifier) if not edit.undone]
            if not done:
                raise errors.not_ready("there is nothing to undo")
            last = self._database.edit(identifier, done[-1].number)
            return self._commit(
                record,
                replace(last, undone=True),
                _patch(last, last.before),
                _patch(last, last.after),
                new=False,
            )

    def redo(self, identifier: str, revision: int | None) -> EditResult:
        """Do again what was undone last.

        Raises:
            ServiceError: there is nothing; or as `_edit`.
        """
        with self._lock_of(identifier):
            record = self._ready(identifier, revision)
            undone = [edit for edit in self._database.edits(identifier) if edit.undone]
            if not undone:
                raise errors.not_ready("there is nothing to redo")
            first = self._database.edit(identifier, undone[0].number)
            return self._commit(
                record,
                replace(first, undone=False),
                _patch(first, first.after),
                _patch(first, first.before),
                new=False,
            )

    def delete_all(self, identifier: str) -> EditResult:
        """Forget the whole journal.

        Raises:
            ServiceError: as `_edit`.
        """
        with self._lock_of(identifier):
            record = self._ready(identifier, None)
            counts = {
                lesion: self._database.counts(identifier, lesion) for lesion in record.predicted.lesions
            }
            present = current_counts_of(record.predicted, counts, record.thresholds)
            with self._database.change() as connection:
                database.drop_edits(connection, identifier)
                database.put_current_counts(connection, identifier, present)
                changed = database.put(connection, identifier, revision=record.revision + 1)
            self._memory.forget(identifier, "layer")
            return EditResult(record=_require_existing(changed))

    def set_thresholds(self, identifier: str, thresholds: Mapping[str, float]) -> Record:
        """Choose thresholds; lesions not named get the model's.

        Raises:
            ServiceError: as `_edit`.
        """
        with self._lock_of(identifier):
            record = self._ready(identifier, None)
            for lesion in thresholds:
                require_lesion(record, lesion)
            chosen = replace(record, thresholds=thresholds)
            present = {lesion: self.current_counts(chosen, lesion) for lesion in record.predicted.lesions}
            with self._database.change() as connection:
                database.put(connection, identifier, thresholds=dict(thresholds))
                database.put_current_counts(connection, identifier, present)
                changed = database.put(connection, identifier)
            return _require_existing(changed)

    def _commit(
        self, record: Record, edit: Edit, patch: Patch | None, before: Patch | None, *, new: bool
    ) -> EditResult:
        """Lay a patch, count anew, and keep both; where that fails, the patch is lifted again."""
        layer = None
        present: dict[str, CurrentCounts] = {}
        if patch is not None:
            layer = self.layer(record, edit.lesion)
            earlier = self._database.current_counts(record.id)[edit.lesion]
            present[edit.lesion] = _patch_for(record, edit.lesion, layer, patch, earlier)
        try:
            with self._database.change() as connection:
                if new:
                    database.put_edit(connection, record.id, edit)
                else:
                    database.mark_undone(connection, record.id, edit.number, undone=edit.undone)
                database.put_current_counts(connection, record.id, present)
                changed = database.put(connection, record.id, revision=record.revision + 1)
        except BaseException:
            if layer is not None and before is not None:
                layer.apply(before)
            raise
        box = None if patch is None else patch.box
        return EditResult(record=_require_existing(changed), lesion=edit.lesion, box=box)

    # What there is

    def current_counts(self, record: Record, lesion: str) -> CurrentCounts:
        """Return what a lesion comes to at its present threshold."""
        if self.is_corrected(record, lesion):
            return _counted(record, lesion, self.corrected(record, lesion))
        counts = self._database.counts(record.id, lesion)
        return counts_at(counts, level_of(record.predicted, record.thresholds, lesion))

    def verdicts(self, identifier: str) -> list[Edit]:
        """Return the verdicts that hold, in the order in which they were given."""
        given = [
            edit for edit in self._database.edits(identifier) if edit.kind == "verdict" and not edit.undone
        ]
        replaced = {number for edit in given for number in edit.verdict.replaces}
        return [edit for edit in given if edit.number not in replaced and edit.verdict.verdict != "none"]

    def _region(self, record: Record, verdict: RegionVerdict) -> tuple[PixelMask, list[int]]:
        """Return the pixels that a verdict is about, and the numbers of earlier verdicts on them."""
        if not (0 <= verdict.y < record.height and 0 <= verdict.x < record.width):
            raise errors.invalid(f"pixel ({verdict.x}, {verdict.y}) lies outside the photograph")
        earlier = [edit for edit in self.verdicts(record.id) if edit.lesion == verdict.lesion]
        same = [edit for edit in earlier if (edit.verdict.x, edit.verdict.y) == (verdict.x, verdict.y)]
        if same and same[-1].verdict.verdict != "questionable":
            return _verdict_pixels(same[-1]), [edit.number for edit in same]
        pixels = region_at(self.corrected(record, verdict.lesion), verdict.level, verdict.y, verdict.x)
        if pixels is None:
            raise errors.not_found(f"region of {verdict.lesion} at pixel ({verdict.x}, {verdict.y})")
        met = [edit.number for edit in earlier if contains(pixels, edit.verdict.y, edit.verdict.x)]
        return pixels, met

    def _patch_for(
        self, record: Record, lesion: str, covered: PixelMask | None, attribution: np.uint8
    ) -> Patch | None:
        """Return the patch that says something of some pixels, and of the others what was said before."""
        if covered is None:
            return None
        patch = self.layer(record, lesion).patch_at(covered.box)
        patch.pixels[covered.pixels] = attribution
        return patch

    def _ready(self, identifier: str, revision: int | None) -> Record:
        record = self._database.get(identifier)
        if record is None:
            raise errors.not_found("photograph")
        require_done(record)
        if revision is not None and revision != record.revision:
            raise ServiceError(
                "stale",
                f"the corrections are at revision {record.revision}, not {revision}; read them again",
            )
        return record

    def _lock_of(self, identifier: str) -> "_Lock":
        """Return the lock of a photograph's journal."""
        with self._guard:
            lock = self._locks.get(identifier)
            if lock is None:
                lock = self._locks[identifier] = _Lock()
            return lock


class _Lock:
    """A lock that can be referred to weakly; its thread may take it again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


def region_at(stored: UInt8[np.ndarray, "H W"], level: int, row: int, column: int) -> PixelMask | None:
    """Return the region (8-connected) that a pixel belongs to at a level, or None."""
    if stored[row, column] < level:
        return None
    lit = (stored >= level).view(np.uint8)
    _, filled, _, (left, top, width, height) = cv2.floodFill(lit, None, (column, row), 2, flags=8)
    box = Box(top=top, left=left, bottom=top + height, right=left + width)
    return PixelMask(box=box, pixels=np.asarray(filled[box.slices] == 2))


def contains(covered: PixelMask, row: int, column: int) -> bool:
    """Say whether a pixel is among some."""
    box = covered.box
    if not (box.top <= row < box.bottom and box.left <= column < box.right):
        return False
    return bool(covered.pixels[row - box.top, column - box.left])


def require_done(record: Record) -> None:
    """Raise a ServiceError where nothing was found yet."""
    if record.error is not None:
        raise errors.not_ready(f"it failed: {record.error.message}")
    if record.state != "done":
        raise errors.not_ready("it is not looked at yet; wait until its state is done")


def require_lesion(record: Record, lesion: str) -> None:
    """Raise a ServiceError where the model does not know a lesion."""
    if lesion not in record.predicted.lesions:
        lesions = ", ".join(record.predicted.lesions)
        raise errors.invalid(f"lesion {lesion!r} is unknown to the model; it knows {lesions}")


def require_size(mask: tuple[int, ...], photograph: tuple[int, int]) -> None:
    """Require that a mask has its photograph's size; both are (H, W).

    Raises:
        ServiceError: 'invalid'.
    """
    if mask != photograph:
        raise errors.invalid(
            f"the mask has {mask[1]} x {mask[0]} px, the photograph {photograph[1]} x {photograph[0]}"
        )


def _counted(record: Record, lesion: str, stored: UInt8[np.ndarray, "H W"]) -> CurrentCounts:
    """Count one level of a corrected map."""
    level = level_of(record.predicted, record.thresholds, lesion)
    lit = (stored >= level).view(np.uint8)
    counts = component_tree.count_regions(lit, record.predicted.lesions[lesion].minimum_area_px)
    return CurrentCounts(
        level=level,
        count=int(counts.regions[1]),
        area_px=int(counts.area_px[1]),
        mask_px=int(counts.mask_px[1]),
    )


def _patch_for(
    record: Record, lesion: str, layer: Layer, patch: Patch, earlier: CurrentCounts
) -> CurrentCounts:
    """Lay a patch and count anew: where it is small, only the regions that it meets.

    No other region changes: whatever comes to touch, or parts, does so in the patch or beside it.
    """
    box = patch.box
    if patch.pixels.size > SMALL:
        layer.apply(patch)
        return _counted(record, lesion, layer.corrected.finest)
    smallest = record.predicted.lesions[lesion].minimum_area_px
    before = _meeting(layer.corrected.finest, earlier.level, box, smallest)
    layer.apply(patch)
    after = _meeting(layer.corrected.finest, earlier.level, box, smallest)
    return CurrentCounts(
        level=earlier.level,
        count=earlier.count + after.count - before.count,
        area_px=earlier.area_px + after.area_px - before.area_px,
        mask_px=earlier.mask_px + after.mask_px - before.mask_px,
    )


def _meeting(stored: UInt8[np.ndarray, "H W"], level: int, box: Box, smallest: int) -> CurrentCounts:
    """Count the regions that meet a box or touch it, and the lit pixels in it."""
    lit = (stored >= level).view(np.uint8)
    inside = int(np.count_nonzero(lit[box.slices]))
    top, left = max(0, box.top - 1), max(0, box.left - 1)
    near = lit[top : box.bottom + 1, left : box.right + 1]
    count = area_px = 0
    for row, column in np.argwhere(near).tolist():
        if near[row, column] == 1:  # not of a region that was filled already
            area, _, _, _ = cv2.floodFill(lit, None, (left + column, top + row), 2, flags=8)
            if area >= smallest:
                count, area_px = count + 1, area_px + int(area)
    return CurrentCounts(level=level, count=count, area_px=area_px, mask_px=inside)


def _patch(edit: Edit, content: bytes | None) -> Patch | None:
    if edit.box is None or content is None:
        return None
    return layers.unpack(content, _box(edit.box))


def _verdict_pixels(edit: Edit) -> PixelMask:
    """Return the pixels that a verdict was about."""
    box = _box(edit.verdict.box)
    bits = np.frombuffer(zlib.decompress(base64.b64decode(edit.verdict.pixels)), np.uint8)
    height, width = box.shape
    pixels = np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)
    return PixelMask(box=box, pixels=pixels)


def _require_existing(record: Record | None) -> Record:
    if record is None:
        raise errors.not_found("photograph")
    return record


def _corners(box: Box) -> tuple[int, int, int, int]:
    return box.top, box.left, box.bottom, box.right


def _box(corners: Sequence[int]) -> Box:
    top, left, bottom, right = corners
    return Box(top=top, left=left, bottom=bottom, right=right)
