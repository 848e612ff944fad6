"""One worker: its result for a photograph of a store, and what a failure leaves behind."""

import secrets
from contextlib import closing

import pytest
import tiny_cluster
import tiny_package
from tiny_cluster import cluster_job, one_worker, results

from foveate.cluster import Placement, driver
from foveate.cluster.addresses import open_store
from foveate.cluster.inventory import WorkItem
from foveate.cluster.job import make_assignment
from foveate.cluster.worker import Shard, ShardWorker
from foveate.concurrency import WorkCancelled
from foveate.errors import ClusterError
from foveate.inference import photograph_job


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    source = tiny_cluster.write_eyes(tmp_path_factory.mktemp("eyes"), count=2)
    (source / "bad.png").write_bytes(b"")
    return source


@pytest.fixture
def opened(eyes, model, tmp_path):
    """Open a worker between the eyes and a folder."""
    job = cluster_job(eyes, tmp_path / "out", model)
    with closing(ShardWorker("w7", make_assignment(job), job.package)) as worker:
        yield worker


def shard(*paths, has_result=False):
    items = (
        WorkItem(path=path, name=path.removesuffix(".png"), stamp="s", size=1, has_result=has_result)
        for path in paths
    )
    return Shard(number=1, items=tuple(items))


GOOD, BAD = "clinic0/eye000.png", "bad.png"


def test_each_photograph_of_a_shard_has_an_entry_and_a_failure_does_not_affect_the_others(opened, eyes):
    result = opened.process(shard(GOOD, BAD, "gone.png", GOOD))

    assert [entry.row.status for entry in result.entries] == ["ok", "failed", "failed", "ok"]
    first, bad, gone, _ = result.entries
    assert set(first.seconds) == {"fetching", *photograph_job.PHASES}
    assert (first.worker, first.attempts, first.stamp) == ("w7", 1, "s")
    assert bad.row.error.startswith(f"{eyes / BAD}: the file is empty")
    assert (bad.error_type, bad.fatal_error) == ("PhotographError", "")
    assert "no such file" in gone.row.error
    assert result.peak_mb > 20


def test_an_existing_result_is_not_written_again(opened, tmp_path):
    opened.process(shard(GOOD))
    written = tmp_path / "out" / "regions" / "clinic0" / "eye000.json"
    before = written.stat().st_mtime_ns

    (entry,) = opened.process(shard(GOOD, has_result=True)).entries

    assert entry.reused
    assert entry.row.status == "ok"
    assert written.stat().st_mtime_ns == before


def test_a_result_of_a_photograph_that_cannot_be_read_now_is_kept(model, tmp_path):
    photograph = tiny_package.photograph(tmp_path / "in" / "eye.png", seed=1)
    job = cluster_job(tmp_path / "in", tmp_path / "out", model)
    with closing(ShardWorker("w1", make_assignment(job), job.package)) as worker:
        worker.process(shard("eye.png"))
        before = results(tmp_path / "out")
        photograph.unlink()
        photograph.symlink_to("/nowhere/share/eye.png")  # as on a share that is gone
        (entry,) = worker.process(shard("eye.png", has_result=True)).entries

    assert entry.row.error.endswith("; its earlier result is kept")
    assert results(tmp_path / "out") == before


