"""Use a Foveate server from Python: submit photographs, wait, fetch the results.

Knows:   the server's HTTP API (docs/http-api.md), and that a request is repeated while the queue is full.
Ignores: how lesions are segmented, and how the server works.

    from foveate.client import Client

    client = Client("http://127.0.0.1:8000")
    photograph = client.wait(client.submit("left.jpg").id)
    print(photograph.lesions["EX"].count)
    client.download(photograph.id, "left.zip")

It needs only the standard library.
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
from foveate.paths import valid_path

State = Literal["queued", "looking", "done", "failed"]

LONG_POLL_SECONDS = 20.0
"""Seconds that the server may wait for a result before it responds to a request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLesion:
    """The regions of one lesion in a photograph, at the current threshold, with corrections."""

    name: str
    threshold: float
    """Probability from which a pixel is lesion."""
    count: int
    """Number of regions."""
    area_px: int
    """Pixels of the regions."""
    area_fraction: float
    """Share of the field of view, 0 to 1."""
    area_mm2: float | None
    """None if the spacing is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerPhotograph:
    """A photograph on the server."""

    id: str
    name: str
    state: State
    error: str | None
    """One line, if it failed."""
    width: int
    height: int
    quality: tuple[str, ...]
    """Codes of image quality problems."""
    lesions: Mapping[str, ServerLesion]
    """By code; empty until the photograph is done."""
    response: Mapping[str, Any]
    """The server's whole response, as described in docs/http-api.md."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRegion:
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
    """A person's judgement."""


