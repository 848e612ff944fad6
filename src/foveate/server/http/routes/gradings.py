"""Routes of double grading.

Knows:   /api/photographs/{id}/gradings, /grading and /adjudication, and /api/gradings for many photographs.
Ignores: what a grading is, and how agreement is measured.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from starlette.responses import Response

from foveate.server import errors, schemas
from foveate.server.exports import grading_tables
from foveate.server.exports.grading_tables import FinishedGrading
from foveate.server.http.routes import BatchId, Id, Services, refusals
from foveate.server.http.routes.files import CSV, csv_response
from foveate.server.review import agreement
from foveate.server.review.agreement import GradedCopies, LesionPair, PairSummary
from foveate.server.review.gradings import Mask, Store, are_done, starting_mask
from foveate.server.service import Service
from foveate.server.storage import gradings as stored
from foveate.server.storage.counts import current_counts_of
from foveate.server.storage.database import Record
from foveate.server.storage.gradings import Adjudication, Grading
from foveate.server.storage.journal import edits_of
from foveate.timestamps import utc_timestamp_of

router = APIRouter(prefix="/api", tags=["gradings"], responses=refusals(404, 409))

Made = TypeVar("Made")

GraderName = Annotated[schemas.Author, Query()]


@router.get("/photographs/{id}/gradings")
def all_gradings(services: Services, id: Id, grader: GraderName = "") -> schemas.GradingsBody:
    """List the graders of a photograph; until all are done, a grader can open only their own grading."""
    return _gradings(services, services.done(id), grader)


@router.post("/photographs/{id}/gradings", status_code=201, responses=refusals(507))
def begin(services: Services, id: Id, body: schemas.NewGrading) -> schemas.PhotographBody:
    """Return a grader's copy of a photograph; it is created if it does not exist yet."""
    with services.corrections.lock(id):  # so that it is not analysed again, or decided on, meanwhile
        copy = services.gradings.begin(services.done(id), body.grader)
    services.publish_original(stored.grading_in(services.database, copy.id))
    return services.presenter.photograph(copy)


@router.put("/photographs/{id}/grading")
def change(services: Services, id: Id, body: schemas.GradingState) -> schemas.PhotographBody:
    """Mark a grading as done or as not yet done; the photograph is the grader's copy."""
    with services.corrections.lock(id):  # so that no edit that has begun before is stored afterwards
        grading = services.gradings.set_done(services.done(id), done=body.done)
    services.publish_original(grading)
    return services.presenter.photograph(services.record(id))


@router.get("/photographs/{id}/gradings/agreement")
def agreement_of(services: Services, id: Id) -> schemas.GradersAgreement:
    """Return the agreement of the graders of a photograph."""
    record = services.done(id)
    gradings = services.gradings.require_open(record)
    pairs = services.database.unless_deleted(_pairs, record, services, gradings)
    if pairs is None:
        raise errors.not_found("photograph")
    return _agreement(pairs)


@router.post("/photographs/{id}/adjudication", status_code=201)
def adjudicate(services: Services, id: Id, body: schemas.NewAdjudication) -> schemas.GradingsBody:
    """Begin the adjudication of a photograph's gradings; it is made in the photograph's own corrections."""

    def apply(gradings: Sequence[Grading], store: Store) -> None:
        masks = _starting_masks(services, _graded(services, record, gradings), body.source)
        services.corrections.replace_masks(id, masks, body.adjudicator, store)

    with services.corrections.lock(id):  # so that nobody corrects it meanwhile
        record = services.done(id)
        services.gradings.adjudicate(record, body.adjudicator, body.source, apply)
    changed = services.done(id)
    services.presenter.publish(changed)
    return _gradings(services, changed, "")


def _starting_masks(services: Service, graded: GradedCopies, source: str) -> Mapping[str, Mask]:
    """Return lesion -> the mask that an adjudicator begins with."""
    record, corrections = graded.record, services.corrections
    if source == "model":
        return {lesion: corrections.model_mask(record, lesion) for lesion in record.lesions}
    return {
        lesion: starting_mask({name: corrections.mask(copy, lesion) for name, copy in graded.copies}, source)
        for lesion in record.lesions
    }


@router.get("/gradings/agreement")
def agreement_of_all(services: Services, batch: BatchId = None) -> schemas.GradersAgreement:
    """Return the agreement over all photographs, or those of a batch, whose gradings are all done."""
    return _agreement(_of_open(services, batch, _pairs))


@router.get("/gradings/gradings.csv", response_class=Response, responses=CSV)
def gradings_csv(services: Services, batch: BatchId = None) -> Response:
    """Return the results of every grader and adjudicator as CSV."""
    finished = _of_open(services, batch, _finished)
    return csv_response("gradings", grading_tables.gradings_csv(finished))


