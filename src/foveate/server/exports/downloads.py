"""Files made on request: results at chosen thresholds and with corrections, zips, training sets.

Knows:   when existing files are still valid, and which files go into which zip.
Ignores: how a file is written; the I/O worker does that with the functions of the command line.
"""

import contextlib
import hashlib
import json
import threading
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foveate import atomic_files, lesions
from foveate.paths import is_file, is_folder
from foveate.server import errors
from foveate.server.exports import burden_table, photograph_table
from foveate.server.exports.renaming import Entry, renamed
from foveate.server.jobs.protocol import (
    ExportPhotographTask,
    ExportTask,
    Journal,
    JournalEdit,
    JournalPhotograph,
)
from foveate.server.jobs.queue import JobQueue
from foveate.server.review.checks import require_grid
from foveate.server.review.corrections import Corrections
from foveate.server.review.etdrs import GridBurden
from foveate.server.review.gradings import Gradings
from foveate.server.review.measures import PhotographMeasures
from foveate.server.storage import names, refusals
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Record
from foveate.server.storage.journal import corrected_lesions, edits_of
from foveate.server.storage.remains import delete_remains
from foveate.timestamps import utc_timestamp_of
from foveate.version import version
from foveate.writers import maps, overlays, result_paths, tables
from foveate.writers import page as pages
from foveate.writers.results import NOTICE, Provenance, SummaryRow

ETDRS = "etdrs.csv"
"""The burden by field, if a grid was placed."""

PHOTOGRAPHS = "photographs.csv"
"""Eye, note and review of each photograph, if any of them is stated."""

CORRECTED = "corrected"
"""Folder of the files that hold corrections, where there are any."""

SUMMARY = "summary.csv"

EXPORT_FORMAT = 2
"""Number that is raised by one where the files of an unchanged photograph become others within a version of
Foveate: files that a server has kept are made anew. 2: regions keep the model's probabilities."""

README = """\
This folder holds the results with the corrections that people made. In its summary.csv, a photograph that
nobody corrected has the model's figures. corrections/ says who corrected what, and when. The probabilities in
regions/ are the model's: a correction has none.

The files beside this folder (summary.csv, index.html, masks, overlays, regions) hold the model's own results,
without corrections.
"""
"""Text file in the folder of corrections: whose figures are where."""

