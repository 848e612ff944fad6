"""The journals of corrections: edits are applied, undone, redone and deleted.

Knows:   the order of edits, and that an edit is stored before it is shown.
Ignores: HTTP, how edits are drawn (`edits`, `strokes`) and how regions are counted (`current_counts`).

The model's map is never changed. A step of the journal stores the pixels of its box before and after it, so
that any step can be undone. The layer of a lesion is the result of all steps that are not undone.

Shape letters: H W photograph.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import numpy as np
from jaxtyping import Bool, UInt8

from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.review import edits, strokes
from foveate.server.review.checks import require_done, require_lesion, require_size
from foveate.server.review.current_counts import (
    apply_and_count,
    count_corrected,
    counts_at,
    uncorrected_counts,
)
from foveate.server.review.edits import (
    LABEL_OF,
    Attribution,
    EditResult,
    NewEdit,
    RegionVerdict,
    Stroke,
    patch_of,
    verdict_pixels,
)
from foveate.server.review.gradings import Gradings
from foveate.server.review.layers import Layer, Patch
from foveate.server.review.region_list import region_at
from foveate.server.review.strokes import PixelMask
from foveate.server.review.verdicts import in_region
from foveate.server.storage import database, journal
from foveate.server.storage.cache import MapCache
from foveate.server.storage.counts import (
    CurrentCounts,
    current_counts_of,
    level_counts_of,
    put_current_counts,
)
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Record
from foveate.server.storage.facts import LevelCounts
from foveate.server.storage.journal import Edit, corrected_lesions, edit_at, edits_of, edits_with_pixels
from foveate.writers import maps


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """A step of the journal, and the pixels of its box after it; None if it changes no pixel."""

    edit: Edit
    after: Patch | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectedCounts:
    """The counts of a lesion at its current threshold, and what corrections changed in its mask."""

    current: CurrentCounts
    added_px: int
    """Number of pixels of the corrected mask that are not in the model's."""
    erased_px: int
    """Number of pixels of the model's mask that are not in the corrected one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionState:
    """The state of a photograph's corrections."""

    revision: int
    edits: list[Edit]
    """The steps that are not undone, the earliest first."""
    can_redo: bool
    lesions: Mapping[str, CorrectedCounts]
    verdicts: list[Edit]
    """As `Corrections.verdicts`."""


