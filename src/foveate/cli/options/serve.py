"""Options of `foveate serve`.

Knows:   their names, help and defaults.
Ignores: how anything is served.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveate.cli.options import DEFAULT_ENGINE, EngineOptions, ModelName

Number = Annotated[int, Parameter(metavar="N")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class LimitOptions:
    """How much the server accepts."""

    queue: Number = 256
    """Photographs that may wait; more are refused until there is room."""
    limit_bytes: Number = 256 << 20
    """Largest upload, in bytes."""
    limit_pixels: Number = 120_000_000
    """Largest photograph, in pixels."""
    limit_seconds: Annotated[float, Parameter(metavar="N")] = 600.0
    """Longest time for one photograph, in seconds."""
    keep_days: Annotated[float | None, Parameter(metavar="N")] = None
    """Days after which a finished photograph is deleted with all its results; if not given, it is kept until
    somebody deletes it."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """Options of `foveate serve`."""

    host: Annotated[str, Parameter(metavar="HOST")] = "127.0.0.1"
    """Address to listen at. Any but this machine's own needs a token."""
    port: Number = 8000
    """Port to listen at; 0 for any that is free."""
    model: ModelName = None
    """A model package that comes with Foveate (see `foveate models`), a package's folder, or a zip of one."""
    data: Annotated[Path, Parameter(metavar="DIR")] = Path("foveate-data")
    """Folder of everything that the server keeps: photographs, results, corrections; made if need be."""
    root: Annotated[tuple[Path, ...], Parameter(metavar="DIR", negative="")] = ()
    """A folder below which photographs may be submitted by their path; may be given several times."""
    token_file: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """File whose first line is the token that every client must know; or set FOVEATE_TOKEN."""
    allow_host: Annotated[tuple[str, ...], Parameter(metavar="NAME", negative="")] = ()
    """A host name of the server besides its own, as behind a proxy; may be given several times."""
    double_grading: Annotated[bool, Parameter(negative="")] = False
    """Let two people grade each photograph, unseen by each other, before it may be corrected."""
    engine: EngineOptions = DEFAULT_ENGINE
    workers: Number = 1
    """Photographs to process side by side, each in a process of its own."""
    limits: LimitOptions = LimitOptions()


DEFAULT_SERVER = ServeOptions()
