"""A plan: counts what there is, measures a few, multiplies, and writes nothing."""

import pytest
import tiny_cluster
import tiny_package
from hypothesis import given
from hypothesis import strategies as st

from foveate.cluster import Where, driver, plans
from foveate.cluster.plans import Plan


def plan(**changes):
    numbers = {"photographs": 100, "size": 10**6, "left": 100, "skipped": 0, "seconds": (2.0, 4.0)}
    return Plan(**{**numbers, "failed": 0, "results": 10.0, "label": "fake", **changes})


@given(st.integers(1, 10**7), st.floats(0.1, 100), st.integers(1, 10_000))
def test_more_workers_take_less_time_but_never_less_than_one_photograph(left, seconds, workers):
    found = plan(left=left, seconds=(seconds,))

    assert found.hours(1) == pytest.approx(left * seconds / 3600)
    assert found.hours(workers + 1) >= max(left * seconds / (workers + 1), seconds) / 3600
    assert found.hours(workers + 2) <= found.hours(workers + 1)


def test_what_was_not_measured_is_not_told():
    assert plan(seconds=()).each is None
    assert plan(seconds=()).hours(10) is None


def test_photographs_are_counted_and_some_are_measured_and_nothing_is_written(model, tmp_path):
    source = tiny_cluster.folder(tmp_path / "eyes", count=6)
    (source / "bad.png").write_bytes(b"")

    found = plans.estimate(tiny_cluster.programme(source, tmp_path / "out", model))

    assert (found.photographs, found.left, found.skipped) == (7, 7, 1)
    assert found.size == sum(path.stat().st_size for path in source.rglob("*.png"))
    assert 1 <= len(found.seconds) <= plans.SAMPLE
    assert len(found.seconds) + found.failed >= plans.SAMPLE
    assert all(0 < seconds < 60 for seconds in found.seconds)
    assert 5_000 < found.results < 1_000_000
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_not_counted_as_left(model, tmp_path):
    source = tiny_cluster.folder(tmp_path / "eyes", count=2)
    asked = tiny_cluster.programme(source, tmp_path / "out", model, resume=True)
    driver.run(asked, Where(workers=1))
    tiny_package.photograph(source / "new.png", seed=5)
    before = tiny_cluster.results(tmp_path / "out")

    found = plans.estimate(asked)

    assert (found.photographs, found.left) == (3, 1)
    assert len(found.seconds) == 1
    assert tiny_cluster.results(tmp_path / "out") == before


def test_where_none_can_be_looked_at_no_time_is_told(model, tmp_path):
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "bad.png").write_bytes(b"")

    found = plans.estimate(tiny_cluster.programme(tmp_path / "eyes", tmp_path / "out", model))

    assert (found.each, found.failed) == (None, 1)
