"""A package's two graphs, opened: an engine, whichever library runs them.

Knows:   the names of the graphs' inputs, and which output is what.
Ignores: how a graph is opened and run.

Shape letters as in `foveate.engines`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from foveate.engines import Glance


@runtime_checkable
class Graph(Protocol):
    """One open graph."""

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Return the outputs for inputs by their names, in the graph's order.

        Raises:
            PackageError: the graph cannot run on them.
        """
        ...

    def rest(self) -> None:
        """Give back the memory that the last run still holds: the next one is not soon."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphEngine:
    """Two open graphs: an `Engine`."""

    label: str
    """What computes, and how precisely."""
    global_graph: Graph
    """GlobalNet."""
    local_graph: Graph
    """LocalNet and the fusion."""
    threads: int
    """That each graph computes with."""

    def glance(self, view: Float32[np.ndarray, "1 3 V V"]) -> Glance:
        """Run GlobalNet on a photograph's prepared view; see `Engine.glance`.

        Raises:
            PackageError: the graph cannot run on it.
        """
        probabilities, features = self.global_graph.run({"view": view})
        return Glance(probabilities=probabilities[0], features=features[0])

    def look(
        self,
        windows: Float32[np.ndarray, "N 3 S T"],
        pieces: Float32[np.ndarray, "N C G G2"],
        rows: Float32[np.ndarray, "N S G"],
        columns: Float32[np.ndarray, "N T G2"],
    ) -> Float32[np.ndarray, "N K S T"]:
        """Run LocalNet and the fusion on prepared windows; see `Engine.look`.

        Raises:
            PackageError: the graph cannot run on them.
        """
        self.global_graph.rest()
        feed = {"windows": windows, "pieces": pieces, "rows": rows, "columns": columns}
        return self.local_graph.run(feed)[0]
