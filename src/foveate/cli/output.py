"""Standard output and standard error for all commands: work continues when they cannot be written.

Knows:   streams whose reader is gone and those whose disk is full, characters that a terminal cannot show,
         JSON on stdout.
Ignores: what is printed.
"""

import errno
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from foveate.errors import FoveateError

READER_GONE = frozenset(
    {errno.EPIPE, errno.ECONNRESET} | ({errno.EINVAL} if sys.platform == "win32" else set())
)
"""Errors of a stream that nobody reads any more, such as a pipe to `head`: nothing is lost."""


class ForgivingStream(io.TextIOBase):
    """A text stream that drops what is written once it cannot be written, and remembers what was lost.

    Args:
        stream: the stream to write to; None where the process was started without it.
    """

    def __init__(self, stream: io.TextIOBase | TextIO | None) -> None:
        self._stream = stream
        self._is_terminal = self.isatty()
        self.loss: OSError | None = None
        """Why something was lost, such as a full disk; None also if its reader is gone."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8" if self._stream is None else self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return None if self._stream is None else self._stream.errors

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("the stream is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:  # such as a broken pipe, or a closed file
                self._drop(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._drop(error)

    def _drop(self, error: OSError | ValueError) -> None:
        """Discard all output from now on; buffered text would fail again when Python exits."""
        if isinstance(error, OSError) and error.errno not in READER_GONE:
            is_closed_terminal = self._is_terminal and error.errno == errno.EIO
            self.loss = None if is_closed_terminal else error
        stream, self._stream = self._stream, None
        try:
            descriptor = stream.fileno() if stream is not None else None
        except (OSError, ValueError):
            return
        if descriptor is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def open_standard_descriptors() -> None:
    """Open the standard descriptors that are closed, as by `2>&-`, so that no file takes their numbers.

    Otherwise a library that writes a warning to number 2 would write it into a result.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


@contextmanager
def forgiving_streams() -> Iterator[ForgivingStream]:
    """Let all prints of this process succeed, whatever happens to stdout and stderr; yield stdout.

    Characters that a terminal cannot show, as in some files' names, are printed as escapes.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    stdout = ForgivingStream(before[0])
    sys.stdout, sys.stderr = stdout, ForgivingStream(before[1])
    try:
        yield stdout
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def errors_as_json(is_enabled: bool) -> Iterator[None]:
    """Print a FoveateError as one JSON object on stdout, before it is handled as usual."""
    try:
        yield
    except FoveateError as error:
        if is_enabled:
            print(json.dumps({"error": str(error)}))
        raise
