"""Routes of the server itself: whether it is up, what it is, who comes in, what happens.

Knows:   /healthz, /metrics, /api/server, /api/session, /api/events.
Ignores: photographs.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from foveate.server.http import guard, schemas
from foveate.server.http.errors import Problem
from foveate.server.http.presenters import known_as
from foveate.server.http.routes import Here, refusals
from foveate.server.jobs import events
from foveate.version import version
from foveate.writers import maps
from foveate.writers.results import NOTICE

router = APIRouter(responses=refusals())


@router.get("/healthz", tags=["server"])
def healthz(here: Here) -> schemas.Health:
    """Say that the server is up."""
    here.store.states()
    return schemas.Health(status="ok", version=version())


@router.get("/metrics", tags=["server"], response_class=PlainTextResponse)
def metrics(here: Here) -> PlainTextResponse:
    """Return counters for Prometheus."""
    text = here.metrics.text(version(), here.store.states(), here.jobs.queue(), here.options.limits.waiting)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/api/server", tags=["server"])
def server(here: Here) -> schemas.Server:
    """Say what the server is."""
    limits, model = here.options.limits, here.model
    kinds = known_as(list(model["thresholds"]))
    return schemas.Server(
        version=version(),
        notice=NOTICE,
        model=schemas.Maker(name=model["name"], version=model["version"], sha256=model["sha256"]),
        lesions={
            code: schemas.KnownLesion(
                name=kinds[code].name,
                colour=kinds[code].colour,
                threshold=threshold,
                level=maps.level(threshold, "png"),
            )
            for code, threshold in model["thresholds"].items()
        },
        limits=schemas.Limits(
            bytes=limits.bytes,
            pixels=limits.pixels,
            queue=limits.waiting,
            seconds=limits.seconds,
            keep_days=None if limits.keep is None else limits.keep.total_seconds() / 86400,
        ),
        roots=sorted(here.options.roots),
        queue=schemas.Queue(**here.jobs.queue()),
    )


@router.get("/api/session", tags=["server"])
def session(request: Request, here: Here) -> schemas.Session:
    """Say whether a token is needed, and whether whoever asks is in."""
    sessions = here.sessions
    return schemas.Session(token_required=sessions.token_required, signed_in=sessions.admits(request.headers))


@router.post("/api/session", tags=["server"], status_code=204)
def sign_in(request: Request, here: Here, body: schemas.NewSession) -> Response:
    """Let in whoever knows the token."""
    if here.sessions.token_required and not here.sessions.knows(body.token):
        raise Problem(401, "token_required", "that is not the token")
    answer = Response(status_code=204)
    if here.sessions.token_required:
        answer.set_cookie(
            guard.COOKIE,
            here.sessions.open(),
            max_age=guard.SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=guard.is_secure(request),
        )
    return answer


@router.delete("/api/session", tags=["server"], status_code=204)
def sign_out(request: Request, here: Here) -> Response:
    """End a session."""
    here.sessions.close(request.cookies.get(guard.COOKIE, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(guard.COOKIE)
    return answer


@router.get("/api/events", tags=["server"], response_class=StreamingResponse)
async def stream_events(
    here: Here,
    batch: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
    photograph: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> StreamingResponse:
    """Tell what happens, as it happens."""
    first = events.spelt("hello", {"version": version()})
    stream = await here.news.listen(first, batch=batch, photograph=photograph)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
