"""Process photographs as they arrive in an archive, and store their results there.

Knows:   which photographs are new, which have to wait for the archive, and which are set aside.
Ignores: how lesions are segmented, and the archive's protocol.

The archive alone remembers what is done. The UIDs of results are derived from the request, so a photograph is
done if its results are in the archive, whoever stored them. If a watcher or its archive is killed, nothing is
lost: the next query finds what is missing. Photographs that cannot be read or processed are recorded in
OUT/set-aside.json with their errors, after three queries if the error may pass; deleting an entry there lets
the watcher try the photograph again. OUT/failures.json counts those queries, also over several starts.

The disk holds only unfinished work.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from foveate import atomic_files, photographs
from foveate.dicom import transfer
from foveate.dicom.connection import Archive, ArchiveObject
from foveate.errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveObjectError,
    FoveateError,
    OutputError,
    is_out_of_memory,
)
from foveate.inference import photograph_job
from foveate.inference.api import Model
from foveate.inference.pipeline import segment
from foveate.inference.settings import DEFAULTS, Settings
from foveate.paths import display_path, is_file
from foveate.types import DicomOrigin
from foveate.writers import DicomRequest, PredictRequest, dicom_extra

SET_ASIDE = "set-aside.json"
"""File of the photographs that are set aside: UID -> error."""

FAILURES = "failures.json"
"""File of the photographs left for the next query: UID -> number of queries in which they failed."""

QUERIES = 3
"""Queries before a photograph is set aside for an error that may pass. Our choice."""

UNFINISHED = "unfinished"
"""Folder of photographs and results on their way: OUT itself may hold photographs that were pulled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchTask:
    """What to watch, and how to process new photographs."""

    archive: Archive
    model: Model
    out: Path
    """Folder for unfinished work."""
    objects: DicomRequest
    """Objects to store for each photograph."""
    settings: Settings = DEFAULTS
    date: str | None = None
    """Only studies of these dates, as in `Archive.studies`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEvent:
    """A message for the user."""

    text: str
    """One line."""
    failed: bool = False


OnEvent = Callable[[WatchEvent], None]


def watch(
    task: WatchTask, every: float, stop: Callable[[], bool], on_event: OnEvent = lambda event: None
) -> None:
    """Query the archive and process new photographs repeatedly, until stopped.

    While the archive does not respond, the queries continue; all other errors of the archive end the watch.

    Args:
        task: what to watch.
        every: seconds between two queries.
        stop: called after every photograph and every wait; True ends the watch.
        on_event: called with each event.

    Raises:
        ArchiveError: the archive refuses, as with a wrong password or a full disk.
        OutputError: the folder cannot be written.
    """
    reported_away = False

    def forward(event: WatchEvent) -> None:
        nonlocal reported_away
        reported_away = False  # the archive responded: report the next outage as well
        on_event(event)

    while not stop():
        try:
            process_new(task, forward, stop)
            reported_away = False
        except ArchiveAwayError as error:
            if not reported_away:
                on_event(WatchEvent(text=f"{error}; trying again every {every:g} s", failed=True))
            reported_away = True
        time.sleep(every)


def process_new(
    task: WatchTask,
    on_event: OnEvent = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Query once, and process the photographs whose results are not in the archive; return their number.

    Args:
        task: what to watch.
        on_event: called with each event.
        stop: called before each photograph; True ends the query.

    Raises:
        ArchiveError: the archive refuses.
        ArchiveAwayError: it does not respond.
        OutputError: the folder cannot be written.
    """
    atomic_files.require_writable(task.out)
    atomic_files.remove_leftovers(task.out)
    set_aside = {uid: str(error) for uid, error in _read(task.out / SET_ASIDE).items()}
    failures = _read_failures(task.out)

    def put_aside(uid: str, error: Exception) -> None:
        set_aside[uid] = _text_of(error)
        _write(task.out / SET_ASIDE, set_aside)
        forget_failures(uid)
        on_event(WatchEvent(text=f"set aside {uid}: {set_aside[uid]}", failed=True))

    def forget_failures(uid: str) -> None:
        if failures.pop(uid, 0):
            _write_failures(task.out, failures)

    count = 0
    for photograph in _unprocessed(task, set_aside, put_aside):
        if stop():
            break
        try:
            _process(task, photograph)
        except (ArchiveError, ArchiveAwayError):
            raise
        except Exception as error:  # a bug in one photograph must not end the watch
            if isinstance(error, OSError) and not is_out_of_memory(error):
                raise atomic_files.output_error(task.out, error) from error
            if photograph_job.is_disk_error(error):
                raise
            key = _set_aside_key(photograph)
            failures[key] += 1
            if _may_pass(error) and failures[key] < QUERIES:
                _write_failures(task.out, failures)
                text = f"left {key} for the next query: {_text_of(error)}"
                on_event(WatchEvent(text=text, failed=True))
            else:
                put_aside(key, error)
            continue
        count += 1
        forget_failures(_set_aside_key(photograph))
        on_event(WatchEvent(text=f"stored results of {photograph.uid}"))
    return count


