"""Routes of the server itself: its health, its metrics, its sessions, its events.

Knows:   /healthz, /metrics, /api/server, /api/session, /api/events.
Ignores: photographs.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from foveate.server import schemas
from foveate.server.http import guard
from foveate.server.http.errors import Problem
from foveate.server.http.routes import BatchId, Services, refusals
from foveate.server.jobs import events
from foveate.server.presenters import server as present
from foveate.server.sessions import SESSION_SECONDS
from foveate.version import version

router = APIRouter(responses=refusals())


@router.get("/healthz", tags=["server"])
def healthz(services: Services) -> schemas.Health:
    """Report that the server is up."""
    services.database.states()
    return present.health()


@router.get("/metrics", tags=["server"], response_class=PlainTextResponse)
def metrics(services: Services) -> PlainTextResponse:
    """Return the metrics for Prometheus."""
    text = services.metrics.text(
        version(), services.database.states(), services.jobs.lengths(), services.options.limits.waiting
    )
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/api/server", tags=["server"])
def server(services: Services) -> schemas.Server:
    """Return the server's version, model, limits and queue."""
    return present.server(services.model, services.options, services.jobs.lengths())


@router.get("/api/session", tags=["server"])
def session(request: Request, services: Services) -> schemas.Session:
    """Return whether a token is required, and whether the client is signed in."""
    sessions = services.sessions
    return present.session(
        token_required=sessions.token_required, signed_in=guard.admits(sessions, request.headers)
    )


@router.post("/api/session", tags=["server"], status_code=204)
def sign_in(request: Request, services: Services, body: schemas.NewSession) -> Response:
    """Open a session for a client that sends the token."""
    if services.sessions.token_required and not services.sessions.knows(body.token):
        raise Problem(401, "token_required", "the token is wrong; ask the person who runs the server")
    answer = Response(status_code=204)
    if services.sessions.token_required:
        answer.set_cookie(
            services.sessions.cookie,
            services.sessions.open(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=guard.is_secure(request),
        )
    return answer


@router.delete("/api/session", tags=["server"], status_code=204)
def sign_out(request: Request, services: Services) -> Response:
    """End a session."""
    services.sessions.close(request.cookies.get(services.sessions.cookie, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(services.sessions.cookie)
    return answer


@router.get("/api/events", tags=["server"], response_class=StreamingResponse)
async def stream_events(
    services: Services,
    batch: BatchId = None,
    photograph: Annotated[schemas.Identifier | None, Query()] = None,
) -> StreamingResponse:
    """Stream events as they happen."""
    first = events.format_event("hello", {"version": version()})
    stream = await services.events.subscribe(first, batch=batch, photograph=photograph)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
