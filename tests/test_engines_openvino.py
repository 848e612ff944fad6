"""OpenVINO computes what ONNX Runtime computes, in bf16 nearly so; its errors name the file."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_package
from test_engines import random_batch, replaced

from foveate import models, photographs
from foveate.engines import onnx as onnx_engine
from foveate.engines import openvino as openvino_engine
from foveate.errors import PackageError, SettingError
from foveate.inference import prepared_canvas, tta

pytest.importorskip("openvino", reason="the extra openvino is not installed")

needs_bf16 = pytest.mark.skipif(
    not openvino_engine.computes_bf16(), reason="this processor does not compute in bf16"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return models.load(tiny_package.build(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-6), pytest.param("bf16", 0.02, marks=needs_bf16)]
)
def test_both_graphs_compute_as_in_onnxruntime(package, precision, tolerance):
    engine = openvino_engine.open(package, precision=precision, threads=1)
    reference = onnx_engine.open(package, threads=1)
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    batch = random_batch(1, 3)

    output, expected = engine.run_global(view), reference.run_global(view)

    np.testing.assert_allclose(output.probabilities, expected.probabilities, atol=tolerance)
    np.testing.assert_allclose(output.features, expected.features, atol=10 * tolerance)
    np.testing.assert_allclose(engine.run_local(batch), reference.run_local(batch), atol=tolerance)
    assert engine.label == f"openvino {precision}"


def canvas_of(package):
    photograph = photographs.from_array(tiny_package.fundus())
    return prepared_canvas.prepare_canvas(photograph, package.contract, field_choice="full")


def test_features_of_a_pixel_are_next_to_each_other_in_memory_and_so_is_their_mean(package):
    engine = openvino_engine.open(package, threads=1)
    canvas = canvas_of(package)

    single = engine.run_global(np.zeros((1, 3, 64, 64), np.float32)).features
    mean = tta.run_global(engine, canvas, 8).features

    assert single.shape == mean.shape == (2, 64, 64)
    assert single.strides == mean.strides == (4, 64 * 2 * 4, 2 * 4)


def test_turned_views_are_averaged_as_with_onnxruntime(package):
    canvas = canvas_of(package)

    output, expected = (
        tta.run_global(library.open(package, threads=1), canvas, 8)
        for library in (openvino_engine, onnx_engine)
    )

    np.testing.assert_allclose(output.features, expected.features, atol=1e-5)
    np.testing.assert_allclose(output.probabilities, expected.probabilities, atol=1e-6)


SIGNAL_AFTER_RELEASE = """
import signal, sys, threading
from pathlib import Path
from foveate import models
from foveate.engines import openvino

engines = [openvino.open(models.load(Path(sys.argv[1])), threads=1)]
release = threading.Thread(target=engines.clear)
release.start()
release.join()
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_is_handled_after_another_thread_released_the_engine(package):
    """OpenVINO's plugin would unmap the stack that the handler runs on."""
    command = [sys.executable, "-c", SIGNAL_AFTER_RELEASE, str(package.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_an_output_stays_unchanged_by_later_runs(package):
    engine = openvino_engine.open(package, threads=1)
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)

    first = engine.run_global(view)
    features = first.features.copy()
    engine.run_global(-view)

    np.testing.assert_array_equal(first.features, features)


def test_a_second_photograph_gives_the_same_as_the_first(package):
    """GlobalNet's memory is freed in between."""
    engine = openvino_engine.open(package, threads=1)
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    batch = random_batch(1, 3)

    first, second = ((engine.run_global(view), engine.run_local(batch)) for _ in range(2))

    np.testing.assert_array_equal(first[0].features, second[0].features)
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("name", ["global.onnx", "local.onnx"])
def test_an_invalid_graph_is_named_in_one_line(tmp_path, name):
    package = replaced(tiny_package.build(tmp_path / "tiny"), name, b"no graph")

    with pytest.raises(PackageError, match=rf"{name}: OpenVINO .* cannot run it") as caught:
        openvino_engine.open(package, threads=1)

    assert "\n" not in str(caught.value)


def test_an_input_that_the_graph_refuses_is_reported_with_the_file(package):
    engine = openvino_engine.open(package, threads=1)

    with pytest.raises(PackageError, match=r"global\.onnx: OpenVINO .* cannot run it"):
        engine.run_global(np.zeros((1, 3, 128, 128), np.float32))


def test_the_number_of_threads_is_the_given_one_or_that_of_the_processors(package):
    assert openvino_engine.open(package, threads=2).threads == 2
    assert openvino_engine.open(package).threads >= 1
    with pytest.raises(SettingError, match="threads is 0"):
        openvino_engine.open(package, threads=0)


def test_bf16_is_refused_where_the_processor_would_emulate_it(package, monkeypatch):
    monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: False)

    with pytest.raises(SettingError, match="does not compute in bf16; choose --precision float32"):
        openvino_engine.open(package, precision="bf16")


