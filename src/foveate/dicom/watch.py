"""Photographs are looked at as they come into an archive, and their results stored there.

Knows:   what is new, what waits for the archive to come back, and what is set aside.
Ignores: how lesions are found, and how an archive is spoken to.

What is done is remembered by the archive alone: results have UIDs that follow from the work, so that a
photograph whose results lie there is done, whoever did it. A watcher that is killed, or whose archive is,
loses nothing: what is missing is found again by the next look. Photographs that cannot be read or looked at
are set aside in OUT/set-aside.json with their error; who deletes a line there has it tried again.

On disk lies only what is under way.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from foveate import photographs
from foveate.dicom import transfer
from foveate.dicom.connection import Archive, Held
from foveate.errors import ArchiveAwayError, ArchiveError, FoveateError, OutputError
from foveate.inference import batch
from foveate.inference.api import Model
from foveate.inference.pipeline import DEFAULTS, Settings, segment
from foveate.types import Origin
from foveate.writers import Objects, Order, extra, files

SET_ASIDE = "set-aside.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is watched, and what is done with what comes."""

    archive: Archive
    model: Model
    out: Path
    """Folder for what is under way."""
    objects: Objects
    """What is stored of each photograph."""
    settings: Settings = DEFAULTS
    date: str | None = None
    """Studies of these dates only, as in `Archive.studies`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that a person wants to know."""

    text: str
    """One line."""
    failed: bool = False


Tell = Callable[[Event], None]


def watch(task: Task, every: float, stop: Callable[[], bool], tell: Tell = lambda event: None) -> None:
    """Look, do what is new, wait, look again, until told to stop.

    While the archive does not answer it is asked again; all other refusals end the watch.

    Args:
        task: what is watched.
        every: seconds between two looks.
        stop: asked after every photograph and every wait.
        tell: called as things happen.

    Raises:
        ArchiveError: the archive refuses, as by a wrong password or a full disk.
        OutputError: the folder cannot be written.
    """
    away = False

    def answered(event: Event) -> None:
        nonlocal away
        away = False  # so that a second outage within one look is told as well
        tell(event)

    while not stop():
        try:
            once(task, answered, stop)
            away = False
        except ArchiveAwayError as error:
            if not away:
                tell(Event(text=f"{error}; asked again every {every:g} s", failed=True))
            away = True
        time.sleep(every)


def once(task: Task, tell: Tell = lambda event: None, stop: Callable[[], bool] = lambda: False) -> int:
    """Look once and do all photographs whose results are not in the archive; return how many were done.

    Raises:
        ArchiveError: the archive refuses.
        ArchiveAwayError: it does not answer.
        OutputError: the folder cannot be written.
    """
    files.prove(task.out)
    files.sweep(task.out)
    aside = _aside(task.out)
    done = 0
    for held in _new(task, aside):
        if stop():
            break
        try:
            _do(task, held)
        except (ArchiveError, ArchiveAwayError, OutputError):
            raise
        except (FoveateError, MemoryError) as error:
            aside[held.uid] = str(error) or "not enough memory"
            files.write(task.out / SET_ASIDE, json.dumps(aside, indent=2, ensure_ascii=False).encode())
            tell(Event(text=f"set aside {held.uid}: {aside[held.uid]}", failed=True))
            continue
        done += 1
        tell(Event(text=f"stored results of {held.uid}"))
    return done


def _new(task: Task, aside: dict[str, str]) -> Iterator[Held]:
    """Yield the photographs that want doing."""
    for study in task.archive.studies(date=task.date):
        there: frozenset[str] | None = None
        for held in task.archive.photographs(study):
            if held.uid in aside:
                continue
            if there is None:
                there = task.archive.results(study)
            if not set(_names(task, held)) <= there:
                yield held


def _names(task: Task, held: Held) -> Iterator[str]:
    """Yield the UIDs that all results of an object will have."""
    derived = extra.dicom().names.derived
    for frame in _frames(held):
        origin = Origin(uid=held.uid, frame=frame, laterality=None, field_degrees=None, header=b"")
        asked = _order(task, _called(held, frame))
        for kind in task.objects.kinds:
            yield derived(origin, asked, kind)


def _frames(held: Held) -> tuple[int | None, ...]:
    return (None,) if held.frames == 1 else tuple(range(1, held.frames + 1))


def _called(held: Held, frame: int | None) -> str:
    return held.uid if frame is None else f"{held.uid}_frame-{frame}"


def _order(task: Task, name: str) -> Order:
    model = task.model
    return batch.order(name, model.package, model.engine.label, task.settings, "png", objects=task.objects)


def _do(task: Task, held: Held) -> None:
    """Fetch an object, look at each of its photographs, store the results; leave nothing on the disk."""
    now = replace(task.objects, made=datetime.now())
    folder = task.out / held.uid
    path = transfer.place(task.out, held)
    try:
        if not path.is_file():
            files.write(path, task.archive.fetch(held))
        for frame in _frames(held):
            photograph = photographs.read(path, frame=frame)
            seen = segment(photograph, task.model.package, task.model.engine, task.settings)
            batch.save(seen, folder, name=_called(held, frame), objects=now)
        transfer.push(task.archive, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _aside(out: Path) -> dict[str, str]:
    """Return the photographs that are set aside: UID -> error."""
    path = out / SET_ASIDE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OutputError(f"{files.shown(path)}: cannot be read ({error}); mend or delete it") from None
    return {str(uid): str(error) for uid, error in found.items()}
