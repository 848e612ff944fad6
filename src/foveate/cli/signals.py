"""Signals that end a command: the first one interrupts it, and further ones do not disturb its end.

Knows:   Ctrl-C, SIGTERM and SIGHUP (a closed terminal), and how long the end of a command may take.
Ignores: what a command does before it ends, and what is printed.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | int
"""A function, or a number that stands for the system's own handling."""

SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)
"""The signals that end a command; Windows has no SIGHUP."""

GRACE_SECONDS = 5.0
"""Time that a command has to end after the first signal: the next one after it ends the process at once. Our
choice."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived. Not an Exception, so that no `except Exception` swallows it."""


class SignalHandler:
    """Raises KeyboardInterrupt or Terminated at the first signal, and ignores further ones for a while."""

    def __init__(self) -> None:
        self.received: int | None = None
        """Number of the first signal."""
        self._ending_since: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._ending_since is None:
            self.received = number
            self.ignore_further()
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        if time.monotonic() - self._ending_since >= GRACE_SECONDS:
            os._exit(128 + number)

    def ignore_further(self) -> None:
        """Ignore signals for `GRACE_SECONDS`, since the command is ending."""
        if self._ending_since is None:
            self._ending_since = time.monotonic()

    def install(self) -> Mapping[signal.Signals, Handler]:
        """Handle the signals from now on, except those that are ignored, as SIGHUP under `nohup`.

        Returns:
            Signal -> handler before, of those that are handled.
        """
        before: dict[signal.Signals, Handler] = {}
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler is not None and handler != signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, self)
        return before

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals within the block."""
        before = self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
