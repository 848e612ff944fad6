"""The guard: what is checked before a request is handled, and the headers of every response.

Knows:   Host, origin, token, session, sizes of bodies, headers of responses.
Ignores: what is requested.

| danger                                       | protection                                                 |
|----------------------------------------------|------------------------------------------------------------|
| another name for this server (DNS rebinding) | the Host header must be one of the server's names          |
| another site's page sends requests           | Sec-Fetch-Site and Origin must be our own; SameSite=Strict |
| requests from other machines                 | loopback, unless there is a token                          |
| a name or note that contains a script        | JSON only; no inline script or style may run               |
| endless bodies, or ones that never arrive    | bytes and seconds are limited                              |
| patient data in caches                       | no-store                                                   |
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.http.errors import Problem
from foveate.server.monitoring import Metrics, log_traceback
from foveate.server.options import Options
from foveate.server.sessions import Sessions

JSON_BYTES = 2 << 20
"""Maximum size of a body that is not a file, bytes: a stroke of 10,000 points takes 0.4 MB."""

DRAINED = 32 << 20
"""Maximum number of bytes of a refused body that are read before the response: more than most photographs
have."""

PATIENCE = 2.0
"""Maximum time for reading a refused body, seconds."""

JSON_SECONDS = 20.0
"""Time limit for a body that is not a file to arrive, seconds."""

FILES = (
    ("POST", re.compile("/api/photographs")),
    ("PUT", re.compile("/api/photographs/[^/]+/(corrections/masks|references/[^/]+)/[^/]+")),
)
"""Methods and paths of requests whose body is a file."""

AT_ONCE = 1000
"""Maximum number of simultaneous requests of clients that may use the server, event streams included."""

STRANGERS = 500
"""Maximum number of simultaneous requests of all clients that are not signed in."""

PER_STRANGER = 32
"""Maximum number of simultaneous requests of one address that is not signed in: a browser loads the page with
6 at a time."""

POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy: only the server's own files, and nothing inline."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",  # a proxy's page in place of a report is closed
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Middleware that checks every request before the application sees it."""

    def __init__(self, app: ASGIApp, options: Options, sessions: Sessions, metrics: Metrics) -> None:
        self._app = app
        self._options = options
        self._sessions = sessions
        self._metrics = metrics
        self._admitted = 0
        self._strangers: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, pass it on, and complete its response."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        incoming = _Incoming(receive)
        receive = incoming.receive
        answer = _Response(scope, send, incoming, self._metrics)
        try:
            await self._checked(scope, receive, answer)
        except Problem as problem:
            await _say(problem, scope, receive, answer)
        except ServiceError as error:
            await _say(Problem.of(error), scope, receive, answer)
        except asyncio.CancelledError:  # the server stops, and the time for running requests is over
            answer.is_last = True
            await _say(Problem.of(errors.stopping()), scope, receive, answer)
            raise
        except Exception as error:  # a bug
            log_traceback(error, "while answering")
            await _say(Problem.of(errors.internal()), scope, receive, answer)

    async def _checked(self, scope: Scope, receive: Receive, answer: "_Response") -> None:
        headers = Headers(scope=scope)
        self._check(scope, headers)
        with self._counted(scope, headers):
            if not _is_file(scope):
                receive = await self._body(headers, receive)
            await self._app(scope, receive, answer.send)

    @contextlib.contextmanager
    def _counted(self, scope: Scope, headers: Headers) -> Iterator[None]:
        """Count a request while it is handled.

        Clients that are not signed in are counted by address, so that none of them can exclude the others.

        Raises:
            ServiceError: there are too many requests.
        """
        if admits(self._sessions, headers):
            if self._admitted >= AT_ONCE:
                raise errors.busy("requests")
            self._admitted += 1
            try:
                yield
            finally:
                self._admitted -= 1
            return
        address = (scope.get("client") or ("",))[0]
        if self._strangers[address] >= PER_STRANGER or self._strangers.total() >= STRANGERS:
            raise errors.busy("requests")
        self._strangers[address] += 1
        try:
            yield
        finally:
            self._strangers -= Counter({address: 1})  # addresses without requests are forgotten

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise a Problem if a request may not be handled."""
        path = scope["path"]
        if hostname(headers.get("host", "")) not in self._options.names:
            raise Problem(
                421,
                "unknown_host",
                "this server does not answer to the host name in the request; whoever runs it can allow that "
                "name with --allow-host",
            )
        if not _is_ours(headers) and not (scope["method"] == "GET" and _is_public(path)):
            raise Problem(
                403,
                "cross_site",
                "requests must come from this server's own page, or from a program that is not a browser; a "
                "proxy must pass on the browser's Host header (docs/serve.md)",
            )
        if _is_open(path) or admits(self._sessions, headers):
            return
        raise Problem(
            401,
            "token_required",
            "a token is required; send Authorization: Bearer TOKEN, or open a session",
            {"WWW-Authenticate": "Bearer"},
        )

    async def _body(self, headers: Headers, receive: Receive) -> Receive:
        """Read the whole of a small body, within its limits."""
        require_length(headers, JSON_BYTES)
        content = bytearray()
        try:
            async with asyncio.timeout(min(JSON_SECONDS, self._options.limits.upload_seconds)):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return _replay(message, receive)
                    content += message.get("body", b"")
                    if len(content) > JSON_BYTES:
                        raise too_many_bytes(JSON_BYTES)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise too_slow() from None
        return _replay({"type": "http.request", "body": bytes(content), "more_body": False}, receive)


class _Incoming:
    """A request's body while it arrives."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        """Receive a part of the body."""
        message = await self._receive()
        self._ended = self._ended or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read the rest of the body, up to a limit: a client that still sends would not read a response."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self._ended and size <= DRAINED:
                    size += len((await self.receive()).get("body", b""))


