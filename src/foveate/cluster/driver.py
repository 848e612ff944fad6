"""The driver of a run: it submits the photographs in shards, and handles the events of the workers.

Knows:   the order of a run, retries, when a photograph is recorded as failed, when a run must end.
Ignores: where workers run, how stores are implemented, and how a photograph is processed.

A run that was interrupted at any moment can be completed by another run with `resume`. No photograph is then
written a second time, and the tables are the same as those of an uninterrupted run.
"""

import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from foveate import atomic_files
from foveate.cluster import event_log, ledger, summaries
from foveate.cluster.addresses import open_store
from foveate.cluster.event_log import EventLog
from foveate.cluster.executors import Executor, ExecutorEvent, WorkerLost
from foveate.cluster.inventory import Inventory, WorkItem
from foveate.cluster.job import (
    ClusterJob,
    ClusterReport,
    RunStatus,
    list_photographs,
    make_assignment,
    mark_finished,
    remove_partial_files,
    require_free_target,
)
from foveate.cluster.ledger import Ledger, LedgerEntry
from foveate.cluster.stores import FileStore
from foveate.cluster.worker import Assignment, Shard, ShardResult, WorkerReady, failure_entry
from foveate.errors import ClusterError, OutputError
from foveate.inference import photograph_job
from foveate.inference.settings import check_settings, lesion_decisions
from foveate.models import Package
from foveate.version import version
from foveate.writers import PredictRequest

MAX_SHARD_SIZE = 16
"""Maximum number of photographs in a shard. Such a shard takes about a minute, and its messages take
milliseconds. Our choice."""

SHRINK_FACTOR = 4
"""A shard is at most this fraction, 1/SHRINK_FACTOR, of the work left for each worker. Towards the end,
shards shrink to one photograph, so that no worker is busy with a large one while the others are idle.
Source: guided self-scheduling, Polychronopoulos and Kuck 1987, doi:10.1109/TC.1987.5009495; there the factor
is 1."""

MAX_REFUSALS = 10
"""Number of consecutive photographs that fail because source or target refuse, after which a run ends: so
many attempts in a row say that no other photograph would succeed."""

POLL_SECONDS = 1.0
"""Longest wait for an event before the status is reported again."""

STARTUP_SECONDS = 900
"""Time limit for the first worker to be ready: a cluster that grows on demand needs minutes for a machine."""

ExecutorFactory = Callable[[Assignment, Package], AbstractContextManager[Executor]]
"""Starts workers, and ends them when the context ends."""

StatusCallback = Callable[[RunStatus], None]


def run(
    job: ClusterJob,
    start_executor: ExecutorFactory,
    *,
    log: str | None = None,
    on_status: StatusCallback = lambda status: None,
) -> ClusterReport:
    """Process all photographs of a source and write their results to a target.

    A photograph that fails is tried again after all others; after its last attempt it is recorded as failed
    with its error. If a worker dies, its photographs are submitted to other workers one by one,
    so that a photograph that kills workers is identified.

    Args:
        job: the source, the target, the model and the settings.
        start_executor: starts the workers.
        log: path of a file for JSON lines, 'stderr' for standard error, or None for no log.
        on_status: called with the current status after each event, and at least every POLL_SECONDS.

    Raises:
        PhotographError: the source holds no photograph.
        LesionError, SettingError: the settings do not fit the model; nothing was computed.
        OutputError: the target is not free or cannot be written, or a run without workers is writing to it.
        ClusterError: the cluster or a bucket cannot be reached, or the workers have different versions.
    """
    check_settings(job.package, job.settings)  # fails now rather than at the first photograph
    target = open_store(job.target)
    started = datetime.now(UTC)
    name = ledger.run_name(started)
    with ExitStack() as stack:
        if target.folder is not None:  # several drivers may share it, but not with a run without workers
            stack.enter_context(atomic_files.reserve(target.folder, shared=True))
        require_free_target(job, target)
        events = stack.enter_context(event_log.open_event_log(log, name))
        inventory = stack.enter_context(list_photographs(job))
        startup = time.monotonic()
        executor = stack.enter_context(start_executor(make_assignment(job), job.package))
        context = DriverContext(
            job=job, inventory=inventory, target=target, executor=executor, log=events, on_status=on_status
        )
        driver = Driver(context, name)
        try:
            driver.start(startup)
            driver.process_all()
        except BaseException as error:
            driver.abort(error)
            raise
        if job.share.of == 1:
            remove_partial_files(target)
            lesions = tuple(lesion_decisions(job.package, job.settings))
            summaries.write(inventory, target, driver.request(), driver.report(), started, lesions=lesions)
        driver.log_end()
        return driver.report()


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverContext:
    """The objects that a driver needs."""

    job: ClusterJob
    inventory: Inventory
    target: FileStore
    executor: Executor
    log: EventLog
    on_status: StatusCallback


