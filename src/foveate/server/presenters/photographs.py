"""Photographs and batches -> bodies of the API.

Knows:   which column of a record becomes which key, and how times are written.
Ignores: who sends the request.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache

from foveate import lesions
from foveate.lesions import Lesion
from foveate.server import schemas
from foveate.server.errors import ServiceError
from foveate.server.jobs.events import EventBroker
from foveate.server.jobs.progress import ProgressRegister
from foveate.server.review.gradings import Gradings
from foveate.server.storage import gradings, tiles
from foveate.server.storage.counts import CurrentCounts, current_counts_of
from foveate.server.storage.database import BatchRecord, Database, Record
from foveate.server.storage.facts import PhotographFacts, StoredFacts
from foveate.server.storage.journal import corrected_lesions
from foveate.timestamps import utc_timestamp_of


class Presenter:
    """Builds the API's descriptions of photographs and batches."""

    def __init__(
        self,
        database: Database,
        events: EventBroker,
        progress: ProgressRegister,
        gradings: Gradings,
        keep: timedelta | None,
    ) -> None:
        self._database = database
        self._events = events
        self._progress = progress
        self._gradings = gradings
        self._keep = keep

    def publish(self, record: Record) -> None:
        """Notify the subscribers that a photograph has changed.

        Nothing is published for the copy of a grader, or for a photograph that was deleted in the meantime.
        """
        if gradings.grading_in(self._database, record.id) is not None:
            return
        body = self._photograph_if_there(record)
        if body is not None:
            self._events.publish("photograph", body.model_dump(mode="json"))

    def photograph(
        self, record: Record, positions: Mapping[str, int] | None = None
    ) -> schemas.PhotographBody:
        """Return the API's description of one photograph.

        Args:
            record: the photograph's record in the database.
            positions: places in the queue of all queued photographs; None: read from the database.

        Raises:
            ServiceError: the photograph was deleted in the meantime.
        """
        position = None
        if record.state == "queued":
            position = self._database.position(record) if positions is None else positions.get(record.id)
        reviewed_before = self._gradings.reviewed_before(record)
        return schemas.PhotographBody(
            id=record.id,
            etag=etag(record),
            name=record.name,
            batch=record.batch,
            state=record.state,
            position=position,
            progress=1.0 if record.state == "done" else round(self._progress.share(record.id), 3),
            error=None
            if record.error is None
            else schemas.FailureBody(code=record.error.code, message=record.error.message),
            submitted=utc_timestamp_of(record.submitted),
            started=None if record.started is None else utc_timestamp_of(record.started),
            finished=None if record.finished is None else utc_timestamp_of(record.finished),
            expires=self._expires(record),
            sha256=record.sha256,
            width=record.width,
            height=record.height,
            spacing_mm=record.spacing_mm,
            tiles=tile_levels((record.height, record.width)),
            reviewed=record.reviewed and not reviewed_before,
            reviewer=record.reviewer,
            reviewed_at=None if record.reviewed_at is None else utc_timestamp_of(record.reviewed_at),
            reviewed_before_grading=reviewed_before,
            grid=None if record.grid is None else schemas.GridBody.model_validate(record.grid.model_dump()),
            eye=record.eye,
            note=record.note,
            grading=self._grading(record),
            result=self._result(record) if record.state == "done" else None,
        )

    def photographs(self, records: Sequence[Record]) -> list[schemas.PhotographBody]:
        """Return the descriptions of several photographs; those deleted in the meantime are left out."""
        positions = self._database.positions()
        bodies = (self._photograph_if_there(record, positions) for record in records)
        return [body for body in bodies if body is not None]

    def page(self, records: Sequence[Record], total: int) -> schemas.Photographs:
        """Return a page of a list of `total` photographs, without those deleted in the meantime."""
        photographs = self.photographs(records)
        return schemas.Photographs(photographs=photographs, total=total - len(records) + len(photographs))

    def _photograph_if_there(
        self, record: Record, positions: Mapping[str, int] | None = None
    ) -> schemas.PhotographBody | None:
        """Return the description of one photograph; None if it was deleted in the meantime."""
        try:
            return self.photograph(record, positions)
        except ServiceError as error:
            if error.code != "not_found":
                raise
            return None

    def batch(self, record: BatchRecord) -> schemas.BatchBody:
        """Return the API's description of a batch."""
        return schemas.BatchBody(
            id=record.id,
            name=record.name,
            created=utc_timestamp_of(record.created),
            photographs=self._database.states(record.id),
        )

    def batches(self, records: Sequence[BatchRecord]) -> schemas.Batches:
        """Return the list of all batches."""
        return schemas.Batches(batches=[self.batch(record) for record in records])

    def _grading(self, record: Record) -> schemas.OwnGrading | None:
        grading = gradings.grading_in(self._database, record.id)
        if grading is None:
            return None
        return schemas.OwnGrading(
            original=grading.original, grader=grading.grader, done=grading.done is not None
        )

    def _expires(self, record: Record) -> str | None:
        if self._keep is None or record.finished is None:
            return None
        return utc_timestamp_of(record.finished + self._keep.total_seconds())

    def _result(self, record: Record) -> schemas.ResultBody:
        facts, present = record.predicted, current_counts_of(self._database, record.id)
        kinds = lesions_by_code(list(facts.lesions))
        lesion_results = {code: _lesion(record, kinds[code], present[code]) for code in facts.lesions}
        return schemas.ResultBody(
            model=schemas.Maker.model_validate(facts.model.model_dump()),
            field=schemas.FieldOfView.model_validate(facts.field.model_dump()),
            suggested_grid=_suggested_grid(facts),
            quality=list(facts.quality),
            revision=record.revision,
            corrected=record.revision > 0 and bool(corrected_lesions(self._database, record.id)),
            lesions=lesion_results,
            burden=schemas.Burden(
                count=record.count or 0, area_fraction=round(record.area_fraction or 0.0, 8)
            ),
        )


