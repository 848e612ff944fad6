"""Options of `foveate serve`.

Knows:   their names, help and defaults.
Ignores: how anything is served.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveate.cli.options import (
    DEFAULT_ENGINE,
    EngineOptions,
    Flag,
    InputFile,
    InputFolder,
    ModelOption,
    OutputFolder,
)

Number = Annotated[int, Parameter(metavar="N")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class LimitOptions:
    """How much the server accepts."""

    queue: Number = 256
    """Number of photographs that may wait; more are refused until there is room."""
    limit_bytes: Number = 256 << 20
    """Size of the largest upload, in bytes."""
    limit_pixels: Number = 120_000_000
    """Size of the largest photograph, in pixels; at most 178956970."""
    limit_seconds: Annotated[float, Parameter(metavar="N")] = 600.0
    """Seconds that one photograph may take; then it fails."""
    keep_days: Annotated[float | None, Parameter(metavar="N")] = None
    """Days after which a finished photograph is deleted with all its results; by default it is kept until
    somebody deletes it."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """Options of `foveate serve`."""

    host: Annotated[str, Parameter(metavar="HOST")] = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: Number = 8000
    """Port to listen on; 0 takes any that is free."""
    model: ModelOption = None
    data: OutputFolder = Path("foveate-data")
    """Folder for everything that the server keeps: photographs, results and corrections; created if it is
    missing."""
    root: Annotated[tuple[InputFolder, ...], Parameter(metavar="DIR", negative="", show_default=False)] = ()
    """Folder below which photographs may be submitted by their path; may be given several times. Without it,
    none may."""
    token_file: InputFile | None = None
    """File whose first line is the token that every client must send; the variable FOVEATE_TOKEN by
    default."""
    allow_host: Annotated[tuple[str, ...], Parameter(metavar="NAME", negative="", show_default=False)] = ()
    """Another name by which clients reach the server, such as that of a proxy; may be given several times."""
    double_grading: Flag = False
    """Let two people grade each photograph, without seeing each other's work, before it may be corrected."""
    forget_missing: Flag = False
    """Delete photographs whose files are missing from the database at the start, with their corrections and
    gradings; without it, the server does not start if files are missing."""
    engine: EngineOptions = DEFAULT_ENGINE
    workers: Number = 1
    """Number of photographs to process at the same time, each in a process of its own."""
    limits: LimitOptions = LimitOptions()


DEFAULT_SERVER = ServeOptions()