PARTS = (
    *("maps", "masks", "overlays", "regions", "page", CORRECTED, SUMMARY, "index.html"),
    *(ETDRS, PHOTOGRAPHS),
)
"""The parts that a zip of results may contain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PhotographFiles:
    """The files of one photograph for a zip of several."""

    entries: list[tuple[str, bytes]]
    row: SummaryRow
    corrected_row: SummaryRow | None


class Exports:
    """Makes files on request."""

    def __init__(
        self,
        database: Database,
        data_dir: DataDir,
        jobs: JobQueue,
        *,
        corrections: Corrections,
        measures: PhotographMeasures,
        gradings: Gradings,
        field: str,
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._jobs = jobs
        self._corrections = corrections
        self._measures = measures
        self._gradings = gradings
        self._field = field
        self._lock = threading.Lock()
        self._readers: Counter[Path] = Counter()

    @contextlib.contextmanager
    def results(self, record: Record) -> Iterator[Path]:
        """Yield the folder of a photograph's files at the current thresholds; it exists until the block ends.

        Raises:
            ServiceError: the files cannot be written, or the photograph was deleted meanwhile.
        """
        with self._lock:
            folder = self._folder(record)
            self._readers[folder] += 1
        try:
            yield folder
        finally:
            with self._lock:
                self._readers[folder] -= 1
                if not self._readers[folder]:
                    del self._readers[folder]

    def overlay(self, record: Record, width: int | None) -> bytes:
        """Return the photograph with the current outlines of all lesions as JPEG.

        Args:
            record: the photograph.
            width: width of the picture, px; the photograph's own if it is smaller, or for None.

        Raises:
            ServiceError: as `results`.
        """
        with self.results(record) as folder:
            corrected = folder / CORRECTED
            source = corrected if is_folder(corrected) else folder
            content = (source / result_paths.overlay_file(record.key)).read_bytes()
        if width is None or width >= record.width:
            return content
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        picture = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        height = max(1, round(len(picture) * width / picture.shape[1]))
        scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        return overlays.jpeg(scaled.astype(np.uint8))

    def _folder(self, record: Record) -> Path:
        """Return the folder of a photograph's files, which are written unless they exist already."""
        scratch = self._data_dir.incoming / uuid.uuid4().hex
        try:
            with self._corrections.lock(record.id):  # so that nobody edits what is being read
                present = self._present(record)
                out = self._out(present)
                task = None if out is None or is_folder(out) else self._export_task(present, out, scratch)
            if task is not None:
                self._export(record.id, task)
        finally:
            self._data_dir.delete(scratch)
        return out or self._data_dir.photograph(record.id).results

    def _present(self, record: Record) -> Record:
        """Return a photograph as it is now; as it was, if it is being analysed again.

        A download may have waited for others, or for the photographs before this one, for minutes.

        Raises:
            ServiceError: the photograph was deleted meanwhile.
        """
        present = self._database.get(record.id)
        if present is None:
            raise errors.not_found("photograph")
        return present if present.state == "done" else record

    def _out(self, record: Record) -> Path | None:
        """Return the folder of a photograph's files at its settings; None if they are those of the result.

        Its name depends on all that decides the files, Foveate's version included.
        """
        edits = [edit for edit in edits_of(self._database, record.id) if not edit.undone]
        if (
            not edits
            and not record.thresholds
            and record.spacing_mm == record.predicted.photograph.spacing_mm
        ):
            return None
        journal = [record.revision, *_review(self._gradings.as_adjudicated(record)).values()]
        selected = [
            version(),
            EXPORT_FORMAT,
            dict(record.thresholds),
            record.spacing_mm,
            journal if edits else 0,
        ]
        name = hashlib.sha256(json.dumps(selected, sort_keys=True).encode()).hexdigest()[:16]
        return self._data_dir.photograph(record.id).exports / name

    def _export_task(self, record: Record, out: Path, scratch: Path) -> ExportTask:
        """Return the task that writes a photograph's files, after its corrected maps were written."""
        corrected = {
            lesion: scratch / f"{lesion}.png" for lesion in corrected_lesions(self._database, record.id)
        }
        for lesion, path in corrected.items():
            atomic_files.write_file(path, maps.encode(self._corrections.corrected(record, lesion), "png"))
        return ExportTask(
            folder=self._data_dir.photograph(record.id).folder,
            out=out,
            key=record.key,
            facts=record.predicted,
            thresholds=_thresholds(record),
            spacing=record.spacing_mm,
            journal=self.journal(record),
            corrected=corrected,
            pixels=record.width * record.height,
        )

    def _export(self, identifier: str, task: ExportTask) -> None:
        """Let the I/O worker write a photograph's files, in place of those that nobody reads any more."""
        exports = self._data_dir.photograph(identifier).exports
        for older in exports.iterdir() if is_folder(exports) else ():
            if not self._readers[older]:
                self._data_dir.delete(older)
        try:
            self._jobs.run_io_task(task)
        finally:
            deleted = delete_remains(self._database, self._data_dir, identifier)
        if deleted:
            raise errors.not_found("photograph")

    def journal(self, record: Record) -> Journal | None:
        """Return the journal of a photograph's corrections; None if nobody has corrected it."""
        edits = [edit for edit in edits_of(self._database, record.id) if not edit.undone]
        if not edits:
            return None
        return Journal(
            foveate=version(),
            notice=NOTICE,
            photograph=JournalPhotograph(name=record.key, sha256=record.sha256),
            model=record.predicted.model,
            thresholds=_thresholds(record),
            **_review(self._gradings.as_adjudicated(record)),
            revision=record.revision,
            edits=tuple(
                JournalEdit(
                    kind=edit.kind,
                    lesion=edit.lesion,
                    author=edit.author,
                    time=utc_timestamp_of(edit.time),
                    **edit.details.model_dump(mode="json", exclude={"pixels", "replaces"}),
                )
                for edit in edits
            ),
        )

    # Zips

    def zip_results(self, record: Record, parts: frozenset[str]) -> Path:
        """Return a zip of a photograph's files.

        Raises:
            ServiceError: as `results`.
        """
        with self.results(record) as folder:
            present = self._present(record)
            named = {record.key: present}
            made = {ETDRS: self._etdrs(named), PHOTOGRAPHS: self._statements(named)}
            if corrected := _corrected_row(folder, record.key, record.key):
                made[CORRECTED] = _corrected_summary([corrected])
            tables_of = (entry for name, entries in made.items() if name in parts for entry in entries)
            return self._zip([*_within(folder, parts), *tables_of])

    def etdrs_csv(self, records: Mapping[str, Record]) -> bytes:
        """Return the burden by ETDRS subfield of those photographs that have a grid and still exist.

        Args:
            records: name of a photograph in the table -> its record.

        Raises:
            ServiceError: no grid was placed on any of them.
        """
        require_grid(*records.values())
        burdens = (
            (key, self._database.unless_deleted(self._burden, record)) for key, record in records.items()
        )
        return burden_table.etdrs_csv((key, burden) for key, burden in burdens if burden is not None)

    def _burden(self, record: Record) -> GridBurden | None:
        """Return the burden by ETDRS subfield as it is now; None if no grid is placed.

        Raises:
            ServiceError: the photograph was deleted meanwhile.
        """
        present = self._present(record)
        return None if present.grid is None else self._measures.grid_burden(present)

    def _etdrs(self, records: Mapping[str, Record]) -> Iterator[Entry]:
        """Yield the burden by ETDRS subfield for a zip, if any photograph has a grid."""
        if any(record.grid is not None for record in records.values()):
            yield ETDRS, self.etdrs_csv(records)

    def _statements(self, records: Mapping[str, Record]) -> Iterator[Entry]:
        """Yield the table of eyes, notes and reviews for a zip, if any is stated.

        Args:
            records: name of a photograph in the zip -> its record.
        """
        rows = [(key, self._gradings.as_adjudicated(record)) for key, record in records.items()]
        if any(photograph_table.has_statements(record) for _, record in rows):
            yield PHOTOGRAPHS, photograph_table.photographs_csv(rows)

    def zip_results_of(self, records: Sequence[Record]) -> Path:
        """Return a zip of the files of several photographs, with one summary and one page for all.

        Those that are deleted before their turn comes are left out.

        Raises:
            ServiceError: none of them is done, or all were deleted meanwhile.
        """
        if not records:
            raise errors.not_ready("none of these photographs is done yet; wait for the first")

        def entries() -> Iterator[Entry]:
            rows, corrected = [], []
            provenance, by_key = None, keyed(records)
            for key, record in by_key.items():
                files = self._database.unless_deleted(self._files, record, key)
                if files is None:
                    continue
                yield from files.entries
                rows.append(files.row)
                corrected.append(files.corrected_row)
                model = record.predicted.model
                provenance = Provenance(name=model.name, version=model.version, digest=model.sha256)
            codes = list(dict.fromkeys(code for row in rows for code in row.loads))
            if provenance is None:
                raise errors.not_found("photograph")
            yield SUMMARY, tables.summary(rows, codes)
            if any(corrected):
                yield from _corrected_summary([row or own for row, own in zip(corrected, rows, strict=True)])
            yield "index.html", pages.index(rows, codes, provenance)
            present = {
                key: found
                for key, record in by_key.items()
                if (found := self._database.unless_deleted(self._present, record))
            }
            yield from self._etdrs(present)
            yield from self._statements(present)

        return self._zip(entries())

    def _files(self, record: Record, key: str) -> _PhotographFiles:
        """Return the files of a photograph under a name, read at once, so that none is missing later.

        Raises:
            ServiceError: as `results`.
            FileNotFoundError: the photograph was deleted meanwhile.
        """
        parts = frozenset(PARTS) - {SUMMARY, "index.html", ETDRS, PHOTOGRAPHS}
        with self.results(record) as folder:
            return _PhotographFiles(
                entries=[
                    (name, _content(what)) for name, what in renamed(_within(folder, parts), record.key, key)
                ],
                row=_row(folder, record.key, key),
                corrected_row=_corrected_row(folder, record.key, key),
            )

    def zip_training(self, records: Sequence[Record]) -> Path:
        """Return a zip of photographs and corrected masks; its corrections.toml describes the layout.

        Those that are deleted before their turn comes are left out.

        Raises:
            ServiceError: nobody has corrected or reviewed any of the photographs, or those that somebody has
                were all deleted meanwhile.
        """
        corrected = [
            record
            for record in map(self._gradings.as_adjudicated, records)
            if record.reviewed or corrected_lesions(self._database, record.id)
        ]
        if not corrected:
            raise errors.not_ready("none of these photographs is corrected or reviewed yet")
        codes = list(dict.fromkeys(code for record in corrected for code in record.lesions))

        def entries() -> Iterator[Entry]:
            yield "corrections.toml", self._layout(codes)
            is_empty = True
            for key, record in keyed(corrected).items():
                files = self._database.unless_deleted(self._training_files, record, key)
                yield from files or ()
                is_empty = is_empty and files is None
            if is_empty:
                raise errors.not_found("photograph")

        return self._zip(entries())

    def _training_files(self, record: Record, key: str) -> list[Entry]:
        """Return the photograph, its corrected masks and its journal under a name.

        Raises:
            ServiceError: a file cannot be written, or the photograph was deleted meanwhile.
            FileNotFoundError: the photograph was deleted meanwhile.
        """
        photograph = _content(self._photograph(record))
        with self._corrections.lock(record.id):  # so that masks and journal are of one moment
            present = self._gradings.as_adjudicated(self._present(record))
            masks = {
                code: maps.encode_mask(self._corrections.mask(present, code)) for code in present.lesions
            }
            journal = f"corrections/{record.key}.json", self._journal_file(present)
        return [
            (f"photographs/{key}.png", photograph),
            *((f"masks/{key}_{code}.png", mask) for code, mask in masks.items()),
            *renamed([journal], record.key, key),
        ]

    def _journal_file(self, record: Record) -> bytes:
        """Return the journal of a photograph as JSON; without edits, it says only that it was reviewed."""
        journal = self.journal(record)
        if journal is not None:
            return tables.utf8(journal.model_dump_json(indent=2))
        content = {"model": record.predicted.model.model_dump(), **_review(record), "edits": []}
        return tables.utf8(json.dumps(content, indent=2, ensure_ascii=False))

    def _photograph(self, record: Record) -> Path:
        """Return the path of the photograph as PNG: the same pixels, none of the file's metadata."""
        folder = self._data_dir.photograph(record.id).folder
        out = folder / "photograph.png"
        with self._lock:
            if not is_file(out):
                try:
                    self._jobs.run_io_task(
                        ExportPhotographTask(folder=folder, out=out, pixels=record.width * record.height)
                    )
                finally:
                    delete_remains(self._database, self._data_dir, record.id)
        return out

    def _layout(self, codes: Sequence[str]) -> bytes:
        lines = ['name = "corrections"', f'field = "{self._field}"', "", "[lesions]"]
        for lesion in lesions.of(codes):
            red, green, blue = lesion.colour
            lines.append(f'{lesion.code} = {{ name = "{lesion.name}", colour = [{red}, {green}, {blue}] }}')
        lines += [
            "",
            "[splits.train]",
            'photographs = "photographs/*"',
            'masks = "masks/{name}_{lesion}.png"',
            "",
        ]
        return "\n".join(lines).encode()

    def _zip(self, entries: Iterable[Entry]) -> Path:
        """Return the path of a new zip, which the caller deletes; pictures are not compressed again."""
        path = self._data_dir.incoming / f"{uuid.uuid4().hex}.zip"
        try:
            with zipfile.ZipFile(path, "x") as archive:
                for name, what in entries:
                    content = _content(what)
                    packed = name.endswith((".png", ".jpg"))
                    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, content, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, FileNotFoundError):  # one of its files was deleted meanwhile
                raise errors.not_found("photograph") from error
            if isinstance(error, OSError):
                raise refusals.disk_error(error) from error
            raise
        return path


