"""Double grading: each grader works on a copy of their own, and sees no other copy before all are done.

Knows:   who may edit what, when gradings are shown to others, and how an adjudication begins.
Ignores: HTTP, how well graders agree (`agreement`), and who a person really is: there are no accounts.

A grading begins with the model's result, whatever was changed in the photograph or in other copies. It can be
opened by its grader's name only, until at least `GRADERS` people have graded the photograph and all are done:
from then on nobody can begin or reopen one.
Then an adjudicator, who is none of them, decides between the gradings in the photograph's own journal, on
which the report, the downloads and the training data are based. Until that has begun, nobody corrects or
reviews the photograph itself.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Bool

from foveate.paths import name_key
from foveate.server import errors
from foveate.server.review.checks import require_done
from foveate.server.review.current_counts import uncorrected_counts
from foveate.server.storage import gradings as stored
from foveate.server.storage.counts import CurrentCounts, current_counts_of, level_counts_of
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Record
from foveate.server.storage.gradings import Adjudication, Grading
from foveate.server.storage.journal import edits_of

GRADERS = 2
"""Minimum number of graders; their gradings are shown when all are done."""

MOST_GRADERS = 8
"""Maximum number of gradings of one photograph: more would be a mistake."""

DONE = "this grading is done; reopen it before you change it"

Made = TypeVar("Made")

Mask = Bool[np.ndarray, "H W"]

Store = Callable[[sqlite3.Connection], None]
"""Stores something within a change of the database."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradedCopies:
    """A photograph and the copies of its graders, all of them done."""

    record: Record
    copies: tuple[tuple[str, Record], ...]
    """(grader, copy), in the order in which they were begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedGrading:
    """The result of one person's grading or adjudication of a photograph."""

    record: Record
    """The copy that the person worked on; for an adjudicator, the photograph itself."""
    name: str
    role: str
    """'grader' or 'adjudicator'."""
    done: float | None
    """Seconds since 1970; None for an adjudicator who has not marked the photograph as reviewed."""
    counts: dict[str, CurrentCounts]
    """Lesion -> its current counts."""


