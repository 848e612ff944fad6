"""The arithmetic floor: how long the multiply-adds of one pass must take on this machine.

Knows:   the layers of a package's graphs, and how to time one layer alone.
Ignores: everything else that a pass does: blending, resizing, activations, moving pixels.

Each distinct convolution (and the two products that read the global features) runs alone, at the size it has
in the windows that are used, in the same runtime and precision; the runtime's own profile says how long the
layer took, without changes of memory layout before and after. The best rate of several bursts counts.

    floor = sum over layers of multiply-adds / best rate
          = glances * GlobalNet's layers + canvas / window * LocalNet's and the fusion's layers
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
from foveate.engines import processors
from foveate.geometry import feature_sampling
from foveate.inference import pipeline
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
        given = self.inputs[: len(self.inputs) - len(weights)]
        names = [f"given{k}" for k in range(len(given))]
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
            self.kind, [*names, *[one.name for one in constants]], ["made"], **dict(self.attributes)
        )
        floats = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, given, strict=True)
        ]
        made = helper.make_tensor_value_info("made", TensorProto.FLOAT, self.output)
        graph = helper.make_graph([node], "layer", floats, [made], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)

    def feed(self):
        generator = np.random.default_rng(1)
        given = self.inputs[:1] if self.kind == "Conv" else self.inputs
        return {f"given{k}": generator.standard_normal(shape, np.float32) for k, shape in enumerate(given)}


def floor(photograph, model, engine, precision):
    """Return what measures the floor of a photograph; each run measures anew, the best so far counts.

    Args:
        photograph: its path; field, canvas and windows are those it gets.
        model: name or folder of a package.
        engine: 'onnx' or 'openvino'.
        precision: 'float32' or 'bf16'.
    """
    package, pixels = models.load(model), foveate.read(photograph)
    counted = _counted(package, pixels)
    time = {"onnx": _in_onnxruntime, "openvino": _in_openvino}[engine]
    best = {}

    def run():
        for layer in {**counted.glance, **counted.look}:
            best[layer] = min(best.get(layer, math.inf), time(layer, precision))
        glance, look = (
            sum(number * best[layer] for layer, number in layers.items())
            for layers in (counted.glance, counted.look)
        )
        adds = [
            sum(n * layer.multiply_adds for layer, n in ls.items()) for ls in (counted.glance, counted.look)
        ]
        glances = package.contract.glances
        total = glances * adds[0] + counted.windows * adds[1]
        seconds = glances * glance + counted.windows * look
        return Answer(
            figures={
                "floor": seconds,
                "floor_field": glances * glance + counted.windows * counted.share * look,
                "multiply_adds": total,
                "glance_multiply_adds": glances * adds[0],
                "rate": total / seconds,
                "layers": len(best),
            }
        )

    return Opened(run=run, what=f"{engine} {precision}", warm=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counted:
    """The layers of one pass."""

    glance: dict[Layer, int]
    """Of GlobalNet, and how often each stands in it."""
    look: dict[Layer, int]
    """Of LocalNet and the fusion, on one window."""
    windows: float
    """How many windows the canvas holds without overlap, parts counted."""
    share: float
    """Of the canvas that is field."""


def _counted(package, pixels):
    contract = package.contract
    laid = pipeline._laid(pixels, pipeline.DEFAULTS, contract)  # as every photograph is
    frame, inside = laid.frame, laid.inside
    window = pipeline.tiled(inside, frame.shape, contract).window
    sight = feature_sampling.sample_at((0, 0), window, frame.shape, contract.view_side)
    side = contract.view_side
    with_piece = {
        "windows": (1, 3, *window),
        "pieces": (1, _channels(package), sight.rows.shape[1], sight.columns.shape[1]),
        "rows": (1, *sight.rows.shape),
        "columns": (1, *sight.columns.shape),
    }
    return _Counted(
        glance=_layers(package.folder / "global.onnx", {"view": (1, 3, side, side)}),
        look=_layers(package.folder / "local.onnx", with_piece),
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
    known = _shapes(model, shapes)
    found = collections.Counter()
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul"):
            continue
        attributes = tuple((one.name, _hashable(helper.get_attribute_value(one))) for one in node.attribute)
        inputs = tuple(known[name] for name in node.input)
        layer = Layer(kind=node.op_type, inputs=inputs, output=known[node.output[0]], attributes=attributes)
        found[layer] += 1
    return dict(found)


def _shapes(model, shapes):
    """Return the shapes of all that a graph's layers take and make, by one run of it on zeros."""
    given = {value.name for value in model.graph.input}
    known = {one.name: tuple(one.dims) for one in model.graph.initializer} | shapes
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul")]
    asked = sorted({name for node in layers for name in (*node.input, *node.output)} - set(known) - given)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in asked)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made = session.run(asked, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return known | {name: one.shape for name, one in zip(asked, made, strict=True)}


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def _in_onnxruntime(layer, precision):
    """Return the best seconds of a layer in ONNX Runtime, by its own profile."""
    if precision != "float32":
        raise ValueError(f"onnxruntime computes in float32, not in {precision}")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = processors()
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
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": processors(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
    }
    compiled = core.compile_model(core.read_model(layer.model().SerializeToString()), "CPU", options)
    best = math.inf
    for _ in range(BURSTS):
        request = compiled.create_infer_request()
        feed = layer.feed()
        request.infer(feed)
        for _ in range(RUNS):
            request.infer(feed, share_inputs=True)
        spans = [
            one.real_time.total_seconds()
            for one in request.profiling_info
            if one.node_type in ("Convolution", "GroupConvolution", "MatMul", "FullyConnected", "Subgraph")
        ]
        best = min(best, sum(spans))
    if not 0 < best < math.inf:
        raise RuntimeError(f"OpenVINO's profile of {layer} has no layer that computes")
    return best
