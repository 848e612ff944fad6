"""The arithmetic lower bound: how long the multiply-adds of one pass must take on this machine.

Knows:   the layers of a package's graphs, and how to time one layer alone.
Ignores: everything else that a pass does: blending, resizing, activations, moving pixels.

Each distinct convolution (and the two products that read the global features) runs alone, at the size it has
in the windows that are used, in the same runtime and precision; the runtime's own profile says how long the
layer took, without changes of memory layout before and after. The best rate of several bursts counts.

    bound = sum over layers of multiply-adds / best rate
          = TTA views * GlobalNet's layers + canvas / window * LocalNet's and the fusion's layers

In int8 every convolution is quantised, also the few that a package keeps in floating point.
"""

import collections
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import foveate
from foveate import models
from foveate.engines.threads import available_processors
from foveate.geometry import feature_sampling
from foveate.inference.prepared_canvas import prepare_canvas
from foveate.inference.window_planning import cover_windows
from speed_peers.answers import Answer, Opened

BURSTS = 3
RUNS = 4
"""Runs of a layer in each burst, after one that is not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One convolution or product, with all that decides how long it takes."""

    kind: str
    inputs: tuple[tuple[int, ...], ...]
    """Shapes: of the picture, the weights and the bias, or of both factors."""
    output: tuple[int, ...]
    attributes: tuple[tuple[str, object], ...] = ()

    @property
    def multiply_adds(self):
        terms = self.inputs[0][-1] if self.kind == "MatMul" else math.prod(self.inputs[1][1:])
        return math.prod(self.output) * terms

    def model(self):
        """Return an ONNX model of this layer alone, random weights inside."""
        generator = np.random.default_rng(0)
        weights = self.inputs[1:] if self.kind == "Conv" else ()
        inputs = self.inputs[: len(self.inputs) - len(weights)]
        names = [f"inputs{k}" for k in range(len(inputs))]
        constants = [
            helper.make_tensor(
                f"weight{k}",
                TensorProto.FLOAT,
                shape,
                generator.standard_normal(shape, np.float32).tobytes(),
                raw=True,
            )
            for k, shape in enumerate(weights)
        ]
        node = helper.make_node(
            self.kind,
            [*names, *[constant.name for constant in constants]],
            ["output"],
            **dict(self.attributes),
        )
        floats = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, inputs, strict=True)
        ]
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, self.output)
        graph = helper.make_graph([node], "layer", floats, [output], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)

    def feed(self):
        generator = np.random.default_rng(1)
        inputs = self.inputs[:1] if self.kind == "Conv" else self.inputs
        return {f"inputs{k}": generator.standard_normal(shape, np.float32) for k, shape in enumerate(inputs)}


