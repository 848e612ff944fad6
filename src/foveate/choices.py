"""What a user may choose by name, spelt as on the command line and in the HTTP API.

Knows:   the names of engines, precisions and devices, of parts, efforts and files of results, of layouts and
         stages of training, of drawing tools and verdicts.
Ignores: what each means to the code that uses it, what is installed, and which of them go together.

It imports nothing that computes, so that the command line's help can use it.
"""

from collections.abc import Sequence
from typing import Literal

from foveate.errors import SettingError

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

Part = Literal["field", "paper", "whole"]
"""The part of a photograph that is analysed: the field's box, the paper's centre crop, or all of it."""

ReducedEffort = Literal["balanced", "fast"]
"""Efforts at which LocalNet analyses only the windows that the model's selection rule selects."""

Effort = Literal["best", "full", ReducedEffort]
"""How LocalNet analyses a photograph: every window in four rotations, every window once, or selected windows
once."""

MapFormat = Literal["png", "png16", "tiff", "npz"]
"""File formats of probability maps: 8-bit PNG, 16-bit PNG, 16-bit TIFF, NumPy."""

ObjectKind = Literal["seg", "sr", "prob"]
"""DICOM objects of results: the masks, the report of their measurements, the probabilities."""

LayoutName = Literal["idrid", "ddr", "fgadr", "e-ophtha"]
"""Data sets whose folder layout is known; any other is described by a file."""

ComparisonTiling = Literal["model", "paper"]
"""How a comparison divides photographs: as the model does, or into the paper's patches without overlap."""

LastStage = Literal["fusion", "joint", "refine"]
"""Stages of training whose weights make a whole network."""

StageChoice = Literal["global", "local", LastStage]
"""Stages of training that may be trained by themselves."""

DrawingTool = Literal["brush", "eraser", "restore"]
"""Tools that correct a result: they paint, erase, or restore what the model found."""

Verdict = Literal["accepted", "rejected", "questionable", "none"]
"""What a person says of a region; none takes an earlier verdict back."""


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise SettingError unless a value is one of the choices: Python itself does not check them.

    Args:
        name: what is chosen, for the message.
        value: what the caller gave.
        choices: all values that there are.
    """
    if value not in choices:
        raise SettingError(f"{name} {value!r} is unknown; choose one of {', '.join(choices)}")
