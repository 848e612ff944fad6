"""Routes of double grading.

Knows:   /api/photographs/{id}/gradings, /grading and /adjudication, and /api/gradings for many photographs.
Ignores: what a grading is, and how agreement is measured.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from foveate.server import errors, schemas
from foveate.server.exports import grading_tables
from foveate.server.http.routes import BatchId, Id, Services, refusals
from foveate.server.http.routes.files import CSV, csv_response
from foveate.server.presenters import gradings as present
from foveate.server.review import adjudication, agreement
from foveate.server.review.agreement import LesionPair
from foveate.server.service import Service
from foveate.server.storage import gradings as stored
from foveate.server.storage.database import Record
from foveate.server.storage.gradings import Grading

router = APIRouter(prefix="/api", tags=["gradings"], responses=refusals(404, 409))

GraderName = Annotated[schemas.Author, Query()]


@router.get("/photographs/{id}/gradings")
def all_gradings(services: Services, id: Id, grader: GraderName = "") -> schemas.GradingsBody:
    """List the graders of a photograph; until all are done, a grader can open only their own grading."""
    return _gradings(services, services.done(id), grader)


@router.post("/photographs/{id}/gradings", status_code=201, responses=refusals(507))
def begin(services: Services, id: Id, body: schemas.NewGrading) -> schemas.PhotographBody:
    """Return a grader's copy of a photograph; it is created if it does not exist yet."""
    with services.corrections.lock(id):  # so that it is not analysed again, or adjudicated, meanwhile
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
    pairs = services.database.unless_deleted(_pairs_of(services), record, gradings)
    if pairs is None:
        raise errors.not_found("photograph")
    return present.agreement(agreement.summarise(pairs))


@router.post("/photographs/{id}/adjudication", status_code=201)
def adjudicate(services: Services, id: Id, body: schemas.NewAdjudication) -> schemas.GradingsBody:
    """Begin the adjudication of a photograph's gradings; it is made in the photograph's own corrections."""
    with services.corrections.lock(id):  # so that nobody corrects it meanwhile
        adjudication.begin(
            services.done(id),
            body.adjudicator,
            body.source,
            gradings=services.gradings,
            corrections=services.corrections,
        )
    changed = services.done(id)
    services.presenter.publish(changed)
    return _gradings(services, changed, "")


@router.get("/gradings/agreement")
def agreement_of_all(services: Services, batch: BatchId = None) -> schemas.GradersAgreement:
    """Return the agreement over all photographs, or those of a batch, whose gradings are all done."""
    return present.agreement(agreement.summarise(_pairs(services, batch)))


@router.get("/gradings/gradings.csv", response_class=Response, responses=CSV)
def gradings_csv(services: Services, batch: BatchId = None) -> Response:
    """Return the results of every grader and adjudicator as CSV."""
    finished = services.gradings.of_open(batch, services.gradings.finished)
    return csv_response("gradings", grading_tables.gradings_csv(finished))


@router.get("/gradings/pairs.csv", response_class=Response, responses=CSV)
def pairs_csv(services: Services, batch: BatchId = None) -> Response:
    """Return the agreement of every pair of graders on every photograph as CSV."""
    return csv_response("pairs", grading_tables.pairs_csv(_pairs(services, batch)))


@router.get("/gradings/agreement.csv", response_class=Response, responses=CSV)
def summary_csv(services: Services, batch: BatchId = None) -> Response:
    """Return the agreement of every pair of graders over all photographs as CSV."""
    summaries = agreement.summarise(_pairs(services, batch))
    return csv_response("agreement", grading_tables.summary_csv(summaries))


def _pairs(services: Service, batch: str | None) -> list[LesionPair]:
    """Return the comparisons of graders in all photographs, or those of a batch, whose gradings are done."""
    return services.gradings.of_open(batch, _pairs_of(services))


def _pairs_of(services: Service) -> Callable[[Record, Sequence[Grading]], list[LesionPair]]:
    """Return a function that compares the graders of a photograph."""
    return lambda record, gradings: services.agreements.pairs(services.gradings.copies(record, gradings))


def _gradings(services: Service, record: Record, grader: str) -> schemas.GradingsBody:
    gradings, decision = services.gradings.of(record), services.gradings.adjudication(record)
    return present.gradings(record.id, gradings, decision, grader)
