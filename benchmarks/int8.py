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
from foveate.evaluation import selection
from foveate.inference.pipeline import segment

FOLD = Path(__file__).parents[1] / "src/foveate/training/recipes/splits/idrid.json"

CALIBRATION_CASES = 8
"""Photographs that calibrate."""

EVERY = 6
"""One window in so many of each calibrates: some 30 in all."""


@dataclass
class RecordingEngine:
    """An engine that notes what its windows are given, and how long they take."""

    engine: Engine
    every: int = 0
    inputs: list = field(default_factory=list)
    seconds: float = 0.0
    batches: int = 0

    @property
    def label(self):
        return self.engine.label

    def run_global(self, view):
        return self.engine.run_global(view)

    def run_local(self, batch):
        if self.every and self.batches % self.every == 0:
            self.inputs.append(
                {name: getattr(batch, name) for name in ("windows", "pieces", "rows", "columns")}
            )
        self.batches += 1
        start = time.process_time()
        output = self.engine.run_local(batch)
        self.seconds += time.process_time() - start
        return output

    def release_memory(self):
        self.engine.release_memory()


class CalibrationInputs(quantization.CalibrationDataReader):
    def __init__(self, inputs):
        self._remaining = iter(inputs)

    def get_next(self):
        return next(self._remaining, None)


def write_float32_graph(path, target):
    """Write a graph whose weights are float32 initializers, as the quantiser wants them."""
    model = onnx.load(path)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in initializers:
            weights = numpy_helper.to_array(initializers[node.input[0]]).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    used_tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used_tensors)
    onnx.save(model, target)


def quantise(source, target, inputs):
    """Quantise all convolutions but those that say the logits."""
    graph = onnx.load(source).graph
    summed = [node for node in graph.node if node.op_type == "Add"][
        -1
    ]  # LocalNet's logits and the correction
    excluded = [node.name for node in graph.node if node.op_type == "Conv" and node.output[0] in summed.input]
    quantization.quantize_static(
        str(source),
        str(target),
        CalibrationInputs(inputs),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=excluded,
    )


def measure(cases, package, engine):
    recorder = RecordingEngine(engine)
    scores = evaluation.score(list(evaluation.count_pixels(cases, package, recorder)), resamples=200)
    return scores, recorder.seconds / len(cases)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("package")
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--split", default=f"{FOLD}:1")
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    package = models.load(options.package)
    layout = layouts.named("idrid")
    held_back = selection.select_cases(options.data, layout, options.split)
    names = {case.name for case in held_back}
    calibration_cases = [
        case for case in layouts.cases(options.data, layout, "train") if case.name not in names
    ][::5][:CALIBRATION_CASES]
    engine = onnx_engine.open(package, threads=options.threads)
    recorder = RecordingEngine(engine, every=EVERY)
    for case in calibration_cases:
        segment(photographs.read(case.photograph), package, recorder)
    print(f"calibrated on {len(recorder.inputs)} windows of {len(calibration_cases)} photographs", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / onnx_engine.LOCAL.name
        write_float32_graph(package.folder / onnx_engine.LOCAL.name, plain)
        quantise(plain, small, recorder.inputs)
        int8_engine = replace(
            engine, local_graph=onnx_engine._open(Path(folder), onnx_engine.LOCAL, options.threads)
        )
        for name, candidate in (("float32", engine), ("int8", int8_engine)):
            scores, seconds = measure(held_back, package, candidate)
            print(f"{name}: {seconds:.2f} s of processors a photograph for the windows")
            print(evaluation.tabulate(scores), flush=True)


if __name__ == "__main__":
    main()
