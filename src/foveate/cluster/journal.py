"""What happens in a run, as JSON lines for machines: the log.

Knows:   events, and what may stand in a log.
Ignores: what causes them.

A log travels further than the results do. So it holds no name of a photograph, no path and no error's text,
which may name a patient: a photograph stands there by a keyed hash of its name, whose key lies in the target
(`manifest/order.json`), and an error by the name of its class. Names of machines and process numbers of
workers do stand there.

| event       | beside `time`, `run`, `event`                                                        |
|-------------|--------------------------------------------------------------------------------------|
| began       | foveate, model, engine, photographs, bytes, left, workers, share                     |
| joined      | worker, host, process                                                                |
| lost        | worker, why (a class), photographs (of the shard that came back)                     |
| photograph  | photograph (hash), status, kind, tries, worker, seconds, lay                         |
| again       | photograph (hash), kind, tries                                                       |
| shard       | worker, photographs, peak_mb (most memory that the worker ever took)                 |
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

from foveate.errors import OutputError
from foveate.writers import files

STDERR = "stderr"
"""Given for a file's name: standard error, where containers look for logs."""


class Journal:
    """Writes a line an event.

    Args:
        stream: where to; None for nowhere.
        run: the run's name.
    """

    def __init__(self, stream: io.TextIOBase | TextIO | None, run: str) -> None:
        self._stream = stream
        self._run = run
        self._key = b""

    def know(self, key: str) -> None:
        """Learn the key by which photographs are named."""
        self._key = bytes.fromhex(key)

    def say(self, event: str, **facts: object) -> None:
        """Write an event down, at once."""
        if self._stream is not None:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            print(
                json.dumps({"time": moment, "run": self._run, "event": event, **facts}),
                file=self._stream,
                flush=True,
            )

    def name(self, photograph: str) -> str:
        """Return what a photograph is called in the log: 16 hex digits."""
        text = photograph.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:16]


@contextmanager
def opened(where: str | None, run: str) -> Iterator[Journal]:
    """Yield a journal that is added to a file of this machine, 'stderr' for standard error, None for nowhere.

    Raises:
        OutputError: the file cannot be written.
    """
    if where is None or where == STDERR:
        yield Journal(None if where is None else sys.stderr, run)
        return
    path = Path(where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="ascii")
    except OSError as error:
        raise OutputError(files.refusal(path, error)) from error
    with file:
        yield Journal(file, run)


def peak_mb() -> int:
    """Return the most memory that this process ever took, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)  # bytes there, KiB elsewhere
