"""Ask a Foveate server from Python: submit photographs, wait, fetch what was found.

Knows:   the server's HTTP API (docs/http-api.md), and that a full queue is to be tried again.
Ignores: how anything is found, and how answers are made.

    from foveate.client import Client

    client = Client("http://127.0.0.1:8000")
    photograph = client.wait(client.submit("left.jpg").id)
    print(photograph.lesions["EX"].count)
    client.download(photograph.id, "left.zip")

It needs nothing but Python.
"""

import contextlib
import http.client
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from foveate.errors import ServerError

State = Literal["queued", "looking", "done", "failed"]

ASK = 20.0
"""Seconds that one question after a result waits for it on the server's side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesion:
    """What there is of one lesion in a photograph, at its present threshold, corrections included."""

    name: str
    threshold: float
    """Probability from which a pixel is lesion."""
    count: int
    """Regions."""
    area_px: int
    """Their pixels."""
    area_fraction: float
    """Their share of the field of view, 0 to 1."""
    area_mm2: float | None
    """Where the spacing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """A photograph as the server knows it."""

    id: str
    name: str
    state: State
    error: str | None
    """One line, where it failed."""
    width: int
    height: int
    quality: tuple[str, ...]
    """Codes of what may spoil the result."""
    lesions: Mapping[str, Lesion]
    """By code; empty until it is done."""
    told: Mapping[str, Any]
    """All that the server said, as docs/http-api.md has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One region, px of the photograph."""

    id: int
    lesion: str
    area_px: int
    centroid: tuple[float, float]
    """(row, column)."""
    box: tuple[int, int, int, int]
    """(top, left, bottom, right), half open."""
    mean_probability: float
    max_probability: float
    verdict: str | None
    """What a person said of it."""


