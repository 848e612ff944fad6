"""ONNX Runtime computes what the graphs define, silently, the same each time; its errors name the file."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_package
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from foveate import models
from foveate.engines import WindowBatch
from foveate.engines import onnx as onnx_engine
from foveate.engines.graphs import GraphEngine
from foveate.errors import PackageError, SettingError
from foveate.geometry import feature_sampling


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return models.load(tiny_package.build(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def engine(package):
    return onnx_engine.open(package, threads=1)


def random_batch(seed, count, shape=(240, 250)):
    """Return a batch of random windows and random global features."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, np.array(shape) - 64, (count, 2), endpoint=True)
    samplings = [
        feature_sampling.window_sampling((int(row), int(column)), 64, shape, 64) for row, column in corners
    ]
    features = rng.standard_normal((2, 64, 64), np.float32)
    windows = rng.standard_normal((count, 3, 64, 64), np.float32)
    return WindowBatch.gather(windows, features, samplings)


def part_of(batch, number):
    """Return a batch of one window of a batch."""
    names = ("windows", "pieces", "rows", "columns")
    return WindowBatch(**{name: getattr(batch, name)[number : number + 1] for name in names})


def replaced(folder, name, graph):
    """Put another graph into a package, with its digest."""
    (folder / name).write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    models.write_manifest(folder, tiny_package.MANIFEST)
    return models.load(folder)


def test_the_global_output_is_what_the_graph_defines(engine):
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    features = np.einsum("kc,chw->khw", tiny_package.WEIGHTS["features_w"], view[0])
    logits = np.einsum("kc,chw->khw", tiny_package.WEIGHTS["global_w"], features) - 2

    output = engine.run_global(view)

    np.testing.assert_allclose(output.features, features, atol=1e-6)
    np.testing.assert_allclose(output.probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_local_output_is_what_the_graph_defines_for_any_number_of_windows(engine, count):
    batch = random_batch(count, count)
    features = np.einsum("nsg,ncgh,nth->ncst", batch.rows, batch.pieces, batch.columns)

    expected = tiny_package.local_output(batch.windows, features)

    np.testing.assert_allclose(engine.run_local(batch), expected, atol=1e-5)


def test_windows_give_the_same_one_by_one_and_together(engine):
    batch = random_batch(1, 5)

    together = engine.run_local(batch)

    for number in range(5):
        np.testing.assert_array_equal(engine.run_local(part_of(batch, number))[0], together[number])


def test_the_same_input_gives_the_same_bits(package):
    batch = random_batch(2, 8)
    outputs = [onnx_engine.open(package, threads=2).run_local(batch) for _ in range(3)]

    assert outputs[0].tobytes() == outputs[1].tobytes() == outputs[2].tobytes()


def test_the_weights_come_from_the_safetensors_file(tmp_path):
    folder = tiny_package.build(tmp_path / "tiny")
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(
        content[:-8] + np.full(2, 9, np.float32).tobytes()
    )  # local_b
    models.write_manifest(folder, tiny_package.MANIFEST)
    batch = random_batch(3, 1)

    probabilities = onnx_engine.open(models.load(folder), threads=1).run_local(batch)

    assert probabilities.mean() > 0.5  # the bias of -4 is now 9


def test_the_number_of_threads_is_the_given_one_or_that_of_the_processors(package):
    assert onnx_engine.open(package, threads=3).threads == 3
    assert onnx_engine.open(package).threads >= 1


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_are_refused(package, threads):
    with pytest.raises(SettingError, match=f"threads is {threads}"):
        onnx_engine.open(package, threads=threads)


@pytest.mark.parametrize("name", ["global.onnx", "local.onnx"])
@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_an_invalid_graph_is_named_in_one_line(tmp_path, name, content):
    package = replaced(tiny_package.build(tmp_path / "tiny"), name, content)

    with pytest.raises(PackageError, match=rf"{name}: ONNX Runtime .* cannot run it") as caught:
        onnx_engine.open(package, threads=1)

    assert "\n" not in str(caught.value)


def test_a_graph_with_unexpected_names_is_refused_with_both_names(tmp_path):
    folder = tiny_package.build(tmp_path / "tiny")
    graph = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["picture"], ["maps"])],
            "other",
            [helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, [1])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )

    with pytest.raises(PackageError, match=r"global\.onnx: its inputs are picture, not view"):
        onnx_engine.open(replaced(folder, "global.onnx", graph), threads=1)


def test_an_input_that_the_graph_refuses_is_reported_with_the_file(engine):
    with pytest.raises(PackageError, match=r"global\.onnx: ONNX Runtime .* cannot run it .*128"):
        engine.run_global(np.zeros((1, 3, 128, 128), np.float32))


def test_neither_an_invalid_graph_nor_a_graph_with_a_warning_prints_anything(tmp_path):
    folder = tiny_package.build(tmp_path / "tiny")
    graph = onnx.load(folder / "global.onnx", load_external_data=False)
    graph.graph.initializer.append(helper.make_tensor("unused", onnx.TensorProto.FLOAT, [1], [1.0]))
    replaced(folder, "global.onnx", graph)
    replaced(folder, "local.onnx", b"no graph")
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom foveate import models\n"
        "from foveate.engines import onnx\n"
        "package = models.load(Path(sys.argv[1]))\n"
        "try: onnx.open(package)\n"
        "except Exception as error: print(json.dumps(type(error).__name__))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )

    assert (json.loads(done.stdout), done.stderr) == ("PackageError", "")


class RecordingGraph:
    """A graph that returns its first input, and records its calls."""

    def __init__(self, name, calls):
        self._name, self._calls = name, calls

    def run(self, feed):
        self._calls.append(f"{self._name} run")
        return [next(iter(feed.values()))]

    def release_memory(self):
        self._calls.append(f"{self._name} release_memory")


def test_globalnet_frees_its_memory_before_windows_are_computed():
    calls = []
    graphs = {f"{name}_graph": RecordingGraph(name, calls) for name in ("global", "local")}

    GraphEngine(label="recording", threads=1, **graphs).run_local(random_batch(1, 2))

    assert calls == ["global release_memory", "local run"]


def test_an_engine_frees_the_memory_of_both_graphs():
    calls = []
    graphs = {f"{name}_graph": RecordingGraph(name, calls) for name in ("global", "local")}

    GraphEngine(label="recording", threads=1, **graphs).release_memory()

    assert sorted(calls) == ["global release_memory", "local release_memory"]


def test_a_graph_that_does_not_fit_the_memory_is_not_blamed(engine, package, monkeypatch):
    def fail(*arguments, **options):
        raise ort_errors.RuntimeException(
            "BFCArena: Failed to allocate memory for requested buffer of size 9"
        )

    monkeypatch.setattr(engine.global_graph.session, "run", fail)
    with pytest.raises(MemoryError, match="Failed to allocate memory"):
        engine.global_graph.run({})
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(PackageError, match=r"global\.onnx: not enough memory to open it; free some memory$"):
        onnx_engine.open(package, threads=1)
