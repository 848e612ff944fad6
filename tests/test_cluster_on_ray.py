"""Workers on a real Ray cluster of this machine: the same files, whoever is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny_cluster
import tiny_package
from tiny_cluster import programme, results, said

from foveate import models
from foveate.cluster import Where, driver
from foveate.errors import ClusterError, PackageError
from foveate.inference import api

ray = pytest.importorskip("ray", reason="needs foveate[cluster]: Ray")

from foveate.cluster import on_ray  # noqa: E402, after the skip

pytestmark = [
    pytest.mark.xdist_group("ray"),  # one cluster is enough
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # of Ray itself
]

WAIT_SECONDS = 60
"""For whatever another process is to do."""


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    source = tiny_cluster.folder(tmp_path_factory.mktemp("eyes"), count=10)
    (source / "clinic0" / "bad.png").write_bytes(b"")
    return source


@pytest.fixture(scope="module")
def plain(eyes, model, tmp_path_factory):
    """What a run on a single machine makes of the eyes."""
    out = tmp_path_factory.mktemp("plain") / "out"
    api.load(model, engine="onnx", threads=1).predict([eyes], out)
    return results(out)


@pytest.fixture(scope="session")
def cluster():
    """A Ray cluster of two processors, one for all tests; where others may join it."""
    with on_ray.joined("ray://local", processors=2):
        yield ray.get_runtime_context().gcs_address


AUTO = Where(on="ray://auto", workers=2)
"""The cluster that this process has joined already."""


def children(log):
    """Process numbers of the workers that have joined, the latest of each last."""
    return [event["process"] for event in said(log) if event["event"] == "joined"]


def test_workers_killed_twice_lose_nothing_and_the_files_are_those_of_one_machine(
    cluster, eyes, model, plain, tmp_path
):
    log = tmp_path / "log.jsonl"
    killed = []

    def kill(standing):
        if len(killed) < 2 and standing.ok > 3 * len(killed) and standing.workers:
            number = next(one for one in reversed(children(log)) if one not in killed)
            killed.append(number)
            os.kill(number, signal.SIGKILL)

    report = driver.run(programme(eyes, tmp_path / "out", model), AUTO, log=str(log), tell=kill)

    assert results(tmp_path / "out") == plain
    assert len(killed) == 2
    assert (report.standing.ok, report.standing.failed) == (10, 1)
    assert report.standing.lost == 2
    done = [event["photograph"] for event in said(log) if event["event"] == "photograph"]
    assert len(done) == len(set(done)) == 11
    assert os.getpid() not in children(log)
    assert len(set(children(log))) >= 3


def test_a_driver_killed_and_started_again_goes_on_and_writes_nothing_twice(
    cluster, eyes, model, plain, tmp_path
):
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
        end = time.monotonic() + WAIT_SECONDS
        while not (log.exists() and '"event": "shard"' in log.read_text()):
            assert time.monotonic() < end, "no shard was done in time"
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.kill()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("regions/**/*.json")}
    assert 1 <= len(before) < 10

    report = driver.run(programme(eyes, out, model, resume=True), AUTO)

    assert results(out) == plain
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert report.standing.failed == 1


def test_what_is_wrong_with_a_worker_arrives_as_it_is(cluster, eyes, tmp_path):
    model = tiny_package.build(tmp_path / "tiny")
    asked = programme(eyes, tmp_path / "out", model)
    (model / "local.onnx").write_bytes(b"altered since it was opened")

    with pytest.raises(PackageError, match=r"worker w1: .*local.onnx: altered"):
        driver.run(asked, Where(on="ray://auto", workers=1))


def test_as_many_workers_as_the_cluster_has_processors_for(cluster, model, tmp_path):
    asked = programme(tmp_path, tmp_path / "out", model)
    with Where(on="ray://auto")(driver.job.assigned(asked), asked.package) as crew:
        assert len(crew._seats) == 2
        assert crew.room() == 0  # nobody has joined yet
        end = time.monotonic() + WAIT_SECONDS
        while crew.room() < 4:
            crew.next(1.0)
            assert time.monotonic() < end


def test_a_package_that_is_sent_arrives_whole(model, tmp_path):
    package = models.load(model)
    (tmp_path / "there").mkdir()

    there = on_ray.parcel(package).unpacked(tmp_path / "there")

    assert there.digest == package.digest


def test_a_cluster_that_cannot_be_joined_is_an_error(monkeypatch):
    asked = []

    def refuse(**named):
        asked.append(named["address"])
        raise ConnectionError("nobody there\nat all")

    monkeypatch.setattr(ray, "init", refuse)
    before = signal.getsignal(signal.SIGTERM)
    for address in ("ray://head", "ray://head:99", "ray://local"):
        with (
            pytest.raises(
                ClusterError, match=f"{address}: no Ray cluster can be joined there \\(nobody there\\)"
            ),
            on_ray.joined(address, 1),
        ):
            pass

    assert asked == ["ray://head:10001", "ray://head:99", "local"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("on", ["ray://", "ray", "slurm", ""])
def test_an_address_that_is_none_is_refused(on):
    from foveate.errors import SettingError

    with pytest.raises(SettingError, match="give local, ray://local"):
        Where(on=on)


def test_without_ray_it_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "foveate.cluster.on_ray")
    monkeypatch.delattr("foveate.cluster.on_ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = programme(tmp_path, tmp_path / "out", model)

    with (
        pytest.raises(ClusterError, match="pip install 'foveate\\[cluster\\]'"),
        Where(on="ray://local")(driver.job.assigned(asked), asked.package),
    ):
        pass


def test_nothing_of_the_base_imports_ray():
    code = (
        "import sys, foveate, foveate.cli, foveate.inference.api, foveate.cluster.driver; "
        "print([name for name in ('ray', 's3fs', 'fsspec', 'botocore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
