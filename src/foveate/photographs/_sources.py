"""Which files are meant by the paths a user gives.

Knows:   files, folders and globs.
Ignores: what is in the files.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.errors import PhotographError
from foveate.photographs._extra import frames
from foveate.photographs._files import said
from foveate.photographs._names import Place, names

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff"}) | DICOM_SUFFIXES
"""Endings, in lower case, by which a photograph is known in a folder; a file named by itself needs none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file that is to be read."""

    path: Path
    """Where it lies, as reached from the user's path."""
    name: str
    """What its results are called: a relative path with '/', without ending. No two of a run are alike, even
    on disks that do not tell upper from lower case; none climbs out of the folder it is put in."""
    frame: int | None = None
    """Which photograph of a DICOM object that holds several, from 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """All that a user's paths mean."""

    photographs: tuple[Source, ...]
    """In the order of the paths; of a folder, its own files by name before those of the folders in it."""
    skipped: int
    """Files met in folders or by globs that have no photograph's ending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Find:
    """A file that a path of the user means, photograph or not."""

    path: Path
    """As reached from the user's path."""
    place: Place
    """What it can be named by."""
    named: bool
    """Whether the user named this very file, so that its ending does not matter."""
    frame: int | None = None
    """As in `Source`."""

    @property
    def wanted(self) -> bool:
        return self.named or self.path.suffix.lower() in SUFFIXES


def sources(paths: Sequence[str], *, without: Path | None = None) -> Sources:
    """Say which files a user's paths mean, and what their results are called.

    A file stands for itself, whatever its ending. A folder stands for all photographs below it, and so does
    a folder that a glob matches; hidden files and folders are left out, links are followed, no folder is
    entered twice. A glob may hold `*`, `?`, `[...]` and `**`. A file reached twice is taken once.

    A name is the path below the folder given (below the fixed part of a glob; of a file its own name) without
    ending. Where two would be alike, files of one folder keep their endings; files of several folders are
    preceded by as many names of their parents as it takes. A DICOM object of several frames stands for as
    many photographs, 'eye_frame-1', 'eye_frame-2', ...

    Args:
        paths: files, folders and globs.
        without: a folder not to look into: where results are written, which are pictures too.

    Raises:
        PhotographError: a path or glob matches nothing, or a folder holds no photograph or cannot be listed.

    Source: our choice.
    """
    closed = None if without is None else without.resolve()
    chosen: dict[str, _Find] = {}
    skipped: set[str] = set()
    for path in paths:
        finds: dict[str, _Find] = {}
        for find in _meant(path, closed):
            finds.setdefault(os.path.realpath(find.path), find)
        wanted = {real: find for real, find in finds.items() if find.wanted}
        if not wanted:
            raise PhotographError(
                f"{said(Path(path))}: holds no photograph, {len(finds)} other files; "
                f"photographs end in {', '.join(sorted(SUFFIXES))}"
            )
        for real, find in wanted.items():
            chosen.setdefault(real, find)
        skipped |= finds.keys() - wanted.keys()
    found = tuple(one for find in chosen.values() for one in _each(find))
    return Sources(
        photographs=tuple(
            Source(path=find.path, name=name, frame=find.frame)
            for find, name in zip(found, names([find.place for find in found]), strict=True)
        ),
        skipped=len(skipped - chosen.keys()),
    )


def _each(find: _Find) -> Iterator[_Find]:
    """Yield a find for each photograph that a file holds."""
    dicom = find.path.suffix.lower() in DICOM_SUFFIXES or find.path.suffix.lower() not in SUFFIXES
    count = frames(find.path) if dicom else 1
    if count == 1:
        yield find
        return
    relative = find.place.relative
    for frame in range(1, count + 1):
        name = f"{relative.stem}_frame-{frame}{relative.suffix}"
        place = replace(find.place, relative=relative.with_name(name))
        yield replace(find, place=place, frame=frame)


def _meant(given: str, closed: Path | None) -> Iterator[_Find]:
    """Yield the files that one path of the user means, photographs or not."""
    path = Path(given)
    if path.is_dir():
        yield from _below(path, path, closed, set())
    elif os.path.lexists(path):
        yield _find(path, path.parent, named=True)
    elif glob.has_magic(given):
        yield from _matches(path, closed)
    else:
        raise PhotographError(f"{said(path)}: no such file or folder; check the path")


def _matches(pattern: Path, closed: Path | None) -> Iterator[_Find]:
    """Yield the files that a glob matches, and those in the folders that it matches."""
    matched = glob.glob(str(pattern), recursive=True)  # noqa: PTH207, Path.glob takes no absolute pattern
    matches = sorted((Path(match) for match in matched), key=lambda path: path.parts)
    if not matches:
        raise PhotographError(f"{said(pattern)}: matches nothing; check the pattern")
    magic = [glob.has_magic(part) for part in pattern.parts].index(True)
    root = Path(*pattern.parts[:magic])
    entered: set[Path] = set()
    for path in matches:
        if path.is_dir():
            yield from _below(path, root, closed, entered)
        elif not _is_closed(path, closed):
            yield _find(path, root, named=False)


def _below(folder: Path, root: Path, closed: Path | None, entered: set[Path]) -> Iterator[_Find]:
    """Yield all files below a folder; `entered` grows by each folder, so that loops of links end."""
    real = folder.resolve()
    if real in entered or _is_closed(folder, closed):
        return
    entered.add(real)
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise PhotographError(
            f"{said(folder)}: the folder cannot be listed ({error.strerror}); "
            "ask for permission to read it, or leave it out"
        ) from None
    folders = {path for path in inside if path.is_dir()}
    for path in inside:
        if path not in folders:
            yield _find(path, root, named=False)
    for path in sorted(folders):
        yield from _below(path, root, closed, entered)


def _is_closed(path: Path, closed: Path | None) -> bool:
    """Whether a path leads into the folder that is not to be looked into."""
    return closed is not None and path.resolve().is_relative_to(closed)


def _find(path: Path, root: Path, *, named: bool) -> _Find:
    place = Place(root=root.resolve(), relative=path.relative_to(root))
    return _Find(path=path, place=place, named=named)
