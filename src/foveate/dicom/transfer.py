"""Pull photographs from an archive into a folder, and push results from a folder into the archive.

Knows:   which objects already exist on either side, and are not transferred again.
Ignores: the protocol, and what the pictures show.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from foveate import atomic_files
from foveate.dicom.connection import Archive, ArchiveObject
from foveate.errors import ArchiveError
from foveate.paths import display_path
from foveate.writers import result_paths

STORE_ORDER = ("SEG", "PROB", "SR")
"""Order in which a photograph's results are stored: a report only after the segments that it refers to."""

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""UIDs that are safe as file names; cameras do not always follow all rules for UIDs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferStep:
    """The outcome for one object."""

    name: str
    """Its UID, or its file's name."""
    transferred: bool
    """False if it already existed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferCounts:
    """The outcome for all objects."""

    transferred: int
    existing: int
    """Objects that already existed."""


OnStep = Callable[[TransferStep], None]


def pull(
    archive: Archive, out: Path, studies: Sequence[str], on_step: OnStep = lambda step: None
) -> TransferCounts:
    """Fetch the photographs of studies to OUT/<study>/<object>.dcm; existing files are not fetched again.

    A file appears whole or not at all.

    Raises:
        ArchiveError, ArchiveAwayError: the archive refuses, or does not respond; fetched files stay.
        OutputError: a file cannot be written, as on a full disk; fetched files stay.
    """
    atomic_files.require_writable(out)
    atomic_files.remove_leftovers(out)
    outcomes = []
    for study in studies:
        for photograph in archive.photographs(study):
            path = photograph_path(out, photograph)
            missing = not path.is_file()
            if missing:
                atomic_files.write_file(path, archive.fetch(photograph))
            outcomes.append(missing)
            on_step(TransferStep(name=photograph.uid, transferred=missing))
    return _counts(outcomes)


def photograph_path(out: Path, photograph: ArchiveObject) -> Path:
    """Return the path at which a photograph is saved.

    Raises:
        ArchiveError: its UIDs are invalid, and could lead to another folder.
    """
    for uid in (photograph.study, photograph.uid):
        if not UID.fullmatch(uid):
            raise ArchiveError(f"{uid!r} is no UID; ask who runs the archive")
    return out / photograph.study / f"{photograph.uid}.dcm"


def push(archive: Archive, out: Path, on_step: OnStep = lambda step: None) -> TransferCounts:
    """Store those DICOM objects of a folder of results that the archive does not hold.

    Each object is stored whole or not at all, and a photograph's report after its segments. The first error
    ends the transfer; another call continues there.

    Args:
        archive: the destination.
        out: folder that `foveate predict --dicom` has written.
        on_step: called after each object.

    Raises:
        ArchiveError: there are no objects, or the archive refuses.
        ArchiveAwayError: it does not respond.
    """
    in_archive: dict[str, frozenset[str]] = {}
    outcomes = []
    for path in _objects_in_store_order(out):
        header = _read_header(path)
        study = str(header.StudyInstanceUID)
        if study not in in_archive:
            in_archive[study] = archive.results(study)
        missing = str(header.SOPInstanceUID) not in in_archive[study]
        if missing:
            archive.store(path.read_bytes())
        outcomes.append(missing)
        on_step(TransferStep(name=path.name, transferred=missing))
    if not outcomes:
        raise ArchiveError(f"{out}: holds no DICOM results; make them by foveate predict --dicom seg,sr")
    return _counts(outcomes)


def _counts(outcomes: Sequence[bool]) -> TransferCounts:
    """Return counts from a flag for each object: whether it was transferred."""
    return TransferCounts(transferred=sum(outcomes), existing=len(outcomes) - sum(outcomes))


def _objects_in_store_order(out: Path) -> list[Path]:
    """Return a folder's objects, photograph by photograph, each photograph's in `STORE_ORDER`."""
    files = (out / result_paths.DICOM_FOLDER).rglob("*.dcm")

    def rank(path: Path) -> tuple[str, int]:
        name, _, kind = path.stem.rpartition("_")
        position = STORE_ORDER.index(kind) if kind in STORE_ORDER else len(STORE_ORDER)
        return str(path.with_name(name)), position

    return sorted((path for path in files if not path.name.startswith(".")), key=rank)


def _read_header(path: Path) -> pydicom.Dataset:
    """Return an object without its pixels.

    Raises:
        ArchiveError: the file cannot be read.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise ArchiveError(f"{display_path(path)}: cannot be read ({error}); predict again") from None
