"""A request's body, or a file below an allowed folder -> a file in the data folder.

Knows:   how many bytes are accepted, and which paths are allowed.
Ignores: what the file holds.
"""

import asyncio
import math
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request

from foveate.inference.settings import FieldChoice
from foveate.server import errors
from foveate.server.http import guard
from foveate.server.http.errors import Problem
from foveate.server.options import Limits
from foveate.server.storage import refusals

FARTHEST = 100_000.0
"""Most pixels of a place or a radius, as of all coordinates of the API."""


async def receive(request: Request, target: Path, limits: Limits) -> None:
    """Write a request's body into a new file.

    Raises:
        Problem: there are too many bytes, or they arrive too slowly; the file is then gone.
        ServiceError: the disk refuses; the file is then gone.
    """
    guard.require_length(request.headers, limits.bytes)
    size = 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            with target.open("xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limits.bytes:
                        raise guard.too_many_bytes(limits.bytes)
                    file.write(chunk)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, TimeoutError):
            raise guard.too_slow() from None
        if isinstance(error, OSError):
            raise refusals.disk_error(error) from error
        raise


def require_type(request: Request, *kinds: str) -> None:
    """Raise a Problem where the body is of another content type."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in kinds:
        raise Problem(415, "unsupported_media_type", f"send the file itself, as {', '.join(kinds)}")


def copy(roots: Mapping[str, Path], root: str, path: str, target: Path, limit: int) -> str:
    """Copy a file that lies below an allowed folder; return its name.

    Links are followed first: where they lead out of the folder, the file is not allowed.

    Raises:
        Problem: the path leads out, there is no such file, or it has too many bytes.
    """
    if root not in roots:
        raise Problem(403, "outside_roots", "no folder of that name was given with --root")
    try:
        real = (roots[root] / path).resolve()
        if not real.is_relative_to(roots[root]):
            raise Problem(403, "outside_roots", "the path leads out of the folder that was given with --root")
        # No link may be put in its place between the check and the opening, no pipe may hold us up.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):  # not there, not allowed, too long, a NUL in it
        raise errors.not_found("file below that folder") from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise errors.not_found("file below that folder")
    with os.fdopen(descriptor, "rb") as source:
        if facts.st_size > limit:
            raise guard.too_many_bytes(limit)
        with target.open("xb") as file:
            shutil.copyfileobj(source, file)
    return real.name


def field(text: str) -> FieldChoice:
    """'auto', 'full', or 'X,Y,RADIUS' -> (row, column, radius), px of the photograph.

    Raises:
        Problem: it is none of these.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    try:
        x, y, radius = (float(number) for number in text.split(","))
    except ValueError:
        x = y = radius = math.nan
    if not (all(abs(number) <= FARTHEST for number in (x, y, radius)) and radius > 0):  # NaN is neither
        raise errors.invalid(f"field is {text!r}; give auto, full, or X,Y,RADIUS in pixels of the photograph")
    return y, x, radius
