"""Photographs by the million: from a folder or a bucket to a folder or a bucket, by workers anywhere.

Knows:   which executor an address means.
Ignores: how a run goes (`driver`), and what a person types.

    driver.run(job, Placement(on="ray://local", workers=2).start_executor)

`--on local` needs nothing but pyarrow; Ray and fsspec are imported where an address asks for them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from foveate.cluster.executors import Executor, ThreadExecutor
from foveate.cluster.worker import Assignment, ShardWorker
from foveate.engines.threads import available_processors
from foveate.errors import ClusterError, SettingError
from foveate.models import Package

LOCAL = "local"
"""Workers are threads of this process."""

RAY_SCHEME = "ray://"
"""Workers are actors of a Ray cluster; `ray_executor` says what may follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where workers run, and how many."""

    on: str = LOCAL
    """'local', 'ray://local', 'ray://auto' or 'ray://HOST[:PORT]'."""
    workers: int | None = None
    """None for as many as there are processors for."""

    def __post_init__(self) -> None:
        if self.on != LOCAL and not (self.on.startswith(RAY_SCHEME) and self.on != RAY_SCHEME):
            raise SettingError(f"on is {self.on}; give local, ray://local, ray://auto or ray://HOST[:PORT]")
        if self.workers is not None and self.workers < 1:
            raise SettingError(f"workers is {self.workers}; give 1 or more")

    @contextmanager
    def start_executor(self, assignment: Assignment, package: Package) -> Iterator[Executor]:
        """Yield the workers, and end them afterwards.

        Raises:
            ClusterError: the cluster cannot be reached, or Ray is not installed.
        """
        if self.on == LOCAL:
            yield from self._start_threads(assignment, package)
        else:
            yield from self._start_actors(assignment, package)

    def _start_threads(self, assignment: Assignment, package: Package) -> Iterator[Executor]:
        names = [f"w{number}" for number in range(1, self._worker_count(assignment) + 1)]
        with ExitStack() as stack:
            workers = [stack.enter_context(closing(ShardWorker(name, assignment, package))) for name in names]
            executor = ThreadExecutor(workers)
            stack.callback(executor.close)
            yield executor

    def _start_actors(self, assignment: Assignment, package: Package) -> Iterator[Executor]:
        try:
            from foveate.cluster import ray_executor  # noqa: PLC0415, an optional extra
        except ImportError as error:
            raise ClusterError(
                f"{self.on}: {error.name} is not installed; pip install 'foveate[cluster]'"
            ) from None
        count = self._worker_count(assignment)
        with ray_executor.cluster_connection(self.on, count * (assignment.choice.threads or 1)):
            is_own_cluster = self.on == f"{RAY_SCHEME}local"
            executor = ray_executor.RayExecutor(
                assignment, package, count if is_own_cluster else self.workers
            )
            try:
                yield executor
            finally:
                executor.close()

    def _worker_count(self, assignment: Assignment) -> int:
        """Return how many workers are asked for, or as many as this machine has processors for."""
        if self.workers is not None:
            return self.workers
        return max(1, available_processors() // (assignment.choice.threads or 1))
