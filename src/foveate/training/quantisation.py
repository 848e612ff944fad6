"""Quantise a model package's networks to 8-bit integers with NNCF: `pip install 'foveate[quantise]'`.

Knows:   which pictures the ranges are measured on, which layers stay in floating point, and where the graphs
         are stored.
Ignores: how ranges and biases are computed (NNCF does it), and what a release decides about the result.

It runs once, at a release. OpenVINO alone runs the quantised graphs (`--precision int8`); the package's other
files stay as they are.

Shape letters as in `foveate.engines`.
"""

import importlib
import importlib.util
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64

from foveate import atomic_files, models, photographs
from foveate.engines import Engine, GlobalOutput, WindowBatch, decoder_rewriting, telemetry
from foveate.engines import openvino as openvino_engine
from foveate.errors import OutputError, SettingError, one_line, raise_if_out_of_memory
from foveate.geometry import canvas as canvases
from foveate.geometry import dihedral
from foveate.geometry.feature_sampling import window_sampling
from foveate.inference.prepared_canvas import PreparedCanvas, prepare_canvas
from foveate.inference.preprocessing import normalise
from foveate.inference.tta import run_global
from foveate.models import Package
from foveate.paths import display_path

if TYPE_CHECKING:
    import openvino

WINDOW_SIDE = 320
"""Side of the windows that ranges are measured on, px; a contract without a step has windows of one size."""

LESION_WINDOWS, OTHER_WINDOWS = 3, 2
"""Windows of each photograph: some where GlobalNet sees lesions, the others anywhere in the field. Our
choice, so that ranges span the activations of lesions and of healthy retina."""

MAX_PHOTOGRAPHS = 22
"""Photographs that ranges are measured on: half of those that the first quantised network had learned from
(docs/decisions/0025-int8-by-nncf.md)."""

VIEWS = 2
"""Global views of each photograph: one turned, and its mirror image turned as far; the next photograph's are
turned otherwise."""

OPPOSITE = 4
"""Steps in the list of symmetries from a rotation to the same with a mirror image."""

