"""Routes of files: zips, overlays, the report.

Knows:   which files can be downloaded, and the names under which browsers save them.
Ignores: how the files are made.
"""

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from foveate.server import schemas
from foveate.server.exports import downloads, report_page, report_pdf
from foveate.server.exports.report import PhotographReport
from foveate.server.http.routes import BatchId, Id, Services, WritesFiles, refusals
from foveate.server.service import Service
from foveate.server.storage import names
from foveate.server.storage.database import Query as Wanted
from foveate.server.storage.database import Record

router = APIRouter(
    prefix="/api", tags=["files"], responses=refusals(404, 409, 507), dependencies=[WritesFiles]
)

ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

PDF: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
}

EVERY = 1_000_000
"""Limit of a list of all photographs: more than any data folder holds."""


@router.get("/photographs/{id}/download", response_class=FileResponse, responses=ZIP)
def download(
    services: Services, id: Id, parts: Annotated[str | None, Query(max_length=200)] = None
) -> FileResponse:
    """Return a photograph's files as the command line writes them, at the current thresholds."""
    selected, record = downloads.parts(parts), services.done(id)
    return zip_response(services.exports.zip_results(record, selected), record.key)


@router.get("/photographs/{id}/training", response_class=FileResponse, responses=ZIP)
def training(services: Services, id: Id) -> FileResponse:
    """Return a photograph and its corrected masks as a data set for training."""
    record = services.done(id)
    return zip_response(services.exports.zip_training([record]), f"{record.key}-training")


@router.get("/training", response_class=FileResponse, responses=ZIP)
def all_training(services: Services, batch: BatchId = None) -> FileResponse:
    """Return all photographs that a person has corrected or reviewed, as a data set for training."""
    return zip_response(services.exports.zip_training(done_of(services, batch)), "training")


@router.post("/downloads", response_class=FileResponse, responses=ZIP)
def selected(services: Services, body: schemas.DownloadSelection) -> FileResponse:
    """Return a zip of the selected photographs; those that are not done are left out."""
    chosen = map(services.database.get, frozenset(body.photographs))  # a grader's copies, too
    records = [record for record in chosen if record is not None and record.state == "done"]
    records.sort(key=lambda record: record.number)
    return zip_response(services.exports.zip_results_of(records), "photographs")


@router.get("/photographs/{id}/overlay.jpg", response_class=Response)
def overlay(
    services: Services, id: Id, width: Annotated[int | None, Query(ge=64, le=100_000)] = None
) -> Response:
    """Return the photograph with the current outlines of all lesions."""
    content = services.exports.overlay(services.done(id), width)
    return Response(content, media_type="image/jpeg")


@router.get("/photographs/{id}/report", response_class=HTMLResponse)
def printed(services: Services, id: Id) -> HTMLResponse:
    """Return the report of a photograph as a page to read and to print."""
    record = services.done(id)
    return report_response(record.name, [services.reports.report(record)])


@router.get("/photographs/{id}/report.pdf", response_class=Response, responses=PDF)
def printed_pdf(services: Services, id: Id, paper: report_pdf.Paper = "a4") -> Response:
    """Return the report of a photograph as PDF."""
    record = services.done(id)
    return pdf_response(record.name, [services.reports.report(record)], paper)


@router.get("/photographs/{id}/grid.csv", response_class=Response, responses=CSV)
def etdrs_csv(services: Services, id: Id) -> Response:
    """Return the burden by subfield of the ETDRS grid as CSV."""
    record = services.done(id)
    return csv_response(f"{record.key}-etdrs", services.exports.etdrs_csv({record.key: record}))


def csv_response(filename: str, content: bytes) -> Response:
    """Return a table that browsers save under the given name."""
    headers = {"Content-Disposition": _disposition("attachment", f"{names.key(filename)}.csv")}
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)


def _disposition(kind: str, filename: str) -> str:
    """Return a Content-Disposition header; the name may hold any character (RFC 6266)."""
    return f"{kind}; filename*=utf-8''{quote(filename)}"


def report_response(title: str, reports: Sequence[PhotographReport]) -> HTMLResponse:
    """Return reports as a page, with the Content-Security-Policy that it needs."""
    headers = {"Content-Security-Policy": report_page.POLICY}
    return HTMLResponse(report_page.html(title, reports), headers=headers)


def pdf_response(title: str, reports: Sequence[PhotographReport], paper: report_pdf.Paper) -> Response:
    """Return reports as PDF; browsers show it, and save it under the title."""
    return pdf_file(title, report_pdf.pdf(title, reports, paper))


def pdf_file(title: str, content: bytes) -> Response:
    """Return a PDF; browsers show it, and save it under the title."""
    headers = {"Content-Disposition": _disposition("inline", f"{names.key(title)}.pdf")}
    return Response(content, media_type="application/pdf", headers=headers)


def done_of(services: Service, batch: str | None) -> list[Record]:
    """Return all photographs that are done, or only those of a batch."""
    return services.database.select(Wanted(batch=batch, state="done", limit=EVERY))[0]


class _TemporaryFile(FileResponse):
    """A response that sends a whole file and then deletes it, whatever becomes of the request.

    The Range header is ignored: after the first request there is no file of which to send another part.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        finally:
            FilePath(self.path).unlink(missing_ok=True)


def zip_response(path: FilePath, filename: str) -> FileResponse:
    """Return a response that sends a zip under a name, and deletes it afterwards."""
    return _TemporaryFile(
        path,
        media_type="application/zip",
        filename=f"{names.key(filename)}.zip",
        headers={"Accept-Ranges": "none"},
    )
