"""Server-sent events: changes, published to every subscriber.

Knows:   who has subscribed to what, and how an event is written.
Ignores: what an event means.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from foveate.server import errors

SUBSCRIBERS = 128
"""Maximum number of subscribers; each keeps a connection open."""

BACKLOG = 1000
"""Maximum number of events that a subscriber has not received yet; beyond it, its stream ends, and it must
read the list again."""

HEARTBEAT = 15.0
"""Seconds between two keep-alive comments, so that proxies keep the connection open."""


@dataclass(eq=False, slots=True)
class _Subscriber:
    loop: asyncio.AbstractEventLoop
    batch: str | None
    photograph: str | None
    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(BACKLOG + 1))

    def is_concerned(self, payload: Mapping[str, Any]) -> bool:
        if self.photograph is not None:
            return payload.get("id") == self.photograph
        return self.batch is None or self.batch in (payload.get("batch"), payload.get("id"))


class EventBroker:
    """Delivers events to subscribers; any thread may publish."""

    def __init__(self) -> None:
        self._subscribers: set[_Subscriber] = set()
        self._lock = threading.Lock()
        self._closed = False

    def publish(self, event: str, payload: Mapping[str, Any]) -> None:
        """Deliver an event to the subscribers that it concerns."""
        with self._lock:
            receivers = [subscriber for subscriber in self._subscribers if subscriber.is_concerned(payload)]
        if not receivers:
            return
        text = format_event(event, payload)
        for subscriber in receivers:
            _deliver(subscriber, text)

    def close(self) -> None:
        """End all streams; nobody can subscribe afterwards."""
        with self._lock:
            self._closed = True
            subscribers = list(self._subscribers)
        for subscriber in subscribers:
            _deliver(subscriber, None)

    async def subscribe(self, first: str, *, batch: str | None, photograph: str | None) -> AsyncIterator[str]:
        """Return a stream of events, which ends when the server stops.

        Args:
            first: text of the first event.
            batch: identifier of the batch to which events are limited; None: no limit.
            photograph: identifier of the photograph to which events are limited; None: no limit.

        Raises:
            ServiceError: there are too many subscribers, or the server is stopping.
        """
        subscriber = _Subscriber(asyncio.get_running_loop(), batch, photograph)
        with self._lock:
            if self._closed:
                raise errors.stopping()
            if len(self._subscribers) >= SUBSCRIBERS:
                raise errors.busy("event streams", 10)
        return self._stream(subscriber, first)

    async def _stream(self, subscriber: _Subscriber, first: str) -> AsyncIterator[str]:
        with self._lock:  # added only when it is read: otherwise it might never be removed
            self._subscribers.add(subscriber)
        try:
            yield first
            while True:
                try:
                    text = await asyncio.wait_for(subscriber.queue.get(), HEARTBEAT)
                except TimeoutError:
                    text = ": keep-alive\n\n"
                if text is None:
                    return
                yield text
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)


def format_event(event: str, payload: Mapping[str, Any]) -> str:
    """Return an event in the text form of server-sent events."""
    return f"event: {event}\ndata: {json.dumps(payload)}\n\n"


def _deliver(subscriber: _Subscriber, text: str | None) -> None:
    def put() -> None:
        if not subscriber.queue.full():
            subscriber.queue.put_nowait(text if subscriber.queue.qsize() < BACKLOG else None)

    with contextlib.suppress(RuntimeError):  # the event loop is closed: the subscriber is gone
        subscriber.loop.call_soon_threadsafe(put)
