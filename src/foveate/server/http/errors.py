"""What may go wrong with a request, and the one body that says so.

Knows:   statuses, codes and the body.
Ignores: what was asked for.
"""

from collections.abc import Mapping

from starlette.responses import JSONResponse

CRASHED = "an error in Foveate itself; see the server's log"


class Problem(Exception):
    """A request that is refused: its status, a code for programs and a line for people."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return the answer that says so."""
        body = {"error": {"status": self.status, "code": self.code, "message": self.message}}
        return JSONResponse(body, self.status, headers=self.headers | {"Cache-Control": "no-store"})


def not_found(what: str) -> Problem:
    """No such thing, or it is gone."""
    return Problem(404, "not_found", f"no such {what}; it may have been deleted, or have expired")


def not_ready(message: str) -> Problem:
    """It cannot be had yet."""
    return Problem(409, "not_ready", message)


def invalid(message: str) -> Problem:
    """A value outside its range."""
    return Problem(422, "invalid", message)


def full(waiting: int, seconds: int) -> Problem:
    """The queue takes no more."""
    line = f"{waiting} photographs wait already; try again in {seconds} s"
    return Problem(429, "queue_full", line, {"Retry-After": str(seconds)})


def busy(what: str, seconds: int = 2) -> Problem:
    """Too much of a kind at once."""
    line = f"too many {what} at once; try again in {seconds} s"
    return Problem(429, "busy", line, {"Retry-After": str(seconds)})


def stopping() -> Problem:
    """The server is about to go."""
    return Problem(503, "stopping", "the server is stopping; try again later", {"Retry-After": "5"})


def internal() -> Problem:
    """A bug: what it was stands in the log, since its message might hold a name."""
    return Problem(500, "internal", CRASHED)


def no_space() -> Problem:
    """The disk is full."""
    return Problem(507, "no_space", "the server's disk is full; delete photographs, or ask for more space")
