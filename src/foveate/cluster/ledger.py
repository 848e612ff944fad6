"""What of a run is done, kept beside its results so that another run can go on: the manifest.

Knows:   its files, and what a line says of a photograph.
Ignores: whether the results lie there; `drive` looks for that.

TARGET/manifest/order.json          what was asked for; another run that asks for anything else is refused
TARGET/manifest/<run>-<part>.jsonl  a line a photograph, as they were done; later lines replace earlier ones

A bucket knows no appending, so lines are gathered and put as one object now and then. Lines that are not put
yet when a driver is killed cost nothing but a look: the result that lies there vouches for itself.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from foveate.cluster.stores import Store
from foveate.errors import OutputError
from foveate.version import version
from foveate.writers import Burden, Order, Row, tables

ORDER = "manifest/order.json"

LINES = 1000
"""After so many lines they are put. Our choice: a million photographs make a thousand objects."""

SECONDS = 10
"""Or after so much time, where they come slowly: what is looked for again after a kill stays a handful."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What came of one photograph."""

    row: Row
    stamp: str
    """Of the source's file; another one means that it may have changed since."""
    worker: str
    seconds: Mapping[str, float]
    """What was done -> how long it took, the last try's."""
    tries: int = 1
    """It took, the last included."""
    lay: bool = False
    """The result lay there already and was not written again."""
    stop: str = ""
    """Why every other photograph would fail as well, where that is so."""
    kind: str = ""
    """Name of the error's class, where it failed."""


def line(entry: Entry) -> str:
    """Return an entry as one line of JSON."""
    row = entry.row
    lesions = {
        code: [burden.count, burden.area_px, burden.area_fraction, burden.area_mm2]
        for code, burden in row.burdens.items()
    }
    content = {
        "photograph": row.name,
        "source": entry.stamp,
        "status": row.status,
        "error": row.error,
        "quality": row.quality,
        "sha256": row.digest,
        "lesions": lesions,
        "tries": entry.tries,
        "worker": entry.worker,
        "seconds": {what: round(seconds, 3) for what, seconds in entry.seconds.items()},
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def row(text: str) -> Row:
    """Return what the summary says of a photograph, from its line."""
    content = json.loads(text)
    done = content["status"] == "ok"
    return Row(
        name=content["photograph"],
        status=content["status"],
        error=content["error"],
        quality=tuple(content["quality"]),
        key=content["photograph"] if done else "",
        digest=content["sha256"],
        burdens={
            code: Burden(count=count, area_px=area, area_fraction=float(fraction), area_mm2=mm2)
            for code, (count, area, fraction, mm2) in content["lesions"].items()
        },
    )


class Ledger:
    """The manifest of one target, to which one run adds.

    Args:
        store: the target.
        run: the run's name; later runs have later names.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run
        self._lines: list[str] = []
        self._part = 0
        self._put_at = time.monotonic()

    def agree(self, order: Order) -> str:
        """Write what is asked for, or see that it is what the target was begun with.

        Args:
            order: of any photograph.

        Returns:
            The key by which logs name photographs: it stays with the results, so that a log tells nothing.

        Raises:
            OutputError: the target was begun with another model, version, settings or format.
        """
        asked = {
            "foveate": version(),
            "model": tables.model(order.maker),
            "settings": tables.plain(order.settings),
            "format": order.format,
        }
        found = self._order()
        if found is None:
            key = secrets.token_hex(16)
            content = json.dumps(asked | {"key": key}, indent=2) + "\n"
            self._store.write(ORDER, content.encode("ascii"))
            return key
        for what, wanted in asked.items():
            if found.get(what) != wanted:
                raise OutputError(
                    f"{self._store.shown()}: was begun with {what} {_told(found.get(what))}, and now "
                    f"{_told(wanted)} is asked for; ask for the same, or choose another --out"
                )
        return str(found["key"])

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield (name, stamp, line) of every photograph that an earlier run has done, oldest first."""
        parts = sorted(
            found.path for found in self._store.listing("manifest") if found.path.endswith(".jsonl")
        )
        for part in parts:
            for text in (self._store.read(part) or b"").decode("ascii").splitlines():
                content = json.loads(text)
                if content["status"] == "ok":
                    yield content["photograph"], content["source"], text

    def add(self, text: str) -> None:
        """Take a line; put what was gathered, if it is time."""
        self._lines.append(text)
        if len(self._lines) >= LINES or time.monotonic() - self._put_at >= SECONDS:
            self.put()

    def put(self) -> None:
        """Write the lines gathered so far.

        Raises:
            OutputError, ClusterError: the target refuses, or cannot be reached.
        """
        self._put_at = time.monotonic()
        if self._lines:
            path = f"manifest/{self._run}-{self._part:06}.jsonl"
            self._store.write(path, "".join(f"{text}\n" for text in self._lines).encode("ascii"))
            self._part += 1
            self._lines = []

    def _order(self) -> dict[str, object] | None:
        text = self._store.read(ORDER)
        if text is None:
            return None
        try:
            found: dict[str, object] = json.loads(text)
            str(found["key"])
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{self._store.shown(ORDER)}: is none of ours; choose another --out") from None
        return found


def run_name(now: datetime) -> str:
    """Return a run's name: when it began, in UTC, and a few letters so that no two are alike."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _told(value: object) -> str:
    return json.dumps(value, sort_keys=True)
