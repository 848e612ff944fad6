"""Options of `foveate dicom`.

Knows:   their names, help and defaults, and how DICOM objects and secrets are named.
Ignores: the protocol of an archive.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveate.cli.options import Count, ModelName, UsageError

TextFile = Annotated[Path | None, Parameter(metavar="FILE")]

Date = Annotated[str | None, Parameter(metavar="YYYYMMDD[-YYYYMMDD]")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class LoginOptions:
    """Credentials for an archive."""

    user: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Name to log in with."""
    password_file: TextFile = None
    """File whose first line is the password; FOVEATE_DICOM_PASSWORD holds it, if not given."""
    token_file: TextFile = None
    """File whose first line is a bearer token, in place of a name and password."""
    ca: TextFile = None
    """Certificates that the archive's own is checked against, if the system does not know them."""

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

    out: Annotated[Path, Parameter(metavar="DIR")]
    """Folder for the photographs; created if it is missing."""
    study: Annotated[str | None, Parameter(metavar="UID")] = None
    """UID of one study."""
    date: Date = None
    """Studies of a day, or of a range of which one end may be left out."""
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

    out: Annotated[Path, Parameter(metavar="DIR")]
    """Folder for unfinished work, and for set-aside.json: photographs that cannot be processed, and why."""
    date: Date = None
    """Studies of a day, or of a range of which one end may be left out; all, if not given."""
    objects: Annotated[str, Parameter(name="--dicom", metavar="seg,sr,prob")] = "seg,sr"
    """DICOM objects to store, as in `foveate predict`."""
    model: ModelName = None
    """As in `foveate predict`."""
    threads: Count = None
    """Threads to compute with; as many as there are processors, if not given."""
    every: Annotated[float, Parameter(metavar="SECONDS")] = 10.0
    """Seconds between two queries."""
    once: Annotated[bool, Parameter(negative="")] = False
    """Query once, process what is new, and end; the exit code is 1 where a photograph was set aside."""
    login: LoginOptions = NO_LOGIN

    def require_consistent(self) -> None:
        """Check the options before anything that takes time.

        Raises:
            UsageError: they make no sense.
        """
        if self.every <= 0:
            raise UsageError(f"--every {self.every:g}: give seconds above 0.")
        self.login.require_consistent()
