"""Pull photographs from an archive into a folder, and push results from a folder into the archive.

Knows:   which objects already exist on either side, so that they are not transferred again.
Ignores: the protocol, and what the pictures show.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from foveate import atomic_files
from foveate.dicom.connection import UNREADABLE, Archive, ArchiveObject
from foveate.errors import ArchiveError, ArchiveObjectError
from foveate.paths import display_path, is_file
from foveate.writers import result_paths

STORE_ORDER = ("SEG", "PROB", "SR")
"""Order in which a photograph's results are stored: a report only after the segments that it refers to."""

UID = re.compile(r"(?=.{1,200}$)[0-9]+(\.[0-9]+)*")
"""UIDs that are safe as file names; cameras do not always follow all rules for UIDs, which may have 64
characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferStep:
    """The outcome for one object."""

    name: str
    """Its UID, or its file's name."""
    transferred: bool
    """False if it already existed, or was refused."""
    error: str = ""
    """One line, if it was refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferCounts:
    """The outcome for all objects."""

    transferred: int
    existing: int
    """Objects that already existed."""
    refused: tuple[str, ...] = ()
    """Errors of the objects that were refused, one line each."""


OnStep = Callable[[TransferStep], None]


def pull(
    archive: Archive, out: Path, studies: Sequence[str], on_step: OnStep = lambda step: None
) -> TransferCounts:
    """Fetch the photographs of studies to OUT/<study>/<object>.dcm; existing files are not fetched again.

    A file appears whole or not at all. An object that the archive does not send is counted, and the others
    are fetched.

    Raises:
        ArchiveError, ArchiveAwayError: the archive refuses, or does not respond; fetched files stay.
        OutputError: a file cannot be written, as on a full disk, or another run is writing to the folder;
            fetched files stay.
    """
    steps = []
    with atomic_files.reserve(out) as leftover_age:
        atomic_files.require_writable(out)
        atomic_files.remove_leftovers(out, min_age=leftover_age)
        for study in studies:
            for step in _pull_study(archive, out, study):
                steps.append(step)
                on_step(step)
    return _counts(steps)


def _pull_study(archive: Archive, out: Path, study: str) -> Iterator[TransferStep]:
    """Yield the outcome of each photograph of a study, or one outcome if the study cannot be queried."""
    try:
        photographs = archive.photographs(study)
    except ArchiveObjectError as error:
        yield TransferStep(name=study, transferred=False, error=str(error))
        return
    for photograph in photographs:
        yield _pull_object(archive, out, photograph)


def _pull_object(archive: Archive, out: Path, photograph: ArchiveObject) -> TransferStep:
    try:
        path = photograph_path(out, photograph)
        missing = not is_file(path)
        if missing:
            atomic_files.write_file(path, archive.fetch(photograph))
    except ArchiveObjectError as error:
        return TransferStep(name=photograph.uid, transferred=False, error=str(error))
    return TransferStep(name=photograph.uid, transferred=missing)


def photograph_path(out: Path, photograph: ArchiveObject) -> Path:
    """Return the path at which a photograph is saved.

    Raises:
        ArchiveObjectError: its UIDs are invalid, and could lead to another folder.
    """
    for uid in (photograph.study, photograph.uid):
        if not UID.fullmatch(uid):
            raise ArchiveObjectError(f"{uid!r} is not a valid UID; ask the administrator of the archive")
    return out / photograph.study / f"{photograph.uid}.dcm"


def push(archive: Archive, out: Path, on_step: OnStep = lambda step: None) -> TransferCounts:
    """Store the DICOM objects in a folder of results that the archive does not hold yet.

    Each object is stored whole or not at all, and a photograph's report after its segments. An object that
    the archive does not accept is counted, as is a report whose Segmentation it does not accept, and the
    others are stored. The first other error ends the transfer; another call continues from there.

    Args:
        archive: the destination.
        out: folder that `foveate predict --dicom` has written.
        on_step: called after each object.

    Raises:
        ArchiveError: there are no objects, or the archive refuses.
        ArchiveAwayError: it does not respond.
    """
    in_archive: dict[str, frozenset[str]] = {}
    not_stored = set()
    steps = []
    for path in _objects_in_store_order(out):
        photograph, kind = _split_name(path)
        try:
            if kind == "SR" and photograph in not_stored:
                raise ArchiveObjectError(
                    f"{display_path(path)}: not stored, because the Segmentation that it refers to was not"
                )
            study, uid = _read_uids(path)
            if study not in in_archive:
                in_archive[study] = archive.results(study)
            stored = uid not in in_archive[study]
            if stored:
                archive.store(path.read_bytes())
            steps.append(TransferStep(name=path.name, transferred=stored))
        except ArchiveObjectError as error:
            if kind == "SEG":
                not_stored.add(photograph)
            steps.append(TransferStep(name=path.name, transferred=False, error=str(error)))
        on_step(steps[-1])
    if not steps:
        raise ArchiveError(
            f"{display_path(out)}: contains no DICOM results; make them with foveate predict --dicom seg,sr"
        )
    return _counts(steps)


def _counts(steps: Sequence[TransferStep]) -> TransferCounts:
    refused = tuple(step.error for step in steps if step.error)
    transferred = sum(step.transferred for step in steps)
    return TransferCounts(
        transferred=transferred, existing=len(steps) - transferred - len(refused), refused=refused
    )


def _objects_in_store_order(out: Path) -> list[Path]:
    """Return a folder's objects, photograph by photograph, each photograph's in `STORE_ORDER`."""
    files = (out / result_paths.DICOM_FOLDER).rglob("*.dcm")

    def rank(path: Path) -> tuple[str, int]:
        photograph, kind = _split_name(path)
        return str(photograph), STORE_ORDER.index(kind) if kind in STORE_ORDER else len(STORE_ORDER)

    return sorted((path for path in files if not path.name.startswith(".")), key=rank)


def _split_name(path: Path) -> tuple[Path, str]:
    """Return an object's path without its kind, and the kind in capitals, such as 'SEG'."""
    photograph, _, kind = path.stem.rpartition("_")
    return (path.with_name(photograph), kind) if photograph else (path, "")


def _read_uids(path: Path) -> tuple[str, str]:
    """Return the UIDs of an object's study and of the object itself.

    Raises:
        ArchiveObjectError: the file cannot be read, or states none.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        return str(header.StudyInstanceUID), str(header.SOPInstanceUID)
    except UNREADABLE as error:
        raise ArchiveObjectError(f"{display_path(path)}: cannot be read ({error}); predict again") from None
