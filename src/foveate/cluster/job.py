"""A run over a source of any size, as values: what is asked for, how far it is, what came of it.

Knows:   what a person asks for, which photographs are meant, and when a target is free.
Ignores: how it is done (`drive`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from foveate import writers
from foveate.cluster import ledger, stores
from foveate.cluster.inventory import Inventory, Share
from foveate.cluster.ledger import Ledger
from foveate.cluster.stores import Store
from foveate.cluster.worker import Assignment
from foveate.engines import choice as choices
from foveate.engines.choice import Choice
from foveate.errors import OutputError, PhotographError, SettingError
from foveate.inference import batch
from foveate.inference.pipeline import DEFAULTS, Settings
from foveate.models import Package
from foveate.photographs import SUFFIXES
from foveate.writers import Format, files, places

TRIES = 3
"""Of a photograph, before it is set aside. Our choice."""

ALL = Share()
"""Not a part: all photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Programme:
    """What is to be done."""

    source: str
    """Address of a store with photographs: a folder, or 's3://bucket/prefix'."""
    target: str
    """Address of a store for results."""
    package: Package
    choice: Choice
    """Engine, precision and the threads of each worker."""
    settings: Settings = DEFAULTS
    format: Format = "png"
    resume: bool = False
    """Go on with what the target holds."""
    share: Share = ALL
    """Which part of the photographs this run does."""
    tries: int = TRIES
    """Of a photograph, before it is set aside."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise SettingError(f"tries is {self.tries}; give 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How far a run is."""

    total: int
    """Photographs of this run's share."""
    kept: int
    """Of them done by earlier runs."""
    ok: int
    """Done by this one."""
    failed: int
    """Set aside."""
    again: int
    """Tries that failed and were followed by another."""
    lost: int
    """How often a worker died."""
    workers: int
    """That are ready."""
    seconds: float
    """Since the first worker was ready."""

    @property
    def done(self) -> int:
        """Photographs that need nothing more."""
        return self.kept + self.ok + self.failed

    @property
    def rate(self) -> float:
        """Photographs a second; 0 before the first."""
        return (self.ok + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At that rate; None where there is none yet."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What came of a run."""

    standing: Standing
    """At its end."""
    skipped: int
    """Files that are no photographs."""
    starting: float
    """Seconds until the first worker was ready."""
    tables: bool
    """Whether summary and run.json were written: not for a share, which knows nothing of the others."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of what computed, by name."""


def assigned(programme: Programme) -> Assignment:
    """Return what all workers do. Engine and precision are settled here: elsewhere the rule may differ."""
    engine, precision = choices.settled(programme.choice)
    asked = programme.settings
    return Assignment(
        source=programme.source,
        target=programme.target,
        choice=Choice(engine=engine, precision=precision, threads=programme.choice.threads or 1),
        settings=replace(asked, thresholds=dict(asked.thresholds)),  # can be sent, as no read-only view can
        format=programme.format,
    )


def listed(programme: Programme) -> Inventory:
    """Return the photographs of a source, named and in order; what lies in the target is not looked for.

    Raises:
        PhotographError: there is none, or it cannot be listed.
        ClusterError: it cannot be reached.
    """
    source = stores.opened(programme.source)
    inventory = Inventory(source.listing(without=programme.target), programme.share)
    if inventory.is_empty():
        with inventory:
            raise PhotographError(
                f"{source.shown()}: holds no photograph, {inventory.skipped} other files; "
                f"photographs end in {', '.join(sorted(SUFFIXES))}"
            )
    return inventory


def require_free(programme: Programme, target: Store) -> None:
    """See that a target can be written, and that results would not mix with those of another run.

    Raises:
        OutputError: it cannot be written; it holds results and the programme does not resume them.
        ClusterError: it cannot be reached.
    """
    taken = [name for name in (ledger.ORDER, *batch.RESULTS) if _holds(target, name)]
    if taken and not programme.resume:
        raise OutputError(
            f"{target.shown()}: already holds {taken[0]}; go on with that run by --resume, or choose another "
            "--out"
        )
    if taken and not {ledger.ORDER, "run.json"} & set(taken):
        raise OutputError(
            f"{target.shown()}: holds {taken[0]} but neither run.json nor a manifest, so no run to --resume; "
            "choose another --out"
        )
    if programme.share.of == 1:
        tidy(target)
    elif target.folder is not None:
        files.prove(target.folder)  # another share may be writing right now


def tidy(target: Store) -> None:
    """Prove that a folder can be written, and take away what killed workers left half-done.

    At the end of a run as well as before it: workers of a driver that was killed may outlive it by seconds.

    Raises:
        OutputError: it cannot be written.
    """
    if target.folder is not None:
        writers.prepare(target.folder)


def resumed(inventory: Inventory, book: Ledger, target: Store) -> int:
    """Note in an inventory what earlier runs have done; return how many photographs that is.

    A photograph counts as done where a line of the manifest says so, its file is the same, and its result
    lies there. Where one lies there that no line speaks of, whoever looks at the photograph sees to it first.

    Raises:
        OutputError: the target holds results of photographs that are not in the source.
    """
    strangers, stranger = 0, ""
    for found in target.listing("regions"):
        name = found.path.removeprefix("regions/").removesuffix(".json")
        if found.path.endswith(".json") and not inventory.lies(name):
            strangers, stranger = strangers + 1, name
    if strangers:
        raise OutputError(
            f"{target.shown()}: holds results of {strangers} photographs that are not in the source, such as "
            f"{stranger}; give them as well, or choose another --out"
        )
    before = inventory.left()[0]
    for name, stamp, line in book.lines():
        inventory.kept(name, stamp, line)
    return before - inventory.left()[0]


def _holds(target: Store, name: str) -> bool:
    """Whether a file, or a file in a folder of results, lies in a target."""
    if name in places.FOLDERS:
        return next(iter(target.listing(name)), None) is not None
    return target.read(name) is not None
