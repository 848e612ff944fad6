"""A file or folder exists whole or not at all, whatever happens."""

import errno
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foveate import atomic_files
from foveate.errors import OutputError


def temporary_names(folder):
    return [path.name for path in folder.rglob("*") if path.name.startswith(".foveate-")]


def failing_fsync(code):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    return fsync


def test_a_written_file_is_read_back_and_missing_folders_are_created(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"

    atomic_files.write_file(path, b"one")
    atomic_files.write_file(path, b"two")

    assert path.read_bytes() == b"two"
    assert temporary_names(tmp_path) == []


def test_a_reader_of_the_old_file_reads_it_to_the_end(tmp_path):
    path = tmp_path / "map.bin"
    atomic_files.write_file(path, b"old")

    with path.open("rb") as reader:
        atomic_files.write_file(path, b"something new")
        assert reader.read() == b"old"


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    path = tmp_path / ("n" * 251 + ".csv")

    atomic_files.write_file(path, b"x")

    assert path.read_bytes() == b"x"


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    umask = os.umask(0o027)
    try:
        atomic_files.write_file(tmp_path / "x", b"x")
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "no space is left there; free some"),
        (errno.EDQUOT, "quota"),
        (errno.ENOMEM, "memory is full; free some, and start again"),
        (errno.EACCES, "may not write there; choose another folder"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "check the disk"),
    ],
)
def test_an_error_is_one_line_with_a_remedy_and_keeps_the_old_file(tmp_path, monkeypatch, code, remedy):
    path = tmp_path / "map.png"
    atomic_files.write_file(path, b"old")
    monkeypatch.setattr("foveate.atomic_files.os.fsync", failing_fsync(code))

    with pytest.raises(OutputError, match=remedy) as raised:
        atomic_files.write_file(path, b"new")

    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == b"old"
    assert temporary_names(tmp_path) == []


def test_files_that_belong_together_are_written_together_and_the_first_appears_last(tmp_path, monkeypatch):
    atomic_files.write_file(tmp_path / "a", b"old")
    order, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: order.append(to.name) or replace(path, to))

    with atomic_files.replace_files(tmp_path) as write:
        write("a", b"")
        write("b", b"two")
        write("a", b"one")
        assert (tmp_path / "a").read_bytes() == b"old"

    assert order == ["b", "a"]
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"one", b"two"]
    assert temporary_names(tmp_path) == []


def test_an_error_of_another_file_is_not_taken_for_one_of_the_files_that_are_written(tmp_path):
    def write_and_read():
        with atomic_files.replace_files(tmp_path) as write:
            write("a", b"")
            raise OSError(errno.EIO, "the photograph")

    with pytest.raises(OSError, match="the photograph") as raised:
        write_and_read()

    assert not isinstance(raised.value, OutputError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".", "below/.."])
