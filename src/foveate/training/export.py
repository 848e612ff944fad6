"""Export a trained network as a model package, and verify that both compute the same.

Knows:   how a trained network becomes two ONNX graphs that share one weight file.
Ignores: how it was trained, and who will run it.

Shape letters: N windows, S window side, V view side, K lesions, C channels, G G2 sides of a window's piece of
the global features.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float32
from onnx import TensorProto, helper
from safetensors.torch import save
from torch import Tensor, nn

from foveate import atomic_files, models
from foveate.engines import WindowBatch
from foveate.engines import onnx as onnx_engine
from foveate.errors import ExportError
from foveate.geometry import canvas
from foveate.geometry.feature_sampling import FeatureSampling, window_sampling
from foveate.inference.preprocessing import normalise
from foveate.models import Manifest
from foveate.nets import GlobalPieces, LocalGlobalUNet, fold_batch_norm
from foveate.paths import display_path, exists, obstacle, real_path
from foveate.types import ModelContract

TOLERANCE = 1e-4
"""Largest difference of a probability between torch and ONNX Runtime, both in float32 (seen: 1e-6)."""

EXAMPLE_WINDOWS = 2
"""Windows of the example in a package: enough to verify the batch axis."""

EXPORTER_WARNINGS = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, r"# The axis name: (N|G|G2|\d+\*(down|across)) will not be used, since it shares"),
)
"""Warnings of torch 2.13's exporter about itself, and about axes that several inputs share intentionally."""

AxisSpec = Callable[[int], dict[int, object]]
"""Number of an axis -> its dynamic shape, as torch.export expects it."""

TensorLocation = tuple[str, list[int], int, int]
"""Type, shape, offset and length in bytes of a tensor in the weight file."""


class _GlobalGraph(nn.Module):
    """GlobalNet with the inputs and outputs of its graph."""

    def __init__(self, network: LocalGlobalUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Float32[Tensor, "1 3 V V"]) -> tuple[Tensor, Tensor]:
        features, logits = self.network.forward_global(view)
        return logits.sigmoid(), features


