"""Routes of corrections and of reference masks.

Knows:   /api/photographs/{id}/corrections and /references.
Ignores: what an edit does.
"""

import uuid
from collections.abc import Callable
from typing import Annotated, TypeVar

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Query
from jaxtyping import Bool
from starlette.requests import Request
from starlette.responses import Response

from foveate.server import errors, schemas
from foveate.server.http import uploads
from foveate.server.http.routes import Code, Grader, Id, Revision, Services, refusals, wait_for_io
from foveate.server.presenters import corrections as present
from foveate.server.review.checks import require_lesion
from foveate.server.review.edits import Attribution, EditResult, RegionVerdict, Stroke
from foveate.server.review.measures import LayerName
from foveate.server.service import Service
from foveate.server.storage.database import Record

router = APIRouter(prefix="/api/photographs/{id}", tags=["corrections"], responses=refusals(404, 409))

KINDS = ("image/png", "image/tiff", "image/gif", "image/bmp", "application/octet-stream")

_MASK = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS},
    }
}

Author = Annotated[schemas.Author, Query()]

Mask = Bool[np.ndarray, "H W"]
"""A mask of its photograph's size."""

Answer = TypeVar("Answer")


@router.get("/corrections")
def state(services: Services, id: Id) -> schemas.CorrectionState:
    """Return the state of a photograph's corrections."""
    return present.state(services.corrections.state(services.done(id)))


@router.post("/corrections/strokes")
def stroke(services: Services, id: Id, body: schemas.NewStroke) -> schemas.CorrectionState:
    """Draw a stroke: paint, erase, or restore the model's result."""
    stroke = Stroke(lesion=body.lesion, tool=body.tool, diameter=body.diameter, points=body.points)
    return _edit_body(services, services.corrections.stroke(id, stroke, _attribution(body)))


@router.post("/corrections/verdicts")
def verdict(services: Services, id: Id, body: schemas.NewVerdict) -> schemas.CorrectionState:
    """Give a verdict on a region."""
    verdict = RegionVerdict(
        lesion=body.lesion, level=body.level, x=body.x, y=body.y, verdict=body.verdict, note=body.note
    )
    return _edit_body(services, services.corrections.add_verdict(id, verdict, _attribution(body)))


@router.put("/corrections/masks/{lesion}", openapi_extra=_MASK, responses=refusals(408, 415, 507))
async def mask(
    *,
    request: Request,
    services: Services,
    id: Id,
    lesion: Code,
    author: Author = "",
    revision: Revision = None,
) -> schemas.CorrectionState:
    """Replace a lesion's pixels with a whole mask."""
    attribution = Attribution(author=author, revision=revision)
    return await _received(
        *(request, services, id, lesion),
        lambda record, mask: _edit_body(
            services, services.corrections.replace_mask(record.id, lesion, mask, attribution)
        ),
    )


async def _received(
    request: Request, services: Service, id: str, lesion: str, take: Callable[[Record, Mask], Answer]
) -> Answer:
    """Receive a mask of a photograph's lesion, and return the result of `take`."""
    uploads.require_type(request, *KINDS)
    record = await to_thread.run_sync(services.done, id)
    require_lesion(record, lesion)
    upload = services.data_dir.incoming / uuid.uuid4().hex
    try:
        await uploads.receive(request, upload, services.options.limits)
        return await wait_for_io(request, lambda: take(record, services.read_mask(upload, record)))
    finally:
        upload.unlink(missing_ok=True)


@router.post("/corrections/undo")
def undo(services: Services, id: Id, body: schemas.Step) -> schemas.CorrectionState:
    """Undo the last step."""
    return _edit_body(services, services.corrections.undo(id, body.revision))


@router.post("/corrections/redo")
def redo(services: Services, id: Id, body: schemas.Step) -> schemas.CorrectionState:
    """Redo the step that was undone last."""
    return _edit_body(services, services.corrections.redo(id, body.revision))


@router.delete("/corrections")
def forget(services: Services, id: Id) -> schemas.CorrectionState:
    """Delete all corrections."""
    return _edit_body(services, services.corrections.delete_all(id))


def _attribution(body: schemas.NewStroke | schemas.NewVerdict) -> Attribution:
    return Attribution(author=body.author, revision=body.revision)


def _edit_body(services: Service, changed: EditResult) -> schemas.CorrectionState:
    """Notify the subscribers of a change, and return the state with the box of the changed pixels."""
    services.presenter.publish(changed.record)
    return present.state(services.corrections.state(changed.record), changed)


@router.get("/references")
def all_references(services: Services, id: Id) -> schemas.ReferencesBody:
    """List the reference masks."""
    return _references(services, services.done(id))


@router.put("/references/{name}/{lesion}", openapi_extra=_MASK, responses=refusals(408, 415, 507))
async def put_reference(
    request: Request, services: Services, id: Id, name: Grader, lesion: Code
) -> schemas.ReferencesBody:
    """Store a reference mask."""

    def take(record: Record, mask: Mask) -> schemas.ReferencesBody:
        services.references.put(record, name, lesion, mask)
        return _references(services, record)

    return await _received(request, services, id, lesion, take)


@router.post("/references/{name}", status_code=201)
def snapshot(services: Services, id: Id, name: Grader, body: schemas.Snapshot) -> schemas.ReferencesBody:
    """Store the current corrected masks as reference masks."""
    record = services.done(id)
    services.references.snapshot(record, name)
    return _references(services, record)


@router.delete("/references/{name}", status_code=204)
def delete_reference(services: Services, id: Id, name: Grader) -> Response:
    """Delete a grader's reference masks."""
    if not services.references.delete(services.done(id), name):
        raise errors.not_found("reference mask")
    return Response(status_code=204)


@router.get("/references/{name}/agreement")
def agreement(services: Services, id: Id, name: Grader, layer: LayerName = "corrected") -> schemas.Agreement:
    """Return, for every level, the agreement of the result with a grader's masks."""
    record = services.done(id)
    agreements = services.references.agreements(
        record, name, lambda lesion: services.measures.stored_map(record, lesion, layer)
    )
    return present.agreement(record, agreements)


def _references(services: Service, record: Record) -> schemas.ReferencesBody:
    """Return the reference masks of a photograph."""
    return present.references(services.references.listed(record))
