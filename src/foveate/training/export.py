"""torch -> model package, and the proof that both agree.

Knows:   how a trained network becomes two ONNX graphs that share one weight file.
Ignores: how it was trained, and who will run it.

Shape letters: N windows, S window side, V view side, K lesions, C channels, G G2 sides of pieces.
"""

import contextlib
import io
import json
import tempfile
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

from foveate import models
from foveate.engines import onnx as onnx_engine
from foveate.errors import ExportError
from foveate.geometry import canvas, feature_sampling
from foveate.inference.preprocessing import prepare
from foveate.models import Manifest
from foveate.nets import LocalGlobalUNet, folded
from foveate.types import Contract

MANIFEST = "manifest.json"
"""By it a folder is known for a model package."""

WEIGHTS = "weights.safetensors"
"""The only file with weights: both graphs point into it."""

TOLERANCE = 1e-4
"""Largest difference of a probability between torch and ONNX Runtime, both in float32 (seen: 1e-6)."""

EXAMPLE_WINDOWS = 2
"""In the example that travels with a package: enough to see whether the batch axis is right."""

CHATTER = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, r"# The axis name: (N|G|G2|\d+\*(down|across)) will not be used, since it shares"),
)
"""What torch 2.13's exporter says about itself, and about axes that several inputs share by intention."""


Side = Callable[[int], dict[int, object]]
"""Number of an axis -> how long it may be, as torch.export has it."""


class _Glance(nn.Module):
    """GlobalNet as a graph sees it."""

    def __init__(self, network: LocalGlobalUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Float32[Tensor, "1 3 V V"]) -> tuple[Tensor, Tensor]:
        features, logits = self.network.glance(view)
        return logits.sigmoid(), features


class _Look(nn.Module):
    """LocalNet and the fusion as a graph sees them."""

    def __init__(self, network: LocalGlobalUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor, pieces: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return self.network.look(windows, pieces, rows, columns).sigmoid()


def halved(network: LocalGlobalUNet) -> LocalGlobalUNet:
    """Return a folded copy whose convolution weights are rounded to half precision; biases stay as they are.

    What is stored on disk is then exactly what runs.

    Source: our choice (docs/decisions/0005-one-weight-file.md).
    """
    copied = folded(network)
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.ndim == 4:
                weight.copy_(weight.half().float())
    return copied


def export(network: LocalGlobalUNet, manifest: Manifest, folder: Path) -> None:
    """Write a model package, and prove that ONNX Runtime computes from it what torch does.

    The folder is replaced as a whole, once everything is proven.

    Args:
        network: trained; it is folded and rounded on the way.
        manifest: what the package says about itself.
        folder: of the package; what lies there must be an older package or nothing.

    Raises:
        ExportError: torch and ONNX Runtime differ by more than TOLERANCE, or the folder holds something else.
    """
    _require_replaceable(folder)
    exact = halved(network)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as workshop:
        draft = Path(workshop) / "new"
        draft.mkdir()  # with everybody's usual rights, which a temporary folder does not have
        _write_weights(exact, draft / WEIGHTS)
        example = _example(exact, manifest.contract)
        _write_graphs(exact, manifest.contract, example, draft)
        np.savez_compressed(draft / "example.npz", **example)  # type: ignore[arg-type]  # taken for a switch
        models.write_manifest(draft, manifest)
        prove(draft)
        if folder.exists():
            folder.rename(Path(workshop) / "old")
        draft.rename(folder)


def _require_replaceable(folder: Path) -> None:
    """Raise ExportError where a folder holds anything but a model package: nothing else is ever deleted."""
    if folder.exists() and not (
        folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).exists())
    ):
        raise ExportError(f"{folder} is there and is no model package; choose another folder")


def prove(folder: Path) -> float:
    """Run a package's example and return the largest difference from the output that torch gave.

    Raises:
        ExportError: it is more than TOLERANCE, or no number.
        PackageError: the package is not whole.
    """
    package = models.load(folder)
    engine = onnx_engine.open(package, threads=1)
    with np.load(folder / "example.npz") as example:
        glance = engine.glance(prepare(example["view"][None], package.contract))
        pieces = np.stack([_piece(glance.features, corner, example) for corner in example["corners"]])
        windows = prepare(example["windows"], package.contract)
        looked = engine.look(windows, pieces, example["rows"], example["columns"])
        coarse = glance.probabilities[:, ::4, ::4]
        apart = [np.abs(coarse - example["coarse"]).max(), np.abs(looked - example["probabilities"]).max()]
    difference = float(np.max(apart))
    if not difference <= TOLERANCE:  # what is no number fails, too
        raise ExportError(
            f"{folder}: ONNX Runtime and torch differ by {difference:.2g}, allowed is {TOLERANCE:g}; "
            "do the weights hold numbers only?"
        )
    return difference


def _piece(
    features: Float32[np.ndarray, "C V V"], corner: np.ndarray, example: "np.lib.npyio.NpzFile"
) -> Float32[np.ndarray, "C G G2"]:
    top, left = int(corner[0]), int(corner[1])
    return features[:, top : top + example["rows"].shape[2], left : left + example["columns"].shape[2]]


