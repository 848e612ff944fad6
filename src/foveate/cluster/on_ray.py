"""Workers as actors on a Ray cluster.

Knows:   how a cluster is joined or started, how actors die and come back.
Ignores: photographs, and what is done about a shard that came back.

| `--on`             | means                                                                         |
|--------------------|-------------------------------------------------------------------------------|
| `ray://local`      | a cluster of this machine alone, started for the run and ended with it        |
| `ray://auto`       | the cluster that this machine is a node of (RAY_ADDRESS, or a local raylet)   |
| `ray://HOST[:PORT]`| a cluster elsewhere, through its Ray Client server; port 10001 if none is given |

Ray's servers listen on all interfaces of a machine and ask for a token, which Ray itself makes and keeps in
the home folder: whoever has it may run what he likes.

Foveate must be installed on every node, in the same version; the model package is sent. Nothing that an actor
does is retried by Ray: `drive` knows what a retry means, Ray does not.
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
from foveate.cluster.crews import AHEAD, Event, Lost
from foveate.cluster.worker import Assignment, Done, Joined, Shard, Worker
from foveate.errors import ClusterError, FoveateError
from foveate.models import Package

SCHEME = "ray://"

OBJECTS = 256 << 20
"""Bytes of shared memory of a cluster that we start: it holds one model package and some lists."""

PAUSE = 0.5
"""Seconds before a worker that died is asked again whether it is back."""

PATIENCE = 40
"""So often: a process of Python starts within 20 seconds, on whatever machine."""

LEAVE_SECONDS = 5
"""That workers have to tidy up before they are ended."""

CLIENT_PORT = 10001
"""Where a Ray Client server listens unless told otherwise."""

GONE = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.NodeDiedError,
)
"""What is raised where a worker, or its node, died."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """A model package to be sent: file's name -> content."""

    files: Mapping[str, bytes]

    def unpacked(self, folder: Path) -> Package:
        """Write the files into a folder and open it."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return models.load(folder)


def parcel(package: Package) -> Parcel:
    """Return a package's files: those of its folder that are not hidden."""
    return Parcel(
        files={path.name: path.read_bytes() for path in package.folder.glob("[!.]*") if path.is_file()}
    )


class Actor:
    """What runs in a process of the cluster.

    Args:
        name: of the worker.
        assignment: what to do.
    """

    def __init__(self, name: str, assignment: Assignment) -> None:
        self._name = name
        self._assignment = assignment
        self._opened: list[Worker] = []
        self._folder = tempfile.TemporaryDirectory(prefix="foveate-")

    def join(self, sent: Parcel) -> Joined:
        """Open the model, unless that is done, and say so.

        A call of its own rather than part of the start, so that what goes wrong arrives as it is.
        """
        if not self._opened:
            package = sent.unpacked(Path(self._folder.name))
            self._opened.append(Worker(self._name, self._assignment, package))
        return self._opened[0].joined()

    def leave(self) -> None:
        """Remove what lies here only for the work's sake."""
        for worker in self._opened:
            worker.close()
        self._folder.cleanup()

    def look(self, shard: Shard) -> Done | None:
        """Look at a shard; None where this process has just taken the place of one that died."""
        return self._opened[0].look(shard) if self._opened else None


@dataclass(slots=True)
class _Seat:
    """One actor, as the crew sees it."""

    name: str
    handle: Any
    ready: bool = False
    under_way: int = 0
    missed: int = 0
    """How often it was asked in vain, since it last answered."""
    ask_at: float | None = None
    """When to ask again."""


@dataclass(slots=True)
class _Asked:
    """What a reference of Ray's stands for."""

    seat: _Seat
    shard: Shard | None
    """None for the question whether the worker is ready."""


