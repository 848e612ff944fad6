"""OpenVINO gives what ONNX Runtime gives, in bf16 nearly so; what it refuses is named."""

import subprocess
import sys

import numpy as np
import pytest
import tiny_package
from test_engines import replaced, windows_and_sights

from foveate import models
from foveate.engines import onnx as onnx_engine
from foveate.engines import openvino as openvino_engine
from foveate.errors import PackageError, SettingError

pytest.importorskip("openvino", reason="the extra openvino is not installed")

needs_bf16 = pytest.mark.skipif(
    not openvino_engine.computes_bf16(), reason="this processor does not compute in bf16"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return models.load(tiny_package.build(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.mark.parametrize(
    ("precision", "apart"), [("float32", 1e-6), pytest.param("bf16", 0.02, marks=needs_bf16)]
)
def test_both_graphs_answer_as_onnxruntime_does(package, precision, apart):
    engine = openvino_engine.open(package, precision=precision, threads=1)
    plain = onnx_engine.open(package, threads=1)
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    work = windows_and_sights(1, 3)

    found, wanted = engine.glance(view), plain.glance(view)

    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=apart)
    np.testing.assert_allclose(found.features, wanted.features, atol=10 * apart)
    np.testing.assert_allclose(engine.look(*work), plain.look(*work), atol=apart)
    assert engine.label == f"openvino {precision}"


def test_what_was_answered_stays_when_more_is_asked(package):
    engine = openvino_engine.open(package, threads=1)
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)

    first = engine.glance(view)
    kept = first.features.copy()
    engine.glance(-view)

    np.testing.assert_array_equal(first.features, kept)


def test_a_photograph_after_another_is_answered_as_the_first_was(package):
    """What GlobalNet's layers held is given back in between."""
    engine = openvino_engine.open(package, threads=1)
    view, work = (
        np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32),
        windows_and_sights(1, 3),
    )

    first, second = ((engine.glance(view), engine.look(*work)) for _ in range(2))

    np.testing.assert_array_equal(first[0].features, second[0].features)
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("name", ["global.onnx", "local.onnx"])
def test_a_graph_that_is_none_is_named_in_one_line(tmp_path, name):
    package = replaced(tiny_package.build(tmp_path / "tiny"), name, b"no graph")

    with pytest.raises(PackageError, match=rf"{name}: OpenVINO .* cannot run it") as caught:
        openvino_engine.open(package, threads=1)

    assert "\n" not in str(caught.value)


def test_an_input_that_the_graph_refuses_is_reported_with_the_file(package):
    engine = openvino_engine.open(package, threads=1)

    with pytest.raises(PackageError, match=r"global\.onnx: OpenVINO .* cannot run it"):
        engine.glance(np.zeros((1, 3, 128, 128), np.float32))


def test_threads_are_taken_or_all_processors_and_none_is_no_setting(package):
    assert openvino_engine.open(package, threads=2).threads == 2
    assert openvino_engine.open(package).threads >= 1
    with pytest.raises(SettingError, match="threads is 0"):
        openvino_engine.open(package, threads=0)


def test_bf16_is_refused_where_the_processor_would_have_to_pretend(package, monkeypatch):
    monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: False)

    with pytest.raises(SettingError, match="does not compute in bf16; choose --precision float32"):
        openvino_engine.open(package, precision="bf16")


TWO_THREADS = """
import sys, threading
import subprocess
import sys

import numpy as np
from foveate import models
from foveate.engines import openvino

package = models.load(sys.argv[1])
engines = [openvino.open(package, threads=1) for _ in range(2)]
together = threading.Barrier(2)

def glance(engine):
    together.wait()
    engine.glance(np.zeros((1, 3, 64, 64), np.float32))

threads = [threading.Thread(target=glance, args=[engine]) for engine in engines]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_two_threads_that_are_the_first_to_look_do_not_wait_for_each_other(package):
    for _ in range(3):  # once is not always enough to see it
        line = [sys.executable, "-c", TWO_THREADS, str(package.folder)]
        subprocess.run(line, check=True, timeout=60)