def test_a_package_without_int8_networks_refuses_int8_in_one_line(package):
    with pytest.raises(SettingError, match=r"model tiny 1\.0 holds no int8 networks; leave out --precision"):
        openvino_engine.open(package, precision="int8", threads=1)


def test_int8_opens_the_graphs_of_that_name_and_says_what_the_other_layers_compute_in(tmp_path):
    folder = tiny_package.build(tmp_path / "tiny")
    module = pytest.importorskip("openvino")
    for name, stored in openvino_engine.INT8_FILES.items():
        module.save_model(openvino_engine.read_graph(folder / name), folder / stored)
    package = models.with_present_files(models.load(folder))
    (folder / "local.onnx").unlink()  # it must not be needed

    engine = openvino_engine.open(package, precision="int8", threads=1)

    others = "bf16" if openvino_engine.computes_bf16() else "float32"
    assert engine.label == f"openvino int8 with {others}"
    assert engine.run_local(random_batch(1, 3)).shape[:2] == (3, 2)
    assert {"local-int8.xml", "local-int8.bin"} < set(package.files)


TWO_THREADS = """
import sys, threading

import numpy as np
from foveate import models
from foveate.engines import openvino

package = models.load(sys.argv[1])
engines = [openvino.open(package, threads=1) for _ in range(2)]
together = threading.Barrier(2)

def run(engine):
    together.wait()
    engine.run_global(np.zeros((1, 3, 64, 64), np.float32))

threads = [threading.Thread(target=run, args=[engine]) for engine in engines]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_runs_in_two_threads_do_not_deadlock(package):
    for _ in range(3):  # the deadlock does not occur each time
        line = [sys.executable, "-c", TWO_THREADS, str(package.folder)]
        subprocess.run(line, check=True, timeout=60)


AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
from foveate import models
from foveate.engines import openvino, telemetry

package, made, gate = models.load(sys.argv[1]), [], threading.Barrier(3)
initialise = openvino._initialise_types
openvino._initialise_types = lambda module: made.append(initialise(module))

def open_engine():
    gate.wait()
    telemetry.import_openvino()
    engines.append(openvino.open(package, threads=1))

engines = []
threads = [threading.Thread(target=open_engine, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert (len(engines), len(made)) == (3, 1), (engines, made)
assert telemetry.OPENVINO_REPORTER not in sys.modules
"""
"""Three threads that load OpenVINO first, in a process of their own, because it is loaded here already."""


def test_threads_that_load_openvino_first_at_the_same_time_do_not_disturb_each_other(package):
    line = [sys.executable, "-c", AT_ONCE, str(package.folder)]
    ended = subprocess.run(line, timeout=120, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_graph_that_does_not_fit_the_memory_is_not_blamed(package, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:224:\nstd::bad_alloc")

    graph = openvino_engine.open(package, threads=1).global_graph
    with pytest.raises(MemoryError, match="std::bad_alloc"):
        replace(graph, request=SimpleNamespace(infer=fail)).run({})
    monkeypatch.setattr(openvino_engine, "read_graph", fail)
    with pytest.raises(PackageError, match=r"onnx: not enough memory to open it; free some memory$"):
        openvino_engine.open(package, threads=1)
