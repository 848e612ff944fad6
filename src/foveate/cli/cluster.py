"""`foveate predict --on`: a run over a folder or a bucket, by workers here or on a cluster.

Knows:   what the options mean together, how a long run is shown, and what is said at its end.
Ignores: how it is done.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveate.cli.options import UsageError

if TYPE_CHECKING:
    from foveate.cluster.job import Report, Standing
    from foveate.cluster.plans import Plan
    from foveate.engines.choice import Choice
    from foveate.inference.pipeline import Settings
    from foveate.models import Package
    from foveate.writers import Format

PERIOD = 30.0
"""Seconds between lines, where there is no terminal to show a bar on."""

CREWS = (1, 10, 100, 1000)
"""Workers whose hours a plan tells, beside those asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """Options of predict that only a run by workers has."""

    on: str | None
    shard: str | None
    tries: int | None
    log: str | None
    plan: bool
    workers: int | None
    as_json: bool

    @property
    def any(self) -> bool:
        """Whether a run by workers, or its plan, is meant."""
        return self.on is not None or self.plan

    def require_sense(self, paths: Sequence[str], *, resume: bool) -> None:
        """See that the options make sense together, before anything that takes time.

        Raises:
            UsageError: they do not.
        """
        if self.any:
            _require_one(paths)
            share(self.shard)
            if self.shard is not None and not (resume or self.plan):
                raise UsageError("--shard needs --resume: each part goes on with what others have begun.")
            return
        given = {"--shard": self.shard, "--tries": self.tries, "--log": self.log}
        if named := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"{named[0]} is for a run by workers; give --on local or --on ray://HOST.")


def share(text: str | None) -> tuple[int, int]:
    """'2/8' -> the second of eight parts; nothing is all, the first of one.

    Raises:
        UsageError: it is no such part.
    """
    index, slash, of = ("1/1" if text is None else text).partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
        raise UsageError(f"--shard {text!r}: give I/N with I from 1 to N, such as 3/16.")
    return int(index), int(of)


def run(
    wishes: Wishes,
    *,
    paths: Sequence[str],
    out: str,
    package: "Package",
    choice: "Choice",
    settings: "Settings",
    format: "Format",
    resume: bool,
) -> int:
    """Run or plan; print what came of it and return the exit code.

    Args:
        wishes: which of both, and by whom.
        paths: one source.
        out: the target.
        package: the model.
        choice: engine, precision, threads of each worker.
        settings: what a person chose.
        format: of the probability maps.
        resume: go on with what the target holds.

    Raises:
        FoveateError: as `driver.run` and `plans.estimate`.
    """
    from foveate.errors import ClusterError  # noqa: PLC0415, with what computes

    try:
        from foveate.cluster import Where, driver, inventory, job, plans  # noqa: PLC0415, an optional extra
    except ImportError as error:
        raise ClusterError(f"--on needs {error.name}; pip install 'foveate[cluster]'") from None
    index, of = share(wishes.shard)
    asked = job.Programme(
        source=paths[0],
        target=out,
        package=package,
        choice=choice,
        settings=settings,
        format=format,
        resume=resume,
        share=inventory.Share(index=index, of=of),
        tries=job.TRIES if wishes.tries is None else wishes.tries,
    )
    where = Where(on=wishes.on or "local", workers=wishes.workers)
    if wishes.plan:
        _print_plan(plans.estimate(asked), wishes)
        return 0
    with _shown() as tell, redirect_stdout(sys.stderr):  # Ray prints what dies on stdout
        report = driver.run(asked, where, log=wishes.log, tell=tell)
    _print(report, out, wishes)
    return 1 if report.standing.failed else 0


def _require_one(paths: Sequence[str]) -> None:
    """See that there is one place that photographs come from.

    Raises:
        UsageError: there is not one, or it is no place.
    """
    if len(paths) != 1:
        raise UsageError(f"--on: {len(paths)} paths; give one folder or one s3://BUCKET/PREFIX.")
    if "://" not in paths[0] and not Path(paths[0]).is_dir():
        raise UsageError(f"--on: {paths[0]} is no folder; give one folder or one s3://BUCKET/PREFIX.")


