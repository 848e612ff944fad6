"""Write files and folders atomically: whole or not at all.

Knows:   temporary names, renaming, locks of folders, and what to do about the operating system's errors.
Ignores: what the files contain.

A file or folder appears under its own name only after all of it is on the disk. A process that is killed at
any moment leaves at most temporary entries, which `remove_leftovers` removes.
"""

import errno
import os
import re
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from foveate.errors import OutputError
from foveate.paths import display_path, is_folder, valid_path

if sys.platform != "win32":
    import fcntl

_THREADS = threading.Lock()
"""Held within `exclusive`."""

LEFTOVER_SECONDS = 3600.0
"""Age from which an unfinished file belongs to a killed process, where others may be writing. Our choice: no
file takes so long to write."""

TEMPORARY = re.compile(r"\.foveate-[0-9a-f]{16}\.part")
"""Names of unfinished entries, without the final name, which may already have the maximal length."""

REMEDIES = {
    errno.ENOSPC: "no space is left there; free some, or choose another folder",
    errno.EDQUOT: "your quota there is used up; free some space, or choose another folder",
    errno.ENOMEM: "the machine's memory is full; free some, and start again",
    errno.EACCES: "you may not write there; choose another folder, or ask for permission",
    errno.EPERM: "you may not write there; choose another folder, or ask for permission",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten the photograph's name or its folder's",
    errno.EISDIR: "a folder of that name is in the way; move it, or choose another folder",
    errno.ENOTDIR: "a file is in the way of a folder; move it, or choose another folder",
    errno.EINVAL: "the disk does not allow such a name; choose another one",
    errno.EEXIST: "a file is in the way of a folder; move it, or choose another folder",
}
"""What to do about an operating system's error, by its number."""


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old file or the new one, never a part.

    Missing parent folders are created. The content is flushed to the disk before the file gets its name, so
    that a power cut leaves no empty file under the final name.

    Raises:
        OutputError: the operating system refuses; the old file stays, and nothing else is left behind.
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write several files that belong together: if one cannot be written, all old ones stay.

    Args:
        folder: their folder; it is created if necessary.
        contents: name -> content. The first file gets its name last.

    Raises:
        OutputError: the operating system refuses; nothing is left behind.
    """
    with replace_files(folder) as write:
        for name, content in contents.items():
            write(name, content)


@contextmanager
def replace_files(
    folder: Path, prepare: Callable[[], None] = lambda: None
) -> Iterator[Callable[[str, bytes], None]]:
    """Yield a function that writes the content of a name into a temporary file, or another content instead.

    The files replace those of their names when the block ends, the first one last. Use it for files that
    belong together and are made one after the other. Several threads may call the function, each for other
    names. Where the block raises, all old files stay. Errors of the block itself, such as those of a file
    that it reads, are raised as they are.

    Args:
        folder: folder of the files; names may be paths below it, with '/'.
        prepare: called once when all files are on the disk, before the first gets its name.

    Raises:
        OutputError: the operating system refuses; nothing is left behind.
    """
    drafts: dict[str, Path] = {}
    with ExitStack() as stack:

        def write(name: str, content: bytes) -> None:
            if name not in drafts:
                drafts[name] = stack.enter_context(_draft(folder / name))
            with errors_for(folder / name):
                drafts[name].write_bytes(content)
                flush(drafts[name])  # in the caller's thread, while others make the next content

        yield write
        for name, draft in drafts.items():
            with errors_for(folder / name):
                draft.stat()  # another process may take it for a leftover, and remove it
        prepare()


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces `path` when the block ends.

    Use it for content that is too large to hold in memory. Where the block raises, the old file stays. The
    block should do nothing but write the file: the operating system's errors in it are taken for the file's.

    Raises:
        OutputError: the operating system refuses; the old file stays, and nothing else is left behind.
    """
    with errors_for(path), _draft(path) as temporary:
        yield temporary
        flush(temporary)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Yield a temporary path as `replace_file` does, but raise the block's own errors as they are.

    The block flushes what it writes.
    """
    temporary = _temporary(path.parent)
    with errors_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with errors_for(path):
            temporary.open("xb").close()
        yield temporary
        with errors_for(path):
            temporary.replace(path)
    finally:
        with errors_for(path):
            temporary.unlink(missing_ok=True)


@contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """Yield an empty draft folder; the folder replaces `path` when the block ends.

    The old folder is moved aside first, and deleted only after the draft has its name. Where that fails, it
    is put back; after a kill between these two steps, `remove_leftovers` puts it back. Where the block
    raises, the old folder stays.

    Raises:
        OutputError: the operating system refuses, or a file is in the way; the old folder stays.
    """
    if path.name in ("", ".."):  # '.' has no name to rename it by
        path = path.resolve()
    workspace = _temporary(path.parent)
    draft, aside = workspace / "new", workspace / "old" / path.name
    with errors_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.mkdir(parents=True)
            yield draft
            for file in draft.rglob("*"):
                if file.is_file():
                    flush(file)
            _exchange(draft, path, aside)
        finally:
            _remove_workspace(workspace)


def _exchange(draft: Path, path: Path, aside: Path) -> None:
    """Move the old folder aside, if there is one, and the draft into its place."""
    if path.exists():
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        aside.parent.mkdir()
        path.rename(aside)
    draft.rename(path)


def _remove_workspace(workspace: Path) -> None:
    """Remove what `replace_directory` has left, and put back an old folder that nothing has replaced."""
    for aside in (workspace / "old").glob("*"):
        original = workspace.parent / aside.name
        if not original.exists():
            aside.rename(original)
    shutil.rmtree(workspace, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file if it exists.

    Raises:
        OutputError: the operating system refuses.
    """
    with errors_for(path):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # no file of such a name can exist
                raise


