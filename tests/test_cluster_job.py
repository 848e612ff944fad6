"""A run as values: its limits, its status, and what is sent to workers."""

import pickle

import pytest
import tiny_cluster
import tiny_package
from hypothesis import given
from hypothesis import strategies as st

from foveate.cluster.job import RunStatus, list_photographs, make_assignment
from foveate.errors import SettingError
from foveate.inference.settings import Settings


def status(**changes):
    numbers = {"total": 10, "done_before": 0, "ok": 0, "failed": 0, "retries": 0, "workers_lost": 0}
    return RunStatus(**{**numbers, "workers": 1, "seconds": 1.0, **changes})


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.floats(0.1, 1e6))
def test_the_remaining_photographs_take_as_long_as_the_finished_ones(before, ok, remaining, seconds):
    now = status(total=before + ok + remaining, done_before=before, ok=ok, seconds=seconds)

    assert now.done == before + ok
    if ok:
        assert now.seconds_left == pytest.approx(remaining * seconds / ok)
    else:
        assert now.seconds_left is None


def test_an_assignment_can_be_sent_and_names_its_engine(model, tmp_path):
    settings = Settings(
        part="whole", field=(1.0, 2.0, 3.0), thresholds={"EX": 0.25}, lesions=("EX",), effort="fast"
    )
    job = tiny_cluster.cluster_job(tmp_path, tmp_path / "out", model, settings=settings)

    assignment = make_assignment(job)

    assert pickle.loads(pickle.dumps(assignment)) == assignment
    assert (assignment.choice.engine, assignment.choice.precision, assignment.choice.threads) == (
        "onnx",
        "float32",
        1,
    )
    assert assignment.settings == settings
    default = tiny_cluster.cluster_job(tmp_path, tmp_path / "out", model)
    assert pickle.loads(pickle.dumps(make_assignment(default))) == make_assignment(default)


def test_zero_attempts_are_refused(model, tmp_path):
    with pytest.raises(SettingError, match="tries is 0"):
        tiny_cluster.cluster_job(tmp_path, tmp_path / "out", model, max_attempts=0)


def test_a_target_in_the_source_is_not_listed(model, tmp_path):
    tiny_cluster.write_eyes(tmp_path / "eyes", count=2)
    tiny_package.photograph(tmp_path / "eyes" / "out" / "overlays" / "eye.png")

    job = tiny_cluster.cluster_job(tmp_path / "eyes", tmp_path / "eyes" / "out", model)
    with list_photographs(job) as inventory:
        assert inventory.total()[0] == 2
