"""Routes of photographs: submit, list, see, change, delete.

Knows:   /api/photographs and /api/photographs/{id}.
Ignores: pictures, corrections and files.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from foveate.server.http import errors, schemas, uploads
from foveate.server.http.routes import Here, Id, refusals
from foveate.server.jobs.queue import Submission
from foveate.server.review import etdrs
from foveate.server.review.corrections import require_done, require_lesion
from foveate.server.service import Service
from foveate.server.storage import database, names
from foveate.server.storage.database import Record

router = APIRouter(prefix="/api/photographs", tags=["photographs"], responses=refusals())

TYPES = ("image/jpeg", "image/png", "image/tiff", "application/octet-stream")

DOORS = 4
"""Threads that wait for the desk: more would take those that answer the page."""

Done = TypeVar("Done")

LONGEST_WAIT = 60.0
"""Seconds that a request may wait for a result."""

BatchId = Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")]

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TYPES},
    }
}


@router.post("", status_code=201, openapi_extra=_UPLOAD, responses=refusals(404, 408, 415, 507))
async def submit(
    *,
    request: Request,
    response: Response,
    here: Here,
    batch: BatchId = None,
    field: Annotated[str, Query(max_length=100)] = "auto",
    region: schemas.Region | None = None,
    foveate_name: Annotated[str | None, Header(max_length=4096)] = None,
) -> schemas.Photograph:
    """Submit a photograph: the body is its file."""
    uploads.require_type(request, *TYPES)
    wanted = Submission(
        name=names.of_header(foveate_name), batch=batch, field=uploads.field(field), region=region
    )
    async with _place(here) as upload:
        await uploads.receive(request, upload, here.options.limits)
        record = await _door(request, lambda: here.jobs.submit(upload, wanted))
    response.headers["Location"] = f"/api/photographs/{record.id}"
    return await to_thread.run_sync(here.teller.photograph, record)


@router.post("/from-path", status_code=201, responses=refusals(404, 507))
async def submit_path(
    request: Request, response: Response, here: Here, body: schemas.FromPath
) -> schemas.Photograph:
    """Submit a photograph that lies below one of the server's folders."""
    choice, roots = uploads.field(body.field), here.options.roots
    most = here.options.limits.bytes
    async with _place(here) as upload:
        name = await _door(request, lambda: uploads.copy(roots, body.root, body.path, upload, most))
        wanted = Submission(name=names.of_file(name), batch=body.batch, field=choice, region=body.region)
        record = await _door(request, lambda: here.jobs.submit(upload, wanted))
    response.headers["Location"] = f"/api/photographs/{record.id}"
    return await to_thread.run_sync(here.teller.photograph, record)


@contextlib.asynccontextmanager
async def _place(here: Service) -> AsyncIterator[Path]:
    """Hold a place in the queue, and a path for the file; what is left of it goes."""
    held = here.jobs.place()
    await to_thread.run_sync(held.__enter__)
    upload = here.shelf.incoming / uuid.uuid4().hex
    try:
        yield upload
    finally:
        upload.unlink(missing_ok=True)
        held.__exit__(None, None, None)


async def _door(request: Request, work: Callable[[], Done]) -> Done:
    """Do work that waits for the desk, in one of a few threads; it is ended by itself only, never halfway."""
    limiter: CapacityLimiter = request.app.state.doors
    with anyio.CancelScope(shield=True):
        done = await to_thread.run_sync(work, limiter=limiter)
    return done


@router.get("", response_model=schemas.Photographs)
def listed(
    *,
    here: Here,
    batch: BatchId = None,
    state: database.State | None = None,
    sort: Literal["submitted", "name", "burden", "count"] = "submitted",
    lesion: Annotated[str | None, Query(pattern=r"^[A-Z0-9]{1,16}$")] = None,
    order: Literal["asc", "desc"] = "asc",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Response:
    """List photographs."""
    query = database.Query(
        batch=batch,
        state=state,
        sort=sort,
        lesion=lesion,
        descending=order == "desc",
        limit=limit,
        offset=offset,
    )
    found, total = here.store.some(query)
    positions = here.store.positions()
    told = schemas.Photographs(
        photographs=[here.teller.photograph(one, positions) for one in found], total=total
    )
    # Written once, not checked again against what it was just made as: lists are asked for all the time.
    return Response(told.model_dump_json(), media_type="application/json")


@router.get("/{id}", responses=refusals(404))
async def one(
    here: Here, id: Id, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)] = 0.0
) -> schemas.Photograph:
    """Return a photograph; if asked to, once it is done or failed."""

    def now() -> schemas.Photograph:
        return here.teller.photograph(here.record(id))

    until = asyncio.get_running_loop().time() + wait
    found = await to_thread.run_sync(now)
    while found.state in {"queued", "looking"} and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.1)
        found = await to_thread.run_sync(now)
    return found


@router.delete("/{id}", status_code=204, responses=refusals(404))
def delete(here: Here, id: Id) -> Response:
    """Delete a photograph and all that was made of it."""
    if not here.delete(id):
        raise errors.not_found("photograph")
    return Response(status_code=204)


@router.patch("/{id}", responses=refusals(404, 409))
def change(here: Here, id: Id, body: schemas.Changes) -> schemas.Photograph:
    """Change what a person may say of a photograph."""
    record = here.record(id)
    told = body.model_fields_set
    if "thresholds" in told and "levels" in told:
        raise errors.invalid("give thresholds or levels, not both")
    _change_plain(here, record, body)
    if told & {"thresholds", "levels"}:
        levels = {lesion: level / 255 for lesion, level in (body.levels or {}).items()}
        here.corrections.choose(id, body.thresholds or levels)
    changed = here.record(id)
    here.tell(changed)
    return here.teller.photograph(changed)


def _change_plain(here: Service, record: Record, body: schemas.Changes) -> None:
    """Change all but the thresholds."""
    told = body.model_fields_set
    values: dict[str, object] = {}
    if "reviewed" in told and body.reviewed is not None:
        values["reviewed"] = int(body.reviewed)
    if "spacing_mm" in told:
        values["spacing_mm"] = body.spacing_mm
    if "grid" in told:
        if body.grid is not None:
            placed(record, body.grid)
        values["grid"] = None if body.grid is None else body.grid.model_dump()
    if told & {"thresholds", "levels"}:
        require_done(record)
        for lesion in {*(body.thresholds or {}), *(body.levels or {})}:
            require_lesion(record, lesion)
    if values:
        here.store.update(record.id, **values)


def placed(record: Record, told: schemas.Grid) -> etdrs.Grid:
    """Return a grid as it lies in a photograph.

    Raises:
        Problem: fovea and disc are too close.
    """
    return etdrs.Grid(
        fovea=(told.fovea.y, told.fovea.x),
        disc=(told.disc.y, told.disc.x),
        spacing=record.spacing_mm,
    )


@router.post("/{id}/again", status_code=202, responses=refusals(404, 409))
def again(*, here: Here, id: Id, body: schemas.Again) -> schemas.Photograph:
    """Look at a photograph again, in another way."""
    record = here.record(id)
    changed = here.jobs.again(record, uploads.field(body.field), body.region)
    here.memory.forget(id)
    here.packs.forget(here.shelf.place(id).map_tiles)
    return here.teller.photograph(changed)