@contextmanager
def _shown() -> "Iterator[Callable[[Standing], None]]":
    """Yield what a run is to tell its standing to: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console  # noqa: PLC0415, where there is a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, told="getting workers together")

        def tell(standing: "Standing") -> None:
            bar.update(task, total=standing.total, completed=standing.done, told=told(standing))

        yield tell


class _Lines:
    """Prints a line now and then."""

    def __init__(self) -> None:
        self._due = time.monotonic()

    def __call__(self, standing: "Standing") -> None:
        if time.monotonic() >= self._due or standing.done == standing.total:
            self._due = time.monotonic() + PERIOD
            print(told(standing), file=sys.stderr, flush=True)


def told(standing: "Standing") -> str:
    """Say in one line how far a run is."""
    parts = [f"{standing.done}/{standing.total} photographs"]
    parts += [f"{standing.kept} of them before"] * bool(standing.kept)
    parts += [f"{standing.failed} set aside"] * bool(standing.failed)
    parts += [f"{standing.again} tried again"] * bool(standing.again)
    parts += [f"{standing.lost} workers lost"] * bool(standing.lost)
    parts += [f"{standing.workers} workers", f"{standing.rate * 60:.1f} a minute"]
    if standing.seconds_left is not None and standing.done < standing.total:
        parts.append(f"{duration(standing.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Say how long something takes: '45 s', '12 min', '3 h 05 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _print(report: "Report", target: str, wishes: Wishes) -> None:
    """Say what became of all photographs, and where to look."""
    standing, place = report.standing, target.rstrip("/")
    if wishes.as_json:
        found = {
            "out": target,
            "summary": f"{place}/summary.csv" if report.tables else None,
            "ok": standing.ok + standing.kept,
            "done_before": standing.kept,
            "failed": standing.failed,
            "skipped": report.skipped,
            "tries_that_failed": standing.again,
            "workers_lost": standing.lost,
            "seconds": round(standing.seconds, 3),
            "starting_seconds": round(report.starting, 3),
        }
        print(json.dumps(found))
        return
    from foveate.writers import NOTICE  # noqa: PLC0415, with what computes

    line = f"{standing.ok + standing.kept} photographs done"
    line += f", {standing.kept} of them by earlier runs" if standing.kept else ""
    line += f", {standing.failed} set aside with their errors" if standing.failed else ""
    line += f", {report.skipped} other files skipped" if report.skipped else ""
    print(f"{line}; {standing.seconds:.1f} s after {report.starting:.1f} s of starting")
    if report.tables:
        print(f"Look at {place}/summary.csv and {place}/summary.parquet")
    else:
        print("When all parts are done, the same line without --shard writes the tables")
    print(NOTICE)


def _print_plan(plan: "Plan", wishes: Wishes) -> None:
    """Say what a run would cost."""
    crews = sorted({*CREWS, *([wishes.workers] if wishes.workers else [])})
    if wishes.as_json:
        print(json.dumps(_plan_record(plan, crews)))
        return
    done = f", {plan.photographs - plan.left} of them done" if plan.left < plan.photographs else ""
    print(f"{plan.photographs} photographs{done}, {size(float(plan.size))}")
    if plan.each is None:
        print(f"none of {plan.failed} photographs tried could be looked at, so no time can be told")
        return
    print(
        f"{plan.each:.2f} s a photograph ({min(plan.seconds):.2f} to {max(plan.seconds):.2f}, "
        f"{len(plan.seconds)} measured here, by one worker alone, {plan.label})"
    )
    print(f"{size(plan.left * plan.results)} of results to be written")
    for crew in crews:
        print(f"{crew:5} worker{'s' * (crew > 1)}: {duration((plan.hours(crew) or 0.0) * 3600)}")
    print("on machines like this one, starting and a bucket's own time apart; docs/cluster.md says what else")


def _plan_record(plan: "Plan", crews: Sequence[int]) -> dict[str, object]:
    return {
        "photographs": plan.photographs,
        "bytes": plan.size,
        "left": plan.left,
        "skipped": plan.skipped,
        "seconds_each": plan.each,
        "measured": [round(seconds, 3) for seconds in plan.seconds],
        "sample_failed": plan.failed,
        "result_bytes_each": round(plan.results),
        "engine": plan.label,
        "hours": {str(crew): plan.hours(crew) for crew in crews},
    }


def size(count: float) -> str:
    """Say how much a number of bytes is: '1.2 GB'."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
