"""Run a model package's two graphs with ONNX Runtime, on the CPU.

Knows:   ONNX Runtime, and the names of a package's graphs, inputs and outputs.
Ignores: what the numbers mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from foveate.engines.graphs import GraphEngine
from foveate.engines.threads import thread_count
from foveate.errors import PackageError, is_out_of_memory, one_line, raise_if_out_of_memory
from foveate.models import GLOBAL_GRAPH, LOCAL_GRAPH, Package
from foveate.paths import display_path

onnxruntime.disable_telemetry_events()  # the caller may have imported it before Foveate


@dataclass(frozen=True, kw_only=True, slots=True)
class _GraphSpec:
    """What one of a package's graphs is called and how it is run."""

    file: str
    """Name of its file."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """In the order that `_Graph.run` returns them."""
    options: Mapping[str, str]
    """ONNX Runtime's options of each run."""


GLOBAL = _GraphSpec(
    file=GLOBAL_GRAPH,
    inputs=("view",),
    outputs=("probabilities", "features"),
    options={"memory.enable_memory_arena_shrinkage": "cpu:0"},
)
"""GlobalNet. It runs once a photograph: its memory goes back to the system after each run, because it would
otherwise hold 150 MB during all that follows."""

LOCAL = _GraphSpec(
    file=LOCAL_GRAPH,
    inputs=("windows", "pieces", "rows", "columns"),
    outputs=("probabilities",),
    options={},
)
"""LocalNet and the fusion. It keeps its memory from window to window, which makes it a fifth faster."""

FATAL = 4
"""ONNX Runtime's log level: an error reaches the caller as an exception, and nothing else is printed."""

ERRORS = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ValueError,  # a feed that lacks an input
)
"""ONNX Runtime's exceptions, which have no common base class."""


def open(package: Package, *, threads: int | None = None) -> GraphEngine:
    """Open a package's graphs; on one machine, the same number of threads gives the same bits each time.

    Args:
        package: from `models.load`, which checks its files.
        threads: number of threads to compute with; one for each available CPU if None.

    Raises:
        PackageError: a graph cannot be opened, or its inputs and outputs have unexpected names.
        SettingError: threads is below 1.
    """
    count = thread_count(threads)
    return GraphEngine(
        label="onnxruntime float32",
        global_graph=_open(package.folder, GLOBAL, count),
        local_graph=_open(package.folder, LOCAL, count),
        threads=count,
    )


def version() -> str:
    """Return ONNX Runtime's version."""
    return str(onnxruntime.__version__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Graph:
    """One open graph; ONNX Runtime's sessions may be run by several threads at a time."""

    path: Path
    """Its file, for messages."""
    session: onnxruntime.InferenceSession
    outputs: tuple[str, ...]
    """Names, in the order that `run` returns them."""
    options: onnxruntime.RunOptions
    """Options of each run."""

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs for inputs by name.

        Raises:
            PackageError: ONNX Runtime refuses the inputs.
            MemoryError: there is not enough memory.
        """
        try:
            outputs: list[np.ndarray] = self.session.run(self.outputs, dict(feed), self.options)
        except ERRORS as error:
            raise_if_out_of_memory(error)
            raise _graph_error(self.path, error) from None
        return outputs

    def release_memory(self) -> None:
        """Do nothing: `GLOBAL` frees its memory at the end of each run, `LOCAL` keeps it for the next one."""


def _open(folder: Path, spec: _GraphSpec, threads: int) -> _Graph:
    """Open one graph and check its names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains: no two nodes could run in parallel
    options.use_deterministic_compute = True
    path = folder / spec.file
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (*ERRORS, MemoryError) as error:
        raise _graph_error(path, error) from None
    for side, expected, nodes in (
        ("inputs", spec.inputs, session.get_inputs()),
        ("outputs", spec.outputs, session.get_outputs()),
    ):
        names = sorted(node.name for node in nodes)
        if names != sorted(expected):
            raise PackageError(
                f"{display_path(path)}: its {side} are {', '.join(names)}, not "
                f"{', '.join(sorted(expected))}; export it again"
            )
    run_options = onnxruntime.RunOptions()
    for key, value in spec.options.items():
        run_options.add_run_config_entry(key, value)
    return _Graph(path=path, session=session, outputs=spec.outputs, options=run_options)


def _graph_error(path: Path, error: Exception) -> PackageError:
    """Return an error that says in one line which graph ONNX Runtime refuses and why."""
    if is_out_of_memory(error):
        return PackageError(f"{display_path(path)}: not enough memory to open it; free some memory")
    return PackageError(
        f"{display_path(path)}: ONNX Runtime {onnxruntime.__version__} cannot run it "
        f"({one_line(error, 300)}); export it again"
    )