def _content(what: Path | bytes) -> bytes:
    return what if isinstance(what, bytes) else what.read_bytes()


def keyed(records: Iterable[Record]) -> dict[str, Record]:
    """Return name -> record; photographs of one name, as in two batches, are numbered in their order."""
    by_key: dict[str, Record] = {}
    for record in records:
        by_key[names.unused_key(record.key, frozenset(by_key))] = record
    return by_key


def _review(record: Record) -> dict[str, Any]:
    """Return what a journal says of the review of its photograph."""
    time = record.reviewed_at
    return {
        "reviewed": record.reviewed,
        "reviewer": record.reviewer,
        "reviewed_at": None if time is None else utc_timestamp_of(time),
    }


def _thresholds(record: Record) -> dict[str, float]:
    """Return lesion -> its current threshold, the probability from which a pixel is lesion."""
    return {lesion: record.threshold(lesion) for lesion in record.lesions}


def parts(names: str | None) -> frozenset[str]:
    """Return the parts that a text such as 'masks,overlays' names; all parts for None.

    Raises:
        ServiceError: there is no such part.
    """
    if names is None:
        return frozenset(PARTS)
    selected = frozenset(part.strip() for part in names.split(","))
    if not selected <= set(PARTS):
        raise errors.invalid(f"parts is {names[:100]!r}; choose among {', '.join(PARTS)}")
    return selected


