"""Progress of a training: a bar on a terminal, lines elsewhere; always on stderr.

Knows:   terminals.
Ignores: what is being trained.
"""

import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from foveate.training import curves
from foveate.training.curves import Scores
from foveate.training.recipe import StageName
from foveate.training.trainer import StageProgress

LINE_SECONDS = 30
"""Time between two lines of a log, so that a day's log stays readable."""


def show(steps: Iterable[tuple[StageName, StageProgress]], *, quiet: bool = False) -> None:
    """Run through the steps and show their progress.

    Args:
        steps: the steps of all stages.
        quiet: show nothing; one of several processes is enough.
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


def _show_bar(steps: Iterable[tuple[StageName, StageProgress]]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}{task.fields[scores]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}
        for stage, step in steps:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=step.steps, loss=step.loss, scores="")
            bar.update(tasks[stage], completed=step.step, loss=step.loss, scores=_scores(step.scores))


def _print_lines(steps: Iterable[tuple[StageName, StageProgress]]) -> None:
    last_line, stage_start = -float("inf"), time.monotonic()
    first_step: dict[StageName, int] = {}
    last_scores = ""
    for stage, step in steps:
        now = time.monotonic()
        if stage not in first_step:
            first_step[stage], stage_start = step.step, now
        scores = _scores(step.scores)
        if now - last_line > LINE_SECONDS or step.step == step.steps or scores != last_scores:
            time_left = _time_left(now - stage_start, step.step - first_step[stage], step.steps - step.step)
            print(
                f"{stage} {step.step}/{step.steps} loss {step.loss:.4f}{scores}{time_left}",
                file=sys.stderr,
                flush=True,
            )
            last_line, last_scores = now, scores


def _scores(scores: Scores) -> str:
    """Return the average precision of each lesion at the last validation; nothing before the first."""
    figures = ("-" if score is None else f"{score:.3f}".removeprefix("0") for score in scores.values())
    pairs = [f"{lesion} {figure}" for lesion, figure in zip(scores, figures, strict=True)]
    return f", validation {' '.join(pairs)}" if pairs else ""


def _time_left(seconds: float, steps: int, remaining: int) -> str:
    """Return how long the remaining steps will take, once some steps were timed."""
    if not steps or not remaining:
        return ""
    minutes = seconds / steps * remaining / 60
    return f", {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"
