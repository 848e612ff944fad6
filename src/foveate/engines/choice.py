"""Which engine runs a package, in which precision: the user's choice, or a rule.

Knows:   the engines that exist, and what each needs of the machine.
Ignores: how they compute.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import get_args

import cv2

from foveate.choices import Device, EngineName, Precision, require_choice
from foveate.engines import Engine, openvino
from foveate.errors import SettingError
from foveate.models import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChoice:
    """What a user chose; None leaves the choice to the rule (`resolve`)."""

    engine: EngineName | None = None
    precision: Precision | None = None
    device: Device = "cpu"
    """Where to compute; only PyTorch computes on CUDA."""
    threads: int | None = None
    """Number of threads to compute with; one for each available CPU if None."""


_AVX2 = 11
"""OpenCV's number of the instruction set, CV_CPU_AVX2 (core/cvdef.h)."""

NO_CHOICE = EngineChoice()
"""Everything is left to the rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedEngine:
    """An engine that is ready to run, and what it consists of."""

    engine: Engine
    versions: Mapping[str, str]
    """Versions of the libraries and hardware that compute, by name."""
    is_concurrent: bool = False
    """Whether it computes for several callers at a time; if not, workers need an engine each."""


def resolve(choice: EngineChoice, package: Package) -> tuple[EngineName, Precision]:
    """Return the engine and the precision that run a package on this machine.

    The rule for what the user left open: OpenVINO where it is installed and the processor has AVX2 or
    computes bf16 natively, ONNX Runtime in float32 otherwise. OpenVINO computes in int8 where the processor
    has AVX2 and the package holds int8 networks, else in bf16 where that is native, else in float32: the
    fastest first (docs/results/speed.md).

    Raises:
        SettingError: the engine does not compute in that precision, or is not installed; or there is no such
            engine, precision or device.
    """
    engine, precision = choice.engine, choice.precision
    _require_known(choice)
    if precision == "int8" and (engine not in (None, "openvino") or choice.device == "cuda"):
        remedy = _remedy(is_computed=_is_installed("openvino") and openvino.has_int8(package))
        raise SettingError(f"int8 is computed by OpenVINO on the processor; {remedy}")
    if engine == "torch" or choice.device == "cuda":
        if engine not in (None, "torch"):
            raise SettingError(
                f"engine {engine} computes on the CPU only; leave out --device cuda, or choose --engine torch"
            )
        return "torch", precision or ("float32" if choice.device == "cpu" else "float16")
    if precision == "float16":
        raise SettingError(
            "float16 needs CUDA; choose --engine torch --device cuda, or leave out --precision"
        )
    if engine is None:
        engine = "openvino" if precision in ("bf16", "int8") or _prefers_openvino() else "onnx"
    if engine == "onnx":
        if precision == "bf16":
            remedy = _remedy(is_computed=_is_installed("openvino") and openvino.computes_bf16())
            raise SettingError(f"engine onnx computes in float32 only; {remedy}")
        return "onnx", "float32"
    if precision == "bf16" and not _is_installed("openvino"):  # only OpenVINO knows if the processor has bf16
        raise SettingError(
            "bf16 is computed by OpenVINO, which is not installed; leave out --precision, or, if the "
            "processor computes in bf16, pip install 'foveate[openvino]'"
        )
    return "openvino", precision or _fastest_precision(package)


def _remedy(*, is_computed: bool) -> str:
    """Return what to choose in place of a refused precision: OpenVINO only if it computes in it here."""
    return "choose --engine openvino, or leave out --precision" if is_computed else "leave out --precision"


def _require_known(choice: EngineChoice) -> None:
    """Raise SettingError for an engine, a precision or a device that does not exist."""
    if choice.engine is not None:
        require_choice("engine", choice.engine, get_args(EngineName))
    if choice.precision is not None:
        require_choice("precision", choice.precision, get_args(Precision))
    require_choice("device", choice.device, get_args(Device))


def _prefers_openvino() -> bool:
    """Return whether OpenVINO is installed, and faster than ONNX Runtime on this processor."""
    return _is_installed("openvino") and (has_avx2() or openvino.computes_bf16())


def _fastest_precision(package: Package) -> Precision:
    """Return the precision in which OpenVINO runs a package fastest on this processor."""
    if has_avx2() and openvino.has_int8(package):
        return "int8"
    return "bf16" if openvino.computes_bf16() else "float32"


def misses_openvino(choice: EngineChoice) -> bool:
    """Return whether the rule chose ONNX Runtime only because OpenVINO is not installed."""
    is_left_open = choice.engine is None and choice.device == "cpu" and choice.precision in (None, "float32")
    return is_left_open and has_avx2() and not _is_installed("openvino")


def has_avx2() -> bool:
    """Return whether this is an x86 processor with AVX2, as almost all since 2013 (Intel) and 2015 (AMD)."""
    return cv2.checkHardwareSupport(_AVX2)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def open_engine(package: Package, choice: EngineChoice = NO_CHOICE) -> OpenedEngine:
    """Open a package with the chosen engine.

    Raises:
        PackageError: the engine refuses a graph.
        SettingError: as `resolve`; threads is below 1.
    """
    name, precision = resolve(choice, package)
    if name == "torch":
        network_engine, versions = _import_pytorch().open(
            package, device=choice.device, precision=precision, threads=choice.threads
        )
        return OpenedEngine(engine=network_engine, versions=versions, is_concurrent=True)
    if name == "onnx":
        onnx = importlib.import_module("foveate.engines.onnx")  # takes .15 s, so only where it computes
        engine = onnx.open(package, threads=choice.threads)
        version = {"onnxruntime": onnx.version()}
    else:
        engine = openvino.open(package, precision=precision, threads=choice.threads)
        version = {"openvino": openvino.version()}
    return OpenedEngine(engine=engine, versions={**version, "threads": str(engine.threads)})


def _import_pytorch() -> ModuleType:
    """Import the module that runs models in PyTorch, which is an optional extra.

    Raises:
        SettingError: torch is not installed.
    """
    try:
        return importlib.import_module("foveate.engines.pytorch")
    except ImportError as error:
        raise SettingError(
            f"engine torch is not installed ({error}); pip install 'foveate[train]'"
        ) from error