class Corrections:
    """The journals of all photographs."""

    def __init__(self, database: Database, data_dir: DataDir, memory: MapCache, gradings: Gradings) -> None:
        self._database = database
        self._data_dir = data_dir
        self._memory = memory
        self._gradings = gradings
        self._locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
        self._guard = threading.Lock()

    # Maps

    def model(self, record: Record, lesion: str) -> UInt8[np.ndarray, "H W"]:
        """Return the model's map as stored in its file, levels 0 to 255."""
        path = self._data_dir.photograph(record.id).map_file(record.key, lesion)
        return self._memory.get((record.id, "map", lesion), lambda: maps.decode(path.read_bytes(), "png"))

    def corrected(self, record: Record, lesion: str) -> UInt8[np.ndarray, "H W"]:
        """Return the map with corrections, levels 0 to 255."""
        if not self.is_corrected(record, lesion):
            return self.model(record, lesion)
        return self.layer(record, lesion).corrected.finest

    def mask(self, record: Record, lesion: str) -> Bool[np.ndarray, "H W"]:
        """Return the mask of the corrected map at the current threshold, including the smallest regions."""
        return self.corrected(record, lesion) >= record.level(lesion)

    def model_mask(self, record: Record, lesion: str) -> Bool[np.ndarray, "H W"]:
        """Return the mask of the model's map at the current threshold, including the smallest regions."""
        return self.model(record, lesion) >= record.level(lesion)

    def layer(self, record: Record, lesion: str) -> Layer:
        """Return a lesion's layer of edits; it is empty if there are none."""

        def make() -> Layer:
            patches = [
                patch_of(edit, edit.after) for edit in edits_with_pixels(self._database, record.id, lesion)
            ]
            return Layer(self.model(record, lesion), [patch for patch in patches if patch is not None])

        return self._memory.get((record.id, "layer", lesion), make)

    def is_corrected(self, record: Record, lesion: str) -> bool:
        """Return whether any pixel of a lesion is corrected."""
        return record.revision > 0 and lesion in corrected_lesions(self._database, record.id)

    def lock(self, identifier: str) -> AbstractContextManager[object]:
        """Return the lock of a photograph's journal and thresholds; hold it to read and then change them.

        The thread that holds it may acquire it again.
        """
        with self._guard:
            lock = self._locks.get(identifier)
            if lock is None:
                lock = self._locks[identifier] = threading.RLock()
            return lock

    # Edits

    def stroke(self, identifier: str, stroke: Stroke, attribution: Attribution) -> EditResult:
        """Apply a stroke of a tool.

        Raises:
            ServiceError: as `_edit`.
        """

        def make(record: Record) -> NewEdit:
            shape = (record.height, record.width)
            covered = strokes.rasterise(stroke.points, stroke.diameter, shape)
            return edits.new_stroke(
                stroke, self._patch(record, stroke.lesion, covered, LABEL_OF[stroke.tool])
            )

        return self._edit(identifier, stroke.lesion, make, attribution)

    def add_verdict(self, identifier: str, verdict: RegionVerdict, attribution: Attribution) -> EditResult:
        """Apply a verdict on one region.

        Raises:
            ServiceError: there is no region at that pixel; or as `_edit`.
        """

        def make(record: Record) -> NewEdit:
            covered, replaces = self._region(record, verdict)
            patch = None
            if verdict.verdict != "questionable":
                patch = self._patch(record, verdict.lesion, covered, LABEL_OF[verdict.verdict])
            return edits.new_verdict(verdict, covered, replaces, patch)

        return self._edit(identifier, verdict.lesion, make, attribution)

    def replace_mask(
        self, identifier: str, lesion: str, mask: Bool[np.ndarray, "H W"], attribution: Attribution
    ) -> EditResult:
        """Apply a whole mask: its pixels are lesion, all others are not.

        Raises:
            ServiceError: it has another size than the photograph; or as `_edit`.
        """

        def make(record: Record) -> NewEdit:
            require_size(mask.shape, (record.height, record.width))
            return edits.new_mask(lesion, mask)

        return self._edit(identifier, lesion, make, attribution)

    def replace_masks(
        self,
        identifier: str,
        masks: Mapping[str, Bool[np.ndarray, "H W"]],
        author: str,
        also: Callable[[sqlite3.Connection], None],
    ) -> EditResult:
        """Apply whole masks of several lesions where they differ from the present ones: all of them, or none.

        Args:
            identifier: of the photograph.
            masks: lesion -> its mask.
            author: name of the author.
            also: called within the change of the database, to store something together with the masks.

        Raises:
            ServiceError: the photograph does not exist or is not done, a lesion is unknown, or a mask has
                another size. The caller checks whether the author may edit it: this begins the adjudication
                for which all other edits wait.
        """
        with self.lock(identifier):
            record = _require_existing(self._database.get(identifier))
            require_done(record)
            next_number = self._next_number(identifier)
            changes: list[_Change] = []
            for lesion, mask in masks.items():
                require_lesion(record, lesion)
                require_size(mask.shape, (record.height, record.width))
                if (mask != self.mask(record, lesion)).any():
                    new = edits.new_mask(lesion, mask)
                    changes.append(self._new_change(record, new, next_number + len(changes), author))
            return self._commit(record, changes, new=True, also=also)

    def _edit(
        self, identifier: str, lesion: str, make: Callable[[Record], NewEdit], attribution: Attribution
    ) -> EditResult:
        """Store one edit in the journal, and show it only when it is stored.

        Raises:
            ServiceError: the photograph does not exist or is not done, its gradings must be made or
                adjudicated first, it belongs to another grader, the lesion is unknown, or the revision is
                stale.
        """
        with self.lock(identifier):
            record = self._ready(identifier, attribution.revision, attribution.author)
            require_lesion(record, lesion)
            author = self._gradings.author(record, attribution.author)
            change = self._new_change(record, make(record), self._next_number(identifier), author)
            return self._commit(record, [change], new=True)

    def _next_number(self, identifier: str) -> int:
        """Return the number of the next step of a journal."""
        return 1 + sum(not edit.undone for edit in edits_of(self._database, identifier))

    def _new_change(self, record: Record, new: NewEdit, number: int, author: str) -> _Change:
        """Return a new edit with its number, and with what it changes."""
        before = None if new.patch is None else self.layer(record, new.lesion).patch_at(new.patch.box)
        edit = edits.stored_edit(new, number, author, time.time(), before)
        return _Change(edit=edit, after=new.patch)

    def undo(self, identifier: str, revision: int | None) -> EditResult:
        """Undo the last edit that is not undone.

        Raises:
            ServiceError: there is no such edit; or as `_edit`.
        """
        with self.lock(identifier):
            record = self._ready(identifier, revision)
            done = [edit for edit in edits_of(self._database, identifier) if not edit.undone]
            if not done:
                raise errors.not_ready("there is nothing to undo")
            last = edit_at(self._database, identifier, done[-1].number)
            after = patch_of(last, last.before)
            change = _Change(edit=replace(last, undone=True), after=after)
            return self._commit(record, [change], new=False)

    def redo(self, identifier: str, revision: int | None) -> EditResult:
        """Redo the edit that was undone last.

        Raises:
            ServiceError: there is no such edit; or as `_edit`.
        """
        with self.lock(identifier):
            record = self._ready(identifier, revision)
            undone = [edit for edit in edits_of(self._database, identifier) if edit.undone]
            if not undone:
                raise errors.not_ready("there is nothing to redo")
            first = edit_at(self._database, identifier, undone[0].number)
            after = patch_of(first, first.after)
            change = _Change(edit=replace(first, undone=False), after=after)
            return self._commit(record, [change], new=False)

    def delete_all(self, identifier: str) -> EditResult:
        """Delete the whole journal.

        Raises:
            ServiceError: as `_edit`.
        """
        with self.lock(identifier):
            record = self._ready(identifier, None)
            counts = {
                lesion: level_counts_of(self._database, identifier, lesion) for lesion in record.lesions
            }
            current = uncorrected_counts(record, counts)
            with self._database.change() as connection:
                journal.drop_edits(connection, identifier)
                put_current_counts(connection, identifier, current)
                changed = database.put(connection, identifier, revision=record.revision + 1)
            self._memory.forget(identifier, "layer")
            return EditResult(record=_require_existing(changed))

    def set_thresholds(self, identifier: str, thresholds: Mapping[str, float]) -> Record:
        """Set the thresholds; lesions that are not named get the model's.

        Raises:
            ServiceError: as `_edit`.
        """
        with self.lock(identifier):
            record = self._ready(identifier, None)
            for lesion in thresholds:
                require_lesion(record, lesion)
            with_thresholds = replace(record, thresholds=thresholds)
            current = {lesion: self.current_counts(with_thresholds, lesion) for lesion in record.lesions}
            with self._database.change() as connection:
                database.put(connection, identifier, thresholds=dict(thresholds))
                put_current_counts(connection, identifier, current)
                changed = database.put(connection, identifier)
            return _require_existing(changed)

    def _commit(
        self,
        record: Record,
        changes: Sequence[_Change],
        *,
        new: bool,
        also: Callable[[sqlite3.Connection], None] = lambda connection: None,
    ) -> EditResult:
        """Apply changes of different lesions to copies of their layers, count again, and store all, or none.

        Only the layers that are stored are shown: what is counted, drawn or exported meanwhile has none of
        the changes, and nobody reads the new revision before its layers.

        Returns:
            The photograph; if there is one change, with its lesion and box.
        """
        layers = {
            change.edit.lesion: self.layer(record, change.edit.lesion).copy()
            for change in changes
            if change.after is not None
        }
        current = self._apply(record, changes, layers)
        with self._database.exclusive():
            with self._database.change() as connection:
                for edit in (change.edit for change in changes):
                    if new:
                        journal.put_edit(connection, record.id, edit)
                    else:
                        journal.mark_undone(connection, record.id, edit.number, undone=edit.undone)
                put_current_counts(connection, record.id, current)
                also(connection)
                changed = database.put(connection, record.id, revision=record.revision + bool(changes))
            for lesion, layer in layers.items():
                self._memory.put((record.id, "layer", lesion), layer)
        existing = _require_existing(changed)
        if len(changes) != 1:
            return EditResult(record=existing)
        box = None if changes[0].after is None else changes[0].after.box
        return EditResult(record=existing, lesion=changes[0].edit.lesion, box=box)

    def _apply(
        self, record: Record, changes: Sequence[_Change], layers: Mapping[str, Layer]
    ) -> dict[str, CurrentCounts]:
        """Apply changes to the layers of their lesions, and return the new counts of these lesions."""
        earlier = current_counts_of(self._database, record.id) if layers else {}
        return {
            change.edit.lesion: apply_and_count(
                *(record, change.edit.lesion, layers[change.edit.lesion], change.after),
                earlier[change.edit.lesion],
            )
            for change in changes
            if change.after is not None
        }

    # The state

    def state(self, record: Record) -> CorrectionState:
        """Return the state of a photograph's corrections."""
        edits = edits_of(self._database, record.id)
        current = current_counts_of(self._database, record.id)
        return CorrectionState(
            revision=record.revision,
            edits=[edit for edit in edits if not edit.undone],
            can_redo=any(edit.undone for edit in edits),
            lesions={lesion: self._corrected(record, lesion, current[lesion]) for lesion in record.lesions},
            verdicts=self.verdicts(record.id),
        )

    def _corrected(self, record: Record, lesion: str, current: CurrentCounts) -> CorrectedCounts:
        if not self.is_corrected(record, lesion):
            return CorrectedCounts(current=current, added_px=0, erased_px=0)
        layer = self.layer(record, lesion)
        added, erased = layer.added_px(current.level), layer.removed_px(current.level)
        return CorrectedCounts(current=current, added_px=added, erased_px=erased)

    def model_counts(self, record: Record, lesion: str) -> LevelCounts:
        """Return the counts of a lesion at all levels of the model's map."""
        return level_counts_of(self._database, record.id, lesion)

    def current_counts(self, record: Record, lesion: str) -> CurrentCounts:
        """Return the counts of a lesion at its current threshold."""
        if self.is_corrected(record, lesion):
            return count_corrected(record, lesion, self.corrected(record, lesion))
        return counts_at(self.model_counts(record, lesion), record.level(lesion))

    def verdicts(self, identifier: str) -> list[Edit]:
        """Return the verdicts that are not undone, replaced or withdrawn, the earliest first.

        A whole mask replaces the verdicts on its lesion that were given before it.
        """
        edits = [edit for edit in edits_of(self._database, identifier) if not edit.undone]
        last_masks = {edit.lesion: edit.number for edit in edits if edit.kind == "mask"}
        verdicts = [
            edit for edit in edits if edit.kind == "verdict" and edit.number > last_masks.get(edit.lesion, 0)
        ]
        replaced = {number for edit in verdicts for number in edit.verdict.replaces}
        return [edit for edit in verdicts if edit.number not in replaced and edit.verdict.verdict != "none"]

    def _region(self, record: Record, verdict: RegionVerdict) -> tuple[PixelMask, list[int]]:
        """Return the pixels that a verdict is about, and the numbers of the earlier verdicts on them."""
        if not (0 <= verdict.y < record.height and 0 <= verdict.x < record.width):
            raise errors.invalid(f"pixel ({verdict.x}, {verdict.y}) lies outside the photograph")
        earlier = [edit for edit in self.verdicts(record.id) if edit.lesion == verdict.lesion]
        same = [edit for edit in earlier if (edit.verdict.x, edit.verdict.y) == (verdict.x, verdict.y)]
        if same and same[-1].verdict.verdict != "questionable":
            return verdict_pixels(same[-1]), [edit.number for edit in same]
        pixels = region_at(self.corrected(record, verdict.lesion), verdict.level, verdict.y, verdict.x)
        if pixels is None:
            where = f"region of {verdict.lesion} at pixel ({verdict.x}, {verdict.y})"
            raise errors.not_found(where, errors.BELOW_THRESHOLD)
        return pixels, [edit.number for edit in in_region(earlier, verdict.lesion, pixels)]

    def _patch(self, record: Record, lesion: str, covered: PixelMask | None, label: np.uint8) -> Patch | None:
        """Return the patch that gives some pixels a label and leaves the others of its box as they are."""
        if covered is None:
            return None
        patch = self.layer(record, lesion).patch_at(covered.box)
        patch.pixels[covered.pixels] = label
        return patch

    def _ready(self, identifier: str, revision: int | None, author: str | None = None) -> Record:
        """Return a photograph that may be edited and has the revision that the caller saw."""
        record = _require_existing(self._database.get(identifier))
        require_done(record)
        self._gradings.require_editable(record, author)
        if revision is not None and revision != record.revision:
            raise ServiceError(
                "stale",
                f"the corrections are at revision {record.revision}, not {revision}; read them again",
            )
        return record


def _require_existing(record: Record | None) -> Record:
    if record is None:
        raise errors.not_found("photograph")
    return record
