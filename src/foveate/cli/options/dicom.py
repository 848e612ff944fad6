"""Options of `foveate dicom`.

Knows:   their names, help and defaults, and how DICOM objects and secrets are named.
Ignores: the protocol of an archive.
"""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from foveate.cli.options import (
    Flag,
    InputFile,
    ModelOption,
    ObjectKinds,
    OutputFolder,
    Threads,
    UsageError,
)

TextFile = InputFile | None

LONGEST_WAIT = 7 * 24 * 3600
"""Longest time between two queries of an archive, seconds."""

Date = Annotated[str | None, Parameter(metavar="YYYYMMDD[-YYYYMMDD]")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class LoginOptions:
    """Credentials for an archive."""

    user: Annotated[str | None, Parameter(metavar="NAME")] = None
    """User name to log in to the archive with."""
    password_file: TextFile = None
    """File whose first line is the password; the variable FOVEATE_DICOM_PASSWORD by default."""
    token_file: TextFile = None
    """File whose first line is a bearer token, to log in with instead of a user name and password."""
    ca: TextFile = None
    """File of certificates to check the archive's own with, if the system does not trust it."""

    def require_consistent(self) -> None:
        """Check that there is one way to log in.

        Raises:
            UsageError: both a name and a token are given.
        """
        if self.user is not None and self.token_file is not None:
            raise UsageError("give either --user or --token-file.")


NO_LOGIN = LoginOptions()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class PullOptions:
    """Options of `foveate dicom pull`."""

    out: OutputFolder
    """Folder for the photographs, with a subfolder for each study; created if it is missing."""
    study: Annotated[str | None, Parameter(metavar="UID")] = None
    """UID of the study to fetch."""
    date: Date = None
    """Fetch all studies of a day, or of a range of days; YYYYMMDD- and -YYYYMMDD leave one end open."""
    login: LoginOptions = NO_LOGIN

    def require_consistent(self) -> None:
        """Check that the studies are named in one way.

        Raises:
            UsageError: they are not.
        """
        if (self.study is None) == (self.date is None):
            raise UsageError("dicom pull: give either --study or --date.")
        self.login.require_consistent()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """Options of `foveate dicom watch`."""

    out: OutputFolder
    """Folder for unfinished work, and for set-aside.json, which lists the photographs that cannot be
    processed, and why."""
    date: Date = None
    """Watch only the studies of a day, or of a range of days, of which one end may be left open."""
    objects: Annotated[ObjectKinds, Parameter(name="--dicom")] = "seg,sr"
    """DICOM objects to store, as in `foveate predict`."""
    model: ModelOption = None
    threads: Threads = None
    every: Annotated[float, Parameter(metavar="SECONDS")] = 10.0
    """Seconds between two queries of the archive."""
    once: Flag = False
    """Query once, process what is new, and stop; the exit code is 1 if a photograph was set aside or left
    for later."""
    login: LoginOptions = NO_LOGIN

    def require_consistent(self) -> None:
        """Check the options before anything that takes time.

        Raises:
            UsageError: they make no sense.
        """
        if not 0 < self.every <= LONGEST_WAIT:
            raise UsageError(f"--every {self.every:g}: give seconds above 0, up to {LONGEST_WAIT:,}.")
        self.login.require_consistent()
