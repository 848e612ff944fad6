"""Photographs out of an archive into a folder, results out of a folder into the archive.

Knows:   what lies there already, on either side, and is left alone.
Ignores: how either side is spoken to, and what is in the pictures.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from foveate.dicom.connection import Archive, Held
from foveate.errors import ArchiveError
from foveate.writers import files, places

ORDER = ("SEG", "PROB", "SR")
"""In which a photograph's results are stored: no report lies there without its segments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What was done with one object."""

    what: str
    """Its UID, or its file."""
    done: bool
    """Now; not before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What came of it all."""

    done: int
    """Objects that were moved."""
    kept: int
    """Objects that lay there already."""


Tell = Callable[[Step], None]

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""What may be a file's name; cameras do not always keep to all rules for UIDs."""


def pull(archive: Archive, out: Path, studies: Sequence[str], tell: Tell = lambda step: None) -> Moved:
    """Fetch photographs of studies to OUT/<study>/<object>.dcm; what lies there is not fetched again.

    A file appears whole or not at all.

    Raises:
        ArchiveError, ArchiveAwayError: the archive refuses, or does not answer; what was fetched stays.
        OutputError: a file cannot be written, as on a full disk; the same.
    """
    files.prove(out)
    files.sweep(out)
    done = kept = 0
    for study in studies:
        for held in archive.photographs(study):
            path = place(out, held)
            there = path.is_file()
            if not there:
                files.write(path, archive.fetch(held))
            done, kept = done + (not there), kept + there
            tell(Step(what=held.uid, done=not there))
    return Moved(done=done, kept=kept)


def place(out: Path, held: Held) -> Path:
    """Return where a photograph is put.

    Raises:
        ArchiveError: its UIDs are none, and might lead elsewhere.
    """
    for uid in (held.study, held.uid):
        if not UID.fullmatch(uid):
            raise ArchiveError(f"{uid!r} is no UID; ask who runs the archive")
    return out / held.study / f"{held.uid}.dcm"


def push(archive: Archive, out: Path, tell: Tell = lambda step: None) -> Moved:
    """Store the DICOM objects of a folder of results that the archive has not.

    Each is stored whole or not at all, a photograph's report after its segments; the first that is refused
    ends it. Done again, it goes on there.

    Args:
        archive: where to.
        out: folder that `foveate predict --dicom` has written.
        tell: called for each object.

    Raises:
        ArchiveError: there are no objects, or the archive refuses.
        ArchiveAwayError: it does not answer.
    """
    there: dict[str, frozenset[str]] = {}
    done = kept = 0
    for path in _in_order(out):
        header = _header(path)
        study, uid = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        if study not in there:
            there[study] = archive.results(study)
        known = uid in there[study]
        if not known:
            archive.store(path.read_bytes())
        done, kept = done + (not known), kept + known
        tell(Step(what=path.name, done=not known))
    if done + kept == 0:
        raise ArchiveError(f"{out}: holds no DICOM results; make them by foveate predict --dicom seg,sr")
    return Moved(done=done, kept=kept)


def _in_order(out: Path) -> Iterator[Path]:
    """Yield a folder's objects: photograph by photograph, each in `ORDER`."""
    found = [path for path in (out / places.OBJECTS).rglob("*.dcm") if not path.name.startswith(".")]

    def rank(path: Path) -> tuple[str, int]:
        name, _, kind = path.stem.rpartition("_")
        return str(path.with_name(name)), ORDER.index(kind) if kind in ORDER else len(ORDER)

    yield from sorted(found, key=rank)


def _header(path: Path) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise ArchiveError(f"{files.shown(path)}: cannot be read ({error}); predict again") from None