class _Response:
    """A response while it is sent; adds the server's headers, and counts the response."""

    def __init__(self, scope: Scope, send: Send, incoming: _Incoming, metrics: Metrics) -> None:
        self.is_started = False
        self.is_last = False
        """Whether the server is stopping, so that the rest of the request is not read."""
        self._scope = scope
        self._send = send
        self._incoming = incoming
        self._metrics = metrics
        self._clock = time.monotonic()

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self.is_started = True
            if message["status"] >= 400 and not self.is_last:
                await self._incoming.drain()
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            seconds = time.monotonic() - self._clock
            self._metrics.answered(self._scope["method"], message["status"], seconds)
        await self._send(message)


async def _say(problem: Problem, scope: Scope, receive: Receive, answer: "_Response") -> None:
    if not answer.is_started:
        await problem.response()(scope, receive, answer.send)


def _replay(message: Message, receive: Receive) -> Receive:
    """Return a `receive` that returns a message that was read already, and then the following ones."""
    messages = [message]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def admits(sessions: Sessions, headers: Headers) -> bool:
    """Return whether a request may pass, because of its token or of the session in its cookie."""
    session = cookie_parser(headers.get("cookie", "")).get(sessions.cookie, "")
    return sessions.admits(headers.get("authorization", ""), session)


def hostname(host: str) -> str:
    """Return the name of a Host header in lower case, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_ours(headers: Headers) -> bool:
    """Return whether a request comes from our own page or from no page; pages cannot forge these headers."""
    if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    return str(origin).partition("://")[2].lower() == headers.get("host", "").lower()


def _is_public(path: str) -> bool:
    """Return whether a page of another site may link to a path, since it shows no patient data."""
    return path in {"/", "/healthz", "/favicon.ico"} or path.startswith("/page/")


def _is_open(path: str) -> bool:
    """Return whether a path needs no token, such as the page's files, the health check and the sign-in."""
    return not (path.startswith("/api/") or path in {"/api", "/metrics"}) or path == "/api/session"


def _is_file(scope: Scope) -> bool:
    """Return whether the body is a file, which the route itself receives."""
    return any(scope["method"] == method and path.fullmatch(scope["path"]) for method, path in FILES)


def require_length(headers: Headers, limit: int) -> None:
    """Raise a Problem if the header announces a body that is too long."""
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise Problem(400, "bad_request", "Content-Length is not a number; give the body's bytes")
    if int(length) > limit:
        raise too_many_bytes(limit)


def too_many_bytes(limit: int) -> Problem:
    """Return the problem of a body that is too long."""
    return Problem(413, "too_many_bytes", f"the body has more bytes than the limit of {limit:,}")


def too_slow() -> Problem:
    """Return the problem of a body that did not arrive in time."""
    return Problem(408, "too_slow", "the body did not arrive in time; try again", {"Connection": "close"})


def is_secure(request: Request) -> bool:
    """Return whether a request came over TLS."""
    return request.url.scheme == "https"
