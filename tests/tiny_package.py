"""A model package small enough for tests, and photographs for it.

Its two graphs are 1x1 convolutions with the weights below, so that every probability can be computed by hand.
The weights lie in a safetensors file, as in a real package. Needs onnx, not torch.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from foveate import models
from foveate.engines import GlobalOutput
from foveate.types import Decision, ModelContract

CONTRACT = ModelContract(
    lesions=("EX", "MA"),
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),  # levels become -1 to 1
    view_side=64,
    window_side=64,
    overlap=8,
    field_diameter=240.0,
    scale_tolerance=0.05,
)

WEIGHTS = {
    "features_w": np.array([[1, 0, 0], [0, 1, 0]], np.float32),  # f_g is the view's red and green
    "global_w": np.array([[0, 4], [-4, 0]], np.float32),
    "global_b": np.array([-2, -2], np.float32),
    "local_w": np.array(
        [[0, 8, 0, 0.5, 0], [-8, 0, 0, 0, 0.5]], np.float32
    ),  # EX is bright green, MA dark red
    "local_b": np.array([-4, -4], np.float32),
}
"""Rows are outputs; the columns of `local_w` are the window's R, G, B and the two features of the view."""

MANIFEST = models.Manifest(
    name="tiny",
    version="1.0",
    licence="Apache-2.0",
    intended_use="For tests; finds nothing in an eye.",
    contract=CONTRACT,
    decisions={
        "EX": Decision(threshold=0.5, minimum_area=4),
        "MA": Decision(threshold=0.5, minimum_area=4),
    },
    data=models.TrainingData(name="none", licence="none", attribution="nobody"),
    training={"epochs": 0},
)


def build(folder: Path, **changes) -> Path:
    """Write a whole package into a folder; `changes` replace fields of the manifest."""
    folder.mkdir(parents=True)
    places = _write_weights(folder / "weights.safetensors")
    for name, graph in (("global.onnx", _global()), ("local.onnx", _local())):
        _point_outside(graph, places)
        (folder / name).write_bytes(graph.SerializeToString())
    np.savez(folder / "example.npz", view=np.zeros((1, 3, 64, 64), np.float32))
    models.write_manifest(folder, replace(MANIFEST, **changes))
    return folder


@dataclass
class Red:
    """A fake engine: each pixel's probability is its red level / 255. It records its inputs."""

    label = "red"

    contract: ModelContract = CONTRACT
    views: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    """The number of windows of each batch."""
    releases: int = 0
    """How often its memory was freed."""

    def run_global(self, view):
        self.views.append(view)
        side = self.contract.view_side
        return GlobalOutput(
            probabilities=np.zeros((len(self.contract.lesions), side, side), np.float32), features=view[0]
        )

    def run_local(self, batch):
        self.batches.append(len(batch))
        red = batch.windows * self.contract.std[0] + self.contract.mean[0]
        return np.clip(red[:, [0] * len(self.contract.lesions)] / 255, 0, 1).astype(np.float32)

    def release_memory(self):
        self.releases += 1


def fake(digest: str = "0" * 64, **changes) -> models.Package:
    """Return a package without files for a fake engine; `changes` replace fields of its contract."""
    contract = replace(CONTRACT, **changes)
    package = replace(models.unsaved_package("fake", contract), folder=Path("nowhere"), digest=digest)
    return restated(package, version="0")


def restated(package: models.Package, **changes) -> models.Package:
    """Return a package whose manifest has other values in memory; `changes` replace its fields."""
    return replace(package, manifest=replace(package.manifest, **changes))


def local_output(windows, features):
    """Return the expected output of local.onnx for windows N 3 S S and features at their pixels N 2 S S."""
    stacked = np.concatenate([windows, features], axis=1)
    logits = np.einsum("kc,nchw->nkhw", WEIGHTS["local_w"], stacked) + WEIGHTS["local_b"][:, None, None]
    return 1 / (1 + np.exp(-logits))


