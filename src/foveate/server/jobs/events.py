"""What happens, told to whoever listens: server-sent events.

Knows:   who listens to what, and how an event is spelt.
Ignores: what happens.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from foveate.server.http import errors

LISTENERS = 128
"""At a time: each holds a connection open."""

BACKLOG = 1000
"""Events that one listener may be behind; one that is further behind is cut off, and reads the list again."""

HEARTBEAT = 15.0
"""Seconds between signs of life, so that proxies keep the connection."""


@dataclass(eq=False, slots=True)
class _Listener:
    loop: asyncio.AbstractEventLoop
    batch: str | None
    photograph: str | None
    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(BACKLOG + 1))

    def wants(self, told: Mapping[str, Any]) -> bool:
        if self.photograph is not None:
            return told.get("id") == self.photograph
        return self.batch is None or self.batch in (told.get("batch"), told.get("id"))


class News:
    """Tells every listener; any thread may tell."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self._lock = threading.Lock()
        self._closed = False

    def tell(self, event: str, told: Mapping[str, Any]) -> None:
        """Tell all who want to hear it."""
        with self._lock:
            wanting = [one for one in self._listeners if one.wants(told)]
        if not wanting:
            return
        text = spelt(event, told)
        for listener in wanting:
            _call(listener, text)

    def close(self) -> None:
        """Tell nobody any more: all streams end."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners)
        for listener in listeners:
            _call(listener, None)

    async def listen(self, first: str, *, batch: str | None, photograph: str | None) -> AsyncIterator[str]:
        """Return a stream of events, and then nothing when the server stops.

        Args:
            first: event to begin with.
            batch: only what concerns it.
            photograph: only what concerns it.

        Raises:
            Problem: too many listen, or the server is stopping.
        """
        listener = _Listener(asyncio.get_running_loop(), batch, photograph)
        with self._lock:
            if self._closed:
                raise errors.stopping()
            if len(self._listeners) >= LISTENERS:
                raise errors.busy("listeners", 10)
        return self._stream(listener, first)

    async def _stream(self, listener: _Listener, first: str) -> AsyncIterator[str]:
        with self._lock:  # only now: a stream that nobody begins to read is never left
            self._listeners.add(listener)
        try:
            yield first
            while True:
                try:
                    text = await asyncio.wait_for(listener.queue.get(), HEARTBEAT)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            with self._lock:
                self._listeners.discard(listener)


def spelt(event: str, told: Mapping[str, Any]) -> str:
    """Return an event as the stream has it."""
    return f"event: {event}\ndata: {json.dumps(told)}\n\n"


def _call(listener: _Listener, text: str | None) -> None:
    def put() -> None:
        if not listener.queue.full():
            listener.queue.put_nowait(text if listener.queue.qsize() < BACKLOG else None)

    with contextlib.suppress(RuntimeError):  # its loop is closed: it is gone
        listener.loop.call_soon_threadsafe(put)
