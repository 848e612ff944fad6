"""`foveate dicom pull`, `push` and `watch`: photographs out of a DICOM archive, results into it.

Knows:   which calls their options become, and how events are shown.
Ignores: the protocol of an archive.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from foveate import atomic_files, models
from foveate.cli.engine_hint import print_hint
from foveate.cli.options import parse_date, read_first_line
from foveate.cli.options.dicom import LoginOptions, PullOptions, WatchOptions
from foveate.cli.predict import parse_objects
from foveate.dicom import transfer
from foveate.dicom import watch as watching
from foveate.dicom.connection import Archive, Credentials
from foveate.dicom.transfer import TransferCounts, TransferStep
from foveate.dicom.watch import WatchEvent, WatchTask
from foveate.engines.choice import NO_CHOICE
from foveate.inference.api import load
from foveate.paths import display_path
from foveate.wording import quantity

PASSWORD_VARIABLE = "FOVEATE_DICOM_PASSWORD"


def pull(url: str, options: PullOptions) -> int:
    """Fetch the photographs of studies and return the exit code.

    Raises:
        UsageError: an option is misspelt.
        FoveateError: the archive or the folder refuses.
    """
    date = parse_date(options.date)
    archive = open_archive(url, options.login)
    studies = archive.studies(date=date) if options.study is None else (options.study,)
    counts = transfer.pull(archive, options.out, studies, _step_printer("fetched", "exists already"))
    print(
        f"{options.out}: {quantity(counts.transferred, 'photograph')} fetched, {counts.existing} existed "
        f"already{_refused_text(counts)}; {quantity(len(studies), 'study', 'studies')}"
    )
    return 1 if counts.refused else 0


def push(folder: Path, url: str, login: LoginOptions) -> int:
    """Store the DICOM results of a folder in the archive and return the exit code.

    Raises:
        FoveateError: the archive refuses, or a file cannot be read.
    """
    archive = open_archive(url, login)
    counts = transfer.push(archive, folder, _step_printer("stored", "exists already"))
    print(
        f"{archive.url}: {quantity(counts.transferred, 'object')} stored, {counts.existing} existed already"
        f"{_refused_text(counts)}"
    )
    return 1 if counts.refused else 0


def watch(url: str, options: WatchOptions) -> int:
    """Process photographs as they come into the archive; return the exit code after a single query.

    Raises:
        UsageError: an option is misspelt.
        FoveateError: the archive or the folder refuses.
    """
    objects, date = parse_objects(options.objects), parse_date(options.date)
    print_hint(NO_CHOICE)
    task = WatchTask(
        archive=open_archive(url, options.login),
        model=load(models.DEFAULT if options.model is None else options.model, threads=options.threads),
        out=options.out,
        objects=objects,
        date=date,
    )
    failures: list[str] = []

    def show(event: WatchEvent) -> None:
        print(event.text, file=sys.stderr, flush=True)
        if event.failed:
            failures.append(event.text)

    with atomic_files.reserve(task.out):
        if options.once:
            done = watching.process_new(task, show)
            print(f"{task.archive.url}: results of {quantity(done, 'photograph')} stored")
            return 1 if failures else 0
        watching.watch(task, options.every, lambda: False, show)
    return 0


def open_archive(url: str, login: LoginOptions) -> Archive:
    """Return the archive at an address, with the credentials that the options name.

    Raises:
        SettingError: a file cannot be read, or the address is invalid.
    """
    if login.password_file is None:
        password = os.environ.get(PASSWORD_VARIABLE)
    else:
        password = read_first_line(login.password_file)
    token = None if login.token_file is None else read_first_line(login.token_file)
    return Archive(url, Credentials(user=login.user, password=password, token=token, ca_file=login.ca))


def _refused_text(counts: TransferCounts) -> str:
    """Return how many objects were refused; an empty text if none was."""
    return f", {len(counts.refused)} refused" if counts.refused else ""


def _step_printer(moved: str, existing: str) -> Callable[[TransferStep], None]:
    """Return a function that prints a line for each object."""

    def show(step: TransferStep) -> None:
        outcome = step.error or (moved if step.transferred else existing)
        print(f"{display_path(step.name)}: {outcome}", file=sys.stderr, flush=True)

    return show