Feed = dict[str, np.ndarray]
"""Inputs of a graph by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationInputs:
    """The inputs of both graphs that ranges are measured on."""

    views: list[Feed] = field(default_factory=list)
    """Of GlobalNet."""
    windows: list[Feed] = field(default_factory=list)
    """Of LocalNet and the fusion."""


def quantise(
    package: Package, paths: Sequence[Path], tell: Callable[[str], None] = lambda line: None
) -> Package:
    """Write int8 graphs of both networks into a package's folder, and open the package again.

    Weights get a scale for each channel, activations one for each array; `float_layers` stay as they are.
    Graphs of an earlier call are replaced. The package's other files stay, but its digest changes. The folder
    is replaced as a whole: where anything fails, the package stays as it was.

    Args:
        package: its folder is changed: two graphs are added, and the manifest names them.
        paths: training photographs, never ones that the model is judged by; at most `MAX_PHOTOGRAPHS` of them
            are used, spread evenly. The manifest names those used.
        tell: called with a line about each step.

    Raises:
        SettingError: NNCF or OpenVINO is not installed.
        PhotographError, FieldError, GeometryError: a photograph cannot be read or segmented.
        OutputError: a file cannot be written.

    Source: post-training quantisation, Jacob et al. 2018, arXiv:1712.05877; https://github.com/openvinotoolkit/nncf.
    """
    require_installed()
    nncf = telemetry.import_without_reporter("nncf")
    module = telemetry.import_openvino()
    engine = openvino_engine.open(package, precision="float32")
    chosen = paths[:: max(1, math.ceil(len(paths) / MAX_PHOTOGRAPHS))]
    inputs = calibration_inputs(package, engine, chosen)
    graphs = {}
    for name, feeds in ((models.GLOBAL_GRAPH, inputs.views), (models.LOCAL_GRAPH, inputs.windows)):
        tell(f"{name}: {len(feeds)} calibration inputs")
        graph = prepared_graph(module, package.folder / name)
        graphs[openvino_engine.INT8_FILES[name]] = _quantise_graph(nncf, graph, feeds)
    record = {"photographs": [path.stem for path in chosen], "quantiser": f"NNCF {nncf.__version__}"}
    return add_graphs(module, package, graphs, record)


def add_graphs(
    module: ModuleType,
    package: Package,
    graphs: Mapping[str, "openvino.Model"],
    record: Mapping[str, object],
) -> Package:
    """Write graphs in OpenVINO's format into a package's folder, and open the package again.

    Args:
        module: the module `openvino`.
        package: its folder is replaced by a copy with the graphs, in one step.
        graphs: name of a graph's file -> the graph.
        record: how they were made, for the manifest's statement of the training.

    Raises:
        OutputError: a file cannot be written; the folder stays as it was.
        MemoryError: there is not enough memory; the folder stays as it was.
    """
    folder = package.folder.resolve()
    with atomic_files.replace_directory(folder) as draft:
        for path in sorted(folder.rglob("*")):
            copy = draft / path.relative_to(folder)
            if path.is_dir():
                copy.mkdir()
            else:
                shutil.copy2(path, copy)
        for name, graph in graphs.items():
            try:
                module.save_model(graph, draft / name, compress_to_fp16=False)
            except RuntimeError as error:  # OpenVINO's error on a full disk
                raise_if_out_of_memory(error)
                reason = one_line(error)
                raise OutputError(
                    f"{display_path(folder / name)}: cannot be written ({reason}); free some space, and "
                    "release the model again"
                ) from error
        models.with_present_files(replace(package, folder=draft), {"int8": record})
    return models.load(package.folder)


def calibration_inputs(package: Package, engine: Engine, paths: Iterable[Path]) -> CalibrationInputs:
    """Return views and windows of photographs, as the engine would get them."""
    inputs = CalibrationInputs()
    generator = np.random.default_rng(0)
    contract = package.contract
    for number, path in enumerate(paths):
        canvas = prepare_canvas(photographs.read(path), contract)
        output = run_global(engine, canvas, contract.tta_views)
        pixels = canvases.global_view(canvas.unpadded, contract.view_side)
        view = normalise(pixels[np.newaxis], contract)
        for turn in range(VIEWS):
            symmetry = dihedral.DIHEDRAL[(number + turn * OPPOSITE) % len(dihedral.DIHEDRAL)]
            inputs.views.append({"view": dihedral.apply(view, symmetry)})
        inputs.windows.extend(_window_feeds(canvas, output, generator))
    return inputs


def _window_feeds(
    canvas: PreparedCanvas, output: GlobalOutput, generator: np.random.Generator
) -> Iterator[Feed]:
    """Yield the inputs of single windows of a photograph."""
    contract = canvas.contract
    side = min(WINDOW_SIDE if contract.step else contract.window_side, *canvas.inside.shape)
    side -= side % (contract.step or 1)
    for corner in _corners(canvas, output.probabilities, side, generator):
        windows = normalise(canvas.windows(corner[np.newaxis], side), contract)
        top, left = corner.tolist()
        sampling = window_sampling((top, left), side, canvas.frame.shape, output.features.shape[-1])
        batch = WindowBatch.gather(windows, output.features, [sampling])
        yield {
            "windows": batch.windows,
            "pieces": batch.pieces,
            "rows": batch.rows,
            "columns": batch.columns,
        }


def _corners(
    canvas: PreparedCanvas,
    probabilities: Float32[np.ndarray, "K V V"],
    side: int,
    generator: np.random.Generator,
) -> Int64[np.ndarray, "N 2"]:
    """Draw the corners of windows: around pixels that are lesion to GlobalNet, and anywhere in the field."""
    view_side = probabilities.shape[-1]
    rows = (np.arange(view_side) + 0.5) * canvas.frame.shape[0] / view_side
    columns = (np.arange(view_side) + 0.5) * canvas.frame.shape[1] / view_side
    inside = canvas.inside[np.ix_(rows.astype(int), columns.astype(int))]
    weights = (probabilities.max(axis=0) * inside, inside.astype(np.float32))
    corners = []
    for weight, count in zip(weights, (LESION_WINDOWS, OTHER_WINDOWS), strict=True):
        share = (weight / weight.sum(dtype=np.float64)).ravel().astype(np.float64)
        centres = generator.choice(view_side**2, count, p=share / share.sum())
        corners += [(rows[centre // view_side], columns[centre % view_side]) for centre in centres]
    largest = np.array(canvas.inside.shape) - side
    step = canvas.contract.step or 1
    return (np.clip(np.array(corners) - side / 2, 0, largest).astype(np.int64) // step) * step


def prepared_graph(module: ModuleType, path: Path) -> "openvino.Model":
    """Read a graph as the engine does, split the fusion's first convolution and fold constants.

    Where a concatenation precedes a convolution, both of its inputs would share one scale, and features that
    are small beside the others would be lost.
    """
    model = openvino_engine.read_graph(path)
    _split_fusion(module, model)
    _widen_constants(module, model)
    transformations = importlib.import_module("openvino._offline_transformations")
    transformations.apply_moc_transformations(model, cf=True)
    return model


def _split_fusion(module: ModuleType, model: "openvino.Model") -> None:
    """Replace a convolution of the concatenation of f_l and f_g by a sum of two convolutions."""
    ops = module.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        concat = node.input_value(0).get_node()
        parts = concat.input_values() if concat.get_type_name() == "Concat" else []
        if len(parts) != 2 or parts[1].get_node().get_type_name() != "MatMul":
            continue
        kernel = decoder_rewriting.constant(node.input_value(1).get_node())
        assert kernel is not None  # the exporter writes all kernels as constants
        channels = parts[0].get_partial_shape()[1].get_length()
        one = [1, 1]
        lower, upper = (
            ops.convolution(part, ops.constant(np.ascontiguousarray(half)), one, one, one, one)
            for part, half in zip(parts, np.split(kernel, [channels], axis=1), strict=True)
        )
        node.output(0).replace(ops.add(lower, upper).output(0))


def _widen_constants(module: ModuleType, model: "openvino.Model") -> None:
    """Replace constants in half precision, which are cast where they are used, by constants in float32."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convert" and node.get_element_type() == module.Type.f32:
            values = decoder_rewriting.constant(node)
            if values is not None:
                node.output(0).replace(module.opset13.constant(values).output(0))


