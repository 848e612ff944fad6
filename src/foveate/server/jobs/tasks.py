"""The tasks of a worker: receive a photograph, predict, write its files.

Knows:   which functions write which files of a photograph.
Ignores: processes and queues.

The command line calls the same functions, so that the results have the same bytes.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from foveate import atomic_files, datasets, lesions, photographs, writers
from foveate.analysis import component_tree
from foveate.errors import (
    DatasetError,
    FieldError,
    FoveateError,
    OutputError,
    PhotographError,
    is_out_of_memory,
)
from foveate.geometry import canvas
from foveate.inference import photograph_job
from foveate.inference.api import Model
from foveate.inference.pipeline import segment
from foveate.inference.settings import Settings
from foveate.packed_maps import PackedMaps
from foveate.paths import display_path
from foveate.server.errors import ServiceError
from foveate.server.jobs.image_limits import require_bounded
from foveate.server.jobs.protocol import (
    ExportPhotographTask,
    ExportTask,
    Journal,
    Prediction,
    PredictTask,
    ReadMaskTask,
    ReceivedFacts,
    ReceiveTask,
)
from foveate.server.review import etdrs
from foveate.server.review.checks import require_size
from foveate.server.review.current_counts import level_counts
from foveate.server.storage import refusals, tiles
from foveate.server.storage.data_dir import PhotographDir
from foveate.server.storage.facts import PhotographFacts
from foveate.server.storage.names import Eye
from foveate.server.storage.tiles import Pyramid
from foveate.types import Box, Decision, Field, Frame, Photograph, Probabilities
from foveate.writers import contours, figures, maps, overlays, result_paths, tables
from foveate.writers.results import PhotographResult, PredictRequest, Provenance

THUMBNAIL = 256
"""Long side of a thumbnail, px."""

MASK_FORMATS = ("PNG", "TIFF", "GIF", "BMP")
"""Lossless formats: lossy ones blur the edges of a mask."""


def receive(task: ReceiveTask) -> ReceivedFacts:
    """Read an upload, and write its tiles and its thumbnail so that it can be shown.

    All these files are on the disk when the function returns.

    Raises:
        ServiceError: 'too_many_pixels', 'unreadable', or an error of the disk.
    """
    directory = PhotographDir(folder=task.folder)
    with _service_errors(directory):
        atomic_files.remove_leftovers(directory.folder, deep=False)  # left by a worker that was lost
        _require_pixel_limit(directory.upload, task.pixels)
        photograph = _read(directory, task.pixels)
        atomic_files.flush(directory.upload)
        tiles.pack_photograph(directory.tiles, photograph.pixels)
        atomic_files.write_file(directory.thumbnail, _thumbnail(photograph.pixels))
    height, width = photograph.shape
    return ReceivedFacts(
        sha256=photograph.digest,
        width=width,
        height=height,
        spacing=photograph.spacing,
        eye=_eye(photograph),
    )


def _eye(photograph: Photograph) -> Eye | None:
    """Return the eye that a photograph's DICOM header states; None if it states none."""
    laterality = None if photograph.origin is None else photograph.origin.laterality
    return None if laterality is None else "right" if laterality == "R" else "left"


def _require_pixel_limit(path: Path, pixels: int) -> None:
    """Refuse a photograph whose header shows that it is too expensive to decode.

    Other faults are reported when the file is read.

    Raises:
        ServiceError: 'too_many_pixels', or as `require_bounded`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about decompression bombs, which the check below refuses
            with Image.open(path, formats=("JPEG", "PNG", "TIFF")) as header:
                width, height = header.size
                require_bounded(path, header)
    except Image.DecompressionBombError:  # more pixels than any limit: see `options.MOST_PIXELS`
        width, height = pixels + 1, 1
    except (OSError, SyntaxError, ValueError):
        return
    if width * height > pixels:
        raise ServiceError(
            "too_many_pixels",
            f"it has more pixels than the limit of {pixels / 1e6:g} million; scale it down",
        )


def read_mask(task: ReadMaskTask) -> None:
    """Read an uploaded mask, in which every pixel that is not black is lesion, and write it as PNG.

    Raises:
        ServiceError: 'unreadable'; 'invalid': it has another size than the photograph; or a disk error.
    """
    with _service_errors(PhotographDir(folder=task.mask.parent)):
        mask = _lesion_pixels(task)
        require_size(mask.shape, (task.height, task.width))
        atomic_files.write_file(task.out, maps.encode_mask(mask))


def _lesion_pixels(task: ReadMaskTask) -> Bool[np.ndarray, "H W"]:
    """Return the lesion pixels of an uploaded mask, after checking its size in the header.

    Raises:
        ServiceError: 'unreadable', 'invalid'.
        OSError: the operating system cannot read the file.
    """
    try:
        with Image.open(task.mask, formats=MASK_FORMATS) as header:
            require_size(header.size[::-1], (task.height, task.width))
            require_bounded(task.mask, header)
        return datasets.lesion_pixels(task.mask)
    except DatasetError as error:
        raise ServiceError("unreadable", str(error).removeprefix(f"{display_path(task.mask)}: ")) from error
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # Pillow's own errors have no number
            raise
        line = "it cannot be read as a mask; send a PNG of the photograph's size"
        raise ServiceError("unreadable", line) from error


def _thumbnail(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Return a small JPEG of a picture."""
    return overlays.jpeg(canvas.shrink(picture, THUMBNAIL))