class _LocalGraph(nn.Module):
    """LocalNet and the fusion with the inputs and outputs of their graph."""

    def __init__(self, network: LocalGlobalUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor, pieces: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return self.network.forward_local(windows, GlobalPieces(pieces, rows, columns)).sigmoid()


def round_to_half(network: LocalGlobalUNet) -> LocalGlobalUNet:
    """Return a copy with folded normalisation and convolution weights rounded to half precision.

    Biases keep their precision. The weights on disk are then exactly the weights that are used.

    Source: our choice (docs/decisions/0005-one-weight-file.md).
    """
    rounded = fold_batch_norm(network)
    with torch.no_grad():
        for weight in rounded.parameters():
            if weight.ndim == 4:
                weight.copy_(weight.half().float())
    return rounded


def export(network: LocalGlobalUNet, manifest: Manifest, folder: Path) -> None:
    """Write a model package, after verifying that ONNX Runtime computes from it what torch computes.

    The folder is replaced as a whole.

    Args:
        network: the trained network; its copy in the package has folded normalisation and rounded weights.
        manifest: the package's description.
        folder: folder of the package; it must hold an older package or nothing.

    Raises:
        ExportError: torch and ONNX Runtime differ by more than TOLERANCE, or the folder holds something else.
        OutputError: the folder cannot be written; an older package stays.
    """
    require_replaceable(folder)
    rounded = round_to_half(network)
    with atomic_files.replace_directory(folder) as draft:
        _write_weights(rounded, draft / models.WEIGHTS)
        example = _make_example(rounded, manifest.contract)
        _write_graphs(rounded, manifest.contract, example, draft)
        np.savez_compressed(draft / models.EXAMPLE, **example)  # type: ignore[arg-type]  # taken for a flag
        models.write_manifest(draft, manifest)
        verify(draft)


def require_replaceable(folder: Path) -> None:
    """Check that a package may be written to a folder: nothing but an older package is ever deleted.

    Call it before long work, too.

    Raises:
        ExportError: the folder holds something else, it cannot be found out what it holds, or the command
            runs in it: another folder in its place would leave the command without one.
    """
    reason = obstacle(folder)
    if reason is not None:
        raise ExportError(f"{display_path(folder)}: {reason}")
    if Path(real_path(Path())).is_relative_to(real_path(folder)):
        raise ExportError(
            f"{display_path(folder)}: is the folder in which the command runs, which cannot be replaced; "
            "start it in another folder, or choose another one for the package"
        )
    if exists(folder) and not (exists(folder / models.MANIFEST) or _is_empty_folder(folder)):
        raise ExportError(
            f"{display_path(folder)}: already exists and is not a model package; choose another folder"
        )


def _is_empty_folder(path: Path) -> bool:
    """Return whether there is a folder with nothing in it; False also where that cannot be found out."""
    try:
        return not any(path.iterdir())
    except OSError:
        return False


def verify(folder: Path) -> float:
    """Run a package's example; return the largest difference from torch's output.

    Raises:
        ExportError: the difference is larger than TOLERANCE, or not a number.
        PackageError: the package is damaged.
    """
    package = models.load(folder)
    engine = onnx_engine.open(package, threads=1)
    with np.load(folder / models.EXAMPLE) as example:
        output = engine.run_global(normalise(example["view"][None], package.contract))
        samplings = [
            FeatureSampling(corner=(int(top), int(left)), rows=rows, columns=columns)
            for (top, left), rows, columns in zip(
                example["corners"], example["rows"], example["columns"], strict=True
            )
        ]
        windows = normalise(example["windows"], package.contract)
        probabilities = engine.run_local(WindowBatch.gather(windows, output.features, samplings))
        differences = [
            np.abs(output.probabilities[:, ::4, ::4] - example["coarse"]).max(),
            np.abs(probabilities - example["probabilities"]).max(),
        ]
    difference = float(np.max(differences))
    if not difference <= TOLERANCE:  # NaN fails as well
        raise ExportError(
            f"{display_path(folder)}: ONNX Runtime and PyTorch differ by {difference:.2g}, more than the "
            f"{TOLERANCE:g} allowed; check that no weight is infinite or NaN"
        )
    return difference


def _make_example(network: LocalGlobalUNet, contract: ModelContract) -> dict[str, np.ndarray]:
    """Return a package's example: its inputs, pictures of smoothed noise, and torch's outputs for them."""
    generator = np.random.default_rng(0)
    side, window = contract.view_side, contract.window_side
    shape = (4 * side, 5 * side)
    noise = generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    view = canvas.resample(noise, (side, side))
    windows = np.stack(
        [canvas.resample(np.rot90(noise, k), (window, window)) for k in range(EXAMPLE_WINDOWS)]
    )
    samplings = [
        window_sampling(corner, window, shape, side) for corner in ((0, 0), (shape[0] - window, window // 2))
    ]
    with torch.no_grad():
        features, logits = network.forward_global(torch.from_numpy(normalise(view[None], contract)))
        batch = WindowBatch.gather(normalise(windows, contract), features[0].numpy(), samplings)
        pieces = GlobalPieces(*map(torch.from_numpy, (batch.pieces, batch.rows, batch.columns)))
        local_logits = network.forward_local(torch.from_numpy(batch.windows), pieces)
    return {
        "view": view,
        "windows": windows,
        "rows": batch.rows,
        "columns": batch.columns,
        "corners": np.array([sampling.corner for sampling in samplings]),
        "coarse": logits.sigmoid()[0, :, ::4, ::4].numpy(),
        "probabilities": local_logits.sigmoid().numpy(),
    }


def _write_weights(network: LocalGlobalUNet, path: Path) -> None:
    """Save the result of `round_to_half`: convolution weights in half precision, the rest in float32."""
    state = network.state_dict()
    path.write_bytes(save({name: (t.half() if t.ndim == 4 else t).contiguous() for name, t in state.items()}))


def _write_graphs(
    network: LocalGlobalUNet, contract: ModelContract, example: dict[str, np.ndarray], folder: Path
) -> None:
    """Export both graphs; their weights refer to the weight file."""
    locations = _tensor_locations(folder / models.WEIGHTS)
    view = torch.from_numpy(normalise(example["view"][None], contract))
    windows = torch.from_numpy(normalise(example["windows"], contract))
    rows, columns = torch.from_numpy(example["rows"]), torch.from_numpy(example["columns"])
    pieces = torch.zeros(len(windows), network.global_net.channels, rows.shape[2], columns.shape[2])
    n, g, g2 = (torch.export.Dim(name, min=1) for name in ("N", "G", "G2"))
    s, t = _side_specs(contract)
    dynamic: dict[str, dict[int, object]] = {
        "windows": {0: n} | s(2) | t(3),
        "pieces": {0: n, 2: g, 3: g2},
        "rows": {0: n, 2: g} | s(1),
        "columns": {0: n, 2: g2} | t(1),
    }
    global_graph = _trace(_GlobalGraph(network), {"view": view}, ("probabilities", "features"), {"view": {}})
    inputs = {"windows": windows, "pieces": pieces, "rows": rows, "columns": columns}
    local_graph = _trace(_LocalGraph(network), inputs, ("probabilities",), dynamic)
    for name, graph in ((models.GLOBAL_GRAPH, global_graph), (models.LOCAL_GRAPH, local_graph)):
        _strip_metadata(graph)
        _refer_to_weight_file(graph, locations)
        onnx.save(graph, folder / name)


def _side_specs(contract: ModelContract) -> tuple[AxisSpec, AxisSpec]:
    """Return the dynamic shapes of a window's sides: any multiple of the contract's step, or static."""
    if contract.step is None:
        return _static, _static
    s, t = (contract.step * torch.export.Dim(name, min=1) for name in ("down", "across"))
    return (lambda axis: {axis: s}), (lambda axis: {axis: t})


def _static(axis: int) -> dict[int, object]:
    """Return an empty spec: a static axis."""
    return {}


def _trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: tuple[str, ...],
    dynamic: Mapping[str, Mapping[int, object]],
) -> onnx.ModelProto:
    """Trace a module to ONNX, without the exporter's messages about renamed axes and missing packages."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        for category, message in EXPORTER_WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(dynamic.values()),
        )
    assert program is not None  # dynamo=True always returns one
    graph: onnx.ModelProto = program.model_proto
    return graph


def _tensor_locations(path: Path) -> dict[str, TensorLocation]:
    """Return name -> location of each tensor in a safetensors file.

    Source: the format's description: 8 bytes with the header's length, JSON, then the tensors' bytes.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    start = 8 + size
    return {
        name: (
            entry["dtype"],
            entry["shape"],
            start + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes about the origin of each node, which contain paths of this machine.

    A package then has the same bytes wherever it is exported.
    """
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _refer_to_weight_file(model: onnx.ModelProto, locations: dict[str, TensorLocation]) -> None:
    """Replace a graph's weights by references to the weight file, with a cast for half precision."""
    graph = model.graph
    for weight in list(graph.initializer):
        name = weight.name.removeprefix("network.")
        if name not in locations:
            continue  # a constant that belongs to the graph
        dtype, shape, offset, length = locations[name]
        reference = TensorProto(name=weight.name, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", models.WEIGHTS), ("offset", offset), ("length", length)):
            reference.external_data.add(key=key, value=str(value))
        reference.data_type = TensorProto.FLOAT16 if dtype == "F16" else TensorProto.FLOAT
        if dtype == "F16":
            reference.name = f"{weight.name}.half"
            graph.node.insert(
                0, helper.make_node("Cast", [reference.name], [weight.name], to=TensorProto.FLOAT)
            )
        graph.initializer.remove(weight)
        graph.initializer.append(reference)