def float_layers(model: "openvino.Model") -> list[str]:
    """Return the names of the layers of a prepared graph that stay in floating point.

    They are the sums, the sampling of f_g and the convolutions of what is sampled, and the last convolutions
    before the probabilities.
    """
    names = set(_last_layers(model.output("probabilities").get_node()))
    for node in model.get_ordered_ops():
        kinds = [value.get_node().get_type_name() for value in node.input_values()]
        is_sum = node.get_type_name() == "Add" and all("Convolution" in kind for kind in kinds)
        is_of_global_features = node.get_type_name() == "Convolution" and kinds[0] == "MatMul"
        if is_sum or is_of_global_features or node.get_type_name() == "MatMul":
            names.add(node.get_friendly_name())
    return sorted(names)


def _last_layers(node: "openvino.Node") -> Iterator[str]:
    """Yield the names of the last convolutions before a node, and of the sums between."""
    for value in node.input_values():
        source = value.get_node()
        if source.get_type_name() in ("Convolution", "Add"):
            yield source.get_friendly_name()
        if source.get_type_name() != "Convolution":
            yield from _last_layers(source)


def _quantise_graph(nncf: ModuleType, model: "openvino.Model", feeds: Sequence[Feed]) -> "openvino.Model":
    """Return a graph with int8 layers.

    The ranges of activations are those seen, from lowest to highest: NNCF's default, which clips outliers,
    costs haemorrhages .015 and soft exudates .027 of average precision (docs/decisions/0025). Weights take
    7 bits: processors with AVX2 but without VNNI add two products in 16 bits, which 8 bits would overflow.
    """
    ranges = importlib.import_module("nncf.quantization.range_estimator").RangeEstimatorParametersSet
    advanced = importlib.import_module("nncf.quantization.advanced_parameters")
    quantised: openvino.Model = nncf.quantize(
        model,
        nncf.Dataset(list(feeds)),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(feeds),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=float_layers(model)),
        advanced_parameters=advanced.AdvancedQuantizationParameters(
            activations_range_estimator_params=ranges.MINMAX, overflow_fix=advanced.OverflowFix.ENABLE
        ),
    )
    return quantised


def require_installed() -> None:
    """Check for NNCF and OpenVINO, which are optional extras, before long work that would need them.

    Raises:
        SettingError: one of them is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in ("openvino", "nncf")):
        raise SettingError("NNCF is not installed; pip install 'foveate[quantise]'")