class Client:
    """Asks one server; several threads may share it, since each question has a connection of its own.

    Args:
        address: of the server, such as 'http://127.0.0.1:8000'.
        token: where the server wants one.
        timeout: seconds that the server may be silent.
        patience: seconds to go on trying where the queue is full.

    Raises:
        ServerError: the address is none.
    """

    def __init__(
        self, address: str, *, token: str | None = None, timeout: float = 60.0, patience: float = 600.0
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ServerError(
                f"{address!r} is no address of a server; give one such as http://127.0.0.1:8000"
            )
        self._host, self._port = parts.hostname, parts.port
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = address
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Connection": "close"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._patience = patience

    def submit(self, path: str | Path, *, batch: str | None = None, field: str = "auto") -> Photograph:
        """Submit a photograph; where the queue is full, try again until patience ends.

        Args:
            path: of a JPEG, PNG or TIFF file.
            batch: identifier of a batch that it belongs to.
            field: where the field of view is: 'auto', 'full', or 'X,Y,RADIUS' in px of the photograph.

        Raises:
            ServerError: it is refused, or cannot be read here.
        """
        path = Path(path)
        headers = {"Content-Type": "application/octet-stream", "Foveate-Name": quote(path.name, safe="")}
        where = "/api/photographs?" + urlencode(
            {"field": field} | ({} if batch is None else {"batch": batch})
        )
        until = time.monotonic() + self._patience
        while True:
            try:
                with path.open("rb") as file:
                    size = {"Content-Length": str(path.stat().st_size)}
                    return _photograph(self._ask("POST", where, file, headers | size))
            except OSError as error:
                raise ServerError(f"{path}: cannot be read ({error.strerror}); check the path") from error
            except ServerError as error:
                if error.status != 429 or time.monotonic() + error.retry_after > until:
                    raise
                time.sleep(error.retry_after)

    def photograph(self, id: str) -> Photograph:
        """Return a photograph as it is now.

        Raises:
            ServerError: there is none.
        """
        return _photograph(self._ask("GET", f"/api/photographs/{_quoted(id)}"))

    def wait(self, id: str, *, seconds: float = 3600.0) -> Photograph:
        """Wait until a photograph is done.

        Raises:
            ServerError: it failed, it is gone, or it is not done after so many seconds.
        """
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, min(ASK, until - time.monotonic()))
            found = _photograph(self._ask("GET", f"/api/photographs/{_quoted(id)}?wait={left:.1f}"))
            if found.state == "done":
                return found
            if found.state == "failed":
                raise ServerError(f"{found.name}: {found.error}")
            if time.monotonic() >= until:
                raise ServerError(f"{found.name}: not done after {seconds:g} s; wait longer")

    def photographs(self, *, batch: str | None = None, sort: str = "submitted") -> tuple[Photograph, ...]:
        """Return all photographs, or those of a batch.

        Args:
            batch: identifier.
            sort: 'submitted', 'name', 'burden' or 'count'; the last two with the most first.

        Raises:
            ServerError: the server refuses.
        """
        order = "desc" if sort in {"burden", "count"} else "asc"
        asked = {"sort": sort, "order": order, "limit": "1000"} | ({} if batch is None else {"batch": batch})
        found: list[Photograph] = []
        while True:
            query = urlencode(asked | {"offset": str(len(found))})
            told = self._ask("GET", f"/api/photographs?{query}")
            found += [_photograph(one) for one in told["photographs"]]
            if not told["photographs"] or len(found) >= told["total"]:
                return tuple(found)

    def regions(
        self, id: str, *, lesion: str | None = None, threshold: float | None = None
    ) -> tuple[Region, ...]:
        """Return the regions of a photograph, in reading order.

        Args:
            id: of the photograph.
            lesion: code; None for all.
            threshold: of that lesion, in (0, 1]; the present one if None.

        Raises:
            ServerError: it is not done, or the lesion is unknown.
        """
        asked = {"limit": "5000"}
        asked |= {} if lesion is None else {"lesion": lesion}
        asked |= {} if threshold is None else {"threshold": repr(threshold)}
        found: list[Region] = []
        while True:
            query = urlencode(asked | {"offset": str(len(found))})
            told = self._ask("GET", f"/api/photographs/{_quoted(id)}/regions?{query}")
            found += [_region(one) for one in told["regions"]]
            if not told["regions"] or len(found) >= told["total"]:
                return tuple(found)

    def choose(self, id: str, thresholds: Mapping[str, float]) -> Photograph:
        """Choose thresholds of a photograph; lesions not named get the model's.

        Raises:
            ServerError: it is not done, or a threshold is out of its range.
        """
        return _photograph(
            self._send("PATCH", f"/api/photographs/{_quoted(id)}", {"thresholds": dict(thresholds)})
        )

    def download(self, id: str, to: str | Path, *, parts: Sequence[str] = ()) -> None:
        """Save a photograph's files, as `foveate predict` writes them, as a zip.

        Args:
            id: of the photograph.
            to: file to write.
            parts: such as 'masks', 'overlays'; everything if empty.

        Raises:
            ServerError: it is not done, or the file cannot be written.
        """
        query = "?" + urlencode({"parts": ",".join(parts)}) if parts else ""
        partial = Path(f"{to}.part")
        where = f"/api/photographs/{_quoted(id)}/download{query}"
        try:
            with self._answer("GET", where, None, {}) as answer, partial.open("wb") as file:
                shutil.copyfileobj(answer, file)
            partial.replace(to)
        except OSError as error:
            raise ServerError(f"{to}: cannot be written ({error.strerror}); choose another place") from error

    def batch(self, name: str) -> str:
        """Make a batch and return its identifier.

        Raises:
            ServerError: the server refuses.
        """
        made: str = self._send("POST", "/api/batches", {"name": name})["id"]
        return made

    def delete(self, id: str) -> None:
        """Delete a photograph and all that was made of it.

        Raises:
            ServerError: there is none.
        """
        self._ask("DELETE", f"/api/photographs/{_quoted(id)}")

    def _send(self, method: str, where: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401
        return self._ask(method, where, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _ask(
        self,
        method: str,
        where: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:  # noqa: ANN401 JSON is of any kind
        with self._answer(method, where, body, headers) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def _answer(
        self, method: str, where: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Return an answer that is no error; it holds its connection, which ends with it."""
        connection = self._kind(self._host, self._port, timeout=self._timeout)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
                connection.request(method, self._prefix + where, body, {**self._headers, **headers})
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerError(
                f"{self._address}: cannot be reached ({error}); is the server running?"
            ) from error
        if answer.status < 400:
            return answer
        with answer:
            raise _refusal(answer)


def _refusal(answer: http.client.HTTPResponse) -> ServerError:
    """Return the error that an answer speaks of."""
    content = answer.read()
    try:
        told = json.loads(content)["error"]
        line, code = str(told["message"]), str(told["code"])
    except (ValueError, KeyError, TypeError):
        line, code = f"{answer.status} {answer.reason}", "unknown"
    waiting = answer.headers.get("Retry-After", "")
    return ServerError(
        line, status=answer.status, code=code, retry_after=float(waiting) if waiting.isdigit() else 1.0
    )


def _photograph(told: Mapping[str, Any]) -> Photograph:
    result = told["result"] or {"quality": (), "lesions": {}}
    kept = ("name", "threshold", "count", "area_px", "area_fraction", "area_mm2")
    return Photograph(
        id=told["id"],
        name=told["name"],
        state=told["state"],
        error=None if told["error"] is None else told["error"]["message"],
        width=told["width"],
        height=told["height"],
        quality=tuple(result["quality"]),
        lesions={code: Lesion(**{key: one[key] for key in kept}) for code, one in result["lesions"].items()},
        told=told,
    )


def _region(told: Mapping[str, Any]) -> Region:
    box, centroid = told["box"], told["centroid"]
    return Region(
        id=told["id"],
        lesion=told["lesion"],
        area_px=told["area_px"],
        centroid=(centroid["y"], centroid["x"]),
        box=(box["y"], box["x"], box["y"] + box["height"], box["x"] + box["width"]),
        mean_probability=told["mean_probability"],
        max_probability=told["max_probability"],
        verdict=told["verdict"],
    )


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")
