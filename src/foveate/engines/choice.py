"""Which engine runs a package, in which precision: as asked for, or by a rule.

Knows:   the engines there are, and what each needs of the machine.
Ignores: how they compute.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from foveate.engines import Device, Engine, Precision, onnx, openvino
from foveate.errors import SettingError
from foveate.models import Package

EngineName = Literal["onnx", "openvino", "torch"]
"""ONNX Runtime, which is always there, OpenVINO, or PyTorch, the only one for CUDA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a person asked for; None leaves it to the rule."""

    engine: EngineName | None = None
    precision: Precision | None = None
    device: Device = "cpu"
    """Where to compute; only PyTorch computes on CUDA."""
    threads: int | None = None
    """To compute with; all processors if None."""


RULE = Choice()
"""Nothing asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """An engine that is ready, and what it is."""

    engine: Engine
    versions: Mapping[str, str]
    """Of what computes, by name."""
    is_shareable: bool = False
    """Whether several threads may use the engine at a time."""


def settled(choice: Choice) -> tuple[EngineName, Precision]:
    """Return engine and precision.

    The rule: OpenVINO in bf16 where it is installed and the processor computes in bf16 by itself, twice as
    fast as anything in float32; ONNX Runtime in float32 otherwise (docs/results/speed.md).

    Raises:
        SettingError: the engine does not compute in that precision, or is not installed.
    """
    engine, precision = choice.engine, choice.precision
    if engine == "torch" or choice.device == "cuda":
        if engine not in (None, "torch"):
            raise SettingError(f"engine {engine} computes on the processor; leave out --device cuda")
        return "torch", precision or ("float32" if choice.device == "cpu" else "float16")
    if precision == "float16":
        raise SettingError("float16 is for CUDA; choose --engine torch --device cuda, or --precision bf16")
    if engine is None:
        there = importlib.util.find_spec("openvino") is not None
        if precision == "bf16" or (precision is None and there and openvino.computes_bf16()):
            return "openvino", "bf16"
        return "onnx", "float32"
    if engine == "onnx":
        if precision == "bf16":
            raise SettingError("engine onnx computes in float32 only; choose --engine openvino for bf16")
        return "onnx", "float32"
    return "openvino", precision or ("bf16" if openvino.computes_bf16() else "float32")


def open(package: Package, choice: Choice = RULE) -> Opened:
    """Open a package with the engine that was chosen.

    Raises:
        PackageError: the engine refuses a graph.
        SettingError: as `settled`; threads is below 1.
    """
    name, precision = settled(choice)
    if name == "torch":
        engine, versions = _pytorch().open(
            package, device=choice.device, precision=precision, threads=choice.threads
        )
        return Opened(engine=engine, versions=versions, is_shareable=True)
    if name == "onnx":
        plain = onnx.open(package, threads=choice.threads)
        return Opened(engine=plain, versions={"onnxruntime": onnx.version(), "threads": str(plain.threads)})
    compiled = openvino.open(package, precision=precision, threads=choice.threads)
    return Opened(
        engine=compiled, versions={"openvino": openvino.version(), "threads": str(compiled.threads)}
    )


def _pytorch() -> ModuleType:
    """Return the module that runs models in PyTorch, which is an optional extra.

    Raises:
        SettingError: torch is not installed.
    """
    try:
        return importlib.import_module("foveate.engines.pytorch")
    except ImportError as error:
        raise SettingError(
            f"engine torch is not installed ({error}); pip install 'foveate[train]'"
        ) from error
