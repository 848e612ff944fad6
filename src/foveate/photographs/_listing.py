"""List the photographs that a user's paths stand for.

Knows:   files, folders and globs.
Ignores: what is in the files.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foveate.errors import PhotographError
from foveate.paths import display_path, is_file, is_folder, missing, real_path
from foveate.photographs._dicom_loader import count_frames
from foveate.photographs._names import (
    DICOM_SUFFIXES,
    SUFFIXES,
    FileLocation,
    frame_name,
    unique_names,
    without_suffix,
)
from foveate.wording import quantity

MANIFEST_FILE = "manifest/order.json"
"""File in a target of workers, by its path there, that holds their request and so records their run."""

RESULT_MARKS = {
    "run.json": b'"foveate"',
    "metrics.json": b'"foveate"',
    "check.json": b'"foveate"',
    MANIFEST_FILE: b'"foveate"',
    "index.html": b"<title>Foveate: ",
}
"""Files that Foveate writes into its folders of results, by their paths there, and what they hold at their
beginning. `Result.save` writes only the page, and workers only the manifest until the tables are written."""

RESULT_MARK_BYTES = 512
"""Number of bytes at the beginning of such a file that contain its mark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographFile:
    """One photograph that is to be read."""

    path: Path
    """Path of the file, starting from the user's path."""
    name: str
    """Name of its results: a relative path with '/', without the suffix of a photograph. No two names of a
    run are equal, even on file systems that ignore case, and none leads out of the output folder."""
    frame: int | None = None
    """Number of the photograph in a DICOM object that holds several, from 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographFiles:
    """All photographs that a user's paths stand for."""

    photographs: tuple[PhotographFile, ...]
    """In the order of the paths; in a folder, its own files by name before those of its subfolders."""
    skipped: int
    """Number of files in folders or matched by globs that have no suffix of a photograph."""
    result_folders: int = 0
    """Number of folders that were left out because they hold results of Foveate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A file that a path of the user stands for, photograph or not."""

    path: Path
    """Path of the file, starting from the user's path."""
    place: FileLocation
    """The parts of the path that can name it."""
    is_named: bool
    """Whether the user named this file itself, so that its suffix does not matter."""
    frame: int | None = None
    """As in `PhotographFile`."""

    @property
    def location(self) -> str:
        """Path without links of folders: a file that is reached twice has the same, two links do not."""
        return f"{real_path(self.path.parent)}/{self.path.name}"

    @property
    def is_photograph(self) -> bool:
        """Whether the file is treated as a photograph."""
        return self.is_named or self.path.suffix.lower() in SUFFIXES


def list_files(paths: Sequence[str], *, without: Path | None = None) -> PhotographFiles:
    """Return the photographs that a user's paths stand for, and the names of their results.

    A file stands for itself, whatever its suffix. A folder stands for all photographs below it, and so does a
    folder that a glob matches; hidden files and folders are left out, links are followed, and no folder is
    visited twice. Folders in which Foveate wrote results are left out and counted. A glob may contain `*`,
    `?`, `[...]` and `**`. A file that is reached twice is listed once; two links to one file are two
    photographs, as two copies would be.

    A name is a path without the suffix of a photograph, below the given folder or the fixed part of a glob. A
    file that is given itself has its own name. Where two names would be equal, files of one folder keep their
    suffixes, and files of several folders get as many names of their parents as needed. A DICOM object with
    several frames stands for as many photographs, 'eye_frame-1', 'eye_frame-2', ...

    Args:
        paths: files, folders and globs.
        without: a folder that is left out: the one for results, which are pictures too.

    Raises:
        PhotographError: no path is given, or an empty one; a path or glob matches nothing, or a folder holds
            no photograph or cannot be listed.

    Source: our choice.
    """
    if not paths:
        raise PhotographError("the list of paths is empty; name at least one photograph, folder or glob")
    if "" in paths:
        raise PhotographError("'' is no path; name a photograph, folder or glob ('.' is the current folder)")
    walk = _Walk(excluded=None if without is None else real_path(without))
    selected: dict[str, _Candidate] = {}
    skipped: set[str] = set()
    for path in paths:
        candidates: dict[str, _Candidate] = {}
        for candidate in walk.candidates(path):
            candidates.setdefault(candidate.location, candidate)
        photographs = {
            location: candidate for location, candidate in candidates.items() if candidate.is_photograph
        }
        if not photographs:
            folders = quantity(len(walk.results), "folder with results", "folders with results")
            results = f" and {folders} of Foveate" if walk.results else ""
            raise PhotographError(
                f"{display_path(path)}: holds no photograph, "
                f"{quantity(len(candidates), 'other file')}{results}; photographs end in "
                f"{', '.join(sorted(SUFFIXES))}"
            )
        for location, candidate in photographs.items():
            selected.setdefault(location, candidate)
        skipped |= candidates.keys() - photographs.keys()
    files = tuple(file for candidate in selected.values() for file in _expand_frames(candidate))
    return PhotographFiles(
        photographs=tuple(
            PhotographFile(path=candidate.path, name=name, frame=candidate.frame)
            for candidate, name in zip(
                files, unique_names([candidate.place for candidate in files]), strict=True
            )
        ),
        skipped=len(skipped - selected.keys()),
        result_folders=len(walk.results),
    )


