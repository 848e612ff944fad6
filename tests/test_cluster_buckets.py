"""A prefix of a bucket, on a real S3 server of this machine: the laws of `stores`, and what S3 adds."""

import secrets

import pytest

from foveate.cluster import stores
from foveate.errors import ClusterError, OutputError, PhotographError

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def address(s3):
    """A prefix that nobody else uses."""
    return f"{s3}/{secrets.token_hex(4)}"


@pytest.fixture
def store(address):
    return stores.opened(address)


def paths(store, *arguments, **settings):
    return sorted(found.path for found in store.listing(*arguments, **settings))


def test_all_but_hidden_objects_are_listed_with_their_size(store, address):
    for path in ("a.png", "b/c.png", "b/.hidden", ".git/x", "bb/d.png"):
        store.write(path, path.encode())
    store.write("folder/", b"")  # as consoles put it

    found = {one.path: one for one in store.listing()}

    assert sorted(found) == ["a.png", "b/c.png", "bb/d.png"]
    assert found["b/c.png"].size == 7
    assert paths(store, "b") == ["b/c.png"]
    assert paths(store, without=f"{address}/b") == ["a.png", "bb/d.png"]
    assert paths(store, without="elsewhere") == sorted(found)


def test_more_objects_than_a_page_holds_are_all_listed_and_removed(store, monkeypatch):
    monkeypatch.setattr("foveate.cluster.buckets.AT_ONCE", 2)
    names = [f"{number:04}" for number in range(7)]
    for name in names:
        store.write(name, b"")

    assert paths(store) == names
    store.remove(names)
    assert paths(store) == []


def test_another_content_is_another_stamp(store):
    store.write("a", b"1")
    (before,) = store.listing()
    store.write("a", b"2")
    (after,) = store.listing()

    assert before.stamp != after.stamp


def test_objects_are_read_taken_and_removed(store, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1").write_bytes(b"1")
    (tmp_path / "2").write_bytes(b"2")

    assert store.read("x/1") is None
    store.take(tmp_path, ["x/1", "2"])
    assert (store.read("x/1"), store.read("2")) == (b"1", b"2")
    store.take(tmp_path, ["2"])
    store.remove(["x/1", "2", "never"])
    store.remove([])
    assert (store.read("x/1"), store.read("2")) == (None, None)


def test_what_vouches_for_the_rest_is_put_last_and_removed_first(store, tmp_path, monkeypatch):
    (tmp_path / "1").write_bytes(b"1")
    (tmp_path / "2").write_bytes(b"2")
    put = store._files.put_file

    def refuse(local, remote, **settings):
        assert store.read("1") == b"1"
        raise OSError("no more")

    monkeypatch.setattr(store._files, "put_file", refuse)
    with pytest.raises(OutputError, match="S3 refuses \\(no more\\)"):
        store.take(tmp_path, ["1", "2"])
    assert store.read("2") is None

    monkeypatch.setattr(store._files, "put_file", put)
    store.take(tmp_path, ["1", "2"])
    asked = []
    call = store._files.call_s3
    monkeypatch.setattr(
        store._files, "call_s3", lambda *line, **named: asked.append(named) or call(*line, **named)
    )
    store.remove(["1", "2"])
    assert [one["Key"].rsplit("/")[-1] for ask in asked for one in ask["Delete"]["Objects"]] == ["2", "1"]


def test_a_copy_is_lent_and_gone_afterwards(store, tmp_path):
    store.write("clinic/a b.PNG", b"eye")

    with store.fetched("clinic/a b.PNG", tmp_path) as path:
        assert path.read_bytes() == b"eye"
        assert path.suffix == ".PNG"
    assert not any(tmp_path.iterdir())
    with pytest.raises(PhotographError, match="no such object"), store.fetched("gone", tmp_path):
        pass


def test_a_bucket_that_is_not_there_or_not_named_is_an_error(s3):
    with pytest.raises(PhotographError, match="s3://nowhere/x/: no such object or bucket"):
        list(stores.opened("s3://nowhere/x").listing())
    with pytest.raises(ClusterError, match="no bucket is named"):
        stores.opened("s3://")
    assert stores.opened(f"{s3}/x").folder is None


def test_a_server_that_does_not_answer_is_an_error_that_stops_a_run(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # one client serves all stores of a process
    silent = stores.opened("s3://eyes/x")

    with pytest.raises(ClusterError, match=r"cannot be reached.*check AWS_ENDPOINT_URL"):
        list(silent.listing())
    with pytest.raises(ClusterError, match="cannot be reached"):
        silent.read("a")
    s3fs.S3FileSystem.clear_instance_cache()
