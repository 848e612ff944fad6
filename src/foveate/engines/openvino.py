"""Run a model package's two graphs with OpenVINO, on the processor: `pip install 'foveate[openvino]'`.

Knows:   OpenVINO, and the names of a package's graphs, inputs and outputs.
Ignores: what the numbers mean, and when this engine is the best choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from foveate.engines import Precision, counted
from foveate.engines.graphs import GraphEngine
from foveate.errors import PackageError, SettingError
from foveate.models import Package

if TYPE_CHECKING:
    import openvino

HINTS: Mapping[Precision, str] = {"float32": "f32", "bf16": "bf16"}
"""Precision -> what OpenVINO calls it. It must be said: its own choice differs from machine to machine."""


def open(package: Package, *, precision: Precision = "float32", threads: int | None = None) -> GraphEngine:
    """Compile a package's graphs.

    Args:
        package: whose files were checked by `models.load`.
        precision: to compute in; weights are rounded to it.
        threads: to compute with; all the processors that this process may use, if None.

    Raises:
        PackageError: a graph cannot be compiled.
        SettingError: OpenVINO is not installed, the processor does not compute in that precision, or threads
            is below 1.
    """
    count = counted(threads)
    if precision not in HINTS:
        raise SettingError(f"engine openvino computes in {' or '.join(HINTS)}, not in {precision}")
    if precision == "bf16" and not computes_bf16():
        raise SettingError("this processor does not compute in bf16; choose --precision float32")
    module = _openvino()
    _settle(module)
    core = module.Core()
    options = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": count,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # other engines beside it would be pinned to the same processors
    }
    graphs = [_Graph.opened(core, package.folder / name, options) for name in ("global.onnx", "local.onnx")]
    return GraphEngine(
        label=f"openvino {precision}", global_graph=graphs[0], local_graph=graphs[1], threads=count
    )


def version() -> str:
    """Return OpenVINO's version.

    Raises:
        SettingError: it is not installed.
    """
    return str(_openvino().__version__).split("-", maxsplit=1)[0]


def computes_bf16() -> bool:
    """Say whether the processor computes in bf16 by itself, which is what makes it fast.

    Raises:
        SettingError: OpenVINO is not installed.
    """
    found: list[str] = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Graph:
    """One compiled graph."""

    path: Path
    """Its file, for messages."""
    request: "openvino.InferRequest"

    @classmethod
    def opened(cls, core: "openvino.Core", path: Path, options: Mapping[str, object]) -> "_Graph":
        """Read and compile a graph.

        Raises:
            PackageError: OpenVINO refuses it.
        """
        try:
            request = core.compile_model(core.read_model(path), "CPU", dict(options)).create_infer_request()
        except RuntimeError as error:
            raise _broken(path, error) from None
        return cls(path=path, request=request)

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return copies of the outputs for these inputs, in the graph's order.

        Raises:
            PackageError: OpenVINO refuses them.
        """
        try:
            found = self.request.infer(dict(feed), share_inputs=True)
        except (RuntimeError, TypeError, KeyError) as error:
            raise _broken(self.path, error) from None
        return list(found.values())

    def rest(self) -> None:
        """Give back what the last run's layers held, 50 MB of GlobalNet; it takes no time worth naming."""
        self.request.get_compiled_model().release_memory()


def _broken(path: Path, error: Exception) -> PackageError:
    """Say in one line which graph OpenVINO refuses and why."""
    why = " ".join(str(error).split())
    return PackageError(f"{path}: OpenVINO {version()} cannot run it ({why[-300:]}); export it again")


def _settle(module: ModuleType) -> None:
    """Let OpenVINO lay out its tables of data types, by making and reading a tensor.

    It does so when it first needs them, and two threads that need them first wait for each other for ever:
    one holds the table and wants Python's lock, the other the other way round (OpenVINO 2026.4).
    """
    tensor = module.Tensor(np.zeros(1, np.float32), shared_memory=True)
    assert tensor.get_element_type().to_dtype() == tensor.data.dtype


def _openvino() -> ModuleType:
    """Return OpenVINO, or say how it is got."""
    try:
        import openvino  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise SettingError(
            f"engine openvino is not installed ({error}); pip install 'foveate[openvino]'"
        ) from error
    module: ModuleType = openvino
    return module
