"""The running server: all its parts, put together.

Knows:   which part needs which, and in which order they start and stop.
Ignores: HTTP.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from foveate.server.errors import not_found
from foveate.server.exports.downloads import Exports
from foveate.server.jobs.events import EventBroker
from foveate.server.jobs.progress import ProgressRegister
from foveate.server.jobs.protocol import ModelInfo
from foveate.server.jobs.queue import JobQueue
from foveate.server.jobs.worker_pool import WorkerPool
from foveate.server.metrics import Metrics
from foveate.server.options import Options
from foveate.server.presenters import Presenter
from foveate.server.review.corrections import Corrections, require_done
from foveate.server.review.layers import Memory
from foveate.server.review.references import References
from foveate.server.sessions import Sessions
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Record
from foveate.server.storage.tiles import Packs


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server that runs."""

    options: Options
    model: ModelInfo
    """The model that predicts."""
    database: Database
    data_dir: DataDir
    jobs: JobQueue
    memory: Memory
    packs: Packs
    corrections: Corrections
    references: References
    exports: Exports
    presenter: Presenter
    events: EventBroker
    metrics: Metrics
    sessions: Sessions

    def record(self, identifier: str) -> Record:
        """Return a photograph.

        Raises:
            ServiceError: there is none.
        """
        record = self.database.get(identifier)
        if record is None:
            raise not_found("photograph")
        return record

    def done(self, identifier: str) -> Record:
        """Return a photograph that is done.

        Raises:
            ServiceError: there is none, or it is not done.
        """
        record = self.record(identifier)
        require_done(record)
        return record

    def publish(self, record: Record) -> None:
        """Tell the subscribers that a photograph has changed."""
        self.presenter.publish(record)

    def delete(self, identifier: str) -> bool:
        """Delete a photograph and all its files; return whether it was there."""
        existed = self.jobs.delete(identifier)
        self.memory.forget(identifier)
        directory = self.data_dir.photograph(identifier)
        for pack in (directory.tiles, directory.map_tiles):
            self.packs.forget(pack)
        return existed

    def close(self) -> None:
        """Stop; what is under way is started again with the server."""
        self.events.close()
        self.jobs.close()
        self.database.close()
        self.data_dir.close()


def start(
    options: Options, workers: WorkerPool, events: EventBroker, metrics: Metrics, sessions: Sessions
) -> Service:
    """Put a server together and start its queue.

    Raises:
        FoveateError: the model cannot be opened, or the data folder cannot be used.
    """
    with contextlib.ExitStack() as opened:
        data_dir = opened.enter_context(contextlib.closing(DataDir(options.data)))
        workers.io_worker.handshake()
        model, *_ = [worker.handshake() for worker in workers.inference_workers]
        assert model is not None
        database = opened.enter_context(contextlib.closing(Database(data_dir.database)))
        opened.pop_all()  # from here on `Service.close` closes them
    memory = Memory(options.limits.memory)
    corrections = Corrections(database, data_dir, memory)
    progress = ProgressRegister()
    presenter = Presenter(database, events, progress, options.limits.keep)
    jobs = JobQueue(
        database,
        data_dir,
        workers,
        options.limits,
        events=events,
        metrics=metrics,
        progress=progress,
        on_change=presenter.publish,
    )
    service = Service(
        options=options,
        model=model,
        database=database,
        data_dir=data_dir,
        jobs=jobs,
        memory=memory,
        packs=Packs(),
        corrections=corrections,
        references=References(database, data_dir, memory, corrections),
        exports=Exports(database, data_dir, jobs, corrections, model.field),
        presenter=presenter,
        events=events,
        metrics=metrics,
        sessions=sessions,
    )
    jobs.start()
    return service


def folder_of_page() -> Path:
    """Return the folder of the page's files."""
    return Path(__file__).parent / "page"
