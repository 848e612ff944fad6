"""The log of a run: each event as a line of JSON, for machines.

Knows:   the events, and what a log may contain.
Ignores: what causes the events.

More people see a log than the results. Therefore it contains no name of a photograph, no path and no text of
an error, any of which may name a patient. A photograph appears as a keyed hash of its name; the key is kept
in the target (`manifest/order.json`). An error appears as the name of its class. Names of machines and
process numbers of workers do appear.

| event       | keys in addition to `time`, `run`, `event`                                           |
|-------------|--------------------------------------------------------------------------------------|
| began       | foveate, model, engine, photographs, bytes, left, share                              |
| joined      | worker, host, process                                                                |
| lost        | worker, why (a class), photographs (of the shard that it had)                        |
| photograph  | photograph (hash), status, kind, tries, worker, seconds, lay                         |
| again       | photograph (hash), kind, tries                                                       |
| shard       | worker, photographs, peak_mb (peak memory of the worker so far)                      |
| ended       | ok, failed, kept, seconds, starting (seconds until the first worker), driver_peak_mb |
| stopped     | why (a class), ok, failed                                                            |
"""

import hashlib
import hmac
import io
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from foveate import atomic_files
from foveate.paths import valid_path
from foveate.timestamps import utc_timestamp

STDERR = "stderr"
"""Given instead of a file's name, it means standard error, from which containers collect logs."""


class EventLog:
    """Writes one line for each event.

    Args:
        stream: where to write; None to write nothing.
        run: the run's name.
        path: where the stream leads, for messages.
    """

    def __init__(self, stream: io.TextIOBase | TextIO | None, run: str, path: Path = Path(STDERR)) -> None:
        self._stream = stream
        self._run = run
        self._path = path
        self._key = b""

    def set_key(self, key: str) -> None:
        """Set the key of the photographs' pseudonyms, as hex digits."""
        self._key = bytes.fromhex(key)

    def write(self, event: str, **facts: object) -> None:
        """Write an event without buffering.

        Raises:
            OutputError: it cannot be written, as on a full disk.
        """
        if self._stream is not None:
            moment = utc_timestamp(datetime.now(UTC), "milliseconds")
            line = json.dumps({"time": moment, "run": self._run, "event": event, **facts})
            with atomic_files.errors_for(self._path):
                print(line, file=self._stream, flush=True)

    def pseudonym(self, photograph: str) -> str:
        """Return the photograph's name in the log: 16 hex digits."""
        text = photograph.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:16]


@contextmanager
def open_event_log(destination: str | None, run: str) -> Iterator[EventLog]:
    """Yield a log that appends to a file of this machine; 'stderr' for standard error, None for no log.

    Raises:
        OutputError: the file cannot be written.
    """
    if destination is None or destination == STDERR:
        yield EventLog(None if destination is None else sys.stderr, run)
        return
    path = Path(destination)
    try:
        valid_path(path).parent.mkdir(parents=True, exist_ok=True)
        unbuffered = path.open("ab", buffering=0)  # a line that fails is not written again when it is closed
    except OSError as error:
        raise atomic_files.output_error(path, error) from error
    with io.TextIOWrapper(unbuffered, encoding="ascii", write_through=True) as file:
        yield EventLog(file, run, path)


def peak_memory_mb() -> int:
    """Return the peak memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)  # macOS reports bytes, other systems KiB
