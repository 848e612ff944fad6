"""Routes of corrections, and of masks to compare with.

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

from foveate.server.http import errors, schemas, uploads
from foveate.server.http.presenters import stamp
from foveate.server.http.routes import Code, Grader, Here, Id, refusals
from foveate.server.http.routes.findings import LayerName, rectangle, stored_map
from foveate.server.review import references
from foveate.server.review.corrections import Changed, Judged, Said, Stroke, require_lesion
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

Author = Annotated[str, Query(max_length=64)]

Revision = Annotated[int | None, Query(ge=0, le=2**53)]

Mask = Bool[np.ndarray, "H W"]
"""As large as its photograph."""

Answer = TypeVar("Answer")


@router.get("/corrections")
def state(here: Here, id: Id) -> schemas.CorrectionState:
    """Return the state of a photograph's corrections."""
    return state_of(here, here.done(id))


@router.post("/corrections/strokes")
def stroke(here: Here, id: Id, body: schemas.NewStroke) -> schemas.CorrectionState:
    """Draw, erase, or give back to the model."""
    drawn = Stroke(lesion=body.lesion, tool=body.tool, diameter=body.diameter, points=body.points)
    return _told(here, here.corrections.stroke(id, drawn, _said(body)))


@router.post("/corrections/verdicts")
def verdict(here: Here, id: Id, body: schemas.NewVerdict) -> schemas.CorrectionState:
    """Accept, reject or doubt a region."""
    judged = Judged(
        lesion=body.lesion, level=body.level, x=body.x, y=body.y, verdict=body.verdict, note=body.note
    )
    return _told(here, here.corrections.judge(id, judged, _said(body)))


@router.put("/corrections/masks/{lesion}", openapi_extra=_MASK, responses=refusals(408, 415, 507))
async def mask(
    *, request: Request, here: Here, id: Id, lesion: Code, author: Author = "", revision: Revision = None
) -> schemas.CorrectionState:
    """Take a whole mask for what is lesion and what is not."""
    said = Said(author=author, revision=revision)
    return await _received(
        *(request, here, id, lesion),
        lambda record, mask: _told(here, here.corrections.mask(record.id, lesion, mask, said)),
    )


async def _received(
    request: Request, here: Service, id: str, lesion: str, take: Callable[[Record, Mask], Answer]
) -> Answer:
    """Receive a mask of a photograph's lesion, and answer with what is made of it."""
    uploads.require_type(request, *KINDS)
    record = await to_thread.run_sync(here.done, id)
    require_lesion(record, lesion)
    upload = here.shelf.incoming / uuid.uuid4().hex
    try:
        await uploads.receive(request, upload, here.options.limits)
        return await to_thread.run_sync(lambda: take(record, references.read(upload, record)))
    finally:
        upload.unlink(missing_ok=True)


@router.post("/corrections/undo")
def undo(here: Here, id: Id, body: schemas.Step) -> schemas.CorrectionState:
    """Undo the last step."""
    return _told(here, here.corrections.undo(id, body.revision))


@router.post("/corrections/redo")
def redo(here: Here, id: Id, body: schemas.Step) -> schemas.CorrectionState:
    """Do again what was undone last."""
    return _told(here, here.corrections.redo(id, body.revision))


@router.delete("/corrections")
def forget(here: Here, id: Id) -> schemas.CorrectionState:
    """Forget all corrections."""
    return _told(here, here.corrections.forget(id))


def _said(body: schemas.NewStroke | schemas.NewVerdict) -> Said:
    return Said(author=body.author, revision=body.revision)


def _told(here: Service, changed: Changed) -> schemas.CorrectionState:
    """Tell whoever listens, and return the state with what was changed."""
    here.tell(changed.record)
    found = state_of(here, changed.record)
    if changed.box is None or changed.lesion is None:
        return found
    box = rectangle(changed.box)
    return found.model_copy(update={"changed": schemas.ChangedBox(lesion=changed.lesion, **box.model_dump())})


