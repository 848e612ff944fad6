"""Stores: files are written whole or not at all, and a refusal is one line."""

import pytest

from foveate.cluster.addresses import open_store
from foveate.cluster.stores import FileStore, FolderStore
from foveate.errors import ClusterError, OutputError, PhotographError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b/c.png", "b/.hidden.png", ".git/d.png", "b/e/f.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "in"


def paths(store, *arguments, **settings):
    return sorted(file.path for file in store.list_files(*arguments, **settings))


def test_all_but_hidden_files_are_listed_with_their_size(folder):
    by_path = {file.path: file for file in FolderStore(folder).list_files()}

    assert sorted(by_path) == ["a.png", "b/c.png", "b/e/f.txt"]
    assert by_path["b/c.png"].size == len("b/c.png")


def test_the_files_below_a_path_are_listed(folder):
    assert paths(FolderStore(folder), "b") == ["b/c.png", "b/e/f.txt"]
    assert paths(FolderStore(folder), "nowhere") == []
    assert paths(FolderStore(folder / ("a" * 300)), "regions") == []  # what is written there names the reason


def test_an_excluded_store_is_not_listed(folder):
    assert paths(FolderStore(folder), exclude=str(folder / "b")) == ["a.png"]
    assert paths(FolderStore(folder), exclude=str(folder)) == []
    assert len(paths(FolderStore(folder), exclude="s3://bucket/b")) == 3
    (folder / "bb").mkdir()
    (folder / "bb" / "g.png").write_bytes(b"")
    assert "bb/g.png" in paths(FolderStore(folder), exclude=str(folder / "b"))


def test_a_loop_of_links_ends_and_links_to_one_file_are_files(folder):
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "z.png").symlink_to(folder / "a.png")
    (folder / "nowhere.png").symlink_to(folder / "gone")

    by_path = {file.path: file for file in FolderStore(folder).list_files()}

    assert sorted(by_path) == ["a.png", "b/c.png", "b/e/f.txt", "nowhere.png", "z.png"]
    assert by_path["z.png"].size == by_path["a.png"].size
    assert (by_path["nowhere.png"].size, by_path["nowhere.png"].stamp) == (0, "")


def test_another_content_is_another_stamp(folder):
    before = {file.path: file.stamp for file in FolderStore(folder).list_files()}
    (folder / "a.png").write_bytes(b"another")
    after = {file.path: file.stamp for file in FolderStore(folder).list_files()}

    assert {path for path in before if before[path] != after[path]} == {"a.png"}


def test_a_folder_that_is_not_there_cannot_be_listed(tmp_path):
    with pytest.raises(PhotographError, match="cannot be listed"):
        list(FolderStore(tmp_path / "nowhere").list_files())


def test_files_are_read_written_uploaded_and_removed(tmp_path):
    store = FolderStore(tmp_path / "out")
    folder = tmp_path / "folder"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "1").write_bytes(b"1")
    (folder / "2").write_bytes(b"2")

    assert store.read("x/1") is None
    store.upload(folder, ["x/1", "2"])
    store.write("3/4", b"4")
    assert [store.read(path) for path in ("x/1", "2", "3/4")] == [b"1", b"2", b"4"]
    store.remove(["x/1", "2", "never"])
    assert [store.read(path) for path in ("x/1", "2", "3/4")] == [None, None, b"4"]
    assert paths(store) == ["3/4"]


def test_a_local_copy_of_a_local_file_is_the_file_itself(folder, tmp_path):
    with FolderStore(folder).local_copy("a.png", tmp_path) as path:
        assert path == folder / "a.png"


def test_refusals_are_errors_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    store = FolderStore(tmp_path)

    with pytest.raises(OutputError, match="in the way"):
        store.write("file/x", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be read"):
        store.read("folder")
    assert store.read("file/x") is None


def test_an_address_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ClusterError, match="gs:// is not supported"):
        open_store("gs://bucket")
    assert isinstance(open_store(str(tmp_path)), FileStore)
    assert open_store(str(tmp_path)).folder == tmp_path


def test_a_bucket_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    monkeypatch.delitem(__import__("sys").modules, "foveate.cluster.buckets", raising=False)

    with pytest.raises(ClusterError, match="pip install 'foveate\\[cluster\\]'"):
        open_store("s3://bucket")