class Gradings:
    """The gradings of all photographs."""

    def __init__(self, database: Database, data_dir: DataDir, *, required: bool) -> None:
        """Store what the gradings need.

        Args:
            database: holds the gradings.
            data_dir: holds the copies' files.
            required: whether several people must grade every photograph before it may be corrected itself.
        """
        self._database = database
        self._data_dir = data_dir
        self._required = required
        self._lock = threading.Lock()

    def of(self, record: Record) -> list[Grading]:
        """Return the gradings of a photograph, the earliest first."""
        return stored.gradings_of(self._database, record.id)

    def adjudication(self, record: Record) -> Adjudication | None:
        """Return the adjudication of a photograph's gradings, or None if there is none."""
        return stored.adjudication_of(self._database, record.id)

    def is_open(self, record: Record) -> bool:
        """Return whether anybody may see a photograph's gradings: there are enough, and all are done."""
        return are_done(self.of(record))

    def reviewed_before(self, record: Record) -> bool:
        """Return whether a photograph was reviewed before its graders were done, so that it waits for them.

        Such a review is one person's, made before the server required graders or before anybody graded; it is
        kept, but is no adjudication. A review after all gradings counts, even if nobody has begun an
        adjudication: earlier versions of Foveate accepted one.
        """
        if not record.reviewed:
            return False
        gradings = self.of(record)  # a copy has none of its own
        is_copy = stored.grading_in(self._database, record.id) is not None
        if not gradings and (is_copy or not self._needs_graders(record)):
            return False
        if self.adjudication(record) is not None:  # which has withdrawn any earlier review
            return False
        if not are_done(gradings) or record.reviewed_at is None:
            return True
        return record.reviewed_at < max(grading.done or 0.0 for grading in gradings)

    def as_adjudicated(self, record: Record) -> Record:
        """Return a photograph, not reviewed if it was reviewed only before its graders were done."""
        return replace(record, reviewed=False) if self.reviewed_before(record) else record

    def of_open(
        self, batch: str | None, make: Callable[[Record, Sequence[Grading]], list[Made]]
    ) -> list[Made]:
        """Return what is made of each photograph, of a batch or of all, whose gradings anyone may see.

        Those deleted meanwhile are left out. The gradings are read once: somebody may be done, or delete one,
        at any moment.
        """
        made: list[Made] = []
        for identifier in stored.graded(self._database, batch):
            record = self._database.get(identifier)
            gradings = [] if record is None else self.of(record)
            if record is not None and are_done(gradings):
                made += self._database.unless_deleted(make, record, gradings) or []
        return made

    def copies(self, record: Record, gradings: Sequence[Grading]) -> GradedCopies:
        """Return a photograph with the copies of its graders.

        Raises:
            ServiceError: a copy was deleted meanwhile.
        """
        copies = []
        for grading in gradings:
            copy = self._database.get(grading.photograph)
            if copy is None:
                raise errors.not_found("grading")
            copies.append((grading.grader, copy))
        return GradedCopies(record=record, copies=tuple(copies))

    def finished(self, record: Record, gradings: Sequence[Grading]) -> list[FinishedGrading]:
        """Return each grader's results for a photograph, and then the adjudicator's.

        Raises:
            ServiceError: the photograph or a copy was deleted meanwhile.
        """
        results = [
            FinishedGrading(
                record=copy,
                name=grading.grader,
                role="grader",
                done=grading.done,
                counts=current_counts_of(self._database, copy.id),
            )
            for grading in gradings
            for copy in (self._copy_of(grading),)
        ]
        adjudication = self.adjudication(record)
        if adjudication is None:
            return results
        decision = FinishedGrading(
            record=record,
            name=adjudication.adjudicator,
            role="adjudicator",
            done=self._adjudicated_at(record, adjudication) if record.reviewed else None,
            counts=current_counts_of(self._database, record.id),
        )
        return [*results, decision]

    def _adjudicated_at(self, record: Record, adjudication: Adjudication) -> float:
        """Return when an adjudication was marked as reviewed; or else, if not recorded, was last edited."""
        if record.reviewed_at is not None:
            return record.reviewed_at
        edits = [edit.time for edit in edits_of(self._database, record.id) if not edit.undone]
        return max([adjudication.begun, *edits])

    def begin(self, record: Record, grader: str) -> Record:
        """Return a grader's copy of a photograph; it is created if it does not exist yet.

        Raises:
            ServiceError: the photograph is not done, is a copy itself, has `MOST_GRADERS` gradings already,
                or one under a name that differs only in capitals, or its gradings are all done, so that the
                grader may have seen them, or have been adjudicated.
        """
        require_done(record)
        if stored.grading_in(self._database, record.id) is not None:
            raise errors.invalid("this photograph is a grading itself; begin one on its original")
        with self._lock:
            gradings = self.of(record)
            for grading in gradings:
                if grading.grader == grader:
                    return self._copy_of(grading)
            if same := _of_person(gradings, grader):
                raise errors.invalid(
                    f"{same.grader} grades this photograph already; enter the name exactly like that, "
                    "or another one if you are somebody else"
                )
            if len(gradings) >= MOST_GRADERS:
                raise errors.invalid(
                    f"{MOST_GRADERS} people grade this photograph already; no more can begin"
                )
            if self.adjudication(record) is not None:
                raise errors.not_ready("its gradings have been adjudicated; no more can begin")
            if are_done(gradings):
                raise errors.not_ready("its gradings are done and may have been seen; no more can begin")
            return self._add(record, grader)

    def _add(self, record: Record, grader: str) -> Record:
        grading = Grading(
            photograph=uuid.uuid4().hex, original=record.id, grader=grader, begun=time.time(), done=None
        )
        copy = self._data_dir.photograph(grading.photograph)
        counts = {lesion: level_counts_of(self._database, record.id, lesion) for lesion in record.lesions}
        current = uncorrected_counts(replace(record, thresholds={}), counts)
        try:
            self._data_dir.copy(self._data_dir.photograph(record.id), copy)
            added = stored.add_grading(self._database, grading, current)
        except BaseException as error:
            self._data_dir.delete(copy.folder)
            if isinstance(error, FileNotFoundError):
                raise errors.not_found("photograph") from error
            raise
        if added is None:
            self._data_dir.delete(copy.folder)
            raise errors.not_found("photograph")
        self._data_dir.mark_finished(copy)
        return added

    def _copy_of(self, grading: Grading) -> Record:
        record = self._database.get(grading.photograph)
        if record is None:
            raise errors.not_found("photograph")
        return record

    def set_done(self, record: Record, *, done: bool) -> Grading:
        """Mark a grading as done, or as not yet done.

        Raises:
            ServiceError: the photograph is not a grading, or others may have seen the grading already.
        """
        with self._lock:
            grading = stored.grading_in(self._database, record.id)
            if grading is None:
                raise errors.invalid("this photograph is not a grading; begin one with POST .../gradings")
            original = self._database.get(grading.original)
            if not done and original is not None and self.is_open(original):
                raise errors.not_ready("all gradings are done and may have been seen; none can be changed")
            if done == (grading.done is None):
                stored.set_done(self._database, record.id, time.time() if done else None)
        after = stored.grading_in(self._database, record.id)
        if after is None:
            raise errors.not_found("photograph")
        return after

    def require_ungraded(self, record: Record) -> None:
        """Require that a photograph is not a grading and has none, so that its result may be replaced.

        Raises:
            ServiceError: 'not_ready'.
        """
        if stored.grading_in(self._database, record.id) is not None or self.of(record):
            raise errors.not_ready(
                "this photograph has gradings, or is one, so it cannot be analysed again; submit it as a new "
                "photograph"
            )

    def require_deletable(self, record: Record) -> None:
        """Require that a photograph is not the copy of a grader who is done.

        Raises:
            ServiceError: 'not_ready'.
        """
        grading = stored.grading_in(self._database, record.id)
        if grading is not None and grading.done is not None:
            raise errors.not_ready(
                "this grading is done; reopen it before you delete it, or delete the photograph with all its "
                "gradings"
            )

    def require_editable(self, record: Record, author: str | None) -> None:
        """Require that a photograph may be edited.

        Args:
            record: a photograph, or the copy of a grader.
            author: name of the person who edits, '' if not given; None for changes that store no name: undo,
                thresholds.

        Raises:
            ServiceError: the grading is done or belongs to somebody else; or the photograph must be graded
                first, nobody has begun to adjudicate between its gradings, or the author is one of its
                graders.
        """
        grading = stored.grading_in(self._database, record.id)
        if grading is None:
            self._require_adjudication(record, author)
        elif grading.done is not None:
            raise errors.not_ready(DONE)
        elif author not in {None, "", grading.grader}:
            raise errors.invalid(f"this is the grading of {grading.grader}; begin your own")

    def require_not_done(self, record: Record) -> None:
        """Require that a photograph is not the copy of a grader who is done.

        Raises:
            ServiceError: 'not_ready'.
        """
        grading = stored.grading_in(self._database, record.id)
        if grading is not None and grading.done is not None:
            raise errors.not_ready(DONE)

    def _needs_graders(self, record: Record) -> bool:
        """Return whether a photograph without gradings waits for graders: unless it failed."""
        return self._required and record.state != "failed"

    def _require_adjudication(self, record: Record, author: str | None) -> None:
        gradings = self.of(record)
        if not gradings and not self._needs_graders(record):
            return
        if not are_done(gradings):
            raise errors.not_ready(
                f"at least {GRADERS} people must grade this photograph first; begin a grading of your own "
                "(on the page: 'Grade this photograph' under Review and downloads)"
            )
        if self.adjudication(record) is None:
            raise errors.not_ready(
                "nobody has begun to adjudicate between its gradings; begin first (on the page: 'Adjudicate' "
                "under Review and downloads)"
            )
        if author:
            _require_no_grader(gradings, author)

    def author(self, record: Record, author: str) -> str:
        """Return the author of an edit; on a copy, this is its grader."""
        grading = stored.grading_in(self._database, record.id)
        return author if grading is None else grading.grader

    def require_open(self, record: Record) -> list[Grading]:
        """Return the gradings of a photograph that anybody may see.

        Raises:
            ServiceError: 'not_ready': there are too few graders, or one of them is not done.
        """
        gradings = self.of(record)
        if not are_done(gradings):
            raise errors.not_ready(f"gradings are shown when {GRADERS} or more people grade and all are done")
        return gradings

    def adjudicate(
        self,
        record: Record,
        adjudicator: str,
        source: str,
        apply: Callable[[Sequence[Grading], Store], None],
    ) -> None:
        """Begin the adjudication of a photograph's gradings; nobody can begin a grading meanwhile.

        A review is withdrawn: the photograph is not adjudicated yet.

        Args:
            record: the photograph; the caller holds the lock of its journal.
            adjudicator: name of the person who adjudicates.
            source: the masks to begin with, as in `Adjudication`.
            apply: applies these masks of the gradings, and calls the second argument within the same change.

        Raises:
            ServiceError: as `require_open`; or the adjudicator is a grader.
        """
        with self._lock:
            gradings = self.require_open(record)
            _require_no_grader(gradings, adjudicator)
            adjudication = Adjudication(
                photograph=record.id, adjudicator=adjudicator, source=source, begun=time.time()
            )
            apply(gradings, lambda connection: stored.put_adjudication(connection, adjudication))


