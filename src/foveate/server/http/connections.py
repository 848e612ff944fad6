"""Connections: a request must arrive in time, and no client may take all connections.

Knows:   when a connection waits for a request, and how many connections a client has.
Ignores: what is requested; bodies are limited by `guard` and `uploads`.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Time limit for a request's header to arrive, seconds, from its first byte or the connection's start."""

PER_CLIENT = 512
"""Maximum number of connections of one address; all clients of a proxy share its address."""


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with connections limited in time and number."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection, unless its client has too many."""
        connection = cast("asyncio.Transport", transport)
        super().connection_made(connection)
        if self._siblings() > PER_CLIENT:
            connection.abort()
            return
        self._limit_header()

    def data_received(self, data: bytes) -> None:
        """Process data that a client sends, and start or stop the timer of the header."""
        super().data_received(data)
        self._limit_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a connection that has ended."""
        self._stop_timer()
        super().connection_lost(exc)

    def _limit_header(self) -> None:
        """Start the timer if the connection waits for a header, and stop it if a request has arrived."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _siblings(self) -> int:
        """Return the number of connections of this client, this one included."""
        if self.client is None:  # a Unix socket
            return 1
        protocols = [each for each in self.connections if isinstance(each, BoundedProtocol)]
        return sum(each.client is not None and each.client[0] == self.client[0] for each in protocols)
