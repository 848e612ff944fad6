"""The queue of photographs: which wait, which are being predicted, and what happens to those that fail.

Knows:   the queue, its limit, what a lost or slow worker means, and when results expire.
Ignores: HTTP, and how a photograph is predicted.

Every accepted photograph ends as done, or as failed with a reason. The queue is kept on the disk, so that a
killed server continues with it. A photograph that ends a worker three times is recorded as failed. No
error ends a thread of the queue: after a full disk or a database error, it waits and tries again.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from foveate.choices import Part
from foveate.errors import OutputError
from foveate.inference.settings import FieldChoice
from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.jobs.events import EventBroker
from foveate.server.jobs.progress import ProgressRegister
from foveate.server.jobs.protocol import (
    Prediction,
    PredictTask,
    ReadMaskTask,
    ReceivedFacts,
    ReceiveTask,
    Task,
)
from foveate.server.jobs.steady_clock import SteadyClock
from foveate.server.jobs.worker_pool import (
    CancelledError,
    LostError,
    StartError,
    TooSlowError,
    Worker,
    WorkerPool,
)
from foveate.server.monitoring import Metrics
from foveate.server.options import Limits
from foveate.server.review.current_counts import uncorrected_counts
from foveate.server.storage import names, refusals
from foveate.server.storage.counts import finish
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, NewPhotograph, Record
from foveate.server.storage.facts import Failure
from foveate.server.storage.remains import delete_remains

ATTEMPTS = 3
"""Attempts before a photograph that ends its worker, or the server, is recorded as failed."""

IO_ATTEMPTS = 2
"""Attempts at a task that ends the I/O worker; few, since a client waits for the response."""

SWEEP_SECONDS = 60.0
"""Seconds between two searches for expired photographs."""

RETRY_SECONDS = 5.0
"""Seconds that a thread waits after an error of the disk or the database."""

DELETED_SECONDS = 7 * 86400.0
"""Minimum time for which the identifiers of deleted photographs are kept, seconds (our choice): a client that
repeats an upload meanwhile adds none of them again."""

EXPECTED_SECONDS = 10.0
"""Estimated seconds for one photograph, until the first has been predicted."""

CLOSE_SECONDS = 1.5
"""Time that the threads have to end when the server stops, seconds."""

LOG = logging.getLogger("foveate.server")

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """The identifier, the name and the settings with which a photograph is submitted."""

    id: str
    """The identifier that it gets: of several submissions with the same one, only the first adds it."""
    name: str
    """The name that people read."""
    batch: str | None = None
    field: FieldChoice = "auto"
    region: Part | None = None


class JobQueue:
    """The queue, and the threads that work on it."""

    def __init__(
        self,
        database: Database,
        data_dir: DataDir,
        workers: WorkerPool,
        limits: Limits,
        *,
        events: EventBroker,
        metrics: Metrics,
        progress: ProgressRegister,
        on_change: Callable[[Record], None],
        on_result: Callable[[str], None],
        on_delete: Callable[[str], None],
    ) -> None:
        """Create the queue; `start` starts its threads.

        Args:
            database: stores the queue.
            data_dir: holds the photographs' folders.
            workers: receive and predict photographs.
            limits: limits on the queue, on the time for a photograph, and on the disk.
            events: receives deletions, progress and the queue's length.
            metrics: counts finished photographs.
            progress: holds the progress of each photograph that is being predicted.
            on_change: called with a photograph that has changed.
            on_result: called with the identifier of a photograph that has a new result, before `on_change`.
            on_delete: called with the identifier of a photograph that was deleted.
        """
        self._database = database
        self._data_dir = data_dir
        self._workers = workers
        self._limits = limits
        self._events = events
        self._metrics = metrics
        self._progress = progress
        self._on_change = on_change
        self._on_result = on_result
        self._on_delete = on_delete
        self._io_lock = threading.Lock()
        self._submit_lock = threading.Lock()
        self._receiving = 0  # photographs that are being received; each has a place in the queue already
        self._receiving_lock = threading.Lock()
        self._running: dict[str, Worker] = {}
        self._wake = threading.Condition()
        self._closing = threading.Event()
        self._seconds = EXPECTED_SECONDS
        self._threads: list[threading.Thread] = []

    def start(self, *, forget_missing: bool = False) -> None:
        """Put photographs that were being predicted back into the queue, and start the threads.

        Args:
            forget_missing: delete photographs whose files are missing from the database.

        Raises:
            OutputError: files of photographs that the database lists are missing, and not to be forgotten.
            OSError, sqlite3.Error: the data folder cannot be used.
        """
        self._complete_deletions()
        if forget_missing:
            self._forget_missing()
        self._require_files()
        self._database.resume()
        self._data_dir.keep_only(frozenset(self._database.identifiers()), self._database.removed())
        self._database.forget_removed(time.time() - DELETED_SECONDS)
        for worker in self._workers.inference_workers:
            self._start_thread(self._work, worker)
        self._start_thread(self._sweep)

    def close(self) -> None:
        """Stop the queue; unfinished photographs are predicted after the next start.

        The attempt that is interrupted does not count.
        """
        self._closing.set()
        with self._wake:
            self._wake.notify_all()
        self._workers.close()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        try:
            self._database.release()
        except sqlite3.Error as error:  # the next start puts them back, with the attempt counted
            LOG.error("%s while the queue stopped", type(error).__name__)

    @property
    def is_closing(self) -> bool:
        """Return whether the server is stopping."""
        return self._closing.is_set()

    def lengths(self) -> dict[str, int]:
        """Return how many photographs wait, how many are being predicted, and the seconds until all are done.

        The seconds are estimated from the latest predictions.
        """
        waiting, under_way = self._database.states()["queued"], len(self._running)
        left = (waiting + under_way / 2) * self._seconds / len(self._workers.inference_workers)
        return {"waiting": waiting, "under_way": under_way, "seconds": round(left)}

    # Submitting

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Reserve a place in the queue while a photograph is received.

        Raises:
            ServiceError: the queue or the disk is full.
        """
        with self._receiving_lock:
            waiting = self._database.states()["queued"] + self._receiving
            if waiting >= self._limits.waiting:
                seconds = max(1, min(60, round(self._seconds / len(self._workers.inference_workers))))
                raise errors.queue_full(waiting, seconds)
            if self._data_dir.free() < self._limits.free:
                raise errors.no_space()
            self._receiving += 1
        try:
            yield
        finally:
            with self._receiving_lock:
                self._receiving -= 1

    def submitted(self, identifier: str) -> Record | None:
        """Return the photograph that was submitted with an identifier; None if none was.

        Raises:
            ServiceError: it was deleted since, within the last `DELETED_SECONDS`.
        """
        record = self._database.get(identifier)
        if record is None and self._database.was_removed(identifier):
            advice = "it was deleted since it was uploaded; upload it as a new one to add it again"
            raise errors.not_found("photograph", advice)
        return record

    def submit(self, upload: Path, submission: Submission) -> Record:
        """Read an uploaded photograph from the server's disk, and put it into the queue.

        A client that got no answer submits the photograph again, maybe while the first submission is under
        way: it is added once.

        Args:
            upload: the uploaded file; it is moved.
            submission: the photograph's identifier, its name and its settings.

        Raises:
            ServiceError: the file cannot be read as a photograph, there is no such batch, or the photograph
                was submitted before and deleted since.
        """
        with self._submit_lock:  # held while the file is read: the I/O worker reads one at a time anyway
            known = self.submitted(submission.id)
            if known is not None:
                return known
            record = self._receive(upload, submission)
        self._on_change(record)
        self._notify()
        return record

    def _receive(self, upload: Path, submission: Submission) -> Record:
        directory = self._data_dir.photograph(submission.id)
        if submission.batch is not None and self._database.batch(submission.batch) is None:
            raise errors.not_found("batch")
        try:
            directory.folder.mkdir()
            directory.unfinished.touch()
            upload.rename(directory.upload)
            received = self.run_io_task(ReceiveTask(folder=directory.folder, pixels=self._limits.pixels))
            assert isinstance(received, ReceivedFacts)
            record = self._add(submission, received)
        except BaseException:
            self._data_dir.delete(directory.folder)
            raise
        self._data_dir.mark_finished(directory)
        return record

    def _add(self, submission: Submission, received: ReceivedFacts) -> Record:
        """Put a photograph into the database under a key that its batch does not use yet.

        The caller holds the lock of submissions, so that no two photographs of a batch get the same key.
        """
        key = names.key(submission.name)
        if submission.batch is not None:
            key = names.unused_key(key, self._database.keys(submission.batch))
        photograph = NewPhotograph(
            id=submission.id,
            batch=submission.batch,
            name=submission.name,
            key=key,
            field=submission.field,
            region=submission.region,
            sha256=received.sha256,
            width=received.width,
            height=received.height,
            spacing_mm=received.spacing,
            submitted=time.time(),
            eye=received.eye or names.eye(submission.name),
        )
        try:
            return self._database.add(photograph)
        except sqlite3.IntegrityError as error:  # the batch was deleted while the file was read
            raise errors.not_found("batch") from error

    def resubmit(self, record: Record, choice: FieldChoice, region: Part | None) -> Record:
        """Put a photograph that is done or failed into the queue again.

        Raises:
            ServiceError: the photograph is in the queue, is being predicted or does not exist, or the queue
                is full.
        """
        with self.reserve():
            changed = self._database.requeue(record.id, choice, region)
        if changed is None:
            if self._database.get(record.id) is None:
                raise errors.not_found("photograph")
            raise errors.not_ready("it is in the queue already; wait until it is done")
        self._data_dir.delete(self._data_dir.photograph(record.id).exports)  # of the earlier prediction
        self._on_change(changed)
        self._notify()
        return changed

    def run_io_task(self, task: Task) -> ReceivedFacts | Prediction | None:
        """Let the I/O worker do a task, one at a time, and return its result.

        Raises:
            ServiceError: the task is refused, or cannot be done.
        """
        with self._io_lock:
            if self._closing.is_set():
                raise errors.stopping()
            try:
                return self._try_io_task(task)
            except ServiceError as error:
                _log_disk(error)
                raise errors.internal() if error.code == "crashed" else error from error
            except StartError as error:
                if self._closing.is_set():
                    raise errors.stopping() from error
                LOG.error("%s", error)
                raise errors.no_worker() from error
            except (LostError, TooSlowError, CancelledError) as error:
                if self._closing.is_set():
                    raise errors.stopping() from error
                raise _lost(task) from error

    def _try_io_task(self, task: Task) -> ReceivedFacts | Prediction | None:
        """Let the I/O worker do a task; repeat it if the worker is lost, which may have had another cause.

        Raises:
            ServiceError: the task is refused.
            StartError: the worker cannot be replaced, in any attempt.
            LostError, TooSlowError, CancelledError: as `Worker.do`, in the last attempt.
        """
        for _ in range(1, IO_ATTEMPTS):
            try:
                return self._workers.io_worker.do(task, lambda share: None, self._limits.seconds)
            except StartError:
                raise
            except LostError:
                pass
            if self._closing.is_set():
                raise LostError
            LOG.warning(
                "the I/O worker ended in the task '%s'; it is replaced, and the task repeated", task.task
            )
        return self._workers.io_worker.do(task, lambda share: None, self._limits.seconds)

    # Deleting

    def delete(self, identifier: str) -> bool:
        """Delete a photograph, its copies and all their files; return whether it existed.

        On a full disk the files go first: the database needs some space to delete anything.
        """
        record = self._database.get(identifier)
        if record is None:
            return False
        try:
            deleted = self._database.delete(identifier)
        except sqlite3.Error as error:
            if refusals.database_error(error, self._data_dir).code != "no_space":
                raise
            for each in (identifier, *self._database.copies(identifier)):
                self._data_dir.begin_deletion(each)
            deleted = self._database.delete(identifier)
        for each in deleted:
            worker = self._running.get(each)
            if worker is not None:
                worker.cancel()
            self._data_dir.delete(self._data_dir.photograph(each).folder)
            self._data_dir.end_deletion(each)
            self._on_delete(each)
            self._events.publish("deleted", {"id": each, "batch": record.batch})  # copies are in the same one
        return bool(deleted)

    def delete_batch(self, batch: str) -> None:
        """Delete a batch with all its photographs, those submitted meanwhile included."""
        while not self._database.delete_batch(batch):
            for identifier in self._database.identifiers(batch):
                self.delete(identifier)
        self._events.publish("batch-deleted", {"id": batch})

    def _complete_deletions(self) -> None:
        """Delete the photographs whose files were deleted before the server was killed."""
        for identifier in self._data_dir.begun_deletions().intersection(self._database.identifiers()):
            if not self._data_dir.has_upload(identifier):  # otherwise somebody has put the files back
                self.delete(identifier)

    def _missing(self) -> list[str]:
        """Return the photographs whose files are missing, although nobody has deleted them."""
        return [each for each in self._database.identifiers() if not self._data_dir.has_upload(each)]

    def _require_files(self) -> None:
        """Check that all photographs have their files.

        Raises:
            OutputError: some have not; the line gives identifiers, since names may be those of patients.
        """
        missing = self._missing()
        if missing:
            raise OutputError(
                f"{self._data_dir.photographs}: lacks the files of {len(missing)} of the "
                f"{len(self._database.identifiers())} photographs that {self._data_dir.database.name} lists "
                f"(such as {', '.join(missing[:2])}); restore this folder from the same backup, or start "
                "once with --forget-missing, which deletes them with their corrections and gradings"
            )

    def _forget_missing(self) -> None:
        """Delete the photographs whose files are missing from the database; what is left goes to unknown/.

        Their identifiers are not kept, so that folders that turn up later are set aside, not deleted.
        """
        missing = self._missing()
        for identifier in missing:
            for each in self._database.delete(identifier, remembered=False):
                self._data_dir.set_aside_photograph(each)
                self._on_delete(each)
        if missing:
            LOG.warning(
                "%d photographs were deleted from the database: their files were missing", len(missing)
            )

    # Working

    def _start_thread(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify_all()
        self._events.publish("queue", self.lengths())

    def _persistently(self, action: Callable[[], ResultT]) -> ResultT | None:
        """Repeat an action that needs the disk until it succeeds; return None if the server stops first."""
        while not self._closing.is_set():
            try:
                return action()
            except (sqlite3.Error, OSError, OutputError) as error:
                LOG.error("%s in the queue; trying again in %g s", type(error).__name__, RETRY_SECONDS)
                self._closing.wait(RETRY_SECONDS)
        return None

    def _work(self, worker: Worker) -> None:
        """Predict one photograph after another."""
        while not self._closing.is_set():
            record = self._persistently(lambda: self._database.take(time.time()))
            if record is None:
                with self._wake:
                    if not self._closing.is_set():
                        self._wake.wait(timeout=1.0)
                continue
            self._predict_and_record(worker, record)

    def _predict_and_record(self, worker: Worker, record: Record) -> None:
        """Predict a photograph; whatever happens, its state is recorded."""
        try:
            self._predict(worker, record)
        except Exception as error:  # a bug: this photograph fails, and the queue continues
            LOG.error("%s while predicting a photograph", type(error).__name__)
            self._persistently(lambda: self._fail(record, "crashed", errors.CRASHED))
        finally:
            self._persistently(lambda: delete_remains(self._database, self._data_dir, record.id))
        self._persistently(lambda: self._events.publish("queue", self.lengths()))

    def _predict(self, worker: Worker, record: Record) -> None:
        if record.attempts > ATTEMPTS:
            line = (
                f"its analysis crashed {ATTEMPTS} times; scale the photograph down, or report the error with "
                "the server's log, without the photograph"
            )
            self._persistently(lambda: self._fail(record, "crashed", line))
            return

        started = time.monotonic()
        try:
            prediction = self._run(worker, record)
        except ServiceError as error:
            _log_disk(error)
            code, message = error.code, error.message
            if code == "no_space":  # not the photograph's fault: it waits until there is space again
                self._persistently(lambda: self._return(record, attempts=record.attempts - 1))
                self._closing.wait(RETRY_SECONDS)
            else:
                self._persistently(lambda: self._fail(record, code, message))
        except TooSlowError:
            line = f"its analysis took longer than {self._limits.seconds:g} s; scale it down"
            self._persistently(lambda: self._fail(record, "too_slow", line))
        except StartError as error:  # not the photograph's fault: it waits until a worker starts again
            if not self._closing.is_set():
                LOG.error("%s; trying again in %g s", error, RETRY_SECONDS)
            self._persistently(lambda: self._return(record, attempts=record.attempts - 1))
            self._closing.wait(RETRY_SECONDS)
        except (LostError, CancelledError):
            if not self._closing.is_set():
                LOG.warning("a worker ended while it analysed a photograph; it is replaced")
            self._persistently(lambda: self._return(record, attempts=record.attempts))
        else:
            seconds = time.monotonic() - started
            self._seconds += (seconds - self._seconds) / 4
            self._persistently(lambda: self._finish(record, prediction, seconds))

    def _run(self, worker: Worker, record: Record) -> Prediction:
        """Let a worker predict a photograph, which can be cancelled meanwhile.

        It is marked as running only until the worker ends: afterwards it may return to the queue, and another
        worker may take it at once.

        Raises:
            ServiceError, LostError, TooSlowError, CancelledError, StartError: as `Worker.do`.
        """

        def progress(share: float) -> None:
            self._progress.set(record.id, share)
            payload = {"id": record.id, "batch": record.batch, "progress": round(share, 3)}
            self._events.publish("progress", payload)

        self._running[record.id] = worker
        try:
            self._on_change(record)
            prediction = worker.do(self._task(record), progress, self._limits.seconds)
            assert isinstance(prediction, Prediction)
            return prediction
        finally:
            self._running.pop(record.id, None)
            self._progress.clear(record.id)

    def _task(self, record: Record) -> PredictTask:
        return PredictTask(
            folder=self._data_dir.photograph(record.id).folder,
            key=record.key,
            field=record.field,
            region=record.region,
            pixels=self._limits.pixels,
        )

    def _finish(self, record: Record, prediction: Prediction, seconds: float) -> None:
        """Record a prediction; do nothing if the photograph was deleted meanwhile."""
        latest = self._database.get(record.id)
        if latest is None:
            return
        facts, counts = prediction.facts, prediction.counts
        current = uncorrected_counts(replace(latest, facts=facts), counts)
        finished = finish(self._database, record.id, facts, counts, current, now=time.time())
        self._metrics.photograph_finished(seconds, "done")
        if finished is not None:
            self._on_result(record.id)
            self._on_change(finished)

    def _return(self, record: Record, attempts: int) -> None:
        """Put a photograph that was not predicted back at its place in the queue."""
        returned = self._database.update(record.id, state="queued", started=None, attempts=attempts)
        if returned is not None:
            self._on_change(returned)

    def _fail(self, record: Record, code: str, message: str) -> None:
        """Record that a photograph has failed, and why."""
        failure = Failure(code=code, message=message)
        failed = self._database.update(record.id, state="failed", error=failure, finished=time.time())
        self._metrics.photograph_finished(0.0, "failed")
        if failed is not None:
            self._on_change(failed)

    def _sweep(self) -> None:
        """Delete expired photographs at regular intervals, while the clock can be believed."""
        clock = SteadyClock.start(time.time(), time.monotonic())
        while not self._closing.wait(SWEEP_SECONDS if self._limits.keep else None):
            self._sweep_by(clock, time.time(), time.monotonic())

    def _sweep_by(self, clock: SteadyClock, now: float, monotonic: float) -> None:
        """Delete expired photographs if the clock has run steadily; log a jump."""
        jump = clock.look(now, monotonic)
        if jump:
            LOG.warning(
                "the machine's clock has jumped by %.0f seconds; nothing expires for an hour. If the clock "
                "is wrong, set it right before that",
                jump,
            )
        if clock.is_steady:
            self._persistently(lambda: self.expire(now))

    def expire(self, now: float) -> None:
        """Delete the photographs that have expired by a time, in seconds since 1970."""
        if self._limits.keep is not None:
            for identifier in self._database.expired(now - self._limits.keep.total_seconds()):
                self.delete(identifier)


def _lost(task: Task) -> ServiceError:
    """Return the error for a task of some type that ended the I/O worker or took too long."""
    LOG.warning("the task '%s' ended the I/O worker, or took too long; the worker is replaced", task.task)
    match task:
        case ReceiveTask():
            line = "it takes too much time or memory to read; export it again, or scale it down"
            return ServiceError("unreadable", line)
        case ReadMaskTask():
            line = "the mask takes too much time or memory to read; save it again as a plain PNG"
            return ServiceError("unreadable", line)
        case _:
            line = "its files take too much time or memory to write; try again, and see the server's log"
            return ServiceError("internal", line)


def _log_disk(error: ServiceError) -> None:
    """Log errors of the disk; all others are about a photograph and concern only the person who sent it."""
    if error.code in {"no_space", "storage"}:
        LOG.error("%s", error.message)
