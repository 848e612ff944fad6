"""Quantised graphs lie beside the others, are opened by their precision, and compute nearly the same."""

import importlib.util
import types
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import tiny_package
import tiny_set

from foveate import models, nets
from foveate.engines import openvino as openvino_engine
from foveate.errors import OutputError, SettingError
from foveate.training import export, quantisation
from foveate.types import Decision

openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")

has_nncf = importlib.util.find_spec("nncf") is not None
needs_nncf = pytest.mark.skipif(not has_nncf, reason="the extra quantise is not installed")

MANIFEST = replace(
    tiny_package.MANIFEST,
    contract=tiny_set.CONTRACT,
    decisions={code: Decision(threshold=0.5, minimum_area=4) for code in tiny_set.CONTRACT.lesions},
)

RECORD = {"photographs": ["eye"], "quantiser": "NNCF"}


@pytest.fixture
def package(tmp_path):
    return models.load(tiny_package.build(tmp_path / "tiny"))


@needs_nncf
@pytest.mark.filterwarnings("ignore")  # NNCF's own
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_quantised_package_computes_nearly_what_it_did(tmp_path, share):
    export.export(nets.blend(tiny_set.seeded(), [share] * 4), MANIFEST, tmp_path / "small")
    package = models.load(tmp_path / "small")
    paths = [tiny_package.photograph(tmp_path / f"{seed}.png", seed=seed) for seed in range(3)]
    exact = openvino_engine.open(package, precision="float32", threads=1)

    quantised = quantisation.quantise(package, paths)

    engine = openvino_engine.open(quantised, precision="int8", threads=1)
    inputs = quantisation.calibration_inputs(package, exact, paths[:1])
    view = inputs.views[0]["view"]
    expected, output = exact.run_global(view).probabilities, engine.run_global(view).probabilities
    np.testing.assert_allclose(output, expected, atol=0.03)
    for feed in inputs.windows:
        expected, output = exact.local_graph.run(feed)[0], engine.local_graph.run(feed)[0]
        np.testing.assert_allclose(output, expected, atol=0.03)
    assert set(openvino_engine.INT8_FILES.values()) < set(quantised.files)
    assert quantised.digest != package.digest
    record = quantised.manifest.training["int8"]
    assert record == {"photographs": ["0", "1", "2"], "quantiser": f"NNCF {version('nncf')}"}
    for name in openvino_engine.INT8_FILES.values():
        nodes = openvino.Core().read_model(quantised.folder / name).get_ops()
        assert "FakeQuantize" in {node.get_type_name() for node in nodes}
        kernels = [kernel for node in nodes if (kernel := int8_kernel(node)) is not None]
        assert kernels
        assert max(abs(kernel).max() for kernel in kernels) <= 64  # two products fit 16 bits: 2 x 64 x 255


def test_globalnets_share_of_the_fused_logits_stays_in_floating_point(tmp_path):
    export.export(nets.blend(tiny_set.seeded(), [0.5] * 4), MANIFEST, tmp_path / "package")
    graph = quantisation.prepared_graph(openvino, tmp_path / "package" / "local.onnx")

    of_sampled = {
        node.get_friendly_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "Convolution"
        and node.input_value(0).get_node().get_type_name() == "MatMul"
    }
    assert len(of_sampled) == 2  # the fusion's first convolution, and the one of GlobalNet's share
    assert of_sampled <= set(quantisation.float_layers(graph))


def int8_kernel(node):
    """Return the weights of an ordinary convolution as stored, None where they are not in int8."""
    if node.get_type_name() != "Convolution":
        return None
    source = node.input_value(1).get_node()
    while source.get_type_name() in ("Convert", "Multiply", "Subtract", "FakeQuantize"):
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant" or source.get_element_type() != openvino.Type.i8:
        return None
    return source.data.astype(int)


def graphs_of(package):
    """Return graphs to store as int8 ones; that they are not is no matter here."""
    return {
        name: openvino_engine.read_graph(package.folder / source)
        for source, name in openvino_engine.INT8_FILES.items()
    }


