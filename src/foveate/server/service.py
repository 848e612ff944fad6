"""The running server: creates its parts and connects them.

Knows:   which part needs which, and in which order they start and stop.
Ignores: HTTP.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from foveate import models
from foveate.server.errors import not_found
from foveate.server.exports.downloads import Exports
from foveate.server.exports.report import Reports
from foveate.server.exports.report_jobs import ReportJobs
from foveate.server.jobs.events import EventBroker
from foveate.server.jobs.progress import ProgressRegister
from foveate.server.jobs.protocol import ModelInfo, ReadMaskTask
from foveate.server.jobs.queue import JobQueue
from foveate.server.jobs.worker_pool import WorkerPool
from foveate.server.monitoring import Metrics
from foveate.server.options import Options
from foveate.server.presenters.photographs import Presenter
from foveate.server.review.agreement import Agreements
from foveate.server.review.changes import PhotographEditor
from foveate.server.review.checks import require_done
from foveate.server.review.corrections import Corrections
from foveate.server.review.gradings import Gradings
from foveate.server.review.measures import PhotographMeasures
from foveate.server.review.references import References
from foveate.server.sessions import Sessions
from foveate.server.storage.cache import MapCache
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import BatchRecord, Database, Record
from foveate.server.storage.gradings import Grading
from foveate.server.storage.tiles import Packs
from foveate.writers import maps


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running server."""

    options: Options
    model: ModelInfo
    """The model that makes the predictions."""
    database: Database
    data_dir: DataDir
    jobs: JobQueue
    memory: MapCache
    packs: Packs
    corrections: Corrections
    references: References
    measures: PhotographMeasures
    gradings: Gradings
    editor: PhotographEditor
    agreements: Agreements
    exports: Exports
    reports: Reports
    report_jobs: ReportJobs
    presenter: Presenter
    events: EventBroker
    metrics: Metrics
    sessions: Sessions

    def record(self, identifier: str) -> Record:
        """Return a photograph.

        Raises:
            ServiceError: there is no such photograph.
        """
        record = self.database.get(identifier)
        if record is None:
            raise not_found("photograph")
        return record

    def done(self, identifier: str) -> Record:
        """Return a photograph that is done.

        Raises:
            ServiceError: there is no such photograph, or it is not done.
        """
        record = self.record(identifier)
        require_done(record)
        return record

    def batch(self, identifier: str) -> BatchRecord:
        """Return a batch.

        Raises:
            ServiceError: there is no such batch.
        """
        record = self.database.batch(identifier)
        if record is None:
            raise not_found("batch")
        return record

    def read_mask(self, upload: Path, record: Record) -> Bool[np.ndarray, "H W"]:
        """Return the lesion pixels of a mask that was uploaded for a photograph: all that are not black.

        The I/O worker decodes the file, since a small file may need much memory.

        Raises:
            ServiceError: the mask cannot be read, or has another size than the photograph.
        """
        out = upload.with_name(f"{upload.name}.png")
        try:
            self.jobs.run_io_task(
                ReadMaskTask(mask=upload, out=out, height=record.height, width=record.width)
            )
            return maps.decode(out.read_bytes(), "png") > 0
        finally:
            out.unlink(missing_ok=True)

    def publish_original(self, grading: Grading | None) -> None:
        """Notify the subscribers that the photograph of a grading has changed; None: do nothing."""
        original = None if grading is None else self.database.get(grading.original)
        if original is not None:
            self.presenter.publish(original)

    def close(self) -> None:
        """Stop the server; unfinished photographs are predicted after the next start."""
        self.events.close()
        self.report_jobs.close()
        self.jobs.close()
        self.database.close()
        self.data_dir.close()


def start(
    options: Options,
    spawn: Callable[[Options], WorkerPool],
    events: EventBroker,
    metrics: Metrics,
    sessions: Sessions,
) -> Service:
    """Assemble a server and start its queue.

    Args:
        options: settings of the server.
        spawn: starts the workers; called only after the data folder has been locked.
        events: delivers events to subscribers.
        metrics: counts requests and photographs.
        sessions: the sessions of clients that have sent the token.

    Raises:
        FoveateError: the model cannot be opened, or the data folder cannot be used; nothing is left running.
    """
    with contextlib.ExitStack() as opened:
        data_dir = opened.enter_context(contextlib.closing(DataDir(options.data)))
        model_files = models.unpack(options.model, data_dir.model)  # not by workers: they end by being killed
        workers = opened.enter_context(contextlib.closing(spawn(replace(options, model=model_files))))
        workers.io_worker.handshake()
        model, *_ = [worker.handshake() for worker in workers.inference_workers]
        assert model is not None
        database = opened.enter_context(contextlib.closing(Database(data_dir.database)))
        service = _assemble(
            options, model, workers, data_dir, database, events=events, metrics=metrics, sessions=sessions
        )
        service.jobs.start(forget_missing=options.forget_missing)
        service.report_jobs.start()
        opened.pop_all()  # from here on `Service.close` closes them
    return service


def _assemble(
    options: Options,
    model: ModelInfo,
    workers: WorkerPool,
    data_dir: DataDir,
    database: Database,
    *,
    events: EventBroker,
    metrics: Metrics,
    sessions: Sessions,
) -> Service:
    """Return the service, made of parts that are open; its queue is not started."""
    memory, packs = MapCache(options.limits.memory), Packs()
    progress = ProgressRegister()
    gradings = Gradings(database, data_dir, required=options.double_grading)
    presenter = Presenter(database, events, progress, gradings, options.limits.keep)
    corrections = Corrections(database, data_dir, memory, gradings)
    measures = PhotographMeasures(corrections, memory)
    agreements = Agreements(measures)
    reports = Reports(
        database, data_dir, packs, corrections=corrections, measures=measures, describe=presenter.photograph
    )
    report_jobs = ReportJobs(reports, data_dir)
    forget = _forgetter(memory, packs, data_dir)

    def forget_deleted(identifier: str) -> None:
        forget(identifier)
        agreements.forget(identifier)
        report_jobs.forget(identifier)

    jobs = JobQueue(
        database,
        data_dir,
        workers,
        options.limits,
        events=events,
        metrics=metrics,
        progress=progress,
        on_change=presenter.publish,
        on_result=forget,
        on_delete=forget_deleted,
    )
    exports = Exports(
        database,
        data_dir,
        jobs,
        corrections=corrections,
        measures=measures,
        gradings=gradings,
        field=model.field,
    )
    return Service(
        options=options,
        model=model,
        database=database,
        data_dir=data_dir,
        jobs=jobs,
        memory=memory,
        packs=packs,
        corrections=corrections,
        references=References(database, data_dir, memory, corrections),
        measures=measures,
        gradings=gradings,
        editor=PhotographEditor(database, gradings, corrections),
        agreements=agreements,
        reports=reports,
        report_jobs=report_jobs,
        exports=exports,
        presenter=presenter,
        events=events,
        metrics=metrics,
        sessions=sessions,
    )


def _forgetter(memory: MapCache, packs: Packs, data_dir: DataDir) -> Callable[[str], None]:
    """Return a function that removes what is known of a photograph from the caches."""

    def forget(identifier: str) -> None:
        memory.forget(identifier)
        directory = data_dir.photograph(identifier)
        for pack in (directory.tiles, directory.map_tiles):
            packs.forget(pack)

    return forget


def folder_of_page() -> Path:
    """Return the folder of the page's files."""
    return Path(__file__).parent / "page"
