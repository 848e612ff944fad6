"""ONNX Runtime gives what the graphs say, silently, the same each time; what it refuses is named."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import tiny_package
from onnx import helper

from foveate import models
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


def windows_and_sights(seed, count, shape=(240, 250)):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, np.array(shape) - 64, (count, 2), endpoint=True)
    sights = [feature_sampling.sample_at((int(row), int(column)), 64, shape, 64) for row, column in corners]
    features = rng.standard_normal((2, 64, 64), np.float32)
    pieces = np.stack(
        [
            features[:, top : top + sight.rows.shape[1], left : left + sight.columns.shape[1]]
            for sight in sights
            for top, left in [sight.corner]
        ]
    )
    rows, columns = (np.stack([getattr(sight, axis) for sight in sights]) for axis in ("rows", "columns"))
    return rng.standard_normal((count, 3, 64, 64), np.float32), pieces, rows, columns


def replaced(folder, name, graph):
    """Put another graph into a package, digests and all."""
    (folder / name).write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    models.write_manifest(folder, tiny_package.MANIFEST)
    return models.load(folder)


def test_a_glance_is_what_the_graph_says(engine):
    view = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    features = np.einsum("kc,chw->khw", tiny_package.WEIGHTS["features_w"], view[0])
    logits = np.einsum("kc,chw->khw", tiny_package.WEIGHTS["glance_w"], features) - 2

    glance = engine.glance(view)

    np.testing.assert_allclose(glance.features, features, atol=1e-6)
    np.testing.assert_allclose(glance.probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_look_is_what_the_graph_says_for_any_number_of_windows(engine, count):
    windows, pieces, rows, columns = windows_and_sights(count, count)
    features = np.einsum("nsg,ncgh,nth->ncst", rows, pieces, columns)

    np.testing.assert_allclose(
        engine.look(windows, pieces, rows, columns), tiny_package.looked(windows, features), atol=1e-5
    )


def test_windows_are_looked_at_one_by_one_or_together_alike(engine):
    work = windows_and_sights(1, 5)

    together = engine.look(*work)

    for number in range(5):
        np.testing.assert_array_equal(
            engine.look(*(part[number : number + 1] for part in work))[0], together[number]
        )


def test_the_same_input_gives_the_same_bits(package):
    work = windows_and_sights(2, 8)
    looks = [onnx_engine.open(package, threads=2).look(*work) for _ in range(3)]

    assert looks[0].tobytes() == looks[1].tobytes() == looks[2].tobytes()


def test_the_weights_come_from_the_safetensors_file(tmp_path):
    folder = tiny_package.build(tmp_path / "tiny")
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-8] + np.full(2, 9, np.float32).tobytes())  # look_b
    models.write_manifest(folder, tiny_package.MANIFEST)
    work = windows_and_sights(3, 1)

    probabilities = onnx_engine.open(models.load(folder), threads=1).look(*work)

    assert probabilities.mean() > 0.5  # the bias of -4 is now 9


def test_the_number_of_threads_is_taken_or_all_processors(package):
    assert onnx_engine.open(package, threads=3).threads == 3
    assert onnx_engine.open(package).threads >= 1


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_no_setting(package, threads):
    with pytest.raises(SettingError, match=f"threads is {threads}"):
        onnx_engine.open(package, threads=threads)


@pytest.mark.parametrize("name", ["global.onnx", "local.onnx"])
@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_a_graph_that_is_none_is_named_in_one_line(tmp_path, name, content):
    package = replaced(tiny_package.build(tmp_path / "tiny"), name, content)

    with pytest.raises(PackageError, match=rf"{name}: ONNX Runtime .* cannot run it") as caught:
        onnx_engine.open(package, threads=1)

    assert "\n" not in str(caught.value)


def test_a_graph_with_other_names_is_refused_with_both(tmp_path):
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
        engine.glance(np.zeros((1, 3, 128, 128), np.float32))


def test_neither_a_graph_that_fails_nor_one_that_earns_a_warning_prints_anything(tmp_path):
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


class Noted:
    """A graph that answers with what it was given first, and notes what it is asked for."""

    def __init__(self, name, said):
        self._name, self._said = name, said

    def run(self, feed):
        self._said.append(f"{self._name} runs")
        return [next(iter(feed.values()))]

    def rest(self):
        self._said.append(f"{self._name} rests")


def test_globalnet_gives_back_its_memory_before_windows_are_looked_at():
    said = []
    graphs = {f"{name}_graph": Noted(name, said) for name in ("global", "local")}

    GraphEngine(label="noted", threads=1, **graphs).look(*windows_and_sights(1, 2))

    assert said == ["global rests", "local runs"]
