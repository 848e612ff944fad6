"""Run the server until a signal stops it.

Knows:   sockets, signals, and the line that gives the page's address.
Ignores: what is served.
"""

import contextlib
import logging
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from foveate.errors import OutputError, SettingError
from foveate.paths import display_path
from foveate.server.http.app import Application, create
from foveate.server.http.connections import BoundedProtocol
from foveate.server.options import Options
from foveate.server.storage.data_dir import DATABASE
from foveate.server.storage.database import unusable

GRACE = 1
"""Seconds that running requests have to finish when the server stops."""

BACKLOG = 512
"""Connections that may wait to be accepted."""


class _StreamEndingServer(uvicorn.Server):
    """A uvicorn server that ends the event streams when it stops: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, app: Application, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._application = app
        self._ready = ready
        self.is_stopped_by_signal = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report that the server is ready."""
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server; a second Ctrl-C does not wait for requests. The signal is not raised again."""
        self._application.events.close()
        self.is_stopped_by_signal = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(options: Options, say: Callable[[str], None]) -> None:
    """Run the server until a signal stops it.

    Args:
        options: settings of the server.
        say: called once, with the page's address, when the server is ready.

    Raises:
        FoveateError: the address, the model or the data folder cannot be used, or the server cannot start for
            another reason of the system.
        Exception: an error in Foveate itself kept the server from starting.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    listening = _listening(options)
    app = create(options)
    server = _StreamEndingServer(configuration(app), app, lambda: say(address(options, listening)))
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would log what is raised below
    with listening, _stopped_by_closed_terminal(server), contextlib.suppress(SystemExit):
        server.run(sockets=[listening])
    if app.failure is not None:
        raise _start_error(app.failure, options.data)
    if not (server.started or server.is_stopped_by_signal):
        raise OutputError("the server could not start; see the lines above")


@contextlib.contextmanager
def _stopped_by_closed_terminal(server: uvicorn.Server) -> Iterator[None]:
    """Stop the server at SIGHUP as at SIGTERM, unless it is ignored, as under `nohup`; uvicorn ignores it."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGHUP)
    if before not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGHUP, server.handle_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _start_error(error: Exception, data: Path) -> Exception:
    """Return the error of one line for what kept the server from starting; others are raised as they are."""
    if isinstance(error, sqlite3.Error):
        return unusable(data / DATABASE, error)
    if isinstance(error, OSError):
        place = display_path(data if error.filename is None else error.filename)
        reason = error.strerror or type(error).__name__
        line = f"{place}: the server cannot start ({reason}); check it, or choose another --data"
        return OutputError(line, errno=error.errno)
    return error


def configuration(app: Application) -> uvicorn.Config:
    """Return uvicorn's settings for the application."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,  # it would contain identifiers and addresses; /metrics has the counts
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=30,
        backlog=BACKLOG,
        ws="none",
    )


def _listening(options: Options) -> socket.socket:
    """Return a socket that listens at the address, before anything else is opened.

    Clients that connect now wait until the server is ready. Two servers can bind one address, but only one
    can listen at it.

    Raises:
        SettingError: the address cannot be used.
    """
    try:
        family, kind, number, _, place = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as on_error:
            listening = on_error.enter_context(socket.socket(family, kind, number))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(BACKLOG)
            on_error.pop_all()
    except UnicodeError as error:
        raise SettingError(f"--host {options.host}: is no host name or address; check it") from error
    except OSError as error:
        raise SettingError(
            f"{options.host}:{options.port} cannot be opened ({error.strerror}); choose another --port"
        ) from error
    return listening


def address(options: Options, listening: socket.socket) -> str:
    """Return the address of the page."""
    port = listening.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{port}/"