def predict(task: PredictTask, model: Model, progress: Callable[[float], None]) -> Prediction:
    """Detect the lesions, write all files of `foveate predict` and the tiles, and return facts and counts.

    Args:
        task: the photograph and its settings; the folder of its results appears only when it is complete.
        model: the model.
        progress: called with the share that is done, up to 1; may raise an exception to stop.

    Raises:
        ServiceError: 'no_field', 'refused', or an error of the disk.
    """
    directory = PhotographDir(folder=task.folder)
    with _service_errors(directory):
        atomic_files.remove_leftovers(directory.folder, deep=False)  # left by a worker that was lost
        photograph = _read(directory, task.pixels)
        settings = Settings(part=task.region, field=task.field)
        segmentation = segment(
            photograph, model.package, model.engine, settings, progress=lambda share: progress(0.9 * share)
        )
        with atomic_files.replace_directory(directory.results) as work:
            row = photograph_job.save(segmentation, work, name=task.key)
            request = photograph_job.predict_request(
                task.key, model.package, segmentation.engine, settings, "png"
            )
            lesion_codes = segmentation.probabilities.lesions
            writers.write_summary(work, [row], lesion_codes, request.provenance)
            content = json.loads((work / result_paths.regions_file(task.key, ".json")).read_bytes())
            stored = {
                code: maps.decode((work / lesion["map"]).read_bytes(), "png")
                for code, lesion in content["lesions"].items()
            }
            tiles.pack_stack(directory.map_tiles, [Pyramid(levels) for levels in stored.values()])
            _store_probabilities(directory, segmentation.probabilities, segmentation.field)
    del content["regions"]
    facts = PhotographFacts(
        **content,
        disc=(*segmentation.field.centre, segmentation.field.radius),
        suggested_grid=etdrs.suggest(photograph, segmentation.field),
    )
    return Prediction(
        facts=facts,
        counts={
            code: level_counts(component_tree.count_regions(levels, facts.lesions[code].minimum_area_px))
            for code, levels in stored.items()
        },
    )


def export(task: ExportTask) -> None:
    """Write a photograph's files at other thresholds, and the corrected files in a folder among them.

    Raises:
        ServiceError: 'refused', or an error of the disk.
    """
    directory = PhotographDir(folder=task.folder)
    with _service_errors(directory), atomic_files.replace_directory(task.out) as work:
        result = _result(directory, task)
        row = writers.write(work, result)
        writers.write_summary(work, [row], result.lesions, result.request.provenance)
        if task.journal is not None:
            _write_corrected(work / "corrected", result, task, task.journal)


def _result(directory: PhotographDir, task: ExportTask) -> PhotographResult:
    """Return the stored prediction with the task's thresholds."""
    facts = task.facts
    probabilities, field = _load_probabilities(directory)
    provenance = Provenance(name=facts.model.name, version=facts.model.version, digest=facts.model.sha256)
    settings = {**facts.settings, "thresholds": dict(task.thresholds)}
    return PhotographResult(
        request=PredictRequest(name=task.key, provenance=provenance, settings=settings),
        photograph=replace(_read(directory, task.pixels), spacing=task.spacing),
        field=field,
        probabilities=probabilities,
        decisions={
            code: Decision(
                threshold=task.thresholds[code],
                minimum_area=lesion.minimum_area_model_px,
                minimum_evidence=lesion.minimum_evidence_model_px,
            )
            for code, lesion in facts.lesions.items()
        },
        quality=facts.quality,
    )


