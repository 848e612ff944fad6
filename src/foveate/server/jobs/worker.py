"""The process that decodes, looks and writes, so that the server answers meanwhile and outlives any crash.

Knows:   how tasks come in and results go out: a line of JSON each, over stdin and stdout.
Ignores: what a task does, and which comes next.

Run as `python -m foveate.server.jobs.worker CONFIG`. When whoever started it is gone, however that
came, its stdin ends, and it ends at once: no worker is left behind by a server that was killed.
"""

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from foveate import models
from foveate.errors import FoveateError
from foveate.inference import api
from foveate.inference.api import Model
from foveate.server.jobs import tasks
from foveate.server.jobs.tasks import Facts, Refused
from foveate.server.storage.data_dir import Place

Watch = Callable[[float], None]


class Cancelled(Exception):
    """The task under way is no longer wanted."""


def open_model(told: Mapping[str, Any]) -> Model:
    """Open the model that the server was started with.

    Raises:
        FoveateError: there is no such model, or it does not run here.
    """
    return api.load(
        told["model"], engine=told["engine"], precision=told["precision"], threads=told["threads"]
    )


def introduce(model: Model) -> Facts:
    """Say which model it is."""
    package = model.package
    return {
        "name": package.name,
        "version": package.version,
        "sha256": package.digest,
        "field": package.contract.field,
        "thresholds": {code: package.decisions[code].threshold for code in package.contract.lesions},
    }


def do(task: Mapping[str, Any], model: Model | None, watch: Watch) -> Facts:
    """Do one task.

    Raises:
        Refused: as `tasks`.
        KeyError: there is no such task.
    """
    place = Place(folder=Path(task["folder"]))
    if task["task"] == "receive":
        return tasks.receive(place, task["pixels"])
    if task["task"] == "write":
        tasks.write(place, tasks.Writing.of(task["writing"]), Path(task["out"]))
        return {}
    if task["task"] == "export":
        tasks.export(place, Path(task["out"]))
        return {}
    if task["task"] == "look" and model is not None:
        return tasks.look(place, tasks.Look.of(task["look"]), model, watch)
    raise KeyError(task["task"])


class _Inbox:
    """What comes in over stdin, read in a thread of its own so that a cancel or the end is seen at once."""

    def __init__(self, stream: TextIO) -> None:
        self.tasks: queue.SimpleQueue[Facts] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            told = json.loads(line)
            if "cancel" in told:
                self.cancelled.set()
            else:
                self.cancelled.clear()
                self.tasks.put(told)
        os._exit(0)  # whoever started us is gone: nothing that we do is wanted


def main() -> None:
    """Do tasks until stdin ends."""
    told = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not be taken for a result
    inbox = _Inbox(sys.stdin)

    def say(what: Facts) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    def watch(share: float) -> None:
        if inbox.cancelled.is_set():
            raise Cancelled
        say({"progress": share})

    try:
        model = open_model(told) if told["model"] is not None else None
    except FoveateError as error:
        say({"refused": {"code": "model", "message": str(error)}})
        return
    say({"done": introduce(model) if model is not None else {"models": list(models.shipped())}})
    while True:
        say(_outcome(inbox.tasks.get(), model, watch))


def _outcome(task: Facts, model: Model | None, watch: Watch) -> Facts:
    """Do a task and say what came of it."""
    try:
        return {"done": do(task, model, watch)}
    except Refused as refused:
        return {"refused": {"code": refused.code, "message": refused.message}}
    except Cancelled:
        return {"cancelled": True}
    except Exception as error:  # a bug: the task fails, the next one may not
        # Where it happened, without its message, which might hold a name.
        print(
            f"{type(error).__name__} in a worker\n" + "".join(traceback.format_tb(error.__traceback__)),
            file=sys.stderr,
        )
        return {"refused": {"code": "crashed", "message": "an error in Foveate itself; see the server's log"}}


if __name__ == "__main__":
    main()
