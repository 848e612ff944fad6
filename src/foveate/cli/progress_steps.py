"""How training is shown while it goes on: a bar on a terminal, else a line now and then; always on stderr.

Knows:   terminals.
Ignores: what is being trained.
"""

import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from foveate.training import curves
from foveate.training.recipe import StageName
from foveate.training.trainer import Progress as Step

SECONDS = 30
"""Between two lines of a log: a day's log stays readable."""


def show(steps: Iterable[tuple[StageName, Step]], *, quiet: bool = False) -> None:
    """Run through the steps and show them.

    Args:
        steps: of all stages.
        quiet: show nothing: of several processes one is enough.
    """
    if quiet:
        for _ in steps:
            pass
        return
    if not curves.has_tensorboard():
        print("tensorboard is not installed: curves are kept as CSV only", file=sys.stderr)
    if sys.stderr.isatty():
        _show_bar(steps)
    else:
        _print_lines(steps)


def _show_bar(steps: Iterable[tuple[StageName, Step]]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}
        for stage, step in steps:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=step.steps, loss=step.loss)
            bar.update(tasks[stage], completed=step.step, loss=step.loss)


def _print_lines(steps: Iterable[tuple[StageName, Step]]) -> None:
    last, begun = -float("inf"), time.monotonic()
    first: dict[StageName, int] = {}
    for stage, step in steps:
        now = time.monotonic()
        if stage not in first:
            first[stage], begun = step.step, now
        if now - last > SECONDS or step.step == step.steps:
            left = _left(now - begun, step.step - first[stage], step.steps - step.step)
            print(f"{stage} {step.step}/{step.steps} loss {step.loss:.4f}{left}", file=sys.stderr, flush=True)
            last = now


def _left(seconds: float, taken: int, remaining: int) -> str:
    """Return how long the remaining steps will take, once some steps were timed."""
    if not taken or not remaining:
        return ""
    minutes = seconds / taken * remaining / 60
    return f", {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"
