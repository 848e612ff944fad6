"""Write run.json: which software ran, with which settings, on which photographs, and how long it took.

Knows:   versions, digests, settings, times. No other file holds a time.
Ignores: which lesions were segmented.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

import cv2
import numpy as np
import PIL

from foveate.timestamps import utc_timestamp
from foveate.version import version
from foveate.writers import tables
from foveate.writers.results import NOTICE, Provenance, SummaryRow


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRun:
    """One run of predict."""

    started: datetime
    """With its time zone."""
    seconds: float
    """From the start to the last result."""
    provenance: Provenance
    settings: Mapping[str, object]
    """The whole request, as plain values that JSON can hold."""
    versions: Mapping[str, str]
    """Name -> version or setting of the engine. Versions of Foveate and the writers' libraries are added."""
    rows: Sequence[SummaryRow]
    """All photographs, failures included."""
    seconds_each: Mapping[str, float]
    """Photograph's name -> seconds in this run; photographs that an earlier run finished are absent."""
    seconds_by_phase: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Phase -> seconds, summed over all photographs."""
    workers: int = 1
    """Number of photographs that were processed at the same time."""
    skipped: int = 0
    """Files in the folders that are not photographs."""


def to_json(run: PredictRun) -> bytes:
    """Return run.json's content, times in UTC."""
    content = run_header(run.provenance, run.settings, run.versions, run.started, run.seconds)
    content["times"] |= {
        "by_phase": {phase: round(seconds, 3) for phase, seconds in run.seconds_by_phase.items()},
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


def run_header(
    provenance: Provenance,
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    started: datetime,
    seconds: float,
) -> tables.Document:
    """Return the entries of run.json that describe the run as a whole.

    Args:
        provenance: the model.
        settings: the whole request.
        versions: name -> version or setting of the engine.
        started: time of the start, with its time zone.
        seconds: time from the start to the last result.
    """
    return {
        "foveate": version(),
        "notice": NOTICE,
        "model": tables.model_entry(provenance),
        "settings": tables.json_values(settings),
        "versions": dict(sorted((_own_versions() | dict(versions)).items())),
        "times": {
            "started": utc_timestamp(started),
            "finished": utc_timestamp(started + timedelta(seconds=seconds)),
            "seconds": round(seconds, 3),
        },
    }


def _photograph(row: SummaryRow, seconds: float | None) -> dict[str, object]:
    """Return a photograph's entry; seconds are null if an earlier run finished it."""
    outcome: dict[str, object] = {"sha256": row.digest} if row.status == "ok" else {"error": row.error}
    rounded = None if seconds is None else round(seconds, 3)
    return {"name": row.name, "status": row.status} | outcome | {"seconds": rounded}


def _own_versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }
