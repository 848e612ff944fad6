"""A server for tests: its workers are no processes but calls, so that it starts at once."""

import functools
import io
import threading
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import tiny_package
from PIL import Image
from starlette.testclient import TestClient

from foveate.inference.api import load
from foveate.server.http.app import create
from foveate.server.jobs import events, worker, worker_pool
from foveate.server.jobs.worker_pool import WorkerPool
from foveate.server.options import Limits, Options


class Inline:
    """A `Worker` that works in the thread that calls it."""

    def __init__(self, model=None):
        self._model = model
        self._lock = threading.Lock()
        self.closed = False
        self.cancelled = threading.Event()
        self.hold = threading.Event()
        """Cleared: tasks wait."""
        self.hold.set()

    def handshake(self):
        return worker.describe(self._model) if self._model else None

    def do(self, task, progress, seconds):
        with self._lock:
            self.cancelled.clear()
            while not self.hold.wait(0.01):
                if self.cancelled.is_set() or self.closed:
                    raise worker_pool.CancelledError
            return worker.do(task, self._model, progress)

    def cancel(self):
        self.cancelled.set()

    def close(self):
        self.closed = True


@contextmanager
def running(data: Path, model: Path, *, base="http://127.0.0.1:8000", **changes):
    """Yield a client of a server; `client.predictor` is the worker that predicts, beside any `others`."""
    predictor = changes.pop("wrap", lambda worker: worker)(Inline(load(model, engine="onnx", threads=1)))
    limits, others = changes.pop("limits", Limits()), changes.pop("others", ())
    options = Options(data=data, model=model, threads=1, limits=limits, **changes)
    app = create(options, lambda _: WorkerPool(io_worker=Inline(), inference_workers=[predictor, *others]))
    with TestClient(app, base_url=base, raise_server_exceptions=False) as client:
        client.predictor = predictor
        client.service = app.routes.state.service
        yield client


@functools.cache
def picture(seed: int = 0, **drawn) -> bytes:
    """Return a drawn fundus as the bytes of a PNG."""
    return png(tiny_package.fundus(seed=seed, **drawn))


def png(pixels: np.ndarray) -> bytes:
    """Return pixels as the bytes of a PNG."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def grey(content: bytes) -> np.ndarray:
    """Return the levels of a grey PNG."""
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "L"
        return np.asarray(image)


def submit(client, content: bytes, name: str = "eye.png", **query):
    """Submit a photograph; return the answer."""
    headers = {"Content-Type": "image/png", "Foveate-Name": name}
    return client.post("/api/photographs", content=content, headers=headers, params=query)


def done(client, content: bytes | None = None, name: str = "eye.png", **query) -> dict:
    """Submit a photograph and wait until it is done."""
    answer = submit(client, content or picture(), name, **query)
    assert answer.status_code == 201, answer.text
    return waited(client, answer.json()["id"])


def waited(client, identifier: str) -> dict:
    """Wait until a photograph is done or failed."""
    told = client.get(f"/api/photographs/{identifier}", params={"wait": 60}).json()
    assert told["state"] in {"done", "failed"}
    return told


def stream(client):
    """Yield the server's events; Starlette's test client would wait for the end of the stream."""
    queue: SimpleQueue = SimpleQueue()

    async def listen():
        stream = await client.service.events.subscribe(
            events.format_event("hello", {}), batch=None, photograph=None
        )
        async for text in stream:
            queue.put(text)

    client.portal.start_task_soon(listen)
    while True:
        yield queue.get(timeout=30)
