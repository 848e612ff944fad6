"""What a user may choose to compute with, spelt as on the command line.

Knows:   the names of engines, precisions and devices.
Ignores: what is installed, and which of them go together; `engines.choice` says so.

It imports nothing that computes, so that the command line's help can use it.
"""

from typing import Literal

ProcessorEngine = Literal["onnx", "openvino"]
"""Engines of the processor: ONNX Runtime, which is always installed, and OpenVINO."""

EngineName = Literal[ProcessorEngine, "torch"]
"""Every engine: those of the processor, and PyTorch, the only one for CUDA."""

ProcessorPrecision = Literal["float32", "bf16", "int8"]
"""The type of numbers that a network's features are computed in by the engines of the processor; int8 is for
packages that hold quantised networks."""

Precision = Literal[ProcessorPrecision, "float16"]
"""Every such type; float16 is for CUDA."""

Device = Literal["cpu", "cuda"]
"""The processor, or the first CUDA device."""
