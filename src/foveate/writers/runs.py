"""run.json: what ran, on what, with what, and how long it took.

Knows:   versions, digests, settings, times. No other file holds a time.
Ignores: what was found.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import cv2
import numpy as np
import PIL

from foveate.version import version
from foveate.writers import tables
from foveate.writers.results import NOTICE, Maker, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One call of predict."""

    started: datetime
    """With its time zone."""
    seconds: float
    """From the start to the last result."""
    maker: Maker
    settings: Mapping[str, object]
    """All that was asked for, as plain values that JSON can hold."""
    versions: Mapping[str, str]
    """Of what computed, by name: the engine and the like. Foveate's and those of the writers are added."""
    rows: Sequence[Row]
    """All photographs, failures included."""
    seconds_each: Mapping[str, float]
    """Photograph's name -> how long it took in this run; none for those an earlier run had done."""
    seconds_of: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """What was done with photographs -> seconds, added up over all of them."""
    workers: int = 1
    """Photographs that were looked at side by side."""
    skipped: int = 0
    """Files in the folders that are no photographs."""


def to_json(run: Run) -> bytes:
    """Return run.json's content, times in UTC."""
    content = head(run.maker, run.settings, run.versions, run.started, run.seconds)
    content["times"] |= {
        "by_phase": {phase: round(seconds, 3) for phase, seconds in run.seconds_of.items()},
        "workers": run.workers,
    }
    content |= {
        "photographs": {
            "ok": sum(row.status == "ok" for row in run.rows),
            "failed": sum(row.status == "failed" for row in run.rows),
            "done_before": sum(row.status == "ok" and row.name not in run.seconds_each for row in run.rows),
            "skipped_files": run.skipped,
            "each": [_photograph(row, run.seconds_each.get(row.name)) for row in run.rows],
        },
    }
    return tables.utf8(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def head(
    maker: Maker,
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    started: datetime,
    seconds: float,
) -> tables.Document:
    """Return what run.json says of a run before it speaks of photographs.

    Args:
        maker: the model.
        settings: all that was asked for.
        versions: of what computed, by name.
        started: with its time zone.
        seconds: from the start to the last result.
    """
    begun = started.astimezone(UTC)
    return {
        "foveate": version(),
        "notice": NOTICE,
        "model": tables.model(maker),
        "settings": tables.plain(settings),
        "versions": dict(sorted((_own_versions() | dict(versions)).items())),
        "times": {
            "started": _stamp(begun),
            "finished": _stamp(begun + timedelta(seconds=seconds)),
            "seconds": round(seconds, 3),
        },
    }


def _photograph(row: Row, seconds: float | None) -> dict[str, object]:
    """Return a photograph's entry; seconds are null where an earlier run had done it."""
    outcome: dict[str, object] = {"sha256": row.digest} if row.status == "ok" else {"error": row.error}
    rounded = None if seconds is None else round(seconds, 3)
    return {"name": row.name, "status": row.status} | outcome | {"seconds": rounded}


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _own_versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }
