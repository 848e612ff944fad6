"""Routes of pictures: tiles of the photograph, of maps and masks, and thumbnails.

Knows:   which tiles exist.
Ignores: how they are cut and packed.
"""

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from foveate.server import errors, schemas
from foveate.server.http.routes import Code, Grader, Id, Services, refusals
from foveate.server.review.checks import require_lesion
from foveate.server.service import Service
from foveate.server.storage import tiles
from foveate.server.storage.database import Record
from foveate.server.storage.journal import corrected_lesions
from foveate.server.storage.tiles import Pyramid

router = APIRouter(prefix="/api/photographs/{id}", tags=["pictures"], responses=refusals(404, 409))

Number = Annotated[int, Path(ge=0, le=1_000_000)]

Revision = Annotated[schemas.Revision | None, Query(description="gives each revision its own address")]


def _picture(kind: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": {kind: binary}}, 204: {"description": "the tile is 0 everywhere"}}


JPEG, PNG = _picture("image/jpeg"), _picture("image/png")


@router.get("/tiles/{level}/{column}_{row}.jpg", response_class=Response, responses=JPEG)
def photograph(*, services: Services, id: Id, level: Number, column: Number, row: Number) -> Response:
    """Return a tile of the photograph."""
    services.record(id)
    return _image_response(
        _packed(services, services.data_dir.photograph(id).tiles, (level, row, column)), "image/jpeg"
    )


@router.get("/thumbnail.jpg", response_class=Response, responses=JPEG)
def thumbnail(services: Services, id: Id) -> Response:
    """Return a thumbnail of the photograph, 256 px on its long side."""
    services.record(id)
    try:
        return _image_response(services.data_dir.photograph(id).thumbnail.read_bytes(), "image/jpeg")
    except FileNotFoundError:
        raise errors.not_found("photograph") from None


@router.get("/maps/{lesion}/{level}/{column}_{row}.png", response_class=Response, responses=PNG)
def model_map(
    *, services: Services, id: Id, lesion: Code, level: Number, column: Number, row: Number
) -> Response:
    """Return a tile of the model's probabilities for a lesion."""
    return _tile(services, id, lesion, "model", (level, row, column))


@router.get("/corrected/{lesion}/{level}/{column}_{row}.png", response_class=Response, responses=PNG)
def corrected_map(
    *,
    services: Services,
    id: Id,
    lesion: Code,
    level: Number,
    column: Number,
    row: Number,
    revision: Revision = None,
) -> Response:
    """Return a tile of a lesion's probabilities with corrections."""
    return _tile(services, id, lesion, "corrected", (level, row, column))


@router.get("/edits/{lesion}/{level}/{column}_{row}.png", response_class=Response, responses=PNG)
def edits(
    *,
    services: Services,
    id: Id,
    lesion: Code,
    level: Number,
    column: Number,
    row: Number,
    revision: Revision = None,
) -> Response:
    """Return a tile of the pixels that a person has changed."""
    return _tile(services, id, lesion, "edits", (level, row, column))


@router.get(
    "/references/{reference}/{lesion}/{level}/{column}_{row}.png", response_class=Response, responses=PNG
)
def reference(
    *, services: Services, id: Id, reference: Grader, lesion: Code, level: Number, column: Number, row: Number
) -> Response:
    """Return a tile of a reference mask."""
    pyramid = services.references.pyramid(services.done(id), reference, lesion)
    if pyramid is None:
        raise errors.not_found("reference mask")
    return _of(pyramid, (level, row, column))


@router.get("/stack/{layer}/{level}/{column}_{row}.png", response_class=Response, responses=PNG)
def stack(
    *,
    services: Services,
    id: Id,
    layer: Annotated[str, Path(pattern=r"^(model|corrected|edits|reference-[A-Za-z0-9_-]{1,40})$")],
    level: Number,
    column: Number,
    row: Number,
    revision: Revision = None,
) -> Response:
    """Return the tiles of all lesions as one picture."""
    record, place = services.done(id), (level, row, column)
    if layer in {"model", "corrected"}:
        tile = _packed(services, services.data_dir.photograph(id).map_tiles, place)
        changed = corrected_lesions(services.database, id) if layer == "corrected" else frozenset()
        if tile is None or not changed:
            return _image_response(tile, "image/png")
        layers = [
            services.corrections.layer(record, lesion).corrected if lesion in changed else None
            for lesion in record.lesions
        ]
        return _image_response(tiles.restack(tile, layers, *place), "image/png")
    layers = [_pyramid(services, record, lesion, layer) for lesion in record.lesions]
    if layer.startswith("reference-") and not any(content is not None for content in layers):
        raise errors.not_found("reference mask")
    sizes = tiles.levels((record.height, record.width))
    if level >= len(sizes) or not sizes[level].has(row, column):
        raise errors.not_found("tile", "the photograph has fewer, or it has been deleted")
    return _image_response(tiles.stack(layers, *place), "image/png")


def _packed(services: Service, pack: FilePath, place: tuple[int, int, int]) -> bytes | None:
    """Return a tile of a pack; None if the pack lacks it, or has just been deleted."""
    try:
        return services.packs.tile(pack, *place)
    except FileNotFoundError:
        return None


def _tile(
    services: Service, identifier: str, lesion: str, layer: str, place: tuple[int, int, int]
) -> Response:
    record = services.done(identifier)
    require_lesion(record, lesion)
    pyramid = _pyramid(services, record, lesion, layer)
    return Response(status_code=204) if pyramid is None else _of(pyramid, place)


def _pyramid(services: Service, record: Record, lesion: str, layer: str) -> Pyramid | None:
    """Return a layer of a lesion at all levels; None if it is empty."""
    if layer.startswith("reference-"):
        return services.references.pyramid(record, layer.removeprefix("reference-"), lesion)
    corrected = services.corrections.is_corrected(record, lesion)
    if layer == "edits":
        return services.corrections.layer(record, lesion).edits if corrected else None
    if layer == "corrected" and corrected:
        return services.corrections.layer(record, lesion).corrected
    make: Callable[[], Pyramid] = lambda: Pyramid(services.corrections.model(record, lesion))  # noqa: E731
    return services.memory.get((record.id, "pyramid", lesion), make)


def _of(pyramid: Pyramid, place: tuple[int, int, int]) -> Response:
    return _image_response(pyramid.tile(*place) if pyramid.has(*place) else None, "image/png")


def _image_response(tile: bytes | None, kind: str) -> Response:
    if tile is None:
        raise errors.not_found("tile", "the photograph has fewer, or it has been deleted")
    return Response(tile, media_type=kind) if tile else Response(status_code=204)
