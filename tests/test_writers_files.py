"""A file is there whole or not at all, whatever happens."""

import errno
import os
import signal
import stat
import time

import pytest

from foveate.errors import OutputError
from foveate.writers import files


def leftovers(folder):
    return [path.name for path in folder.rglob("*") if path.name.startswith(".foveate-")]


def refuse(code):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    return fsync


def test_what_was_written_is_read_back_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"

    files.write(path, b"one")
    files.write(path, b"two")

    assert path.read_bytes() == b"two"
    assert leftovers(tmp_path) == []


def test_who_reads_the_old_file_meanwhile_reads_it_to_the_end(tmp_path):
    path = tmp_path / "map.bin"
    files.write(path, b"old")

    with path.open("rb") as reader:
        files.write(path, b"something new")
        assert reader.read() == b"old"


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    path = tmp_path / ("n" * 251 + ".csv")

    files.write(path, b"x")

    assert path.read_bytes() == b"x"


def test_a_new_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "x", b"x")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (errno.ENOSPC, "no space is left there; free some"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "may not write there; choose another folder with --out"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_refusal_is_one_line_with_a_mend_and_leaves_the_old_file(tmp_path, monkeypatch, code, mend):
    path = tmp_path / "map.png"
    files.write(path, b"old")
    monkeypatch.setattr("foveate.writers.files.os.fsync", refuse(code))

    with pytest.raises(OutputError, match=mend) as caught:
        files.write(path, b"new")

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("foveate.writers.files.os.fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "map.png", b"new")

    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "maps").write_bytes(b"")

    for path in (tmp_path / "maps" / "x.png", tmp_path / "maps" / "deep" / "x.png"):
        with pytest.raises(OutputError, match="a file is in the way of a folder"):
            files.write(path, b"x")


def test_a_folder_where_the_file_should_be_is_named(tmp_path):
    (tmp_path / "x.png").mkdir()

    with pytest.raises(OutputError, match=r"x\.png: cannot be written .*a folder of that name is in the way"):
        files.write(tmp_path / "x.png", b"x")

    assert leftovers(tmp_path) == []


def test_a_name_that_is_too_long_is_said_to_be(tmp_path):
    with pytest.raises(OutputError, match="shorten the photograph's name"):
        files.write(tmp_path / ("n" * 300), b"x")

    assert leftovers(tmp_path) == []


def test_a_line_break_in_a_name_stays_within_the_line(tmp_path):
    (tmp_path / "a\nb").write_bytes(b"")

    with pytest.raises(OutputError) as caught:
        files.write(tmp_path / "a\nb" / "x", b"x")

    assert str(caught.value).count("\n") == 0
    assert r"a\nb" in str(caught.value)


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file_whole(tmp_path):
    path, size = tmp_path / "map.bin", 200_000
    files.write(path, b"a" * size)
    for number in range(8):
        child = os.fork()
        if child == 0:
            while True:
                for letter in (b"b", b"c"):
                    files.write(path, letter * size)
        time.sleep(0.003 + 0.002 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        content = path.read_bytes()
        assert len(content) == size
        assert content == content[:1] * size

    files.sweep(tmp_path)

    assert [left.name for left in tmp_path.iterdir()] == ["map.bin"]


def test_sweeping_takes_our_temporary_files_and_nothing_else(tmp_path):
    ours = tmp_path / "maps" / ".foveate-0123456789abcdef.part"
    kept = [
        tmp_path / "maps" / name
        for name in (".foveate-notes.part", "x.png", ".foveate-0123456789abcdef.part2")
    ]
    for path in (ours, *kept):
        files.write(path, b"")

    assert files.sweep(tmp_path, deep=False) == 0
    assert files.sweep(tmp_path) == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert files.sweep(tmp_path / "not there") == 0


def test_a_folder_is_proven_to_be_writable_and_left_empty(tmp_path):
    files.prove(tmp_path / "new" / "out")

    assert list((tmp_path / "new" / "out").iterdir()) == []
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(OutputError, match="taken"):
        files.prove(tmp_path / "taken")


def test_removing_what_is_not_there_is_no_error_and_a_folder_is_one(tmp_path):
    files.remove(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()

    with pytest.raises(OutputError, match="folder"):
        files.remove(tmp_path / "folder")