def _example(network: LocalGlobalUNet, contract: Contract) -> dict[str, np.ndarray]:
    """Make an input, a smooth picture with noise, and what torch makes of it."""
    generator = np.random.default_rng(0)
    side, window = contract.view_side, contract.window_side
    shape = (4 * side, 5 * side)
    coarse = generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    view = canvas.resample(coarse, (side, side))
    windows = np.stack(
        [canvas.resample(np.rot90(coarse, k), (window, window)) for k in range(EXAMPLE_WINDOWS)]
    )
    sights = [
        feature_sampling.sample_at(corner, window, shape, side)
        for corner in ((0, 0), (shape[0] - window, window // 2))
    ]
    rows, columns = (np.stack([getattr(s, axis) for s in sights]) for axis in ("rows", "columns"))
    corners = np.array([sight.corner for sight in sights])
    example = {"view": view, "windows": windows, "rows": rows, "columns": columns, "corners": corners}
    with torch.no_grad():
        features, logits = network.glance(torch.from_numpy(prepare(view[None], contract)))
        pieces = [
            features[0, :, t : t + rows.shape[2], left : left + columns.shape[2]] for t, left in corners
        ]
        looked = network.look(
            torch.from_numpy(prepare(windows, contract)),
            torch.stack(pieces),
            torch.from_numpy(rows),
            torch.from_numpy(columns),
        )
    outputs = {"coarse": logits.sigmoid()[0, :, ::4, ::4].numpy(), "probabilities": looked.sigmoid().numpy()}
    return example | outputs


def _write_weights(network: LocalGlobalUNet, path: Path) -> None:
    """Save what `halved` left: convolution weights in half precision, the rest in float32."""
    state = network.state_dict()
    path.write_bytes(save({name: (t.half() if t.ndim == 4 else t).contiguous() for name, t in state.items()}))


def _write_graphs(
    network: LocalGlobalUNet, contract: Contract, example: dict[str, np.ndarray], folder: Path
) -> None:
    """Export both graphs and let their weights point into the weight file."""
    places = _places(folder / WEIGHTS)
    view = torch.from_numpy(prepare(example["view"][None], contract))
    windows = torch.from_numpy(prepare(example["windows"], contract))
    rows, columns = torch.from_numpy(example["rows"]), torch.from_numpy(example["columns"])
    pieces = torch.zeros(len(windows), network.global_net.channels, rows.shape[2], columns.shape[2])
    n, g, g2 = (torch.export.Dim(name, min=1) for name in ("N", "G", "G2"))
    s, t = _sides(contract)
    dynamic: dict[str, dict[int, object]] = {
        "windows": {0: n} | s(2) | t(3),
        "pieces": {0: n, 2: g, 3: g2},
        "rows": {0: n, 2: g} | s(1),
        "columns": {0: n, 2: g2} | t(1),
    }
    glance = _graph(_Glance(network), {"view": view}, ("probabilities", "features"), {"view": {}})
    feed = {"windows": windows, "pieces": pieces, "rows": rows, "columns": columns}
    look = _graph(_Look(network), feed, ("probabilities",), dynamic)
    for name, graph in (("global.onnx", glance), ("local.onnx", look)):
        _forget(graph)
        _point(graph, places)
        onnx.save(graph, folder / name)


def _sides(contract: Contract) -> tuple[Side, Side]:
    """Return, for S and for T, how an axis of a graph's input has it: any multiple of the contract's step."""
    if contract.step is None:
        return _fixed, _fixed
    s, t = (contract.step * torch.export.Dim(name, min=1) for name in ("down", "across"))
    return (lambda axis: {axis: s}), (lambda axis: {axis: t})


def _fixed(axis: int) -> dict[int, object]:
    """Return that an axis has the length it is traced with."""
    return {}


def _graph(
    module: nn.Module,
    feed: Mapping[str, Tensor],
    outputs: tuple[str, ...],
    dynamic: Mapping[str, Mapping[int, object]],
) -> onnx.ModelProto:
    """Trace a module to ONNX. The exporter's chatter about what it renames and does not find is kept back."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        for category, message in CHATTER:
            warnings.filterwarnings("ignore", message, category)
        program = torch.onnx.export(
            module.eval(),
            tuple(feed.values()),
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=list(feed),
            output_names=list(outputs),
            dynamic_shapes=tuple(dynamic.values()),
        )
    assert program is not None  # dynamo=True always returns one
    graph: onnx.ModelProto = program.model_proto
    return graph


def _places(path: Path) -> dict[str, tuple[str, list[int], int, int]]:
    """Return name -> (kind, shape, offset, length) of each tensor in a safetensors file.

    Source: the format's own description: 8 bytes length of the header, JSON, then the tensors' bytes.
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


def _forget(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes about its origin, line by line with this machine's paths.

    A package is then the same bytes wherever it is exported.
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


def _point(model: onnx.ModelProto, places: dict[str, tuple[str, list[int], int, int]]) -> None:
    """Let a graph's weights point into the weight file; those in half precision are cast first."""
    graph = model.graph
    for weight in list(graph.initializer):
        name = weight.name.removeprefix("network.")
        if name not in places:
            continue  # a constant of the graph's own
        kind, shape, offset, length = places[name]
        pointer = TensorProto(name=weight.name, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            pointer.external_data.add(key=key, value=str(value))
        pointer.data_type = TensorProto.FLOAT16 if kind == "F16" else TensorProto.FLOAT
        if kind == "F16":
            pointer.name = f"{weight.name}.half"
            graph.node.insert(
                0, helper.make_node("Cast", [pointer.name], [weight.name], to=TensorProto.FLOAT)
            )
        graph.initializer.remove(weight)
        graph.initializer.append(pointer)