def _suggested_grid(facts: PhotographFacts) -> schemas.GridBody | None:
    grid = facts.suggested_grid
    return None if grid is None else schemas.GridBody.model_validate(grid.model_dump())


def _lesion(record: Record, kind: Lesion, present: CurrentCounts) -> schemas.LesionResult:
    code = kind.code
    facts, field_px = record.lesions[code], record.predicted.field.area_px
    spacing = record.spacing_mm
    return schemas.LesionResult(
        name=facts.name,
        colour=kind.colour,
        threshold=record.threshold(code),
        level=present.level,
        model_threshold=facts.threshold,
        model_level=record.model_level(code),
        minimum_area_px=facts.minimum_area_px,
        count=present.count,
        area_px=present.area_px,
        area_fraction=round(present.area_px / field_px, 8),
        area_mm2=None if spacing is None else round(present.area_px * spacing**2, 9),
        mask_px=present.mask_px,
    )


def etag(record: Record) -> str:
    """Return the entity tag of a photograph, 16 hex digits: a hash of all fields that `PATCH` may change.

    Equal states have equal tags, whatever happened in between.
    """
    names = sorted(set(schemas.Changes.model_fields) - {"levels"})  # levels are thresholds in other units
    state = json.dumps({name: getattr(record, name) for name in names}, sort_keys=True, default=_plain)
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    """Return a stored value as plain JSON."""
    assert isinstance(value, StoredFacts), f"{type(value).__name__} cannot be part of an etag"
    return value.model_dump(mode="json")


def lesions_by_code(codes: Sequence[str]) -> dict[str, Lesion]:
    """Return code -> lesion, with its name and colour."""
    return {lesion.code: lesion for lesion in lesions.of(codes)}


@lru_cache(maxsize=64)
def tile_levels(shape: tuple[int, int]) -> schemas.Tiles:
    """Return the tile pyramid of a photograph of (H, W) px."""
    return schemas.Tiles(
        size=tiles.SIZE,
        levels=[
            schemas.TileLevel(width=level.width, height=level.height, columns=level.columns, rows=level.rows)
            for level in tiles.levels(shape)
        ],
    )
