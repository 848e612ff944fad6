"""How training is shown while it goes on: a bar on a terminal, else a line now and then; always on stderr.

Knows:   terminals.
Ignores: what is being trained.
"""

import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from foveate.training.recipe import StageName
from foveate.training.run import Progress as Step

SECONDS = 30
"""Between two lines of a log: a day's log stays readable."""


def show(steps: Iterable[tuple[StageName, Step]]) -> None:
    """Run through the steps and show them."""
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
    last = -float("inf")
    for stage, step in steps:
        if time.monotonic() - last > SECONDS or step.step == step.steps:
            print(f"{stage} {step.step}/{step.steps} loss {step.loss:.4f}", file=sys.stderr, flush=True)
            last = time.monotonic()
