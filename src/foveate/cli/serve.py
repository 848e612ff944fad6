"""`foveate serve`.

Knows:   the options of serve, and which call they become.
Ignores: how anything is served.
"""

import importlib.util
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.cli import options
from foveate.errors import SettingError

NEEDED = ("fastapi", "uvicorn")
"""What the extra brings."""

TOKEN = "FOVEATE_TOKEN"
"""Environment variable that may hold the token: command lines are seen by everyone on the machine."""


def serve(
    *,
    host: Annotated[str, Parameter(metavar="HOST")] = "127.0.0.1",
    port: Annotated[int, Parameter(metavar="N")] = 8000,
    model: Annotated[str | None, Parameter(metavar="NAME|FOLDER")] = None,
    data: Annotated[Path, Parameter(metavar="DIR")] = Path("foveate-data"),
    root: Annotated[tuple[Path, ...], Parameter(metavar="DIR", negative="")] = (),
    token_file: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    allow_host: Annotated[tuple[str, ...], Parameter(metavar="NAME", negative="")] = (),
    engine: Literal["onnx", "openvino"] | None = None,
    precision: Literal["float32", "bf16"] | None = None,
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
    workers: Annotated[int, Parameter(metavar="N")] = 1,
    queue: Annotated[int, Parameter(metavar="N")] = 256,
    limit_bytes: Annotated[int, Parameter(metavar="N")] = 256 << 20,
    limit_pixels: Annotated[int, Parameter(metavar="N")] = 120_000_000,
    limit_seconds: Annotated[float, Parameter(metavar="N")] = 600.0,
    keep_days: Annotated[float | None, Parameter(metavar="N")] = None,
) -> None:
    """Serve a page to look at photographs with, and an HTTP API.

    Parameters
    ----------
    host
        Address to listen at. Another than this machine's own needs a token.
    port
        Port to listen at; 0 for any that is free.
    model
        A model package that comes with Foveate (see `foveate models`), a package's folder, or a zip of one.
    data
        Folder of everything that is kept: photographs, results, corrections; made if need be.
    root
        A folder below which photographs may be submitted by their path; may be given several times.
    token_file
        File whose first line is the token that whoever asks must know; or set FOVEATE_TOKEN.
    allow_host
        A name by which the server may be called besides its own, as behind a proxy; may be given several
        times.
    engine
        What computes, as in `foveate predict`.
    precision
        In which the network computes, as in `foveate predict`.
    threads
        That each worker computes with; as many as there are processors, if not given.
    workers
        Photographs that are looked at side by side, each in a process of its own.
    queue
        Photographs that may wait; more are refused until there is room.
    limit_bytes
        Of one upload.
    limit_pixels
        Of one photograph.
    limit_seconds
        That looking at one photograph may take.
    keep_days
        Days after which a photograph that is done is deleted with all that was made of it; if not given, it
        is kept until somebody deletes it.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingError(f"{missing[0]} is not installed; pip install 'foveate[serve]'")
    from foveate import models  # noqa: PLC0415
    from foveate.server import options as chosen  # noqa: PLC0415
    from foveate.server.http import serving  # noqa: PLC0415

    limits = chosen.Limits(
        bytes=limit_bytes,
        pixels=limit_pixels,
        waiting=queue,
        seconds=limit_seconds,
        keep=None if keep_days is None else timedelta(days=keep_days),
    )
    serving.serve(
        chosen.Options(
            data=data.resolve(),
            model=models.DEFAULT if model is None else model,
            engine=engine,
            precision=precision,
            threads=threads,
            workers=workers,
            limits=limits,
            roots=chosen.roots(root),
            host=host,
            port=port,
            hosts=frozenset(allow_host),
            token=_token(token_file),
        ),
        lambda address: print(f"Foveate serves at {address}", flush=True),
    )


def _token(path: Path | None) -> str | None:
    """Return the token that a file or the environment holds, or None.

    Raises:
        SettingError: the file cannot be read, or is empty.
    """
    if path is None:
        return os.environ.get(TOKEN) or None
    token = options.first_line(path).strip()
    if not token:
        raise SettingError(f"--token-file {path}: its first line is empty; write the token there")
    return token