def test_a_bug_fails_only_the_photograph_that_brings_it_out(opened, eyes, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(photograph_job, "process_photograph", broken)
    (entry,) = opened.process(shard(GOOD)).entries

    assert entry.error_type == "ZeroDivisionError"
    assert entry.row.error.startswith(f"{eyes / GOOD}: ZeroDivisionError in test_cluster_worker.py:")
    assert entry.row.error.endswith("please report this")
    assert "\n" not in entry.row.error


def test_a_full_disk_is_a_fatal_error(opened, monkeypatch):
    import errno

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("foveate.atomic_files.os.fsync", full)
    (entry,) = opened.process(shard(GOOD)).entries

    assert "no space is left there" in entry.fatal_error
    assert entry.error_type == "OutputError"


def test_entries_made_before_the_run_ends_are_kept(opened):
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 30:
            raise WorkCancelled

    result = opened.process(shard(*[GOOD] * 9), check)

    assert 0 < len(result.entries) < 9


def test_closing_leaves_no_scratch_file(eyes, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    job = cluster_job(eyes, tmp_path / "out", model)
    worker = ShardWorker("w1", make_assignment(job), job.package)
    assert list(tmp_path.glob("foveate-*"))
    worker.close()

    assert not list(tmp_path.glob("foveate-*"))


@pytest.fixture
def bucket(s3, eyes):
    """Upload the eyes below a new prefix and return its address."""
    address = f"{s3}/{secrets.token_hex(4)}"
    store = open_store(f"{address}/in")
    for path in eyes.rglob("*.png"):
        store.write(path.relative_to(eyes).as_posix(), path.read_bytes())
    return address


def download(address, folder):
    """Copy the files below an address into a folder and return it."""
    store = open_store(address)
    for file in store.list_files():
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(file.path))
    return folder


@pytest.mark.xdist_group("s3")
def test_a_bucket_gets_the_same_results_as_a_folder(bucket, eyes, model, tmp_path):
    driver.run(cluster_job(eyes, tmp_path / "plain", model), one_worker)

    report = driver.run(
        cluster_job(f"{bucket}/in", f"{bucket}/out", model), Placement(workers=2).start_executor
    )
    downloaded = download(f"{bucket}/out", tmp_path / "downloaded")

    expected = results(tmp_path / "plain")
    for name in ("summary.csv", "index.html"):  # these name the file that failed
        expected[name] = expected[name].replace(f"{eyes}/".encode(), f"{bucket}/in/".encode())
    assert results(downloaded) == expected
    assert (report.status.ok, report.status.failed) == (2, 1)

    resumed = driver.run(cluster_job(f"{bucket}/in", f"{bucket}/out", model, resume=True), one_worker)
    assert (resumed.status.done_before, resumed.status.ok) == (2, 0)


@pytest.mark.xdist_group("s3")
def test_a_result_in_a_bucket_is_reused_or_made_again(bucket, model, tmp_path):
    job = cluster_job(f"{bucket}/in", f"{bucket}/out", model)
    with closing(ShardWorker("w1", make_assignment(job), job.package)) as worker:
        first = worker.process(shard(GOOD)).entries[0]
        second = worker.process(shard(GOOD, has_result=True)).entries[0]
        assert (first.reused, second.reused) == (False, True)
        assert first.row == second.row
        assert {"fetching", "storing"} <= set(first.seconds)

        changed = tiny_package.photograph(tmp_path / "changed.png", seed=9).read_bytes()
        open_store(f"{bucket}/in").write(GOOD, changed)
        third = worker.process(shard(GOOD, has_result=True)).entries[0]
        assert not third.reused
        assert third.row.digest != first.row.digest

        open_store(f"{bucket}/in").write(GOOD, b"")
        worker.process(shard(GOOD, has_result=True))
    files = [file.path for file in open_store(f"{bucket}/out").list_files()]
    assert files == []  # the earlier result was of another photograph


@pytest.mark.xdist_group("s3")
def test_a_result_in_a_bucket_is_kept_until_it_is_replaced(s3, eyes, model, tmp_path, monkeypatch):
    source = tmp_path / "in"
    photograph = tiny_package.photograph(source / "eye.png", seed=1)
    target = f"{s3}/{secrets.token_hex(4)}"

    def stored():
        store = open_store(target)
        return {file.path: store.read(file.path) for file in store.list_files()}

    job = cluster_job(source, target, model)
    with closing(ShardWorker("w1", make_assignment(job), job.package)) as worker:
        worker.process(shard("eye.png"))
        whole = stored()
        content = photograph.read_bytes()
        photograph.unlink()
        photograph.symlink_to("/nowhere/share/eye.png")  # as on a share that is gone
        (entry,) = worker.process(shard("eye.png", has_result=True)).entries
        assert entry.row.status == "failed"
        assert entry.row.error.endswith("; its earlier result is kept")
        assert entry.error_type == "PhotographError"
        assert stored() == whole

        photograph.unlink()
        tiny_package.photograph(photograph, seed=9)

        def cancelled():
            raise WorkCancelled

        assert worker.process(shard("eye.png", has_result=True), cancelled).entries == ()
        assert stored() == whole
        photograph.write_bytes(content)
        (entry,) = worker.process(shard("eye.png", has_result=True)).entries
        assert entry.reused


@pytest.mark.xdist_group("s3")
def test_an_unreachable_bucket_is_a_fatal_error(bucket, model, monkeypatch):
    job = cluster_job(f"{bucket}/in", f"{bucket}/out", model)
    with closing(ShardWorker("w1", make_assignment(job), job.package)) as worker:

        def refuse(*arguments):
            raise ClusterError("cannot be reached")

        monkeypatch.setattr(worker._target, "upload", refuse)
        (entry,) = worker.process(shard(GOOD)).entries

    assert (entry.row.status, entry.fatal_error) == ("failed", "cannot be reached")