class Driver:
    """Submits shards until every photograph is done or recorded as failed.

    Args:
        context: the job, and the objects that the driver needs.
        name: name of the run.
    """

    def __init__(self, context: DriverContext, name: str) -> None:
        self._job = context.job
        self._inventory = context.inventory
        self._target = context.target
        self._executor = context.executor
        self._log = context.log
        self._on_status = context.on_status
        self._ledger = Ledger(context.target, name)
        self._retry_items: deque[WorkItem] = deque()
        self._running: dict[int, Shard] = {}
        self._last_number = 0
        self._pending = context.inventory.pending()
        self._pending_count = 0
        self._ready: dict[str, WorkerReady] = {}
        self._first: WorkerReady | None = None
        self._counts: Counter[str] = Counter()
        self._total = context.inventory.total()[0]
        self._refusals = 0
        self._started = time.monotonic()
        self._startup_seconds = 0.0

    def start(self, startup: float) -> None:
        """Wait for a worker, check that an earlier run made the same request, and mark what is done.

        Args:
            startup: when the workers were started, by the monotonic clock.
        """
        while self._first is None:
            event = self._executor.next_event(POLL_SECONDS)
            if event is not None:
                self._handle(event)
            elif time.monotonic() - startup > STARTUP_SECONDS:
                raise ClusterError(
                    f"no worker has started within {STARTUP_SECONDS} s; check that the cluster has free "
                    "processors"
                )
        self._started = time.monotonic()
        self._startup_seconds = self._started - startup
        self._log.set_key(self._ledger.match_request(self.request()))
        if self._job.resume:
            self._counts["done_before"] = mark_finished(self._inventory, self._ledger, self._target)
        self._log_start()
        self._report_status()

    def process_all(self) -> None:
        """Submit all photographs, and handle the events until all are done."""
        self._pending_count = self._inventory.remaining()[0]
        while self._pending_count or self._retry_items or self._running:
            while self._executor.capacity() > 0 and (self._pending_count or self._retry_items):
                self._submit(self._next_items())
            event = self._executor.next_event(POLL_SECONDS)
            if event is not None:
                self._handle(event)
            self._report_status()
        self._ledger.flush()

    def abort(self, error: BaseException) -> None:
        """End the workers, and record the photographs that are complete."""
        entries = [entry for result in self._executor.close() for entry in result.entries]
        refused = contextlib.suppress(OutputError, ClusterError)  # most likely the reason why the run ends
        for entry in entries:
            if entry.row.status == "ok":
                with refused:
                    self._record(entry)
        with refused:
            self._ledger.flush()
        counts = self._counts
        with refused:
            self._log.write("stopped", why=type(error).__name__, ok=counts["ok"], failed=counts["failed"])

    def log_end(self) -> None:
        """Log the end of the run."""
        status = self._status()
        self._log.write(
            "ended",
            ok=status.ok,
            failed=status.failed,
            kept=status.done_before,
            seconds=round(status.seconds, 3),
            starting=round(self._startup_seconds, 3),
            driver_peak_mb=event_log.peak_memory_mb(),
        )

    def request(self) -> PredictRequest:
        """Return the request that applies to each photograph."""
        label = self._first_worker().label
        return photograph_job.predict_request(
            "", self._job.package, label, self._job.settings, self._job.format
        )

    def report(self) -> ClusterReport:
        """Return the outcome of the run so far."""
        return ClusterReport(
            status=self._status(),
            skipped=self._inventory.skipped,
            startup_seconds=self._startup_seconds,
            has_tables=self._job.share.of == 1,
            versions=self._first_worker().versions,
        )

    def _next_items(self) -> tuple[WorkItem, ...]:
        """Return the next items to submit: first those never submitted, then the failures one by one."""
        if not self._pending_count:
            return (self._retry_items.popleft(),)
        count = shard_size(self._pending_count, len(self._ready))
        items = tuple(itertools.islice(self._pending, count))
        self._pending_count -= len(items)
        return items

    def _submit(self, items: tuple[WorkItem, ...]) -> None:
        self._last_number += 1
        shard = Shard(number=self._last_number, items=items)
        self._running[shard.number] = shard
        self._executor.submit(shard)

    def _handle(self, event: ExecutorEvent) -> None:
        if isinstance(event, WorkerReady):
            self._add_worker(event)
        elif isinstance(event, WorkerLost):
            self._resubmit(event)
        else:
            self._finish(event)

    def _add_worker(self, worker: WorkerReady) -> None:
        """Register a worker, and raise ClusterError if its results would differ from those of the others."""
        first = worker if self._first is None else self._first
        if (worker.foveate, worker.label) != (version(), first.label):
            raise ClusterError(
                f"worker {worker.worker} on {worker.host} has Foveate {worker.foveate}, {worker.label}, but "
                f"others have Foveate {version()}, {first.label}; install the same on all nodes"
            )
        self._first = first
        self._ready[worker.worker] = worker
        self._log.write("joined", worker=worker.worker, host=worker.host, process=worker.process)

    def _resubmit(self, lost: WorkerLost) -> None:
        """Submit the photographs of a worker that died again, each in a shard of its own.

        It is unknown which photograph of a shard killed the worker. If the shard that it was processing has
        only one, its death counts as a failure of that photograph. A shard that was only queued there had not
        begun, so its photographs keep their attempts.
        """
        self._ready.pop(lost.worker, None)
        items = () if lost.shard is None else lost.shard.items
        self._counts["workers_lost"] += lost.first
        self._log.write("lost", worker=lost.worker, why=lost.error_type, photographs=len(items))
        if lost.shard is not None:
            del self._running[lost.shard.number]
        is_culprit = lost.first and len(items) == 1
        if not is_culprit:
            self._retry_items.extend(replace(item, has_result=True) for item in items)
        for item in items if is_culprit else ():
            path = open_store(self._job.source).display_path(item.path)
            error = (
                f"{path}: the worker that processed it died ({lost.error_type}); start fewer workers per node"
            )
            entry = failure_entry(item, error, error_type=lost.error_type, worker=lost.worker)
            self._settle(item, entry)

    def _finish(self, result: ShardResult) -> None:
        """Record a finished shard."""
        del self._running[result.shard.number]
        for item, entry in zip(result.shard.items, result.entries, strict=True):
            self._settle(item, entry)
        self._log.write(
            "shard", worker=result.worker, photographs=len(result.entries), peak_mb=result.peak_mb
        )

    def _settle(self, item: WorkItem, entry: LedgerEntry) -> None:
        """Record the outcome of a photograph, or queue it for another attempt.

        Raises:
            OutputError: no other photograph can be processed, for example because the disk is full.
            ClusterError: the same, for example because a bucket cannot be reached.
        """
        is_refused = entry.error_type == OutputError.__name__
        self._refusals = self._refusals + 1 if is_refused or entry.fatal_error else 0
        is_retried = entry.row.status == "failed" and entry.attempts < self._job.max_attempts
        if self._refusals >= MAX_REFUSALS or (entry.fatal_error and not is_retried):
            error_class = OutputError if is_refused else ClusterError
            raise error_class(entry.fatal_error or entry.row.error)
        if is_retried:
            self._retry(item, entry)
        else:
            self._record(entry)

    def _retry(self, item: WorkItem, entry: LedgerEntry) -> None:
        """Queue a photograph for another attempt."""
        self._counts["retries"] += 1
        self._log.write(
            "again", photograph=self._log.pseudonym(item.name), kind=entry.error_type, tries=entry.attempts
        )
        self._retry_items.append(replace(item, failed_attempts=entry.attempts, has_result=True))

    def _record(self, entry: LedgerEntry) -> None:
        """Write the outcome of a photograph to the inventory, the ledger and the log."""
        line = ledger.encode(entry)
        self._inventory.set_line(entry.row.name, line)
        self._ledger.add(line)
        self._counts[entry.row.status] += 1
        self._log.write(
            "photograph",
            photograph=self._log.pseudonym(entry.row.name),
            status=entry.row.status,
            kind=entry.error_type,
            tries=entry.attempts,
            worker=entry.worker,
            seconds={phase: round(seconds, 3) for phase, seconds in entry.seconds.items()},
            lay=entry.reused,
        )

    def _log_start(self) -> None:
        total, size_bytes = self._inventory.total()
        share = self._job.share
        self._log.write(
            "began",
            foveate=version(),
            model=self._job.package.digest,
            engine=self._first_worker().label,
            photographs=total,
            bytes=size_bytes,
            left=self._inventory.remaining()[0],
            share=f"{share.index}/{share.of}",
        )

    def _first_worker(self) -> WorkerReady:
        if self._first is None:
            raise ClusterError("no worker has started yet; wait for one")
        return self._first

    def _status(self) -> RunStatus:
        counts = self._counts
        return RunStatus(
            total=self._total,
            done_before=counts["done_before"],
            ok=counts["ok"],
            failed=counts["failed"],
            retries=counts["retries"],
            workers_lost=counts["workers_lost"],
            workers=len(self._ready),
            seconds=time.monotonic() - self._started,
        )

    def _report_status(self) -> None:
        self._on_status(self._status())


def shard_size(pending: int, workers: int) -> int:
    """Return the number of photographs in the next shard.

    Args:
        pending: number of photographs that were never submitted.
        workers: number of workers that are ready.
    """
    return max(1, min(MAX_SHARD_SIZE, pending // (SHRINK_FACTOR * max(1, workers))))
