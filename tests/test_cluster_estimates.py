"""An estimate: it counts the photographs, measures a few, multiplies, and writes nothing."""

import pytest
import tiny_cluster
import tiny_package
from hypothesis import given
from hypothesis import strategies as st
from tiny_cluster import one_worker

from foveate.cluster import driver, estimates
from foveate.cluster.estimates import RunEstimate


def run_estimate(**changes):
    numbers = {"photographs": 100, "size": 10**6, "remaining": 100, "skipped": 0, "seconds": (2.0, 4.0)}
    return RunEstimate(**{**numbers, "failed": 0, "result_bytes": 10.0, "engine": "fake", **changes})


@given(st.integers(1, 10**7), st.floats(0.1, 100), st.integers(1, 10_000))
def test_more_workers_take_less_time_but_never_less_than_one_photograph(remaining, seconds, workers):
    estimate = run_estimate(remaining=remaining, seconds=(seconds,))

    assert estimate.hours(1) == pytest.approx(remaining * seconds / 3600)
    assert estimate.hours(workers + 1) >= max(remaining * seconds / (workers + 1), seconds) / 3600
    assert estimate.hours(workers + 2) <= estimate.hours(workers + 1)


def test_without_a_measurement_there_is_no_estimate():
    assert run_estimate(seconds=()).seconds_per_photograph is None
    assert run_estimate(seconds=()).hours(10) is None


def test_photographs_are_counted_and_some_are_measured_and_nothing_is_written(model, tmp_path):
    source = tiny_cluster.write_eyes(tmp_path / "eyes", count=6)
    (source / "bad.png").write_bytes(b"")

    estimate = estimates.estimate(tiny_cluster.cluster_job(source, tmp_path / "out", model))

    assert (estimate.photographs, estimate.remaining, estimate.skipped) == (7, 7, 1)
    assert estimate.size == sum(path.stat().st_size for path in source.rglob("*.png"))
    assert 1 <= len(estimate.seconds) <= estimates.SAMPLE
    assert len(estimate.seconds) + estimate.failed >= estimates.SAMPLE
    assert all(0 < seconds < 60 for seconds in estimate.seconds)
    assert 5_000 < estimate.result_bytes < 1_000_000
    assert not (tmp_path / "out").exists()


def test_finished_photographs_do_not_remain(model, tmp_path):
    source = tiny_cluster.write_eyes(tmp_path / "eyes", count=2)
    job = tiny_cluster.cluster_job(source, tmp_path / "out", model, resume=True)
    driver.run(job, one_worker)
    tiny_package.photograph(source / "new.png", seed=5)
    before = tiny_cluster.results(tmp_path / "out")

    estimate = estimates.estimate(job)

    assert (estimate.photographs, estimate.remaining) == (3, 1)
    assert len(estimate.seconds) == 1
    assert tiny_cluster.results(tmp_path / "out") == before


def test_if_every_photograph_fails_there_is_no_estimate(model, tmp_path):
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "bad.png").write_bytes(b"")

    estimate = estimates.estimate(tiny_cluster.cluster_job(tmp_path / "eyes", tmp_path / "out", model))

    assert (estimate.seconds_per_photograph, estimate.failed) == (None, 1)
