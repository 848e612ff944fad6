"""Write the files of one photograph's result, one lesion at a time.

Knows:   which files belong to a photograph, in which order they are written, and when a result is complete.
Ignores: how each file is encoded.

Files get their names when all are on the disk, and the regions' JSON gets its name last and is removed first:
if it exists, all other files of that photograph exist.
Lesions, pictures and the overlay share one pool of threads. Memory needed in addition to the photograph: two
maps, or one map and a display copy, and later one copy to draw on. The outlined areas are kept as bits.
"""

import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from foveate import atomic_files, lesions
from foveate.errors import OutputError
from foveate.lesions import Lesion
from foveate.paths import display_path, is_file, valid_path
from foveate.version import version
from foveate.writers import contours, dicom_extra, figures, maps, overlays, page, result_paths, tables
from foveate.writers.overlays import OutlinedArea
from foveate.writers.page import PageLayer
from foveate.writers.results import (
    OBJECT_KINDS,
    DicomLesion,
    LesionSummary,
    PhotographResult,
    PredictRequest,
    SummaryRow,
)

WRITER_THREADS = 2
"""Number of lesions, pictures and bands of the overlay that are processed at a time, mostly outside Python's
global lock. More would need more memory."""

EXISTING_RESULTS = 16_384
"""Number of results whose rows are remembered, some 5 kB each, so that results which are saved one by one do
not cause all earlier ones to be read again each time. Our choice."""

_PSEUDONYMOUS = re.compile(rf"{result_paths.DICOM_FOLDER}(/[0-9]+(\.[0-9]+)+)+_[A-Z]+\.dcm")
"""Paths of de-identified DICOM objects, of which every part is a UID."""

_AddFile = Callable[[str, bytes], None]
"""Writes a file that belongs to the result, given its path relative to the output folder, with '/'."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _ExistingResult:
    """What the table of a folder needs to know of a result there."""

    row: SummaryRow
    origin: tables.Document
    """As returned by `_origin`."""
    frame: int | None
    """Number of the photograph, from 1, in a DICOM object with several frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _LesionOutput:
    """The data of one lesion that files about all lesions need, after its map and mask are written."""

    summary: LesionSummary
    area: OutlinedArea
    layer: PageLayer
    dicom: DicomLesion | None
    """Pixels for DICOM objects, if they are requested."""


def prepare(out: Path, *, min_age: float = 0.0) -> None:
    """Create the output folder, check that it can be written, and remove unfinished files of a killed run.

    Args:
        out: the output folder.
        min_age: leave unfinished files that were changed less than this many seconds ago.

    Raises:
        OutputError: the folder cannot be written.
    """
    atomic_files.require_writable(out)
    # it may hold other files: search only our folders
    atomic_files.remove_leftovers(out, deep=False, min_age=min_age)
    for folder in result_paths.FOLDERS:
        atomic_files.remove_leftovers(out / folder, min_age=min_age)


def reusable_row(out: Path, request: PredictRequest, digest: str) -> SummaryRow | None:
    """Return the row of an existing result that a new run would only reproduce, or None.

    A result is reused if the photograph's digest, the whole request and Foveate's version are the same, and
    all files exist.

    Args:
        out: the output folder.
        request: the current request.
        digest: current SHA-256 of the photograph.
    """
    stored = _read_json(out, request.name)
    return None if stored is None else _complete_row(out, *stored, request, digest)


def stored_row(out: Path, request: PredictRequest) -> SummaryRow | None:
    """Return the row of an existing result of the same request, all of whose files exist, or None.

    Unlike `reusable_row`, it does not compare the photograph, which need not be readable.

    Args:
        out: the output folder.
        request: the current request.
    """
    stored = _read_json(out, request.name)
    return None if stored is None else _complete_row(out, *stored, request, stored[1].digest)


def stored_digest(out: Path, key: str) -> str | None:
    """Return the SHA-256 of the photograph that an existing result belongs to; None if there is no result."""
    return _digest_of(_read_json(out, key))


def digest_from_json(text: bytes, key: str) -> str | None:
    """Return the same from a result's regions' JSON; None if it is not ours."""
    return _digest_of(_parse_json(text, key))