def _expand_frames(candidate: _Candidate) -> Iterator[_Candidate]:
    """Yield a candidate for each photograph that a file holds."""
    dicom = candidate.path.suffix.lower() in DICOM_SUFFIXES or candidate.path.suffix.lower() not in SUFFIXES
    count = count_frames(candidate.path) if dicom else 1
    if count == 1:
        yield candidate
        return
    relative = candidate.place.relative
    stem = without_suffix(relative.name)
    suffix = relative.name.removeprefix(stem)
    for frame in range(1, count + 1):
        place = replace(candidate.place, relative=relative.with_name(f"{frame_name(stem, frame)}{suffix}"))
        yield replace(candidate, place=place, frame=frame)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Walk:
    """A search for files; it remembers the folders that it visited and those that it left out."""

    excluded: str | None
    """Real path of a folder that is left out: the one for results."""
    visited: set[str] = field(default_factory=set)
    """Real paths of the folders that were searched, so that loops of links end."""
    results: set[str] = field(default_factory=set)
    """Real paths of the folders that were left out because they hold results of Foveate."""

    def candidates(self, user_path: str) -> Iterator[_Candidate]:
        """Yield the files that one path of the user stands for, photographs or not."""
        path = Path(user_path)
        if is_folder(path):
            if self._is_excluded(path):
                raise PhotographError(f"{display_path(path)}: is in the output folder; choose another --out")
            self.visited.clear()
            yield from self._below(path, path)
        elif os.path.lexists(path):
            yield _candidate(path, path.parent, is_named=True)
        elif glob.has_magic(user_path):
            self.visited.clear()
            yield from self._matches(path)
        else:
            raise PhotographError(f"{display_path(path)}: {missing(path, 'file or folder')}")

    def _matches(self, pattern: Path) -> Iterator[_Candidate]:
        """Yield the files that a glob matches, and those in the folders that it matches."""
        matches = sorted(_glob(pattern), key=lambda path: path.parts)
        if not matches:
            raise PhotographError(f"{display_path(pattern)}: matches nothing; check the pattern")
        magic = [glob.has_magic(part) for part in pattern.parts].index(True)
        root = Path(*pattern.parts[:magic])
        for path in matches:
            below = path.relative_to(root).parents
            if any(self._holds_results(root / parent) for parent in below if parent != Path()):
                continue
            if is_folder(path):
                yield from self._below(path, root)
            elif not self._is_excluded(path):
                yield _candidate(path, root, is_named=False)

    def _below(self, folder: Path, root: Path) -> Iterator[_Candidate]:
        """Yield all files below a folder."""
        real = real_path(folder)
        if real in self.visited or self._is_excluded(folder) or self._holds_results(folder):
            return
        self.visited.add(real)
        try:
            inside = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
        except OSError as error:
            if folder == root:
                raise PhotographError(
                    f"{display_path(folder)}: the folder cannot be listed ({error.strerror}); "
                    "ask for permission to read it, or leave it out"
                ) from None
            yield _candidate(folder, root, is_named=True)  # reading it will report the folder by name
            return
        folders = {path for path in inside if is_folder(path)}
        for path in inside:
            if path not in folders:
                yield _candidate(path, root, is_named=False)
        for path in sorted(folders):
            yield from self._below(path, root)

    def _holds_results(self, folder: Path) -> bool:
        """Return whether a folder is left out because it holds results; count it if so."""
        if not holds_results(folder):
            return False
        self.results.add(real_path(folder))
        return True

    def _is_excluded(self, path: Path) -> bool:
        """Return whether a path leads into the folder that is left out."""
        return self.excluded is not None and f"{real_path(path)}/".startswith(f"{self.excluded}/")


def _glob(pattern: Path) -> Iterator[Path]:
    """Yield the paths that a glob matches; for `**` at its end, the folder that holds them all.

    Below `**` no folder is visited twice: Python's own glob follows loops of links for ever.
    """
    deep = pattern.parts.index("**") if "**" in pattern.parts else len(pattern.parts)
    above, below = Path(*pattern.parts[:deep]), pattern.parts[deep + 1 :]
    if "\0" in str(above):  # nothing can match it
        return
    matched = map(Path, glob.glob(str(above)))  # noqa: PTH207, Path.glob takes no absolute pattern
    if not below:
        yield from (path for path in matched if deep == len(pattern.parts) or is_folder(path))
        return
    visited: set[str] = set()
    for folder in matched:
        for place, inside, _ in os.walk(folder, followlinks=True):
            if (real := real_path(place)) in visited:
                inside.clear()
                continue
            visited.add(real)
            inside[:] = sorted(name for name in inside if not is_hidden(name))
            yield from _glob(Path(glob.escape(place), *below))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, and therefore left out everywhere."""
    return name.startswith(".")


def holds_results(folder: Path) -> bool:
    """Return whether Foveate wrote results into a folder: its pictures must not be processed."""
    return any(is_result_file(folder, name) for name in RESULT_MARKS)


def is_result_file(folder: Path, name: str) -> bool:
    """Return whether a folder holds one of the `RESULT_MARKS`, written by Foveate."""
    try:
        if not is_file(folder / name):  # a pipe would be waited for
            return False
        with (folder / name).open("rb") as file:
            return is_result_mark(name, file.read(RESULT_MARK_BYTES))
    except OSError:
        return False


def is_result_mark(name: str, head: bytes) -> bool:
    """Return whether a file of one of the `RESULT_MARKS` is ours, by its first `RESULT_MARK_BYTES` bytes."""
    return RESULT_MARKS[name] in head


def _candidate(path: Path, root: Path, *, is_named: bool) -> _Candidate:
    place = FileLocation(root=Path(real_path(root)), relative=path.relative_to(root))
    return _Candidate(path=path, place=place, is_named=is_named)
