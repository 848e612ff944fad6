"""Changes of the fields of a photograph that a person may edit.

Knows:   which fields may be changed when, and what a change means for the columns of a photograph.
Ignores: HTTP, and how thresholds change the counts (`corrections`).
"""

import sqlite3
import time
from collections.abc import Mapping

from foveate.server import errors, schemas
from foveate.server.review.checks import require_done, require_ended, require_lesion
from foveate.server.review.corrections import Corrections
from foveate.server.review.gradings import Gradings
from foveate.server.review.measures import placed_grid
from foveate.server.storage import names
from foveate.server.storage.database import UNREVIEWED, Database, Record
from foveate.server.storage.facts import GridFacts
from foveate.writers import maps


class PhotographEditor:
    """Changes the fields of all photographs."""

    def __init__(self, database: Database, gradings: Gradings, corrections: Corrections) -> None:
        self._database = database
        self._gradings = gradings
        self._corrections = corrections

    def change(self, record: Record, changes: schemas.Changes) -> None:
        """Change a photograph; fields that are not set stay as they are.

        Args:
            record: the photograph; the caller holds the lock of its journal.
            changes: the fields that are set get these values; of thresholds and levels, at most one is set.

        Raises:
            ServiceError: the photograph, or a batch, does not exist any more; a value is invalid for this
                photograph; or its fields may not be changed now, as `Gradings` decides.
        """
        values = self._columns(record, changes)
        sets_thresholds = bool(changes.model_fields_set & {"thresholds", "levels"})
        if sets_thresholds:
            require_done(record)
            self._gradings.require_editable(record, None)
            for lesion in {*(changes.thresholds or {}), *(changes.levels or {})}:
                require_lesion(record, lesion)
        if values:
            try:
                self._database.update(record.id, **values)
            except sqlite3.IntegrityError as error:  # the batch was deleted since it was looked up
                raise errors.not_found("batch") from error
        if sets_thresholds:
            thresholds = changes.thresholds or thresholds_of(record, changes.levels or {})
            self._corrections.set_thresholds(record.id, thresholds)

    def _columns(self, record: Record, changes: schemas.Changes) -> dict[str, object]:
        """Return the new values of all columns but the thresholds."""
        fields_set = changes.model_fields_set
        values = self._review(record, changes)
        if fields_set & {"spacing_mm", "grid", "eye", "note"}:
            self._gradings.require_not_done(record)
        if "spacing_mm" in fields_set:
            values["spacing_mm"] = changes.spacing_mm
        if "grid" in fields_set:
            grid = None if changes.grid is None else GridFacts.model_validate(changes.grid.model_dump())
            if grid is not None:
                placed_grid(record, grid)
            values["grid"] = grid
        if "eye" in fields_set:
            values["eye"] = changes.eye
        if "note" in fields_set:
            values["note"] = names.of_note(changes.note or "")
        if "batch" in fields_set:
            if changes.batch is not None and self._database.batch(changes.batch) is None:
                raise errors.not_found("batch")
            values["batch"] = changes.batch
        return values

    def _review(self, record: Record, changes: schemas.Changes) -> dict[str, object]:
        """Return the columns of a review that is marked or withdrawn; on a copy, its grader is the reviewer.

        Raises:
            ServiceError: a name is given without a review, or there is nothing to review yet; or as
                `Gradings.require_editable`.
        """
        if changes.reviewed is None:
            if changes.reviewer is not None:
                raise errors.invalid(
                    "reviewer names who reviewed the photograph; send it together with reviewed"
                )
            return {}
        self._gradings.require_editable(record, changes.reviewer)
        if not changes.reviewed:
            return dict(UNREVIEWED)
        require_ended(record)
        reviewer = self._gradings.author(record, changes.reviewer or "")
        return {"reviewed": 1, "reviewer": reviewer, "reviewed_at": time.time()}


def thresholds_of(record: Record, levels: Mapping[str, int]) -> dict[str, float]:
    """Return the thresholds of chosen levels; a lesion at the model's level keeps the model's threshold.

    Args:
        record: the photograph, which is done.
        levels: lesion -> stored level, 1 to 255, from which a pixel is lesion.
    """
    highest = maps.max_level("png")
    return {
        lesion: level / highest for lesion, level in levels.items() if level != record.model_level(lesion)
    }
