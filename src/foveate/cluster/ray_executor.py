"""An executor whose workers are actors of a Ray cluster.

Knows:   how a cluster is joined or started, and how actors that died are replaced.
Ignores: photographs, and what happens to the shard of a worker that died.

| `--on`             | meaning                                                                         |
|--------------------|---------------------------------------------------------------------------------|
| `ray://local`      | a cluster of this machine alone, started for the run and ended with it          |
| `ray://auto`       | the cluster that this machine is a node of (RAY_ADDRESS, or a local raylet)     |
| `ray://HOST[:PORT]`| a cluster elsewhere, through its Ray Client server; port 10001 if none is given |

Ray's servers listen on all interfaces of a machine and require a token, which Ray creates and keeps in the
home folder. Anyone who has the token can run any code.

Foveate must be installed on every node in the same version; the model package is sent to them. Ray does
not retry the calls of an actor: `driver` decides about retries.
"""

import contextlib
import os
import signal
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from foveate import models
from foveate.cluster.executors import SHARDS_PER_WORKER, ExecutorEvent, WorkerLost
from foveate.cluster.worker import Assignment, Shard, ShardResult, ShardWorker, WorkerReady
from foveate.errors import ClusterError, FoveateError
from foveate.models import Package

SCHEME = "ray://"

OBJECT_STORE_BYTES = 256 << 20
"""Shared memory of a cluster that Foveate starts: it holds one model package and some lists."""

RETRY_SECONDS = 0.5
"""Pause before the next check whether a worker that died is ready again."""

MAX_MISSED = 40
"""Failed readiness checks of every worker after which a run ends; Python starts within 20 seconds."""

CLOSE_SECONDS = 5
"""Time that workers have to remove scratch files before they are ended."""

CLIENT_PORT = 10001
"""Default port of a Ray Client server."""

DEATH_ERRORS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.NodeDiedError,
)
"""Errors that mean that a worker, or its node, died."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageFiles:
    """The files of a model package, as values that can be sent: file name -> content."""

    files: Mapping[str, bytes]

    def unpack(self, folder: Path) -> Package:
        """Write the files into a folder and open the package."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return models.load(folder)


def pack(package: Package) -> PackageFiles:
    """Return the files of a package's folder that are not hidden."""
    return PackageFiles(
        files={path.name: path.read_bytes() for path in package.folder.glob("[!.]*") if path.is_file()}
    )


class WorkerActor:
    """A worker in a process of the cluster.

    Args:
        name: name of the worker.
        assignment: what all workers do.
    """

    def __init__(self, name: str, assignment: Assignment) -> None:
        self._name = name
        self._assignment = assignment
        self._worker: ShardWorker | None = None

    def open_model(self, files: PackageFiles) -> WorkerReady:
        """Open the model, unless it is open already, and return the event that the worker is ready.

        It is not part of the constructor, so that an error reaches the driver unchanged. The model's files
        are deleted as soon as it is open, since actors are killed in the end.
        """
        if self._worker is None:
            with tempfile.TemporaryDirectory(prefix="foveate-", ignore_cleanup_errors=True) as folder:
                self._worker = ShardWorker(self._name, self._assignment, files.unpack(Path(folder)))
        return self._worker.ready_event()

    def close(self) -> None:
        """Remove scratch files."""
        if self._worker is not None:
            self._worker.close()

    def process(self, shard: Shard) -> ShardResult | None:
        """Process a shard; return None if this process has just replaced one that died."""
        return None if self._worker is None else self._worker.process(shard)


@dataclass(slots=True)
class _ActorSlot:
    """The state of one actor in the executor."""

    name: str
    handle: Any
    is_ready: bool = False
    running: int = 0
    """Number of shards that it has."""
    missed: int = 0
    """Failed readiness checks since it was last ready."""
    retry_at: float | None = None
    """Time of the next readiness check; None if none is planned."""


@dataclass(slots=True)
class _PendingCall:
    """The call that an object reference of Ray belongs to."""

    slot: _ActorSlot
    shard: Shard | None
    """None for a readiness check."""


