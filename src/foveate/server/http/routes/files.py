"""Routes of files: zips, overlays, the report.

Knows:   which files there are, and their names when they are saved.
Ignores: how they are made.
"""

from pathlib import Path as FilePath
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import APIRouter, Query
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, HTMLResponse, Response

from foveate.server.exports import downloads, report
from foveate.server.http.routes import Id, Services, WritesFiles, refusals
from foveate.server.http.routes.corrections import state_of
from foveate.server.http.routes.findings import grid_of
from foveate.server.service import Service
from foveate.server.storage import names
from foveate.server.storage.database import Query as Wanted
from foveate.server.storage.database import Record
from foveate.writers import overlays, result_paths

router = APIRouter(
    prefix="/api", tags=["files"], responses=refusals(404, 409, 507), dependencies=[WritesFiles]
)

ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}

PRINTED = 1600
"""Width of the report's picture, px: 220 a inch on A4."""

EVERY = 1_000_000
"""More photographs than any folder holds."""


@router.get("/photographs/{id}/download", response_class=FileResponse, responses=ZIP)
def download(
    services: Services, id: Id, parts: Annotated[str | None, Query(max_length=200)] = None
) -> FileResponse:
    """Return a photograph's files as the command line writes them, at the present thresholds."""
    selected, record = downloads.parts(parts), services.done(id)
    return zip_response(services.exports.zip_results(record, selected), record.key)


@router.get("/photographs/{id}/training", response_class=FileResponse, responses=ZIP)
def training(services: Services, id: Id) -> FileResponse:
    """Return a photograph and its corrected masks as a set to train on."""
    record = services.done(id)
    return zip_response(services.exports.zip_training([record]), f"{record.key}-training")


@router.get("/training", response_class=FileResponse, responses=ZIP)
def all_training(
    services: Services, batch: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None
) -> FileResponse:
    """Return all photographs that a person has corrected or reviewed, as a set to train on."""
    return zip_response(services.exports.zip_training(done_of(services, batch)), "training")


@router.get("/photographs/{id}/overlay.jpg", response_class=Response)
def overlay(
    services: Services, id: Id, width: Annotated[int | None, Query(ge=64, le=100_000)] = None
) -> Response:
    """Return the photograph with the present outlines of all lesions."""
    content = _overlay(services, services.done(id), width)
    return Response(content, media_type="image/jpeg")


@router.get("/photographs/{id}/report", response_class=HTMLResponse)
def printed(services: Services, id: Id) -> HTMLResponse:
    """Return one page to print."""
    record = services.done(id)
    burdens = {} if record.grid is None else grid_of(services, record).fields
    page = report.html(
        services.presenter.photograph(record),
        _overlay(services, record, PRINTED),
        burdens,
        state_of(services, record),
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": report.POLICY})


def _overlay(services: Service, record: Record, width: int | None) -> bytes:
    with services.exports.results(record) as folder:
        corrected = folder / "corrected"
        source = corrected if corrected.is_dir() else folder
        content = (source / result_paths.overlay_file(record.key)).read_bytes()
    if width is None or width >= record.width:
        return content
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    picture = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    height = max(1, round(len(picture) * width / picture.shape[1]))
    return overlays.jpeg(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8))


def done_of(services: Service, batch: str | None) -> list[Record]:
    """Return all photographs that are done, or those of a batch."""
    return services.database.select(Wanted(batch=batch, state="done", limit=EVERY))[0]


def zip_response(path: FilePath, filename: str) -> FileResponse:
    """Send a zip under a name, and delete it afterwards."""
    gone = BackgroundTask(path.unlink, missing_ok=True)
    return FileResponse(
        path, media_type="application/zip", filename=f"{names.key(filename)}.zip", background=gone
    )
