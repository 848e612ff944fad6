"""Settings of the server.

Knows:   every setting, its default with the reason for it, and which values are invalid.
Ignores: how they are enforced.
"""

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from foveate import models
from foveate.choices import EngineName, Precision
from foveate.errors import SettingError
from foveate.paths import display_path, is_folder, missing
from foveate.photographs import LIMIT_PIXELS

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Addresses of this machine that no other machine can reach."""

LONGEST_KEEP = timedelta(days=36_525)
"""Longest time after which results may be deleted, a century: dates end with the year 9999."""

MOST_PIXELS = 178_956_970
"""Largest limit on the pixels of a photograph: Pillow refuses to open more, as a decompression bomb."""

SHORTEST_TOKEN = 16
"""Minimum number of characters of a token: a shorter one could be guessed by trial and error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits on what the server accepts."""

    bytes: int = 256 << 20
    """Maximum size of one upload, bytes. A 100-megapixel TIFF with 8 bits per channel takes 300 MB
    uncompressed and 150 MB compressed."""
    pixels: int = LIMIT_PIXELS
    """Maximum number of pixels of one photograph."""
    waiting: int = 256
    """Maximum number of photographs in the queue, including those that are being received."""
    seconds: float = 600.0
    """Time limit for one photograph, seconds: ten times what 100 megapixels take on one processor."""
    upload_seconds: float = 300.0
    """Time limit for the body of one request to arrive, seconds: 256 MB at 7 Mbit/s."""
    keep: timedelta | None = None
    """Time after which a photograph that is done or failed is deleted; None: only people delete it."""
    free: int = 512 << 20
    """Free disk space that is required before a photograph is accepted, bytes."""
    memory: int = 1536 << 20
    """Maximum size of the decoded maps in memory, bytes: enough for four lesions at 100 megapixels, all of
    them corrected."""

    def __post_init__(self) -> None:
        for name in ("bytes", "pixels", "waiting", "seconds", "upload_seconds"):
            limit = getattr(self, name)
            if not limit > 0:  # NaN fails as well
                raise SettingError(f"limit {name} is {limit}; give more than 0")
            if not math.isfinite(limit):
                raise SettingError(f"limit {name} is {limit}; give a finite number")
        if self.pixels > MOST_PIXELS:
            raise SettingError(f"limit pixels is {self.pixels}; give at most {MOST_PIXELS}")
        if self.keep is not None and self.keep > LONGEST_KEEP:
            raise SettingError(
                f"results are kept for {self.keep.days:,} days; give at most {LONGEST_KEEP.days:,}, or leave "
                "it out to keep them"
            )
        if self.keep is not None and self.keep <= timedelta(0):
            raise SettingError(
                f"results are kept for {self.keep}; give more than 0 days, or leave it out to keep them"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of one server."""

    data: Path
    """Folder that holds everything the server stores; it is created if it is missing."""
    model: str | Path = models.DEFAULT
    """Name of a shipped package, a package's folder, or a zip of one."""
    engine: EngineName | None = None
    precision: Precision | None = None
    threads: int | None = None
    """Number of threads of each worker; None: one for each processor."""
    workers: int = 1
    """Number of photographs that are predicted in parallel."""
    limits: Limits = field(default_factory=Limits)
    roots: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Name -> folder below which photographs may be submitted by their path."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free port."""
    hosts: frozenset[str] = frozenset()
    """Host names, besides its own, by which clients may address the server."""
    double_grading: bool = False
    """Whether two people must grade each photograph independently before it may be corrected."""
    forget_missing: bool = False
    """Whether photographs whose files are missing are deleted from the database at the start."""
    token: str | None = None
    """Secret that every client must send; None: no token is required."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingError(f"workers is {self.workers}; give 1 or more")
        if not 0 <= self.port <= 65535:
            raise SettingError(f"port is {self.port}; give 0 to 65535")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise SettingError(
                f"the token has {len(self.token)} characters; give {SHORTEST_TOKEN} or more, such as from "
                "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is None and not is_loopback(self.host):
            raise SettingError(
                f"--host {self.host} lets other machines reach the server; give a token with --token-file "
                "or FOVEATE_TOKEN as well"
            )

    @property
    def names(self) -> frozenset[str]:
        """All names that a Host header may contain, in lower case."""
        return LOOPBACK | {name.lower() for name in (self.host, *self.hosts)}


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached from this machine only."""
    if host.lower() in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def roots(folders: tuple[Path, ...]) -> Mapping[str, Path]:
    """Return name -> folder; the name of a folder is the last part of its path.

    Raises:
        SettingError: a path is not a folder, or two folders have the same name.
    """
    by_name: dict[str, Path] = {}
    for folder in folders:
        if not is_folder(folder):
            raise SettingError(f"--root {display_path(folder)}: {missing(folder, 'folder')}")
        real = folder.resolve()
        if not real.name or real.name in by_name:
            raise SettingError(f"--root {folder}: another folder is named {real.name!r}, too; rename one")
        by_name[real.name] = real
    return MappingProxyType(by_name)