def _of_person(gradings: Sequence[Grading], name: str) -> Grading | None:
    """Return the grading by a name, whatever its capitals and however its accents are encoded; else None."""
    return next((grading for grading in gradings if name_key(grading.grader) == name_key(name)), None)


def _require_no_grader(gradings: Sequence[Grading], name: str) -> None:
    if grading := _of_person(gradings, name):
        raise errors.invalid(f"{grading.grader} has graded this photograph; somebody else must adjudicate")


def starting_mask(masks: Mapping[str, Mask], source: str) -> Mask:
    """Return the mask that an adjudicator begins with.

    Args:
        masks: grader -> mask of one lesion.
        source: 'agreed': pixels that all graders marked; 'either': pixels that any grader marked;
            'grader:NAME': the mask of one grader.

    Raises:
        ServiceError: 'invalid': there is no such source or grader.
    """
    if source == "agreed":
        return _all(list(masks.values()))
    if source == "either":
        return ~_all([~mask for mask in masks.values()])
    name = source.removeprefix("grader:")
    if not source.startswith("grader:") or name not in masks:
        raise errors.invalid(
            f"source {source!r} is unknown; give agreed, either, model, or grader:NAME of {', '.join(masks)}"
        )
    return masks[name]


def _all(masks: Sequence[Mask]) -> Mask:
    return np.asarray(np.logical_and.reduce(masks))


def may_open(grading: Grading, gradings: Sequence[Grading], grader: str) -> bool:
    """Return whether a grader may open one of a photograph's gradings: their own, or any if all are done."""
    return are_done(gradings) or grading.grader == grader


def are_done(gradings: Sequence[Grading]) -> bool:
    """Return whether there are enough gradings of a photograph, and all are done."""
    return len(gradings) >= GRADERS and all(grading.done is not None for grading in gradings)
