"""`foveate dicom`: photographs out of a DICOM archive, results into it.

Knows:   the options of `pull`, `push`, `watch` and `key`, and how what happens is shown.
Ignores: how an archive is spoken to.
"""

import importlib
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from foveate.cli import options
from foveate.errors import OutputError, SettingError

if TYPE_CHECKING:
    from foveate.dicom.connection import Archive
    from foveate.dicom.transfer import Step
    from foveate.dicom.watch import Event

dicom = App(name="dicom", help="Fetch photographs from a DICOM archive, and store results in it (DICOMweb).")

Url = Annotated[str, Parameter(metavar="URL")]
File = Annotated[Path | None, Parameter(metavar="FILE")]
Date = Annotated[str | None, Parameter(metavar="YYYYMMDD[-YYYYMMDD]")]

KEY_BYTES = 32
"""Of a new secret: as long as the digest that is made with it."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Options by which an archive is asked; what stands below them is their help."""

    user: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Name to log in by."""
    password_file: File = None
    """File whose first line is the password. FOVEATE_DICOM_PASSWORD holds it, if not given."""
    token_file: File = None
    """File whose first line is a bearer token, in place of a name and password."""
    ca: File = None
    """Certificates by which the archive's own is checked, if it is none that the system knows."""

    def archive(self, url: str) -> "Archive":
        """Return the archive at an address, asked with what the options say.

        Raises:
            UsageError: both a name and a token are given.
            SettingError: a file cannot be read, or the address is none.
        """
        from foveate.dicom.connection import Access, Archive  # noqa: PLC0415

        if self.user is not None and self.token_file is not None:
            raise options.UsageError("name either --user or --token-file.")
        secret = self.password_file
        password = os.environ.get("FOVEATE_DICOM_PASSWORD") if secret is None else options.first_line(secret)
        token = None if self.token_file is None else options.first_line(self.token_file)
        return Archive(url, Access(user=self.user, password=password, token=token, authority=self.ca))


@dicom.command(usage="Usage: foveate dicom pull URL --out DIR (--study UID | --date DATE) [OPTIONS]")
def pull(
    url: Url,
    /,
    *,
    out: Annotated[Path, Parameter(metavar="DIR")],
    study: Annotated[str | None, Parameter(metavar="UID")] = None,
    date: Date = None,
    login: Login = Login(),
) -> int:
    """Fetch the photographs of studies to DIR, a folder a study; what lies there is not fetched again.

    Parameters
    ----------
    url
        Root of the archive's DICOMweb service, such as http://host:8042/dicom-web.
    out
        Folder for the photographs; made if need be.
    study
        UID of one study.
    date
        Studies of a day, or of a range of which one end may be left out.
    """
    if (study is None) == (date is None):
        raise options.UsageError("dicom pull: name either --study or --date.")
    transfer = _archive_module("transfer")
    archive = login.archive(url)
    studies = archive.studies(date=options.date(date)) if study is None else (study,)
    moved = transfer.pull(archive, out, studies, _shown("fetched", "lies there"))
    print(f"{out}: {moved.done} photographs fetched, {moved.kept} lay there, of {len(studies)} studies")
    return 0


@dicom.command(usage="Usage: foveate dicom push DIR URL [OPTIONS]")
def push(
    folder: Annotated[Path, Parameter(metavar="DIR")],
    url: Url,
    /,
    *,
    login: Login = Login(),
) -> int:
    """Store the DICOM results of a folder in the archive; what is there is not stored again.

    Parameters
    ----------
    folder
        What `foveate predict --dicom` has written.
    url
        Root of the archive's DICOMweb service, such as http://host:8042/dicom-web.
    """
    transfer = _archive_module("transfer")
    archive = login.archive(url)
    moved = transfer.push(archive, folder, _shown("stored", "is there"))
    print(f"{url}: {moved.done} objects stored, {moved.kept} were there")
    return 0


@dicom.command(usage="Usage: foveate dicom watch URL --out DIR [OPTIONS]")
def watch(
    url: Url,
    /,
    *,
    out: Annotated[Path, Parameter(metavar="DIR")],
    date: Date = None,
    objects: Annotated[str, Parameter(name="--dicom", metavar="seg,sr,prob")] = "seg,sr",
    model: Annotated[str | None, Parameter(metavar="NAME|FOLDER")] = None,
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
    every: Annotated[float, Parameter(metavar="SECONDS")] = 10.0,
    once: Annotated[bool, Parameter(negative="")] = False,
    login: Login = Login(),
) -> int:
    """Look at photographs as they come into the archive, and store their results there, until interrupted.

    Parameters
    ----------
    url
        Root of the archive's DICOMweb service, such as http://host:8042/dicom-web.
    out
        Folder for what is under way, and for set-aside.json: photographs that cannot be looked at, and why.
    date
        Studies of a day, or of a range of which one end may be left out; all, if not given.
    objects
        What is stored, as in `foveate predict`.
    model
        As in `foveate predict`.
    threads
        To compute with; as many as there are processors, if not given.
    every
        Seconds between two looks.
    once
        Look once, do what is new, and end; the exit code is 1 where a photograph was set aside.
    """
    if every <= 0:
        raise options.UsageError(f"--every {every:g}: give seconds above 0.")
    asked, dates = options.objects(objects), options.date(date)
    watching = _archive_module("watch")
    # What computes is imported here, so that --help need not wait for it.
    from foveate import models  # noqa: PLC0415
    from foveate.inference.api import load  # noqa: PLC0415

    task = watching.Task(
        archive=login.archive(url),
        model=load(models.DEFAULT if model is None else model, threads=threads),
        out=out,
        objects=asked,
        date=dates,
    )
    failed: list[str] = []

    def tell(event: "Event") -> None:
        print(event.text, file=sys.stderr, flush=True)
        if event.failed:
            failed.append(event.text)

    if once:
        done = watching.once(task, tell)
        print(f"{url}: results of {done} photographs stored")
        return 1 if failed else 0
    watching.watch(task, every, lambda: False, tell)
    return 0


@dicom.command(usage="Usage: foveate dicom key FILE")
def key(file: Annotated[Path, Parameter(metavar="FILE")], /) -> int:
    """Make a new secret, in a file that only you can read, for results without the patient.

    Parameters
    ----------
    file
        Where to; it must not be there yet. Keep it apart: who has it can tell which UID replaced which.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputError(
            f"{file}: cannot be made ({error.strerror}); choose another name or folder"
        ) from None
    with os.fdopen(handle, "w") as opened:
        opened.write(secrets.token_hex(KEY_BYTES) + "\n")
    print(f"{file}: a new secret; results made with it can be told from each other, never whose they are")
    return 0


def _archive_module(name: str) -> ModuleType:
    """Return a part of `foveate.dicom`.

    Raises:
        SettingError: what it needs is not installed.
    """
    try:
        return importlib.import_module(f"foveate.dicom.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("foveate"):
            raise
        raise SettingError("to speak to a DICOM archive: pip install 'foveate[dicom]'") from None


def _shown(done: str, kept: str) -> "Callable[[Step], None]":
    """Return what prints a line an object."""

    def tell(step: "Step") -> None:
        print(f"{step.what}: {done if step.done else kept}", file=sys.stderr, flush=True)

    return tell
