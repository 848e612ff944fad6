"""Progress of a run: a bar on a terminal, lines elsewhere; always on stderr.

Knows:   terminals, and that a name may hold characters that a terminal obeys.
Ignores: what is being done.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from foveate.inference.batch import Progress
from foveate.paths import display_path

Show = Callable[[Progress], None]


@contextmanager
def progress_display() -> Iterator[Show]:
    """Yield a function that shows the progress of a run: a bar, or a line for each finished photograph."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _print_line


@contextmanager
def case_display(total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield a function of (photographs done, name) that shows a bar, or prints a line."""
    if not sys.stderr.isatty():
        yield lambda done, name: print(f"[{done}/{total}] {display_path(name)}", file=sys.stderr, flush=True)
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("photographs", total=total)
        yield lambda done, name: bar.update(task, completed=done, description=escape(display_path(name)))


@contextmanager
def reading_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function of (photographs done, of all, name) that shows a bar, if there is a terminal."""
    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total, name: bar.update(task, total=total, completed=done)


def _print_line(progress: Progress) -> None:
    """Print a line if a photograph is finished, or there is a notice."""
    if progress.notice:
        print(f"foveate: {progress.notice}", file=sys.stderr, flush=True)
    if progress.row is not None:
        print(_line(progress), file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Show]:
    """Show a bar with the time left; failures are printed above it."""
    columns = (
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[position]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, name="reading", position="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.total,
                completed=progress.done + progress.share,
                name=display_path(progress.name),
                position=f"{progress.done}/{progress.total}",
            )
            if progress.notice:
                console.print(f"foveate: {progress.notice}", markup=False, highlight=False, soft_wrap=True)
            if progress.row is not None and progress.row.status == "failed":
                console.print(_line(progress), markup=False, highlight=False, soft_wrap=True)

        yield show


def _line(progress: Progress) -> str:
    """Return the outcome of a photograph."""
    row = progress.row
    position = f"[{progress.done}/{progress.total}]"
    if row is None or row.status == "ok":
        return f"{position} {display_path(progress.name)}: ok"
    return f"{position} failed: {row.error}"
