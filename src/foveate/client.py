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
import os
import re
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from foveate.errors import ServerError, one_line
from foveate.paths import valid_path

State = Literal["queued", "running", "done", "failed"]

LONG_POLL_SECONDS = 20.0
"""Longest time that the server may wait for a result before it responds to a request, seconds."""

CHUNK_BYTES = 1 << 20
"""Bytes of a download that are read at once."""

LIST_ATTEMPTS = 5
"""Attempts to read a list that is changed between two of its pages."""

T = TypeVar("T")


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
        ServerError: the address, the token or the timeout is invalid.
    """

    def __init__(
        self, address: str, *, token: str | None = None, timeout: float = 60.0, patience: float = 600.0
    ) -> None:
        self._address = address.strip()
        is_encrypted, self._host, self._port, self._prefix = _address_parts(self._address)
        self._connection_type = http.client.HTTPSConnection if is_encrypted else http.client.HTTPConnection
        self._headers = {"Connection": "close"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {_valid_token(token)}"
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ServerError(f"timeout is {timeout:g}; give a finite number of seconds, more than 0")
        self._timeout = timeout
        self._patience = patience

    def submit(
        self, path: str | Path, *, batch: str | None = None, field: str = "auto", id: str | None = None
    ) -> ServerPhotograph:
        """Submit a photograph; while the queue is full, try again for `patience` seconds.

        After an error of the network, the server may have the photograph although its answer was lost. To
        submit it again without adding it twice, give the same `id` both times.

        Args:
            path: of a JPEG, PNG, TIFF or DICOM file.
            batch: identifier of the batch that it belongs to.
            field: position of the field of view: 'auto', 'full', or 'X,Y,RADIUS' in px of the photograph.
            id: identifier that the photograph gets, 32 hex digits such as `uuid.uuid4().hex`; if the server
                has a photograph of that identifier, it is returned. None: a new one for each call.

        Raises:
            ServerError: it is refused, the file cannot be read, or a photograph of that identifier was
                deleted.
        """
        path, id = Path(path), uuid.uuid4().hex if id is None else id
        if not re.fullmatch("[0-9a-f]{32}", id):
            raise ServerError(f"id is {id!r}; give 32 hex digits in lower case, such as uuid.uuid4().hex")
        name = quote(path.name, safe="", errors="surrogateescape")  # bytes that are no UTF-8 as they are
        headers = {"Content-Type": "application/octet-stream", "Foveate-Name": name, "Foveate-Upload": id}
        route = "/api/photographs?" + urlencode(
            {"field": field} | ({} if batch is None else {"batch": batch}), errors="replace"
        )
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with _open_upload(path) as upload:
                    size = {"Content-Length": str(upload.size)}
                    return self._request("POST", route, _photograph, upload, headers | size)
            except ServerError as error:
                if error.status != 429 or time.monotonic() + error.retry_after > deadline:
                    raise
                time.sleep(error.retry_after)

    def photograph(self, id: str) -> ServerPhotograph:
        """Return a photograph's current state.

        Raises:
            ServerError: there is no such photograph.
        """
        return self._request("GET", f"/api/photographs/{_quoted(id)}", _photograph)

    def wait(self, id: str, *, seconds: float = 3600.0) -> ServerPhotograph:
        """Wait until a photograph is done, however short the client's `timeout` is.

        Raises:
            ServerError: it failed, it was deleted, or it is not done after `seconds`.
        """
        deadline = time.monotonic() + seconds
        longest = min(LONG_POLL_SECONDS, self._timeout / 2)  # the server is silent meanwhile
        while True:
            remaining = max(0.0, min(longest, deadline - time.monotonic()))
            photograph = self._request(
                "GET", f"/api/photographs/{_quoted(id)}?wait={remaining:.3f}", _photograph
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
            ServerError: the server refuses, or the list changed each time that it was read.
        """
        order = "desc" if sort in {"burden", "count"} else "asc"
        parameters = {"sort": sort, "order": order, "limit": "1000"} | (
            {} if batch is None else {"batch": batch}
        )
        return self._all_pages("/api/photographs", "photographs", parameters, _photograph)

    def regions(
        self, id: str, *, lesion: str | None = None, threshold: float | None = None
    ) -> tuple[ServerRegion, ...]:
        """Return the regions of a photograph, in reading order.

        Args:
            id: of the photograph.
            lesion: code; None for all.
            threshold: of that lesion, in (0, 1]; None for the current one.

        Raises:
            ServerError: it is not done, the lesion is unknown, the threshold is no number or out of range, or
                the list changed each time that it was read.
        """
        parameters = {"limit": "5000"}
        parameters |= {} if lesion is None else {"lesion": lesion}
        parameters |= {} if threshold is None else {"threshold": repr(_plain_number("threshold", threshold))}
        return self._all_pages(f"/api/photographs/{_quoted(id)}/regions", "regions", parameters, _region)

    def choose(self, id: str, thresholds: Mapping[str, float]) -> ServerPhotograph:
        """Set thresholds of a photograph; lesions that are not named get the model's.

        Raises:
            ServerError: it is not done, or a threshold is no number or out of range.
        """
        body = {"thresholds": {code: _plain_number(f"threshold {code}", p) for code, p in thresholds.items()}}
        return self._send_json("PATCH", f"/api/photographs/{_quoted(id)}", body, _photograph)

    def download(self, id: str, to: str | Path, *, parts: str | Sequence[str] = ()) -> None:
        """Save a photograph's files, as `foveate predict` writes them, as a ZIP archive.

        The file appears only when all of it has arrived; an earlier one of that name stays until then.

        Args:
            id: of the photograph.
            to: file to write.
            parts: such as 'masks', 'overlays', or a single one; all if empty.

        Raises:
            ServerError: it is not done, the file does not arrive whole, or it cannot be written.
        """
        names = parts if isinstance(parts, str) else ",".join(parts)
        query = "?" + urlencode({"parts": names}, errors="replace") if names else ""
        partial = Path(f"{to}.part")
        route = f"/api/photographs/{_quoted(id)}/download{query}"
        with self._open("GET", route, None, {}) as response:
            try:
                with valid_path(partial).open("wb") as file:
                    for chunk in self._chunks(response):
                        file.write(chunk)
                if not zipfile.is_zipfile(partial):
                    raise ServerError(
                        f"{self._address}: sent no complete ZIP archive; try again, or check the address"
                    )
                partial.replace(to)
            except OSError as error:
                _remove(partial)
                raise ServerError(
                    f"{to}: cannot be written ({error.strerror}); choose another place"
                ) from error
            except BaseException:
                _remove(partial)
                raise

    def batch(self, name: str) -> str:
        """Create a batch and return its identifier.

        Raises:
            ServerError: the server refuses.
        """
        return self._send_json("POST", "/api/batches", {"name": name}, _identifier)

    def delete(self, id: str) -> None:
        """Delete a photograph and its results.

        Raises:
            ServerError: there is no such photograph.
        """
        self._request("DELETE", f"/api/photographs/{_quoted(id)}", lambda answer: None)

    def _send_json(self, method: str, route: str, body: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """Send JSON, and return what `parse` makes of the JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        return self._request(method, route, parse, json.dumps(body).encode(), headers)

    def _all_pages(
        self, route: str, key: str, parameters: Mapping[str, str], parse: Callable[[Any], T]
    ) -> tuple[T, ...]:
        """Return what `parse` makes of the entries of a list that the server returns in pages.

        Raises:
            ServerError: the list changed between two pages at each attempt; or as `_request`.
        """
        for _ in range(LIST_ATTEMPTS):
            entries = self._unchanged_pages(route, key, parameters, parse)
            if entries is not None:
                return entries
        raise ServerError(f"{self._address}: the list changed each time that it was read; try again")

    def _unchanged_pages(
        self, route: str, key: str, parameters: Mapping[str, str], parse: Callable[[Any], T]
    ) -> tuple[T, ...] | None:
        """Return the entries of a list; None if it changed between two pages, which may have hidden some.

        Each page begins with the last entry of the page before: if it begins with another one, or if a later
        entry was on an earlier page, entries have moved.
        """
        entries: dict[str, T] = {}

        def parse_page(answer: Any) -> tuple[dict[str, T], int]:  # noqa: ANN401 JSON has any type
            return {_list_key(entry): parse(entry) for entry in answer[key]}, int(answer["total"])

        while True:
            offset = max(len(entries) - 1, 0)
            query = urlencode({**parameters, "offset": str(offset)}, errors="replace")
            page, total = self._request("GET", f"{route}?{query}", parse_page)
            in_both = [entry for entry in page if entry in entries]
            if not in_both == list(entries)[-1:] == list(page)[: len(in_both)]:
                return None
            size = len(entries)
            entries |= page
            if len(entries) >= total:
                return tuple(entries.values())
            if len(entries) == size:
                return None

    def _request(
        self,
        method: str,
        route: str,
        parse: Callable[[Any], T],
        body: "bytes | _Upload | None" = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> T:
        """Return what `parse` makes of the JSON of a response; of None if the response is empty.

        Raises:
            ServerError: the server cannot be reached, or its response is an error, cut off or of another
                form.
        """
        with self._open(method, route, body, headers) as response:
            content = b"".join(self._chunks(response))
        try:
            return parse(json.loads(content) if content else None)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ServerError(
                f"{self._address}: the answer is not that of a Foveate server of this version; check the "
                "address, and that both have the same version"
            ) from error

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body of a response.

        Raises:
            ServerError: the connection ends before the body does.
        """
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise self._cut_off(one_line(error)) from error
            if not chunk:
                break
            yield chunk
        if response.length:  # http.client reports this only where a whole body is read at once
            raise self._cut_off(f"{response.length:,} bytes are missing")

    def _cut_off(self, reason: str) -> ServerError:
        return ServerError(f"{self._address}: the answer was cut off ({reason}); try again")

    @contextlib.contextmanager
    def _open(
        self, method: str, route: str, body: "bytes | _Upload | None", headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield a response that states success; the connection is closed afterwards.

        Raises:
            ServerError: the server cannot be reached, or the response is an error or a redirect.
        """
        connection = self._connection_type(self._host, self._port, timeout=self._timeout)
        with contextlib.closing(connection):
            try:
                connection.connect()
                with contextlib.suppress(
                    BrokenPipeError, ConnectionResetError
                ):  # refused before all was sent
                    connection.request(method, self._prefix + route, body, {**self._headers, **headers})
                response = connection.getresponse()
            except (
                OSError,
                http.client.HTTPException,
                UnicodeError,
            ) as error:  # UnicodeError: no host's name
                raise ServerError(
                    f"{self._address}: cannot be reached ({one_line(error)}); is the server running?"
                ) from error
            with response:
                if response.status >= 400:
                    raise _server_error(response)
                if not 200 <= response.status < 300:
                    raise self._redirection(response)
                yield response

    def _redirection(self, response: http.client.HTTPResponse) -> ServerError:
        """Return the error for a response that is neither a success nor an error."""
        to = " ".join(response.headers.get("Location", "").split())
        return ServerError(
            f"{self._address}: redirects to {to}; give that address instead"
            if to
            else f"{self._address}: answers {response.status} {response.reason}; check the address",
            status=response.status,
        )


class _Upload:
    """A file whose content is sent; an error in reading it is not taken for one of the connection."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        """Bytes."""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ServerError: the file cannot be read.
        """
        with _reading(self._path):
            return self._file.read(size)


@contextlib.contextmanager
def _open_upload(path: Path) -> Iterator[_Upload]:
    """Yield an open file, to be sent.

    Raises:
        ServerError: the file cannot be read.
    """
    with _reading(path):
        file = valid_path(path).open("rb")
    with file:
        yield _Upload(path, file)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the operating system's errors within the block into a ServerError that names the file."""
    try:
        yield
    except OSError as error:
        raise ServerError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _remove(path: Path) -> None:
    """Remove a file if that is possible."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a null character
        path.unlink()


def _address_parts(address: str) -> tuple[bool, str, int, str]:
    """Return whether an address is encrypted, its host, its port and its path without a last slash.

    Raises:
        ServerError: it is no address of a server.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:  # no number as a port, no IPv6 address in brackets
        host = None
    if (
        not host
        or re.search(r"[\s\x00-\x1f\x7f]", host)
        or parts.scheme not in {"http", "https"}
        or not re.fullmatch(r"[!-~]*", parts.path)
    ):
        raise ServerError(f"{address!r} is no address of a server; give one such as http://127.0.0.1:8000")
    is_encrypted = parts.scheme == "https"
    default = http.client.HTTPS_PORT if is_encrypted else http.client.HTTP_PORT
    return is_encrypted, host, default if port is None else port, parts.path.rstrip("/")


def _valid_token(token: str) -> str:
    """Return a token without the spaces and the line end of the file that it was read from.

    Raises:
        ServerError: no HTTP header can hold it.
    """
    token = token.strip()
    try:
        token.encode("latin-1")
    except UnicodeEncodeError:
        is_valid = False
    else:
        is_valid = token.isprintable() and token != ""
    if not is_valid:
        raise ServerError(
            "the token is empty, or contains characters that a token cannot contain; copy it again"
        )
    return token


def _server_error(response: http.client.HTTPResponse) -> ServerError:
    """Return the error that a response states."""
    try:
        error = json.loads(response.read())["error"]
        message, code = " ".join(str(error["message"]).split()), str(error["code"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        message, code = f"{response.status} {response.reason}", "unknown"
    delay = response.headers.get("Retry-After", "")
    return ServerError(
        message, status=response.status, code=code, retry_after=float(delay) if delay.isdecimal() else 1.0
    )


def _identifier(answer: Mapping[str, Any]) -> str:
    return str(answer["id"])


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


def _list_key(entry: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal photographs of a list, and for equal regions."""
    return json.dumps([entry["id"], entry.get("lesion"), entry.get("box")])


def _plain_number(name: str, value: float) -> float:
    """Return a number, which may be NumPy's, as Python's own type, which JSON can hold.

    Raises:
        ServerError: it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ServerError(f"{name} is {value!r}; give a number") from None


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="", errors="replace")
