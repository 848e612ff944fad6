"""Run a model package's two graphs with OpenVINO, on the CPU: `pip install 'foveate[openvino]'`.

Knows:   OpenVINO, and the names of a package's graphs, inputs and outputs.
Ignores: what the numbers mean, and when this engine is the best choice.
"""

import functools
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from foveate.choices import Precision
from foveate.engines import decoder_rewriting, telemetry
from foveate.engines.graphs import GraphEngine
from foveate.engines.threads import thread_count
from foveate.errors import PackageError, SettingError, is_out_of_memory, one_line, raise_if_out_of_memory
from foveate.models import GLOBAL_GRAPH, LOCAL_GRAPH, Package
from foveate.paths import display_path

if TYPE_CHECKING:
    import openvino

PRECISION_HINTS: Mapping[Precision, str] = {"float32": "f32", "bf16": "bf16"}
"""Precision -> OpenVINO's name of it. It is always passed, because the default differs between machines."""

INT8_FILES: Mapping[str, str] = {GLOBAL_GRAPH: "global-int8.xml", LOCAL_GRAPH: "local-int8.xml"}
"""Graph -> its quantised form, in packages that have one. It is in OpenVINO's own format: the weights are in
a file of the same name that ends in .bin."""

ALL_INT8_FILES = frozenset(
    name.replace(".xml", ending) for name in INT8_FILES.values() for ending in (".xml", ".bin")
)
"""The files of both quantised graphs."""

_CORE_LOCK = threading.Lock()
"""Held while the core is made, so that only one thread makes it."""


def open(package: Package, *, precision: Precision = "float32", threads: int | None = None) -> GraphEngine:
    """Compile a package's graphs.

    Args:
        package: from `models.load`, which checks its files.
        precision: to compute in; weights are rounded to it. int8 needs a package with quantised graphs; their
            layers that are not quantised compute in bf16 where the CPU does, in float32 otherwise.
        threads: number of threads to compute with; one for each available CPU if None.

    Raises:
        PackageError: a graph cannot be compiled.
        SettingError: OpenVINO is not installed, the CPU does not compute in that precision, the package has
            no quantised graphs, or threads is below 1.
    """
    count = thread_count(threads)
    label = f"openvino {precision}"
    files: Mapping[str, str] = {name: name for name in INT8_FILES}
    if precision == "int8":
        files, precision = _int8_files(package), "bf16" if computes_bf16() else "float32"
        label = f"{label} with {precision}"
    _require_computed(precision)
    core = _core()
    options = {
        "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
        "INFERENCE_NUM_THREADS": count,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # several engines in one process would be pinned to the same CPUs
    }
    with ThreadPoolExecutor(2) as pool:  # OpenVINO compiles a graph on one thread
        global_graph, local_graph = (
            pool.submit(
                _Graph.compile, core, package.folder / files[name], options, channels_last=channels_last
            )
            for name, channels_last in ((GLOBAL_GRAPH, True), (LOCAL_GRAPH, False))
        )
    return GraphEngine(
        label=label, global_graph=global_graph.result(), local_graph=local_graph.result(), threads=count
    )


def _require_computed(precision: Precision) -> None:
    """Raise SettingError unless OpenVINO and this CPU compute in a precision."""
    if precision not in PRECISION_HINTS:
        known = " or ".join((*PRECISION_HINTS, "int8"))
        raise SettingError(f"engine openvino does not compute in {precision}; choose --precision {known}")
    if precision == "bf16" and not computes_bf16():
        raise SettingError("this processor does not compute in bf16; choose --precision float32")


def has_int8(package: Package) -> bool:
    """Return whether a package holds int8 networks.

    Files that its manifest does not name were never checked, and are none of it: a release that was
    interrupted may have left them.
    """
    return package.files.keys() >= ALL_INT8_FILES


def _int8_files(package: Package) -> Mapping[str, str]:
    """Return the names of a package's quantised graphs.

    Raises:
        SettingError: it has none.
    """
    if not has_int8(package):
        raise SettingError(
            f"model {package.name} {package.version} holds no int8 networks; leave out --precision"
        )
    return INT8_FILES


def read_graph(path: Path) -> "openvino.Model":
    """Read a graph and rewrite its decoder blocks.

    Raises:
        RuntimeError: OpenVINO refuses it.
        SettingError: OpenVINO is not installed.
    """
    model = _core().read_model(path)
    decoder_rewriting.rewrite(_import_openvino(), model)
    return model


def version() -> str:
    """Return OpenVINO's version.

    Raises:
        SettingError: it is not installed.
    """
    return str(_import_openvino().__version__).split("-", maxsplit=1)[0]


