"""The worker process: it decodes, predicts and writes; the server stays responsive and survives crashes.

Knows:   how tasks are received and replies are sent: one line of JSON each, over stdin and stdout.
Ignores: what a task does, and which one is next.

Run as `python -m foveate.server.jobs.worker CONFIG`. When the process that started it ends, for whatever
reason, stdin ends and the worker exits at once. A server that was killed leaves no worker behind.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TextIO

from foveate.concurrency import limit_arenas
from foveate.errors import FoveateError
from foveate.inference import api
from foveate.inference.api import Model
from foveate.server.errors import CRASHED, ServiceError
from foveate.server.jobs import tasks
from foveate.server.jobs.protocol import (
    TASKS,
    Cancel,
    Cancelled,
    Done,
    ExportPhotographTask,
    ExportTask,
    Message,
    ModelInfo,
    Prediction,
    PredictTask,
    ReadMaskTask,
    Ready,
    ReceivedFacts,
    ReceiveTask,
    Refused,
    Task,
    TaskProgress,
    WorkerConfig,
)

ProgressCallback = Callable[[float], None]


class TaskCancelled(Exception):
    """The task was cancelled."""


def open_model(config: WorkerConfig) -> Model | None:
    """Open the model that the server was started with; None for a worker that has none.

    Raises:
        FoveateError: there is no such model, or it does not run on this machine.
    """
    if config.model is None:
        return None
    return api.load(config.model, engine=config.engine, precision=config.precision, threads=config.threads)


def describe(model: Model) -> ModelInfo:
    """Return a model's name, version, digest, field of view and thresholds."""
    package = model.package
    return ModelInfo(
        name=package.name,
        version=package.version,
        sha256=package.digest,
        field=package.contract.field,
        thresholds={code: package.decisions[code].threshold for code in package.contract.lesions},
    )


def do(task: Task, model: Model | None, progress: ProgressCallback) -> ReceivedFacts | Prediction | None:
    """Do one task and return its result.

    Raises:
        ServiceError: the task cannot be done.
        ValueError: the task needs a model, and this worker has none.
    """
    match task:
        case ReceiveTask():
            return tasks.receive(task)
        case PredictTask():
            if model is None:
                raise ValueError("this worker has no model")
            return tasks.predict(task, model, progress)
        case ReadMaskTask():
            tasks.read_mask(task)
        case ExportTask():
            tasks.export(task)
        case ExportPhotographTask():
            tasks.export_photograph(task)
    return None


class _Inbox:
    """Messages from stdin, read in a separate thread so that a cancellation or the end is noticed at once."""

    def __init__(self, stream: TextIO) -> None:
        self.tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            message = TASKS.validate_json(line)
            if isinstance(message, Cancel):
                self.cancelled.set()
            else:
                self.cancelled.clear()
                self.tasks.put(message)
        os._exit(0)  # the server is gone: nobody needs the result


def main() -> None:
    """Do tasks until stdin ends."""
    limit_arenas()
    config = WorkerConfig.model_validate_json(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not be mistaken for a reply
    inbox = _Inbox(sys.stdin)

    def reply(message: Message) -> None:
        out.write(message.model_dump_json() + "\n")
        out.flush()

    def progress(share: float) -> None:
        if inbox.cancelled.is_set():
            raise TaskCancelled
        reply(TaskProgress(share=share))

    try:
        model = open_model(config)
    except FoveateError as error:
        reply(Refused(code="model", message=str(error)))
        return
    reply(Ready(model=None if model is None else describe(model)))
    while True:
        reply(_outcome(inbox.tasks.get(), model, progress))


def _outcome(task: Task, model: Model | None, progress: ProgressCallback) -> Done | Refused | Cancelled:
    """Do a task and return its outcome as a reply."""
    try:
        return Done(result=do(task, model, progress))
    except ServiceError as error:
        return Refused(code=error.code, message=error.message)
    except TaskCancelled:
        return Cancelled()
    except Exception as error:  # a bug: this task fails, and the worker continues
        # Print where it happened, without the message, which might contain a name.
        print(
            f"{type(error).__name__} in a worker\n" + "".join(traceback.format_tb(error.__traceback__)),
            file=sys.stderr,
        )
        return Refused(code="crashed", message=CRASHED)


if __name__ == "__main__":
    main()
