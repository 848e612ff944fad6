"""One worker: what it makes of a photograph from a store, and what a failure leaves behind."""

import secrets
from contextlib import closing

import pytest
import tiny_cluster
import tiny_package
from tiny_cluster import programme, results

from foveate.cluster import Where, driver, stores
from foveate.cluster.inventory import Item
from foveate.cluster.job import assigned
from foveate.cluster.worker import Shard, Worker
from foveate.concurrency import Ended
from foveate.errors import ClusterError
from foveate.inference import batch


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    source = tiny_cluster.folder(tmp_path_factory.mktemp("eyes"), count=2)
    (source / "bad.png").write_bytes(b"")
    return source


@pytest.fixture
def opened(eyes, model, tmp_path):
    """Open a worker between the eyes and a folder."""
    asked = programme(eyes, tmp_path / "out", model)
    with closing(Worker("w7", assigned(asked), asked.package)) as worker:
        yield worker


def shard(*paths, lies=False):
    items = (Item(path=path, name=path.removesuffix(".png"), stamp="s", size=1, lies=lies) for path in paths)
    return Shard(number=1, items=tuple(items))


GOOD, BAD = "clinic0/eye000.png", "bad.png"


def test_each_photograph_of_a_shard_has_an_entry_and_one_that_fails_costs_the_others_nothing(opened, eyes):
    done = opened.look(shard(GOOD, BAD, "gone.png", GOOD))

    assert [entry.row.status for entry in done.entries] == ["ok", "failed", "failed", "ok"]
    first, bad, gone, _ = done.entries
    assert set(first.seconds) == {"fetching", *batch.PHASES}
    assert (first.worker, first.tries, first.stamp) == ("w7", 1, "s")
    assert bad.row.error.startswith(f"{eyes / BAD}: the file is empty")
    assert (bad.kind, bad.stop) == ("PhotographError", "")
    assert "no such file" in gone.row.error
    assert done.peak_mb > 20


def test_a_result_that_lies_there_is_not_written_again(opened, tmp_path):
    opened.look(shard(GOOD))
    written = tmp_path / "out" / "regions" / "clinic0" / "eye000.json"
    before = written.stat().st_mtime_ns

    (entry,) = opened.look(shard(GOOD, lies=True)).entries

    assert entry.lay
    assert entry.row.status == "ok"
    assert written.stat().st_mtime_ns == before


def test_a_bug_that_one_photograph_brings_out_is_its_failure_alone(opened, eyes, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(batch, "one", broken)
    (entry,) = opened.look(shard(GOOD)).entries

    assert entry.kind == "ZeroDivisionError"
    assert entry.row.error.startswith(f"{eyes / GOOD}: ZeroDivisionError in test_cluster_worker.py:")
    assert entry.row.error.endswith("please report this")
    assert "\n" not in entry.row.error


def test_a_full_disk_says_that_no_other_photograph_can_be_done(opened, monkeypatch):
    import errno

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("foveate.writers.files.os.fsync", full)
    (entry,) = opened.look(shard(GOOD)).entries

    assert "no space is left there" in entry.stop
    assert entry.kind == "OutputError"


def test_where_the_run_ends_what_was_done_is_kept(opened):
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 30:
            raise Ended

    done = opened.look(shard(*[GOOD] * 9), check)

    assert 0 < len(done.entries) < 9


def test_at_its_end_nothing_is_left_on_this_machine(eyes, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = programme(eyes, tmp_path / "out", model)
    worker = Worker("w1", assigned(asked), asked.package)
    assert list(tmp_path.glob("foveate-*"))
    worker.close()

    assert not list(tmp_path.glob("foveate-*"))


@pytest.fixture
def bucket(s3, eyes):
    """A prefix with the eyes in it."""
    address = f"{s3}/{secrets.token_hex(4)}"
    store = stores.opened(f"{address}/in")
    for path in eyes.rglob("*.png"):
        store.write(path.relative_to(eyes).as_posix(), path.read_bytes())
    return address


def fetched(address, folder):
    """Copy what lies below an address into a folder."""
    store = stores.opened(address)
    for found in store.listing():
        path = folder / found.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(found.path))
    return folder


@pytest.mark.xdist_group("s3")
def test_from_a_bucket_to_a_bucket_comes_what_comes_from_a_folder_to_a_folder(bucket, eyes, model, tmp_path):
    driver.run(programme(eyes, tmp_path / "plain", model), Where(workers=1))

    report = driver.run(programme(f"{bucket}/in", f"{bucket}/out", model), Where(workers=2))
    there = fetched(f"{bucket}/out", tmp_path / "there")

    wanted = results(tmp_path / "plain")
    for name in ("summary.csv", "index.html"):  # these name the file that failed
        wanted[name] = wanted[name].replace(f"{eyes}/".encode(), f"{bucket}/in/".encode())
    assert results(there) == wanted
    assert (report.standing.ok, report.standing.failed) == (2, 1)

    again = driver.run(programme(f"{bucket}/in", f"{bucket}/out", model, resume=True), Where(workers=1))
    assert (again.standing.kept, again.standing.ok) == (2, 0)


@pytest.mark.xdist_group("s3")
def test_a_result_in_a_bucket_is_found_again_or_made_anew(bucket, model, tmp_path):
    asked = programme(f"{bucket}/in", f"{bucket}/out", model)
    with closing(Worker("w1", assigned(asked), asked.package)) as worker:
        first = worker.look(shard(GOOD)).entries[0]
        second = worker.look(shard(GOOD, lies=True)).entries[0]
        assert (first.lay, second.lay) == (False, True)
        assert first.row == second.row
        assert {"fetching", "storing"} <= set(first.seconds)

        other = tiny_package.photograph(tmp_path / "other.png", seed=9).read_bytes()
        stores.opened(f"{bucket}/in").write(GOOD, other)
        third = worker.look(shard(GOOD, lies=True)).entries[0]
        assert not third.lay
        assert third.row.digest != first.row.digest

        stores.opened(f"{bucket}/in").write(GOOD, b"")
        worker.look(shard(GOOD, lies=True))
    left = [found.path for found in stores.opened(f"{bucket}/out").listing()]
    assert left == []  # what was there spoke of another photograph


@pytest.mark.xdist_group("s3")
def test_a_bucket_out_of_reach_stops_a_run(bucket, model, monkeypatch):
    asked = programme(f"{bucket}/in", f"{bucket}/out", model)
    with closing(Worker("w1", assigned(asked), asked.package)) as worker:

        def refuse(*arguments):
            raise ClusterError("cannot be reached")

        monkeypatch.setattr(worker._target, "take", refuse)
        (entry,) = worker.look(shard(GOOD)).entries

    assert (entry.row.status, entry.stop) == ("failed", "cannot be reached")
