"""Photographs by the million: from a folder or a bucket, to a folder or a bucket, by workers anywhere.

Knows:   which crew an address means.
Ignores: how a run goes (`drive`), and what a person types.

    drive.run(programme, Where(on="ray://local", workers=2))

`--on local` needs nothing but pyarrow; Ray and fsspec are imported where an address asks for them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from foveate.cluster.crews import Crew, Threads
from foveate.cluster.worker import Assignment, Worker
from foveate.engines import processors
from foveate.errors import ClusterError, SettingError
from foveate.models import Package

LOCAL = "local"
"""Workers are threads of this process."""

RAY = "ray://"
"""Workers are actors of a Ray cluster; `on_ray` says what may follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Who works: called with what to do, it gets the workers together."""

    on: str = LOCAL
    """'local', 'ray://local', 'ray://auto' or 'ray://HOST[:PORT]'."""
    workers: int | None = None
    """None for as many as there are processors for."""

    def __post_init__(self) -> None:
        if self.on != LOCAL and not (self.on.startswith(RAY) and self.on != RAY):
            raise SettingError(f"on is {self.on}; give local, ray://local, ray://auto or ray://HOST[:PORT]")
        if self.workers is not None and self.workers < 1:
            raise SettingError(f"workers is {self.workers}; give 1 or more")

    @contextmanager
    def __call__(self, assignment: Assignment, package: Package) -> Iterator[Crew]:
        """Yield the workers; at the end they are gone.

        Raises:
            ClusterError: the cluster cannot be reached, or Ray is not installed.
        """
        if self.on == LOCAL:
            yield from self._here(assignment, package)
        else:
            yield from self._on_ray(assignment, package)

    def _here(self, assignment: Assignment, package: Package) -> Iterator[Crew]:
        count = self.most(assignment)
        crew = Threads([Worker(f"w{number}", assignment, package) for number in range(1, count + 1)])
        try:
            yield crew
        finally:
            crew.close()

    def _on_ray(self, assignment: Assignment, package: Package) -> Iterator[Crew]:
        try:
            from foveate.cluster import on_ray  # noqa: PLC0415, an optional extra
        except ImportError as error:
            raise ClusterError(
                f"{self.on}: {error.name} is not installed; pip install 'foveate[cluster]'"
            ) from None
        count = self.most(assignment)
        with on_ray.joined(self.on, count * (assignment.choice.threads or 1)):
            alone = self.on == f"{RAY}local"
            crew = on_ray.RayCrew(assignment, package, count if alone else self.workers)
            try:
                yield crew
            finally:
                crew.close()

    def most(self, assignment: Assignment) -> int:
        """Return how many workers were asked for, or as many as this machine has processors for."""
        if self.workers is not None:
            return self.workers
        return max(1, processors() // (assignment.choice.threads or 1))