def _may_pass(error: Exception) -> bool:
    """Return whether another attempt at the same photograph may succeed."""
    return is_out_of_memory(error) or (isinstance(error, ArchiveObjectError) and error.may_pass)


def _text_of(error: Exception) -> str:
    """Return one line about an error for which a photograph is set aside."""
    return str(error) if isinstance(error, FoveateError) else photograph_job.describe_unexpected(error)


def _unprocessed(
    task: WatchTask, set_aside: Mapping[str, str], put_aside: Callable[[str, Exception], None]
) -> Iterator[ArchiveObject]:
    """Yield the photographs that lack results in the archive and are not set aside.

    A study that cannot be queried is set aside as a whole.
    """
    for study in task.archive.studies(date=task.date):
        if study in set_aside:
            continue
        try:
            candidates = [
                photograph
                for photograph in task.archive.photographs(study)
                if _set_aside_key(photograph) not in set_aside
            ]
            results = task.archive.results(study) if candidates else frozenset()
        except ArchiveObjectError as error:
            put_aside(study, error)
            continue
        for photograph in candidates:
            if photograph.frames > photographs.MAX_FRAMES:
                put_aside(_set_aside_key(photograph), _too_many_frames(photograph))
            elif not set(_result_uids(task, photograph)) <= results:
                yield photograph


def _too_many_frames(photograph: ArchiveObject) -> ArchiveObjectError:
    return ArchiveObjectError(
        f"{photograph.uid} has {photograph.frames:,} frames by the archive, more than the limit of "
        f"{photographs.MAX_FRAMES:,}; ask its administrator"
    )


def _set_aside_key(photograph: ArchiveObject) -> str:
    """Return the name under which a photograph is set aside: its UID, with its study's where it is invalid.

    A device that writes invalid UIDs may write the same one into every photograph.
    """
    is_valid = transfer.UID.fullmatch(photograph.uid)
    return photograph.uid if is_valid else f"{photograph.study} {photograph.uid}"


def _result_uids(task: WatchTask, photograph: ArchiveObject) -> Iterator[str]:
    """Yield the UIDs that all results of an object have."""
    derived_uid = dicom_extra.load_writer().uids.derived_uid
    for frame in _frames(photograph):
        origin = DicomOrigin(uid=photograph.uid, frame=frame, laterality=None, field_degrees=None, header=b"")
        request = _request(task, photographs.frame_name(photograph.uid, frame))
        for kind in task.objects.kinds:
            yield derived_uid(origin, request, kind)


def _frames(photograph: ArchiveObject) -> tuple[int | None, ...]:
    """Return the numbers of an object's frames, from 1; (None,) if it has only one."""
    return (None,) if photograph.frames == 1 else tuple(range(1, photograph.frames + 1))


def _request(task: WatchTask, name: str) -> PredictRequest:
    model = task.model
    return photograph_job.predict_request(
        name, model.package, model.engine.label, task.settings, "png", objects=task.objects
    )


def _process(task: WatchTask, photograph: ArchiveObject) -> None:
    """Fetch an object, process each of its frames, store the results; leave no file on the disk.

    Raises:
        FoveateError: the object cannot be fetched, processed or stored.
    """
    objects = replace(task.objects, created=datetime.now())
    work = task.out / UNFINISHED
    folder = work / photograph.uid
    path = transfer.photograph_path(work, photograph)
    try:
        if not is_file(path):
            atomic_files.write_file(path, task.archive.fetch(photograph))
        for frame in _frames(photograph):
            pixels = photographs.read(path, frame=frame)
            segmentation = segment(pixels, task.model.package, task.model.engine, task.settings)
            photograph_job.save(
                segmentation, folder, name=photographs.frame_name(photograph.uid, frame), objects=objects
            )
        refused = transfer.push(task.archive, folder).refused
        if refused:
            raise ArchiveObjectError(refused[0])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        path.unlink(missing_ok=True)
        for empty in (path.parent, work):
            with suppress(OSError):  # another file is in it
                empty.rmdir()


def _read_failures(out: Path) -> Counter[str]:
    """Return the photographs that are left for the next query, and in how many queries they have failed.

    Raises:
        OutputError: the file cannot be read.
    """
    content = _read(out / FAILURES)
    for count in content.values():
        if not isinstance(count, int):
            raise _unreadable(out / FAILURES, f"{count!r} is not a number of queries")
    return Counter(content)


def _write_failures(out: Path, failures: Counter[str]) -> None:
    if failures:
        _write(out / FAILURES, failures)
    else:
        (out / FAILURES).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object whose keys are UIDs; empty if the file is missing.

    Raises:
        OutputError: the file cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return content


def _unreadable(path: Path, reason: object) -> OutputError:
    return OutputError(f"{display_path(path)}: cannot be read ({reason}); correct or delete it")


def _write(path: Path, content: Mapping[str, object]) -> None:
    atomic_files.write_file(path, json.dumps(content, indent=2, ensure_ascii=False).encode())