def fundus(diameter: int = 240, border: int = 8, seed: int = 0) -> np.ndarray:
    """Draw a lit disc on black with some bright spots (exudates) and dark ones (microaneurysms)."""
    rng = np.random.default_rng(seed)
    side = diameter + 2 * border
    pixels = np.zeros((side, side, 3), np.uint8)
    _draw_disc(pixels, side / 2, side / 2, diameter / 2, (120, 80, 40))
    for spot in range(10):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, diameter * 0.4)
        row, column = side / 2 + reach * np.sin(angle), side / 2 + reach * np.cos(angle)
        colour = (250, 230, 90) if spot % 2 else (20, 30, 20)
        _draw_disc(pixels, row, column, rng.uniform(2, diameter / 30), colour)
    return pixels


def _draw_disc(pixels: np.ndarray, row: float, column: float, radius: float, colour: tuple) -> None:
    """Colour a disc, looking only at the pixels of the square around it."""
    top, left = (max(int(middle - radius) - 1, 0) for middle in (row, column))
    square = pixels[top : int(row + radius) + 2, left : int(column + radius) + 2]
    rows, columns = np.ogrid[: square.shape[0], : square.shape[1]]
    square[np.hypot(rows + top + 0.5 - row, columns + left + 0.5 - column) <= radius] = colour


def photograph(path: Path, **drawn) -> Path:
    """Write a drawn fundus as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(fundus(**drawn)).save(path)
    return path


def _write_weights(path: Path) -> dict[str, tuple[str, int, int]]:
    """Write a safetensors file; return the file, offset and length of each weight."""
    header, end = {}, 0
    for name, values in WEIGHTS.items():
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    content = (
        len(text).to_bytes(8, "little") + text + b"".join(values.tobytes() for values in WEIGHTS.values())
    )
    path.write_bytes(content)
    return {
        name: (path.name, 8 + len(text) + entry["data_offsets"][0], WEIGHTS[name].nbytes)
        for name, entry in header.items()
    }


def _point_outside(graph: onnx.ModelProto, places: dict[str, tuple[str, int, int]]) -> None:
    """Replace the weights of a graph by references into the safetensors file."""
    for tensor in graph.graph.initializer:
        if tensor.name in places:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in zip(("location", "offset", "length"), places[tensor.name], strict=True):
                tensor.external_data.add(key=key, value=str(value))


def _global() -> onnx.ModelProto:
    return _model(
        [
            helper.make_node("Conv", ["view", "features_w"], ["features"]),
            helper.make_node("Conv", ["features", "global_w", "global_b"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        ],
        {"view": [1, 3, 64, 64]},
        {"probabilities": [1, 2, 64, 64], "features": [1, 2, 64, 64]},
    )


def _local() -> onnx.ModelProto:
    return _model(
        [
            helper.make_node("Unsqueeze", ["rows", "axis"], ["rows1"]),
            helper.make_node("Unsqueeze", ["columns", "axis"], ["columns1"]),
            helper.make_node("Transpose", ["columns1"], ["columns2"], perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", ["rows1", "pieces"], ["half"]),
            helper.make_node("MatMul", ["half", "columns2"], ["sampled"]),
            helper.make_node("Concat", ["windows", "sampled"], ["both"], axis=1),
            helper.make_node("Conv", ["both", "local_w", "local_b"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        ],
        {
            "windows": ["N", 3, 64, 64],
            "pieces": ["N", 2, "G", "G2"],
            "rows": ["N", 64, "G"],
            "columns": ["N", 64, "G2"],
        },
        {"probabilities": ["N", 2, 64, 64]},
    )


def _model(nodes: list, inputs: dict, outputs: dict) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    weights = [
        helper.make_tensor(
            name,
            TensorProto.FLOAT,
            (*values.shape, 1, 1) if values.ndim == 2 else values.shape,
            values.tobytes(),
            raw=True,
        )
        for name, values in WEIGHTS.items()
        if name in used
    ]
    if "axis" in used:
        weights.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))
    places = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in named.items()]
        for named in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "tiny", *places, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
