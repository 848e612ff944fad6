"""Routes of batches.

Knows:   /api/batches and /api/batches/{id}.
Ignores: what is in a photograph.
"""

import time
import uuid
from typing import Literal

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from foveate.server import errors, schemas
from foveate.server.http.routes import Id, Services, WritesFiles, refusals
from foveate.server.http.routes.files import ZIP, done_of, zip_response
from foveate.server.service import Service
from foveate.server.storage import names

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=refusals())


@router.post("", status_code=201)
def make(services: Services, body: schemas.NewBatch) -> schemas.BatchBody:
    """Create a batch, for photographs to be submitted to."""
    identifier = uuid.uuid4().hex
    services.database.add_batch(identifier, names.of_batch(body.name), time.time())
    batch = _batch(services, identifier)
    services.events.publish("batch", batch.model_dump(mode="json"))
    return batch


@router.get("")
def listed(services: Services) -> schemas.Batches:
    """List all batches, the latest first."""
    return schemas.Batches(
        batches=[services.presenter.batch(record) for record in services.database.batches()]
    )


@router.get("/{id}", responses=refusals(404))
def get_batch(services: Services, id: Id) -> schemas.BatchBody:
    """Return a batch."""
    return _batch(services, id)


@router.delete("/{id}", status_code=204, responses=refusals(404))
def delete(services: Services, id: Id) -> Response:
    """Delete a batch with all its photographs."""
    _batch(services, id)
    while identifiers := services.database.identifiers(id):  # more may be submitted meanwhile
        for identifier in identifiers:
            services.delete(identifier)
    services.database.delete_batch(id)
    services.events.publish("batch-deleted", {"id": id})
    return Response(status_code=204)


@router.get(
    "/{id}/download",
    response_class=FileResponse,
    responses=ZIP | refusals(404, 409, 507),
    dependencies=[WritesFiles],
)
def download(services: Services, id: Id, kind: Literal["results", "training"] = "results") -> FileResponse:
    """Return a zip of all photographs that are done."""
    batch, records = _batch(services, id), done_of(services, id)
    path = (
        services.exports.zip_results_of(records)
        if kind == "results"
        else services.exports.zip_training(records)
    )
    return zip_response(path, names.key(batch.name or "batch"))


def _batch(services: Service, identifier: str) -> schemas.BatchBody:
    record = services.database.batch(identifier)
    if record is None:
        raise errors.not_found("batch")
    return services.presenter.batch(record)