def test_a_folder_is_replaced_by_whatever_path_it_is_named(tmp_path, monkeypatch, name):
    (tmp_path / "package" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "package")

    with atomic_files.replace_directory(Path(name)) as draft:
        (draft / "new").write_bytes(b"x")

    assert [path.name for path in tmp_path.rglob("*")] == ["package", "new"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("foveate.atomic_files.os.fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        atomic_files.write_file(tmp_path / "map.png", b"new")

    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_an_error_that_says_so(tmp_path):
    (tmp_path / "maps").write_bytes(b"")

    for path in (tmp_path / "maps" / "x.png", tmp_path / "maps" / "deep" / "x.png"):
        with pytest.raises(OutputError, match="a file is in the way of a folder"):
            atomic_files.write_file(path, b"x")


def test_a_folder_where_the_file_should_be_is_an_error_that_says_so(tmp_path):
    (tmp_path / "x.png").mkdir()

    with pytest.raises(OutputError, match=r"x\.png: cannot be written .*a folder of that name is in the way"):
        atomic_files.write_file(tmp_path / "x.png", b"x")

    assert temporary_names(tmp_path) == []


def test_a_name_that_is_too_long_is_an_error_that_says_so(tmp_path):
    with pytest.raises(OutputError, match="shorten the photograph's name"):
        atomic_files.write_file(tmp_path / ("n" * 300), b"x")

    assert temporary_names(tmp_path) == []


def test_a_line_break_in_a_name_stays_within_the_line(tmp_path):
    (tmp_path / "a\nb").write_bytes(b"")

    with pytest.raises(OutputError) as raised:
        atomic_files.write_file(tmp_path / "a\nb" / "x", b"x")

    assert str(raised.value).count("\n") == 0
    assert r"a\nb" in str(raised.value)


FILE_WRITER = """
import itertools, sys
from pathlib import Path
from foveate import atomic_files

path, size = Path(sys.argv[1]), int(sys.argv[2])
print("writing", flush=True)
for letter in itertools.cycle((b"b", b"c")):
    atomic_files.write_file(path, letter * size)
"""

FOLDER_WRITER = """
import itertools, sys
from pathlib import Path
from foveate import atomic_files

print("writing", flush=True)
for version in itertools.cycle("bc"):
    with atomic_files.replace_directory(Path(sys.argv[1])) as draft:
        (draft / "below").mkdir()
        (draft / "a.txt").write_text(version)
        (draft / "below" / "b.txt").write_text(version)
"""


def kill_after(seconds, program, *arguments):
    """Kill a Python program some seconds after it has begun to write.

    It is started anew, not forked: a fork of pytest that raised an error would go on as a second pytest
    on the same pipes, and a fork inherits locks that threads of other tests hold.
    """
    line = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        time.sleep(seconds)
        process.kill()


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file_whole(tmp_path):
    path, size = tmp_path / "map.bin", 200_000
    atomic_files.write_file(path, b"a" * size)
    for number in range(8):
        kill_after(0.003 + 0.002 * number, FILE_WRITER, path, size)

        content = path.read_bytes()
        assert len(content) == size
        assert content == content[:1] * size

    atomic_files.remove_leftovers(tmp_path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["map.bin"]


def test_only_our_own_temporary_files_are_removed_as_leftovers(tmp_path):
    leftover = tmp_path / "maps" / ".foveate-0123456789abcdef.part"
    others = [
        tmp_path / "maps" / name
        for name in (".foveate-notes.part", "x.png", ".foveate-0123456789abcdef.part2")
    ]
    for path in (leftover, *others):
        atomic_files.write_file(path, b"")

    assert atomic_files.remove_leftovers(tmp_path, deep=False) == 0
    assert atomic_files.remove_leftovers(tmp_path) == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(others)
    assert atomic_files.remove_leftovers(tmp_path / "not there") == 0


def test_checking_that_a_folder_is_writable_leaves_it_empty(tmp_path):
    atomic_files.require_writable(tmp_path / "new" / "out")

    assert list((tmp_path / "new" / "out").iterdir()) == []
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(OutputError, match="taken"):
        atomic_files.require_writable(tmp_path / "taken")


def test_removing_a_missing_file_is_no_error_and_removing_a_folder_is_one(tmp_path):
    atomic_files.remove(tmp_path / "nothing")
    atomic_files.remove(tmp_path / ("n" * 300))
    (tmp_path / "folder").mkdir()

    with pytest.raises(OutputError, match="folder"):
        atomic_files.remove(tmp_path / "folder")


RESERVER = """
import sys
from pathlib import Path
from foveate import atomic_files

with atomic_files.reserve(Path(sys.argv[1])):
    print("reserved", flush=True)
    sys.stdin.read()
"""


def assert_refused(folder, **options):
    line = f"^another run is writing to {re.escape(str(folder))}; wait for it, or choose another folder$"
    with pytest.raises(OutputError, match=line), atomic_files.reserve(folder, **options):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_folder_is_reserved_for_one_run_or_for_several_that_share_it(tmp_path):
    folder = tmp_path / "new" / "out"
    with atomic_files.reserve(folder) as leftover_age:
        assert leftover_age == 0
        assert_refused(folder)
        assert_refused(folder, shared=True)
    with atomic_files.reserve(folder, shared=True) as leftover_age, atomic_files.reserve(folder, shared=True):
        assert leftover_age == atomic_files.LEFTOVER_SECONDS
        assert_refused(folder)
    with atomic_files.reserve(folder):
        assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_killed_run_leaves_its_folder_free(tmp_path):
    line = [sys.executable, "-c", RESERVER, str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "reserved\n"
        assert_refused(tmp_path)
        process.kill()
        process.wait()
        with atomic_files.reserve(tmp_path):
            assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_where_a_disk_has_no_locks_runs_go_on_and_leave_young_files_alone(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with atomic_files.reserve(tmp_path), atomic_files.reserve(tmp_path) as leftover_age:
        assert leftover_age == atomic_files.LEFTOVER_SECONDS


def write_version(folder, version):
    (folder / "below").mkdir()
    (folder / "a.txt").write_text(version)
    (folder / "below" / "b.txt").write_text(version)


def versions(folder):
    return {path.read_text() for path in folder.rglob("*.txt")}


def test_a_folder_is_replaced_as_a_whole_and_its_parents_are_created(tmp_path):
    path = tmp_path / "parent" / "package"
    for version in ("first", "second"):
        with atomic_files.replace_directory(path) as draft:
            write_version(draft, version)
            assert versions(path) == ({"first"} if version == "second" else set())
        assert versions(path) == {version}

    assert temporary_names(tmp_path) == []


def test_a_replaced_folder_has_the_permissions_of_the_umask(tmp_path):
    umask = os.umask(0o027)
    try:
        with atomic_files.replace_directory(tmp_path / "package"):
            pass
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "package").stat().st_mode) == 0o750


def test_a_draft_whose_writer_fails_leaves_the_old_folder(tmp_path):
    path = tmp_path / "package"
    with atomic_files.replace_directory(path) as draft:
        write_version(draft, "old")

    with pytest.raises(ZeroDivisionError), atomic_files.replace_directory(path) as draft:
        write_version(draft, str(1 // 0))

    assert versions(path) == {"old"}
    assert temporary_names(tmp_path) == []


def test_a_draft_that_cannot_get_its_name_leaves_the_old_folder(tmp_path, monkeypatch):
    path = tmp_path / "package"
    with atomic_files.replace_directory(path) as draft:
        write_version(draft, "old")
    rename = Path.rename

    def fail_for_draft(source, target):
        if source.name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fail_for_draft)
    with (
        pytest.raises(OutputError, match=r"package: cannot be written .*no space"),
        atomic_files.replace_directory(path) as draft,
    ):
        write_version(draft, "new")

    assert versions(path) == {"old"}
    assert temporary_names(tmp_path) == []


def test_an_old_folder_that_cannot_be_put_back_is_not_deleted(tmp_path, monkeypatch):
    path = tmp_path / "package"
    with atomic_files.replace_directory(path) as draft:
        write_version(draft, "old")
    rename = Path.rename

    def fail_to_create(source, target):
        if target == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_to_create)
        with pytest.raises(OutputError), atomic_files.replace_directory(path) as draft:
            write_version(draft, "new")

    assert not path.exists()
    assert atomic_files.remove_leftovers(tmp_path) == 1
    assert versions(path) == {"old"}
    assert temporary_names(tmp_path) == []


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    (tmp_path / "package").write_bytes(b"mine")

    with (
        pytest.raises(OutputError, match="a file is in the way of a folder"),
        atomic_files.replace_directory(tmp_path / "package"),
    ):
        pass

    assert (tmp_path / "package").read_bytes() == b"mine"


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_folder_whole(tmp_path):
    path = tmp_path / "package"
    with atomic_files.replace_directory(path) as draft:
        write_version(draft, "a")
    for number in range(8):
        kill_after(0.003 + 0.002 * number, FOLDER_WRITER, path)

        atomic_files.remove_leftovers(tmp_path)
        assert len(list(path.rglob("*.txt"))) == 2
        assert len(versions(path)) == 1

    assert [entry.name for entry in tmp_path.iterdir()] == ["package"]


def test_a_kill_between_the_two_renames_is_undone(tmp_path, monkeypatch):
    path = tmp_path / "package"
    with atomic_files.replace_directory(path) as draft:
        write_version(draft, "old")
    workspace = tmp_path / ".foveate-0123456789abcdef.part"
    (workspace / "old").mkdir(parents=True)
    (workspace / "new").mkdir()
    path.rename(workspace / "old" / "package")

    assert atomic_files.remove_leftovers(tmp_path) == 1

    assert versions(path) == {"old"}
    assert temporary_names(tmp_path) == []
