"""What whoever starts the server may choose.

Knows:   every setting, its default and its reason, and which make no sense.
Ignores: how any of them is kept to.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from foveate import models
from foveate.engines import Precision
from foveate.engines.choice import EngineName
from foveate.errors import SettingError
from foveate.photographs import LIMIT_PIXELS

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine that only this machine can reach."""

SHORTEST_TOKEN = 16
"""Letters: fewer could be guessed by trying."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much the server takes on."""

    bytes: int = 256 << 20
    """Of one upload: a 100-megapixel TIFF of 8 bits has 300 MB uncompressed, 150 compressed."""
    pixels: int = LIMIT_PIXELS
    """Of one photograph."""
    waiting: int = 256
    """Photographs that wait to be looked at, those being received included."""
    seconds: float = 600.0
    """For one photograph: ten times what 100 megapixels take on one processor."""
    upload_seconds: float = 300.0
    """For the body of one request to arrive: 256 MB at 7 Mbit a second."""
    keep: timedelta | None = None
    """After which a photograph that is done or failed is deleted; None: when a person deletes it."""
    free: int = 512 << 20
    """Bytes that must be free on the disk before a photograph is accepted."""
    memory: int = 1536 << 20
    """Bytes of maps that are kept decoded: of four lesions of 100 megapixels, all of them corrected."""

    def __post_init__(self) -> None:
        for name in ("bytes", "pixels", "waiting", "seconds", "upload_seconds"):
            if getattr(self, name) <= 0:
                raise SettingError(f"limit {name} is {getattr(self, name)}; give more than 0")
        if self.keep is not None and self.keep <= timedelta(0):
            raise SettingError(f"results are kept for {self.keep}; give more than 0 days, or none for ever")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a server runs."""

    data: Path
    """Folder of everything that it keeps; made if need be."""
    model: str | Path = models.DEFAULT
    engine: EngineName | None = None
    precision: Precision | None = None
    threads: int | None = None
    """That each worker computes with; all processors if None."""
    workers: int = 1
    """Photographs looked at side by side."""
    limits: Limits = field(default_factory=Limits)
    roots: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Name -> folder below which photographs may be submitted by their path."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0: any that is free."""
    hosts: frozenset[str] = frozenset()
    """Names, besides its own, by which the server may be called."""
    double_grading: bool = False
    """Two people grade each photograph, unseen by each other, before it may be corrected."""
    token: str | None = None
    """Whoever asks must know it."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingError(f"workers is {self.workers}; give 1 or more")
        if not 0 <= self.port <= 65535:
            raise SettingError(f"port is {self.port}; give 0 to 65535")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise SettingError(
                f"the token has {len(self.token)} letters; give {SHORTEST_TOKEN} or more, such as those of "
                "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is None and not is_loopback(self.host):
            raise SettingError(
                f"--host {self.host} lets other machines in; give a token as well, by --token-file FILE"
            )

    @property
    def names(self) -> frozenset[str]:
        """Every name that a Host header may give, in lower case."""
        own = LOOPBACK if is_loopback(self.host) else {self.host.lower()} | LOOPBACK
        return frozenset(own) | {name.lower() for name in self.hosts}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, reached from itself only."""
    if host.lower() in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def roots(folders: tuple[Path, ...]) -> Mapping[str, Path]:
    """Name folders by their last part.

    Raises:
        SettingError: one is no folder, or two have the same name.
    """
    by_name: dict[str, Path] = {}
    for folder in folders:
        real = folder.resolve()
        if not real.is_dir():
            raise SettingError(f"--root {folder}: no such folder; check the path")
        if not real.name or real.name in by_name:
            raise SettingError(f"--root {folder}: there is one called {real.name!r} already; rename one")
        by_name[real.name] = real
    return MappingProxyType(by_name)