def computes_bf16() -> bool:
    """Return whether the CPU computes in bf16 natively; where it emulates bf16, nothing is gained.

    Raises:
        SettingError: OpenVINO is not installed.
    """
    capabilities: list[str] = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


@dataclass(kw_only=True, slots=True)
class _Graph:
    """One compiled graph."""

    path: Path
    """Its file, for messages."""
    compiled: "openvino.CompiledModel"
    channels_last: bool
    """Whether the channels of its outputs are next to each other in memory; their axes keep their order."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held during a run: an infer request runs one inference at a time, and several would gain nothing,
    because the graph is compiled for a single stream."""
    request: "openvino.InferRequest | None" = None
    """It holds the outputs of the last run; None if there was no run since their memory was freed."""

    @classmethod
    def compile(
        cls, core: "openvino.Core", path: Path, options: Mapping[str, object], *, channels_last: bool = False
    ) -> "_Graph":
        """Read a graph, rewrite its decoder blocks and compile it.

        Raises:
            PackageError: OpenVINO refuses it.
        """
        try:
            model = read_graph(path)
            if channels_last:
                model = _with_channels_last(model)
            compiled = core.compile_model(model, "CPU", dict(options))
        except (RuntimeError, MemoryError) as error:
            raise _graph_error(path, error) from None
        return cls(path=path, compiled=compiled, channels_last=channels_last)

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return copies of the outputs for inputs by name, in the graph's order.

        Raises:
            PackageError: OpenVINO refuses the inputs.
            MemoryError: there is not enough memory.
        """
        try:
            with self.lock:
                self.request = self.request or self.compiled.create_infer_request()
                outputs = list(self.request.infer(dict(feed), share_inputs=True).values())
        except (RuntimeError, TypeError, KeyError) as error:
            raise_if_out_of_memory(error)
            raise _graph_error(self.path, error) from None
        return [np.moveaxis(output, -1, 1) for output in outputs] if self.channels_last else outputs

    def release_memory(self) -> None:
        """Free what layers and outputs of the last run hold, 80 MB of GlobalNet, in negligible time."""
        with self.lock:
            if self.request is not None:
                self.request = None
                self.compiled.release_memory()


def _with_channels_last(model: "openvino.Model") -> "openvino.Model":
    """Return a graph whose outputs are stored with the channels last, as its convolutions store them.

    Putting the channels first takes a seventh of GlobalNet's time.
    """
    module = _import_openvino()
    steps = module.preprocess.PrePostProcessor(model)
    for number in range(len(model.outputs)):
        output = steps.output(number)
        output.model().set_layout(module.Layout("NCHW"))
        output.tensor().set_layout(module.Layout("NHWC"))
    rewritten: openvino.Model = steps.build()
    return rewritten


def _graph_error(path: Path, error: Exception) -> PackageError:
    """Return an error that says in one line which graph OpenVINO refuses and why."""
    if is_out_of_memory(error):
        return PackageError(f"{display_path(path)}: not enough memory to open it; free some memory")
    return PackageError(
        f"{display_path(path)}: OpenVINO {version()} cannot run it ({one_line(error)[-300:]}); "
        "export it again"
    )


def _core() -> "openvino.Core":
    """Return the one core of this process, which lives as long as the process.

    OpenVINO's CPU plugin gives the thread that loads it another stack for signals, and unmaps that stack when
    the last core is released, by whatever thread. The next signal that Python handles then ends the process
    with a segmentation fault (OpenVINO 2026.4).

    Raises:
        SettingError: OpenVINO is not installed.
    """
    with _CORE_LOCK:
        return _make_core()


@functools.cache  # it alone does not keep two threads from making one each
def _make_core() -> "openvino.Core":
    module = _import_openvino()
    _initialise_types(module)
    core: openvino.Core = module.Core()
    return core


def _initialise_types(module: ModuleType) -> None:
    """Make OpenVINO build its tables of data types, by making and reading a tensor.

    It builds them when it first needs them. Two threads that need them first deadlock: one holds the table
    and waits for Python's lock, the other holds Python's lock and waits for the table (OpenVINO 2026.4).
    """
    tensor = module.Tensor(np.zeros(1, np.float32), shared_memory=True)
    assert tensor.get_element_type().to_dtype() == tensor.data.dtype


def _import_openvino() -> ModuleType:
    """Import OpenVINO, which is an optional extra, without its telemetry.

    Raises:
        SettingError: it is not installed.
    """
    try:
        return telemetry.import_openvino()
    except ImportError as error:
        raise SettingError(
            f"engine openvino is not installed ({error}); pip install 'foveate[openvino]'"
        ) from error