def differences(
    out: Path, request: PredictRequest, photograph_digest: Callable[[], str | None]
) -> tuple[str, ...]:
    """Return why an existing result is not what a new run would give, each reason in words.

    Args:
        out: the output folder.
        request: the current request.
        photograph_digest: returns the current SHA-256 of the photograph, or None if it cannot be read; only
            called where the request does not differ.

    Returns:
        Such as 'engine openvino float32 instead of onnx float32'; none if there is no result, or if
        `reusable_row` returns it.
    """
    stored = _read_json(out, request.name)
    if stored is None:
        return ()
    content, row = stored
    present, earlier = _origin(request), _stored_origin(content)
    if present != earlier:
        return tuple(
            f"{name} {_in_words(present.get(name))} instead of {_in_words(earlier.get(name))}"
            for name in {**present, **earlier}
            if present.get(name) != earlier.get(name)
        )
    if photograph_digest() not in (None, row.digest):
        return ("changed content of the photograph",)
    return () if _is_complete(out, request, row) else ("missing result files",)


def reusable_row_from_json(text: bytes, request: PredictRequest, digest: str) -> SummaryRow | None:
    """Return the row of a result that a new run would only reproduce, from its regions' JSON, or None.

    This is for results in a store that is not a local folder: the JSON is written last, so the other files
    exist.

    Args:
        text: the regions' JSON.
        request: the current request.
        digest: current SHA-256 of the photograph.
    """
    stored = _parse_json(text, request.name)
    return None if stored is None else _matching_row(*stored, request, digest)


def existing_rows(
    out: Path, request: PredictRequest, digest: str, frame: int | None = None
) -> tuple[SummaryRow, ...]:
    """Return the rows of all other photographs whose results are in a folder, by key.

    Args:
        out: the output folder.
        request: the request for one photograph.
        digest: SHA-256 of that photograph.
        frame: its number, from 1, in a DICOM object with several frames: they share the digest.

    Raises:
        OutputError: the folder holds results of another model, version or settings, or of another photograph
            under the same key. Such results do not belong in the same table.
    """
    folder, origin, rows = out / "regions", _origin(request), []
    for path in sorted(folder.rglob("*.json")):
        key = path.relative_to(folder).with_suffix("").as_posix()
        existing = _existing_result(out, key)
        if existing is None:
            continue
        if key != request.name:
            if existing.origin != origin:
                raise OutputError(
                    f"{display_path(path)}: was made by another model or with other settings; "
                    "choose another folder"
                )
            rows.append(existing.row)
        elif (existing.row.digest, existing.frame) != (digest, frame):
            raise OutputError(
                f"{display_path(path)}: belongs to another photograph; choose another name or folder"
            )
    return tuple(rows)


def write(
    out: Path,
    result: PhotographResult,
    codes: Sequence[str] = (),
    *,
    before_renaming: Callable[[], None] = lambda: None,
) -> SummaryRow:
    """Write all files of one photograph and return its row of the summary.

    They replace the files that an earlier run wrote under the same key after all of them are on the disk: if
    one cannot be made or written, the earlier ones stay. If one cannot get its name, none stays.

    Args:
        out: the output folder.
        result: the photograph with its maps.
        codes: further lesions whose files an earlier run may have left.
        before_renaming: called when all new files are on the disk, before any earlier one is removed. If it
            raises an exception, nothing is replaced or removed.

    Raises:
        OutputError: a file cannot be written.
        PhotographError: a DICOM object cannot be made.
    """
    key = result.request.name
    json_file = result_paths.regions_file(key, ".json")
    objects = dicom_extra.object_files(result.request).values()
    clear_earlier = functools.partial(clear, out, key, {*result.lesions, *codes}, objects)
    is_renaming = False

    def begin_renaming() -> None:
        nonlocal is_renaming
        before_renaming()
        is_renaming = True
        clear_earlier()

    try:
        with atomic_files.replace_files(out, begin_renaming) as write_file:

            def add_file(relative: str, content: bytes) -> None:
                result_paths.resolve(out, relative)  # refuses a path that leads out of the folder
                write_file(relative, content)

            add_file(json_file, b"")  # the first file gets its name last
            with _writer_pool() as pool:
                content = _write_contents(add_file, result, pool)
            add_file(json_file, tables.to_json(content))
    except BaseException:
        if is_renaming and not is_file(out / json_file):
            with suppress(OutputError):  # the first error is the one to report
                clear_earlier()
        raise
    return tables.row_of(content, key)


