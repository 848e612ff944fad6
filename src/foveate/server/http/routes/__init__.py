"""The routes: requests -> calls -> answers.

Knows:   paths, methods and query parameters, a module for each kind of thing.
Ignores: how anything is done.
"""

from typing import Annotated, Any

from fastapi import Depends, Path
from starlette.requests import Request

from foveate.server import schemas
from foveate.server.service import Service


def _service(request: Request) -> Service:
    running: Service = request.app.state.service
    return running


Services = Annotated[Service, Depends(_service)]
"""The server that a request came to."""

Id = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]

Code = Annotated[str, Path(pattern=r"^[A-Z0-9]{1,16}$")]

Grader = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,40}$")]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how errors are described: those that any request may meet, and some more."""
    every = (400, 401, 403, 405, 413, 421, 422, 429, 500, 503, *statuses)
    return {status: {"model": schemas.Error} for status in every}
