"""Gradings and their agreement -> bodies of the API.

Knows:   that a grading which may not be opened is listed without its copy.
Ignores: who may open which grading; `review.gradings` decides that.
"""

from collections.abc import Sequence

from foveate.server import schemas
from foveate.server.review.agreement import PairSummary
from foveate.server.review.gradings import are_done, may_open
from foveate.server.storage.gradings import Adjudication, Grading
from foveate.timestamps import utc_timestamp_of


def gradings(
    photograph: str, gradings: Sequence[Grading], adjudication: Adjudication | None, grader: str
) -> schemas.GradingsBody:
    """Return the gradings of a photograph as a grader may see them; '' for a person without a name."""
    return schemas.GradingsBody(
        photograph=photograph,
        open=are_done(gradings),
        gradings=[
            schemas.GradingBody(
                grader=grading.grader,
                begun=utc_timestamp_of(grading.begun),
                done=None if grading.done is None else utc_timestamp_of(grading.done),
                photograph=grading.photograph if may_open(grading, gradings, grader) else None,
            )
            for grading in gradings
        ],
        adjudication=None if adjudication is None else _adjudication(adjudication),
    )


def _adjudication(adjudication: Adjudication) -> schemas.AdjudicationBody:
    return schemas.AdjudicationBody(
        adjudicator=adjudication.adjudicator,
        source=adjudication.source,
        begun=utc_timestamp_of(adjudication.begun),
    )


def agreement(summaries: Sequence[PairSummary]) -> schemas.GradersAgreement:
    """Return the agreement of each pair of graders."""
    return schemas.GradersAgreement(pairs=[_pair(summary) for summary in summaries])


def _pair(summary: PairSummary) -> schemas.PairAgreement:
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