@contextmanager
def _writer_pool() -> Iterator[Executor]:
    """Provide the threads that write; on an error, tasks that have not begun are cancelled."""
    pool = ThreadPoolExecutor(WRITER_THREADS, "foveate-writing")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write_contents(add_file: _AddFile, result: PhotographResult, pool: Executor) -> tables.Document:
    """Write all files but the regions' JSON, as many at a time as the pool has threads; return the JSON."""
    key = result.request.name
    lesion_tasks = [
        pool.submit(_write_lesion, add_file, result, lesion) for lesion in lesions.of(result.lesions)
    ]
    tasks: list[Future[None]] = [pool.submit(_write_pictures, add_file, result)]
    outputs = [task.result() for task in lesion_tasks]
    by_code = dict(zip(result.lesions, outputs, strict=True))
    content = tables.document(result, {code: output.summary for code, output in by_code.items()})
    tasks.append(pool.submit(_write_script, add_file, key, content, [output.layer for output in outputs]))
    tasks.append(pool.submit(add_file, result_paths.regions_file(key, ".csv"), tables.to_csv(content)))
    _write_overlay(add_file, result, content, [output.area for output in outputs], pool)
    objects = {code: output.dicom for code, output in by_code.items() if output.dicom is not None}
    object_files = dicom_extra.object_files(result.request)
    for kind, file in dicom_extra.encode(result, objects, content["field"]["area_px"]).items():
        add_file(object_files[kind], file)
    for task in tasks:
        task.result()
    return content


def clear(out: Path, key: str, codes: Collection[str] = (), objects: Collection[str] = ()) -> None:
    """Remove the files of a photograph that an earlier run wrote, the JSON first.

    Args:
        out: the output folder.
        key: the photograph's key.
        codes: lesions whose files are removed even if no JSON names them, as after a killed run.
        objects: paths of DICOM objects that are removed even if no JSON names them.

    Raises:
        OutputError: a file cannot be removed.
    """
    stored = _read_json(out, key)
    atomic_files.remove(result_paths.resolve(out, result_paths.regions_file(key, ".json")))
    # the JSON may hold any text: use only codes and paths that lead to files in our folders
    stored_codes: Collection[str] = () if stored is None else stored[1].loads
    all_codes = {*codes, *(code for code in stored_codes if code.isalnum())}
    for suffix in sorted(set(maps.SUFFIX.values())):
        for path in result_paths.photograph_files(key, sorted(all_codes), suffix, OBJECT_KINDS):
            atomic_files.remove(result_paths.resolve(out, path))
    stored_objects = () if stored is None else _pseudonymous_objects(stored[0])
    for path in {*objects, *stored_objects}:
        atomic_files.remove(result_paths.resolve(out, path))


def _pseudonymous_objects(content: tables.Document) -> tuple[str, ...]:
    """Return the paths of a result's de-identified DICOM objects, which its JSON lists for later runs."""
    entry = content.get("dicom")
    files = entry.get("files") if isinstance(entry, dict) else None
    texts = files if isinstance(files, list) else ()
    return tuple(text for text in texts if isinstance(text, str) and _PSEUDONYMOUS.fullmatch(text))


def _write_lesion(add_file: _AddFile, result: PhotographResult, lesion: Lesion) -> _LesionOutput:
    """Write one lesion's map and mask; return its regions and outlines."""
    request = result.request
    stored = maps.native_levels(result.probabilities, lesion.code, request.format)
    map_file = result_paths.map_file(request.name, lesion.code, maps.SUFFIX[request.format])
    add_file(map_file, maps.encode(stored, request.format))
    summary, mask = figures.summarise(result, lesion, stored)
    dicom_levels = dicom_extra.dicom_levels(stored, request)
    del stored
    add_file(result_paths.mask_file(request.name, lesion.code), maps.encode_mask(mask))
    dicom = None
    if request.objects is not None:
        dicom = DicomLesion(summary=summary, mask=mask, levels=dicom_levels)
    traced = contours.trace(mask, summary.regions, overwrite=dicom is None)
    layer = page.page_layer(traced, lesion)
    area = overlays.outlined_area(traced, lesion, overwrite=True)
    return _LesionOutput(summary=summary, area=area, layer=layer, dicom=dicom)


def _write_overlay(
    add_file: _AddFile,
    result: PhotographResult,
    content: tables.Document,
    areas: Sequence[OutlinedArea],
    pool: Executor,
) -> None:
    pixels = result.photograph.pixels
    notice = figures.small_print(result.request.provenance)
    strip = overlays.legend(pixels.shape[1], figures.captions(content, areas), notice)
    overlay = overlays.draw(pixels, areas, strip, bgr=True, pool=pool)
    add_file(result_paths.overlay_file(result.request.name), overlays.jpeg(overlay, bgr=True))


