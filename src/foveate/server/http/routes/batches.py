"""Routes of batches.

Knows:   /api/batches and /api/batches/{id}, and the reports made of a batch: /api/report-jobs.
Ignores: what a photograph contains.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response

from foveate.server import schemas
from foveate.server.exports import downloads
from foveate.server.exports.report_pdf import Paper
from foveate.server.http.routes import Id, Services, WritesFiles, refusals
from foveate.server.http.routes.files import (
    CSV,
    PDF,
    ZIP,
    csv_response,
    done_of,
    pdf_file,
    pdf_response,
    report_response,
    zip_response,
)
from foveate.server.presenters import reports as present
from foveate.server.service import Service
from foveate.server.storage import names
from foveate.server.storage.database import Record

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=refusals())

report_jobs = APIRouter(prefix="/api/report-jobs", tags=["batches"], responses=refusals(404))


@router.post("", status_code=201)
def make(services: Services, body: schemas.NewBatch) -> schemas.BatchBody:
    """Create a batch, to which photographs can be submitted."""
    identifier = uuid.uuid4().hex
    services.database.add_batch(identifier, names.of_batch(body.name), time.time())
    batch = services.presenter.batch(services.batch(identifier))
    services.events.publish("batch", batch.model_dump(mode="json"))
    return batch


@router.get("")
def listed(services: Services) -> schemas.Batches:
    """List all batches, the latest first."""
    return services.presenter.batches(services.database.batches())


@router.get("/{id}", responses=refusals(404))
def get_batch(services: Services, id: Id) -> schemas.BatchBody:
    """Return a batch."""
    return services.presenter.batch(services.batch(id))


@router.delete("/{id}", status_code=204, responses=refusals(404))
def delete(services: Services, id: Id) -> Response:
    """Delete a batch with all its photographs."""
    services.batch(id)
    services.jobs.delete_batch(id)
    return Response(status_code=204)


@router.get(
    "/{id}/download",
    response_class=FileResponse,
    responses=ZIP | refusals(404, 409, 507),
    dependencies=[WritesFiles],
)
def download(services: Services, id: Id, kind: Literal["results", "training"] = "results") -> FileResponse:
    """Return a zip of all photographs that are done."""
    batch, records = services.batch(id), done_of(services, id)
    path = (
        services.exports.zip_results_of(records)
        if kind == "results"
        else services.exports.zip_training(records)
    )
    return zip_response(path, names.key(batch.name or "batch"))


@router.get(
    "/{id}/report", response_class=HTMLResponse, responses=refusals(404, 409), dependencies=[WritesFiles]
)
def report(services: Services, id: Id) -> HTMLResponse:
    """Return the reports of all photographs that are done as one page to print, a sheet for each."""
    batch, records = services.batch(id), done_of(services, id)
    reports = services.reports.reports(records, _without_result(services, id, records))
    return report_response(batch.name or "batch", reports)


@router.get(
    "/{id}/report.pdf",
    response_class=Response,
    responses=PDF | refusals(404, 409),
    dependencies=[WritesFiles],
)
def report_as_pdf(services: Services, id: Id, paper: Paper = "a4") -> Response:
    """Return the reports of all photographs that are done as one PDF, a page for each."""
    batch, records = services.batch(id), done_of(services, id)
    reports = services.reports.reports(records, _without_result(services, id, records))
    return pdf_response(batch.name or "batch", reports, paper)


@router.post("/{id}/report-jobs", status_code=202, responses=refusals(404, 409))
def begin_report(
    services: Services, response: Response, id: Id, body: schemas.NewReport
) -> schemas.ReportJobBody:
    """Begin the report of all photographs that are done, as PDF, in the background."""
    batch, records = services.batch(id), done_of(services, id)
    job = services.report_jobs.add(
        id, batch.name or "batch", records, body.paper, without_result=_without_result(services, id, records)
    )
    response.headers["Location"] = f"/api/report-jobs/{job.id}"
    return present.report_job(job)


@report_jobs.get("/{id}")
def report_job(services: Services, id: Id) -> schemas.ReportJobBody:
    """Return how far a report is."""
    return present.report_job(services.report_jobs.get(id))


@report_jobs.get("/{id}/report.pdf", response_class=Response, responses=PDF | refusals(409))
def finished_report(services: Services, id: Id) -> Response:
    """Return a report that is finished."""
    job = services.report_jobs.get(id)
    return pdf_file(job.title, services.report_jobs.file(id))


@report_jobs.delete("/{id}", status_code=204)
def cancel_report(services: Services, id: Id) -> Response:
    """Cancel a report, or delete it if it is finished."""
    services.report_jobs.delete(id)
    return Response(status_code=204)


@router.get(
    "/{id}/grid.csv", response_class=Response, responses=CSV | refusals(404, 409), dependencies=[WritesFiles]
)
def etdrs_csv(services: Services, id: Id) -> Response:
    """Return the burden by subfield of the ETDRS grid of all photographs that have one, as CSV."""
    batch = services.batch(id)
    content = services.exports.etdrs_csv(downloads.keyed(done_of(services, id)))
    return csv_response(f"{batch.name or 'batch'}-etdrs", content)


def _without_result(services: Service, id: str, records: Sequence[Record]) -> int:
    """Return how many photographs of a batch are none of those that are done."""
    photographs = sum(services.database.states(id).values())
    return max(photographs - len(records), 0)  # some may have been added or deleted