def _row(folder: Path, key: str, name: str) -> SummaryRow:
    """Return the figures of a photograph, as its JSON file in a folder of results states them.

    Args:
        folder: the folder.
        key: name of the photograph's files there.
        name: name of its files in the zip.
    """
    content = (folder / result_paths.regions_file(key, ".json")).read_bytes()
    return replace(tables.row_of(json.loads(content)), name=name)


def _corrected_row(folder: Path, key: str, name: str) -> SummaryRow | None:
    """Return a photograph's figures with its corrections; None if it has none. See `_row`."""
    corrected = folder / CORRECTED
    return _row(corrected, key, name) if is_folder(corrected) else None


def _corrected_summary(rows: Sequence[SummaryRow]) -> Iterator[Entry]:
    """Yield the summary with corrections, and a text that says whose figures are where."""
    codes = list(dict.fromkeys(code for row in rows for code in row.loads))
    yield f"{CORRECTED}/{SUMMARY}", tables.summary(rows, codes)
    yield f"{CORRECTED}/README.txt", README.encode()


def _within(folder: Path, parts: frozenset[str]) -> Iterator[Entry]:
    """Yield the files of a folder that belong to the chosen parts, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder.stat()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if is_file(path) and name.parts[0] in parts:
            yield name.as_posix(), path