class Client:
    """Client of one server; threads may share it, since each request has its own connection.

    Args:
        address: of the server, such as 'http://127.0.0.1:8000'.
        token: if the server requires one.
        timeout: seconds to wait for the server's next byte.
        patience: seconds to repeat a request while the queue is full.

    Raises:
        ServerError: the address is invalid.
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
        self._connection_type = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._address = address
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Connection": "close"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._patience = patience

    def submit(self, path: str | Path, *, batch: str | None = None, field: str = "auto") -> ServerPhotograph:
        """Submit a photograph; while the queue is full, try again for `patience` seconds.

        Args:
            path: of a JPEG, PNG or TIFF file.
            batch: identifier of the batch that it belongs to.
            field: position of the field of view: 'auto', 'full', or 'X,Y,RADIUS' in px of the photograph.

        Raises:
            ServerError: it is refused, or the file cannot be read.
        """
        path = Path(path)
        headers = {"Content-Type": "application/octet-stream", "Foveate-Name": quote(path.name, safe="")}
        route = "/api/photographs?" + urlencode(
            {"field": field} | ({} if batch is None else {"batch": batch})
        )
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with valid_path(path).open("rb") as file:
                    size = {"Content-Length": str(path.stat().st_size)}
                    return _photograph(self._request_json("POST", route, file, headers | size))
            except OSError as error:
                raise ServerError(f"{path}: cannot be read ({error.strerror}); check the path") from error
            except ServerError as error:
                if error.status != 429 or time.monotonic() + error.retry_after > deadline:
                    raise
                time.sleep(error.retry_after)

    def photograph(self, id: str) -> ServerPhotograph:
        """Return a photograph's current state.

        Raises:
            ServerError: there is no such photograph.
        """
        return _photograph(self._request_json("GET", f"/api/photographs/{_quoted(id)}"))

    def wait(self, id: str, *, seconds: float = 3600.0) -> ServerPhotograph:
        """Wait until a photograph is done.

        Raises:
            ServerError: it failed, it was deleted, or it is not done after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            remaining = max(0.0, min(LONG_POLL_SECONDS, deadline - time.monotonic()))
            photograph = _photograph(
                self._request_json("GET", f"/api/photographs/{_quoted(id)}?wait={remaining:.1f}")
            )
            if photograph.state == "done":
                return photograph
            if photograph.state == "failed":
                raise ServerError(f"{photograph.name}: {photograph.error}")
            if time.monotonic() >= deadline:
                raise ServerError(f"{photograph.name}: not done after {seconds:g} s; wait longer")

    def photographs(
        self, *, batch: str | None = None, sort: str = "submitted"
    ) -> tuple[ServerPhotograph, ...]:
        """Return all photographs, or those of a batch.

        Args:
            batch: identifier.
            sort: 'submitted', 'name', 'burden' or 'count'; the last two from high to low.

        Raises:
            ServerError: the server refuses.
        """
        order = "desc" if sort in {"burden", "count"} else "asc"
        parameters = {"sort": sort, "order": order, "limit": "1000"} | (
            {} if batch is None else {"batch": batch}
        )
        entries = self._all_pages("/api/photographs", "photographs", parameters)
        return tuple(_photograph(entry) for entry in entries)

    def regions(
        self, id: str, *, lesion: str | None = None, threshold: float | None = None
    ) -> tuple[ServerRegion, ...]:
        """Return the regions of a photograph, in reading order.

        Args:
            id: of the photograph.
            lesion: code; None for all.
            threshold: of that lesion, in (0, 1]; None for the current one.

        Raises:
            ServerError: it is not done, or the lesion is unknown.
        """
        parameters = {"limit": "5000"}
        parameters |= {} if lesion is None else {"lesion": lesion}
        parameters |= {} if threshold is None else {"threshold": repr(threshold)}
        entries = self._all_pages(f"/api/photographs/{_quoted(id)}/regions", "regions", parameters)
        return tuple(_region(entry) for entry in entries)

    def choose(self, id: str, thresholds: Mapping[str, float]) -> ServerPhotograph:
        """Set thresholds of a photograph; lesions that are not named get the model's.

        Raises:
            ServerError: it is not done, or a threshold is out of range.
        """
        return _photograph(
            self._send_json("PATCH", f"/api/photographs/{_quoted(id)}", {"thresholds": dict(thresholds)})
        )

    def download(self, id: str, to: str | Path, *, parts: Sequence[str] = ()) -> None:
        """Save a photograph's files, as `foveate predict` writes them, as a ZIP archive.

        Args:
            id: of the photograph.
            to: file to write.
            parts: such as 'masks', 'overlays'; all if empty.

        Raises:
            ServerError: it is not done, or the file cannot be written.
        """
        query = "?" + urlencode({"parts": ",".join(parts)}) if parts else ""
        partial = Path(f"{to}.part")
        route = f"/api/photographs/{_quoted(id)}/download{query}"
        try:
            with self._open("GET", route, None, {}) as response, valid_path(partial).open("wb") as file:
                shutil.copyfileobj(response, file)
            partial.replace(to)
        except OSError as error:
            raise ServerError(f"{to}: cannot be written ({error.strerror}); choose another place") from error

    def batch(self, name: str) -> str:
        """Create a batch and return its identifier.

        Raises:
            ServerError: the server refuses.
        """
        identifier: str = self._send_json("POST", "/api/batches", {"name": name})["id"]
        return identifier

    def delete(self, id: str) -> None:
        """Delete a photograph and its results.

        Raises:
            ServerError: there is no such photograph.
        """
        self._request_json("DELETE", f"/api/photographs/{_quoted(id)}")

    def _send_json(self, method: str, route: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401
        return self._request_json(
            method, route, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )

    def _all_pages(self, route: str, key: str, parameters: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Return the entries of a list that the server returns in pages."""
        entries: list[Mapping[str, Any]] = []
        while True:
            query = urlencode({**parameters, "offset": str(len(entries))})
            page = self._request_json("GET", f"{route}?{query}")
            entries += page[key]
            if not page[key] or len(entries) >= page["total"]:
                return entries

    def _request_json(
        self,
        method: str,
        route: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:  # noqa: ANN401 JSON has any type
        """Return the JSON of a response; None if it is empty."""
        with self._open(method, route, body, headers) as response:
            content = response.read()
        return json.loads(content) if content else None

    def _open(
        self, method: str, route: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Return a response that is not an error; closing it closes its connection.

        Raises:
            ServerError: the server cannot be reached, or the response is an error.
        """
        connection = self._connection_type(self._host, self._port, timeout=self._timeout)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
                connection.request(method, self._prefix + route, body, {**self._headers, **headers})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerError(
                f"{self._address}: cannot be reached ({error}); is the server running?"
            ) from error
        if response.status < 400:
            return response
        with response:
            raise _server_error(response)


def _server_error(response: http.client.HTTPResponse) -> ServerError:
    """Return the error that a response states."""
    content = response.read()
    try:
        error = json.loads(content)["error"]
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"{response.status} {response.reason}", "unknown"
    delay = response.headers.get("Retry-After", "")
    return ServerError(
        message, status=response.status, code=code, retry_after=float(delay) if delay.isdigit() else 1.0
    )


def _photograph(response: Mapping[str, Any]) -> ServerPhotograph:
    result = response["result"] or {"quality": (), "lesions": {}}
    keys = ("name", "threshold", "count", "area_px", "area_fraction", "area_mm2")
    lesions = {
        code: ServerLesion(**{key: entry[key] for key in keys}) for code, entry in result["lesions"].items()
    }
    return ServerPhotograph(
        id=response["id"],
        name=response["name"],
        state=response["state"],
        error=None if response["error"] is None else response["error"]["message"],
        width=response["width"],
        height=response["height"],
        quality=tuple(result["quality"]),
        lesions=lesions,
        response=response,
    )


def _region(entry: Mapping[str, Any]) -> ServerRegion:
    box, centroid = entry["box"], entry["centroid"]
    return ServerRegion(
        id=entry["id"],
        lesion=entry["lesion"],
        area_px=entry["area_px"],
        centroid=(centroid["y"], centroid["x"]),
        box=(box["y"], box["x"], box["y"] + box["height"], box["x"] + box["width"]),
        mean_probability=entry["mean_probability"],
        max_probability=entry["max_probability"],
        verdict=entry["verdict"],
    )


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")
