"""Everything that the server is made of, put together.

Knows:   who needs whom, and in which order they start and stop.
Ignores: HTTP.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.server.exports.downloads import Making
from foveate.server.http.errors import not_found
from foveate.server.http.guard import Sessions
from foveate.server.http.metrics import Metrics
from foveate.server.http.presenters import Teller
from foveate.server.jobs.events import News
from foveate.server.jobs.queue import Crew, Jobs
from foveate.server.jobs.tasks import Facts
from foveate.server.jobs.worker_pool import Process
from foveate.server.options import Options
from foveate.server.review.corrections import Corrections, require_done
from foveate.server.review.layers import Memory
from foveate.server.review.references import References
from foveate.server.storage.data_dir import Shelf
from foveate.server.storage.database import Record, Store
from foveate.server.storage.tiles import Packs


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server that runs."""

    options: Options
    model: Facts
    """Name, version, digest and thresholds of the model that looks."""
    store: Store
    shelf: Shelf
    jobs: Jobs
    memory: Memory
    packs: Packs
    corrections: Corrections
    references: References
    making: Making
    teller: Teller
    news: News
    metrics: Metrics
    sessions: Sessions

    def record(self, identifier: str) -> Record:
        """Return a photograph.

        Raises:
            Problem: there is none.
        """
        found = self.store.get(identifier)
        if found is None:
            raise not_found("photograph")
        return found

    def done(self, identifier: str) -> Record:
        """Return a photograph that is done.

        Raises:
            Problem: there is none, or it is not done.
        """
        found = self.record(identifier)
        require_done(found)
        return found

    def tell(self, record: Record) -> None:
        """Tell whoever listens that a photograph has changed."""
        self.news.tell("photograph", self.teller.photograph(record).model_dump(mode="json"))

    def delete(self, identifier: str) -> bool:
        """Delete a photograph and all that was made of it; say whether it was there."""
        found = self.jobs.delete(identifier)
        self.memory.forget(identifier)
        place = self.shelf.place(identifier)
        for pack in (place.tiles, place.map_tiles):
            self.packs.forget(pack)
        return found

    def close(self) -> None:
        """Stop; what is under way is begun again when the server is."""
        self.news.close()
        self.jobs.close()
        self.store.close()
        self.shelf.close()


def hired(options: Options) -> Crew:
    """Start the processes that work for a server."""
    return Crew(
        desk=Process(options, looks=False),
        lookers=[Process(options, looks=True) for _ in range(options.workers)],
    )


def start(options: Options, crew: Crew, news: News, metrics: Metrics, sessions: Sessions) -> Service:
    """Put a server together and let it begin.

    Raises:
        FoveateError: the model cannot be opened, or the data folder cannot be used.
    """
    introduced: list[Any] = [hand.introduce() for hand in (crew.desk, *crew.lookers)]
    model = introduced[1]
    shelf = Shelf(options.data)
    try:
        store = Store(shelf.database)
    except BaseException:
        shelf.close()
        raise
    memory = Memory(options.limits.memory)
    corrections = Corrections(store, shelf, memory)
    late: list[Service] = []
    jobs = Jobs(
        store,
        shelf,
        crew,
        options.limits,
        news=news,
        metrics=metrics,
        tell=lambda record: late[0].tell(record),  # noqa: PLW0108 it is there only later
    )
    service = Service(
        options=options,
        model=model,
        store=store,
        shelf=shelf,
        jobs=jobs,
        memory=memory,
        packs=Packs(),
        corrections=corrections,
        references=References(shelf, memory, corrections),
        making=Making(store, shelf, jobs, corrections, model["field"]),
        teller=Teller(store, jobs.progress, options.limits.keep),
        news=news,
        metrics=metrics,
        sessions=sessions,
    )
    late.append(service)
    jobs.start()
    return service


def folder_of_page() -> Path:
    """Return the folder of the page's files."""
    return Path(__file__).parent / "page"
