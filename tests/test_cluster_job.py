"""A run as values: what cannot be, how far it is, and what workers are sent."""

import pickle

import pytest
import tiny_cluster
import tiny_package
from hypothesis import given
from hypothesis import strategies as st

from foveate.cluster.job import Standing, assigned, listed
from foveate.errors import SettingError
from foveate.inference.pipeline import Settings


def standing(**changes):
    numbers = {"total": 10, "kept": 0, "ok": 0, "failed": 0, "again": 0, "lost": 0, "workers": 1}
    return Standing(**{**numbers, "seconds": 1.0, **changes})


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.floats(0.1, 1e6))
def test_what_is_left_takes_as_long_as_what_was_done_took(kept, ok, left, seconds):
    now = standing(total=kept + ok + left, kept=kept, ok=ok, seconds=seconds)

    assert now.done == kept + ok
    if ok:
        assert now.seconds_left == pytest.approx(left * seconds / ok)
    else:
        assert now.seconds_left is None


def test_what_is_sent_is_plain_and_settled(model, tmp_path):
    settings = Settings(
        part="whole", field=(1.0, 2.0, 3.0), thresholds={"EX": 0.25}, lesions=("EX",), effort="fast"
    )
    asked = tiny_cluster.programme(tmp_path, tmp_path / "out", model, settings=settings)

    sent = assigned(asked)

    assert pickle.loads(pickle.dumps(sent)) == sent
    assert (sent.choice.engine, sent.choice.precision, sent.choice.threads) == ("onnx", "float32", 1)
    assert sent.settings == settings
    untouched = tiny_cluster.programme(tmp_path, tmp_path / "out", model)
    assert pickle.loads(pickle.dumps(assigned(untouched))) == assigned(untouched)


def test_no_try_is_none(model, tmp_path):
    with pytest.raises(SettingError, match="tries is 0"):
        tiny_cluster.programme(tmp_path, tmp_path / "out", model, tries=0)


def test_a_target_in_the_source_is_not_looked_into(model, tmp_path):
    tiny_cluster.folder(tmp_path / "eyes", count=2)
    tiny_package.photograph(tmp_path / "eyes" / "out" / "overlays" / "eye.png")

    with listed(tiny_cluster.programme(tmp_path / "eyes", tmp_path / "eyes" / "out", model)) as inventory:
        assert inventory.total()[0] == 2