class RayExecutor:
    """Workers on a cluster.

    Args:
        assignment: what the workers do.
        package: the model.
        workers: number of workers; if None, as many as the processors of the cluster allow.
    """

    def __init__(self, assignment: Assignment, package: Package, workers: int | None) -> None:
        self._threads = assignment.choice.threads or 1
        self._actor_class = ray.remote(WorkerActor).options(
            num_cpus=self._threads, max_restarts=-1, max_task_retries=0
        )
        self._assignment = assignment
        self._package_files = ray.put(pack(package))
        self._pending: dict[Any, _PendingCall] = {}
        self._finished: deque[Any] = deque()
        count = max(1, _processor_count() // self._threads) if workers is None else workers
        self._slots = [self._start_actor(f"w{number}") for number in range(1, count + 1)]

    def capacity(self) -> int:
        return sum(SHARDS_PER_WORKER - slot.running for slot in self._slots if slot.is_ready)

    def submit(self, shard: Shard) -> None:
        slot = min((slot for slot in self._slots if slot.is_ready), key=lambda slot: slot.running)
        self._pending[slot.handle.process.remote(shard)] = _PendingCall(slot=slot, shard=shard)
        slot.running += 1

    def next_event(self, timeout: float) -> ExecutorEvent | None:
        self._retry_lost_actors()
        if not self._pending:
            time.sleep(min(timeout, RETRY_SECONDS))
            return None
        if any(slot.retry_at is not None for slot in self._slots):
            timeout = min(timeout, RETRY_SECONDS)
        if not self._finished:
            self._finished.extend(self._wait(timeout))
        return self._event(self._finished.popleft()) if self._finished else None

    def close(self) -> list[ShardResult]:
        references = [reference for reference, call in self._pending.items() if call.shard is not None]
        self._pending.clear()
        self._finished.clear()
        finished = ray.wait(references, num_returns=len(references), timeout=0)[0] if references else []
        results = []
        for reference in finished:
            with contextlib.suppress(ray.exceptions.RayError, FoveateError):  # a resumed run repeats it
                results.append(ray.get(reference))
        closing = [slot.handle.close.remote() for slot in self._slots if slot.is_ready and not slot.running]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        for slot in self._slots:
            ray.kill(slot.handle)
        self._slots = []
        return [result for result in results if result is not None]

    def _wait(self, timeout: float) -> "list[ray.ObjectRef[Any]]":
        """Wait for a finished call, and return all of them: a wait for each of thousands takes long."""
        references = list(self._pending)
        if not ray.wait(references, num_returns=1, timeout=timeout)[0]:
            return []
        return ray.wait(references, num_returns=len(references), timeout=0)[0]

    def _start_actor(self, name: str) -> _ActorSlot:
        slot = _ActorSlot(name=name, handle=self._actor_class.remote(name, self._assignment))
        self._ask_ready(slot)
        return slot

    def _ask_ready(self, slot: _ActorSlot) -> None:
        slot.retry_at = None
        self._pending[slot.handle.open_model.remote(self._package_files)] = _PendingCall(
            slot=slot, shard=None
        )

    def _retry_lost_actors(self) -> None:
        for slot in self._slots:
            if slot.retry_at is not None and time.monotonic() >= slot.retry_at:
                self._ask_ready(slot)

    def _event(self, reference: "ray.ObjectRef[Any]") -> ExecutorEvent | None:
        """Return the event of a finished call; each call has its own event, even if its worker died.

        Of two shards of a worker that died, Ray may have given the second to the process that replaced it.
        """
        call = self._pending.pop(reference)
        slot = call.slot
        if call.shard is not None:
            slot.running -= 1
        try:
            answer: WorkerReady | ShardResult | None = ray.get(reference)
        except DEATH_ERRORS as error:
            return self._handle_death(slot, call.shard, error)
        except ray.exceptions.RayTaskError as error:
            raise _translated(error, slot.name) from None
        if answer is None:
            return WorkerLost(worker=slot.name, shard=call.shard, error_type="RayActorError", first=False)
        if isinstance(answer, WorkerReady):
            slot.is_ready, slot.missed = True, 0
        return answer

    def _handle_death(self, slot: _ActorSlot, shard: Shard | None, error: Exception) -> WorkerLost | None:
        """Plan readiness checks of a worker that died; Ray restarts it, perhaps on another node.

        Raises:
            ClusterError: no worker becomes ready again.
        """
        if shard is None:
            slot.missed += 1
            if min(slot.missed for slot in self._slots) >= MAX_MISSED:
                raise ClusterError(
                    f"no worker stays alive ({_first_line(error)}); give each worker more memory, or read "
                    "Ray's logs"
                )
        if isinstance(error, ray.exceptions.ActorDiedError):  # Ray will not restart it
            slot.handle = self._actor_class.remote(slot.name, self._assignment)
        if slot.is_ready or shard is None:
            slot.retry_at = time.monotonic() + RETRY_SECONDS
        first, slot.is_ready = slot.is_ready, False
        if shard is None and not first:  # it was never ready
            return None
        return WorkerLost(worker=slot.name, shard=shard, error_type=type(error).__name__, first=first)


@contextmanager
def cluster_connection(address: str, processors: int) -> Iterator[None]:
    """Join a cluster, or start one; leave or end it afterwards.

    Args:
        address: the value of `--on`.
        processors: number of processors of a cluster that is started on this machine.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    if address == f"{SCHEME}auto" and ray.is_initialized():  # by a program that uses Foveate as a library
        yield
        return
    with _sigterm_handler_preserved():
        _init(address, processors)
    try:
        yield
    finally:
        ray.shutdown()


def _init(address: str, processors: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == f"{SCHEME}local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Foveate sends nothing over any network
            ray.init(
                address="local",
                num_cpus=processors,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        elif address == f"{SCHEME}auto":
            ray.init(address="auto", **quiet)
        else:
            host = address.removeprefix(SCHEME)
            with warnings.catch_warnings(action="ignore"):  # the error that follows states the same
                ray.init(address=address if ":" in host else f"{address}:{CLIENT_PORT}", **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"{address}: cannot join a Ray cluster ({_first_line(error)}); check the address, that "
            f"Ray {ray.__version__} runs there, and RAY_AUTH_MODE=token with its token if it asks for one"
        ) from error


def _processor_count() -> int:
    """Return the number of processors of the cluster."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 0))


@contextmanager
def _sigterm_handler_preserved() -> Iterator[None]:
    """Restore this process's handler of SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _translated(error: ray.exceptions.RayTaskError, worker: str) -> FoveateError:
    """Return the error that a worker raised: Foveate's own by its type, any other by its last line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FoveateError):
        return type(cause)(f"worker {worker}: {cause}")
    last_line = str(error).strip().splitlines()[-1]
    return ClusterError(
        f"worker {worker} failed: {last_line}; check that Foveate and its extras are installed on every node"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