def require_writable(folder: Path) -> None:
    """Create a folder if it is missing, and write a file into it and remove it again.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    probe = _temporary(folder)
    with errors_for(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"\n")
            flush(probe)
        finally:
            probe.unlink(missing_ok=True)


def require_free(folder: Path, patterns: Sequence[str], *, results: str, replace: bool) -> None:
    """Create a folder for results, and refuse one that holds earlier ones, before the work is done.

    Args:
        folder: folder of the results.
        patterns: names of the files of results, as glob patterns.
        results: what they are results of, for the message, such as 'evaluation'.
        replace: whether earlier results are to be replaced.

    Raises:
        OutputError: the folder cannot be written, or holds results that are not to be replaced.
    """
    present = _matching(folder, patterns)
    if present and not replace:
        raise OutputError(
            f"{display_path(folder)}: already contains {present[0].name}; replace that {results} with "
            "--replace, or choose another --out"
        )
    require_writable(folder)


def remove_others(folder: Path, patterns: Sequence[str], written: Collection[str]) -> None:
    """Remove files of earlier results that the present ones have not replaced, such as a lesion's figure.

    Args:
        folder: folder of the results.
        patterns: names of the files of results, as glob patterns.
        written: names of the files of the present results.

    Raises:
        OutputError: the operating system refuses.
    """
    for path in _matching(folder, patterns):
        if path.name not in written:
            remove(path)


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    if not is_folder(folder):
        return []
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other threads and processes that use the same function on a folder out of the block.

    The lock is on the folder itself and leaves no file. Windows and some network drives have no such locks:
    there it is for the threads of this process.

    Args:
        folder: it must exist.
    """
    with _THREADS, ExitStack() as stack:
        if sys.platform != "win32":
            with suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def reserve(folder: Path, *, shared: bool = False) -> Iterator[float]:
    """Create a folder for results if it is missing, and refuse other runs in it until the block ends.

    The lock is on the folder itself: it leaves no file, and the system removes it when the process ends, also
    when it is killed. Windows and some network drives have no such locks: there no run is refused.

    Args:
        folder: folder of the results.
        shared: whether runs that reserve the folder with the same argument may share it.

    Yields:
        The age in seconds from which unfinished files there belong to killed processes, for
        `remove_leftovers`: 0 if no other run can be writing them.

    Raises:
        OutputError: another run has reserved the folder, or it cannot be created.
    """
    with errors_for(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        is_locked = False
        if sys.platform != "win32":
            try:
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                is_locked = True
            except BlockingIOError as error:
                raise OutputError(
                    f"another run is writing to {display_path(folder)}; wait for it, or choose another folder"
                ) from error
            except OSError:  # the disk has no locks, or the folder may be written but not read
                pass
        yield 0.0 if is_locked and not shared else LEFTOVER_SECONDS


def remove_leftovers(folder: Path, *, deep: bool = True, min_age: float = 0.0) -> int:
    """Remove the temporary files and folders of a killed run. No other run may be writing there meanwhile.

    A folder that was moved aside and not yet replaced is put back.

    Args:
        folder: where to search; it need not exist.
        deep: whether to search the folders below it as well.
        min_age: leave those that were changed less than this many seconds ago: others may be writing them.

    Returns:
        The number of files and folders removed.

    Raises:
        OutputError: the operating system refuses.
    """
    pattern = ".foveate-*.part"
    candidates = folder.rglob(pattern) if deep else folder.glob(pattern)
    leftovers = [path for path in candidates if TEMPORARY.fullmatch(path.name) and _age(path) >= min_age]
    for path in leftovers:
        if path.is_dir():
            with errors_for(path):
                _remove_workspace(path)
        else:
            remove(path)
    return len(leftovers)


def _age(path: Path) -> float:
    """Return the seconds since a file was changed; less than 0 if it is gone, since its writer lives."""
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except FileNotFoundError:
        return -1.0


def output_error(path: Path, error: OSError) -> OutputError:
    """Return an error of one line that says which file cannot be written, why, and what to do."""
    reason = error.strerror or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0, "check the disk, or choose another folder")
    line = f"{display_path(path)}: cannot be written ({reason}): {remedy}"
    return OutputError(line, errno=error.errno)


@contextmanager
def errors_for(path: Path) -> Iterator[None]:
    """Turn the operating system's errors within the block into an OutputError that names the path.

    Raises:
        OutputError: an OSError was raised.
    """
    try:
        valid_path(path)
        yield
    except OSError as error:
        raise output_error(path, error) from error


def _temporary(folder: Path) -> Path:
    """Return a new temporary path in the same folder, so that renaming is one step of the file system."""
    return folder / f".foveate-{secrets.token_hex(8)}.part"


def flush(path: Path) -> None:
    """Force a file's content to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
