"""Process millions of photographs, from one folder or bucket to another, with workers on any machines.

Knows:   which executor an address selects.
Ignores: how a run proceeds (`driver`), and the command line.

    driver.run(job, Placement(on="ray://local", workers=2).start_executor)

`--on local` needs only pyarrow; Ray and fsspec are imported only if an address needs them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from foveate.cluster.addresses import absolute
from foveate.cluster.executors import Executor, ThreadExecutor
from foveate.cluster.worker import Assignment, ShardWorker
from foveate.engines.threads import available_processors
from foveate.errors import ClusterError, SettingError
from foveate.models import Package

LOCAL = "local"
"""Workers are threads of this process."""

RAY_SCHEME = "ray://"
"""Workers are actors of a Ray cluster; `ray_executor` lists what may follow the scheme."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the workers run, and how many there are."""

    on: str = LOCAL
    """'local', 'ray://local', 'ray://auto' or 'ray://HOST[:PORT]'."""
    workers: int | None = None
    """Number of workers; if None, as many as the processors allow."""

    def __post_init__(self) -> None:
        if self.on != LOCAL and not (self.on.startswith(RAY_SCHEME) and self.on != RAY_SCHEME):
            raise SettingError(f"--on is {self.on}; give local, ray://local, ray://auto or ray://HOST[:PORT]")
        if self.workers is not None and self.workers < 1:
            raise SettingError(f"--workers is {self.workers}; give 1 or more")

    @contextmanager
    def start_executor(self, assignment: Assignment, package: Package) -> Iterator[Executor]:
        """Start the workers, yield their executor, and end them afterwards.

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
        assignment = replace(  # actors run in another folder than this process
            assignment, source=absolute(assignment.source), target=absolute(assignment.target)
        )
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
        """Return the requested number of workers, or as many as the processors of this machine allow."""
        if self.workers is not None:
            return self.workers
        return max(1, available_processors() // (assignment.choice.threads or 1))
