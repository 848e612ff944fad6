"""Who may use the server: the token, and the sessions that were opened with it.

Knows:   tokens, cookies and how long a session lasts.
Ignores: what is requested.
"""

import hmac
import secrets
import threading
import time
from collections import OrderedDict

SESSION_SECONDS = 12 * 3600
"""Duration of a session, seconds: a working day."""

SESSIONS = 1000
"""Maximum number of sessions; if there are more, the oldest is closed."""


class Sessions:
    """Sessions that were opened with the token; they end with the server."""

    def __init__(self, token: str | None) -> None:
        """Create the sessions of a server.

        Args:
            token: the token that opens them; None if none is required.
        """
        self.cookie = f"foveate_session_{secrets.token_hex(4)}"
        """Name of the cookie, new at each start: servers on one host share their cookies, whatever their
        ports, and in containers even the paths of their data folders may be the same."""
        self._token = token
        self._open: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def token_required(self) -> bool:
        """Return whether a token is required."""
        return self._token is not None

    def knows(self, token: str) -> bool:
        """Return whether a token is the server's token."""
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    def open(self) -> str:
        """Open a session and return its name."""
        name = secrets.token_urlsafe()
        with self._lock:
            self._open[name] = time.monotonic() + SESSION_SECONDS
            while len(self._open) > SESSIONS:
                self._open.popitem(last=False)
        return name

    def close(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._open.pop(name, None)

    def admits(self, authorization: str, session: str) -> bool:
        """Return whether a request may pass.

        Args:
            authorization: the Authorization header, empty if there is none.
            session: value of the session's cookie, empty if there is none.
        """
        if self._token is None:
            return True
        kind, _, token = authorization.partition(" ")
        if kind.lower() == "bearer" and self.knows(token.strip()):
            return True
        with self._lock:
            return self._open.get(session, 0.0) > time.monotonic()