def test_graphs_are_added_to_a_package_and_its_other_files_stay(package):
    (package.folder / "notes").mkdir()
    (package.folder / "notes" / "cards.txt").write_text("of the study")

    added = quantisation.add_graphs(openvino, package, graphs_of(package), RECORD)

    assert openvino_engine.has_int8(added)
    assert added.manifest.training == {**package.manifest.training, "int8": RECORD}
    assert (added.folder, added.contract) == (package.folder, package.contract)
    assert (package.folder / "notes" / "cards.txt").read_text() == "of the study"
    assert [path.name for path in package.folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("has_earlier", [False, True])
def test_on_a_full_disk_a_package_stays_as_it_was(package, has_earlier):
    if has_earlier:
        package = quantisation.add_graphs(openvino, package, graphs_of(package), RECORD)
    before = {path.name: path.read_bytes() for path in package.folder.iterdir()}

    def save_model(graph, path, **options):
        if path.name == "local-int8.xml":
            path.with_suffix(".bin").write_bytes(b"half")
            raise RuntimeError("basic_ios::clear:\niostream error")  # what OpenVINO 2026 raises
        path.write_bytes(b"whole")
        path.with_suffix(".bin").write_bytes(b"whole")

    full = types.ModuleType("openvino")
    full.save_model = save_model
    with pytest.raises(OutputError, match=r"tiny/local-int8\.xml: cannot be written \(basic_ios.*free some"):
        quantisation.add_graphs(full, package, graphs_of(package), RECORD)

    assert {path.name: path.read_bytes() for path in package.folder.iterdir()} == before
    assert models.load(package.folder).digest == package.digest
    assert [path.name for path in package.folder.parent.iterdir()] == ["tiny"]


def test_memory_that_runs_out_is_no_full_disk(package):
    def save_model(*_, **__):
        raise RuntimeError("std::bad_alloc")

    module = types.ModuleType("openvino")
    module.save_model = save_model
    with pytest.raises(MemoryError, match="bad_alloc"):
        quantisation.add_graphs(module, package, graphs_of(package), RECORD)


def test_without_nncf_the_extra_is_named(package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SettingError, match=r"pip install 'foveate\[quantise\]'"):
        quantisation.quantise(package, [])


def test_calibration_sees_lesions_healthy_retina_and_turned_views(package, tmp_path):
    paths = [tiny_package.photograph(tmp_path / f"{seed}.png", seed=seed) for seed in range(2)]
    engine = openvino_engine.open(package, threads=1)

    inputs = quantisation.calibration_inputs(package, engine, paths)

    windows = quantisation.LESION_WINDOWS + quantisation.OTHER_WINDOWS
    assert (len(inputs.views), len(inputs.windows)) == (2 * quantisation.VIEWS, 2 * windows)
    assert len({feed["view"].tobytes() for feed in inputs.views}) == len(inputs.views)
    for feed in inputs.windows:
        assert engine.local_graph.run(feed)[0].shape == (1, 2, *feed["windows"].shape[2:])
    again = quantisation.calibration_inputs(package, engine, paths)
    np.testing.assert_array_equal(again.windows[0]["windows"], inputs.windows[0]["windows"])


@pytest.mark.parametrize(("graph", "sums", "samplings"), [("global.onnx", 5, 0), ("local.onnx", 4, 2)])
def test_sums_sampling_and_last_layers_stay_in_floating_point(graph, sums, samplings):
    path = models.load("idrid").folder / graph
    prepared = quantisation.prepared_graph(openvino, path)
    nodes = {node.get_friendly_name(): node for node in prepared.get_ops()}

    names = quantisation.float_layers(prepared)

    kinds = [nodes[name].get_type_name() for name in names]
    inputs = [[value.get_node().get_type_name() for value in nodes[name].input_values()] for name in names]
    assert (
        sum("Convolution" in first and "Convolution" in second for first, second in inputs if second) == sums
    )
    assert kinds.count("MatMul") == samplings
    assert "ConvolutionBackpropData" not in kinds
    last = {"global.onnx": ["node_conv2d_58/WithoutBiases"]}.get(
        graph, ["node_conv2d_42/WithoutBiases", "node_conv2d_43/WithoutBiases"]
    )
    assert set(last) < set(names)
    assert not any(node.get_element_type() == openvino.Type.f16 for node in prepared.get_ops())


def test_a_prepared_graph_computes_what_the_engine_computes():
    package = models.load("idrid")
    engine = openvino_engine.open(package, precision="float32", threads=1)
    prepared = quantisation.prepared_graph(openvino, package.folder / "local.onnx")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    rng = np.random.default_rng(0)
    feed = {
        "windows": rng.standard_normal((1, 3, 64, 96), np.float32),
        "pieces": rng.standard_normal((1, 16, 20, 30), np.float32),
        "rows": rng.random((1, 64, 20), np.float32) / 10,
        "columns": rng.random((1, 96, 30), np.float32) / 10,
    }

    output = openvino.Core().compile_model(prepared, "CPU", options)(feed)[0]

    np.testing.assert_allclose(output, engine.local_graph.run(feed)[0], atol=1 / 65535)