def _write_pictures(add_file: _AddFile, result: PhotographResult) -> None:
    _, *paths = result_paths.page_files(result.request.name)
    pictures = page.display_pictures(result.photograph.pixels)
    for path, picture in zip(paths, pictures, strict=True):
        add_file(path, picture)


def _write_script(
    add_file: _AddFile, key: str, content: tables.Document, layers: Sequence[PageLayer]
) -> None:
    path, *_ = result_paths.page_files(key)
    add_file(path, page.photograph_script(content, layers))


def _has_same_origin(content: tables.Document, request: PredictRequest) -> bool:
    """Return whether a result has the requested model, settings and format, and this version of Foveate."""
    return _stored_origin(content) == _origin(request)


def _origin(request: PredictRequest) -> tables.Document:
    """Return what decides a result, the photograph excepted, under the words by which people know it."""
    return {
        "Foveate": version(),
        "model": tables.model_entry(request.provenance),
        **tables.json_values(request.settings),
        "format": request.format,
        "DICOM": tables.dicom_entry(request),
    }


def _stored_origin(content: tables.Document) -> tables.Document:
    """Return the same of an existing result."""
    settings = content.get("settings")
    return {
        "Foveate": content.get("foveate"),
        "model": content.get("model"),
        **(settings if isinstance(settings, dict) else {}),
        "format": content.get("format"),
        "DICOM": _without_files(content.get("dicom")),
    }


def _without_files(entry: object) -> object:
    """Return the entry of DICOM objects without their paths, which decide nothing."""
    return (
        {key: value for key, value in entry.items() if key != "files"} if isinstance(entry, dict) else entry
    )


def _in_words(value: object) -> str:
    """Return a value of a request in one line; a file's digest is shortened."""
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_in_words(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(_in_words, value))
    text = "none" if value is None else str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def _is_complete(out: Path, request: PredictRequest, row: SummaryRow) -> bool:
    """Return whether all files of a result exist."""
    suffix = maps.SUFFIX[request.format]
    expected = (
        *result_paths.photograph_files(request.name, tuple(row.loads), suffix),
        *dicom_extra.object_files(request).values(),
    )
    return all(is_file(result_paths.resolve(out, path)) for path in expected)


def _complete_row(
    out: Path, content: tables.Document, row: SummaryRow, request: PredictRequest, digest: str
) -> SummaryRow | None:
    matching = _matching_row(content, row, request, digest)
    return matching if matching is not None and _is_complete(out, request, matching) else None


def _matching_row(
    content: tables.Document, row: SummaryRow, request: PredictRequest, digest: str
) -> SummaryRow | None:
    is_same = _has_same_origin(content, request) and (row.name, row.digest) == (request.name, digest)
    return row if is_same else None


def _digest_of(stored: tuple[tables.Document, SummaryRow] | None) -> str | None:
    return None if stored is None else stored[1].digest


def _existing_result(out: Path, key: str) -> _ExistingResult | None:
    """Return what the table of a folder needs of a result, or None if there is no file or it is not ours.

    A file is read once, as long as it does not change.

    Raises:
        OutputError: it cannot be read.
    """
    path = out / result_paths.regions_file(key, ".json")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise atomic_files.output_error(path, error) from error
    return _read_existing_result(out, key, (status.st_ino, status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=EXISTING_RESULTS)
def _read_existing_result(out: Path, key: str, state: tuple[int, int, int]) -> _ExistingResult | None:
    """Return the same; another content of the file has another `state`."""
    stored = _read_json(out, key)
    if stored is None:
        return None
    content, row = stored
    return _ExistingResult(row=row, origin=_stored_origin(content), frame=content["photograph"].get("frame"))


def _read_json(out: Path, key: str) -> tuple[tables.Document, SummaryRow] | None:
    """Return a photograph's JSON and its row, or None if there is no file or it is not ours."""
    path = result_paths.resolve(out, result_paths.regions_file(key, ".json"))
    try:
        text = valid_path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise atomic_files.output_error(path, error) from error
    return _parse_json(text, key)


def _parse_json(text: bytes, key: str) -> tuple[tables.Document, SummaryRow] | None:
    """Return a photograph's JSON and its row, or None if it is not ours."""
    try:
        content: tables.Document = json.loads(text)
        return content, tables.row_of(content, key)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
