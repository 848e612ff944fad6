"""The processes that work for the server: one desk that receives and writes, and some that look.

Knows:   how to start one, hand it a task, hear how far it is, and replace it when it is lost.
Ignores: what the tasks are.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import foveate
from foveate.errors import FoveateError
from foveate.server.jobs.tasks import Facts, Refused
from foveate.server.options import Options

Watch = Callable[[float], None]

STARTING = 120.0
"""Seconds that a process may take to open its model."""

GRACE = 3.0
"""Seconds to heed a cancel in: a window takes less."""


class LostError(Exception):
    """The process ended in the middle of a task: out of memory, or a crash in a library."""


class TooSlowError(Exception):
    """The task took longer than it may; the process was ended."""


class CancelledError(Exception):
    """The task was no longer wanted."""


@runtime_checkable
class Hand(Protocol):
    """Does one task at a time."""

    def introduce(self) -> Facts:
        """Say what it is, once it is ready.

        Raises:
            FoveateError: it cannot start.
        """
        ...

    def do(self, task: Facts, watch: Watch, seconds: float) -> Facts:
        """Do a task.

        Args:
            task: what to do.
            watch: told the share that is done.
            seconds: that it may take.

        Raises:
            Refused: it cannot be done, by name.
            LostError, TooSlowError, CancelledError: as they say.
        """
        ...

    def cancel(self) -> None:
        """Let the task under way, if any, end in CancelledError."""
        ...

    def close(self) -> None:
        """End it for good."""
        ...


class Process:
    """A `Hand` that is a process of its own; a lost one is replaced when the next task comes."""

    def __init__(self, options: Options, *, looks: bool) -> None:
        self._config = {
            "model": str(options.model) if looks else None,
            "engine": options.engine,
            "precision": options.precision,
            "threads": options.threads,
        }
        self._lock = threading.Lock()
        self._closed = False
        self._cancelled = False
        self._start()
        self._facts: Facts | None = None

    def introduce(self) -> Facts:
        """Wait until it is ready, and say which model it opened."""
        if self._facts is None:
            try:
                self._facts = self._answer(lambda share: None, STARTING)
            except Refused as refused:
                raise FoveateError(refused.message) from refused
            except (LostError, TooSlowError) as error:
                raise FoveateError("a worker did not start; see the lines above") from error
        return self._facts

    def do(self, task: Facts, watch: Watch, seconds: float) -> Facts:
        """Hand it a task and wait for what comes of it."""
        with self._lock:
            self._cancelled = False
            if self._process.poll() is not None and not self._closed:
                _end(self._process)
                self._start()
                self._facts = None
        self.introduce()
        try:
            self._tell(task)
            return self._answer(watch, seconds)
        finally:
            self._cancelled = False

    def cancel(self) -> None:
        """Ask it to stop, and end it where it does not."""
        with self._lock:
            self._cancelled = True
        try:
            self._tell({"cancel": True})
        except LostError:
            return
        process = self._process
        timer = threading.Timer(GRACE, lambda: process.kill() if self._cancelled else None)
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
        self._process = subprocess.Popen(
            [sys.executable, "-m", "foveate.server.jobs.worker", json.dumps(self._config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        )
        self._answers: queue.SimpleQueue[Facts | None] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()

    def _tell(self, what: Facts) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(what) + "\n")
            pipe.flush()
        except (BrokenPipeError, ValueError) as error:
            raise LostError from error

    def _answer(self, watch: Watch, seconds: float) -> Facts:
        """Wait for the end of a task."""
        until = time.monotonic() + seconds
        while True:
            try:
                told = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                self._process.kill()
                self._process.wait()
                raise TooSlowError from None
            if told is None:
                self._process.wait()
                raise CancelledError if self._cancelled else LostError
            if "progress" in told:
                watch(told["progress"])
            elif "refused" in told:
                raise Refused(told["refused"]["code"], told["refused"]["message"])
            elif "cancelled" in told:
                raise CancelledError
            else:
                done: Facts = told["done"]
                return done


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process, if it has not ended, and whatever leads to it."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was still to be sent to it
                stream.close()


def _listen(process: "subprocess.Popen[str]", answers: "queue.SimpleQueue[Facts | None]") -> None:
    """Pass on what a process says; None when it has ended."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            answers.put(json.loads(line))
    except ValueError:  # closed under us, or torn in the middle of a line
        pass
    answers.put(None)
