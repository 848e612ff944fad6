"""What eight bits would bring: LocalNet and the fusion in int8, by ONNX Runtime's own quantiser.

Run:    python benchmarks/int8.py PACKAGE --data IDRID [--split FILE:FOLD]
Data:   windows of photographs that the model learned from calibrate; those of FOLD, which it did not, judge
Expect: docs/results/speed.md
Cost:   half a minute of one core a photograph

GlobalNet stays as it is. Convolutions are quantised by channel (weights int8, what flows between them uint8,
ranges from the smallest to the largest value met), but for the two that say the logits. Printed: exact
average precision of both, and seconds of all processors for the windows.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime import quantization

from foveate import evaluation, models, photographs
from foveate.datasets import layouts
from foveate.engines import Engine
from foveate.engines import onnx as onnx_engine
from foveate.evaluation import operating_points
from foveate.inference.pipeline import segment

FOLD = Path(__file__).parents[1] / "src/foveate/training/recipes/splits/idrid.json"

LEARNED = 8
"""Photographs that calibrate."""

EVERY = 6
"""One window in so many of each calibrates: some 30 in all."""


@dataclass
class Watched:
    """An engine that notes what its windows are given, and how long they take."""

    engine: Engine
    every: int = 0
    fed: list = field(default_factory=list)
    seconds: float = 0.0
    looks: int = 0

    @property
    def label(self):
        return self.engine.label

    def glance(self, view):
        return self.engine.glance(view)

    def look(self, windows, pieces, rows, columns):
        if self.every and self.looks % self.every == 0:
            self.fed.append({"windows": windows, "pieces": pieces, "rows": rows, "columns": columns})
        self.looks += 1
        begun = time.process_time()
        found = self.engine.look(windows, pieces, rows, columns)
        self.seconds += time.process_time() - begun
        return found


class Feed(quantization.CalibrationDataReader):
    def __init__(self, fed):
        self._left = iter(fed)

    def get_next(self):
        return next(self._left, None)


def whole(path, target):
    """Write a graph whose weights are float32 initializers, as the quantiser wants them."""
    model = onnx.load(path)
    known = {one.name: one for one in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in known:
            weights = numpy_helper.to_array(known[node.input[0]]).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    left = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)
    onnx.save(model, target)


def quantised(source, target, fed):
    """Quantise all convolutions but those that say the logits."""
    graph = onnx.load(source).graph
    summed = [node for node in graph.node if node.op_type == "Add"][
        -1
    ]  # LocalNet's logits and the correction
    spared = [node.name for node in graph.node if node.op_type == "Conv" and node.output[0] in summed.input]
    quantization.quantize_static(
        str(source),
        str(target),
        Feed(fed),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=spared,
    )


def measured(cases, package, engine):
    watched = Watched(engine)
    found = evaluation.score(list(evaluation.count(cases, package, watched)), resamples=200)
    return found, watched.seconds / len(cases)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("package")
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--split", default=f"{FOLD}:1")
    arguments.add_argument("--threads", type=int, default=1)
    chosen = arguments.parse_args()
    package = models.load(chosen.package)
    layout = layouts.named("idrid")
    held = operating_points.cases(chosen.data, layout, chosen.split)
    names = {case.name for case in held}
    learned = [case for case in layouts.cases(chosen.data, layout, "train") if case.name not in names][::5][
        :LEARNED
    ]
    engine = onnx_engine.open(package, threads=chosen.threads)
    watched = Watched(engine, every=EVERY)
    for case in learned:
        segment(photographs.read(case.photograph), package, watched)
    print(f"calibrated on {len(watched.fed)} windows of {len(learned)} photographs", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / onnx_engine.LOCAL.name
        whole(package.folder / onnx_engine.LOCAL.name, plain)
        quantised(plain, small, watched.fed)
        eight = replace(
            engine, local_graph=onnx_engine._open(Path(folder), onnx_engine.LOCAL, chosen.threads)
        )
        for name, one in (("float32", engine), ("int8", eight)):
            scores, seconds = measured(held, package, one)
            print(f"{name}: {seconds:.2f} s of processors a photograph for the windows")
            print(evaluation.tabulate(scores), flush=True)


if __name__ == "__main__":
    main()
