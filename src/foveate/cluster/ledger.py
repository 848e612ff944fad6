"""The ledger of a target: which photographs are done, kept beside the results so that a run can be resumed.

Knows:   the ledger's files, and the content of a line.
Ignores: whether the results exist; `job` checks that.

TARGET/manifest/order.json          the request; a run with a different request is refused
TARGET/manifest/<run>-<part>.jsonl  one line for each photograph, in the order of completion; the last line
                                    for a photograph counts

Objects in a bucket cannot be appended to, so lines are collected and written as one object at intervals. If a
driver is killed before lines are written, the next run only has to check the existing results, which hold
everything that is needed for it.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import index
from typing import Any

from foveate.cluster.stores import FileStore
from foveate.errors import OutputError
from foveate.photographs import MANIFEST_FILE
from foveate.version import version
from foveate.writers import LesionLoad, PredictRequest, SummaryRow, tables

FLUSH_LINES = 1000
"""Number of collected lines that are written at once. Our choice: a million photographs make a thousand
objects."""

FLUSH_SECONDS = 10
"""Time after which fewer lines are written, so that only a few results are checked again after a kill."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """The outcome of one photograph."""

    row: SummaryRow
    stamp: str
    """Stamp of the source's file; if it differs later, the file may have changed."""
    worker: str
    seconds: Mapping[str, float]
    """Phase -> its duration in the last attempt."""
    attempts: int = 1
    """Number of attempts, the last included."""
    reused: bool = False
    """Whether the result existed already and was not written again."""
    fatal_error: str = ""
    """The error, if every other photograph would fail for the same reason; otherwise empty."""
    error_type: str = ""
    """Name of the error's class, if the photograph failed."""


def encode(entry: LedgerEntry) -> str:
    """Return an entry as one line of JSON."""
    row = entry.row
    lesions = {
        code: [load.count, load.area_px, load.area_fraction, load.area_mm2]
        for code, load in row.loads.items()
    }
    content = {
        "photograph": row.name,
        "source": entry.stamp,
        "status": row.status,
        "error": row.error,
        "quality": row.quality,
        "sha256": row.digest,
        "lesions": lesions,
        "tries": entry.attempts,
        "worker": entry.worker,
        "seconds": {phase: round(seconds, 3) for phase, seconds in entry.seconds.items()},
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def decode_row(line: str) -> SummaryRow:
    """Return a photograph's row of the summary from its line.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not a line that `encode` returned.
    """
    return _row_of(json.loads(line))


def _row_of(content: Mapping[str, Any]) -> SummaryRow:
    """Return the row of a line's content; raise as `decode_row`."""
    return SummaryRow(
        name=_text(content["photograph"]),
        status=content["status"],
        error=_text(content["error"]),
        quality=tuple(map(_text, content["quality"])),
        digest=_text(content["sha256"]),
        loads={
            code: LesionLoad(
                count=index(count),
                area_px=index(area),
                area_fraction=float(fraction),
                area_mm2=None if mm2 is None else float(mm2),
            )
            for code, (count, area, fraction, mm2) in content["lesions"].items()
        },
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


class Ledger:
    """The ledger of one target, to which one run adds lines.

    Args:
        store: the target.
        run: the run's name; names of later runs sort after those of earlier runs.
    """

    def __init__(self, store: FileStore, run: str) -> None:
        self._store = store
        self._run = run
        self._lines: list[str] = []
        self._part = 0
        self._flushed_at = time.monotonic()

    def match_request(self, request: PredictRequest) -> str:
        """Write the request, or check that it equals the one with which the target was begun.

        Args:
            request: the request for any photograph.

        Returns:
            The key of the photographs' pseudonyms in logs. It is kept only with the results, so that
            a log alone identifies nobody.

        Raises:
            OutputError: the target was begun with another model, version, settings or format.
        """
        requested = {
            "foveate": version(),
            "model": tables.model_entry(request.provenance),
            "settings": tables.json_values(request.settings),
            "format": request.format,
        }
        stored = self._read_request()
        if stored is None:
            key = secrets.token_hex(16)
            content = json.dumps(requested | {"key": key}, indent=2) + "\n"
            self._store.write(MANIFEST_FILE, content.encode("ascii"))
            return key
        for name, value in requested.items():
            if stored.get(name) != value:
                raise OutputError(
                    f"{self._store.display_path()}: was started with {name} {_to_json(stored.get(name))}, "
                    f"but now {_to_json(value)} is given; give the same, or choose another --out"
                )
        return str(stored["key"])

    def successes(self) -> Iterator[tuple[str, str, str]]:
        """Yield (name, stamp, line) of every photograph that an earlier run finished, oldest first.

        Raises:
            OutputError: a line is not as Foveate wrote it.
        """
        files = self._store.list_files("manifest")
        for path in sorted(file.path for file in files if file.path.endswith(".jsonl")):
            for number, line in enumerate((self._store.read(path) or b"").splitlines(), 1):
                if line.strip():
                    yield from self._success(line, f"{self._store.display_path(path)}: line {number}")

    def _success(self, line: bytes, place: str) -> Iterator[tuple[str, str, str]]:
        """Yield what a line says of a photograph that is done; nothing of one that failed."""
        try:
            text = line.decode("ascii")
            content = json.loads(text)
            if content["status"] == "ok":
                yield _row_of(content).name, _text(content["source"]), text
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{place} is damaged ({type(error).__name__}: {error}); delete that line, and the result of "
                "its photograph is checked instead"
            ) from None

    def add(self, line: str) -> None:
        """Add a line; write the collected lines if it is time."""
        self._lines.append(line)
        if len(self._lines) >= FLUSH_LINES or time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the lines collected so far.

        Raises:
            OutputError, ClusterError: the target refuses the write, or cannot be reached.
        """
        self._flushed_at = time.monotonic()
        if self._lines:
            path = f"manifest/{self._run}-{self._part:06}.jsonl"
            self._store.write(path, "".join(f"{line}\n" for line in self._lines).encode("ascii"))
            self._part += 1
            self._lines = []

    def _read_request(self) -> dict[str, object] | None:
        text = self._store.read(MANIFEST_FILE)
        if text is None:
            return None
        try:
            content: dict[str, object] = json.loads(text)
            bytes.fromhex(str(content["key"]))
        except (ValueError, KeyError, TypeError):
            raise OutputError(
                f"{self._store.display_path(MANIFEST_FILE)}: was not written by Foveate; choose another --out"
            ) from None
        return content


def run_name(now: datetime) -> str:
    """Return a run's name: its start in UTC, and random hex digits that make it unique."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _to_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
