"""Write the files of one photograph's result, one lesion at a time.

Knows:   which files belong to a photograph, and in which order they are written.
Ignores: how each file is encoded, and when an earlier result is reused.

Files get their names when all are on the disk, and the regions' JSON gets its name last and is removed first:
if it exists, all other files of that photograph exist.
Lesions, pictures and the overlay share one pool of threads. Memory needed in addition to the photograph: two
maps, or one map and a display copy, and later one copy to draw on. The outlined areas are kept as bits.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from foveate import atomic_files, lesions
from foveate.errors import OutputError
from foveate.lesions import Lesion
from foveate.paths import is_file
from foveate.writers import (
    contours,
    dicom_extra,
    existing_results,
    figures,
    maps,
    overlays,
    page,
    result_paths,
    tables,
)
from foveate.writers.overlays import OutlinedArea
from foveate.writers.page import PageLayer
from foveate.writers.results import (
    OBJECT_KINDS,
    DicomLesion,
    LesionSummary,
    PhotographResult,
    SummaryRow,
)

WRITER_THREADS = 2
"""Number of lesions, pictures and bands of the overlay that are processed at a time, mostly outside Python's
global lock. More would need more memory."""

_AddFile = Callable[[str, bytes], None]
"""Writes a file that belongs to the result, given its path relative to the output folder, with '/'."""


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


def write(
    out: Path,
    result: PhotographResult,
    codes: Sequence[str] = (),
    *,
    before_renaming: Callable[[], None] = lambda: None,
) -> SummaryRow:
    """Write all files of one photograph and return its row of the summary.

    They replace the files that an earlier run wrote under the same name after all of them are on the disk: if
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
    name = result.request.name
    json_file = result_paths.regions_file(name, ".json")
    objects = dicom_extra.object_files(result.request).values()
    clear_earlier = functools.partial(clear, out, name, {*result.lesions, *codes}, objects)
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
    return tables.row_of(content)


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
    name = result.request.name
    lesion_tasks = [
        pool.submit(_write_lesion, add_file, result, lesion) for lesion in lesions.of(result.lesions)
    ]
    tasks: list[Future[None]] = [pool.submit(_write_pictures, add_file, result)]
    outputs = [task.result() for task in lesion_tasks]
    by_code = dict(zip(result.lesions, outputs, strict=True))
    content = tables.document(result, {code: output.summary for code, output in by_code.items()})
    tasks.append(pool.submit(_write_script, add_file, name, content, [output.layer for output in outputs]))
    tasks.append(pool.submit(add_file, result_paths.regions_file(name, ".csv"), tables.to_csv(content)))
    _write_overlay(add_file, result, content, [output.area for output in outputs], pool)
    objects = {code: output.dicom for code, output in by_code.items() if output.dicom is not None}
    object_files = dicom_extra.object_files(result.request)
    for kind, file in dicom_extra.encode(result, objects, content["field"]["area_px"]).items():
        add_file(object_files[kind], file)
    for task in tasks:
        task.result()
    return content


def clear(out: Path, name: str, codes: Collection[str] = (), objects: Collection[str] = ()) -> None:
    """Remove the files of a photograph that an earlier run wrote, the JSON first.

    Args:
        out: the output folder.
        name: the photograph's name.
        codes: lesions whose files are removed even if no JSON names them, as after a killed run.
        objects: paths of DICOM objects that are removed even if no JSON names them.

    Raises:
        OutputError: a file cannot be removed.
    """
    stored = existing_results.load(out, name)
    atomic_files.remove(result_paths.resolve(out, result_paths.regions_file(name, ".json")))
    # the JSON may hold any text: use only codes and paths that lead to files in our folders
    stored_codes: Collection[str] = () if stored is None else stored.row.loads
    all_codes = {*codes, *(code for code in stored_codes if code.isalnum())}
    for suffix in sorted(set(maps.SUFFIX.values())):
        for path in result_paths.photograph_files(name, sorted(all_codes), suffix, OBJECT_KINDS):
            atomic_files.remove(result_paths.resolve(out, path))
    stored_objects = () if stored is None else stored.objects
    for path in {*objects, *stored_objects}:
        atomic_files.remove(result_paths.resolve(out, path))


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
    add_file: _AddFile, name: str, content: tables.Document, layers: Sequence[PageLayer]
) -> None:
    path, *_ = result_paths.page_files(name)
    add_file(path, page.photograph_script(content, layers))