def _write_corrected(out: Path, result: PhotographResult, task: ExportTask, journal: Journal) -> None:
    """Write masks, overlay and tables as a person corrected them."""
    directory = PhotographDir(folder=task.folder)
    pixels, summaries, outlines = result.photograph.pixels, {}, []
    for lesion in lesions.of(result.lesions):
        model = maps.decode(directory.map_file(task.key, lesion.code).read_bytes(), "png")
        corrected = task.corrected.get(lesion.code)
        stored = model if corrected is None else maps.decode(corrected.read_bytes(), "png")
        summary, mask = figures.summarise(result, lesion, stored, model)
        summaries[lesion.code] = summary
        atomic_files.write_file(out / result_paths.mask_file(task.key, lesion.code), maps.encode_mask(mask))
        outlines.append(overlays.outlined_area(contours.trace(mask, summary.regions), lesion))
    content = tables.document(result, summaries)
    for entry in content["lesions"].values():
        entry.pop("map")
    notice = figures.small_print(result.request.provenance, "corrected by hand")
    strip = overlays.legend(pixels.shape[1], figures.captions(content, outlines), notice)
    image = overlays.draw(pixels, outlines, strip)
    for path, file_content in (
        (result_paths.overlay_file(task.key), overlays.jpeg(image)),
        (result_paths.regions_file(task.key, ".csv"), tables.to_csv(content)),
        (result_paths.regions_file(task.key, ".json"), tables.to_json(content)),
        (f"corrections/{task.key}.json", tables.utf8(journal.model_dump_json(indent=2))),
    ):
        atomic_files.write_file(out / path, file_content)


def export_photograph(task: ExportPhotographTask) -> None:
    """Write the photograph as an upright PNG: the same pixels, without the file's metadata.

    Raises:
        ServiceError: 'refused', or an error of the disk.
    """
    directory = PhotographDir(folder=task.folder)
    with _service_errors(directory):
        pixels = _read(directory, task.pixels).pixels
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR).astype(np.uint8)
        atomic_files.write_file(task.out, maps.encode_picture(bgr, ".png", []))


def _read(directory: PhotographDir, pixels: int) -> Photograph:
    """Read the upload of a photograph, which may have at most `pixels` pixels.

    Raises:
        FileNotFoundError: the upload no longer exists.
        PhotographError: the upload cannot be read as a photograph.
    """
    directory.upload.stat()  # a missing file is not the fault of the person who sent it
    return photographs.read(directory.upload, limit=pixels)


def _store_probabilities(directory: PhotographDir, probabilities: Probabilities, field: Field) -> None:
    """Store all that is needed to write the files again; the maps are mostly 0 and compress well."""
    frame = probabilities.frame
    with atomic_files.replace_file(directory.segmentation_file) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                lesions=np.array(probabilities.lesions),
                box=np.array(frame.box.corners),
                canvas=np.array(frame.shape),
                shape=np.array(probabilities.shape),
                disc=np.array([*field.centre, field.radius]),
                lit=np.array(field.box.corners),
            )
        _append_maps(temporary, probabilities.maps)


def _append_maps(path: Path, maps: PackedMaps) -> None:
    """Add the array 'maps' to an .npz file, band by band: as one array they take twice the memory."""
    header = {"shape": maps.shape, "fortran_order": False, "descr": "<u2"}
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("maps.npy", "w", force_zip64=True) as entry,
    ):
        np.lib.format.write_array_header_1_0(entry, header)
        for index in range(len(maps)):
            for _, levels in maps.bands(index):
                entry.write(levels.astype("<u2").tobytes())


def _load_probabilities(directory: PhotographDir) -> tuple[Probabilities, Field]:
    with np.load(directory.segmentation_file, allow_pickle=False) as stored:
        row, column, radius = stored["disc"].tolist()
        height, width = stored["canvas"].tolist()
        rows, columns = stored["shape"].tolist()
        probabilities = Probabilities(
            lesions=tuple(stored["lesions"].tolist()),
            maps=PackedMaps.pack(stored["maps"]),
            frame=Frame(box=Box.from_corners(stored["box"].tolist()), shape=(height, width)),
            shape=(rows, columns),
        )
        lit = Box.from_corners(stored["lit"].tolist())
        return probabilities, Field(centre=(row, column), radius=radius, box=lit)


@contextmanager
def _service_errors(directory: PhotographDir) -> Iterator[None]:
    """Convert the errors of a task to errors of the server.

    Raises:
        ServiceError: the error of the disk, as in `refusals`, or what is wrong with the photograph.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the operating system: a bug
            raise
        raise refusals.disk_error(error) from error
    except OutputError as error:
        raise refusals.disk_error(error) from error
    except Exception as error:
        if not isinstance(error, FoveateError) and not is_out_of_memory(error):  # a bug
            raise
        raise _service_error(error, directory) from error


def _service_error(error: Exception, directory: PhotographDir) -> ServiceError:
    """Return what is wrong with a photograph, without the path of its file on the server."""
    if isinstance(error, ServiceError):
        return error
    if is_out_of_memory(error):
        return ServiceError("refused", "there is not enough memory for it; scale it down")
    code = "unreadable" if isinstance(error, PhotographError) else "refused"
    code = "no_field" if isinstance(error, FieldError) else code
    return ServiceError(code, str(error).removeprefix(f"{display_path(directory.upload)}: "))