@router.get("/gradings/pairs.csv", response_class=Response, responses=CSV)
def pairs_csv(services: Services, batch: BatchId = None) -> Response:
    """Return the agreement of every pair of graders on every photograph as CSV."""
    pairs = _of_open(services, batch, _pairs)
    return csv_response("pairs", grading_tables.pairs_csv(pairs))


@router.get("/gradings/agreement.csv", response_class=Response, responses=CSV)
def summary_csv(services: Services, batch: BatchId = None) -> Response:
    """Return the agreement of every pair of graders over all photographs as CSV."""
    pairs = _of_open(services, batch, _pairs)
    return csv_response("agreement", grading_tables.summary_csv(agreement.summarise(pairs)))


def _of_open(
    services: Service,
    batch: str | None,
    make: Callable[[Record, Service, Sequence[Grading]], list[Made]],
) -> list[Made]:
    """Return what is made of each photograph, of a batch or of all, whose gradings anyone may see.

    Those deleted meanwhile are left out. The gradings are read once: somebody may be done, or delete one,
    at any moment.
    """
    made: list[Made] = []
    for identifier in stored.graded(services.database, batch):
        record = services.database.get(identifier)
        gradings = [] if record is None else services.gradings.of(record)
        if record is not None and are_done(gradings):
            made += services.database.unless_deleted(make, record, services, gradings) or []
    return made


def _pairs(record: Record, services: Service, gradings: Sequence[Grading]) -> list[LesionPair]:
    return services.agreements.pairs(_graded(services, record, gradings))


def _graded(services: Service, record: Record, gradings: Sequence[Grading]) -> GradedCopies:
    """Return a photograph with the copies of its graders.

    Raises:
        ServiceError: a copy was deleted meanwhile.
    """
    copies = []
    for grading in gradings:
        copy = services.database.get(grading.photograph)
        if copy is None:
            raise errors.not_found("grading")
        copies.append((grading.grader, copy))
    return GradedCopies(record=record, copies=tuple(copies))


def _finished(record: Record, services: Service, gradings: Sequence[Grading]) -> list[FinishedGrading]:
    """Return each grader's results for a photograph, and then the adjudicator's."""
    finished = []
    for grading in gradings:
        copy = services.record(grading.photograph)
        counts = current_counts_of(services.database, copy.id)
        finished.append(
            FinishedGrading(record=copy, name=grading.grader, role="grader", done=grading.done, counts=counts)
        )
    adjudication = services.gradings.adjudication(record)
    if adjudication is not None:
        counts = current_counts_of(services.database, record.id)
        done = _decided(services, record, adjudication) if record.reviewed else None
        name = adjudication.adjudicator
        finished.append(
            FinishedGrading(record=record, name=name, role="adjudicator", done=done, counts=counts)
        )
    return finished


def _decided(services: Service, record: Record, adjudication: Adjudication) -> float:
    """Return when a decision was marked as reviewed; if that was not recorded, when it was last edited."""
    if record.reviewed_at is not None:
        return record.reviewed_at
    edits = [edit.time for edit in edits_of(services.database, record.id) if not edit.undone]
    return max([adjudication.begun, *edits])


def _gradings(services: Service, record: Record, grader: str) -> schemas.GradingsBody:
    gradings = services.gradings.of(record)
    is_open = are_done(gradings)
    adjudication = services.gradings.adjudication(record)
    return schemas.GradingsBody(
        photograph=record.id,
        open=is_open,
        gradings=[
            schemas.GradingBody(
                grader=grading.grader,
                begun=utc_timestamp_of(grading.begun),
                done=None if grading.done is None else utc_timestamp_of(grading.done),
                photograph=grading.photograph if is_open or grading.grader == grader else None,
            )
            for grading in gradings
        ],
        adjudication=None
        if adjudication is None
        else schemas.AdjudicationBody(
            adjudicator=adjudication.adjudicator,
            source=adjudication.source,
            begun=utc_timestamp_of(adjudication.begun),
        ),
    )


def _agreement(pairs: list[LesionPair]) -> schemas.GradersAgreement:
    return schemas.GradersAgreement(pairs=[_pair_body(summary) for summary in agreement.summarise(pairs)])


def _pair_body(summary: PairSummary) -> schemas.PairAgreement:
    return schemas.PairAgreement(
        graders=summary.graders,
        lesion=summary.lesion,
        photographs=summary.photographs,
        present=schemas.Presence(
            both=summary.present_both,
            first=summary.present_first,
            second=summary.present_second,
            neither=summary.present_neither,
        ),
        kappa=summary.kappa,
        dice=summary.dice,
        mean_dice=summary.mean_dice,
    )
