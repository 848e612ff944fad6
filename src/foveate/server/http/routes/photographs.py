"""Routes of photographs: submit, list, read, change, delete.

Knows:   /api/photographs and /api/photographs/{id}.
Ignores: pictures, corrections and files.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from foveate.choices import Part
from foveate.server import errors, schemas
from foveate.server.errors import ServiceError
from foveate.server.http import uploads
from foveate.server.http.errors import Problem
from foveate.server.http.routes import BatchId, Id, Services, refusals, wait_for_io
from foveate.server.jobs.queue import Submission
from foveate.server.service import Service
from foveate.server.storage import database, names
from foveate.server.storage.database import Record
from foveate.server.storage.gradings import grading_in

router = APIRouter(prefix="/api/photographs", tags=["photographs"], responses=refusals())

TYPES = ("image/jpeg", "image/png", "image/tiff", "application/octet-stream")

LONGEST_WAIT = 60.0
"""Longest time that a request may wait for a result, in seconds."""

UploadId = Annotated[schemas.Identifier | None, Header()]
"""The identifier that a photograph gets; a client whose answer was lost sends it again."""

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
    services: Services,
    batch: BatchId = None,
    field: Annotated[str, Query(max_length=100)] = "auto",
    region: Part | None = None,
    foveate_name: Annotated[str | None, Header(max_length=4096)] = None,
    foveate_upload: UploadId = None,
) -> schemas.PhotographBody:
    """Submit a photograph: the body is its file."""
    uploads.require_type(request, *TYPES)
    submission = Submission(
        id=foveate_upload or uuid.uuid4().hex,
        name=names.of_header(foveate_name),
        batch=batch,
        field=uploads.field(field),
        region=region,
    )
    try:
        record = await to_thread.run_sync(services.jobs.submitted, submission.id)
    except ServiceError:  # the photograph was deleted
        await uploads.discard(request, services.options.limits)
        raise
    if record is not None:
        await uploads.discard(request, services.options.limits)
    else:
        async with _reservation(services) as upload:
            await uploads.receive(request, upload, services.options.limits)
            record = await wait_for_io(request, lambda: services.jobs.submit(upload, submission))
    response.headers["Location"] = f"/api/photographs/{record.id}"
    return await to_thread.run_sync(services.presenter.photograph, record)


@router.post("/from-path", status_code=201, responses=refusals(404, 507))
async def submit_path(
    *,
    request: Request,
    response: Response,
    services: Services,
    body: schemas.FromPath,
    foveate_upload: UploadId = None,
) -> schemas.PhotographBody:
    """Submit a photograph from one of the server's folders."""
    choice, roots = uploads.field(body.field), services.options.roots
    most = services.options.limits.bytes
    id = foveate_upload or uuid.uuid4().hex
    record = await to_thread.run_sync(services.jobs.submitted, id)
    if record is None:
        async with _reservation(services) as upload:
            name = await wait_for_io(request, lambda: uploads.copy(roots, body.root, body.path, upload, most))
            submission = Submission(
                id=id, name=names.of_file(name), batch=body.batch, field=choice, region=body.region
            )
            record = await wait_for_io(request, lambda: services.jobs.submit(upload, submission))
    response.headers["Location"] = f"/api/photographs/{record.id}"
    return await to_thread.run_sync(services.presenter.photograph, record)


@contextlib.asynccontextmanager
async def _reservation(services: Service) -> AsyncIterator[Path]:
    """Reserve a place in the queue, and a path for the file; a file that remains there is deleted."""
    reservation = services.jobs.reserve()
    await to_thread.run_sync(reservation.__enter__)
    upload = services.data_dir.incoming / uuid.uuid4().hex
    try:
        yield upload
    finally:
        upload.unlink(missing_ok=True)
        reservation.__exit__(None, None, None)


@router.get("", response_model=schemas.Photographs)
def listed(
    *,
    services: Services,
    batch: BatchId = None,
    state: database.State | None = None,
    sort: Literal["submitted", "name", "burden", "count"] = "submitted",
    lesion: Annotated[schemas.LesionCode | None, Query()] = None,
    grader: Annotated[schemas.Author | None, Query()] = None,
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
        grader=grader,
        descending=order == "desc",
        limit=limit,
        offset=offset,
    )
    records, total = services.database.select(query)
    page = services.presenter.page(records, total)
    # Serialised without validation, because the page was just built and lists are requested often.
    return Response(page.model_dump_json(), media_type="application/json")


@router.get("/{id}", responses=refusals(404))
async def photograph(
    *,
    response: Response,
    services: Services,
    id: Id,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)] = 0.0,
) -> schemas.PhotographBody:
    """Return a photograph; if `wait` is given, wait up to that many seconds until it is done or failed."""

    def now() -> schemas.PhotographBody:
        return services.presenter.photograph(services.record(id))

    until = asyncio.get_running_loop().time() + wait
    photograph = await to_thread.run_sync(now)
    while photograph.state in {"queued", "running"} and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.1)
        photograph = await to_thread.run_sync(now)
    response.headers["ETag"] = f'"{photograph.etag}"'
    return photograph


@router.delete("/{id}", status_code=204, responses=refusals(404, 409))
def delete(services: Services, id: Id) -> Response:
    """Delete a photograph and everything made from it, its gradings included."""
    with services.corrections.lock(id):  # so that no grading is marked as done, and read by others, meanwhile
        services.gradings.require_deletable(services.record(id))
        grading = grading_in(services.database, id)
        if not services.jobs.delete(id):
            raise errors.not_found("photograph")
    services.publish_original(grading)
    return Response(status_code=204)


@router.patch("/{id}", responses=refusals(404, 409) | {412: {"model": schemas.Outdated}})
def change(
    *,
    response: Response,
    services: Services,
    id: Id,
    body: schemas.Changes,
    if_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> schemas.PhotographBody:
    """Change the editable fields of a photograph; with If-Match, only if it still has that state."""
    if {"thresholds", "levels"} <= body.model_fields_set:
        raise errors.invalid("give thresholds or levels, not both")
    with services.corrections.lock(id):  # so that nobody changes it between the comparison and the change
        record = services.record(id)
        _require_present(services, record, if_match)
        services.editor.change(record, body)
        changed = services.record(id)
    services.presenter.publish(changed)
    if "batch" in body.model_fields_set:
        services.publish_original(grading_in(services.database, id))
    photograph = services.presenter.photograph(changed)
    response.headers["ETag"] = f'"{photograph.etag}"'
    return photograph


def _require_present(services: Service, record: Record, if_match: str | None) -> None:
    """Require that a photograph's entity tag is in the If-Match header, if there is one.

    Proxies that compress turn our tags into weak ones. These are accepted: our tags do not identify bytes.

    Raises:
        Problem: the photograph has changed; the response contains its current state.
    """
    if if_match is None or if_match.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
    present = services.presenter.photograph(record)
    if present.etag not in tags:
        raise Problem(
            412,
            "outdated",
            "the photograph has changed since it was read; check its current state, and try again",
            {"ETag": f'"{present.etag}"'},
            photograph=present.model_dump(mode="json"),
        )


@router.post("/{id}/again", status_code=202, responses=refusals(404, 409))
def resubmit(*, services: Services, id: Id, body: schemas.Resubmission) -> schemas.PhotographBody:
    """Predict a photograph again, with another field of view or part of the photograph."""
    with services.corrections.lock(id):  # so that nobody begins a grading, or corrects it, meanwhile
        record = services.record(id)
        services.gradings.require_ungraded(record)
        changed = services.jobs.resubmit(record, uploads.field(body.field), body.region)
    return services.presenter.photograph(changed)
