"""Workers on a real Ray cluster of this machine: the same files, whoever is killed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest
import tiny_cluster
import tiny_package
from tiny_cluster import cluster_job, logged_events, results

from foveate import models
from foveate.cluster import Placement, driver
from foveate.cluster.inventory import WorkItem
from foveate.cluster.job import make_assignment
from foveate.cluster.worker import Shard
from foveate.errors import ClusterError, PackageError
from foveate.inference import api

ray = pytest.importorskip("ray", reason="needs foveate[cluster]: Ray")

from foveate.cluster import ray_executor  # noqa: E402, after the skip

pytestmark = [
    pytest.mark.xdist_group("ray"),  # one cluster is enough
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # of Ray itself
]

WAIT_SECONDS = 600
"""Time limit for whatever another process does; starting Python alone takes minutes on a busy machine."""


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    source = tiny_cluster.write_eyes(tmp_path_factory.mktemp("eyes"), count=10)
    (source / "clinic0" / "bad.png").write_bytes(b"")
    return source


@pytest.fixture(scope="module")
def plain(eyes, model, tmp_path_factory):
    """Return the results of a run on a single machine."""
    out = tmp_path_factory.mktemp("plain") / "out"
    api.load(model, engine="onnx", threads=1).predict([eyes], out)
    return results(out)


@pytest.fixture(scope="session")
def cluster():
    """Start a Ray cluster of two processors for all tests; yield the address at which others may join it."""
    with ray_executor.cluster_connection("ray://local", processors=2):
        yield ray.get_runtime_context().gcs_address


start_actors = Placement(on="ray://auto", workers=2).start_executor
"""Starts workers on the cluster that this process has joined already."""


def worker_processes(log):
    """Return the process numbers of the workers that became ready, the latest last."""
    return [event["process"] for event in logged_events(log) if event["event"] == "joined"]


def test_two_killed_workers_lose_nothing_and_the_files_are_those_of_one_machine(
    cluster, eyes, model, plain, tmp_path
):
    log = tmp_path / "log.jsonl"
    killed = []

    def kill(status):
        if len(killed) < 2 and status.ok > 3 * len(killed) and status.workers:
            number = next(number for number in reversed(worker_processes(log)) if number not in killed)
            killed.append(number)
            os.kill(number, signal.SIGKILL)

    report = driver.run(
        cluster_job(eyes, tmp_path / "out", model), start_actors, log=str(log), on_status=kill
    )

    assert results(tmp_path / "out", was_killed=True) == plain
    assert len(killed) == 2
    assert (report.status.ok, report.status.failed) == (10, 1)
    assert report.status.workers_lost == 2
    done = [event["photograph"] for event in logged_events(log) if event["event"] == "photograph"]
    assert len(done) == len(set(done)) == 11
    assert os.getpid() not in worker_processes(log)
    assert len(set(worker_processes(log))) >= 3


def test_an_actor_keeps_no_files_of_the_model_since_it_is_killed_in_the_end(
    eyes, model, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    job = cluster_job(eyes, tmp_path / "out", model)
    actor = ray_executor.WorkerActor("w1", make_assignment(job))
    item = WorkItem(path="clinic0/eye000.png", name="clinic0/eye000", stamp="s", size=1)

    actor.open_model(ray_executor.pack(job.package))
    assert not list(tmp_path.rglob("manifest.json"))
    (entry,) = actor.process(Shard(number=1, items=(item,))).entries
    actor.close()

    assert entry.row.status == "ok"
    assert not list(tmp_path.glob("foveate-*"))


def test_a_killed_driver_is_resumed_and_nothing_is_written_twice(cluster, eyes, model, plain, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log.jsonl"
    line = ["predict", eyes, "--out", out, "--model", model, "--engine", "onnx", "--on", "ray://auto"]
    line += ["--workers", "2", "--log", log]
    environment = os.environ | {"RAY_ADDRESS": cluster}
    with subprocess.Popen(
        [sys.executable, "-m", "foveate", *map(str, line)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (log.exists() and '"event": "shard"' in log.read_text()):
            assert time.monotonic() < deadline, "no shard was done in time"
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.kill()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("regions/**/*.json")}
    assert 1 <= len(before) < 10

    report = driver.run(cluster_job(eyes, out, model, resume=True), start_actors)

    assert results(out, was_killed=True) == plain
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert report.status.failed == 1


def test_a_workers_error_arrives_unchanged(cluster, eyes, tmp_path):
    model = tiny_package.build(tmp_path / "tiny")
    job = cluster_job(eyes, tmp_path / "out", model)
    (model / "local.onnx").write_bytes(b"altered since it was opened")

    with pytest.raises(PackageError, match=r"worker w1: .*local.onnx: was altered"):
        driver.run(job, Placement(on="ray://auto", workers=1).start_executor)


def test_by_default_every_processor_of_the_cluster_has_a_worker(cluster, model, tmp_path):
    job = cluster_job(tmp_path, tmp_path / "out", model)
    with Placement(on="ray://auto").start_executor(make_assignment(job), job.package) as executor:
        assert len(executor._slots) == 2
        assert executor.capacity() == 0  # no worker is ready yet
        deadline = time.monotonic() + WAIT_SECONDS
        while executor.capacity() < 4:
            executor.next_event(1.0)
            assert time.monotonic() < deadline


def test_a_packed_package_is_unpacked_whole(model, tmp_path):
    package = models.load(model)
    (tmp_path / "unpacked").mkdir()

    unpacked = ray_executor.pack(package).unpack(tmp_path / "unpacked")

    assert unpacked.digest == package.digest


def test_a_cluster_that_cannot_be_joined_is_an_error(monkeypatch):
    addresses = []

    def refuse(**options):
        addresses.append(options["address"])
        raise ConnectionError("nobody there\nat all")

    monkeypatch.setattr(ray, "init", refuse)
    before = signal.getsignal(signal.SIGTERM)
    for address in ("ray://head", "ray://head:99", "ray://local"):
        with (
            pytest.raises(ClusterError, match=f"{address}: cannot join a Ray cluster \\(nobody there\\)"),
            ray_executor.cluster_connection(address, 1),
        ):
            pass

    assert addresses == ["ray://head:10001", "ray://head:99", "local"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("on", ["ray://", "ray", "slurm", ""])
def test_an_unknown_address_is_refused(on):
    from foveate.errors import SettingError

    with pytest.raises(SettingError, match="give local, ray://local"):
        Placement(on=on)


def test_without_ray_it_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "foveate.cluster.ray_executor")
    monkeypatch.delattr("foveate.cluster.ray_executor")
    monkeypatch.setitem(sys.modules, "ray", None)
    job = cluster_job(tmp_path, tmp_path / "out", model)

    with (
        pytest.raises(ClusterError, match="pip install 'foveate\\[cluster\\]'"),
        Placement(on="ray://local").start_executor(make_assignment(job), job.package),
    ):
        pass


def test_the_base_imports_no_ray():
    code = (
        "import sys, foveate, foveate.cli, foveate.inference.api, foveate.cluster.driver; "
        "print([name for name in ('ray', 's3fs', 'fsspec', 'botocore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("source", ["photos", "s3://bucket/photos"])
def test_actors_get_whole_paths_because_they_run_in_another_folder(model, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    sent = []

    class Executor:
        def __init__(self, assignment, package, workers):
            sent.append(assignment)

        def close(self):
            pass

    monkeypatch.setattr(ray_executor, "RayExecutor", Executor)
    monkeypatch.setattr(ray_executor, "cluster_connection", lambda on, processors: nullcontext())
    job = cluster_job(source, "results", model)
    with Placement(on="ray://auto").start_executor(make_assignment(job), job.package):
        pass

    assert sent[0].source == (source if "://" in source else str(tmp_path / "photos"))
    assert sent[0].target == str(tmp_path / "results")
