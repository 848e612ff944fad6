"""Routes of batches.

Knows:   /api/batches and /api/batches/{id}.
Ignores: what is in a photograph.
"""

import time
import uuid
from typing import Literal

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from foveate.server.http import errors, schemas
from foveate.server.http.routes import Here, Id, refusals
from foveate.server.http.routes.files import ZIP, done_of, sent_zip
from foveate.server.service import Service
from foveate.server.storage import names

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=refusals())


@router.post("", status_code=201)
def make(here: Here, body: schemas.NewBatch) -> schemas.Batch:
    """Make a batch, for photographs to be submitted into."""
    identifier = uuid.uuid4().hex
    here.store.add_batch(identifier, names.of_batch(body.name), time.time())
    told = _batch(here, identifier)
    here.news.tell("batch", told.model_dump(mode="json"))
    return told


@router.get("")
def listed(here: Here) -> schemas.Batches:
    """List all batches, the latest first."""
    return schemas.Batches(batches=[here.teller.batch(row) for row in here.store.batches()])


@router.get("/{id}", responses=refusals(404))
def one(here: Here, id: Id) -> schemas.Batch:
    """Return a batch."""
    return _batch(here, id)


@router.delete("/{id}", status_code=204, responses=refusals(404))
def delete(here: Here, id: Id) -> Response:
    """Delete a batch with all its photographs."""
    _batch(here, id)
    while found := here.store.identifiers(id):  # others may be submitted meanwhile
        for identifier in found:
            here.delete(identifier)
    here.store.delete_batch(id)
    here.news.tell("batch-deleted", {"id": id})
    return Response(status_code=204)


@router.get("/{id}/download", response_class=FileResponse, responses=ZIP | refusals(404, 409, 507))
def download(here: Here, id: Id, kind: Literal["results", "training"] = "results") -> FileResponse:
    """Return a zip of all photographs that are done."""
    found, records = _batch(here, id), done_of(here, id)
    path = here.making.zip_results_of(records) if kind == "results" else here.making.zip_training(records)
    return sent_zip(path, names.key(found.name or "batch"))


def _batch(here: Service, identifier: str) -> schemas.Batch:
    row = here.store.batch(identifier)
    if row is None:
        raise errors.not_found("batch")
    return here.teller.batch(row)
