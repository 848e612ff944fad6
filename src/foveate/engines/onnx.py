"""Run a model package's two graphs with ONNX Runtime, on the processor.

Knows:   ONNX Runtime, and the names of a package's graphs, inputs and outputs.
Ignores: what the numbers mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as raised

from foveate.engines import counted
from foveate.engines.graphs import GraphEngine
from foveate.errors import PackageError
from foveate.models import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What one of a package's graphs is called and how it is run."""

    name: str
    """Of its file."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """In the order that `_Graph.run` returns them."""
    options: Mapping[str, str]
    """ONNX Runtime's, of each run."""


GLOBAL = _Plan(
    name="global.onnx",
    inputs=("view",),
    outputs=("probabilities", "features"),
    options={"memory.enable_memory_arena_shrinkage": "cpu:0"},
)
"""GlobalNet. It runs once a photograph: what it computed in goes back to the system, or it would keep 150 MB
through all that follows."""

LOCAL = _Plan(
    name="local.onnx",
    inputs=("windows", "pieces", "rows", "columns"),
    outputs=("probabilities",),
    options={},
)
"""LocalNet and the fusion. It keeps its memory from window to window, and is a fifth faster for it."""

FATAL = 4
"""ONNX Runtime's log level: what goes wrong reaches the caller as an error, nothing is printed beside it."""

ERRORS = (
    raised.EPFail,
    raised.Fail,
    raised.InvalidArgument,
    raised.InvalidGraph,
    raised.InvalidProtobuf,
    raised.NoModel,
    raised.NoSuchFile,
    raised.NotImplemented,
    raised.RuntimeException,
    ValueError,  # a feed that lacks an input
)
"""What ONNX Runtime raises; it gives them no common base."""


def open(package: Package, *, threads: int | None = None) -> GraphEngine:
    """Open a package's graphs. The same numbers each time on one machine with one number of threads.

    Args:
        package: whose files were checked by `models.load`.
        threads: to compute with; all the processors that this process may use, if None.

    Raises:
        PackageError: a graph cannot be opened, or its inputs and outputs have other names.
        SettingError: threads is below 1.
    """
    count = counted(threads)
    return GraphEngine(
        label="onnxruntime float32",
        global_graph=_open(package.folder, GLOBAL, count),
        local_graph=_open(package.folder, LOCAL, count),
        threads=count,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Graph:
    """One open graph."""

    path: Path
    """Its file, for messages."""
    session: onnxruntime.InferenceSession
    outputs: tuple[str, ...]
    """Names, in the order that `run` returns them."""
    options: onnxruntime.RunOptions
    """How each run is done."""

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs for these inputs.

        Raises:
            PackageError: ONNX Runtime refuses them.
        """
        try:
            found: list[np.ndarray] = self.session.run(self.outputs, dict(feed), self.options)
        except ERRORS as error:
            raise _broken(self.path, error) from None
        return found

    def rest(self) -> None:
        """Do nothing: what a run shall give back, it gives back at its end (`GLOBAL`)."""


def _open(folder: Path, plan: _Plan, threads: int) -> _Graph:
    """Open one graph and check its names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains: there is nothing to run side by side
    options.use_deterministic_compute = True
    path = folder / plan.name
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ERRORS as error:
        raise _broken(path, error) from None
    for what, wanted, found in (
        ("inputs", plan.inputs, session.get_inputs()),
        ("outputs", plan.outputs, session.get_outputs()),
    ):
        names = sorted(value.name for value in found)
        if names != sorted(wanted):
            raise PackageError(
                f"{path}: its {what} are {', '.join(names)}, not {', '.join(sorted(wanted))}; export it again"
            )
    run = onnxruntime.RunOptions()
    for key, value in plan.options.items():
        run.add_run_config_entry(key, value)
    return _Graph(path=path, session=session, outputs=plan.outputs, options=run)


def _broken(path: Path, error: Exception) -> PackageError:
    """Say in one line which graph ONNX Runtime refuses and why."""
    why = " ".join(str(error).split())
    return PackageError(
        f"{path}: ONNX Runtime {onnxruntime.__version__} cannot run it ({why[:300]}); export it again"
    )


def version() -> str:
    """Return ONNX Runtime's version."""
    return str(onnxruntime.__version__)
