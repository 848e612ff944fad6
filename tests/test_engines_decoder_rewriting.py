"""Rewritten decoder blocks compute the same, and what is no decoder block stays as it is."""

import numpy as np
import pytest
import tiny_package

from foveate import models
from foveate.engines import decoder_rewriting

openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")

ops = openvino.opset13


def block(scales=(1, 1, 2, 2), mode="nearest", pads=(1, 1), swapped=False):
    """Return a decoder block with random weights: 3 channels doubled, 2 of a skip connection, 4 out."""
    rng = np.random.default_rng(5)
    x, skip = (ops.parameter([1, channels, -1, -1], np.float32) for channels in (3, 2))
    doubled = ops.interpolate(
        x,
        np.array(scales, np.float32),
        mode=mode,
        shape_calculation_mode="scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    parts = [skip, doubled] if swapped else [doubled, skip]
    kernel = rng.standard_normal((4, 5, 3, 3)).astype(np.float16)
    weights = ops.convert(ops.constant(kernel), np.float32)
    out = ops.convolution(ops.concat(parts, 1), weights, [1, 1], list(pads), list(pads), [1, 1])
    return openvino.Model([ops.result(out)], [x, skip])


def run(model, height, width):
    rng = np.random.default_rng(7)
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    inputs = [
        rng.standard_normal((1, channels, scale * height, scale * width)).astype(np.float32)
        for channels, scale in ((3, 1), (2, 2))
    ]
    return openvino.Core().compile_model(model, "CPU", options)(inputs)[0]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (7, 4)])
def test_a_rewritten_block_computes_the_same_up_to_its_rim(height, width):
    rewritten = block()

    assert decoder_rewriting.rewrite(openvino, rewritten) == 1

    kinds = [node.get_type_name() for node in rewritten.get_ops()]
    assert "Interpolate" not in kinds
    assert "Concat" not in kinds
    np.testing.assert_allclose(run(rewritten, height, width), run(block(), height, width), atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"scales": (1, 1, 2, 3)}, {"mode": "linear"}, {"pads": (0, 0)}, {"swapped": True}]
)
def test_anything_else_stays_as_it_is(changes):
    model = block(**changes)
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]

    assert decoder_rewriting.rewrite(openvino, model) == 0
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before


@pytest.mark.parametrize(("graph", "blocks"), [("global.onnx", 5), ("local.onnx", 3)])
def test_all_decoder_blocks_of_the_shipped_model_are_rewritten(graph, blocks):
    model = openvino.Core().read_model(models.load("idrid").folder / graph)

    assert decoder_rewriting.rewrite(openvino, model) == blocks
    assert "Interpolate" not in {node.get_type_name() for node in model.get_ops()}


@pytest.mark.parametrize("name", ["global.onnx", "local.onnx"])
def test_the_paper_s_u_nets_have_transposed_convolutions_already(tmp_path, name):
    model = openvino.Core().read_model(tiny_package.build(tmp_path / "tiny") / name)

    assert decoder_rewriting.rewrite(openvino, model) == 0
