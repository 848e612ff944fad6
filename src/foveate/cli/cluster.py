"""`foveate predict --on`: a run over a folder or a bucket, by workers on this machine or on a cluster.

Knows:   which call the options become, how a long run is shown, and what is printed at its end.
Ignores: how the run is done.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from foveate import models
from foveate.cli.engine_hint import print_hint
from foveate.cli.options.predict import PredictOptions, parse_shard
from foveate.cli.predict import make_settings
from foveate.cli.quantities import format_duration, format_size
from foveate.cluster import Placement, driver, estimates
from foveate.cluster.driver import StatusCallback
from foveate.cluster.estimates import RunEstimate
from foveate.cluster.inventory import Share
from foveate.cluster.job import MAX_ATTEMPTS, ClusterJob, ClusterReport, RunStatus
from foveate.engines.choice import EngineChoice
from foveate.wording import quantity
from foveate.writers import NOTICE

LINE_SECONDS = 30.0
"""Seconds between lines, where there is no terminal to show a bar on."""

WORKER_COUNTS = (1, 10, 100, 1000)
"""Workers for which an estimate says the hours, beside the number asked for."""


def predict_on_workers(source: str, options: PredictOptions) -> int:
    """Run or estimate, print the outcome and return the exit code.

    Args:
        source: address of a folder or bucket with photographs.
        options: consistent.

    Raises:
        UsageError: an option is misspelt.
        FoveateError: as `driver.run` and `estimates.estimate`.
    """
    job = _make_job(source, options)
    placement = Placement(on=options.cluster.on or "local", workers=options.workers)
    if options.cluster.plan:
        _print_estimate(estimates.estimate(job), options)
        return 0
    print_hint(job.choice)
    with _status_display() as show, redirect_stdout(sys.stderr):  # Ray prints the death of workers on stdout
        report = driver.run(job, placement.start_executor, log=options.cluster.log, on_status=show)
    _print_report(report, options)
    return 1 if report.status.failed else 0


def _make_job(source: str, options: PredictOptions) -> ClusterJob:
    index, of = parse_shard(options.cluster.shard)
    device = options.device
    return ClusterJob(
        source=source,
        target=options.out,
        package=models.load(models.DEFAULT if options.model is None else options.model),
        choice=EngineChoice(engine=device.engine, precision=device.precision, threads=device.threads),
        settings=make_settings(options),
        format=options.format,
        resume=options.resume,
        share=Share(index=index, of=of),
        max_attempts=MAX_ATTEMPTS if options.cluster.tries is None else options.cluster.tries,
    )


@contextmanager
def _status_display() -> Iterator[StatusCallback]:
    """Yield a function that shows the status of a run: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _StatusLines()
        return
    columns = (BarColumn(), TextColumn("{task.fields[status]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, status="starting workers")

        def show(status: RunStatus) -> None:
            bar.update(task, total=status.total, completed=status.done, status=format_status(status))

        yield show


class _StatusLines:
    """Prints a status line every `LINE_SECONDS`, and one at the end."""

    def __init__(self) -> None:
        self._next_line = time.monotonic()

    def __call__(self, status: RunStatus) -> None:
        if time.monotonic() >= self._next_line or status.done == status.total:
            self._next_line = time.monotonic() + LINE_SECONDS
            print(format_status(status), file=sys.stderr, flush=True)


def format_status(status: RunStatus) -> str:
    """Return the progress of a run in one line."""
    parts = [f"{status.done:,}/{quantity(status.total, 'photograph')}"]
    parts += [f"{status.done_before:,} of them by earlier runs"] * bool(status.done_before)
    parts += [f"{status.failed} failed"] * bool(status.failed)
    parts += [f"{status.retries} tried again"] * bool(status.retries)
    parts += [quantity(status.workers_lost, "worker") + " lost"] * bool(status.workers_lost)
    parts += [quantity(status.workers, "worker"), f"{status.rate * 60:.1f} a minute"]
    if status.seconds_left is not None and status.done < status.total:
        parts.append(f"{format_duration(status.seconds_left)} left")
    return ", ".join(parts)


def _print_report(report: ClusterReport, options: PredictOptions) -> None:
    """Print the outcome of all photographs, and where the results are."""
    if options.as_json:
        print(json.dumps(_report_record(report, options.out)))
        return
    status = report.status
    line = quantity(status.ok + status.done_before, "photograph") + " done"
    line += f", {status.done_before:,} of them by earlier runs" if status.done_before else ""
    line += f", {status.failed} failed" if status.failed else ""
    line += f", {quantity(report.skipped, 'other file')} skipped" if report.skipped else ""
    print(f"{line}; {status.seconds:.1f} s, after {report.startup_seconds:.1f} s to start the workers")
    if report.has_tables:
        target = options.out.rstrip("/")
        print(f"Look at {target}/summary.csv and {target}/summary.parquet")
    else:
        print("When all parts are done, run the same command without --shard to write the tables")
    print(NOTICE)


def _report_record(report: ClusterReport, target: str) -> dict[str, object]:
    status = report.status
    return {
        "out": target,
        "summary": f"{target.rstrip('/')}/summary.csv" if report.has_tables else None,
        "ok": status.ok + status.done_before,
        "done_before": status.done_before,
        "failed": status.failed,
        "skipped": report.skipped,
        "tries_that_failed": status.retries,
        "workers_lost": status.workers_lost,
        "seconds": round(status.seconds, 3),
        "starting_seconds": round(report.startup_seconds, 3),
    }


def _print_estimate(estimate: RunEstimate, options: PredictOptions) -> None:
    """Print what a run would cost."""
    counts = sorted({*WORKER_COUNTS, *([options.workers] if options.workers else [])})
    if options.as_json:
        print(json.dumps(_estimate_record(estimate, counts)))
        return
    done = estimate.photographs - estimate.remaining
    note = f", {done} of them done already" if done else ""
    print(f"{quantity(estimate.photographs, 'photograph')}{note}, {format_size(float(estimate.size))}")
    if estimate.remaining == 0:
        print("nothing is left to do")
        return
    if estimate.seconds_per_photograph is None:
        print(f"all {estimate.failed} photographs that were tried failed, so no time can be estimated")
        return
    print(
        f"{estimate.seconds_per_photograph:.2f} s a photograph ({min(estimate.seconds):.2f} to "
        f"{max(estimate.seconds):.2f} s, {quantity(len(estimate.seconds), 'photograph')} measured on "
        f"this machine, with one worker, {estimate.engine})"
    )
    print(f"{format_size(estimate.remaining * estimate.result_bytes)} of results to be written")
    for count in counts:
        duration = format_duration((estimate.hours(count) or 0.0) * 3600)
        print(f"{quantity(count, 'worker'):>13}: {duration}")
    print(
        "for machines like this one, without the time to start the workers and the time that a bucket takes; "
        "see docs/cluster.md"
    )


def _estimate_record(estimate: RunEstimate, counts: Sequence[int]) -> dict[str, object]:
    return {
        "photographs": estimate.photographs,
        "bytes": estimate.size,
        "left": estimate.remaining,
        "skipped": estimate.skipped,
        "seconds_each": estimate.seconds_per_photograph,
        "measured": [round(seconds, 3) for seconds in estimate.seconds],
        "sample_failed": estimate.failed,
        "result_bytes_each": round(estimate.result_bytes),
        "engine": estimate.engine,
        "hours": {str(count): estimate.hours(count) for count in counts},
    }
