"""Reports of whole batches as PDF, made one after the other in the background.

Knows:   how far each report is, when it is cancelled, and when its file is deleted.
Ignores: HTTP, and what a report says.

Reports live as long as the server and at most `KEEP_SECONDS` after they were made. A report is deleted with
any photograph that it shows.
"""

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from foveate import atomic_files
from foveate.errors import OutputError
from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.exports import report_pdf
from foveate.server.exports.report import Reports
from foveate.server.monitoring import log_traceback
from foveate.server.storage import refusals
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Record

LOG = logging.getLogger("foveate.server")

State = Literal["waiting", "working", "done", "failed"]

MOST_PHOTOGRAPHS = 300
"""Photographs in one report: 12 megapixels take 2.5 s of processor time each, and about a megabyte (our
choice)."""

MOST_JOBS = 8
"""Reports that are waiting, being made or kept (our choice). The oldest kept one gives way to a new one."""

KEEP_SECONDS = 3600.0
"""Time for which a finished report is kept (our choice)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportJob:
    """One report of a batch."""

    id: str
    batch: str
    title: str
    paper: report_pdf.Paper
    records: tuple[Record, ...]
    """The photographs that were done when the report was asked for; each page shows one as it is by then."""
    without_result: int
    """Number of photographs of the batch that were not done by then."""
    path: Path
    """Of the finished file."""
    state: State = "waiting"
    done: int = 0
    """Photographs of which the page is made; at the end, fewer than all if some are being analysed again."""
    error: str | None = None
    finished: float | None = None
    """On the clock of `time.monotonic`."""

    @property
    def is_open(self) -> bool:
        """Whether it is waiting or being made."""
        return self.state in {"waiting", "working"}


class _StoppedError(Exception):
    """The report is cancelled, or the server stops."""


class ReportJobs:
    """The reports that are made in the background, by one thread."""

    def __init__(self, reports: Reports, data_dir: DataDir) -> None:
        """Build it; `start` lets it work."""
        self._reports = reports
        self._data_dir = data_dir
        self._jobs: dict[str, ReportJob] = {}
        self._changed = threading.Condition()
        self._closing = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._work, daemon=True).start()

    def close(self) -> None:
        """Stop at the next page; the data folder deletes unfinished files when it is next opened."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def add(
        self,
        batch: str,
        title: str,
        records: Sequence[Record],
        paper: report_pdf.Paper,
        *,
        without_result: int,
    ) -> ReportJob:
        """Begin a report.

        Args:
            batch: identifier of the batch.
            title: of the document.
            records: the photographs that are done.
            paper: on which it is to be printed.
            without_result: number of photographs of the batch that are not done.

        Raises:
            ServiceError: no photograph is done, there are more than `MOST_PHOTOGRAPHS`, or `MOST_JOBS`
                reports are waiting or being made.
        """
        if not records:
            raise errors.not_ready("no photograph of the batch is done yet; wait for the first")
        if len(records) > MOST_PHOTOGRAPHS:
            raise errors.invalid(
                f"{len(records)} photographs are done, but a report holds at most {MOST_PHOTOGRAPHS}; "
                "divide the batch"
            )
        identifier = uuid.uuid4().hex
        job = ReportJob(
            id=identifier,
            batch=batch,
            title=title,
            paper=paper,
            records=tuple(records),
            without_result=without_result,
            path=self._data_dir.incoming / f"{identifier}.pdf",
        )
        with self._changed:
            self._delete_old()
            self._make_room()
            self._jobs[identifier] = job
            self._changed.notify_all()
        return job

    def get(self, identifier: str) -> ReportJob:
        """Return a report.

        Raises:
            ServiceError: there is none.
        """
        with self._changed:
            self._delete_old()
            job = self._jobs.get(identifier)
        if job is None:
            raise errors.not_found("report")
        return job

    def file(self, identifier: str) -> bytes:
        """Return the finished document.

        Raises:
            ServiceError: there is no such report, or it is not finished.
        """
        job = self.get(identifier)
        if job.state != "done":
            raise errors.not_ready(job.error or f"the report is {job.state}")
        try:
            return job.path.read_bytes()
        except FileNotFoundError:
            raise errors.not_found("report") from None

    def delete(self, identifier: str) -> None:
        """Cancel a report, or delete it with its file if it is finished.

        Raises:
            ServiceError: there is none.
        """
        job = self.get(identifier)
        with self._changed:
            if job.id in self._jobs:
                self._remove(job.id)

    def forget(self, photograph: str) -> None:
        """Delete what shows a photograph that was deleted; a report that is being made fails."""
        with self._changed:
            for job in list(self._jobs.values()):
                if photograph not in {record.id for record in job.records}:
                    continue
                if job.is_open:
                    self._end(job.id, "failed", "a photograph was deleted meanwhile; begin the report again")
                else:
                    self._remove(job.id)

    # Under the lock

    def _remove(self, identifier: str) -> None:
        self._jobs.pop(identifier).path.unlink(missing_ok=True)

    def _delete_old(self) -> None:
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if job.finished is not None and now - job.finished > KEEP_SECONDS:
                self._remove(job.id)

    def _make_room(self) -> None:
        """Delete the oldest finished report if there are as many as there may be.

        Raises:
            ServiceError: all of them are waiting or being made.
        """
        if len(self._jobs) < MOST_JOBS:
            return
        finished = [job.id for job in self._jobs.values() if not job.is_open]
        if not finished:
            raise errors.busy("reports", 60)
        self._remove(finished[0])

    def _end(self, identifier: str, state: State, error: str | None = None) -> None:
        self._jobs[identifier] = replace(
            self._jobs[identifier], state=state, error=error, finished=time.monotonic()
        )

    # The thread

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._make(job)
            except _StoppedError:
                LOG.info("a report was cancelled")
            except Exception as error:
                if not self._closing:  # what it works with is being closed
                    self._fail(job, error)

    def _next(self) -> ReportJob | None:
        """Return the report that waits longest, or None when the server stops."""
        with self._changed:
            while not self._closing:
                for job in self._jobs.values():
                    if job.state == "waiting":
                        self._jobs[job.id] = replace(job, state="working")
                        return job
                self._changed.wait()
        return None

    def _make(self, job: ReportJob) -> None:
        pages = self._reports.reports_of_done(
            job.records, job.without_result, lambda made: self._require_wanted(job, made)
        )
        content = report_pdf.pdf(job.title, pages, job.paper, lambda: self._require_wanted(job, len(pages)))
        atomic_files.write_file(job.path, content)
        with self._changed:
            if self._is_wanted(job):
                self._jobs[job.id] = replace(self._jobs[job.id], done=len(pages))
                self._end(job.id, "done")
            else:
                job.path.unlink(missing_ok=True)

    def _require_wanted(self, job: ReportJob, done: int) -> None:
        """Note how many pages are made.

        Raises:
            _StoppedError: the report is cancelled, or the server stops.
        """
        with self._changed:
            if self._closing or not self._is_wanted(job):
                raise _StoppedError
            self._jobs[job.id] = replace(self._jobs[job.id], done=done)

    def _is_wanted(self, job: ReportJob) -> bool:
        """Return whether a report has neither been cancelled nor failed."""
        return job.id in self._jobs and self._jobs[job.id].state == "working"

    def _fail(self, job: ReportJob, error: Exception) -> None:
        if isinstance(error, ServiceError):
            line = error.message
        elif isinstance(error, OSError | OutputError):
            line = refusals.disk_error(error).message
        else:
            log_traceback(error, "while making a report")
            line = errors.CRASHED
        with self._changed:
            if self._is_wanted(job):
                self._end(job.id, "failed", line)