class RayCrew:
    """Workers on a cluster.

    Args:
        assignment: what they do.
        package: the model.
        workers: how many; None for as many as the cluster has processors for.
    """

    def __init__(self, assignment: Assignment, package: Package, workers: int | None) -> None:
        self._threads = assignment.choice.threads or 1
        self._make = ray.remote(Actor).options(num_cpus=self._threads, max_restarts=-1, max_task_retries=0)
        self._assignment = assignment
        self._sent = ray.put(parcel(package))
        self._waiting: dict[Any, _Asked] = {}
        self._answered: deque[Any] = deque()
        count = max(1, _processors() // self._threads) if workers is None else workers
        self._seats = [self._seat(f"w{number}") for number in range(1, count + 1)]

    def room(self) -> int:
        return sum(AHEAD - seat.under_way for seat in self._seats if seat.ready)

    def send(self, shard: Shard) -> None:
        seat = min((seat for seat in self._seats if seat.ready), key=lambda seat: seat.under_way)
        self._waiting[seat.handle.look.remote(shard)] = _Asked(seat=seat, shard=shard)
        seat.under_way += 1

    def next(self, seconds: float) -> Event | None:
        self._ask_again()
        if not self._waiting:
            time.sleep(min(seconds, PAUSE))
            return None
        if any(seat.ask_at is not None for seat in self._seats):
            seconds = min(seconds, PAUSE)
        if not self._answered:
            self._answered.extend(self._gathered(seconds))
        return self._event(self._answered.popleft()) if self._answered else None

    def close(self) -> list[Done]:
        left = [reference for reference, asked in self._waiting.items() if asked.shard is not None]
        self._waiting.clear()
        self._answered.clear()
        done = ray.wait(left, num_returns=len(left), timeout=0)[0] if left else []
        finished = []
        for reference in done:
            with contextlib.suppress(
                ray.exceptions.RayError, FoveateError
            ):  # it is lost, and will be looked for
                finished.append(ray.get(reference))
        leaving = [seat.handle.leave.remote() for seat in self._seats if seat.ready and not seat.under_way]
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)
        for seat in self._seats:
            ray.kill(seat.handle)
        self._seats = []
        return [done for done in finished if done is not None]

    def _gathered(self, seconds: float) -> "list[ray.ObjectRef[Any]]":
        """Wait for an answer; return all that are there: of thousands, asking for each would take long."""
        every = list(self._waiting)
        if not ray.wait(every, num_returns=1, timeout=seconds)[0]:
            return []
        return ray.wait(every, num_returns=len(every), timeout=0)[0]

    def _seat(self, name: str) -> _Seat:
        seat = _Seat(name=name, handle=self._make.remote(name, self._assignment))
        self._ask(seat)
        return seat

    def _ask(self, seat: _Seat) -> None:
        seat.ask_at = None
        self._waiting[seat.handle.join.remote(self._sent)] = _Asked(seat=seat, shard=None)

    def _ask_again(self) -> None:
        for seat in self._seats:
            if seat.ask_at is not None and time.monotonic() >= seat.ask_at:
                self._ask(seat)

    def _event(self, reference: "ray.ObjectRef[Any]") -> Event | None:
        """Return what a finished call means; each is taken for itself, even where its worker died.

        Of two shards of a worker that died, Ray may have given the second to the process that took its place.
        """
        asked = self._waiting.pop(reference)
        seat = asked.seat
        if asked.shard is not None:
            seat.under_way -= 1
        try:
            answer: Joined | Done | None = ray.get(reference)
        except GONE as error:
            return self._lost(seat, asked.shard, error)
        except ray.exceptions.RayTaskError as error:
            raise _meant(error, seat.name) from None
        if answer is None:
            return Lost(worker=seat.name, shard=asked.shard, why="RayActorError", first=False)
        if isinstance(answer, Joined):
            seat.ready, seat.missed = True, 0
        return answer

    def _lost(self, seat: _Seat, shard: Shard | None, error: Exception) -> Lost | None:
        """Have a worker that died asked until it is back; Ray starts a process for it, perhaps elsewhere.

        Raises:
            ClusterError: none of the workers comes back.
        """
        if shard is None:
            seat.missed += 1
            if min(one.missed for one in self._seats) >= PATIENCE:
                raise ClusterError(
                    f"no worker stays alive ({_first_line(error)}); give each more memory, or see Ray's logs"
                )
        if isinstance(error, ray.exceptions.ActorDiedError):  # for good: Ray will not bring it back
            seat.handle = self._make.remote(seat.name, self._assignment)
        if seat.ready or shard is None:
            seat.ask_at = time.monotonic() + PAUSE
        first, seat.ready = seat.ready, False
        if shard is None and not first:  # it was not here yet
            return None
        return Lost(worker=seat.name, shard=shard, why=type(error).__name__, first=first)


@contextmanager
def joined(address: str, processors: int) -> Iterator[None]:
    """Join a cluster, or start one, and leave or end it afterwards.

    Args:
        address: as `--on` takes it.
        processors: of a cluster that is started here.

    Raises:
        ClusterError: it cannot be reached.
    """
    if address == f"{SCHEME}auto" and ray.is_initialized():  # by whoever calls us as a library
        yield
        return
    with _signals_kept():
        _init(address, processors)
    try:
        yield
    finally:
        ray.shutdown()


def _init(address: str, processors: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == f"{SCHEME}local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Foveate asks nothing of any network
            ray.init(
                address="local",
                num_cpus=processors,
                include_dashboard=False,
                object_store_memory=OBJECTS,
                **quiet,
            )
        elif address == f"{SCHEME}auto":
            ray.init(address="auto", **quiet)
        else:
            host = address.removeprefix(SCHEME)
            with warnings.catch_warnings(action="ignore"):  # the error that follows says the same
                ray.init(address=address if ":" in host else f"{address}:{CLIENT_PORT}", **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"{address}: no Ray cluster can be joined there ({_first_line(error)}); check the address, that "
            f"Ray {ray.__version__} runs there, and RAY_AUTH_MODE=token with its token if it asks for one"
        ) from error


def _processors() -> int:
    """Return how many processors the cluster has."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 0))


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep how this process answers to SIGTERM: Ray sets an answer of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _meant(error: ray.exceptions.RayTaskError, worker: str) -> FoveateError:
    """Return what a worker raised: an error of ours as it is, anything else with its last line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FoveateError):
        return type(cause)(f"worker {worker}: {cause}")
    last = str(error).strip().splitlines()[-1]
    return ClusterError(
        f"worker {worker} failed: {last}; is Foveate with its extras installed on every node?"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