def floor(photograph, model, engine, precision):
    """Return what measures the floor of a photograph; each run measures anew, the best so far counts.

    Args:
        photograph: its path; field, canvas and windows are those it gets.
        model: name or folder of a package.
        engine: 'onnx' or 'openvino'.
        precision: 'float32', 'bf16' or 'int8'.
    """
    package, pixels = models.load(model), foveate.read(photograph)
    pass_layers = _count_layers(package, pixels)
    time = {"onnx": _in_onnxruntime, "openvino": _in_openvino}[engine]
    best = {}

    def run():
        for layer in {**pass_layers.global_net, **pass_layers.local_net}:
            best[layer] = min(best.get(layer, math.inf), time(layer, precision))
        global_net, local_net = (
            sum(number * best[layer] for layer, number in layers.items())
            for layers in (pass_layers.global_net, pass_layers.local_net)
        )
        adds = [
            sum(n * layer.multiply_adds for layer, n in ls.items())
            for ls in (pass_layers.global_net, pass_layers.local_net)
        ]
        tta_views = package.contract.tta_views
        total = tta_views * adds[0] + pass_layers.windows * adds[1]
        seconds = tta_views * global_net + pass_layers.windows * local_net
        return Answer(
            figures={
                "floor": seconds,
                "floor_field": tta_views * global_net + pass_layers.windows * pass_layers.share * local_net,
                "multiply_adds": total,
                "glance_multiply_adds": tta_views * adds[0],
                "rate": total / seconds,
                "layers": len(best),
            }
        )

    return Opened(run=run, what=f"{engine} {precision}", warm=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PassLayers:
    """The layers of one pass."""

    global_net: dict[Layer, int]
    """Of GlobalNet, and how often each stands in it."""
    local_net: dict[Layer, int]
    """Of LocalNet and the fusion, on one window."""
    windows: float
    """How many windows the canvas holds without overlap, parts counted."""
    share: float
    """Of the canvas that is field."""


def _count_layers(package, pixels):
    contract = package.contract
    prepared = prepare_canvas(pixels, contract)  # as for every photograph
    frame, inside = prepared.frame, prepared.inside
    window = cover_windows(prepared).window
    sampling = feature_sampling.window_sampling((0, 0), window, frame.shape, contract.view_side)
    side = contract.view_side
    with_piece = {
        "windows": (1, 3, *window),
        "pieces": (1, _channels(package), sampling.rows.shape[1], sampling.columns.shape[1]),
        "rows": (1, *sampling.rows.shape),
        "columns": (1, *sampling.columns.shape),
    }
    return _PassLayers(
        global_net=_layers(package.folder / "global.onnx", {"view": (1, 3, side, side)}),
        local_net=_layers(package.folder / "local.onnx", with_piece),
        windows=math.prod(frame.shape) / math.prod(window),
        share=float(inside.mean()),
    )


def _channels(package):
    """Return how many the global features have."""
    graph = onnx.load(package.folder / "local.onnx", load_external_data=False).graph
    (pieces,) = (value for value in graph.input if value.name == "pieces")
    return pieces.type.tensor_type.shape.dim[1].dim_value


def _layers(path, shapes):
    """Return the distinct layers of a graph at these shapes of its inputs, and how often each occurs."""
    model = onnx.load(path)
    known_shapes = _shapes(model, shapes)
    layers = collections.Counter()
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul"):
            continue
        attributes = tuple(
            (attribute.name, _hashable(helper.get_attribute_value(attribute))) for attribute in node.attribute
        )
        inputs = tuple(known_shapes[name] for name in node.input)
        layer = Layer(
            kind=node.op_type, inputs=inputs, output=known_shapes[node.output[0]], attributes=attributes
        )
        layers[layer] += 1
    return dict(layers)


def _shapes(model, shapes):
    """Return the shapes of all that a graph's layers take and make, by one run of it on zeros."""
    inputs = {value.name for value in model.graph.input}
    known_shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer} | shapes
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul")]
    names = sorted(
        {name for node in layers for name in (*node.input, *node.output)} - set(known_shapes) - inputs
    )
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(names, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return known_shapes | {name: value.shape for name, value in zip(names, values, strict=True)}


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def _in_onnxruntime(layer, precision):
    """Return the best seconds of a layer in ONNX Runtime, by its own profile."""
    if precision != "float32":
        raise ValueError(f"onnxruntime computes in float32, not in {precision}")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_processors()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            layer.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feed = layer.feed()
        for _ in range(1 + BURSTS * RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    spans = [
        event["dur"]
        for event in events
        if event.get("cat") == "Node"
        and event["name"].endswith("_kernel_time")
        and not event["args"]["op_name"].startswith("Reorder")
    ]
    return min(spans) / 1e6


def _in_openvino(layer, precision):
    """Return the best mean seconds of a burst in OpenVINO, by its own profile, which adds up over runs."""
    import openvino  # noqa: PLC0415  an optional extra

    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bf16": "bf16", "int8": "f32"}[precision],
        "INFERENCE_NUM_THREADS": available_processors(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
    }
    graph = core.read_model(layer.model().SerializeToString())
    if precision == "int8" and layer.kind == "Conv":
        _quantise(graph)
    compiled = core.compile_model(graph, "CPU", options)
    best = math.inf
    for _ in range(BURSTS):
        request = compiled.create_infer_request()
        feed = layer.feed()
        request.infer(feed)
        for _ in range(RUNS):
            request.infer(feed, share_inputs=True)
        spans = [  # in int8 without the rounding of the input, which is a layer of its own
            layer_profile.real_time.total_seconds()
            for layer_profile in request.profiling_info
            if layer_profile.node_type
            in ("Convolution", "GroupConvolution", "MatMul", "FullyConnected", "Subgraph")
            and (precision != "int8" or layer_profile.node_type != "Subgraph")
        ]
        best = min(best, sum(spans))
    if not 0 < best < math.inf:
        raise RuntimeError(f"OpenVINO's profile of {layer} has no layer that computes")
    return best


def _quantise(graph):
    """Let the convolution of a graph compute in int8, as NNCF writes it: rounded input, rounded weights."""
    from openvino import opset13  # noqa: PLC0415  an optional extra

    (node,) = (node for node in graph.get_ordered_ops() if "Convolution" in node.get_type_name())
    low, high = opset13.constant(np.float32(-4)), opset13.constant(np.float32(4))
    rounded = opset13.fake_quantize(node.input_value(0), low, high, low, high, 256)
    node.input(0).replace_source_output(rounded.output(0))
    weights = node.input_value(1)
    shape = [weights.get_shape()[0], *[1] * (len(weights.get_shape()) - 1)]
    low, high = (opset13.constant(np.full(shape, value, np.float32)) for value in (-4, 4))
    node.input(1).replace_source_output(opset13.fake_quantize(weights, low, high, low, high, 255).output(0))
