"""The application: routes, errors, the page's files, and the guard in front of them.

Knows:   what is mounted where, and that all errors have the same body.
Ignores: what a route does.
"""

import asyncio
import contextlib
import logging
import mimetypes
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from foveate.errors import FoveateError, OutputError
from foveate.server import errors, service
from foveate.server.errors import ServiceError
from foveate.server.http import routes as all_routes
from foveate.server.http.errors import Problem
from foveate.server.http.guard import Guard
from foveate.server.http.routes import batches, corrections, files, findings, gradings, photographs, pictures
from foveate.server.http.routes import service as about
from foveate.server.jobs.events import EventBroker
from foveate.server.jobs.worker_pool import WorkerPool, spawn_workers
from foveate.server.monitoring import Metrics, log_traceback
from foveate.server.options import Options
from foveate.server.sessions import Sessions
from foveate.server.storage import refusals
from foveate.version import version

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig  # older versions lack it, and ignore the setting

LOG = logging.getLogger("foveate.server")

CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_many_bytes",
    415: "unsupported_media_type",
}

NO_TELEMETRY: "TelemetryConfig" = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI passes requests and errors to OpenTelemetry, which environment variables can make send them."""


class Application:
    """The ASGI application behind its guard, with the events whose streams a server must end to stop."""

    def __init__(self, guard: Guard, app: FastAPI, events: EventBroker) -> None:
        self._guard = guard
        self.routes = app
        self.events = events

    @property
    def failure(self) -> Exception | None:
        """The error that prevented the server from starting, or None."""
        failure: Exception | None = getattr(self.routes.state, "failure", None)
        return failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._guard(scope, receive, send)


def create(options: Options, spawn: Callable[[Options], WorkerPool] = spawn_workers) -> Application:
    """Create the application; its lifespan starts and stops the workers.

    Args:
        options: settings of the server.
        spawn: starts the workers.
    """
    events, metrics, sessions = EventBroker(), Metrics(), Sessions(options.token)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            running = await to_thread.run_sync(service.start, options, spawn, events, metrics, sessions)
        except Exception as error:
            app.state.failure = error
            raise
        app.state.service = running
        app.state.io_limiter = CapacityLimiter(all_routes.IO_THREADS)
        app.state.export_slots = asyncio.Semaphore(all_routes.EXPORT_THREADS)
        try:
            yield
        finally:
            await to_thread.run_sync(running.close)

    app = FastAPI(
        title="Foveate",
        version=version(),
        description="Find the lesions of diabetic retinopathy in fundus photographs. Research software, not "
        "a medical device.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        telemetry=NO_TELEMETRY,
    )
    for routes in (about, photographs, pictures, findings, corrections, gradings, files, batches):
        app.include_router(routes.router)
    app.include_router(batches.report_jobs)
    _handle_refusals(app)
    _handle_faults(app)
    _serve_page(app)
    return Application(Guard(app, options, sessions, metrics), app, events)


def _handle_refusals(app: FastAPI) -> None:
    """Register handlers that report refused requests, with the body that all errors share."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        code = CODES.get(error.status_code, "bad_request")
        line = f"{error.detail}".rstrip(".").lower()
        return Problem(error.status_code, code, line, error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        details = error.errors()[0]
        where = ".".join(str(part) for part in details["loc"] if part != "body")
        malformed = details["type"] == "json_invalid"
        line = "the body is not valid JSON" if malformed else f"{where}: {details['msg']}".strip(": ")
        return Problem(400 if malformed else 422, "bad_request" if malformed else "invalid", line).response()

    @app.exception_handler(FoveateError)
    async def foveate(request: Request, error: FoveateError) -> Response:
        if isinstance(error, ServiceError):
            return Problem.of(error).response()
        if isinstance(error, OutputError):
            log_traceback(error, "while answering")
            return Problem.of(refusals.disk_error(error)).response()
        return Problem.of(errors.invalid(str(error))).response()

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        """Answer a client that disconnected during its request: this is not an error of the server."""
        return Problem(
            400, "bad_request", "the connection was closed before the body was complete"
        ).response()


def _handle_faults(app: FastAPI) -> None:
    """Register handlers that report faults of the disk, the database and Foveate itself."""

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> Response:
        log_traceback(error, "while answering")
        is_disk_error = error.errno is not None  # TimeoutError is an OSError, too
        return Problem.of(refusals.disk_error(error) if is_disk_error else errors.internal()).response()

    @app.exception_handler(sqlite3.Error)
    async def database(request: Request, error: sqlite3.Error) -> Response:
        running: service.Service = request.app.state.service
        if running.jobs.is_closing:  # the database is closed, or about to be
            return Problem.of(errors.stopping()).response()
        refusal = await to_thread.run_sync(refusals.database_error, error, running.data_dir)
        if refusal.code != "not_found":  # that is nobody's fault
            LOG.error("an error of the database: %s", error)
        return Problem.of(refusal).response()

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return Problem.of(errors.internal()).response()  # it is raised again afterwards, and `Guard` logs it


def _serve_page(app: FastAPI) -> None:
    """Serve the page's own files."""
    folder = service.folder_of_page()
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("text/javascript", ".mjs")
    mimetypes.add_type("image/svg+xml", ".svg")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        index = folder / "index.html"
        if not index.is_file():
            raise errors.not_found("page", "install Foveate again")
        return FileResponse(index, headers={"Cache-Control": "no-cache"})

    if folder.is_dir():
        app.mount("/page", _Files(directory=folder), name="page")


class _Files(StaticFiles):
    """Files that a browser loads again only if they have changed."""

    def file_response(self, *arguments: object, **named: object) -> Response:
        """Send a file."""
        response = super().file_response(*arguments, **named)  # type: ignore[arg-type]
        response.headers.setdefault("Cache-Control", "no-cache")
        return response
