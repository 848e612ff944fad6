"""An engine made of a package's two graphs, whichever library runs them.

Knows:   the names of the graphs' inputs, and the order of their outputs.
Ignores: how a graph is opened and run.

Shape letters as in `foveate.engines`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from foveate.engines import GlobalOutput, WindowBatch


@runtime_checkable
class Graph(Protocol):
    """One open graph. Several threads may run it."""

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Return the outputs for inputs by name, in the graph's order.

        Raises:
            PackageError: the graph cannot run on these inputs.
            MemoryError: there is not enough memory.
        """
        ...

    def release_memory(self) -> None:
        """Free the memory that the last run left allocated, because the next run is not soon."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphEngine:
    """Two open graphs: an `Engine`."""

    label: str
    """The library and the precision."""
    global_graph: Graph
    """GlobalNet."""
    local_graph: Graph
    """LocalNet and the fusion."""
    threads: int
    """Number of threads that each graph computes with."""

    def run_global(self, view: Float32[np.ndarray, "1 3 V V"]) -> GlobalOutput:
        """Run GlobalNet on a photograph's normalised global view.

        Raises:
            PackageError: the graph cannot run on it.
            MemoryError: there is not enough memory.
        """
        probabilities, features = self.global_graph.run({"view": view})
        return GlobalOutput(probabilities=probabilities[0], features=features[0])

    def run_local(self, batch: WindowBatch) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet and the fusion on some windows; return probabilities, 0 to 1.

        Raises:
            PackageError: the graph cannot run on them.
            MemoryError: there is not enough memory.
        """
        self.global_graph.release_memory()
        feed = {
            "windows": batch.windows,
            "pieces": batch.pieces,
            "rows": batch.rows,
            "columns": batch.columns,
        }
        return self.local_graph.run(feed)[0]

    def release_memory(self) -> None:
        """Free the memory that the last runs left allocated."""
        self.global_graph.release_memory()
        self.local_graph.release_memory()
