"""The worker processes: one that reads uploads and writes files, and some that predict.

Knows:   how to start a worker, send it a task, follow its progress, and replace it when it is lost.
Ignores: what the tasks are.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import ValidationError

import foveate
from foveate.errors import FoveateError
from foveate.server.errors import ServiceError
from foveate.server.jobs.protocol import (
    REPLIES,
    Cancel,
    Cancelled,
    Done,
    Message,
    ModelInfo,
    Prediction,
    Ready,
    ReceivedFacts,
    Refused,
    Task,
    TaskProgress,
    WorkerConfig,
)
from foveate.server.options import Options

ProgressCallback = Callable[[float], None]

Reply = Ready | TaskProgress | Done | Refused | Cancelled

START_SECONDS = 120.0
"""Time limit for a process to open its model, seconds."""

CANCEL_SECONDS = 3.0
"""Grace period of a task after its cancellation, seconds; one window takes less."""


class LostError(Exception):
    """The process ended in the middle of a task: out of memory, or a crash in a library."""


class StartError(LostError):
    """The process could not start, so that the task has not begun: another attempt may succeed later."""


class TooSlowError(Exception):
    """The task exceeded its time limit; the process was killed."""


class CancelledError(Exception):
    """The task was cancelled."""


@runtime_checkable
class Worker(Protocol):
    """A worker, which does one task at a time."""

    def handshake(self) -> ModelInfo | None:
        """Wait until the worker is ready and return the model that it opened; None if it has none.

        Raises:
            FoveateError: the worker cannot start.
        """
        ...

    def do(self, task: Task, progress: ProgressCallback, seconds: float) -> ReceivedFacts | Prediction | None:
        """Do a task and return its result.

        Args:
            task: what to do.
            progress: called with the share that is done, 0 to 1.
            seconds: time limit.

        Raises:
            ServiceError: the task cannot be done.
            StartError: the worker is lost, and cannot be replaced now; the message says why.
            LostError: the worker ended in the middle of the task.
            TooSlowError: the task exceeded its time limit.
            CancelledError: `cancel` was called.
        """
        ...

    def cancel(self) -> None:
        """Cancel the running task, if any: its `do` raises CancelledError."""
        ...

    def close(self) -> None:
        """End the worker; it accepts no further tasks."""
        ...


@dataclass(frozen=True, kw_only=True)
class WorkerPool:
    """All workers of a server."""

    io_worker: Worker
    """Reads uploads and writes files."""
    inference_workers: Sequence[Worker]

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All workers, the I/O worker first."""
        return (self.io_worker, *self.inference_workers)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.close()


def spawn_workers(options: Options) -> WorkerPool:
    """Start the worker processes of a server."""
    return WorkerPool(
        io_worker=WorkerProcess(options, loads_model=False),
        inference_workers=[WorkerProcess(options, loads_model=True) for _ in range(options.workers)],
    )


class WorkerProcess:
    """A `Worker` that is a separate process; a lost process is replaced when the next task arrives."""

    def __init__(self, options: Options, *, loads_model: bool) -> None:
        self._config = WorkerConfig(
            model=str(options.model) if loads_model else None,
            engine=options.engine,
            precision=options.precision,
            threads=options.threads,
        )
        self._lock = threading.Lock()
        self._closed = False
        self._cancelled = False
        self._start()
        self._ready: Ready | None = None

    def handshake(self) -> ModelInfo | None:
        """Wait until the worker is ready and return the model that it opened; see `Worker.handshake`."""
        if self._ready is None:
            try:
                reply = self._receive(lambda share: None, START_SECONDS)
            except ServiceError as error:
                raise FoveateError(error.message) from error
            except (LostError, TooSlowError) as error:
                raise FoveateError("a worker did not start; see the lines above") from error
            assert isinstance(reply, Ready)
            self._ready = reply
        return self._ready.model

    def do(self, task: Task, progress: ProgressCallback, seconds: float) -> ReceivedFacts | Prediction | None:
        """Send the task and wait for its result; see `Worker.do`."""
        with self._lock:
            self._cancelled = False
            if self._process.poll() is not None and not self._closed:
                self._replace()
        self._await_start()
        try:
            self._send(task)
            reply = self._receive(progress, seconds)
            assert isinstance(reply, Done)
            return reply.result
        finally:
            self._cancelled = False

    def _replace(self) -> None:
        """Start a new process in place of the one that has ended.

        Raises:
            StartError: the system cannot start it, such as without memory; the next call tries again.
        """
        _end(self._process)
        self._ready = None
        try:
            self._start()
        except (OSError, RuntimeError) as error:  # RuntimeError: Python cannot start the thread
            _end(self._process)
            raise StartError(f"a worker cannot be started ({error})") from error

    def _await_start(self) -> None:
        """Wait for the handshake.

        Raises:
            StartError: the process ended before it was ready, cannot open the model, or was closed.
        """
        try:
            self.handshake()
        except FoveateError as error:
            raise StartError(str(error)) from error

    def cancel(self) -> None:
        """Ask the process to stop its task, and end the process if it does not."""
        with self._lock:
            self._cancelled = True
        try:
            self._send(Cancel())
        except LostError:
            return
        process = self._process
        timer = threading.Timer(CANCEL_SECONDS, lambda: process.kill() if self._cancelled else None)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """End the process and wait for it."""
        with self._lock:
            self._closed = True
        _end(self._process)

    def _start(self) -> None:
        source = str(Path(foveate.__file__).parent.parent)
        paths = [source, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(  # -P: import nothing from the folder in which the server is started
            [sys.executable, "-P", "-m", "foveate.server.jobs.worker", self._config.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            start_new_session=True,  # so that it can be killed together with the processes that it starts
        )
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        threading.Thread(target=_read_replies, args=(self._process, self._replies), daemon=True).start()

    def _send(self, message: Message) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(message.model_dump_json() + "\n")
            pipe.flush()
        except (BrokenPipeError, ValueError) as error:
            raise LostError from error

    def _receive(self, progress: ProgressCallback, seconds: float) -> Ready | Done:
        """Wait until the task, or the start of the process, is complete, and return the last reply."""
        until = time.monotonic() + seconds
        while True:
            try:
                reply = self._replies.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                self._process.kill()
                self._process.wait()
                raise TooSlowError from None
            match reply:
                case None:
                    self._process.wait()
                    raise CancelledError if self._cancelled else LostError
                case TaskProgress():
                    progress(reply.share)
                case Refused():
                    raise ServiceError(reply.code, reply.message)
                case Cancelled():
                    raise CancelledError
                case Done() if self._cancelled:  # the task was done before the cancellation arrived
                    raise CancelledError
                case _:
                    return reply


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a process and the processes that it has started, and close its stdin.

    Its stdout is closed by the thread that reads it: a process that it has started may hold the other end.
    """
    if sys.platform != "win32" and process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # some data was not sent yet
            process.stdin.close()


def _read_replies(process: "subprocess.Popen[str]", replies: "queue.SimpleQueue[Reply | None]") -> None:
    """Put the replies of a process into a queue, and None when the process has ended."""
    assert process.stdout is not None
    with process.stdout, contextlib.suppress(ValueError, ValidationError):  # an incomplete line
        for line in process.stdout:
            replies.put(REPLIES.validate_json(line))
    replies.put(None)
