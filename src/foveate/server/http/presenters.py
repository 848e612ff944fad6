"""What is remembered of a photograph -> what the API says of it.

Knows:   which of a record's columns becomes which key, and how times are spelt.
Ignores: who asks.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from foveate import lesions
from foveate.lesions import Lesion
from foveate.server.http import schemas
from foveate.server.review import corrections
from foveate.server.storage import tiles
from foveate.server.storage.database import Present, Record, Store
from foveate.writers import maps


class Teller:
    """Tells of photographs and batches."""

    def __init__(self, database: Store, progress: Callable[[str], float], keep: timedelta | None) -> None:
        self._store = database
        self._progress = progress
        self._keep = keep

    def photograph(self, record: Record, positions: Mapping[str, int] | None = None) -> schemas.Photograph:
        """Tell all of one photograph.

        Args:
            record: as it is remembered.
            positions: of all that are queued, where the caller has them already.
        """
        position = None
        if record.state == "queued":
            position = self._store.position(record) if positions is None else positions.get(record.id)
        return schemas.Photograph(
            id=record.id,
            name=record.name,
            batch=record.batch,
            state=record.state,
            position=position,
            progress=1.0 if record.state == "done" else round(self._progress(record.id), 3),
            error=None if record.error is None else schemas.Failure(**record.error),
            submitted=stamp(record.submitted),
            started=None if record.started is None else stamp(record.started),
            finished=None if record.finished is None else stamp(record.finished),
            expires=self._expires(record),
            sha256=record.sha256,
            width=record.width,
            height=record.height,
            spacing_mm=record.spacing_mm,
            tiles=tile_levels((record.height, record.width)),
            reviewed=record.reviewed,
            grid=None if record.grid is None else schemas.Grid(**record.grid),
            result=self._result(record) if record.state == "done" else None,
        )

    def batch(self, row: Mapping[str, Any]) -> schemas.Batch:
        """Tell of a batch."""
        return schemas.Batch(
            id=row["id"],
            name=row["name"],
            created=stamp(row["created"]),
            photographs=self._store.states(row["id"]),
        )

    def _expires(self, record: Record) -> str | None:
        if self._keep is None or record.finished is None:
            return None
        return stamp(record.finished + self._keep.total_seconds())

    def _result(self, record: Record) -> schemas.Result:
        facts, present = record.facts, self._store.present(record.id)
        kinds = known_as(list(facts["lesions"]))
        known = {code: _lesion(record, kinds[code], present[code]) for code in facts["lesions"]}
        return schemas.Result(
            model=schemas.Maker(**facts["model"]),
            field=schemas.FieldFound(**facts["field"]),
            quality=facts["quality"],
            revision=record.revision,
            corrected=record.revision > 0 and bool(self._store.corrected(record.id)),
            lesions=known,
            burden=schemas.Burden(
                count=record.count or 0, area_fraction=round(record.area_fraction or 0.0, 8)
            ),
        )


def _lesion(record: Record, kind: Lesion, present: Present) -> schemas.LesionFound:
    code = kind.code
    told, field_px = record.facts["lesions"][code], record.facts["field"]["area_px"]
    spacing = record.spacing_mm
    return schemas.LesionFound(
        name=told["name"],
        colour=kind.colour,
        threshold=corrections.threshold_of(record.facts, record.thresholds, code),
        level=present.level,
        model_threshold=told["threshold"],
        model_level=maps.level(told["threshold"], "png"),
        minimum_area_px=told["minimum_area_px"],
        count=present.count,
        area_px=present.area_px,
        area_fraction=round(present.area_px / field_px, 8),
        area_mm2=None if spacing is None else round(present.area_px * spacing**2, 6),
        mask_px=present.mask_px,
    )


def known_as(codes: Sequence[str]) -> dict[str, Lesion]:
    """Return the lesions of some codes: what each is called, and drawn in."""
    return {lesion.code: lesion for lesion in lesions.of(codes)}


@lru_cache(maxsize=64)
def tile_levels(shape: tuple[int, int]) -> schemas.Tiles:
    """Tell of the tiles of a photograph of (H, W) px."""
    return schemas.Tiles(
        size=tiles.SIZE,
        levels=[
            schemas.TileLevel(width=level.width, height=level.height, columns=level.columns, rows=level.rows)
            for level in tiles.levels(shape)
        ],
    )


def stamp(seconds: float) -> str:
    """Spell a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
