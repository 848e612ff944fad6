"""The routes: requests -> calls -> responses.

Knows:   paths, methods and query parameters, with a module for each kind of resource.
Ignores: what the calls do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Path, Query
from starlette.requests import Request

from foveate.errors import FoveateError, OutputError
from foveate.server import errors, schemas
from foveate.server.errors import ServiceError
from foveate.server.service import Service

IO_THREADS = 4
"""Number of threads in which uploads wait for the I/O worker; more would take threads from the page."""

EXPORT_THREADS = 16
"""Number of threads that may write files on request: fewer than half of the 40 that answer requests."""

ResultT = TypeVar("ResultT")


async def _service(request: Request) -> AsyncIterator[Service]:
    """Yield the service; a request that fails because its photograph was deleted is answered with 404."""
    running: Service = request.app.state.service
    try:
        yield running
    except (OSError, LookupError, FoveateError) as error:
        if _may_be_deletion(error) and await _is_deleted(request, running):
            raise errors.not_found("photograph") from error
        raise


def _may_be_deletion(error: Exception) -> bool:
    """Return whether an error can mean that files or rows were deleted while they were read or written."""
    if isinstance(error, ServiceError):
        return error.code in {"no_space", "storage", "internal", "unreadable", "refused"}
    return isinstance(error, OSError | LookupError | OutputError)


async def _is_deleted(request: Request, service: Service) -> bool:
    """Return whether a request is about a photograph that does not exist."""
    if not request.url.path.startswith("/api/photographs/") or "id" not in request.path_params:
        return False
    return await to_thread.run_sync(service.database.get, request.path_params["id"]) is None


async def _export_slot(request: Request) -> AsyncIterator[None]:
    """Reserve one of the threads that may write files on request, until the response begins.

    Raises:
        ServiceError: all of these threads are busy; the other threads answer the page.
    """
    slots: asyncio.Semaphore = request.app.state.export_slots
    if slots.locked():
        raise errors.busy("downloads", 5)
    async with slots:
        yield


WritesFiles = Depends(_export_slot, scope="function")
"""Dependency of routes that write files, which may wait for the I/O worker."""


async def wait_for_io(request: Request, work: Callable[[], ResultT]) -> ResultT:
    """Run work that waits for the I/O worker in one of a few threads; a disconnect does not stop it."""
    limiter: CapacityLimiter = request.app.state.io_limiter
    with anyio.CancelScope(shield=True):
        done = await to_thread.run_sync(work, limiter=limiter)
    return done


Services = Annotated[Service, Depends(_service)]
"""The service that handles the request."""

Id = Annotated[schemas.Identifier, Path()]

Code = Annotated[schemas.LesionCode, Path()]

BatchId = Annotated[schemas.Identifier | None, Query()]
"""A batch to which a request is limited; None: no such limit."""

Revision = Annotated[schemas.Revision | None, Query()]
"""The revision of a photograph's corrections that the client saw; None: any."""

Grader = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,40}$")]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of the errors that any request may cause, and of further statuses."""
    every = (400, 401, 403, 405, 413, 421, 422, 429, 500, 503, *statuses)
    return {status: {"model": schemas.Error} for status in every}
