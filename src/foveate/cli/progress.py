"""How a run is shown while it goes on: a bar on a terminal, a line a photograph elsewhere; always on stderr.

Knows:   terminals.
Ignores: what is being done.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from foveate.inference.batch import Progress

Tell = Callable[[Progress], None]


@contextmanager
def shown() -> Iterator[Tell]:
    """Yield what a run is to tell its progress to."""
    if sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _print_line


def _print_line(progress: Progress) -> None:
    """Print a line for each photograph that is finished."""
    if progress.row is not None:
        print(_line(progress), file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Tell]:
    """Show a bar with the time left; failures are printed above it."""
    columns = (
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[place]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, name="reading", place="")

        def tell(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.total,
                completed=progress.done + progress.share,
                name=progress.name,
                place=f"{progress.done}/{progress.total}",
            )
            if progress.row is not None and progress.row.status == "failed":
                console.print(_line(progress), markup=False, highlight=False, soft_wrap=True)

        yield tell


def _line(progress: Progress) -> str:
    """Say what came of a photograph."""
    row = progress.row
    place = f"[{progress.done}/{progress.total}]"
    if row is None or row.status == "ok":
        return f"{place} {progress.name}: ok"
    return f"{place} failed: {row.error}"
