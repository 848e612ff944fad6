"""A request's body, or a file below an allowed folder -> a file in the data folder.

Knows:   how many bytes are accepted, and which paths are allowed.
Ignores: what the file contains.
"""

import asyncio
import math
import os
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from starlette.requests import Request

from foveate.inference.settings import FieldChoice
from foveate.server import errors
from foveate.server.http import guard
from foveate.server.http.errors import Problem
from foveate.server.options import Limits
from foveate.server.storage import refusals

FARTHEST = 100_000.0
"""Largest coordinate or radius, px, as for all coordinates of the API."""

NO_FILE = "check the path, and that the server may read it"
"""What to do about a path that leads to no file."""


async def receive(request: Request, target: Path, limits: Limits) -> None:
    """Write a request's body into a new file.

    Raises:
        Problem: the body is too long or arrives too slowly; the file is then deleted.
        ServiceError: the file cannot be written; it is then deleted.
    """
    guard.require_length(request.headers, limits.bytes)
    try:
        async with asyncio.timeout(limits.upload_seconds):
            with target.open("xb") as file:
                async for chunk in _chunks(request, limits):
                    file.write(chunk)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, TimeoutError):
            raise guard.too_slow() from None
        if isinstance(error, OSError):
            raise refusals.disk_error(error) from error
        raise


async def discard(request: Request, limits: Limits) -> None:
    """Read a request's body and keep nothing of it: the server has the file already.

    An answer before the end of a long body would not arrive: the connection would be closed under the sender.

    Raises:
        Problem: the body is too long or arrives too slowly.
    """
    guard.require_length(request.headers, limits.bytes)
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for _ in _chunks(request, limits):
                pass
    except TimeoutError:
        raise guard.too_slow() from None


async def _chunks(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the parts of a request's body.

    Raises:
        Problem: the body is too long.
    """
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.bytes:
            raise guard.too_many_bytes(limits.bytes)
        yield chunk


def require_type(request: Request, *kinds: str) -> None:
    """Raise a Problem if the body has none of the given content types."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in kinds:
        line = f"the body has another content type; send the file itself, as {', '.join(kinds)}"
        raise Problem(415, "unsupported_media_type", line)


def copy(roots: Mapping[str, Path], root: str, path: str, target: Path, limit: int) -> str:
    """Copy a file that lies below an allowed folder; return its name.

    Links are resolved first; a link that leads out of the folder is refused.

    Raises:
        Problem: the path leads out of the folder, or the file has too many bytes.
        ServiceError: there is no such file.
    """
    if root not in roots:
        raise Problem(403, "outside_roots", "no --root has that name; GET /api/server lists them")
    try:
        real = roots[root] / path
        for strict in (False, True):  # where a link leads to itself, the first leaves the rest unresolved
            real = Path(os.path.realpath(real, strict=strict))
            if not real.is_relative_to(roots[root]):
                raise Problem(403, "outside_roots", "the path leads out of its --root; give a path below it")
        # The flags refuse a link that has replaced the file since the check; a pipe does not block.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):  # missing, not permitted, too long, with a NUL, a loop of links
        raise errors.not_found("file below that folder", NO_FILE) from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise errors.not_found("file below that folder", NO_FILE)
    with os.fdopen(descriptor, "rb") as source:
        if facts.st_size > limit:
            raise guard.too_many_bytes(limit)
        with target.open("xb") as file:
            shutil.copyfileobj(source, file)
    return real.name


def field(text: str) -> FieldChoice:
    """Return the field of view of a text: 'auto', 'full', or 'X,Y,RADIUS' as (row, column, radius), px.

    Raises:
        ServiceError: 'invalid': the text is none of these.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    try:
        x, y, radius = (float(number) for number in text.split(","))
    except ValueError:
        x = y = radius = math.nan
    if not (all(abs(number) <= FARTHEST for number in (x, y, radius)) and radius > 0):  # false for NaN
        raise errors.invalid(f"field is {text!r}; give auto, full, or X,Y,RADIUS in pixels of the photograph")
    return y, x, radius
