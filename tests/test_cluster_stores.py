"""Places that hold files: what is put is found, whole or not at all, and refusals are one line."""

import pytest

from foveate.cluster import stores
from foveate.cluster.stores import Folder, Store
from foveate.errors import ClusterError, OutputError, PhotographError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b/c.png", "b/.hidden.png", ".git/d.png", "b/e/f.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "in"


def paths(store, *arguments, **settings):
    return sorted(found.path for found in store.listing(*arguments, **settings))


def test_all_but_hidden_files_are_listed_with_their_size(folder):
    found = {one.path: one for one in Folder(folder).listing()}

    assert sorted(found) == ["a.png", "b/c.png", "b/e/f.txt"]
    assert found["b/c.png"].size == len("b/c.png")
    assert found["b/c.png"].real == str(folder.resolve() / "b/c.png")


def test_what_lies_below_a_path_is_listed(folder):
    assert paths(Folder(folder), "b") == ["b/c.png", "b/e/f.txt"]
    assert paths(Folder(folder), "nowhere") == []


def test_a_store_within_is_not_looked_into(folder):
    assert paths(Folder(folder), without=str(folder / "b")) == ["a.png"]
    assert paths(Folder(folder), without=str(folder)) == []
    assert len(paths(Folder(folder), without="s3://bucket/b")) == 3
    (folder / "bb").mkdir()
    (folder / "bb" / "g.png").write_bytes(b"")
    assert "bb/g.png" in paths(Folder(folder), without=str(folder / "b"))


def test_a_loop_of_links_ends_and_a_link_names_what_it_leads_to(folder):
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "z.png").symlink_to(folder / "a.png")
    (folder / "nowhere.png").symlink_to(folder / "gone")

    found = {one.path: one for one in Folder(folder).listing()}

    assert sorted(found) == ["a.png", "b/c.png", "b/e/f.txt", "nowhere.png", "z.png"]
    assert found["z.png"].real == found["a.png"].real
    assert (found["nowhere.png"].size, found["nowhere.png"].stamp) == (0, "")


def test_another_content_is_another_stamp(folder):
    before = {one.path: one.stamp for one in Folder(folder).listing()}
    (folder / "a.png").write_bytes(b"another")
    after = {one.path: one.stamp for one in Folder(folder).listing()}

    assert {path for path in before if before[path] != after[path]} == {"a.png"}


def test_a_folder_that_is_not_there_cannot_be_listed(tmp_path):
    with pytest.raises(PhotographError, match="cannot be listed"):
        list(Folder(tmp_path / "nowhere").listing())


def test_files_are_read_written_taken_and_removed(tmp_path):
    store = Folder(tmp_path / "out")
    made = tmp_path / "made"
    (made / "x").mkdir(parents=True)
    (made / "x" / "1").write_bytes(b"1")
    (made / "2").write_bytes(b"2")

    assert store.read("x/1") is None
    store.take(made, ["x/1", "2"])
    store.write("3/4", b"4")
    assert [store.read(path) for path in ("x/1", "2", "3/4")] == [b"1", b"2", b"4"]
    store.remove(["x/1", "2", "never"])
    assert [store.read(path) for path in ("x/1", "2", "3/4")] == [None, None, b"4"]
    assert paths(store) == ["3/4"]


def test_a_file_is_lent_as_it_lies(folder, tmp_path):
    with Folder(folder).fetched("a.png", tmp_path) as path:
        assert path == folder / "a.png"


def test_refusals_are_errors_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    store = Folder(tmp_path)

    with pytest.raises(OutputError, match="in the way"):
        store.write("file/x", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be read"):
        store.read("folder")
    assert store.read("file/x") is None


def test_an_address_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ClusterError, match="gs:// is not known"):
        stores.opened("gs://bucket")
    assert isinstance(stores.opened(str(tmp_path)), Store)
    assert stores.opened(str(tmp_path)).folder == tmp_path


def test_a_bucket_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    monkeypatch.delitem(__import__("sys").modules, "foveate.cluster.buckets", raising=False)

    with pytest.raises(ClusterError, match="pip install 'foveate\\[cluster\\]'"):
        stores.opened("s3://bucket")
