"""A prefix of a bucket, on a real S3 server of this machine: the rules of `stores`, and what S3 adds."""

import errno
import os
import secrets
from pathlib import Path

import pytest

from foveate.cluster.addresses import open_store
from foveate.errors import ClusterError, OutputError, PhotographError

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def address(s3):
    """Return the address of an unused prefix."""
    return f"{s3}/{secrets.token_hex(4)}"


@pytest.fixture
def store(address):
    return open_store(address)


def paths(store, *arguments, **settings):
    return sorted(file.path for file in store.list_files(*arguments, **settings))


def test_all_but_hidden_objects_are_listed_with_their_size(store, address):
    for path in ("a.png", "b/c.png", "b/.hidden", ".git/x", "bb/d.png"):
        store.write(path, path.encode())
    store.write("folder/", b"")  # as consoles put it

    by_path = {file.path: file for file in store.list_files()}

    assert sorted(by_path) == ["a.png", "b/c.png", "bb/d.png"]
    assert by_path["b/c.png"].size == 7
    assert paths(store, "b") == ["b/c.png"]
    assert paths(store, exclude=f"{address}/b") == ["a.png", "bb/d.png"]
    assert paths(store, exclude="elsewhere") == sorted(by_path)


@pytest.mark.parametrize("mark", ["run.json", "metrics.json", "check.json", "manifest/order.json"])
def test_results_of_an_earlier_run_are_left_out_on_request(store, mark):
    for path in ("a.png", "r1/maps/a_EX.png", "r1/overlays/a.jpg", "r10/b.png", "monday/r2/z.png"):
        store.write(path, b"x")
    for folder in ("r1", "monday/r2"):
        store.write(f"{folder}/{mark}", b'{\n "foveate": "0.1.0"\n}')
    store.write(f"r10/{mark}", b'{"name": "treadmill"}')

    assert paths(store, without_results=True) == ["a.png", "r10/b.png", f"r10/{mark}"]
    assert paths(store, "monday", without_results=True) == []
    assert paths(open_store(store.display_path("r1")), without_results=True) == []
    assert len(paths(store)) == 8


def test_a_bucket_whose_root_holds_results_holds_no_photographs(s3):
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("results")
    bucket = open_store("s3://results")
    for path, content in (("overlays/a.jpg", b"x"), ("run.json", b'{"foveate": "0.1.0"}')):
        bucket.write(path, content)

    assert paths(bucket, without_results=True) == []


def test_more_objects_than_a_page_holds_are_all_listed_and_removed(store, monkeypatch):
    monkeypatch.setattr("foveate.cluster.buckets.PAGE_OBJECTS", 2)
    names = [f"{number:04}" for number in range(7)]
    for name in names:
        store.write(name, b"")

    assert paths(store) == names
    store.remove(names)
    assert paths(store) == []


def test_another_content_is_another_stamp(store):
    store.write("a", b"1")
    (before,) = store.list_files()
    store.write("a", b"2")
    (after,) = store.list_files()

    assert before.stamp != after.stamp


def test_objects_are_read_uploaded_and_removed(store, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1").write_bytes(b"1")
    (tmp_path / "2").write_bytes(b"2")

    assert store.read("x/1") is None
    store.upload(tmp_path, ["x/1", "2"])
    assert (store.read("x/1"), store.read("2")) == (b"1", b"2")
    store.upload(tmp_path, ["2"])
    store.remove(["x/1", "2", "never"])
    store.remove([])
    assert (store.read("x/1"), store.read("2")) == (None, None)


def test_the_last_path_is_uploaded_last_and_removed_first(store, tmp_path, monkeypatch):
    (tmp_path / "1").write_bytes(b"1")
    (tmp_path / "2").write_bytes(b"2")
    put = store._files.put_file

    def refuse(local, remote, **settings):
        assert store.read("1") == b"1"
        raise OSError("no more")

    monkeypatch.setattr(store._files, "put_file", refuse)
    with pytest.raises(OutputError, match="S3 refuses \\(no more\\)"):
        store.upload(tmp_path, ["1", "2"])
    assert store.read("2") is None

    monkeypatch.setattr(store._files, "put_file", put)
    store.upload(tmp_path, ["1", "2"])
    calls = []
    call = store._files.call_s3
    monkeypatch.setattr(
        store._files,
        "call_s3",
        lambda *arguments, **options: calls.append(options) or call(*arguments, **options),
    )
    store.remove(["1", "2"])
    objects = [entry for options in calls for entry in options["Delete"]["Objects"]]
    assert [entry["Key"].rsplit("/")[-1] for entry in objects] == ["2", "1"]


@pytest.mark.parametrize(
    ("code", "expected", "message"),
    [
        ("AccessDenied", ClusterError, r"2: access is refused \(AccessDenied: no\); check the credentials"),
        ("InternalError", OutputError, r"2: S3 refuses \(InternalError: no\)"),
    ],
)
def test_an_object_that_is_not_removed_is_an_error_although_the_answer_is_a_success(
    store, monkeypatch, code, expected, message
):
    def refuse(method, *, Delete, **_):
        return {"Errors": [{"Key": Delete["Objects"][0]["Key"], "Code": code, "Message": "no"}]}

    monkeypatch.setattr(store._files, "call_s3", refuse)

    with pytest.raises(expected, match=message):
        store.remove(["1", "2"])


def test_a_local_copy_is_removed_afterwards(store, tmp_path):
    store.write("clinic/a b.PNG", b"eye")

    with store.local_copy("clinic/a b.PNG", tmp_path) as path:
        assert path.read_bytes() == b"eye"
        assert path.suffix == ".PNG"
    assert not any(tmp_path.iterdir())
    with pytest.raises(PhotographError, match="no such object"), store.local_copy("gone", tmp_path):
        pass


def test_a_full_scratch_disk_is_an_error_of_the_disk(store, tmp_path, monkeypatch):
    store.write("a.png", b"eye")

    def refuse(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match="no space is left there"), store.local_copy("a.png", tmp_path):
        pass


def test_a_bucket_that_is_not_there_or_not_named_is_an_error(s3):
    with pytest.raises(PhotographError, match="s3://nowhere/x/: no such object or bucket"):
        list(open_store("s3://nowhere/x").list_files())
    with pytest.raises(ClusterError, match="names no bucket"):
        open_store("s3://")
    assert open_store(f"{s3}/x").folder is None


def test_a_server_that_does_not_answer_is_a_cluster_error(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # one client serves all stores of a process
    silent = open_store("s3://eyes/x")

    with pytest.raises(ClusterError, match=r"cannot be reached.*check AWS_ENDPOINT_URL"):
        list(silent.list_files())
    with pytest.raises(ClusterError, match="cannot be reached"):
        silent.read("a")
    s3fs.S3FileSystem.clear_instance_cache()
