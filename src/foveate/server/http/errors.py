"""Errors as HTTP responses: the status of each code, and the body that all errors share.

Knows:   statuses and the body.
Ignores: what was requested.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import JSONResponse

from foveate.server.errors import ServiceError

STATUS: Mapping[str, int] = MappingProxyType(
    {
        "not_found": 404,
        "not_ready": 409,
        "stale": 409,
        "too_many_pixels": 413,
        "invalid": 422,
        "unreadable": 422,
        "refused": 422,
        "no_field": 422,
        "queue_full": 429,
        "busy": 429,
        "internal": 500,
        "storage": 500,
        "stopping": 503,
        "no_space": 507,
    }
)
"""Code of a `ServiceError` -> HTTP status."""


class Problem(Exception):
    """A response that reports an error: its status, a code for programs and a line for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        photograph: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the content of the response.

        Args:
            status: HTTP status.
            code: error code, for programs.
            message: one line, for people.
            headers: additional headers of the response.
            photograph: the photograph's current state, if the request was based on an older one.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.photograph = photograph

    @classmethod
    def of(cls, error: ServiceError) -> "Problem":
        """Return the problem that reports an error of the server."""
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return cls(STATUS.get(error.code, 500), error.code, error.message, headers)

    def response(self) -> JSONResponse:
        """Return the response as Starlette sends it."""
        body: dict[str, Any] = {"error": {"status": self.status, "code": self.code, "message": self.message}}
        if self.photograph is not None:
            body["photograph"] = self.photograph
        return JSONResponse(body, self.status, headers=self.headers | {"Cache-Control": "no-store"})