def state_of(here: Service, record: Record) -> schemas.CorrectionState:
    """Return the state of a photograph's corrections."""
    edits = here.store.edits(record.id)
    done = [edit for edit in edits if not edit.undone]
    return schemas.CorrectionState(
        revision=record.revision,
        can_undo=bool(done),
        can_redo=len(done) < len(edits),
        edits=len(done),
        changed=None,
        lesions={lesion: _lesion(here, record, lesion) for lesion in record.facts["lesions"]},
        verdicts=[
            schemas.GivenVerdict(
                lesion=edit.lesion,
                level=edit.told["level"],
                x=edit.told["x"],
                y=edit.told["y"],
                verdict=edit.told["verdict"],
                note=edit.told["note"],
                author=edit.author,
                time=stamp(edit.time),
            )
            for edit in here.corrections.verdicts(record.id)
        ],
        authors=sorted({edit.author for edit in done}),
        last_edit=stamp(done[-1].time) if done else None,
    )


def _lesion(here: Service, record: Record, lesion: str) -> schemas.CorrectedLesion:
    present = here.store.present(record.id)[lesion]
    painted = erased = 0
    if here.corrections.is_corrected(record, lesion):
        layer = here.corrections.layer(record, lesion)
        painted, erased = layer.painted_px, layer.erased_px
    return schemas.CorrectedLesion(
        added_px=painted,
        erased_px=erased,
        level=present.level,
        count=present.count,
        area_px=present.area_px,
        mask_px=present.mask_px,
    )


@router.get("/references")
def all_references(here: Here, id: Id) -> schemas.References:
    """List the masks to compare with."""
    return _references(here, here.done(id))


@router.put("/references/{name}/{lesion}", openapi_extra=_MASK, responses=refusals(408, 415, 507))
async def put_reference(
    request: Request, here: Here, id: Id, name: Grader, lesion: Code
) -> schemas.References:
    """Keep a mask to compare with."""

    def take(record: Record, mask: Mask) -> schemas.References:
        here.references.put(record, name, lesion, mask)
        return _references(here, record)

    return await _received(request, here, id, lesion, take)


@router.post("/references/{name}", status_code=201)
def snapshot(here: Here, id: Id, name: Grader, body: schemas.Snapshot) -> schemas.References:
    """Keep the corrected masks as they are now."""
    record = here.done(id)
    here.references.snapshot(record, name)
    return _references(here, record)


@router.delete("/references/{name}", status_code=204)
def delete_reference(here: Here, id: Id, name: Grader) -> Response:
    """Delete a grader's masks."""
    if not here.references.delete(here.done(id), name):
        raise errors.not_found("mask to compare with")
    return Response(status_code=204)


@router.get("/references/{name}/agreement")
def agreement(here: Here, id: Id, name: Grader, layer: LayerName = "corrected") -> schemas.Agreement:
    """Say, for every level, how far the result and a grader's masks agree."""
    record = here.done(id)
    known = here.references.names(record).get(name)
    if known is None:
        raise errors.not_found("mask to compare with")
    found = {}
    for lesion in known:
        true, false, missed = here.references.agreement(
            record, name, lesion, stored_map(here, record, lesion, layer)
        )
        found[lesion] = schemas.LesionAgreement(
            true_px=true.tolist(), false_px=false.tolist(), missed_px=missed.tolist()
        )
    return schemas.Agreement(revision=record.revision, lesions=found)


def _references(here: Service, record: Record) -> schemas.References:
    found = []
    for name, known in here.references.names(record).items():
        drawn = {lesion: here.references.drawn(record, name, lesion) for lesion in known}
        found.append(
            schemas.Reference(
                name=name,
                lesions={
                    lesion: schemas.ReferenceLesion(mask_px=one.mask_px, regions=one.regions)
                    for lesion, one in drawn.items()
                },
            )
        )
    return schemas.References(references=found)
